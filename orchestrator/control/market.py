"""What is sold to a service, and what the grids of its places say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from orchestrator.control.grid import GridReader, ZoneView
from orchestrator.control.runtime import Runtime
from orchestrator.domain.carbon import CarbonIntensity, Reading
from orchestrator.domain.offer import Offer
from orchestrator.domain.records import ServiceRecord
from orchestrator.domain.replica import Replica
from orchestrator.domain.time import HOUR, Instant
from orchestrator.domain.variants import with_variants
from orchestrator.errors import PriceUnavailable
from orchestrator.policy.assess import nearer


class Market:
    """Offers and readings, as one controller has met them; ``grid`` reads each zone once for all services."""

    def __init__(self, runtime: Runtime, grid: GridReader) -> None:
        self._runtime = runtime
        self._grid = grid
        self._known: dict[str, dict[str, Offer]] = {}

    async def sold(self, service: ServiceRecord) -> Mapping[str, Offer] | None:
        """Return what is sold now, by id; ``None`` while the price list cannot be read."""
        try:
            found = await self._runtime.offers.offers(service.spec.resources, self._runtime.clock.now())
        except PriceUnavailable:
            return None
        sold = {o.id: o for o in with_variants(found, service.spec)}
        # What is sold no longer may still run: its power model and its PUE go on counting.
        self._known.setdefault(service.name, {}).update(sold)
        return sold

    def known(self, service: str) -> Mapping[str, Offer]:
        """Return all that was ever sold to a service, by id."""
        return self._known.get(service, {})

    async def readings(self, service: ServiceRecord, replicas: Sequence[Replica]) -> dict[str, Reading]:
        """Return what the zones of the replicas emit now, by zone."""
        return {zone: view.now for zone, view in (await self.views(service, replicas)).items()}

    async def views(self, service: ServiceRecord, replicas: Sequence[Replica]) -> dict[str, ZoneView]:
        """Return what is known of the zones of the replicas, by zone."""
        return await self._views(service, (r.zone for r in replicas))

    async def signals(self, service: ServiceRecord, offers: Sequence[Offer]) -> tuple[Reading, ...]:
        """Return what the zones of the offers emit now, by name of the zone."""
        views = await self._views(service, (o.region.zone for o in offers))
        return tuple(v.now for v in views.values())

    async def _views(self, service: ServiceRecord, zones: Iterable[str | None]) -> dict[str, ZoneView]:
        named = sorted({zone for zone in zones if zone is not None})
        now, hours = self._runtime.clock.now(), max(1, int(service.spec.policy.horizon / HOUR))
        return await self._grid.zones(named, service.spec.carbon.basis, now, hours)


def nearest_to_now(view: ZoneView, max_age: timedelta, now: Instant) -> Reading:
    """Return the newest value of a zone, or the forecast of the present where that is the nearer one (decision 0030).

    A value that is too old to count is not replaced: it stays too old.
    """
    reading = view.now
    if not isinstance(reading, CarbonIntensity) or not reading.is_fresh(now, max_age):
        return reading
    return nearer(reading, view.crossover, view.forecast, now) or reading
