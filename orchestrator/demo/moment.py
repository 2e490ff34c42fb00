"""Pick the moment of the recorded (or profiled) year at which the demonstration begins.

Most hours are dull, and rightly so: where a service stands decides, and a good place stays good. The demonstration
wants to show a migration, so it looks for a moment after which the policy, with nothing but what was known at each
hour, first stays and some hours later decides by itself that a replica should move. The search asks the same planner
that the controller asks; it does not change a rule, and the summary says that the moment was picked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.control.gather import gather_snapshot
from orchestrator.control.grid import GridReader
from orchestrator.control.runtime import Runtime
from orchestrator.domain.plan import Action, ActionKind
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import Instant
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.plan import plan
from orchestrator.planner.rollout import FULL_WEIGHT

STEP = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Moment:
    """When to begin, and when the policy is expected to move (both grid time)."""

    start: Instant
    move_at: Instant


async def find_moment(
    before: ServiceSpec,
    after: ServiceSpec,
    runtime: Runtime,
    starts: Iterable[Instant],
    earliest_move: timedelta,
    latest_move: timedelta,
) -> Moment | None:
    """Return the first start after which the policy's first own move falls between the two offsets.

    ``before`` is what is deployed at the start; ``after`` what holds while the policy is asked.
    """
    grid = GridReader(runtime.carbon)
    for start in starts:
        placed = await _placed(before, runtime, grid, start)
        move_at = await _first_move(after, placed, runtime, grid, start, latest_move) if placed else None
        if move_at is not None and move_at - start >= earliest_move:
            return Moment(start, move_at)
    return None


async def _placed(spec: ServiceSpec, runtime: Runtime, grid: GridReader, start: Instant) -> tuple[Replica, ...]:
    snapshot = await gather_snapshot(spec, "rehearsal", runtime, grid, start)
    try:
        first = plan(snapshot, spec.policy, start)
    except NoFeasiblePlacement:
        return ()
    zones = {c.offer.id: c.offer.region.zone for c in snapshot.candidates}
    return tuple(
        _as_ready(a, spec.name, zones.get(a.offer_id), snapshot.workload_digest, start)
        for a in first.actions
        if a.kind is ActionKind.LAUNCH
    )


async def _first_move(
    spec: ServiceSpec,
    placed: tuple[Replica, ...],
    runtime: Runtime,
    grid: GridReader,
    start: Instant,
    latest_move: timedelta,
) -> Instant | None:
    now = start + STEP
    while now <= start + latest_move:
        later = await gather_snapshot(spec, "rehearsal", runtime, grid, now)
        wanted = plan(replace(later, replicas=placed), spec.policy, now)
        if any(a.kind is ActionKind.MOVE for a in wanted.actions):
            return now
        now += STEP
    return None


def _as_ready(action: Action, service: str, zone: str | None, digest: str, since: Instant) -> Replica:
    """Pretend that a planned replica is up, to ask what the policy would do with it later."""
    if action.market is None:
        message = "a launch names its market"
        raise ValueError(message)
    return Replica(
        name=f"rehearsal-{action.slot}",
        service=service,
        slot=action.slot,
        offer_id=action.offer_id,
        region=action.region,
        zone=zone,
        shape=action.shape,
        market=action.market,
        usd_per_hour=action.usd_per_hour,
        state=ReplicaState.READY,
        intent_id=f"rehearsal-{action.slot}",
        revision=1,
        workload_digest=digest,
        created_at=since,
        state_since=since,
        ready_at=since,
        weight_percent=FULL_WEIGHT,
    )
