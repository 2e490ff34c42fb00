"""The optimiser's problem again, written as plainly as can be: what the fast engines are held to.

``cheapest_plan`` tries every way through every state of whole replicas; ``linear_optimum`` writes the whole linear
program down, constraint by constraint. Neither shares a line with what it checks.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import highspy
import numpy as np

from orchestrator.bench.planner.worlds import Size, random_world
from orchestrator.planner.optimum.problem import Problem, Rules


def unhurried() -> float:
    """A budget that never ends."""
    return float("inf")


def small_world(seed: int, *, replicas: float = 2.0, rules: Rules | None = None, size: Size | None = None) -> Problem:
    """Return a world of a few offers, with what runs and what is allowed drawn from the seed."""
    draw = np.random.default_rng(seed)
    drawn = Size(int(draw.integers(1, 5)), int(draw.integers(1, 3)), int(draw.integers(1, 5)))
    world = random_world(size or drawn, seed, replicas=replicas)
    world = replace(
        world, running=np.minimum(world.quota, draw.integers(0, 2, len(world.offers)) * (draw.random() < 0.5))
    )
    return replace(world, rules=rules if rules is not None else random_rules(draw, world))


def random_rules(draw: np.random.Generator, world: Problem, *, most: int | None = None) -> Rules:
    """Each rule is there or not, tight or loose."""
    dear = float(np.median(world.rent_usd)) * world.steps
    return Rules(
        surviving_fraction=float(draw.uniform(0.2, 1.0)) if draw.random() < 0.5 else None,
        spot_fraction=float(draw.uniform(0.0, 1.0)) if draw.random() < 0.5 else None,
        budget_usd=float(draw.uniform(0.5, 4.0)) * dear if draw.random() < 0.3 else None,
        starts_per_step=tuple(draw.integers(0, 4, world.steps).astype(float)) if draw.random() < 0.3 else None,
        max_replicas=most if most is not None else (int(draw.integers(1, 6)) if draw.random() < 0.3 else None),
    )


# ── whole replicas ───────────────────────────────────────────────────────────────────────────────────────


def cheapest_plan(p: Problem) -> float:
    """Return the cost of the best plan of whole replicas within ``max_replicas`` and every other rule.

    A way is what runs, what it has cost, and the dollars of it; one that is dearer in both than another is dropped.
    """
    p, most = _reachable(p), p.rules.max_replicas
    assert most is not None
    counts = [range(int(min(q, most)) + 1) for q in p.quota]
    states = [np.array(s, dtype=float) for s in product(*counts) if sum(s) <= most]
    states = [s for s in states if _spot_allowed(p, s)]
    limit = float("inf") if p.rules.budget_usd is None else p.rules.budget_usd * (1 + 1e-12)
    ways = [(np.minimum(p.running, p.quota), 0.0, 0.0)]
    for t in range(p.steps):
        here = []
        for state in states:
            stage = stage_cost(p, state, t)
            reached = sorted(
                (cost + _start_cost(p, old, state, t) + stage, usd + _usd(p, old, state, t)) for old, cost, usd in ways
            )
            least = float("inf")
            for cost, usd in reached:
                if cost < float("inf") and usd <= limit and usd < least:
                    here.append((state, cost, usd))
                    least = usd if p.rules.budget_usd is not None else float("-inf")
        ways = here
    return min(cost for _, cost, _ in ways)


def _usd(p: Problem, old: np.ndarray, new: np.ndarray, t: int) -> float:
    return float((new * p.rent_usd[:, t] + np.maximum(0.0, new - old) * p.start_usd[:, t]).sum())


def _spot_allowed(p: Problem, state: np.ndarray) -> bool:
    tokens = p.capacity * state
    return p.rules.spot_fraction is None or tokens[p.spot].sum() <= p.rules.spot_fraction * tokens.sum() * (1 + 1e-9)


def _start_cost(p: Problem, old: np.ndarray, new: np.ndarray, t: int) -> float:
    starts = np.maximum(0.0, new - old)
    limit = p.rules.starts_per_step
    if limit is not None and starts.sum() > limit[t] + 1e-9:
        return float("inf")
    return float((starts * (p.weights.usd * p.start_usd[:, t] + p.weights.grams * p.start_grams[:, t])).sum())


def stage_cost(p: Problem, state: np.ndarray, t: int) -> float:
    """Rent, emissions, traffic and penalties of one state in one step."""
    w = p.weights
    cost = float((state * (w.usd * p.rent_usd[:, t] + w.grams * p.rent_grams[:, t])).sum())
    if t == p.steps - 1:
        cost += float((state * (w.usd * p.end_usd + w.grams * p.end_grams)).sum())
    capacity = np.zeros(len(p.regions))
    for j, count in enumerate(state):
        capacity[p.region_of[j]] += count * p.capacity[j]
    capacity[~p.eligible.any(axis=0)] = 0.0
    lack = (p.rules.surviving_fraction or 0.0) * p.demand[:, t].sum() - (capacity.sum() - capacity.max())
    return cost + float(p.exposure[t]) * max(0.0, lack) + _carry_cost(p, capacity, t)


def _carry_cost(p: Problem, capacity: np.ndarray, t: int) -> float:
    """Send each region, the cleanest first, all that it can take along augmenting paths."""
    price = p.weights.grams * p.traffic_grams[:, t]
    sent = np.zeros((len(p.origins), len(p.regions)))
    for region in sorted(range(len(p.regions)), key=lambda r: price[r]):
        while True:
            spare = capacity[region] - sent[:, region].sum()
            path = _path_from(p, sent, region, t) if spare > 1e-9 else None
            if path is None:
                break
            # The path alternates: an origin that comes to a region, away from the next region, and so on.
            first = path[-1][0]
            moved = min(
                spare, p.demand[first, t] - sent[first].sum(), *[sent[o, r] for o, _, r in path if r is not None], spare
            )
            for origin, to, away in path:
                sent[origin, to] += moved
                if away is not None:
                    sent[origin, away] -= moved
    missing = p.demand[:, t].sum() - sent.sum()
    return float((sent.sum(axis=0) * price).sum() + p.shortfall[t] * missing)


def _path_from(p: Problem, sent: np.ndarray, region: int, t: int) -> list[tuple[int, int, int | None]] | None:
    """Find demand for a region: an origin's own, or one that another region serves and that can be replaced there."""
    reached, queue = {region: []}, [region]
    while queue:
        at = queue.pop(0)
        for origin in range(len(p.origins)):
            if not p.rtt_ms[origin, at] <= p.rtt_budget_ms[origin]:
                continue
            if p.demand[origin, t] - sent[origin].sum() > 1e-9:
                return [*reached[at], (origin, at, None)]
            for other in range(len(p.regions)):
                if sent[origin, other] > 1e-9 and other not in reached:
                    reached[other] = [*reached[at], (origin, at, other)]
                    queue.append(other)
    return None


