"""What drivers say, as our errors: each with the way out that fits."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from orchestrator.errors import DiskFull, StoreIncompatible, StoreUnavailable
from orchestrator.store.address import parse_address
from orchestrator.store.faults import is_disconnect, is_missing_table, is_transient, translated

SQLITE = parse_address("sqlite:////var/lib/green.db")
POSTGRESQL = parse_address("postgresql://ada:hunter2@h/green")


class FromServer(Exception):
    """What psycopg raises carries the server's SQLSTATE."""

    def __init__(self, words: str, sqlstate: str | None) -> None:
        super().__init__(words)
        self.sqlstate = sqlstate


def from_sqlite(code: int, words: str = "words") -> DBAPIError:
    cause = sqlite3.OperationalError(words)
    cause.sqlite_errorcode = code
    return OperationalError("SELECT 1", {}, cause)


def from_postgresql(state: str | None, words: str = "words") -> DBAPIError:
    return OperationalError("SELECT 1", {}, FromServer(words, state))


SQLITE_IOERR_WRITE = sqlite3.SQLITE_IOERR | (3 << 8)
SQLITE_BUSY_SNAPSHOT = sqlite3.SQLITE_BUSY | (2 << 8)
SQLITE_CORRUPT_INDEX = sqlite3.SQLITE_CORRUPT | (3 << 8)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (sqlite3.SQLITE_FULL, DiskFull, "no space"),
        (SQLITE_BUSY_SNAPSHOT, StoreUnavailable, "locked"),
        (SQLITE_CORRUPT_INDEX, StoreUnavailable, "damaged"),
        (sqlite3.SQLITE_NOTADB, StoreUnavailable, "damaged"),
        (SQLITE_IOERR_WRITE, StoreUnavailable, "does not answer: words"),
        (sqlite3.SQLITE_READONLY, StoreUnavailable, "does not answer: words"),
    ],
)
def test_sqlites_codes_have_meanings(code: int, kind: type[Exception], words: str) -> None:
    """Extended codes count as their primary ones; the file is named."""
    error = translated(from_sqlite(code), SQLITE)

    assert type(error) is kind
    assert words in str(error)
    assert "/var/lib/green.db" in str(error)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", DiskFull),
        ("42P01", StoreIncompatible),
        ("42703", StoreIncompatible),
        ("25006", StoreUnavailable),
        ("57P03", StoreUnavailable),
        (None, StoreUnavailable),
    ],
)
def test_postgresqls_states_have_meanings(state: str | None, kind: type[Exception]) -> None:
    """Whatever else the server says comes through as its first line."""
    error = translated(from_postgresql(state, "first line\nDETAIL: second line"), POSTGRESQL)

    assert type(error) is kind
    assert "second" not in str(error)


def test_a_password_in_the_drivers_words_is_masked() -> None:
    """Some errors repeat the connection string."""
    error = translated(from_postgresql(None, 'invalid connection option "hunter2"'), POSTGRESQL)

    assert "hunter2" not in str(error)
    assert "***" in str(error)


def test_only_being_in_the_way_is_worth_another_try() -> None:
    """Locks, deadlocks and serialization failures; nothing whose outcome is open or that would fail again."""
    assert is_transient(from_sqlite(sqlite3.SQLITE_BUSY))
    assert is_transient(from_sqlite(sqlite3.SQLITE_LOCKED))
    assert all(is_transient(from_postgresql(state)) for state in ("40001", "40P01", "55P03"))
    assert not is_transient(from_sqlite(sqlite3.SQLITE_FULL))
    assert not is_transient(from_postgresql("57P01"))
    assert not is_transient(from_postgresql(None))


def test_a_broken_connection_is_recognised() -> None:
    """SQLAlchemy marks it."""
    broken = OperationalError("SELECT 1", {}, FromServer("gone", None), connection_invalidated=True)

    assert is_disconnect(broken)
    assert not is_disconnect(from_postgresql(None))


def test_a_missing_table_is_told_from_other_mistakes() -> None:
    """Only that one means an empty database."""
    assert is_missing_table(from_sqlite(sqlite3.SQLITE_ERROR, "no such table: greenctl_schema"))
    assert is_missing_table(from_postgresql("42P01"))
    assert not is_missing_table(from_sqlite(sqlite3.SQLITE_ERROR, "syntax error"))
    assert not is_missing_table(from_postgresql("42501"))


def test_the_callers_mistakes_stay_the_callers() -> None:
    """A value that could not be bound, or that the server cannot hold, is a ``ValueError``."""
    unbound = StatementError("not bound", "SELECT 1", {}, ValueError("no time zone"))
    too_large = DataError("SELECT 1", {}, FromServer("integer out of range", "22003"))

    assert type(translated(unbound, SQLITE)) is ValueError
    assert "out of range" in str(translated(too_large, POSTGRESQL))


def test_a_refused_row_and_a_busy_pool_are_said() -> None:
    """Neither is a traceback."""
    refused = IntegrityError("INSERT", {}, FromServer("violates check constraint", "23514"))

    assert isinstance(translated(refused, POSTGRESQL), StoreIncompatible)
    assert "every connection" in str(translated(PoolTimeoutError(), POSTGRESQL))
