"""What the command line and, later, the API ask for. Previews change nothing; submissions write one durable request."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.control.gather import gather_snapshot
from orchestrator.control.grid import GridReader, ZoneView
from orchestrator.control.observe import gateway_status
from orchestrator.control.operations import payload_of
from orchestrator.control.runtime import Runtime
from orchestrator.control.views import ReplicaView, ServiceStatus, ZoneOutlook
from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.offer import Offer
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.records import (
    Event,
    Operation,
    OperationKind,
    OperationState,
    ServiceRecord,
    ServiceState,
)
from orchestrator.domain.replica import LIVE, PAID, Replica, ReplicaState
from orchestrator.domain.service import Objective, ServiceSpec
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour, format_instant
from orchestrator.domain.units import watts_to_kw
from orchestrator.errors import GreenctlError, UnknownService
from orchestrator.ledger.report import Report, Rival, period_of, report
from orchestrator.ledger.sampling import settle
from orchestrator.planner.choose import choose
from orchestrator.planner.plan import judge, plan, plan_migration

FOLLOW_EVERY_SECONDS = 0.3
RECENT_BATCH_SAMPLES = 1


# ── plans ────────────────────────────────────────────────────────────────────────────────────────────


async def preview_deploy(spec: ServiceSpec, spec_digest: str, runtime: Runtime) -> Plan:
    """Return what a deploy of this spec would do now. Nothing is started.

    Raises ``NoFeasiblePlacement``, and the provisioner's preflight errors (``EngineMissing``, ``DiskFull``) when it would
    launch anything.
    """
    now = runtime.clock.now()
    snapshot = await gather_snapshot(spec, spec_digest, runtime, GridReader(runtime.carbon), now)
    wanted = plan(snapshot, spec.policy, now, actor="deploy")
    bought = {a.region.partition("/")[0] for a in wanted.actions if a.kind is not ActionKind.RETIRE}
    for provider in sorted(bought):
        await runtime.provisioners[provider].preflight(spec.model)
    return wanted


async def preview_migration(
    service: str, runtime: Runtime, *, replica: str | None, to_region: str | None, reason: str, actor: str
) -> Plan:
    """Return the plan of a move that a person asks for. Nothing is started. Raises as :func:`plan_migration` does."""
    record = _known(service, runtime)
    now = runtime.clock.now()
    snapshot = await gather_snapshot(record.spec, record.spec_digest, runtime, GridReader(runtime.carbon), now)
    return plan_migration(
        snapshot, record.spec.policy, now, replica=replica, to_region=to_region, actor=actor, reason=reason
    )


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────


def submit_deploy(spec: ServiceSpec, spec_digest: str, plan: Plan, runtime: Runtime, *, actor: str) -> Operation:
    """Store the revision and the request to apply exactly this plan. Raises ``Conflict`` while another is open."""
    if plan.spec_digest != spec_digest:
        message = f"the plan is for spec {plan.spec_digest}, not {spec_digest}"
        raise ValueError(message)
    operation = _operation(spec.name, OperationKind.DEPLOY, payload_of(plan), runtime, actor)
    runtime.store.submit_deploy(spec, operation)
    return operation


def submit_migration(plan: Plan, runtime: Runtime, *, actor: str, reason: str) -> Operation:
    """Store the request to apply exactly this move. Raises ``Conflict`` while another request is open."""
    operation = _operation(plan.service, OperationKind.MIGRATE, payload_of(plan, reason), runtime, actor)
    runtime.store.submit(operation)
    return operation


def submit_down(service: str, runtime: Runtime, *, actor: str) -> Operation:
    """Store the request to take a service down. Raises ``UnknownService``, or ``Conflict`` while another is open."""
    _known(service, runtime)
    operation = _operation(service, OperationKind.DOWN, "{}", runtime, actor)
    runtime.store.submit(operation)
    return operation


async def follow(operation_id: str, runtime: Runtime, *, after_event: int = 0) -> AsyncIterator[Event]:
    """Yield the service's events until the request is closed; stopping to listen stops nothing else.

    Raises the request's own error when it failed.
    """
    first = runtime.store.operation(operation_id)
    if first is None:
        message = f"no request {operation_id}"
        raise UnknownService(message)
    seen = after_event
    while True:
        operation = runtime.store.operation(operation_id) or first
        for event in runtime.store.events(first.service, after_id=seen):
            seen = event.id
            yield event
        if operation.state is OperationState.DONE:
            return
        if operation.state is OperationState.FAILED:
            raise error_of(operation)
        await runtime.clock.sleep(FOLLOW_EVERY_SECONDS)


def error_of(operation: Operation) -> GreenctlError:
    """Rebuild the error of a failed request from its stable code."""
    classes = {c.code: c for c in _all_errors(GreenctlError)}
    kind = classes.get(operation.error_code)
    if kind is None or kind.__init__ is not GreenctlError.__init__:
        return GreenctlError(f"{operation.error_code}: {operation.error}")
    return kind(operation.error)


def _all_errors(base: type[GreenctlError]) -> list[type[GreenctlError]]:
    return [base, *(e for c in base.__subclasses__() for e in _all_errors(c))]


def _operation(service: str, kind: OperationKind, payload: str, runtime: Runtime, actor: str) -> Operation:
    now = runtime.clock.now()
    seed = f"{service}|{kind}|{format_instant(runtime.clock.wall())}|{runtime.clock.monotonic()}|{actor}"
    return Operation(
        id="op-" + hashlib.sha256(seed.encode()).hexdigest()[:12],
        service=service,
        kind=kind,
        state=OperationState.QUEUED,
        actor=actor,
        payload_json=payload,
        created_at=now,
        updated_at=now,
    )


def _known(service: str, runtime: Runtime) -> ServiceRecord:
    record = runtime.store.service(service)
    if record is None:
        names = ", ".join(s.name for s in runtime.store.services()) or "none"
        message = f"no service {service!r}; known: {names}"
        raise UnknownService(message)
    return record


# ── views ────────────────────────────────────────────────────────────────────────────────────────────


async def carbon_outlook(
    runtime: Runtime,
    *,
    zones: Sequence[str],
    regions_by_zone: Mapping[str, tuple[str, ...]],
    hours: int,
    window_hours: int,
    basis: Basis,
) -> tuple[ZoneOutlook, ...]:
    """Return each zone's present, coming hours and cleanest window, cleanest zone first, unknown ones last."""
    now = runtime.clock.now()
    views = await GridReader(runtime.carbon).zones(sorted(set(zones)), basis, now, hours)
    outlooks = [_outlook(view, regions_by_zone.get(zone, ()), now, hours, window_hours) for zone, view in views.items()]
    return tuple(sorted(outlooks, key=lambda o: (o.mean_grams_per_kwh is None, o.mean_grams_per_kwh or 0.0, o.zone)))


