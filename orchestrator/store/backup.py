"""Copies of a SQLite memory: taken while it is in use, checked to the last byte before one replaces anything.

A backup is a ZIP archive of two files: the database as one transaction saw it, and a manifest that says whose it is,
and by which grid clock its history was written where that is not the machine's.
It holds what the database holds: names of secrets, never their values. A restored database begins with the brake of
decision 0014 on: machines that were bought since the backup are not in it, so nothing is done until somebody accepts
that. PostgreSQL has its own tools for all of this.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import update

from orchestrator.clocks import World, world_of
from orchestrator.domain.records import EventKind
from orchestrator.domain.time import format_instant
from orchestrator.errors import (
    BackupUnusable,
    Conflict,
    DiskFull,
    GreenctlError,
    InvalidSettings,
    StoreIncompatible,
    StoreUnavailable,
    UsageError,
    WouldOverwrite,
)
from orchestrator.store import tables
from orchestrator.store.address import parse_address
from orchestrator.store.database import PATIENCE_SECONDS, Database
from orchestrator.store.files import PRIVATE_FILE, prepare_file, put_in_place, refuse_place, sync_names
from orchestrator.store.schema import HEAD, VERSION_TABLE, bring_up_to_date
from orchestrator.store.sql import SqlStore

FORMAT = 2
FORMATS = frozenset({1, FORMAT})
"""Format 1 does not tell of the grid's clock."""

MANIFEST, DATABASE = "manifest.json", "greenctl.db"
CHUNK_BYTES = 1 << 20
LARGEST_MANIFEST_BYTES = 1 << 16
KEPT = "before-restore"
LOGS = ("-wal", "-shm", "-journal")
UNDER_WAY = b"greenctl restore has begun and not ended: run it again\n".ljust(4096, b"\n")
"""Stands in a database's place while nothing else may; SQLite refuses it, so nobody begins a new memory there."""

WITHOUT_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What a file system without hard links answers (link(2))."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
PRIMARY_CODE = 0xFF
"""SQLite's extended result codes keep the primary code in the low byte (sqlite.org/rescode.html)."""


class _Damaged(StoreUnavailable):
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


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a restore did. ``kept``: a backup of what was there; ``turn``: the one that somebody has to accept."""

    backup: Backup
    kept: Path | None
    turn: int


def write_backup(url: str, target: Path, *, made_at: datetime, world: World | None = None) -> Backup:
    """Copy the database as it is now, beside whoever uses it; ``target`` is complete, or not there.

    ``world``: the clock that its history goes by, ``None`` for the machine's.
    Raises ``UsageError`` for PostgreSQL, ``WouldOverwrite``, ``StoreUnavailable`` without a database or when it is
    damaged, ``DiskFull``.
    """
    source = _sqlite_file(url)
    if target.exists() or target.is_symlink():
        raise WouldOverwrite(f"{target} is there already", hint="Choose another name; nothing was written.")
    if not source.is_file():
        raise StoreUnavailable(f"there is no database at {source} yet", hint="A deploy makes one.")
    try:
        with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".greenctl-backup-") as folder:
            copy = Path(folder) / DATABASE
            _copy(source, copy)
            backup = replace(_facts(copy, made_at), world=world)
            archive = Path(folder) / "archive"
            _pack(archive, copy, backup)
            _place(archive, target)
    except FileExistsError as error:
        raise WouldOverwrite(f"{target} is there already", hint="Choose another name.") from error
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database {source} cannot be copied: {error}") from error
    except OSError as error:
        raise _writing(target, error) from error
    return backup


def read_backup(source: Path) -> Backup:
    """Check a backup to the last byte and say what it is. Raises ``BackupUnusable``, ``DiskFull``."""
    with tempfile.TemporaryDirectory(prefix="greenctl-backup-") as folder:
        return _unpack(source, Path(folder) / DATABASE)


def restore_backup(
    url: str, source: Path, *, actor: str, now: datetime, wall_at: datetime, world_file: Path | None = None
) -> Replaced:
    """Put a backup in the place of the database, in one step; whoever acts must have been stopped before.

    A sound database is replaced in one transaction and kept as a backup beside it; one that cannot be read is kept as
    it is, and the new one takes its name. ``world_file``: where the grid's clock is kept; it is put there first, so
    that nobody gives the history another one. An older schema is brought up to date first. Raises ``UsageError`` for
    PostgreSQL, ``BackupUnusable``, ``Conflict`` when the database here is in use by another deployment,
    ``StoreUnavailable`` and ``DiskFull``, having changed nothing that serves.
    """
    path = _sqlite_file(url)
    prepare_parent(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".greenctl-restore-") as folder:
            copy = Path(folder) / DATABASE
            backup = _unpack(source, copy)
            logs = _hold_logs(path, Path(folder))
            here = _what_is_here(path)
            _refuse_foreign(backup, here, path)
            turn = _put_on_the_brake(
                copy, max(backup.epoch, 0 if here is None else here.epoch), backup, actor, now, wall_at
            )
            if here is None:
                refuse_place(path)
            kept = _keep_sound(url, path, turn, wall_at, world_file) if here else _keep_damaged(path, logs, turn)
            if world_file is not None and backup.tells_of_its_world:
                _put_world(backup.world, world_file, turn)
            if here is None:
                _take_the_name(copy, path)
            else:
                prepare_file(path)
                _copy_over(copy, path)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database {path} cannot be replaced: {error}") from error
    except OSError as error:
        raise _writing(path, error) from error
    return Replaced(backup, kept, turn)


def prepare_parent(path: Path) -> None:
    """Make the folder of a database. Raises ``StoreUnavailable``."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{path.parent} cannot be made: {error.strerror or error}") from error


