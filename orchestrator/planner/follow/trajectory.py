"""The exact dynamic program over places and hours with a switching cost.

With V_t(n) the least cost of the hours from t on, before deciding where to be in hour t, and c the hourly costs::

    Q_t(n) = c_t(n) + V_{t+1}(n)
    V_t(n) = min(Q_t(n), min_m Q_t(m) + K)

This is the recursion of metrical task systems on a uniform metric (Borodin, Linial and Saks, JACM 39(4), 1992), run
backwards. One step costs O(places), because the cheapest place to go to is the same wherever one comes from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Indexes = NDArray[np.intp]


def cost_to_go(costs: Floats, switching: float, terminal: Floats) -> Floats:
    """Return Q of the first hour for many independent problems at once.

    ``costs`` is (hours, places, problems), ``terminal`` (places, problems): the cost after the last hour of having
    ended there; all in the unit of ``switching``, the cost of a change, which is also possible before ``terminal``.
    The result is (places, problems), in the type of ``terminal``.
    """
    return cost_to_go_backwards(costs[::-1], switching, terminal)


def cost_to_go_backwards(last_first: Iterable[Floats], switching: float, terminal: Floats) -> Floats:
    """Do the same for the costs of each hour, (places, problems), the last hour first: they need not exist at once."""
    to_go: Floats = terminal.copy()
    for costs in last_first:
        np.minimum(to_go, to_go.min(axis=0) + switching, out=to_go)
        to_go += costs
    return to_go


def best_trajectory(costs: Floats, switching: float, start: int) -> Indexes:
    """Return the cheapest sequence of places, (hours,), for known costs (hours, places), beginning from ``start``.

    Staying is preferred where moving is no better, then the place of the lowest index.
    """
    hours, places = costs.shape
    target = np.zeros(hours, dtype=np.intp)
    stays = np.zeros((hours, places), dtype=np.bool_)
    to_go = np.zeros(places)
    for hour in range(hours - 1, -1, -1):
        to_go = costs[hour] + to_go
        best = int(to_go.argmin())
        moved = to_go[best] + switching
        target[hour] = best
        stays[hour] = to_go <= moved
        to_go = np.minimum(to_go, moved)
    path = np.empty(hours, dtype=np.intp)
    here = start
    for hour in range(hours):
        if not stays[hour, here]:
            here = int(target[hour])
        path[hour] = here
    return path
