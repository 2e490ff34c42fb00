"""Moving: make before break, one step at a time, and back when something fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.records import EventKind, OperationState
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import MigrationRules
from orchestrator.errors import NoCapacity
from tests.scenario.world import FULL, RULES, Traffic, World, chat

BY_HAND = replace(RULES, enabled=False)
"""No voluntary moves: only what a person asks for."""

AT_ONCE = replace(RULES, min_dwell=timedelta(0))


def dirty_from(hour: int) -> Callable[[int], float]:
    """A grid that is clean, and from that hour on is not any more."""
    return lambda now: 30.0 if now < hour else 500.0


async def moving_world(rules: MigrationRules = AT_ONCE) -> tuple[World, str]:
    """A service whose place has just become dirty, with traffic; return it with the name of its replica."""
    world = World()
    world.grid("SE", dirty_from(0))
    await world.up(chat(migration=rules))
    world.store.set_paused("chat", paused=True, now=world.now)
    await world.run(3600, every=60.0)
    world.traffic["chat"] = Traffic(2.0, 4.0)
    await world.run(6)
    world.store.set_paused("chat", paused=False, now=world.now)
    return world, world.the_replica().name


def replacement(world: World, old: str) -> Replica | None:
    """The replica that is to take the place of another."""
    return next((r for r in world.replicas() if r.replaces == old), None)


async def until_move_begins(world: World, old: str) -> str:
    """Wait for the policy; return the replacement's name."""
    await world.until(lambda: replacement(world, old) is not None)
    new = replacement(world, old)
    assert new is not None
    return new.name


async def test_the_policy_moves_a_replica_in_safe_steps_when_its_grid_becomes_dirty() -> None:
    """Ready and proven before any weight; each step held; the old one leaves when it is idle; nobody notices."""
    world, old = await moving_world()
    new = await until_move_begins(world, old)
    begun = len(world.gateway.published)
    (move,) = [d for d in world.store.decisions("chat") if d.kind is DecisionKind.MOVE]

    assert move.comparisons[0].approved

    seen: list[tuple[int | None, int | None, ReplicaState]] = []
    while world.replica(old).state is not ReplicaState.TERMINATED:
        await world.step()
        table = world.routed()
        step = (table.get(old), table.get(new), world.replica(old).state)
        if not seen or seen[-1] != step:
            seen.append(step)

    ready, draining = ReplicaState.READY, ReplicaState.DRAINING
    assert seen[-1][2] is ReplicaState.TERMINATED
    assert [s for s in seen[:-1] if s[1] is not None] == [
        (100, 0, ready),
        (90, 10, ready),
        (50, 50, ready),
        (0, 100, ready),
        (None, 100, draining),
    ]
    issued = [t.issued_at for t in world.gateway.published[begun:]]
    weights = [{u.replica: u.weight for s in t.services for u in s.upstreams} for t in world.gateway.published[begun:]]
    begins = {w[new]: at for at, w in reversed(list(zip(issued, weights, strict=True))) if new in w}
    for earlier, later in ((10, 50), (50, 100)):
        assert begins[later] - begins[earlier] >= RULES.canary_hold
    await world.settle()

    assert world.regions() == ["fr"]
    assert not world.severed
    assert world.refused == 0
    assert [c.method for c in world.cloud.calls if c.subject == old].count("terminate") >= 1
    assert not [c for c in world.gateway._counts.values() if c.failed or c.truncated]
    world.check_at_rest()


async def test_a_grid_that_swings_with_the_day_is_not_chased() -> None:
    """Three days of a recorded kind of grid: few moves, each with a gain, at most as many as the policy allows."""
    world = World(rate=60.0)
    world.grid("SE", lambda hour: 60.0 if hour % 24 < 12 else 130.0)
    world.grid("FR", lambda hour: 130.0 if hour % 24 < 12 else 60.0)
    await world.up(chat())
    await world.run(72 * 60, every=5.0)
    moves = [d for d in world.store.decisions("chat", limit=10_000) if d.kind is DecisionKind.MOVE]

    for number, move in enumerate(moves):
        recent = [m for m in moves[number:] if move.at - m.at < timedelta(hours=24)]
        assert len(recent) <= RULES.max_moves_per_day
        assert move.comparisons[0].net_grams > 0
    assert len(moves) <= 8


