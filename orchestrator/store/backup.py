"""Copies of a SQLite memory: taken while it is in use, and checked to the last byte.

A backup is a ZIP archive of two files: the database as one transaction saw it, and a manifest that says whose it is,
and by which grid clock its history was written where that is not the machine's.
It holds what the database holds: names of secrets, never their values. A restored database begins with the brake of
decision 0014 on: machines that were bought since the backup are not in it, so nothing is done until somebody accepts
that. PostgreSQL has its own tools for all of this.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from orchestrator.clocks import World
from orchestrator.domain.time import format_instant
from orchestrator.errors import (
    BackupUnusable,
    DiskFull,
    GreenctlError,
    StoreUnavailable,
    UsageError,
    WouldOverwrite,
)
from orchestrator.store.address import parse_address
from orchestrator.store.database import PATIENCE_SECONDS
from orchestrator.store.faults import RESTORE_HINT, give_up_if_busy, sqlite_trouble
from orchestrator.store.files import PRIVATE_FILE
from orchestrator.store.schema import HEAD, VERSION_TABLE

FORMAT = 2
FORMATS = frozenset({1, FORMAT})
"""Format 1 does not tell of the grid's clock."""

MANIFEST, DATABASE = "manifest.json", "greenctl.db"
CHUNK_BYTES = 1 << 20
LARGEST_MANIFEST_BYTES = 1 << 16
ELSEWHERE_HINT = "Free some space, or set TMPDIR to a folder with room for the whole database; nothing was changed."
WITHOUT_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What a file system without hard links answers (link(2))."""


class Damaged(StoreUnavailable):
    """SQLite reads it and finds that it is not sound."""


@dataclass(frozen=True, slots=True)
class Backup:
    """Whose memory it is. ``schema``: its migration; ``epoch``: its newest turn; ``made_at``: wall time, RFC 3339.

    ``sha256`` and ``size_bytes`` are of the database in it. ``world``: the replayed grid's clock, ``None`` for the
    machine's own, and in format 1, which does not say.
    """

    format: int
    schema: str
    deployment_uid: str
    epoch: int
    services: int
    made_at: str
    sha256: str
    size_bytes: int
    world: World | None = None

    @property
    def tells_of_its_world(self) -> bool:
        """Whether it is known by which clock its history was written."""
        return self.format >= FORMAT


def write_backup(url: str, target: Path, *, made_at: datetime, world: World | None = None) -> Backup:
    """Copy the database as it is now, beside whoever uses it; ``target`` is complete, or not there.

    ``world``: the clock that its history goes by, ``None`` for the machine's.
    Raises ``UsageError`` for PostgreSQL, ``WouldOverwrite``, ``StoreUnavailable`` without a database or when it is
    damaged, ``DiskFull``.
    """
    source = sqlite_file(url)
    if target.exists() or target.is_symlink():
        raise WouldOverwrite(f"{target} is there already", hint="Choose another name; nothing was written.")
    if not source.is_file():
        raise StoreUnavailable(f"there is no database at {source} yet", hint="A deploy makes one.")
    try:
        with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".greenctl-backup-") as folder:
            copy = Path(folder) / DATABASE
            copy_whole(source, copy)
            backup = replace(facts_of(copy, made_at), world=world)
            archive = Path(folder) / "archive"
            _pack(archive, copy, backup)
            _place(archive, target)
    except FileExistsError as error:
        raise WouldOverwrite(f"{target} is there already", hint="Choose another name.") from error
    except sqlite3.Error as error:
        raise sqlite_trouble(f"the database {source} cannot be copied", target, error) from error
    except OSError as error:
        raise trouble_with(target, error) from error
    return backup


def read_backup(source: Path) -> Backup:
    """Check a backup to the last byte and say what it is, unpacked among the temporary files.

    Raises ``BackupUnusable``, ``DiskFull`` where there is no room for it, and ``StoreUnavailable``.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="greenctl-backup-") as folder:
            return unpack(source, Path(folder) / DATABASE)
    except OSError as error:
        raise trouble_with(Path(tempfile.gettempdir()), error, hint=ELSEWHERE_HINT) from error


# ── taking one ───────────────────────────────────────────────────────────────────────────────────────


def sqlite_file(url: str) -> Path:
    """Return the file of a database. Raises ``UsageError`` for PostgreSQL."""
    path = parse_address(url).path
    if path is None:
        raise UsageError(
            "the database is PostgreSQL, which has better tools for this",
            hint="pg_dump --format=custom --file=FILE, and pg_restore --clean while no controller runs.",
        )
    return path


def copy_whole(source: Path, copy: Path) -> None:
    """Copy as one reader sees it, into a single file that needs no log beside it (sqlite.org/backup.html).

    Raises ``sqlite3.Error``, also when somebody keeps the source locked for longer than our patience.
    """
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE_FILE))
    with closing(opened(source)) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new, progress=give_up_if_busy)
        new.execute("PRAGMA journal_mode = DELETE")
        _check_whole(new, copy.name)


