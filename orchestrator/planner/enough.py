"""Fill slots so that what is near to clients is enough for them, at the least cost of all ways that are. Pure.

What a place carries is no sum over its replicas (a pool carries more than its parts), so that no seat has a price here.
Ways to fill the slots are looked at one after the other instead, in the order in which they are preferred: the first
that is enough is the best of all. Offers are left out of which as many better ones as there are slots carry no less for
anybody: one of those has its region to itself, and takes their place. See decision 0047.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from operator import itemgetter

from orchestrator.domain.certificate import Budget
from orchestrator.domain.decision import Assessment
from orchestrator.domain.service import Objective
from orchestrator.planner.choose import rank
from orchestrator.planner.jointly import Joint, Pools, Room, best_first, costs, preference
from orchestrator.planner.judged import Judged
from orchestrator.planner.nearby import missing

MOST_FILLS = 2_000
"""So many ways are looked at; beyond that offers are taken one by one, each where it helps most."""

_Ceilings = dict[tuple[int, str], int]


def enough(
    judged: Judged,
    held: Sequence[str],
    wanted: Sequence[Pools],
    plain: Joint,
    room: Room,
    budget: Budget,
) -> Joint:
    """Return the best choice that is near to no fewer clients than ``plain``, and enough for those in every area.

    ``held``: the offers of those that stay. ``wanted``: the pools of each slot. ``plain``: the best choice where nobody
    asks what is enough; as many slots are filled. Where no choice is enough it is one that lacks least, by the part of
    the load, and of those the best. The bound is of choices that are enough; where not all were looked at, of all.
    """
    return _Search(judged, tuple(held), room, judged.policy.objective).best(wanted, plain, budget)


def as_near(
    judged: Judged,
    wanted: Sequence[Pools],
    plain: Sequence[Assessment],
    room: Room,
    objective: Objective,
    as_these: Sequence[str],
) -> tuple[Assessment, ...] | None:
    """Return the best choice by an objective that serves clients no worse than other offers do, where nobody stays.

    ``plain``: the best choice where nobody asks. ``as_these``: those offers, by id. ``None`` where too many ways would
    have to be looked at.
    """
    search = _Search(judged, (), room, objective)
    limit = search.gap_of(as_these)
    if search.gap_of([a.offer_id for a in plain]) <= limit:
        return tuple(plain)
    ways = best_first(wanted, room, objective, lambda ranked: search.useful(ranked, len(wanted)))
    near = (chosen for _, chosen in islice(ways, MOST_FILLS) if chosen)
    return next((chosen for chosen in near if search.gap_of([a.offer_id for a in chosen]) <= limit), None)


@dataclass(frozen=True, slots=True)
class _Search:
    judged: Judged
    held: tuple[str, ...]
    room: Room
    objective: Objective

    def best(self, wanted: Sequence[Pools], plain: Joint, budget: Budget) -> Joint:
        served = [slot for slot, a in enumerate(plain.chosen) if a is not None]
        pools = [wanted[slot] for slot in served]
        best = tuple(a for a in plain.chosen if a is not None)
        order, whole = (*self._gap(best), self._sums(pools, best)), True
        most_left = order[0]
        ways = best_first(pools, self.room, self.objective, lambda ranked: self.useful(ranked, len(pools)))
        for number, (least, chosen) in enumerate(ways):
            if not order[1] and order[2] <= least:
                break
            if number >= MOST_FILLS or budget() <= 0:
                whole = False
                break
            if not chosen or (gap := self._gap(chosen))[0] > most_left or gap > order[:2]:
                continue
            sums = self._sums(pools, chosen) if self.room.spread else least
            best, order = min((best, order), (chosen, (*gap, sums)), key=itemgetter(1))
        if not whole and budget() > 0 and (by_hand := self._one_by_one(pools)) is not None:
            other = (*self._gap(by_hand), self._sums(pools, by_hand))
            best = by_hand if other < order else best
        dealt = dict(zip(served, best, strict=True))
        chosen_now = tuple(dealt.get(slot) for slot in range(len(wanted)))
        bound = costs(best, self.objective) if whole else plain.least
        return Joint(chosen_now, chosen_now != plain.chosen, bound, in_time=plain.in_time and budget() > 0)

    def _sums(self, wanted: Sequence[Pools], chosen: Sequence[Assessment]) -> tuple[Fraction, ...]:
        return preference(wanted, chosen, self.room, self.objective)[1]

    def _gap(self, chosen: Sequence[Assessment]) -> tuple[float, float]:
        """Return the part of the clients that nobody is near to, and the part of the load that nobody near takes."""
        return self.gap_of([*self.held, *(a.offer_id for a in chosen)])

    def gap_of(self, offers: Sequence[str]) -> tuple[float, float]:
        """Return the same of offers by id."""
        promised = self.judged.promised
        return sum(promised.areas[a] for a in sorted(promised.left(offers))), missing(self.judged.lack(offers))

    def useful(self, ranked: Sequence[Assessment], slots: int) -> set[str]:
        """Return the ids of the offers that may be part of the best choice for so many slots."""
        found: set[str] = set()
        better: list[tuple[Assessment, _Ceilings]] = []
        for a in ranked:
            own = self._ceilings(a, slots)
            above = {
                one.region
                for one, theirs in better
                if one.market is a.market
                and self._seats(one, slots) >= self._seats(a, slots)
                and all(theirs.get(key, 0) >= most for key, most in own.items())
            }
            if a.offer_id in self.held or len(above - {a.region}) < slots:
                found.add(a.offer_id)
                # Beside one that stays, or spot in its region, another is worth something else than by itself.
                if a.region not in self.room.occupied:
                    better.append((a, own))
        return found

    def _ceilings(self, a: Assessment, slots: int) -> _Ceilings:
        nearby = self.judged.nearby
        if nearby is None:
            return {}
        return {(n, area): most for n in range(1, slots + 1) for area, most in nearby.ceilings(a.offer_id, n).items()}

    def _seats(self, a: Assessment, slots: int) -> int:
        limit = self.room.rules.max_per_region
        return slots if limit is None else min(slots, limit - self.room.occupied.count(a.region))

    def _one_by_one(self, wanted: Sequence[Pools]) -> tuple[Assessment, ...] | None:
        """Take for each slot the offer that helps clients most, then the best; ``None`` where one finds no room."""
        limit, used = self.room.rules.max_per_region, Counter(self.room.occupied)
        chosen: list[Assessment] = []
        for pools in wanted:
            keys = {
                a.offer_id: ((*self._gap([*chosen, a]), place, rank(a, self.objective)), a)
                for place, pool in reversed(list(enumerate(pools)))
                for a in pool
                if a.allowed and (limit is None or used[a.region] < limit)
            }
            if not keys:
                return None
            _, target = min(keys.values(), key=lambda own: own[0])
            used[target.region] += 1
            chosen.append(target)
        return tuple(chosen)
