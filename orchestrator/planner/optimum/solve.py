"""The face of the optimiser: a problem in, a plan with its certificate out, within a budget of time.

From the best answer down: exact for small services, certified linear plans with a whole first step for the others,
the last round's plan with its bound when the time is up, the previous plan moved on and repaired, the cheapest offers
one by one, and what runs. Equal problems have equal answers, byte for byte, as long as the time suffices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from orchestrator.planner.optimum.certify import Relaxed, certify, trivial_bound
from orchestrator.planner.optimum.conflict import find_conflict
from orchestrator.planner.optimum.dominance import without_beaten
from orchestrator.planner.optimum.fallback import frozen, greedy, shifted
from orchestrator.planner.optimum.judge import Verdict, covers, judge
from orchestrator.planner.optimum.limits import within_limits
from orchestrator.planner.optimum.plan import Answer, Budget, Plan, Rung
from orchestrator.planner.optimum.problem import (
    Floats,
    Integers,
    Order,
    Problem,
    Weighed,
    canonical,
    open_offers,
    places,
    weigh,
)
from orchestrator.planner.optimum.program import Solution
from orchestrator.planner.optimum.routing import routed
from orchestrator.planner.optimum.small import is_small, solve_small
from orchestrator.planner.optimum.whole import made_whole

WANTED_GAP: Final = 0.005
"""Where the search stops: no forecast of the grid is as exact as half a percent of a plan's cost."""

EXACTLY: Final = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    rung: Rung
    solution: Solution
    verdict: Verdict
    bound: float
    linear: float | None
    whole_steps: int


@dataclass(frozen=True, slots=True, eq=False)
class _Force:
    """The plan that is in force, in the problem's order, judged by what everything costs now."""

    solution: Solution
    verdict: Verdict
    whole_steps: int


def solve(problem: Problem, budget: Budget, previous: Plan | None = None, *, wanted_gap: float = WANTED_GAP) -> Answer:
    """Return the best plan found while ``budget()`` (seconds left) is above zero, and at once when it is not.

    ``previous``: the plan that is in force. It stays where what is found is better by less than the wanted gap, so that
    planning the same world again changes nothing. Every plan keeps all hard rules; demand that cannot be covered within
    them is in the answer, with the rules to give up. Raises nothing for a problem that could be made.
    """
    whole, order = canonical(problem)
    arranged, weighed = _within_reach(whole), weigh(whole)
    force = None if previous is None else _in_force(arranged, weighed, previous)
    likely = _used(arranged, previous)
    found = _best(without_beaten(arranged, weighed), weighed, budget, wanted_gap, likely, force)
    if force is not None and found is not None:
        found = _kept(force, found, wanted_gap) or found
    if found is None or found.rung is Rung.BOUNDED:
        last = _last_resorts(arranged, weighed, budget, previous, found)
        found = last if found is None or last.verdict.objective < found.verdict.objective else found
    return _answer(problem, whole, order, found, budget)


def _within_reach(p: Problem) -> Problem:
    """Take offers off the list whose region no origin can reach: they serve nobody."""
    useless = ~np.isin(np.arange(len(p.offers)), open_offers(p)) & (p.quota > 0)
    return replace(p, quota=np.where(useless, 0.0, p.quota)) if useless.any() else p


def _best(
    p: Problem, w: Weighed, budget: Budget, wanted_gap: float, likely: Integers | None, force: _Force | None
) -> _Found | None:
    if budget() <= 0:
        return None
    return _small(p, w, budget, wanted_gap) if is_small(p) else _large(p, w, budget, wanted_gap, likely, force)


def _used(p: Problem, plan: Plan | None) -> Integers | None:
    """Return the offers that a plan uses; ``None`` without one, or where they are no longer known."""
    if plan is None:
        return None
    used = {plan.offers[j] for j in np.flatnonzero(plan.replicas.any(axis=1))}
    found = np.array([j for j, name in enumerate(p.offers) if name in used], dtype=np.int64)
    return found if found.size else None


def _small(p: Problem, w: Weighed, budget: Budget, wanted_gap: float) -> _Found:
    small = solve_small(p, w, budget)
    solution = Solution(small.replicas, routed(p, w, small.replicas, budget()))
    verdict = judge(p, w, solution.replicas, solution.traffic)
    bound = small.bound
    if verdict.objective - bound > EXACTLY * abs(verdict.objective):
        relaxed = certify(p, w, budget, wanted_gap)
        bound = max(bound, trivial_bound(p, w) if relaxed is None else relaxed.bound)
    gap = verdict.objective - bound
    if gap <= EXACTLY * abs(verdict.objective):
        rung = Rung.EXACT
    else:
        rung = Rung.CERTIFIED if gap <= wanted_gap * abs(verdict.objective) else Rung.BOUNDED
    return _Found(rung, solution, verdict, bound, None, p.steps)


