"""A replica's life."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.price import Market
from orchestrator.domain.time import Instant


class ReplicaState(StrEnum):
    """Where a replica is in its life. The arrows are in :data:`NEXT_STATES`."""

    PENDING = "pending"
    PROVISIONING = "provisioning"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    TERMINATED = "terminated"
    FAILED = "failed"
    LOST = "lost"


_S = ReplicaState
NEXT_STATES: dict[ReplicaState, frozenset[ReplicaState]] = {
    _S.PENDING: frozenset({_S.PROVISIONING, _S.DRAINING, _S.FAILED}),
    _S.PROVISIONING: frozenset({_S.STARTING, _S.DRAINING, _S.FAILED, _S.LOST}),
    _S.STARTING: frozenset({_S.READY, _S.DRAINING, _S.FAILED, _S.LOST}),
    _S.READY: frozenset({_S.DRAINING, _S.LOST}),
    _S.DRAINING: frozenset({_S.TERMINATED, _S.LOST}),
    _S.TERMINATED: frozenset(),
    _S.FAILED: frozenset(),
    _S.LOST: frozenset(),
}
"""FAILED and LOST are final for the record; whatever of the instance is left is still terminated by its name."""

LIVE = frozenset({_S.PENDING, _S.PROVISIONING, _S.STARTING, _S.READY})
"""States that count towards the wanted number; a draining replica never does."""

PAID = frozenset({_S.PROVISIONING, _S.STARTING, _S.READY, _S.DRAINING})
"""States in which the provider may charge."""

ENDED = frozenset({_S.TERMINATED, _S.FAILED, _S.LOST})

REFUSALS = frozenset(
    {"no_capacity", "quota_exceeded", "credentials_missing", "unsupported_by_provider", "price_moved", "engine_missing"}
)
"""Codes that a failed replica's reason begins with where its launch was refused: no engine was started."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica as the store remembers it.

    ``name`` is the provider's name for it, a function of deployment and intent, so that a retry cannot buy twice.
    ``slot`` is the ordinal it fills; a replacement shares the slot of the replica named by ``replaces``.
    ``workload_digest`` names what it runs (model, engine, arguments): another digest in the spec means a rollout.
    ``weight_percent`` is its share relative to a full replica (canary steps), 0..100.
    ``cleaned_up``: the provider has confirmed that nothing of an ended replica is left. ``ended_at``: when that was;
    until it is known, when the replica was given up.
    """

    name: str
    service: str
    slot: int
    offer_id: str
    region: str
    zone: str | None
    shape: str
    market: Market
    usd_per_hour: float | None
    state: ReplicaState
    intent_id: str
    revision: int
    workload_digest: str
    created_at: Instant
    state_since: Instant
    ready_at: Instant | None = None
    ended_at: Instant | None = None
    endpoint: str | None = None
    replaces: str | None = None
    weight_percent: int = 0
    weight_since: Instant | None = None
    reason: str = ""
    cleaned_up: bool = False

    @property
    def came_to_nothing(self) -> bool:
        """Whether it is known that no engine was ever started for it: unknown is not nothing. See decision 0084.

        It was refused, no address of it was ever seen, not after its end either, and its provider has confirmed that
        nothing is left.
        """
        was_seen = self.endpoint is not None or self.ready_at is not None
        was_refused = self.state is ReplicaState.FAILED and self.reason.partition(":")[0] in REFUSALS
        return was_refused and self.cleaned_up and not was_seen
