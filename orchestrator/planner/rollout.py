"""The next safe step of every replica: level-based, from what is recorded and what is seen.

Make before break: launch, healthy, one real completion, shift weight in steps, drain, terminate. A failure on the way
goes back one step: an aborted replacement drains, and the replica that it was to replace keeps the traffic.
Nothing is terminated while it may still serve: the gateway has confirmed that it sends nothing more and that nothing is
in flight, or has had the whole drain limit since it confirmed that. Nor does a replacement get a larger share, or the
old replica leave, before the gateway has confirmed the share before: a gateway that cannot be told anything keeps what
it knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from orchestrator.domain.counters import UpstreamStatus
from orchestrator.domain.replica import ENDED, LIVE, Replica, ReplicaState
from orchestrator.domain.service import MigrationRules, ServiceSpec
from orchestrator.domain.time import Instant
from orchestrator.errors import WrongRegion

FEWEST_FIRST_TOKENS = 20
"""Of fewer streams nobody knows the 95th percentile: one late answer would be it."""

LATE_FRACTION = 0.05
"""So many first tokens may be later than a 95th percentile."""

FAILED_ROUNDS_UNTIL_LOST = 3
"""While nobody can be heard. No setting: silence may be our own, or last a moment; a client that is failed is neither
(decision 0069)."""

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

    ``exists`` is the provider's word, ``failed`` that it ended by itself, ``error_code`` the code of the error tree
    that its provider gives for it, ``serves`` that a real completion came back, ``unhealthy_times`` how often in a row
    the health route failed without an answer to any client in between, ``in_flight`` the gateway's count,
    ``engine_busy`` the engine's own count of requests. ``elsewhere``: the region in which it runs by its provider's
    word, where that is not the one that it was asked for in. ``failed_rounds``: at how many looks it had failed a
    client, and answered none since, while nobody could be heard. ``has_machine``: ``False`` while its provider shows a
    launch that has no machine yet.
    ``told_weight``: the weight in the table that every gateway has confirmed, where it is for new requests.
    ``routed_away``: the confirmed table has none for it. ``told_for``: how long either has been confirmed without a
    change, physical time.
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
    error_code: str = ""
    told_weight: int | None = None
    told_for: timedelta = timedelta(0)
    elsewhere: str = ""
    failed_rounds: int = 0
    has_machine: bool = True


@dataclass(frozen=True, slots=True)
class RolloutView:
    """What the steps depend on. ``clock_rate`` turns grid time between two records into physical time.

    ``ages``: for how long replicas have been in their states, physical time; of one without, the records tell.
    ``taking_down``: nothing of the service shall be left, so nobody is waited for longer than the drain limit.
    """

    spec: ServiceSpec
    replicas: tuple[Replica, ...]
    observations: Mapping[str, Observation]
    traffic: Mapping[str, UpstreamStatus]
    clock_rate: float
    health_failures_until_lost: int = 3
    taking_down: bool = False
    ages: Mapping[str, timedelta] = field(default_factory=dict)


def next_steps(view: RolloutView, now: Instant) -> tuple[Step, ...]:
    """Return at most one step per replica, in the order of slots; applying them and asking again converges."""
    by_name = {r.name: r for r in view.replicas}
    ordered = sorted(view.replicas, key=lambda r: (r.slot, r.created_at, r.name))
    steps: dict[str, Step] = {}
    for replica in ordered:
        step = next(_steps_for(replica, by_name, view, now), None)
        if step is not None:
            # A replacement may ask for the end of a replica that has a step of its own: what was seen of it counts.
            if step.replica == replica.name:
                steps[step.replica] = step
            else:
                steps.setdefault(step.replica, step)
    return tuple(steps.values())


def _in_state(replica: Replica, now: Instant, view: RolloutView) -> timedelta:
    """Return for how long it has been in its state, in physical time."""
    age = view.ages.get(replica.name)
    return (now - replica.state_since) / view.clock_rate if age is None else age


def _steps_for(replica: Replica, by_name: Mapping[str, Replica], view: RolloutView, now: Instant) -> Iterator[Step]:
    seen = view.observations.get(replica.name, Observation(exists=None))
    match replica.state:
        case ReplicaState.PENDING:
            if not view.taking_down:
                yield Step(StepKind.ISSUE, replica.name)
        case ReplicaState.PROVISIONING | ReplicaState.STARTING:
            yield from _starting(replica, seen, view, now)
        case ReplicaState.READY:
            yield from _ready(replica, seen, by_name, view)
        case ReplicaState.DRAINING:
            yield from _draining(replica, seen, view, now)
        case _:
            yield from _after_the_end(replica, seen, view, now)


def _starting(replica: Replica, seen: Observation, view: RolloutView, now: Instant) -> Iterator[Step]:
    if seen.failed:
        yield Step(
            StepKind.FAIL,
            replica.name,
            f"{seen.error_code or 'engine_died'}: {seen.exit_detail or 'it ended before it was ready'}",
        )
    elif seen.elsewhere:
        yield Step(StepKind.FAIL, replica.name, _misplaced(replica, seen))
    elif seen.exists is False and replica.state is ReplicaState.STARTING:
        yield Step(StepKind.LOST, replica.name, "it is gone before it was ready")
    elif seen.serves and seen.endpoint is not None:
        # Whatever the clock says: nobody may have looked in time.
        if replica.state is ReplicaState.PROVISIONING:
            yield Step(StepKind.SEEN, replica.name, endpoint=seen.endpoint)
        else:
            yield Step(StepKind.READY, replica.name, "one real completion came back", endpoint=seen.endpoint)
    elif _in_state(replica, now, view) > view.spec.startup_deadline:
        limit = view.spec.startup_deadline.total_seconds()
        yield Step(StepKind.FAIL, replica.name, f"launch_timed_out: not ready within {limit:.0f} s")
    elif seen.exists is False and not view.taking_down:
        # Before the provider has ever shown it, absence may be our own interrupted call: the same name is asked again.
        yield Step(StepKind.ISSUE, replica.name, "asked before, not there: asking again under the same name")
    elif seen.exists and replica.state is ReplicaState.PROVISIONING:
        yield Step(StepKind.SEEN, replica.name, endpoint=seen.endpoint)


def _misplaced(replica: Replica, seen: Observation) -> str:
    return f"{WrongRegion.code}: it runs in {seen.elsewhere}, and was asked for in {replica.region}"


def _ready(replica: Replica, seen: Observation, by_name: Mapping[str, Replica], view: RolloutView) -> Iterator[Step]:
    if seen.exists is False or seen.failed:
        yield Step(StepKind.LOST, replica.name, seen.exit_detail or "its process is gone")
        return
    if seen.elsewhere:
        yield Step(StepKind.LOST, replica.name, _misplaced(replica, seen))
        return
    silence = _silence(seen, view)
    if silence:
        yield Step(StepKind.LOST, replica.name, silence)
        return
    old = by_name.get(replica.replaces or "")
    if old is None or old.state is not ReplicaState.READY:
        if replica.weight_percent < FULL_WEIGHT:
            yield Step(StepKind.WEIGHT, replica.name, weight_percent=FULL_WEIGHT)
        return
    yield from _canary(replica, seen, old, view)


def _canary(replica: Replica, seen: Observation, old: Replica, view: RolloutView) -> Iterator[Step]:
    """Shift the weight from the old replica to its replacement step by step, or take it back on errors."""
    rules = view.spec.migration
    trouble = _trouble(view.traffic.get(replica.name), rules)
    if trouble:
        if _serves(old, view):
            yield Step(StepKind.DRAIN, replica.name, ABORTED + trouble)
        return
    if not seen.exists or seen.unhealthy_times:
        return  # no step forward on no or bad news of the replacement
    if seen.told_weight != replica.weight_percent:
        return
    if replica.weight_percent == 0:
        yield Step(StepKind.WEIGHT, replica.name, weight_percent=rules.canary_percent[0])
        return
    if seen.told_for < rules.canary_hold:
        return
    later = [p for p in rules.canary_percent if p > replica.weight_percent]
    if later:
        unjudged = _unjudged(view.traffic.get(replica.name), rules)
        yield Step(StepKind.WEIGHT, replica.name, unjudged, weight_percent=later[0])
    elif sum(_serves(r, view) for r in view.replicas if r.name != old.name) >= view.spec.scaling.min_replicas:
        # While another slot is being replaced, the old one is worth more than what it costs.
        unjudged = _unjudged(view.traffic.get(replica.name), rules)
        yield Step(StepKind.DRAIN, old.name, "; ".join(filter(None, (f"replaced by {replica.name}", unjudged))))


def _serves(replica: Replica, view: RolloutView) -> bool:
    """Whether it is ready, and nothing that was seen just now speaks against it."""
    seen = view.observations.get(replica.name, Observation(exists=None))
    is_well = seen.exists is not False and not seen.failed
    return replica.state is ReplicaState.READY and is_well and not _silence(seen, view)


def _silence(seen: Observation, view: RolloutView) -> str:
    """Say why a replica that does not answer is given up; nothing, where it is not."""
    if seen.unhealthy_times >= view.health_failures_until_lost:
        return f"health check failed {seen.unhealthy_times} times in a row"
    if seen.failed_rounds >= FAILED_ROUNDS_UNTIL_LOST:
        return f"nobody can be heard, and it failed clients at {seen.failed_rounds} looks and answered none"
    return ""


def _trouble(traffic: UpstreamStatus | None, rules: MigrationRules) -> str:
    if traffic is None:
        return ""
    bad = traffic.failed + traffic.truncated + traffic.resumed
    answered = traffic.ok + bad
    if bad and bad / answered > rules.abort_error_fraction:
        return f"{bad} of {answered} requests failed on it"
    limit, streams = rules.abort_ttft_p95, sum(traffic.first_tokens)
    if limit is None or streams < FEWEST_FIRST_TOKENS:
        return ""
    late = traffic.later_than(limit.total_seconds())
    if late > LATE_FRACTION * streams:
        return f"{late} of {streams} first tokens on it came later than {limit / timedelta(milliseconds=1):.0f} ms"
    return ""


def _unjudged(traffic: UpstreamStatus | None, rules: MigrationRules) -> str:
    """Say that ``abort_if.ttft_p95`` could not be judged: what is not known gives no move up, nor passes for good."""
    streams = 0 if traffic is None else sum(traffic.first_tokens)
    if rules.abort_ttft_p95 is None or streams >= FEWEST_FIRST_TOKENS:
        return ""
    return f"abort_if.ttft_p95 was not judged: {streams} of the {FEWEST_FIRST_TOKENS} streams that it takes"


def _draining(replica: Replica, seen: Observation, view: RolloutView, now: Instant) -> Iterator[Step]:
    if seen.exists is False:
        yield Step(StepKind.ENDED, replica.name, replica.reason)
    elif seen.failed:
        yield Step(StepKind.TERMINATE, replica.name, "it ended by itself")
    elif not _may_serve(replica, seen):
        yield Step(StepKind.TERMINATE, replica.name, "it never served")
    elif seen.routed_away and seen.in_flight == 0 and seen.engine_busy in (0, None):
        yield Step(StepKind.TERMINATE, replica.name, "nothing in flight")
    elif _waited_enough(replica, seen, view, now):
        left = "an unknown number of" if seen.in_flight is None else str(seen.in_flight)
        yield Step(StepKind.TERMINATE, replica.name, f"drain limit over with {left} requests in flight")


def _after_the_end(replica: Replica, seen: Observation, view: RolloutView, now: Instant) -> Iterator[Step]:
    """An ended record may still have something running under its name: it is terminated until nothing is left.

    One that may have served (LOST by its health route alone) may still hold streams: it gets the same time to drain.
    """
    if replica.state not in ENDED or replica.cleaned_up:
        return
    if seen.exists is False:
        yield Step(StepKind.CLEAN_UP, replica.name)
        return
    idle = seen.routed_away and seen.in_flight == 0
    may_hold = _may_serve(replica, seen) and not seen.failed and not idle
    if seen.exists and (not may_hold or _waited_enough(replica, seen, view, now)):
        yield Step(StepKind.TERMINATE, replica.name, "left over after its end", endpoint=seen.endpoint)


def _may_serve(replica: Replica, seen: Observation) -> bool:
    """Whether it has served by its record, or does by the gateway: this database may have been set back."""
    return replica.ready_at is not None or bool(seen.in_flight)


def _waited_enough(replica: Replica, seen: Observation, view: RolloutView, now: Instant) -> bool:
    """Whether the drain limit is over: it runs from the moment at which the gateway is known to send nothing new.

    A gateway that cannot be asked may still send requests there, and has nothing else to send them to. Only the end of
    the whole service does not wait for it.
    """
    limit = view.spec.migration.drain
    if seen.routed_away:
        return seen.told_for > limit
    return view.taking_down and _in_state(replica, now, view) > limit


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
