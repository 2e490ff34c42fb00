"""How often a move would have been right: the same move, weighed on each of the last days as it really came. Pure.

A forecast says what a move should save; the past says how far to believe it. This is not a probability, and is not
called one: it is a count of days, with the days that have holes left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries
from orchestrator.domain.decision import MoveComparison
from orchestrator.domain.time import HOUR, Instant, floor_hour

LOOKED_BACK_DAYS = 28
"""Four weeks: each weekday four times, and the span of the trailing mean that B3 goes by."""

_DAY = 24


@dataclass(frozen=True, slots=True)
class Hindsight:
    """On ``right`` of ``days`` days, begun at this hour, the move would have saved more carbon than it costs."""

    right: int
    days: int


def hindsight(comparison: MoveComparison, here: CarbonSeries, there: CarbonSeries, now: Instant) -> Hindsight:
    """Weigh the move on each of the last :data:`LOOKED_BACK_DAYS` days, by the hours that followed.

    ``here`` and ``there``: the past of both grids. The move's own cost is taken as it is now. Days whose hours are not
    all known at both ends do not count, nor do those that are not over yet.
    """
    factors = {f"{t.name}.{f.name}": f.value for t in comparison.terms for f in t.factors}
    kwh_here, kwh_there = factors["stay.kwh_per_hour"], factors["move.kwh_per_hour"]
    engine_hours = factors["stay.engine_hours_per_grid_hour"]
    hours = int(comparison.horizon_hours)
    past_here, past_there = _by_hour(here.points), _by_hour(there.points)
    right = days = 0
    for back in range(1, LOOKED_BACK_DAYS + 1):
        start = floor_hour(now) - back * _DAY * HOUR
        span = [start + step * HOUR for step in range(hours)]
        if span[-1] + HOUR > now or any(h not in past_here or h not in past_there for h in span):
            continue
        days += 1
        saved = sum(kwh_here * past_here[h] - kwh_there * past_there[h] for h in span) * engine_hours
        right += saved > comparison.cost_grams
    return Hindsight(right, days)


def _by_hour(points: Iterable[CarbonIntensity]) -> dict[Instant, float]:
    return {floor_hour(p.interval.start): p.grams_per_kwh for p in points}
