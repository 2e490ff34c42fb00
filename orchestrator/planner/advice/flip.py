"""What would change a decision: the smallest change of one number that turns a move into a stay, or a stay into a move.

Found by bisection over the decision itself, so that what is named is where the very same code decides otherwise: the
number is changed in the world, every offer that has a say is judged again, and the move is weighed again. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from orchestrator.domain.carbon import PLAUSIBLE_GRAMS_PER_KWH, CarbonIntensity, CarbonSeries
from orchestrator.domain.decision import Assessment, MoveComparison
from orchestrator.domain.offer import Candidate
from orchestrator.domain.price import Market
from orchestrator.planner.judged import Judged, judge
from orchestrator.planner.moves import Side, compare, weighable

SEARCHED_GRAMS_PER_KWH = 2000.0
"""As far as any plausible grid is from another."""

SEARCHED_USD_PER_HOUR = 1000.0
_GRID = ("g/kWh", -SEARCHED_GRAMS_PER_KWH, SEARCHED_GRAMS_PER_KWH)
_TIGHT = 1e-6

Change = Callable[[Candidate, float], Candidate]
"""What is known of an offer, with a number changed by so much."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One number that can change, between ``low`` and ``high`` of ``unit``."""

    what: str
    change: Change
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
    telling = _telling(judged, here, there)
    leaves = judged.leaves(replica, comparison.to_offer)

    def moves(change: Change, by: float) -> bool:
        world = replace(judged.snapshot, candidates=tuple(change(c, by) for c in telling))
        again = judge(world, judged.policy, judged.now)
        one, other = again.side(here.candidate.offer.id), again.side(there.candidate.offer.id)
        if one is None or other is None or not other.assessment.allowed:
            return False
        return compare(replica, one, other, world, judged.policy, judged.now, leaves).approved

    becomes = "stay" if comparison.approved else "move"
    found = []
    for way in (_grid_of(here), _grid_of(there), _price_of(here), _price_of(there)):
        change = smallest_flip(partial(moves, way.change), comparison.approved, way.low, way.high)
        if change is not None:
            found.append(Flip(replica.name, comparison.to_offer, way.what, change, way.unit, becomes))
    return tuple(sorted(found, key=lambda f: (f.unit, abs(f.by), f.what)))


def smallest_flip(at: Callable[[float], bool], approved: bool, low: float, high: float) -> float | None:  # noqa: FBT001  # the answer
    """Return the smallest change, down to ``low`` or up to ``high``, at which the answer differs; ``None`` without one.

    The result lies on the far side: at it, the answer is the other one.
    """
    ends = [end for end in (low, high) if at(end) is not approved]
    return min((_between(at, approved, end) for end in ends), key=abs, default=None)


def _between(at: Callable[[float], bool], approved: bool, end: float) -> float:  # noqa: FBT001  # as above
    same, other = 0.0, end
    while abs(other - same) > _TIGHT:
        middle = (same + other) / 2
        if at(middle) is approved:
            same = middle
        else:
            other = middle
    return other


def _telling(judged: Judged, here: Side, there: Side) -> tuple[Candidate, ...]:
    """Return the offers that have a say when a number of either side changes: few, so that all can be tried often.

    Those on both grids; where the same is sold on demand; and of the others the cheapest of each market, which bounds
    what may be paid: also where it may not be taken now because the offer that changes is cheaper by far.
    """
    sides = (here.assessment, there.assessment)
    zones, machines = {a.zone for a in sides}, {(a.region, a.shape) for a in sides}
    own = {a.offer_id for a in judged.assessments if a.zone in zones or (a.region, a.shape) in machines}
    cheapest: dict[Market, Assessment] = {}
    for a in judged.assessments:
        failed = {v.rule for v in a.verdicts if not v.passed}
        if a.offer_id not in own and failed <= {"policy.max_extra_cost"} and a.usd_per_hour is not None:
            best = cheapest.get(a.market)
            if best is None or a.usd_per_hour < (best.usd_per_hour or 0.0):
                cheapest[a.market] = a
    wanted = own | {a.offer_id for a in cheapest.values()}
    return tuple(c for c in judged.snapshot.candidates if c.offer.id in wanted)


def _grid_of(side: Side) -> _Way:
    """A grid that is that much dirtier in this hour and all hours to come; never cleaner than nothing."""
    zone = side.assessment.zone

    def dirtier(one: Candidate, grams_per_kwh: float) -> Candidate:
        if one.offer.region.zone != zone:
            return one
        points = tuple(_shifted(p, grams_per_kwh) for p in one.forecast.points)
        now = _shifted(one.now, grams_per_kwh) if isinstance(one.now, CarbonIntensity) else one.now
        return replace(one, now=now, forecast=CarbonSeries(one.forecast.zone, points))

    return _Way(f"the grid of {side.assessment.region}", dirtier, *_GRID)


def _shifted(point: CarbonIntensity, grams_per_kwh: float) -> CarbonIntensity:
    low, high = PLAUSIBLE_GRAMS_PER_KWH
    return replace(point, grams_per_kwh=min(max(low, point.grams_per_kwh + grams_per_kwh), high))


def _price_of(side: Side) -> _Way:
    """A price that is that much higher; an unknown one does not change."""
    offer_id, usd = side.assessment.offer_id, side.assessment.usd_per_hour

    def dearer(one: Candidate, usd_per_hour: float) -> Candidate:
        price = one.offer.price
        if one.offer.id != offer_id or price is None:
            return one
        changed = replace(price, usd_per_hour=max(0.0, price.usd_per_hour + usd_per_hour))
        return replace(one, offer=replace(one.offer, price=changed))

    low, high = (0.0, 0.0) if usd is None else (-usd, SEARCHED_USD_PER_HOUR)
    return _Way(f"the price of {offer_id}", dearer, "USD/h", low, high)
