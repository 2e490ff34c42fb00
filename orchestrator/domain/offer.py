"""What can be bought: region x shape x market."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.carbon import CarbonSeries, Reading
from orchestrator.domain.crossover import Crossover
from orchestrator.domain.hardware import Shape
from orchestrator.domain.misses import Misses
from orchestrator.domain.places import Region
from orchestrator.domain.price import Market, Price
from orchestrator.domain.time import Instant

_BEFORE_VARIANT = "#"
"""Neither regions nor shapes have it in their names."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that a provider sells. ``price`` is ``None`` when no list has it: shown, never guessed.

    ``instance_type``: the provider's own name for the machine whose price this is, empty where it has none.
    ``price_note``: why the price that a list has is not believed, where that is why there is none.
    ``variant``: which of a service's variants would run there; empty for its main model. Nobody sells that: it is what
    the planner chooses among, and what a replica's ``offer_id`` remembers.
    """

    region: Region
    shape: Shape
    market: Market
    price: Price | None
    instance_type: str = ""
    price_note: str = ""
    variant: str = ""

    @property
    def id(self) -> str:
        """Stable name: ``aws/eu-north-1:1xL4:spot``, of a variant ``aws/eu-north-1:1xL4:spot#fp8``."""
        sold = f"{self.region.id}:{self.shape.name}:{self.market}"
        return f"{sold}{_BEFORE_VARIANT}{self.variant}" if self.variant else sold


def sold_as(offer_id: str) -> str:
    """Return the id of what is bought, whatever runs there."""
    return offer_id.partition(_BEFORE_VARIANT)[0]


def variant_in(offer_id: str) -> str:
    """Return the variant that an offer's id names; empty for the main model."""
    return offer_id.partition(_BEFORE_VARIANT)[2]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An offer with what is known about it at the moment of a decision.

    ``forecast`` holds the coming hours as they could be known now. ``trailing_mean_grams_per_kwh`` is the mean of the
    zone's last 28 days (the honest static rival), ``None`` when there is not enough history. ``avoid_until``: the offer
    failed lately and is not tried before then. ``misses``: by how much such a forecast was wrong lately, if known.
    ``crossover``: from which age on the forecast is believed instead of the last value; ``None``: it does not know
    that value yet, or there is none.
    """

    offer: Offer
    now: Reading
    forecast: CarbonSeries
    trailing_mean_grams_per_kwh: float | None
    avoid_until: Instant | None = None
    avoid_reason: str = ""
    misses: Misses | None = None
    crossover: Crossover | None = None
