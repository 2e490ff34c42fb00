"""Traffic follows the grid: once a minute a part of it moves to where the same answers emit less.

What holds is remembered by this process alone. After a restart traffic is even, which is always safe, and moves again
from there. Canary steps come first: while a replica and its replacement share a slot, no other traffic moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.control.load import capacity_of
from orchestrator.control.observe import Watch
from orchestrator.control.ports import EngineLoad
from orchestrator.domain.carbon import CarbonIntensity, Reading
from orchestrator.domain.offer import Offer, variant_in
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.routing import MAX_WEIGHT
from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.service import ClientArea, Objective, ServiceSpec
from orchestrator.domain.split import OriginSplit, Split
from orchestrator.domain.time import Instant
from orchestrator.planner.origins import next_rows
from orchestrator.planner.promise import weights_of
from orchestrator.planner.split import Place, next_parts
from orchestrator.policy.apply import usd_per_gram
from orchestrator.policy.latency import rtt_by_area

SHIFT_EVERY_SECONDS = 60.0
EVENLY = "round_robin"
"""The value of ``gateway.routing`` by which all replicas get the same, whatever they emit."""

_SAME = 1e-6


@dataclass(slots=True)
class Memory:
    """Of one service: the part of all traffic of each replica, when it last moved, and whether it comes to rest.

    ``rows``: the parts of the requests of each origin, where origins are served by rows of their own.
    """

    parts: dict[str, float] = field(default_factory=dict)
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    moved_at: float | None = None
    is_shifting: bool = False


class Shares:
    """Remembers how the traffic of every service is shared among its replicas."""

    def __init__(self) -> None:
        self._memories: dict[str, Memory] = {}

    def forget_all_but(self, services: Iterable[str]) -> None:
        """Drop what is remembered of services that are down."""
        for name in self._memories.keys() - set(services):
            del self._memories[name]

    def look(
        self,
        spec: ServiceSpec,
        replicas: Sequence[Replica],
        offers: Mapping[str, Offer],
        grid: Mapping[str, Reading],
        load: LoadSeen | None,
        watch: Watch,
        now: Instant,
        seconds: float,
    ) -> str:
        """Move a part of the traffic when it is time; return what to tell people of it, empty when that is no news.

        ``seconds``: of ``Clock.monotonic``.
        """
        memory = self._memories.setdefault(spec.name, Memory())
        ready = {r.name: r for r in replicas if r.state is ReplicaState.READY}
        slots = [r for r in ready.values() if r.replaces not in ready]
        memory.parts = _inherited(memory.parts, slots)
        memory.rows = {origin: _inherited(own, slots) for origin, own in memory.rows.items()} if slots else {}
        if len(slots) < len(ready) or not slots:
            return ""
        if memory.moved_at is not None and seconds - memory.moved_at < SHIFT_EVERY_SECONDS:
            return ""
        memory.moved_at = seconds
        places = places_of(spec, slots, offers, grid, watch.loads, now)
        if not counts_grams(spec):
            load = None
        current = {p.offer_id: sum(memory.parts[r.name] for r in slots if r.offer_id == p.offer_id) for p in places}
        parts, target = next_parts(current, places, load)
        numbers = {p.offer_id: p.replicas for p in places}
        memory.parts = {r.name: parts[r.offer_id] / numbers[r.offer_id] for r in slots}
        moved = max(abs(parts[i] - current[i]) for i in parts) > _SAME
        began, memory.is_shifting = moved and not memory.is_shifting, moved
        memory.rows, origins = _next_rows(spec, memory, slots, places, offers, load)
        return _told(target, origins) if began else ""

    def weights(self, service: str, replicas: Sequence[Replica]) -> dict[str, int]:
        """Return the weight (1..100, relative to each other) of each ready replica's slot."""
        memory = self._memories.get(service)
        parts = {} if memory is None else memory.parts
        ready = {r.name: r for r in replicas if r.state is ReplicaState.READY}
        known = {name: parts.get(owner) for name, owner in _owners(ready).items()}
        most = max((p for p in known.values() if p), default=None)
        if most is None:
            return dict.fromkeys(ready, MAX_WEIGHT)
        return {name: MAX_WEIGHT if p is None else max(1, round(MAX_WEIGHT * p / most)) for name, p in known.items()}

    def rows(self, service: str, replicas: Sequence[Replica]) -> dict[str, dict[str, int]]:
        """Return the weight (0..100, relative to each other) of each ready replica's slot, by origin.

        Empty where the one split serves all: without rows, and where all of them say the same.
        """
        memory = self._memories.get(service)
        ready = {r.name: r for r in replicas if r.state is ReplicaState.READY}
        owners = _owners(ready)
        found = {}
        for origin, parts in sorted(({} if memory is None else memory.rows).items()):
            most = max((parts.get(owner, 0.0) for owner in owners.values()), default=0.0)
            if most <= 0.0:
                return {}
            found[origin] = {name: _row_weight(parts.get(owner, 0.0), most) for name, owner in owners.items()}
        return found if len({tuple(sorted(row.items())) for row in found.values()}) > 1 else {}


