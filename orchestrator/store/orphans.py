"""Orphans in the database: suspects, the signs of a restored backup, and what people asked to be done about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from orchestrator.domain.chain import Acceptance, Finding, JournalMarks, JournalReport
from orchestrator.domain.orphans import Reap, ReapRequest, Restored, Suspect
from orchestrator.domain.records import Intent, IntentState, OperationState
from orchestrator.domain.replica import Replica
from orchestrator.domain.time import Instant, as_utc
from orchestrator.store import mappers, tables
from orchestrator.store.chain_check import acceptances, check, glance, marks, one_moment
from orchestrator.store.inserts import insert_all_new, insert_new
from orchestrator.store.records import SqlRecords
from orchestrator.store.rules import ACCEPTED_EPOCH, OPEN_INTENTS, OPEN_OPERATIONS, SEEN_EPOCH, unknown
from orchestrator.store.tidy import tidy_instant


class SqlOrphanRecords(SqlRecords):
    """The part of the ``Records`` port that is about single records by name, and about orphans."""

    def replica(self, name: str) -> Replica | None:
        """Return one replica, however long ago it ended."""
        return self._first(select(tables.replicas).where(tables.replicas.c.name == name), mappers.replica_from)

    def intent(self, intent_id: str) -> Intent | None:
        """Return one intent."""
        return self._first(select(tables.intents).where(tables.intents.c.id == intent_id), mappers.intent_from)

    def database_time(self) -> Instant | None:
        """Return what the server's clock says; ``None`` for a file, which lives by ours."""
        if self._database.is_sqlite:
            return None
        return self._database.read(lambda tx: as_utc(tx.execute(select(func.clock_timestamp())).scalar_one()))

    def newest_epoch(self) -> int:
        """Return the number of the newest turn, 0 before the first."""
        query = select(tables.deployment.c.epoch)
        return self._database.read(lambda tx: int(tx.execute(query).scalar_one_or_none() or 0))

    def suspects(self) -> Sequence[Suspect]:
        """Return the instances that the last complete listings and the journal do not agree about, by name."""
        found = self._all(select(tables.suspects), lambda row: Suspect(**row))
        return sorted(found, key=lambda s: (s.name, s.kind))

    def restored(self) -> Restored:
        """Return the signs that this database was set back, and up to which turn somebody has accepted that."""
        table = tables.counters
        query = select(table.c.name, table.c.value).where(table.c.name.in_((SEEN_EPOCH, ACCEPTED_EPOCH)))

        def work(tx: Connection) -> Restored:
            kept = {name: int(value) for name, value in tx.execute(query)}
            return Restored(kept.get(SEEN_EPOCH, 0), kept.get(ACCEPTED_EPOCH, 0))

        return self._database.read(work)

    def check_journal(self, *, history: bool = True) -> JournalReport:
        """Compare the journal with its chain; without ``history``, only those rows that something is decided by."""

        def work(tx: Connection) -> JournalReport:
            one_moment(tx)
            return check(tx, history=history)

        return self._database.read(work)

    def glance_at_journal(self) -> Sequence[Finding]:
        """Compare what people look at first with the chain; what else was edited is for :meth:`check_journal`."""

        def work(tx: Connection) -> Sequence[Finding]:
            one_moment(tx)
            return glance(tx)

        return self._database.read(work)

    def journal_marks(self) -> JournalMarks:
        """Return whether something is known to be wrong with the journal, without looking through it."""
        return self._database.read(marks)

    def journal_acceptances(self) -> Sequence[Acceptance]:
        """Return who has accepted a journal that was not as it was written, oldest first."""
        return self._database.read(acceptances)

    def reap_requests(self, *, open_only: bool = True) -> Sequence[ReapRequest]:
        """Return what people asked to be done about orphans, in order of arrival."""
        table = tables.reap_requests
        query = select(table).order_by(table.c.seq)
        if open_only:
            query = query.where(table.c.state.in_(OPEN_OPERATIONS))
        return self._all(query, lambda row: ReapRequest(**row))

    def reap_request(self, request_id: str) -> ReapRequest | None:
        """Return one of these."""
        table = tables.reap_requests
        return self._first(select(table).where(table.c.id == request_id), lambda row: ReapRequest(**row))

    def reaps(self, *, open_only: bool = False, since: Instant | None = None) -> Sequence[Reap]:
        """Return the intents to end orphans, in order of arrival; those begun then or later where asked for."""
        table = tables.reaps
        query = select(table).order_by(table.c.seq)
        if open_only:
            query = query.where(table.c.state.in_(OPEN_INTENTS))
        if since is not None:
            query = query.where(table.c.created_at >= tidy_instant(since))
        return self._all(query, lambda row: Reap(**row))


# ── writing, inside a transaction ────────────────────────────────────────────────────────────────────


def replace_suspects(tx: Connection, source: str, suspects: Sequence[Suspect]) -> None:
    """Keep these in the place of those before."""
    table = tables.suspects
    tx.execute(delete(table).where(table.c.source == source))
    for suspect in suspects:  # listed under two sources at once, it belongs to the one that looked last
        tx.execute(delete(table).where(table.c.name == suspect.name, table.c.kind == suspect.kind))
    insert_all_new(tx, table, [mappers.row_of(s) for s in suspects])


def raise_counter(tx: Connection, name: str, value: int) -> None:
    """Set a number that never falls."""
    table = tables.counters
    insert_new(tx, table, {"name": name, "value": 0})
    tx.execute(update(table).where(table.c.name == name, table.c.value < value).values(value=value))


def close_request(
    tx: Connection, request_id: str, state: OperationState, at: datetime, outcome_json: str, reaps: Sequence[Reap]
) -> None:
    """Close an open request together with the intents that follow from it."""
    change = {"state": state, "updated_at": at, "outcome_json": outcome_json}
    if _change_open_request(tx, request_id, change):
        insert_all_new(tx, tables.reaps, [mappers.row_of(r) for r in reaps])


def change_request(tx: Connection, request_id: str, state: OperationState, at: datetime) -> None:
    """Record that it has been looked at, unless it is closed."""
    _change_open_request(tx, request_id, {"state": state, "updated_at": at})


def change_reap(tx: Connection, reap_id: str, state: IntentState, at: datetime, detail: str) -> None:
    """Record how far it has come."""
    table = tables.reaps
    change: dict[str, Any] = {"state": state, "updated_at": at} | ({"detail": detail} if detail else {})
    if tx.execute(update(table).where(table.c.id == reap_id).values(**change)).rowcount == 0:
        raise unknown("reap", reap_id)


def _change_open_request(tx: Connection, request_id: str, change: dict[str, Any]) -> bool:
    table = tables.reap_requests
    state = tx.execute(select(table.c.state).where(table.c.id == request_id)).scalar_one_or_none()
    if state is None:
        raise unknown("reap request", request_id)
    if state not in OPEN_OPERATIONS:
        return False
    tx.execute(update(table).where(table.c.id == request_id).values(**change))
    return True
