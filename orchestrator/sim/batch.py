"""Batch work in the twin: rounds with a due time, rivals that begin at once, and the best of hindsight.

Ours is the real controller, which decides when and where (``control.batch``, ``planner.deferral``). A rival begins each
round the moment its work is there, at the place that its rule names, and goes through. Hindsight knows every hour, and
takes for each round the places and the hours that emit least, by the planner's own optimum. All of them do the same
work, on replicas that are full while they serve, and one ledger counts them all. Nobody stands on spot here: what
happens to work that is taken away is not known of rivals that have no rule for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.control.batch import due_times
from orchestrator.control.load import capacity_of
from orchestrator.domain.carbon import CarbonSeries
from orchestrator.domain.service import BatchRules, ServiceSpec
from orchestrator.domain.time import HOUR, Window, floor_hour, format_instant
from orchestrator.domain.units import SECONDS_PER_HOUR
from orchestrator.errors import UsageError
from orchestrator.planner.deferral import Job, Known, best_of_known
from orchestrator.sim.bill import Service, Stay
from orchestrator.sim.board import Board, Choose, Mask
from orchestrator.sim.workload import Full, Workload

BEGIN_AT_ONCE = ("home", "cheapest-static", "B3", "B3*", "greedy")
"""Rivals that name a place whenever they are asked; the others say how a replica that is always there moves."""

Stretches = tuple[tuple[float, float], ...]
"""(from, to) in seconds, starts included."""

LITTLE_SECONDS = 2.0
"""Of a replica's work: what is missing less than that is done, as looks are a second apart."""


def rounds_of(batch: BatchRules, period: Window) -> tuple[Window, ...]:
    """Return the rounds that are due inside the period, the first from its beginning on.

    Raises ``UsageError`` when none is.
    """
    found: list[Window] = []
    begin = period.start
    while True:
        before, due = due_times(batch, begin)
        if not begin < due <= period.end:
            break
        found.append(Window(begin, due))
        if before is None:
            break
        begin = due
    if not found:
        _, due = due_times(batch, period.start)
        message = f"no round of the batch work is due in the period; a due time is {format_instant(due)}"
        raise UsageError(message, hint="Choose --from and --to so that a due time lies between them.")
    return tuple(found)


def last_hour(rounds: Sequence[Window]) -> Window:
    """Return the period that the rounds take, up to the end of the hour in which the last one is due."""
    end = floor_hour(rounds[-1].end)
    return Window(rounds[0].start, end if end == rounds[-1].end else end + HOUR)


def work_of(spec: ServiceSpec, batch: BatchRules, load: Workload) -> Workload:
    """Return the load of batch work: as much at once on each replica as it has places for, while it serves.

    Output tokens come at the rate that the file gives, where it gives one.
    """
    places = float(capacity_of(spec, (), []).places)
    tokens_per_hour = batch.output_tokens_per_engine_hour
    rate = places / load.request_seconds
    if tokens_per_hour:
        rate = tokens_per_hour / load.output_tokens / SECONDS_PER_HOUR
    name = f"batch work, {batch.asked_hours:g} engine hours in each round"
    quiet = (0.0,) * len(load.requests_per_second)
    return Workload(name, quiet, load.request_seconds, load.prompt_tokens, load.output_tokens, Full(places, rate))


def seconds_each(batch: BatchRules, replicas: int) -> float:
    """Return for how long each replica serves in a round."""
    return batch.asked_hours / replicas * SECONDS_PER_HOUR


