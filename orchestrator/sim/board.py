"""What a rival sees: the offers that the service's rules allow, and one replica's grams and dollars an hour there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.hardware import PowerModel
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market
from orchestrator.domain.units import SECONDS_PER_HOUR, watts_to_kw
from orchestrator.sim.grid import Floats, RecordedGrid
from orchestrator.sim.sizes import Sizes
from orchestrator.sim.stock import Stock
from orchestrator.sim.workload import Workload

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Board:
    """Offers in the order of their ids; everything else is by their index.

    ``allowed``: under those of the service's rules that say the same in every hour; ``affordable``: in which hours its
    rules on prices let anybody take an offer, (hours, offers). ``home``: where the service would be without us.
    ``intensity``: g/kWh, (past + hours, offers), ``inf`` where unknown; ``past``: rows before the period.
    ``sizes``: how many replicas there are in each hour, at most ``limit`` of them in one region. ``cold_seconds``:
    from asking to serving;
    ``overlap_seconds``: how long the old replica runs after the new one serves. ``longitudes``: degrees east, ``inf``
    where unknown. ``prices``: dollars an hour, (hours, offers), ``inf`` while nothing is known to be offered.
    """

    offers: tuple[Offer, ...]
    allowed: frozenset[int]
    home: int
    market: Market
    falls_back: bool
    grid: RecordedGrid
    intensity: Floats
    load: Workload
    stock: Stock
    sizes: Sizes
    limit: int | None
    cold_seconds: float
    overlap_seconds: float
    longitudes: Floats
    prices: Floats
    affordable: Mask
    _kwh: dict[float, Floats] = field(default_factory=dict, repr=False)

    @property
    def past(self) -> int:
        """Rows before the period."""
        return self.grid.past

    @property
    def hours(self) -> int:
        """Hours of the period."""
        return self.grid.hours

    @property
    def wanted(self) -> int:
        """The most replicas that there ever are."""
        return self.sizes.most

    def batch(self, hour: int) -> float:
        """Return how many sequences run at once on each of the replicas of an hour."""
        return self.load.batch(hour, self.sizes.held[hour])

    def of_market(self, market: Market) -> Mask:
        """Return which allowed offers are on that market."""
        return np.array([i in self.allowed and o.market is market for i, o in enumerate(self.offers)])

    def last(self, hour: int) -> Floats:
        """Return grams an hour of one replica at the mean load, by the hour before: what is known when this begins."""
        return np.asarray(self.intensity[self.past + hour - 1] * self.kwh_loaded)

    def trailing(self, hour: int, back: int = 672) -> Floats:
        """Return the mean grams an hour over what is known of the hours before; ``inf`` where nothing is."""
        rows = self.intensity[max(0, self.past + hour - back) : self.past + hour]
        known = np.isfinite(rows)
        counts = known.sum(axis=0)
        sums = np.where(known, rows, 0.0).sum(axis=0)
        return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), np.inf) * self.kwh_loaded)

    @cached_property
    def mean_batch(self) -> float:
        """Sequences that run at once on each replica, on average."""
        return fmean(self.batch(hour) for hour in range(self.hours))

    @cached_property
    def kwh_loaded(self) -> Floats:
        """kWh of one hour of one replica at the mean load, facility included."""
        return self.kwh(self.mean_batch)

    def kwh(self, batch: float) -> Floats:
        """Return kWh of one hour of one replica at a load, facility included."""
        known = self._kwh.get(batch)
        if known is None:
            each = [watts_to_kw(_power(o).watts(batch)) * (o.region.pue or math.nan) for o in self.offers]
            known = self._kwh[batch] = np.array(each)
        return known

    def usd(self, hour: int) -> Floats:
        """Return dollars an hour; ``inf`` where unknown."""
        return np.asarray(self.prices[hour])

    def sold(self, hour: int) -> Mask:
        """Return which offers have a price in an hour, one that may be paid."""
        return np.asarray(self.affordable[hour])

    @cached_property
    def price_lists(self) -> list[int]:
        """For each hour, which price list is valid: two hours of one number have the same prices."""
        differs = (self.prices[1:] != self.prices[:-1]).any(axis=1)
        return [0, *np.cumsum(differs).tolist()]

    def leaving(self, hour: int, batch: float) -> Floats:
        """Grams that an old replica emits after it was told to go: loaded until the new one serves, then idle."""
        cold, overlap = self.cold_seconds / SECONDS_PER_HOUR, self.overlap_seconds / SECONDS_PER_HOUR
        return np.asarray((self.kwh(batch) * cold + self.kwh(0.0) * overlap) * self.intensity[self.past + hour])

    def arriving(self, hour: int, batch: float) -> Floats:
        """Grams that a new replica's first hour differs from one at full load by: it starts idle. Not above zero."""
        cold = self.cold_seconds / SECONDS_PER_HOUR
        return np.asarray((self.kwh(0.0) - self.kwh(batch)) * cold * self.intensity[self.past + hour])

    def switching(self, hour: int, old: int, new: int) -> float:
        """Grams that a move costs beside the difference of the places, by the intensities known when the hour began."""
        row = self.intensity[self.past + hour - 1]
        cold, overlap = self.cold_seconds / SECONDS_PER_HOUR, self.overlap_seconds / SECONDS_PER_HOUR
        idle = self.kwh(0.0)
        return float(idle[new] * cold * row[new] + idle[old] * overlap * row[old])


Choose = Callable[[int, int, int | None, Mask], int | None]
"""(hour, slot, where it stands, which offers are free to it) -> where it should stand; ``None``: nowhere to go."""


def _power(offer: Offer) -> PowerModel:
    if offer.shape.power is None:
        message = f"{offer.id} has no power model"
        raise ValueError(message)
    return offer.shape.power
