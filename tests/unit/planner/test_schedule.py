"""What a schedule does to a decision: it holds voluntary moves, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.plan import Plan
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.time import HOUR, Window
from orchestrator.errors import Frozen
from orchestrator.planner.plan import plan, plan_migration
from orchestrator.planner.schedule import BLACKOUT, FREEZE, SCHEDULE_RULE, Closure, Opening, Timetable, may_begin
from tests.builders import GREEN, NOON, candidate, failed_rules, replica, snapshot

DIRTY, CLEAN = candidate("aws/pl", 700.0), candidate("aws/se", 30.0)
TONIGHT = Opening(Window(NOON + 10 * HOUR, NOON + 12 * HOUR), "22:00-24:00 UTC", "Mon 01 Jun 22:00 UTC")
NOW_OPEN = Opening(Window(NOON - HOUR, NOON + HOUR), "11:00-13:00 UTC")

SHUT = Timetable(has_windows=True, next_opening=TONIGHT)
OPEN = Timetable(has_windows=True, openings=(NOW_OPEN,), next_opening=TONIGHT)


def decided(timetable: Timetable | None, **changes: object) -> Plan:
    """Plan for a replica in a dirty place, with a clean one to be had."""
    world = snapshot([DIRTY, CLEAN], [replica(DIRTY)], timetable=timetable, **changes)
    return plan(world, GREEN, NOON)


@pytest.mark.parametrize("timetable", [None, OPEN, Timetable(has_windows=False)], ids=["none", "open", "no windows"])
def test_a_move_begins_where_nothing_is_shut(timetable: Timetable | None) -> None:
    """No schedule, an open window, or a schedule that only knows closed days."""
    assert decided(timetable).decision.kind is DecisionKind.MOVE


@pytest.mark.parametrize(
    ("timetable", "said"),
    [
        (SHUT, "waits: next window at 2026-06-01T22:00:00Z (Mon 01 Jun 22:00 UTC)"),
        (Timetable(has_windows=True), "waits: no further window"),
        (
            replace(SHUT, closure=Closure(BLACKOUT, NOON + 3 * HOUR, "release week")),
            "waits: blackout (release week) until 2026-06-01T15:00:00Z, next window at 2026-06-01T22:00:00Z",
        ),
        (
            Timetable(has_windows=False, closure=Closure(FREEZE, NOON + HOUR)),
            "waits: freeze until 2026-06-01T13:00:00Z",
        ),
    ],
)
def test_a_move_that_waits_says_for_what(timetable: Timetable, said: str) -> None:
    """Nothing else speaks against it."""
    made = decided(timetable)
    assert (made.decision.kind, made.actions) == (DecisionKind.STAY, ())
    assert failed_rules(made.decision.comparisons[0].verdicts) == {SCHEDULE_RULE}
    assert said in made.decision.summary


def test_what_is_not_worth_moving_does_not_wait_for_a_window() -> None:
    """The reason is the gain, not the hour."""
    world = snapshot([DIRTY, candidate("aws/de", 690.0)], [replica(DIRTY)], timetable=SHUT)
    assert "fails migration.min_improvement" in plan(world, GREEN, NOON).decision.summary


def test_what_was_lost_or_is_new_or_stands_against_a_rule_waits_for_nothing() -> None:
    """A freeze is about what is voluntary."""
    frozen = Timetable(has_windows=True, closure=Closure(FREEZE, NOON + HOUR))
    lost = snapshot([DIRTY, CLEAN], [replica(DIRTY, state=ReplicaState.LOST)], timetable=frozen)
    assert [a.region for a in plan(lost, GREEN, NOON, keep_up=True).actions] == ["aws/se"]
    old = snapshot([DIRTY, CLEAN], [replica(CLEAN, workload_digest="old")], timetable=frozen)
    assert plan(old, GREEN, NOON).decision.kind is DecisionKind.MOVE


def test_a_person_may_move_in_a_blackout_and_not_in_a_freeze() -> None:
    """The refusal says until when."""
    for kind in (BLACKOUT, FREEZE):
        timetable = Timetable(has_windows=False, closure=Closure(kind, NOON + HOUR, "audit"))
        world = snapshot([DIRTY, CLEAN], [replica(DIRTY)], timetable=timetable)
        if kind == FREEZE:
            with pytest.raises(Frozen, match=r"chat does not move: freeze \(audit\) until 2026-06-01T13:00:00Z"):
                plan_migration(world, GREEN, NOON, replica=None, to_region=None, actor="ada", reason="")
        else:
            made = plan_migration(world, GREEN, NOON, replica=None, to_region=None, actor="ada", reason="")
            assert made.actions[0].region == "aws/se"


def test_a_move_that_pays_is_not_put_off_to_an_hour_without_a_window() -> None:
    """In three hours it would save a little more; but the window is open now and shut then."""
    later = candidate("aws/se", 720.0, ahead=[720.0, 720.0, 720.0, *[30.0] * 45])
    world = snapshot([DIRTY, later], [replica(DIRTY)])
    waiting = plan(world, GREEN, NOON)
    assert failed_rules(waiting.decision.comparisons[0].verdicts) == {"migration.timing"}

    in_window = plan(replace(world, timetable=replace(OPEN, next_opening=None)), GREEN, NOON)
    assert in_window.decision.kind is DecisionKind.MOVE

    tonight = plan(replace(world, timetable=OPEN), GREEN, NOON)
    assert tonight.decision.kind is DecisionKind.MOVE, "ten hours of a clean grid are worth more than three dirty ones"


def test_a_later_hour_counts_where_its_window_is_known() -> None:
    """The windows that are open and the next one; without windows every hour does."""
    hours = [may_begin(OPEN, NOON + h * HOUR) for h in (0, 1, 9, 10, 11, 12)]
    assert hours == [True, False, False, True, True, False]
    assert may_begin(None, NOON)
    assert may_begin(Timetable(has_windows=False), NOON + timedelta(days=9))
