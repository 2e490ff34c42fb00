"""``greenctl validate``."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.reading import say_notes
from orchestrator.cli.render import errors
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.errors import ExitStatus, InvalidSpec
from orchestrator.spec.service_file import load_service_file

app = new_app()


@app.command(cls=Command)
def validate(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Service files.", show_default=False)],
) -> None:
    """Check service files; nothing is contacted.

    Examples:
      greenctl validate service.yaml
      greenctl validate services/*.yaml --json

    Every problem is listed with its line and column, not only the first. The exit status is 2 when there is any.
    """
    session = Session.of(ctx)
    results: list[dict[str, object]] = []
    for file in files:
        try:
            loaded = load_service_file(file)
        except InvalidSpec as error:
            found = errors.document(error)
            results.append({"file": str(file), "valid": False, "problems": found["problems"]})
            for text in errors.problems(error):
                session.show(line((text, "red")))
        else:
            results.append(
                {
                    "file": str(file),
                    "valid": True,
                    "service": loaded.spec.name,
                    "spec_digest": loaded.digest,
                    "notes": loaded.notes,
                }
            )
            say_notes(session, file, loaded)
            session.show(line(("✓ ", "green"), f"{file}: {loaded.spec.name}, spec {loaded.digest[:12]}"))
    session.emit(files=results)
    count = sum(len(problems) for r in results if isinstance(problems := r.get("problems"), list))
    if count:
        session.say(line(f"{count} problem{'' if count == 1 else 's'}. Nothing was contacted."))
        raise typer.Exit(ExitStatus.INVALID)
