"""What the store keeps besides replicas and decisions: services, operations, intents, placements, events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import Instant


class ServiceState(StrEnum):
    """Whether the controller keeps the service up or takes it down."""

    ACTIVE = "active"
    GOING_DOWN = "going_down"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """A service and its newest spec.

    ``home_offer``: the cheapest allowed offer at first deploy, unless the spec names a home region; baselines are
    reported against it. ``paused``: nothing voluntary is done, because it or everything is paused.
    """

    name: str
    revision: int
    spec: ServiceSpec
    spec_digest: str
    state: ServiceState
    created_at: Instant
    updated_at: Instant
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Somebody's word that nothing voluntary may be done from ``at`` on, or (``paused`` is false) that it may again.

    ``service`` is empty where the word is about every service. ``at`` is grid time.
    """

    service: str
    paused: bool
    actor: str
    reason: str
    at: Instant


class OperationKind(StrEnum):
    """What somebody asked the controller to do."""

    DEPLOY = "deploy"
    MIGRATE = "migrate"
    DOWN = "down"


class OperationState(StrEnum):
    """Where the request is. The last two are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Operation:
    """A request to the controller, durable before it is acted upon. ``payload_json``: kind-specific arguments."""

    id: str
    service: str
    kind: OperationKind
    state: OperationState
    actor: str
    payload_json: str
    created_at: Instant
    updated_at: Instant
    error_code: str = ""
    error: str = ""


class IntentKind(StrEnum):
    """What is about to be asked of a provider."""

    LAUNCH = "launch"
    TERMINATE = "terminate"


class IntentState(StrEnum):
    """``PLANNED`` is committed before the provider is called, ``ISSUED`` when the call is about to leave."""

    PLANNED = "planned"
    ISSUED = "issued"
    CONFIRMED = "confirmed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Intent:
    """One journaled decision to change the world."""

    id: str
    service: str
    replica: str
    kind: IntentKind
    state: IntentState
    epoch: int
    offer_id: str
    usd_per_hour: float | None
    created_at: Instant
    updated_at: Instant
    detail: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it is not known yet how it ended."""
        return self.state in {IntentState.PLANNED, IntentState.ISSUED}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a replica stood and when: from the launch being issued to the provider's confirmed end."""

    service: str
    replica: str
    offer_id: str
    region: str
    zone: str | None
    usd_per_hour: float | None
    decision_id: str
    started_at: Instant
    ended_at: Instant | None = None
    end_reason: str = ""


class EventKind(StrEnum):
    """What happened; one word per kind, also in JSON."""

    REPLICA_STATE = "replica_state"
    MIGRATION_STARTED = "migration_started"
    MIGRATION_STEP = "migration_step"
    MIGRATION_DONE = "migration_done"
    MIGRATION_ABORTED = "migration_aborted"
    REPLICA_REPLACED = "replica_replaced"
    OPERATION = "operation"
    GATEWAY = "gateway"
    SIGNAL = "signal"
    CONTROLLER = "controller"
    WARNING = "warning"
    REAP = "reap"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of history. ``at`` is grid time, ``wall_at`` the machine's own clock: they differ on a replayed grid."""

    id: int
    service: str
    kind: EventKind
    at: Instant
    wall_at: Instant
    text: str
    replica: str = ""
    detail_json: str = "{}"