def _outlook(view: ZoneView, regions: tuple[str, ...], now: Instant, hours: int, window_hours: int) -> ZoneOutlook:
    end = floor_hour(now) + hours * HOUR
    ahead = CarbonSeries(view.zone, tuple(p for p in view.forecast.points if p.interval.start < end))
    window, grams = _cleanest(ahead, window_hours)
    known = isinstance(view.now, CarbonIntensity)
    return ZoneOutlook(
        zone=view.zone,
        regions=regions,
        now=view.now,
        age_seconds=view.now.age(now).total_seconds() if known and isinstance(view.now, CarbonIntensity) else None,
        forecast=ahead,
        mean_grams_per_kwh=ahead.mean_grams_per_kwh(),
        cleanest=window,
        cleanest_grams_per_kwh=grams,
        trailing_mean_grams_per_kwh=view.trailing_mean_grams_per_kwh,
    )


def _cleanest(series: CarbonSeries, window_hours: int) -> tuple[Window | None, float | None]:
    """Return the contiguous run of that many hours with the lowest mean; the earlier of equals."""
    best: tuple[float, Window] | None = None
    points = series.points
    for first in range(len(points) - window_hours + 1):
        run = points[first : first + window_hours]
        if run[-1].interval.end - run[0].interval.start != window_hours * HOUR:
            continue
        mean = sum(p.grams_per_kwh for p in run) / window_hours
        if best is None or mean < best[0] - 1e-9:
            best = (mean, Window(run[0].interval.start, run[-1].interval.end))
    return (None, None) if best is None else (best[1], best[0])


