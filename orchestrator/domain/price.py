"""Prices with their provenance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.carbon import Kind
from orchestrator.domain.time import Instant

PRICE_TOLERANCE = 0.02
"""How far above the confirmed price a launch may be, as a fraction: rounding in lists, not a new price."""


class Market(StrEnum):
    """How capacity is bought."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per hour of one whole replica shape. ``as_of``: the day the list was valid."""

    usd_per_hour: float
    source: str
    kind: Kind
    as_of: Instant

    def __post_init__(self) -> None:
        """Refuse prices that nobody charges."""
        if not math.isfinite(self.usd_per_hour) or self.usd_per_hour < 0:
            message = f"price {self.usd_per_hour} USD/h from {self.source} is not a price"
            raise ValueError(message)


def highest_price(confirmed_usd_per_hour: float | None) -> float | None:
    """Return what may be paid per hour for something that was shown at this price; ``None`` where none was known."""
    return None if confirmed_usd_per_hour is None else confirmed_usd_per_hour * (1 + PRICE_TOLERANCE)
