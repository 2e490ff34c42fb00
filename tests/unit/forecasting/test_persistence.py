"""The trailing mean, number by number."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries, Kind
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.forecasting.persistence import trailing_mean

NOW = parse_instant("2031-03-08T12:00Z")
DAY = timedelta(days=1)


def point(start: Instant, grams: float, *, length: timedelta = HOUR, kind: Kind = Kind.MEASURED) -> CarbonIntensity:
    """Give a value that is known at the end of its interval."""
    interval = Window.starting(start, length)
    return CarbonIntensity("AA", grams, interval, kind, "meter", interval.end, interval.end)


def series(*points: CarbonIntensity) -> CarbonSeries:
    """Give the points in order of time."""
    return CarbonSeries("AA", tuple(sorted(points, key=lambda p: p.interval.start)))


def hours(count: int, *, end: Instant = NOW, grams: float = 100.0) -> list[CarbonIntensity]:
    """Give that many hours up to ``end``, each 100 plus its clock hour."""
    starts = [end - (count - n) * HOUR for n in range(count)]
    return [point(start, grams + start.hour) for start in starts]


def test_the_trailing_mean_weighs_by_time() -> None:
    """Half the window at 100 and half at 300 is 200, however the points are cut."""
    old = point(NOW - 28 * DAY, 100.0, length=14 * DAY)
    new = [point(NOW - 14 * DAY + n * HOUR, 300.0) for n in range(14 * 24)]
    assert trailing_mean(series(old, *new), NOW) == pytest.approx(200)


def test_the_trailing_mean_needs_half_of_its_window() -> None:
    """Thirteen days of 28 say nothing; fourteen do; a day is enough for a day."""
    assert trailing_mean(series(*hours(13 * 24)), NOW) is None
    assert trailing_mean(series(*hours(14 * 24)), NOW) == pytest.approx(111.5)
    assert trailing_mean(series(*hours(24)), NOW, days=1) == pytest.approx(111.5)
    assert trailing_mean(series(), NOW) is None


def test_the_trailing_mean_ignores_what_is_too_old_or_still_to_come() -> None:
    """Only the window before now counts, and only what was known."""
    past = hours(28 * 24)
    noise = [*hours(100, end=NOW - 28 * DAY, grams=900), *hours(24, end=NOW + DAY, grams=900)]
    assert trailing_mean(series(*past, *noise), NOW) == pytest.approx(111.5)
