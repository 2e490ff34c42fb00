"""What a move could save at most, worked out in a moment: most moves are not worth weighing in full. Pure.

A comparison explains itself in a dozen terms and verdicts, which takes a hundred times longer than the subtraction it
rests on. Of ten replicas and two hundred places there are two thousand of them, at every look. Moving itself never
saves anything, so what running elsewhere saves, before the cost of the move, bounds what :func:`compare` finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf

from orchestrator.domain.service import Objective, Policy
from orchestrator.domain.time import HOUR, Instant
from orchestrator.planner.moves import Side, hourly_intensities

ROUNDING = 1e-9
"""Of all that is added up: the same sum in another order differs by less."""


@dataclass(frozen=True, slots=True)
class Running:
    """One side, in what the objective counts: gCO2e of each coming hour, or USD (of rent or by the score) of one."""

    side: Side
    hours: tuple[float, ...]


def running(side: Side, policy: Policy, now: Instant, clock_rate: float) -> Running:
    """Return what a replica there costs by the hour; no hours where that is not known."""
    assessment = side.assessment
    if policy.objective is Objective.GREENEST:
        limit = max(1, int(policy.horizon / HOUR))
        values = hourly_intensities(side.candidate, now, limit, assessment.grams_per_kwh)
        kwh = assessment.kwh_per_hour
        return Running(side, () if kwh is None else tuple([kwh * v / clock_rate for v in values]))
    cheapest = policy.objective is Objective.CHEAPEST
    rate = assessment.usd_per_hour if cheapest else assessment.score_usd_per_hour
    return Running(side, () if rate is None else (rate * max(1, int(policy.horizon / HOUR)) / clock_rate,))


def most_saved(here: Running, there: Running, objective: Objective) -> float:
    """Return what a move saves at most of what the objective counts; infinite where that has to be looked at.

    Below zero means that no rule approves of it: the move would have to save more than it costs. Grams are counted up
    to the best hour, as the full comparison does; dollars over the whole horizon, and minus infinity says that they
    are not known, which no rule approves of either.
    """
    if not here.hours or not there.hours:
        return inf if objective is Objective.GREENEST else -inf
    gains = (a - b for a, b in zip(here.hours, there.hours, strict=False))
    saved = max(accumulate(gains))
    return saved + ROUNDING * (_size(here.hours) + _size(there.hours))


def _size(values: Sequence[float]) -> float:
    return sum(map(abs, values))
