"""What others would do: staying, simple rules, a plain rolling horizon, and two with hindsight.

Each rival takes a :class:`View` and returns an index of the candidates for each scored hour. ``seen`` may be read up to
the hour before the decision; only the rivals with hindsight read ``costs``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.bench.placement.grid import DAY, Floats
from orchestrator.planner.follow.trajectory import best_trajectory, cost_to_go

WEEK: Final = 168
TRAILING_HOURS: Final = 672
HYSTERESIS_FRACTION: Final = 0.9
"""Move when the other is more than 10 % below."""
HYSTERESIS_HOURS: Final = 4
LEVEL_FADES_HOURS: Final = 6.0
TAIL_HOURS: Final = 168
UNKNOWN: Final = 1e9
"""Grams of 1 kW in an hour of which nothing is known, where sums have to stay finite: dirtier than everything."""

Path = NDArray[np.intp]


@dataclass(frozen=True)
class View:
    """A service as its rivals see it. Candidates are in the order of their names; ``home`` is one of them.

    ``seen``: grams of 1 kW in each hour of the year, (hours, candidates), gaps filled from before, ``nan`` where
    nothing is known yet; ``costs``: grams of each scored hour as the ledger counts them, (scored, candidates).
    ``first``: the first scored hour. Nobody goes where nothing is known, as if it were dirtiest of all.
    """

    seen: Floats
    costs: Floats
    first: int
    home: int
    switching_grams: float

    @property
    def scored(self) -> int:
        """How many hours are scored."""
        return len(self.costs)

    @property
    def last(self) -> Floats:
        """What the decision of each scored hour knows of the hour before, (scored, candidates); ``inf``: nothing."""
        return _or_dirtiest(self.seen[self.first - 1 : self.first - 1 + self.scored])


def home(view: View) -> Path:
    """Stay."""
    return np.full(view.scored, view.home, dtype=np.intp)


def trailing_mean(view: View) -> Path:
    """B3: each week to the candidate with the lowest mean over 28 days, without a dead band; a tie stays."""
    path, here = np.empty(view.scored, dtype=np.intp), view.home
    for begin in range(0, view.scored, WEEK):
        now = view.first + begin
        here = _lowest(_mean_known(view.seen[max(0, now - TRAILING_HOURS) : now]), here)
        path[begin : begin + WEEK] = here
    return path


def cleanest_of_year(view: View) -> Path:
    """B3*: the candidate with the lowest mean over the scored hours; a tie stays. Hindsight."""
    return np.full(view.scored, _lowest(view.costs.mean(axis=0), view.home), dtype=np.intp)


def greedy(view: View) -> Path:
    """Each hour to what was cleanest in the hour before; a tie stays."""
    path = np.empty(view.scored, dtype=np.intp)
    best, here = view.last.argmin(axis=1).tolist(), view.home
    for hour, there in enumerate(best):
        if view.last[hour, there] < view.last[hour, here]:
            here = there
        path[hour] = here
    return path


def hysteresis(view: View) -> Path:
    """To what was cleanest, if it was more than 10 % below and the last move is four hours old."""
    path = np.empty(view.scored, dtype=np.intp)
    last, best, here, moved = view.last, view.last.argmin(axis=1).tolist(), view.home, -HYSTERESIS_HOURS
    for hour, there in enumerate(best):
        if last[hour, there] < HYSTERESIS_FRACTION * last[hour, here] and hour - moved >= HYSTERESIS_HOURS:
            here, moved = there, hour
        path[hour] = here
    return path


def regret(view: View) -> Path:
    """Move once the regret of not being elsewhere has paid for it (ski rental, without a forecast)."""
    path = np.empty(view.scored, dtype=np.intp)
    regrets, here = np.zeros(view.costs.shape[1]), view.home
    for hour, grams in enumerate(view.last):
        known = np.isfinite(grams) & np.isfinite(grams[here])  # what is not known is not regretted
        regrets += np.subtract(grams[here], grams, out=np.zeros_like(grams), where=known)
        np.maximum(regrets, 0, out=regrets)
        there = int(regrets.argmax())
        if there != here and regrets[there] >= view.switching_grams:
            here = there
            regrets[:] = 0
        path[hour] = here
    return path


def rolling(view: View) -> Path:
    """24 hours as yesterday with a fading level correction, then a week at the 28-day mean; the first hour is done."""
    hours = np.arange(view.first, view.first + view.scored)
    level = np.nan_to_num(view.seen[hours - 1] - view.seen[hours - 1 - DAY]).T
    tail = _trailing_means(view, hours).T
    ahead = []
    for h in range(min(DAY, view.first)):
        yesterday = view.seen[hours + h - DAY].T
        ahead.append(np.where(np.isnan(yesterday), tail, yesterday) + level * np.exp(-(h + 1) / LEVEL_FADES_HOURS))
    grams = cost_to_go(np.stack(ahead), view.switching_grams, TAIL_HOURS * tail)
    best = grams.argmin(axis=0).tolist()
    leave = ((grams - grams.min(axis=0)) > view.switching_grams).T.tolist()
    path, here = np.empty(view.scored, dtype=np.intp), view.home
    for hour in range(view.scored):
        if leave[hour][here]:
            here = best[hour]
        path[hour] = here
    return path


def oracle(view: View) -> Path:
    """The exact optimum of the scored hours. Hindsight."""
    return best_trajectory(view.costs, view.switching_grams, view.home)


def _lowest(grams: Floats, here: int) -> int:
    """Return where it is lowest; a tie stays, because going to a twin costs a move and gains nothing."""
    there = int(grams.argmin())
    return there if grams[there] < grams[here] else here


def _or_dirtiest(values: Floats) -> Floats:
    return np.asarray(np.where(np.isnan(values), np.inf, values))


def _mean_known(values: Floats) -> Floats:
    """Return the mean over the hours of what is known; ``inf`` where nothing is."""
    known = np.isfinite(values)
    if known.all():
        return np.asarray(values.mean(axis=0))
    counts = known.sum(axis=0)
    means = np.nan_to_num(values).sum(axis=0) / np.maximum(counts, 1)
    return np.asarray(np.where(counts > 0, means, np.inf))


def _trailing_means(view: View, hours: Path) -> Floats:
    """Return the mean of what is known of the 28 days before each hour, (hours, candidates); ``UNKNOWN`` of nothing."""
    sums = _running(np.nan_to_num(view.seen))
    counts = _running(np.isfinite(view.seen).astype(np.float64))
    back = min(TRAILING_HOURS, view.first)
    known = counts[hours] - counts[hours - back]
    means = (sums[hours] - sums[hours - back]) / np.maximum(known, 1)
    return np.asarray(np.where(known > 0, means, UNKNOWN))


def _running(values: Floats) -> Floats:
    return np.vstack([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])


RIVALS: Final[Mapping[str, Callable[[View], Path]]] = {
    "home": home,
    "B3": trailing_mean,
    "B3*": cleanest_of_year,
    "greedy": greedy,
    "hysteresis": hysteresis,
    "regret": regret,
    "rolling": rolling,
    "oracle": oracle,
}
