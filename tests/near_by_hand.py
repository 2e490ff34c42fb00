"""Whether what is near to clients is enough for them, counted by hand: Hall's condition, set by set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, combinations, product
from math import floor

from orchestrator.planner.promise import promised
from orchestrator.planner.sizing.share import capacity_on
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.split import Place, lattice, most_part

ROUNDING = 1e-9


def subsets(areas: Collection[str]) -> list[frozenset[str]]:
    """Every set of them but none at all."""
    ordered = sorted(areas)
    return [frozenset(s) for s in chain.from_iterable(combinations(ordered, n) for n in range(1, len(ordered) + 1))]


def enough_by_hand(snap: Snapshot, offer_ids: Sequence[str]) -> bool:
    """Whether each place can be given areas that it serves, so that no set of areas is more than its places take.

    Every place is tried with every set of the areas that it is near to, held to the farthest of them.
    """
    kept = promised(snap)
    assert snap.load is not None
    sold = {c.offer.id: c.offer for c in snap.candidates}
    counts = Counter(offer_ids)
    places = [
        Place(i, n, None, None, None, capacity_on(snap.spec, [sold[i].shape]), 0.0) for i, n in sorted(counts.items())
    ]
    whole, _ = lattice(places)

    def ways(place: Place) -> Iterator[tuple[frozenset[str], float]]:
        assert snap.load is not None
        near = kept.near[place.offer_id] & frozenset(kept.areas)
        for served in subsets(near) or [frozenset[str]()]:
            trips = [kept.rtt_ms[place.offer_id][a] for a in sorted(served)]
            most = [
                most_part(Place("", place.replicas, None, None, None, place.capacity, ms), snap.load, 1.0)
                for ms in trips
            ]
            yield served, floor(min(1.0, *most, 1.0) * whole + ROUNDING) / whole if most else 0.0

    return any(
        all(
            sum(kept.areas[a] for a in group) <= sum(most for served, most in way if served & group) + ROUNDING
            for group in subsets(kept.areas)
        )
        for way in product(*(list(ways(p)) for p in places))
    )
