"""What the installed controller would do with a placement year: its rules of moving, on the forecast that it has.

The rules are those of ``planner/moves`` with every default of a service file, the program is that of ``planner/path``,
the forecast the blend of ``forecasting/pattern``. What a placement year has none of is left out: prices, load,
failures, windows, and the cold start and overlap, for which stands the fixed mass of a change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Final

import numpy as np

from orchestrator.bench.placement.grid import DAY, Floats, Grid
from orchestrator.bench.placement.instance import Instance, Service
from orchestrator.bench.placement.ours import useful_regions
from orchestrator.bench.placement.rivals import UNKNOWN, Path
from orchestrator.domain.service import MigrationRules, Objective, usual_horizon
from orchestrator.domain.time import HOUR
from orchestrator.forecasting.pattern import LOOK_BACK_HOURS, blended
from orchestrator.planner.follow.past import filled_from_before
from orchestrator.planner.path import ways_on

RULES: Final = MigrationRules()
ASKED: Final = RULES.asked_of_move(Objective.GREENEST)
HORIZON: Final = int(usual_horizon(Objective.GREENEST) / HOUR)
DWELL: Final = max(1, ceil(RULES.min_dwell / HOUR))

_AT_ONCE: Final = 512
"""Hours that are looked at together: what they take is some tens of megabytes."""


def installed_placements(
    instance: Instance, grid: Grid, services: Sequence[Service], year_before: Floats
) -> Iterator[tuple[Service, list[str]]]:
    """Yield each service with its region per scored hour; each hour is decided by what was over before it."""
    seen = filled_from_before(np.vstack([year_before, grid.grams_per_kwh]))
    first = len(year_before) + instance.first
    # A year whose history is shorter than the forecast's gets hours in front of which nothing is known.
    lacks = max(0, LOOK_BACK_HOURS - first)
    seen = np.vstack([np.full((lacks, seen.shape[1]), np.nan), seen])
    issues = np.arange(first + lacks, len(seen))
    ahead = np.empty((HORIZON, seen.shape[1], len(issues)), dtype=np.float32)
    for begin in range(0, len(issues), _AT_ONCE):
        some = issues[begin : begin + _AT_ONCE]
        ahead[:, :, begin : begin + len(some)] = blended(seen, some, HORIZON).transpose(1, 2, 0)
    for service in services:
        names = useful_regions(instance, service)
        places = [instance.places[n] for n in names]
        columns = [grid.column(p.zone) for p in places]
        pue = np.array([p.pue for p in places])
        path = placed(ahead[:, columns] * pue[:, None], service.switching_grams)
        yield service, [names[i] for i in path.tolist()]


def placed(ahead: Floats, switching_grams: float) -> Path:
    """Return where a replica is that begins in the first place, (issues,).

    ``ahead``: grams of the coming hours as each issue expects them, (hours, places, issues); ``nan``: not known.
    """
    path = np.empty(ahead.shape[2], dtype=np.intp)
    here, moves = 0, [-DAY] * max(1, RULES.max_moves_per_day)
    for begin in range(0, ahead.shape[2], _AT_ONCE):
        some = ahead[:, :, begin : begin + _AT_ONCE].astype(np.float64)
        expected = np.where(np.isnan(some), UNKNOWN, some)
        coming = np.full(expected.shape[1:], switching_grams)
        ways = ways_on(expected, coming, np.zeros_like(coming), [True] * len(expected), DWELL)
        sums = np.cumsum(expected, axis=0)[DWELL - 1 :]
        for hour in range(expected.shape[2]):
            now = begin + hour
            # Its own last move, and the oldest of as many as a day allows.
            if now - moves[-1] >= DWELL and now - moves[0] >= DAY and RULES.max_moves_per_day:
                there = _best(sums[:, :, hour], ways.stay[0, :, hour], ways.come_now[:, hour], here, switching_grams)
                if there != here:
                    here, moves = there, [*moves[1:], now]
            path[now] = here
    return path


def _best(sums: Floats, stay: Floats, come: Floats, here: int, switching_grams: float) -> int:
    """Return where the best move goes that every rule approves of, or ``here``.

    ``sums``: grams up to each length of stay, the shortest first, (lengths, places). ``stay`` and ``come``: over all
    ways on, of who is in a place and of who has just come to it, (places,).
    """
    gains = sums[:, here, None] - sums
    length = gains.argmax(axis=0)
    saved = gains[length, np.arange(gains.shape[1])]
    approved = (saved > switching_grams) & (saved >= ASKED * sums[length, here])
    approved &= stay[here] - come - switching_grams > 0
    return int(np.where(approved, saved, -np.inf).argmax()) if approved.any() else here
