"""Stay or move, for one replica that is always on."""

import numpy as np
import pytest

from orchestrator.planner.follow.outlook import Outlook
from orchestrator.planner.follow.rule import Arms, Temper, follow, grams_to_go

TWO = Arms((0, 1), (1.0, 1.0))


def certain(expected: list[list[float]], beyond: list[float], hours: int = 1) -> Outlook:
    """An outlook of one decision: intensities by zone and hour, and the mean beyond."""
    rows = np.array(expected, dtype=np.float32).T[:, :, None]
    return Outlook(rows, rows, (), np.array(beyond, dtype=np.float32)[:, None], hours)


@pytest.mark.parametrize(("switching_grams", "place"), [(199.0, 1), (200.0, 0), (500.0, 0)])
def test_the_dead_band_is_the_switching_cost(switching_grams: float, place: int) -> None:
    """Two hours of 100 g each, and nothing to gain beyond: worth a move that costs less than 200 g, and no other."""
    ahead = certain([[200.0, 200.0], [100.0, 100.0]], [100.0, 100.0], hours=0)

    assert follow(ahead, TWO, switching_grams, Temper()).tolist() == [place]


def test_what_lies_beyond_the_horizon_counts() -> None:
    """A gain that is too small within the horizon is worth its move when it is expected to last."""
    ahead = certain([[200.0], [190.0]], [200.0, 190.0], hours=72)

    assert follow(ahead, TWO, 100.0, Temper()).tolist() == [1]


def test_a_region_with_a_better_pue_is_cleaner_in_the_same_zone() -> None:
    """Emissions are of the whole building: PUE times the grid's intensity."""
    ahead = certain([[100.0]], [100.0], hours=100)

    assert follow(ahead, Arms((0, 0), (1.5, 1.1)), 500.0, Temper()).tolist() == [1]


def test_nothing_moves_to_a_zone_that_was_never_seen() -> None:
    """No number is no clean number."""
    ahead = certain([[900.0], [float("nan")]], [900.0, float("nan")], hours=10)

    assert follow(ahead, TWO, 1.0, Temper()).tolist() == [0]


def test_a_tie_keeps_the_place_and_then_takes_the_first() -> None:
    """Equal places are no reason to move; two equal better ones are taken in their order."""
    even = certain([[100.0], [100.0]], [100.0, 100.0])
    worse = certain([[300.0], [100.0], [100.0]], [300.0, 100.0, 100.0])

    assert follow(even, TWO, 0.0, Temper()).tolist() == [0]
    assert follow(worse, Arms((0, 1, 2), (1.0, 1.0, 1.0)), 1.0, Temper()).tolist() == [1]


def test_scenarios_make_the_rule_wait_for_what_it_will_know() -> None:
    """Expected to be cleaner later, but perhaps not: whoever may still decide then does not move now."""
    later = certain([[100.0, 100.0, 100.0], [99.0, 95.0, 95.0]], [100.0, 95.0], hours=10)
    swing = np.zeros((3, 2, 1), dtype=np.float32)
    swing[1:, 1] = 60.0
    unsure = Outlook(later.expected, later.expected, (swing, -swing), later.beyond, later.beyond_hours)
    eager, patient = (grams_to_go(unsure, TWO, 20.0, Temper(foresight=w))[:, 0] for w in (0.0, 1.0))

    assert eager[0] - eager[1] > patient[0] - patient[1]
    assert follow(unsure, TWO, 18.5, Temper(foresight=0.0)).tolist() == [1]
    assert follow(unsure, TWO, 18.5, Temper(foresight=1.0)).tolist() == [0]


def test_a_scenario_never_goes_below_zero() -> None:
    """No grid takes carbon out of the air, whatever an error of the past would say."""
    clean = certain([[5.0], [10.0]], [5.0, 10.0], hours=0)
    deep = Outlook(clean.expected, clean.expected, (np.full((1, 2, 1), -500.0, dtype=np.float32),), clean.beyond, 0)

    assert grams_to_go(deep, TWO, 1.0, Temper(foresight=1.0)).tolist() == [[0.0], [0.0]]
