"""Worlds in one line: offers, candidates, replicas and snapshots whose fields a test names only where they matter.

Everything happens at :data:`NOON`. Unless a test says otherwise an offer is on demand, costs a dollar an hour, runs on
one L4 at PUE 1.1, and its zone has a fresh measured intensity that stays what it is for the next two days.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import prod
from typing import Any

from orchestrator.bench.sim.shop import list_price
from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries, Gap, Kind, Reading
from orchestrator.domain.decision import Assessment, Term, Verdict
from orchestrator.domain.hardware import PowerModel, Shape
from orchestrator.domain.offer import Candidate, Offer
from orchestrator.domain.places import Region
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.price import Market, Price
from orchestrator.domain.records import (
    Operation,
    OperationKind,
    OperationState,
    ServiceRecord,
    ServiceState,
)
from orchestrator.domain.replica import ENDED, Replica, ReplicaState
from orchestrator.domain.service import (
    CarbonRules,
    MigrationRules,
    ModelSpec,
    PlacementRules,
    Policy,
    ResourceRequest,
    Scaling,
    ServiceSpec,
)
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.domain.workload import workload_digest
from orchestrator.planner.snapshot import Expectation, Snapshot
from orchestrator.spec.codec import spec_digest

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
AHEAD_HOURS = 48
PROVIDERS = frozenset({"aws", "gcp", "local"})

# ── signals ──────────────────────────────────────────────────────────────────────────────────────────


def intensity(
    zone: str, grams: float, start: Instant = NOON, hours: float = 1, kind: Kind = Kind.MEASURED, source: str = "test"
) -> CarbonIntensity:
    """Make one value that describes ``hours`` from ``start`` and was published when they began."""
    window = Window.starting(start, hours * HOUR)
    return CarbonIntensity(zone, grams, window, kind, source, issued_at=start, fetched_at=start)


def series(zone: str, grams: Iterable[float | None], start: Instant = NOON, kind: Kind = Kind.FORECAST) -> CarbonSeries:
    """Make hourly values one after the other; ``None`` leaves a hole."""
    points = (
        intensity(zone, value, start + hour * HOUR, kind=kind) for hour, value in enumerate(grams) if value is not None
    )
    return CarbonSeries(zone, tuple(points))


def stale(zone: str, grams: float, age: timedelta = 6 * HOUR, now: Instant = NOON) -> CarbonIntensity:
    """Make a value whose hour ended ``age`` ago."""
    return intensity(zone, grams, now - age - HOUR)


# ── offers ───────────────────────────────────────────────────────────────────────────────────────────

L4 = PowerModel(60.0, 300.0, 4.0, "saturating", 0.3, "test bench")


def shape(name: str = "1xL4", power: PowerModel | None = L4) -> Shape:
    """Make a shape."""
    return Shape(name, "L4", 1, 8.0, 32.0, power)


def price(usd_per_hour: float) -> Price:
    """Make a list price."""
    return list_price(usd_per_hour, NOON)


def offer(
    region: str,
    *,
    zone: str | None = "",
    usd: float | None = 1.0,
    market: Market = Market.ON_DEMAND,
    pue: float | None = 1.1,
    on: Shape | None = None,
    residency: Iterable[str] = ("EU",),
) -> Offer:
    """Make an offer; without ``zone`` the region's own name, upper-cased, is its grid zone."""
    grid_zone = region.partition("/")[2].upper() if zone == "" else zone
    place = Region(region, grid_zone, pue, "test", frozenset(residency))
    return Offer(place, on or shape(), market, None if usd is None else price(usd))


def candidate(
    region: str,
    grams: float | Reading,
    *,
    ahead: Sequence[float | None] | None = None,
    trailing: float | None = None,
    avoid_until: Instant | None = None,
    now: Instant = NOON,
    **terms: Any,
) -> Candidate:
    """Make an offer with what is known of its grid: ``grams`` now, and ``ahead`` from this hour on (or no change).

    A reading in place of the number is used as it is; then nothing is known ahead unless it is said.
    """
    sold = offer(region, **terms)
    zone = sold.region.zone or "?"
    if isinstance(grams, CarbonIntensity | Gap):
        reading: Reading = grams
        coming: Sequence[float | None] = () if ahead is None else ahead
    else:
        reading = intensity(zone, grams, floor_hour(now))
        coming = [grams] * AHEAD_HOURS if ahead is None else ahead
    return Candidate(
        offer=sold,
        now=reading,
        forecast=series(zone, coming, floor_hour(now)),
        trailing_mean_grams_per_kwh=trailing,
        avoid_until=avoid_until,
        avoid_reason="no_capacity: sold out" if avoid_until is not None else "",
    )


# ── what is wanted ───────────────────────────────────────────────────────────────────────────────────

GREEN = Policy(name="green", max_extra_cost_fraction=None)
"""Greenest, whatever it costs: most tests are about one rule at a time."""


def service_spec(
    replicas: int = 1,
    *,
    placement: PlacementRules | None = None,
    carbon: CarbonRules | None = None,
    migration: MigrationRules | None = None,
    spot: bool = False,
    **changes: Any,
) -> ServiceSpec:
    """Make a spec of a service named ``chat``."""
    return ServiceSpec(
        name="chat",
        model=ModelSpec("org/model"),
        resources=ResourceRequest(use_spot=spot),
        scaling=Scaling(replicas, replicas),
        placement=placement or PlacementRules(),
        carbon=carbon or CarbonRules(),
        migration=migration or MigrationRules(),
        **changes,
    )