# ── taking one ───────────────────────────────────────────────────────────────────────────────────────


def _sqlite_file(url: str) -> Path:
    path = parse_address(url).path
    if path is None:
        raise UsageError(
            "the database is PostgreSQL, which has better tools for this",
            hint="pg_dump --format=custom --file=FILE, and pg_restore --clean while no controller runs.",
        )
    return path


def _copy(source: Path, copy: Path) -> None:
    """Copy as one reader sees it, into a single file that needs no log beside it (sqlite.org/backup.html)."""
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE_FILE))
    with closing(_opened(source)) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)
        new.execute("PRAGMA journal_mode = DELETE")
        _check_whole(new, copy.name)


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE_SECONDS)


def _check_whole(connection: sqlite3.Connection, name: str) -> None:
    """Raise ``_Damaged`` unless the database is sound and every row has what it points to."""
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise _Damaged(f"the database {name} is damaged: {verdict}")
    broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    if broken is not None:
        raise _Damaged(f"the database {name} is damaged: rows of {broken[0]} lack their {broken[2]}")


def _facts(copy: Path, made_at: datetime) -> Backup:
    with closing(_opened(copy)) as connection:
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
        _write_out(archive, target)


def _write_out(archive: Path, target: Path) -> None:
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


def _unpack(source: Path, copy: Path) -> Backup:
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
        with closing(_opened(copy)) as connection:
            _check_whole(connection, DATABASE)
        found = _facts(copy, datetime.fromisoformat(backup.made_at))
    except (sqlite3.Error, ValueError, StoreUnavailable) as error:
        raise BackupUnusable(f"{source} holds no sound database of greenctl: {error}") from error
    if replace(found, format=backup.format, world=backup.world) != backup:
        raise BackupUnusable(f"{source} is damaged: its manifest speaks of another database")


# ── putting one back ─────────────────────────────────────────────────────────────────────────────────


