"""The energy price of each replica that a plan has beyond what its load needs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.scale import Spare
from orchestrator.planner.judged import Judged
from orchestrator.planner.sizing.energy import spare


def spares(judged: Judged, offer_ids: Mapping[int, str]) -> tuple[Spare, ...]:
    """Return what each replica after the first adds at the load that is expected, by slot.

    ``offer_ids``: where every slot will stand. The sequences under way are those that replicas have had lately, which
    fewer replicas would have together. A place that is no longer sold has no price, and is left out.
    """
    snapshot = judged.snapshot
    ready = sum(r.state is ReplicaState.READY for r in snapshot.living())
    in_flight = snapshot.mean_batch.value * (ready or len(offer_ids))
    needed = None if snapshot.sizing is None else snapshot.sizing.needed
    found = []
    for number, (slot, offer_id) in enumerate(sorted(offer_ids.items()), start=1):
        side = judged.side(offer_id)
        if number == 1 or side is None:
            continue
        priced = spare(slot, side.candidate.offer, number, in_flight, side.assessment.grams_per_kwh)
        found.append(replace(priced, is_needed=None if needed is None else number <= needed))
    return tuple(found)
