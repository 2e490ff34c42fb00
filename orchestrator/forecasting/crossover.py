"""For how long the last value of a zone is believed, before the blend is: learnt from what both have missed lately.

The question that is asked now, what the present hour is like when the newest known hour ended some hours ago, was asked
at this hour of each of the last 29 days as well, and what came is known. Each of those days, the last value and the
blend of :mod:`orchestrator.forecasting.coming`, issued as of the end of that value, are held against it, age by age. At
other hours of the day a grid changes faster or slower, so they do not count.

The crossover is the first age at which the blend has missed less. The blend has the last value in it, so that is soon;
a grid that hardly changes, or changes by steps, keeps its value for longer.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from orchestrator.domain.carbon import CarbonSeries, Kind
from orchestrator.domain.crossover import Crossover, Missed
from orchestrator.domain.misses import FEWEST_DAYS
from orchestrator.domain.time import HOUR, Instant, floor_hour
from orchestrator.forecasting.hourly import by_hour
from orchestrator.forecasting.missed import KNOWN_BEFORE, MISSED_DAYS, READ
from orchestrator.forecasting.pattern import DAY, LOOK_BACK_HOURS, Floats, Rows, blended_with_holes

OLDEST_HOURS: Final = 12
"""Ages below this are compared, hour by hour; from here on the blend is believed anyway: it knows the daily pattern."""

_NOT_WHAT_CAME: Final = (Kind.FORECAST, Kind.SYNTHETIC)


def crossover(history: CarbonSeries, now: Instant) -> Crossover:
    """Return the age from which on the blend is nearer, by what of the history was known at ``now``.

    At most :data:`READ` of it counts, and days that have nine like them; else the age is the default. What was made up
    or foretold never came. Deterministic; equal errors leave the value, which was measured.
    """
    start = floor_hour(now)
    known = by_hour(
        p
        for p in history.points
        if p.issued_at <= now and p.interval.end > start - READ and p.kind not in _NOT_WHAT_CAME
    )
    rows = LOOK_BACK_HOURS + DAY * MISSED_DAYS + OLDEST_HOURS
    values = np.full(rows, np.nan)
    for hour, mean in known.items():
        row = rows + int((hour - start) // HOUR)
        if 0 <= row < rows:
            values[row] = mean.grams_per_kwh
    seen = np.flatnonzero(np.isfinite(values))
    if not len(seen):
        return Crossover()
    enough = int(seen[0]) + KNOWN_BEFORE // HOUR
    targets: Rows = np.asarray(rows - DAY * np.arange(1, MISSED_DAYS + 1), dtype=np.int64)
    targets = targets[targets >= enough]
    if len(targets) < FEWEST_DAYS:
        return Crossover()
    value, forecast = _errors(values, targets)
    told = np.isfinite(value) & np.isfinite(forecast)
    days = told.sum(axis=1)
    if days.min() < FEWEST_DAYS:
        return Crossover()
    value, forecast = (np.where(told, e, 0.0).sum(axis=1) / days for e in (value, forecast))
    nearer = np.flatnonzero(forecast < value)
    first = int(nearer[0]) if len(nearer) else OLDEST_HOURS
    missed = zip(value.tolist(), forecast.tolist(), days.tolist(), strict=True)
    return Crossover(first, int(days.min()), tuple(Missed(age, *parts) for age, parts in enumerate(missed)))


def _errors(values: Floats, targets: Rows) -> tuple[Floats, Floats]:
    """Return absolute errors of the last value and of the blend at each target row, (ages, targets)."""
    ages = np.arange(OLDEST_HOURS)
    issued = (targets[None, :] - ages[:, None]).ravel()
    said = blended_with_holes(values[issued + np.arange(-LOOK_BACK_HOURS, 0)[:, None]], OLDEST_HOURS)
    blend = np.maximum(0.0, said[np.repeat(ages, len(targets)), np.arange(len(issued))])
    came = np.tile(values[targets], OLDEST_HOURS)
    shape = (OLDEST_HOURS, len(targets))
    return abs(values[issued - 1] - came).reshape(shape), abs(blend - came).reshape(shape)
