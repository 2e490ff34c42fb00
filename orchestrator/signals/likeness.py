"""A source that knows what zones are like in a year, and nothing of any day: always synthetic, never random.

The hour that runs is known from its start, because nothing that happens changes it, and a forecast is the same likeness
of hours to come. Average life-cycle intensity only, for of that are the yearly figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Gap, Kind, Reading
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.signals.mix import BASIS
from orchestrator.signals.shape import ZoneFacts


class Drawing(Protocol):
    """How a zone's facts become the hours of a year."""

    @property
    def name(self) -> str:
        """Short name of the source that travels with each value."""
        ...

    @property
    def plural(self) -> str:
        """What it knows of zones, in words for a sentence: ``yearly means``."""
        ...

    def of(self, facts: ZoneFacts) -> str:
        """Return what a value of that zone is, in words: ``yearly mean of 2023``."""
        ...

    def grams_per_kwh(self, facts: ZoneFacts, start: Instant) -> float:
        """Return the intensity of the hour that starts then."""
        ...


class LikenessCarbon:
    """A :class:`~orchestrator.control.ports.CarbonSource` of zones whose yearly facts are known."""

    def __init__(self, drawing: Drawing, facts: Mapping[str, ZoneFacts]) -> None:
        self._drawing = drawing
        self._facts = facts

    @property
    def name(self) -> str:
        """Short name that travels with each value."""
        return self._drawing.name

    async def zones(self) -> frozenset[str]:
        """Return the zones whose facts are known."""
        return frozenset(self._facts)

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        """Return the value of the hour that holds ``now``."""
        if zone not in self._facts:
            return Gap(zone, f"no {self._drawing.plural} of zone {zone!r}", self.name)
        if basis != BASIS:
            asked = f"{basis.accounting} {basis.factors}"
            reason = f"{self._drawing.plural} are of average lifecycle intensity, {asked} was asked for"
            return Gap(zone, reason, self.name)
        return self._point(zone, floor_hour(now), now)

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """Return the hours that touch the window and are over at ``now``."""
        return self._series(zone, basis, window, now, until=floor_hour(now))

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        """Return the same likeness for the window's hours, past or future; ``None`` for what is not known."""
        series = self._series(zone, basis, window, now, until=window.end)
        return series if series.points else None

    def _series(self, zone: str, basis: Basis, window: Window, now: Instant, *, until: Instant) -> CarbonSeries:
        if zone not in self._facts or basis != BASIS:
            return CarbonSeries(zone, ())
        points, start = [], floor_hour(window.start)
        while start < min(window.end, until):
            points.append(self._point(zone, start, now))
            start += HOUR
        return CarbonSeries(zone, tuple(points))

    def _point(self, zone: str, start: Instant, now: Instant) -> CarbonIntensity:
        facts = self._facts[zone]
        grams = self._drawing.grams_per_kwh(facts, start)
        issued_at = min(start, floor_hour(now))
        interval, source = Window.starting(start, HOUR), self._drawing.of(facts)
        return CarbonIntensity(zone, grams, interval, Kind.SYNTHETIC, source, issued_at, now, BASIS)
