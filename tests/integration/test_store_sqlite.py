"""The SQLite file: private, quick to open, and clear about what is wrong with it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.dialects.sqlite import dialect as sqlite_words

from orchestrator.errors import DiskFull, InvalidSettings, StoreIncompatible, StoreUnavailable
from orchestrator.store import files
from orchestrator.store.records import energy_of
from orchestrator.store.sql import SqlStore
from tests.store_samples import NOW, a_decision, a_spec, an_operation

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "greenctl.db"


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def filled(path: Path) -> Path:
    """Make a database with something in it."""
    with SqlStore.open(url_of(path)) as store:
        store.submit_deploy(a_spec(), an_operation())
        journal = store.claim("me", NOW)
        for number in range(20):
            journal.record_decision(a_decision(f"d-{number}"), ())
    return path


def test_the_files_are_private(path: Path) -> None:
    """Database, log and index are for their owner alone, in a directory that is too; also when they were not before."""
    with SqlStore.open(url_of(path)) as store:
        store.deployment_uid()
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
        assert modes == {"greenctl.db": 0o600, "greenctl.db-wal": 0o600, "greenctl.db-shm": 0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    path.chmod(0o644)
    with SqlStore.open(url_of(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_is_durable_and_consistent(path: Path) -> None:
    """Write-ahead log, a flush on every commit, foreign keys and column types enforced."""
    with SqlStore.open(url_of(path)) as store:
        read = store._database.read
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        found = [read(lambda tx, p=p: tx.exec_driver_sql(f"PRAGMA {p}").scalar_one()) for p in pragmas]

        assert found == ["wal", 2, 1]
        with pytest.raises(StoreIncompatible, match="TEXT"):
            store._database.write(lambda tx: tx.exec_driver_sql("INSERT INTO counters VALUES ('a', 'not a number')"))
        with pytest.raises(StoreIncompatible, match="FOREIGN KEY"):
            store._database.write(
                lambda tx: tx.exec_driver_sql(
                    "INSERT INTO signals_used (decision_id, ordinal, zone, source, gap_reason)"
                    " VALUES ('d', 0, 'SE', '', '')"
                )
            )


def test_a_path_is_taken_as_it_stands(tmp_path: Path) -> None:
    """Blanks, question marks and percent signs are part of a name."""
    path = tmp_path / "a b" / "what?%20.db"

    with SqlStore.open(url_of(path)) as store:
        assert store.address.path == path

    assert path.exists()


def test_a_current_database_opens_quickly(path: Path) -> None:
    """The version check loads neither Alembic nor pydantic, which is what opening would otherwise wait for."""
    filled(path)
    code = (
        "import sys\n"
        "from orchestrator.store.sql import SqlStore\n"
        "SqlStore.open(sys.argv[1]).close()\n"
        "print('alembic' in sys.modules, 'pydantic' in sys.modules)\n"
    )

    answer = subprocess.run(
        [sys.executable, "-c", code, url_of(path)], check=True, capture_output=True, text=True, cwd=ROOT
    )

    assert answer.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///", "mysql://root:hunter2@h/d", "nonsense"]
)
def test_what_is_no_database_for_us_is_refused(url: str) -> None:
    """With a hint, and without repeating a password."""
    with pytest.raises(InvalidSettings) as refusal:
        SqlStore.open(url)

    assert "hunter2" not in refusal.value.message
    assert "postgresql://" in refusal.value.hint()


def test_a_file_that_is_no_database_is_refused_and_kept(path: Path) -> None:
    """Somebody's text file is not written over."""
    path.parent.mkdir()
    path.write_text("dear diary\n" * 100)

    with pytest.raises(StoreUnavailable, match="damaged") as refusal:
        SqlStore.open(url_of(path))

    assert "backup" in refusal.value.hint()
    assert path.read_text() == "dear diary\n" * 100


