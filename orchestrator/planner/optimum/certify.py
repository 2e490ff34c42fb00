"""The linear plan of a large service, with its certificate: few offers in the program, all of them priced.

A program over every offer is slow, and almost none of them is used. So a coarse program (a few long steps, each with
the peak of its demand) names the offers worth a look; the program over those is solved; its prices give a bound over
*all* offers (``duality.py``); those that the prices make worth having come in, those that nobody uses go, until cost
and bound are close enough. This is column generation (Dantzig and Wolfe 1960) with whole trajectories priced at once.
A horizon of days is solved day by day (``relay.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from orchestrator.planner.optimum.duality import Prices, between, price
from orchestrator.planner.optimum.judge import judge
from orchestrator.planner.optimum.plan import ENOUGH, Budget
from orchestrator.planner.optimum.problem import Floats, Integers, Problem, Weighed, open_offers, weigh
from orchestrator.planner.optimum.program import Program, Solution
from orchestrator.planner.optimum.relay import Relay, edges_of, legs_of

COARSE_HOURS: Final = 12
"""Steps that one coarse step stands for: half a day, so that its sun and its night are apart."""

SCOUTS: Final = 4
"""Offers of each region and market in the coarse program, the cheapest ones; on demand apart, for the spot limit."""

FIRST: Final = 30
"""Offers that the first program takes by their coarse worth, beside those that the coarse plan uses."""

MORE: Final = 30
"""Offers that come in at most in a round: with more, the program grows faster than the gap shrinks."""

FINE_HOURS: Final = 4
"""The same in a second coarse program, over what the first one named, before a relay: it names more, and worths."""

PASSES: Final = 8
"""Of a relay, forward and back, before the program of the whole horizon has its turn."""

ROUNDS: Final = 60

LITTLE: Final = 1e-3
"""Part of a plan's cost that missing offers may take off its bound while another pass can still bring more: a fifth of
the wanted gap."""

_USED: Final = 1e-7
_WANTED: Final = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class Relaxed:
    """A linear plan, its cost, the best bound so far, and the relay and prices that it came from."""

    solution: Solution
    objective: float
    bound: float
    relay: Relay
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
    search = _Search(problem, weighed, wanted_gap)
    offers = _first_offers(problem, budget) if likely is None else np.intersect1d(likely, open_offers(problem))
    legs, worth = legs_of(problem), list[Floats]()
    if legs > 1:
        offers, worth = _refined(problem, offers, legs, budget)
    relay: Relay | None = Relay(problem, weighed, offers, legs, worth)
    for _ in range(ROUNDS):
        if relay is None or not _passed(relay, search, budget) or search.is_done:
            break
        relay = _following(problem, weighed, relay, search)
    return search.best


def _passed(relay: Relay, search: _Search, budget: Budget) -> bool:
    """Go forward and, between several legs, back again; return whether there was time for it."""
    if not relay.forward(budget):
        return False
    search.take(relay)
    if search.is_done or relay.legs == 1:
        return True
    if not relay.backward(budget):
        return False
    search.learn(relay)
    return True


def _following(problem: Problem, weighed: Weighed, relay: Relay, search: _Search) -> Relay | None:
    """Return what to pass through next: legs that may use more, in the end the whole horizon; ``None`` after that."""
    offers = np.array(sorted(relay.offers), dtype=np.int64)
    if relay.legs == 1:
        better = _next_offers(offers, relay.solution(), search.worth, search.scale)
        return Relay(problem, weighed, better, 1) if better.size else None
    if search.passes >= PASSES:
        return Relay(problem, weighed, offers, 1)
    if search.missed(offers) > LITTLE:
        # Legs keep their bases: what nobody uses any longer costs less than to begin anew without it.
        relay.add(_most_wanted(offers, search.worth, search.scale))
    return relay


class _Search:
    """What has been found so far: the best plan, the best bound, and the prices to look for offers with."""

    def __init__(self, problem: Problem, weighed: Weighed, wanted_gap: float) -> None:
        self._problem, self._weighed, self._wanted_gap = problem, weighed, wanted_gap
        self._bound = trivial_bound(problem, weighed)
        self._relay: Relay | None = None
        self._prices: Prices | None = None
        self._of_prices = -np.inf
        self.best: Relaxed | None = None
        self.passes = 0
        self.worth, self.scale = np.zeros(len(problem.offers)), 0.0

    @property
    def is_done(self) -> bool:
        """Whether the plan is close enough to the bound, and leaves no demand over."""
        best = self.best
        return best is not None and best.gap <= self._wanted_gap and _covers(self._problem, best.solution)

    def take(self, relay: Relay) -> None:
        """Take in the plan of a pass forward, and its prices."""
        solution = relay.solution()
        self.passes += 1
        objective = judge(self._problem, self._weighed, solution.replicas, solution.traffic).objective
        self.scale = abs(objective)
        if self.best is None or objective <= self.best.objective:
            self.best = Relaxed(solution, objective, self._bound, relay, relay.prices())
        self.learn(relay)

    def learn(self, relay: Relay) -> None:
        """Take in the prices of the last pass; in a relay of several legs, those halfway to its best ones, too."""
        if relay is not self._relay:
            self._relay, self._prices, self._of_prices = relay, None, -np.inf
        prices = relay.prices()
        tried = [prices] if self._prices is None else [between(self._prices, prices), prices]
        for each in tried:
            priced = price(self._problem, self._weighed, each)
            if priced.bound > self._of_prices:
                self._prices, self._of_prices, self.worth = each, priced.bound, priced.worth
        self._bound = max(self._bound, self._of_prices)
        if self.best is not None:
            self.best = replace(self.best, bound=self._bound)

    def missed(self, offers: Integers) -> float:
        """Return how much offers outside the program take off the bound, as a part of the plan's cost."""
        worth = self.worth.copy()
        worth[offers] = 0.0
        return -float(np.minimum(worth, 0.0).sum()) / (self.scale or 1.0)


