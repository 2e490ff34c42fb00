"""Batch work as the journal knows it: which round is due, how much of it is done, and what its zones will be like.

**Counted** as work done is the time in which replicas served: from when each was ready until it had ended or was seen
to be lost, within the round, in physical hours, whether it was busy or not; while it drains it finishes what it has
begun. **Not counted**: launches and starts, whatever they came to. With ``output_tokens`` the tokens that the ledger
has of the round are counted instead, whoever asked for them, and turned into hours by the lower of the written rate and
the one that was seen.

A round begins at the due time before it, at the earliest when the service was first deployed; with a single
``deadline``, when that work was first deployed: what is done of it counts until the ``batch`` block is another one, or
the service is taken down. What a round leaves undone at its end is not carried into the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from orchestrator.control.grid import GridReader
from orchestrator.control.ports import Records
from orchestrator.control.runtime import Runtime
from orchestrator.domain.records import OperationKind, OperationState, ServiceRecord, ServiceState
from orchestrator.domain.replica import ENDED, Replica
from orchestrator.domain.scale import WantedReplicas
from orchestrator.domain.service import BatchRules, ServiceSpec
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.planner.batch import Round, batch_wanted
from orchestrator.planner.snapshot import Snapshot

MOST_HOURS_AHEAD = 168
"""No further than a week: nobody forecasts a grid for longer, and a pattern of weeks says no more."""

LEAST_HOURS_SEEN = 0.25
"""After less serving the tokens that were seen tell no rate."""

_WEEK = 8
_A_DAY = timedelta(days=1)


def work_hours(batch: BatchRules, spec: ServiceSpec, clock_rate: float) -> int:
    """Return over how many hours of grid time, rounded up, the whole work goes on once it runs; at least one."""
    return max(1, -int(-batch.asked_hours * clock_rate // spec.scaling.max_replicas))


def due_times(batch: BatchRules, now: Instant) -> tuple[Instant | None, Instant]:
    """Return the due time at or before ``now`` (``None`` with a single deadline) and the next one.

    A clock time that comes twice when summer time ends counts the first time; one that is skipped is as much later.
    """
    zone = ZoneInfo(batch.time_zone)
    if batch.deadline is not None:
        return None, batch.deadline.replace(tzinfo=zone, fold=0).astimezone(UTC)
    today = now.astimezone(zone).date()
    times = [
        _at(today + n * _A_DAY, batch.due_minute, zone)
        for n in range(-_WEEK, _WEEK + 1)
        if (today + n * _A_DAY).weekday() in batch.due_days
    ]
    return max(t for t in times if t <= now), min(t for t in times if t > now)


def round_of(
    spec: ServiceSpec,
    batch: BatchRules,
    record: ServiceRecord | None,
    records: Records,
    now: Instant,
    clock_rate: float,
) -> Round:
    """Return the work that is due next, or late, and what of it is done.

    ``record``: ``None`` before the first deploy.
    """
    before, due = due_times(batch, now)
    begun = now if record is None else record.created_at
    if record is not None and before is None:
        begun = _begun_at(batch, record, records, now)
    until = max(now, due) if before is None else due
    # Deployed after its deadline it is late from the beginning, and what was served in between was other work.
    start = min(until, begun if before is None else max(before, begun))
    window = Window(min(due, start), due)
    replicas = records.replicas(spec.name, ended=True, ended_since=start) if record is not None else ()
    served = _served_hours(replicas, Window(start, until), now) / clock_rate
    asked, done, counted = batch.asked_hours, served, "time in which replicas were ready, in this round"
    if batch.output_tokens is not None:
        written = records.output_tokens(spec.name, Window(start, max(start, now)))
        rate = batch.output_tokens_per_engine_hour or 0.0
        if served >= LEAST_HOURS_SEEN:
            rate = min(rate, written / served)
        left = max(0, batch.output_tokens - written)
        # Nothing written in all that time: there is no telling when it will be done, only that it is not soon.
        hours_left = left / rate if rate > 0 else asked + served
        asked, done = served + hours_left, served
        counted = f"{written} of {batch.output_tokens} output tokens written, by the ledger"
    return Round(window, asked, done, counted, before is not None)


async def with_batch(
    snapshot: Snapshot,
    record: ServiceRecord | None,
    last: WantedReplicas | None,
    runtime: Runtime,
    grid: GridReader,
    now: Instant,
) -> WantedReplicas:
    """Return how many replicas a batch service wants now, its coming hours read up to the deadline."""
    spec = snapshot.spec
    batch = spec.batch or BatchRules()
    work = round_of(spec, batch, record, runtime.store, now, runtime.clock.rate)
    hours = min(MOST_HOURS_AHEAD, max(1, -int((now - work.window.end) // HOUR)))
    zones = sorted({c.offer.region.zone for c in snapshot.candidates if c.offer.region.zone is not None})
    views = await grid.zones(zones, spec.carbon.basis, now, hours)
    outlooks = {zone: view.forecast for zone, view in views.items()}
    found = batch_wanted(snapshot, spec.policy, batch, work, outlooks, last, now)
    if last is None and (record is None or record.state is not ServiceState.ACTIVE) and not found.replicas:
        # A deploy is done when something has been seen to serve; how long that took is what the latest start rests on.
        return replace(
            found, replicas=1, needed=None, because=f"one to begin with, to be seen to serve; {found.because}"
        )
    return found


def _begun_at(batch: BatchRules, record: ServiceRecord, records: Records, now: Instant) -> Instant:
    """Return when the work that has a single deadline was first deployed; ``now`` while it only might be.

    Whoever changes anything else about the service goes on with the same work.
    """
    begun = now
    for operation in reversed(records.operations(record.name, open_only=False)):
        if operation.state is OperationState.FAILED:
            continue
        if operation.kind is OperationKind.DOWN:
            break
        if operation.kind is OperationKind.DEPLOY:
            spec = records.deployed_spec(record.name, operation.id)
            if spec is None or spec.batch != batch:
                break
            begun = operation.created_at
    return begun


def _served_hours(replicas: Sequence[Replica], window: Window, now: Instant) -> float:
    return sum(piece.hours for replica in replicas for piece in _served(replica, window, now))


def _served(replica: Replica, window: Window, now: Instant) -> Iterator[Window]:
    """Yield the part of a window in which a replica served."""
    if replica.ready_at is None:
        return
    end = replica.state_since if replica.state in ENDED else now
    start, end = max(replica.ready_at, window.start), min(end, window.end, now)
    if end > start:
        yield Window(start, end)


def _at(day: date, minute: int, zone: ZoneInfo) -> Instant:
    midnight = datetime.combine(day, datetime.min.time())
    return (midnight + timedelta(minutes=minute)).replace(tzinfo=zone, fold=0).astimezone(UTC)
