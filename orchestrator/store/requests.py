"""What the command line may write: wishes, never facts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, Select, func, select, update

from orchestrator.domain.orphans import ReapRequest
from orchestrator.domain.records import Operation, OperationKind, Pause, ServiceState
from orchestrator.domain.service import ServiceSpec
from orchestrator.store import mappers, tables
from orchestrator.store.chain import Born, Rows, linked
from orchestrator.store.chain_check import accept
from orchestrator.store.codec import SPECS, spec_digest
from orchestrator.store.inserts import insert_new
from orchestrator.store.orphans import SqlOrphanRecords
from orchestrator.store.records import EVERY_PAUSE, ensure_deployment
from orchestrator.store.rules import (
    EVERY_SERVICE,
    OPEN_OPERATIONS,
    check_deploy,
    conflicting,
    overtaken,
    unknown_service,
    used_operation,
)
from orchestrator.store.tidy import tidy, tidy_instant, tidy_text

V = TypeVar("V")


class SqlRequests(SqlOrphanRecords):
    """The ``Requests`` port over a database."""

    def submit_deploy(self, spec: ServiceSpec, operation: Operation) -> int:
        """Store a new revision and the request in one transaction; returns the revision.

        A service that was down is active again. Submitting the same operation id again changes nothing and returns the
        revision of the first time. Raises ``Conflict`` when another operation of the service is open.
        """
        check_deploy(spec, operation)
        document, wish = SPECS.encode(spec), tidy(operation)

        def work(tx: Connection) -> int:
            _lock_service(tx, wish)
            known = tx.execute(_revision_by(wish)).scalar_one_or_none()
            if known is not None:
                return int(known)
            if not _insert_operation(tx, wish):
                raise used_operation(wish.id)
            revision = _next_revision(tx, wish.service)
            table = tables.services
            change = {"revision": revision, "state": ServiceState.ACTIVE, "updated_at": wish.created_at}
            tx.execute(update(table).where(table.c.name == wish.service).values(**change))
            row = {"service": wish.service, "revision": revision, "digest": spec_digest(spec), "spec": document}
            tx.execute(tables.spec_revisions.insert().values(**row, operation_id=wish.id, created_at=wish.created_at))
            return revision

        return self._write(
            work,
            [("services", wish.service), ("operations", wish.id)],
            born=lambda _tx, revision: [("spec_revisions", wish.service, revision)],
        )

    def submit(self, operation: Operation) -> None:
        """Store a request; the same id again changes nothing.

        A request to take the service down closes whatever else is open as superseded.
        Raises ``UnknownService``, or ``Conflict`` when another one of the service is open.
        """
        wish = tidy(operation)

        def work(tx: Connection) -> None:
            require_service(tx, wish.service)
            if wish.kind is OperationKind.DOWN and not _is_known(tx, wish):
                _supersede(tx, wish)
            _insert_operation(tx, wish)

        self._write(
            work, lambda tx: [("operations", wish.id), *(("operations", o.id) for o in _open_ones(tx, wish.service))]
        )

    def set_paused(
        self, service: str | None, *, paused: bool, now: datetime, actor: str = "", reason: str = ""
    ) -> bool:
        """Hold or allow what is voluntary, of one service or of all (``None``); return whether that changed anything.

        Who was first keeps the word: pausing again what is paused changes neither actor nor reason. Raises
        ``UnknownService``.
        """
        word = tidy(Pause(service or EVERY_SERVICE, paused, actor, reason, now))

        def work(tx: Connection) -> bool:
            changes = _change_flag(tx, word) if service is not None else _all_paused(tx) is not paused
            if changes:
                tx.execute(tables.pauses.insert().values(**mappers.row_of(word)))
            return changes

        newest = select(func.max(tables.pauses.c.seq))
        return self._write(
            work,
            [] if service is None else [("services", service)],
            born=lambda tx, changed: [("pauses", tx.execute(newest).scalar_one())] if changed else [],
        )

    def submit_reap(self, request: ReapRequest) -> None:
        """Store somebody's word about orphans; the same id again changes nothing."""
        row = mappers.row_of(tidy(request))
        self._write(lambda tx: insert_new(tx, tables.reap_requests, row), [("reap_requests", request.id)])

    def accept_edits(self, digest: str, *, actor: str, reason: str, now: datetime) -> None:
        """Go on from the journal as it was found; ``digest`` names the findings, see ``JournalReport``.

        Raises ``Conflict`` when other things are found by now.
        """
        who, why, at = tidy_text(actor), tidy_text(reason), tidy_instant(now)
        self._write(lambda tx: accept(tx, digest, who, why, at))

    def _write(self, work: Callable[[Connection], V], rows: Rows = (), born: Born[V] | None = None) -> V:
        """Do the work while nobody else writes to the chain: the lock comes first, as it does in a journal."""

        def locked(tx: Connection) -> V:
            ensure_deployment(tx)
            tx.execute(select(tables.deployment.c.epoch).with_for_update())
            return linked(tx, work, rows, born) if rows or born else work(tx)

        return self._database.write(locked)


