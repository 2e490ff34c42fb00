"""Whose traffic will go where once a plan is carried out, as far as it can be told before. Pure.

The same rows that are worked out of running replicas once a minute (``origins.py``), of those that a plan keeps and
launches, at the load and on the grids that it was made by. The shares go there by steps, and follow the grid on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from orchestrator.domain.split import OriginSplit
from orchestrator.planner.judged import Judged
from orchestrator.planner.moves import Side
from orchestrator.planner.origins import best_rows
from orchestrator.planner.promise import weights_of
from orchestrator.planner.sizing.share import capacity_on
from orchestrator.planner.split import Place
from orchestrator.policy.latency import rtt_by_area


def rows_of(judged: Judged, offer_ids: Sequence[str]) -> OriginSplit | None:
    """Return a row for each area of the clients, or why there are none; ``None`` where all clients are in one area.

    ``offer_ids``: of all replicas that will stand, each as often as there are replicas on it.
    """
    snapshot = judged.snapshot
    weights = weights_of(snapshot.spec.clients)
    if len(weights) <= 1 or not offer_ids:
        return None
    counts = Counter(offer_ids)
    sides = {i: judged.side(i) for i in sorted(counts)}
    known = {i: side for i, side in sides.items() if side is not None}
    if len(known) < len(sides):
        return OriginSplit(why_none="a place is no longer sold")
    places = [_place(judged, side, counts[i]) for i, side in known.items()]
    trips = {i: _trips(judged, side) for i, side in known.items()}
    return best_rows(
        places, weights, {area: {i: own.get(area) for i, own in trips.items()} for area in weights}, snapshot.load
    )


def _place(judged: Judged, side: Side, replicas: int) -> Place:
    offer, assessment = side.candidate.offer, side.assessment
    trips = list(_trips(judged, side).values())
    known = [t for t in trips if t is not None]
    return Place(
        offer_id=offer.id,
        replicas=replicas,
        power=offer.shape.power,
        pue=offer.region.pue,
        grams_per_kwh=assessment.grams_per_kwh,
        capacity=capacity_on(judged.snapshot.spec, [offer.shape], variants=[offer.variant]),
        rtt_ms=max(known) if known and len(known) == len(trips) else None,
    )


def _trips(judged: Judged, side: Side) -> dict[str, float | None]:
    region, snapshot = side.candidate.offer.region, judged.snapshot
    return rtt_by_area(snapshot.spec.clients, region, snapshot.rtt_ms.get(region.id))