def _what_is_here(path: Path) -> Backup | None:
    """Return what the present database is; ``None`` where there is none, or a damaged one.

    Raises ``StoreIncompatible`` when it is somebody else's, ``StoreUnavailable`` while it is locked.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return None
    try:
        with _copied(path) as copy:
            return _facts(copy, EPOCH)
    except _Damaged:
        return None
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE
        if code in DAMAGED:
            return None
        if "no such table" in str(error):
            raise StoreIncompatible(
                f"{path} is a database of something else", hint="Set another GREENCTL_STATE_DIR; nothing was changed."
            ) from error
        raise


@contextmanager
def _copied(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".greenctl-look-") as folder:
        copy = Path(folder) / DATABASE
        _copy(path, copy)
        yield copy


def _refuse_foreign(backup: Backup, here: Backup | None, path: Path) -> None:
    if here is not None and here.services and here.deployment_uid != backup.deployment_uid:
        raise Conflict(
            f"the backup is of deployment {backup.deployment_uid}, and {path} serves {here.deployment_uid}",
            hint="Set another GREENCTL_STATE_DIR for it, or move the database away; nothing was changed.",
        )


def _put_on_the_brake(copy: Path, newest: int, backup: Backup, actor: str, now: datetime, wall_at: datetime) -> int:
    """Bring the copy up to date and give it a turn that nobody had, with the sign that it was set back.

    Turns go on from the newest of both: whoever slept through the restore can write no more.
    """
    database = Database(parse_address(f"sqlite:///{copy}"))
    try:
        bring_up_to_date(database)
        database.write(lambda tx: tx.execute(update(tables.deployment).values(epoch=newest)))
    finally:
        database.close()
    with SqlStore(f"sqlite:///{copy}") as store:
        journal = store.claim(f"restored by {actor}", now)
        journal.set_restored(seen_epoch=journal.epoch)
        text = f"{actor} restored the backup of {backup.made_at}: nothing is done until somebody accepts it"
        detail = json.dumps({"actor": actor, "backup": asdict(backup), "turn": journal.epoch}, sort_keys=True)
        journal.record_event(
            EventKind.WARNING,
            f"{text}: greenctl doctor --orphans",
            service="",
            at=now,
            wall_at=wall_at,
            detail_json=detail,
        )
        return journal.epoch


def _hold_logs(path: Path, folder: Path) -> Mapping[str, Path]:
    """Give what lies beside a database a second name: SQLite takes logs away when it has looked, sound or not."""
    held = {}
    for suffix in LOGS:
        with suppress(FileNotFoundError):
            _name_too(path.with_name(path.name + suffix), folder / f"held{suffix}")
            held[suffix] = folder / f"held{suffix}"
    return held


def _keep_sound(url: str, path: Path, turn: int, made_at: datetime, world_file: Path | None) -> Path:
    """Keep what is there as a backup."""
    kept = path.with_name(f"{path.name}.{KEPT}-{turn}.zip")
    write_backup(url, kept, made_at=made_at, world=_world_here(world_file))
    return kept


def _keep_damaged(path: Path, logs: Mapping[str, Path], turn: int) -> Path | None:
    """Keep what nobody can read as it is, under another name; it stays where it is, too."""
    if not path.exists() or path.stat().st_size == 0 or _is_under_way(path):
        return None
    aside = _free_name(path.with_name(f"{path.name}.{KEPT}-{turn}.damaged"))
    _name_too(path, aside)
    for suffix, log in logs.items():
        _name_too(log, aside.with_name(aside.name + suffix))
    sync_names(path.parent)
    return aside


def _is_under_way(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(UNDER_WAY)) == UNDER_WAY


def _world_here(world_file: Path | None) -> World | None:
    """Return the clock that is here; a damaged one is kept as a file, see :func:`_put_world`."""
    try:
        return None if world_file is None else world_of(world_file.parent)
    except InvalidSettings:
        return None


def _free_name(path: Path) -> Path:
    """Return the name, or the next of its kind that nothing has: what was kept before stays as well."""
    return next(
        p for n in itertools.count() if not (p := path.with_name(f"{path.name}.{n}" if n else path.name)).exists()
    )


def _name_too(path: Path, other: Path) -> None:
    """Give a file a second name, or a copy where files have one name only."""
    try:
        os.link(path, other)
    except OSError as error:
        if error.errno not in WITHOUT_LINKS:
            raise
        _write_out(path, other)


def _put_world(world: World | None, file: Path, turn: int) -> None:
    """Put the grid's clock in place, or none; another one that is there is kept beside it."""
    if file.exists():
        if _world_here(file) == world:
            return
        _name_too(file, _free_name(file.with_name(f"{file.name}.{KEPT}-{turn}")))
    if world is None:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".greenctl-world-") as folder:
        draft = Path(folder) / file.name
        draft.write_text(world.text)
        draft.chmod(PRIVATE_FILE)
        put_in_place(draft, file)


def _take_the_name(copy: Path, path: Path) -> None:
    """Put the copy where there is no database, or a damaged one: by its name, so that it is whole or not there.

    The log of a damaged one would be replayed into the copy (sqlite.org/howtocorrupt.html, "mispairing database files
    and hot journals"), so it goes first, and what it belongs to before it.
    """
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    logs = [log for suffix in LOGS if (log := path.with_name(path.name + suffix)).exists()]
    if logs:
        between = copy.with_name("under-way")
        between.write_bytes(UNDER_WAY)
        put_in_place(between, path)
        for log in logs:
            log.unlink()
        sync_names(path.parent)
    put_in_place(copy, path)


def _copy_over(copy: Path, path: Path) -> None:
    """Replace every page in one transaction: whoever reads meanwhile sees the old one or the new one."""
    with closing(_opened(copy)) as new, closing(_opened(path)) as old:
        new.backup(old)


def _writing(path: Path, error: OSError) -> GreenctlError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(f"no space left for {path}")
    return StoreUnavailable(f"{path} cannot be written: {error.strerror or error}", hint="Nothing was changed.")
