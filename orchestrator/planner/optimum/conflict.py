"""Which rules to give up when not all can hold: the smallest set that leaves no demand over, by name.

An elastic filter over rules (after Chinneck and Dravnieks 1991, Locating minimal infeasible constraint sets in linear
programs): each rule is lifted alone, then in pairs, and so on, until nothing is missing; a set that is found is the
smallest there is, because all smaller ones were tried. A set that the solver had no time for is no such proof.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import combinations
from typing import Final

import numpy as np

from orchestrator.planner.optimum.judge import by_region, covers, judge, spent_usd
from orchestrator.planner.optimum.plan import ENOUGH, Budget, Conflict, Relaxation
from orchestrator.planner.optimum.problem import Problem, Rules, weigh
from orchestrator.planner.optimum.program import Solution

Solver = Callable[[Problem], Solution | None]

DEARER: Final = 1000.0
"""Times the penalties: what is left over then is left over because it has to be, not because it is dear."""


def find_conflict(problem: Problem, solver: Solver, budget: Budget) -> Conflict:
    """Return the smallest set of rules to give up. Call it for problems whose demand cannot be covered.

    Where the time ends before the answer is known, there is no set, or one that is said to be perhaps not the smallest.
    """
    rules = _rules(problem)
    no_time = Conflict((), "there was no time to find out which rules are in the way: " + ", ".join(rules))
    unsolved = False
    for size in range(1, len(rules) + 1):
        for chosen in combinations(rules, size):
            if budget() <= 0:
                return no_time
            lifted = _lifted(problem, chosen)
            solution = solver(lifted)
            unsolved |= solution is None
            if solution is not None and covers(lifted, solution.replicas, solution.traffic):
                # Parts of replicas cannot be bought: what a rule would have to allow is told of whole ones.
                whole = replace(solution, replicas=np.ceil(solution.replicas - ENOUGH))
                relax = tuple(Relaxation(rule, _needs(problem, rule, whole)) for rule in chosen)
                perhaps = "; there was no time for all smaller sets" if unsolved else ""
                also = _also_broken(lifted, whole, set(rules) - set(chosen))
                return Conflict(relax, "all demand could be covered without " + " and ".join(chosen) + perhaps + also)
    return no_time if unsolved else Conflict((), "some demand stays uncovered even without " + ", ".join(rules))


def _rules(problem: Problem) -> tuple[str, ...]:
    """Name the rules that are set, in the order in which people give them up most easily."""
    rules = problem.rules
    named = (
        ("budget_usd", rules.budget_usd is not None),
        ("spot_fraction", rules.spot_fraction is not None),
        ("starts_per_step", rules.starts_per_step is not None),
        ("max_replicas", rules.max_replicas is not None),
        ("latency", not bool(problem.eligible.all())),
        ("quota", True),
        ("surviving_fraction", rules.surviving_fraction is not None),
    )
    return tuple(name for name, is_set in named if is_set)


def _lifted(problem: Problem, names: tuple[str, ...]) -> Problem:
    """Return the problem without these rules, and with dearer penalties."""
    without: dict[str, None] = {n: None for n in names if n in Rules.__dataclass_fields__}
    lifted = replace(
        problem,
        rules=replace(problem.rules, **without),
        shortfall=DEARER * problem.shortfall,
        exposure=DEARER * problem.exposure,
    )
    if "latency" in names:
        reach = np.maximum(problem.rtt_budget_ms, problem.rtt_ms.max(axis=1))
        lifted = replace(lifted, rtt_budget_ms=reach)
    if "quota" in names:
        all_of_it = np.ceil(2.0 * problem.demand.sum(axis=0).max() / problem.capacity) + 1.0
        lifted = replace(lifted, quota=np.maximum(problem.quota, all_of_it))
    return lifted


def _also_broken(lifted: Problem, whole: Solution, kept: AbstractSet[str]) -> str:
    """Name the rules that hold for parts of replicas, and perhaps not for whole ones."""
    broken = [r for r in judge(lifted, weigh(lifted), whole.replicas, whole.traffic).broken if r in kept]
    return f"; in whole replicas {' and '.join(broken)} may have to give way, too" if broken else ""


def _needs(problem: Problem, rule: str, solution: Solution) -> str:
    """Say what the rule would have to allow for this solution to stand."""
    p, replicas = problem, solution.replicas
    before = np.concatenate([np.minimum(p.running, p.quota)[:, None], replicas[:, :-1]], axis=1)
    starts = np.maximum(0.0, replicas - before)
    capacity = by_region(p, replicas)
    total = np.maximum(capacity.sum(axis=0), 1e-300)
    if rule == "budget_usd":
        return f"{spent_usd(p, replicas, starts):.2f} USD"
    if rule == "spot_fraction":
        return f"{float((by_region(p, replicas * p.spot[:, None]).sum(axis=0) / total).max()):.3f} of the capacity"
    if rule == "starts_per_step":
        return f"{int(np.ceil(float(starts.sum(axis=0).max()) - ENOUGH))} starts in a step"
    if rule == "max_replicas":
        return f"{int(np.ceil(float(replicas.sum(axis=0).max()) - ENOUGH))} replicas"
    if rule == "surviving_fraction":
        left = (capacity.sum(axis=0) - capacity.max(axis=0)) / np.maximum(p.demand.sum(axis=0), 1e-300)
        return f"{min(1.0, float(left.min())):.3f} of the demand"
    if rule == "latency":
        carried = solution.traffic.max(axis=2) > ENOUGH * float(p.demand.max())
        over = np.where(carried, p.rtt_ms - p.rtt_budget_ms[:, None], 0.0)
        origin, region = np.unravel_index(int(np.argmax(over)), over.shape)
        return f"{p.rtt_ms[origin, region]:.0f} ms from {p.origins[origin]} to {p.regions[region]}"
    most = replicas.max(axis=1) - p.quota
    offer = int(np.argmax(most))
    return f"{int(np.ceil(float(replicas[offer].max()) - ENOUGH))} replicas of {p.offers[offer]}"
