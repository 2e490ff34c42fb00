"""Which offers can keep what is promised of the first token: the way to the clients, and what no replica mends. Pure.

``slo.ttft_p95`` is round trip + queue + prompt + one step. The queue is mended by more replicas, which is the business
of ``sizing/`` and of how traffic is shared; the way, the prompt and the step are the place's and the shape's own. So an
offer is kept out where they alone take longer than is promised. What is not known of them is not counted against it,
and the verdict says so.

With clients in several areas a place that is near to all of them is one that anybody may be sent to. Where such places
are allowed, others are kept out; where there is none, a place has to be near to somebody at least, and the rows of
``origins.py`` send everybody to their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.domain.decision import Verdict
from orchestrator.domain.hardware import Shape
from orchestrator.domain.offer import Offer
from orchestrator.planner.sizing.share import capacity_on
from orchestrator.planner.snapshot import Snapshot
from orchestrator.policy.assess import placement_verdicts
from orchestrator.policy.latency import rtt_by_area

TTFT_RULE = "slo.ttft_p95"

_MS = 1000.0


@dataclass(frozen=True, slots=True)
class _Ways:
    """Milliseconds of round trip by area, and of prompt and step; ``None`` for the latter where it is not known."""

    by_area: Mapping[str, float]
    serving_ms: float | None

    def total_ms(self, area: str) -> float:
        """Return the least time to the first token of clients there, as far as it is known."""
        return self.by_area[area] + (self.serving_ms or 0.0)


def promises(snapshot: Snapshot) -> dict[str, Verdict]:
    """Return a verdict for each offer by id; none where nothing is promised, or nobody says where the clients are."""
    spec = snapshot.spec
    if spec.ttft_p95 is None or not spec.clients:
        return {}
    limit = spec.ttft_p95.total_seconds() * _MS
    kinds = dict.fromkeys((c.offer.shape, c.offer.variant) for c in snapshot.candidates)
    serving = {kind: _serving_ms(snapshot, *kind) for kind in kinds}
    ways = {c.offer.id: _ways(snapshot, c.offer, serving[c.offer.shape, c.offer.variant]) for c in snapshot.candidates}
    allowed = [c.offer for c in snapshot.candidates if _may_be_used(snapshot, c.offer)]
    near_all = any(
        (own := ways[offer.id]) is not None and max(map(own.total_ms, own.by_area)) <= limit for offer in allowed
    )
    return {
        c.offer.id: _verdict(c.offer, ways[c.offer.id], limit, farthest=near_all or _alone(snapshot))
        for c in snapshot.candidates
    }


def _alone(snapshot: Snapshot) -> bool:
    """Whether one replica has to serve everybody."""
    return snapshot.spec.scaling.max_replicas == 1


def _may_be_used(snapshot: Snapshot, offer: Offer) -> bool:
    return all(v.passed for v in placement_verdicts(offer.region, snapshot.spec.placement))


def _ways(snapshot: Snapshot, offer: Offer, serving_ms: float | None) -> _Ways | None:
    """Return ``None`` where it is not known how far clients of some area are."""
    measured = snapshot.rtt_ms.get(offer.region.id)
    trips = rtt_by_area(snapshot.spec.clients, offer.region)
    found = {area: trip if measured is None else measured for area, trip in trips.items()}
    known = {area: trip for area, trip in found.items() if trip is not None}
    return _Ways(known, serving_ms) if len(known) == len(found) else None


def _serving_ms(snapshot: Snapshot, shape: Shape, variant: str) -> float | None:
    """Return what reading the prompt takes, and one step of that request alone (milliseconds)."""
    load = snapshot.load
    models = capacity_on(snapshot.spec, [shape], variants=[variant]).models
    if load is None or load.prompt_tokens is None or not models:
        return None
    seconds = load.prompt_tokens / models[0].prefill_tokens_per_second + models[0].step_seconds(1.0, load.prompt_tokens)
    return seconds * _MS


def _verdict(offer: Offer, ways: _Ways | None, limit: float, *, farthest: bool) -> Verdict:
    if ways is None:
        text = f"how far the clients are from {offer.region.id} is not known, so it is not kept out for {limit:.0f} ms"
        return Verdict(TTFT_RULE, passed=True, text=text, limit=limit, unit="ms")
    area = (max if farthest else min)(sorted(ways.by_area), key=ways.total_ms)
    total = ways.total_ms(area)
    passed = total <= limit
    own = "serving not known yet" if ways.serving_ms is None else f"{ways.serving_ms:.0f} ms of serving"
    word = "the farthest" if farthest else "the nearest"
    whom = f"clients in {area}" if len(ways.by_area) == 1 else f"{word} clients ({area})"
    text = f"{ways.by_area[area]:.0f} ms to {whom}, {own}: {'within' if passed else 'over'} {limit:.0f} ms"
    return Verdict(TTFT_RULE, passed, text, total, limit, "ms")
