"""``greenctl restore``."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import Yes
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session

app = new_app()


@app.command(cls=Command)
def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What greenctl backup wrote.", show_default=False)],
    *,
    yes: Yes = False,
) -> None:
    """Put a backup in the place of the memory; nothing acts on it until you say so.

    Examples:
      greenctl controller stop && greenctl restore greenctl-2026-11-21.zip
      greenctl doctor --orphans                          what runs and is not in it
      greenctl doctor --orphans --accept-restored        go on from it

    The file is checked to the last byte first, and refused while a controller runs or when it is of another deployment.
    What was there is kept as a backup beside it. Afterwards nothing is launched, moved, routed anew or ended until
    --accept-restored: what was bought since the backup is not in it.
    """
    from orchestrator.cli.restoring import restore_file  # noqa: PLC0415  # --help needs none of it

    session = Session.of(ctx)
    done = restore_file(session, file, yes=yes)
    session.emit(restore=done)
    session.show(line(f"Restored the memory of {done.backup.made_at}. Nothing is acted on until you accept it:"))
    session.show(line(("  greenctl controller start && greenctl doctor --orphans --accept-restored", "bold")))
    if done.kept is not None:
        session.say(line(f"What was there is kept: {done.kept}"))
