"""Gather: the world as one frozen snapshot for the planner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from orchestrator.control.batch import with_batch, work_hours
from orchestrator.control.calendar import timetable_of
from orchestrator.control.grid import GridReader, ZoneView
from orchestrator.control.load import in_force, number_in_force
from orchestrator.control.pace import launched_lately
from orchestrator.control.past import expected_cold_start, last_size, recent_moves
from orchestrator.control.ports import Ability
from orchestrator.control.runtime import Runtime
from orchestrator.domain.carbon import CarbonSeries, Gap
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.offer import Candidate
from orchestrator.domain.price import Market
from orchestrator.domain.records import OperationKind, ServiceRecord, ServiceState
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.scale import LoadSeen, WantedReplicas
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.domain.variants import with_variants, workload_of, workloads_of
from orchestrator.domain.workload import workload_digest
from orchestrator.planner.capacity import MEMORY, Avoidance, avoidance_of, avoided
from orchestrator.planner.hedge.spares import hedged
from orchestrator.planner.moves import REST_AFTER_FAILURE
from orchestrator.planner.rush import rushed
from orchestrator.planner.snapshot import (
    DEFAULT_MEAN_BATCH,
    TYPICAL_DRAIN_SECONDS,
    Expectation,
    Snapshot,
)
from orchestrator.planner.wanted import is_scaled

LONGEST_HISTORY = timedelta(days=3650)
"""Longer than any recorded grid is replayed."""

RECENT_LOAD_SECONDS = 600.0


async def gather_candidates(
    spec: ServiceSpec, runtime: Runtime, grid: GridReader, avoid: Mapping[str, Mapping[str, Avoidance]], now: Instant
) -> tuple[Candidate, ...]:
    """Join every offer with its zone's present, forecast and past, and with what failed lately.

    ``avoid``: by variant, the main model's under an empty name: what may lie in the workload counts for that alone.
    Batch work is placed by the hours that it takes, where those are fewer than the policy looks at.
    """
    offers = with_variants(await runtime.offers.offers(spec.resources, now), spec)
    zones = sorted({o.region.zone for o in offers if o.region.zone is not None})
    hours = max(1, int(spec.policy.horizon / HOUR))
    if spec.batch is not None:
        hours = min(hours, work_hours(spec.batch, spec, runtime.clock.rate))
    views = await grid.zones(zones, spec.carbon.basis, now, hours)
    candidates = []
    for offer in offers:
        view = views.get(offer.region.zone or "") or _unknown_zone(offer.region.zone or "?")
        avoidance = avoidance_of(offer.id, avoid[offer.variant])
        candidates.append(
            Candidate(
                offer=offer,
                now=view.now,
                forecast=view.forecast,
                trailing_mean_grams_per_kwh=view.trailing_mean_grams_per_kwh,
                avoid_until=None if avoidance is None else avoidance.until,
                avoid_reason="" if avoidance is None else avoidance.reason,
                misses=view.misses,
                crossover=view.crossover,
            )
        )
    return tuple(candidates)


async def gather_snapshot(
    spec: ServiceSpec,
    spec_digest: str,
    runtime: Runtime,
    grid: GridReader,
    now: Instant,
    *,
    moves: tuple[Instant, ...] | None = None,
    sizing: WantedReplicas | None = None,
    load: LoadSeen | None = None,
    beside: frozenset[str] = frozenset(),
    recent_launches: int | None = None,
) -> Snapshot:
    """Read everything that a plan for this spec may depend on. Changes nothing.

    ``moves``: when replicas were moved voluntarily in the last day of grid time, where that is known already.
    ``sizing``: how many replicas load wants now; without it, as many as it wanted by the last decision, and of a
    service with batch work, as many as its hours ask for.
    ``load``: of the last minutes, by the gateway's counts; without it, what the records of energy tell of it. Not of a
    service with batch work. ``beside``: who came for load beside a request that is under way; that one of them failed
    is no reason to keep the request from a place. ``recent_launches``: as whoever launches has counted them; without
    it, as the records date them.
    """
    records, rate = runtime.store, runtime.clock.rate
    record = records.service(spec.name)
    digest = workload_digest(spec)
    samples = _recent_samples(spec.name, runtime, now)
    # Everybody's failures: a region that is full is full for all.
    everybody = records.replicas(ended=True, ended_since=now - max(history(rate), spec.migration.min_dwell))
    replicas = tuple(r for r in everybody if r.service == spec.name)
    counted = [r for r in everybody if r.name not in beside] if beside else everybody
    avoid = {"": avoided(counted, now, rate, digest)}
    avoid |= {v.name: avoided(counted, now, rate, workload_of(spec, v.name)) for v in spec.variants}
    candidates = await gather_candidates(spec, runtime, grid, avoid, now)
    size = sizing or _last_size(spec, record, runtime)
    found = Snapshot(
        spec=in_force(spec, size),
        spec_digest=spec_digest,
        workload_digest=digest,
        candidates=candidates,
        replicas=replicas,
        moves=recent_moves(records, spec.name, now) if moves is None else moves,
        mean_batch=_expected_batch(samples),
        cold_start_seconds=expected_cold_start(replicas, workloads_of(spec), rate),
        overlap_seconds=_expected_overlap(spec),
        providers=frozenset(runtime.provisioners),
        clock_rate=rate,
        paused=record is not None and record.paused,
        taking_down=record is not None and record.state is ServiceState.GOING_DOWN,
        without_spot=_without_spot(candidates, runtime),
        recent_launches=launched_lately(everybody, now, rate) if recent_launches is None else recent_launches,
        timetable=timetable_of(spec.migration.schedule, now),
        sizing=size,
        # Batch work comes as fast as it is answered, and not at all while it waits: that is no rate to size by.
        load=None if spec.batch is not None else load or _load_on_record(samples, replicas, rate),
        beside=beside,
        rushed=rushed(everybody, spec.name),
    )
    if spec.batch is not None and sizing is None:
        size = await with_batch(found, record, _decided_size(spec, record, runtime), runtime, grid, now)
        found = replace(found, spec=in_force(spec, size), sizing=size)
    return hedged(found, now)


def _last_size(spec: ServiceSpec, record: ServiceRecord | None, runtime: Runtime) -> WantedReplicas | None:
    size = number_in_force(spec, _decided_size(spec, record, runtime))
    if size is None or size.replicas or spec.batch is not None or record is None:
        return size
    if not _is_unproven(spec, record, runtime):
        return size
    return replace(size, replicas=1, because="one to show that it can serve: what is deployed has not served yet")


def _is_unproven(spec: ServiceSpec, record: ServiceRecord, runtime: Runtime) -> bool:
    """Whether this spec is about to be deployed, or is being, and nobody knows whether what it names can serve."""
    is_new = not workloads_of(spec) <= workloads_of(record.spec)
    return is_new or any(o.kind is OperationKind.DEPLOY for o in runtime.store.operations(record.name))


def _decided_size(spec: ServiceSpec, record: ServiceRecord | None, runtime: Runtime) -> WantedReplicas | None:
    is_up = record is not None and record.state is ServiceState.ACTIVE and is_scaled(spec.scaling)
    return last_size(runtime.store, spec.name) if is_up else None


def _without_spot(candidates: Iterable[Candidate], runtime: Runtime) -> frozenset[str]:
    """Return the regions whose spot offers nobody here can buy."""
    regions = {c.offer.region for c in candidates if c.offer.market is Market.SPOT}
    return frozenset(
        region.id
        for region in regions
        if (provisioner := runtime.provisioners.get(region.provider)) is not None
        and Ability.SPOT not in provisioner.abilities(region.id)
    )


def _unknown_zone(zone: str) -> ZoneView:
    empty = CarbonSeries(zone, ())
    return ZoneView(zone, Gap(zone, "the region's grid zone is not known", "region catalogue"), empty, empty, None)


def history(rate: float) -> timedelta:
    """Return how far back ended replicas matter: back-off is physical time, rest after a failed move grid time."""
    return min(max(MEMORY * rate, REST_AFTER_FAILURE), LONGEST_HISTORY)


def _recent_samples(service: str, runtime: Runtime, now: Instant) -> Sequence[EnergySample]:
    """Return the samples of the last ten physical minutes."""
    span = RECENT_LOAD_SECONDS * runtime.clock.rate / 3600 * HOUR
    return runtime.store.energy(service, Window(now - span, now))


def _load_on_record(samples: Sequence[EnergySample], replicas: Iterable[Replica], rate: float) -> LoadSeen | None:
    """Return what replicas had under way together, by their samples; ``None`` without any. No rate, no tokens."""
    watched, until = timedelta(0), None
    for window in sorted((s.window for s in samples), key=lambda w: (w.start, w.end)):
        # What nobody sampled is not a time without load.
        watched += max(timedelta(0), window.end - (window.start if until is None else max(until, window.start)))
        until = window.end if until is None else max(until, window.end)
    seconds = watched.total_seconds() / rate
    if seconds <= 0:
        return None
    in_flight = sum(s.mean_batch * s.engine_seconds for s in samples) / seconds
    return LoadSeen(seconds, 0.0, in_flight, sum(r.state is ReplicaState.READY for r in replicas))


def _expected_batch(samples: Sequence[EnergySample]) -> Expectation:
    """Mean concurrency per replica over the last ten physical minutes of samples."""
    seconds = sum(s.engine_seconds for s in samples)
    if seconds <= 0:
        return Expectation(DEFAULT_MEAN_BATCH, "assumed: no load has been seen yet")
    mean = sum(s.mean_batch * s.engine_seconds for s in samples) / seconds
    return Expectation(mean, f"mean of the last {seconds / 60:.0f} replica-minutes")


def _expected_overlap(spec: ServiceSpec) -> Expectation:
    """How long both replicas run after the new one is ready: the canary steps, and a typical drain."""
    rules = spec.migration
    canary = len(rules.canary_percent) * rules.canary_hold.total_seconds()
    return Expectation(
        canary + TYPICAL_DRAIN_SECONDS, f"canary {canary:.0f} s + assumed drain {TYPICAL_DRAIN_SECONDS:.0f} s"
    )