async def service_status(runtime: Runtime, service: str | None) -> tuple[ServiceStatus, ...]:
    """Return one service, or all that are not down. Raises ``UnknownService``."""
    records = [_known(service, runtime)] if service else runtime.store.services()
    wanted = [r for r in records if service or r.state is not ServiceState.DOWN]
    status = await gateway_status(runtime)
    grid = GridReader(runtime.carbon)
    now = runtime.clock.now()
    found = []
    for record in wanted:
        replicas = runtime.store.replicas(record.name)
        offers = {o.id: o for o in await runtime.offers.offers(record.spec.resources, now)}
        views = []
        for replica in replicas:
            zone = await grid.zone(replica.zone, record.spec.carbon.basis, now, 1) if replica.zone else None
            in_flight = None if status is None else status.upstream(replica.name).in_flight
            samples = _last_samples(runtime, record.name, replica, now)
            views.append(_replica_view(replica, zone, offers.get(replica.offer_id), in_flight, samples))
        paid = [v for v in views if v.replica.state in PAID]
        operation = next(iter(runtime.store.operations(record.name)), None)
        found.append(
            ServiceStatus(
                service=record,
                at=now,
                wanted=0 if record.state is not ServiceState.ACTIVE else record.spec.scaling.min_replicas,
                ready=sum(r.state is ReplicaState.READY for r in replicas),
                replicas=tuple(views),
                operation=operation,
                grams_per_hour=_sum([v.grams_per_hour for v in paid]),
                usd_per_hour=_sum([v.replica.usd_per_hour for v in paid]),
                gateway=status,
                gateway_url=runtime.gateway_url,
                last_event=_last_event(runtime, record.name),
                look=_look(record, replicas, operation, runtime),
            )
        )
    return tuple(found)


def _last_samples(runtime: Runtime, service: str, replica: Replica, now: Instant) -> Sequence[EnergySample]:
    span = 120 * runtime.clock.rate / 3600 * HOUR
    samples = runtime.store.energy(service, Window(now - span, now))
    return [s for s in samples if s.replica == replica.name][-RECENT_BATCH_SAMPLES:]


def _replica_view(
    replica: Replica, zone: ZoneView | None, offer: Offer | None, in_flight: int | None, samples: Sequence[EnergySample]
) -> ReplicaView:
    batch = samples[-1].mean_batch if samples else None
    power = None if offer is None else offer.shape.power
    pue = None if offer is None else offer.region.pue
    watts = power.watts(batch) if power is not None and batch is not None else None
    reading = None if zone is None else zone.now
    grams = None
    if watts is not None and pue is not None and isinstance(reading, CarbonIntensity):
        grams = watts_to_kw(watts) * pue * reading.grams_per_kwh
    return ReplicaView(replica, reading, pue, batch, watts, grams, in_flight)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) if len(known) == len(values) else None


def _last_event(runtime: Runtime, service: str) -> Event | None:
    last = None
    for event in runtime.store.events(service, limit=100_000):
        last = event
    return last


def _look(
    record: ServiceRecord, replicas: Sequence[Replica], operation: Operation | None, runtime: Runtime
) -> str:
    """Say in one sentence what goes on."""
    if operation is not None:
        return f"{operation.kind.value} is {operation.state.value}"
    if record.state is not ServiceState.ACTIVE:
        return record.state.value.replace("_", " ")
    moving = [r for r in replicas if r.state in LIVE and r.replaces and r.weight_percent < 100]  # noqa: PLR2004
    if moving:
        return f"r{moving[0].slot} is moving to {moving[0].region}"
    if sum(r.state is ReplicaState.READY for r in replicas) < record.spec.scaling.min_replicas:
        return "waiting for replicas to become ready"
    decisions = runtime.store.decisions(record.name, limit=1)
    return decisions[0].summary if decisions else "steady"


