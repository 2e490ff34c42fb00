"""The memory of one process: the same promises as the database, nothing on disk, and failures on request.

For tests and simulations. It keeps the values themselves, so a simulated year costs no serialisation.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import wraps
from itertools import islice
from threading import RLock
from typing import Concatenate, ParamSpec, TypeVar

from orchestrator.domain.carbon import Reading
from orchestrator.domain.decision import Decision
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.records import (
    Event,
    EventKind,
    Intent,
    IntentState,
    Operation,
    OperationState,
    Placement,
    ServiceRecord,
    ServiceState,
)
from orchestrator.domain.replica import ENDED, Replica, ReplicaState
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import Window
from orchestrator.store import rules
from orchestrator.store.codec import spec_digest
from orchestrator.store.shelves import Shelf
from orchestrator.store.tidy import tidy, tidy_instant, tidy_text

V = TypeVar("V")
P = ParamSpec("P")
R = TypeVar("R", bound="MemoryRecords")


@dataclass(slots=True)
class _Fault:
    error: BaseException
    after: bool


@dataclass(slots=True)
class _State:
    """Everything remembered. Insertion order is the order of arrival."""

    uid: str
    lock: RLock = field(default_factory=RLock)
    faults: defaultdict[str, deque[_Fault]] = field(default_factory=lambda: defaultdict(deque))
    holders: list[str] = field(default_factory=list)
    services: dict[str, ServiceRecord] = field(default_factory=dict)
    operations: Shelf[Operation] = field(default_factory=lambda: Shelf(_is_open_operation))
    revisions_of: defaultdict[str, list[ServiceSpec]] = field(default_factory=lambda: defaultdict(list))
    revision_by_operation: dict[tuple[str, str], int] = field(default_factory=dict)
    replicas: Shelf[Replica] = field(default_factory=lambda: Shelf(_is_unfinished))
    intents: Shelf[Intent] = field(default_factory=lambda: Shelf(_is_open_intent))
    placements: dict[str, Placement] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    decisions_of: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    signals: dict[str, tuple[Reading, ...]] = field(default_factory=dict)
    energy_of: defaultdict[str, dict[tuple[str, datetime], EnergySample]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    events: list[Event] = field(default_factory=list)
    routing_version: int = 0

    @property
    def epoch(self) -> int:
        return len(self.holders)


def _method(work: Callable[Concatenate[R, P], V]) -> Callable[Concatenate[R, P], V]:
    """Run a port's method alone, and fail it where that was asked for."""

    @wraps(work)
    def guarded(self: R, /, *args: P.args, **kwargs: P.kwargs) -> V:
        state = self._state
        with state.lock:
            waiting = state.faults.get(work.__name__)
            fault = waiting.popleft() if waiting else None
            if fault is not None and not fault.after:
                raise fault.error
            answer = work(self, *args, **kwargs)
            if fault is not None:
                raise fault.error
            return answer

    return guarded


