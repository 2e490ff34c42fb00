"""Batch work: nothing runs until the cleanest hours before the deadline, and the deadline is kept whatever happens."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.control.batch import round_of
from orchestrator.control.status import service_status
from orchestrator.domain.carbon import Basis
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.records import OperationState
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import BatchRules, CronWindow, MoveSchedule, Scaling, ServiceSpec
from orchestrator.domain.time import HOUR
from tests.builders import NOON
from tests.scenario.world import RULES, World, chat, only

MIDNIGHT = NOON + 12 * HOUR
SIX = NOON + 18 * HOUR
CLEAN = range(14, 17)
"""Hours after noon in which the wind blows: 2 to 5 in the morning."""

BY_SIX = BatchRules(engine_hours=4.0, due_days=tuple(range(7)), due_minute=6 * 60)


def night(batch: BatchRules = BY_SIX, replicas: int = 2, **changes: object) -> ServiceSpec:
    """Make a service whose work has to be done by six in the morning."""
    made = chat(
        scaling=Scaling(0, replicas), migration=replace(RULES, enabled=False), placement=only("se"), batch=batch
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def wind(hour: int) -> float:
    """Grams per kWh, each day the same, so that the forecast knows it."""
    return 20.0 if hour % 24 in CLEAN else 400.0


async def deployed(spec: ServiceSpec) -> World:
    """Deploy it; the first replica shows that it can serve."""
    world = World()
    world.grid("SE", wind)
    world.start()
    operation = await world.deploy(spec)
    await world.until(lambda: world.operation(operation).state is OperationState.DONE)
    return world


async def run_to(world: World, hours: float, every: float = 30.0) -> None:
    """Let time pass until so many hours after noon."""
    seconds = (NOON + hours * HOUR - world.now).total_seconds()
    await world.run(seconds, every=every)


def done_hours(world: World, end: float) -> float:
    """Add up for how long replicas have been ready by a moment, in hours: counted here by the journal's own rows."""
    until = NOON + end * HOUR
    total = timedelta(0)
    for r in world.all_replicas():
        if r.ready_at is not None:
            total += max(timedelta(0), min(r.state_since if r.ended_at else world.now, until) - r.ready_at)
    return total / HOUR


async def test_a_day_of_batch_work() -> None:
    """It shows that it can serve, waits, runs in the clean hours, is done before six, and waits for the next night."""
    world = await deployed(night())
    first = world.store.decisions("chat", limit=100)[-1]
    assert first.sizing is not None
    assert first.sizing.because.startswith("one to begin with, to be seen to serve; batch waits until 2026-06-02T0")

    await run_to(world, 0.5)
    assert world.replicas() == []
    (status,) = await service_status(world.runtime, "chat")
    assert (status.wanted, status.ready) == (0, 0)
    assert status.sizing is not None
    assert "batch waits until 2026-06-02T02:00:00Z" in status.sizing.words
    assert "less than beginning now" in status.sizing.words
    assert "engine hours of work by 2026-06-02T06:00:00Z" in status.sizing.words
    assert "asleep, 0 replicas: batch waits" in status.look

    await run_to(world, 13.9, every=60.0)
    assert world.replicas() == []
    await run_to(world, 14.1)
    assert len(world.ready()) == 2
    begun = world.store.decisions("chat", kind=DecisionKind.SCALE, limit=1)[0]
    assert "wanted by its deadline: 2 replicas: batch: 4.0 engine hours of work by" in begun.summary
    assert begun.sizing is not None
    assert begun.sizing.until == SIX
    works = [a.work for a in begun.assessments]
    assert all(w is not None and w.mean_batch > 0 for w in works), "hours without work are no load to size by"

    await run_to(world, 16.2)
    assert world.replicas() == [], world.picture()
    assert done_hours(world, 18) >= 4.0
    (status,) = await service_status(world.runtime, "chat")
    assert "4.0 engine hours done; the next round begins at 2026-06-02T06:00:00Z" in status.look

    await run_to(world, 37.9, every=120.0)
    assert world.replicas() == []
    await run_to(world, 38.1)
    assert len(world.ready()) == 2, "the next night it runs again"
    assert len(world.all_replicas()) == 5
    told = [d for d in world.store.decisions("chat", limit=1000) if d.kind is DecisionKind.STAY]
    assert len(told) < 80, "waiting is said once an hour and when it changes"


async def test_with_no_signal_it_runs_at_once() -> None:
    """A deadline is not missed for want of a signal: nothing is waited for in the dark, and launched it is as well."""
    world = World()
    world.carbon.hold("SE", 400.0)
    world.start()
    operation = await world.deploy(night())
    world.carbon._held.pop(("SE", Basis()))
    world.carbon.gap("SE", "the meter is broken")
    await world.until(lambda: world.operation(operation).state is OperationState.DONE)
    await run_to(world, 0.2)
    assert len(world.ready()) == 2, world.picture()


