"""Restoring a backup: checked and asked first, and done while this process holds the controller's lock."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.clocks import WORLD_FILE, SystemClock, anchored
from orchestrator.controller.lock import NO_TURN, DatabaseLock, Lock
from orchestrator.domain.time import format_instant
from orchestrator.errors import InvalidSettings, LeaseHeld
from orchestrator.settings import Settings
from orchestrator.store.address import parse_address
from orchestrator.store.backup import Backup, read_backup
from orchestrator.store.restore import Replaced, restore_backup


def restore_file(session: Session, file: Path, *, yes: bool) -> Replaced:
    """Check the backup, ask, and put it in place.

    Raises ``LeaseHeld`` while a controller runs, and ``InvalidSettings`` when the settings ask for another grid clock
    than the one that the backup's history was written by.
    """
    settings = session.settings
    running = session.outside.controller().info(settings)
    if running is not None:
        raise LeaseHeld(f"a controller runs (pid {running.pid}) and would act on what changes under it", hint=_STOP)
    found = read_backup(file)
    _compare_worlds(found, settings)
    services = f"{found.services} service{'' if found.services == 1 else 's'}"
    session.say(line(f"{file}: deployment {found.deployment_uid or 'none yet'}, {services}, as of {found.made_at}."))
    session.say(line("It takes the place of what is recorded now; that is kept beside it."))
    session.confirm("Type restore to continue:", yes=yes, answer="restore")
    lock = Lock(settings.state_dir)
    lock.take()
    path = parse_address(settings.store_url).path
    database_lock = None if path is None else DatabaseLock(path, settings.state_dir)
    try:
        if database_lock is not None:
            database_lock.take()
        wall = SystemClock().wall()
        lock.sign(format_instant(wall), NO_TURN)
        return restore_backup(
            settings.store_url,
            file,
            actor=session.outside.actor(),
            now=_clock(found, settings).now(),
            wall_at=wall,
            world_file=settings.state_dir / WORLD_FILE,
        )
    finally:
        if database_lock is not None:
            database_lock.release()
        lock.release()


def _clock(found: Backup, settings: Settings) -> SystemClock:
    """Return the clock that the restored history goes by; an older backup does not say, so it is the one from here."""
    if not found.tells_of_its_world:
        return anchored(settings.state_dir, settings.world.start, settings.world.rate)
    return SystemClock() if found.world is None else found.world.clock()


def _compare_worlds(found: Backup, settings: Settings) -> None:
    """Refuse a backup whose history would make no sense by the clock that is configured."""
    world, asked = found.world, settings.world
    if not found.tells_of_its_world or (world is None and asked.start is None):
        return
    here = "real time" if asked.start is None else f"{format_instant(asked.start)} at rate {asked.rate:g}"
    if world is None:
        raise InvalidSettings(
            f"the backup is of real time, and {here} is configured", hint="Leave GREENCTL_WORLD__START unset for it."
        )
    if not world.is_of(asked.start, asked.rate):
        raise InvalidSettings(
            f"the backup replays {world.grid_start} at rate {world.rate:g}, and {here} is configured",
            hint=f"Set GREENCTL_WORLD__START={world.grid_start} and GREENCTL_WORLD__RATE={world.rate:g} for it.",
        )


_STOP = "greenctl controller stop, then again. Replicas and gateway serve on meanwhile."
