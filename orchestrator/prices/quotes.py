"""Prices that change by the hour, laid over a price list: the list says what there is, quotes what it costs now.

A quote is put beside what is known before it counts. One that nobody charges would win every comparison: outside of the
bands of :mod:`orchestrator.prices.listing`, or more than :data:`FAR_FACTOR` away from the list's own price of the same
thing, it is not believed, and the offer has no price then and says why. Where nobody quotes, the list counts. So it
does where a quote begins later only: a price that is announced, or, to whoever looks as of the past, that of today.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Protocol

from orchestrator.control.ports import OfferSource
from orchestrator.domain.carbon import Kind
from orchestrator.domain.hardware import Shape
from orchestrator.domain.matching import is_inside
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market, Price
from orchestrator.domain.service import ResourceRequest
from orchestrator.domain.shelf import Shelf
from orchestrator.domain.time import Instant
from orchestrator.errors import PriceUnavailable
from orchestrator.prices.listing import USD_PER_ACCELERATOR_HOUR, USD_PER_VCPU_HOUR

FAR_FACTOR: Final = 10.0
"""AWS's spot prices of 2022-12 to 2023-09 stayed within a factor of 8 of one another for each machine and region."""

CLOCKS_DIFFER: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Quote:
    """A machine's price in a zone of a region, US dollars per hour. ``None``: it is not sold there any longer.

    ``as_of``: since when it has been so, or when it was asked, as the source says. ``unknown``: why the source cannot
    tell the price of what it sells, "" if it can; then the price is ``None``, and the list's stands. ``zone_name``:
    what an account calls the zone, where ``zone`` is what all accounts share.
    """

    region: str
    zone: str
    instance_type: str
    market: Market
    usd_per_hour: float | None
    as_of: Instant
    source: str
    kind: Kind
    unknown: str = ""
    zone_name: str = ""

    def is_in(self, infra: str | None) -> bool:
        """Whether it is about what was asked for; a quote of a whole region is about each of its zones."""
        return not self.zone or any(is_inside(self.region, z, infra) for z in (self.zone, self.zone_name) if z)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be quoted: machines by region id."""

    machines: Mapping[str, frozenset[str]]


class QuoteSource(Protocol):
    """Who knows prices of the moment."""

    @property
    def name(self) -> str:
        """Short name that travels with each price."""
        ...

    async def quotes(self, wanted: Wanted, now: Instant) -> Sequence[Quote]:
        """Return the newest quotes that were known at ``now``, in any order; none of what it does not know.

        Raises ``PriceUnavailable`` when nobody could be asked.
        """
        ...

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why some regions could not be asked about the last time, by region id; the others could."""
        ...


class QuotedOffers:
    """An :class:`~orchestrator.control.ports.OfferSource` of another one's offers at quoted prices.

    Of several zones of a region the cheapest counts, of those that were asked for; of several sources the earlier. A
    source that cannot be asked hides nothing: the list's prices stand, and :meth:`shelf` tells of it.
    """

    def __init__(self, listed: OfferSource, sources: Sequence[QuoteSource]) -> None:
        self._listed = listed
        self._sources = tuple(sources)
        self._troubles: dict[str, str] = {}

    async def offers(self, request: ResourceRequest, now: Instant) -> Sequence[Offer]:
        """Return the list's offers, each at its quote where there is one. Raises ``PriceUnavailable`` as the list."""
        offers = await self._listed.offers(request, now)
        machines: dict[str, set[str]] = {}
        for offer in offers:
            if offer.instance_type:
                machines.setdefault(offer.region.id, set()).add(offer.instance_type)
        wanted = Wanted({region: frozenset(names) for region, names in machines.items()})
        found: dict[tuple[str, str, Market], list[Quote]] = {}
        for source in self._sources:
            here = await self._asked(source, wanted, request.infra, now)
            for key, quotes in here.items():
                if all(quote.unknown for quote in found.get(key, [])):
                    found[key] = quotes
        return [
            _at(offer, found.get((offer.region.id, offer.instance_type, offer.market), []), now) for offer in offers
        ]

    async def shelf(self) -> Shelf:
        """Return what the list has, and which sources could not be asked last."""
        shelf = await self._listed.shelf()
        return Shelf(shelf.goods, (*shelf.troubles, *self._troubles.values()))

    async def _asked(
        self, source: QuoteSource, wanted: Wanted, infra: str | None, now: Instant
    ) -> dict[tuple[str, str, Market], list[Quote]]:
        found: dict[tuple[str, str, Market], list[Quote]] = {}
        try:
            for quote in await source.quotes(wanted, now):
                if not quote.is_in(infra):
                    continue
                found.setdefault((quote.region, quote.instance_type, quote.market), []).append(quote)
        except PriceUnavailable as error:
            self._troubles[source.name] = f"{source.name}: {error.message}"
            return {}
        self._troubles.pop(source.name, None)
        if source.troubles:
            self._troubles[source.name] = f"{source.name}: {_told(source.troubles)}"
        return found


