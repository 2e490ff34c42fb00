"""Tomorrow as yesterday, moved to today's level; and what the last weeks were on average.

Grids repeat themselves by the day, so the same hour a day earlier is a hard forecast to beat, and needs nothing but the
past. The difference between now and the same hour a day earlier is carried over and fades, because weather systems pass
within hours. Only values that were known at ``now`` are used, whatever else the series holds.
"""

from __future__ import annotations

import math
from datetime import timedelta

from orchestrator.domain.carbon import (
    PLAUSIBLE_GRAMS_PER_KWH,
    CarbonIntensity,
    CarbonSeries,
    Kind,
    weakest,
)
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.forecasting.hourly import Hour, by_hour, clock_hours

SOURCE = "greenctl persistence-24"
DAY = timedelta(days=1)
LOOK_BACK_DAYS = 7
"""A same hour older than a week is no forecast."""

LEVEL_FADES_HOURS = 6.0
"""Time constant of the level correction; of 3, 6, 12 and 24 hours, 6 had the smallest error on 40 grids in 2023."""

TRAILING_DAYS = 28
MIN_COVERAGE = 0.5
"""Fraction of the trailing window that must be known for its mean to say anything."""


def day_ahead(history: CarbonSeries, window: Window, now: Instant) -> CarbonSeries:
    """Forecast each hour that touches the window from the same hour of the day before.

    If that hour is unknown or still to come, the most recent same hour within seven days before ``now`` serves. The
    level correction is the last observed hour less the hour as many days earlier as the base lies back; it fades with a
    time constant of six hours. Values are clipped to what a grid can have. Hours without any base stay holes.

    Points are forecasts, or synthetic where a synthetic value went in: a forecast is no better than what it rests on.
    """
    if not history.points:
        return CarbonSeries(history.zone, ())
    known = by_hour(p for p in history.points if p.issued_at <= now)
    points = []
    for start in clock_hours(window):
        expected = _expected(known, start, now)
        if expected is not None:
            interval = Window.starting(start, HOUR)
            basis = history.points[0].basis
            grams, kind = expected.grams_per_kwh, expected.kind
            points.append(CarbonIntensity(history.zone, grams, interval, kind, SOURCE, now, now, basis))
    return CarbonSeries(history.zone, tuple(points))


def trailing_mean(history: CarbonSeries, now: Instant, days: int = TRAILING_DAYS) -> float | None:
    """Mean g/kWh over the last ``days`` before ``now``, weighted by time, of what was known at ``now``.

    ``None`` when less than half of that time is known (:data:`MIN_COVERAGE`).
    """
    begin = now - days * DAY
    weighed = hours = 0.0
    for point in history.points:
        inside = (min(point.interval.end, now) - max(point.interval.start, begin)) / HOUR
        if point.issued_at <= now and inside > 0:
            weighed += inside * point.grams_per_kwh
            hours += inside
    return weighed / hours if hours > 0 and hours >= MIN_COVERAGE * days * 24 else None


def _expected(known: dict[Instant, Hour], start: Instant, now: Instant) -> Hour | None:
    if not known:
        return None
    days = 1
    while start - days * DAY not in known:
        days += 1
        if start - days * DAY < now - LOOK_BACK_DAYS * DAY:
            return None
    base, used = known[start - days * DAY], [Kind.FORECAST]
    used.append(base.kind)
    last = max(known)
    level = 0.0
    if last - days * DAY in known:
        faded = math.exp(-max(0.0, (start - last) / HOUR) / LEVEL_FADES_HOURS)
        level = (known[last].grams_per_kwh - known[last - days * DAY].grams_per_kwh) * faded
        used += [known[last].kind, known[last - days * DAY].kind]
    low, high = PLAUSIBLE_GRAMS_PER_KWH
    return Hour(min(high, max(low, base.grams_per_kwh + level)), weakest(used))
