"""How long replicas have been in their states: physical time, to which a step of a clock or a sleep adds nothing.

A record says when a state began by the grid's clock, which follows the machine's. Set forward by an hour, or waking up
in the morning, that clock would find every start of a replica an hour, or a night, too late. So a state is timed from
when this process has first seen it. What was before that is taken from the record, up to what has passed since the look
before: a controller that was down for an hour finds starts an hour old, as they are; one that ran does not believe it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.control.ports import Clock
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.time import Instant


@dataclass(frozen=True, slots=True)
class _Seen:
    """A state, how old it was when it was first seen, and at which second of ``Clock.monotonic`` that was."""

    state: ReplicaState
    since: Instant
    age: timedelta
    at: float


class StateAges:
    """One controller's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._looked_at: dict[str, float] = {}

    def of(self, service: str, replicas: Sequence[Replica]) -> Mapping[str, timedelta]:
        """Return for how long each replica of a service has been in its state, by name."""
        now, at = self._clock.now(), self._clock.monotonic()
        since_last = timedelta(seconds=at - self._looked_at[service]) if service in self._looked_at else timedelta.max
        self._looked_at[service] = at
        for replica in replicas:
            seen = self._seen.get(replica.name)
            if seen is None or (seen.state, seen.since) != (replica.state, replica.state_since):
                by_record = (now - replica.state_since) / self._clock.rate
                age = min(max(timedelta(0), by_record), since_last)
                self._seen[replica.name] = _Seen(replica.state, replica.state_since, age, at)
        seen_now = {r.name: self._seen[r.name] for r in replicas}
        return {name: seen.age + timedelta(seconds=at - seen.at) for name, seen in seen_now.items()}

    def forget_all_but(self, names: Iterable[str], services: Iterable[str]) -> None:
        """Drop what is remembered of replicas and services that are gone."""
        for name in set(self._seen) - set(names):
            del self._seen[name]
        for service in set(self._looked_at) - set(services):
            del self._looked_at[service]
