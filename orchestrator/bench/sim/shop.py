"""What is for sale in the simulated world: one kind of machine, on demand and on spot, in a few places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.domain.carbon import Kind
from orchestrator.domain.hardware import PowerModel, Shape
from orchestrator.domain.offer import Offer
from orchestrator.domain.places import Region
from orchestrator.domain.price import Market, Price
from orchestrator.domain.time import Instant

SPOT_FRACTION = 0.4
"""Of the price on demand: about what spot machines of the large clouds cost."""

PLACES = {"se": (59.3, 18.1), "de": (50.1, 8.7), "fr": (16.2, -61.5), "us": (39.0, -77.4)}
"""Degrees north and east. France reaches to the Caribbean: what stands there is near to clients in the US alone."""

L4 = Shape("1xL4", "L4", 1, 8.0, 32.0, PowerModel(60.0, 300.0, 4.0, "saturating", 0.3, "assumed"))
PUE = 1.1


def list_price(usd_per_hour: float, at: Instant) -> Price:
    """Return a price as a list has it."""
    return Price(usd_per_hour, "list", Kind.RECORDED, at)


def for_sale(
    dollars: Mapping[str, float], markets: Sequence[Market], at: Instant, *, on_the_map: bool = False
) -> Iterator[Offer]:
    """Yield an offer for each place and market. ``dollars``: per hour on demand, by the end of the region's name.

    A place's grid zone has its name, in capitals. ``on_the_map``: it is known where each of them lies.
    """
    for place, usd in dollars.items():
        region = Region(f"sky/{place}", place.upper(), PUE, "simulated", frozenset({"EU"}))
        if on_the_map:
            north, east = PLACES[place]
            region = replace(region, latitude=north, longitude=east)
        for market in markets:
            paid = usd * (1.0 if market is Market.ON_DEMAND else SPOT_FRACTION)
            yield Offer(region, L4, market, list_price(paid, at))
