"""Somebody's word about orphans: one durable row, like every other wish. Only the controller acts upon it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from orchestrator.control.runtime import Runtime
from orchestrator.domain.decision import Verdict
from orchestrator.domain.orphans import Reap, ReapRequest, ReapVerdict
from orchestrator.domain.records import IntentState, OperationState
from orchestrator.domain.time import HOUR, Instant, format_instant

LIFETIME = HOUR
"""Physical. A word that could not be weighed for so long is no longer anybody's word."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks for. ``accept_epoch``: that a database set back behind this turn is known and accepted."""

    names: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    accept_epoch: int | None = None


def submit_reap(
    runtime: Runtime, *, actor: str, names: Collection[str], confirmed: Collection[str] = ()
) -> ReapRequest:
    """Ask that these orphans be ended, as far as the brakes allow; ``confirmed``: those that were named one by one."""
    return _submit(runtime, actor, Wish(tuple(sorted(names)), tuple(sorted(confirmed))))


def submit_acceptance(runtime: Runtime, *, actor: str, epoch: int) -> ReapRequest:
    """Say that this database was set back, that what it lacks up to this turn is known, and that work goes on."""
    return _submit(runtime, actor, Wish(accept_epoch=epoch))


def wish_of(request: ReapRequest) -> Wish:
    """Read what is asked for. Raises ``ValueError`` when it cannot be read."""
    try:
        found = json.loads(request.payload_json)
        return Wish(tuple(found["names"]), tuple(found["confirmed"]), found["accept_epoch"])
    except (KeyError, TypeError) as error:
        message = f"request {request.id} cannot be read: {error}"
        raise ValueError(message) from error


def outcome_json(verdicts: Sequence[ReapVerdict]) -> str:
    """Write the answer: every brake on every name."""
    return json.dumps(
        [
            {
                "name": v.name,
                "allowed": v.allowed,
                "held_because": v.held_because,
                "verdicts": [
                    {"rule": b.rule, "passed": b.passed, "text": b.text, "value": b.value, "limit": b.limit}
                    for b in v.verdicts
                ],
            }
            for v in verdicts
        ]
    )


def outcome_of(request: ReapRequest) -> tuple[ReapVerdict, ...]:
    """Read the answer of a closed request; none before, and none where a request names nobody."""
    if not request.outcome_json.startswith("["):
        return ()
    return tuple(
        ReapVerdict(
            entry["name"],
            tuple(Verdict(v["rule"], v["passed"], v["text"], v["value"], v["limit"]) for v in entry["verdicts"]),
        )
        for entry in json.loads(request.outcome_json)
    )


def planned_reap(request: ReapRequest, name: str, source: str, epoch: int, now: Instant) -> Reap:
    """Return the intent to end one orphan: the same request and name, the same intent."""
    digest = hashlib.sha256(f"{request.id}/{name}".encode()).hexdigest()[:12]
    return Reap(
        id=f"{digest}-reap",
        request_id=request.id,
        name=name,
        source=source,
        state=IntentState.PLANNED,
        epoch=epoch,
        created_at=now,
        updated_at=now,
        detail=f"asked for by {request.actor}",
    )


def _submit(runtime: Runtime, actor: str, wish: Wish) -> ReapRequest:
    now = runtime.clock.now()
    seed = f"{wish}|{format_instant(runtime.clock.wall())}|{runtime.clock.monotonic()}|{actor}"
    payload = {"names": wish.names, "confirmed": wish.confirmed, "accept_epoch": wish.accept_epoch}
    request = ReapRequest(
        id="reap-" + hashlib.sha256(seed.encode()).hexdigest()[:12],
        actor=actor,
        state=OperationState.QUEUED,
        payload_json=json.dumps(payload),
        created_at=now,
        updated_at=now,
    )
    runtime.store.submit_reap(request)
    return request
