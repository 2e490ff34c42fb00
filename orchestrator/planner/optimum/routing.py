"""Carry demand over replicas that are already chosen."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.planner.optimum.judge import by_region
from orchestrator.planner.optimum.problem import Flags, Floats, Problem, Rules, Weighed
from orchestrator.planner.optimum.program import Program


def routed(problem: Problem, weighed: Weighed, replicas: Floats, seconds: float) -> Floats:
    """Route the demand over fixed replicas as cheaply as can be, ``[O, R, T]``; greedily where there is no time."""
    used = np.flatnonzero(replicas.sum(axis=1) > 0)
    if seconds > 0 and used.size:
        program = Program(replace(problem, rules=Rules(), quota=np.ceil(replicas.max(axis=1))), weighed)
        program.add(used.tolist())
        program.fix(replicas, problem.steps)
        if program.solve(seconds):
            return program.solution().traffic
    return carried(problem, weighed, replicas)


def carried(problem: Problem, weighed: Weighed, replicas: Floats) -> Floats:
    """Route greedily, ``[O, R, T]``: the cleanest regions first, and those origins first that reach the fewest."""
    p = problem
    free = by_region(p, replicas)
    open_regions = np.flatnonzero(free.max(axis=1) > 0)
    order = open_regions[np.lexsort((open_regions, weighed.carry[open_regions].sum(axis=1)))]
    eligible = p.eligible
    origins = np.lexsort((np.arange(len(p.origins)), eligible[:, open_regions].sum(axis=1)))
    left = p.demand.copy()
    traffic = np.zeros((len(p.origins), len(p.regions), p.steps))
    for region in order:
        for origin in origins:
            if eligible[origin, region]:
                used = np.minimum(left[origin], free[region])
                traffic[origin, region] = used
                left[origin] -= used
                free[region] -= used
    for step in np.flatnonzero(left.max(axis=0) > 1e-9 * p.demand.max()).tolist():
        _reroute(eligible, traffic[:, :, step], left[:, step], free[:, step])
    return traffic


@dataclass(slots=True)
class _Network:
    """One step: who reaches what, who is carried where, what is left of demand and of room; tokens/s."""

    reach: list[list[int]]
    carried: list[dict[int, float]]
    left: list[float]
    free: list[float]


def _reroute(eligible: Flags, traffic: Floats, left: Floats, free: Floats) -> None:
    """Make room for what is left in one step along augmenting paths (Edmonds and Karp 1972), in place.

    A path goes from an origin to a region in its reach, on to an origin whose traffic there can go elsewhere, and on.
    """
    nothing = 1e-12 * float(traffic.sum() + left.sum())
    reach = [np.flatnonzero(row).tolist() for row in eligible]
    there: list[dict[int, float]] = [{} for _ in free]
    for origin, region in np.argwhere(traffic > nothing).tolist():
        there[region][origin] = float(traffic[origin, region])
    net = _Network(reach, there, left.tolist(), free.tolist())
    for origin in range(len(net.left)):
        while net.left[origin] > nothing and (path := _path(net, origin, nothing)):
            _push(net, path)
    traffic[:] = 0.0
    for region, carried_here in enumerate(net.carried):
        for origin, tokens in carried_here.items():
            traffic[origin, region] = max(0.0, tokens)
    left[:], free[:] = net.left, net.free


def _push(net: _Network, path: list[tuple[int, int]]) -> None:
    """Move as much along the path as its narrowest place lets through."""
    first, last = path[0][0], path[-1][1]
    gives = [(who, before) for (who, _), (_, before) in zip(path[1:], path[:-1], strict=True)]
    moved = min([net.left[first], net.free[last], *(net.carried[region][who] for who, region in gives)])
    for who, region in gives:
        net.carried[region][who] -= moved
    for who, region in path:
        net.carried[region][who] = net.carried[region].get(who, 0.0) + moved
    net.left[first] -= moved
    net.free[last] -= moved


def _path(net: _Network, origin: int, nothing: float) -> list[tuple[int, int]] | None:
    """Return the shortest path as pairs of an origin and the region that it moves traffic to."""
    came: dict[int, tuple[int, int]] = {}
    steps: dict[int, int] = {origin: -1}
    queue = deque([origin])
    while queue:
        at = queue.popleft()
        for region in net.reach[at]:
            if region in came:
                continue
            came[region] = (at, steps[at])
            if net.free[region] > nothing:
                path, here = [], region
                while here >= 0:
                    who, before = came[here]
                    path.append((who, here))
                    here = before
                return path[::-1]
            for other, tokens in net.carried[region].items():
                if tokens > nothing and other not in steps:
                    steps[other] = region
                    queue.append(other)
    return None
