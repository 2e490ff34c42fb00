"""Services of at most four replicas: which offers to look at, the lattice, and the budget's price.

Where the offers make too many states, groups of them are excluded (``groups.py``), or the likeliest ones are tried in
batches around the best found; then the answer is good, not proven, and says so by its bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.planner.optimum.groups import proven
from orchestrator.planner.optimum.judge import judge, spent_usd
from orchestrator.planner.optimum.lattice import MOST_ORIGINS, MOST_REPLICAS, Best, Lattice, fits
from orchestrator.planner.optimum.plan import Budget
from orchestrator.planner.optimum.problem import Floats, Integers, Problem, Weighed, open_offers
from orchestrator.planner.optimum.program import Program

PRICE_STEPS: Final = 24
"""Prices of the budget that are tried: each halves the open question, and mostly four are enough."""


GROUPED: Final = {1: 10_000, 2: 400, 3: 100, 4: 60}
"""Offers, by replicas, up to which groups of them are worth a try: with more, the lattice has room for too few groups
to tell the offers apart, and nothing could be excluded (4 replicas of 300 offers, 12 groups)."""


BRANCHED: Final = 400
"""Offers x steps up to which branch and bound is worth a try where a budget binds."""

BRANCH_GAP: Final = 1e-7
"""Wanted of it, as a fraction; its bound is trusted to ten times that, because its arithmetic has tolerances."""

BRANCH_NODES: Final = 500


@dataclass(frozen=True, slots=True, eq=False)
class Small:
    """Whole replicas ``[J, T]``; ``bound`` is minus infinity where not every offer was looked at."""

    replicas: Floats
    bound: float


def is_small(problem: Problem) -> bool:
    """Whether the rules allow so few replicas that all of their states can be listed."""
    most = problem.rules.max_replicas
    groups = len(np.unique(problem.eligible, axis=0))
    return most is not None and 1 <= most <= MOST_REPLICAS and groups <= MOST_ORIGINS


def solve_small(problem: Problem, weighed: Weighed, budget: Budget) -> Small:
    """Return the best plan of whole replicas, proven where all offers fit in one lattice."""
    offers = open_offers(problem)
    most = problem.rules.max_replicas or 0
    if fits(len(offers), most):
        best, bound = _within_budget(problem, Lattice(problem, weighed, offers), budget)
        if bound < best.cost and len(offers) * problem.steps <= BRANCHED:
            best, bound = _branched(problem, weighed, offers, best, bound, budget)
        return Small(best.replicas, bound)
    ranked = _likeliest(problem, weighed, offers)
    room = max(m for m in range(most, len(ranked)) if fits(m, most))
    best, _ = _within_budget(problem, Lattice(problem, weighed, ranked[:room]), budget)
    if len(offers) <= GROUPED[most] and problem.rules.budget_usd is None:
        best, bound = proven(problem, weighed, offers, best, budget)
        return Small(best.replicas, bound)
    at = room
    while at < len(ranked) and budget() > 0:
        used = np.flatnonzero(best.replicas.any(axis=1))
        more = ranked[at : at + max(1, room - len(used))]
        at += len(more)
        other, _ = _within_budget(problem, Lattice(problem, weighed, np.union1d(used, more)), budget)
        if other.cost < best.cost - 1e-12 * abs(best.cost):
            best = other
    return Small(best.replicas, -np.inf)


def _likeliest(p: Problem, w: Weighed, offers: Integers) -> Integers:
    """Order offers by what a plan of one, two .. replicas of them would cost, best ranks first, running ones on top."""
    peak = float(p.demand.sum(axis=0).max())
    hold = w.hold[offers].sum(axis=1) + w.start[offers, 0] + (w.carry.sum(axis=1)[p.region_of[offers]] * peak / 2.0)
    places = np.full(len(offers), len(offers))
    for part in range(1, (p.rules.max_replicas or 1) + 1):
        lack = np.maximum(0.0, peak / part - p.capacity[offers])
        cost = hold + float(p.shortfall.sum()) * lack
        place = np.empty(len(offers), dtype=np.int64)
        place[np.argsort(cost, kind="stable")] = np.arange(len(offers))
        places = np.minimum(places, place)
    return offers[np.lexsort((offers, places, p.running[offers] <= 0))]


def _within_budget(problem: Problem, lattice: Lattice, budget: Budget) -> tuple[Best, float]:
    """Return the cheapest trajectory within the dollars, and a bound for all of them.

    The budget gets a price, found between a trajectory that is too dear and one that is not (Handler and Zang 1980, A
    dual algorithm for the constrained shortest path problem); the bound is the Lagrangian one, which can leave a gap.
    """
    free, limit = lattice.best(), problem.rules.budget_usd
    if limit is None or _usd(problem, free) <= limit:
        return free, free.cost
    price = 1e6 * (1.0 + abs(free.cost)) / max(limit, 1.0)
    found = lattice.best(price)
    kept = Best(found.replicas, found.cost - price * _usd(problem, found))
    bound, too_dear = free.cost, free
    for _ in range(PRICE_STEPS):
        dear_usd, kept_usd = _usd(problem, too_dear), _usd(problem, kept)
        if dear_usd <= kept_usd or budget() <= 0:
            break
        price = max(0.0, (kept.cost - too_dear.cost) / (dear_usd - kept_usd))
        found = lattice.best(price)
        bound = max(bound, found.cost - price * limit)
        usd = _usd(problem, found)
        line = kept.cost + price * kept_usd
        cost = found.cost - price * usd
        if found.cost >= line - 1e-12 * abs(line):
            break
        if usd <= limit:
            kept = Best(found.replicas, cost)
        else:
            too_dear = Best(found.replicas, cost)
    return kept, min(bound, kept.cost)


def _branched(
    problem: Problem, weighed: Weighed, offers: Integers, best: Best, bound: float, budget: Budget
) -> tuple[Best, float]:
    """Close the gap that the budget's price leaves, by branch and bound over all steps, as far as the nodes go."""
    program = Program(problem, weighed)
    program.add(offers.tolist())
    if budget() <= 0 or not program.solve_whole(budget(), steps=problem.steps, gap=BRANCH_GAP, nodes=BRANCH_NODES):
        return best, bound
    solution = program.solution()
    replicas = np.rint(solution.replicas)
    verdict = judge(problem, weighed, replicas, solution.traffic)
    if not verdict.broken and verdict.objective < best.cost:
        best = Best(replicas, verdict.objective)
    proven_cost = program.whole_bound
    return best, min(best.cost, max(bound, proven_cost - 10.0 * BRANCH_GAP * abs(proven_cost)))


def _usd(problem: Problem, best: Best) -> float:
    running = np.minimum(problem.running, problem.quota)[:, None]
    starts = np.maximum(0.0, np.diff(best.replicas, prepend=running, axis=1))
    return spent_usd(problem, best.replicas, starts)
