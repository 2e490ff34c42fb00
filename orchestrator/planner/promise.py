"""Which offers can keep what is promised of the first token: the way to the clients, and what no replica mends. Pure.

``slo.ttft_p95`` is round trip + queue + prompt + one step of a full batch. The queue is mended by more replicas, which
is the business of ``sizing/`` and of how traffic is shared; the way, the prompt and the step are the place's and the
shape's own. So an offer is kept out where they alone take longer than is promised. Prompt and step are those of
``Capacity.serving_seconds``, by which sizing and the rows of traffic go too, so that who is near here can be sent
traffic there. What is not known of them is not counted against an offer, and the verdict says so.

With clients in several areas a place that is near to all of them is one that anybody may be sent to. Where such places
can be bought, others are kept out; where there is none, a place has to be near to somebody at least, all that are
chosen together have to be near to everybody (``cover.py``) and enough for them (``nearby.py``), and the rows of
``origins.py`` send everybody to their own. What can be bought the other rules say, so offers are judged by these first
(:func:`for_everybody`).

What the way takes of the promise the queue cannot have: ``trips_seconds`` is what sizing subtracts. It is the way of
the farthest clients that a place can keep its promise to, because the others are served elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from orchestrator.domain.decision import Assessment, Verdict
from orchestrator.domain.hardware import Shape
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market
from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.service import ClientArea, ServiceSpec
from orchestrator.planner.sizing.share import capacity_on
from orchestrator.planner.snapshot import Snapshot
from orchestrator.policy.assess import EXTRA_COST_RULE, FRESHNESS_RULE
from orchestrator.policy.latency import rtt_by_area

TTFT_RULE = "slo.ttft_p95"

_MS = 1000.0


@dataclass(frozen=True, slots=True)
class Promised:
    """What each offer makes of the promise, by its id; nothing where none was made, or nobody says where clients are.

    ``trips_seconds``: of the round trip to whom it would serve, where that is known. ``near``: the areas that it keeps
    the promise to, where some have to be served in one place and some in another; empty where anybody may be sent
    anywhere. ``total_ms`` and ``rtt_ms``: the least time to the first token, and the way's part of it, by area, of the
    same. ``areas``: the part of the clients in each, which all have to be near to somebody. ``by_farthest``: the
    verdicts that hold instead where everybody has to be reached from each place.
    """

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    trips_seconds: Mapping[str, float] = field(default_factory=dict)
    near: Mapping[str, frozenset[str]] = field(default_factory=dict)
    total_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    areas: Mapping[str, float] = field(default_factory=dict)
    rtt_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    by_farthest: Mapping[str, Verdict] = field(default_factory=dict)

    def reaches_all(self, offer_id: str) -> bool:
        """Whether it is known that the promise is kept to everybody from there."""
        return offer_id in self.total_ms and self.near[offer_id] == self.areas.keys()

    def left(self, offer_ids: Iterable[str]) -> frozenset[str]:
        """Return the areas to which none of these offers is near."""
        if not self.areas:
            return frozenset()
        return frozenset(self.areas).difference(*(self.near.get(i, frozenset()) for i in offer_ids))


@dataclass(frozen=True, slots=True)
class _Ways:
    """Milliseconds of round trip by area, and of prompt and step; ``None`` for the latter where it is not known."""

    by_area: Mapping[str, float]
    serving_ms: float | None

    def total_ms(self, area: str) -> float:
        """Return the least time to the first token of clients there, as far as it is known."""
        return self.by_area[area] + (self.serving_ms or 0.0)

    def near(self, limit_ms: float) -> frozenset[str]:
        """Return the areas to which the promise is kept."""
        return frozenset(area for area in self.by_area if self.total_ms(area) <= limit_ms)

    def trip_seconds(self, limit_ms: float) -> float:
        """Return the way of the farthest whom it serves: of those that it is near to, else of the nearest."""
        served = self.near(limit_ms) or {min(sorted(self.by_area), key=self.total_ms)}
        return max(self.by_area[area] for area in served) / _MS


def promised(snapshot: Snapshot) -> Promised:
    """Return what each offer makes of ``slo.ttft_p95``, where a place need not reach everybody unless it is alone."""
    spec = snapshot.spec
    if spec.ttft_p95 is None or not spec.clients:
        return Promised()
    limit = _limit_ms(spec.ttft_p95)
    kinds = dict.fromkeys((c.offer.shape, c.offer.variant) for c in snapshot.candidates)
    serving = {kind: _serving_ms(spec, snapshot.load, *kind) for kind in kinds}
    ways = {
        c.offer.id: _ways(spec, c.offer, serving[c.offer.shape, c.offer.variant], snapshot.rtt_ms)
        for c in snapshot.candidates
    }
    farthest = _alone(snapshot)
    verdicts = {c.offer.id: _verdict(c.offer, ways[c.offer.id], limit, farthest=farthest) for c in snapshot.candidates}
    trips = {offer_id: own.trip_seconds(limit) for offer_id, own in ways.items() if own is not None}
    weights = weights_of(spec.clients)
    if farthest or len(weights) == 1:
        return Promised(verdicts, trips)
    everybody = frozenset(weights)
    return Promised(
        verdicts,
        trips,
        {offer_id: everybody if own is None else own.near(limit) for offer_id, own in ways.items()},
        {offer_id: {a: own.total_ms(a) for a in own.by_area} for offer_id, own in ways.items() if own is not None},
        weights,
        {offer_id: own.by_area for offer_id, own in ways.items() if own is not None},
        {c.offer.id: _verdict(c.offer, ways[c.offer.id], limit, farthest=True) for c in snapshot.candidates},
    )


def for_everybody(kept: Promised, snapshot: Snapshot, assessments: Sequence[Assessment]) -> Promised:
    """Return what holds where each place has to reach everybody, if places that do can be bought; else what there is.

    ``assessments``: the offers as every rule judges them where a place need not. While somebody stands who reaches only
    some, the others are needed as much as before: it stays as it is, however the market of better places changes.
    """
    standing = [r.offer_id for r in snapshot.living() if r.offer_id in kept.total_ms]
    if not all(kept.reaches_all(i) for i in standing):
        return kept
    on_markets = [_on_sale(assessments, market) for market in sorted(_markets(snapshot.spec))]
    reached = [any(kept.reaches_all(a.offer_id) for a in own) for own in on_markets if own]
    return Promised(kept.by_farthest, kept.trips_seconds) if reached and all(reached) else kept


def trip_seconds(spec: ServiceSpec, offer: Offer, load: LoadSeen | None) -> float:
    """Return what the way takes of the promise at a place that serves; 0 where that is not known, or nothing promised.

    Estimated from the distance; see :class:`Promised`.
    """
    if spec.ttft_p95 is None or not spec.clients:
        return 0.0
    own = _ways(spec, offer, _serving_ms(spec, load, offer.shape, offer.variant), {})
    return 0.0 if own is None else own.trip_seconds(_limit_ms(spec.ttft_p95))


def weights_of(clients: Sequence[ClientArea]) -> dict[str, float]:
    """Return the part of the clients that is in each area, by name."""
    found: dict[str, float] = {}
    for client in clients:
        found[client.near] = found.get(client.near, 0.0) + client.weight
    return found


def _limit_ms(promise: timedelta) -> float:
    return promise.total_seconds() * _MS


def _alone(snapshot: Snapshot) -> bool:
    """Whether one replica has to serve everybody."""
    return snapshot.spec.scaling.max_replicas == 1


def _markets(spec: ServiceSpec) -> frozenset[Market]:
    """Return the markets that every deploy buys on."""
    always = {Market.ON_DEMAND} if spec.scaling.base_ondemand_fallback_replicas else set[Market]()
    return frozenset({spec.market} | always)


def _on_sale(assessments: Sequence[Assessment], market: Market) -> list[Assessment]:
    """Return what can be bought on a market: with a fresh signal, and where nothing can, what only lacks that.

    The bound on extra cost is left out: it is measured from the cheapest that can be bought, which it never excludes.
    """
    sold = [a for a in assessments if a.market is market]
    for overlooked in ({EXTRA_COST_RULE}, {EXTRA_COST_RULE, FRESHNESS_RULE}):
        found = [a for a in sold if all(v.passed or v.rule in overlooked for v in a.verdicts)]
        if found:
            return found
    return []


def _ways(spec: ServiceSpec, offer: Offer, serving_ms: float | None, measured_ms: Mapping[str, float]) -> _Ways | None:
    """Return ``None`` where it is not known how far clients of some area are."""
    found = rtt_by_area(spec.clients, offer.region, measured_ms.get(offer.region.id))
    known = {area: trip for area, trip in found.items() if trip is not None}
    return _Ways(known, serving_ms) if len(known) == len(found) else None


def _serving_ms(spec: ServiceSpec, load: LoadSeen | None, shape: Shape, variant: str) -> float | None:
    """Return what the engine takes when nobody waits (milliseconds), by the formula of sizing and of the rows."""
    seconds = None if load is None else capacity_on(spec, [shape], variants=[variant]).serving_seconds(load)
    return None if seconds is None else seconds * _MS


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
