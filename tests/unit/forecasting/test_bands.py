"""Bands keep their promise, and none is given where nothing could be known of errors."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.forecasting.bands import bands
from orchestrator.forecasting.pattern import Floats

DAYS, AHEAD, ZONES = 200, 6, 5
ISSUES = 24 * np.arange(28, 28 + DAYS)
FORECAST = np.full((DAYS, AHEAD, ZONES), 400.0)


def skewed(seed: int = 1) -> Floats:
    """Give what came: errors of a lopsided distribution that nobody told the bands about."""
    return np.asarray(300.0 + np.random.default_rng(seed).exponential(100.0, size=FORECAST.shape))


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_as_many_hours_fall_inside_as_promised(level: float) -> None:
    """Over 6,000 hours of any distribution, within two points."""
    actual = skewed()
    (band,) = bands(FORECAST, actual, ISSUES, [level])
    known = np.isfinite(band.low)
    inside = (actual >= band.low) & (actual <= band.high)
    assert inside[known].mean() == pytest.approx(level, abs=0.02)


def test_each_side_is_missed_equally_often() -> None:
    """A lopsided distribution gets a lopsided band."""
    actual = skewed()
    (band,) = bands(FORECAST, actual, ISSUES, [0.8])
    known = np.isfinite(band.low)
    assert (actual < band.low)[known].mean() == pytest.approx(0.1, abs=0.02)
    assert (actual > band.high)[known].mean() == pytest.approx(0.1, abs=0.02)
    assert (band.high - FORECAST)[known].mean() > 1.5 * (FORECAST - band.low)[known].mean()


def test_a_band_needs_as_many_errors_as_its_level() -> None:
    """Of 80 % after nine forecasts that are over, of 95 % after 39, and never before."""
    eighty, ninety_five = bands(FORECAST, skewed(), ISSUES, [0.8, 0.95])
    for band, needed in ((eighty, 9), (ninety_five, 39)):
        assert np.isnan(band.low[:needed]).all()
        assert np.isfinite(band.low[needed:]).all()
        assert np.isnan(band.high[:needed]).all()


def test_the_ends_are_order_statistics() -> None:
    """Nine errors of square roots, 1 to 9: the band of 80 % ends at the least and at the greatest of them."""
    actual = np.full((10, 1, 1), np.nan)
    actual[:9, 0, 0] = (20.0 + np.array([3, 1, 4, 2, 9, 5, 8, 6, 7])) ** 2
    (band,) = bands(FORECAST[:10, :1, :1], actual, ISSUES[:10], [0.8])
    assert band.low[9, 0, 0] == pytest.approx(21.0**2)
    assert band.high[9, 0, 0] == pytest.approx(29.0**2)


def test_a_wider_promise_is_a_wider_band() -> None:
    """The band of 95 % holds that of 80 %, and none ends below zero."""
    eighty, ninety_five = bands(FORECAST, np.maximum(0.0, skewed() - 350), ISSUES, [0.8, 0.95])
    known = np.isfinite(ninety_five.low)
    assert (ninety_five.low <= eighty.low)[known].all()
    assert (ninety_five.high >= eighty.high)[known].all()
    assert (ninety_five.low[known] >= 0).all()


def test_what_comes_later_is_not_used() -> None:
    """Another future changes no band that was given before it."""
    actual = skewed()
    other = actual.copy()
    other[120:] = 5.0
    (one,), (two,) = bands(FORECAST, actual, ISSUES, [0.8]), bands(FORECAST, other, ISSUES, [0.8])
    assert one.low[:121].tobytes() == two.low[:121].tobytes()
    assert one.low[121:].tobytes() != two.low[121:].tobytes()


def test_a_band_follows_when_errors_grow() -> None:
    """Two months after the weather has changed, the promise holds again."""
    actual = skewed()
    actual[80:] = 400.0 + 3 * (actual[80:] - 400.0)
    (band,) = bands(FORECAST, np.maximum(0.0, actual), ISSUES, [0.8])
    inside = (actual >= band.low) & (actual <= band.high)
    assert inside[145:].mean() == pytest.approx(0.8, abs=0.03)


def test_unknown_hours_neither_teach_nor_hide() -> None:
    """Zones whose actuals have gaps get bands from the others of their hours; one without any gets none."""
    actual = skewed()
    actual[::2, :, 0] = np.nan
    actual[:, :, 1] = np.nan
    (band,) = bands(FORECAST, actual, ISSUES, [0.8], first=int(ISSUES[100]))
    assert band.low.shape == (100, AHEAD, ZONES)
    assert np.isfinite(band.low[:, :, 0]).all()
    assert np.isnan(band.low[:, :, 1]).all()


@pytest.mark.parametrize("level", [0.0, 1.0, 80.0])
def test_a_level_is_a_fraction(level: float) -> None:
    """Percent where a fraction is meant is refused."""
    with pytest.raises(ValueError, match="is none: 0 < level < 1"):
        bands(FORECAST, FORECAST, ISSUES, [level])
