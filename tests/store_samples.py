"""Small worlds for the tests of the store: one of each value, whose fields a test names only where they matter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.domain.carbon import Accounting, Basis, CarbonIntensity, Factors, Gap, Kind, Reading
from orchestrator.domain.decision import (
    Assessment,
    Decision,
    DecisionKind,
    Factor,
    MoveComparison,
    Term,
    Verdict,
)
from orchestrator.domain.energy import EnergyMethod, EnergySample
from orchestrator.domain.orphans import Reap, ReapRequest, Suspect, SuspectKind, Work
from orchestrator.domain.price import Market
from orchestrator.domain.records import (
    Intent,
    IntentKind,
    IntentState,
    Operation,
    OperationKind,
    OperationState,
    Placement,
)
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import ModelSpec, ServiceSpec
from orchestrator.domain.time import Window

NOW = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)
SERVICE = "chat"
OFFER = "aws/eu-north-1:1xL4:spot"


def later(seconds: float) -> datetime:
    """Return an instant after :data:`NOW`."""
    return NOW + timedelta(seconds=seconds)


def a_spec(name: str = SERVICE, **changes: Any) -> ServiceSpec:
    """Make a spec."""
    return ServiceSpec(name, **{"model": ModelSpec("org/model", args=(("max-model-len", 4096),)), **changes})


def an_operation(operation_id: str = "op-1", service: str = SERVICE, **changes: Any) -> Operation:
    """Make a queued request to deploy."""
    values = {
        "kind": OperationKind.DEPLOY,
        "state": OperationState.QUEUED,
        "actor": "ada",
        "payload_json": "{}",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Operation(operation_id, service, **(values | changes))


def a_replica(name: str = "chat-1", **changes: Any) -> Replica:
    """Make a pending replica."""
    values = {
        "service": SERVICE,
        "slot": 0,
        "offer_id": OFFER,
        "region": "aws/eu-north-1",
        "zone": "SE",
        "shape": "1xL4",
        "market": Market.SPOT,
        "usd_per_hour": 0.1 + 0.2,
        "state": ReplicaState.PENDING,
        "intent_id": f"launch-{name}",
        "revision": 1,
        "workload_digest": "w1",
        "created_at": NOW,
        "state_since": NOW,
    }
    return Replica(name, **(values | changes))


def an_intent(replica: Replica, **changes: Any) -> Intent:
    """Make the planned launch of a replica."""
    values = {
        "id": replica.intent_id,
        "service": replica.service,
        "replica": replica.name,
        "kind": IntentKind.LAUNCH,
        "state": IntentState.PLANNED,
        "epoch": 1,
        "offer_id": replica.offer_id,
        "usd_per_hour": replica.usd_per_hour,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Intent(**(values | changes))


def a_placement(replica: Replica, **changes: Any) -> Placement:
    """Make the placement of a replica."""
    values = {
        "service": replica.service,
        "replica": replica.name,
        "offer_id": replica.offer_id,
        "region": replica.region,
        "zone": replica.zone,
        "usd_per_hour": replica.usd_per_hour,
        "decision_id": "d-1",
        "started_at": NOW,
    }
    return Placement(**(values | changes))


def a_launch(name: str = "chat-1", **changes: Any) -> tuple[Replica, Intent, Placement]:
    """Make what ``start_replica`` takes."""
    replica = a_replica(name, **changes)
    return replica, an_intent(replica), a_placement(replica)


def a_reading(**changes: Any) -> CarbonIntensity:
    """Make a measured intensity."""
    values = {
        "zone": "SE",
        "grams_per_kwh": 23.400000000000002,
        "interval": Window.starting(later(-3600), timedelta(hours=1)),
        "kind": Kind.MEASURED,
        "source": "test",
        "issued_at": NOW,
        "fetched_at": NOW,
        "basis": Basis(Accounting.MARGINAL, Factors.DIRECT),
    }
    return CarbonIntensity(**(values | changes))


READINGS: tuple[Reading, ...] = (a_reading(), Gap("DE", "no value since noon", "test"), a_reading(grams_per_kwh=0.0))

VERDICTS = (
    Verdict("price_cap", passed=True, text="0.30 is below 1.00", value=0.1 + 0.2, limit=float("inf"), unit="USD/h"),
    Verdict("residency", passed=False, text='outside the EU; ƒ and "quotes"', value=None),
)


def an_assessment(offer_id: str = OFFER, **changes: Any) -> Assessment:
    """Make an assessment with numbers that do not survive rounding, and with unknown ones."""
    values = {
        "region": "aws/eu-north-1",
        "zone": "SE",
        "shape": "1xL4",
        "market": Market.SPOT,
        "pue": 1.15,
        "grams_per_kwh": 1e-310,
        "intensity_kind": Kind.ESTIMATED,
        "intensity_source": "test",
        "intensity_age_seconds": 0.1,
        "next_24h_grams_per_kwh": None,
        "next_24h_kind": None,
        "kwh_per_hour": 1 / 3,
        "grams_per_hour": -0.0,
        "expected_grams_per_hour": 2**53 + 1.0,
        "usd_per_hour": None,
        "price_source": "list",
        "trailing_mean_grams_per_kwh": None,
        "verdicts": VERDICTS,
    }
    return Assessment(offer_id, **(values | changes))


def a_comparison(replica: str = "chat-1") -> MoveComparison:
    """Make a comparison with one term."""
    term = Term("energy", 2.0, "g", "a*b", (Factor("a", 1.0, "kWh"), Factor("b", 2.0, "g/kWh", "test")))
    return MoveComparison(
        *(replica, OFFER, "aws/eu-west-3:1xL4:spot", 24.0, (term,), 2.0, 1.0, 1.0, None, 0.01, None, VERDICTS),
        intensity_from=(1.0, 2.0),
        intensity_to=(0.5,),
    )


def a_decision(decision_id: str = "d-1", **changes: Any) -> Decision:
    """Make a decision with an assessment and a comparison."""
    values = {
        "service": SERVICE,
        "at": NOW,
        "kind": DecisionKind.PLACE,
        "actor": "controller",
        "policy": "green-first",
        "summary": "place one replica",
        "assessments": (an_assessment(chosen=1), an_assessment("aws/us-east-1:1xL4:spot")),
        "comparisons": (a_comparison(),),
        "clock_rate": 60.0,
        "plan_digest": "abc",
    }
    return Decision(decision_id, **(values | changes))


def a_sample(replica: str = "chat-1", start: datetime = NOW, **changes: Any) -> EnergySample:
    """Make a minute of energy with an unknown intensity."""
    values = {
        "service": SERVICE,
        "region": "aws/eu-north-1",
        "zone": "SE",
        "window": Window.starting(start, timedelta(minutes=1)),
        "engine_seconds": 60.0,
        "mean_batch": 0.3,
        "watts": 301.7,
        "it_joules": 18102.000000000004,
        "pue": 1.1,
        "facility_joules": 19912.2,
        "grams_per_kwh": None,
        "intensity_kind": None,
        "intensity_source": "",
        "grams": None,
        "usd": 0.0,
        "prompt_tokens": 2**40,
        "output_tokens": 0,
        "method": EnergyMethod.MODELLED,
        "method_detail": "curve",
        "uncertainty_fraction": 0.25,
    }
    return EnergySample(replica=replica, **(values | changes))


def a_suspect(name: str = "gc-1", **changes: Any) -> Suspect:
    """Make a stranger with every field filled."""
    values = {
        "kind": SuspectKind.STRANGER,
        "source": "aws+gcp",
        "service": "chat",
        "region": "aws/eu-north-1",
        "intent_id": "i-1",
        "epoch": 3,
        "deployment_uid": "uid",
        "first_seen_at": NOW,
        "last_seen_at": later(60),
        "sightings": 2,
        "work": Work.IDLE,
        "counters": "1/2/3",
        "idle_since": later(30),
        "told": True,
    }
    return Suspect(name, **(values | changes))


def a_request(request_id: str = "reap-1", **changes: Any) -> ReapRequest:
    """Make somebody's word."""
    values = {
        "actor": "ada",
        "state": OperationState.QUEUED,
        "payload_json": '{"names": ["gc-1"]}',
        "created_at": NOW,
        "updated_at": NOW,
    }
    return ReapRequest(request_id, **(values | changes))


def a_reap(name: str = "gc-1", **changes: Any) -> Reap:
    """Make the planned end of an orphan."""
    values = {
        "id": f"reap-1-{name}",
        "request_id": "reap-1",
        "source": "aws+gcp",
        "state": IntentState.PLANNED,
        "epoch": 1,
        "created_at": later(5),
        "updated_at": later(5),
    }
    return Reap(name=name, **(values | changes))


def at_rest(number: int, **changes: Any) -> Decision:
    """One of a row of decisions of the policy, an hour after the other."""
    values = {"at": later(3600 * number), "kind": DecisionKind.STAY, "actor": "policy", "summary": f"stay {number}"}
    return a_decision(f"h-{number}", **(values | changes))
