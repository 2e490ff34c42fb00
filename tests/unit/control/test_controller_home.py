"""A state directory that was copied while its controller runs is refused; one that was moved goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.controller import daemon
from orchestrator.controller.home import HOME_FILE, settle
from orchestrator.controller.lock import LOCK_FILE, Lock
from orchestrator.errors import Conflict, InvalidSettings
from orchestrator.settings import Settings

ROOT = Path(__file__).parents[3]

RunOn = Callable[[Path], Lock]


@pytest.fixture
def run_on() -> Iterator[RunOn]:
    """Begin as a controller does; what is not released ends with the test."""
    locks: list[Lock] = []

    def run(folder: Path) -> Lock:
        lock = Lock(folder)
        locks.append(lock)
        lock.take()
        try:
            settle(folder)
        except Conflict:
            lock.release()
            raise
        lock.sign("2026-11-22T00:00:00Z", 1)
        return lock

    yield run
    for lock in locks:
        lock.release()


@pytest.fixture
def first(tmp_path: Path, run_on: RunOn) -> Path:
    """A directory on which a controller runs."""
    run_on(tmp_path / "first")
    return tmp_path / "first"


def home_of(folder: Path) -> Path:
    """Where a directory says that its deployment is at home."""
    return Path((folder / HOME_FILE).read_text().splitlines()[0])


def test_a_copy_is_refused_while_the_other_one_runs(first: Path, tmp_path: Path) -> None:
    """With both places named, and nothing is changed: the next try is refused as well."""
    copy = tmp_path / "copy"
    shutil.copytree(first, copy)
    (copy / LOCK_FILE).unlink()

    for _ in range(2):
        with pytest.raises(Conflict) as caught:
            settle(copy)
        assert str(copy) in caught.value.message
        assert str(first) in caught.value.message
        assert "empty GREENCTL_STATE_DIR" in caught.value.hint()


def test_a_restart_and_a_link_are_no_copies(first: Path, tmp_path: Path) -> None:
    """The same directory under another name is the same directory."""
    settle(first)
    link = tmp_path / "link"
    link.symlink_to(first)
    settle(link)

    assert home_of(first) == first


def test_a_directory_that_was_moved_or_whose_other_copy_rests_goes_on(tmp_path: Path) -> None:
    """It is at home where it stands now."""
    first = tmp_path / "first"
    first.mkdir()
    settle(first)
    moved = first.rename(tmp_path / "moved")
    settle(moved)
    shutil.copytree(moved, tmp_path / "copy")

    settle(tmp_path / "copy")

    assert home_of(moved) == tmp_path / "copy"
    assert home_of(tmp_path / "copy") == tmp_path / "copy"


def test_the_one_that_was_copied_is_refused_while_a_copy_runs(tmp_path: Path, run_on: RunOn) -> None:
    """It was stopped, copied to a new machine's disk, and is started again by an old shell or an old unit."""
    first, copy, third = (tmp_path / name for name in ("first", "copy", "third"))
    run_on(first).release()
    shutil.copytree(first, copy)
    shutil.copytree(first, third)
    second = run_on(copy)

    for other in (first, third):
        with pytest.raises(Conflict) as caught:
            run_on(other)
        assert str(copy) in caught.value.message

    second.release()
    run_on(first)
    with pytest.raises(Conflict):
        run_on(copy)


def test_who_begins_anew_where_another_one_stood_is_no_copy(tmp_path: Path, run_on: RunOn) -> None:
    """Two deployments: the one that was moved away, and the one in its old place. Neither keeps the other waiting."""
    first, moved = tmp_path / "first", tmp_path / "moved"
    run_on(first).release()
    first.rename(moved)
    run_on(first)

    run_on(moved)

    assert home_of(first) == first
    assert home_of(moved) == moved


def test_a_directory_of_the_version_before_goes_on_and_gets_its_number(tmp_path: Path, run_on: RunOn) -> None:
    """It knew its place alone; from now on its copies know each other."""
    first, copy = tmp_path / "first", tmp_path / "copy"
    first.mkdir()
    (first / HOME_FILE).write_text(f"{first}\n")
    run_on(first).release()
    shutil.copytree(first, copy)
    run_on(copy)

    with pytest.raises(Conflict):
        run_on(first)


SETTLE_AS_SOMEBODY = """
import os, pwd, sys
from pathlib import Path
from orchestrator.controller.home import settle
old, new = map(Path, sys.argv[1:])
old.mkdir(parents=True)
settle(old)
old.rename(new)
if os.geteuid() == 0:  # who may look everywhere, so become somebody who may not
    account = pwd.getpwnam("nobody")
    os.chown(new, account.pw_uid, account.pw_gid)
    for path in new.iterdir():
        os.chown(path, account.pw_uid, account.pw_gid)
    old.parent.chmod(0o700)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
else:
    old.parent.chmod(0)
settle(new)
print((new / "controller.home").read_text().splitlines()[0])
"""


def test_a_directory_that_was_moved_out_of_a_closed_home_goes_on() -> None:
    """It was tried by root first, and belongs to an account of its own now, which may not look where it stood."""
    with tempfile.TemporaryDirectory(dir="/tmp") as home:  # others cannot even enter pytest's own directories
        Path(home).chmod(0o777)
        old, new = Path(home) / "closed" / "state", Path(home) / "new"
        argv = [sys.executable, "-c", SETTLE_AS_SOMEBODY, str(old), str(new)]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=ROOT)
        old.parent.chmod(0o700)

    assert (done.stdout.strip(), done.stderr) == (str(new), "")


def test_a_place_that_cannot_even_be_looked_for_is_no_place(tmp_path: Path, run_on: RunOn) -> None:
    """It stood where another system allows longer names: nobody can run there, so it goes on here."""
    elsewhere = f"/{'far' * 2000}/state"
    first = tmp_path / "first"
    first.mkdir()
    (first / HOME_FILE).write_text(f"{elsewhere}\n0123456789abcdef\n")

    run_on(first)

    assert (first / HOME_FILE).read_text() == f"{first}\n0123456789abcdef\n"


def begin(place: Path) -> None:
    """As a command does that starts the controller."""
    daemon.start(Settings(state_dir=place), progress=str)


@pytest.mark.parametrize("who", [lambda place: Lock(place).take(), begin], ids=["controller", "command"])
def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path, who: Callable[[Path], None]) -> None:
    """With the setting that says where it is."""
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "state"
    with pytest.raises(InvalidSettings) as caught:
        who(place)
    assert str(place) in caught.value.message
    assert "GREENCTL_STATE_DIR" in caught.value.hint()
