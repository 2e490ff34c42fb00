"""Leave out offers that another one beats in every respect, which loses nothing: no good plan needs them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from orchestrator.planner.optimum.problem import Flags, Floats, Integers, Problem, Weighed, open_offers

COMPARED: Final = 1500
"""Offers that are compared with all others; more are compared within their region only."""


def without_beaten(problem: Problem, weighed: Weighed) -> Problem:
    """Return the problem with a quota of zero for every offer that is beaten.

    One beats another if any plan that uses the other is as good with the one in its place: as much capacity, every cost
    as low, as many origins in reach, no quota that binds, on demand or the same market. Among equals the first stays.
    """
    p = problem
    there = open_offers(p)
    plenty = there[(p.quota[there] >= _most_needed(p)[there])]
    across = p.rules.surviving_fraction is None and len(there) <= COMPARED
    beaten = np.zeros(len(p.offers), dtype=bool)
    contested = np.isin(p.region_of, p.region_of[plenty]) if not across else np.full(len(p.offers), plenty.size > 0)
    for j in there[contested[there]][::-1].tolist():
        rivals = plenty if across else plenty[p.region_of[plenty] == p.region_of[j]]
        rivals = rivals[(rivals != j) & ~beaten[rivals]]
        beaten[j] = bool(_beats(p, weighed, rivals, j).any())
    return replace(p, quota=np.where(beaten, 0.0, p.quota)) if beaten.any() else p


def _most_needed(p: Problem) -> Floats:
    """Replicas of an offer beyond which more are useless: all demand, and one for rounding; or all that is allowed.

    Where spot is limited to a part, replicas on demand are also of use beyond demand: they make room for spot.
    """
    peak = float(p.demand.sum(axis=0).max())
    needed = np.where(p.spot, peak, max(peak, _room_for_spot(p)))
    most = np.ceil(needed / p.capacity) + 1.0
    return np.asarray(most if p.rules.max_replicas is None else np.minimum(most, p.rules.max_replicas))


def _room_for_spot(p: Problem) -> float:
    """Tokens per second on demand that as much spot as can be of use has to stand beside; zero where it is not limited.

    Of use is what a region's origins ask for at most, or all demand where others may have to stand in for a region,
    and one more replica for rounding: of what is beyond, replicas could end earlier.
    """
    fraction = p.rules.spot_fraction
    if not fraction:
        return 0.0
    who = p.eligible.T if p.rules.surviving_fraction is None else np.ones_like(p.eligible.T)
    asked = (who @ p.demand).max(axis=1)
    there = open_offers(p)
    on_spot = there[p.spot[there]]
    sold, largest = np.zeros(len(p.regions)), np.zeros(len(p.regions))
    np.add.at(sold, p.region_of[on_spot], p.quota[on_spot] * p.capacity[on_spot])
    np.maximum.at(largest, p.region_of[on_spot], p.capacity[on_spot])
    return float(np.minimum(sold, asked + largest).sum()) * (1.0 - fraction) / fraction


def _beats(p: Problem, w: Weighed, rivals: Integers, j: int) -> Flags:
    """Which of the rivals beat offer ``j``; a replica of ``j`` that runs saves its start, so nothing beats that."""
    if p.running[j] > 0:
        return np.zeros(len(rivals), dtype=bool)
    region, mine = p.region_of[rivals], p.region_of[j]
    wins = p.capacity[rivals] >= p.capacity[j]
    wins &= (w.hold[rivals] <= w.hold[j]).all(axis=1) & (w.start[rivals] <= w.start[j]).all(axis=1)
    wins &= (w.carry[region] <= w.carry[mine]).all(axis=1)
    wins &= (p.eligible[:, region] >= p.eligible[:, mine][:, None]).all(axis=0)
    if p.rules.budget_usd is not None:
        wins &= (p.rent_usd[rivals] <= p.rent_usd[j]).all(axis=1) & (p.start_usd[rivals] <= p.start_usd[j]).all(axis=1)
    if p.rules.spot_fraction is not None:
        # A larger spot replica would be a larger share of spot.
        wins &= ~p.spot[rivals] | (p.spot[j] & (p.capacity[rivals] == p.capacity[j]))
    return np.asarray(wins)
