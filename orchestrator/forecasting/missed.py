"""What the blend, issued at this hour on each of the last days, turned out to lack.

The same forecast as :mod:`orchestrator.forecasting.coming`, of all those days at once: each day's 28 days are one
column of :func:`orchestrator.forecasting.pattern.blended_with_holes`. As many of the last hours were unknown then as
are now: a feed that is late today was late then.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import numpy as np

from orchestrator.domain.carbon import CarbonSeries, Kind
from orchestrator.domain.misses import Misses
from orchestrator.domain.time import HOUR, Instant, floor_hour
from orchestrator.forecasting.hourly import by_hour
from orchestrator.forecasting.pattern import DAY, LOOK_BACK_HOURS, blended_with_holes

MISSED_DAYS: Final = 29
"""Days whose forecasts are judged: four of each weekday, and 30 divides by ten, so that a band of 80 % is one."""

KNOWN_BEFORE: Final = timedelta(days=6)
"""What the oldest forecast knows at least: six tenths of the pattern's weight. Its misses are a little larger than
today's will be, and bands rather too wide than too narrow."""

READ: Final = timedelta(days=MISSED_DAYS) + KNOWN_BEFORE
"""How much of the past is asked for: as much as the archive has at hand."""


_NOT_WHAT_CAME: Final = (Kind.FORECAST, Kind.SYNTHETIC)


def misses(history: CarbonSeries, now: Instant, hours: int) -> Misses:
    """Return what the last 29 forecasts of so many hours from the present clock hour on lacked.

    They rest on what of the history was known at ``now``, at most :data:`READ` of it. A day counts if the six days
    before it are on record, and its last known hour is as old as today's is. What was made up never came.
    """
    start = floor_hour(now)
    known = by_hour(
        p
        for p in history.points
        if p.issued_at <= now and p.interval.end > start - READ and p.kind not in _NOT_WHAT_CAME
    )
    if not known:
        return Misses(history.zone, start, ())
    late = max(0, int((start - HOUR - max(known)) // HOUR))
    # Row 0 is so early that the oldest forecast has its 28 days, most of them unknown.
    rows = LOOK_BACK_HOURS + DAY * MISSED_DAYS
    first = start - late * HOUR - rows * HOUR
    values = np.full(rows + late + hours, np.nan)
    for hour, mean in known.items():
        row = int((hour - first) // HOUR)
        if 0 <= row < len(values):
            values[row] = mean.grams_per_kwh
    begins = int(np.flatnonzero(np.isfinite(values))[0])
    days = [day for day in range(1, MISSED_DAYS + 1) if (rows + late - DAY * day - begins) * HOUR >= KNOWN_BEFORE]
    if not days:
        return Misses(history.zone, start, ())
    issued = rows - DAY * np.array(days)
    past = values[issued + np.arange(-LOOK_BACK_HOURS, 0)[:, None]]
    said = blended_with_holes(past, late + hours)[late:]
    came = values[issued + np.arange(late, late + hours)[:, None]]
    lacked = np.sqrt(came) - np.sqrt(np.maximum(0.0, said))
    return Misses(history.zone, start, tuple(tuple(column) for column in lacked.T.tolist()))