def _told(troubles: Mapping[str, str]) -> str:
    """Say the first in full and the others by name: they mostly fail alike."""
    (_, first), *others = sorted(troubles.items())
    return first + (f"; nor of {', '.join(region for region, _ in others)}" if others else "")


def doubt(usd_per_hour: float, shape: Shape, listed_usd_per_hour: float | None) -> str:
    """Say why nobody charges that for the shape, "" if somebody may."""
    if not math.isfinite(usd_per_hour) or usd_per_hour <= 0:
        return f"{usd_per_hour:g} USD/h is no price"
    count, (low, high), unit = shape.accelerator_count, USD_PER_ACCELERATOR_HOUR, "accelerator"
    if not count:
        count, (low, high), unit = max(1, round(shape.vcpus or 1)), USD_PER_VCPU_HOUR, "vCPU"
    if not low <= usd_per_hour / count <= high:
        return f"{usd_per_hour:g} USD/h is {usd_per_hour / count:.2g} per {unit}, outside {low:g}..{high:g}"
    far = listed_usd_per_hour is not None and not (
        listed_usd_per_hour / FAR_FACTOR <= usd_per_hour <= listed_usd_per_hour * FAR_FACTOR
    )
    return f"{usd_per_hour:g} USD/h where the list has {listed_usd_per_hour:g}" if far else ""


def _at(offer: Offer, quotes: Sequence[Quote], now: Instant) -> Offer:
    """Return the offer at the cheapest believed quote; without one the price is unknown, and says why."""
    later = [quote for quote in quotes if quote.as_of > now + CLOCKS_DIFFER]
    told = [quote for quote in quotes if not quote.unknown and quote not in later]
    if not told:
        unknown = [f"{q.source}: {q.unknown or f'its price begins on {q.as_of:%Y-%m-%d}'}" for q in quotes]
        return replace(offer, price_note=unknown[0]) if unknown and offer.price is None else offer
    listed = None if offer.price is None else offer.price.usd_per_hour
    believed: list[tuple[float, str, Quote]] = []
    why = ""
    for quote in told:
        if quote.usd_per_hour is None:
            why = why or f"{quote.source}: not sold in {quote.zone or offer.region.id} since {quote.as_of:%Y-%m-%d}"
        elif reason := doubt(quote.usd_per_hour, offer.shape, listed):
            why = f"{quote.source}: {reason}"
        else:
            believed.append((quote.usd_per_hour, quote.zone, quote))
    if not believed:
        return replace(offer, price=None, price_note=why)
    usd, zone, quote = min(believed, key=lambda b: b[:2])
    place = f" in {zone}" if zone else ""
    source = f"{quote.source}: {offer.instance_type}{place}"
    return replace(offer, price=Price(usd, source, quote.kind, quote.as_of), price_note="")