# ── report ───────────────────────────────────────────────────────────────────────────────────────────


async def service_report(runtime: Runtime, service: str, period: Window | None) -> Report:
    """Total a service's ledger, settled with what is known now, beside home and B3. Raises ``UnknownService``."""
    record = _known(service, runtime)
    now = runtime.clock.now()
    samples = runtime.store.energy(service, period)
    span = period_of(samples, now) if period is None else period
    rivals = await _rivals(record, runtime, samples, span.start)
    zones = {s.zone for s in samples if s.zone is not None} | {r.zone for r in rivals}
    table = _Intensities(runtime, record.spec.carbon.basis)
    await table.read(zones, Window(floor_hour(span.start), span.end + HOUR), now)
    settled = settle(samples, table.reading)
    return report(service, span, settled, rivals, _Provisional(table, settled).grams_per_kwh)


@dataclass(slots=True)
class _Intensities:
    """The past of several zones, looked up by window."""

    runtime: Runtime
    basis: Basis

    def __post_init__(self) -> None:
        self._by_hour: dict[tuple[str, Instant], CarbonIntensity] = {}
        self._latest: dict[str, CarbonIntensity] = {}

    async def read(self, zones: set[str], window: Window, now: Instant) -> None:
        grid = GridReader(self.runtime.carbon)
        for zone in sorted(zones):
            series = await grid.intensities(zone, self.basis, window, now)
            for point in series.points:
                self._by_hour[zone, floor_hour(point.interval.start)] = point
                self._latest[zone] = point

    def reading(self, zone: str, window: Window) -> CarbonIntensity | None:
        return self._by_hour.get((zone, floor_hour(window.start)))

    def latest(self, zone: str) -> CarbonIntensity | None:
        return self._latest.get(zone)


class _Provisional:
    """Rivals are priced like the service itself: where our own hour is still provisional, so is theirs."""

    def __init__(self, table: _Intensities, samples: Sequence[EnergySample]) -> None:
        self._table = table
        self._own_zones = {s.zone for s in samples}

    def grams_per_kwh(self, zone: str, window: Window) -> float | None:
        point = self._table.reading(zone, window) or self._table.latest(zone)
        return None if point is None else point.grams_per_kwh


async def _rivals(
    record: ServiceRecord, runtime: Runtime, samples: Sequence[EnergySample], start: Instant
) -> tuple[Rival, ...]:
    """Home, and the region that was cleanest by its trailing 28-day mean when the period began."""
    if not samples:
        return ()
    grid = GridReader(runtime.carbon)
    snapshot = await gather_snapshot(record.spec, record.spec_digest, runtime, grid, start)
    judged = judge(snapshot, record.spec.policy, start)
    by_region = {a.region: a for a in sorted(judged.assessments, key=lambda a: (not a.allowed, a.offer_id), reverse=True)}
    rivals = []
    home = by_region.get(record.spec.placement.home or "")
    why = "placement.home in the spec"
    if home is None:
        cheapest = choose(judged.assessments, 1, (), record.spec.placement, Objective.CHEAPEST)
        home, why = (cheapest[0] if cheapest else None), "the cheapest allowed region (no placement.home in the spec)"
    if home is not None and home.zone is not None and home.pue is not None:
        rivals.append(Rival("home", home.region, home.zone, home.pue, home.usd_per_hour, why))
    ranked = [a for a in judged.assessments if a.allowed and a.trailing_mean_grams_per_kwh is not None]
    if ranked:
        best = min(ranked, key=lambda a: ((a.trailing_mean_grams_per_kwh or 0.0) * (a.pue or 1.0), a.offer_id))
        if best.zone is not None and best.pue is not None:
            why = f"cleanest trailing 28-day mean at {format_instant(start)}: {best.trailing_mean_grams_per_kwh:.0f} g/kWh"
            rivals.append(Rival("B3", best.region, best.zone, best.pue, best.usd_per_hour, why))
    return tuple(rivals)