def at_once(board: Board, choose: Choose, rounds: Sequence[Window], seconds: float) -> tuple[Stay, ...]:
    """Return the stays of a rival that begins each round when it is there; at its due time it stops."""
    stays: list[Stay] = []
    for window in rounds:
        begin, due = _seconds(board, window)
        hour, taken = int(begin // SECONDS_PER_HOUR), list[int]()
        for slot in range(board.wanted):
            there = choose(hour, slot, None, _free(board, hour, taken))
            if there is None:
                continue
            taken.append(there)
            stays.append(_stay(board, slot, there, begin, min(begin + board.cold_seconds + seconds, due)))
    return tuple(sorted(stays, key=lambda s: (s.slot, s.requested)))


@dataclass(frozen=True, slots=True)
class Hindsight:
    """The stays of who knows all hours. ``exact``: within ``max_per_region``, which has a seat for every replica."""

    stays: tuple[Stay, ...]
    exact: bool


def in_hindsight(board: Board, batch: BatchRules, rounds: Sequence[Window], seconds: float) -> Hindsight:
    """Return the stays of who knows all hours: in each round the places and stretches of least grams.

    Replicas have the same work and do not see each other, so taking the best place that has a seat is exact. With fewer
    seats than replicas ``max_per_region`` binds nobody. Work that may be interrupted stops in the planner's raster.
    """
    stays: list[Stay] = []
    exact = True
    for window in rounds:
        options = [(*_least(board, i, batch, window, seconds), i) for i in sorted(board.allowed)]
        best = sorted((o for o in options if math.isfinite(o[0])), key=lambda o: (o[0], board.offers[o[2]].id))
        if not best:
            continue
        seated = _seated(board, [there for _, _, there in best])
        exact = exact and seated is not None
        ways = {there: stretches for _, stretches, there in best}
        begin, _ = _seconds(board, window)
        for slot, there in enumerate(seated or [best[0][2]] * board.wanted):
            stays += [_stay(board, slot, there, begin + a, begin + b) for a, b in ways[there]]
    return Hindsight(tuple(sorted(stays, key=lambda s: (s.slot, s.requested))), exact)


def _seated(board: Board, best: Sequence[int]) -> list[int] | None:
    """Give each replica the first of the places that has a seat left; ``None`` where there are fewer seats."""
    taken: Counter[str] = Counter()
    seats: list[int] = []
    for there in best:
        region = board.offers[there].region.id
        room = board.wanted - len(seats)
        if board.limit is not None:
            room = min(room, board.limit - taken[region])
        seats += [there] * max(0, room)
        taken[region] += max(0, room)
    return seats if len(seats) == board.wanted else None


def kept_promises(
    served: Iterable[tuple[float, float]], period: Window, rounds: Sequence[Window], asked_hours: float
) -> Service:
    """Say how many rounds were done by their due time, and how much of all the work was.

    ``served``: from when to when each replica served, in seconds of the period.
    """
    stretches, in_time, done = list(served), 0, 0.0
    asked = asked_hours * SECONDS_PER_HOUR
    for window in rounds:
        begin, due = ((moment - period.start).total_seconds() for moment in (window.start, window.end))
        worked = sum(max(0.0, min(end, due) - max(start, begin)) for start, end in stretches)
        in_time += worked >= asked - LITTLE_SECONDS
        done += min(worked, asked)
    return Service(in_time / len(rounds), done / (asked * len(rounds)) if asked else 1.0)


def _least(board: Board, offer: int, batch: BatchRules, window: Window, seconds: float) -> tuple[float, Stretches]:
    """Return the least grams of a round at a place, and its stretches in seconds from the round's beginning."""
    zone, kwh = board.offers[offer].region.zone or "", float(board.kwh(board.mean_batch)[offer])
    first, end = board.grid.row(window.start), board.grid.row(window.end - timedelta(seconds=1)) + 1
    points = tuple(p for p in board.grid.points[zone][first:end] if p is not None)
    start_kwh = float(board.kwh(0.0)[offer]) * board.cold_seconds / SECONDS_PER_HOUR
    job = Job(
        work=timedelta(seconds=seconds),
        deadline=window.end,
        start=timedelta(seconds=board.cold_seconds),
        spare=timedelta(0),
        kw=board.wanted * kwh,
        start_kwh=board.wanted * start_kwh,
        preemptible=batch.preemptible,
    )
    known = Known.from_series(CarbonSeries(zone, points), window.start, window.end)
    if known.seconds < (job.lead + job.work).total_seconds():
        return math.inf, ()
    chosen = best_of_known(job, known)
    return chosen.grams, _trimmed(chosen.stretches, board.cold_seconds, seconds)


def _trimmed(stretches: Stretches, cold: float, seconds: float) -> Stretches:
    """Return the stretches without what the last of them serves beyond the work, as a raster rounds up."""
    *before, (begin, end) = stretches
    surplus = sum(b - a - cold for a, b in stretches) - seconds
    return (*before, (begin, max(begin + cold, end - max(0.0, surplus))))


def _stay(board: Board, slot: int, offer: int, requested: float, until: float) -> Stay:
    """Return one replica's stretch: started, full, and gone when what it has is answered."""
    ready = requested + board.cold_seconds
    until = max(ready, until)
    price = float(board.usd(min(board.hours - 1, int(requested // SECONDS_PER_HOUR)))[offer])
    usd = price if math.isfinite(price) else None
    return Stay(slot, offer, requested, ready, until, until + board.load.request_seconds, usd, spared=True)


def _free(board: Board, hour: int, taken: Sequence[int]) -> Mask:
    """Return which offers have a price, and room by ``max_per_region`` beside those that were taken."""
    free = board.sold(hour).copy()
    if board.limit is not None:
        regions = [board.offers[i].region.id for i in taken]
        for i, offer in enumerate(board.offers):
            free[i] &= regions.count(offer.region.id) < board.limit
    return free


def _seconds(board: Board, window: Window) -> tuple[float, float]:
    start = board.grid.period.start
    return (window.start - start).total_seconds(), (window.end - start).total_seconds()
