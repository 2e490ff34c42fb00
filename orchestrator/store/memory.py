"""The memory of one process: the same promises as the database, nothing on disk, and failures on request.

For tests and simulations. It keeps the values themselves, so a simulated year costs no serialisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from orchestrator.domain.chain import Acceptance, Finding, JournalReport
from orchestrator.domain.orphans import ReapRequest
from orchestrator.domain.records import (
    Operation,
    OperationKind,
    Pause,
    ServiceRecord,
    ServiceState,
)
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.turns import Claim, Turn, quiet_after
from orchestrator.store import rules
from orchestrator.store.memory_journal import MemoryJournal
from orchestrator.store.memory_orphans import MemoryOrphanRecords
from orchestrator.store.memory_state import (
    Fault,
    State,
    at_revision,
    faultable,
    of_service,
    require_service,
)
from orchestrator.store.tidy import tidy, tidy_instant, tidy_text


class MemoryStore(MemoryOrphanRecords):
    """The ``Store`` port over values in this process; journals claimed from it share them."""

    def __init__(self, deployment_uid: str = "in-memory", present: Callable[[], datetime] | None = None) -> None:
        super().__init__(State(deployment_uid) if present is None else State(deployment_uid, present=present))

    def fail_next(self, method: str, error: BaseException, *, after: bool = False) -> None:
        """Let the next call of a port's method raise the error, on the store or a journal of it; calls add up.

        With ``after`` the method does its work first: committed, but the answer was lost.
        """
        if method not in _METHODS:
            raise ValueError(f"the store has no method {method!r}")
        with self._state.lock:
            self._state.faults[method].append(Fault(error, after))

    @faultable
    def submit_deploy(self, spec: ServiceSpec, operation: Operation) -> int:
        """Store a new revision and the request at once; returns the revision.

        A service that was down is active again. Submitting the same operation id again changes nothing and returns the
        revision of the first time. Raises ``Conflict`` when another operation of the service is open.
        """
        rules.check_deploy(spec, operation)
        wish = tidy(operation)
        state = self._state
        known = state.revision_by_operation.get((wish.service, wish.id))
        if known is not None:
            return known
        if wish.id in state.operations:
            raise rules.used_operation(wish.id)
        _check_free(state, wish)
        revisions, at, active = state.revisions_of[wish.service], wish.created_at, ServiceState.ACTIVE
        revisions.append(spec)
        old = state.services.get(wish.service) or ServiceRecord(wish.service, 0, spec, "", active, at, at)
        new = replace(at_revision(state, old, len(revisions)), state=active, updated_at=at)
        state.services[wish.service] = new
        state.operations.put(wish.id, wish)
        state.revision_by_operation[wish.service, wish.id] = new.revision
        return new.revision

    @faultable
    def submit(self, operation: Operation) -> None:
        """Store a request; the same id again changes nothing.

        A request to take the service down closes whatever else is open as superseded.
        Raises ``UnknownService``, or ``Conflict`` when another one of the service is open.
        """
        wish = tidy(operation)
        require_service(self._state, wish.service)
        known = self._state.operations.get(wish.id)
        if known is None:
            if wish.kind is OperationKind.DOWN:
                _supersede(self._state, wish)
            _check_free(self._state, wish)
            self._state.operations.put(wish.id, wish)
        elif known.service != wish.service:
            raise rules.used_operation(wish.id)

    @faultable
    def set_paused(
        self, service: str | None, *, paused: bool, now: datetime, actor: str = "", reason: str = ""
    ) -> bool:
        """Hold or allow what is voluntary, of one service or of all (``None``); return whether that changed anything.

        Who was first keeps the word: pausing again what is paused changes neither actor nor reason. Raises
        ``UnknownService``.
        """
        state = self._state
        word = tidy(Pause(service or rules.EVERY_SERVICE, paused, actor, reason, now))
        if service is None:
            changes, state.all_paused = state.all_paused is not paused, paused
        else:
            old = require_service(state, service)
            changes = old.paused is not paused
            if changes:
                state.services[service] = replace(old, paused=paused, updated_at=word.at)
        if changes:
            state.pauses.append(word)
        return changes

    @faultable
    def submit_reap(self, request: ReapRequest) -> None:
        """Store somebody's word about orphans; the same id again changes nothing."""
        self._state.reap_requests.setdefault(request.id, tidy(request))

    @faultable
    def accept_edits(self, digest: str, *, actor: str, reason: str, now: datetime) -> None:
        """Go on from the journal as it was found; ``digest`` names the findings, see ``JournalReport``.

        Raises ``Conflict`` when other things are found by now.
        """
        state = self._state
        found = JournalReport(0, 0, "", state.findings)
        rules.check_findings(found, digest)
        link = state.marks.noticed + 1
        who, why = tidy_text(actor), tidy_text(reason)
        state.acceptances.append(Acceptance(link, who, why, tidy_instant(now), digest, len(found.findings)))
        state.findings, state.marks = (), replace(state.marks, accepted=link)

    def edit_by_hand(self, *findings: Finding) -> None:
        """Let a check of the journal find this from now on, until somebody accepts it."""
        with self._state.lock:
            self._state.findings = findings

    @faultable
    def claim(self, holder: str, now: datetime, claim: Claim | None = None) -> MemoryJournal:
        """Take the controller's turn: the epoch grows by one and older journals can write no more.

        With a ``claim``, raises ``LeaseHeld``, having changed nothing, while somebody else is heard of, and is heard of
        from then on. Without one the turn is taken from whomever it is.
        """
        tidy_instant(now)
        state, before = self._state, self.turn()
        if claim is not None:
            rules.refuse_held(before, claim)
        state.holders.append(tidy_text(holder))
        present = state.present()
        state.turn = None
        if claim is not None:
            quiet_until = present + quiet_after(before, claim)
            state.turn = Turn(state.epoch, tidy(claim.claimant), present, present, quiet_until=quiet_until)
        return MemoryJournal(state, state.epoch, before)


def _supersede(state: State, wish: Operation) -> None:
    """Close what else is open: who takes a service down does not wait for its deploy."""
    for other in state.operations.open():
        if other.service == wish.service and other.kind is not wish.kind:
            state.operations.put(other.id, rules.overtaken(other, wish))


def _check_free(state: State, wish: Operation) -> None:
    """Raise ``Conflict`` when another operation of the service is open."""
    if wish.state not in rules.OPEN_OPERATIONS:
        return
    for other in of_service(state.operations.open(), wish.service):
        raise rules.conflicting(wish, other)


_METHODS = frozenset(
    name
    for kind in (MemoryStore, MemoryJournal)
    for name in dir(kind)
    if not name.startswith("_") and name not in {"epoch", "predecessor", "fail_next", "edit_by_hand"}
)
