"""The next safe step of every replica: level-based, from what is recorded and what is seen.

Make before break: launch, healthy, one real completion, shift weight in steps, drain, terminate. A failure on the way
goes back one step: an aborted replacement drains, and the replica that it was to replace keeps the traffic.
Nothing is terminated while it may still serve: the gateway has confirmed that it sends nothing more and that nothing is
in flight, or the drain limit is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from orchestrator.domain.replica import ENDED, LIVE, Replica, ReplicaState
from orchestrator.domain.routing import UpstreamStatus
from orchestrator.domain.service import MigrationRules, ServiceSpec
from orchestrator.domain.time import Instant

FULL_WEIGHT = 100
ABORTED = "aborted: "


class StepKind(StrEnum):
    """What to do next with one replica."""

    ISSUE = "issue"
    SEEN = "seen"
    READY = "ready"
    LOST = "lost"
    FAIL = "fail"
    WEIGHT = "weight"
    DRAIN = "drain"
    TERMINATE = "terminate"
    ENDED = "ended"
    CLEAN_UP = "clean_up"


@dataclass(frozen=True, slots=True)
class Step:
    """One step; ``weight_percent`` and ``endpoint`` only where the kind needs them."""

    kind: StepKind
    replica: str
    reason: str = ""
    weight_percent: int = 0
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one replica just now; ``None`` means that nothing could be learnt.

    ``exists`` is the provider's word, ``failed`` that it ended by itself, ``serves`` that a real completion came back,
    ``unhealthy_times`` how often in a row the health route failed, ``routed_away`` that every gateway has confirmed a
    table without it, ``in_flight`` the gateway's count, ``engine_busy`` the engine's own count of requests.
    """

    exists: bool | None
    failed: bool = False
    endpoint: str | None = None
    serves: bool | None = None
    unhealthy_times: int = 0
    routed_away: bool = False
    in_flight: int | None = None
    engine_busy: int | None = None
    exit_detail: str = ""


@dataclass(frozen=True, slots=True)
class RolloutView:
    """What the steps depend on. ``clock_rate`` turns grid time between two records into physical time."""

    spec: ServiceSpec
    replicas: tuple[Replica, ...]
    observations: Mapping[str, Observation]
    traffic: Mapping[str, UpstreamStatus]
    clock_rate: float
    health_failures_until_lost: int = 3


def next_steps(view: RolloutView, now: Instant) -> tuple[Step, ...]:
    """Return at most one step per replica, in the order of slots; applying them and asking again converges."""
    by_name = {r.name: r for r in view.replicas}
    ordered = sorted(view.replicas, key=lambda r: (r.slot, r.created_at, r.name))
    steps = []
    for replica in ordered:
        step = next(_steps_for(replica, by_name, view, now), None)
        if step is not None:
            steps.append(step)
    return tuple(steps)


def _physical(since: Instant, now: Instant, view: RolloutView) -> timedelta:
    return (now - since) / view.clock_rate


def _steps_for(replica: Replica, by_name: Mapping[str, Replica], view: RolloutView, now: Instant) -> Iterator[Step]:
    seen = view.observations.get(replica.name, Observation(exists=None))
    match replica.state:
        case ReplicaState.PENDING:
            yield Step(StepKind.ISSUE, replica.name)
        case ReplicaState.PROVISIONING | ReplicaState.STARTING:
            yield from _starting(replica, seen, view, now)
        case ReplicaState.READY:
            yield from _ready(replica, seen, by_name, view, now)
        case ReplicaState.DRAINING:
            yield from _draining(replica, seen, view, now)
        case _:
            yield from _after_the_end(replica, seen, view, now)


def _starting(replica: Replica, seen: Observation, view: RolloutView, now: Instant) -> Iterator[Step]:
    if seen.failed:
        yield Step(StepKind.FAIL, replica.name, "engine_died: " + (seen.exit_detail or "it ended before it was ready"))
    elif seen.exists is False and replica.state is ReplicaState.STARTING:
        yield Step(StepKind.LOST, replica.name, "it is gone before it was ready")
    elif _physical(replica.created_at, now, view) > view.spec.startup_deadline:
        limit = view.spec.startup_deadline.total_seconds()
        yield Step(StepKind.FAIL, replica.name, f"launch_timed_out: not ready within {limit:.0f} s")
    elif seen.exists is False:
        # Before the provider has ever shown it, absence may be our own interrupted call: the same name is asked again.
        yield Step(StepKind.ISSUE, replica.name, "asked before, not there: asking again under the same name")
    elif seen.serves and seen.endpoint is not None:
        if replica.state is ReplicaState.PROVISIONING:
            yield Step(StepKind.SEEN, replica.name, endpoint=seen.endpoint)
        else:
            yield Step(StepKind.READY, replica.name, "one real completion came back", endpoint=seen.endpoint)
    elif seen.exists and replica.state is ReplicaState.PROVISIONING:
        yield Step(StepKind.SEEN, replica.name, endpoint=seen.endpoint)


