"""What a request to the controller carries, and when it is done or beyond hope. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.codec import plan_from_json, to_plain
from orchestrator.domain.plan import Plan
from orchestrator.domain.records import Operation, OperationKind, ServiceRecord
from orchestrator.domain.replica import ENDED, Replica, ReplicaState
from orchestrator.domain.workload import workload_digest
from orchestrator.planner.rollout import ABORTED, FULL_WEIGHT

HOPELESS = frozenset({"engine_died", "engine_missing", "launch_timed_out", "disk_full", "provider_error"})
"""Launch failures that trying elsewhere does not cure, as long as nothing of this workload has ever served."""

FURTHER_TRIES = 3
"""Launches that may fail during one deploy, beyond the wanted number, before it is given up."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request cannot be fulfilled."""

    code: str
    message: str


def payload_of(plan: Plan, reason: str = "") -> str:
    """Write the payload of a deploy or a migration: the plan that was confirmed."""
    return json.dumps({"plan": to_plain(plan), "reason": reason})


def plan_in(operation: Operation) -> Plan:
    """Read the confirmed plan back. Raises ``ValueError`` when there is none."""
    return plan_from_json(json.dumps(json.loads(operation.payload_json)["plan"]))


def is_done(operation: Operation, service: ServiceRecord, replicas: Sequence[Replica]) -> bool:
    """Whether the world looks as the request wanted it."""
    open_ones = [r for r in replicas if not (r.state in ENDED and r.cleaned_up)]
    if operation.kind is OperationKind.DOWN:
        return not open_ones
    digest = workload_digest(service.spec)
    serving = [r for r in open_ones if r.state is ReplicaState.READY and r.weight_percent == FULL_WEIGHT]
    settled = len(serving) == len(open_ones) and len(serving) == service.spec.scaling.min_replicas
    return settled and all(r.workload_digest == digest for r in serving)


def failure_of(operation: Operation, service: ServiceRecord, replicas: Sequence[Replica]) -> Failure | None:
    """Return why the request is beyond hope, if it is."""
    mine = [r for r in replicas if r.created_at >= operation.created_at]
    if operation.kind is OperationKind.DEPLOY:
        return _deploy_failure(service, mine, replicas)
    if operation.kind is OperationKind.MIGRATE:
        moved = [r for r in mine if r.replaces]
        broken = [r for r in moved if r.state is ReplicaState.FAILED or r.reason.startswith(ABORTED)]
        if broken:
            return _failure(broken[-1])
    return None


def _deploy_failure(service: ServiceRecord, mine: Sequence[Replica], replicas: Sequence[Replica]) -> Failure | None:
    digest = workload_digest(service.spec)
    failed = [r for r in mine if r.state is ReplicaState.FAILED and r.workload_digest == digest]
    if not failed:
        return None
    has_served = any(r.ready_at is not None for r in replicas if r.workload_digest == digest)
    last = max(failed, key=lambda r: (r.state_since, r.name))
    hopeless = not has_served and _failure(last).code in HOPELESS
    return _failure(last) if hopeless or len(failed) > FURTHER_TRIES else None


def _failure(replica: Replica) -> Failure:
    code, _, message = replica.reason.partition(": ")
    return Failure(code if message else "provider_error", message or replica.reason)
