"""Services at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.control.grid import GridReader, ZoneView
from orchestrator.control.load import number_in_force
from orchestrator.control.observe import gateway_status
from orchestrator.control.past import last_size
from orchestrator.control.pausing import pauses_of
from orchestrator.control.requests import known_service
from orchestrator.control.runtime import Runtime
from orchestrator.control.shares import counts_grams, places_of, rtts_of
from orchestrator.control.spending import bill_of, budget_use
from orchestrator.control.views import ReplicaView, ServiceStatus
from orchestrator.domain.carbon import CarbonIntensity
from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.offer import Offer
from orchestrator.domain.records import Operation, ServiceRecord, ServiceState
from orchestrator.domain.replica import LIVE, PAID, Replica, ReplicaState
from orchestrator.domain.scale import LoadSeen, WantedReplicas
from orchestrator.domain.split import OriginSplit, Split
from orchestrator.domain.survival import Survival, survival_of
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.domain.units import watts_to_kw
from orchestrator.domain.variants import with_variants
from orchestrator.errors import PriceUnavailable
from orchestrator.planner.origins import best_rows
from orchestrator.planner.promise import weights_of
from orchestrator.planner.rollout import FULL_WEIGHT
from orchestrator.planner.split import best_split
from orchestrator.planner.wanted import is_scaled

RECENT_SECONDS = 180.0
"""How far back the load shown with a replica may lie, in physical seconds."""


async def service_status(runtime: Runtime, service: str | None) -> tuple[ServiceStatus, ...]:
    """Return one service, or all that are not down. Raises ``UnknownService``."""
    records = [known_service(service, runtime)] if service else runtime.store.services()
    wanted = [r for r in records if service or r.state is not ServiceState.DOWN]
    status = await gateway_status(runtime)
    grid = GridReader(runtime.carbon)
    now = runtime.clock.now()
    gateway_url = runtime.gateway_url()
    found = []
    for record in wanted:
        replicas = runtime.store.replicas(record.name)
        offers, unread = await _offers(record, runtime, now)
        leases = runtime.store.leases(record.name)
        samples = _last_samples(runtime, record.name, now)
        views = []
        for replica in replicas:
            zone = await grid.zone(replica.zone, record.spec.carbon.basis, now, 1) if replica.zone else None
            in_flight = None if status is None else status.upstream(replica.name).in_flight
            view = _replica_view(replica, zone, offers.get(replica.offer_id), in_flight, samples.get(replica.name))
            views.append(replace(view, lease_ends_at=leases.get(replica.name)))
        paid = [v for v in views if v.replica.state in PAID]
        operation = next(iter(runtime.store.operations(record.name)), None)
        size = _size(record, runtime)
        found.append(
            ServiceStatus(
                service=record,
                at=now,
                wanted=_wanted(record, size),
                ready=sum(r.state is ReplicaState.READY for r in replicas),
                replicas=tuple(views),
                operation=operation,
                grams_per_hour=_sum([v.grams_per_hour for v in paid]),
                usd_per_hour=_sum([v.replica.usd_per_hour for v in paid]),
                gateway=status,
                gateway_url=gateway_url,
                last_event=runtime.store.last_event(record.name),
                look=_look(record, replicas, operation, runtime, _wanted(record, size))
                + _held(record, status)
                + unread,
                sizing=size,
                pauses=pauses_of(record.name, runtime),
                split=None if (shared := _split(record, views, offers, now)) is None else shared[0],
                origins=None if shared is None else shared[1],
                bill=bill_of(record.spec, runtime),
                money=budget_use(record.spec, runtime),
                survival=_survival(record, replicas, _wanted(record, size)),
            )
        )
    return tuple(found)


async def _offers(record: ServiceRecord, runtime: Runtime, now: Instant) -> tuple[Mapping[str, Offer], str]:
    """Return the offers by id, and what to say where no list can be read: what the journal knows is shown anyway."""
    try:
        sold = await runtime.offers.offers(record.spec.resources, now)
        return {o.id: o for o in with_variants(sold, record.spec)}, ""
    except PriceUnavailable as error:
        return {}, f"; {error.message}: what a replica emits is unknown until then"


def _size(record: ServiceRecord, runtime: Runtime) -> WantedReplicas | None:
    """Return how many replicas load wanted last; ``None`` where it does not decide, or the service is not up."""
    if record.state is not ServiceState.ACTIVE or not is_scaled(record.spec.scaling):
        return None
    return number_in_force(record.spec, last_size(runtime.store, record.name))


def _wanted(record: ServiceRecord, size: WantedReplicas | None) -> int:
    if record.state is not ServiceState.ACTIVE:
        return 0
    return record.spec.scaling.min_replicas if size is None else size.replicas


def _survival(record: ServiceRecord, replicas: Sequence[Replica], wanted: int) -> Survival | None:
    """Return whether as many as are wanted would serve without any one region; ``None`` where that is not promised."""
    if record.spec.survives is None or not wanted:
        return None
    return survival_of((r.region for r in replicas if r.state is ReplicaState.READY), wanted)


def _last_samples(runtime: Runtime, service: str, now: Instant) -> Mapping[str, EnergySample]:
    """Return the newest sample of each replica that has one lately, by its name."""
    span = RECENT_SECONDS * runtime.clock.rate / 3600 * HOUR
    return {s.replica: s for s in runtime.store.energy(service, Window(now - span, now))}


def _replica_view(
    replica: Replica, zone: ZoneView | None, offer: Offer | None, in_flight: int | None, last: EnergySample | None
) -> ReplicaView:
    batch = None if last is None else last.mean_batch
    pue = None if offer is None else offer.region.pue
    watts = None if last is None else last.watts
    reading = None if zone is None else zone.now
    grams = None
    if watts is not None and pue is not None and isinstance(reading, CarbonIntensity):
        grams = watts_to_kw(watts) * pue * reading.grams_per_kwh
    return ReplicaView(replica, reading, pue, batch, watts, grams, in_flight)


def _split(
    record: ServiceRecord, views: Sequence[ReplicaView], offers: Mapping[str, Offer], now: Instant
) -> tuple[Split, OriginSplit] | None:
    """Return where traffic goes to, in all and by origin, by the load of the last samples; ``None``: no choice."""
    ready = [v for v in views if v.replica.state is ReplicaState.READY]
    if len({v.replica.offer_id for v in ready}) <= 1 or not counts_grams(record.spec):
        return None
    known = [v.mean_batch for v in ready if v.mean_batch is not None]
    load = LoadSeen(RECENT_SECONDS, 0.0, sum(known), len(ready)) if len(known) == len(ready) else None
    grid = {v.replica.zone or "": v.grid for v in ready if v.grid is not None}
    places = places_of(record.spec, [v.replica for v in ready], offers, grid, {}, now)
    clients = record.spec.clients
    return best_split(places, load), best_rows(places, weights_of(clients), rtts_of(clients, places, offers), load)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) if len(known) == len(values) else None


def _held(record: ServiceRecord, status: GatewayStatus | None) -> str:
    """Say how many requests wait in the gateway for the first replica of a service that was scaled to zero."""
    counts = None if status is None else status.of_service(record.name)
    if counts is None or not counts.held:
        return ""
    return f"; {counts.held} request{' waits' if counts.held == 1 else 's wait'} for the first replica"


def _look(
    record: ServiceRecord, replicas: Sequence[Replica], operation: Operation | None, runtime: Runtime, wanted: int
) -> str:
    """Say in one sentence what goes on."""
    if operation is not None:
        return f"{operation.kind.value} is {operation.state.value}"
    if record.state is not ServiceState.ACTIVE:
        return record.state.value.replace("_", " ")
    moving = [r for r in replicas if r.state in LIVE and r.replaces and r.weight_percent < FULL_WEIGHT]
    if moving and record.paused:
        return _stopped_on_its_way(moving[0])
    if moving:
        return f"r{moving[0].slot} is moving to {moving[0].region}"
    decisions = runtime.store.decisions(record.name, limit=1)
    is_held = bool(decisions) and decisions[0].kind is DecisionKind.HOLD
    starting = any(r.state in LIVE and r.state is not ReplicaState.READY for r in replicas)
    too_few = sum(r.state is ReplicaState.READY for r in replicas) < wanted
    if too_few and (starting or not is_held):
        return "waiting for replicas to become ready"
    return decisions[0].summary if decisions else "steady"


def _stopped_on_its_way(replica: Replica) -> str:
    """Say how far a move is that a pause holds: both sides of it are kept."""
    where = f"r{replica.slot} does not move on to {replica.region} before the pause ends"
    if replica.state is ReplicaState.PENDING:
        return f"{where}; nothing is bought for it yet, unless what it replaces is lost"
    return f"{where}; both sides are paid for until then"
