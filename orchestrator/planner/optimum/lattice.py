"""Small services, exactly: dynamic programming over every multiset of at most a few replicas.

For a handful of replicas the linear relaxation is nearly worthless (half a replica serves half the demand), but all
states can be listed: at most N replicas of m offers are C(m + N, N) multisets, 1,820 for four of twelve. A step
closes the values under "drop one" (free) and then "add one" (its start), which reaches every state by the cheapest
way and never leaves the list, and adds what the state costs in the step. Routing inside a state is exact, too: what
regions can serve is a polymatroid (Edmonds 1970), so filling regions in the order of their carbon is optimal.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import comb
from typing import Final

import numpy as np

from orchestrator.planner.optimum.problem import Floats, Integers, Problem, Weighed

MOST_REPLICAS: Final = 4
MOST_STATES: Final = 2200
"""Of a lattice: four replicas of 12 offers, three of 21, two of 64, one of 2,199; a step takes about a millisecond."""

MOST_ORIGINS: Final = 62
"""Groups of origins that reach different regions, each a bit of a word."""


def fits(offers: int, replicas: int) -> bool:
    """Whether that many offers make a lattice that is small enough."""
    return replicas <= MOST_REPLICAS and comb(offers + replicas, replicas) <= MOST_STATES


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The cheapest trajectory: ``replicas[J, T]`` and its weighted cost."""

    replicas: Floats
    cost: float


