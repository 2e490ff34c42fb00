"""A plan that wants nothing stands until its question or the time makes it another one, and never longer."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.offer import Candidate
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.service import CarbonRules, MigrationRules
from orchestrator.domain.time import HOUR, Instant
from orchestrator.planner.plan import plan
from orchestrator.planner.schedule import Timetable
from orchestrator.planner.snapshot import Hedging, Snapshot
from orchestrator.planner.standing import JUST_AFTER, asks_the_same, stands_until
from orchestrator.policy.apply import has_expressions
from tests.builders import GREEN, MINUTE, NOON, candidate, intensity, price, replica, service_spec, snapshot

DIRTY, CLEAN = candidate("aws/pl", 700.0), candidate("aws/se", 30.0)
DWELL = MigrationRules(min_dwell=2 * HOUR)
LOAD = LoadSeen(600.0, 1.0, 4.0, 1)


def answer(world: Snapshot, now: Instant) -> tuple[object, ...]:
    """Return what a plan says, without the ages in its words."""
    found = plan(world, world.spec.policy, now, keep_up=True)
    weighed = [
        (c.replica, c.to_offer, [v.rule for v in c.verdicts if not v.passed]) for c in found.decision.comparisons
    ]
    return found.decision.kind, found.actions, weighed


def standing(*places: Candidate, on: Replica, rules: MigrationRules = DWELL, max_age: timedelta = 6 * HOUR) -> Snapshot:
    """Make a world with one replica."""
    return snapshot(places, [on], service_spec(migration=rules, carbon=CarbonRules(max_age=max_age), policy=GREEN))


WORLDS = {
    "a dwell ends": (standing(DIRTY, CLEAN, on=replica(DIRTY, up_for=1.5 * HOUR)), 30 * MINUTE, DecisionKind.MOVE),
    "a failure is forgotten": (
        standing(DIRTY, candidate("aws/se", 30.0, avoid_until=NOON + 20 * MINUTE), on=replica(DIRTY)),
        20 * MINUTE,
        DecisionKind.MOVE,
    ),
    "a number becomes too old": (
        standing(
            DIRTY,
            candidate("aws/se", intensity("SE", 30.0, NOON - 2 * HOUR), ahead=[30.0] * 24),
            on=replica(DIRTY, up_for=0.5 * HOUR),
            max_age=timedelta(hours=1, minutes=10),
        ),
        10 * MINUTE + JUST_AFTER,
        DecisionKind.STAY,
    ),
    "an hour of the forecast begins": (standing(CLEAN, DIRTY, on=replica(CLEAN)), HOUR, DecisionKind.STAY),
}


@pytest.mark.parametrize("name", WORLDS)
def test_before_its_end_the_answer_is_the_same_and_at_its_end_it_is_asked_again(name: str) -> None:
    """The end is the very moment at which the planner says something else, or the next hour."""
    world, length, then = WORLDS[name]

    until = stands_until(world, NOON)

    assert until == NOON + length
    first = answer(world, NOON)
    assert first[0] is DecisionKind.STAY
    for fraction in (0.01, 0.5, 0.99):
        assert answer(world, NOON + fraction * length) == first
    assert answer(world, until - JUST_AFTER) == first
    assert answer(world, until)[0] is then


def test_what_changes_by_itself_in_ways_that_are_not_followed_is_asked_again_at_once() -> None:
    """Schedules, spares by what was lost and policies of one's own: no end is known, so nothing is remembered."""
    world = standing(CLEAN, DIRTY, on=replica(CLEAN))
    own = replace(GREEN, rules=("age_minutes < 30",))
    assert has_expressions(own)

    assert stands_until(replace(world, timetable=Timetable(has_windows=True)), NOON) is None
    assert stands_until(replace(world, hedging=Hedging(1, 0.9, 0.9, "")), NOON) is None
    assert stands_until(replace(world, spec=replace(world.spec, policy=own)), NOON) is None


def test_the_end_is_never_the_present() -> None:
    """At the very moment of an edge the next one counts: or the planner would be asked for ever."""
    world = standing(DIRTY, CLEAN, on=replica(DIRTY, up_for=2 * HOUR))

    assert stands_until(world, NOON) == NOON + HOUR
    assert stands_until(world, NOON + 59 * MINUTE) == NOON + HOUR


def test_the_same_question_is_known_again() -> None:
    """Made of other objects, with a load that is a little more: what is asked is the same."""
    world = replace(standing(CLEAN, DIRTY, on=replica(CLEAN)), load=LOAD)
    again = replace(standing(CLEAN, DIRTY, on=replica(CLEAN)), load=replace(LOAD, mean_in_flight=4.3, seconds=590.0))

    assert asks_the_same(world, again)


@pytest.mark.parametrize(
    "change",
    [
        {"load": replace(LOAD, mean_in_flight=5.0)},
        {"candidates": (CLEAN, candidate("aws/pl", 701.0))},
        {"candidates": (CLEAN, replace(DIRTY, offer=replace(DIRTY.offer, price=price(0.9))))},
        {"candidates": (CLEAN,)},
        {"replicas": (replica(CLEAN, state=ReplicaState.DRAINING),)},
        {"moves": (NOON - HOUR,)},
        {"paused": True},
        {"taking_down": True},
        {"recent_launches": 1},
        {"spec_digest": "another"},
        {"providers": frozenset({"aws"})},
    ],
    ids=["load", "signal", "price", "place", "replica", "move", "pause", "end", "storm", "spec", "provider"],
)
def test_another_question_is_asked_anew(change: dict[str, object]) -> None:
    """Demand, signal, price, place, replica, move, pause, end, storm, spec, provider: each is a new question."""
    world = replace(standing(CLEAN, DIRTY, on=replica(CLEAN)), load=LOAD)

    assert not asks_the_same(world, replace(world, **change))  # type: ignore[arg-type]
