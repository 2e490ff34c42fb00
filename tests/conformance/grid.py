"""What the pretended grids do: one truth, from which each pretended API tells its part in its own words."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.domain.carbon import Factors
from orchestrator.domain.time import HOUR, Instant, floor_hour


@dataclass
class Grid:
    """Hourly truth by zone and factors, and the moment at which the APIs are asked.

    ``running``: whether APIs already speak of the hour that runs. Generation by fuel is in MW, by zone and hour.
    """

    now: Instant
    running: bool = False
    hours: dict[tuple[str, Factors], dict[Instant, float]] = field(default_factory=dict)
    generation: dict[str, dict[Instant, dict[str, float | None]]] = field(default_factory=dict)

    def put(self, zone: str, factors: Factors, start: Instant, grams_per_kwh: list[float | None]) -> None:
        """Set consecutive hours; ``None`` leaves a hole."""
        known = self.hours.setdefault((zone, factors), {})
        for number, grams in enumerate(grams_per_kwh):
            if grams is not None:
                known[start + number * HOUR] = grams

    @property
    def published(self) -> Instant:
        """End of the hours that are known by now."""
        return floor_hour(self.now) + HOUR if self.running else floor_hour(self.now)

    def known(self, zone: str, factors: Factors, start: Instant, end: Instant) -> list[tuple[Instant, float]]:
        """Return the published hours that begin in ``[start, end)``, in order."""
        hours = self.hours.get((zone, factors), {})
        return [(at, hours[at]) for at in sorted(hours) if start <= at < min(end, self.published)]

    def mix(self, zone: str, start: Instant, end: Instant) -> list[tuple[Instant, dict[str, float | None]]]:
        """Return the published generation of hours that begin in ``[start, end)``, in order."""
        hours = self.generation.get(zone, {})
        return [(at, hours[at]) for at in sorted(hours) if start <= at < min(end, self.published)]

    def expected(self, zone: str, factors: Factors, count: int) -> list[tuple[Instant, float]]:
        """Return the mean of all that is published for each of the coming hours, the running one included."""
        known = [grams for _, grams in self.known(zone, factors, min(self.hours[zone, factors]), self.published)]
        if not known:
            return []
        return [(floor_hour(self.now) + n * HOUR, round(sum(known) / len(known), 1)) for n in range(count)]
