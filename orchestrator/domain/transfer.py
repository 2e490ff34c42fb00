"""What fetching the weights of a model for one replica takes: gigabytes, dollars and grams, each as a range."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

UNNAMED = "a place that nobody named"
"""``Egress.source`` where nothing tells it."""


@dataclass(frozen=True, slots=True)
class Span:
    """A quantity that lies between ``low`` and ``high``; ``counted`` is what sums and rules take of it."""

    low: float
    counted: float
    high: float

    def times(self, factor: float) -> Span:
        """Return it so many times (``>= 0``)."""
        return Span(self.low * factor, self.counted * factor, self.high * factor)


def added(spans: list[Span]) -> Span:
    """Add up ends and middles; of nothing, nothing."""
    return Span(fsum(s.low for s in spans), fsum(s.counted for s in spans), fsum(s.high for s in spans))


@dataclass(frozen=True, slots=True)
class Egress:
    """One fetch of the weights. ``None`` is unknown, never zero; the origins say from what each number follows.

    ``gb``: 1e9 bytes. ``source``: where they come from, in words. ``usd``: what providers charge for the traffic.
    ``kwh``: of the network, attributional; ``grams_per_kwh``: of the grids along the way; ``grams``: their product.
    ``is_declared``: the service's owner has written where the weights come from.
    """

    gb: float | None
    gb_origin: str
    source: str
    usd: Span | None
    usd_per_gb: Span | None
    usd_origin: str
    kwh_per_gb: Span
    kwh_origin: str
    grams_per_kwh: float | None = None
    grams_origin: str = ""
    is_declared: bool = False

    @property
    def is_untold(self) -> bool:
        """Whether its dollars are unknown and its owner has not said where it comes from: it is said, not refused."""
        return self.usd is None and not self.is_declared

    @property
    def grams(self) -> Span | None:
        """Grams CO2e on the network; ``None`` where how much is fetched, or the intensity, is unknown."""
        if self.gb is None or self.grams_per_kwh is None:
            return None
        return self.kwh_per_gb.times(self.gb * self.grams_per_kwh)