# ── the linear program ───────────────────────────────────────────────────────────────────────────────────


def linear_optimum(p: Problem) -> float:
    """Return the optimum over fractional replicas, by one program with a dense survival row for each region."""
    p = _reachable(p)
    h = highspy.Highs()
    h.silent()
    w, rules, steps = p.weights, p.rules, range(p.steps)
    offers, regions, origins = range(len(p.offers)), range(len(p.regions)), range(len(p.origins))
    n = {(j, t): h.addVariable(0, float(p.quota[j])) for j in offers for t in steps}
    u = {(j, t): h.addVariable(0) for j in offers for t in steps}
    x = {(o, r, t): h.addVariable(0) for o in origins for r in regions if p.eligible[o, r] for t in steps}
    s = {(o, t): h.addVariable(0) for o in origins for t in steps}
    e = {t: h.addVariable(0) for t in steps}
    cost = h.expr()
    for j in offers:
        for t in steps:
            rent = w.usd * p.rent_usd[j, t] + w.grams * p.rent_grams[j, t]
            if t == p.steps - 1:
                rent += w.usd * p.end_usd[j] + w.grams * p.end_grams[j]
            cost += float(rent) * n[j, t] + float(w.usd * p.start_usd[j, t] + w.grams * p.start_grams[j, t]) * u[j, t]
            before = float(min(p.running[j], p.quota[j])) if t == 0 else n[j, t - 1]
            h.addConstr(n[j, t] - u[j, t] <= before)
    for t in steps:
        for o in origins:
            cost += float(p.shortfall[t]) * s[o, t]
            h.addConstr(h.qsum([x[o, r, t] for r in regions if (o, r, t) in x]) + s[o, t] == float(p.demand[o, t]))
        for r in regions:
            here = [x[o, r, t] for o in origins if (o, r, t) in x]
            cost += float(w.grams * p.traffic_grams[r, t]) * h.qsum(here)
            held = h.qsum([float(p.capacity[j]) * n[j, t] for j in offers if p.region_of[j] == r])
            h.addConstr(held - h.qsum(here) >= 0)
            if rules.surviving_fraction is not None:
                others = h.qsum(
                    [float(p.capacity[j]) * n[j, t] for j in offers if p.region_of[j] != r and _reached(p, j)]
                )
                h.addConstr(others + e[t] >= float(rules.surviving_fraction * p.demand[:, t].sum()))
        cost += float(p.exposure[t]) * e[t]
        _limit_step(h, p, n, u, t)
    if rules.budget_usd is not None:
        rent = [float(p.rent_usd[j, t]) * n[j, t] for j in offers for t in steps]
        begin = [float(p.start_usd[j, t]) * u[j, t] for j in offers for t in steps]
        h.addConstr(h.qsum(rent) + h.qsum(begin) <= float(rules.budget_usd))
    h.minimize(cost)
    assert h.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return float(h.getInfo().objective_function_value)


def _reachable(p: Problem) -> Problem:
    """Sell nothing where nobody's requests may go: on-demand replicas there would only make room for spot."""
    return replace(p, quota=np.where([_reached(p, j) for j in range(len(p.offers))], p.quota, 0.0))


def _reached(p: Problem, offer: int) -> bool:
    return bool(p.eligible[:, p.region_of[offer]].any())


def _limit_step(h: Any, p: Problem, n: dict[Any, Any], u: dict[Any, Any], t: int) -> None:
    rules, offers = p.rules, range(len(p.offers))
    if rules.spot_fraction is not None:
        share = [float(p.capacity[j] * (rules.spot_fraction - p.spot[j])) * n[j, t] for j in offers]
        h.addConstr(h.qsum(share) >= 0)
    if rules.starts_per_step is not None:
        h.addConstr(h.qsum([u[j, t] for j in offers]) <= float(rules.starts_per_step[t]))
    if rules.max_replicas is not None:
        h.addConstr(h.qsum([n[j, t] for j in offers]) <= float(rules.max_replicas))
