"""Who runs here: locks of the operating system, asked by many at once and taken by one."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from orchestrator import file_locks
from orchestrator.controller import daemon
from orchestrator.controller.daemon import elsewhere
from orchestrator.controller.home import claimant_of
from orchestrator.controller.lock import (
    LOCK_FILE,
    NO_TURN,
    DatabaseLock,
    Lock,
    holder,
    in_our_words,
    is_database_taken,
)
from orchestrator.domain.turns import Claimant, Turn
from orchestrator.errors import DiskFull, LeaseHeld
from orchestrator.provisioners.local.processes import birth_of
from orchestrator.settings import Settings


def opened(path: Path) -> int:
    """An open file of its own: locks belong to those."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def signed(path: Path, pid: int, started: float) -> None:
    """What a controller wrote."""
    path.write_text(json.dumps({"pid": pid, "started": started, "since": "2023-06-01T00:00:00Z", "epoch": 7}))


def test_two_who_ask_at_once_do_not_take_each_other_for_the_holder(tmp_path: Path) -> None:
    """One of them read the name of a controller that had been killed, and told that it ran."""
    path = tmp_path / LOCK_FILE
    me = psutil.Process()
    signed(path, me.pid, me.create_time())
    asker = opened(path)
    fcntl.flock(asker, fcntl.LOCK_SH)

    assert not file_locks.is_held(opened(path))
    assert holder(tmp_path) is None


def test_whoever_takes_it_waits_for_one_who_asks(tmp_path: Path) -> None:
    """The asker is gone in an instant; a controller that starts just then is not refused."""
    asker, taker = opened(tmp_path / "lock"), opened(tmp_path / "lock")
    fcntl.flock(asker, fcntl.LOCK_SH)
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        fcntl.flock(asker, fcntl.LOCK_UN)

    assert file_locks.take(taker, wait=wait)
    assert waited == [file_locks.WAIT_SECONDS]
    assert file_locks.is_held(asker)


def test_what_another_one_keeps_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """A second controller is refused within a second."""
    first, second = opened(tmp_path / "lock"), opened(tmp_path / "lock")
    assert file_locks.take(first)
    waited: list[float] = []
    assert not file_locks.take(second, wait=waited.append)
    assert 0.5 < sum(waited) <= 1.0


def test_setting_the_clock_hides_no_controller(tmp_path: Path) -> None:
    """When it began, in seconds of the clock, moves with every step of it; what the kernel counts does not.

    A controller that is not found cannot be stopped, and keeps the next one from starting.
    """
    lock = Lock(tmp_path)
    lock.take()
    lock.sign("2023-06-01T00:00:00Z", 7)
    path = tmp_path / LOCK_FILE
    written = json.loads(path.read_text())
    path.write_text(json.dumps({**written, "started": written["started"] - 3600.0}))
    found = holder(tmp_path)
    path.write_text(json.dumps({**written, "birth": written["birth"] - 1.0}))
    another_ones = holder(tmp_path)
    lock.release()

    assert found is not None
    assert found.pid == os.getpid()
    assert another_ones is None


def test_a_controller_of_the_version_before_is_found(tmp_path: Path) -> None:
    """During an upgrade the new command stops the old controller; and the old command the new one, by ``started``."""
    lock = Lock(tmp_path)
    lock.take()
    lock.sign("2023-06-01T00:00:00Z", 7)
    written = json.loads((tmp_path / LOCK_FILE).read_text())
    signed(tmp_path / LOCK_FILE, os.getpid(), written["started"])
    found = holder(tmp_path)
    lock.release()

    assert found is not None
    assert (found.pid, found.epoch) == (os.getpid(), 7)


def test_a_lock_that_nobody_has_signed_yet_is_nobodys(tmp_path: Path) -> None:
    """What is written in the file is of the one before, whose number may be another process's by now."""
    lock = Lock(tmp_path)
    lock.take()
    gone = psutil.Process()
    for pid, started in ((2**22 + 1, 0.0), (gone.pid, gone.create_time() - 3600.0)):
        signed(tmp_path / LOCK_FILE, pid, started)
        assert holder(tmp_path) is None

    lock.sign("2023-06-01T00:00:00Z", 8)
    found = holder(tmp_path)
    assert found is not None
    assert (found.pid, found.epoch) == (os.getpid(), 8)
    with pytest.raises(LeaseHeld):
        Lock(tmp_path).take()
    lock.release()
    assert holder(tmp_path) is None


