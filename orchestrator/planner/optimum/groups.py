"""Prove that an offer is in no better plan, a whole group of offers at a time.

Put offers into groups and let each group be one offer that has the best of its members in everything: least costs, most
capacity, widest reach. No plan over the offers is cheaper than the best one over the groups, and the values of their
lattice, forward and backward, bound what a plan costs that ever uses a group. A group whose bound is above the plan in
hand goes, members and all; those that stay are split, until the members are few enough for a lattice of their own. This
is branch and bound by state space relaxation (Christofides, Mingozzi and Toth 1981).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from orchestrator.planner.optimum.lattice import Best, Lattice, fits
from orchestrator.planner.optimum.plan import Budget
from orchestrator.planner.optimum.problem import Floats, Integers, Problem, Weighed, Weights

SLACK: Final = 1e-9
"""Part of a cost by which a bound has to be above it: the last digits of sums in another order."""

ROUNDS: Final = 20
"""Of grouping anew; what is not proven by then is not proven."""


def proven(
    problem: Problem, weighed: Weighed, offers: Integers, best: Best, budget: Budget, room: int | None = None
) -> tuple[Best, float]:
    """Return the best plan over the offers and a bound for all of them, from a plan in hand.

    The two are equal where every group could be excluded or listed; otherwise the bound is what was proven until then.
    The budget in dollars is left aside: a plan that keeps it costs at least as much. ``room``: how many groups, or
    offers, a lattice may have; as many as fit without it.
    """
    p, most = problem, problem.rules.max_replicas or 0
    room = max(m for m in range(1, len(offers) + 1) if fits(m, most)) if room is None else room
    features = _features(p, weighed)
    groups, bounds, bound = [offers], np.zeros(1), -np.inf
    for _ in range(ROUNDS):
        if budget() <= 0 or not groups:
            break
        if sum(len(g) for g in groups) <= room:
            last = Lattice(p, weighed, np.concatenate(groups)).best()
            best = min((best, last), key=lambda b: b.cost)
            return best, best.cost
        groups = _split(groups, bounds, features, room)
        super_problem, costs = _relaxed(p, weighed, groups)
        lattice = Lattice(super_problem, costs, np.arange(len(groups)), scattered=True)
        found = lattice.best()
        bound = max(bound, min(found.cost, best.cost))
        used = [groups[g] for g in np.flatnonzero(found.replicas.any(axis=1))]
        best = min((best, _tried(p, weighed, used, features, room)), key=lambda b: b.cost)
        ceiling = best.cost + SLACK * abs(best.cost)
        if found.cost >= best.cost - SLACK * abs(best.cost):
            return best, best.cost
        bounds = lattice.least_using()
        kept = np.flatnonzero(bounds <= ceiling)
        if len(kept) == len(groups):
            # Nothing went: make room by putting the least likely groups together.
            order = np.argsort(bounds, kind="stable")
            kept, last_ones = order[: -max(2, room // 4)], order[-max(2, room // 4) :]
            groups = [*(groups[g] for g in kept), np.concatenate([groups[g] for g in last_ones])]
            bounds = np.append(bounds[kept], bounds[last_ones].min())
        else:
            groups, bounds = [groups[g] for g in kept], bounds[kept]
    return (best, best.cost) if not groups else (best, bound)


def _features(p: Problem, w: Weighed) -> Floats:
    """Where offers lie beside one another, ``[J, F]``: capacity, costs and price on log scales, market, reach."""
    tiny = 1e-12
    hold = np.log(np.maximum(w.hold.mean(axis=1), tiny))
    carry = np.log(np.maximum(w.carry.mean(axis=1), tiny))[p.region_of]
    share = p.demand.sum(axis=1) / max(float(p.demand.sum()), tiny)
    reach = p.eligible[:, p.region_of].T * np.sqrt(share)
    start = 0.3 * np.log(np.maximum(w.start.mean(axis=1), tiny))
    market = np.where(p.spot, 4.0, 0.0) if p.rules.spot_fraction is not None else np.zeros(len(p.offers))
    return np.column_stack([np.log(p.capacity), hold, start, 0.2 * carry, market, 2.0 * reach])


def _split(groups: list[Integers], bounds: Floats, features: Floats, room: int) -> list[Integers]:
    """Halve groups where their members differ most, the most promising groups first, until there is no more room."""
    order = np.argsort(bounds, kind="stable")
    queue = [groups[g] for g in order]
    while len(queue) < room and any(len(g) > 1 for g in queue):
        parts: list[Integers] = []
        for i, group in enumerate(queue):
            left = len(queue) - i - 1
            if len(group) > 1 and len(parts) + left + 2 <= room:
                parts += _halves(group, features)
            else:
                parts.append(group)
        queue = parts
    return queue


def _halves(group: Integers, features: Floats) -> list[Integers]:
    mine = features[group]
    widest = int(np.argmax(mine.max(axis=0) - mine.min(axis=0)))
    order = group[np.argsort(mine[:, widest], kind="stable")]
    values = features[order, widest]
    # Cut at the widest step of the middle half, so that equals stay together.
    low, high = max(1, len(order) // 4), max(2, len(order) - len(order) // 4)
    cut = low + int(np.argmax(np.diff(values)[low - 1 : high - 1]))
    return [order[:cut], order[cut:]]


def _relaxed(p: Problem, w: Weighed, groups: list[Integers]) -> tuple[Problem, Weighed]:
    """Return the problem over groups, each in a region of its own, with the best of its members."""

    def least(array: Floats) -> Floats:
        return np.stack([array[g].min(axis=0) for g in groups])

    count, steps = len(groups), p.steps
    running = np.minimum(p.running, p.quota)
    eligible = np.stack([p.eligible[:, p.region_of[g]].any(axis=1) for g in groups], axis=1)
    nothing = np.zeros((count, steps))
    rules = replace(p.rules, budget_usd=None, spot_fraction=_looser_spot(p, groups))
    problem = replace(
        p,
        offers=tuple(str(i) for i in range(count)),
        regions=tuple(str(i) for i in range(count)),
        region_of=np.arange(count),
        spot=np.array([bool(p.spot[g].all()) for g in groups]),
        capacity=np.array([p.capacity[g].max() for g in groups]),
        quota=np.array([p.quota[g].sum() for g in groups]),
        running=np.array([running[g].sum() for g in groups]),
        rent_usd=nothing,
        rent_grams=nothing,
        start_usd=nothing,
        start_grams=nothing,
        end_usd=np.zeros(count),
        end_grams=np.zeros(count),
        traffic_grams=nothing,
        rtt_ms=np.where(eligible, 0.0, 1.0),
        rtt_budget_ms=np.full(len(p.origins), 0.5),
        weights=Weights(1.0, 1.0),
        rules=rules,
    )
    carry = np.stack([w.carry[p.region_of[g]].min(axis=0) for g in groups])
    return problem, Weighed(least(w.hold), least(w.start), carry)


def _looser_spot(p: Problem, groups: list[Integers]) -> float | None:
    """Return a limit that holds for groups wherever the true one holds for members.

    A group of spot counts with its largest member, so its true share can be smaller by the ratio of its capacities.
    """
    fraction = p.rules.spot_fraction
    if fraction is None or fraction >= 1.0:
        return fraction
    ratio = max([1.0, *(float(p.capacity[g].max() / p.capacity[g].min()) for g in groups if p.spot[g].all())])
    odds = ratio * fraction / (1.0 - fraction)
    return odds / (1.0 + odds)


def _tried(p: Problem, w: Weighed, groups: list[Integers], features: Floats, room: int) -> Best:
    """Return the best plan over some members of these groups, those that are cheapest for their capacity."""
    if not groups:
        return Best(np.zeros((len(p.offers), p.steps)), np.inf)
    each = max(1, room // len(groups))
    worth = features[:, 1] - features[:, 0]
    chosen = [g[np.argsort(worth[g], kind="stable")][:each] for g in groups]
    return Lattice(p, w, np.concatenate(chosen)[:room]).best()
