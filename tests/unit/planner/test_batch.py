"""None or all of the replicas of a batch service: where its work is cleanest, and what that is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.carbon import Gap
from orchestrator.domain.offer import Candidate
from orchestrator.domain.price import Market
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.scale import WantedReplicas
from orchestrator.domain.service import (
    BatchRules,
    Objective,
    PlacementRules,
    Policy,
    ResourceRequest,
    Scaling,
    ServiceSpec,
)
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
    return wanted_of(service_spec(batch=rules), places, done=done, last=last, policy=policy, rules=rules, **changes)


def wanted_of(
    spec: ServiceSpec,
    places: Sequence[Candidate],
    *,
    done: float = 0.0,
    last: WantedReplicas | None = None,
    policy: Policy = GREEN,
    rules: BatchRules = RULES,
    **changes: Any,
) -> WantedReplicas:
    """Ask for the same of a service."""
    spec = replace(spec, scaling=Scaling(0, 2))
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


def test_the_hours_of_a_market_count_on_which_it_is_launched() -> None:
    """Steady on demand, windy on spot: spot is what is bought, and its wind comes later.

    Work that began for the steady hours stood on spot at the next look, waited for its wind, and began again.
    """
    steady = candidate("aws/steady", 100.0, ahead=[100.0] * 12)
    windy = candidate("aws/windy", 500.0, ahead=LATE_WIND, market=Market.SPOT)
    spec = replace(service_spec(batch=RULES), resources=ResourceRequest(use_spot=True))
    both = (steady, windy)

    assert wanted_of(spec, both).until == wanted_of(spec, (windy,)).until > NOON + 5 * HOUR
    sold_out = replace(windy, avoid_until=NOON + 20 * HOUR, avoid_reason="no_capacity: sold out")
    assert wanted_of(spec, (steady, sold_out)).replicas == 2
    assert wanted_of(service_spec(batch=RULES), both).replicas == 2


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


class TestCrew:
    """Work is shared by as many as can serve together, so it begins soon enough for those."""

    HOURS = 8.0

    def round_of_four(
        self, places: list[Candidate], last: WantedReplicas | None = None, *, preemptible: bool = False, **changes: Any
    ) -> WantedReplicas:
        """Eight hours of work for four replicas, due at 02:00; at most one of them in a region."""
        rules = replace(RULES, engine_hours=self.HOURS, preemptible=preemptible)
        placement = PlacementRules(max_per_region=1)
        spec = replace(service_spec(batch=rules, placement=placement), scaling=Scaling(0, changes.pop("most", 4)))
        world = replace(snapshot(places, spec=spec), **changes)
        work = Round(Window(NOON, NOON + 14 * HOUR), self.HOURS, 0.0, "a test", recurs=False)
        outlooks = {c.offer.region.zone or "": c.forecast for c in places}
        return batch_wanted(world, GREEN, rules, work, outlooks, last, NOON)

    def place(self, name: str, **changes: Any) -> Candidate:
        """The wind blows from 21:00 to 01:00."""
        return candidate(f"aws/{name}", 300.0, ahead=[300.0] * 9 + [50.0] * 4 + [300.0] * 3, **changes)

    @pytest.mark.parametrize("preemptible", [False, True])
    def test_it_begins_soon_enough_for_those_that_have_a_place(self, preemptible: bool) -> None:
        """One region has room for one of four: eight hours of one replica, not two of four."""
        one = self.round_of_four([self.place("se")], preemptible=preemptible)
        assert one.until is not None
        assert one.until <= NOON + 5.5 * HOUR, "half an hour is kept free, and a start"
        assert "on 1 of 4 replicas (max_per_region leaves no room for more)" in one.because
        four = self.round_of_four([self.place(name) for name in ("se", "no", "fi", "fr", "pl")])
        assert four.until is not None
        assert NOON + 8 * HOUR < four.until <= NOON + 9 * HOUR
        assert "replicas (" not in four.because

    def test_a_place_that_is_to_be_left_alone_is_none(self) -> None:
        """Of two regions one has just failed; who stands there already is counted all the same."""
        places = [self.place("se"), self.place("no", avoid_until=NOON + 20 * HOUR)]
        assert "on 1 of 4" in self.round_of_four(places).because
        begun = WantedReplicas(4, 0, 4, 4, "", (), NOON + 14 * HOUR)
        assert "on 2 of 4" in self.round_of_four(places, begun, replicas=(replica(places[1], up_for=MINUTE),)).because

    def test_once_it_runs_those_that_came_up_count(self) -> None:
        """One that serves alone for an hour goes on, although four of them could stop now and be in time."""
        places = [self.place(name) for name in ("se", "no", "fi", "fr")]
        begun = WantedReplicas(4, 0, 4, 4, "", (), NOON + 14 * HOUR)
        alone = (replica(places[0], up_for=HOUR),)
        found = self.round_of_four(places, begun, preemptible=True, replicas=alone)
        assert "on 1 of 4 replicas (no more have come up)" in found.because
        just_now = (replica(places[0], up_for=MINUTE), replica(places[1], 1, ReplicaState.STARTING, created_at=NOON))
        assert "on " not in self.round_of_four(places, begun, preemptible=True, replicas=just_now).because
        more = (*alone, *(replica(c, n, ready_at=None, created_at=NOON) for n, c in enumerate(places[1:], 1)))
        assert "on " not in self.round_of_four(places, begun, preemptible=True, replicas=more).because

    def test_many_are_launched_one_after_another(self) -> None:
        """A thousand take a hundred minutes until the last one is launched; ten are launched at once."""

        def begins(most: int) -> float:
            places = [candidate(f"aws/r{n}", 300.0, ahead=[300.0 - h for h in range(14)]) for n in range(most)]
            return ((self.round_of_four(places, most=most).until or NOON) - NOON) / MINUTE

        work = {most: self.HOURS * 60 / most for most in (10, 1000)}
        failures = (tries_for(1000, 0, 0) - tries_for(10, 0, 0)) * 1.5
        assert begins(10) + work[10] - begins(1000) - work[1000] == pytest.approx(99.0 + failures, abs=0.1)
