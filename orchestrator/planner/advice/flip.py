"""What would change a decision: the smallest change of one number that turns a move into a stay, or a stay into a move.

Found by bisection over the decision itself, so that what is named is where the very same code decides otherwise. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.domain.carbon import PLAUSIBLE_GRAMS_PER_KWH, CarbonIntensity, CarbonSeries
from orchestrator.domain.decision import MoveComparison
from orchestrator.planner.judged import Judged
from orchestrator.planner.moves import Side, compare, weighable

SEARCHED_GRAMS_PER_KWH = 2000.0
"""As far as any plausible grid is from another."""

SEARCHED_USD_PER_HOUR = 1000.0
_GRID = ("g/kWh", -SEARCHED_GRAMS_PER_KWH, SEARCHED_GRAMS_PER_KWH)
_TIGHT = 1e-6

Compare = Callable[[float], MoveComparison]


@dataclass(frozen=True, slots=True)
class _Way:
    """One number that can change, between ``low`` and ``high`` of ``unit``."""

    what: str
    at: Compare
    unit: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Flip:
    """If ``what`` changed by ``by``, the answer would be the other one. ``unit`` is of ``by``."""

    replica: str
    to_offer: str
    what: str
    by: float
    unit: str
    becomes: str


def flips(comparison: MoveComparison, judged: Judged) -> tuple[Flip, ...]:
    """Return the smallest flip of each number that decides: both grids, all hours alike, and both prices.

    Rules that no such number touches (a dwell, a pause, moves per day) are in the comparison's verdicts; where one of
    them stands in the way, no number flips the answer, and nothing is returned.
    """
    replica = next((r for r in judged.snapshot.replicas if r.name == comparison.replica), None)
    here, there = judged.side(comparison.from_offer), judged.side(comparison.to_offer)
    if replica is None or here is None or there is None or not weighable(here, judged.now):
        return ()
    snapshot, policy, now = judged.snapshot, judged.policy, judged.now

    leaves = judged.leaves(replica, comparison.to_offer)

    def weigh(here: Side, there: Side) -> MoveComparison:
        return compare(replica, here, there, snapshot, policy, now, leaves)

    ways = (
        _Way(f"the grid of {here.assessment.region}", lambda d: weigh(_dirtier(here, d), there), *_GRID),
        _Way(f"the grid of {there.assessment.region}", lambda d: weigh(here, _dirtier(there, d)), *_GRID),
        _Way(f"the price of {here.assessment.offer_id}", lambda d: weigh(_dearer(here, d), there), *_prices(here)),
        _Way(f"the price of {there.assessment.offer_id}", lambda d: weigh(here, _dearer(there, d)), *_prices(there)),
    )
    becomes = "stay" if comparison.approved else "move"
    found = []
    for way in ways:
        change = smallest_flip(way.at, comparison.approved, way.low, way.high)
        if change is not None:
            found.append(Flip(replica.name, comparison.to_offer, way.what, change, way.unit, becomes))
    return tuple(sorted(found, key=lambda f: (f.unit, abs(f.by), f.what)))


def smallest_flip(at: Compare, approved: bool, low: float, high: float) -> float | None:  # noqa: FBT001  # the answer
    """Return the smallest change, down to ``low`` or up to ``high``, at which the answer differs; ``None`` without one.

    The result lies on the far side: at it, the answer is the other one.
    """
    ends = [end for end in (low, high) if at(end).approved is not approved]
    return min((_between(at, approved, end) for end in ends), key=abs, default=None)


def _between(at: Compare, approved: bool, end: float) -> float:  # noqa: FBT001  # as above
    same, other = 0.0, end
    while abs(other - same) > _TIGHT:
        middle = (same + other) / 2
        if at(middle).approved is approved:
            same = middle
        else:
            other = middle
    return other


def _dirtier(side: Side, grams_per_kwh: float) -> Side:
    """Return the side on a grid that is that much dirtier in every hour; a grid is never cleaner than nothing."""
    a = side.assessment

    def moved(value: float | None) -> float | None:
        return None if value is None else _clamped(value + grams_per_kwh)

    forecast = side.candidate.forecast
    series = CarbonSeries(forecast.zone, tuple(_shifted(p, grams_per_kwh) for p in forecast.points))
    kwh = a.kwh_per_hour
    live = moved(a.grams_per_kwh)
    expected = None
    if a.expected_grams_per_hour is not None and kwh is not None:
        expected = max(0.0, a.expected_grams_per_hour + kwh * grams_per_kwh)
    assessment = replace(
        a,
        grams_per_kwh=live,
        grams_per_hour=None if live is None or kwh is None else live * kwh,
        expected_grams_per_hour=expected,
        next_24h_grams_per_kwh=moved(a.next_24h_grams_per_kwh),
    )
    return Side(assessment, replace(side.candidate, forecast=series))


def _shifted(point: CarbonIntensity, grams_per_kwh: float) -> CarbonIntensity:
    return replace(point, grams_per_kwh=_clamped(point.grams_per_kwh + grams_per_kwh))


def _clamped(grams_per_kwh: float) -> float:
    low, high = PLAUSIBLE_GRAMS_PER_KWH
    return min(max(low, grams_per_kwh), high)


def _dearer(side: Side, usd_per_hour: float) -> Side:
    usd = side.assessment.usd_per_hour
    changed = None if usd is None else max(0.0, usd + usd_per_hour)
    return Side(replace(side.assessment, usd_per_hour=changed), side.candidate)


def _prices(side: Side) -> tuple[str, float, float]:
    """Return unit and bounds; an unknown price does not change."""
    usd = side.assessment.usd_per_hour
    return ("USD/h", 0.0, 0.0) if usd is None else ("USD/h", -usd, SEARCHED_USD_PER_HOUR)
