"""Replicas that load wants beside a request that is under way: they stay, take room, and stand for nobody."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.plan import ActionKind
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.scale import WantedReplicas
from orchestrator.domain.service import PlacementRules, Scaling
from orchestrator.domain.time import HOUR
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.hedge.spares import hedged
from orchestrator.planner.plan import plan, plan_beside
from orchestrator.planner.snapshot import Snapshot
from tests.builders import GREEN, NOON, candidate, replica, service_spec, snapshot

SE, FR = candidate("aws/se", 30.0), candidate("aws/fr", 60.0)
SHUT = candidate("aws/se", 30.0, avoid_until=NOON + HOUR)
TWO = WantedReplicas(2, 2, 6, 2, "load")
FOUR = WantedReplicas(4, 2, 6, 4, "a burst")


def rollout(
    *company: Replica, places: tuple[object, ...] = (SE, FR), placement: PlacementRules | None = None
) -> Snapshot:
    """Two slots, of which the first is with the new workload already, and whoever has come for load."""
    spec = replace(service_spec(2, placement=placement), scaling=Scaling(2, 2))
    made = snapshot(places, [], spec, sizing=TWO)  # type: ignore[arg-type]
    asked = (
        replica(SE, 0, workload_digest=made.workload_digest),
        replica(SE, 1, workload_digest="older"),
    )
    came = tuple(replace(r, workload_digest=made.workload_digest) for r in company)
    return replace(made, replicas=(*asked, *came), beside=frozenset(r.name for r in came))


def starting(slot: int) -> Replica:
    """Make one that has been asked for just now."""
    return replica(SE, slot, ReplicaState.PROVISIONING, up_for=timedelta(0))


def test_whoever_starts_for_load_keeps_no_rollout_waiting() -> None:
    """The next slot goes on as if nobody else were there, and nobody is more than wanted."""
    alone, together = plan(rollout(), GREEN, NOON), plan(rollout(starting(2), replica(SE, 3)), GREEN, NOON)
    assert [(a.kind, a.slot, a.region) for a in alone.actions] == [(ActionKind.MOVE, 1, "aws/se")]
    assert [(a.kind, a.slot, a.region) for a in together.actions] == [(ActionKind.MOVE, 1, "aws/se")]
    assert together.decision.sizing == TWO


def test_who_is_wanted_by_a_request_is_missed_whoever_is_there_for_load() -> None:
    """One of two is lost, and no place is open: that is refused as it would be without the other two."""
    worlds = (rollout(places=(SHUT,)), rollout(replica(SE, 2), replica(SE, 3), places=(SHUT,)))
    for world in worlds:
        lost = replace(world, replicas=tuple(r for r in world.replicas if r.slot != 1))
        with pytest.raises(NoFeasiblePlacement):
            plan(lost, GREEN, NOON)


def test_who_is_there_for_load_is_not_moved_meanwhile() -> None:
    """A place that a new rule forbids is left by those that the request asks for; the others follow later."""
    deny = PlacementRules(deny=("aws/se",))
    world = rollout(replica(SE, 2), replica(SE, 3), placement=deny)
    for _ in range(2):
        (action,) = plan(world, GREEN, NOON).actions
        assert (action.kind, action.slot < 2, action.region) == (ActionKind.MOVE, True, "aws/fr")
        gone = next(r for r in world.replicas if r.name == action.replica)
        came = replica(FR, gone.slot, workload_digest=world.workload_digest, name=f"new-{gone.slot}")
        world = replace(world, replicas=(*(r for r in world.replicas if r is not gone), came))
    assert plan(world, GREEN, NOON).actions == ()
    later = replace(world, beside=frozenset(), sizing=FOUR, spec=replace(world.spec, scaling=Scaling(4, 6)))
    assert [a.slot for a in plan(later, GREEN, NOON).actions] == [2]


def test_what_load_wants_is_launched_and_nothing_else() -> None:
    """The slots above those of the request, once each; the number in force stays, and says what load wants."""
    made = plan_beside(rollout(), FOUR, GREEN, NOON)
    assert [(a.kind, a.slot) for a in made.actions] == [(ActionKind.LAUNCH, 2), (ActionKind.LAUNCH, 3)]
    assert made.decision.kind is DecisionKind.SCALE
    assert made.decision.sizing is not None
    assert (made.decision.sizing.replicas, made.decision.sizing.needed) == (2, 4)
    assert "load wants 4 replicas: a burst" in made.decision.sizing.words
    assert all(a.reason == "wanted by load: 4 replicas: a burst" for a in made.actions)
    (more,) = plan_beside(rollout(starting(2)), FOUR, GREEN, NOON).actions
    assert more.slot == 3
    assert plan_beside(rollout(starting(2), replica(SE, 3)), FOUR, GREEN, NOON).actions == ()


def test_what_has_no_room_is_no_error() -> None:
    """It says what it waits for, launches nothing, and the number stays."""
    made = plan_beside(rollout(places=(SHUT,)), FOUR, GREEN, NOON)
    assert (made.actions, made.decision.kind) == ((), DecisionKind.HOLD)
    assert made.decision.summary.startswith("r2 waits for on-demand room")


def test_whoever_is_there_for_load_is_no_spare() -> None:
    """A pause keeps the spares that stand, and counts none of them."""
    spot = [candidate(f"aws/r{n}", 30.0 + n, market=Market.SPOT) for n in range(4)]
    spec = service_spec(2, spot=True, availability_fraction=0.99)
    before = snapshot(spot, [replica(spot[n], n) for n in range(2)], spec)
    came = [replica(spot[3], 4 + n) for n in range(2)]
    after = replace(before, replicas=(*before.replicas, *came), beside=frozenset(r.name for r in came))
    one, other = (hedged(replace(world, paused=True), NOON).hedging for world in (before, after))
    assert one is not None
    assert other is not None
    assert one.spares == other.spares
