"""Sources for tests and simulations: they sell and tell what they were told to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.domain.matching import is_asked_for, is_inside
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Price
from orchestrator.domain.service import ResourceRequest
from orchestrator.domain.shelf import Shelf
from orchestrator.domain.time import Instant
from orchestrator.errors import PriceUnavailable
from orchestrator.prices.quotes import Wanted
from orchestrator.prices.spot_advisor import Bands


class FakeOffers:
    """An :class:`~orchestrator.control.ports.OfferSource` over offers set by hand.

    It filters by hardware and infrastructure as the real one does. ``calls`` records every request.
    """

    def __init__(self, offers: Iterable[Offer] = ()) -> None:
        self._offers = {offer.id: offer for offer in offers}
        self._failure: PriceUnavailable | None = None
        self.calls: list[ResourceRequest] = []

    def put(self, offer: Offer) -> None:
        """Sell this, in place of an offer of the same id."""
        self._offers[offer.id] = offer

    def withdraw(self, offer_id: str) -> None:
        """Sell it no longer; nothing happens if it was not sold."""
        self._offers.pop(offer_id, None)

    def reprice(self, offer_id: str, price: Price | None) -> None:
        """Change a price. Raises ``KeyError`` for an unknown offer."""
        self._offers[offer_id] = replace(self._offers[offer_id], price=price)

    def price_of(self, offer_id: str) -> Price | None:
        """Return what it is sold for now; ``None`` where nobody knows. Raises ``KeyError`` for an unknown offer."""
        return self._offers[offer_id].price

    def fail(self, message: str) -> None:
        """Raise ``PriceUnavailable`` on every request, until :meth:`heal`."""
        self._failure = PriceUnavailable(message)

    def heal(self) -> None:
        """End the failure."""
        self._failure = None

    async def offers(self, request: ResourceRequest, now: Instant) -> Sequence[Offer]:
        """Return the offers for what was asked, by id."""
        del now
        self.calls.append(request)
        if self._failure is not None:
            raise self._failure
        return [
            offer
            for _, offer in sorted(self._offers.items())
            if is_asked_for(offer.shape, request) and is_inside(offer.region.id, "", request.infra)
        ]

    async def shelf(self) -> Shelf:
        """Return what it was told to sell."""
        if self._failure is not None:
            return Shelf(troubles=(self._failure.message,))
        return Shelf(tuple((offer.region.id, offer.shape) for _, offer in sorted(self._offers.items())))


class FakeInterruptions:
    """An :class:`~orchestrator.prices.spot_advisor.InterruptionSource` of bands set by hand. ``fails``: why not now."""

    def __init__(self, bands: Bands, fails: str = "") -> None:
        self._bands = bands
        self._fails = fails

    async def interruptions(self, wanted: Wanted, now: Instant) -> Bands:
        """Return the bands of what was asked about. Raises ``PriceUnavailable`` if it was told to."""
        del now
        if self._fails:
            raise PriceUnavailable(self._fails)
        return {key: band for key, band in self._bands.items() if key[1] in wanted.machines.get(key[0], ())}
