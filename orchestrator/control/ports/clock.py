"""The clock: grid time, and how fast it passes."""

from __future__ import annotations

from typing import Protocol

from orchestrator.domain.time import Instant


class Clock(Protocol):
    """Grid time. ``rate`` grid seconds pass per physical second: 1 everywhere but on a replayed or simulated grid."""

    @property
    def rate(self) -> float:
        """Grid seconds per physical second, ``> 0``."""
        ...

    def now(self) -> Instant:
        """Return the grid's present, UTC; never runs backwards."""
        ...

    def wall(self) -> Instant:
        """Return the machine's own UTC time, for display and log stamps only."""
        ...

    def monotonic(self) -> float:
        """Physical seconds since an arbitrary origin; never runs backwards. For deadlines of outside calls."""
        ...

    def through_sleep(self) -> float:
        """Return the same with the time in which this machine slept, while machines elsewhere went on."""
        ...

    async def sleep(self, physical_seconds: float) -> None:
        """Wait that many physical seconds (virtual ones in a simulation)."""
        ...
