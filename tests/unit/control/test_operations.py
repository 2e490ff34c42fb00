"""What a request carries, when it is done, and when it is beyond hope."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.control.naming import intent_id
from orchestrator.control.operations import (
    ELSEWHERE,
    FURTHER_TRIES,
    HOPELESS,
    asked_for,
    company_cause,
    failure_of,
    in_the_way,
    is_done,
    payload_of,
    plan_in,
    why_alone,
)
from orchestrator.control.requests import error_of
from orchestrator.domain.money import MoneyBudget
from orchestrator.domain.records import OperationKind
from orchestrator.domain.replica import ENDED, Replica, ReplicaState
from orchestrator.domain.service import ModelSpec, PlacementRules, ServiceSpec
from orchestrator.domain.time import HOUR
from orchestrator.domain.workload import workload_digest
from orchestrator.errors import (
    EngineDied,
    GreenctlError,
    LaunchTimedOut,
    MigrationAborted,
    NoCapacity,
    ProviderError,
    StalePlan,
)
from orchestrator.planner.plan import plan
from tests.builders import GREEN, MINUTE, NOON, candidate, operation, record, replica, service_spec, snapshot

SE, PL = candidate("aws/se", 30.0), candidate("aws/pl", 700.0)
DEPLOY, MIGRATE, DOWN = (operation(kind) for kind in OperationKind)
GONE = {"cleaned_up": True}


def ended(state: ReplicaState, reason: str = "", slot: int = 0, **changes: Any) -> Replica:
    """Make a replica of this request that has ended and left nothing."""
    return replica(SE, slot, state, up_for=-MINUTE, reason=reason, **{**GONE, **changes})


class TestPayload:
    def test_the_confirmed_plan_is_read_back_as_it_was(self) -> None:
        """Equal in every field, explanation included: what is applied is what was confirmed."""
        made = plan(snapshot([SE, PL], [replica(PL)]), GREEN, NOON)
        read = plan_in(operation(OperationKind.DEPLOY, payload_of(made, "because")))
        assert read == made
        assert read.digest == made.digest

    @pytest.mark.parametrize("payload", ["{}", "[]", "", "null", '{"plan": {}}', '{"plan": null}'])
    def test_a_payload_without_a_plan_is_refused(self, payload: str) -> None:
        """ValueError, whatever is wrong with it."""
        with pytest.raises(ValueError, match=r"."):
            plan_in(operation(OperationKind.DEPLOY, payload))


class TestDone:
    @pytest.mark.parametrize("request_", [DEPLOY, MIGRATE], ids=["deploy", "migrate"])
    def test_when_all_wanted_replicas_serve_at_full_weight_and_nothing_else_is_left(self, request_: Any) -> None:
        """Right number, right workload, full weight, and no leftover anywhere."""
        spec = service_spec(2)
        serving = [replica(SE, 0), replica(PL, 1)]
        assert is_done(request_, record(spec), serving)
        assert is_done(request_, record(spec), [*serving, ended(ReplicaState.TERMINATED, slot=0, name="old")])

    @pytest.mark.parametrize(
        "second",
        [
            None,
            replica(PL, 1, weight_percent=50),
            replica(PL, 1, workload_digest="older"),
            replica(PL, 1, ReplicaState.STARTING),
            replica(PL, 1, ReplicaState.DRAINING),
            replica(PL, 1, ReplicaState.LOST, cleaned_up=True),
        ],
        ids=["missing", "half-weight", "old-workload", "starting", "draining", "lost"],
    )
    def test_not_before(self, second: Replica | None) -> None:
        """Anything less is not what was asked for."""
        replicas = [replica(SE, 0), *([] if second is None else [second])]
        assert not is_done(DEPLOY, record(service_spec(2)), replicas)

    @pytest.mark.parametrize("state", [s for s in ReplicaState if s is not ReplicaState.READY])
    def test_not_while_something_is_left_over(self, state: ReplicaState) -> None:
        """A replica that ended but may still run is paid for: not done."""
        assert not is_done(DEPLOY, record(), [replica(SE, 0), replica(PL, 0, state, name="other")])

    def test_a_take_down_is_done_when_nothing_is_left(self) -> None:
        """Ended is not enough: the provider has to have confirmed it."""
        assert is_done(DOWN, record(), [])
        assert is_done(DOWN, record(), [ended(s, name=s.value) for s in sorted(ENDED)])
        assert not is_done(DOWN, record(), [ended(ReplicaState.TERMINATED, cleaned_up=False)])
        assert not is_done(DOWN, record(), [replica(SE)])


class TestDeployFailure:
    def failed(self, reason: str, number: int = 0) -> Replica:
        """Make a launch of this deploy that failed."""
        return ended(ReplicaState.FAILED, reason, name=f"gc-{number}")

    @pytest.mark.parametrize("code", sorted(HOPELESS))
    def test_what_no_other_place_cures_fails_at_once(self, code: str) -> None:
        """A missing engine or a full disk, before anything of this workload has served."""
        found = failure_of(DEPLOY, record(), [self.failed(f"{code}: words: and more")])
        assert found is not None
        assert (found.code, found.message) == (code, "words: and more")

    def test_what_fails_otherwise_is_tried_three_more_times(self) -> None:
        """Then it is given up, with the code of the last one."""
        tries = [self.failed("port_busy: 8000", n) for n in range(FURTHER_TRIES)]
        assert failure_of(DEPLOY, record(), tries) is None
        found = failure_of(DEPLOY, record(), [*tries, self.failed("port_busy: 8000", 9)])
        assert found is not None
        assert found.code == "port_busy"

    @pytest.mark.parametrize("code", sorted(ELSEWHERE))
    def test_a_sold_out_place_says_nothing_against_a_deploy(self, code: str) -> None:
        """Many replicas may meet one full region at once: the next one is tried, until the planner knows no more."""
        full = [self.failed(f"{code}: none", n) for n in range(FURTHER_TRIES + 9)]
        assert failure_of(DEPLOY, record(), full) is None

    def test_what_has_served_is_not_hopeless(self) -> None:
        """An engine that worked once may die once."""
        assert failure_of(DEPLOY, record(), [replica(SE), self.failed("engine_died: boom")]) is None

    def test_only_this_deploys_failures_count(self) -> None:
        """Not those before it, and not those of another workload."""
        before = replace(self.failed("engine_died: boom"), created_at=NOON - HOUR)
        other = replace(self.failed("engine_died: boom"), workload_digest="older")
        assert failure_of(DEPLOY, record(), [before, other]) is None

    def test_a_good_old_workload_is_no_alibi(self) -> None:
        """That the old model served says nothing about the new one."""
        newer = record(replace(service_spec(), model=ModelSpec("org/newer")))
        from_new = replace(self.failed("engine_died: boom"), workload_digest=workload_of(newer.spec))
        assert failure_of(DEPLOY, newer, [replica(SE), from_new]) is not None

    def test_a_reason_without_a_code_is_the_providers(self) -> None:
        """The words are kept."""
        found = failure_of(DEPLOY, record(), [self.failed("it broke")])
        assert found is not None
        assert (found.code, found.message) == ("provider_error", "it broke")

    def test_nothing_failed_is_no_failure(self) -> None:
        """Slow is not failed."""
        assert failure_of(DEPLOY, record(), [replica(SE, 0, ReplicaState.STARTING, up_for=-MINUTE)]) is None
        assert failure_of(DOWN, record(), [self.failed("engine_died: boom")]) is None


class TestMigrationFailure:
    OLD = replica(PL, 0, name="old")

    def new(self, state: ReplicaState, reason: str = "") -> Replica:
        """Make the replacement that this request started."""
        asked_for = intent_id(MIGRATE.id, 0)
        return replica(SE, 0, state, name="new", replaces="old", up_for=-MINUTE, reason=reason, intent_id=asked_for)

    @pytest.mark.parametrize("state", [ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.READY])
    def test_one_under_way_has_not_failed(self, state: ReplicaState) -> None:
        """It takes the time that it takes."""
        assert failure_of(MIGRATE, record(), [self.OLD, self.new(state)]) is None

    def test_a_replacement_that_failed_fails_it(self) -> None:
        """With the engine's own code."""
        found = failure_of(MIGRATE, record(), [self.OLD, self.new(ReplicaState.FAILED, "engine_died: boom")])
        assert found is not None
        assert found.code == "engine_died"

    @pytest.mark.parametrize("state", [ReplicaState.DRAINING, ReplicaState.TERMINATED])
    def test_one_that_was_taken_back_fails_it(self, state: ReplicaState) -> None:
        """The traffic stayed where it was."""
        found = failure_of(MIGRATE, record(), [self.OLD, self.new(state, "aborted: 3 of 9 requests failed on it")])
        assert found is not None
        assert found.message == "3 of 9 requests failed on it"

    def test_one_that_vanished_fails_it(self) -> None:
        """The old one serves alone again: that is not what was asked for."""
        found = failure_of(MIGRATE, record(), [self.OLD, self.new(ReplicaState.LOST, "its process is gone")])
        assert found is not None
        assert found.message == "its process is gone"

    def test_one_that_never_began_fails_it(self) -> None:
        """The replica that was to move had gone meanwhile: nothing was started, and that is no success."""
        found = failure_of(MIGRATE, record(), [replica(SE)])
        assert found is not None
        assert found.code == StalePlan.code

    def test_somebody_elses_replacement_is_not_mine(self) -> None:
        """An earlier move that failed does not fail this one, whatever two clocks say about which came first."""
        other = replica(SE, 0, ReplicaState.FAILED, name="other", replaces="old", up_for=-HOUR, reason="engine_died: x")
        assert failure_of(MIGRATE, record(), [self.OLD, other, self.new(ReplicaState.READY)]) is None

    @pytest.mark.parametrize(
        ("reason", "kind"),
        [
            ("engine_died: boom", EngineDied),
            ("launch_timed_out: not ready within 1200 s", LaunchTimedOut),
            ("no_capacity: none", NoCapacity),
            ("aborted: 3 of 9 requests failed on it", MigrationAborted),
            ("its process is gone", ProviderError),
        ],
    )
    def test_its_error_is_of_the_one_tree(self, reason: str, kind: type[GreenctlError]) -> None:
        """Whatever failed comes back with its code, its exit status, and its words."""
        found = failure_of(MIGRATE, record(), [self.OLD, self.new(ReplicaState.FAILED, reason)])
        assert found is not None
        error = error_of(replace(MIGRATE, error_code=found.code, error=found.message))
        assert type(error) is kind
        assert error.message == found.message