def require_service(tx: Connection, name: str) -> None:
    """Raise ``UnknownService`` unless it is recorded."""
    if tx.execute(select(tables.services.c.name).where(tables.services.c.name == name)).first() is None:
        raise unknown_service(name)


def _change_flag(tx: Connection, word: Pause) -> bool:
    """Set a service's own flag; returns whether it was another before."""
    table = tables.services
    change = update(table).where(table.c.name == word.service, table.c.paused != word.paused)
    if tx.execute(change.values(paused=word.paused, updated_at=word.at)).rowcount:
        return True
    require_service(tx, word.service)
    return False


def _all_paused(tx: Connection) -> bool:
    return bool(tx.execute(EVERY_PAUSE).scalar_one_or_none())


def _lock_service(tx: Connection, wish: Operation) -> None:
    """Make the service unless it is there, and keep others from giving it a revision meanwhile."""
    table, at = tables.services, wish.created_at
    new = {"name": wish.service, "revision": 0, "state": ServiceState.ACTIVE, "paused": False}
    insert_new(tx, table, new | {"created_at": at, "updated_at": at})
    tx.execute(select(table.c.revision).where(table.c.name == wish.service).with_for_update(key_share=True))


def _next_revision(tx: Connection, service: str) -> int:
    """Count on from the newest, which is not the current one when an older one was restored."""
    table = tables.spec_revisions
    newest = tx.execute(select(func.max(table.c.revision)).where(table.c.service == service)).scalar_one()
    return int(newest or 0) + 1


def _insert_operation(tx: Connection, wish: Operation) -> bool:
    """Insert the request; returns whether its id is new. The partial unique index decides who comes first."""
    table = tables.operations
    if insert_new(tx, table, mappers.row_of(wish)):
        return True
    owner = tx.execute(select(table.c.service).where(table.c.id == wish.id)).scalar_one_or_none()
    if owner is not None:
        if owner != wish.service:
            raise used_operation(wish.id)
        return False
    raise conflicting(wish, next(iter(_open_ones(tx, wish.service)), None))


def _open_ones(tx: Connection, service: str) -> list[Operation]:
    table = tables.operations
    open_ones = select(table).where(table.c.service == service, table.c.state.in_(OPEN_OPERATIONS))
    return [mappers.operation_from(row) for row in mappers.fetch(tx, open_ones)]


def _is_known(tx: Connection, wish: Operation) -> bool:
    table = tables.operations
    return tx.execute(select(table.c.id).where(table.c.id == wish.id)).first() is not None


def _supersede(tx: Connection, wish: Operation) -> None:
    """Close what else is open: who takes a service down does not wait for its deploy."""
    for other in _open_ones(tx, wish.service):
        if other.kind is not wish.kind:
            row = mappers.row_of(overtaken(other, wish))
            tx.execute(update(tables.operations).where(tables.operations.c.id == other.id).values(**row))


def _revision_by(wish: Operation) -> Select[int]:
    table = tables.spec_revisions
    return select(table.c.revision).where(table.c.operation_id == wish.id, table.c.service == wish.service)
