"""Which places have to be chosen so that together they are near enough to everybody: a set cover, tried in full. Pure.

Where no place keeps ``slo.ttft_p95`` to all areas of the clients, each area has to have one that does (the sets of
Karp 1972, "Reducibility among combinatorial problems"; areas are few). Every way to do that is a partition of the areas
that are still open: one slot for each part, which then takes offers near to that whole part only. What the best offers
for such slots are is a question that the planner can answer exactly already, so the best of all partitions is the best
of all choices. See decision 0040.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain, combinations

Areas = frozenset[str]

COVER_RULE = "slo.clients"
"""The rule that what is chosen together keeps the promise to clients of every area."""

MOST_AREAS = 8
"""Where not all can be served, subsets of so many of the heaviest are tried."""

MOST_WAYS = 500
"""So many partitions are tried at most."""


@dataclass(frozen=True, slots=True)
class Party:
    """Slots that look among the same offers: their numbers in the order of filling, and what those are near to."""

    slots: tuple[int, ...]
    near: frozenset[Areas]


def groups(areas: AbstractSet[str], weights: Mapping[str, float]) -> Iterator[Areas]:
    """Yield all areas, then what is left without some of them, the most clients first; never none at all."""
    heaviest = sorted(areas, key=lambda a: (-weights.get(a, 0.0), a))[:MOST_AREAS]
    subsets = chain.from_iterable(combinations(heaviest, n) for n in range(1, len(heaviest)))
    yield frozenset(areas)
    yield from map(
        frozenset, sorted(subsets, key=lambda own: (-sum(weights.get(a, 0.0) for a in own), len(own), sorted(own)))
    )


def needed(areas: AbstractSet[str], near: Iterable[Areas]) -> Areas:
    """Return the areas of which the others follow: whoever is near to one of these is near to those as well."""
    sets = list(near)
    by_area = {area: frozenset(i for i, own in enumerate(sets) if area in own) for area in sorted(areas)}
    kept: dict[frozenset[int], str] = {}
    for area, own in by_area.items():
        if not any(other < own for other in by_area.values()):
            kept.setdefault(own, area)
    return frozenset(kept.values())


def fewest(near: Iterable[Areas]) -> int:
    """Return how many offers it takes at least to be near to every area that any of them is near to."""
    sets = frozenset(near)
    whole = frozenset().union(*sets)
    reached, number = {frozenset[str]()}, 0
    while whole not in reached:
        reached, number = {one | more for one in reached for more in sets}, number + 1
    return number


def ways(areas: AbstractSet[str], parties: Sequence[Party]) -> Iterator[dict[int, Areas]]:
    """Yield, for every way to share out the areas, to which part of them the offer of which slot has to be near.

    Slots of a party are alike, so that its first ones stand for any others. Nothing comes where no way is left.
    """
    core = sorted(needed(areas, chain.from_iterable(p.near for p in parties)))
    for parts in _partitions(core, parties, ()):
        taken = dict.fromkeys(range(len(parties)), 0)
        found: dict[int, Areas] = {}
        for number, part in parts:
            found[parties[number].slots[taken[number]]] = part
            taken[number] += 1
        yield found


def _partitions(
    areas: Sequence[str], parties: Sequence[Party], parts: tuple[tuple[int, Areas], ...]
) -> Iterator[tuple[tuple[int, Areas], ...]]:
    if not areas:
        yield parts
        return
    area, *others = areas
    for i, (number, part) in enumerate(parts):
        wider = part | {area}
        if any(wider <= near for near in parties[number].near):
            yield from _partitions(others, parties, (*parts[:i], (number, wider), *parts[i + 1 :]))
    for number, one in enumerate(parties):
        has_slot = sum(own == number for own, _ in parts) < len(one.slots)
        if has_slot and any(area in near for near in one.near):
            yield from _partitions(others, parties, (*parts, (number, frozenset({area}))))