async def test_errors_on_the_new_replica_give_the_traffic_back_for_good() -> None:
    """The old one serves on, the move is taken back, and for two grid days the mistake is not repeated all day."""
    world = World(rate=60.0)
    world.grid("SE", dirty_from(2), days=5)
    await world.up(chat())
    old = world.the_replica().name
    world.traffic["chat"] = Traffic(2.0, 4.0)
    tried: set[str] = set()
    for _ in range(50 * 12):
        await world.step(5.0)
        new = replacement(world, old)
        if new is not None and new.name not in tried:
            tried.add(new.name)
            world.failing.add(new.name)
    moves = [d for d in world.store.decisions("chat", limit=10_000) if d.kind is DecisionKind.MOVE]
    places = [d.comparisons[0].to_offer for d in moves]

    assert moves
    assert len(world.events(EventKind.MIGRATION_ABORTED)) == len(moves)
    assert all(places.count(place) <= 2 for place in places), places
    assert [r.name for r in world.ready()] == [old]
    assert world.routed() == {old: FULL}
    failed = sum(c.failed for c in world.gateway._counts.values())
    assert failed <= 20, "an aborted canary should hurt few requests"


@pytest.mark.parametrize("limit", [timedelta(seconds=1), timedelta(seconds=5), None])
async def test_a_new_replica_that_is_late_to_speak_gives_the_traffic_back(limit: timedelta | None) -> None:
    """By what the gateway counts of its streams, and only where the owner asked for it and it is later than that."""
    world, old = await moving_world(replace(AT_ONCE, canary_hold=timedelta(seconds=60), abort_ttft_p95=limit))
    new = await until_move_begins(world, old)
    world.slow.add(new)
    is_late = limit is not None and limit < timedelta(seconds=2)
    end = EventKind.MIGRATION_ABORTED if is_late else EventKind.MIGRATION_DONE
    await world.until(lambda: bool(world.events(end)))
    aborted = [e.text for e in world.events(EventKind.MIGRATION_ABORTED)]
    assert bool(aborted) is is_late
    assert all("first tokens on it came later than 1000 ms" in text for text in aborted)
    assert world.refused == 0


STAGES: dict[str, Callable[[World, str, str], bool]] = {
    "pending": lambda _world, _old, _new: True,
    "starting": lambda world, _old, new: world.replica(new).state is ReplicaState.STARTING,
    "ready": lambda world, _old, new: world.replica(new).state is ReplicaState.READY,
    "canary": lambda world, _old, new: world.routed().get(new) == 10,
    "half": lambda world, _old, new: world.routed().get(new) == 50,
    "full": lambda world, _old, new: world.routed().get(new) == FULL,
    "draining": lambda world, old, _new: world.replica(old).state is ReplicaState.DRAINING,
}
KILLS: dict[str, Callable[[World, str], None]] = {
    "killed": World.murder,
    "preempted": World.preempt,
    "silent": lambda world, name: world.sick.add(name),
}


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("stage", STAGES)
async def test_a_new_replica_that_dies_leaves_the_service_where_it_was(stage: str, kill: str) -> None:
    """At any stage: the old one serves while it can, nothing is left over, one replica serves in the end."""
    world, old = await moving_world()
    new = await until_move_begins(world, old)
    await world.until(lambda: STAGES[stage](world, old, new) and new in world.cloud.existing())
    KILLS[kill](world, new)
    fewest = 1
    for _ in range(60):
        await world.step()
        fewest = min(fewest, len(world.ready()))
    world.sick.clear()
    await world.settle()

    assert fewest == (0 if stage == "draining" else 1), world.picture()
    assert len(world.ready()) == 1
    assert not world.severed or all(drained >= RULES.drain for _, _, drained in world.severed)
    assert world.replica(new).state is not ReplicaState.READY or kill == "silent"
    world.check_at_rest()


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("stage", STAGES)
async def test_an_old_replica_that_dies_hands_over_at_once(stage: str, kill: str) -> None:
    """At any stage: what is ready takes all, what is not is waited for; one replica serves in the end."""
    world, old = await moving_world()
    new = await until_move_begins(world, old)
    await world.until(lambda: STAGES[stage](world, old, new))
    ready = world.replica(new).state is ReplicaState.READY
    KILLS[kill](world, old)
    await world.run(5)
    if ready:
        assert world.routed() == {new: FULL}, world.picture()
    await world.settle()

    assert len(world.ready()) == 1
    assert world.replica(old).state in {ReplicaState.LOST, ReplicaState.TERMINATED}
    assert len(world.cloud.launches) <= 3
    world.check_at_rest()


