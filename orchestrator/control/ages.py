"""How long it is since what records date: physical time, to which a step of a clock or a sleep adds nothing.

A record says when something began by the grid's clock, which follows the machine's. Set forward by an hour, or waking
up in the morning, that clock would find every start of a replica an hour, or a night, too late. So things are timed
from when this process has first seen them. What was before that is taken from the record, up to what has passed since
the look before: a controller that was down for an hour finds starts an hour old, as they are; one that ran does not
believe it. See decision 0092.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.control.ports import Clock
from orchestrator.domain.orphans import Suspect, SuspectKind
from orchestrator.domain.replica import Replica
from orchestrator.domain.time import Instant

A_STEP = timedelta(seconds=1)
"""Physical. Two clocks that are read one after the other differ by less, unless somebody has set one of them."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a record dates, how old it was when it was first seen, and at which second of ``Clock.monotonic``."""

    since: Instant
    age: timedelta
    at: float


class Ages:
    """One controller's, of things of one kind."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[Hashable, _Seen] = {}
        self._looked_at: float | None = None
        self._most = timedelta.max

    def look(self) -> None:
        """Look anew: what was not seen at the look before cannot be older than that look."""
        at = self._clock.monotonic()
        self._most = timedelta.max if self._looked_at is None else timedelta(seconds=at - self._looked_at)
        self._looked_at = at

    def of(self, key: Hashable, since: Instant, most: timedelta | None = None) -> timedelta:
        """Return how old something is that began at ``since``; seen for the first time, at ``most`` so much."""
        at, seen = self._clock.monotonic(), self._seen.get(key)
        if seen is None or seen.since != since:
            by_record = (self._clock.now() - since) / self._clock.rate
            seen = _Seen(since, min(max(timedelta(0), by_record), self._most if most is None else most), at)
            self._seen[key] = seen
        return seen.age + timedelta(seconds=at - seen.at)

    def began(self, key: Hashable, since: Instant, most: timedelta | None = None) -> Instant:
        """Return when something began by the clock as it is set now: ``since``, unless that was by another setting."""
        began = self._clock.now() - self.of(key, since, most) * self._clock.rate
        if abs(began - since) <= A_STEP * self._clock.rate:
            return since
        self._seen[key] = replace(self._seen[key], since=began)
        return began

    def forget_all_but(self, keys: Collection[Hashable]) -> None:
        """Drop what is remembered of all others."""
        for key in self._seen.keys() - set(keys):
            del self._seen[key]


class StateAges:
    """How long replicas have been in their states."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of: dict[str, Ages] = {}

    def of(self, service: str, replicas: Sequence[Replica]) -> Mapping[str, timedelta]:
        """Return for how long each replica of a service has been in its state, by name."""
        ages = self._of.setdefault(service, Ages(self._clock))
        ages.look()
        return {r.name: ages.of(r.name, r.state_since) for r in replicas}

    def forget_all_but(self, names: Collection[str], services: Iterable[str]) -> None:
        """Drop what is remembered of replicas and services that are gone."""
        for service in self._of.keys() - set(services):
            del self._of[service]
        for ages in self._of.values():
            ages.forget_all_but(names)


class SuspectAges:
    """Since when suspects are suspected, and since when they are known to serve nobody.

    Their records are kept by the clock as it is set now, so that everybody who reads them counts right. Of what was
    seen before this process began only the time counts in which somebody looked: whoever is not sure waits.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first_seen, self._idle = Ages(clock), Ages(clock)

    def kept(self, found: Iterable[Suspect], before: Iterable[Suspect]) -> tuple[Suspect, ...]:
        """Return suspects as found by a look, of those ``before`` it, with the instants that are true by now."""
        old = {(s.name, s.kind): s for s in before}
        return tuple(self._kept(s, old.get((s.name, s.kind))) for s in found)

    def forget_all_but(self, suspects: Iterable[Suspect]) -> None:
        """Drop what is remembered of whoever is suspected no longer."""
        keys: set[tuple[str, SuspectKind]] = {(s.name, s.kind) for s in suspects}
        self._first_seen.forget_all_but(keys)
        self._idle.forget_all_but(keys)

    def _kept(self, suspect: Suspect, before: Suspect | None) -> Suspect:
        key, first, idle = (suspect.name, suspect.kind), suspect.first_seen_at, suspect.idle_since
        return replace(
            suspect,
            first_seen_at=self._first_seen.began(key, first, self._watched(first, before)),
            idle_since=None if idle is None else self._idle.began(key, idle, self._watched(idle, before)),
        )

    def _watched(self, since: Instant, before: Suspect | None) -> timedelta:
        """Return for how long somebody had looked at it up to the look before, by the record."""
        if before is None:
            return timedelta(0)
        return max(timedelta(0), before.last_seen_at - since) / self._clock.rate
