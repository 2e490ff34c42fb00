"""What a request to the controller carries, and when it is done or beyond hope. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.codec import plan_from_json, to_plain
from orchestrator.control.naming import intent_id
from orchestrator.domain.plan import Plan
from orchestrator.domain.records import Operation, OperationKind, OperationState, ServiceRecord, ServiceState
from orchestrator.domain.replica import ENDED, LIVE, Replica, ReplicaState
from orchestrator.domain.variants import workloads_of
from orchestrator.errors import NoCapacity, NoFeasiblePlacement, PriceMoved, QuotaExceeded, StalePlan
from orchestrator.planner.capacity import gave_up, never_served
from orchestrator.planner.rollout import FULL_WEIGHT

HOPELESS = frozenset({"engine_died", "engine_missing", "launch_timed_out", "disk_full", "provider_error"})
"""Launch failures that trying elsewhere does not cure, as long as nothing of this workload has ever served."""

FURTHER_TRIES = 3
"""Launches that may fail during one deploy, beyond the wanted number, before it is given up."""

ELSEWHERE = frozenset({NoCapacity.code, QuotaExceeded.code, PriceMoved.code})
"""Failures that say nothing against the deploy and are not counted: each shuts one place for a while, and when all
are shut the planner says so."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request cannot be fulfilled."""

    code: str
    message: str


def payload_of(plan: Plan, reason: str = "") -> str:
    """Write the payload of a deploy or a migration: the plan that was confirmed."""
    return json.dumps({"plan": to_plain(plan), "reason": reason})


def plan_in(operation: Operation) -> Plan:
    """Read the confirmed plan back. Raises ``ValueError`` when there is none that this version understands."""
    try:
        return plan_from_json(json.dumps(json.loads(operation.payload_json)["plan"]))
    except (LookupError, TypeError) as error:
        message = f"the payload of {operation.id} holds no plan"
        raise ValueError(message) from error


def company_cause(operation: Operation) -> str:
    """Name the cause of the launches that load wants beside a request: one per slot, once."""
    return f"{operation.id}/beside"


def is_company(operation: Operation, replica: Replica) -> bool:
    """Whether a replica came because load wanted it beside what a request that was under way asked for."""
    return replica.intent_id == intent_id(company_cause(operation), replica.slot)


def asked_for(operation: Operation, replicas: Sequence[Replica]) -> tuple[Replica, ...]:
    """Return those that a request is judged by: all but those that load wanted beside it."""
    return tuple(r for r in replicas if not is_company(operation, r))


def why_alone(operation: Operation, service: ServiceRecord, replicas: Sequence[Replica]) -> str:
    """Say why load has to wait until a request is closed; nothing where it need not. ``replicas``: those since then.

    What load wants may not hurt the request: so it comes in what is proven, takes nothing of which the request may be
    short, and is tried once (decision 0076).
    """
    ended = [r for r in replicas if is_company(operation, r) and r.state not in LIVE]
    if ended:
        last = max(ended, key=lambda r: (r.state_since, r.name))
        return f"r{last.slot}, which came for it, has ended: {last.reason}"
    spec, asked = service.spec, asked_for(operation, replicas)
    workloads, serving = workloads_of(spec), {r.name for r in asked if r.state is ReplicaState.READY}
    in_full = (r for r in asked if r.name in serving and r.weight_percent == FULL_WEIGHT and r.replaces not in serving)
    if not any(r.workload_digest in workloads for r in in_full):
        return "nothing of what shall run serves in full yet"
    if operation.kind is not OperationKind.DEPLOY:
        return ""
    if spec.budget.is_set:
        return "what the budget leaves is for the deploy"
    if spec.placement.max_per_region is not None:
        return "the room that placement.max_per_region leaves is for the deploy"
    if spec.survives is not None:
        return "the room that slo.survives leaves in each region is for the deploy"
    return "room is short, and for the deploy" if _found_no_room(operation, asked) else ""


def in_the_way(operation: Operation, replicas: Sequence[Replica]) -> tuple[Replica, ...]:
    """Return who came beside a request and has since had a start of its own fail for want of room in that region."""
    full = _found_no_room(operation, asked_for(operation, replicas))
    return tuple(
        r
        for r in replicas
        if r.state in LIVE and is_company(operation, r)
        if any(f.region == r.region and f.state_since >= r.created_at for f in full)
    )


