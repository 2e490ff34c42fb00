"""Putting a backup in the place of the memory: in one step, keeping what was there, with the brake on.

A sound database is replaced within one transaction. A damaged one, or none, makes room by its name: at every moment
one whole file has it, and none that an old log would be replayed into.
"""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import update

from orchestrator.clocks import World, world_of
from orchestrator.domain.records import EventKind
from orchestrator.errors import Conflict, InvalidSettings, StoreIncompatible, StoreUnavailable
from orchestrator.store import tables
from orchestrator.store.address import parse_address
from orchestrator.store.backup import (
    DATABASE,
    WITHOUT_LINKS,
    Backup,
    Damaged,
    copy_whole,
    facts_of,
    opened,
    sqlite_file,
    trouble_with,
    unpack,
    write_backup,
    write_out,
)
from orchestrator.store.database import Database
from orchestrator.store.faults import give_up_if_busy, sqlite_trouble
from orchestrator.store.files import PRIVATE_FILE, prepare_file, put_in_place, refuse_place, sync_names
from orchestrator.store.schema import bring_up_to_date
from orchestrator.store.sql import SqlStore

KEPT = "before-restore"
LOGS = ("-wal", "-shm", "-journal")
UNDER_WAY = b"greenctl restore has begun and not ended: run it again\n".ljust(4096, b"\n")
"""Stands in a database's place while nothing else may; SQLite refuses it, so nobody begins a new memory there."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
PRIMARY_CODE = 0xFF
"""SQLite's extended result codes keep the primary code in the low byte (sqlite.org/rescode.html)."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a restore did. ``kept``: a backup of what was there; ``turn``: the one that somebody has to accept."""

    backup: Backup
    kept: Path | None
    turn: int


def restore_backup(
    url: str, source: Path, *, actor: str, now: datetime, wall_at: datetime, world_file: Path | None = None
) -> Replaced:
    """Put a backup in the place of the database, in one step; whoever acts must have been stopped before.

    A sound database is replaced in one transaction and kept as a backup beside it; one that cannot be read is kept as
    it is, and the new one takes its name. ``world_file``: where the grid's clock is kept. It is put there while nothing
    can act: before there is a database that can be read, or when the one that is there has its brake on. An older
    schema is brought up to date first. Raises ``UsageError`` for PostgreSQL, ``BackupUnusable``, ``Conflict`` when the
    database here is in use by another deployment, ``StoreUnavailable`` and ``DiskFull``, having changed nothing; what
    was kept until then stays beside it, and the same may be asked for again.
    """
    path = sqlite_file(url)
    prepare_parent(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".greenctl-restore-") as folder:
            copy = Path(folder) / DATABASE
            backup = unpack(source, copy)
            logs = _hold_logs(path, Path(folder))
            here = _what_is_here(path)
            _refuse_foreign(backup, here, path)
            turn = _put_on_the_brake(
                copy, max(backup.epoch, 0 if here is None else here.epoch), backup, actor, now, wall_at
            )
            world = world_file if backup.tells_of_its_world else None
            if here is None:
                refuse_place(path)
                kept = _keep_damaged(path, logs, turn)
                _put_world(backup.world, world, turn)
                _take_the_name(copy, path)
            else:
                kept = _keep_sound(url, path, turn, wall_at, world_file)
                prepare_file(path)
                _copy_over(copy, path)
                _put_world(backup.world, world, turn)
    except sqlite3.Error as error:
        raise sqlite_trouble(f"the database {path} cannot be replaced", path, error) from error
    except OSError as error:
        raise trouble_with(path, error) from error
    return Replaced(backup, kept, turn)


def prepare_parent(path: Path) -> None:
    """Make the folder of a database. Raises ``StoreUnavailable``."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{path.parent} cannot be made: {error.strerror or error}") from error


# ── putting one back ─────────────────────────────────────────────────────────────────────────────────


def _what_is_here(path: Path) -> Backup | None:
    """Return what the present database is; ``None`` where there is none, or a damaged one.

    Raises ``StoreIncompatible`` when it is somebody else's, ``StoreUnavailable`` while it is locked.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return None
    try:
        with _copied(path) as copy:
            return facts_of(copy, EPOCH)
    except Damaged:
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
        copy_whole(path, copy)
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
    """Keep what is there as a backup, beside the one that a try before this may have kept."""
    kept = _free_name(path.with_name(f"{path.name}.{KEPT}-{turn}.zip"))
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
        write_out(path, other)


def _put_world(world: World | None, file: Path | None, turn: int) -> None:
    """Put the grid's clock in place, or none; another one that is there is kept beside it."""
    if file is None:
        return
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
    """Replace every page in one transaction: whoever reads meanwhile sees the old one or the new one.

    Raises ``sqlite3.Error``, also when somebody goes on writing for longer than our patience.
    """
    with closing(opened(copy)) as new, closing(opened(path)) as old:
        new.backup(old, progress=give_up_if_busy)
