"""Scheduled moves: the timer asks for a look, the policy decides, and what has to be done is never put off."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.price import Market
from orchestrator.domain.records import OperationState
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import (
    Closed,
    CronWindow,
    MigrationRules,
    ModelSpec,
    MoveSchedule,
    SpotLoss,
    WeeklyWindow,
)
from orchestrator.domain.time import HOUR, Instant
from orchestrator.errors import Frozen
from orchestrator.planner.schedule import SCHEDULE_RULE
from tests.builders import NOON, offer
from tests.scenario.world import RULES, World, chat

EVERY_DAY = tuple(range(7))
AFTERNOON = WeeklyWindow(EVERY_DAY, 14 * 60, 16 * 60)
"""Two hours after the world begins, for two hours, in UTC."""


def rules(schedule: MoveSchedule) -> MigrationRules:
    """Quick moves, held to a schedule alone."""
    return replace(RULES, min_dwell=timedelta(0), schedule=schedule)


def local(text: str) -> datetime:
    """A time on the schedule's clock."""
    return datetime.fromisoformat(text)


TODAY = (Closed(local("2026-06-01T00:00"), local("2026-06-02T00:00"), "release week"),)


async def world_of(schedule: MoveSchedule, *, dirty_from: int | None = 0) -> World:
    """A service in Sweden whose grid is dirty from that hour on, which is known when it is over, or never."""
    world = World()
    if dirty_from is not None:
        world.grid("SE", lambda hour: 30.0 if hour < dirty_from else 500.0, days=9)
    await world.up(chat(migration=rules(schedule)))
    assert world.regions() == ["se"]
    return world


def endings(world: World) -> list[Decision]:
    """The decisions that say how a window ended, oldest first."""
    found = world.store.decisions("chat", kind=DecisionKind.STAY, limit=10_000)
    return [d for d in reversed(found) if " is over: stay, because " in d.summary]


def moves(world: World) -> list[Decision]:
    """The moves that the policy made, oldest first."""
    found = world.store.decisions("chat", kind=DecisionKind.MOVE, limit=10_000)
    return [d for d in reversed(found) if d.comparisons]


async def run_to(world: World, moment: Instant, every: float = 150.0) -> None:
    """Let time pass until then."""
    await world.run((moment - world.now).total_seconds(), every)


# ── windows ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_replica_waits_for_its_window_says_so_and_moves_in_it() -> None:
    """The move is worth making an hour before the window opens; it begins at the first look inside."""
    world = await world_of(MoveSchedule(windows=(AFTERNOON,)))
    await run_to(world, NOON + 2 * HOUR - timedelta(minutes=1))

    assert world.regions() == ["se"]
    waiting = next(d for d in world.store.decisions("chat") if "waits" in d.summary)
    assert waiting.summary.endswith("waits: next window at 2026-06-01T14:00:00Z (Mon 01 Jun 14:00 UTC)")
    assert waiting.kind is DecisionKind.STAY
    assert [v.rule for v in waiting.comparisons[0].verdicts if not v.passed] == [SCHEDULE_RULE]

    await run_to(world, NOON + 3 * HOUR, every=5.0)
    await world.settle()

    (move,) = moves(world)
    assert NOON + 2 * HOUR <= move.at < NOON + 2 * HOUR + timedelta(minutes=1)
    assert world.regions() == ["fr"]

    await run_to(world, NOON + 5 * HOUR)
    assert endings(world) == []
    world.check_at_rest()


async def test_a_window_without_gain_ends_with_one_decision_that_says_why() -> None:
    """Nothing is recorded while it is open, one stay when it closes, with the numbers; the next day another."""
    world = await world_of(MoveSchedule(windows=(AFTERNOON,)), dirty_from=None)
    await run_to(world, NOON + 4 * HOUR - timedelta(seconds=30), every=30.0)
    opened = NOON + 2 * HOUR
    assert [d for d in world.store.decisions("chat", limit=1000) if d.at >= opened] == []

    await run_to(world, NOON + 10 * HOUR)
    (stay,) = endings(world)

    assert stay.summary.startswith("window 14:00-16:00 UTC from 2026-06-01T14:00:00Z is over: stay, because the best")
    assert "fails migration.min_improvement" in stay.summary
    assert stay.comparisons
    assert NOON + 4 * HOUR <= stay.at <= NOON + 4 * HOUR + timedelta(minutes=3)

    await run_to(world, NOON + 30 * HOUR)
    assert len(endings(world)) == 2


async def test_nothing_moves_between_two_windows() -> None:
    """A move that begins to pay when the window has closed waits for the next day's."""
    world = await world_of(MoveSchedule(windows=(AFTERNOON,)), dirty_from=5)
    await run_to(world, NOON + 26 * HOUR - timedelta(minutes=1))
    assert (world.regions(), len(endings(world))) == (["se"], 1)

    await run_to(world, NOON + 27 * HOUR, every=10.0)
    await world.settle()
    assert world.regions() == ["fr"]
    assert len(endings(world)) == 1


