"""Answers for when there is no time for a program: the previous plan moved on, the cheapest offers, or what runs.

All of them are whole replicas, the same in every step or as the previous plan had them, within every limit. Demand that
they cannot carry within the limits is left over and reported; nothing is hidden to look feasible.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from orchestrator.planner.optimum.limits import Room, within_limits
from orchestrator.planner.optimum.plan import Plan
from orchestrator.planner.optimum.problem import Floats, Integers, Problem, Weighed
from orchestrator.planner.optimum.routing import carried


def shifted(problem: Problem, plan: Plan) -> Floats:
    """Return what the plan would have running now and later, ``[J, T]``, rounded up and within every limit.

    Offers are found by name; steps past the plan's end repeat its last one, and steps before its start its first.
    """
    ends = plan.start + np.array([timedelta(hours=float(h)) for h in np.cumsum(plan.step_hours)], dtype=object)
    starts = np.concatenate([[0.0], np.cumsum(problem.step_hours)[:-1]])
    at = [
        min(sum(1 for end in ends if end <= problem.start + timedelta(hours=float(h))), len(ends) - 1) for h in starts
    ]
    place = {name: i for i, name in enumerate(plan.offers)}
    replicas = np.zeros((len(problem.offers), problem.steps))
    for j, name in enumerate(problem.offers):
        if name in place:
            replicas[j] = plan.replicas[place[name], at]
    return within_limits(problem, np.ceil(replicas - 1e-6))


def frozen(problem: Problem) -> Floats:
    """Return what runs, in every step, within the limits that running replicas can break."""
    return within_limits(problem, np.repeat(problem.running[:, None], problem.steps, axis=1))


def greedy(problem: Problem, weighed: Weighed, base: Floats) -> Floats:
    """Add whole replicas to ``base``, the cheapest per token/s first, until all demand is carried and survives.

    Marginal allocation as in CarbonScaler (Hanafy et al. 2023, section 4), with every offer's cost linear. An addition
    holds over the whole horizon and is left out where it would break a limit.
    """
    p = problem
    cost = (weighed.hold.sum(axis=1) + weighed.start[:, 0]) / p.capacity + weighed.carry.sum(axis=1)[p.region_of]
    running = np.minimum(p.running, p.quota)
    cost = np.where(running > base[:, 0], cost - weighed.start[:, 0] / p.capacity, cost)
    order = np.lexsort((np.arange(len(p.offers)), cost))
    room = Room(p, base)
    left = p.demand - carried(p, weighed, base).sum(axis=1)
    if p.rules.spot_fraction is not None:
        # What may not be spot comes first, or there would be nothing that spot could be a share of.
        on_demand = order[~p.spot[order]]
        left = p.rules.spot_fraction * left + _fill(p, room, (1.0 - p.rules.spot_fraction) * left, on_demand)
    _fill(p, room, left, order)
    if p.rules.surviving_fraction is not None:
        _spread(p, room, order)
    return room.replicas


def _fill(p: Problem, room: Room, demand: Floats, order: Integers) -> Floats:
    """Add replicas in that order for the demand ``[O, T]``; return what is left of it."""
    left, eligible = demand.copy(), p.eligible
    choices = eligible.sum(axis=1)
    nothing = 1e-9 * float(p.demand.max())
    for j in order.tolist():
        if float(left.max()) <= nothing:
            break
        reach = np.flatnonzero(eligible[:, p.region_of[j]])
        wanted = np.ceil(float(left[reach].sum(axis=0).max()) / p.capacity[j] - 1e-9) if reach.size else 0.0
        count = room.take(j, int(wanted))
        if count:
            free = np.full(p.steps, count * p.capacity[j])
            for origin in reach[np.argsort(choices[reach], kind="stable")]:
                used = np.minimum(left[origin], free)
                left[origin] -= used
                free -= used
    return left


def _spread(p: Problem, room: Room, order: Integers) -> None:
    """Add capacity outside the largest region until what must survive does, or nothing more can be added."""
    full: set[int] = set()
    while True:
        lack = p.must_survive - (room.capacity.sum(axis=0) - room.capacity.max(axis=0))
        step = int(np.argmax(lack))
        if lack[step] <= 1e-9 * p.must_survive[step]:
            return
        largest = int(np.argmax(room.capacity[:, step]))
        chosen = next((j for j in order.tolist() if p.region_of[j] != largest and j not in full), None)
        if chosen is None:
            return
        if not room.take(chosen, 1):
            full.add(chosen)
