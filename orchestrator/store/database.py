"""One database: connections, short transactions, and the bound on waiting for others.

Every piece of work is a function of one connection. It runs inside one transaction, may run again when another process
was in the way, and never keeps the connection. Nothing outside the database is called while one is open.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import InvalidSettings
from orchestrator.store.address import Address
from orchestrator.store.faults import is_disconnect, is_silence, is_transient, translated

T = TypeVar("T")

ATTEMPTS = 3
PATIENCE_SECONDS = 15.0
"""How long a transaction waits in all for other processes before it gives up; ours last milliseconds."""

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30
FROZEN_SECONDS = 5.0
"""A controller that freezes inside a transaction keeps the epoch locked. PostgreSQL cuts it off after so long, well
within the patience of the successor whose claim is waiting. Our own transactions never idle: nothing else is done in
them, and what may be many rows is read by the page."""

SILENT_PEER_SECONDS = 10
"""A PostgreSQL host that acknowledges nothing for so long is gone (TCP only). So is one that acknowledges, and does not
answer whether the connection still stands."""

MARGIN_SECONDS = 5.0
SILENT_SECONDS = STATEMENT_SECONDS + MARGIN_SECONDS
"""Whoever has said nothing for so long will not: a server that works ends a statement before. See decision 0086."""

_MODE = "greenctl_mode"


class _Mode(Enum):
    """How a transaction begins in SQLite.

    A writer queues up at once: one that reads first can fail later without having waited. ``BARE`` begins none.
    """

    READ = auto()
    WRITE = auto()
    BARE = auto()


class Database:
    """The engine, hidden behind two verbs. ``silent_seconds`` bounds the wait for a PostgreSQL that says nothing."""

    def __init__(
        self, address: Address, patience_seconds: float = PATIENCE_SECONDS, silent_seconds: float = SILENT_SECONDS
    ) -> None:
        self.address = address
        each_wait = patience_seconds / ATTEMPTS
        if address.path is not None:
            self._engine = _sqlite(address, each_wait)
        else:
            self._engine = _postgresql(address, each_wait, silent_seconds)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a file."""
        return self.address.path is not None

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run the work in a transaction that sees one state. Raises our own errors."""
        return self._run(work, _Mode.READ)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run the work in a transaction; what it returns is durable. Raises our own errors, then nothing was kept.

        The one exception is a connection that breaks while the commit is under way: ``StoreUnavailable`` then leaves
        the outcome open, as it must, and the port's methods are safe to repeat.
        """
        return self._run(work, _Mode.WRITE)

    def rebuild(self, work: Callable[[Connection], T]) -> T:
        """Run the work as :meth:`write` does, with foreign keys unenforced; it checks them itself before it returns.

        SQLite can only rebuild a table that way (sqlite.org/lang_altertable.html, section 7). It may take as long as it
        takes, in PostgreSQL too.
        """
        return self._run(work, _Mode.WRITE, rebuilds=True)

    def use_write_ahead_log(self) -> None:
        """Let SQLite's readers and its one writer work at the same time. The file remembers it."""

        def work(bare: Connection) -> None:
            if bare.exec_driver_sql("PRAGMA journal_mode").scalar_one() != "wal":
                bare.exec_driver_sql("PRAGMA journal_mode = WAL")

        self._run(work, _Mode.BARE)

    def close(self) -> None:
        """Let go of all connections; the next use makes new ones."""
        self._engine.dispose()

    def _run(self, work: Callable[[Connection], T], mode: _Mode, *, rebuilds: bool = False) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(work, mode, rebuilds=rebuilds)
            except SQLAlchemyError as error:
                was_cut = is_disconnect(error) and not is_silence(error)
                again = is_transient(error) or (was_cut and mode is _Mode.READ)
                if attempt == ATTEMPTS or not again:
                    raise translated(error, self.address) from _without_secrets(error, self.address)
        raise AssertionError

    def _once(self, work: Callable[[Connection], T], mode: _Mode, *, rebuilds: bool) -> T:
        with self._engine.connect() as connection:
            if not rebuilds:
                return _transact(connection, work, mode)
            if not self.is_sqlite:
                _driver(connection).silent_seconds = None
                return _transact(connection, work, mode)
            _outside(connection, "PRAGMA foreign_keys = OFF")
            try:
                return _transact(connection, work, mode)
            finally:
                _outside(connection, "PRAGMA foreign_keys = ON")


