"""The memory, for writing: wishes for everybody, facts for the one acting controller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.control.ports.records import Records
from orchestrator.domain.carbon import Reading
from orchestrator.domain.decision import Decision
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.money import SpendingCap
from orchestrator.domain.orphans import Reap, ReapRequest, Suspect
from orchestrator.domain.records import (
    EventKind,
    Intent,
    IntentState,
    Operation,
    OperationState,
    Placement,
    ServiceState,
)
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import Instant
from orchestrator.domain.turns import Claim, Turn

MOST_COMPACTED = 600
"""Samples that are merged in one transaction: ten replica-hours of one a minute, some hundredths of a second."""

DECISIONS_LEFT = 50
"""The newest decisions on a service are never merged: more than a controller reads when it starts."""


class Requests(Records, Protocol):
    """What the command line may write: wishes, never facts."""

    def submit_deploy(self, spec: ServiceSpec, operation: Operation) -> int:
        """Store a new revision and the request in one transaction; returns the revision.

        Raises ``Conflict`` when another operation of the service is open.
        """
        ...

    def submit(self, operation: Operation) -> None:
        """Store a request; one to take the service down closes whatever else is open as superseded.

        Raises ``UnknownService``, or ``Conflict`` when another one of the service is open.
        """
        ...

    def set_paused(self, service: str | None, *, paused: bool, now: Instant, actor: str = "", reason: str = "") -> bool:
        """Hold or allow what is voluntary, of one service or of all (``None``); return whether that changed anything.

        Raises ``UnknownService``.
        """
        ...

    def submit_reap(self, request: ReapRequest) -> None:
        """Store somebody's word about orphans; the same id again changes nothing."""
        ...

    def accept_edits(self, digest: str, *, actor: str, reason: str, now: Instant) -> None:
        """Go on from the journal as it was found; ``digest`` names the findings, see ``JournalReport``.

        Raises ``Conflict`` when other things are found by now.
        """
        ...


class Journal(Records, Protocol):
    """What the one acting controller may write.

    Each write checks, in its own transaction, that our epoch is still the newest and raises ``LeaseHeld`` otherwise:
    a controller that was replaced while it slept can change nothing.
    """

    @property
    def epoch(self) -> int:
        """Our turn's number."""
        ...

    @property
    def predecessor(self) -> Turn | None:
        """Whose turn it was before, as it was when we took it; ``None`` where nobody had said."""
        ...

    def renew_turn(self) -> None:
        """Be heard of."""
        ...

    def end_turn(self) -> None:
        """Say that we have stopped: the turn is free at once."""
        ...

    def start_replica(
        self,
        replica: Replica,
        intent: Intent,
        placement: Placement,
        *,
        lease_ends_at: Instant | None = None,
        cap: SpendingCap | None = None,
    ) -> None:
        """Commit a PENDING replica with its PLANNED launch intent, before anything is bought. Idempotent by name.

        Raises ``BudgetSpent``, having written nothing, when what it may cost does not fit below the cap.
        """
        ...

    def renew_lease(self, replica: str, ends_at: Instant) -> None:
        """Record until when a replica goes on by itself."""
        ...

    def move_replica(self, name: str, to: ReplicaState, now: Instant, reason: str = "") -> Replica:
        """Change the state along ``NEXT_STATES``; raises ``ValueError`` for any other arrow.

        Ends the placement when the new state is final.
        """
        ...

    def update_replica(
        self,
        name: str,
        *,
        endpoint: str | None = None,
        weight_percent: int | None = None,
        cleaned_up: bool | None = None,
        now: Instant,
    ) -> Replica:
        """Change what is not the state; only what is given."""
        ...

    def add_intent(self, intent: Intent) -> None:
        """Commit a further intent (a termination). Idempotent by id."""
        ...

    def set_intent(self, intent_id: str, state: IntentState, now: Instant, detail: str = "") -> None:
        """Record how far an intent has come."""
        ...

    def set_operation(
        self, operation_id: str, state: OperationState, now: Instant, *, error_code: str = "", error: str = ""
    ) -> None:
        """Record how far a request has come."""
        ...

    def set_service_state(
        self, service: str, state: ServiceState, now: Instant, *, only_from: ServiceState | None = None
    ) -> bool:
        """Record that a service is going down, or is down; return whether it was recorded.

        ``only_from``: the state it must have still, as one who deploys in this moment makes it active again.
        """
        ...

    def restore_revision(self, service: str, revision: int, now: Instant) -> None:
        """Make an older revision the current one again, after a deploy that failed. Raises ``UnknownService``."""
        ...

    def record_decision(self, decision: Decision, signals: Sequence[Reading]) -> None:
        """Keep a decision and the signals it used. Idempotent by id."""
        ...

    def record_energy(self, samples: Sequence[EnergySample]) -> None:
        """Keep samples; a sample of the same replica and window start is kept once."""
        ...

    def compact_energy(
        self, before: Instant, most: int = MOST_COMPACTED, *, links_before: Instant | None = None
    ) -> int:
        """Merge samples of clock hours that ended by then into rows of an hour (``ledger.hourly``), oldest first.

        About ``most`` samples at once; returns how much was done, 0 when nothing is left to do for now.
        ``links_before``: the journal's links about what was merged are taken away up to samples of that time.
        """
        ...

    def compact_decisions(self, before: Instant) -> int:
        """Merge decisions of days that ended by then into one :class:`RestingDay` or a few, the oldest day first.

        Only those of the policy that changed nothing, that no placement follows from, and that are not among the
        :data:`DECISIONS_LEFT` newest of their service. One service and day at once; returns how many were merged, 0
        when nothing is left to do for now.
        """
        ...

    def record_event(
        self,
        kind: EventKind,
        text: str,
        *,
        service: str,
        at: Instant,
        wall_at: Instant,
        replica: str = "",
        detail_json: str = "{}",
    ) -> None:
        """Append one line of history."""
        ...

    def next_routing_version(self) -> int:
        """Return a number larger than any before, over restarts."""
        ...

    def set_suspects(self, source: str, suspects: Sequence[Suspect]) -> None:
        """Keep these as the suspects of one source, in the place of those before."""
        ...

    def set_restored(self, *, seen_epoch: int = 0, accepted_epoch: int = 0) -> None:
        """Keep a sign that the database was set back, or that it is accepted. Neither number ever falls."""
        ...

    def close_reap_request(
        self, request_id: str, state: OperationState, now: Instant, *, outcome_json: str, reaps: Sequence[Reap] = ()
    ) -> None:
        """Close a request and commit what follows from it, in one transaction: no answer without its intents.

        A request that is closed already is left as it is, and then nothing is committed.
        """
        ...

    def set_reap_request(self, request_id: str, state: OperationState, now: Instant) -> None:
        """Record that an open request has been looked at."""
        ...

    def set_reap(self, reap_id: str, state: IntentState, now: Instant, detail: str = "") -> None:
        """Record how far the end of an orphan has come. An empty detail keeps the one before."""
        ...

    def notice_edits(self, digest: str) -> None:
        """Put on record that a check of the journal found something; once for the same findings."""
        ...


class Store(Requests, Protocol):
    """The whole memory, as the composition root sees it."""

    def claim(self, holder: str, now: Instant, claim: Claim | None = None) -> Journal:
        """Take the controller's turn: the epoch grows by one and older journals can write no more.

        With a ``claim``, raises ``LeaseHeld``, having changed nothing, while somebody else is heard of, and is heard of
        from then on. Without one the turn is taken from whomever it is.
        """
        ...
