"""What the grids say, and what is for sale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.domain.carbon import Basis, CarbonSeries, Reading
from orchestrator.domain.offer import Offer
from orchestrator.domain.service import ResourceRequest
from orchestrator.domain.shelf import Shelf
from orchestrator.domain.time import Instant, Window


class CarbonSource(Protocol):
    """Grid carbon intensity by zone."""

    @property
    def name(self) -> str:
        """Short name that travels with each value."""
        ...

    async def zones(self) -> frozenset[str]:
        """Return the zones that are covered."""
        ...

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        """Return the newest value known at ``now``, of whatever age; a :class:`Gap` when the zone has none.

        Raises ``SignalUnavailable`` only when the source as a whole cannot be read.
        """
        ...

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """Return the values inside the window that were known at ``now``; holes stay holes.

        Never looks past ``now``.
        """
        ...

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        """Return the source's own forecast as issued by ``now``; ``None`` when it makes none."""
        ...


class OfferSource(Protocol):
    """What can be bought, with prices."""

    async def offers(self, request: ResourceRequest, now: Instant) -> Sequence[Offer]:
        """Return every offer that has the asked-for hardware, in a stable order; unpriced ones included."""
        ...

    async def shelf(self) -> Shelf:
        """Return all that is listed, and which lists cannot be read: to say why nothing fits. Raises nothing."""
        ...