class MemoryRecords:
    """The ``Records`` port over values in this process."""

    def __init__(self, state: _State) -> None:
        self._state = state

    @_method
    def deployment_uid(self) -> str:
        """Return this installation's unique id."""
        return self._state.uid

    @_method
    def services(self) -> Sequence[ServiceRecord]:
        """Return all services by name, those that are down included."""
        return [self._state.services[name] for name in sorted(self._state.services)]

    @_method
    def service(self, name: str) -> ServiceRecord | None:
        """Return the service with its newest revision."""
        return self._state.services.get(name)

    @_method
    def replicas(self, service: str | None = None, *, ended: bool = False) -> Sequence[Replica]:
        """Return replicas by service, slot and age. Without ``ended``, those that live or are not yet cleaned up."""
        shelf = self._state.replicas
        return sorted(_of_service(shelf.all() if ended else shelf.open(), service), key=lambda r: (r.service, r.slot))

    @_method
    def operations(self, service: str | None = None, *, open_only: bool = True) -> Sequence[Operation]:
        """Return requests in order of arrival."""
        shelf = self._state.operations
        return _of_service(shelf.open() if open_only else shelf.all(), service)

    @_method
    def operation(self, operation_id: str) -> Operation | None:
        """Return one request."""
        return self._state.operations.get(operation_id)

    @_method
    def decisions(self, service: str, *, limit: int = 50) -> Sequence[Decision]:
        """Return decisions, newest first."""
        newest = islice(reversed(self._state.decisions_of.get(service, [])), max(0, limit))
        return [self._state.decisions[decision_id] for decision_id in newest]

    @_method
    def decision(self, decision_id: str) -> Decision | None:
        """Return one decision by id."""
        return self._state.decisions.get(decision_id)

    @_method
    def signals_used(self, decision_id: str) -> Sequence[Reading]:
        """Return the signals that a decision was recorded with, in their order; none when there is no such decision."""
        return self._state.signals.get(decision_id, ())

    @_method
    def placements(self, service: str) -> Sequence[Placement]:
        """Return where replicas stood, in order of their launches."""
        return _of_service(self._state.placements.values(), service)

    @_method
    def intents(self, service: str | None = None, *, open_only: bool = False) -> Sequence[Intent]:
        """Return intents in the order in which they were committed."""
        shelf = self._state.intents
        return _of_service(shelf.open() if open_only else shelf.all(), service)

    @_method
    def events(self, service: str | None = None, *, after_id: int = 0, limit: int = 1000) -> Sequence[Event]:
        """Return events with a larger id, oldest first."""
        later = islice(self._state.events, max(0, after_id), None)
        return list(islice((e for e in later if service is None or e.service == service), max(0, limit)))

    @_method
    def energy(self, service: str, window: Window | None = None) -> Sequence[EnergySample]:
        """Return energy samples whose window starts inside, oldest first."""
        samples = self._state.energy_of.get(service, {}).values()
        found = [s for s in samples if window is None or s.window.start in window]
        return sorted(found, key=lambda s: (s.window.start, s.replica))


