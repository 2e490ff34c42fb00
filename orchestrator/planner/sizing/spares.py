"""The energy price of each replica that a plan has beyond what its load needs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.domain.hardware import PowerModel
from orchestrator.domain.offer import Offer
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.scale import Spare
from orchestrator.planner.judged import Judged
from orchestrator.planner.sizing.energy import spare
from orchestrator.planner.sizing.share import work_on
from orchestrator.planner.snapshot import Snapshot


def spares(judged: Judged, offer_ids: Mapping[int, str]) -> tuple[Spare, ...]:
    """Return what each replica after the first adds at the load that is expected, by slot.

    ``offer_ids``: where every slot will stand. The load is that of the service, which fewer replicas would have
    together, each with the batch that its shape's model makes of it; where no load is known, the sequences under way
    are those that replicas have had lately. A place that is no longer sold has no price, and is left out.
    """
    snapshot = judged.snapshot
    ready = sum(r.state is ReplicaState.READY for r in snapshot.living())
    in_flight = snapshot.mean_batch.value * (ready or len(offer_ids))
    needed = None if snapshot.sizing is None else snapshot.sizing.needed
    if needed is None and snapshot.surviving is not None:
        needed = snapshot.wanted  # the others are there for the loss of a region
    found = []
    for number, (slot, offer_id) in enumerate(sorted(offer_ids.items()), start=1):
        side = judged.side(offer_id)
        if number == 1 or side is None:
            continue
        offer = side.candidate.offer
        draws = _draws(snapshot, offer, in_flight)
        priced = spare(slot, offer, number, draws, side.assessment.grams_per_kwh)
        found.append(replace(priced, is_needed=None if needed is None else number <= needed))
    return tuple(found)


def _draws(snapshot: Snapshot, offer: Offer, in_flight: float) -> Callable[[PowerModel, int], float]:
    """Return what each of so many replicas draws; ``in_flight``: of all together, where no load is known."""
    if snapshot.load is None:
        return lambda power, number: power.watts(in_flight / number)
    return lambda power, number: work_on(snapshot, offer.shape, number, offer.variant).watts(power)
