"""What the last weeks were on average, and how fast the naive forecast of the rivals forgets.

The naive forecast (the same hour yesterday, moved by how the last hour differs from the day before it) is what others
plan with; ours is :mod:`orchestrator.forecasting.coming`.
"""

from __future__ import annotations

from datetime import timedelta

from orchestrator.domain.carbon import CarbonSeries
from orchestrator.domain.time import HOUR, Instant

DAY = timedelta(days=1)

LEVEL_FADES_HOURS = 6.0
"""Time constant of the naive level correction: of 3, 6, 12 and 24 hours, 6 erred least on 40 grids in 2023."""

TRAILING_DAYS = 28
MIN_COVERAGE = 0.5
"""Fraction of the trailing window that must be known for its mean to say anything."""


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
