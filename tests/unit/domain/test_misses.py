"""What past errors say of a forecast: its bands, and the ways in which it may come otherwise."""

from __future__ import annotations

from math import nan

import pytest

from orchestrator.domain.misses import FEWEST_DAYS, Misses, order_statistics
from orchestrator.domain.time import HOUR, parse_instant

START = parse_instant("2031-03-08T10:00Z")


def missed(*by_day: tuple[float, ...]) -> Misses:
    """Give a zone's misses, yesterday's first."""
    return Misses("AA", START, by_day)


def test_a_scenario_is_one_day_with_its_hours_together() -> None:
    """Square roots are moved by that day's misses, from the hour that is asked for on."""
    found = missed((0.0, 1.0, -2.0), (5.0, 5.0, 5.0)).scenario(0, [100.0, 100.0], START + HOUR)
    assert found == pytest.approx((121.0, 64.0))


def test_no_scenario_emits_less_than_nothing() -> None:
    """A clean hour that was missed by more than itself is zero, not the square of a negative root."""
    assert missed((-3.0,)).scenario(0, [4.0], START) == (0.0,)


@pytest.mark.parametrize("day", [0, 1, 2])
def test_a_day_that_is_not_known_is_no_scenario(day: int) -> None:
    """A hole, a day without a forecast, and one beyond the record are unknown; none of them is no miss at all."""
    assert missed((0.5, nan), ()).scenario(day, [100.0, 100.0], START) is None


def test_hours_before_the_first_and_after_the_last_are_unknown() -> None:
    """A path is not carried on beyond its ends."""
    known = missed(*((0.0, 0.0),) * 20)
    assert known.scenario(0, [100.0], START - HOUR) is None
    assert known.scenario(0, [100.0] * 3, START) is None
    assert known.band(100.0, START - HOUR, 0.8) is None
    assert known.band(100.0, START + 2 * HOUR, 0.8) is None


def test_a_band_ends_at_order_statistics() -> None:
    """Of 29 misses, the third from either end hold 80 % between them."""
    days = [((n - 14) * 0.1,) for n in range(29)]
    assert missed(*days).band(100.0, START + 0.5 * HOUR, 0.8) == pytest.approx((8.8**2, 11.2**2))


def test_the_band_of_a_mean_takes_days_as_a_whole() -> None:
    """Hours that are missed to opposite sides leave the mean where it was, and its band narrow."""
    sides = [(1.0, -1.0) if n % 2 else (-1.0, 1.0) for n in range(20)]
    known = missed(*sides)
    assert known.mean_band([100.0, 100.0], START, 0.8) == pytest.approx((101.0, 101.0))
    assert known.band(100.0, START, 0.8) == pytest.approx((81.0, 121.0))


def test_too_few_days_have_no_band() -> None:
    """Eight days say nothing of one in ten, nor nine of one in forty."""
    assert order_statistics([1.0] * (FEWEST_DAYS - 1), 0.8) is None
    assert order_statistics([float(n) for n in range(FEWEST_DAYS)], 0.8) == (0.0, 8.0)
    assert order_statistics([1.0] * FEWEST_DAYS, 0.95) is None


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5, nan])
def test_a_level_is_a_fraction(level: float) -> None:
    """A band of everything, of nothing, and of nonsense are refused."""
    with pytest.raises(ValueError, match="0 < level < 1"):
        order_statistics([1.0] * 40, level)