async def test_overlapping_windows_are_open_until_the_later_end_and_each_ends_with_a_word_of_its_own() -> None:
    """The same day, 14 to 16 and 15 to 17; a move in both counts for both."""
    both = MoveSchedule(windows=(AFTERNOON, WeeklyWindow(EVERY_DAY, 15 * 60, 17 * 60)))
    quiet = await world_of(both, dirty_from=None)
    await run_to(quiet, NOON + 8 * HOUR)
    assert [d.at - NOON < 4 * HOUR + timedelta(minutes=4) for d in endings(quiet)] == [True, False]

    moving = await world_of(both, dirty_from=2)
    await run_to(moving, NOON + 8 * HOUR, every=30.0)
    assert len(moves(moving)) == 1
    assert endings(moving) == []


async def test_a_cron_line_opens_windows_too() -> None:
    """At 15:30 for half an hour; the move begins then and not before."""
    world = await world_of(MoveSchedule(cron=(CronWindow("30 15 * * *", HOUR / 2),)), dirty_from=0)
    await run_to(world, NOON + 5 * HOUR, every=30.0)
    await world.settle()

    (move,) = moves(world)
    assert NOON + 3.5 * HOUR <= move.at < NOON + 4 * HOUR
    world.check_at_rest()


async def test_a_schedule_without_windows_lets_replicas_move_at_any_time() -> None:
    """It only says when not."""
    world = await world_of(MoveSchedule(freezes=(Closed(local("2027-01-01T00:00"), local("2027-01-02T00:00")),)))
    await run_to(world, NOON + HOUR, every=30.0)
    await world.settle()
    assert world.regions() == ["fr"]


# ── who is not there in time ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("killed_at", [3.0, 4.0, 4.02], ids=["inside", "at the end", "after it"])
async def test_a_window_is_spoken_of_once_whoever_comes_back(killed_at: float) -> None:
    """The controller dies in the window, or around its end, and another one takes over later."""
    world = await world_of(MoveSchedule(windows=(AFTERNOON,)), dirty_from=None)
    await run_to(world, NOON + killed_at * HOUR)
    world.kill()
    await run_to(world, NOON + 5 * HOUR)
    world.start()
    await run_to(world, NOON + 6 * HOUR)
    world.kill()
    world.start()
    await run_to(world, NOON + 7 * HOUR)

    assert len(endings(world)) == 1


async def test_a_window_in_which_nobody_looked_is_not_called_a_decision_to_stay_for_the_grid_s_sake() -> None:
    """The reason is that nobody looked."""
    world = await world_of(MoveSchedule(windows=(AFTERNOON,)))
    world.kill()
    await run_to(world, NOON + 5 * HOUR)
    world.start()
    await run_to(world, NOON + 6 * HOUR)

    (stay,) = endings(world)
    assert stay.summary.endswith("stay, because nobody looked while it was open")
    assert world.regions() == ["se"]


async def test_windows_from_before_the_schedule_was_there_are_nobody_s_business() -> None:
    """A service that gets its schedule in the evening has not slept through the afternoon."""
    world = World()
    await world.up(chat(migration=RULES))
    await run_to(world, NOON + 6 * HOUR, every=300.0)
    await world.up(chat(migration=rules(MoveSchedule(windows=(AFTERNOON,)))))
    await run_to(world, NOON + 7 * HOUR, every=300.0)
    assert endings(world) == []


# ── closed periods ───────────────────────────────────────────────────────────────────────────────────


async def test_a_blackout_keeps_the_window_shut_and_a_person_may_still_ask() -> None:
    """The window opens again on the first day after it; until then the reason is repeated."""
    world = await world_of(MoveSchedule(windows=(AFTERNOON,), blackouts=TODAY))
    await run_to(world, NOON + 6 * HOUR)

    assert (world.regions(), moves(world), endings(world)) == (["se"], [], [])
    (waiting,) = [d for d in world.store.decisions("chat", limit=3) if "waits" in d.summary][:1]
    assert "waits: blackout (release week) until 2026-06-02T00:00:00Z, next window at 2026-06-02T14:00" in (
        waiting.summary
    )

    asked = await world.migrate("de")
    await world.settle()
    assert world.operation(asked).state is OperationState.DONE
    assert world.regions() == ["de"]

    await run_to(world, NOON + 27 * HOUR)
    await world.settle()
    assert world.regions() == ["fr"]


