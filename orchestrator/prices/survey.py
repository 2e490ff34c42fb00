"""All that is for sale, with what each price is worth: the question behind ``greenctl prices``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from orchestrator.control.ports import OfferSource
from orchestrator.domain.carbon import Kind
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market
from orchestrator.domain.service import Accelerators, ResourceRequest
from orchestrator.domain.shelf import Shelf
from orchestrator.domain.time import Instant
from orchestrator.prices.quotes import Wanted
from orchestrator.prices.spot_advisor import InterruptionBand, InterruptionSource


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One offer's price; as a document, the same names. ``doubt``: why a price that a list has is not believed.

    ``age_seconds``: how long ago the price was valid for sure; ``None`` without a price. ``interruptions``: how often
    such spot machines were taken back, ``None`` where that is not known, and on demand.
    """

    offer_id: str
    region: str
    zone: str | None
    instance_type: str
    shape: str
    accelerators: int
    market: Market
    usd_per_hour: float | None
    usd_per_accelerator_hour: float | None
    source: str
    kind: Kind | None
    as_of: Instant | None
    age_seconds: float | None
    doubt: str
    interruptions: InterruptionBand | None = None


def everything(shelf: Shelf) -> tuple[ResourceRequest, ...]:
    """Return a request for each accelerator and number of them that is listed, and one for the smallest CPU machine."""
    listed = sorted(
        {(s.accelerator, s.accelerator_count) for _, s in shelf.goods if s.accelerator is not None},
        key=lambda pair: (pair[0].casefold(), pair[1]),
    )
    accelerated = tuple(ResourceRequest(accelerators=(Accelerators(name, count),)) for name, count in listed)
    has_cpu = any(s.accelerator is None for _, s in shelf.goods)
    return (*accelerated, *([ResourceRequest()] if has_cpu else []))


async def survey(
    source: OfferSource,
    wanted: Sequence[ResourceRequest],
    now: Instant,
    *,
    regions: Sequence[str] = (),
    market: Market | None = None,
) -> tuple[PriceLine, ...]:
    """Return the prices of what is wanted, the cheapest accelerator first, unknown prices last.

    ``regions``: patterns (``aws/eu-*``), none means all. Raises ``PriceUnavailable`` when no list can be read.
    """
    found = {offer.id: offer for request in wanted for offer in await source.offers(request, now)}
    lines = [
        _line(offer, now)
        for offer in found.values()
        if (not regions or any(fnmatchcase(offer.region.id, pattern) for pattern in regions))
        and market in {None, offer.market}
    ]
    return tuple(sorted(lines, key=_order))


async def with_interruptions(
    lines: Sequence[PriceLine], source: InterruptionSource, now: Instant
) -> tuple[PriceLine, ...]:
    """Return the lines, the spot machines with how often they were taken back. Raises ``PriceUnavailable``."""
    spot = [one for one in lines if one.market is Market.SPOT and one.instance_type]
    regions = sorted({one.region for one in spot})
    wanted = Wanted(
        {region: frozenset(one.instance_type for one in spot if one.region == region) for region in regions}
    )
    bands = await source.interruptions(wanted, now)
    return tuple(
        replace(one, interruptions=bands.get((one.region, one.instance_type)) if one.market is Market.SPOT else None)
        for one in lines
    )


def _line(offer: Offer, now: Instant) -> PriceLine:
    price, count = offer.price, offer.shape.accelerator_count
    usd = None if price is None else price.usd_per_hour
    return PriceLine(
        offer_id=offer.id,
        region=offer.region.id,
        zone=offer.region.zone,
        instance_type=offer.instance_type,
        shape=offer.shape.name,
        accelerators=count,
        market=offer.market,
        usd_per_hour=usd,
        usd_per_accelerator_hour=usd / count if usd is not None and count else None,
        source="" if price is None else price.source,
        kind=None if price is None else price.kind,
        as_of=None if price is None else price.as_of,
        age_seconds=None if price is None else max(0.0, (now - price.as_of).total_seconds()),
        doubt=offer.price_note,
    )


def _order(one: PriceLine) -> tuple[bool, float, str]:
    each = one.usd_per_accelerator_hour if one.usd_per_accelerator_hour is not None else one.usd_per_hour
    return (each is None, each or 0.0, one.offer_id)