class MemoryJournal(MemoryRecords):
    """The ``Journal`` port over values in this process.

    Every write raises ``LeaseHeld`` once a newer epoch was claimed. Writing about something that was never recorded is
    a ``ValueError`` (``UnknownService`` for a service).
    """

    def __init__(self, state: _State, epoch: int) -> None:
        super().__init__(state)
        self._epoch = epoch

    @property
    def epoch(self) -> int:
        """Our turn's number."""
        return self._epoch

    @_method
    def start_replica(self, replica: Replica, intent: Intent, placement: Placement) -> None:
        """Commit a PENDING replica with its PLANNED launch intent, before anything is bought. Idempotent by name."""
        rules.check_launch(replica, intent, placement)
        new, plan, place = tidy(replica), tidy(intent), tidy(placement)
        state = self._at_turn()
        _require_service(state, new.service)
        if new.name in state.replicas:
            return
        if plan.id in state.intents:
            raise ValueError(f"intent {plan.id} already belongs to another replica")
        state.replicas.put(new.name, new)
        state.intents.put(plan.id, plan)
        state.placements[new.name] = place

    @_method
    def move_replica(self, name: str, to: ReplicaState, now: datetime, reason: str = "") -> Replica:
        """Change the state along ``NEXT_STATES``; raises ``ValueError`` for any other arrow.

        Ends the placement when the new state is final. An empty reason keeps the one before.
        """
        at, why = tidy_instant(now), tidy_text(reason)
        state = self._at_turn()
        old = _replica(state, name)
        rules.check_arrow(name, old.state, to)
        new = replace(old, state=to, state_since=at, reason=why or old.reason)
        if to is ReplicaState.READY:
            new = replace(new, ready_at=at)
        if to in ENDED:
            new = replace(new, ended_at=at)
            place = state.placements[name]
            state.placements[name] = replace(place, ended_at=at, end_reason=why or to.value)
        return state.replicas.put(name, new)

    @_method
    def update_replica(
        self,
        name: str,
        *,
        endpoint: str | None = None,
        weight_percent: int | None = None,
        cleaned_up: bool | None = None,
        now: datetime,
    ) -> Replica:
        """Change what is not the state; only what is given. ``weight_since`` follows a weight that really changes."""
        at = tidy_instant(now)
        if weight_percent is not None:
            rules.check_weight(name, weight_percent)
        state = self._at_turn()
        old = new = _replica(state, name)
        if endpoint is not None:
            new = replace(new, endpoint=tidy_text(endpoint))
        if weight_percent is not None and weight_percent != old.weight_percent:
            new = replace(new, weight_percent=weight_percent, weight_since=at)
        if cleaned_up is not None:
            new = replace(new, cleaned_up=cleaned_up)
        return state.replicas.put(name, new)

    @_method
    def add_intent(self, intent: Intent) -> None:
        """Commit a further intent (a termination). Idempotent by id."""
        plan = tidy(intent)
        state = self._at_turn()
        _replica(state, plan.replica)
        _require_service(state, plan.service)
        if plan.id not in state.intents:
            state.intents.put(plan.id, plan)

    @_method
    def set_intent(self, intent_id: str, state: IntentState, now: datetime, detail: str = "") -> None:
        """Record how far an intent has come. An empty detail keeps the one before."""
        at, words = tidy_instant(now), tidy_text(detail)
        memory = self._at_turn()
        old = memory.intents.get(intent_id)
        if old is None:
            raise rules.unknown("intent", intent_id)
        memory.intents.put(intent_id, replace(old, state=state, updated_at=at, detail=words or old.detail))

    @_method
    def set_operation(
        self, operation_id: str, state: OperationState, now: datetime, *, error_code: str = "", error: str = ""
    ) -> None:
        """Record how far a request has come.

        What is done or failed stays so: the same again changes nothing, anything else is a ``ValueError``.
        """
        at, code, words = tidy_instant(now), tidy_text(error_code), tidy_text(error)
        memory = self._at_turn()
        old = memory.operations.get(operation_id)
        if old is None:
            raise rules.unknown("operation", operation_id)
        if rules.operation_changes(operation_id, old.state, state):
            new = replace(old, state=state, updated_at=at, error_code=code, error=words)
            memory.operations.put(operation_id, new)

    @_method
    def set_service_state(self, service: str, state: ServiceState, now: datetime) -> None:
        """Record that a service is going down, or is down. Raises ``UnknownService``."""
        at = tidy_instant(now)
        memory = self._at_turn()
        old = _require_service(memory, service)
        memory.services[service] = replace(old, state=state, updated_at=at)

    @_method
    def restore_revision(self, service: str, revision: int, now: datetime) -> None:
        """Make an older revision the current one again, after a deploy that failed.

        Raises ``UnknownService``, and ``ValueError`` when the service never had that revision.
        """
        at = tidy_instant(now)
        state = self._at_turn()
        old = _require_service(state, service)
        state.services[service] = replace(_at_revision(state, old, revision), updated_at=at)

    @_method
    def record_decision(self, decision: Decision, signals: Sequence[Reading]) -> None:
        """Keep a decision and the signals it used. Idempotent by id."""
        why, readings = tidy(decision), tuple(tidy(reading) for reading in signals)
        state = self._at_turn()
        _require_service(state, why.service)
        if why.id not in state.decisions:
            state.decisions[why.id] = why
            state.decisions_of[why.service].append(why.id)
            state.signals[why.id] = readings

    @_method
    def record_energy(self, samples: Sequence[EnergySample]) -> None:
        """Keep samples, all or none; a sample of the same replica and window start is kept once."""
        kept = [tidy(sample) for sample in samples]
        state = self._at_turn()
        for sample in kept:
            _replica(state, sample.replica)
        for sample in kept:
            _require_service(state, sample.service)
        for sample in kept:
            state.energy_of[sample.service].setdefault((sample.replica, sample.window.start), sample)

    @_method
    def record_event(
        self,
        kind: EventKind,
        text: str,
        *,
        service: str,
        at: datetime,
        wall_at: datetime,
        replica: str = "",
        detail_json: str = "{}",
    ) -> None:
        """Append one line of history."""
        event = Event(0, service, kind, at, wall_at, text, replica, detail_json)
        events = self._at_turn().events
        events.append(replace(tidy(event), id=len(events) + 1))

    @_method
    def next_routing_version(self) -> int:
        """Return a number larger than any before, over restarts."""
        state = self._at_turn()
        state.routing_version += 1
        return state.routing_version

    def _at_turn(self) -> _State:
        """Return what may be changed, if it is still our turn."""
        newest = self._state.epoch
        if newest != self._epoch:
            raise rules.superseded(self._epoch, newest, self._state.holders[-1])
        return self._state


