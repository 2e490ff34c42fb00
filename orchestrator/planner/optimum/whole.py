"""Make the first step of a linear plan whole: it is the only one that is acted on before the next plan.

A mixed-integer program over the first step alone, with the offers of the linear plan and at most its replicas rounded
up; what comes after is in it through the price of a replica that runs on. Then the later steps follow by the linear
program with the first step fixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from orchestrator.planner.optimum.certify import Relaxed
from orchestrator.planner.optimum.judge import covers, judge
from orchestrator.planner.optimum.plan import Budget
from orchestrator.planner.optimum.problem import Floats, Problem, Weighed
from orchestrator.planner.optimum.program import Program, Solution

WHOLE_SLACK = 5e-4
"""Part of the whole plan's cost by which its first step may be dearer than the best one: a tenth of the wanted gap."""

KEPT_SLACK = 2.5e-3
"""The same where a plan is in force, which only what is better by twice as much replaces."""

_PART = 1e-6

_DEARER = 100.0
"""Times the penalties while whole replicas are sought: the search stops at a small gap, which could hide a little."""


def made_whole(
    problem: Problem,
    weighed: Weighed,
    relaxed: Relaxed,
    budget: Budget,
    wanted_gap: float,
    in_hand: tuple[float, Solution] | None = None,
) -> Solution | None:
    """Return the plan with a whole first step that breaks no rule; ``None`` when there was no time for one.

    ``in_hand``: one that is there already, with its cost.
    """
    best = in_hand
    after = relaxed.relay.worth_of_running()
    slack = (WHOLE_SLACK if in_hand is None else KEPT_SLACK) * abs(relaxed.objective)
    for spare in (0, 1):
        first = _first_step(problem, weighed, relaxed, after, spare, budget, slack)
        for plan in () if first is None else _plans(relaxed, first, budget):
            verdict = judge(problem, weighed, plan.replicas, plan.traffic)
            if not verdict.broken and (best is None or verdict.objective < best[0]):
                best = (verdict.objective, plan)
            if best is not None and best[0] - relaxed.bound <= wanted_gap * abs(best[0]):
                return best[1]
        if best is not None and covers(problem, best[1].replicas, best[1].traffic):
            # Spares cost a second and save a tenth of a percent; they are for demand that would be left over.
            return best[1]
    return None if best is None else best[1]


def _plans(relaxed: Relaxed, first: Solution, budget: Budget) -> Iterator[Solution]:
    """Put the whole first step before the later steps, as they were and then as they would best follow it."""
    replicas, traffic = relaxed.solution.replicas.copy(), relaxed.solution.traffic.copy()
    replicas[:, 0], traffic[:, :, 0] = first.replicas[:, 0], first.traffic[:, :, 0]
    yield Solution(replicas, traffic)
    relaxed.relay.fix(replicas)
    if relaxed.relay.forward(budget):
        after = relaxed.relay.solution()
        after.replicas[:, 0] = replicas[:, 0]
        yield after


def _first_step(
    problem: Problem, weighed: Weighed, relaxed: Relaxed, after: Floats, spare: int, budget: Budget, slack: float
) -> Solution | None:
    """Solve the first step in whole replicas: those of the linear plan, rounded up, and ``spare`` more of each offer.

    With spares, offers come in that the linear plan had no use for. ``after[J]``: what a replica that runs on is worth.
    """
    now = relaxed.solution.replicas[:, 0]
    used = set(np.flatnonzero((now > _PART) | (relaxed.solution.replicas.any(axis=1) & (problem.running > 0))).tolist())
    if spare:
        used |= relaxed.relay.offers
    if not used:
        return None
    step, costs = _alone(problem, weighed, after, relaxed.prices.budget, np.ceil(now - _PART) + spare)
    program = Program(step, costs)
    program.add(sorted(used))
    if not program.solve_whole(budget(), slack=slack):
        return None
    solved = program.solution()
    return Solution(np.rint(solved.replicas), solved.traffic)


def _alone(problem: Problem, weighed: Weighed, after: Floats, dollar: float, most: Floats) -> tuple[Problem, Weighed]:
    """Cut the first step out; the rest of the horizon becomes a discount, and its claim on the budget a price."""
    rules = problem.rules
    starts = None if rules.starts_per_step is None else rules.starts_per_step[:1]
    limits = replace(rules, starts_per_step=starts)
    hold = weighed.hold[:, :1] + dollar * problem.rent_usd[:, :1] - after[:, None]
    start = weighed.start[:, :1] + dollar * problem.start_usd[:, :1]
    step = replace(
        problem,
        step_hours=problem.step_hours[:1],
        quota=np.minimum(problem.quota, np.maximum(most, np.minimum(problem.running, problem.quota))),
        rent_usd=problem.rent_usd[:, :1],
        rent_grams=problem.rent_grams[:, :1],
        start_usd=problem.start_usd[:, :1],
        start_grams=problem.start_grams[:, :1],
        traffic_grams=problem.traffic_grams[:, :1],
        demand=problem.demand[:, :1],
        shortfall=_DEARER * problem.shortfall[:1],
        exposure=_DEARER * problem.exposure[:1],
        rules=limits,
    )
    return step, Weighed(hold, start, weighed.carry[:, :1])