def _large(
    p: Problem, w: Weighed, budget: Budget, wanted_gap: float, likely: Integers | None, force: _Force | None
) -> _Found | None:
    relaxed = certify(p, w, budget, wanted_gap, likely)
    if relaxed is None:
        return None
    rung = Rung.CERTIFIED if relaxed.gap <= wanted_gap else Rung.BOUNDED
    if force is not None and force.verdict.objective - relaxed.bound <= wanted_gap * abs(force.verdict.objective):
        # Whatever whole replicas were found, what is in force would be kept: why look for them?
        steps = force.whole_steps
        return _Found(Rung.KEPT, force.solution, force.verdict, relaxed.bound, relaxed.objective, steps)
    in_hand = None if force is None or force.whole_steps != 1 else (force.verdict.objective, force.solution)
    solution = made_whole(p, w, relaxed, budget, wanted_gap, in_hand)
    if solution is None:
        solution, rung = _rounded_up(p, w, relaxed, budget), Rung.BOUNDED
    verdict = judge(p, w, solution.replicas, solution.traffic)
    return _Found(rung, solution, verdict, relaxed.bound, relaxed.objective, 1)


def _rounded_up(p: Problem, w: Weighed, relaxed: Relaxed, budget: Budget) -> Solution:
    """Round every step of the linear plan up, and take away what breaks a limit."""
    replicas = within_limits(p, np.ceil(relaxed.solution.replicas - 1e-6))
    return Solution(replicas, routed(p, w, replicas, budget()))


def _in_force(p: Problem, w: Weighed, previous: Plan) -> _Force | None:
    """Return the previous plan with what it costs now, if it is for the same steps and offers and breaks no rule."""
    same = previous.start == p.start and np.array_equal(previous.step_hours, p.step_hours)
    solution = _arranged(p, previous) if same and set(previous.offers) == set(p.offers) else None
    if solution is None:
        return None
    verdict = judge(p, w, solution.replicas, solution.traffic)
    return None if verdict.broken else _Force(solution, verdict, previous.whole_steps)


def _kept(force: _Force, found: _Found, wanted_gap: float) -> _Found | None:
    """Return what is in force, if nothing much better was found."""
    margin = EXACTLY if found.rung is Rung.EXACT else wanted_gap
    if force.verdict.objective > found.verdict.objective + margin * abs(found.verdict.objective):
        return None
    return _Found(Rung.KEPT, force.solution, force.verdict, found.bound, found.linear, force.whole_steps)


def _arranged(p: Problem, plan: Plan) -> Solution | None:
    """Put a plan into the problem's order; ``None`` where it knows other regions or origins."""
    if set(plan.regions) != set(p.regions) or set(plan.origins) != set(p.origins):
        return None
    offers, regions, origins = (
        places(names, wanted)
        for names, wanted in ((plan.offers, p.offers), (plan.regions, p.regions), (plan.origins, p.origins))
    )
    return Solution(plan.replicas[offers].copy(), plan.traffic[np.ix_(origins, regions)].copy())


def _last_resorts(p: Problem, w: Weighed, budget: Budget, previous: Plan | None, found: _Found | None) -> _Found:
    """Return the best of the answers that need no program; the earlier rung where they are equal."""
    bound = trivial_bound(p, w) if found is None else found.bound
    linear = None if found is None else found.linear
    best: _Found | None = None
    for rung, replicas in _fallbacks(p, w, previous):
        solution = Solution(replicas, routed(p, w, replicas, budget()))
        verdict = judge(p, w, solution.replicas, solution.traffic)
        if best is None or verdict.objective < best.verdict.objective:
            best = _Found(rung, solution, verdict, bound, linear, p.steps)
    if best is None:
        raise AssertionError("there is always what runs")
    return best


def _fallbacks(p: Problem, w: Weighed, previous: Plan | None) -> Iterator[tuple[Rung, Floats]]:
    if previous is not None:
        yield Rung.SHIFTED, greedy(p, w, shifted(p, previous))
    yield Rung.GREEDY, greedy(p, w, np.zeros((len(p.offers), p.steps)))
    yield Rung.FROZEN, frozen(p)


def _answer(problem: Problem, arranged: Problem, order: Order, found: _Found, budget: Budget) -> Answer:
    replicas = np.empty_like(found.solution.replicas)
    replicas[order.offers] = found.solution.replicas
    traffic = np.empty_like(found.solution.traffic)
    traffic[np.ix_(order.origins, order.regions)] = found.solution.traffic
    for array in (replicas, traffic):
        array.setflags(write=False)
    plan = Plan(
        start=problem.start,
        step_hours=problem.step_hours,
        offers=problem.offers,
        regions=problem.regions,
        origins=problem.origins,
        replicas=replicas,
        traffic=traffic,
        whole_steps=found.whole_steps,
    )
    conflict = None
    if not covers(arranged, found.solution.replicas, found.solution.traffic):
        conflict = find_conflict(arranged, lambda lifted: _solution(lifted, budget), budget)
    return Answer(
        plan=plan,
        rung=found.rung,
        objective=found.verdict.objective,
        bound=min(found.bound, found.verdict.objective),
        linear=found.linear,
        missing_tokens=float(found.verdict.missing.max()),
        exposed_tokens=float(found.verdict.exposed.max()),
        conflict=conflict,
    )


def _solution(problem: Problem, budget: Budget) -> Solution | None:
    """Solve a problem with some rules lifted, only to see what is left over."""
    weighed = weigh(problem)
    if is_small(problem):
        replicas = solve_small(problem, weighed, budget).replicas
        return Solution(replicas, routed(problem, weighed, replicas, budget()))
    relaxed = certify(problem, weighed, budget, WANTED_GAP)
    return None if relaxed is None else relaxed.solution
