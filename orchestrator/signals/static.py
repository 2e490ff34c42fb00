"""One number a zone and year, the last resort: it says where a zone stands among others, and nothing of the day.

The numbers are those of :mod:`orchestrator.signals.profile` without the day that is drawn there. They are synthetic:
no grid ever has its yearly mean for long.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Gap, Kind, Reading
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.signals.profile import BASIS, packaged_facts
from orchestrator.signals.shape import ZoneFacts


class StaticCarbon:
    """A :class:`~orchestrator.control.ports.CarbonSource` of yearly means, average life-cycle intensity only."""

    def __init__(self, facts: Mapping[str, ZoneFacts] | None = None) -> None:
        self._facts = packaged_facts() if facts is None else facts

    @property
    def name(self) -> str:
        """Short name that travels with each value."""
        return "static"

    async def zones(self) -> frozenset[str]:
        """Return the zones whose yearly mean is known."""
        return frozenset(self._facts)

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        """Return the yearly mean for the hour that holds ``now``."""
        if zone not in self._facts:
            return Gap(zone, f"no yearly mean of zone {zone!r}", self.name)
        if basis != BASIS:
            asked = f"{basis.accounting} {basis.factors}"
            return Gap(zone, f"yearly means are of average lifecycle intensity, {asked} was asked for", self.name)
        return self._point(zone, floor_hour(now), now)

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """Return the same number for each hour that touches the window and is over at ``now``."""
        return self._series(zone, basis, window, now, until=floor_hour(now))

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        """Return the same number for the window's hours; ``None`` for what is not known."""
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
        issued_at = min(start, floor_hour(now))
        source = f"yearly mean of {facts.year}"
        interval = Window.starting(start, HOUR)
        return CarbonIntensity(zone, facts.mean_grams_per_kwh, interval, Kind.SYNTHETIC, source, issued_at, now, BASIS)