def test_one_that_was_killed_and_not_waited_for_holds_nothing(tmp_path: Path) -> None:
    """Its lock is gone at once, its number only when its parent has asked for it.

    Meanwhile the next controller has the lock and has not signed: the killed one was told to run.
    """
    killed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started, birth = psutil.Process(killed.pid).create_time(), birth_of(killed.pid)
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
    lock = Lock(tmp_path)
    lock.take()
    for told in ({"birth": birth}, {}):
        name = {"pid": killed.pid, "started": started, "since": "2023-06-01T00:00:00Z", "epoch": 7}
        (tmp_path / LOCK_FILE).write_text(json.dumps({**name, **told}))
        assert holder(tmp_path) is None
    lock.release()
    killed.communicate()


def test_only_who_holds_the_lock_signs_it(tmp_path: Path) -> None:
    """Before it is taken and after it was let go; what the last holder wrote stays."""
    lock = Lock(tmp_path)
    with pytest.raises(RuntimeError, match="not held"):
        lock.sign("2023-06-01T00:00:00Z", 7)
    lock.take()
    lock.sign("2023-06-01T00:00:00Z", 7)
    lock.release()
    before = (tmp_path / LOCK_FILE).read_text()

    with pytest.raises(RuntimeError, match="not held"):
        lock.sign("2023-06-01T00:00:00Z", 8)

    assert (tmp_path / LOCK_FILE).read_text() == before
    assert holder(tmp_path) is None


def test_a_full_disk_is_told_by_its_name(tmp_path: Path) -> None:
    """Not as a directory that may not be written: another thing helps."""
    with pytest.raises(DiskFull, match=str(tmp_path)), in_our_words(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_restore_that_holds_the_lock_is_no_controller(tmp_path: Path) -> None:
    """What is asked for meanwhile would be replaced with the rest of the database: it is refused."""
    settings = Settings(state_dir=tmp_path, cache_dir=tmp_path)
    lock = Lock(tmp_path)
    lock.take()
    lock.sign("2023-06-01T00:00:00Z", NO_TURN)

    assert daemon.info(settings) is None
    assert not daemon.stop(settings)
    with pytest.raises(LeaseHeld, match="a restore is under way"):
        daemon.start(settings, progress=print)
    lock.release()


def test_one_sqlite_database_has_one_controller(tmp_path: Path) -> None:
    """A second state directory is refused, and told which one has it, through whichever link it goes."""
    database, link = tmp_path / "store.db", tmp_path / "link.db"
    link.symlink_to(database)
    assert not is_database_taken(database)
    first = DatabaseLock(database, tmp_path / "a")
    first.take()

    with pytest.raises(LeaseHeld, match=f"{tmp_path / 'a'} .pid {os.getpid()}. runs on the database") as refused:
        DatabaseLock(link, tmp_path / "b").take()

    assert "GREENCTL_STATE_DIR" in refused.value.hint()
    assert is_database_taken(link)
    first.release()
    first.release()
    assert not is_database_taken(database)
    second = DatabaseLock(link, tmp_path / "b")
    second.take()
    assert (tmp_path / "store.db.controller").read_text().startswith(f"{tmp_path / 'b'} (pid")
    second.release()


def test_what_has_the_turn_of_a_file_holds_its_lock(tmp_path: Path) -> None:
    """A word that is not a minute old is of a dead process, where nobody holds the lock; on a server words count."""
    settings = Settings(state_dir=tmp_path / "b", cache_dir=tmp_path, database_url=f"sqlite:///{tmp_path / 'store.db'}")
    now = datetime(2026, 11, 23, tzinfo=UTC)
    turn = Turn(1, Claimant(socket.gethostname(), str(tmp_path / "a")), now, now)
    assert elsewhere(settings, turn) is None
    lock = DatabaseLock(tmp_path / "store.db", tmp_path / "a")
    lock.take()
    try:
        assert elsewhere(settings, turn) == turn
        assert elsewhere(settings, replace(turn, claimant=claimant_of(tmp_path / "b"))) is None
    finally:
        lock.release()
    server = settings.model_copy(update={"database_url": "postgresql://me@db/greenctl"})
    assert elsewhere(server, turn) == turn
