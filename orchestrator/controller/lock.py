"""One controller per state directory: an operating-system file lock, which dies with its process."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import psutil

from orchestrator.errors import LeaseHeld

LOCK_FILE = "controller.lock"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who runs: ``since`` is RFC 3339, ``epoch`` the controller's turn, ``started`` the process start for identity."""

    pid: int
    started: float
    since: str
    epoch: int


def _locked_by_other(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


class Lock:
    """Held from :meth:`take` until the process ends."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / LOCK_FILE
        self._file: TextIO | None = None

    def take(self) -> None:
        """Take the lock or raise ``LeaseHeld``."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self._path.open("a+")
        self._path.chmod(0o600)
        if _locked_by_other(file):
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
        me = Holder(os.getpid(), psutil.Process().create_time(), since, epoch)
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps({"pid": me.pid, "started": me.started, "since": me.since, "epoch": me.epoch}))
        self._file.flush()


def holder(state_dir: Path) -> Holder | None:
    """Return who holds the lock now, ``None`` when nobody does. Does not disturb the holder."""
    path = state_dir / LOCK_FILE
    if not path.exists():
        return None
    with path.open("r+") as file:
        if not _locked_by_other(file):
            fcntl.flock(file, fcntl.LOCK_UN)
            return None
        text = file.read()
    try:
        found = json.loads(text)
        return Holder(int(found["pid"]), float(found["started"]), str(found["since"]), int(found["epoch"]))
    except (ValueError, KeyError, TypeError):
        return None
