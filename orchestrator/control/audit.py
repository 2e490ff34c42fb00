"""Who did what, and why: every action that the records know, with the person or policy behind it and its cause.

Actions are requests and words of people (deploy, migrate, down, pause, resume, reap, accept, restore), the turns of
controllers, and each launch and end of an instance. What a controller does is traced back: a launch to the request or
decision that it was intended for, an end to what took the replica's place or to whoever took the service down.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.control.naming import intent_id
from orchestrator.control.reap_requests import wish_of
from orchestrator.control.requests import known_service
from orchestrator.control.runtime import Runtime
from orchestrator.domain.chain import Acceptance
from orchestrator.domain.orphans import Reap, ReapRequest
from orchestrator.domain.records import Event, EventKind, Intent, IntentKind, Operation, OperationKind, Pause
from orchestrator.domain.replica import Replica
from orchestrator.domain.time import Instant

CONTROLLER = "controller"
"""The actor of what follows from the state of the world alone."""

REPLACED_BY = "replaced by "
TAKEN_DOWN = "the service is taken down"
EVENTS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Action:
    """One action. ``at`` is grid time; ``outcome`` how far it has come; ``ref`` the id of what it is recorded as.

    ``service`` is empty where it is about all of them.
    """

    at: Instant
    actor: str
    action: str
    service: str
    subject: str
    cause: str
    outcome: str
    ref: str


@dataclass(frozen=True, slots=True)
class _Origin:
    """Who is behind a launch, and why."""

    actor: str
    cause: str


def audit_trail(runtime: Runtime, service: str | None = None) -> tuple[Action, ...]:
    """Return every action, oldest first: those about one service, or all. Raises ``UnknownService``."""
    if service is not None:
        known_service(service, runtime)
    store = runtime.store
    found = [_word(p) for p in store.pauses(in_force=False) if service is None or p.service in {"", service}]
    for name in [s.name for s in store.services()] if service is None else [service]:
        operations = store.operations(name, open_only=False)
        found += [_request(o) for o in operations]
        found += _instances(runtime, name, operations)
    if service is None:
        requests = {r.id: r for r in store.reap_requests(open_only=False)}
        found += [_reap_request(r) for r in requests.values()]
        found += [_reap(r, requests.get(r.request_id)) for r in store.reaps()]
        found += [_acceptance(a) for a in store.journal_acceptances()]
        found += [a for e in _events(runtime) if (a := _of_everything(e)) is not None]
    return tuple(sorted(found, key=lambda a: (a.at, a.ref, a.action)))


# ── what people said ─────────────────────────────────────────────────────────────────────────────────


def _word(pause: Pause) -> Action:
    action = "pause" if pause.paused else "resume"
    return Action(pause.at, pause.actor, action, pause.service, pause.service or "everything", pause.reason, "", "")


def _request(operation: Operation) -> Action:
    outcome = operation.state.value
    if operation.error_code:
        outcome = f"{outcome}: {operation.error_code}"
    return Action(
        operation.created_at,
        operation.actor,
        operation.kind.value,
        operation.service,
        operation.service,
        _reason_in(operation),
        outcome,
        operation.id,
    )


def _reason_in(operation: Operation) -> str:
    try:
        return str(json.loads(operation.payload_json).get("reason", ""))
    except (ValueError, AttributeError):
        return ""


def _reap_request(request: ReapRequest) -> Action:
    try:
        wish = wish_of(request)
    except ValueError:
        action, subject = "reap", "what cannot be read"
    else:
        accepts = wish.accept_epoch is not None
        action = "accept restored" if accepts else "reap"
        subject = f"turn {wish.accept_epoch}" if accepts else ", ".join(wish.names)
    return Action(request.created_at, request.actor, action, "", subject, "", request.state.value, request.id)


def _acceptance(word: Acceptance) -> Action:
    subject = f"{word.findings} findings {word.digest}"
    return Action(word.at, word.actor, "accept journal", "", subject, word.reason, "", f"link {word.link}")


def _reap(reap: Reap, request: ReapRequest | None) -> Action:
    actor = CONTROLLER if request is None else request.actor
    return Action(
        reap.created_at, actor, "end orphan", "", reap.name, f"request {reap.request_id}", reap.state.value, reap.id
    )


# ── what controllers did ─────────────────────────────────────────────────────────────────────────────


def _instances(runtime: Runtime, service: str, operations: Sequence[Operation]) -> Iterator[Action]:
    replicas = {r.name: r for r in runtime.store.replicas(service, ended=True)}
    origins = _origins(runtime, service, operations, replicas)
    for intent in runtime.store.intents(service):
        replica = replicas.get(intent.replica)
        launch = intent.kind is IntentKind.LAUNCH
        origin = origins[intent.replica] if launch else _end_of(intent, replica, origins, operations)
        yield Action(
            intent.created_at,
            origin.actor,
            "launch" if launch else "end",
            service,
            intent.replica,
            origin.cause,
            intent.state.value,
            intent.id,
        )


def _origins(
    runtime: Runtime, service: str, operations: Sequence[Operation], replicas: Mapping[str, Replica]
) -> dict[str, _Origin]:
    """Return who is behind each replica: names of intents follow from the request or decision that caused them."""
    slots = {r.slot for r in replicas.values()}
    asked = {intent_id(o.id, slot): o for o in operations for slot in slots}
    decided = {p.replica: p.decision_id for p in runtime.store.placements(service)}
    found = {}
    for name, replica in replicas.items():
        operation = asked.get(replica.intent_id)
        if operation is not None:
            found[name] = _Origin(operation.actor, f"{operation.kind.value} {operation.id}")
            continue
        decision = runtime.store.decision(decided.get(name, ""))
        known = _Origin(CONTROLLER, "") if decision is None else _Origin(decision.actor, f"decision {decision.id}")
        found[name] = _Origin(known.actor, f"{known.cause}: {_intended(runtime, replica)}".removeprefix(": "))
    return found


def _intended(runtime: Runtime, replica: Replica) -> str:
    intent = runtime.store.intent(replica.intent_id)
    return "" if intent is None else intent.detail


def _end_of(
    intent: Intent, replica: Replica | None, origins: Mapping[str, _Origin], operations: Iterable[Operation]
) -> _Origin:
    """Return who is behind an end: whoever wanted the successor, or the end of the service; else nobody but us."""
    why = intent.detail if replica is None or not replica.reason else replica.reason
    if why.startswith(REPLACED_BY):
        successor = origins.get(why.removeprefix(REPLACED_BY).partition(";")[0])
        return _Origin(CONTROLLER if successor is None else successor.actor, why)
    if why == TAKEN_DOWN:
        downs = [o for o in operations if o.kind is OperationKind.DOWN and o.created_at <= intent.created_at]
        if downs:
            return _Origin(downs[-1].actor, f"down {downs[-1].id}")
    return _Origin(CONTROLLER, why)


def _events(runtime: Runtime) -> Iterator[Event]:
    """Read the history page by page: turns of controllers are in it, and nowhere else that can be read."""
    last = 0
    while page := runtime.store.events("", after_id=last, limit=EVENTS_AT_ONCE):
        yield from page
        last = page[-1].id


def _of_everything(event: Event) -> Action | None:
    if event.kind is EventKind.CONTROLLER:
        return Action(event.at, CONTROLLER, "turn", "", "", event.text, "", f"event {event.id}")
    try:
        detail = json.loads(event.detail_json)
    except ValueError:
        return None
    if not isinstance(detail, dict) or "backup" not in detail:
        return None
    return Action(
        event.at, str(detail.get("actor", "")), "restore", "", "everything", event.text, "", f"event {event.id}"
    )
