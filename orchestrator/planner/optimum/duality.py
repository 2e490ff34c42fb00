"""A lower bound for every plan, from any prices of the shared rows: the certificate.

Put a price on what the offers share (capacity of a region, survival, spot, starts, replicas, money) and each
replica's life becomes a problem of its own: on or off in each step, which two states solve exactly. The sum of those
minima, of the cheapest way to carry each origin's demand, and of what the limits are worth is the Lagrangian
bound (Geoffrion 1974, Lagrangean relaxation for integer programming). It holds for any prices that are not negative,
so neither a solver's tolerance nor an interrupted solve can make it wrong; it holds for whole and for fractional
replicas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.planner.optimum.problem import Floats, Problem, Weighed


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """Prices of the shared rows, none negative.

    ``capacity`` and ``survival`` are ``[R, T]`` and ``spot`` is ``[T]``, per token/s; ``starts`` and ``replicas`` are
    ``[T]``, per replica; ``budget`` is per dollar.
    """

    capacity: Floats
    survival: Floats
    spot: Floats
    starts: Floats
    replicas: Floats
    budget: float


def between(one: Prices, other: Prices) -> Prices:
    """Return the prices halfway between two: the bound is concave, so theirs is no worse than the mean."""
    return Prices(
        capacity=0.5 * (one.capacity + other.capacity),
        survival=0.5 * (one.survival + other.survival),
        spot=0.5 * (one.spot + other.spot),
        starts=0.5 * (one.starts + other.starts),
        replicas=0.5 * (one.replicas + other.replicas),
        budget=0.5 * (one.budget + other.budget),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """What prices prove.

    ``bound``: no plan costs less. ``worth[J]``: what each offer's replicas add to it; below zero for those that are
    worth having at these prices, which is a reason to add one that the program lacks.
    """

    bound: float
    worth: Floats


def price(problem: Problem, weighed: Weighed, prices: Prices) -> Priced:
    """Return the bound that the prices prove, in the unit of the objective."""
    prices = _within_penalties(problem, prices)
    rules = problem.rules
    survival = prices.survival.sum(axis=0)
    region = problem.region_of
    per_token = prices.capacity[region] + survival - prices.survival[region]
    if rules.spot_fraction is not None:
        per_token += prices.spot * (rules.spot_fraction - problem.spot[:, None])
    hold = weighed.hold - problem.capacity[:, None] * per_token
    start = weighed.start
    if rules.max_replicas is not None:
        hold += prices.replicas
    if rules.starts_per_step is not None:
        start = start + prices.starts
    if rules.budget_usd is not None:
        hold += prices.budget * problem.rent_usd
        start = start + prices.budget * problem.start_usd
    from_off, from_on = lives(hold, start)
    running = np.minimum(problem.running, problem.quota)
    worth = running * from_on + (problem.quota - running) * from_off
    bound = float(worth.sum()) + _carried(problem, weighed, prices) + float((problem.must_survive * survival).sum())
    if rules.max_replicas is not None:
        bound -= rules.max_replicas * float(prices.replicas.sum())
    if rules.starts_per_step is not None:
        bound -= float((np.array(rules.starts_per_step) * prices.starts).sum())
    if rules.budget_usd is not None:
        bound -= rules.budget_usd * prices.budget
    return Priced(bound, worth)


def lives(hold: Floats, start: Floats) -> tuple[Floats, Floats]:
    """Return the least cost ``[J]`` of one replica's whole life, from off and from running before the first step.

    ``hold`` and ``start`` are ``[J, T]``. Levels of a replica count are independent of one another (each is on or off),
    so the least cost of any number of replicas is that number times the least cost of one.
    """
    from_off = np.zeros(len(hold))
    from_on = np.zeros(len(hold))
    for t in range(hold.shape[1] - 1, -1, -1):
        on = hold[:, t] + from_on
        from_off, from_on = np.minimum(from_off, start[:, t] + on), np.minimum(from_off, on)
    return from_off, from_on


def demand_prices(problem: Problem, weighed: Weighed, capacity: Floats) -> Floats:
    """Return the least cost ``[O, T]`` of carrying one more token/s of each origin, shortfall included."""
    least = np.repeat(problem.shortfall[None], len(problem.origins), axis=0)
    ways = weighed.carry + capacity
    for origin, eligible in enumerate(problem.eligible):
        if eligible.any():
            np.minimum(least[origin], ways[eligible].min(axis=0), out=least[origin])
    return least


def _carried(problem: Problem, weighed: Weighed, prices: Prices) -> float:
    return float((problem.demand * demand_prices(problem, weighed, prices.capacity)).sum())


def _within_penalties(problem: Problem, prices: Prices) -> Prices:
    """Clip prices below zero, and scale those of survival to what leaving it uncovered costs: a dual's last digits."""
    survival = np.maximum(prices.survival, 0.0)
    total = survival.sum(axis=0)
    share = np.where(total > problem.exposure, problem.exposure / np.where(total > 0, total, 1.0), 1.0)
    return Prices(
        capacity=np.maximum(prices.capacity, 0.0),
        survival=survival * share,
        spot=np.maximum(prices.spot, 0.0),
        starts=np.maximum(prices.starts, 0.0),
        replicas=np.maximum(prices.replicas, 0.0),
        budget=max(prices.budget, 0.0),
    )
