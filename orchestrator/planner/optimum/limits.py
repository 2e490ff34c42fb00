"""Keep whole replicas within the limits: take away what breaks one, or add only what breaks none."""

from __future__ import annotations

import numpy as np

from orchestrator.planner.optimum.judge import by_region
from orchestrator.planner.optimum.problem import Floats, Integers, Problem


def within_limits(problem: Problem, replicas: Floats) -> Floats:
    """Take replicas away until no limit is broken: the dearest per token/s first, in every step where it has to be.

    Giving way to one limit can break another (what goes from one step is a start in the next), so it goes round until
    nothing changes; replicas only ever go, so that it ends.
    """
    p, rules = problem, problem.rules
    kept = np.minimum(replicas, p.quota[:, None])
    dear_first = np.lexsort((np.arange(len(p.offers)), -_rate(p)))
    dear_first = dear_first[kept[dear_first].any(axis=1)]
    while True:
        before = kept
        if rules.max_replicas is not None:
            kept = _cut(kept, dear_first, kept.sum(axis=0) - rules.max_replicas, np.ones(len(p.offers)))
        if rules.spot_fraction is not None:
            kept = _less_spot(p, kept, dear_first)
        if rules.starts_per_step is not None:
            kept = _without_starts(p, kept, dear_first)
        if rules.budget_usd is not None:
            kept = _within_budget(p, kept, dear_first)
        if np.array_equal(before, kept):
            return kept


class Room:
    """A growing set of replicas, and what can still be added to it without breaking a limit."""

    def __init__(self, problem: Problem, replicas: Floats) -> None:
        self._problem, self.replicas = problem, replicas.copy()
        tokens = problem.capacity[:, None] * replicas
        self.capacity = by_region(problem, replicas)
        self._count, self._total = replicas.sum(axis=0), tokens.sum(axis=0)
        self._spot = tokens[problem.spot].sum(axis=0)
        self._starts, self._usd = _starts(problem, replicas).sum(axis=0), _usd(problem, replicas)

    def take(self, offer: int, wanted: int) -> int:
        """Add up to that many replicas of an offer in every step; return how many."""
        p, row = self._problem, self.replicas[offer]
        for count in range(min(wanted, int((p.quota[offer] - row).min())), 0, -1):
            tokens = count * p.capacity[offer]
            on_spot = tokens if p.spot[offer] else 0.0
            starts, usd = self._more(offer, row + count)
            if self._fits(count, tokens, on_spot, starts, usd):
                self._count, self._total, self._spot = self._count + count, self._total + tokens, self._spot + on_spot
                self._starts, self._usd = self._starts + starts, self._usd + usd
                self.capacity[p.region_of[offer]] += tokens
                self.replicas[offer] = row + count
                return count
        return 0

    def _more(self, offer: int, row: Floats) -> tuple[Floats, float]:
        """The starts and the dollars that come with it."""
        p = self._problem
        running = min(p.running[offer], p.quota[offer])
        old = np.maximum(0.0, np.diff(self.replicas[offer], prepend=running))
        new = np.maximum(0.0, np.diff(row, prepend=running))
        rent = p.rent_usd[offer] * (row - self.replicas[offer])
        return new - old, float((rent + p.start_usd[offer] * (new - old)).sum())

    def _fits(self, count: int, tokens: float, on_spot: float, starts: Floats, usd: float) -> bool:
        rules = self._problem.rules
        if rules.max_replicas is not None and (self._count + count > rules.max_replicas).any():
            return False
        if rules.spot_fraction is not None:
            total = self._total + tokens
            if (self._spot + on_spot > rules.spot_fraction * total + 1e-9 * total).any():
                return False
        if rules.starts_per_step is not None and (self._starts + starts > np.array(rules.starts_per_step) + 1e-9).any():
            return False
        return rules.budget_usd is None or self._usd + usd <= rules.budget_usd


def _rate(p: Problem) -> Floats:
    weights = p.weights
    return np.asarray((weights.usd * p.rent_usd + weights.grams * p.rent_grams).sum(axis=1) / p.capacity)


def _starts(p: Problem, replicas: Floats) -> Floats:
    before = np.concatenate([np.minimum(p.running, p.quota)[:, None], replicas[:, :-1]], axis=1)
    return np.asarray(np.maximum(0.0, replicas - before))


def _usd(p: Problem, replicas: Floats) -> float:
    return float((p.rent_usd * replicas).sum() + (p.start_usd * _starts(p, replicas)).sum())


def _cut(replicas: Floats, order: Integers, over: Floats, unit: Floats) -> Floats:
    """Take whole replicas away in that order until ``over`` (in units) is gone, step by step."""
    kept, over = replicas.copy(), over.copy()
    for j in order:
        gone = np.minimum(kept[j], np.ceil(np.maximum(0.0, over) / unit[j] - 1e-9))
        kept[j] -= gone
        over -= gone * unit[j]
    return kept


def _without_starts(p: Problem, replicas: Floats, order: Integers) -> Floats:
    """Leave the dearest starts out, step by step; what was not started runs later only if it is started then."""
    kept, before = replicas.copy(), np.minimum(p.running, p.quota)
    limits = p.rules.starts_per_step or ()
    for t, limit in enumerate(limits):
        over = float(np.maximum(0.0, kept[:, t] - before).sum()) - np.floor(limit + 1e-9)
        for j in order:
            if over <= 0:
                break
            gone = min(over, max(0.0, float(kept[j, t] - before[j])))
            kept[j, t] -= gone
            over -= gone
        before = kept[:, t]
    return kept


def _within_budget(p: Problem, replicas: Floats, order: Integers) -> Floats:
    kept, limit = replicas.copy(), p.rules.budget_usd or 0.0
    for j in order:
        while kept[j].any() and _usd(p, kept) > limit:
            kept[j] = np.maximum(0.0, kept[j] - 1.0)
    return kept


def _less_spot(p: Problem, replicas: Floats, order: Integers) -> Floats:
    """Take spot away until its share holds: ``spot <= f / (1 - f) x on demand``."""
    fraction = p.rules.spot_fraction or 0.0
    tokens = p.capacity[:, None] * replicas
    over = (1.0 - fraction) * tokens[p.spot].sum(axis=0) - fraction * tokens[~p.spot].sum(axis=0)
    on_spot = np.array([j for j in order if p.spot[j]], dtype=np.int64)
    over = np.where(over > 1e-9 * tokens.sum(axis=0), over, 0.0)
    return _cut(replicas, on_spot, over, (1.0 - fraction) * p.capacity) if fraction < 1.0 else replicas