def test_another_programs_database_is_refused_and_kept(path: Path) -> None:
    """Tables of whatever name that we did not make: not ours."""
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()

    with pytest.raises(StoreIncompatible, match="bookmarks"):
        SqlStore.open(url_of(path))

    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("bookmarks",)]
    connection.close()


def test_a_truncated_database_is_refused(path: Path) -> None:
    """Half a file is noticed on opening, and stays as it is for whoever wants to save something from it."""
    filled(path)
    os.truncate(path, path.stat().st_size // 2)
    before = path.read_bytes()

    with pytest.raises(StoreUnavailable, match="damaged"):
        SqlStore.open(url_of(path))

    assert path.read_bytes() == before


def test_a_damaged_page_is_an_error_and_no_crash(path: Path) -> None:
    """Damage in the middle shows when it is read, as an error with a hint, never as wrong data or a traceback."""
    filled(path)
    content = bytearray(path.read_bytes())
    content[4096 * 4 :] = b"\xff" * (len(content) - 4096 * 4)
    path.write_bytes(content)

    def read_everything() -> None:
        with SqlStore.open(url_of(path)) as store:
            store.services()
            store.decisions("chat")
            store.operations(open_only=False)

    with pytest.raises((StoreUnavailable, StoreIncompatible)):
        read_everything()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE services SET state = 'levitating'",
        "UPDATE services SET created_at = 'yesterday'",
        "UPDATE spec_revisions SET spec = '{'",
        "UPDATE spec_revisions SET spec = '{\"name\": 1}'",
        "UPDATE decisions SET document = '[]'",
        "UPDATE operations SET kind = ''",
    ],
)
def test_rows_that_mean_nothing_are_named(path: Path, statement: str) -> None:
    """A row that somebody edited by hand is an error that says what is wrong, for each kind of field."""
    with SqlStore.open(url_of(filled(path))) as store:
        store._database.write(lambda tx: tx.exec_driver_sql(statement))

        def read_everything() -> None:
            store.services()
            store.decisions("chat")
            store.operations(open_only=False)

        with pytest.raises(StoreIncompatible, match="holds"):
            read_everything()


def test_a_directory_in_place_of_the_file_is_refused(path: Path) -> None:
    """And a file in place of a directory as well."""
    path.mkdir(parents=True)
    with pytest.raises(StoreUnavailable, match="not a file"):
        SqlStore.open(url_of(path))

    (path.parent / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be made"):
        SqlStore.open(url_of(path.parent / "file" / "greenctl.db"))


OPEN_WITHOUT_RIGHTS = """
import os, pwd, sys
from orchestrator.errors import GreenctlError
from orchestrator.store.sql import SqlStore
if os.geteuid() == 0:  # who may do everything, so become somebody who may not
    account = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
try:
    SqlStore.open(sys.argv[1])
except GreenctlError as error:
    print(type(error).__name__, error.message, "|", error.hint())
"""


@pytest.mark.parametrize("locked", ["directory", "parent", "file"])
def test_what_cannot_be_written_is_refused(locked: str) -> None:
    """A directory or file of somebody else: the message names it, the hint says what to do, nothing is left behind."""
    with tempfile.TemporaryDirectory(dir="/tmp") as home:  # others cannot even enter pytest's own directories
        state = Path(home) / "state"
        if locked != "parent":
            state.mkdir()
        if locked == "file":
            SqlStore.open(url_of(state / "greenctl.db")).close()
            (state / "greenctl.db").chmod(0o444)
        Path(home).chmod(0o555)
        if state.exists():
            state.chmod(0o777 if locked == "file" else 0o555)

        argv = [sys.executable, "-c", OPEN_WITHOUT_RIGHTS, url_of(state / "greenctl.db")]
        answer = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=ROOT).stdout

        assert answer.startswith("StoreUnavailable ")
        assert str(state) in answer.partition("|")[0]
        assert "writable" in answer.partition("|")[2]
        assert state.exists() == (locked != "parent")
        assert not state.exists() or [p.name for p in state.iterdir()] == ["greenctl.db"] * (locked == "file")
        Path(home).chmod(0o755)


