"""What is known about grid zones at one moment, read once per grid hour and remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from orchestrator.control.at_once import all_of
from orchestrator.control.ports import CarbonSource
from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Gap, Kind, Reading
from orchestrator.domain.crossover import Crossover
from orchestrator.domain.misses import Misses
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.errors import SignalUnavailable
from orchestrator.forecasting.choose import expected
from orchestrator.forecasting.coming import SOURCE
from orchestrator.forecasting.crossover import crossover
from orchestrator.forecasting.missed import READ, misses
from orchestrator.forecasting.persistence import trailing_mean

TRAILING = timedelta(days=28)
HOLE_KEPT_FOR = timedelta(minutes=5)
_KEPT = 512
_Key = tuple[str, Basis, Instant, int]
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class ZoneView:
    """One zone: its newest value, its recent past and the coming hours as they can be known now.

    ``misses``: by how much such a forecast was wrong lately; ``None`` where any of it is a provider's, whose earlier
    forecasts are not on record, or rests on made-up values, which are never wrong.
    ``crossover``: from which age on the forecast is nearer than ``now``; ``None`` where that is of the present hour, or
    the forecast does not know it.
    """

    zone: str
    now: Reading
    history: CarbonSeries
    forecast: CarbonSeries
    trailing_mean_grams_per_kwh: float | None
    misses: Misses | None = None
    crossover: Crossover | None = None


@dataclass(slots=True)
class _Hourly:
    """What changes once an hour. ``learns``: what its forecast missed lately is on record."""

    history: CarbonSeries
    forecast: CarbonSeries
    trailing_mean_grams_per_kwh: float | None
    misses: Misses | None
    learns: bool
    _learnt: Crossover | None = None

    def crossover(self, now: Instant) -> Crossover:
        """Return from which age on the forecast is nearer, worked out when it is asked for first."""
        if self._learnt is None:
            self._learnt = crossover(self.history, now) if self.learns else Crossover()
        return self._learnt


class GridReader:
    """Reads zones through a source. History and forecast change once an hour and are kept for that long.

    The last history that was read is remembered: while the source cannot be read, tomorrow is still expected to be
    as the days before were, for as long as there are such days.
    """

    def __init__(self, source: CarbonSource) -> None:
        self._source = source
        self._kept: dict[_Key, _Hourly] = {}
        self._ask_again: dict[_Key, Instant] = {}
        self._last: dict[tuple[str, Basis], CarbonSeries] = {}
        self._without: dict[_Key, tuple[CarbonSeries, _Hourly]] = {}

    async def zone(self, zone: str, basis: Basis, now: Instant, hours: int) -> ZoneView:
        """Return what is known; a source that cannot be read becomes a gap with its reason, never an exception."""
        # The past comes first: a source that rewrites it is found out before its newest value is taken.
        try:
            slow = await self._slow_parts(zone, basis, now, hours)
        except SignalUnavailable:
            slow = self._without_source(zone, basis, now, hours)
        try:
            latest = await self._source.latest(zone, basis, now)
        except SignalUnavailable as error:
            latest = Gap(zone, error.message, self._source.name)
        until = slow.crossover(now) if _is_past_and_known(latest, slow.history, now) else None
        return ZoneView(zone, latest, slow.history, slow.forecast, slow.trailing_mean_grams_per_kwh, slow.misses, until)

    async def zones(self, zones: Sequence[str], basis: Basis, now: Instant, hours: int) -> dict[str, ZoneView]:
        """Read several zones at once."""
        views = await all_of([self.zone(z, basis, now, hours) for z in zones])
        return {v.zone: v for v in views}

    async def intensities(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """Return the past values of a window; empty when the source cannot be read."""
        try:
            return await self._source.history(zone, basis, window, now)
        except SignalUnavailable:
            return CarbonSeries(zone, ())

    def _without_source(self, zone: str, basis: Basis, now: Instant, hours: int) -> _Hourly:
        """Return what follows from the last history that was read, worked out once per hour."""
        key = (zone, basis, floor_hour(now), hours)
        last = self._last.get((zone, basis))
        kept = self._without.get(key)
        if kept is None or (last is not None and kept[0] is not last):
            if len(self._without) >= _KEPT:
                self._without = _of_hour(key[2], self._without)
            history = CarbonSeries(zone, ()) if last is None else last
            kept = self._without[key] = (history, _worked_out(None, history, now, hours))
        return kept[1]

    async def _slow_parts(self, zone: str, basis: Basis, now: Instant, hours: int) -> _Hourly:
        key = (zone, basis, floor_hour(now), hours)
        if key not in self._kept or now >= self._ask_again.get(key, now + HOUR):
            self._ask_again.pop(key, None)
            if len(self._kept) >= _KEPT:
                self._kept, self._ask_again = _of_hour(key[2], self._kept), _of_hour(key[2], self._ask_again)
            history = await self._source.history(zone, basis, Window(now - READ, now), now)
            own = await self._source.forecast(zone, basis, _ahead(now, hours), now)
            if history.points:
                self._last[zone, basis] = history
            else:
                # A hole is no knowledge: what was known before it counts, and it is asked for again before the hour.
                history = self._last.get((zone, basis), history)
                self._ask_again[key] = now + HOLE_KEPT_FOR
            self._kept[key] = _worked_out(own, history, now, hours)
        return self._kept[key]


def _of_hour(hour: Instant, kept: Mapping[_Key, V]) -> dict[_Key, V]:
    """Leave out other hours. This one's are all asked for again, at every look, however many zones there are."""
    return {key: value for key, value in kept.items() if key[2] == hour}


def _worked_out(own: CarbonSeries | None, history: CarbonSeries, now: Instant, hours: int) -> _Hourly:
    forecast = expected(own, history, _ahead(now, hours), now)
    ours = bool(forecast.points) and all(p.source == SOURCE and p.kind is Kind.FORECAST for p in forecast.points)
    missed = misses(history, now, hours + 1) if ours else None
    # Of a provider's forecasts none is on record but the newest, so nothing is learnt of their misses.
    return _Hourly(history, forecast, trailing_mean(history, now), missed, learns=ours)


def _is_past_and_known(latest: Reading, history: CarbonSeries, now: Instant) -> bool:
    """Whether the newest value is of an hour that is over, and the past that the forecast was made from has it."""
    if not isinstance(latest, CarbonIntensity) or latest.interval.end > now or not history.points:
        return False
    return history.points[-1].interval.end >= latest.interval.end


def _ahead(now: Instant, hours: int) -> Window:
    return Window.starting(floor_hour(now), (hours + 1) * HOUR)


def reading_in(series: CarbonSeries, window: Window) -> CarbonIntensity | None:
    """Return the point that holds the window's start, if there is one."""
    return series.at(window.start)
