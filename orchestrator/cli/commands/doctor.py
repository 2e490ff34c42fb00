"""``greenctl doctor``."""

import typer

from orchestrator.cli.diagnosis import diagnose
from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.render import checks as page
from orchestrator.cli.render.checks import Outcome
from orchestrator.cli.session import Session
from orchestrator.errors import ExitStatus

app = new_app()


@app.command(cls=Command)
def doctor(ctx: typer.Context) -> None:
    """Check engine, gateway, controller, database, signals and orphans.

    Examples:
      greenctl doctor
      greenctl doctor --json

    Nothing is changed. The exit status is 4 when a check failed, and each one that did says what to do.
    """
    session = Session.of(ctx)
    checks = diagnose(session)
    session.emit(checks=checks)
    session.show(page.render(checks, width=session.out.width))
    if any(c.outcome is Outcome.FAILED for c in checks):
        raise typer.Exit(ExitStatus.PROVIDER)
