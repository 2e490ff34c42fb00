"""How long a plan that changes nothing stands: until its question or the time may have another answer. Pure.

A plan follows from a snapshot, a policy and the present. While the snapshot asks the same, only the present moves, and
it counts in few places: an hour of a forecast begins, a number becomes too old, a dwell or a rest is over, a failure is
forgotten. Between two of those moments the answer is the same but for the ages in its words, so nobody needs to work it
out: of a thousand services at rest the planner is asked about few in any second.

The load never asks exactly the same twice. It does so here while no replica would have more than a tenth more or less
to do, and as many replicas as before carry it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from operator import attrgetter

from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries
from orchestrator.domain.offer import Candidate
from orchestrator.domain.replica import Replica
from orchestrator.domain.scale import WantedReplicas, Work
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import HOUR, Instant, floor_hour
from orchestrator.planner.moves import REST_AFTER_FAILURE
from orchestrator.planner.nearby import nearby
from orchestrator.planner.promise import promised
from orchestrator.planner.sizing.share import works
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.variants import standings
from orchestrator.policy.apply import has_expressions

SAME_LOAD_FRACTION = 0.1
"""A replica's share of the load that differs by less is the same: power grows more slowly than the batch (see
``PowerModel``), so this is less than a tenth of its energy, and the next grid hour is planned anew in any case."""

A_DAY = timedelta(days=1)
A_MINUTE = timedelta(minutes=1)
JUST_AFTER = timedelta(microseconds=1)
"""A number is fresh as long as its age is the limit and no more, so it is too old from here on."""

_COUNTED_OTHERWISE = {"spec", "sizing", "load", "mean_batch"}
"""The spec by its digest and by the number in force, the load by what it makes of a replica's share."""

_ASKED = attrgetter(*(f.name for f in fields(Snapshot) if f.name not in _COUNTED_OTHERWISE))


def asks_the_same(one: Snapshot, other: Snapshot) -> bool:
    """Whether two snapshots differ in nothing that an answer depends on, besides the present."""
    return _ASKED(one) == _ASKED(other) and _number(one.sizing) == _number(other.sizing) and _same_works(one, other)


def stands_until(snapshot: Snapshot, now: Instant) -> Instant | None:
    """Return when time alone may change a plan that changes nothing, the next grid hour at the latest.

    ``None``: it is not known, and the question has to be asked again. That is so of services with a schedule of windows
    or batch work, whose every quarter of an hour may count, of spares that follow from what was lost when, and of
    policies with expressions, which may ask how old a number is.
    """
    spec = snapshot.spec
    if snapshot.timetable is not None or snapshot.hedging is not None or spec.batch is not None:
        return None
    if has_expressions(spec.policy):
        return None
    coming = (moment for moment in _moments(snapshot, now) if moment > now)
    return min(coming, default=None)


def _moments(snapshot: Snapshot, now: Instant) -> Iterator[Instant]:
    yield floor_hour(now) + HOUR
    series: dict[int, CarbonSeries] = {}
    for candidate in snapshot.candidates:
        series[id(candidate.forecast)] = candidate.forecast
        yield from _ages(candidate, snapshot.spec)
    for forecast in series.values():
        # When one of the instants now, now + 1 h and so on reaches another point, or a hole.
        yield from (now + phase for phase in forecast.phases_after(now))
    for replica in snapshot.replicas:
        yield from _ends(replica, snapshot)
    yield from (at + A_DAY for at in snapshot.moves)
    if snapshot.sizing is not None and snapshot.sizing.until is not None:
        yield snapshot.sizing.until


def _ages(candidate: Candidate, spec: ServiceSpec) -> Iterator[Instant]:
    """Yield when what is known of a place becomes the past, too old, or worse than its forecast."""
    if candidate.avoid_until is not None:
        yield candidate.avoid_until
    reading = candidate.now
    if not isinstance(reading, CarbonIntensity):
        return
    end, limit = reading.interval.end, spec.carbon.max_age
    yield from (end, end + limit + JUST_AFTER, reading.interval.start - limit)
    if candidate.crossover is not None:
        yield end + candidate.crossover.hours * HOUR


def _ends(replica: Replica, snapshot: Snapshot) -> Iterator[Instant]:
    """Yield when something that happened to a replica counts no longer."""
    dwell, rate = snapshot.spec.migration.min_dwell, snapshot.clock_rate
    if replica.ready_at is not None:
        yield replica.ready_at + dwell
    since = replica.state_since
    yield from (since + dwell, since + REST_AFTER_FAILURE, since + A_DAY, replica.created_at + A_MINUTE * rate)


def _number(size: WantedReplicas | None) -> tuple[object, ...] | None:
    return None if size is None else (size.replicas, size.least, size.most, size.until)


def _same_works(one: Snapshot, other: Snapshot) -> bool:
    if one.load == other.load and one.mean_batch == other.mean_batch:
        return True
    if _lacks(one) != _lacks(other):
        return False
    before, after = _works(one), _works(other)
    return before.keys() == after.keys() and all(_is_same(work, after[key]) for key, work in before.items())


def _lacks(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the areas to whose clients too little is near."""
    near = nearby(snapshot, promised(snapshot))
    lack = None if near is None else near.lack(r.offer_id for r in snapshot.occupants().values())
    return () if lack is None else lack.areas


def _works(snapshot: Snapshot) -> dict[str, Work]:
    """What replicas have to do, by offer."""
    trips = promised(snapshot).trips_seconds
    return works(snapshot, trips) | {offer_id: own.work for offer_id, own in standings(snapshot, trips).items()}


def _is_same(one: Work, other: Work) -> bool:
    if (one.replicas, one.needed, one.carries) != (other.replicas, other.needed, other.carries):
        return False
    return _is_near(one.mean_batch, other.mean_batch) and _is_near(one.reading, other.reading)


def _is_near(one: float, other: float) -> bool:
    return abs(one - other) <= SAME_LOAD_FRACTION * max(abs(one), abs(other))
