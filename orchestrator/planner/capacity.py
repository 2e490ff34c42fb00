"""What failed lately is not tried again at once: capacity memory, derived from the replicas' own records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

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


def avoided(replicas: Iterable[Replica], now: Instant, clock_rate: float) -> dict[str, Avoidance]:
    """Return the offers in back-off: two minutes after a failure, doubled by each further one, at most two hours.

    Minutes and hours are physical: they bound outside work.

    A replica that was asked for since the last failure and became ready wipes the slate of its offer.
    """
    by_offer: dict[str, list[Replica]] = {}
    for replica in replicas:
        if replica.created_at >= now - MEMORY * clock_rate:
            by_offer.setdefault(replica.offer_id, []).append(replica)
    found = {}
    for offer_id, own in by_offer.items():
        failures = _failures_since_success(own)
        if failures:
            last = max(failures, key=lambda r: (r.state_since, r.name))
            doublings = min(len(failures) - 1, _MOST_DOUBLINGS)
            pause = min(FIRST_PAUSE * 2**doublings, LONGEST_PAUSE) * clock_rate
            if last.state_since + pause > now:
                text = last.reason.splitlines()[0][:120] if last.reason else "a launch failed"
                found[offer_id] = Avoidance(last.state_since + pause, f"failed {len(failures)}x: {text}")
    return found


def never_served(replica: Replica) -> bool:
    """Whether its start came to nothing. A loss after it served is bad luck."""
    return replica.state in {ReplicaState.FAILED, ReplicaState.LOST} and replica.ready_at is None


def gave_up(replica: Replica) -> bool:
    """Whether it ended, or is ending, before all of its traffic had been given to it."""
    is_lost_early = replica.state is ReplicaState.LOST and replica.weight_percent < FULL_WEIGHT
    return _has_failed(replica) or is_lost_early


def _failures_since_success(own: list[Replica]) -> list[Replica]:
    failed = [r for r in own if _has_failed(r)]
    good = [r.created_at for r in own if r.ready_at is not None and r not in failed]
    return [r for r in failed if not good or r.state_since > max(good)]


def _has_failed(replica: Replica) -> bool:
    """Whether its start came to nothing, or its move was taken back."""
    return replica.reason.startswith(ABORTED) or never_served(replica)