async def test_a_new_controller_goes_on_with_what_was_begun() -> None:
    """That it runs is in the records: work that must not be interrupted goes through, whoever looks."""
    world = await deployed(night())
    await run_to(world, 14.5, every=60.0)
    before = {r.name for r in world.ready()}
    assert len(before) == 2
    world.kill()
    world.grid("SE", lambda hour: 900.0 if hour < 16 else 20.0)
    await world.run(120)
    world.start()
    await world.run(300)
    assert {r.name for r in world.ready()} == before
    await run_to(world, 16.3, every=60.0)
    assert world.replicas() == []


async def test_launches_that_fail_leave_time_enough() -> None:
    """Nobody sells anything for an hour from the best moment on: the work is done by six all the same."""
    world = await deployed(night(replace(BY_SIX, engine_hours=3.0), replicas=2))
    await run_to(world, 13.9, every=60.0)
    world.room["sky/se"] = 0
    await run_to(world, 14.9, every=60.0)
    assert world.ready() == []
    world.room.clear()
    await run_to(world, 18, every=60.0)
    assert done_hours(world, 18) >= 3.0, world.picture()
    assert world.replicas() == []


async def test_what_may_stop_stops_between_two_clean_stretches() -> None:
    """Preemptible work runs where it is clean, in two pieces, with a start for each."""
    world = World()
    world.grid("SE", lambda hour: 20.0 if hour % 24 in {3, 4, 9, 10} else 500.0)
    rules = replace(BY_SIX, engine_hours=3.0, preemptible=True)
    world.start()
    operation = await world.deploy(night(rules, replicas=1))
    await world.until(lambda: world.operation(operation).state is OperationState.DONE)
    seen: list[int] = []
    for hour in range(18):
        await run_to(world, hour + 0.5, every=120.0)
        seen.append(len(world.ready()))
    assert [h for h, n in enumerate(seen) if n] in ([3, 4, 9], [3, 4, 10], [3, 9, 10], [4, 9, 10]), seen
    assert done_hours(world, 18) >= 3.0


async def test_a_single_deadline_ends_the_work_for_good() -> None:
    """When it is done nothing comes after it; a replica that was ready a second is not yet the work."""
    rules = BatchRules(engine_hours=2.0, deadline=SIX.replace(tzinfo=None))
    world = await deployed(night(rules, replicas=1))
    await run_to(world, 17, every=120.0)
    assert done_hours(world, 18) >= 2.0
    await run_to(world, 40, every=600.0)
    assert world.replicas() == []
    (status,) = await service_status(world.runtime, "chat")
    assert status.look == "stay: asleep, 0 replicas: batch: 2.0 engine hours done"


async def test_who_changes_something_else_goes_on_with_the_same_work() -> None:
    """What is done of a single deadline stays done over deploys, also when it is past; other work begins anew."""
    rules = BatchRules(engine_hours=3.0, deadline=SIX.replace(tzinfo=None))

    async def redeployed(rules: BatchRules, unit: int) -> float:
        spec = night(rules, replicas=1, functional_unit_tokens=unit)
        operation = await world.deploy(spec)
        await world.until(lambda: world.operation(operation).state is OperationState.DONE, every=10.0)
        record = world.store.service("chat")
        assert record is not None
        return round_of(spec, rules, record, world.store, world.now, 1.0).left_hours

    world = await deployed(night(rules, replicas=1))
    await run_to(world, 16.5, every=60.0)
    half = 3.0 - done_hours(world, 18)
    assert 0.2 < half < 1.0, world.picture()
    assert await redeployed(rules, 2) == pytest.approx(half, abs=0.05)

    await run_to(world, 18.1, every=60.0)
    assert world.replicas() == [], world.picture()
    assert await redeployed(rules, 3) == 0.0
    await run_to(world, 20, every=600.0)
    assert world.replicas() == []

    assert await redeployed(replace(rules, engine_hours=4.0), 4) == pytest.approx(4.0, abs=0.05)
    taken_down = world.down()
    await world.until(lambda: world.operation(taken_down).state is OperationState.DONE)
    assert await redeployed(replace(rules, engine_hours=4.0), 4) == pytest.approx(4.0, abs=0.05)


