"""A long horizon as a relay of linear programs, a day each, that hand replicas forward and their worth back.

The work of a simplex iteration grows with the size of the program, so four programs of a day are solved in a third of
the time of one of four days. Forward, each leg begins with what the leg before it ends with: together they are a plan.
Backward, each leg learns what a replica that runs on is worth to the leg after it (the dual of what runs there): the
prices of all legs together are prices for the whole horizon, and the bound of ``duality.py`` holds for any prices. So
plan and bound are proven without the program of the whole horizon; each pass brings them closer. This is nested
decomposition (Ho and Manne 1974) with the last slope in the place of cuts. A horizon of one leg is the program itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import numpy as np

from orchestrator.planner.optimum.duality import Prices
from orchestrator.planner.optimum.plan import Budget
from orchestrator.planner.optimum.problem import Floats, Integers, Problem, Weighed
from orchestrator.planner.optimum.program import Program, Solution

LEG_STEPS: Final = 24
"""Steps of a leg, about: with legs of 12, bounds are further away; with longer ones, the programs take longer."""


def legs_of(problem: Problem) -> int:
    """Return how many legs a horizon is cut into: one where a budget in dollars spans it."""
    return 1 if problem.rules.budget_usd is not None else max(1, round(problem.steps / LEG_STEPS))


def edges_of(steps: int, legs: int) -> list[int]:
    """Return the first step of each leg, and the end."""
    return [steps * leg // legs for leg in range(legs + 1)]


@dataclass(frozen=True, slots=True, eq=False)
class _Leg:
    """``hold_last[J]``: cost of a replica in the leg's last step, before what it is worth afterwards."""

    program: Program
    hold_last: Floats


class Relay:
    """The programs of all legs over the same offers."""

    def __init__(
        self, problem: Problem, weighed: Weighed, offers: Integers, legs: int, worth: Sequence[Floats] = ()
    ) -> None:
        """``worth``: what a replica that runs on is worth at the end of each leg but the last, ``[J]`` each, weighted.

        Nothing is, without it, until the first pass backward.
        """
        edges = edges_of(problem.steps, legs)
        self._legs = []
        for leg in range(legs):
            part, costs = _cut(problem, weighed, edges[leg], edges[leg + 1])
            hold_last = costs.hold[:, -1].copy()
            if leg < len(worth):
                costs.hold[:, -1] -= worth[leg]
            program = Program(part, costs)
            program.add(offers.tolist())
            self._legs.append(_Leg(program, hold_last))
        self._parts: list[Solution] = []

    @property
    def legs(self) -> int:
        """How many legs there are."""
        return len(self._legs)

    @property
    def offers(self) -> frozenset[int]:
        """The offers that the programs may use."""
        return self._legs[0].program.offers

    def add(self, offers: Integers) -> None:
        """Let the programs use these offers, too."""
        for leg in self._legs:
            leg.program.add(offers.tolist())

    def forward(self, budget: Budget) -> bool:
        """Solve leg by leg, each from the end of the one before; return whether there was time for all of them."""
        parts: list[Solution] = []
        for leg in self._legs:
            if parts:
                leg.program.begin_with(parts[-1].replicas[:, -1])
            if not leg.program.solve(budget()):
                return False
            parts.append(leg.program.solution())
        self._parts = parts
        return True

    def backward(self, budget: Budget) -> bool:
        """Solve leg by leg, each with what running on is worth to the next; return whether there was time for all."""
        for leg, after in zip(self._legs[-2::-1], self._legs[:0:-1], strict=True):
            leg.program.end_with(leg.hold_last - after.program.worth_of_running(0))
            if not leg.program.solve(budget()):
                return False
        return True

    def fix(self, replicas: Floats) -> None:
        """Hold the replicas of the first step to these numbers, ``[J, >= 1]``."""
        self._legs[0].program.fix(replicas, 1)

    def solution(self) -> Solution:
        """Return the plan of the last whole pass forward."""
        return Solution(
            np.concatenate([part.replicas for part in self._parts], axis=1),
            np.concatenate([part.traffic for part in self._parts], axis=2),
        )

    def prices(self) -> Prices:
        """Return the prices of all legs as they were solved last."""
        parts = [leg.program.prices() for leg in self._legs]
        return Prices(
            capacity=np.concatenate([p.capacity for p in parts], axis=1),
            survival=np.concatenate([p.survival for p in parts], axis=1),
            spot=np.concatenate([p.spot for p in parts]),
            starts=np.concatenate([p.starts for p in parts]),
            replicas=np.concatenate([p.replicas for p in parts]),
            budget=parts[0].budget,
        )

    def worth_of_running(self) -> Floats:
        """Return what a replica that runs in the first step saves in the second, ``[J]``, weighted."""
        return self._legs[0].program.worth_of_running(1)


def _cut(p: Problem, w: Weighed, first: int, end: int) -> tuple[Problem, Weighed]:
    """Return the steps from ``first`` to before ``end``, and their costs, free to be changed."""
    if (first, end) == (0, p.steps):
        return p, Weighed(w.hold.copy(), w.start, w.carry)
    starts = p.rules.starts_per_step
    part = replace(
        p,
        start=p.start + timedelta(hours=float(p.step_hours[:first].sum())),
        step_hours=p.step_hours[first:end],
        rent_usd=p.rent_usd[:, first:end],
        rent_grams=p.rent_grams[:, first:end],
        start_usd=p.start_usd[:, first:end],
        start_grams=p.start_grams[:, first:end],
        traffic_grams=p.traffic_grams[:, first:end],
        demand=p.demand[:, first:end],
        shortfall=p.shortfall[first:end],
        exposure=p.exposure[first:end],
        rules=replace(p.rules, starts_per_step=None if starts is None else starts[first:end]),
    )
    return part, Weighed(w.hold[:, first:end].copy(), w.start[:, first:end], w.carry[:, first:end])
