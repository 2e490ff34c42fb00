"""``greenctl backup``."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session

BYTES_PER_KIB = 1024

app = new_app()


@app.command(cls=Command)
def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; must not exist.", show_default=False)],
) -> None:
    """Copy the memory to a file, while everything runs.

    Examples:
      greenctl backup greenctl-2026-11-21.zip
      greenctl backup /mnt/backups/monday.zip --json

    Services, requests, decisions, history, energy: everything as one moment saw it, checked before it is written, and
    the clock of a replayed grid. The file holds no key and no value of a secret; only you may read it. With PostgreSQL,
    use pg_dump.
    """
    from orchestrator.clocks import SystemClock, world_of  # noqa: PLC0415  # --help needs neither
    from orchestrator.store.backup import write_backup  # noqa: PLC0415  # as above

    session = Session.of(ctx)
    settings = session.settings
    made = write_backup(settings.store_url, file, made_at=SystemClock().wall(), world=world_of(settings.state_dir))
    session.emit(backup={"file": file, **session.outside.plain(made)})  # type: ignore[dict-item]  # a mapping
    services = f"{made.services} service{'' if made.services == 1 else 's'}"
    size = made.size_bytes // BYTES_PER_KIB
    session.show(line(f"{file}: {services}, turn {made.epoch}, schema {made.schema}, {size:,} KiB unpacked."))
    session.say(line("Put it back with: ", (f"greenctl restore {file}", "bold")))
