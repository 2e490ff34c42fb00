"""What a database driver says, in our words: which of our errors it is, and whether trying again can help."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from orchestrator.errors import DiskFull, GreenctlError, StoreIncompatible, StoreUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.store.address import Address

RESTORE_HINT = "Restore the file from a backup, or move it away to begin with an empty memory."
LOCKED_HINT = "Try again; if it lasts, look for a process that hangs while it holds the file."

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE = 0xFF
"""SQLite's extended result codes keep the primary code in the low byte (sqlite.org/rescode.html)."""

# SQLSTATE codes: PostgreSQL documentation, appendix A.
_SERIALIZATION_FAILURE, _DEADLOCK, _LOCK_NOT_AVAILABLE = "40001", "40P01", "55P03"
_DISK_FULL = "53100"
_UNDEFINED_TABLE, _UNDEFINED_COLUMN = "42P01", "42703"


def is_transient(error: SQLAlchemyError) -> bool:
    """Whether the transaction was certainly undone only because somebody else was in the way."""
    code = _sqlite_code(error)
    if code is not None:
        return code in _BUSY
    return _sqlstate(error) in {_SERIALIZATION_FAILURE, _DEADLOCK, _LOCK_NOT_AVAILABLE}


def is_disconnect(error: SQLAlchemyError) -> bool:
    """Whether the connection broke; what was under way then may or may not have been committed."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def is_silence(error: SQLAlchemyError) -> bool:
    """Whether the connection was given up because the server said nothing; asking again would take as long again."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "is_silence", False)


def is_missing_table(error: SQLAlchemyError) -> bool:
    """Whether a table that was asked for is not there."""
    if _sqlite_code(error) == sqlite3.SQLITE_ERROR:
        return "no such table" in str(error.orig) if isinstance(error, DBAPIError) else False
    return _sqlstate(error) == _UNDEFINED_TABLE


def translated(error: SQLAlchemyError, address: Address) -> GreenctlError | ValueError:
    """Say it with our own errors. A value that no database could keep stays a ``ValueError``: the caller's mistake."""
    cause = error.orig if isinstance(error, StatementError) else None
    if isinstance(cause, ValueError):
        return ValueError(str(cause))
    words = address.masked(_words(error))
    if isinstance(error, DataError):
        return ValueError(f"the database cannot keep this value: {words}")
    code, state = _sqlite_code(error), _sqlstate(error)
    if code == sqlite3.SQLITE_FULL or state == _DISK_FULL:
        return DiskFull(f"no space left for the database {address.shown}")
    if code in _DAMAGED:
        return StoreUnavailable(f"the database {address.shown} is damaged: {words}", hint=RESTORE_HINT)
    if code in _BUSY:
        return StoreUnavailable(
            f"the database {address.shown} stayed locked by another process",
            hint=LOCKED_HINT,
        )
    if isinstance(error, PoolTimeoutError):
        return StoreUnavailable(f"the database {address.shown} is busy: every connection is in use")
    if isinstance(error, IntegrityError) or state in {_UNDEFINED_TABLE, _UNDEFINED_COLUMN}:
        return StoreIncompatible(f"the database {address.shown} does not have the shape expected: {words}")
    return StoreUnavailable(f"the database {address.shown} does not answer: {words}")


def sqlite_trouble(words: str, path: Path, error: sqlite3.Error) -> GreenctlError:
    """Say with our own errors why SQLite itself could not go on with a file. ``words``: what could not be done."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(f"no space left for {path}")
    hint = RESTORE_HINT if code in _DAMAGED else LOCKED_HINT if code in _BUSY else None
    return StoreUnavailable(f"{words}: {error}", hint=hint)


def give_up_if_busy(status: int, _left: int, _pages: int) -> None:
    """For ``sqlite3.Connection.backup``, which else goes on asking a locked database for ever.

    SQLite has waited for the connection's own patience when it says so. Raises ``sqlite3.OperationalError``.
    """
    if status & _PRIMARY_CODE in _BUSY:
        error = sqlite3.OperationalError("it stayed locked by another process")
        error.sqlite_errorcode = status
        raise error


def _words(error: SQLAlchemyError) -> str:
    """Return the driver's first line, without the statement and its parameters."""
    cause = error.orig if isinstance(error, StatementError) else None
    lines = str(cause if cause is not None else error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _sqlite_code(error: SQLAlchemyError) -> int | None:
    cause = error.orig if isinstance(error, StatementError) else None
    code = getattr(cause, "sqlite_errorcode", None)
    return code & _PRIMARY_CODE if isinstance(code, int) else None


def _sqlstate(error: SQLAlchemyError) -> str | None:
    state = getattr(error.orig if isinstance(error, StatementError) else None, "sqlstate", None)
    return state if isinstance(state, str) else None