class Lattice:
    """All states over some offers, with what each costs in each step."""

    def __init__(self, problem: Problem, weighed: Weighed, offers: Integers, *, scattered: bool = False) -> None:
        """``scattered``: no two replicas are lost together, because an offer stands for many in different regions."""
        p = problem
        self._problem, self._offers, self._scattered = p, np.sort(offers), scattered
        self._most = int(
            min(p.rules.max_replicas if p.rules.max_replicas is not None else MOST_REPLICAS, MOST_REPLICAS)
        )
        self._members, self._total = _multisets(len(offers), self._most)
        self._down, self._up = _neighbours(self._members, len(offers))
        self._start = _padded(weighed.start[self._offers])
        self._stage = self._costs(weighed)
        self._stage[~self._allowed()] = np.inf

    # ── what a state costs ───────────────────────────────────────────────────────────────────────────

    def _costs(self, weighed: Weighed) -> Floats:
        """Hold, carry and penalties of each state in each step, ``[S, T]``."""
        p, members = self._problem, self._members
        hold = _padded(weighed.hold[self._offers])[members].sum(axis=1)
        capacity = _padded(p.capacity[self._offers])[members]
        region = np.append(p.region_of[self._offers], -1)[members]
        served, carried = self._routed(weighed, capacity, region)
        demand = p.demand.sum(axis=0)
        if self._scattered:
            left = capacity.sum(axis=1) - capacity.max(axis=1)
        else:
            left = capacity.sum(axis=1) - self._together(capacity, region).max(axis=1)
        exposed = np.maximum(0.0, p.must_survive - left[:, None])
        return np.asarray(hold + carried + p.shortfall * np.maximum(0.0, demand - served) + p.exposure * exposed)

    def _routed(self, weighed: Weighed, capacity: Floats, region: Integers) -> tuple[Floats, Floats]:
        """Return the demand that is served and what carrying it costs, ``[S, T]`` each, by greedy filling.

        What a set of replicas can serve is ``rank(P) = min over A within P of reach(A) + capacity(P without A)``: max
        flow is min cut on the bipartite network of origins and replicas.
        """
        p, slots = self._problem, self._members.shape[1]
        reach = self._reach(region)
        subsets = range(1 << slots)
        held = np.stack([capacity[:, [i for i in range(slots) if a >> i & 1]].sum(axis=1) for a in subsets], axis=1)
        rank = np.empty_like(reach)
        for whole in subsets:
            rank[:, whole] = reach[:, whole]
            part = whole
            while part:
                part = (part - 1) & whole
                np.minimum(rank[:, whole], reach[:, part] + held[:, whole ^ part, None], out=rank[:, whole])
        cost = np.concatenate([weighed.carry, np.zeros((1, p.steps))])[region]
        order = np.argsort(cost, axis=1, kind="stable")
        filled = np.take_along_axis(rank, np.cumsum(1 << order, axis=1), axis=1)
        each = np.diff(filled, axis=1, prepend=0.0)
        return filled[:, -1], (np.take_along_axis(cost, order, axis=1) * each).sum(axis=1)

    def _together(self, capacity: Floats, region: Integers) -> Floats:
        """Return what is lost with the region of each replica, ``[S, N]``."""
        return np.asarray(((region[:, :, None] == region[:, None, :]) * capacity[:, None, :]).sum(axis=2))

    def _reach(self, region: Integers) -> Floats:
        """Return the demand within reach of each subset of a state's replicas, ``[S, 2^N, T]``."""
        p, slots = self._problem, region.shape[1]
        patterns, group = np.unique(p.eligible[:, np.unique(region[region >= 0])], axis=0, return_inverse=True)
        if len(patterns) > MOST_ORIGINS:
            raise ValueError("too many groups of origins for a lattice")
        demand = np.zeros((len(patterns), p.steps))
        np.add.at(demand, group.ravel(), p.demand)
        word = np.zeros(len(p.regions) + 1, dtype=np.int64)
        for place in np.unique(region[region >= 0]):
            word[place] = int(np.bitwise_or.reduce(np.where(p.eligible[:, place], 1 << group.ravel(), 0)))
        words = np.zeros((len(region), 1 << slots), dtype=np.int64)
        for subset in range(1, 1 << slots):
            lowest = (subset & -subset).bit_length() - 1
            words[:, subset] = words[:, subset & (subset - 1)] | word[region[:, lowest]]
        known, where = np.unique(words, return_inverse=True)
        bits = (known[:, None] >> np.arange(len(patterns)) & 1).astype(np.float64)
        reached = (bits[:, :, None] * demand).sum(axis=1)
        return np.asarray(reached[where.reshape(words.shape)])

    def _allowed(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Quota and spot limit of each state."""
        p, members = self._problem, self._members
        quota = np.append(p.quota[self._offers], np.inf)
        count = (members[:, :, None] == members[:, None, :]).sum(axis=2)
        allowed = np.asarray((count <= quota[members]).all(axis=1))
        if p.rules.spot_fraction is not None:
            capacity = _padded(p.capacity[self._offers])[members]
            on_spot = np.append(p.spot[self._offers], False)[members]
            total = capacity.sum(axis=1)
            allowed &= (capacity * on_spot).sum(axis=1) <= p.rules.spot_fraction * total + 1e-9 * total
        return allowed

    # ── the cheapest way through ─────────────────────────────────────────────────────────────────────

    def best(self, dollar: float = 0.0) -> Best:
        """Return the cheapest trajectory; each dollar of rent and starts costs ``dollar`` more (the budget's price)."""
        p, steps = self._problem, self._problem.steps
        stage, start = self._stage, self._start
        if dollar > 0.0:
            stage = stage + dollar * _padded(p.rent_usd[self._offers])[self._members].sum(axis=1)
            start = start + dollar * _padded(p.start_usd[self._offers])
        value = self._entered(start[:, 0]) + stage[:, 0]
        values = [value]
        for t in range(1, steps):
            value = self._added(self._dropped(value), start[:, t], self._starts(t)) + stage[:, t]
            values.append(value)
        state = int(np.argmin(value))
        cost = float(value[state])
        path = [state]
        for t in range(steps - 1, 0, -1):
            state = self._came_from(state, values[t - 1], start[:, t], self._starts(t))
            path.append(state)
        replicas = np.zeros((len(p.offers), steps))
        for t, at in enumerate(reversed(path)):
            for member in self._members[at]:
                if member < len(self._offers):
                    replicas[self._offers[member], t] += 1.0
        return Best(replicas, cost)

    def least_using(self) -> Floats:
        """Return the least cost of a trajectory that ever holds each of the offers, in their order."""
        steps, start = self._problem.steps, self._start
        forward = [self._entered(start[:, 0]) + self._stage[:, 0]]
        for t in range(1, steps):
            forward.append(self._added(self._dropped(forward[-1]), start[:, t], self._starts(t)) + self._stage[:, t])
        after = np.zeros(len(self._members))
        through = forward[-1].copy()
        for t in range(steps - 1, 0, -1):
            after = self._before(self._stage[:, t] + after, start[:, t], self._starts(t))
            np.minimum(through, forward[t - 1] + after, out=through)
        least = np.full(len(self._offers) + 1, np.inf)
        for slot in range(self._most):
            np.minimum.at(least, self._members[:, slot], through)
        return least[:-1]

    def _before(self, value: Floats, start: Floats, starts: int) -> Floats:
        """Least cost to go from each state: what it drops is free, what it then adds, within the starts, is not."""
        padded, cost = np.append(value, np.inf), start[: self._up.shape[1]]
        for _ in range(starts):
            padded[:-1] = np.minimum(padded[:-1], (padded[self._up] + cost).min(axis=1))
        for count in range(1, self._most + 1):
            rows = self._total == count
            padded[:-1][rows] = np.minimum(padded[:-1][rows], padded[self._down[rows]].min(axis=1))
        return padded[:-1]

    def _starts(self, t: int) -> int:
        limit = self._problem.rules.starts_per_step
        return self._most if limit is None else min(self._most, int(limit[t] + 1e-9))

    def _entered(self, start: Floats) -> Floats:
        """Cost of being in each state in the first step, from what runs; infinite beyond the allowed starts."""
        members, p = self._members, self._problem
        running = np.append(np.minimum(p.running, p.quota)[self._offers], np.inf)
        # The k-th replica of an offer is a start if fewer than k run.
        place = np.tril(members[:, :, None] == members[:, None, :]).sum(axis=2)
        begins = place > running[members]
        cost = np.where(begins, start[members], 0.0).sum(axis=1)
        return np.where(begins.sum(axis=1) <= self._starts(0), cost, np.inf)

    def _dropped(self, value: Floats) -> Floats:
        """Least value of any state that holds at least this one's replicas."""
        least = np.append(value, np.inf)
        for count in range(self._most - 1, -1, -1):
            rows = self._total == count
            least[:-1][rows] = np.minimum(least[:-1][rows], least[self._up[rows]].min(axis=1))
        return least[:-1]

    def _added(self, least: Floats, start: Floats, starts: int) -> Floats:
        """Least value of any state from which this one is reached by at most that many starts."""
        padded = np.append(least, np.inf)
        cost = start[self._members]
        for _ in range(starts):
            padded[:-1] = np.minimum(padded[:-1], (padded[self._down] + cost).min(axis=1))
        return padded[:-1]

    def _came_from(self, state: int, before: Floats, start: Floats, starts: int) -> int:
        """Return the best predecessor; the state itself where it is as good as any."""
        members = self._members
        here = np.bincount(members[state], minlength=len(self._offers) + 1)
        place = np.tril(members[:, :, None] == members[:, None, :]).sum(axis=2)
        overlap = (members < len(self._offers)) & (place <= here[members])
        saved = np.where(overlap, start[members], 0.0).sum(axis=1)
        kept = overlap.sum(axis=1)
        entry = start[members[state]].sum() - saved
        total = before + np.maximum(entry, 0.0)
        total[self._total[state] - kept > starts] = np.inf
        best = int(np.argmin(total))
        return state if before[state] <= total[best] + 1e-12 * abs(total[best]) else best


def _padded(array: Floats) -> Floats:
    """Append a row of nothing, for the places that a state leaves empty."""
    return np.concatenate([array, np.zeros((1, *array.shape[1:]))])


def _multisets(offers: int, most: int) -> tuple[Integers, Integers]:
    """List all states as sorted members ``[S, N]``, filled up with ``offers``, and how many replicas each has."""
    rows = [
        (*chosen, *([offers] * (most - count)))
        for count in range(most + 1)
        for chosen in combinations_with_replacement(range(offers), count)
    ]
    members = np.array(rows, dtype=np.int64).reshape(len(rows), most)
    return members, (members < offers).sum(axis=1)


def _neighbours(members: Integers, offers: int) -> tuple[Integers, Integers]:
    """Return the states one replica below, ``[S, N]`` by the member that goes, and above, ``[S, m]`` by offer."""
    states, most = members.shape
    base = (offers + 1) ** np.arange(most - 1, -1, -1, dtype=np.int64) if most else np.empty(0, dtype=np.int64)
    keys = (members * base).sum(axis=1)
    order = np.argsort(keys, kind="stable")
    down = np.full((states, most), states)
    for slot in range(most):
        less = members.copy()
        less[:, slot] = offers
        less.sort(axis=1)
        found = order[np.searchsorted(keys[order], (less * base).sum(axis=1))]
        down[:, slot] = np.where(members[:, slot] < offers, found, states)
    up = np.full((states, max(offers, 1)), states)
    for slot in range(most):
        rows = np.flatnonzero(members[:, slot] < offers)
        up[down[rows, slot], members[rows, slot]] = rows
    return down, up
