"""Fill several slots together: what one takes is not left for the next, so the best for each is not the best for all.

Slots compete for the seats of ``max_per_region``, and spot replicas that are to be spread for empty regions. Slot by
slot, an on-demand replica may take the seat in the only region that sells spot. The optimiser seats all of them at
once (``optimum/seats.py``), and proves that nothing costs less. What was chosen slot by slot stays unless it is beaten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from math import inf, isfinite, lcm

from orchestrator.domain.certificate import Budget
from orchestrator.domain.decision import Assessment
from orchestrator.domain.price import Market
from orchestrator.domain.service import Objective, PlacementRules
from orchestrator.planner.choose import launch_cost, rank
from orchestrator.planner.optimum.seats import Choice, Hall, Seated, bound, seat, spent

Pools = Sequence[Sequence[Assessment]]
"""Where a slot looks for an offer; the first pool that has one with room decides."""

_Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Room:
    """What is there to be shared: ``occupied`` names the region of each replica that stays.

    ``spread``: spot replicas go where there is none of the service yet; ``spot_regions`` are those that hold one.
    """

    rules: PlacementRules
    occupied: Sequence[str] = ()
    spot_regions: AbstractSet[str] = frozenset()
    spread: bool = False


@dataclass(frozen=True, slots=True)
class Joint:
    """An offer for each slot, ``None`` where there is none; ``is_better`` than what was chosen slot by slot.

    ``least``: what slots as many as are filled here cost at least, in the unit of what is minimised, per hour; ``None``
    where a cost is unknown. It is what ``chosen`` costs, unless the time was up before the search was at its end.
    """

    chosen: tuple[Assessment | None, ...]
    is_better: bool
    least: float | None
    in_time: bool = True


def jointly(
    wanted: Sequence[Pools],
    picked: Sequence[Assessment | None],
    room: Room,
    objective: Objective,
    budget: Budget,
    most: float = inf,
) -> Joint:
    """Return the best offers for all slots together, the first of them before the later ones where not all have room.

    ``wanted``: the pools of each slot. ``picked``: what each would take when it chose by itself, after those before it;
    it stays where it is as good. ``most``: how many slots are filled at most.
    """
    if room.rules.max_per_region is None and not room.spread:
        return Joint(tuple(picked), is_better=False, least=costs(picked, objective))
    if all(a is None for a in picked):
        # What has no room for any of them by itself has none for them together.
        return Joint(tuple(picked), is_better=False, least=costs(picked, objective))
    order, different = _parties(wanted)
    if len(different) <= 1 and not room.spread:
        # All look in the same pools: taking the best seat that is left is exact (a matroid, Edmonds 1971).
        return Joint(tuple(picked), is_better=False, least=costs(picked, objective))
    table = _Table(order, different, objective)
    hall = _hall(wanted, room, table.crowding)
    seated = seat(table.parties, order, hall, budget, len(order) if most == inf else int(most))
    if seated.prices is None:
        return Joint(tuple(picked), is_better=False, least=_alone(wanted, picked, objective), in_time=False)
    chosen = table.offers(seated)
    if tuple(a is not None for a in picked) == seated.served and spent([table.choices(picked)], hall) <= seated.cost:
        chosen = tuple(picked)
    is_proven = bound(table.parties, [len(t) for t in seated.taken], hall, seated.prices) >= seated.cost
    least = costs(chosen, objective) if is_proven else _alone(wanted, chosen, objective)
    return Joint(chosen, is_better=chosen != tuple(picked), least=least)


def preference(
    wanted: Sequence[Pools], chosen: Sequence[Assessment | None], room: Room, objective: Objective
) -> tuple[tuple[bool, ...], tuple[Fraction, ...]]:
    """Order ways to fill the same slots as :func:`jointly` does, the better one first: by who is served, then by cost.

    Exact, as there: what decides first is summed up first.
    """
    markets: dict[tuple[int, ...], list[Market]] = {}
    columns: list[list[Fraction]] = []
    crowd = Counter(a.region for a in chosen if a is not None and a.market is Market.SPOT)
    for pools, one in zip(wanted, chosen, strict=True):
        if one is None:
            continue
        same = tuple(map(id, pools))
        own = markets.setdefault(same, list(dict.fromkeys(a.market for pool in pools for a in pool)))
        place = next((i for i, pool in enumerate(pools) if one in pool), len(pools))
        columns.append([Fraction(n) for n in _vector(one, own, place, objective)])
    sums = [sum(column, Fraction(0)) for column in zip(*columns, strict=True)]
    if room.spread and sums:
        sums[1] += sum(count - (region not in room.spot_regions) for region, count in crowd.items())
    return tuple(one is None for one in chosen), tuple(sums)


def best_first(
    wanted: Sequence[Pools], room: Room, objective: Objective, keep: Callable[[Sequence[Assessment]], set[str]]
) -> Iterator[tuple[tuple[Fraction, ...], tuple[Assessment, ...]]]:
    """Yield the ways to fill all the slots, the best first: what :func:`preference` sums up of it, and the offers.

    The sums are without what crowding adds, so where spot is to be spread they are a bound of those of all that are
    still to come. No offers come with a way for which regions have no room. Slots that look in the same pools are
    alike. ``keep``: the ids of the offers that are looked at at all, of those of a slot, given with the best first.

    Every next best way is one of those before it with the next best offer for one slot (a heap of them).
    """
    order, different = _parties(wanted)
    offers: list[list[tuple[Assessment, tuple[Fraction, ...]]]] = []
    for pools in different:
        found = {i: (a, tuple(Fraction(n) for n in v)) for i, (a, v) in _vectors(pools, objective).items()}
        ranked = sorted(found.values(), key=lambda own: (own[1], own[0].offer_id))
        kept = keep([a for a, _ in ranked])
        offers.append([own for own in ranked if own[0].offer_id in kept])
    if not all(offers):
        return
    seats = None if room.rules.max_per_region is None else _hall(wanted, room, 0).seats
    # The last slot of a party steps first, so that its first one has the best offer.
    parties = [[slot for slot in reversed(range(len(order))) if order[slot] == own] for own in range(len(different))]

    columns = zip(*(offers[party][0][1] for party in order), strict=True)
    heap = [(tuple(sum(column, Fraction(0)) for column in columns), (0,) * len(order))]
    while heap:
        least, way = heappop(heap)
        chosen = tuple(offers[order[slot]][rank][0] for slot, rank in enumerate(way))
        taken = Counter(a.region for a in chosen)
        has_room = seats is None or all(n <= seats[region] for region, n in taken.items())
        yield least, chosen if has_room else ()
        for slot in _steps(way, parties, [len(own) for own in offers]):
            own, rank = offers[order[slot]], way[slot]
            sums = tuple(s - a + b for s, a, b in zip(least, own[rank][1], own[rank + 1][1], strict=True))
            heappush(heap, (sums, (*way[:slot], rank + 1, *way[slot + 1 :])))


def _steps(way: Sequence[int], parties: Sequence[Sequence[int]], most: Sequence[int]) -> Iterator[int]:
    """Yield the slots of which one may take its next offer, so that every way follows from one other and no more.

    Within a party none is further than the one before it. Whoever stepped last steps again, or the next one of its
    party, or the first of a later party.
    """
    stepped = [(party, n) for party, slots in enumerate(parties) for n, slot in enumerate(slots) if way[slot]]
    party, number = stepped[-1] if stepped else (-1, 0)
    if party >= 0:
        slots = parties[party]
        if way[slots[number]] < (way[slots[number - 1]] if number else most[party] - 1):
            yield slots[number]
        yield from slots[number + 1 : number + 2]
    yield from (slots[0] for slots, count in zip(parties[party + 1 :], most[party + 1 :], strict=True) if count > 1)


def costs(chosen: Sequence[Assessment | None], objective: Objective) -> float | None:
    """Sum up what is minimised over the offers that are there, per hour, fetching the weights included.

    ``None`` where one of them is not known.
    """
    known = [launch_cost(a, objective) for a in chosen if a is not None]
    return None if None in known else sum(k for k in known if k is not None)


def _alone(wanted: Sequence[Pools], chosen: Sequence[Assessment | None], objective: Objective) -> float | None:
    """Return what the filled slots would cost if each had all the room there is: a bound that takes no time."""
    total = 0.0
    for pools, one in zip(wanted, chosen, strict=True):
        if one is None:
            continue
        known = [launch_cost(a, objective) for pool in pools for a in pool if a.allowed]
        least = [k for k in known if k is not None]
        if not least:
            return None
        total += min(least)
    return total


def _hall(wanted: Sequence[Pools], room: Room, crowding: int) -> Hall:
    regions = {a.region for pools in wanted for pool in pools for a in pool}
    limit, used = room.rules.max_per_region, Counter(room.occupied)
    seats = {} if limit is None else {region: max(0, limit - used[region]) for region in sorted(regions)}
    return Hall(seats, crowding if room.spread else 0, frozenset(regions - set(room.spot_regions)))


def _parties(wanted: Sequence[Pools]) -> tuple[list[int], list[Pools]]:
    """Put slots that look in the same pools together: return the party of each slot, and the pools of each party."""
    known: dict[tuple[tuple[int, ...], ...], int] = {}
    order = [known.setdefault(tuple(tuple(map(id, pool)) for pool in pools), len(known)) for pools in wanted]
    return order, [wanted[order.index(party)] for party in range(len(known))]


class _Table:
    """The choices of each slot, with costs that hold what decides, from the first to the last, in one number.

    The market that is wanted comes before the fallback, an earlier pool before a later one, and then the offers' rank.
    ``order`` names the party of each slot.
    """

    def __init__(self, order: Sequence[int], parties: Sequence[Pools], objective: Objective) -> None:
        self._order = order
        self._rows = [_vectors(pools, objective) for pools in parties]
        ratios = [[part.as_integer_ratio() for part in vector] for row in self._rows for _, vector in row.values()]
        # Exact integers: a sum of floats could make two ways equal that are not, or different that are.
        scale = lcm(*{below for ratio in ratios for _, below in ratio})
        whole = iter([[above * (scale // below) for above, below in ratio] for ratio in ratios])
        scaled = [{offer: next(whole) for offer in row} for row in self._rows]
        weights = [1]
        columns = list(zip(*(vector for row in scaled for vector in row.values()), strict=True))
        for column in columns[:0:-1]:
            weights.append(weights[-1] * (2 * (len(order) + 1) * max(1, *map(abs, column)) + 1))
        weights.reverse()
        self.crowding = weights[min(1, len(weights) - 1)] * scale
        self._choices = [
            {
                offer: Choice(
                    sum(part * weight for part, weight in zip(vector, weights, strict=True)),
                    offer,
                    row[offer][0].region,
                    crowds=row[offer][0].market is Market.SPOT,
                )
                for offer, vector in vectors.items()
            }
            for row, vectors in zip(self._rows, scaled, strict=True)
        ]
        self.parties = [tuple(row.values()) for row in self._choices]

    def choices(self, picked: Sequence[Assessment | None]) -> list[Choice]:
        """Return the choice of each slot that has one."""
        return [self._choices[party][a.offer_id] for party, a in zip(self._order, picked, strict=True) if a is not None]

    def offers(self, seated: Seated) -> tuple[Assessment | None, ...]:
        """Deal out what each party took: the best to its first slot."""
        left = [list(taken) for taken in seated.taken]
        return tuple(
            self._rows[party][left[party].pop(0).offer][0] if is_served else None
            for party, is_served in zip(self._order, seated.served, strict=True)
        )


def _vectors(pools: Pools, objective: Objective) -> dict[str, tuple[Assessment, _Vector]]:
    found: dict[str, tuple[Assessment, _Vector]] = {}
    markets = list(dict.fromkeys(a.market for pool in pools for a in pool))
    for place, pool in enumerate(pools):
        for a in pool:
            if a.allowed and a.offer_id not in found:
                found[a.offer_id] = (a, _vector(a, markets, place, objective))
    return found


def _vector(a: Assessment, markets: Sequence[Market], place: int, objective: Objective) -> _Vector:
    *parts, _ = rank(a, objective)
    return (float(markets.index(a.market)), float(place), *(n for part in parts for n in _known(part)))


def _known(part: float) -> tuple[float, float]:
    """What is unknown comes last, however many known ones it stands beside."""
    return (0.0, part) if isfinite(part) else (1.0, 0.0)
