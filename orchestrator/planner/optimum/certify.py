"""The linear plan of a large service, with its certificate: few offers in the program, all of them priced.

A program over every offer is slow, and almost none of them is used. So a coarse program (a few long steps, each with
the peak of its demand) names the offers worth a look; the program over those is solved; its prices give a bound over
*all* offers (``duality.py``); those that the prices make worth having come in, those that nobody uses go, until cost
and bound are close enough. This is column generation (Dantzig and Wolfe 1960) with whole trajectories priced at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from orchestrator.planner.optimum.duality import Prices, price
from orchestrator.planner.optimum.judge import judge
from orchestrator.planner.optimum.plan import ENOUGH, Budget
from orchestrator.planner.optimum.problem import Floats, Integers, Problem, Weighed, open_offers, weigh
from orchestrator.planner.optimum.program import Program, Solution

COARSE_HOURS: Final = 12
"""Steps that one coarse step stands for: half a day, so that its sun and its night are apart."""

SCOUTS: Final = 4
"""Offers of each region and market in the coarse program, the cheapest ones; on demand apart, for the spot limit."""

FIRST: Final = 30
"""Offers that the first program takes by their coarse worth, beside those that the coarse plan uses."""

MORE: Final = 30
"""Offers that come in at most in a round: with more, the program grows faster than the gap shrinks."""

ROUNDS: Final = 60
_USED: Final = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class Relaxed:
    """A linear plan, its cost, the best bound so far, and the program and prices that it came from."""

    solution: Solution
    objective: float
    bound: float
    program: Program
    prices: Prices

    @property
    def gap(self) -> float:
        """The certified gap, as a fraction of the cost."""
        scale = max(abs(self.objective), abs(self.bound))
        return 0.0 if scale == 0 else max(0.0, self.objective - self.bound) / scale


def certify(
    problem: Problem, weighed: Weighed, budget: Budget, wanted_gap: float, likely: Integers | None = None
) -> Relaxed | None:
    """Return the best linear plan found within the budget; ``None`` when not even one program was solved in time.

    ``likely``: offers to begin with, such as those of the last plan, instead of looking for some.
    """
    bound = trivial_bound(problem, weighed)
    offers = _first_offers(problem, budget) if likely is None else np.intersect1d(likely, open_offers(problem))
    best: Relaxed | None = None
    for _ in range(ROUNDS):
        program = Program(problem, weighed)
        program.add(offers.tolist())
        if not program.solve(budget()):
            break
        prices = program.prices()
        priced = price(problem, weighed, prices)
        bound = max(bound, priced.bound)
        solution = program.solution()
        objective = judge(problem, weighed, solution.replicas, solution.traffic).objective
        if best is None or objective <= best.objective:
            best = Relaxed(solution, objective, bound, program, prices)
        else:
            best = replace(best, bound=bound)
        if best.gap <= wanted_gap and _covers(problem, best.solution):
            break
        offers = _next_offers(offers, solution, priced.worth, abs(objective))
        if offers.size == 0:
            break
    return best


def _covers(problem: Problem, solution: Solution) -> bool:
    """Whether no demand is left over; a small gap could hide a little that a missing offer would take."""
    left = problem.demand.sum(axis=0) - solution.traffic.sum(axis=(0, 1))
    return bool(left.max() <= ENOUGH * max(1.0, float(problem.demand.sum(axis=0).max())))


def _first_offers(problem: Problem, budget: Budget) -> Integers:
    """Choose by a coarse program over the cheapest offers of each region."""
    open_to = open_offers(problem)
    if len(open_to) <= FIRST + MORE:
        return open_to
    coarse = _coarsened(problem)
    costs = weigh(coarse)
    rate = (costs.hold.sum(axis=1) + costs.start[:, 0]) / problem.capacity
    rate = rate + costs.carry.sum(axis=1)[problem.region_of]
    order = open_to[np.lexsort((open_to, rate[open_to], problem.spot[open_to], problem.region_of[open_to]))]
    group = 2 * problem.region_of[order] + problem.spot[order]
    begins = np.concatenate([[True], group[1:] != group[:-1]])
    place = np.arange(len(order))
    scouts = order[place - np.maximum.accumulate(np.where(begins, place, 0)) < SCOUTS]
    program = Program(coarse, costs)
    program.add(scouts.tolist())
    if not program.solve(budget()):
        return scouts[np.argsort(rate[scouts], kind="stable")][: FIRST + MORE]
    prices = program.prices()
    used = np.flatnonzero(program.solution().replicas.sum(axis=1) > _USED)
    earned = problem.capacity[:, None] * _earned(coarse, prices)
    always = ((costs.hold - earned).sum(axis=1) + costs.start[:, 0]) / problem.capacity
    best = open_to[np.argsort(always[open_to], kind="stable")][:FIRST]
    return np.union1d(used, best)


def trivial_bound(problem: Problem, weighed: Weighed) -> float:
    """Return the bound that no prices at all prove: what carrying the demand costs at least."""
    nothing, free = np.zeros((len(problem.regions), problem.steps)), np.zeros(problem.steps)
    return price(problem, weighed, Prices(nothing, nothing, free, free, free, 0.0)).bound


def _earned(problem: Problem, prices: Prices) -> Floats:
    """What one token/s of each offer is paid in each step, ``[J, T]``."""
    region = problem.region_of
    paid = prices.capacity[region] + prices.survival.sum(axis=0) - prices.survival[region]
    if problem.rules.spot_fraction is not None:
        paid = paid + prices.spot * (problem.rules.spot_fraction - problem.spot[:, None])
    return np.asarray(paid)


def _coarsened(problem: Problem) -> Problem:
    """Merge steps into long ones; demand is each origin's peak, so that what covers it covers every step."""
    blocks = max(1, round(problem.steps / COARSE_HOURS))
    edges = np.linspace(0, problem.steps, blocks + 1).astype(int)[:-1]
    lengths = np.diff(np.append(edges, problem.steps))

    def summed(array: Floats) -> Floats:
        return np.asarray(np.add.reduceat(array, edges, axis=-1))

    rules = problem.rules
    if rules.starts_per_step is not None:
        starts = np.add.reduceat(np.array(rules.starts_per_step), edges)
        rules = replace(rules, starts_per_step=tuple(starts.tolist()))
    return replace(
        problem,
        step_hours=summed(problem.step_hours),
        rent_usd=summed(problem.rent_usd),
        rent_grams=summed(problem.rent_grams),
        start_usd=summed(problem.start_usd) / lengths,
        start_grams=summed(problem.start_grams) / lengths,
        traffic_grams=summed(problem.traffic_grams),
        demand=np.maximum.reduceat(problem.demand, edges, axis=1),
        shortfall=summed(problem.shortfall),
        exposure=summed(problem.exposure),
        rules=rules,
    )


def _next_offers(offers: Integers, solution: Solution, worth: Floats, scale: float) -> Integers:
    """Keep what is used or as good as used, add the most wanted of what is missing; nothing when none is missing."""
    inside = np.zeros(len(worth), dtype=bool)
    inside[offers] = True
    wanted = worth < -1e-10 * scale
    missing = np.flatnonzero(wanted & ~inside)
    if missing.size == 0:
        return missing
    most = missing[np.argsort(worth[missing], kind="stable")][:MORE]
    used = solution.replicas.sum(axis=1) > _USED
    return np.union1d(np.flatnonzero(used | (wanted & inside)), most)
