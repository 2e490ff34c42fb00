"""Requests to the controller: one durable row each, followed but never carried out here."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable

from orchestrator.control.operations import payload_of
from orchestrator.control.pausing import refuse_while_paused
from orchestrator.control.runtime import Runtime
from orchestrator.domain.plan import Plan
from orchestrator.domain.records import Event, Operation, OperationKind, OperationState, ServiceRecord
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import format_instant
from orchestrator.errors import GreenctlError, UnknownService

FOLLOW_EVERY_SECONDS = 0.3


def submit_deploy(spec: ServiceSpec, spec_digest: str, plan: Plan, runtime: Runtime, *, actor: str) -> Operation:
    """Store the revision and the request to apply exactly this plan.

    Raises ``Conflict`` while another is open, and ``Paused``.
    """
    refuse_while_paused(spec.name, runtime)
    if plan.spec_digest != spec_digest:
        message = f"the plan is for spec {plan.spec_digest}, not {spec_digest}"
        raise ValueError(message)
    operation = _operation(spec.name, OperationKind.DEPLOY, payload_of(plan), runtime, actor)
    runtime.store.submit_deploy(spec, operation)
    return operation


def submit_migration(plan: Plan, runtime: Runtime, *, actor: str, reason: str) -> Operation:
    """Store the request to apply exactly this move.

    Raises ``Conflict`` while another request is open, and ``Paused``.
    """
    refuse_while_paused(plan.service, runtime)
    operation = _operation(plan.service, OperationKind.MIGRATE, payload_of(plan, reason), runtime, actor)
    runtime.store.submit(operation)
    return operation


def submit_down(service: str, runtime: Runtime, *, actor: str) -> Operation:
    """Store the request to take a service down. Raises ``UnknownService``, or ``Conflict`` while another is open."""
    known_service(service, runtime)
    operation = _operation(service, OperationKind.DOWN, "{}", runtime, actor)
    runtime.store.submit(operation)
    return operation


async def follow(
    operation_id: str, runtime: Runtime, *, after_event: int = 0, waiting: Callable[[], None] = lambda: None
) -> AsyncIterator[Event]:
    """Yield the service's events until the request is closed; stopping to listen stops nothing else.

    ``waiting`` is called whenever it is not closed yet. Raises the request's own error when it failed, and
    ``UnknownService`` when it is in the database no longer.
    """
    first = runtime.store.operation(operation_id)
    if first is None:
        message = f"no request {operation_id}"
        raise UnknownService(message)
    seen = after_event
    while True:
        operation = runtime.store.operation(operation_id)
        if operation is None:
            message = f"request {operation_id} is in the database no longer: it was replaced, by a restore perhaps"
            raise UnknownService(message, hint="Nobody works on that request. Look at what is there: greenctl status")
        for event in runtime.store.events(first.service, after_id=seen):
            seen = event.id
            yield event
        if operation.state is OperationState.DONE:
            return
        if operation.state is OperationState.FAILED:
            raise error_of(operation)
        waiting()
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


def known_service(service: str, runtime: Runtime) -> ServiceRecord:
    """Return the service or raise ``UnknownService`` with the names that exist."""
    record = runtime.store.service(service)
    if record is None:
        names = ", ".join(s.name for s in runtime.store.services()) or "none"
        message = f"no service {service!r}; known: {names}"
        raise UnknownService(message)
    return record
