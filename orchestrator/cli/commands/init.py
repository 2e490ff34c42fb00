"""``greenctl init``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.spec.scaffold import scaffold

DEFAULT_MODEL = "greenctl/tiny"

app = new_app()


@app.command(cls=Command)
def init(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder for the files; made if missing.")] = Path(),
    *,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the service; the folder's name without it.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="Model to serve; greenctl/tiny is made here, random and small.")
    ] = DEFAULT_MODEL,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.", show_default=False)] = False,
) -> None:
    """Write a service file to start from.

    Examples:
      greenctl init chat                                 chat/service.yaml and its editor schema
      greenctl init chat --model Qwen/Qwen3-8B           another model
      greenctl init . --name assistant --force           here, replacing what is there

    The file holds every block that people usually change, each with its default and a comment. A file that exists is
    left alone unless --force is given.
    """
    session = Session.of(ctx)
    chosen = name or directory.resolve().name
    written = scaffold(directory, chosen, model, force=force)
    session.emit(files=list(written), service=chosen, model=model)
    for path in written:
        session.show(line(("  created  ", "green"), str(path)))
    spec = next((p for p in written if p.name == "service.yaml"), directory / "service.yaml")
    session.say(line("Next: ", (f"greenctl plan {shlex.quote(str(spec))}", "bold")))
