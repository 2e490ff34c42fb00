"""One controller per state directory: an operating-system file lock, which dies with its process."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import psutil

from orchestrator import file_locks
from orchestrator.errors import DiskFull, InvalidSettings, LeaseHeld
from orchestrator.provisioners.local.processes import birth_of

LOCK_FILE = "controller.lock"
BESIDE_DATABASE = ".controller"
"""How the name ends of the file beside a SQLite database that is locked in its place: whoever closes the database's own
file takes SQLite's locks in this process away (sqlite.org/howtocorrupt.html, section 2.2)."""

NO_TURN = 0
"""The turn of who holds the lock to replace the database, and controls nothing."""

SAME_START_SECONDS = 1.0
"""Two readings of when a process began agree to less than that, while nobody sets the clock."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who runs: ``since`` is RFC 3339, ``epoch`` the controller's turn.

    ``birth`` tells the process from another one of its number, see :func:`birth_of`. ``started``, in seconds since the
    epoch, did so before: it stays for commands of that version, and counts where a controller of it has signed.
    """

    pid: int
    started: float
    since: str
    epoch: int
    birth: float | None = None


class Lock:
    """Held from :meth:`take` until the process ends."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / LOCK_FILE
        self._file: TextIO | None = None

    def take(self) -> None:
        """Take the lock or raise ``LeaseHeld``; ``InvalidSettings`` or ``DiskFull`` where there can be none."""
        with in_our_words(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = self._path.open("a+")
            self._path.chmod(0o600)
        if not file_locks.take(file.fileno()):
            file.close()
            message = f"another controller runs on {self._path.parent}"
            raise LeaseHeld(message)
        self._file = file

    def release(self) -> None:
        """Let go, if it is held."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def sign(self, since: str, epoch: int) -> None:
        """Write who holds it, for ``status``; only valid while locked."""
        if self._file is None:
            message = "the lock is not held"
            raise RuntimeError(message)
        me = Holder(os.getpid(), psutil.Process().create_time(), since, epoch, birth_of(os.getpid()))
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps(asdict(me)))
        self._file.flush()


class DatabaseLock:
    """One controller per SQLite database, whichever state directory it has: held until the process ends."""

    def __init__(self, database: Path, state_dir: Path) -> None:
        self._path = _beside(database)
        self._database = database
        self._state_dir = state_dir
        self._file: TextIO | None = None

    def take(self) -> None:
        """Take the lock or raise ``LeaseHeld``, which says where it is; ``InvalidSettings`` or ``DiskFull``."""
        with in_our_words(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = self._path.open("a+", encoding="utf-8", errors="surrogateescape")
            self._path.chmod(0o600)
        if not file_locks.take(file.fileno()):
            file.seek(0)
            where = file.read() or "another state directory"
            file.close()
            raise LeaseHeld(
                f"a controller of {where} runs on the database {self._database}",
                hint="Stop it there: greenctl controller stop, with its GREENCTL_STATE_DIR.",
            )
        self._file = file
        file.truncate(0)
        file.write(f"{self._state_dir} (pid {os.getpid()})")
        file.flush()

    def release(self) -> None:
        """Let go, if it is held."""
        if self._file is not None:
            self._file.close()
            self._file = None


def is_database_taken(database: Path) -> bool:
    """Whether a controller runs on a SQLite database. Disturbs nobody."""
    try:
        with _beside(database).open() as file:
            return file_locks.is_held(file.fileno())
    except OSError:  # there never was one, or we may not look, and could start none either
        return False


def _beside(database: Path) -> Path:
    """Return the lock's file: of one database the same, through whichever link it is reached."""
    found = database.resolve()
    return found.with_name(found.name + BESIDE_DATABASE)


@contextmanager
def in_our_words(state_dir: Path) -> Iterator[None]:
    """Turn the system's errors at a state directory into ours: raises ``InvalidSettings`` or ``DiskFull``."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"no space left below {state_dir}") from error
        message = f"{state_dir} cannot be used for our state: {error.strerror}"
        raise InvalidSettings(message, hint="Set GREENCTL_STATE_DIR to a directory that you may write.") from error


def is_taken(state_dir: Path) -> bool:
    """Whether somebody holds the lock, signed or not. Disturbs nobody."""
    path = state_dir / LOCK_FILE
    if not path.exists():
        return False
    with path.open() as file:
        return file_locks.is_held(file.fileno())


def holder(state_dir: Path) -> Holder | None:
    """Return who holds the lock now, ``None`` when nobody does, or nobody yet who has signed. Disturbs nobody.

    What is written may be of one before: a lock is taken first and signed then.
    """
    path = state_dir / LOCK_FILE
    if not path.exists():
        return None
    with path.open() as file:
        if not file_locks.is_held(file.fileno()):
            return None
        text = file.read()
    try:
        found = json.loads(text)
        birth = None if found.get("birth") is None else float(found["birth"])
        signed = Holder(int(found["pid"]), float(found["started"]), str(found["since"]), int(found["epoch"]), birth)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return signed if _lives(signed) else None


def _lives(signed: Holder) -> bool:
    """Whether the process is there that signed, and not another one of its number, nor what nobody has waited for yet.

    One that was killed lets go of its lock before its parent asks how it ended: whoever holds it by then is another.
    """
    try:
        if psutil.Process(signed.pid).status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
            return False
        if signed.birth is not None:
            return birth_of(signed.pid) == signed.birth
        return abs(psutil.Process(signed.pid).create_time() - signed.started) <= SAME_START_SECONDS
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
