"""The daily pattern of each zone, how the last week departs from it, and how such departures are carried on.

Arrays only: ``values`` is (hours, zones), row 0 at midnight UTC; a forecast is *issued* at row t when all rows before t
are known, and covers rows t, t + 1, ... Results are (issues, hours ahead, zones). ``nan`` is unknown, in and out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.forecasting.blend import DAY_FADES_HOURS, HOUR_FADES_HOURS, OLDEST_DAYS, PATTERN_DAYS, RECENCY

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

DAY: Final = 24
WEEK: Final = 168
LOOK_BACK_HOURS: Final = DAY * PATTERN_DAYS
"""Nothing is issued before there are so many rows."""

LONGEST_REPEAT_HOURS: Final = WEEK
"""A gap is bridged by the days before it for so long; then the zone is unknown."""


def filled_from_before(values: Floats, longest_hours: int = LONGEST_REPEAT_HOURS) -> Floats:
    """Fill each gap with the value 24 h earlier, itself filled; where there is none, with the last one known.

    What stands before the first value of a zone, or more than ``longest_hours`` after its last, stays ``nan``.
    """
    filled = values.copy()
    unknown_for = np.zeros(values.shape[1], dtype=np.int64)
    for t, gaps in enumerate(np.isnan(values)):
        unknown_for = np.where(gaps, unknown_for + 1, 0)
        if gaps.any():
            wanted = gaps & (unknown_for <= longest_hours)
            if t >= DAY:
                filled[t, wanted] = filled[t - DAY, wanted]
            wanted &= np.isnan(filled[t])
            if t > 0:
                filled[t, wanted] = filled[t - 1, wanted]
    return filled


@dataclass(frozen=True)
class Pattern:
    """What is usual at each issue, and what was not.

    ``hours`` (issues, 24, zones): what each of the coming hours of the day usually is. ``departures``
    (issues, 7, 24, zones): by how much the hours of the last seven days differed from it, oldest first.
    """

    hours: Floats
    departures: Floats

    def carried_on(self, horizon_hours: int) -> Floats:
        """Return the blend (see :mod:`orchestrator.forecasting.blend`) of each hour ahead."""
        day = self.departures[:, -1].mean(axis=1)
        last = self.departures[:, -1, -1] - day
        ahead = np.arange(horizon_hours)
        fading = np.exp(-ahead / HOUR_FADES_HOURS)[:, None] * last[:, None]
        fading += np.exp(-ahead / DAY_FADES_HOURS)[:, None] * day[:, None]
        return np.asarray(self.hours[:, ahead % DAY] + fading)


def pattern(values: Floats, issues: Rows) -> Pattern:
    """Return the pattern at each issue. Raises ``ValueError`` where an issue has fewer rows before it than it needs."""
    if len(issues) and issues.min() < LOOK_BACK_HOURS:
        raise ValueError(f"row {issues.min()} has no {LOOK_BACK_HOURS} hours before it")
    zones = values.shape[1]
    back = np.arange(-LOOK_BACK_HOURS, 0)
    days = values[issues[:, None] + back].reshape(len(issues), PATTERN_DAYS, DAY, zones)
    weights = RECENCY ** np.arange(PATTERN_DAYS - 1, -1, -1.0)
    hours = np.zeros((len(issues), DAY, zones))
    for day, weight in enumerate(weights / weights.sum()):
        hours += weight * days[:, day]
    return Pattern(hours, days[:, -7:] - hours[:, None])


def blended(values: Floats, issues: Rows, horizon_hours: int) -> Floats:
    """Return the blend issued at each row, (issues, hours ahead, zones), never below zero."""
    return np.maximum(0.0, pattern(values, issues).carried_on(horizon_hours))


def blended_with_holes(past: Floats, horizon_hours: int) -> Floats:
    """Return the blend after the last row, (hours ahead, zones), of exactly 28 days (hours, zones) with holes.

    As :func:`orchestrator.forecasting.coming.coming_hours`, for zones whose last hour is known: a day that lacks an
    hour does not count for it, and an hour that the last seven days lack is ``nan``. Other zones are ``nan``
    throughout. Several issues at once are further axes in front, and each is answered as if it were alone. Raises
    ``ValueError`` for another number of rows.
    """
    *issues, rows, zones = past.shape
    if rows != LOOK_BACK_HOURS:
        raise ValueError(f"{rows} rows are not {LOOK_BACK_HOURS}")
    days = past.reshape(*issues, PATTERN_DAYS, DAY, zones)
    known = np.isfinite(days)
    weights = np.where(known, (RECENCY ** np.arange(PATTERN_DAYS - 1, -1, -1.0))[:, None, None], 0.0)
    held = weights.sum(axis=-3)
    seen = known[..., -OLDEST_DAYS:, :, :].any(axis=-3)
    usual = np.where(known, days, 0.0)
    hours = np.where(seen, (weights * usual).sum(axis=-3) / np.where(seen, held, 1.0), np.nan)
    departures = days[..., -1, :, :] - hours
    told = np.isfinite(departures)
    day = np.where(told, departures, 0.0).sum(axis=-2) / np.maximum(1, told.sum(axis=-2))
    last, day = departures[..., -1, None, :] - day[..., None, :], day[..., None, :]
    ahead = np.arange(horizon_hours)
    fading = np.exp(-ahead / HOUR_FADES_HOURS)[:, None] * last
    fading += np.exp(-ahead / DAY_FADES_HOURS)[:, None] * day
    return np.asarray(hours[..., ahead % DAY, :] + fading)


def yesterday(values: Floats, issues: Rows, horizon_hours: int) -> Floats:
    """Return the last known same hour of the day: the forecast that costs nothing (seasonal naive)."""
    ahead = np.arange(horizon_hours)
    return np.asarray(values[issues[:, None] + ahead - DAY * (ahead // DAY + 1)])


def same_hours(values: Floats, issues: Rows, horizon_hours: int) -> Floats:
    """Return what each forecast hour turned out to be; ``nan`` where the rows end before."""
    rows = issues[:, None] + np.arange(horizon_hours)
    found = values[np.minimum(rows, len(values) - 1)]
    found[rows >= len(values)] = np.nan
    return np.asarray(found)