async def test_what_is_late_runs_on() -> None:
    """Nobody could be launched until after a single deadline: the work is done then, and it is said that it is late."""
    rules = BatchRules(engine_hours=1.0, deadline=SIX.replace(tzinfo=None))
    world = await deployed(night(rules, replicas=1))
    await run_to(world, 2, every=60.0)
    world.room["sky/se"] = 0
    await run_to(world, 18.5, every=240.0)
    world.room.clear()
    await world.until(lambda: len(world.ready()) == 1, limit=8000, every=60.0)
    said = [d.sizing.because for d in world.store.decisions("chat", limit=3) if d.sizing is not None]
    assert any("cannot be done in time" in words for words in said), said
    await world.run(4200, every=60.0)
    assert world.replicas() == []


async def test_tokens_are_counted_where_tokens_are_asked() -> None:
    """What the ledger has of the round counts, and turns into hours by the lower rate."""
    rules = BatchRules(
        output_tokens=1000, output_tokens_per_engine_hour=500.0, due_days=tuple(range(7)), due_minute=360
    )
    world = await deployed(night(rules, replicas=1))
    record = world.store.service("chat")
    assert record is not None
    work = round_of(record.spec, rules, record, world.store, world.now, 1.0)
    assert work.left_hours == pytest.approx(2.0)
    assert "0 of 1000 output tokens" in work.counted


async def test_a_served_stretch_counts_from_ready_on_and_within_its_round_only() -> None:
    """Starts do not count, and what was served before six does not count for the night after it."""
    world = await deployed(night(replicas=1))
    record = world.store.service("chat")
    assert record is not None
    (ready,) = [r for r in world.all_replicas() if r.ready_at is not None]
    assert ready.state in {ReplicaState.READY, ReplicaState.DRAINING}
    await run_to(world, 0.5)
    (proof,) = world.all_replicas()
    assert proof.ready_at is not None
    work = round_of(record.spec, BY_SIX, record, world.store, world.now, 1.0)
    assert work.done_hours == pytest.approx((proof.state_since - proof.ready_at) / HOUR)
    later = round_of(record.spec, BY_SIX, record, world.store, SIX + HOUR, 1.0)
    assert (later.done_hours, later.window.start, later.window.end) == (0.0, SIX, SIX + 24 * HOUR)


async def test_on_a_grid_that_is_replayed_work_is_physical_and_deadlines_are_the_grids() -> None:
    """At sixty times the pace three minutes of serving are three hours of the grid, and planned as such."""
    world = World(rate=60.0)
    world.grid("SE", wind)
    world.start()
    operation = await world.deploy(night(replace(BY_SIX, engine_hours=0.045, due_minute=18 * 60), replicas=1))
    await world.until(lambda: world.operation(operation).state is OperationState.DONE)
    for hour, running in ((1, 1), (13.4, 0), (15, 1), (17.8, 0)):
        await world.run((NOON + hour * HOUR - world.now).total_seconds() / 60, every=2.0)
        assert len(world.ready()) == running, (hour, world.picture())
    # The round that was due six hours after the deploy could not wait; the next one had a night for it.
    assert 2 * 0.045 <= done_hours(world, 30) / 60 <= 2 * 0.045 + 0.01


@pytest.mark.parametrize("what", ["prices", "window"])
async def test_what_says_nothing_new_does_not_end_work_that_must_not_be_interrupted(what: str) -> None:
    """Half-way the prices cannot be read for minutes, or a window for moves ends: cleaner hours later tempt nobody."""
    grams = {10: 20.0, 11: 20.0, 12: 300.0, 13: 300.0, 15: 150.0, 16: 150.0}
    at_midnight = MoveSchedule("UTC", (), (CronWindow("0 0 * * *", timedelta(minutes=5)),))
    world = World()
    world.grid("SE", lambda hour: grams.get(hour % 24, 400.0))
    world.start()
    moves = replace(RULES, schedule=at_midnight) if what == "window" else replace(RULES, enabled=False)
    operation = await world.deploy(night(replicas=1, migration=moves))
    await world.until(lambda: world.operation(operation).state is OperationState.DONE)
    await run_to(world, 12.0)
    (begun,) = [r.name for r in world.ready()]

    if what == "prices":
        world.offers.fail("the list cannot be read")
    await run_to(world, 12.0 + 5 / 60)
    world.offers.heal()
    world.kill()
    world.start()
    await run_to(world, 13.0)

    assert [r.name for r in world.ready()] == [begun], "the same one, and a new controller knows as well"
    said = [d.summary for d in world.store.decisions("chat", since=NOON + 11.9 * HOUR, limit=100)]
    assert any("cannot be read" in s if what == "prices" else "is over: stay" in s for s in said), said
    await run_to(world, 14.2)
    assert world.replicas() == []
    assert done_hours(world, 18) >= 4.0
