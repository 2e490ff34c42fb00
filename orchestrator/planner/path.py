"""Whether to move now: the exact dynamic program over the places and the coming hours that are known. Pure.

With c the grams of running an hour in a place, K those of a switch and d the shortest stay after one::

    Q_t(n) = c_t(n) + V_{t+1}(n)                                  stay in n
    W_t(m) = c_t(m) + ... + c_{t+d-1}(m) + V_{t+d}(m)             having just come to m
    V_t(n) = min(Q_t(n), min_m K(n, m) + W_t(m))                  where a move may begin in hour t, else Q_t(n)

A move from here to there is right now where ``Q_0(here) - W_0(there) > K``: where going now is better than staying now
and going later, coming back counted at its cost. This is the recursion of ``follow/trajectory.py`` for costs of
switching that differ by place; as they are a part of the old place and one of the new (overlap; cold start, weights),
an hour still costs O(places). How many moves a day allows is not known to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ROUNDING = 1e-9
"""Of all that is added up: sums of equal hours differ by less."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place, in gCO2e: of running there in each coming hour that is known, of coming there, and of leaving it."""

    offer_id: str
    running: tuple[float, ...]
    coming: float
    leaving: float


@dataclass(frozen=True, slots=True)
class Timing:
    """What going now saves beyond the best that begins by staying, gCO2e over so many ``hours``; its cost is in it.

    ``later``: in how many hours it is better to leave, and ``to`` which offer; ``None`` where staying is as good.
    """

    gain: float
    hours: int
    later: int | None = None
    to: str = ""


@dataclass(frozen=True, slots=True)
class WaysOn:
    """Q, K's part of the new place + W, and V: (hours, places); ``come_now``: W of the first hour, (places,).

    Any further axes are problems of their own.
    """

    stay: Floats
    come: Floats
    best: Floats
    come_now: Floats


@dataclass(frozen=True, slots=True)
class _Solved:
    places: tuple[Place, ...]
    ways: WaysOn
    tiny: float


class Paths:
    """All ways in which a replica may go on from here. Whom it may not go to now is better left out.

    ``may_begin``: of each hour, whether a move may begin in it. ``dwell``: hours of the shortest stay.
    """

    def __init__(self, here: Place, others: Sequence[Place], may_begin: Sequence[bool], dwell: int) -> None:
        self._here = here
        self._others = tuple(sorted(others, key=lambda place: place.offer_id))
        self._may_begin, self._dwell = may_begin, max(1, dwell)
        self._solved: dict[int, _Solved] = {}

    def place(self, offer_id: str) -> Place | None:
        """Return one of the places that ways lead through, besides this one."""
        return next((p for p in self._others if p.offer_id == offer_id), None)

    def timing(self, there: Place, cost: float) -> Timing:
        """Judge a move that costs so many grams now, over the hours that are known of both ends.

        Ways leave the other places before the first hour that is not known of them.
        """
        hours = min(len(self._here.running), len(there.running))
        found = self._over(hours)
        ways = found.ways
        known = next((n for n, p in enumerate(found.places) if p.offer_id == there.offer_id), None)
        if known is None:
            return Paths(self._here, (*self._others, there), self._may_begin, self._dwell).timing(there, cost)
        gain = float(ways.stay[0, 0] - ways.come_now[known]) - cost
        if gain > found.tiny:
            return Timing(gain, hours)
        for hour in range(1, hours):
            if ways.best[hour, 0] < ways.stay[hour, 0] - found.tiny:
                return Timing(gain, hours, hour, found.places[int(ways.come[hour].argmin())].offer_id)
        return Timing(gain, hours)

    def _over(self, hours: int) -> _Solved:
        if hours not in self._solved:
            self._solved[hours] = _solve((self._here, *self._others), hours, self._may_begin, self._dwell)
        return self._solved[hours]


def ways_on(running: Floats, coming: Floats, leaving: Floats, may_begin: Sequence[bool], dwell: int) -> WaysOn:
    """Solve the program backwards. ``running`` is (hours, places), and further axes where there are many problems.

    ``coming`` and ``leaving``: (places,), with the same axes, of a switch in whatever hour.

    ``may_begin``: of each hour, whether a move may begin in it. ``dwell``: hours of the shortest stay, at least one.
    """
    hours = len(running)
    first_stay = running.copy()
    for later in range(1, min(dwell, hours)):
        first_stay[:-later] += running[later:]
    come, stay = coming + first_stay, np.empty_like(running)
    best = np.zeros((hours + 1, *running.shape[1:]))
    for hour in range(hours - 1, -1, -1):
        come[hour] += best[min(hours, hour + dwell)]
        np.add(running[hour], best[hour + 1], out=stay[hour])
        if may_begin[hour]:
            np.minimum(stay[hour], leaving + come[hour].min(axis=0), out=best[hour])
        else:
            best[hour] = stay[hour]
    return WaysOn(stay, come, best, first_stay[0] + best[min(hours, dwell)])


def _solve(places: tuple[Place, ...], hours: int, may_begin: Sequence[bool], dwell: int) -> _Solved:
    # An hour that is not known costs more than any: nobody is there then.
    running = np.array([[*p.running[:hours], *[inf] * (hours - len(p.running))] for p in places]).T
    coming, leaving = np.array([p.coming for p in places]), np.array([p.leaving for p in places])
    most = max(sum(map(abs, p.running[:hours])) for p in places)
    return _Solved(places, ways_on(running, coming, leaving, may_begin, dwell), _ROUNDING * most)
