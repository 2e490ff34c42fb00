"""The memory, for reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.domain.chain import Acceptance, Finding, JournalMarks, JournalReport
from orchestrator.domain.decision import Decision, DecisionKind, RestingDay
from orchestrator.domain.energy import EnergySample, EnergySoFar
from orchestrator.domain.orphans import Reap, ReapRequest, Restored, Suspect
from orchestrator.domain.records import Event, Intent, Operation, Pause, Placement, ServiceRecord
from orchestrator.domain.replica import Replica
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import Instant, Window
from orchestrator.domain.turns import Turn


class Records(Protocol):
    """Read access for everybody. Every method is one short transaction; raises ``StoreUnavailable``."""

    def deployment_uid(self) -> str:
        """Return this installation's unique id, made on first use."""
        ...

    def turn(self) -> Turn | None:
        """Return whose turn it is, and when they were heard of; ``None`` where nobody has said."""
        ...

    def services(self) -> Sequence[ServiceRecord]:
        """Return all services by name, those that are down included."""
        ...

    def service(self, name: str) -> ServiceRecord | None:
        """Return the service with its newest revision."""
        ...

    def pauses(self, *, in_force: bool = True) -> Sequence[Pause]:
        """Return what is paused now, everything first and then by name; else every word about it, oldest first."""
        ...

    def replicas(
        self, service: str | None = None, *, ended: bool = False, ended_since: Instant | None = None
    ) -> Sequence[Replica]:
        """Return replicas by slot and age. Without ``ended``, those that live or are not yet cleaned up.

        With it and ``ended_since``, those too that ended then or later: months of history are not read for a look.
        """
        ...

    def replica(self, name: str) -> Replica | None:
        """Return one replica, however long ago it ended."""
        ...

    def leases(self, service: str | None = None) -> Mapping[str, Instant]:
        """Return when the leases of the replicas end that need attention still, by name: those that have one."""
        ...

    def operations(self, service: str | None = None, *, open_only: bool = True) -> Sequence[Operation]:
        """Return requests, oldest first."""
        ...

    def operation(self, operation_id: str) -> Operation | None:
        """Return one request."""
        ...

    def deployed_spec(self, service: str, operation_id: str) -> ServiceSpec | None:
        """Return the spec that a deploy asked for, whatever was deployed since; ``None`` of any other request."""
        ...

    def spec_of(self, service: str, revision: int) -> ServiceSpec | None:
        """Return the spec of one revision, whichever is in force; ``None`` where there never was one."""
        ...

    def decisions(
        self, service: str, *, limit: int = 50, kind: DecisionKind | None = None, since: Instant | None = None
    ) -> Sequence[Decision]:
        """Return decisions, newest first; of one kind, or made at that moment or later, where that is asked for."""
        ...

    def decision(self, decision_id: str) -> Decision | None:
        """Return one decision by id."""
        ...

    def resting_days(self, service: str) -> Sequence[RestingDay]:
        """Return what is left of old decisions that changed nothing, oldest first."""
        ...

    def placements(self, service: str) -> Sequence[Placement]:
        """Return where replicas stood, oldest first."""
        ...

    def intents(self, service: str | None = None, *, open_only: bool = False) -> Sequence[Intent]:
        """Return intents, oldest first."""
        ...

    def intent(self, intent_id: str) -> Intent | None:
        """Return one intent."""
        ...

    def events(self, service: str | None = None, *, after_id: int = 0, limit: int = 1000) -> Sequence[Event]:
        """Return events with a larger id, oldest first."""
        ...

    def last_event(self, service: str) -> Event | None:
        """Return the newest event of a service."""
        ...

    def energy(
        self, service: str, window: Window | None = None, *, replica: str | None = None
    ) -> Sequence[EnergySample]:
        """Return energy samples whose window starts inside, oldest first; of one replica where that is asked for."""
        ...

    def energy_so_far(self, service: str, replica: str) -> EnergySoFar | None:
        """Return how far the samples of a replica reach, ``None`` without any: one sample is read for it."""
        ...

    def output_tokens(self, service: str, window: Window) -> int:
        """Return the sum of what the energy samples count whose window starts inside: no sample is read for it."""
        ...

    def database_time(self) -> Instant | None:
        """Return what the database's own clock says, UTC; ``None`` where it has none but this machine's."""
        ...

    def newest_epoch(self) -> int:
        """Return the number of the newest turn, 0 before the first."""
        ...

    def suspects(self) -> Sequence[Suspect]:
        """Return the instances that the last complete listings and the journal do not agree about, by name."""
        ...

    def restored(self) -> Restored:
        """Return the signs that this database was set back, and up to which turn somebody has accepted that."""
        ...

    def check_journal(self, *, history: bool = True) -> JournalReport:
        """Compare the journal with its chain; without ``history``, only those rows that something is decided by."""
        ...

    def glance_at_journal(self) -> Sequence[Finding]:
        """Compare what people look at first with the chain: services, pauses, requests, replicas, and the chain's end.

        Cheap however long the chain is; nothing found does not mean that the rest is whole.
        """
        ...

    def journal_marks(self) -> JournalMarks:
        """Return whether something is known to be wrong with the journal, without looking through it."""
        ...

    def journal_acceptances(self) -> Sequence[Acceptance]:
        """Return who has accepted a journal that was not as it was written, oldest first."""
        ...

    def reap_requests(self, *, open_only: bool = True) -> Sequence[ReapRequest]:
        """Return what people asked to be done about orphans, oldest first."""
        ...

    def reap_request(self, request_id: str) -> ReapRequest | None:
        """Return one of these."""
        ...

    def reaps(self, *, open_only: bool = False, since: Instant | None = None) -> Sequence[Reap]:
        """Return the intents to end orphans, oldest first; those begun at that moment or later where asked for."""
        ...
