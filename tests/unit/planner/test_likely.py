"""How sure a move is: in how many of the ways in which forecasts were wrong lately it pays."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest

from orchestrator.domain.decision import Likelihood, MoveComparison
from orchestrator.domain.misses import FEWEST_DAYS, Misses
from orchestrator.domain.time import floor_hour
from orchestrator.planner.likely import with_likelihood
from orchestrator.planner.moves import Side, compare
from orchestrator.planner.plan import plan
from orchestrator.planner.voluntary import MOST_COMPARISONS
from orchestrator.policy.assess import assess
from tests.builders import GREEN, NOON, candidate, replica, service_spec, snapshot

HOURS = 25


def side(region: str, grams: float, by_day: list[float] | None) -> Side:
    """Give a place whose forecast was too low by so much (square roots) all day, on each of the last days."""
    place = candidate(region, grams)
    if by_day is not None:
        zone = place.offer.region.zone or "?"
        place = replace(place, misses=Misses(zone, floor_hour(NOON), tuple((miss,) * HOURS for miss in by_day)))
    spec = service_spec()
    return Side(assess(place, spec, GREEN, NOON, 4.0, frozenset({"aws"})), place)


def weighed(here: Side, there: Side) -> MoveComparison:
    """Weigh the move and say how sure it is."""
    standing = replica(here.candidate)
    world = snapshot((here.candidate, there.candidate), (standing,))
    return with_likelihood(compare(standing, here, there, world, GREEN, NOON), here, there, NOON, world.clock_rate)


def test_what_never_came_otherwise_is_sure() -> None:
    """Forecasts that were never wrong leave no doubt, neither of a move that pays nor of one that does not."""
    right = [0.0] * 20
    assert weighed(side("aws/pl", 700.0, right), side("aws/se", 30.0, right)).likelihood == Likelihood(20, 20)
    assert weighed(side("aws/se", 30.0, right), side("aws/pl", 700.0, right)).likelihood == Likelihood(0, 20)


def test_it_counts_the_days_on_which_the_other_place_came_out_dirtier() -> None:
    """On three days of twelve the clean place was as dirty as anywhere: the move would not have paid then."""
    wrong = [12.0, 0.0, 0.0, 0.0] * 3  # (sqrt(200) + 12)^2 is 683 g/kWh
    found = weighed(side("aws/pl", 500.0, [0.0] * 12), side("aws/se", 200.0, wrong)).likelihood
    assert found == Likelihood(9, 12)
    assert found.share == pytest.approx(0.75)


def test_weather_over_both_grids_does_not_make_it_unsure() -> None:
    """What lies over both on the same days leaves the difference; on different days it would not."""
    storm, later = [-8.0, 8.0] * 6, [8.0, -8.0] * 6
    here = side("aws/pl", 500.0, storm)
    assert weighed(here, side("aws/de", 380.0, storm)).likelihood == Likelihood(12, 12)
    assert weighed(here, side("aws/de", 380.0, later)).likelihood == Likelihood(6, 12)


@pytest.mark.parametrize("by_day", [None, [], [0.0] * (FEWEST_DAYS - 1), [nan] * 20])
def test_what_is_not_known_is_no_certainty(by_day: list[float] | None) -> None:
    """A provider's forecast, no record, a short one and one of holes say nothing, at either end."""
    known, unknown = side("aws/pl", 700.0, [0.0] * 20), side("aws/se", 30.0, by_day)
    assert weighed(known, unknown).likelihood is None
    assert weighed(unknown, known).likelihood is None


def test_nothing_else_of_a_comparison_changes() -> None:
    """It is a statement about the move, and no part of the sum nor a rule."""
    here, there = (side(region, grams, [3.0, -3.0] * 6) for region, grams in (("aws/pl", 500.0), ("aws/se", 200.0)))
    standing = replica(here.candidate)
    world = snapshot((here.candidate, there.candidate), (standing,))
    plain = compare(standing, here, there, world, GREEN, NOON)
    assert replace(weighed(here, there), likelihood=None) == plain


def test_a_plan_says_it_of_the_moves_that_it_shows() -> None:
    """Every comparison that explains a decision has it."""
    places = [side(f"aws/r{n}", 100.0 + 10 * n, [0.0] * 10).candidate for n in range(MOST_COMPARISONS + 3)]
    world = snapshot(places, (replica(places[-1]),))
    found = plan(world, GREEN, NOON).decision.comparisons
    assert len(found) == MOST_COMPARISONS
    assert all(c.likelihood is not None and c.likelihood.scenarios == 10 for c in found)