def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before anything is made there: SQLite's locks would not hold."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/export {path.parent.parent} nfs4 rw 0 0\n")
    monkeypatch.setattr(files, "_MOUNTS", mounts)

    with pytest.raises(StoreUnavailable, match="nfs4") as refusal:
        SqlStore.open(url_of(path))

    assert "PostgreSQL" in refusal.value.hint()
    assert not path.parent.exists()


def test_a_full_disk_is_refused_before_anything_is_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run on a full disk says so and leaves no empty file."""
    monkeypatch.setattr(files, "LEAST_FREE_BYTES", 2**62)

    with pytest.raises(DiskFull, match="KiB free"):
        SqlStore.open(url_of(path))

    assert not path.parent.exists()


def test_a_disk_that_fills_up_loses_nothing(path: Path) -> None:
    """SQLite's own "full": the write is undone as a whole, what was there stays readable, and later writes work."""
    with SqlStore.open(url_of(filled(path))) as store:
        journal = store.claim("me", NOW)
        pages = store._database.read(lambda tx: tx.exec_driver_sql("PRAGMA page_count").scalar_one())
        store._database.read(lambda tx: tx.exec_driver_sql(f"PRAGMA max_page_count = {pages}"))

        with pytest.raises(DiskFull, match="space") as refusal:
            journal.record_decision(a_decision("big", summary="x" * 4096 * 8), ())

        assert refusal.value.exit_status == 4
        assert store.decision("big") is None
        assert len(store.decisions("chat")) == 20
        store._database.read(lambda tx: tx.exec_driver_sql(f"PRAGMA max_page_count = {pages * 10}"))
        journal.record_decision(a_decision("big", summary="x" * 4096 * 8), ())
        assert store.decision("big") is not None


def test_a_really_full_file_system_is_refused(tmp_path: Path) -> None:
    """A tiny file system of its own, filled to the brim: opening and writing both say that the disk is full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    argv = [mount, "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    if not (mount and umount and subprocess.run(argv, capture_output=True, check=False).returncode == 0):
        pytest.skip("needs the right to mount a file system (root)")
    try:
        with SqlStore.open(url_of(disk / "a.db")) as store:
            store.submit_deploy(a_spec(), an_operation())
            journal = store.claim("me", NOW)

            def fill() -> None:
                for number in range(1000):
                    journal.record_decision(a_decision(f"d-{number}", summary="x" * 100_000), ())

            with pytest.raises(DiskFull):
                fill()
            assert store.service("chat") is not None
            with pytest.raises(DiskFull):
                SqlStore.open(url_of(disk / "b.db"))
            assert not (disk / "b.db").exists()
    finally:
        subprocess.run([umount, str(disk)], check=True)


def test_an_old_sqlite_database_in_another_journal_mode_is_taken_over(path: Path) -> None:
    """A copy made with SQLite's own tools forgets the write-ahead log; opening restores it."""
    filled(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()

    with SqlStore.open(url_of(path)) as store:
        assert store._database.read(lambda tx: tx.exec_driver_sql("PRAGMA journal_mode").scalar_one()) == "wal"


def test_one_replica_is_found_without_looking_at_the_others(path: Path) -> None:
    """What a restarted controller asks for goes by the replica's own index, however many stand beside it."""
    asked = select(text("*")).select_from(energy_of(["output_tokens"], "chat", None, "chat-1").subquery())
    said = str(asked.compile(dialect=sqlite_words(), compile_kwargs={"literal_binds": True}))
    with SqlStore.open(url_of(path)) as store:
        plan = store._database.read(lambda tx: tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}").all())

    steps = " ".join(str(row[-1]) for row in plan if "energy_" in row[-1])
    assert steps.count("(replica=?") == 2
    assert "service=?" not in steps
