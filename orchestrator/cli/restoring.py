"""Restoring a backup: checked and asked first, and done while this process holds the controller's lock."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.clocks import SystemClock, anchored
from orchestrator.controller.lock import Lock
from orchestrator.domain.time import format_instant
from orchestrator.errors import LeaseHeld
from orchestrator.store.backup import Replaced, read_backup, restore_backup

NO_TURN = 0


def restore_file(session: Session, file: Path, *, yes: bool) -> Replaced:
    """Check the backup, ask, and put it in place. Raises ``LeaseHeld`` while a controller runs."""
    settings = session.settings
    running = session.outside.controller().info(settings)
    if running is not None:
        raise LeaseHeld(f"a controller runs (pid {running.pid}) and would act on what changes under it", hint=_STOP)
    found = read_backup(file)
    services = f"{found.services} service{'' if found.services == 1 else 's'}"
    session.say(line(f"{file}: deployment {found.deployment_uid or 'none yet'}, {services}, as of {found.made_at}."))
    session.say(line("It takes the place of what is recorded now; that is kept beside it."))
    session.confirm("Type restore to continue:", yes=yes, answer="restore")
    lock = Lock(settings.state_dir)
    lock.take()
    try:
        wall = SystemClock().wall()
        lock.sign(format_instant(wall), NO_TURN)
        now = anchored(settings.state_dir, settings.world.start, settings.world.rate).now()
        return restore_backup(settings.store_url, file, actor=session.outside.actor(), now=now, wall_at=wall)
    finally:
        lock.release()


_STOP = "greenctl controller stop, then again. Replicas and gateway serve on meanwhile."
