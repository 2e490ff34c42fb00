"""By how much the forecast of a grid zone was wrong lately: what its bands, and the scenarios of a move, are made of.

A forecast that is issued now was issued at this hour on each of the last days, too, and what came of it is known. Each
of those days is one way in which today's may be wrong, hour by hour, and the same day for every zone: what lies over
two grids at once shows in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, sqrt

from orchestrator.domain.time import HOUR, Instant

FEWEST_DAYS = 9
"""A band of 80 % takes nine days: its ends are order statistics, and beyond the worst day nothing is known."""

_ROUNDING = 1e-9
"""``(29 + 1) * (1 - 0.8) / 2`` is meant to be three."""


@dataclass(frozen=True, slots=True)
class Misses:
    """What the forecasts of one zone turned out to lack, as differences of square roots of g/kWh.

    ``start``: the clock hour that stands first. ``by_day``: at place n the forecast of n + 1 days ago, an hour ahead
    after the other; empty where there was none, ``nan`` for hours that are not known. Of square roots, so that a dirty
    hour is missed by more than a clean one, and no scenario emits less than nothing.
    """

    zone: str
    start: Instant
    by_day: tuple[tuple[float, ...], ...]

    def scenario(self, day: int, grams_per_kwh: Sequence[float], first: Instant) -> tuple[float, ...] | None:
        """Return g/kWh of hours from one on, forecast to have so many, if today is missed as ``day`` + 1 days ago was.

        ``None`` where that is not known of all of them.
        """
        ahead = self._ahead(first)
        path = self.by_day[day][ahead : ahead + len(grams_per_kwh)] if ahead >= 0 and day < len(self.by_day) else ()
        if len(path) < len(grams_per_kwh) or not all(map(isfinite, path)):
            return None
        return tuple(max(0.0, sqrt(grams) + miss) ** 2 for grams, miss in zip(grams_per_kwh, path, strict=True))

    def band(self, grams_per_kwh: float, moment: Instant, level: float) -> tuple[float, float] | None:
        """Return the two ends between which ``level`` (0..1) of such hours fall, g/kWh; ``None`` for too few days."""
        ahead = self._ahead(moment)
        known = [path[ahead] for path in self.by_day if 0 <= ahead < len(path) and isfinite(path[ahead])]
        ends = order_statistics(known, level)
        if ends is None:
            return None
        low, high = (max(0.0, sqrt(grams_per_kwh) + miss) ** 2 for miss in ends)
        return low, high

    def mean_band(self, grams_per_kwh: Sequence[float], first: Instant, level: float) -> tuple[float, float] | None:
        """Return the two ends between which the mean of consecutive hours falls, as :meth:`band` does for one hour."""
        found = [self.scenario(day, grams_per_kwh, first) for day in range(len(self.by_day))]
        return order_statistics([sum(hours) / len(hours) for hours in found if hours], level)

    def _ahead(self, moment: Instant) -> int:
        return int((moment - self.start) // HOUR)


def order_statistics(values: Sequence[float], level: float) -> tuple[float, float] | None:
    """Return the two of the values between which ``level`` (0..1) of their like fall; ``None`` of too few.

    Split conformal prediction: the order statistics floor((n + 1) a/2) and n + 1 - floor((n + 1) a/2) of n errors
    (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, section 2.2). Raises ``ValueError`` for a
    level that is no fraction.
    """
    if not 0 < level < 1:
        message = f"a band of {level} is none: 0 < level < 1"
        raise ValueError(message)
    place = floor((len(values) + 1) * (1.0 - level) / 2.0 + _ROUNDING)
    if len(values) < FEWEST_DAYS or place < 1:
        return None
    in_order = sorted(values)
    return in_order[place - 1], in_order[-place]
