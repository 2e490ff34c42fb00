"""Plan random worlds and time it: cold, again with everything a little different, and how good the plans are.

Each world is planned cold first. Then, as an hour later in life, prices and grids move by a few percent, the first step
of the plan is what runs, and the plan is in force. Time is the caller's whole wait, measured around ``solve``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from orchestrator.bench.planner.worlds import Size, random_world
from orchestrator.bench.quantile import quantile
from orchestrator.planner.optimum.judge import judge
from orchestrator.planner.optimum.plan import Answer, Plan
from orchestrator.planner.optimum.problem import Problem, weigh
from orchestrator.planner.optimum.solve import solve

NOISE: Final = 0.05
"""By how much each cost moves for the second plan, as a fraction, up or down."""


@dataclass(frozen=True, slots=True)
class Row:
    """One size over all its seeds.

    ``*_s`` are seconds of waiting, ``cpu_*`` of computing: on a machine that has other work, less of them.
    ``gap_*``: certified gap of the linear plan, as a fraction of its cost; ``whole_gap_*``: of the plan that is handed
    back, whose first step is whole replicas. ``warm_*``: planned again after the noise. ``broken``: plans that broke a
    rule, by an independent count; ``uncovered``: plans that left demand over. ``rungs``: how the cold plans were come
    by.
    """

    regions: int
    shapes: int
    steps: int
    seeds: int
    offers: int
    p50_s: float
    p95_s: float
    max_s: float
    cpu_p50_s: float
    cpu_p95_s: float
    warm_p50_s: float
    warm_p95_s: float
    warm_cpu_p50_s: float
    warm_cpu_p95_s: float
    gap_p95: float
    gap_max: float
    whole_gap_p50: float
    whole_gap_p95: float
    broken: int
    uncovered: int
    rungs: dict[str, int]
    warm_rungs: dict[str, int]


def measure(sizes: Sequence[Size], seeds: int, budget_seconds: float, done: Callable[[], None]) -> tuple[Row, ...]:
    """Return a row for each size; ``done`` is called after each world."""
    timed(random_world(Size(2, 2, 2), 0), budget_seconds)  # the solver's first run loads its library
    return tuple(_row(size, seeds, budget_seconds, done) for size in sizes)


def timed(problem: Problem, budget_seconds: float, previous: Plan | None = None) -> tuple[Answer, float]:
    """Plan within the budget; return the answer and the seconds that it took."""
    begin = time.perf_counter()
    answer = solve(problem, lambda: budget_seconds - (time.perf_counter() - begin), previous)
    return answer, time.perf_counter() - begin


def moved_on(problem: Problem, plan: Plan, seed: int) -> Problem:
    """Return the world a little later: costs have moved, and the plan's first step runs."""
    draw = np.random.default_rng([seed, 1])
    changed = {
        name: getattr(problem, name) * draw.uniform(1.0 - NOISE, 1.0 + NOISE, getattr(problem, name).shape)
        for name in ("rent_usd", "rent_grams", "start_usd", "start_grams", "traffic_grams")
    }
    return replace(problem, running=np.minimum(plan.replicas[:, 0], problem.quota), **changed)


def _row(size: Size, seeds: int, budget_seconds: float, done: Callable[[], None]) -> Row:
    cpu: list[float] = []
    warm_cpu: list[float] = []
    cold, warm, gaps, whole_gaps, offers = [], [], [], [], []
    rungs, warm_rungs = Counter[str](), Counter[str]()
    broken = uncovered = 0
    for seed in range(seeds):
        world = random_world(size, seed)
        busy = time.process_time()
        answer, seconds = timed(world, budget_seconds)
        cpu.append(time.process_time() - busy)
        later = moved_on(world, answer.plan, seed)
        busy = time.process_time()
        again, seconds_again = timed(later, budget_seconds, answer.plan)
        warm_cpu.append(time.process_time() - busy)
        cold.append(seconds)
        warm.append(seconds_again)
        gaps.append(answer.linear_gap)
        whole_gaps.append(answer.gap)
        offers.append(len(world.offers))
        rungs[answer.rung.value] += 1
        warm_rungs[again.rung.value] += 1
        for problem, plan in ((world, answer.plan), (later, again.plan)):
            broken += bool(judge(problem, weigh(problem), plan.replicas, plan.traffic).broken)
        uncovered += answer.conflict is not None
        done()
    return Row(
        regions=size.regions,
        shapes=size.shapes,
        steps=size.steps,
        seeds=seeds,
        offers=round(float(np.mean(offers))),
        p50_s=quantile(cold, 0.5),
        p95_s=quantile(cold, 0.95),
        max_s=max(cold),
        cpu_p50_s=quantile(cpu, 0.5),
        cpu_p95_s=quantile(cpu, 0.95),
        warm_p50_s=quantile(warm, 0.5),
        warm_p95_s=quantile(warm, 0.95),
        warm_cpu_p50_s=quantile(warm_cpu, 0.5),
        warm_cpu_p95_s=quantile(warm_cpu, 0.95),
        gap_p95=quantile(gaps, 0.95),
        gap_max=max(gaps),
        whole_gap_p50=quantile(whole_gaps, 0.5),
        whole_gap_p95=quantile(whole_gaps, 0.95),
        broken=broken,
        uncovered=uncovered,
        rungs=dict(sorted(rungs.items())),
        warm_rungs=dict(sorted(warm_rungs.items())),
    )