def _transact(connection: Connection, work: Callable[[Connection], T], mode: _Mode) -> T:
    with connection.execution_options(**{_MODE: mode}).begin():
        return work(connection)


def _outside(connection: Connection, statement: str) -> None:
    """Run what has no effect inside a transaction."""
    with connection.execution_options(**{_MODE: _Mode.BARE}).begin():
        connection.exec_driver_sql(statement)


def _driver(connection: Connection) -> Any:  # noqa: ANN401  # the driver is optional
    """Return the driver's own connection."""
    return connection.connection.driver_connection


def _without_secrets(error: SQLAlchemyError, address: Address) -> SQLAlchemyError | None:
    """Keep the cause for tracebacks unless it repeats a secret."""
    text = str(error)
    return None if address.masked(text) != text else error


def _sqlite(address: Address, each_wait: float) -> Engine:
    # The driver's own transaction handling stays off: it would begin one late, and never before a schema change.
    arguments = {"isolation_level": None, "timeout": each_wait}
    engine = create_engine(address.url, connect_args=arguments, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:  # noqa: ANN401  # the driver's own type is not exported
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")  # a journal that can be lost by a power cut is none

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get(_MODE, _Mode.READ)
        if mode is not _Mode.BARE:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if mode is _Mode.WRITE else "BEGIN")

    return engine


def _postgresql(address: Address, each_wait: float, silent_seconds: float) -> Engine:
    query = address.url.query
    limits = (
        f"-c lock_timeout={int(each_wait * 1000)} -c statement_timeout={STATEMENT_SECONDS * 1000}"
        f" -c idle_in_transaction_session_timeout={int(FROZEN_SECONDS * 1000)}"
    )
    defaults: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "greenctl",
        "tcp_user_timeout": SILENT_PEER_SECONDS * 1000,
    }
    arguments = {name: value for name, value in defaults.items() if name not in query}
    given = query.get("options", "")
    wishes = given if isinstance(given, str) else " ".join(given)
    arguments["options"] = f"{limits} {wishes}".strip()
    try:
        engine = create_engine(
            address.url.difference_update_query(["options"]),
            connect_args=arguments,
            hide_parameters=True,
            pool_pre_ping=True,  # a connection that died while it was idle is replaced unseen
            pool_size=4,
            max_overflow=4,
            pool_timeout=STATEMENT_SECONDS,
        )
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            "PostgreSQL needs the psycopg driver, which is not installed",
            hint="pip install 'greenctl[postgres]', or use SQLite.",
        ) from error
    _watch(engine, silent_seconds, has_own_limit="statement_timeout" in wishes)
    return engine


def _watch(engine: Engine, silent_seconds: float, *, has_own_limit: bool) -> None:
    """Bound the wait for a server that says nothing: while it works, and shorter where it is asked whether it is there.

    ``has_own_limit``: the URL says how long a statement may take, and so how long a server that works is silent.
    """
    from orchestrator.store.silence import Watched  # noqa: PLC0415  # the driver is optional

    idle_seconds = min(silent_seconds, SILENT_PEER_SECONDS)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, given: list[Any], named: dict[str, Any]) -> Watched:
        made = Watched.connect(*given, **named)
        made.silent_seconds, made.longest_seconds = idle_seconds, silent_seconds
        if has_own_limit:
            limit = made.statement_seconds()
            made.longest_seconds = None if limit is None else limit + MARGIN_SECONDS
        return made

    @event.listens_for(engine, "checkout")
    def begin(made: Watched, *_: object) -> None:
        made.silent_seconds = made.longest_seconds

    @event.listens_for(engine, "checkin")
    def end(made: Watched | None, _record: object) -> None:
        if made is not None:  # it was not given up
            made.silent_seconds = idle_seconds
