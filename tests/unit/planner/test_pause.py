"""What a paused service still gets: what keeps it up, and nothing that somebody merely wants."""

from dataclasses import replace

import pytest

from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.planner.pause import hold_voluntary, needed_steps
from orchestrator.planner.plan import plan
from orchestrator.planner.rollout import ABORTED, Step, StepKind
from tests.builders import GREEN, NOON, candidate, replica, service_spec, snapshot

SE = candidate("aws/se", 30.0)
FR = candidate("aws/fr", 60.0)
OLD = replica(FR, 0)
NEW = replace(replica(SE, 0), name="gc-test-chat-new", replaces=OLD.name, weight_percent=10)


def planned(replicas: list[Replica], number: int) -> Plan:
    """What the planner wants, not paused."""
    return plan(snapshot((SE, FR), replicas, service_spec(number)), GREEN, NOON)


class TestPlans:
    def test_what_is_missing_is_launched_and_nothing_is_changed_about_it(self) -> None:
        """Serving comes first: a lost replica is replaced while paused."""
        wanted = planned([replica(SE, 0)], 2)

        held = hold_voluntary(wanted)

        assert [a.kind for a in held.plan.actions] == [ActionKind.LAUNCH]
        assert held.plan == wanted
        assert held.withheld == ()

    def test_what_is_too_much_stays(self) -> None:
        """Scaling down is voluntary; the decision says what was held back."""
        held = hold_voluntary(planned([replica(SE, 0), replica(FR, 1)], 1))

        assert held.plan.actions == ()
        assert [a.kind for a in held.withheld] == [ActionKind.RETIRE]
        assert held.plan.decision.kind is DecisionKind.HOLD
        assert "r1 is not ended" in held.plan.decision.summary

    def test_a_new_workload_is_not_rolled_out(self) -> None:
        """The move that a deploy has asked for waits, and is named."""
        held = hold_voluntary(planned([replace(replica(SE, 0), workload_digest="old")], 1))

        assert held.plan.actions == ()
        assert [a.kind for a in held.withheld] == [ActionKind.MOVE]
        assert "r0 does not move" in held.plan.decision.summary

    def test_the_end_of_the_service_is_nobodys_whim(self) -> None:
        """Taking down stays whole."""
        wanted = plan(snapshot((SE, FR), [replica(SE, 0)], service_spec(1), taking_down=True), GREEN, NOON)

        assert hold_voluntary(wanted).plan.actions == wanted.actions != ()


class TestSteps:
    @pytest.mark.parametrize(
        "step",
        [
            Step(StepKind.WEIGHT, NEW.name, weight_percent=50),
            Step(StepKind.DRAIN, OLD.name, f"replaced by {NEW.name}"),
        ],
    )
    def test_a_rollout_stays_where_it_stands(self, step: Step) -> None:
        """Neither a larger share for the new one nor the end of the old one."""
        assert needed_steps([step], [OLD, NEW]) == ()

    def test_a_replacement_that_nobody_needs_is_not_asked_for(self) -> None:
        """It is recorded and waits; once the old one is lost, it is needed."""
        pending = replace(NEW, state=ReplicaState.PENDING)
        step = Step(StepKind.ISSUE, pending.name)

        assert needed_steps([step], [OLD, pending]) == ()
        assert needed_steps([step], [replace(OLD, state=ReplicaState.LOST), pending]) == (step,)
        assert needed_steps([step], [replace(pending, replaces=None)]) == (step,)

    def test_the_share_of_a_lost_replica_is_taken_over(self) -> None:
        """Traffic goes to what serves, paused or not."""
        step = Step(StepKind.WEIGHT, NEW.name, weight_percent=100)

        assert needed_steps([step], [replace(OLD, state=ReplicaState.LOST), NEW]) == (step,)

    @pytest.mark.parametrize(
        "step",
        [
            Step(StepKind.DRAIN, NEW.name, f"{ABORTED}3 of 4 requests failed on it"),
            Step(StepKind.LOST, OLD.name, "its process is gone"),
            Step(StepKind.TERMINATE, OLD.name, "nothing in flight"),
            Step(StepKind.READY, NEW.name, endpoint="http://127.0.0.1:9000"),
            Step(StepKind.CLEAN_UP, OLD.name),
        ],
    )
    def test_what_is_needed_or_merely_seen_is_done(self, step: Step) -> None:
        """A failing replacement is taken back, facts are recorded, and what has left the traffic is ended."""
        assert needed_steps([step], [OLD, NEW]) == (step,)
