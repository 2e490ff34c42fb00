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


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that a provider sells. ``price`` is ``None`` when no list has it: shown, never guessed.

    ``instance_type``: the provider's own name for the machine whose price this is, empty where it has none.
    ``price_note``: why the price that a list has is not believed, where that is why there is none.
    """

    region: Region
    shape: Shape
    market: Market
    price: Price | None
    instance_type: str = ""
    price_note: str = ""

    @property
    def id(self) -> str:
        """Stable name: ``aws/eu-north-1:1xL4:spot``."""
        return f"{self.region.id}:{self.shape.name}:{self.market}"


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
