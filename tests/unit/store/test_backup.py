"""Backups: complete, checked to the last byte before they replace anything, and acted on by nobody at first."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrator.clocks import World, world_of
from orchestrator.domain.records import EventKind
from orchestrator.errors import (
    BackupUnusable,
    Conflict,
    DiskFull,
    StoreIncompatible,
    StoreUnavailable,
    UsageError,
    WouldOverwrite,
)
from orchestrator.store import schema
from orchestrator.store.address import parse_address
from orchestrator.store.backup import DATABASE, MANIFEST, read_backup, write_backup
from orchestrator.store.database import Database
from orchestrator.store.restore import UNDER_WAY, restore_backup
from orchestrator.store.sql import SqlStore
from tests.store_samples import NOW, a_spec, an_operation, later

WORLD = World("2023-06-01T12:00:00Z", "2026-11-21T08:00:00Z", 60.0)


def url_of(folder: Path) -> str:
    """A database in a folder."""
    return f"sqlite:///{folder / 'greenctl.db'}"


@pytest.fixture
def filled(tmp_path: Path) -> str:
    """A database with a service, two turns and some history; return its URL."""
    with SqlStore.open(url_of(tmp_path)) as store:
        store.submit_deploy(a_spec(), an_operation())
        store.claim("one", NOW)
        journal = store.claim("two", NOW)
        journal.record_event(EventKind.WARNING, "before the backup", service="chat", at=NOW, wall_at=NOW)
    return url_of(tmp_path)


@pytest.fixture
def backup(filled: str, tmp_path: Path) -> Path:
    """A backup of it."""
    write_backup(filled, tmp_path / "backup.zip", made_at=NOW)
    return tmp_path / "backup.zip"


def restored(url: str, source: Path) -> int:
    """Restore and return the turn that somebody has to accept."""
    return restore_backup(url, source, actor="ada", now=later(9), wall_at=later(9)).turn


def texts(url: str) -> list[str]:
    """What the history says."""
    with SqlStore.open(url) as store:
        return [e.text for e in store.events()]


def test_what_was_there_at_the_time_is_there_again(filled: str, backup: Path) -> None:
    """Later rows are gone, earlier ones are back, and the restore itself is in the history with its actor."""
    with SqlStore.open(filled) as store:
        uid = store.deployment_uid()
        store.claim("three", NOW).record_event(EventKind.WARNING, "after it", service="chat", at=NOW, wall_at=NOW)

    restored(filled, backup)

    first, second = texts(filled)
    assert first == "before the backup"
    assert second.startswith("ada restored the backup of ")
    with SqlStore.open(filled) as store:
        assert store.deployment_uid() == uid
        assert [s.spec for s in store.services()] == [a_spec()]


def test_a_restored_memory_is_braked_and_nobody_who_slept_can_write(filled: str, backup: Path) -> None:
    """Turns go on from the newest there ever was, and the sign of decision 0014 is there before any listing."""
    with SqlStore.open(filled) as store:
        sleeper = store.claim("three", NOW)
        assert sleeper.epoch == 3
        turn = restored(filled, backup)

        assert turn == 4
        assert store.restored().holds
        assert store.restored().seen_epoch == turn
        assert store.newest_epoch() == turn
        with pytest.raises(Conflict, match="epoch 3"):
            sleeper.next_routing_version()
        store.claim("four", NOW).set_restored(accepted_epoch=turn)
        assert not store.restored().holds


def test_it_can_be_put_where_nothing_is_yet(backup: Path, tmp_path: Path) -> None:
    """A new machine goes on with the same deployment, from an older copy."""
    new = tmp_path / "elsewhere" / "deeper"

    done = restore_backup(url_of(new), backup, actor="ada", now=NOW, wall_at=NOW)

    assert done.kept is None
    assert stat.S_IMODE((new / "greenctl.db").stat().st_mode) == 0o600
    with SqlStore.open(url_of(new)) as store:
        assert store.deployment_uid() == done.backup.deployment_uid
        assert store.restored().holds


def test_what_was_there_before_is_kept_and_can_be_put_back(filled: str, backup: Path) -> None:
    """A restore of the wrong file loses nothing."""
    with SqlStore.open(filled) as store:
        store.claim("three", NOW).record_event(EventKind.WARNING, "after it", service="chat", at=NOW, wall_at=NOW)
    done = restore_backup(filled, backup, actor="ada", now=NOW, wall_at=NOW)
    assert done.kept is not None
    assert "after it" not in texts(filled)

    restored(filled, done.kept)

    assert "after it" in texts(filled)


def test_it_is_taken_while_others_read_and_write(filled: str, tmp_path: Path) -> None:
    """An open transaction of somebody else is not in it, and does not hold it up."""
    writer = sqlite3.connect(tmp_path / "greenctl.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE deployment SET epoch = 99")

    facts = write_backup(filled, tmp_path / "backup.zip", made_at=NOW)
    writer.execute("ROLLBACK")
    writer.close()

    assert facts.epoch == 2


def test_only_its_owner_may_read_it_and_nothing_else_is_left(backup: Path) -> None:
    """One file of mode 0600: the working copy is gone."""
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert not [p for p in backup.parent.iterdir() if p.name.startswith(".greenctl")]


def test_it_can_go_where_files_have_one_name_only(filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stick or a network mount without hard links takes it, too, and still nothing is overwritten."""

    def no_links(_source: object, _target: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("orchestrator.store.backup.os.link", no_links)
    made = write_backup(filled, tmp_path / "backup.zip", made_at=NOW)

    assert read_backup(tmp_path / "backup.zip") == made
    assert stat.S_IMODE((tmp_path / "backup.zip").stat().st_mode) == 0o600
    with pytest.raises(WouldOverwrite):
        write_backup(filled, tmp_path / "backup.zip", made_at=NOW)


def test_no_file_is_overwritten(filled: str, backup: Path) -> None:
    """The one that is there stays as it is."""
    before = backup.read_bytes()

    with pytest.raises(WouldOverwrite, match="there already"):
        write_backup(filled, backup, made_at=NOW)

    assert backup.read_bytes() == before


def test_without_a_database_there_is_nothing_to_copy(tmp_path: Path) -> None:
    """It is said, and no empty one is made."""
    with pytest.raises(StoreUnavailable, match="no database"):
        write_backup(url_of(tmp_path), tmp_path / "backup.zip", made_at=NOW)

    assert list(tmp_path.iterdir()) == []


def test_postgresql_has_its_own_tools(tmp_path: Path) -> None:
    """The refusal names them."""
    url = "postgresql://user@host/database"
    with pytest.raises(UsageError) as refusal:
        write_backup(url, tmp_path / "backup.zip", made_at=NOW)
    assert "pg_dump" in refusal.value.hint()
    with pytest.raises(UsageError):
        restored(url, tmp_path / "backup.zip")


def test_a_backup_of_an_older_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    """Before it replaces anything."""
    old = tmp_path / "old"
    old.mkdir()
    database = Database(parse_address(url_of(old)))
    schema.migrate(database, "0002")
    database.write(lambda tx: tx.exec_driver_sql("INSERT INTO deployment (singleton, uid, epoch) VALUES (1, 'abc', 7)"))
    database.close()
    assert write_backup(url_of(old), tmp_path / "old.zip", made_at=NOW).schema == "0002"

    assert restored(url_of(tmp_path), tmp_path / "old.zip") == 8

    with SqlStore.open(url_of(tmp_path)) as store:
        assert store.deployment_uid() == "abc"


def test_a_restore_that_fails_in_its_last_step_can_be_repeated(
    filled: str, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is named, nothing has changed, and what each try kept stays beside it."""

    def no_room(_copy: Path, _path: Path) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with SqlStore.open(filled) as store:
        store.claim("three", NOW).record_event(EventKind.WARNING, "after it", service="chat", at=NOW, wall_at=NOW)
    with monkeypatch.context() as patched:
        patched.setattr("orchestrator.store.restore._copy_over", no_room)
        with pytest.raises(DiskFull):
            restored(filled, backup)
    assert texts(filled) == ["before the backup", "after it"]

    restored(filled, backup)

    assert "after it" not in texts(filled)
    kept = list(tmp_path.glob("greenctl.db.before-restore-*"))
    assert len(kept) == 2
    assert len({read_backup(k).sha256 for k in kept}) == 1


def test_a_database_that_stays_locked_is_not_waited_for_without_end(
    filled: str, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped command may hold it for hours: the words say what helps, and nothing has changed."""
    monkeypatch.setattr("orchestrator.store.backup.PATIENCE_SECONDS", 0.01)
    with closing(sqlite3.connect(tmp_path / "greenctl.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreUnavailable, match="cannot be replaced: it stayed locked") as refusal:
            restored(filled, backup)

    assert "a process that hangs" in refusal.value.hint()
    assert texts(filled) == ["before the backup"]
    restored(filled, backup)


def test_what_nobody_else_may_read_is_not_waited_for_without_end(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a program holds the file for itself alone there is no backup, and no half of one."""
    monkeypatch.setattr("orchestrator.store.backup.PATIENCE_SECONDS", 0.01)
    with closing(sqlite3.connect(tmp_path / "greenctl.db", isolation_level=None)) as owner:
        owner.execute("PRAGMA locking_mode = EXCLUSIVE")
        owner.execute("UPDATE deployment SET epoch = epoch")

        with pytest.raises(StoreUnavailable, match="cannot be copied: it stayed locked"):
            write_backup(filled, tmp_path / "b.zip", made_at=NOW)

    assert not list(tmp_path.glob("*.zip"))


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────


def repacked(backup: Path, *, manifest: dict[str, object] | None = None, database: bytes | None = None) -> None:
    """Write the backup anew with another manifest or database."""
    with zipfile.ZipFile(backup) as packed:
        facts, content = json.loads(packed.read(MANIFEST)), packed.read(DATABASE)
    with zipfile.ZipFile(backup, "w") as packed:
        packed.writestr(MANIFEST, json.dumps(facts | (manifest or {})))
        packed.writestr(DATABASE, content if database is None else database)


def truncate(backup: Path) -> None:
    """As a copy that ran out of disk."""
    os.truncate(backup, backup.stat().st_size // 2)


def flip(backup: Path) -> None:
    """One bit of the packed database."""
    content = bytearray(backup.read_bytes())
    content[len(content) // 2] ^= 1
    backup.write_bytes(content)


def as_list(backup: Path) -> None:
    """A manifest that is JSON, and no manifest."""
    with zipfile.ZipFile(backup) as packed:
        content = packed.read(DATABASE)
    with zipfile.ZipFile(backup, "w") as packed:
        packed.writestr(MANIFEST, "[]")
        packed.writestr(DATABASE, content)


SPOILT: dict[str, Callable[[Path], object]] = {
    "truncated": truncate,
    "one bit": flip,
    "empty": lambda b: b.write_bytes(b""),
    "a text": lambda b: b.write_text("not a backup"),
    "missing": lambda b: b.unlink(),
    "a directory": lambda b: (b.unlink(), b.mkdir()),
    "another database": lambda b: repacked(b, database=b"SQLite format 3\0" + bytes(4080)),
    "newer schema": lambda b: repacked(b, manifest={"schema": "9999"}),
    "no schema": lambda b: repacked(b, manifest={"schema": ""}),
    "newer format": lambda b: repacked(b, manifest={"format": 3}),
    "another uid": lambda b: repacked(b, manifest={"deployment_uid": "somebody"}),
    "another turn": lambda b: repacked(b, manifest={"epoch": 0}),
    "another size": lambda b: repacked(b, manifest={"size_bytes": 1}),
    "a world without a clock": lambda b: repacked(b, manifest={"world": {"grid_start": "2023-01-01T00:00:00Z"}}),
    "a world that stands still": lambda b: repacked(b, manifest={"world": asdict(WORLD) | {"rate": 0.0}}),
    "a list": as_list,
    "no manifest": lambda b: repacked(b, manifest={"sha256": None}),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_what_is_not_a_whole_backup_changes_nothing(filled: str, backup: Path, spoil: Callable[[Path], object]) -> None:
    """Truncated, damaged, foreign or newer: refused by name, and the memory is as it was."""
    spoil(backup)
    folder = backup.parent
    before = {p.name for p in folder.iterdir()}

    with pytest.raises(BackupUnusable):
        restored(filled, backup)
    with pytest.raises(BackupUnusable):
        read_backup(backup)

    assert texts(filled) == ["before the backup"]
    assert {p.name for p in folder.iterdir()} - {"greenctl.db-wal", "greenctl.db-shm"} == before


def test_of_a_damaged_database_no_backup_is_made_and_the_words_say_what_helps(filled: str, tmp_path: Path) -> None:
    """Its first pages may still be read: the copy is checked whole, and nothing is written under the name asked for."""
    path = tmp_path / "greenctl.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"\xa5" * (len(content) - len(content) // 2))

    with pytest.raises(StoreUnavailable, match=r"(is damaged|cannot be copied): [^*\n]+$") as refused:
        write_backup(filled, tmp_path / "b.zip", made_at=NOW)

    assert "Restore the file from a backup" in refused.value.hint()
    assert not (tmp_path / "b.zip").exists()


def test_no_flipped_bit_slips_through(backup: Path) -> None:
    """Wherever it is: the backup is refused, or what comes out of it is what went in."""
    whole, content = read_backup(backup), backup.read_bytes()

    for position in range(0, len(content), len(content) // 60):
        spoilt = bytearray(content)
        spoilt[position] ^= 1 << position % 8
        backup.write_bytes(spoilt)
        with suppress(BackupUnusable):
            assert read_backup(backup) == whole


def test_an_archive_of_something_else_is_refused(filled: str, tmp_path: Path) -> None:
    """Nothing in it is unpacked, whatever its names say."""
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as packed:
        packed.writestr("../../evil", "x")

    with pytest.raises(BackupUnusable, match="something else"):
        restored(filled, tmp_path / "other.zip")


def test_the_backup_of_another_deployment_is_refused_where_services_are(filled: str, tmp_path: Path) -> None:
    """Its machines are not ours, and ours would be nobody's."""
    (tmp_path / "b").mkdir()
    with SqlStore.open(url_of(tmp_path / "b")) as store:
        store.submit_deploy(a_spec("other"), an_operation("op-other", "other"))
        store.deployment_uid()
        store.claim("one", NOW)
    write_backup(url_of(tmp_path / "b"), tmp_path / "b.zip", made_at=NOW)

    with pytest.raises(Conflict, match="deployment"):
        restored(filled, tmp_path / "b.zip")

    assert texts(filled) == ["before the backup"]


def test_a_damaged_database_is_moved_aside(filled: str, backup: Path, tmp_path: Path) -> None:
    """That is what backups are for; what is left of it is kept."""
    (tmp_path / "greenctl.db").write_bytes(b"this is no database" * 400)

    done = restore_backup(filled, backup, actor="ada", now=NOW, wall_at=NOW)

    assert done.kept is not None
    assert done.kept.read_bytes().startswith(b"this is no database")
    assert texts(filled)[0] == "before the backup"


def test_somebody_elses_database_is_not_replaced(backup: Path, tmp_path: Path) -> None:
    """A file that SQLite reads and we did not make stays."""
    other = tmp_path / "other"
    other.mkdir()
    with sqlite3.connect(other / "greenctl.db") as connection:
        connection.execute("CREATE TABLE letters (id INTEGER)")
    connection.close()

    with pytest.raises(StoreIncompatible, match="something else"):
        restored(url_of(other), backup)


# ── the grid's clock ─────────────────────────────────────────────────────────────────────────────────


def with_world(url: str, source: Path, folder: Path) -> None:
    """Restore into a folder that may have a clock of its own."""
    restore_backup(url, source, actor="ada", now=NOW, wall_at=NOW, world_file=folder / "world.json")


def test_the_grids_clock_comes_along(filled: str, tmp_path: Path) -> None:
    """A new machine goes on at the same grid moment: the anchor is the one of the backup, for its owner alone."""
    made = write_backup(filled, tmp_path / "b.zip", made_at=NOW, world=WORLD)
    new = tmp_path / "new"

    with_world(url_of(new), tmp_path / "b.zip", new)

    assert made.world == read_backup(tmp_path / "b.zip").world == world_of(new) == WORLD
    assert stat.S_IMODE((new / "world.json").stat().st_mode) == 0o600
    assert sorted(p.name for p in new.iterdir() if "greenctl.db-" not in p.name) == ["greenctl.db", "world.json"]


@pytest.mark.parametrize("here", [World("2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 1.0).text, "{damaged"])
def test_another_clock_makes_room_and_is_kept(filled: str, tmp_path: Path, here: str) -> None:
    """Sound or damaged: it is beside the new one, and the backup of what was there knows it where it can be read."""
    write_backup(filled, tmp_path / "b.zip", made_at=NOW, world=WORLD)
    (tmp_path / "world.json").write_text(here)

    with_world(filled, tmp_path / "b.zip", tmp_path)
    with_world(filled, tmp_path / "b.zip", tmp_path)

    assert world_of(tmp_path) == WORLD
    (kept,) = tmp_path.glob("world.json.before-restore-*")
    assert kept.read_text() == here
    worlds = {read_backup(p).world for p in tmp_path.glob("greenctl.db.before-restore-*.zip")}
    assert WORLD in worlds
    assert len(worlds) == 2


def test_a_backup_of_real_time_takes_a_replayed_clock_away(filled: str, backup: Path, tmp_path: Path) -> None:
    """And keeps it beside."""
    (tmp_path / "world.json").write_text(WORLD.text)

    with_world(filled, backup, tmp_path)

    assert world_of(tmp_path) is None
    assert [p.read_text() for p in tmp_path.glob("world.json.*")] == [WORLD.text]


def test_an_older_backup_does_not_say_and_changes_no_clock(filled: str, backup: Path, tmp_path: Path) -> None:
    """Format 1 knew of none; it can be read still."""
    repacked(backup, manifest={"format": 1})
    (tmp_path / "world.json").write_text(WORLD.text)

    with_world(filled, backup, tmp_path)

    assert world_of(tmp_path) == WORLD
    assert not list(tmp_path.glob("world.json.*"))


# ── interrupted while a damaged database is replaced ─────────────────────────────────────────────────

RUBBISH = b"this is no database" * 400


class PowerCut(BaseException):
    """Nothing after this happens."""


def cut_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """End at the n-th change of a name, which is not made."""
    made = iter(range(1000))
    for name in ("replace", "unlink"):
        true = getattr(Path, name)

        def change(self: Path, *args: object, true: Callable[..., object] = true, **kwargs: object) -> object:
            if "greenctl.db" in " ".join((self.name, *map(str, args))) and next(made) == number:
                raise PowerCut
            return true(self, *args, **kwargs)

        monkeypatch.setattr(Path, name, change)


@pytest.mark.parametrize("in_use", [False, True])
@pytest.mark.parametrize("number", range(5))
def test_a_restore_that_is_cut_off_leaves_one_whole_file_and_can_be_repeated(
    filled: str, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, *, in_use: bool
) -> None:
    """Wherever it ends: nobody can begin an empty memory, no old log meets the new file, nothing that was is lost.

    While somebody has the damaged one open, its log stays and has to be taken away.
    """
    reader = sqlite3.connect(tmp_path / "greenctl.db")
    if in_use:
        reader.execute("UPDATE deployment SET epoch = epoch").connection.commit()
        overwrite(tmp_path / "greenctl.db-wal", b"log of rubbish" * 400)
    overwrite(tmp_path / "greenctl.db", RUBBISH)
    with monkeypatch.context() as patched:
        cut_at(patched, number)
        if number < (4 if in_use else 1):
            with pytest.raises(PowerCut):
                restored(filled, backup)
            with pytest.raises(StoreUnavailable), SqlStore.open(filled) as store:
                store.services()
        else:
            restored(filled, backup)
    reader.close()

    restored(filled, backup)

    with SqlStore.open(filled) as store:
        assert store.restored().holds
        assert [s.spec for s in store.services()] == [a_spec()]
        assert store.check_journal().is_whole
    kept = [p.read_bytes() for p in tmp_path.glob("greenctl.db.before-restore-*")]
    assert any(k.startswith(RUBBISH) for k in kept)
    assert not in_use or any(k.startswith(b"log of rubbish") for k in kept)
    assert UNDER_WAY not in kept


def overwrite(path: Path, content: bytes) -> None:
    """As a disk does that has lost what it held: in place."""
    with path.open("r+b") as file:
        file.write(content)


def test_a_disk_that_is_full_or_refuses_is_named(
    filled: str, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what cannot be read stays as it is."""
    (tmp_path / "greenctl.db").write_bytes(RUBBISH)
    for number, wanted in ((errno.ENOSPC, DiskFull), (errno.EROFS, StoreUnavailable)):
        with monkeypatch.context() as patched:

            def refuse(_draft: Path, _path: Path, number: int = number) -> None:
                raise OSError(number, os.strerror(number))

            patched.setattr("orchestrator.store.restore.put_in_place", refuse)
            with pytest.raises(wanted):
                restored(filled, backup)

    assert (tmp_path / "greenctl.db").read_bytes() == RUBBISH


def test_a_temporary_folder_that_is_full_or_refuses_is_named(
    filled: str, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check that comes before the question unpacks there; with room elsewhere it goes on."""
    before = texts(filled)
    small = tmp_path / "small"
    small.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(small))
    for number, wanted in ((errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EROFS, StoreUnavailable)):
        with monkeypatch.context() as patched:

            def refuse(_packed: object, _copy: Path, number: int = number) -> None:
                raise OSError(number, os.strerror(number))

            patched.setattr("orchestrator.store.backup._extract", refuse)
            with pytest.raises(wanted, match=str(small)) as refusal:
                read_backup(backup)
            assert ("TMPDIR" in refusal.value.hint()) is (wanted is DiskFull)

    assert list(small.iterdir()) == []
    assert texts(filled) == before


def test_what_is_kept_needs_no_links(
    filled: str, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system where files have one name keeps a copy."""

    def no_links(_source: object, _target: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("orchestrator.store.backup.os.link", no_links)
    (tmp_path / "greenctl.db").write_bytes(RUBBISH)

    done = restore_backup(filled, backup, actor="ada", now=NOW, wall_at=NOW)

    assert done.kept is not None
    assert done.kept.read_bytes() == RUBBISH
    assert texts(filled)[0] == "before the backup"
