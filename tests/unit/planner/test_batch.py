"""None or all of the replicas of a batch service: where its work is cleanest, and what that is compared with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.domain.carbon import Gap
from orchestrator.domain.offer import Candidate
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.scale import WantedReplicas
from orchestrator.domain.service import BatchRules, Objective, Policy, Scaling
from orchestrator.domain.time import HOUR, Window
from orchestrator.planner.batch import Round, batch_wanted
from orchestrator.planner.deferral import tries_for
from orchestrator.planner.snapshot import Snapshot
from tests.builders import GREEN, MINUTE, NOON, candidate, replica, service_spec, shape, snapshot

RULES = BatchRules(engine_hours=4.0, due_minute=0, due_days=tuple(range(7)))
DUE = NOON + 12 * HOUR
LATE_WIND = [500.0] * 6 + [20.0] * 6
EARLY_WIND = [500.0] * 2 + [40.0] * 4 + [500.0] * 6
CHEAPEST = Policy(name="cheapest", objective=Objective.CHEAPEST, max_extra_cost_fraction=None)


def wanted(
    *places: Candidate,
    done: float = 0.0,
    last: WantedReplicas | None = None,
    policy: Policy = GREEN,
    rules: BatchRules = RULES,
    **changes: Any,
) -> WantedReplicas:
    """Ask for the number of two replicas at noon, with four hours of work due at midnight."""
    spec = replace(service_spec(batch=rules), scaling=Scaling(0, 2))
    world: Snapshot = replace(snapshot(places, spec=spec), **changes)
    work = Round(Window(NOON - 12 * HOUR, DUE), 4.0, done, "a test", recurs=True)
    outlooks = {c.offer.region.zone or "": c.forecast for c in places}
    return batch_wanted(world, policy, rules, work, outlooks, last, NOON)


def test_the_place_with_the_least_grams_says_when() -> None:
    """Two places with wind at different hours: the cleaner wind counts, although it comes later."""
    early = candidate("aws/early", 500.0, ahead=EARLY_WIND, usd=1.0)
    late = candidate("aws/late", 500.0, ahead=LATE_WIND, usd=2.0)
    found = wanted(early, late)
    assert (found.replicas, found.needed) == (0, 0)
    assert found.until is not None
    assert NOON + 5 * HOUR < found.until <= NOON + 6 * HOUR
    assert "aws/late" in found.because
    assert {f.name for f in found.figures} >= {"asked", "done", "beginning now", "as planned", "start", "launches"}


def test_where_price_decides_on_the_place_its_hours_count() -> None:
    """The cheapest offer is where it will run, so nothing is waited for elsewhere."""
    early = candidate("aws/early", 500.0, ahead=EARLY_WIND, usd=1.0)
    late = candidate("aws/late", 500.0, ahead=LATE_WIND, usd=2.0)
    found = wanted(early, late, policy=CHEAPEST)
    assert found.until is not None
    assert NOON + HOUR < found.until <= NOON + 2 * HOUR


def test_a_place_that_may_not_be_taken_is_not_waited_for() -> None:
    """The wind blows where there is no room, so it runs where there is some."""
    late = candidate("aws/late", 500.0, ahead=LATE_WIND, avoid_until=NOON + 20 * HOUR)
    flat = candidate("aws/flat", 300.0, ahead=[300.0] * 12)
    assert wanted(late, flat).replicas == 2


def test_what_draws_nobody_knows_what_is_not_compared() -> None:
    """Without a power model, or any signal, nothing is known, and it runs at once."""
    for dark in (
        candidate("aws/dark", 500.0, ahead=LATE_WIND, on=shape(power=None)),
        candidate("aws/dark", Gap("DARK", "broken", "test")),
    ):
        found = wanted(dark)
        assert (found.replicas, found.needed, found.until) == (2, 2, DUE)
        assert "not known" in found.because


def test_what_has_been_begun_for_this_deadline_goes_through() -> None:
    """A number of this round holds; one of the round before, or one that was there to begin with, does not."""
    late = candidate("aws/late", 500.0, ahead=LATE_WIND)
    assert wanted(late, last=WantedReplicas(2, 0, 2, 2, "", (), DUE)).replicas == 2
    assert wanted(late, last=WantedReplicas(2, 0, 2, 2, "", (), DUE - 24 * HOUR)).replicas == 0
    assert wanted(late, last=WantedReplicas(1, 0, 2, None, "one to begin with", (), DUE)).replicas == 0
    may_stop = replace(RULES, preemptible=True)
    assert wanted(late, last=WantedReplicas(2, 0, 2, 2, "", (), DUE), rules=may_stop).replicas == 0


def test_what_may_stop_is_judged_by_where_it_runs() -> None:
    """It is dirty there for hours; that another place is always clean is no reason to go on."""
    dirty = candidate("aws/dirty", 600.0, ahead=[600.0] * 4 + [80.0] * 8)
    clean = candidate("aws/clean", 50.0, ahead=[50.0] * 12)
    may_stop, begun = replace(RULES, preemptible=True), WantedReplicas(2, 0, 2, 2, "", (), DUE)
    stands = (replica(dirty, 0), replica(dirty, 1))
    stops = wanted(dirty, clean, last=begun, rules=may_stop, replicas=stands)
    assert (stops.replicas, stops.until) == (0, NOON + 4 * HOUR)
    assert "aws/dirty" in stops.because
    # Once it has stopped it may begin anywhere, a start included.
    assert wanted(dirty, clean, last=stops, rules=may_stop).replicas == 2
    assert wanted(dirty, clean, last=begun, rules=may_stop, replicas=(replica(clean, 0), replica(clean, 1))).replicas
    assert wanted(dirty, clean, last=begun, replicas=stands).replicas == 2, "what must not be interrupted goes through"


def test_what_may_stop_runs_on_where_nothing_is_known_of_its_place() -> None:
    """Nothing is waited for in the dark, whatever is known of other places."""
    dark = candidate("aws/dark", Gap("DARK", "broken", "test"))
    late = candidate("aws/late", 500.0, ahead=LATE_WIND)
    begun, may_stop = WantedReplicas(2, 0, 2, 2, "", (), DUE), replace(RULES, preemptible=True)
    assert wanted(dark, late, last=begun, rules=may_stop, replicas=(replica(dark, 0),)).replicas == 2


def test_work_that_is_done_wants_nobody_until_the_next_round() -> None:
    """A second is no work; a minute is."""
    late = candidate("aws/late", 20.0, ahead=[20.0] * 12)
    done = wanted(late, done=4.0)
    assert (done.replicas, done.until) == (0, DUE)
    assert done.because == "batch: 4.0 engine hours done; the next round begins at 2026-06-02T00:00:00Z"
    assert wanted(late, done=4.0 - 1 / 7200).replicas == 0
    assert wanted(late, done=4.0 - 1 / 60).replicas == 2


def test_failed_launches_make_the_latest_start_earlier() -> None:
    """Of eight launches that came to nothing after half an hour each, the next ones are given time."""
    place = candidate("aws/windy", 500.0, ahead=[500.0] * 4 + [100.0] * 4 + [1.0] * 4)
    calm = wanted(place)
    failed = tuple(
        replica(place, n, ReplicaState.FAILED, name=f"f{n}", created_at=NOON - 9 * HOUR, state_since=NOON - 8.5 * HOUR)
        for n in range(8)
    )
    warned = wanted(place, replicas=failed)
    assert calm.until is not None
    assert warned.until is not None
    # One waits for the cleanest hours; the other keeps nine more launches of half an hour free before midnight.
    assert (calm.until, tries_for(2, 0, 8)) == (NOON + 8 * HOUR, 10)
    assert warned.until == NOON + 4 * HOUR
    assert warned.until <= DUE - 30 * MINUTE - 9 * 30 * MINUTE - 2 * HOUR
