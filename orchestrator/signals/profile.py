"""A likeness of every known zone, for demonstrations and as the last resort: always synthetic, never random.

Yearly means and carbon-free shares of 2023 are Electricity Maps' published yearly figures (ODbL 1.0), solar shares are
Ember's (CC BY 4.0) for countries and our own estimates for parts of countries; ``zone_facts.csv`` names the source in
each row. The day is drawn by :mod:`orchestrator.signals.shape`. Live values differ from it on any given day by far
more than zones differ from one another, so nothing here may be reported as what a grid emitted.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from orchestrator.domain.carbon import Accounting, Basis, CarbonIntensity, CarbonSeries, Factors, Gap, Kind, Reading
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.signals.shape import Shape, ZoneFacts

BASIS = Basis(Accounting.AVERAGE, Factors.LIFECYCLE)
ZONE_FACTS = Path(__file__).with_name("zone_facts.csv")


class ProfileCarbon:
    """A :class:`~orchestrator.control.ports.CarbonSource` that knows the typical day of each zone.

    The hour that runs is known from its start, because the profile does not depend on what happens. It serves average
    life-cycle intensity only.
    """

    def __init__(self, facts: Mapping[str, ZoneFacts] | None = None) -> None:
        self._facts = packaged_facts() if facts is None else facts
        self._shapes: dict[str, Shape] = {}

    @property
    def name(self) -> str:
        """Short name that travels with each value."""
        return "profile"

    async def zones(self) -> frozenset[str]:
        """Return the zones whose facts are known."""
        return frozenset(self._facts)

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        """Return the value of the hour that holds ``now``."""
        if zone not in self._facts:
            return Gap(zone, f"no yearly facts of zone {zone!r}", self.name)
        if basis != BASIS:
            asked = f"{basis.accounting} {basis.factors}"
            return Gap(zone, f"the profile is of average lifecycle intensity, {asked} was asked for", self.name)
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
        if zone not in self._shapes:
            self._shapes[zone] = Shape.of(self._facts[zone])
        grams = self._shapes[zone].grams_per_kwh(start + HOUR / 2)
        issued_at = min(start, floor_hour(now))
        source = f"synthetic profile of {self._facts[zone].year}"
        return CarbonIntensity(zone, grams, Window.starting(start, HOUR), Kind.SYNTHETIC, source, issued_at, now, BASIS)


@cache
def packaged_facts() -> Mapping[str, ZoneFacts]:
    """Read the facts that ship with the package, by zone."""
    with ZONE_FACTS.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {
            row["zone"]: ZoneFacts(
                zone=row["zone"],
                year=int(row["year"]),
                mean_grams_per_kwh=float(row["mean_grams_per_kwh"]),
                fossil_share=1 - float(row["carbon_free_share"]),
                solar_share=float(row["solar_share"]),
                latitude=float(row["latitude"]),
                longitude=float(row["longitude"]),
                source=f"{row['mean_source']}; solar: {row['solar_source']}",
            )
            for row in rows
        }
