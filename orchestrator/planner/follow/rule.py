"""Stay or move: the rule that an always-on replica follows, hour by hour.

Both a plan against the expectation alone and the mean over plans that each know one scenario are wrong in a known way:
the first takes the future for certain and moves too eagerly, the second believes that it will know it before it has
to decide and waits too long (the latter's value is a bound: Brown, Smith and Sun, Operations Research 58(4), 2010,
section 2). The rule moves when their mean gains more than the switching cost. There is no threshold beside that cost:
the dead band is K, whatever K is.

There is no leash to a simpler rule either (follow the plan while it has cost at most so much more, else the simpler
one): replayed over two years it made even the worst service worse, because what was lost stays lost, the way back
costs K, and the simpler rule is then held through what the plan had seen coming.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.planner.follow.outlook import Floats, Outlook
from orchestrator.planner.follow.trajectory import Indexes, cost_to_go, cost_to_go_backwards

_NEVER_SEEN: Final = 1e6
"""gCO2e/kWh of a zone without any value so far: beyond every real one, so that nothing moves there."""


@dataclass(frozen=True, slots=True)
class Temper:
    """How the rule weighs what it is told; one for all services. ``foresight``: of the scenarios, 0..1."""

    foresight: float = 0.5


@dataclass(frozen=True, slots=True)
class Arms:
    """The places of one service: each one's zone (a column of the outlook) and its PUE; the first one is home.

    Ties are broken by their order, so it must not depend on the run: that of the names, for instance.
    """

    zones: tuple[int, ...]
    pues: tuple[float, ...]


def follow(outlook: Outlook, arms: Arms, switching_grams: float, temper: Temper) -> Indexes:
    """Return the place of each decision hour for 1 kW of IT power, as indexes of ``arms``; it begins at home.

    ``switching_grams``: gCO2e of one change. Ties keep the present place, then take the first of ``arms``.
    """
    grams = grams_to_go(outlook, arms, switching_grams, temper)
    best = grams.argmin(axis=0).tolist()
    worth_leaving = (grams - grams.min(axis=0)) > switching_grams
    path = np.empty(grams.shape[1], dtype=np.intp)
    here = 0
    for hour, leave in enumerate(worth_leaving.T.tolist()):
        if leave[here]:
            here = best[hour]
        path[hour] = here
    return path


def grams_to_go(outlook: Outlook, arms: Arms, switching_grams: float, temper: Temper) -> Floats:
    """Return the grams to go of being in each place in each decision hour, (places, decisions)."""
    zones = list(arms.zones)
    pues = np.array(arms.pues, dtype=np.float32)[:, None]
    # Without what lies beyond the horizon the program is myopic where K is large.
    terminal = outlook.beyond_hours * _known(outlook.beyond[zones]) * pues
    certain = cost_to_go(_known(outlook.expected[:, zones]) * pues, switching_grams, terminal)
    if not outlook.errors or not temper.foresight:
        return certain
    mixed = np.float32(1 - temper.foresight) * certain
    share = np.float32(temper.foresight / len(outlook.errors))
    centre = _known(outlook.centre[:, zones])
    for errors in outlook.errors:
        hours = _scenario(centre, errors, zones, pues)
        mixed += share * cost_to_go_backwards(hours, switching_grams, terminal)
    return mixed


def _scenario(centre: Floats, errors: Floats, zones: list[int], pues: Floats) -> Iterator[Floats]:
    """Yield the grams of each hour of a scenario, (places, decisions), the last first, each in the same memory.

    Hour by hour the numbers stay in the processor's cache, which halves the time of a year.
    """
    grams = np.empty_like(centre[0])
    for hour in range(len(centre) - 1, -1, -1):
        np.add(centre[hour], errors[hour][zones], out=grams)
        np.maximum(grams, 0, out=grams)
        grams *= pues
        yield grams


def _known(grams_per_kwh: Floats) -> Floats:
    return np.nan_to_num(grams_per_kwh, nan=_NEVER_SEEN)
