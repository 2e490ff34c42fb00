"""What the same forecast lacked on each of the last days: number by number what it would have been then."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import isfinite, isnan, sqrt

import numpy as np
import pytest

from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries, Kind
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.forecasting.coming import coming_hours
from orchestrator.forecasting.missed import KNOWN_BEFORE, MISSED_DAYS, READ, misses

NOW = parse_instant("2031-03-08T07:20Z")
START = parse_instant("2031-03-08T07:00Z")
DAY = timedelta(days=1)


def restless(end: Instant, hours: int, *, seed: int = 3) -> dict[Instant, float]:
    """Give that many hours of a restless grid before ``end``."""
    values = np.random.default_rng(seed).uniform(100, 900, size=hours).tolist()
    return {end - (hours - n) * HOUR: grams for n, grams in enumerate(values)}


def series(values: dict[Instant, float]) -> CarbonSeries:
    """Give them as a source does, each known when its hour is over."""
    points = []
    for start, grams in sorted(values.items()):
        hour = Window.starting(start, HOUR)
        points.append(CarbonIntensity("AA", grams, hour, Kind.MEASURED, "meter", hour.end, hour.end))
    return CarbonSeries("AA", tuple(points))


@pytest.mark.parametrize("late", [0, 2])
@pytest.mark.parametrize("day", [1, 12, MISSED_DAYS])
def test_a_miss_is_what_the_live_forecast_of_that_day_lacked(day: int, late: int) -> None:
    """The forecast that would have been shown so many days ago, by a feed as late as today's, against what came."""
    values = restless(START - late * HOUR, int(READ / HOUR) - late)
    found = misses(series(values), NOW, 24).by_day[day - 1]

    then = NOW - day * DAY
    known = series({start: g for start, g in values.items() if start + HOUR <= START - day * DAY - late * HOUR})
    said = coming_hours(known, Window(START - day * DAY, START - day * DAY + 24 * HOUR), then)
    assert len(said.points) == len(found) == 24
    near = (
        0.05 if late else 1e-9
    )  # hours that are late have a 28th day in one and not in the other: 0.2 % of the weight
    for point, miss in zip(said.points, found, strict=True):
        came = values.get(point.interval.start)
        assert isnan(miss) if came is None else miss == pytest.approx(sqrt(came) - sqrt(point.grams_per_kwh), abs=near)


def test_nothing_after_the_present_is_read() -> None:
    """A history that runs on, as a recording does, changes nothing."""
    values = restless(START + 48 * HOUR, int(READ / HOUR) + 48)
    past = {start: grams for start, grams in values.items() if start < START}
    assert misses(series(values), NOW, 6) == misses(series(past), NOW, 6)


def test_a_forecast_from_less_than_six_days_does_not_count() -> None:
    """With ten days on record four forecasts were issued on enough of them."""
    found = misses(series(restless(START, 10 * 24)), NOW, 3)
    assert len(found.by_day) == 4
    assert misses(series(restless(START, int(KNOWN_BEFORE / HOUR))), NOW, 3).by_day == ()
    assert misses(CarbonSeries("AA", ()), NOW, 3).by_day == ()


def test_a_hole_leaves_the_days_that_need_it_unknown() -> None:
    """The day whose last hour was missing issued nothing, and a missing hour was not forecast rightly: it is a hole."""
    values = restless(START, int(READ / HOUR))
    del values[START - 5 * DAY - HOUR]
    found = misses(series(values), NOW, 24).by_day
    assert not any(map(isfinite, found[4]))  # five days ago that hour was the last one
    assert [isnan(miss) for miss in found[5]] == [*[False] * 23, True]
    assert all(map(isfinite, found[10]))


@pytest.mark.parametrize("kind", [Kind.SYNTHETIC, Kind.FORECAST])
def test_what_was_made_up_is_no_record(kind: Kind) -> None:
    """A profile that is the same every day was never wrong, and says nothing of how wrong the grid can be."""
    values = restless(START, int(READ / HOUR))
    made_up = CarbonSeries("AA", tuple(replace(p, kind=kind) for p in series(values).points))
    assert misses(made_up, NOW, 3).by_day == ()


def test_a_grid_like_every_day_is_never_missed() -> None:
    """Where each day is like the one before, there is nothing to be unsure of."""
    start = START - READ
    values = {start + n * HOUR: 100.0 + (n % 24) for n in range(int(READ / HOUR))}
    found = misses(series(values), NOW, 24)
    assert found.mean_band([300.0] * 24, START, 0.8) == pytest.approx((300.0, 300.0))
    assert all(miss == pytest.approx(0.0, abs=1e-9) for path in found.by_day for miss in path)
