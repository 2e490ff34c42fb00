"""What a plan costs and which rules it breaks, computed from the plan alone: no engine marks its own work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.planner.optimum.problem import Floats, Problem, Weighed

TOLERANCE = 1e-6
"""Relative to what a rule allows; a linear solver's feasibility tolerance, with room for scaling."""


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What a plan costs and breaks.

    ``objective`` is weighted and includes the penalties; ``missing`` and ``exposed`` are tokens/s by step; ``broken``
    names every hard rule that does not hold.
    """

    objective: float
    missing: Floats
    exposed: Floats
    broken: tuple[str, ...]


def judge(problem: Problem, weighed: Weighed, replicas: Floats, traffic: Floats) -> Verdict:
    """Judge replicas ``[J, T]`` and traffic ``[O, R, T]``."""
    p = problem
    before = np.concatenate([np.minimum(p.running, p.quota)[:, None], replicas[:, :-1]], axis=1)
    starts = np.maximum(0.0, replicas - before)
    capacity = by_region(p, replicas)
    missing, exposed = _missing(p, traffic), _exposed(p, capacity)
    objective = (
        float((weighed.hold * replicas).sum())
        + float((weighed.start * starts).sum())
        + float((weighed.carry * traffic.sum(axis=0)).sum())
        + float((p.shortfall * missing).sum())
        + float((p.exposure * exposed).sum())
    )
    return Verdict(objective, missing, exposed, _broken(p, replicas, starts, traffic, capacity))


def covers(problem: Problem, replicas: Floats, traffic: Floats) -> bool:
    """Whether all demand is served and survives the loss of any region, but for a solver's last digits."""
    nothing = TOLERANCE * max(float(problem.demand.sum(axis=0).max()), 1e-300)
    return bool(
        _missing(problem, traffic).max() <= nothing and _exposed(problem, by_region(problem, replicas)).max() <= nothing
    )


def _missing(p: Problem, traffic: Floats) -> Floats:
    return np.asarray(np.maximum(0.0, p.demand - traffic.sum(axis=1)).sum(axis=0))


def _exposed(p: Problem, capacity: Floats) -> Floats:
    reached = capacity * np.asarray(p.eligible.any(axis=0))[:, None]
    return np.asarray(np.maximum(0.0, p.must_survive - (reached.sum(axis=0) - reached.max(axis=0))))


def by_region(problem: Problem, replicas: Floats) -> Floats:
    """Return the capacity ``[R, T]`` of these replicas, tokens/s."""
    capacity = np.zeros((len(problem.regions), replicas.shape[1]))
    used = np.flatnonzero(replicas.any(axis=1))
    np.add.at(capacity, problem.region_of[used], problem.capacity[used, None] * replicas[used])
    return capacity


def spent_usd(problem: Problem, replicas: Floats, starts: Floats) -> float:
    """Return the dollars of rent and starts."""
    return float((problem.rent_usd * replicas).sum()) + float((problem.start_usd * starts).sum())


def _broken(p: Problem, replicas: Floats, starts: Floats, traffic: Floats, capacity: Floats) -> tuple[str, ...]:
    rules, one = p.rules, TOLERANCE
    tokens = one * max(1.0, float(p.demand.sum(axis=0).max()), float(capacity.sum(axis=0).max()))
    total = capacity.sum(axis=0)
    broken = {
        "quota": bool((replicas > p.quota[:, None] + one).any() or (replicas < -one).any()),
        "latency": bool((traffic[~p.eligible] > tokens).any()),
        "capacity": bool((traffic.sum(axis=0) > capacity + tokens).any() or (traffic < -tokens).any()),
        "demand": bool((traffic.sum(axis=1) > p.demand + tokens).any()),
    }
    if rules.spot_fraction is not None:
        on_spot = (p.capacity[p.spot, None] * replicas[p.spot]).sum(axis=0)
        broken["spot_fraction"] = bool((on_spot > rules.spot_fraction * total + tokens).any())
    if rules.starts_per_step is not None:
        limit = np.array(rules.starts_per_step)
        broken["starts_per_step"] = bool((starts.sum(axis=0) > limit + one * (1.0 + limit)).any())
    if rules.max_replicas is not None:
        broken["max_replicas"] = bool((replicas.sum(axis=0) > rules.max_replicas * (1.0 + one) + one).any())
    if rules.budget_usd is not None:
        broken["budget_usd"] = spent_usd(p, replicas, starts) > rules.budget_usd * (1.0 + one) + one
    return tuple(sorted(name for name, is_broken in broken.items() if is_broken))