def opened(path: Path) -> sqlite3.Connection:
    """Open a database that is there. Raises ``sqlite3.Error``."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE_SECONDS)


def _check_whole(connection: sqlite3.Connection, name: str) -> None:
    """Raise ``Damaged`` unless the database is sound and every row has what it points to."""
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        first = next((words for words in verdict.splitlines() if not words.startswith("***")), verdict)
        raise Damaged(f"the database {name} is damaged: {first}", hint=RESTORE_HINT)
    broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    if broken is not None:
        raise Damaged(f"the database {name} is damaged: rows of {broken[0]} lack their {broken[2]}", hint=RESTORE_HINT)


def facts_of(copy: Path, made_at: datetime) -> Backup:
    """Say what a single file holds. Raises ``sqlite3.Error`` when it is no database of ours."""
    with closing(opened(copy)) as connection:
        schema = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608  # our constant
        owner = connection.execute("SELECT uid, epoch FROM deployment").fetchone() or ("", 0)
        (services,) = connection.execute("SELECT count(*) FROM services").fetchone()
    return Backup(
        format=FORMAT,
        schema="" if schema is None else str(schema[0]),
        deployment_uid=str(owner[0]),
        epoch=int(owner[1]),
        services=int(services),
        made_at=format_instant(made_at),
        sha256=_digest(copy),
        size_bytes=copy.stat().st_size,
    )


def _pack(archive: Path, copy: Path, backup: Backup) -> None:
    descriptor = os.open(archive, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE_FILE)
    with os.fdopen(descriptor, "w+b") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(MANIFEST, json.dumps(asdict(backup), indent=2, sort_keys=True) + "\n")
            packed.write(copy, DATABASE)
        file.flush()
        os.fsync(file.fileno())


def _place(archive: Path, target: Path) -> None:
    """Give the finished archive its name, never over something that came meanwhile."""
    try:
        os.link(archive, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in WITHOUT_LINKS:
            raise
        write_out(archive, target)


def write_out(archive: Path, target: Path) -> None:
    """Copy where there are no links: FAT, and many network mounts. What cannot be finished is taken away again."""
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file, archive.open("rb") as source:
            shutil.copyfileobj(source, file, CHUNK_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ── checking one ─────────────────────────────────────────────────────────────────────────────────────


def unpack(source: Path, copy: Path) -> Backup:
    """Unpack the database to ``copy``, checked against its manifest and by SQLite itself."""
    try:
        with zipfile.ZipFile(source) as packed:
            if sorted(packed.namelist()) != sorted((MANIFEST, DATABASE)):
                raise BackupUnusable(f"{source} is an archive of something else")
            backup = _manifest(packed, source)
            if packed.getinfo(DATABASE).file_size != backup.size_bytes:
                raise BackupUnusable(f"{source} is damaged: the database in it has another size than it had")
            _extract(packed, copy)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise BackupUnusable(f"{source} is damaged, or no backup of greenctl: {error}") from error
    except FileNotFoundError as error:
        raise BackupUnusable(f"there is no file {source}") from error
    except (IsADirectoryError, PermissionError) as error:
        raise BackupUnusable(f"{source} cannot be read: {error.strerror}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # A flipped bit can make an offset point to before the file's beginning.
        raise BackupUnusable(f"{source} is damaged, or no backup of greenctl: it names no place in it") from error
    _check(source, copy, backup)
    return backup


def _manifest(packed: zipfile.ZipFile, source: Path) -> Backup:
    if packed.getinfo(MANIFEST).file_size > LARGEST_MANIFEST_BYTES:
        raise BackupUnusable(f"{source} is no backup of greenctl: its manifest is too large")
    try:
        found = json.loads(packed.read(MANIFEST))
        world = found.get("world")
        backup = Backup(
            **{name: kind(found[name]) for name, kind in _FIELDS.items()},
            world=None if world is None else World.of(world),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupUnusable(f"{source} is no backup of greenctl: its manifest cannot be read") from error
    if backup.format not in FORMATS:
        raise BackupUnusable(
            f"{source} has format {backup.format}, this version reads {FORMAT}", hint="Use the version that wrote it."
        )
    if not backup.schema.isdigit() or backup.schema > HEAD:
        raise BackupUnusable(
            f"{source} has schema {backup.schema or 'unknown'}, this version knows up to {HEAD}",
            hint="Use the version that wrote it, or a newer one.",
        )
    return backup


_FIELDS = {
    "format": int,
    "schema": str,
    "deployment_uid": str,
    "epoch": int,
    "services": int,
    "made_at": str,
    "sha256": str,
    "size_bytes": int,
}


def _extract(packed: zipfile.ZipFile, copy: Path) -> None:
    descriptor = os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file, packed.open(DATABASE) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            file.write(chunk)


def _check(source: Path, copy: Path, backup: Backup) -> None:
    if _digest(copy) != backup.sha256:
        raise BackupUnusable(f"{source} is damaged: the database in it is not the one that was put there")
    try:
        with closing(opened(copy)) as connection:
            _check_whole(connection, DATABASE)
        found = facts_of(copy, datetime.fromisoformat(backup.made_at))
    except (sqlite3.Error, ValueError, StoreUnavailable) as error:
        raise BackupUnusable(f"{source} holds no sound database of greenctl: {error}") from error
    if replace(found, format=backup.format, world=backup.world) != backup:
        raise BackupUnusable(f"{source} is damaged: its manifest speaks of another database")


def trouble_with(path: Path, error: OSError, *, hint: str | None = None) -> GreenctlError:
    """Say in our own words why a file cannot be written; ``hint``: what helps where there is no room."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(f"no space left for {path}", hint=hint)
    return StoreUnavailable(f"{path} cannot be written: {error.strerror or error}", hint="Nothing was changed.")
