"""How many replicas, and on what: one decision, taken whenever one has to be bought. Pure.

The number that load wants is the fewest of the shapes that serve now (``planner.wanted``). On other shapes it would be
another one: one large replica may carry what four small ones do, for less. So each number between the spec's bounds is
filled as well as it can be, with every offer judged at the share that it would have there, spares included, and of the
numbers at which everybody carries their share the one is taken that costs least by the policy's own objective::

    best = min over n of (cost of what stands + cost of the best fill, n), nobody too small, nobody without a place,
           every area of the clients near to somebody where anybody is (``cover.py``), and to enough (``nearby.py``),
           dollars <= (1 + max_extra_cost) x the least that any n takes (ADR 0089)

Filling is that of a plan (``planner.launches``): limits of a region, spread and market of spot, rules and bounds of the
policy all hold, and for one number it is exact (``optimum/seats.py``). Numbers end where as many idle replicas of the
frugalest offer would cost more than what was found: power grows with the load, so none beyond that is better. With a
bound on dollars the numbers that may cost least of them come first, and one that cannot be within it is left out.

What serves stays, with one exception. A single replica that is too small for its share, at a moment at which replicas
have to be bought anyhow, may be replaced by a larger one in its own slot, when that saves as much as a move has to and
repays itself within the horizon. That is a move of the day, and held back as any other is: then company is bought. Only
where company does not carry the load, the larger one comes before the dwell of the small one is over (ADR 0077).
Nothing is decided anew while nothing is to be bought: a plan that was carried out is left alone, and going down is a
matter of ``planner.wanted``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from orchestrator.domain.certificate import Budget, unhurried
from orchestrator.domain.decision import Assessment, Verdict
from orchestrator.domain.hardware import Shape
from orchestrator.domain.offer import variant_in
from orchestrator.domain.plan import Action, ActionKind
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.scale import LoadSeen, WantedReplicas
from orchestrator.domain.service import Objective
from orchestrator.domain.time import HOUR
from orchestrator.domain.units import SECONDS_PER_HOUR, watts_to_kw
from orchestrator.planner.capacity import gave_up
from orchestrator.planner.choose import cost, launch_cost
from orchestrator.planner.cover import fewest
from orchestrator.planner.hedge.spares import hedged
from orchestrator.planner.judged import Judged, buy, judge
from orchestrator.planner.launches import Filling, fill
from orchestrator.planner.moves import COLD_START_POWER_FRACTION, REST_AFTER_FAILURE, is_fresh, stays_put
from orchestrator.planner.nearby import Lack, missing
from orchestrator.planner.reasons import MOST_TOLD, Tried, with_reasons
from orchestrator.planner.sizing.share import capacity_on
from orchestrator.planner.sizing.staffing import usable_fraction
from orchestrator.planner.slots import standing_slots, wanted_slots
from orchestrator.planner.snapshot import Snapshot
from orchestrator.policy.apply import usd_per_gram
from orchestrator.policy.assess import EXTRA_COST_RULE, ROUNDING_USD, is_small

MOST_TRIED = 32
"""So many numbers are tried at most, from the fewest that any shape needs on: idle replicas of a place without any
carbon cost nothing, and the bound would never end the search."""

_A_LITTLE = 1e-6
"""More than so many replicas carry, by this fraction, takes one more of them."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """Offers judged at the number that was chosen; ``exchanged`` serves, and its slot is filled anew."""

    judged: Judged
    exchanged: Replica | None = None


def best_number(judged: Judged, budget: Budget = unhurried, *, keep_up: bool = False) -> Numbered:
    """Return the number of replicas that costs least with the offers that it would have; the same where it is pinned.

    It is not looked for where load does not decide on the number or its owner says what one carries, where nothing is
    to be bought, and where the load, or what a shape carries, is not known: what is unknown is no reason to save.
    The same number, too, where none between the bounds carries the load. ``budget``: half of what is left is spent at
    most; then the best of those that were tried holds.
    """
    seen, until = judged.snapshot, budget() / 2
    size, load = seen.sizing, _load_to_carry(seen, judged)
    if size is None or load is None or not _buys(seen):
        return Numbered(_enough_to_cover(judged, budget))
    seen = replace(seen, load=load)
    least = _least(seen, judged)
    ways: list[_Way] = []
    # The cheapest number first: what it costs bounds the others.
    for least_usd, number in sorted((_least_usd(n, judged), n) for n in _numbers(seen, judged)):
        if budget() < until:
            break
        # An exchange ends no search: whether it is worth it is a question of what company would cost.
        kept = [w for w in ways if w.is_whole and w.exchanged is None]
        bound = _bound(kept)
        within = (w.cost for w in kept if not w.is_beyond(bound))
        lowers_bound = least_usd * _with_extra(judged) < bound
        if number * least > min(within, default=inf) and not lowers_bound:
            continue
        if least_usd > bound and len(ways) >= MOST_TOLD:
            continue
        ways += _ways(_at(seen, number, judged), budget, keep_up=keep_up)
    ways = _within_bound(ways, budget, keep_up=keep_up)
    best = _best(ways, judged)
    if best is None or best.short:
        return Numbered(_enough_to_cover(judged, budget))
    chosen, *others = (_tried(w) for w in (best, *(w for w in ways if w is not best)))
    told = with_reasons(size, chosen, others, judged.policy.objective, load.requests_per_second)
    return Numbered(replace(best.judged, snapshot=replace(best.judged.snapshot, sizing=told)), best.exchanged)


def moved_on(actions: Iterable[Action], judged: Judged, exchanged: Replica | None) -> Iterator[Action]:
    """Yield the launches of a plan; that into the slot of who is exchanged takes over from it."""
    for action in actions:
        target = judged.by_id(action.offer_id)
        if exchanged is None or action.slot != exchanged.slot or target is None:
            yield action
            continue
        work = target.work
        there = 0 if work is None or work.needed is None else work.needed
        reason = f"{exchanged.shape} is too small for its share; the load takes {there} of {target.shape}"
        yield buy(ActionKind.MOVE, action.slot, target, reason, exchanged)


def _enough_to_cover(judged: Judged, budget: Budget) -> Judged:
    """Return the offers judged at the fewest replicas that are near to clients everywhere, and enough, from those on.

    As it is where the number is pinned, and where those that there are can be that. Where no number can, the first at
    which the fewest areas, and then the least of the load, are left; not looked for further when more do not help.
    """
    seen = judged.snapshot
    size, areas = seen.sizing, len(judged.promised.areas)
    if size is None or not areas or not size.replicas or seen.taking_down or seen.spec.batch is not None:
        return judged
    best: tuple[tuple[int, float], int, Judged] | None = None
    why = ""
    for number in range(size.replicas, min(size.most, size.replicas + MOST_TRIED) + 1):
        if budget() <= 0 or (best is not None and number > best[1] + areas):
            break
        at = judged if number == size.replicas else _at(seen, number, judged)
        slots = wanted_slots(at.snapshot)
        kept = {slot: r for slot, r in seen.occupants().items() if slot in slots}
        filling = fill(at, slots, kept, keep_up=True, budget=budget)
        placed = [*(r.offer_id for r in seen.occupants().values()), *(a.offer_id for a in filling.launches)]
        lack = at.lack(placed)
        gap = (len(_far(at, placed)), missing(lack))
        if best is None or gap < best[0]:
            best = (gap, number, at)
        if not any(gap):
            break
        why = why or (lack.words if lack is not None and not gap[0] else "")
    if best is None or best[1] == size.replicas:
        return judged
    because = why or f"clients in {areas} areas, no place is near to all of them"
    told = replace(size, replicas=best[1], because=because)
    return replace(best[2], snapshot=replace(best[2].snapshot, sizing=told))


# ── what is to be carried ────────────────────────────────────────────────────────────────────────────


def _load_to_carry(snapshot: Snapshot, judged: Judged) -> LoadSeen | None:
    """Return the load that replicas are bought for; ``None`` where too little is known to compare numbers by it.

    The number of load follows the last half minute and what engines say, the load that places are judged by is a mean
    over minutes. Where the one is more, as much load is to be carried as takes so many of what serves;
    not where so many are there for the sake of clients in several areas: then it is more by what the number is beyond
    those that stand and are enough for them.
    """
    size, load, scaling = snapshot.sizing, snapshot.load, snapshot.spec.scaling
    if size is None or load is None or snapshot.taking_down or snapshot.spec.batch is not None:
        return None
    if size.most <= max(1, size.least) or size.replicas < 1 or scaling.target_qps_per_replica is not None:
        return None
    if load.prompt_tokens is None or not load.output_tokens or load.requests_per_second <= 0:
        return None
    shapes = {c.offer.id: c.offer.shape for c in snapshot.candidates}
    ready = [r for r in snapshot.living() if r.state is ReplicaState.READY]
    if not ready:
        return load
    runs = [variant_in(r.offer_id) for r in ready]
    capacity = capacity_on(snapshot.spec, [shapes.get(r.offer_id) for r in ready], variants=runs)
    trips = judged.promised.trips_seconds
    capacity = replace(capacity, rtt_seconds=max(trips.get(r.offer_id, 0.0) for r in ready))
    if not capacity.models:
        return None
    covering = fewest(judged.promised.near.get(a.offer_id, frozenset()) for a in judged.assessments if a.allowed)
    if size.replicas <= max(size.least, covering, capacity.replicas_for(load)):
        return load
    fewer = size.replicas - 1
    times = (1 + _A_LITTLE) * fewer * usable_fraction(fewer) / capacity.offered(load).replicas
    if judged.nearby is not None:
        standing = [r.offer_id for r in snapshot.occupants().values()]
        if judged.lack(standing) is not None:
            return load
        times = min(times, max(1.0, size.replicas / len(standing)))
    rate, in_flight = load.requests_per_second * times, load.mean_in_flight * times
    return replace(load, requests_per_second=rate, mean_in_flight=in_flight)


def _buys(snapshot: Snapshot) -> bool:
    """Whether a slot is empty that the number of load wants filled."""
    return bool(wanted_slots(snapshot).keys() - snapshot.occupants().keys())


def _numbers(snapshot: Snapshot, judged: Judged) -> Iterator[int]:
    """Yield the numbers to try, from the fewest on that any shape which may be bought needs; nothing if one is unknown.

    A shape of which nobody knows what it carries would seem to be enough at any number.
    """
    size = snapshot.sizing
    if size is None or snapshot.load is None:
        return
    needed: list[int] = []
    for (shape, variant), rtt_seconds in _kinds(snapshot, judged).items():
        capacity = capacity_on(snapshot.spec, [shape], variants=[variant])
        if not capacity.models:
            return
        needed.append(replace(capacity, rtt_seconds=rtt_seconds).replicas_for(snapshot.load))
    if not needed:
        return
    first = min(max(min(needed), size.least, _standing(snapshot), 1), size.most)
    yield from range(first, min(size.most, first + MOST_TRIED - 1) + 1)


def _standing(snapshot: Snapshot) -> int:
    """Return the fewest that lets nobody go who stands: one that is still to come carries nothing yet."""
    standing = standing_slots(snapshot.spec)
    held = max((slot for slot in snapshot.occupants() if slot < standing), default=-1)
    return held + 1 - snapshot.spec.scaling.num_overprovision


def _kinds(snapshot: Snapshot, judged: Judged) -> dict[tuple[Shape, str], float]:
    """Return the shapes of what may be bought and of what stands, each with the variant that would run on it.

    The values are seconds of the shortest way to whom they serve: farther ones take no fewer.
    """
    held = {r.offer_id for r in snapshot.living()}
    counted = held | {a.offer_id for a in judged.assessments if _is_open(a)}
    trips, found = judged.promised.trips_seconds, dict[tuple[Shape, str], float]()
    for offer in (c.offer for c in snapshot.candidates if c.offer.id in counted):
        kind = (offer.shape, offer.variant)
        found[kind] = min(found.get(kind, inf), trips.get(offer.id, 0.0))
    return found


def _least(snapshot: Snapshot, judged: Judged) -> float:
    """Return what no replica costs less than, per hour, however little it has to do; nothing where weights decide."""
    objective = judged.policy.objective
    if objective is Objective.LOWEST_SCORE or snapshot.load is None:
        return 0.0
    idle = replace(snapshot.load, requests_per_second=0.0, mean_in_flight=0.0)
    known = (cost(a, objective) for a in judge(replace(snapshot, load=idle), judged.policy, judged.now).assessments)
    return min((k for k in known if k is not None), default=0.0)


def _least_usd(number: int, judged: Judged) -> float:
    """Return what so many replicas do not cost less than where they carry the load, spares not counted.

    In dollars per hour; ``inf`` for any number where the policy does not bound it.
    """
    if judged.policy.max_extra_cost_fraction is None:
        return inf
    held = {r.offer_id for r in judged.snapshot.living()}
    able = (a for a in judged.assessments if a.work is None or a.work.needed is None or a.work.needed <= number)
    prices = (a.usd_per_hour for a in able if a.offer_id in held or _is_open(a))
    return number * min((usd for usd in prices if usd is not None), default=0.0)


def _with_extra(judged: Judged) -> float:
    """Return how often what is cheapest may be paid; ``inf`` where the policy does not bound it."""
    fraction = judged.policy.max_extra_cost_fraction
    return inf if fraction is None else 1 + fraction


def _is_open(a: Assessment) -> bool:
    """Whether it may be bought at some number: what is too dear of many may not be of few.

    Of an offer of which nobody knows what it carries the bound is that of one replica, at any number.
    """
    if a.work is None or a.work.needed is None:
        return a.allowed
    return all(v.passed or v.rule == EXTRA_COST_RULE for v in a.verdicts)


# ── one number ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Way:
    """One number filled as well as it can be; ``cost``: in the objective's unit per hour, fetching spread over hours.

    ``short``: replicas that are too small for their share, or have no place. ``far``: areas of the clients that nobody
    is near to, of those that somebody could be near to. ``lack``: for whom too little is near. ``offers``: of
    everybody; ``bought``: of those that have to be started. ``usd``: of everybody, per hour, ``None`` where a price is
    unknown; ``most_usd``: what they may cost by the policy at this number. ``dear``: why it is no choice, in words.
    """

    judged: Judged
    number: int
    short: int
    far: int
    lack: Lack | None
    cost: float
    offers: tuple[str, ...]
    bought: tuple[Assessment, ...]
    exchanged: Replica | None
    usd: float | None
    most_usd: float
    dear: str = ""

    @property
    def lacks(self) -> tuple[int, int, float]:
        """How much of what is promised is missing: nothing where everybody carries their share, near to everybody."""
        return (self.short, self.far, missing(self.lack))

    @property
    def is_whole(self) -> bool:
        """Whether everybody carries their share, and clients everywhere are promised what they can be."""
        return not any(self.lacks) and self.lack is None

    def is_beyond(self, bound: float) -> bool:
        """Whether it is known to cost more than that, in dollars per hour."""
        return self.usd is not None and self.usd > bound + ROUNDING_USD


def _tried(way: _Way) -> Tried:
    words = "" if way.lack is None else way.lack.words
    return Tried(way.number, way.cost, way.short, way.offers, missing(way.lack), words, way.dear)


def _at(snapshot: Snapshot, number: int, judged: Judged) -> Judged:
    """Judge every offer in the world in which so many replicas are wanted, with the spares that takes."""
    spec, size = snapshot.spec, snapshot.sizing
    scaled = replace(spec, scaling=replace(spec.scaling, min_replicas=number))
    sized: WantedReplicas | None = None if size is None else replace(size, replicas=number)
    world = hedged(replace(snapshot, spec=scaled, sizing=sized), judged.now)
    return judge(world, judged.policy, judged.now)


def _ways(judged: Judged, budget: Budget, *, keep_up: bool) -> Iterator[_Way]:
    """Yield the best fill beside what stands, and beside what stands but for the one that may be exchanged."""
    snapshot = judged.snapshot
    slots = wanted_slots(snapshot)
    staying = {slot: r for slot, r in snapshot.occupants().items() if slot in slots}
    small = [r for r in staying.values() if is_small(judged.by_id(r.offer_id))]
    whom: list[Replica | None] = [None]
    if len(small) == 1 and _may_exchange(judged, small[0]):
        whom.append(small[0])
    for gone in whom:
        if (way := _way(judged, gone, budget, keep_up=keep_up)) is not None:
            yield way


def _way(judged: Judged, gone: Replica | None, budget: Budget, *, keep_up: bool) -> _Way | None:
    slots = wanted_slots(judged.snapshot)
    kept = {slot: r for slot, r in judged.snapshot.occupants().items() if slot in slots and r is not gone}
    filling = fill(judged, slots, kept, keep_up=keep_up, budget=budget, must_reach=False)
    return _weighed(judged, slots, kept, filling, gone)


def _weighed(
    judged: Judged, slots: Mapping[int, Market], kept: Mapping[int, Replica], filling: Filling, gone: Replica | None
) -> _Way | None:
    """Add up what stands and what is bought; ``None`` where a part is unknown, or somebody has no place at all."""
    objective = judged.policy.objective
    if filling.refusal is not None or len(filling.chosen) != len(filling.launches):
        return None
    held = [judged.by_id(r.offer_id) for r in kept.values()]
    placed = [a for a in (*held, *filling.chosen) if a is not None]
    running = [None if a is None else cost(a, objective) for a in held]
    costs = [k for k in (*running, *(launch_cost(a, objective) for a in filling.chosen)) if k is not None]
    if len(costs) != len(kept) + len(filling.chosen):
        return None
    unplaced = len(slots) - len(kept) - len(filling.chosen)
    if gone is not None:
        slot = next((a for a in filling.launches if a.slot == gone.slot), None)
        there = None if slot is None else judged.side(slot.offer_id)
        if there is None or is_small(there.assessment) or not is_fresh(there, judged.snapshot, judged.now):
            return None
    prices = [a.usd_per_hour for a in placed if a.usd_per_hour is not None]
    return _Way(
        judged,
        number=judged.snapshot.wanted,
        short=unplaced + sum(is_small(a) for a in placed),
        far=len(_far(judged, [a.offer_id for a in placed])),
        lack=judged.lack([a.offer_id for a in placed]),
        cost=sum(costs),
        offers=tuple(sorted(a.offer_id for a in placed)),
        bought=filling.chosen,
        exchanged=gone,
        usd=sum(prices) if len(prices) == len(placed) else None,
        most_usd=_most_usd(judged, placed[: len(held)], filling.chosen),
    )


def _most_usd(judged: Judged, held: Iterable[Assessment], bought: Iterable[Assessment]) -> float:
    """Return what a number may cost: what stands, and as many of the cheapest as are bought, with the extra on top."""
    if judged.policy.max_extra_cost_fraction is None:
        return inf
    limits = [next((v.limit for v in a.verdicts if v.rule == EXTRA_COST_RULE), None) for a in bought]
    prices = [a.usd_per_hour for a in held]
    known = [limit for limit in limits if limit is not None]
    stands = [usd * _with_extra(judged) for usd in prices if usd is not None]
    return sum(known) + sum(stands) if len(known) == len(limits) and len(stands) == len(prices) else inf


def _far(judged: Judged, offer_ids: Sequence[str]) -> frozenset[str]:
    """Return the areas of the clients that none of these is near to, of those that something on sale is near to."""
    left = judged.promised.left(offer_ids)
    return left - judged.promised.left([a.offer_id for a in judged.assessments if a.allowed]) if left else left


def _may_exchange(judged: Judged, replica: Replica) -> bool:
    """Whether a replica that serves may be replaced at all; whether because it pays is said where that is weighed."""
    snapshot, rules = judged.snapshot, judged.snapshot.spec.migration
    is_open = rules.enabled and not snapshot.paused and not snapshot.in_motion()
    in_time = snapshot.timetable is None or snapshot.timetable.lets_move
    since = judged.now - REST_AFTER_FAILURE
    if any(r.replaces and gave_up(r) and r.state_since > since for r in snapshot.replicas):
        return False  # else what cannot be started would keep those away that could
    in_bounds = len(snapshot.moves) < rules.max_moves_per_day and replica.slot < standing_slots(snapshot.spec)
    return is_open and in_time and in_bounds and replica.state is ReplicaState.READY


def _once(way: _Way) -> float:
    """Return what it costs to get there: starts, and the overlap with who is exchanged."""
    starts = sum(_start(way.judged, a) for a in way.bought)
    return starts if way.exchanged is None else starts + _overlap(way.judged, way.exchanged)


def _start(judged: Judged, target: Assessment) -> float:
    """Return what the start of a replica costs, by the terms of a move (ADR 0025): loading.

    Fetching the weights is in what the way costs already, spread over the horizon.
    """
    hours = judged.snapshot.cold_start_seconds.value / SECONDS_PER_HOUR
    side = judged.side(target.offer_id)
    power = None if side is None else side.candidate.offer.shape.power
    kwh = 0.0 if power is None else COLD_START_POWER_FRACTION * watts_to_kw(power.full_watts) * (target.pue or 0.0)
    return _worth(judged, kwh * (target.grams_per_kwh or 0.0) * hours, (target.usd_per_hour or 0.0) * hours)


def _overlap(judged: Judged, replica: Replica) -> float:
    """Return what the old one costs while both run, by the terms of a move."""
    here = judged.by_id(replica.offer_id)
    hours = judged.snapshot.overlap_seconds.value / SECONDS_PER_HOUR
    if here is None:
        return 0.0
    return _worth(judged, here.grams_per_hour or 0.0, here.usd_per_hour or 0.0) * hours


def _worth(judged: Judged, grams: float, usd: float) -> float:
    match judged.policy.objective:
        case Objective.GREENEST:
            return grams
        case Objective.CHEAPEST:
            return usd
        case _:
            return usd + max(0.0, usd_per_gram(judged.policy)) * grams


# ── the bound on dollars ─────────────────────────────────────────────────────────────────────────────


def _bound(ways: Iterable[_Way]) -> float:
    """Return what any number may cost, in dollars per hour, by what those cost that lack least; ``inf`` without any."""
    return min(((w.lacks, w.most_usd) for w in ways), default=((), inf))[1]


def _within_bound(ways: Sequence[_Way], budget: Budget, *, keep_up: bool) -> list[_Way]:
    """Return the ways, those that cost too much filled anew with less dear offers; where that is no way, it says so.

    Company is measured by company: the exchange that would cost less may not be made.
    """
    company, exchanges = ([w for w in ways if (w.exchanged is not None) is swaps] for swaps in (False, True))
    most, most_of_all = _bound(company), _bound(ways)
    held_to = [*((w, most) for w in company), *((w, most_of_all) for w in exchanges)]
    return [_less_dear(w, bound, budget, keep_up=keep_up) if w.is_beyond(bound) else w for w, bound in held_to]


def _less_dear(way: _Way, bound: float, budget: Budget, *, keep_up: bool) -> _Way:
    """Fill a number anew so that it costs no more than that, every offer held to the same part of what it was.

    It comes back as it was, with a word on why it is no choice, where that cannot be.
    """
    judged, extra = way.judged, _with_extra(way.judged)
    stands = (way.usd or 0.0) - sum(a.usd_per_hour or 0.0 for a in way.bought)
    at_most = way.most_usd - stands * extra
    part = (bound - stands) / at_most if at_most > 0 else 0.0
    if budget() > 0 and part * extra >= 1:  # else not even the cheapest would be cheap enough
        words = f"with which {way.number} replica{'s' if way.number > 1 else ''} cost ${bound:.4f}/h"
        held_to = tuple(_held_to(a, part, words) for a in judged.assessments)
        again = _way(replace(judged, assessments=held_to), way.exchanged, budget, keep_up=keep_up)
        if again is not None and again.lacks <= way.lacks and not again.is_beyond(bound):
            return again
    return replace(way, dear=f"${way.usd:.4f}/h > cheapest number +{extra - 1:.0%} (${bound:.4f}/h)")


def _held_to(a: Assessment, part: float, words: str) -> Assessment:
    """Hold an offer to a part of what it may cost as one of so many replicas, because another number costs less."""

    def lower(v: Verdict) -> Verdict:
        if v.rule != EXTRA_COST_RULE or v.value is None or v.limit is None:
            return v
        limit = v.limit * part
        passed = v.value <= limit + ROUNDING_USD
        return replace(
            v, passed=passed, limit=limit, text=f"${v.value:.4f}/h {'<=' if passed else '>'} ${limit:.4f}/h, {words}"
        )

    return replace(a, verdicts=tuple(lower(v) for v in a.verdicts))


# ── the best of them ─────────────────────────────────────────────────────────────────────────────────


def _best(ways: Iterable[_Way], judged: Judged) -> _Way | None:
    """Return the best way beside what stands, or that of an exchange which is worth it beside that one."""
    found = list(ways)
    keeps = min((w for w in found if w.exchanged is None), key=_order, default=None)
    swaps = min((w for w in found if w.exchanged is not None), key=_order, default=None)
    if swaps is None or keeps is None or swaps.dear or swaps.lacks > keeps.lacks:
        return keeps
    if swaps.lacks < keeps.lacks:
        return swaps
    if swaps.exchanged is not None and stays_put(swaps.exchanged, judged.snapshot, judged.now):
        return keeps
    saved, asked = keeps.cost - swaps.cost, judged.snapshot.spec.migration.asked_of_exchange
    hours = judged.policy.horizon / HOUR / judged.snapshot.clock_rate
    is_repaid = saved * hours > _once(swaps) - _once(keeps)
    return swaps if is_repaid and saved > 0 and saved >= asked * abs(keeps.cost) else keeps


def _order(way: _Way) -> tuple[tuple[int, int, float], bool, float, int]:
    return (way.lacks, bool(way.dear), way.cost, way.number)
