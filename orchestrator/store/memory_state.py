"""What the store in memory remembers, and the failures that were asked for."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import wraps
from threading import RLock
from typing import Concatenate, ParamSpec, TypeVar

from orchestrator.domain.carbon import Reading
from orchestrator.domain.chain import Acceptance, Finding, JournalMarks
from orchestrator.domain.decision import Decision, DecisionKind, RestingDay
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.orphans import Reap, ReapRequest, Restored, Suspect, SuspectKind
from orchestrator.domain.records import (
    Event,
    Intent,
    Operation,
    Pause,
    Placement,
    ServiceRecord,
)
from orchestrator.domain.replica import Replica
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import Window
from orchestrator.domain.turns import Turn
from orchestrator.store import rules
from orchestrator.store.codec import spec_digest
from orchestrator.store.shelves import Shelf

V = TypeVar("V")
P = ParamSpec("P")
R = TypeVar("R", bound="Remembering")


@dataclass(slots=True)
class Fault:
    """A failure to come: before the work, or ``after`` it, as if only the answer had been lost."""

    error: BaseException
    after: bool


@dataclass(slots=True)
class State:
    """Everything remembered. Insertion order is the order of arrival."""

    uid: str
    lock: RLock = field(default_factory=RLock)
    faults: defaultdict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    holders: list[str] = field(default_factory=list)
    turn: Turn | None = None
    present: Callable[[], datetime] = lambda: datetime.now(UTC)
    """What goes for the database's clock."""

    services: dict[str, ServiceRecord] = field(default_factory=dict)
    operations: Shelf[Operation] = field(default_factory=lambda: Shelf(_is_open_operation))
    revisions_of: defaultdict[str, list[ServiceSpec]] = field(default_factory=lambda: defaultdict(list))
    revision_by_operation: dict[tuple[str, str], int] = field(default_factory=dict)
    replicas: Shelf[Replica] = field(default_factory=lambda: Shelf(_is_unfinished))
    intents: Shelf[Intent] = field(default_factory=lambda: Shelf(_is_open_intent))
    leases: dict[str, datetime] = field(default_factory=dict)
    placements: dict[str, Placement] = field(default_factory=dict)
    pauses: list[Pause] = field(default_factory=list)
    all_paused: bool = False
    decisions: dict[str, Decision] = field(default_factory=dict)
    decisions_of: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    signals: dict[str, tuple[Reading, ...]] = field(default_factory=dict)
    resting: dict[tuple[str, datetime, DecisionKind, str], RestingDay] = field(default_factory=dict)
    energy: dict[tuple[str, datetime], EnergySample] = field(default_factory=dict)
    energy_of: defaultdict[str, list[EnergySample]] = field(default_factory=lambda: defaultdict(list))
    """By start and replica: what is read of them is a window."""

    energy_merged: defaultdict[str, list[Window]] = field(default_factory=lambda: defaultdict(list))
    """Of each replica, the rows that stand for several samples."""

    events: list[Event] = field(default_factory=list)
    routing_version: int = 0
    suspects: dict[tuple[str, SuspectKind], Suspect] = field(default_factory=dict)
    restored: Restored = field(default_factory=Restored)
    reap_requests: dict[str, ReapRequest] = field(default_factory=dict)
    reaps: dict[str, Reap] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    acceptances: list[Acceptance] = field(default_factory=list)
    marks: JournalMarks = field(default_factory=JournalMarks)

    @property
    def epoch(self) -> int:
        """The newest controller's number; 0 before the first."""
        return len(self.holders)


class Remembering:
    """Whatever works on a shared state."""

    def __init__(self, state: State) -> None:
        self._state = state


def faultable(work: Callable[Concatenate[R, P], V]) -> Callable[Concatenate[R, P], V]:
    """Run a port's method alone, and fail it where that was asked for."""
    name = work.__name__

    @wraps(work)
    def guarded(self: R, /, *args: P.args, **kwargs: P.kwargs) -> V:
        state = self._state
        with state.lock:
            if not state.faults.get(name):
                return work(self, *args, **kwargs)
            fault = state.faults[name].popleft()
            if not fault.after:
                raise fault.error
            work(self, *args, **kwargs)
            raise fault.error

    return guarded


def at_revision(state: State, record: ServiceRecord, revision: int) -> ServiceRecord:
    """Return the record with that revision's spec; a revision that never was is a ``ValueError``."""
    specs = state.revisions_of[record.name]
    if not 1 <= revision <= len(specs):
        raise rules.unknown("revision", f"{record.name}@{revision}")
    spec = specs[revision - 1]
    return replace(record, revision=revision, spec=spec, spec_digest=spec_digest(spec))


def require_service(state: State, name: str) -> ServiceRecord:
    """Return the service, or raise ``UnknownService``."""
    record = state.services.get(name)
    if record is None:
        raise rules.unknown_service(name)
    return record


def require_replica(state: State, name: str) -> Replica:
    """Return the replica, or raise ``ValueError``: the caller never committed it."""
    replica = state.replicas.get(name)
    if replica is None:
        raise rules.unknown("replica", name)
    return replica


def of_service(values: Iterable[V], service: str | None) -> list[V]:
    """Return those of one service, or all."""
    return [v for v in values if service is None or v.service == service]  # type: ignore[attr-defined]  # all have one


def _is_unfinished(replica: Replica) -> bool:
    return not rules.is_finished_with(replica)


def _is_open_intent(intent: Intent) -> bool:
    return intent.state in rules.OPEN_INTENTS


def _is_open_operation(operation: Operation) -> bool:
    return operation.state in rules.OPEN_OPERATIONS
