"""What the hedge knows before it has seen anything: prices, delays, priors. One set for every cloud and accelerator.

The priors are shapes that published availability traces share, not properties of any zone: what differs between zones
is learned while they are used (:mod:`orchestrator.planner.hedge.memory`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from orchestrator.errors import InvalidProgram


@dataclass(frozen=True, slots=True)
class SpotZone:
    """A zone that sells spot. ``grams_per_kwh``: mean of its grid, ``None`` where nobody knows it."""

    name: str
    region: str
    grams_per_kwh: float | None = None


@dataclass(frozen=True, slots=True)
class HedgeRules:
    """The parameters. Prices are in spot replicas: 3 means as dear as three of them over the same time.

    ``replicas``: how many shall be ready. ``tick``: how often is decided. ``cold_start``: from the launch to readiness,
    spot and on demand alike.

    ``shortage_price``: what a time of too few ready replicas costs; it buys spares on spot. ``rarity``: how much more
    of that price counts where shortages are rare: a risk ``p`` weighs ``usual_risk^rarity * p^(1 - rarity)``, which is
    ``p`` itself at ``usual_risk``. At 0 every minute of shortage costs the same, so a market that is never calm gets
    all the spares and a calm one none; towards 1 each halving of the risk is worth the same, which is how availability
    is promised: in nines. ``stand_in_price``: the
    same where on-demand capacity beyond the missing replicas is weighed, which costs three times as much and leaves
    soon. ``settle``: how long a spot replica has been ready before the on-demand one that stood in for it leaves
    (SkyServe drops it at once; many losses come in two steps, minutes apart).

    ``carbon_weight``: the part of a replica's weight in any comparison that is proportional to its grid's intensity,
    relative to the mean of the zones; the rest is its price.

    ``lindy_shape``: a zone that has held for a time T is lost next with hazard ``lindy_shape / T``: the posterior mean
    of a Poisson rate under Jeffreys' prior, (n + 1/2) / T with n = 0. ``daily_losses``: what is added, because even old
    zones are lost about once a day. ``unknown_age``: how long a zone counts as up when its first launch is accepted:
    somewhere in the middle of a spell; ``fresh_age``: the same when it was known to be down a moment before.
    ``frailty``: how many losses the prior weighs against what is seen (Gamma-Poisson shrinkage, per zone and for all).
    ``whole_losses`` of ``whole_losses + partial_losses`` events in a zone that holds several replicas take them all
    (Beta prior; in one zone and type 92 % of interruptions come together, arXiv 2604.16457). ``joint_losses`` of
    ``joint_losses + single_losses``: the same for the other zones of a region. ``first_odds``, ``more_odds``: that a
    launch is accepted where nobody tried, and where a replica is held.

    ``headroom``: how many more replicas than it holds a zone that holds several is asked for, for one tick, every
    ``look_deeper``. Room runs out before replicas are taken: where fewer than that are given, the zone counts as no
    older than ``shallow_age`` from then on. (Published traces that count instances lose three replicas 25 to 30 times
    as often where there is room for just three as where there is room for four.) 0 asks for none.

    ``horizon``: how long a better layout is taken to last when it is weighed against the cost of moving to it.
    ``look_again``: after what time without news the layout is weighed again.
    """

    replicas: int = 3
    tick: timedelta = timedelta(seconds=30)
    cold_start: timedelta = timedelta(seconds=120)
    on_demand_price: float = 3.0
    shortage_price: float = 500.0
    rarity: float = 0.7
    usual_risk: float = 0.009
    stand_in_price: float = 100.0
    settle: timedelta = timedelta(minutes=10)
    carbon_weight: float = 0.6
    lindy_shape: float = 0.5
    daily_losses: float = 1.0
    unknown_age: timedelta = timedelta(minutes=125)
    fresh_age: timedelta = timedelta(minutes=10)
    stressed_age: timedelta = timedelta(minutes=5)
    frailty: float = 2.0
    whole_losses: float = 4.0
    partial_losses: float = 1.0
    joint_losses: float = 1.0
    single_losses: float = 4.0
    headroom: int = 4
    look_deeper: timedelta = timedelta(minutes=15)
    shallow_age: timedelta = timedelta(minutes=30)
    first_odds: float = 0.6
    more_odds: float = 0.8
    horizon: timedelta = timedelta(minutes=30)
    look_again: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        """Refuse what nothing can be decided with. Raises ``InvalidProgram``."""
        priors = ("lindy_shape", "frailty", "whole_losses", "partial_losses", "joint_losses", "single_losses")
        for name in ("replicas", "on_demand_price", "shortage_price", *priors):
            self._check(name, lambda v: 0 < v < math.inf, "positive")
        for name in ("stand_in_price", "daily_losses", "headroom"):
            self._check(name, lambda v: 0 <= v < math.inf, "zero or more")
        ages = ("unknown_age", "fresh_age", "stressed_age", "shallow_age")
        for name in ("cold_start", "settle", *ages, "look_deeper", "horizon", "look_again"):
            self._check(name, lambda v: v >= timedelta(0), "zero or more")
        self._check("rarity", lambda v: 0 <= v < 1, "at least 0 and below 1")
        for name in ("usual_risk", "first_odds", "more_odds"):
            self._check(name, lambda v: 0 < v <= 1, "above 0 and at most 1")
        self._check("carbon_weight", lambda v: 0 <= v <= 1, "in 0..1")
        self._check("tick", lambda v: v > timedelta(0), "positive")

    def _check(self, name: str, is_fine: Callable[[Any], bool], words: str) -> None:
        value = getattr(self, name)
        if not is_fine(value):
            raise InvalidProgram(f"hedge rules: {name} is {value}, and must be {words}")

    def ticks(self, length: timedelta) -> int:
        """Return a length in whole ticks, rounded up."""
        return math.ceil(length / self.tick)

    @property
    def recovery_ticks(self) -> int:
        """Ticks from a loss until what replaces it is ready: it is seen at the next tick, and starts cold."""
        return self.ticks(self.cold_start) + 1


def check_zones(zones: Sequence[SpotZone]) -> None:
    """Raise ``InvalidProgram`` for no zones, for names that occur twice, and for intensities that no grid has."""
    if not zones:
        raise InvalidProgram("the hedge needs at least one zone that sells spot")
    names = [z.name for z in zones]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InvalidProgram(f"zone {twice[0]} occurs twice")
    for zone in zones:
        grams = zone.grams_per_kwh
        if grams is not None and not (math.isfinite(grams) and grams >= 0):
            raise InvalidProgram(f"zone {zone.name}: {grams} g/kWh cannot be")


def carbon_weights(zones: Sequence[SpotZone], weight: float) -> list[float]:
    """Return what a replica weighs in each zone: 1 at the mean intensity, and where the intensity is unknown."""
    known = [z.grams_per_kwh for z in zones if z.grams_per_kwh is not None]
    mean = sum(known) / len(known) if known else 0.0
    if mean == 0:
        return [1.0] * len(zones)
    return [1.0 if z.grams_per_kwh is None else 1 - weight + weight * z.grams_per_kwh / mean for z in zones]
