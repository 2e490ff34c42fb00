"""Reading from the memory of one process."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

from orchestrator.domain.carbon import Reading
from orchestrator.domain.decision import Decision, DecisionKind, RestingDay
from orchestrator.domain.energy import EnergySample, EnergySoFar
from orchestrator.domain.records import (
    Event,
    Intent,
    Operation,
    Pause,
    Placement,
    ServiceRecord,
)
from orchestrator.domain.replica import Replica
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import Instant, Window
from orchestrator.domain.turns import Turn
from orchestrator.store import rules
from orchestrator.store.memory_state import Remembering, faultable, of_service
from orchestrator.store.tidy import tidy_instant


class MemoryRecords(Remembering):
    """The ``Records`` port over values in this process."""

    @faultable
    def deployment_uid(self) -> str:
        """Return this installation's unique id."""
        return self._state.uid

    @faultable
    def turn(self) -> Turn | None:
        """Return whose turn it is, and when they were heard of; ``None`` where nobody has said."""
        turn = self._state.turn
        return None if turn is None else replace(turn, silent_for=self._state.present() - turn.heard_at)

    @faultable
    def services(self) -> Sequence[ServiceRecord]:
        """Return all services by name, those that are down included."""
        return [self._as_paused(self._state.services[name]) for name in sorted(self._state.services)]

    @faultable
    def service(self, name: str) -> ServiceRecord | None:
        """Return the service with its newest revision."""
        record = self._state.services.get(name)
        return None if record is None else self._as_paused(record)

    @faultable
    def pauses(self, *, in_force: bool = True) -> Sequence[Pause]:
        """Return what is paused now, everything first and then by name; else every word about it, oldest first."""
        return rules.pauses_in_force(self._state.pauses) if in_force else list(self._state.pauses)

    @faultable
    def replicas(
        self, service: str | None = None, *, ended: bool = False, ended_since: Instant | None = None
    ) -> Sequence[Replica]:
        """Return replicas by service, slot and age. Without ``ended``, those that live or are not yet cleaned up.

        With it and ``ended_since``, those too that ended then or later.
        """
        shelf = self._state.replicas
        found = of_service(shelf.all() if ended else shelf.open(), service)
        if ended and ended_since is not None:
            since = tidy_instant(ended_since)
            found = [r for r in found if not rules.is_finished_with(r) or r.ended_at is None or r.ended_at >= since]
        return sorted(found, key=lambda r: (r.service, r.slot))

    @faultable
    def leases(self, service: str | None = None) -> Mapping[str, Instant]:
        """Return when the leases of the replicas end that need attention still, by name."""
        names = sorted(r.name for r in of_service(self._state.replicas.open(), service))
        return {name: self._state.leases[name] for name in names if name in self._state.leases}

    @faultable
    def operations(self, service: str | None = None, *, open_only: bool = True) -> Sequence[Operation]:
        """Return requests in order of arrival."""
        shelf = self._state.operations
        return of_service(shelf.open() if open_only else shelf.all(), service)

    @faultable
    def operation(self, operation_id: str) -> Operation | None:
        """Return one request."""
        return self._state.operations.get(operation_id)

    @faultable
    def deployed_spec(self, service: str, operation_id: str) -> ServiceSpec | None:
        """Return the spec that a deploy asked for, whatever was deployed since; ``None`` of any other request."""
        revision = self._state.revision_by_operation.get((service, operation_id))
        return None if revision is None else self._state.revisions_of[service][revision - 1]

    @faultable
    def spec_of(self, service: str, revision: int) -> ServiceSpec | None:
        """Return the spec of one revision, whichever is in force; ``None`` where there never was one."""
        specs = self._state.revisions_of.get(service, [])
        return specs[revision - 1] if 1 <= revision <= len(specs) else None

    @faultable
    def decisions(
        self, service: str, *, limit: int = 50, kind: DecisionKind | None = None, since: Instant | None = None
    ) -> Sequence[Decision]:
        """Return decisions, newest first; of one kind, or made at that moment or later, where that is asked for."""
        from_when = None if since is None else tidy_instant(since)
        newest = (self._state.decisions[name] for name in reversed(self._state.decisions_of.get(service, [])))
        asked_for = (d for d in newest if kind in {None, d.kind} and (from_when is None or d.at >= from_when))
        return list(islice(asked_for, max(0, limit)))

    @faultable
    def decision(self, decision_id: str) -> Decision | None:
        """Return one decision by id."""
        return self._state.decisions.get(decision_id)

    @faultable
    def signals_used(self, decision_id: str) -> Sequence[Reading]:
        """Return the signals that a decision was recorded with, in their order; none when there is no such decision."""
        return self._state.signals.get(decision_id, ())

    @faultable
    def resting_days(self, service: str) -> Sequence[RestingDay]:
        """Return what is left of old decisions that changed nothing, oldest first."""
        found = (day for day in self._state.resting.values() if day.service == service)
        return sorted(found, key=lambda d: (d.day, d.first_at, d.kind))

    @faultable
    def placements(self, service: str) -> Sequence[Placement]:
        """Return where replicas stood, in order of their launches."""
        return of_service(self._state.placements.values(), service)

    @faultable
    def intents(self, service: str | None = None, *, open_only: bool = False) -> Sequence[Intent]:
        """Return intents in the order in which they were committed."""
        shelf = self._state.intents
        return of_service(shelf.open() if open_only else shelf.all(), service)

    @faultable
    def events(self, service: str | None = None, *, after_id: int = 0, limit: int = 1000) -> Sequence[Event]:
        """Return events with a larger id, oldest first."""
        later = islice(self._state.events, max(0, after_id), None)
        return list(islice((e for e in later if service is None or e.service == service), max(0, limit)))

    @faultable
    def last_event(self, service: str) -> Event | None:
        """Return the newest event of a service."""
        return next((e for e in reversed(self._state.events) if e.service == service), None)

    @faultable
    def energy(
        self, service: str, window: Window | None = None, *, replica: str | None = None
    ) -> Sequence[EnergySample]:
        """Return energy samples whose window starts inside, oldest first; of one replica where that is asked for."""
        samples = self._state.energy_of.get(service, [])
        first, end = 0, len(samples)
        if window is not None:
            first, end = (bisect_left(samples, at, key=lambda s: s.window.start) for at in (window.start, window.end))
        return [s for s in samples[first:end] if replica in {None, s.replica}]

    def energy_so_far(self, service: str, replica: str) -> EnergySoFar | None:
        """Return how far the samples of a replica reach, ``None`` without any."""
        own = self.energy(service, replica=replica)
        if not own:
            return None
        prompt, output = sum(s.prompt_tokens for s in own), sum(s.output_tokens for s in own)
        return EnergySoFar(max(s.window.end for s in own), prompt, output, own[-1])

    def output_tokens(self, service: str, window: Window) -> int:
        """Return the sum of what the energy samples count whose window starts inside."""
        return sum(s.output_tokens for s in self.energy(service, window))

    def _as_paused(self, record: ServiceRecord) -> ServiceRecord:
        return replace(record, paused=True) if self._state.all_paused and not record.paused else record
