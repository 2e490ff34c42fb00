"""What failed lately is not tried again at once: capacity memory, derived from the replicas' own records.

A place is avoided for a pause that doubles with each further failure and shrinks again as failures grow old: one that
lies a half-life back counts half. A place is an offer (region x shape x market); a quota speaks for all sizes of the
same accelerator on that market, missing credentials for the whole provider. What says something about the place counts
whoever had it; what may lie in the workload counts for that workload alone.

This takes the part of SkyServe's preempted locations, with two differences: places are forgotten one by one as time
passes (there: all at once, as soon as fewer than two are left), and stock-outs count besides preemptions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

from orchestrator.domain.offer import sold_as
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.time import Instant
from orchestrator.planner.rollout import ABORTED, FULL_WEIGHT

FIRST_PAUSE = timedelta(minutes=2)
LONGEST_PAUSE = timedelta(hours=2)
HALF_LIFE = timedelta(hours=6)
"""Long beside the longest pause: a place that is sold out all day must not be asked ever more often."""

MEMORY = timedelta(hours=24)

TOGETHER = timedelta(minutes=3)
"""Interruptions of one market come together: at least 92 % of them within three minutes (arXiv 2604.16457)."""

_MOST_DOUBLINGS = 10
"""Enough to pass the longest pause; many replicas that fail together must not overflow a duration."""

_SIZE = re.compile(r"\d+x(?=.)")


@dataclass(frozen=True, slots=True)
class Avoidance:
    """A place to leave alone until then, and why."""

    until: Instant
    reason: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a kind of failure teaches: how long to stay away at first and at most, and about what. Physical time.

    ``half_life``: after which a failure counts half when the next one comes. ``shared``: it counts for every workload.
    ``wide``: it speaks for all sizes of the accelerator on that market of the region, ``widest``: for the provider.
    """

    first: timedelta = FIRST_PAUSE
    longest: timedelta = LONGEST_PAUSE
    half_life: timedelta = HALF_LIFE
    shared: bool = False
    wide: bool = False
    widest: bool = False


OWN = Lesson()
"""A start that failed for a reason of its own (its engine died, it took too long) tells nothing to other workloads."""

PREEMPTED = Lesson(timedelta(minutes=5), timedelta(hours=1), timedelta(hours=1), shared=True)
"""A weaker failure: the place did work. Five minutes let the wave pass, and an hour later it counts half."""

LESSONS: Mapping[str, Lesson | None] = {
    "no_capacity": Lesson(shared=True),
    "quota_exceeded": Lesson(timedelta(minutes=30), timedelta(hours=12), MEMORY, shared=True, wide=True),
    "credentials_missing": Lesson(timedelta(minutes=10), shared=True, widest=True),
    "unsupported_by_provider": Lesson(timedelta(hours=6), MEMORY, MEMORY, shared=True),
    # The new price is in the list, where it is chosen by; the pause is for a provider that does not ask what its list
    # says.
    "price_moved": Lesson(timedelta(seconds=30), timedelta(minutes=30), shared=True),
    "provider_unavailable": None,  # nobody was asked
}
"""By the code that a failed replica's reason begins with, ``OWN`` for every other one; ``None`` teaches nothing.

A quota is the business of people, who take hours; a feature that is not there will not come within the day."""


@dataclass(frozen=True, slots=True)
class _Failure:
    replica: Replica
    lesson: Lesson

    @property
    def at(self) -> Instant:
        return self.replica.state_since


def avoided(
    replicas: Iterable[Replica], now: Instant, clock_rate: float, workload: str | None = None
) -> dict[str, Avoidance]:
    """Return what is in back-off: offers by id, accelerators as ``region:*xL4:market``, providers as ``provider/*``.

    Read the answer with :func:`avoidance_of`. ``replicas``: those of all services that live or ended within
    :data:`MEMORY`. Pauses are physical time: they bound outside work. ``workload``: the digest of what is to be placed;
    ``None`` takes all replicas for the same.

    A replica that was asked for after a failure and became ready wipes the slate: that of its place for failures which
    count for everybody, and that of its own workload. What happened after ``now`` does not count: a report looks back.
    """
    failures: dict[str, list[_Failure]] = {}
    served: list[Replica] = []
    oldest = now - MEMORY * clock_rate
    for replica in replicas:
        lesson = _lesson_of(replica) if replica.state_since <= now else None
        if lesson is None:
            if replica.ready_at is not None and replica.ready_at <= now:
                served.append(replica)
        elif replica.state_since >= oldest and (
            lesson.shared or workload is None or replica.workload_digest == workload
        ):
            place = _places(replica)[2 if lesson.widest else 1 if lesson.wide else 0]
            failures.setdefault(place, []).append(_Failure(replica, lesson))
    if not failures:
        return {}
    good = _newest_good(served, failures.keys(), workload)
    found = {}
    for place, all_of_it in failures.items():
        recent = [f for f in all_of_it if (at := good.get((place, f.lesson.shared))) is None or f.at > at]
        avoidance = _pause(recent, clock_rate) if recent else None
        if avoidance is not None and avoidance.until > now:
            found[place] = avoidance
    return found