# ── what there is ────────────────────────────────────────────────────────────────────────────────────


def replica(
    on: Candidate | Offer,
    slot: int = 0,
    state: ReplicaState = ReplicaState.READY,
    *,
    name: str = "",
    up_for: timedelta = 24 * HOUR,
    now: Instant = NOON,
    **changes: Any,
) -> Replica:
    """Make a replica that was asked for ``up_for`` ago and, if it is ready, has been so ever since."""
    sold = on.offer if isinstance(on, Candidate) else on
    since = now - up_for
    was_ready = state in {ReplicaState.READY, ReplicaState.DRAINING}
    made = Replica(
        name=name or f"gc-test-chat-{slot}",
        service="chat",
        slot=slot,
        offer_id=sold.id,
        region=sold.region.id,
        zone=sold.region.zone,
        shape=sold.shape.name,
        market=sold.market,
        usd_per_hour=None if sold.price is None else sold.price.usd_per_hour,
        state=state,
        intent_id=f"i-{name or slot}",
        revision=1,
        workload_digest=_digests(service_spec())[1],
        created_at=since,
        state_since=since,
        ready_at=since if was_ready else None,
        endpoint="http://127.0.0.1:9000" if was_ready else None,
        weight_percent=100 if was_ready else 0,
        weight_since=since if was_ready else None,
    )
    return replace(made, **changes)


def snapshot(
    candidates: Iterable[Candidate],
    replicas: Iterable[Replica] = (),
    spec: ServiceSpec | None = None,
    *,
    batch: float = 4.0,
    cold_start_seconds: float = 90.0,
    overlap_seconds: float = 25.0,
    **changes: Any,
) -> Snapshot:
    """Make the world as a decision sees it."""
    wanted = spec or service_spec()
    made = Snapshot(
        spec=wanted,
        spec_digest=_digests(wanted)[0],
        workload_digest=_digests(wanted)[1],
        candidates=tuple(candidates),
        replicas=tuple(replicas),
        moves=(),
        mean_batch=Expectation(batch, "test"),
        cold_start_seconds=Expectation(cold_start_seconds, "median of the last 5 starts"),
        overlap_seconds=Expectation(overlap_seconds, "canary 15 s + assumed drain 10 s"),
        providers=PROVIDERS,
    )
    return replace(made, **changes)


@lru_cache(maxsize=1000)
def _digests(spec: ServiceSpec) -> tuple[str, str]:
    """Return the digests of the spec and of what it runs."""
    return spec_digest(spec), workload_digest(spec)


def applied(plan: Plan, before: Snapshot, now: Instant) -> Snapshot:
    """Carry a plan out as if everything went well at once: what was bought is ready, what was left has ended."""
    sold = {c.offer.id: c.offer for c in before.candidates}
    left = {a.replica for a in plan.actions if a.kind is not ActionKind.LAUNCH}
    kept = [
        replace(r, state=ReplicaState.TERMINATED, state_since=now, ended_at=now, cleaned_up=True)
        if r.name in left
        else r
        for r in before.replicas
    ]
    bought = [
        replica(
            sold[a.offer_id],
            a.slot,
            name=f"gc-{plan.decision.id}-{a.slot}",
            up_for=timedelta(0),
            now=now,
            replaces=a.replica or None,
            workload_digest=before.workload_digest,
        )
        for a in plan.actions
        if a.kind is not ActionKind.RETIRE
    ]
    return replace(before, replicas=(*kept, *bought))


def serving(replicas: Iterable[Replica]) -> tuple[str, ...]:
    """Return the offers that ready replicas stand on, by slot."""
    ready = sorted((r for r in replicas if r.state is ReplicaState.READY), key=lambda r: r.slot)
    return tuple(r.offer_id for r in ready)


def over(replicas: Iterable[Replica]) -> bool:
    """Whether nothing of any of them is left."""
    return all(r.state in ENDED and r.cleaned_up for r in replicas)


# ── explanations ─────────────────────────────────────────────────────────────────────────────────────


def assessment_of(plan: Plan, region: str) -> Assessment:
    """Return the only assessment of that region."""
    (found,) = [a for a in plan.decision.assessments if a.region == region]
    return found


def recomputed(term: Term) -> float:
    """Apply a term's formula, as it is printed, to its factors, as they are printed."""
    names = term.formula.removeprefix("-").split(" x ")
    values = {f.name: f.value for f in term.factors}
    assert set(names) == set(values), f"{term.formula} does not name exactly its factors"
    return (-1.0 if term.formula.startswith("-") else 1.0) * prod(values[name] for name in names)


def failed_rules(verdicts: Iterable[Verdict]) -> set[str]:
    """Return the names of the rules that said no."""
    return {v.rule for v in verdicts if not v.passed}


# ── records ──────────────────────────────────────────────────────────────────────────────────────────


def record(spec: ServiceSpec | None = None, state: ServiceState = ServiceState.ACTIVE) -> ServiceRecord:
    """Make the store's record of a service."""
    wanted = spec or service_spec()
    return ServiceRecord(wanted.name, 1, wanted, spec_digest(wanted), state, NOON, NOON)


def operation(kind: OperationKind, payload_json: str = "{}", created_at: Instant = NOON) -> Operation:
    """Make a running request."""
    return Operation("op-1", "chat", kind, OperationState.RUNNING, "ada", payload_json, created_at, created_at)
