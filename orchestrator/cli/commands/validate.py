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
from orchestrator.spec.policy_file import is_policy_file, load_policy_file
from orchestrator.spec.service_file import load_service_file

app = new_app()


@app.command(cls=Command)
def validate(
    ctx: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Service or policy files.", show_default=False)
    ],
) -> None:
    """Check service and policy files; nothing is contacted.

    Examples:
      greenctl validate service.yaml policy.yaml
      greenctl validate services/*.yaml --json

    Every problem is listed with its line and column, not only the first. The exit status is 2 when there is any.
    """
    session = Session.of(ctx)
    results = [_check(session, file) for file in files]
    session.emit(files=results)
    count = sum(len(problems) for r in results if isinstance(problems := r.get("problems"), list))
    if count:
        session.say(line(f"{count} problem{'' if count == 1 else 's'}. Nothing was contacted."))
        raise typer.Exit(ExitStatus.INVALID)


def _check(session: Session, file: Path) -> dict[str, object]:
    """Check one file and say what was found; a policy file is recognised by its ``kind``."""
    try:
        if is_policy_file(file):
            policy = load_policy_file(file).policy
            session.show(line(("✓ ", "green"), f"{file}: policy {policy.name}"))
            return {"file": str(file), "valid": True, "policy": policy.name}
        loaded = load_service_file(file)
    except InvalidSpec as error:
        for text in errors.problems(error):
            session.show(line((text, "red")))
        return {"file": str(file), "valid": False, "problems": errors.document(error)["problems"]}
    say_notes(session, file, loaded)
    session.show(line(("✓ ", "green"), f"{file}: {loaded.spec.name}, spec {loaded.digest[:12]}"))
    return {
        "file": str(file),
        "valid": True,
        "service": loaded.spec.name,
        "spec_digest": loaded.digest,
        "notes": loaded.notes,
    }
