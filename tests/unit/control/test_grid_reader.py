"""How often a source is asked, however many zones there are."""

from __future__ import annotations

import asyncio

from orchestrator.control.grid import GridReader
from orchestrator.domain.carbon import Basis, CarbonSeries, Gap, Reading
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.errors import SignalUnavailable

NOW = parse_instant("2031-03-08T07:20Z")
ZONES = [f"Z{n:03d}" for n in range(600)]
"""More than a reader keeps beyond the hour."""


class Counting:
    """A source that knows nothing, and counts how often it is asked for the past; ``fails``: it cannot be read."""

    name = "counting"

    def __init__(self, *, fails: bool = False) -> None:
        self.asked = 0
        self._fails = fails

    async def zones(self) -> frozenset[str]:
        """All of them."""
        return frozenset(ZONES)

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        """Nothing."""
        del basis, now
        return Gap(zone, "nothing is known", self.name)

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """Nothing, and one more question."""
        del basis, window, now
        self.asked += 1
        if self._fails:
            raise SignalUnavailable("not now")
        return CarbonSeries(zone, ())

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        """None."""
        del zone, basis, window, now


def test_many_zones_are_read_once_an_hour() -> None:
    """A fleet over more zones than are kept beyond the hour asks for each once, not at every look; then anew."""
    source = Counting()
    grid = GridReader(source)
    for _ in range(3):
        asyncio.run(_look(grid, NOW))
    assert source.asked == len(ZONES)

    asyncio.run(_look(grid, NOW + HOUR))
    assert source.asked == 2 * len(ZONES)


def test_a_source_that_is_away_is_asked_again() -> None:
    """Nothing is kept of what could not be read."""
    source = Counting(fails=True)
    grid = GridReader(source)
    for _ in range(2):
        asyncio.run(_look(grid, NOW))
    assert source.asked == 2 * len(ZONES)


async def _look(grid: GridReader, now: Instant) -> None:
    views = await grid.zones(ZONES, Basis(), now, 2)
    assert list(views) == ZONES