def _ready(
    replica: Replica, seen: Observation, by_name: Mapping[str, Replica], view: RolloutView, now: Instant
) -> Iterator[Step]:
    if seen.exists is False or seen.failed:
        yield Step(StepKind.LOST, replica.name, seen.exit_detail or "its process is gone")
        return
    if seen.unhealthy_times >= view.health_failures_until_lost:
        yield Step(StepKind.LOST, replica.name, f"health check failed {seen.unhealthy_times} times in a row")
        return
    old = by_name.get(replica.replaces or "")
    if old is None or old.state is not ReplicaState.READY:
        if replica.weight_percent < FULL_WEIGHT:
            yield Step(StepKind.WEIGHT, replica.name, weight_percent=FULL_WEIGHT)
        return
    yield from _canary(replica, seen, old, view, now)


def _canary(replica: Replica, seen: Observation, old: Replica, view: RolloutView, now: Instant) -> Iterator[Step]:
    """Shift the weight from the old replica to its replacement step by step, or take it back on errors."""
    rules = view.spec.migration
    trouble = _trouble(view.traffic.get(replica.name), rules)
    if trouble:
        yield Step(StepKind.DRAIN, replica.name, ABORTED + trouble)
        return
    if not seen.exists or seen.unhealthy_times:
        return  # no step forward on no or bad news of the replacement
    if replica.weight_percent == 0:
        yield Step(StepKind.WEIGHT, replica.name, weight_percent=rules.canary_percent[0])
        return
    since = replica.weight_since or replica.state_since
    if _physical(since, now, view) < rules.canary_hold:
        return
    later = [p for p in rules.canary_percent if p > replica.weight_percent]
    if later:
        yield Step(StepKind.WEIGHT, replica.name, weight_percent=later[0])
    else:
        yield Step(StepKind.DRAIN, old.name, f"replaced by {replica.name}")


def _trouble(traffic: UpstreamStatus | None, rules: MigrationRules) -> str:
    if traffic is None:
        return ""
    bad = traffic.failed + traffic.truncated + traffic.resumed
    answered = traffic.ok + bad
    if bad and bad / answered > rules.abort_error_fraction:
        return f"{bad} of {answered} requests failed on it"
    return ""


def _draining(replica: Replica, seen: Observation, view: RolloutView, now: Instant) -> Iterator[Step]:
    if seen.exists is False:
        yield Step(StepKind.ENDED, replica.name, replica.reason)
        return
    over_time = _physical(replica.state_since, now, view) > view.spec.migration.drain
    idle = seen.routed_away and seen.in_flight == 0 and seen.engine_busy in (0, None)
    if idle:
        yield Step(StepKind.TERMINATE, replica.name, "nothing in flight")
    elif seen.failed:
        yield Step(StepKind.TERMINATE, replica.name, "it ended by itself")
    elif over_time:
        left = "an unknown number of" if seen.in_flight is None else str(seen.in_flight)
        yield Step(StepKind.TERMINATE, replica.name, f"drain limit over with {left} requests in flight")


def _after_the_end(replica: Replica, seen: Observation, view: RolloutView, now: Instant) -> Iterator[Step]:
    """An ended record may still have something running under its name: it is terminated until nothing is left.

    One that has served (LOST by its health route alone) may still hold streams: it gets the same time to drain.
    """
    if replica.state not in ENDED or replica.cleaned_up:
        return
    if seen.exists is False:
        yield Step(StepKind.CLEAN_UP, replica.name)
        return
    over_time = _physical(replica.state_since, now, view) > view.spec.migration.drain
    may_serve = replica.ready_at is not None and not seen.failed and seen.in_flight != 0
    if seen.exists and (over_time or not may_serve):
        yield Step(StepKind.TERMINATE, replica.name, "left over after its end")


def weight_of(replica: Replica, replicas: Sequence[Replica]) -> int:
    """Return the traffic weight, 0..100: a replica being replaced keeps what its replacement does not have yet."""
    if replica.state is not ReplicaState.READY:
        return 0
    successor = next(
        (r for r in replicas if r.replaces == replica.name and r.state is ReplicaState.READY and r.state in LIVE), None
    )
    if successor is not None:
        return FULL_WEIGHT - successor.weight_percent
    return replica.weight_percent