def _covers(problem: Problem, solution: Solution) -> bool:
    """Whether no demand is left over; a small gap could hide a little that a missing offer would take."""
    left = problem.demand.sum(axis=0) - solution.traffic.sum(axis=(0, 1))
    return bool(left.max() <= ENOUGH * max(1.0, float(problem.demand.sum(axis=0).max())))


def _first_offers(problem: Problem, budget: Budget) -> Integers:
    """Choose by a coarse program over the cheapest offers of each region."""
    open_to = open_offers(problem)
    if len(open_to) <= FIRST + MORE:
        return open_to
    coarse = _coarsened(problem, COARSE_HOURS, peaks=True)
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


def _refined(problem: Problem, offers: Integers, legs: int, budget: Budget) -> tuple[Integers, list[Floats]]:
    """Return better offers and what a replica that runs on is worth between legs, by a finer coarse program.

    Its demand is the mean: nobody acts on its plan, and peaks would call for more than the hours do.
    """
    coarse = _coarsened(problem, FINE_HOURS, peaks=False)
    costs = weigh(coarse)
    program = Program(coarse, costs)
    program.add(offers.tolist())
    if not program.solve(budget()):
        return offers, []
    priced = price(coarse, costs, program.prices())
    better = _next_offers(offers, program.solution(), priced.worth, abs(priced.bound))
    inner = [round(edge * coarse.steps / problem.steps) for edge in edges_of(problem.steps, legs)[1:-1]]
    return better if better.size else offers, [program.worth_of_running(step) for step in inner]


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


def _coarsened(problem: Problem, hours: int, *, peaks: bool) -> Problem:
    """Merge so many steps into one; demand is each origin's peak, so that what covers it covers every step, or mean."""
    blocks = max(1, round(problem.steps / hours))
    edges = np.linspace(0, problem.steps, blocks + 1).astype(int)[:-1]
    lengths = np.diff(np.append(edges, problem.steps))

    def summed(array: Floats) -> Floats:
        return np.asarray(np.add.reduceat(array, edges, axis=-1))

    demand = np.maximum.reduceat(problem.demand, edges, axis=1) if peaks else summed(problem.demand) / lengths
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
        demand=demand,
        shortfall=summed(problem.shortfall),
        exposure=summed(problem.exposure),
        rules=rules,
    )


def _next_offers(offers: Integers, solution: Solution, worth: Floats, scale: float) -> Integers:
    """Keep what is used or as good as used, add the most wanted of what is missing; nothing when none is missing."""
    most = _most_wanted(offers, worth, scale)
    if most.size == 0:
        return most
    wanted = np.intersect1d(offers, np.flatnonzero(worth < -_WANTED * scale))
    used = np.flatnonzero(solution.replicas.sum(axis=1) > _USED)
    return np.union1d(np.union1d(used, wanted), most)


def _most_wanted(offers: Integers, worth: Floats, scale: float) -> Integers:
    """Return those that take most off the bound of what is missing."""
    missing = np.setdiff1d(np.flatnonzero(worth < -_WANTED * scale), offers)
    return np.asarray(missing[np.argsort(worth[missing], kind="stable")][:MORE])