def _newest_good(
    served: Iterable[Replica], places: AbstractSet[str], workload: str | None
) -> dict[tuple[str, bool], Instant]:
    """Return when the newest replica was asked for that became ready: by place, and whether for failures of all."""
    good: dict[tuple[str, bool], Instant] = {}
    for replica in served:
        is_own = workload is None or replica.workload_digest == workload
        for place in _places(replica):
            if place in places:
                for key in ((place, True), (place, not is_own)):
                    good[key] = max(good.get(key, replica.created_at), replica.created_at)
    return good


def avoidance_of(offer_id: str, known: Mapping[str, Avoidance]) -> Avoidance | None:
    """Return the longest one of the offer, its accelerator and its provider, if there is any."""
    if not known:
        return None
    sold = sold_as(offer_id)
    places = (sold, _family(sold), f"{sold.partition('/')[0]}/*")
    return max((known[p] for p in places if p in known), key=lambda a: a.until, default=None)


def never_served(replica: Replica) -> bool:
    """Whether its start came to nothing. A loss after it served is bad luck."""
    return replica.state in {ReplicaState.FAILED, ReplicaState.LOST} and replica.ready_at is None


def gave_up(replica: Replica) -> bool:
    """Whether it ended, or is ending, before all of its traffic had been given to it."""
    is_lost_early = replica.state is ReplicaState.LOST and replica.weight_percent < FULL_WEIGHT
    return _has_failed(replica) or is_lost_early


def taken_away(replica: Replica) -> bool:
    """Whether it was a spot replica that was lost, while it started or served.

    One that only stopped answering counts, too: the machine is often gone before its provider says so.
    """
    return replica.market is Market.SPOT and replica.state is ReplicaState.LOST


def _has_failed(replica: Replica) -> bool:
    """Whether its start came to nothing, or its move was taken back."""
    return replica.reason.startswith(ABORTED) or never_served(replica)


def _lesson_of(replica: Replica) -> Lesson | None:
    if taken_away(replica):
        return PREEMPTED
    return LESSONS.get(replica.reason.partition(":")[0], OWN) if _has_failed(replica) else None


def _places(replica: Replica) -> tuple[str, str, str]:
    """Name what a lesson may be about, from the narrowest to the widest."""
    sold = sold_as(replica.offer_id)
    return sold, _family(sold), f"{replica.region.partition('/')[0]}/*"


@lru_cache(maxsize=4096)
def _family(offer_id: str) -> str:
    """Name all sizes of an offer's accelerator in its region and market, as quotas are counted.

    A machine without accelerators speaks for itself.
    """
    region, shape, market = offer_id.rsplit(":", 2)
    return f"{region}:{_SIZE.sub('*x', shape, count=1)}:{market}" if _SIZE.match(shape) else offer_id


def _pause(failures: Sequence[_Failure], clock_rate: float) -> Avoidance:
    """Return how long the place is left alone after the last failure; old ones count by what is left of them."""
    ordered = sorted(failures, key=lambda f: (f.at, f.replica.name))
    events: list[_Failure] = []
    for failure in ordered:
        if events and _is_the_same(events[-1], failure, clock_rate):
            events[-1] = failure
        else:
            events.append(failure)
    last = events[-1]
    ages = [((last.at - f.at) / clock_rate) / f.lesson.half_life for f in events]
    doublings = min(sum(0.5**age for age in ages) - 1, _MOST_DOUBLINGS)
    seconds = round(last.lesson.first.total_seconds() * 2**doublings)
    pause = min(timedelta(seconds=seconds), last.lesson.longest) * clock_rate
    reason = last.replica.reason
    text = reason.splitlines()[0][:120] if reason else "a launch failed"
    if last.lesson is PREEMPTED:
        return Avoidance(last.at + pause, f"taken away {len(events)}x: {text}")
    return Avoidance(last.at + pause, f"failed {len(events)}x: {text}")


def _is_the_same(before: _Failure, after: _Failure, clock_rate: float) -> bool:
    """Whether two failures are one event: the later try was under way when the first one failed, a moment earlier."""
    return after.replica.created_at < before.at and (after.at - before.at) / clock_rate <= TOGETHER
