"""The coming hours of one zone as its last four weeks were, with what is special today carried on.

The blend of :mod:`orchestrator.forecasting.blend` for a series as sources give it: points of any length, with holes,
and only as far as they were known. On complete hours it is :func:`orchestrator.forecasting.pattern.blended`, number by
number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from orchestrator.domain.carbon import PLAUSIBLE_GRAMS_PER_KWH, CarbonIntensity, CarbonSeries, Kind, weakest
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.forecasting.blend import DAY_FADES_HOURS, HOUR_FADES_HOURS, OLDEST_DAYS, PATTERN_DAYS, RECENCY
from orchestrator.forecasting.hourly import Hour, by_hour, clock_hours

SOURCE: Final = "greenctl blend-28"

_DAY: Final = timedelta(days=1)
_WEIGHTS: Final = tuple(RECENCY**day for day in range(PATTERN_DAYS))


def coming_hours(history: CarbonSeries, window: Window, now: Instant) -> CarbonSeries:
    """Forecast each hour that touches the window from what of the history was known at ``now``.

    Days that lack an hour do not count for that hour of the day; an hour of the day that the last week never saw stays
    a hole. What is special today is what the last 24 hours up to the last known one show, as far as they are known.
    Values are clipped to what a grid can have. Points are forecasts, or synthetic where a synthetic value went in.
    """
    known = by_hour(p for p in history.points if p.issued_at <= now)
    if not known:
        return CarbonSeries(history.zone, ())
    last = max(known)
    usual = _usual(known, max(last, floor_hour(now) - HOUR), now)
    today = _today(known, usual, last)
    low, high = PLAUSIBLE_GRAMS_PER_KWH
    points = []
    for start in clock_hours(window):
        base = usual.get(start.hour)
        if base is None:
            continue
        grams = min(high, max(low, base.grams_per_kwh + today.at(start)))
        kind = weakest([Kind.FORECAST, base.kind, *today.kinds])
        interval = Window.starting(start, HOUR)
        points.append(CarbonIntensity(history.zone, grams, interval, kind, SOURCE, now, now, history.points[0].basis))
    return CarbonSeries(history.zone, tuple(points))


def _usual(known: dict[Instant, Hour], newest: Instant, now: Instant) -> dict[int, Hour]:
    """Return what each hour of the day usually is, by the clock hour, from the 28 days up to the newest hour."""
    usual, oldest = {}, now - OLDEST_DAYS * _DAY
    ages: dict[int, dict[int, Hour]] = {}
    for start, hour in known.items():
        days_ago, back = divmod((newest - start) // HOUR, 24)
        if 0 <= days_ago < PATTERN_DAYS:
            ages.setdefault(back, {})[days_ago] = hour
    for back, found in sorted(ages.items()):
        first, days = newest - back * HOUR, sorted(found)
        if first - days[0] * _DAY < oldest:
            continue
        held = [(_WEIGHTS[day], found[day]) for day in days]
        mean = sum(weight * hour.grams_per_kwh for weight, hour in held) / sum(weight for weight, _ in held)
        usual[first.hour] = Hour(mean, weakest([hour.kind for _, hour in held]))
    return usual


@dataclass(frozen=True, slots=True)
class _Today:
    """What is special about the day that ends with the last known hour: the hour's own, and the day's."""

    last: Instant
    hour_grams: float
    day_grams: float
    kinds: tuple[Kind, ...]

    def at(self, start: Instant) -> float:
        """What is left of it at that hour; all of it at the first hour that is not known."""
        ahead = max(0.0, (start - self.last) / HOUR - 1)
        hour = self.hour_grams * math.exp(-ahead / HOUR_FADES_HOURS)
        return hour + self.day_grams * math.exp(-ahead / DAY_FADES_HOURS)


def _today(known: dict[Instant, Hour], usual: dict[int, Hour], last: Instant) -> _Today:
    recent = [last - back * HOUR for back in range(24)]
    departures = {
        start: known[start].grams_per_kwh - usual[start.hour].grams_per_kwh
        for start in recent
        if start in known and start.hour in usual
    }
    if last not in departures:
        return _Today(last, 0.0, 0.0, ())
    day = sum(departures.values()) / len(departures)
    return _Today(last, departures[last] - day, day, tuple(known[start].kind for start in departures))
