"""Put the cases of a policy's fixtures to the real planner, and compare what it decides with what was expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from orchestrator.control.load import in_force
from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries, Gap, Kind, Reading
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.hardware import PowerModel, Shape
from orchestrator.domain.offer import Candidate, Offer
from orchestrator.domain.places import Region
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.price import Market, Price
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import (
    BatchRules,
    CarbonRules,
    ModelSpec,
    Policy,
    ResourceRequest,
    Scaling,
    ServiceSpec,
)
from orchestrator.domain.time import HOUR, Window
from orchestrator.domain.workload import workload_digest
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.batch import Round, batch_wanted
from orchestrator.planner.plan import plan
from orchestrator.planner.snapshot import Expectation as Assumed
from orchestrator.planner.snapshot import Snapshot
from orchestrator.spec.fixture_file import PROVIDER, Case, Expectation, Fixtures, GivenBatch, GivenRegion, Verb

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""Any hour will do: a case says how old its numbers are, not when they were read."""

ONE_KILOWATT = PowerModel(1000.0, 1000.0, 1.0, "constant", 0.0, "policy fixtures")
"""Every replica of a case draws one kilowatt: at a PUE of 1, grams per hour are grams per kWh, easy to check by eye."""

SHAPE = Shape("1kW", None, 0, 1.0, 1.0, ONE_KILOWATT)
SOURCE = "fixture"
COLD_START_SECONDS, OVERLAP_SECONDS = 90.0, 25.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case: what was expected, what was decided and why, in words."""

    policy: str
    case: str
    line: int
    expected: str
    decided: str
    because: str
    passed: bool


def try_policy(policy: Policy, fixtures: Fixtures) -> tuple[Outcome, ...]:
    """Run every case through :func:`plan`, as a controller with an empty history would."""
    return tuple(_try(policy, case) for case in fixtures.cases)


def _try(policy: Policy, case: Case) -> Outcome:
    snapshot = _snapshot(policy, case)
    if case.batch is not None:
        snapshot = _with_batch(snapshot, policy, case.batch, case.regions)
    try:
        made = plan(snapshot, policy, NOW)
    except NoFeasiblePlacement as refusal:
        # A person who writes the case reads which rule said no, and that is in the offers.
        because = refusal.message
        decided, passed = "refuse", case.expect.verb is Verb.REFUSE and _says(because, case.expect)
    else:
        decided, because = _decision(made), _reason(made)
        passed = _meets(made, case.expect)
        if waits := _wait(made):
            decided, because = f"wait {waits / HOUR:.0f}h", made.decision.summary
    return Outcome(policy.name, case.name, case.line, case.expect.text, decided, because, passed)


# ── what was decided ─────────────────────────────────────────────────────────────────────────────────


def _meets(made: Plan, expect: Expectation) -> bool:
    launched = [a.region for a in made.actions if a.kind is ActionKind.LAUNCH]
    moved = [(a.from_region, a.region) for a in made.actions if a.kind is ActionKind.MOVE]
    match expect.verb:
        case Verb.CHOOSE:
            return not moved and Counter(launched) == Counter(expect.regions)
        case Verb.MOVE:
            return not launched and moved == [(expect.regions[0], expect.regions[1])]
        case Verb.STAY:
            return made.decision.kind is DecisionKind.STAY and _says(made.decision.summary, expect)
        case Verb.WAIT:
            waits = _wait(made)
            return waits is not None and abs(waits - expect.wait) < HOUR / 2
        case Verb.REFUSE:
            return False


def _wait(made: Plan) -> timedelta | None:
    """Return for how long batch work waits; ``None`` where it does not, or does not say until when."""
    size = made.decision.sizing
    return None if size is None or size.replicas or size.until is None else size.until - NOW


def _says(because: str, expect: Expectation) -> bool:
    return expect.because.lower() in because.lower()


def _decision(made: Plan) -> str:
    words = [f"move {_short(a.from_region)} to {_short(a.region)}" for a in made.actions if a.kind is ActionKind.MOVE]
    launched = [_short(a.region) for a in made.actions if a.kind is ActionKind.LAUNCH]
    if launched:
        words.append("choose " + " and ".join(sorted(launched)))
    words += [f"retire {_short(a.from_region)}" for a in made.actions if a.kind is ActionKind.RETIRE]
    return "; ".join(words) or made.decision.kind.value


def _reason(made: Plan) -> str:
    """Say of a choice what kept the others out, else what the decision says of itself."""
    if made.decision.kind is DecisionKind.STAY:
        return made.decision.summary
    out = [f"{_short(a.region)}: {a.excluded_because}" for a in made.decision.assessments if not a.allowed]
    return "; ".join(out) or made.decision.summary


def _short(region: str) -> str:
    return region.removeprefix(f"{PROVIDER}/")


# ── the world of a case ──────────────────────────────────────────────────────────────────────────────


def _snapshot(policy: Policy, case: Case) -> Snapshot:
    grams, period = case.budget or (None, None)
    spec = ServiceSpec(
        name="fixture",
        model=ModelSpec("policy/fixture"),
        resources=ResourceRequest(use_spot=any(r.market is Market.SPOT for r in case.regions)),
        scaling=Scaling(case.replicas, case.replicas),
        carbon=CarbonRules(when_stale=case.when_stale, budget_grams=grams, budget_period=period),
        policy=policy,
        clients=case.clients,
    )
    hours = max(1, int(policy.horizon / HOUR))
    candidates = tuple(_candidate(region, index, hours) for index, region in enumerate(case.regions))
    return Snapshot(
        spec=spec,
        spec_digest="",
        workload_digest=workload_digest(spec),
        candidates=candidates,
        replicas=tuple(_replicas(case.regions, candidates, workload_digest(spec))),
        moves=(),
        mean_batch=Assumed(1.0, SOURCE),
        cold_start_seconds=Assumed(COLD_START_SECONDS, SOURCE),
        overlap_seconds=Assumed(OVERLAP_SECONDS, SOURCE),
        providers=frozenset(c.offer.region.provider for c in candidates),
        rtt_ms={r.region: r.rtt_ms for r in case.regions if r.rtt_ms is not None},
    )


def _with_batch(snapshot: Snapshot, policy: Policy, given: GivenBatch, regions: Sequence[GivenRegion]) -> Snapshot:
    """Return the snapshot as a service with that work would have it; it has not been begun.

    When it runs is decided by all coming hours up to its deadline, however far the policy looks ahead.
    """
    rules = BatchRules(engine_hours=given.engine_hours, preemptible=given.preemptible)
    scaling = replace(snapshot.spec.scaling, min_replicas=0)
    spec = replace(snapshot.spec, scaling=scaling, batch=rules)
    work = Round(Window(NOW, NOW + given.due_in), given.engine_hours, 0.0, "nothing is done yet", recurs=False)
    outlooks = {_zone(index): _coming(_zone(index), region.coming) for index, region in enumerate(regions)}
    size = batch_wanted(replace(snapshot, spec=spec), policy, rules, work, outlooks, None, NOW)
    return replace(snapshot, spec=in_force(spec, size), sizing=size)


def _candidate(given: GivenRegion, index: int, hours: int) -> Candidate:
    zone = _zone(index)
    region = Region(given.region, zone, given.pue, SOURCE)
    price = None if given.usd_per_hour is None else Price(given.usd_per_hour, SOURCE, Kind.RECORDED, NOW)
    now: Reading = Gap(zone, "unknown in this case", SOURCE)
    if given.grams_per_kwh is not None:
        now = _intensity(zone, given.grams_per_kwh, Window.starting(NOW - given.age - HOUR, HOUR), Kind.MEASURED)
        if given.age <= timedelta(0):
            now = _intensity(zone, given.grams_per_kwh, Window.starting(NOW, HOUR), Kind.MEASURED)
    ahead = _coming(zone, given.coming[:hours])
    return Candidate(Offer(region, SHAPE, given.market, price), now, ahead, given.usual_grams_per_kwh)


def _zone(index: int) -> str:
    return f"ZONE-{index}"


def _coming(zone: str, hours: Sequence[float]) -> CarbonSeries:
    return CarbonSeries(
        zone,
        tuple(
            _intensity(zone, grams, Window.starting(NOW + hour * HOUR, HOUR), Kind.FORECAST)
            for hour, grams in enumerate(hours)
        ),
    )


def _intensity(zone: str, grams: float, window: Window, kind: Kind) -> CarbonIntensity:
    return CarbonIntensity(zone, grams, window, kind, SOURCE, issued_at=window.start, fetched_at=NOW)


def _replicas(given: Sequence[GivenRegion], candidates: Sequence[Candidate], workload: str) -> list[Replica]:
    found: list[Replica] = []
    for region, candidate in zip(given, candidates, strict=True):
        since = NOW - region.here_for
        for _ in range(region.replicas):
            slot = len(found)
            found.append(
                Replica(
                    name=f"fixture-{slot}",
                    service="fixture",
                    slot=slot,
                    offer_id=candidate.offer.id,
                    region=region.region,
                    zone=candidate.offer.region.zone,
                    shape=SHAPE.name,
                    market=region.market,
                    usd_per_hour=region.usd_per_hour,
                    state=ReplicaState.READY,
                    intent_id=f"fixture-{slot}",
                    revision=1,
                    workload_digest=workload,
                    created_at=since,
                    state_since=since,
                    ready_at=since,
                    weight_percent=100,
                )
            )
    return found
