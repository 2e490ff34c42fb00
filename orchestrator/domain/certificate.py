"""How good a plan is, with the proof: what it costs, and what no plan costs less than."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf

Budget = Callable[[], float]
"""Says how many seconds of thinking are left; zero or less means that the answer is wanted now."""

EXACTLY = 1e-9
"""The part of a cost that is lost to the order in which it is summed up."""

ENOUGH = 0.005
"""The gap from which on looking further is not worth it: no forecast of the grid is as exact as half a percent."""


class Rung(StrEnum):
    """How an answer was come by, from the best to the last resort.

    ``EXACT``: nothing is better. ``CERTIFIED``: nothing is better by more than half a percent (of a large service: than
    its linear plan, whose first step was then made whole). ``KEPT``: what is in force stays, because what was found is
    better by less than that. ``BOUNDED``: the best there was when the search ended, or that the rules of moving let
    through, with its bound. ``SHIFTED``: the previous plan, moved on to now and
    repaired. ``GREEDY``: the cheapest offers one by one. ``FROZEN``: what runs, goes on.
    """

    EXACT = "exact"
    CERTIFIED = "certified"
    KEPT = "kept"
    BOUNDED = "bounded"
    SHIFTED = "shifted"
    GREEDY = "greedy"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a plan costs over the coming ``hours`` (grid time), and what no plan costs less than, both in ``unit``.

    ``of``: what was decided, in words. ``greedy``: what filling slots one by one would cost, ``None`` where nothing was
    filled. ``gap``: the part of the cost that might still be saved, 0 where nothing is. ``seconds``: how long it took,
    ``None`` where nobody looked at a clock.
    """

    of: str
    unit: str
    hours: float
    objective: float
    bound: float
    gap: float
    rung: Rung
    greedy: float | None = None
    seconds: float | None = None

    @property
    def words(self) -> str:
        """The proof in a line."""
        if self.gap == 0:
            return "proven best: gap 0 %"
        return f"within {self.gap:.1%} of the best possible".replace("%", " %")


def gap(objective: float, bound: float) -> float:
    """Return how much of an objective might still be saved, as a fraction of the larger of the two; 0: nothing."""
    scale = max(abs(objective), abs(bound))
    lost = objective - bound
    return 0.0 if lost <= EXACTLY * scale else lost / scale


def rung_of(gap: float) -> Rung:
    """Name the rung of a search that came to its end with that gap."""
    if gap == 0:
        return Rung.EXACT
    return Rung.CERTIFIED if gap <= ENOUGH else Rung.BOUNDED


def unhurried() -> float:
    """Leave all the time there is."""
    return inf
