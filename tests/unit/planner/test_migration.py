"""A move that a person asks for: soft rules are shown, hard rules still hold."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.carbon import Gap
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import MigrationRules, PlacementRules
from orchestrator.domain.time import HOUR
from orchestrator.errors import Conflict, NoFeasiblePlacement, UnknownRegion, UsageError
from orchestrator.planner.plan import plan_migration
from orchestrator.planner.snapshot import Snapshot
from tests.builders import (
    GREEN,
    MINUTE,
    NOON,
    candidate,
    failed_rules,
    replica,
    service_spec,
    shape,
    snapshot,
    stale,
)

SE = candidate("aws/se", 30.0)
FR = candidate("aws/fr", 60.0)
PL = candidate("aws/pl", 700.0)
GRIDS = (SE, FR, PL)


def asked(
    world: Snapshot, name: str | None = None, to: str | None = None, policy: Any = GREEN, reason: str = "because"
) -> Plan:
    """Ask for a move at noon, as a person named ada."""
    return plan_migration(world, policy, NOON, replica=name, to_region=to, actor="ada", reason=reason)


class TestWhatMoves:
    def test_without_a_name_the_dirtiest_replica_goes_to_the_best_place(self) -> None:
        """The default is the move that helps most."""
        made = asked(snapshot(GRIDS, [replica(FR, 0), replica(PL, 1)], service_spec(2)))
        (action,) = made.actions
        assert (action.kind, action.slot, action.from_region, action.region) == (
            ActionKind.MOVE,
            1,
            "aws/pl",
            "aws/se",
        )

    @pytest.mark.parametrize("name", ["r1", "gc-test-chat-1", "chat-1"])
    def test_a_replica_is_named_by_slot_or_by_name_or_by_its_end(self, name: str) -> None:
        """As status prints it, or as the provider does."""
        made = asked(snapshot(GRIDS, [replica(PL, 0), replica(FR, 1)], service_spec(2)), name)
        assert made.actions[0].replica == "gc-test-chat-1"

    def test_a_region_can_be_named(self) -> None:
        """Also one that is worse: the person knows why."""
        made = asked(snapshot(GRIDS, [replica(SE)]), to="aws/pl")
        assert made.actions[0].region == "aws/pl"
        assert made.decision.comparisons[0].net_grams < 0

    def test_it_leaves_its_region(self) -> None:
        """Another shape in the same region is not what "elsewhere" means."""
        other_shape = candidate("aws/se", 1.0, on=shape("2xL4"))
        made = asked(snapshot([SE, other_shape, PL], [replica(SE)]))
        assert made.actions[0].region == "aws/pl"

    def test_who_and_why_are_kept(self) -> None:
        """The decision is a person's, with their reason."""
        made = asked(snapshot(GRIDS, [replica(PL)]), reason="maintenance")
        assert (made.decision.kind, made.decision.actor) == (DecisionKind.MOVE, "ada")
        assert made.actions[0].reason == "maintenance"


class TestSoftRules:
    """Dwell time, moves per day, improvement, freshness of the comparison: shown, not obeyed."""

    def test_they_are_all_bypassed_and_all_shown(self) -> None:
        """Moves off, paused, too young, too many, no gain: it moves, and the record says what spoke against it."""
        spec = service_spec(migration=MigrationRules(enabled=False))
        world = snapshot(
            GRIDS, [replica(SE, up_for=MINUTE)], spec, paused=True, moves=tuple(NOON - h * HOUR for h in range(9))
        )
        made = asked(world, to="aws/pl")
        assert made.actions[0].region == "aws/pl"
        assert failed_rules(made.decision.comparisons[0].verdicts) == {
            "migration.enabled",
            "rollout.paused",
            "migration.min_dwell",
            "migration.max_moves_per_day",
            "migration.min_improvement",
            "net_carbon",
        }

    def test_leaving_a_zone_without_a_signal_is_possible(self) -> None:
        """Nothing can be compared then, and no comparison is made up."""
        dark = candidate("aws/pl", Gap("PL", "no data", "api"))
        made = asked(snapshot([dark, SE], [replica(dark)]))
        assert made.actions[0].region == "aws/se"
        assert made.decision.comparisons == ()

    def test_leaving_what_is_no_longer_sold_is_possible(self) -> None:
        """There is no number for it, but there is a way out."""
        made = asked(snapshot([SE], [replica(PL)]))
        assert made.actions[0].region == "aws/se"
        assert made.decision.comparisons == ()


