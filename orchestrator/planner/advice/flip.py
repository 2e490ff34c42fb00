"""What would change a decision: the smallest change of one number after which another move is made, or none at all.

Found by bisection over the plan itself, so that what is named is where the very same code decides otherwise: the number
is changed in the world, and the world is planned again. The search tries few offers, those that have a say; what it
finds is planned again with all of them, just before and just beyond, and whoever was missed joins the search. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.carbon import PLAUSIBLE_GRAMS_PER_KWH, CarbonIntensity, CarbonSeries
from orchestrator.domain.decision import Assessment, MoveComparison
from orchestrator.domain.offer import Candidate
from orchestrator.domain.plan import ActionKind
from orchestrator.domain.price import Market
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.judged import Judged
from orchestrator.planner.moves import Side
from orchestrator.planner.plan import plan

SEARCHED_GRAMS_PER_KWH = 2000.0
"""As far as any plausible grid is from another."""

SEARCHED_USD_PER_HOUR = 1000.0
_GRID = ("g/kWh", -SEARCHED_GRAMS_PER_KWH, SEARCHED_GRAMS_PER_KWH)
_TIGHT = 1e-6
_ROUNDS = 4
"""So often whoever was missed joins the search; then it is made with all offers, which takes longer."""

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
    """If ``what`` changed by ``by``, the answer would be the other one. ``unit`` is of ``by``.

    ``becomes``: what ``replica`` would do then, in words. ``to_offer``: where it would move to, and of one that would
    stay, where it moves to now.
    """

    replica: str
    to_offer: str
    what: str
    by: float
    unit: str
    becomes: str


@dataclass(frozen=True, slots=True)
class _Move:
    replica: str
    to_offer: str


def flips(comparisons: Sequence[MoveComparison], judged: Judged) -> tuple[Flip, ...]:
    """Return the smallest flip of each number that decides: grids, all hours alike, and prices, of stay and of move.

    ``comparisons``: those of the plan for this world, the best first. The numbers are those of where the best of them
    leaves and goes to, and of the next best place: it may be taken instead. Rules that no such number touches (a dwell,
    a pause, moves per day) are in the verdicts; where one of them stands in the way, no number flips the answer.
    """
    if not comparisons:
        return ()
    best = comparisons[0]
    next_best = (c.to_offer for c in comparisons if c.to_offer != best.to_offer)
    places = (best.from_offer, best.to_offer, *(next(next_best, None),))
    sides = [side for i in places if i is not None and (side := judged.side(i)) is not None]
    search = _Search(judged, best, {c.offer.id for c in _telling(judged, sides)})
    ways = {way.what: way for way in (*_grids_of(sides), *(_price_of(side) for side in sides))}
    found = (search.smallest(way) for way in ways.values())
    return tuple(sorted((f for f in found if f is not None), key=lambda f: (f.unit, abs(f.by), f.what)))


class _Search:
    """The plan of a world in which one number is another, and where that begins to be a different one."""

    def __init__(self, judged: Judged, best: MoveComparison, telling: set[str]) -> None:
        self._judged, self._best, self._telling = judged, best, telling
        self._decided = _Move(best.replica, best.to_offer) if best.approved else None

    def smallest(self, way: _Way) -> Flip | None:
        """Return the smallest change, down to ``low`` or up to ``high``, that flips; ``None`` without one."""
        found = [flip for end in (way.low, way.high) if end and (flip := self._towards(way, end)) is not None]
        return min(found, key=lambda f: abs(f.by), default=None)

    def _towards(self, way: _Way, end: float) -> Flip | None:
        """Return a flip on the way to the end if it is decided otherwise there. It lies on the far side."""
        then = self._whole(way, end)
        if then == self._decided:
            return None
        self._joins(then)
        for _ in range(_ROUNDS):
            if self._few(way, end) == self._decided:
                break
            before, by = self._between(lambda by: self._few(way, by), end)
            around = self._whole(way, before), self._whole(way, by)
            if around[0] == self._decided != around[1]:
                return self._told(way, by, around[1])
            missed = [move for move in around if self._joins(move)]
            if not missed:
                break
        _, by = self._between(lambda by: self._whole(way, by), end)
        return self._told(way, by, self._whole(way, by))

    def _between(self, at: Callable[[float], _Move | None], end: float) -> tuple[float, float]:
        same, other = 0.0, end
        while abs(other - same) > _TIGHT:
            middle = (same + other) / 2
            if at(middle) == self._decided:
                same = middle
            else:
                other = middle
        return same, other

    def _told(self, way: _Way, by: float, then: _Move | None) -> Flip:
        if then is None:
            return Flip(self._best.replica, self._best.to_offer, way.what, by, way.unit, "stay")
        instead = "" if self._decided is None else " instead"
        return Flip(then.replica, then.to_offer, way.what, by, way.unit, f"move to {then.to_offer}{instead}")

    def _joins(self, move: _Move | None) -> bool:
        """Let the search know where somebody goes; whether it did not."""
        if move is None or move.to_offer in self._telling:
            return False
        self._telling.add(move.to_offer)
        return True

    def _few(self, way: _Way, by: float) -> _Move | None:
        return self._move([c for c in self._judged.snapshot.candidates if c.offer.id in self._telling], way, by)

    def _whole(self, way: _Way, by: float) -> _Move | None:
        return self._move(self._judged.snapshot.candidates, way, by)

    def _move(self, candidates: Sequence[Candidate], way: _Way, by: float) -> _Move | None:
        world = replace(self._judged.snapshot, candidates=tuple(way.change(c, by) for c in candidates))
        try:
            actions = plan(world, self._judged.policy, self._judged.now, keep_up=True).actions
        except NoFeasiblePlacement:
            return None  # nothing is done where nothing can be
        return next((_Move(a.replica, a.offer_id) for a in actions if a.kind is ActionKind.MOVE), None)


def _telling(judged: Judged, sides: Sequence[Side]) -> tuple[Candidate, ...]:
    """Return the offers that have a say when a number of these sides changes: few, so that all can be tried often.

    Those on their grids; where the same is sold on demand; where anybody stands; and of the others the cheapest of each
    market, which bounds what may be paid: also where it may not be taken now because the offer that changes is cheaper
    by far.
    """
    zones = {s.assessment.zone for s in sides}
    machines = {(s.assessment.region, s.assessment.shape) for s in sides}
    own = {a.offer_id for a in judged.assessments if a.zone in zones or (a.region, a.shape) in machines}
    own |= {r.offer_id for r in judged.snapshot.occupants().values()}
    cheapest: dict[Market, Assessment] = {}
    for a in judged.assessments:
        failed = {v.rule for v in a.verdicts if not v.passed}
        if a.offer_id not in own and failed <= {"policy.max_extra_cost"} and a.usd_per_hour is not None:
            best = cheapest.get(a.market)
            if best is None or a.usd_per_hour < (best.usd_per_hour or 0.0):
                cheapest[a.market] = a
    wanted = own | {a.offer_id for a in cheapest.values()}
    return tuple(c for c in judged.snapshot.candidates if c.offer.id in wanted)


def _grids_of(sides: Sequence[Side]) -> Iterator[_Way]:
    """Yield each grid once, by the first place on it."""
    zones: set[str | None] = set()
    for side in sides:
        if side.assessment.zone not in zones:
            zones.add(side.assessment.zone)
            yield _grid_of(side)


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
