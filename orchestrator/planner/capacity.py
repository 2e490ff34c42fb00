"""What failed lately is not tried again at once: capacity memory, derived from the replicas' own records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.time import Instant
from orchestrator.planner.rollout import ABORTED, FULL_WEIGHT

FIRST_PAUSE = timedelta(minutes=2)
LONGEST_PAUSE = timedelta(hours=2)
MEMORY = timedelta(hours=24)

_MOST_DOUBLINGS = 10
"""Enough to pass the longest pause; many replicas that fail together must not overflow a duration."""


@dataclass(frozen=True, slots=True)
class Avoidance:
    """An offer to leave alone until then, and why."""

    until: Instant
    reason: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a kind of failure teaches: how long to stay away at first and at most, and about what.

    ``shared``: it says something about the place, so it counts for every workload. ``whole_provider``: it will be the
    same everywhere there.
    """

    first: timedelta = FIRST_PAUSE
    longest: timedelta = LONGEST_PAUSE
    shared: bool = False
    whole_provider: bool = False


OWN = Lesson()
"""A start that failed for a reason of its own (its engine died, it took too long) tells nothing to other workloads."""

PREEMPTED = Lesson(first=timedelta(minutes=5), longest=timedelta(hours=1), shared=True)
"""Interruptions come together: 92 % of those in a region within three minutes of each other (arXiv 2604.16457)."""

LESSONS: Mapping[str, Lesson | None] = {
    "no_capacity": Lesson(shared=True),
    "quota_exceeded": Lesson(first=timedelta(minutes=30), longest=timedelta(hours=12), shared=True),
    "credentials_missing": Lesson(first=timedelta(minutes=10), shared=True, whole_provider=True),
    "unsupported_by_provider": Lesson(first=timedelta(hours=6), longest=MEMORY, shared=True),
    "price_moved": None,  # the new price is in the list, and the plan is made on it
    "provider_unavailable": None,  # nobody was asked
}
"""By the code that a failed replica's reason begins with; ``None`` teaches nothing."""


def avoided(
    replicas: Iterable[Replica], now: Instant, clock_rate: float, workload: str | None = None
) -> dict[str, Avoidance]:
    """Return the offers in back-off, and whole providers as ``provider/*``. Each further failure doubles the pause.

    Pauses are physical time: they bound outside work. Failures that say something about the place count whoever had
    them; the others only for the same ``workload`` (a digest; ``None``: all are taken for the same).

    A replica that was asked for since the last failure and became ready wipes the slate of its offer.
    """
    by_place: dict[str, list[tuple[Replica, Lesson]]] = {}
    good: dict[str, Instant] = {}
    for replica in replicas:
        if replica.created_at < now - MEMORY * clock_rate:
            continue
        lesson = _lesson_of(replica)
        places = (replica.offer_id, f"{replica.region.partition('/')[0]}/*")
        if lesson is None:
            if replica.ready_at is not None:
                for place in places:
                    good[place] = max(good.get(place, replica.created_at), replica.created_at)
        elif lesson.shared or workload is None or replica.workload_digest == workload:
            by_place.setdefault(places[lesson.whole_provider], []).append((replica, lesson))
    found = {}
    for place, failures in by_place.items():
        recent = [(r, lesson) for r, lesson in failures if place not in good or r.state_since > good[place]]
        if recent:
            last, lesson = max(recent, key=lambda f: (f[0].state_since, f[0].name))
            doublings = min(len(recent) - 1, _MOST_DOUBLINGS)
            pause = min(lesson.first * 2**doublings, lesson.longest) * clock_rate
            if last.state_since + pause > now:
                text = last.reason.splitlines()[0][:120] if last.reason else "a launch failed"
                found[place] = Avoidance(last.state_since + pause, f"failed {len(recent)}x: {text}")
    return found


def avoidance_of(offer_id: str, known: Mapping[str, Avoidance]) -> Avoidance | None:
    """Return the longer one of the offer's own and its provider's, if there is any."""
    both = (known.get(offer_id), known.get(f"{offer_id.partition('/')[0]}/*"))
    return max((a for a in both if a is not None), key=lambda a: a.until, default=None)


def _lesson_of(replica: Replica) -> Lesson | None:
    if replica.reason.startswith(ABORTED) or never_served(replica):
        return LESSONS.get(replica.reason.partition(":")[0], OWN)
    preempted = replica.state is ReplicaState.LOST and replica.market is Market.SPOT
    return PREEMPTED if preempted else None


def never_served(replica: Replica) -> bool:
    """Whether its start came to nothing. A loss after it served is bad luck."""
    return replica.state in {ReplicaState.FAILED, ReplicaState.LOST} and replica.ready_at is None


def gave_up(replica: Replica) -> bool:
    """Whether it ended, or is ending, before all of its traffic had been given to it."""
    is_lost_early = replica.state is ReplicaState.LOST and replica.weight_percent < FULL_WEIGHT
    return _has_failed(replica) or is_lost_early


def _has_failed(replica: Replica) -> bool:
    """Whether its start came to nothing, or its move was taken back."""
    return replica.reason.startswith(ABORTED) or never_served(replica)