class TestHardRules:
    @pytest.mark.parametrize(
        ("target", "rules", "reason"),
        [
            (candidate("aws/se", 30.0, residency=("US",)), PlacementRules(residency=("EU",)), "not in EU"),
            (SE, PlacementRules(deny=("aws/se",)), "denied by aws/se"),
            (SE, PlacementRules(allow=("aws/pl",)), "not in placement.allow"),
            (candidate("aws/se", 30.0, usd=9.0), PlacementRules(), "price cap"),
            (candidate("aws/se", 30.0, usd=None), PlacementRules(), "price unknown"),
            (candidate("aws/se", stale("SE", 30.0)), PlacementRules(), "over the limit"),
            (candidate("aws/se", Gap("SE", "no data", "api")), PlacementRules(), "no carbon intensity"),
            (candidate("aws/se", 30.0, avoid_until=NOON + HOUR), PlacementRules(), "sold out"),
        ],
        ids=["residency", "deny", "allow", "price-cap", "unpriced", "stale", "gap", "failed-lately"],
    )
    @pytest.mark.parametrize("to", ["aws/se", None])
    def test_nobody_overrides_them(self, target: Any, rules: PlacementRules, reason: str, to: str | None) -> None:
        """Whoever asks, named region or not: refused with the reason."""
        world = snapshot([target, PL], [replica(PL)], service_spec(placement=rules))
        with pytest.raises(NoFeasiblePlacement, match=reason):
            asked(world, to=to, policy=replace(GREEN, price_cap_usd_per_hour=2.0))

    def test_a_full_region_is_full(self) -> None:
        """max_per_region counts the others."""
        spec = service_spec(2, placement=PlacementRules(max_per_region=1))
        world = snapshot([SE, PL], [replica(SE, 0), replica(PL, 1)], spec)
        with pytest.raises(NoFeasiblePlacement, match="aws/se: max_per_region reached"):
            asked(world, "r1", "aws/se")

    def test_with_nowhere_else_it_stays(self) -> None:
        """One region, nothing else sold."""
        with pytest.raises(NoFeasiblePlacement, match="nothing is sold there"):
            asked(snapshot([SE], [replica(SE)]))


class TestMistakes:
    def test_an_unknown_replica_lists_those_that_are_ready(self) -> None:
        """The answer helps to ask again."""
        with pytest.raises(UsageError, match=r"ready: r0 \(gc-test-chat-0\)"):
            asked(snapshot(GRIDS, [replica(PL)]), "r7")

    def test_an_unknown_region_lists_those_that_are_sold(self) -> None:
        """Typing errors are found before anything happens."""
        with pytest.raises(UnknownRegion, match="offers exist in aws/fr, aws/pl, aws/se"):
            asked(snapshot(GRIDS, [replica(PL)]), to="aws/sweden")

    def test_where_it_already_is_is_no_move(self) -> None:
        """Said as a mistake, not done as a restart."""
        with pytest.raises(UsageError, match="already stands in aws/pl"):
            asked(snapshot(GRIDS, [replica(PL)]), to="aws/pl")

    @pytest.mark.parametrize("state", [ReplicaState.PENDING, ReplicaState.PROVISIONING, ReplicaState.STARTING])
    def test_one_change_at_a_time(self, state: ReplicaState) -> None:
        """While anything starts or moves, the answer is "later"."""
        world = snapshot(GRIDS, [replica(PL, 0), replica(SE, 1, state)], service_spec(2))
        with pytest.raises(Conflict, match="already starting or moving"):
            asked(world)

    def test_a_service_that_is_taken_down_does_not_move(self) -> None:
        """Nothing new is bought for what is about to end."""
        with pytest.raises(Conflict):
            asked(snapshot(GRIDS, [replica(PL)], taking_down=True))

    def test_without_a_ready_replica_there_is_nothing_to_move(self) -> None:
        """A draining or lost one cannot be moved."""
        world = [replica(PL, 0, ReplicaState.DRAINING), replica(PL, 1, ReplicaState.LOST)]
        with pytest.raises(Conflict, match="no ready replica"):
            asked(snapshot(GRIDS, world))