async def test_in_a_freeze_nothing_voluntary_moves_whoever_asks() -> None:
    """A person is refused with the reason and the end."""
    world = await world_of(MoveSchedule(freezes=TODAY))
    await run_to(world, NOON + 6 * HOUR)
    with pytest.raises(Frozen, match=r"chat does not move: freeze \(release week\) until 2026-06-02T00:00:00Z"):
        await world.migrate("de")
    assert world.regions() == ["se"]

    await run_to(world, NOON + 13 * HOUR)
    await world.settle()
    assert world.regions() == ["fr"]


async def test_what_was_lost_is_replaced_at_once_in_a_freeze_and_outside_of_windows() -> None:
    """A schedule is about what is voluntary."""
    world = await world_of(MoveSchedule(windows=(AFTERNOON,), freezes=TODAY), dirty_from=None)
    lost = world.the_replica().name
    world.preempt(lost)
    await world.run(30)
    await world.settle()

    assert world.replica(lost).state is ReplicaState.LOST
    assert world.the_replica().created_at < NOON + timedelta(minutes=5)
    world.check_at_rest()


async def test_a_new_workload_is_rolled_out_at_once_in_a_freeze_and_outside_of_windows() -> None:
    """A deploy is somebody's word."""
    schedule = MoveSchedule(windows=(AFTERNOON,), freezes=TODAY)
    world = await world_of(schedule, dirty_from=None)
    old = world.the_replica().name
    await world.up(chat(migration=rules(schedule), model=ModelSpec("org/newer", served_name="chat")))

    assert world.the_replica().name != old
    assert world.now < NOON + HOUR
    world.check_at_rest()


# ── clocks that change ───────────────────────────────────────────────────────────────────────────────


async def world_at(start: Instant, schedule: MoveSchedule) -> World:
    """A quiet service that begins at that moment."""
    world = World()
    world.clock.advance(start - NOON)
    await world.up(chat(migration=rules(schedule)))
    return world


@pytest.mark.parametrize(
    ("evening", "opens", "closes"),
    [
        # 02:00 to 04:00 in Stockholm: the night in between has one hour, two hours and three hours of it.
        ("2027-03-27T20:00", "2027-03-28T01:00", "2027-03-28T02:00"),
        ("2026-08-01T20:00", "2026-08-02T00:00", "2026-08-02T02:00"),
        ("2026-10-24T20:00", "2026-10-25T00:00", "2026-10-25T03:00"),
    ],
    ids=["clocks go forward", "an ordinary night", "clocks go back"],
)
async def test_a_window_follows_the_clock_on_the_wall(evening: str, opens: str, closes: str) -> None:
    """It opens and closes when the clock there shows it, once a day, and ends with one decision."""
    start, begin, end = (datetime.fromisoformat(t).replace(tzinfo=UTC) for t in (evening, opens, closes))
    schedule = MoveSchedule("Europe/Stockholm", windows=(WeeklyWindow(EVERY_DAY, 120, 240),))
    world = await world_at(start, schedule)
    await run_to(world, begin - timedelta(minutes=10), every=300.0)
    world.carbon.hold("SE", 500.0)
    await run_to(world, begin - timedelta(seconds=20), every=10.0)
    assert moves(world) == []

    await run_to(world, begin + timedelta(minutes=10), every=10.0)
    assert [begin <= m.at < begin + timedelta(minutes=1) for m in moves(world)] == [True]

    quiet = await world_at(start, schedule)
    await run_to(quiet, end - timedelta(minutes=5))
    assert endings(quiet) == []
    await run_to(quiet, end + timedelta(hours=3))
    assert len(endings(quiet)) == 1


async def test_going_back_to_spot_is_voluntary_and_waits() -> None:
    """An on-demand stand-in serves, so nothing hurries; the plan says what it waits for."""
    world = World()
    spot = replace(chat().resources, use_spot=True)

    for name in ("se", "fr", "de"):
        world.offers.put(offer(f"sky/{name}", usd=0.4, market=Market.SPOT))
    freezes = (Closed(local("2026-06-01T12:30"), local("2026-06-01T20:00")),)
    slow = replace(rules(MoveSchedule(freezes=freezes)), min_dwell=timedelta(minutes=20))
    service = chat(resources=spot, migration=slow)
    assert service.placement.on_spot_loss is SpotLoss.ON_DEMAND
    await world.up(service)
    await run_to(world, NOON + 0.6 * HOUR)
    world.preempt(world.the_replica().name)
    await world.run(60)
    assert world.the_replica().market is Market.ON_DEMAND

    await run_to(world, NOON + 7 * HOUR)
    assert world.the_replica().market is Market.ON_DEMAND
    (last,) = world.store.decisions("chat", limit=1)
    assert last.summary.endswith("r0 stays on demand for now: freeze until 2026-06-01T20:00:00Z")
    await run_to(world, NOON + 9 * HOUR, every=20.0)
    assert world.the_replica().market is Market.SPOT
