"""Hand-made values for the renderers: one service, three zones, numbers that can be checked in one's head."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from orchestrator.control.views import Band, ReplicaView, ServiceStatus, ZoneOutlook
from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Factors, Gap, Kind
from orchestrator.domain.certificate import Certificate, Rung
from orchestrator.domain.counters import GatewayStatus, UpstreamStatus
from orchestrator.domain.crossover import Crossover, Missed
from orchestrator.domain.decision import (
    Assessment,
    Decision,
    DecisionKind,
    Factor,
    Likelihood,
    MoveComparison,
    Term,
    Verdict,
)
from orchestrator.domain.energy import EnergyMethod
from orchestrator.domain.plan import Action, ActionKind, FrontierPoint, Plan, Totals
from orchestrator.domain.price import Market
from orchestrator.domain.records import (
    Event,
    EventKind,
    Operation,
    OperationKind,
    OperationState,
    Placement,
    ServiceRecord,
    ServiceState,
)
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.scale import Figure, Spare, WantedReplicas, Work
from orchestrator.domain.service import (
    Engine,
    ModelSpec,
    PlacementRules,
    Policy,
    Scaling,
    ServiceSpec,
)
from orchestrator.domain.time import HOUR, Window
from orchestrator.ledger.report import Embodied, Moves, RegionLine, Report, Rival

NOW = datetime(2023, 6, 1, 12, 20, tzinfo=UTC)
HOSTILE = "\x1b[2J\x1b]0;owned\x07red\r\nerror[forged]: \u202egnp.exe\u200b\x9b31m"
"""Clears the screen, renames the window, forges a line, reverses a name, hides a character."""

SPEC = ServiceSpec(
    name="chat",
    model=ModelSpec(id="Qwen/Qwen3-8B", engine=Engine.VLLM),
    scaling=Scaling(min_replicas=3, max_replicas=8),
    placement=PlacementRules(residency=("EU", "EEA"), max_per_region=2),
    policy=Policy(max_extra_cost_fraction=0.15, price_cap_usd_per_hour=0.35),
)

_PASSED = (
    Verdict("placement.residency", passed=True, text="in EU/EEA"),
    Verdict(
        "policy.price_cap", passed=True, text="$0.2700/h <= price cap $0.3500/h", value=0.27, limit=0.35, unit="USD/h"
    ),
    Verdict(
        "carbon.max_age", passed=True, text="intensity 20 min old, limit 90 min", value=1200.0, limit=5400.0, unit="s"
    ),
)


def assessment(region: str, zone: str | None, grams: float | None, usd: float | None, **changes: object) -> Assessment:
    """One offer drawing 0.15 kW before PUE."""
    pue = 1.1
    values: dict[str, object] = {
        "offer_id": f"{region}:1xL4:spot",
        "region": region,
        "zone": zone,
        "shape": "1xL4",
        "market": Market.SPOT,
        "pue": pue,
        "grams_per_kwh": grams,
        "intensity_kind": Kind.MEASURED if grams is not None else None,
        "intensity_source": "recorded",
        "intensity_age_seconds": 1200.0 if grams is not None else None,
        "next_24h_grams_per_kwh": None if grams is None else grams + 2,
        "next_24h_kind": None if grams is None else Kind.FORECAST,
        "kwh_per_hour": 0.15 * pue,
        "grams_per_hour": None if grams is None else 0.15 * pue * grams,
        "expected_grams_per_hour": None if grams is None else 0.15 * pue * (grams + 2),
        "usd_per_hour": usd,
        "price_source": "packaged list 2023-06",
        "trailing_mean_grams_per_kwh": None if grams is None else grams + 5,
        "verdicts": _PASSED,
    }
    return Assessment(**(values | changes))  # type: ignore[arg-type]


WORK = Work(
    4.25,
    "7.5 requests/s shared by 3; fitted, ±7% (ML.ENERGY, 9 points of batch 8 to 256)",
    3,
    2,
    carries=True,
    reading=0.06,
)

ASSESSMENTS = (
    assessment("aws/eu-north-1", "SE", 19.0, 0.27, chosen=2, work=WORK),
    assessment("gcp/europe-west1", "BE", 129.0, 0.25, chosen=1, intensity_kind=Kind.ESTIMATED, work=WORK),
    assessment("aws/eu-central-1", "DE", 318.0, 0.31, pue=1.33, kwh_per_hour=0.1995, grams_per_hour=63.441),
    assessment(
        "aws/us-east-1",
        "US-MIDA-PJM",
        402.0,
        0.21,
        verdicts=(Verdict("placement.residency", passed=False, text="aws/us-east-1 is not in EU/EEA"),),
    ),
    assessment(
        "aws/eu-south-2",
        None,
        None,
        None,
        pue=None,
        kwh_per_hour=None,
        verdicts=(
            Verdict("region.zone", passed=False, text="grid zone unknown"),
            Verdict("offer.price", passed=False, text="price unknown"),
        ),
    ),
)

FROM_VALUES, TO_VALUES = (318.0, 320.0, 310.5), (19.0, 19.5, 20.0)

COMPARISON = MoveComparison(
    replica="gc-1a2b3c4d-chat-5e6f7a8b9c",
    from_offer="aws/eu-central-1:1xL4:spot",
    to_offer="aws/eu-north-1:1xL4:spot",
    horizon_hours=3.0,
    terms=(
        Term(
            "stay",
            0.1995 * 948.5,
            "gCO2e",
            "kwh_per_hour x sum_of_hourly_intensities x engine_hours_per_grid_hour",
            (
                Factor("kwh_per_hour", 0.1995, "kWh/h", "power model x PUE"),
                Factor("sum_of_hourly_intensities", 948.5, "g/kWh", "live value, then forecast"),
                Factor("engine_hours_per_grid_hour", 1.0, "h/h", "1 / clock rate"),
            ),
        ),
        Term(
            "move",
            -0.165 * 58.5,
            "gCO2e",
            "-kwh_per_hour x sum_of_hourly_intensities x engine_hours_per_grid_hour",
            (
                Factor("kwh_per_hour", 0.165, "kWh/h", "power model x PUE"),
                Factor("sum_of_hourly_intensities", 58.5, "g/kWh", "live value, then forecast"),
                Factor("engine_hours_per_grid_hour", 1.0, "h/h", "1 / clock rate"),
            ),
        ),
        Term(
            "cold start",
            -0.7 * 0.2 * 1.1 * 0.05 * 19.0,
            "gCO2e",
            "-fraction_of_full_power x full_kw x pue x hours x intensity",
            (
                Factor("fraction_of_full_power", 0.7, "", "assumption while a model loads"),
                Factor("full_kw", 0.2, "kW", "power model of 1xL4"),
                Factor("pue", 1.1, "", "AWS 2023"),
                Factor("hours", 0.05, "h", "median of the last 3 starts"),
                Factor("intensity", 19.0, "g/kWh", "recorded"),
            ),
        ),
    ),
    saved_grams=0.1995 * 948.5 - 0.165 * 58.5,
    cost_grams=0.7 * 0.2 * 1.1 * 0.05 * 19.0,
    net_grams=0.1995 * 948.5 - 0.165 * 58.5 - 0.7 * 0.2 * 1.1 * 0.05 * 19.0,
    move_usd=0.0135,
    usd_per_hour_change=-0.04,
    likelihood=Likelihood(pays=28, scenarios=29),
    payback_hours=0.7 * 0.2 * 1.1 * 0.05 * 19.0 / (0.1995 * 318.0 - 0.165 * 19.0),
    verdicts=(
        Verdict("migration.enabled", passed=True, text="voluntary moves are on"),
        Verdict(
            "migration.min_dwell",
            passed=False,
            text="in place for 1.8 h, at least 2.0 h asked",
            value=1.8,
            limit=2.0,
            unit="h",
        ),
    ),
    intensity_from=FROM_VALUES,
    intensity_to=TO_VALUES,
)

LOSING = replace(
    COMPARISON,
    to_offer="gcp/europe-west1:1xL4:spot",
    net_grams=-1.25,
    saved_grams=-1.0,
    cost_grams=0.25,
    payback_hours=None,
    usd_per_hour_change=None,
    move_usd=None,
)

DECISION = Decision(
    id="d-4f1c2a7b90",
    service="chat",
    at=NOW,
    kind=DecisionKind.STAY,
    actor="policy",
    policy="green-first",
    summary="stay: the best move fails migration.min_dwell",
    assessments=ASSESSMENTS,
    comparisons=(COMPARISON, LOSING),
    certificate=Certificate(
        "where 3 replicas stand; the rules of moving hold back the rest",
        "gCO2e",
        24.0,
        1532.52,
        1456.8,
        0.049409,
        Rung.BOUNDED,
        seconds=0.0031,
    ),
)

PLAN = Plan(
    service="chat",
    spec_digest="0dadcfeddba7",
    actions=(
        Action(
            ActionKind.LAUNCH,
            0,
            "wanted by the spec",
            "aws/eu-north-1:1xL4:spot",
            "aws/eu-north-1",
            "1xL4",
            Market.SPOT,
            0.27,
        ),
        Action(
            ActionKind.MOVE,
            1,
            "new workload",
            "gcp/europe-west1:1xL4:spot",
            "gcp/europe-west1",
            "1xL4",
            Market.SPOT,
            0.25,
            replica="gc-1a2b3c4d-chat-5e6f7a8b9c",
            from_region="aws/eu-central-1",
        ),
        Action(
            ActionKind.RETIRE, 3, "more than wanted", replica="gc-1a2b3c4d-chat-0011223344", from_region="aws/eu-west-1"
        ),
    ),
    keep=("gc-1a2b3c4d-chat-99aabbccdd",),
    decision=replace(
        DECISION,
        kind=DecisionKind.PLACE,
        comparisons=(),
        certificate=Certificate(
            "the replica launched", "gCO2e", 24.0, 75.24, 75.24, 0.0, Rung.EXACT, greedy=112.86, seconds=0.0004
        ),
    ),
    totals=Totals(3, 0.495, 27.555, 0.79),
    frontier=(
        FrontierPoint("cheapest", ("gcp/europe-west1:1xL4:spot",) * 3, Totals(3, 0.495, 63.855, 0.75)),
        FrontierPoint("greenest", ("aws/eu-north-1:1xL4:spot",) * 3, Totals(3, 0.495, 9.405, 0.81)),
    ),
)

SIZE = WantedReplicas(
    replicas=3,
    least=1,
    most=6,
    needed=3,
    because="41 requests/s of 18 each",
    figures=(
        Figure("load", 41.2, "requests/s", "the gateway's count over 30 s"),
        Figure("target", 18.0, "requests/s per replica", "target_qps_per_replica"),
    ),
)
SPARES = (
    Spare(1, "aws/eu-north-1:1xL4:spot", 92.0, 0.1012, 1.92, 0.27, is_needed=True),
    Spare(2, "aws/eu-north-1:1xL4:spot", 74.0, 0.0814, 1.55, 0.27, is_needed=False),
    Spare(3, "aws/eu-south-2:1xL4:spot", None, None, None, None, is_needed=False),
)
NOTHING_TO_DO = replace(PLAN, actions=(), keep=("a", "b", "c"), frontier=())


def intensity(zone: str, grams: float, start: datetime, kind: Kind, source: str = "recorded") -> CarbonIntensity:
    """One hour of one zone."""
    return CarbonIntensity(zone, grams, Window(start, start + HOUR), kind, source, start + HOUR, NOW)


def series(zone: str, values: list[float | None], kind: Kind = Kind.FORECAST) -> CarbonSeries:
    """Hours from the present clock hour on; ``None`` stays a hole."""
    first = NOW.replace(minute=0)
    points = [intensity(zone, v, first + i * HOUR, kind) for i, v in enumerate(values) if v is not None]
    return CarbonSeries(zone, tuple(points))


def outlooks() -> tuple[ZoneOutlook, ...]:
    """A clean zone with a hole in its forecast, a dirty one, and one that nobody knows anything about."""
    start = NOW.replace(minute=0)
    return (
        ZoneOutlook(
            zone="DE",
            regions=("aws/eu-central-1", "gcp/europe-west3", "local/de"),
            now=intensity("DE", 318.0, start - HOUR, Kind.RECORDED),
            age_seconds=1200.0,
            forecast=series("DE", [320.0, 300.0, 280.0, 260.0, 300.0, 340.0]),
            mean_grams_per_kwh=300.0,
            cleanest=Window(start + 2 * HOUR, start + 4 * HOUR),
            cleanest_grams_per_kwh=270.0,
            trailing_mean_grams_per_kwh=352.0,
            mean_band=Band(Window(start, start + 6 * HOUR), 268.0, 341.0),
            crossover=Crossover(1, 29, (Missed(0, 11.0, 12.5, 29), Missed(1, 24.0, 17.0, 29))),
        ),
        ZoneOutlook(
            zone="SE",
            regions=("local/se",),
            now=intensity("SE", 19.0, start - HOUR, Kind.RECORDED),
            age_seconds=1200.0,
            forecast=series("SE", [19.0, 21.0, None, 20.0, 18.0, 17.0]),
            mean_grams_per_kwh=19.0,
            cleanest=Window(start + 4 * HOUR, start + 6 * HOUR),
            cleanest_grams_per_kwh=17.5,
            trailing_mean_grams_per_kwh=24.0,
            no_mean_band="the forecast has holes",
        ),
        ZoneOutlook(
            zone="XX",
            regions=(),
            now=Gap("XX", "the recording has no column for XX", "recorded"),
            age_seconds=None,
            forecast=CarbonSeries("XX", ()),
            mean_grams_per_kwh=None,
            cleanest=None,
            cleanest_grams_per_kwh=None,
            trailing_mean_grams_per_kwh=None,
        ),
    )


def replica(slot: int, region: str, zone: str | None, state: ReplicaState, **changes: object) -> Replica:
    """One replica, two hours old."""
    values: dict[str, object] = {
        "name": f"gc-1a2b3c4d-chat-{slot}e6f7a8b9c",
        "service": "chat",
        "slot": slot,
        "offer_id": f"{region}:cpu-2:on_demand",
        "region": region,
        "zone": zone,
        "shape": "cpu-2",
        "market": Market.ON_DEMAND,
        "usd_per_hour": 0.0421,
        "state": state,
        "intent_id": f"{slot}e6f7a8b9c",
        "revision": 1,
        "workload_digest": "w",
        "created_at": NOW - 2 * HOUR,
        "state_since": NOW - 2 * HOUR + timedelta(seconds=42),
        "ready_at": NOW - 2 * HOUR + timedelta(seconds=42) if state is ReplicaState.READY else None,
        "weight_percent": 100 if state is ReplicaState.READY else 0,
    }
    return Replica(**(values | changes))  # type: ignore[arg-type]


REPLICAS = (
    replica(0, "local/se", "SE", ReplicaState.READY),
    replica(1, "local/de", "DE", ReplicaState.STARTING, reason="wanted by the spec"),
    replica(2, "local/nowhere", None, ReplicaState.READY, usd_per_hour=None),
)

RECORD = ServiceRecord(
    name="chat",
    revision=2,
    spec=SPEC,
    spec_digest="0dadcfeddba7",
    state=ServiceState.ACTIVE,
    created_at=NOW - 5 * HOUR,
    updated_at=NOW - 2 * HOUR,
)

EVENTS = (
    Event(1, "chat", EventKind.OPERATION, NOW - 2 * HOUR, NOW - 2 * HOUR, "deploy asked for by ada"),
    Event(
        2,
        "chat",
        EventKind.REPLICA_STATE,
        NOW - 2 * HOUR,
        NOW - 2 * HOUR,
        "r0 local/se: pending (wanted by the spec)",
        REPLICAS[0].name,
    ),
    Event(
        3,
        "chat",
        EventKind.REPLICA_STATE,
        NOW - 2 * HOUR + timedelta(seconds=42),
        NOW - 2 * HOUR + timedelta(seconds=42),
        "r0 local/se: ready",
        REPLICAS[0].name,
    ),
    Event(4, "chat", EventKind.WARNING, NOW - HOUR, NOW - HOUR, "the gateway does not answer"),
    Event(5, "chat", EventKind.WARNING, NOW - HOUR / 2, NOW - HOUR / 2, "the gateway does not answer"),
)

PLACEMENTS = (
    Placement("chat", REPLICAS[0].name, REPLICAS[0].offer_id, "local/se", "SE", 0.0421, "d-1", NOW - 2 * HOUR),
    Placement(
        "chat",
        "gc-1a2b3c4d-chat-ffff000000",
        "local/de:cpu-2:on_demand",
        "local/de",
        "DE",
        None,
        "d-0",
        NOW - 5 * HOUR,
        NOW - 2 * HOUR,
        "moved to local/se",
    ),
)

OPERATIONS = (
    Operation(
        "op-1",
        "chat",
        OperationKind.DEPLOY,
        OperationState.DONE,
        "ada",
        '{"plan": {"digest": "9c41e7a2b0d3"}}',
        NOW - 5 * HOUR,
        NOW,
    ),
    Operation(
        "op-2",
        "chat",
        OperationKind.MIGRATE,
        OperationState.FAILED,
        "bob",
        "{}",
        NOW - HOUR,
        NOW,
        "engine_died",
        "the engine ended with status 1",
    ),
)


def status(**changes: object) -> ServiceStatus:
    """Two of three replicas serve; one stands where no grid zone is known."""
    start = NOW.replace(minute=0)
    views = (
        ReplicaView(REPLICAS[0], intensity("SE", 19.0, start - HOUR, Kind.RECORDED), 1.2, 1.5, 14.2, 0.323, 2),
        ReplicaView(REPLICAS[1], Gap("DE", "the recording is over", "recorded"), 1.2, None, None, None, 0),
        ReplicaView(REPLICAS[2], None, None, 0.0, 8.0, None, None),
    )
    values: dict[str, object] = {
        "service": RECORD,
        "at": NOW,
        "wanted": 3,
        "ready": 2,
        "replicas": views,
        "operation": None,
        "grams_per_hour": None,
        "usd_per_hour": None,
        "gateway": GatewayStatus(7, "b", (UpstreamStatus(REPLICAS[0].name, in_flight=2, ok=41),), accepted=43, ok=41),
        "gateway_url": "http://127.0.0.1:8080",
        "last_event": EVENTS[-1],
        "look": "waiting for replicas to become ready",
    }
    return ServiceStatus(**(values | changes))  # type: ignore[arg-type]


def healthy() -> ServiceStatus:
    """Everything is known and serves."""
    view = status().replicas[0]
    record = replace(RECORD, spec=replace(SPEC, scaling=Scaling()))
    return status(
        service=record, wanted=1, ready=1, replicas=(view,), grams_per_hour=0.323, usd_per_hour=0.0421, look="steady"
    )


REPORT = Report(
    service="chat",
    period=Window(NOW - 4 * HOUR, NOW),
    engine_seconds=7200.0,
    clock_rate=1.0,
    joules=180_000.0,
    it_joules=150_000.0,
    known_joules=180_000.0,
    kwh=0.05,
    grams=4.0,
    usd=0.0842,
    prompt_tokens=12_000,
    output_tokens=48_000,
    grams_per_1000_output_tokens=4.0 / 48,
    embodied=Embodied(0.65, 1.3, 2.0, 0.0, (), ("a share of a two-socket server, 3 to 6 years",), 0.097, 0.11),
    joules_per_output_token=3.75,
    intensity_kind=Kind.RECORDED,
    method=EnergyMethod.MODELLED,
    method_details=("cpu-2 from the mean batch",),
    uncertainty_fraction=0.3,
    regions=(
        RegionLine("local/de", "DE", 0.5, 0.0, 0.0125, 3.3, 0.021, 12_000, 264.0),
        RegionLine("local/se", "SE", 1.5, 0.0, 0.0375, 0.7, 0.0632, 36_000, 18.67),
    ),
    rivals=(
        Rival("home", "local/de", "placement.home in the spec", 15.6, 0.0808, 1.0, Kind.RECORDED),
        Rival("B3", "local/se", "cleanest trailing 28-day mean", 0.93, 0.0808, 1.0, Kind.SYNTHETIC),
        Rival("elsewhere", "local/xx", "unknown there", None, None, 0.25),
    ),
    moves=Moves(1, 288.0, 3_600.0, 0.31, 0.0034),
)

PARTLY_UNPRICED = replace(REPORT, regions=(REPORT.regions[0], replace(REPORT.regions[1], unpriced_hours=0.25)))

PARTLY_UNKNOWN = replace(
    REPORT,
    clock_rate=60.0,
    known_joules=135_000.0,
    usd=None,
    output_tokens=0,
    grams_per_1000_output_tokens=None,
    embodied=Embodied(0.0, 0.0, 0.0, 2.0, ("1xL4",), (), None, None),
    joules_per_output_token=None,
    regions=(replace(REPORT.regions[0], grams=None, usd=None, mean_grams_per_kwh=None, zone=None),),
    rivals=(),
    moves=None,
    basis=Basis(factors=Factors.DIRECT),
    basis_before=Basis(),
)

MOVED = (
    replica(
        1,
        "aws/eu-central-1",
        "DE",
        ReplicaState.READY,
        name=COMPARISON.replica,
        offer_id="aws/eu-central-1:1xL4:spot",
    ),
)

MOVE_PLAN = replace(
    PLAN,
    actions=(
        Action(
            ActionKind.MOVE,
            1,
            "asked for by ada",
            "aws/eu-north-1:1xL4:spot",
            "aws/eu-north-1",
            "1xL4",
            Market.SPOT,
            0.27,
            replica=COMPARISON.replica,
            from_region="aws/eu-central-1",
        ),
    ),
    keep=(),
    decision=replace(DECISION, kind=DecisionKind.MOVE, comparisons=(COMPARISON,)),
)