def _owners(ready: Mapping[str, Replica]) -> dict[str, str]:
    """Return whose weight each has: a replacement its slot's, of which the canary gives it a part."""
    return {r.name: r.replaces if r.replaces is not None and r.replaces in ready else r.name for r in ready.values()}


def _row_weight(part: float, most: float) -> int:
    return 0 if part <= _SAME else max(1, round(MAX_WEIGHT * part / most))


def _next_rows(
    spec: ServiceSpec,
    memory: Memory,
    slots: Sequence[Replica],
    places: Sequence[Place],
    offers: Mapping[str, Offer],
    load: LoadSeen | None,
) -> tuple[dict[str, dict[str, float]], OriginSplit]:
    """Return the parts of each origin's requests by replica, and the rows that they go towards."""
    if load is None:
        return {}, OriginSplit(why_none="no load has been seen yet")
    weights = weights_of(spec.clients)
    current = {
        origin: {
            p.offer_id: sum(memory.rows.get(origin, memory.parts)[r.name] for r in slots if r.offer_id == p.offer_id)
            for p in places
        }
        for origin in weights
    }
    rows, target = next_rows(current, places, weights, rtts_of(spec.clients, places, offers), load)
    numbers = {p.offer_id: p.replicas for p in places}
    held = {o: {r.name: own[r.offer_id] / numbers[r.offer_id] for r in slots} for o, own in rows.items()}
    return held, target


def rtts_of(
    clients: Sequence[ClientArea], places: Sequence[Place], offers: Mapping[str, Offer]
) -> dict[str, dict[str, float | None]]:
    """Return the round trip (ms) from each origin to each place; ``None`` where it is not known."""
    sold = {p.offer_id: offers.get(p.offer_id) for p in places}
    trips = {i: {} if offer is None else rtt_by_area(clients, offer.region) for i, offer in sold.items()}
    return {c.near: {i: own.get(c.near) for i, own in trips.items()} for c in clients}


def _inherited(parts: Mapping[str, float], slots: Sequence[Replica]) -> dict[str, float]:
    """Return the parts of those that serve now: a replacement has its predecessor's, a new one an average one."""
    found = {r.name: parts.get(r.name, parts.get(r.replaces or "")) for r in slots}
    known = [p for p in found.values() if p is not None]
    mean = sum(known) / len(known) if known else 1.0
    filled = {name: mean if p is None else p for name, p in found.items()}
    whole = sum(filled.values())
    # Of a row, those that are left may have had none of it.
    return {name: p / whole if whole > 0 else 1.0 / len(filled) for name, p in filled.items()}


def places_of(
    spec: ServiceSpec,
    ready: Sequence[Replica],
    offers: Mapping[str, Offer],
    grid: Mapping[str, Reading],
    loads: Mapping[str, EngineLoad],
    now: Instant,
) -> list[Place]:
    """Return where the ready replicas stand, by offer, with what is known of it; ``loads``: what engines say."""
    return [_place(spec, own, offers, grid, loads, now) for own in _by_offer(ready).values()]


def _by_offer(slots: Sequence[Replica]) -> dict[str, list[Replica]]:
    found: dict[str, list[Replica]] = {}
    for replica in sorted(slots, key=lambda r: (r.offer_id, r.name)):
        found.setdefault(replica.offer_id, []).append(replica)
    return found


def _place(
    spec: ServiceSpec,
    own: Sequence[Replica],
    offers: Mapping[str, Offer],
    grid: Mapping[str, Reading],
    loads: Mapping[str, EngineLoad],
    now: Instant,
) -> Place:
    first = own[0]
    offer, reading = offers.get(first.offer_id), grid.get(first.zone or "")
    fresh = isinstance(reading, CarbonIntensity) and reading.is_fresh(now, spec.carbon.max_age)
    return Place(
        offer_id=first.offer_id,
        replicas=len(own),
        power=None if offer is None else offer.shape.power,
        pue=None if offer is None else offer.region.pue,
        grams_per_kwh=reading.grams_per_kwh if fresh and isinstance(reading, CarbonIntensity) else None,
        capacity=capacity_of(
            spec,
            [None if offer is None else offer.shape],
            [loads.get(r.name) for r in own],
            [variant_in(first.offer_id)],
        ),
        rtt_ms=farthest_rtt_ms(spec.clients, offer),
    )


def farthest_rtt_ms(clients: Sequence[ClientArea], offer: Offer | None) -> float | None:
    """Return the round trip of the farthest clients (ms): any of them may be sent anywhere; 0 where none are named."""
    if not clients:
        return 0.0
    trips = [] if offer is None else list(rtt_by_area(clients, offer.region).values())
    known = [t for t in trips if t is not None]
    return max(known) if known and len(known) == len(trips) else None


def counts_grams(spec: ServiceSpec) -> bool:
    """Whether grams decide where traffic goes: rent is the same however it is shared, so grams break the tie."""
    scored = spec.policy.objective is Objective.LOWEST_SCORE
    return spec.gateway.routing != EVENLY and (not scored or usd_per_gram(spec.policy) > 0)


def _told(target: Split, origins: OriginSplit) -> str:
    rows = f"; by origin: {'; '.join(row.words for row in origins.rows)}" if origins.differs else ""
    return f"traffic moves by steps to {target.words}{rows}"