def is_done(operation: Operation, service: ServiceRecord, replicas: Sequence[Replica]) -> bool:
    """Whether the world looks as the request wanted it, as far as the replicas tell."""
    open_ones = [r for r in replicas if not (r.state in ENDED and r.cleaned_up)]
    if operation.kind is OperationKind.DOWN:
        return not open_ones
    workloads = workloads_of(service.spec)
    serving = [r for r in open_ones if r.state is ReplicaState.READY and r.weight_percent == FULL_WEIGHT]
    # Spares and stand-ins serve on top of the wanted number; a move is not over while both sides of it serve.
    names = {r.name for r in serving}
    moving = any(r.replaces in names for r in serving)
    settled = len(serving) == len(open_ones) and len(serving) >= service.spec.scaling.min_replicas and not moving
    return settled and all(r.workload_digest in workloads for r in serving)


def failure_of(operation: Operation, service: ServiceRecord, replicas: Sequence[Replica]) -> Failure | None:
    """Return why the request is beyond hope, if it is. It has begun."""
    if operation.kind is OperationKind.DEPLOY:
        mine = [r for r in replicas if r.created_at >= operation.created_at]
        return _deploy_failure(service, mine, replicas)
    if operation.kind is OperationKind.MIGRATE:
        return _migration_failure(operation, replicas)
    return None


def revision_of(deploy: Operation, requests: Sequence[Operation]) -> int:
    """Return the revision that a deploy made. ``requests``: all of the service, in order of arrival."""
    deploys = [r.id for r in requests if r.kind is OperationKind.DEPLOY]
    return deploys.index(deploy.id) + 1


def revision_to_restore(failed: Operation, requests: Sequence[Operation]) -> int | None:
    """Return the newest revision that was deployed with success before this deploy, ``None`` without any.

    What was deployed before the service was taken down is not wanted any more. ``requests`` as for
    :func:`revision_of`.
    """
    good = None
    for request in requests:
        if request.id == failed.id:
            return good
        if request.state is OperationState.DONE and request.kind is OperationKind.DEPLOY:
            good = revision_of(request, requests)
        elif request.state is OperationState.DONE and request.kind is OperationKind.DOWN:
            good = None
    return good


def given_up(service: ServiceRecord, revision: int, replicas: Sequence[Replica]) -> Failure | None:
    """Return why a running deploy was given up, if it was: its revision, or the service, is not wanted any more.

    Between that being written and the request being closed lies a moment in which a controller can die.
    """
    if service.state is ServiceState.ACTIVE and service.revision == revision:
        return None
    failed = [r for r in replicas if r.revision == revision and never_served(r)]
    if not failed:
        return Failure(NoFeasiblePlacement.code, "what it asked for could not be placed")
    return _failure(max(failed, key=lambda r: (r.state_since, r.name)))


def _deploy_failure(service: ServiceRecord, mine: Sequence[Replica], replicas: Sequence[Replica]) -> Failure | None:
    workloads = workloads_of(service.spec)
    failed = [r for r in mine if r.workload_digest in workloads and never_served(r)]
    if not failed:
        return None
    has_served = any(r.ready_at is not None for r in replicas if r.workload_digest in workloads)
    last = max(failed, key=lambda r: (r.state_since, r.name))
    hopeless = not has_served and last.state is ReplicaState.FAILED and _failure(last).code in HOPELESS
    counted = [r for r in failed if _failure(r).code not in ELSEWHERE]
    return _failure(last) if hopeless or len(counted) > FURTHER_TRIES else None


def _migration_failure(operation: Operation, replicas: Sequence[Replica]) -> Failure | None:
    """A move has failed when the replacement did not take over, or when there was nothing to replace any more."""
    mine = [r for r in replicas if r.intent_id == intent_id(operation.id, r.slot)]
    if not mine:
        return Failure(StalePlan.code, "what was to be moved had changed before the move began; nothing was started")
    living = {r.name for r in replicas if r.state in LIVE}
    broken = [r for r in mine if gave_up(r) or (r.state is ReplicaState.LOST and r.replaces in living)]
    return _failure(broken[-1]) if broken else None


def _found_no_room(operation: Operation, asked: Sequence[Replica]) -> list[Replica]:
    since = (r for r in asked if r.created_at >= operation.created_at and never_served(r))
    return [r for r in since if _failure(r).code in {NoCapacity.code, QuotaExceeded.code}]


def _failure(replica: Replica) -> Failure:
    code, _, message = replica.reason.partition(": ")
    return Failure(code if message else "provider_error", message or replica.reason)
