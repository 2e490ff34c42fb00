"""Orphans in the memory of one process: the same promises as :mod:`orchestrator.store.orphans`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from orchestrator.domain.chain import Acceptance, Finding, JournalMarks, JournalReport
from orchestrator.domain.orphans import Reap, ReapRequest, Restored, Suspect
from orchestrator.domain.records import Intent, OperationState
from orchestrator.domain.replica import Replica
from orchestrator.domain.time import Instant
from orchestrator.store import rules
from orchestrator.store.memory_records import MemoryRecords
from orchestrator.store.memory_state import State, faultable
from orchestrator.store.tidy import tidy_instant


class MemoryOrphanRecords(MemoryRecords):
    """The part of the ``Records`` port that is about single records by name, and about orphans."""

    @faultable
    def replica(self, name: str) -> Replica | None:
        """Return one replica, however long ago it ended."""
        return self._state.replicas.get(name)

    @faultable
    def intent(self, intent_id: str) -> Intent | None:
        """Return one intent."""
        return self._state.intents.get(intent_id)

    @faultable
    def database_time(self) -> Instant | None:
        """Return nothing: the memory of a process has no clock."""
        return None

    @faultable
    def newest_epoch(self) -> int:
        """Return the number of the newest turn, 0 before the first."""
        return self._state.epoch

    @faultable
    def suspects(self) -> Sequence[Suspect]:
        """Return the instances that the last complete listings and the journal do not agree about, by name."""
        return [self._state.suspects[key] for key in sorted(self._state.suspects)]

    @faultable
    def restored(self) -> Restored:
        """Return the signs that this database was set back, and up to which turn somebody has accepted that."""
        return self._state.restored

    @faultable
    def check_journal(self, *, history: bool = True) -> JournalReport:
        """Return what :meth:`MemoryStore.edit_by_hand` has put there: nobody else can change a process's memory."""
        del history
        return JournalReport(links=0, rows=0, head="", findings=self._state.findings)

    @faultable
    def glance_at_journal(self) -> Sequence[Finding]:
        """Return what :meth:`MemoryStore.edit_by_hand` has put there."""
        return self._state.findings

    @faultable
    def journal_marks(self) -> JournalMarks:
        """Return whether something is known to be wrong with the journal."""
        return self._state.marks

    @faultable
    def journal_acceptances(self) -> Sequence[Acceptance]:
        """Return who has accepted a journal that was not as it was written, oldest first."""
        return list(self._state.acceptances)

    @faultable
    def reap_requests(self, *, open_only: bool = True) -> Sequence[ReapRequest]:
        """Return what people asked to be done about orphans, in order of arrival."""
        found = self._state.reap_requests.values()
        return [r for r in found if not open_only or r.state in rules.OPEN_OPERATIONS]

    @faultable
    def reap_request(self, request_id: str) -> ReapRequest | None:
        """Return one of these."""
        return self._state.reap_requests.get(request_id)

    @faultable
    def reaps(self, *, open_only: bool = False, since: Instant | None = None) -> Sequence[Reap]:
        """Return the intents to end orphans, in order of arrival; those begun then or later where asked for."""
        start = None if since is None else tidy_instant(since)
        found = [r for r in self._state.reaps.values() if start is None or r.created_at >= start]
        return [r for r in found if not open_only or r.state in rules.OPEN_INTENTS]


def replace_suspects(state: State, source: str, suspects: Sequence[Suspect]) -> None:
    """Keep these in the place of those before."""
    for key in [key for key, old in state.suspects.items() if old.source == source]:
        del state.suspects[key]
    state.suspects.update({(s.name, s.kind): s for s in suspects})


def close_request(state: State, request_id: str, to: OperationState, at: datetime, outcome_json: str | None) -> bool:
    """Change an open request; returns whether it was open. Without an outcome it keeps the one that it has."""
    old = state.reap_requests.get(request_id)
    if old is None:
        raise rules.unknown("reap request", request_id)
    if old.state not in rules.OPEN_OPERATIONS:
        return False
    answer = old.outcome_json if outcome_json is None else outcome_json
    state.reap_requests[request_id] = replace(old, state=to, updated_at=at, outcome_json=answer)
    return True
