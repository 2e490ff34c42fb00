"""The memory in a database: what :class:`Store` promises, over SQLite or PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, select, update

from orchestrator.domain.turns import Claim, Turn
from orchestrator.store import tables
from orchestrator.store.address import Address, parse_address
from orchestrator.store.database import PATIENCE_SECONDS, SILENT_SECONDS, Database
from orchestrator.store.files import prepare_file
from orchestrator.store.journal import SqlJournal
from orchestrator.store.remembered import RememberedReplicas
from orchestrator.store.requests import SqlRequests
from orchestrator.store.rules import refuse_held
from orchestrator.store.schema import bring_up_to_date
from orchestrator.store.sizes import Sizes, sizes_in
from orchestrator.store.tidy import tidy_instant, tidy_text
from orchestrator.store.turns import begin_turn, turn_in


class SqlStore(SqlRequests):
    """The ``Store`` port. Safe to use from several threads, and from several processes at once.

    Making one contacts nothing; :meth:`open` is the way in that checks and migrates. ``patience_seconds`` bounds the
    wait for other processes' transactions, after which a method raises ``StoreUnavailable``; ``silent_seconds`` the one
    for a PostgreSQL that says nothing.
    """

    def __init__(
        self, url: str, *, patience_seconds: float = PATIENCE_SECONDS, silent_seconds: float = SILENT_SECONDS
    ) -> None:
        super().__init__(Database(parse_address(url), patience_seconds, silent_seconds))

    @classmethod
    def open(
        cls, url: str, *, patience_seconds: float = PATIENCE_SECONDS, silent_seconds: float = SILENT_SECONDS
    ) -> Self:
        """Open the database, making and migrating it as needed. A refusal changes nothing.

        Raises ``InvalidSettings`` (not a URL for us), ``StoreUnavailable`` (unreachable, unwritable, damaged, or SQLite
        on a network file system), ``DiskFull``, ``StoreIncompatible`` (a newer schema, or somebody else's tables).
        """
        store = cls(url, patience_seconds=patience_seconds, silent_seconds=silent_seconds)
        try:
            if store.address.path is not None:
                prepare_file(store.address.path)
            bring_up_to_date(store._database)
        except BaseException:
            store.close()
            raise
        return store

    @property
    def address(self) -> Address:
        """Where the database is; ``address.shown`` has no secrets."""
        return self._database.address

    def claim(self, holder: str, now: datetime, claim: Claim | None = None) -> SqlJournal:
        """Take the controller's turn: the epoch grows by one and older journals can write no more.

        With a ``claim``, raises ``LeaseHeld``, having changed nothing, while somebody else is heard of, and is heard of
        from then on. Without one the turn is taken from whomever it is.
        """
        row = {"holder": tidy_text(holder), "claimed_at": tidy_instant(now)}
        table = tables.deployment

        def work(tx: Connection) -> tuple[int, Turn | None]:
            before = turn_in(tx)
            if claim is not None:
                refuse_held(before, claim)
            tx.execute(update(table).values(epoch=table.c.epoch + 1))
            epoch = int(tx.execute(select(table.c.epoch)).scalar_one())
            tx.execute(tables.controllers.insert().values(epoch=epoch, **row))
            begin_turn(tx, epoch, before, claim)
            return epoch, before

        epoch, before = self._write(work, born=lambda _tx, made: [("controllers", made[0])])
        self._remembered = self._remembered or RememberedReplicas()
        return SqlJournal(self._database, epoch, self._remembered, before)

    def sizes(self) -> Sizes:
        """Return how many rows each table has, and how many bytes all of it. Raises ``StoreUnavailable``."""
        return self._database.read(lambda tx: sizes_in(tx, self.address.path))

    def close(self) -> None:
        """Let go of the connections. Journals of this store share them."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