def workload_of(spec: ServiceSpec) -> str:
    """Name what a spec runs."""
    return snapshot([], spec=spec).workload_digest


class TestCompany:
    """Who came for load beside a request, and when nobody may."""

    @staticmethod
    def beside(request: Any, slot: int = 2, state: ReplicaState = ReplicaState.READY, **changes: Any) -> Replica:
        cause = company_cause(request)
        return replica(SE, slot, state, up_for=-MINUTE, **{"intent_id": intent_id(cause, slot), **changes})

    def test_a_request_is_judged_without_it(self) -> None:
        """Neither a start of theirs that is open nor four that failed say anything of the deploy."""
        serving = [replica(SE, 0), replica(PL, 1)]
        starting = self.beside(DEPLOY, state=ReplicaState.STARTING)
        reason = "engine_died: out of memory"
        failed = [self.beside(DEPLOY, n, ReplicaState.FAILED, reason=reason) for n in range(2, 7)]
        service = record(service_spec(2))
        for replicas in ([*serving, starting], [*serving, *failed]):
            asked = asked_for(DEPLOY, replicas)
            assert list(asked) == serving
            assert is_done(DEPLOY, service, asked)
            assert failure_of(DEPLOY, service, asked) is None
        assert failure_of(DEPLOY, service, [*serving, *(replace(r, intent_id="own") for r in failed)]) is not None

    @pytest.mark.parametrize(
        ("replicas", "why"),
        [
            ([replica(SE, 0), replica(PL, 1)], ""),
            ([replica(SE, 0, workload_digest="older")], "nothing of what shall run serves in full yet"),
            ([replica(SE, 0, weight_percent=50)], "nothing of what shall run serves in full yet"),
            ([], "nothing of what shall run serves in full yet"),
            (
                [replica(SE, 0, workload_digest="older"), replica(PL, 0, name="new", replaces="gc-test-chat-0")],
                "nothing of what shall run serves in full yet",
            ),
            (
                [replica(SE, 0), ended(ReplicaState.FAILED, "no_capacity: sold out", 1)],
                "room is short, and for the deploy",
            ),
            ([replica(SE, 0), ended(ReplicaState.FAILED, "engine_died: oom", 1)], ""),
        ],
        ids=["proven", "older", "canary", "nobody", "both-sides", "no-room", "another-failure"],
    )
    def test_it_comes_once_what_shall_run_is_proven_and_room_is_not_short(
        self, replicas: list[Replica], why: str
    ) -> None:
        """Else it would take a share of the traffic before any canary, or the place of who is asked for."""
        assert why_alone(DEPLOY, record(service_spec(2)), replicas) == why

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"budget": MoneyBudget(usd_per_day=100.0)}, "budget"),
            ({"placement": PlacementRules(max_per_region=3)}, "max_per_region"),
        ],
    )
    def test_a_deploy_keeps_what_it_may_be_short_of(self, changes: dict[str, Any], words: str) -> None:
        """A move that somebody asked for has bought all that it buys before it begins."""
        service = record(replace(service_spec(2), **changes))
        serving = [replace(replica(SE, n), workload_digest=workload_digest(service.spec)) for n in range(2)]
        assert words in why_alone(DEPLOY, service, serving)
        assert why_alone(MIGRATE, service, serving) == ""

    def test_it_is_tried_once(self) -> None:
        """Whatever became of it, it is not bought again for this request."""
        gone = self.beside(DEPLOY, state=ReplicaState.FAILED, reason="engine_died: oom")
        assert why_alone(DEPLOY, record(service_spec(2)), [replica(SE, 0), gone]) == (
            "r2, which came for it, has ended: engine_died: oom"
        )

    def test_it_goes_where_a_start_that_was_asked_for_found_no_room_beside_it(self) -> None:
        """A quota is counted by region: another region's is none of its business, nor what was full before it came."""
        here, there = self.beside(DEPLOY), self.beside(DEPLOY, 3, region="aws/pl")
        full = ended(ReplicaState.FAILED, "quota_exceeded: 3 of 3", 1, state_since=NOON + 2 * MINUTE)
        assert in_the_way(DEPLOY, [here, there, full]) == (here,)
        assert in_the_way(DEPLOY, [here, there, replace(full, reason="engine_died: oom")]) == ()
        assert in_the_way(DEPLOY, [here, there, replace(full, state_since=NOON)]) == ()