async def test_a_move_that_a_person_asks_for_is_carried_out() -> None:
    """To the region that was named; the request is done when the old place is empty."""
    world = World()
    await world.up(chat(2, migration=BY_HAND))
    operation = await world.migrate("de")
    await world.settle()

    assert world.operation(operation).state is OperationState.DONE
    assert world.regions() == ["de", "se"]
    world.check_at_rest()


@pytest.mark.parametrize("kill", [k for k in KILLS if k != "silent"])
@pytest.mark.parametrize("stage", ["pending", "starting", "ready", "canary", "half", "full"])
async def test_a_move_that_did_not_happen_is_not_called_done(stage: str, kill: str) -> None:
    """The replacement dies on the way: the request fails, and says why."""
    world = World()
    await world.up(chat(migration=BY_HAND))
    old = world.the_replica().name
    operation = await world.migrate("de")
    new = await until_move_begins(world, old)
    await world.until(lambda: STAGES[stage](world, old, new) and new in world.cloud.existing())
    KILLS[kill](world, new)
    await world.settle()

    closed = world.operation(operation)
    assert (closed.state, bool(closed.error)) == (OperationState.FAILED, True)
    assert [r.name for r in world.ready()] == [old]
    world.check_at_rest()


async def test_a_move_to_a_place_without_room_fails_with_that_word() -> None:
    """The service stays where it is."""
    world = World()
    await world.up(chat(migration=BY_HAND))
    world.room["sky/de"] = 0
    operation = await world.migrate("de")
    await world.settle()

    assert world.operation(operation).error_code == NoCapacity.code
    assert world.regions() == ["se"]
    world.check_at_rest()


async def test_a_move_of_what_died_meanwhile_fails() -> None:
    """What was to be moved is gone when the controller gets to it: nothing is started, and that is no success."""
    world = World()
    await world.up(chat(migration=BY_HAND))
    operation = await world.migrate("de")
    world.preempt(world.the_replica().name)
    await world.settle()

    assert world.operation(operation).error_code == "stale_plan"
    assert world.regions() == ["se"]
    world.check_at_rest()


async def test_a_person_and_the_policy_do_not_move_the_same_replica_twice() -> None:
    """The policy begins between the plan that a person saw and the request: one move happens, the other is refused."""
    world, old = await moving_world()
    held = world.kill()
    operation = await world.migrate("de")
    queued = world.store._state.operations
    queued.put(operation.id, replace(operation, state=OperationState.FAILED))
    world.controller = held
    await until_move_begins(world, old)
    queued.put(operation.id, operation)
    await world.settle()

    assert world.operation(operation).error_code == "stale_plan"
    assert len(world.ready()) == 1
    assert len(world.cloud.launches) == 2
    world.check_at_rest()


async def test_two_replacements_of_one_replica_do_not_both_stay() -> None:
    """However a slot came to hold two that both serve: one of them is retired."""
    world = World()
    await world.up(chat(migration=BY_HAND))
    await world.migrate("de")
    await world.settle()
    shelf = world.store._state.replicas
    first = world.the_replica()
    await world.deploy(chat(2, migration=BY_HAND))
    await world.settle()
    second = next(r for r in world.ready() if r.name != first.name)
    shelf.put(second.name, replace(second, slot=0, replaces="gone"))
    await world.run(20, check=False)
    await world.settle()

    assert sorted(r.slot for r in world.ready()) == [0, 1]
    world.check_at_rest()


async def test_a_paused_service_does_not_move_by_itself() -> None:
    """Until it is allowed to again."""
    world, old = await moving_world()
    world.store.set_paused("chat", paused=True, now=world.now)
    await world.run(60, every=5.0)

    assert [r.name for r in world.ready()] == [old]

    world.store.set_paused("chat", paused=False, now=world.now)
    await until_move_begins(world, old)