class MemoryStore(MemoryRecords):
    """The ``Store`` port over values in this process; journals claimed from it share them."""

    def __init__(self, deployment_uid: str = "in-memory") -> None:
        super().__init__(_State(deployment_uid))

    def fail_next(self, method: str, error: BaseException, *, after: bool = False) -> None:
        """Let the next call of a port's method raise the error, on the store or a journal of it; calls add up.

        With ``after`` the method does its work first: committed, but the answer was lost.
        """
        if method not in _METHODS:
            raise ValueError(f"the store has no method {method!r}")
        with self._state.lock:
            self._state.faults[method].append(_Fault(error, after))

    @_method
    def submit_deploy(self, spec: ServiceSpec, operation: Operation) -> int:
        """Store a new revision and the request at once; returns the revision.

        A service that was down is active again. Submitting the same operation id again changes nothing and returns the
        revision of the first time. Raises ``Conflict`` when another operation of the service is open.
        """
        rules.check_deploy(spec, operation)
        wish = tidy(operation)
        state = self._state
        known = state.revision_by_operation.get((wish.service, wish.id))
        if known is not None:
            return known
        if wish.id in state.operations:
            raise rules.used_operation(wish.id)
        _check_free(state, wish)
        revisions, at, active = state.revisions_of[wish.service], wish.created_at, ServiceState.ACTIVE
        revisions.append(spec)
        old = state.services.get(wish.service) or ServiceRecord(wish.service, 0, spec, "", active, at, at)
        new = replace(_at_revision(state, old, len(revisions)), state=active, updated_at=at)
        state.services[wish.service] = new
        state.operations.put(wish.id, wish)
        state.revision_by_operation[wish.service, wish.id] = new.revision
        return new.revision

    @_method
    def submit(self, operation: Operation) -> None:
        """Store a request; the same id again changes nothing.

        Raises ``UnknownService``, or ``Conflict`` when another one of the service is open.
        """
        wish = tidy(operation)
        _require_service(self._state, wish.service)
        known = self._state.operations.get(wish.id)
        if known is None:
            _check_free(self._state, wish)
            self._state.operations.put(wish.id, wish)
        elif known.service != wish.service:
            raise rules.used_operation(wish.id)

    @_method
    def set_paused(self, service: str, *, paused: bool, now: datetime) -> None:
        """Hold or allow voluntary moves. Raises ``UnknownService``."""
        at = tidy_instant(now)
        old = _require_service(self._state, service)
        self._state.services[service] = replace(old, paused=paused, updated_at=at)

    @_method
    def claim(self, holder: str, now: datetime) -> MemoryJournal:
        """Take the controller's turn: the epoch grows by one and older journals can write no more."""
        tidy_instant(now)
        self._state.holders.append(tidy_text(holder))
        return MemoryJournal(self._state, self._state.epoch)


def _of_service(values: Iterable[V], service: str | None) -> list[V]:
    return [v for v in values if service is None or v.service == service]  # type: ignore[attr-defined]  # all have one


def _require_service(state: _State, name: str) -> ServiceRecord:
    record = state.services.get(name)
    if record is None:
        raise rules.unknown_service(name)
    return record


def _at_revision(state: _State, record: ServiceRecord, revision: int) -> ServiceRecord:
    specs = state.revisions_of[record.name]
    if not 1 <= revision <= len(specs):
        raise rules.unknown("revision", f"{record.name}@{revision}")
    spec = specs[revision - 1]
    return replace(record, revision=revision, spec=spec, spec_digest=spec_digest(spec))


def _replica(state: _State, name: str) -> Replica:
    replica = state.replicas.get(name)
    if replica is None:
        raise rules.unknown("replica", name)
    return replica


def _check_free(state: _State, wish: Operation) -> None:
    """Raise ``Conflict`` when another operation of the service is open."""
    if wish.state not in rules.OPEN_OPERATIONS:
        return
    for other in _of_service(state.operations.open(), wish.service):
        raise rules.conflicting(wish, other)


def _is_unfinished(replica: Replica) -> bool:
    return not rules.is_finished_with(replica)


def _is_open_intent(intent: Intent) -> bool:
    return intent.state in rules.OPEN_INTENTS


def _is_open_operation(operation: Operation) -> bool:
    return operation.state in rules.OPEN_OPERATIONS


_METHODS = frozenset(
    name
    for kind in (MemoryStore, MemoryJournal)
    for name in dir(kind)
    if not name.startswith("_") and name not in {"epoch", "fail_next"}
)
