"""Bands around a forecast that hold what they promise: quantiles of how the same forecast erred lately.

Split conformal prediction on a moving window: the band of an hour ahead is the forecast plus the order statistics
floor((n + 1) a/2) and n + 1 - floor((n + 1) a/2) of its last n errors (Vovk, Gammerman and Shafer, Algorithmic Learning
in a Random World, 2005, section 2.2; the window against drift: Barber et al., Annals of Statistics 51(2), 2023). No
distribution is assumed. Errors are those of square roots, so that a band is wide where much is emitted and never ends
below zero. Each zone, hour ahead and hour of issue has its own errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.forecasting.pattern import DAY, Floats, Rows

WINDOW: Final = 59
"""Issues of the same hour of the day that a band looks back on: two months, and (n + 1) of them divide by ten."""


@dataclass(frozen=True)
class Band:
    """Lower and upper end, (issues, hours ahead, zones), between which ``level`` (0..1) of the hours are to fall.

    ``nan`` where too few errors are known: a band of 80 % needs nine, one of 95 % needs 39.
    """

    level: float
    low: Floats
    high: Floats


def bands(
    forecast: Floats, actual: Floats, issues: Rows, levels: Sequence[float], *, first: int = 0, window: int = WINDOW
) -> tuple[Band, ...]:
    """Return a band for each level, for the issues from row ``first`` on; the earlier ones only teach.

    ``actual`` is what came of ``forecast``, of the same shape (issues, hours ahead, zones), issues ascending; only
    errors that are known at an issue count for it. Raises ``ValueError`` for a level that is no fraction.
    """
    wrong = [level for level in levels if not 0 < level < 1]
    if wrong:
        raise ValueError(f"a band of {wrong[0]} is none: 0 < level < 1")
    kept = int(np.searchsorted(issues, first))
    roots = np.sqrt(forecast)
    errors = np.ascontiguousarray((np.sqrt(actual) - roots).transpose(1, 2, 0))
    shape = (len(issues) - kept, *forecast.shape[1:])
    found = tuple(Band(level, np.full(shape, np.nan), np.full(shape, np.nan)) for level in levels)
    together = max(1, _MOST_SORTED // max(1, window * forecast[0].size)) if len(forecast) else 1
    for hour in np.unique(issues % DAY).tolist():
        mine = np.flatnonzero(issues % DAY == hour)
        over = np.searchsorted(issues[mine], issues[mine] - forecast.shape[1], side="right")
        late = np.flatnonzero((mine >= kept) & (over > 0))
        for start in range(0, len(late), together):
            some = late[start : start + together]
            places = over[some][:, None] + np.arange(-window, 0)
            taught = np.where(places >= 0, errors[:, :, mine[np.maximum(0, places)]], np.nan)
            in_order = np.sort(taught.transpose(2, 0, 1, 3), axis=3)  # unknown ones last
            known = np.isfinite(in_order).sum(axis=3)
            issued = mine[some]
            for band in found:
                below, above = _ends(in_order, known, band.level)
                band.low[issued - kept] = np.maximum(0.0, roots[issued] + below) ** 2
                band.high[issued - kept] = np.maximum(0.0, roots[issued] + above) ** 2
    return found


def _ends(in_order: Floats, known: Rows, level: float) -> tuple[Floats, Floats]:
    """Return the two order statistics along the last axis; ``nan`` where there are too few errors."""
    first = np.floor((known + 1) * (1.0 - level) / 2.0 + _ROUNDING).astype(np.int64)
    last = np.clip(known - first, 0, in_order.shape[-1] - 1)
    below = np.take_along_axis(in_order, np.maximum(first - 1, 0)[..., None], axis=-1)[..., 0]
    above = np.take_along_axis(in_order, last[..., None], axis=-1)[..., 0]
    return np.where(first >= 1, below, np.nan), np.where(first >= 1, above, np.nan)


_MOST_SORTED: Final = 500_000
"""Errors that are put in order at once: many small windows cost more in calls than in sorting."""

_ROUNDING: Final = 1e-9
"""``60 * (1 - 0.8) / 2`` is meant to be six."""
