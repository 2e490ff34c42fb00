"""``greenctl doctor``."""

from typing import Annotated

import typer

from orchestrator.cli import orphans as orphan_work
from orchestrator.cli.diagnosis import diagnose
from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import Timeout, Yes
from orchestrator.cli.render import checks as page
from orchestrator.cli.render.checks import Outcome
from orchestrator.cli.session import Session
from orchestrator.errors import ExitStatus, UsageError

app = new_app()


@app.command(cls=Command)
def doctor(
    ctx: typer.Context,
    *,
    orphans: Annotated[
        bool,
        typer.Option("--orphans", help="List instances that nobody seems to own, provider by provider."),
    ] = False,
    reap: Annotated[
        bool,
        typer.Option("--reap", help="With --orphans: ask the controller to end those that may be ended."),
    ] = False,
    confirm: Annotated[
        list[str] | None,
        typer.Option("--confirm", metavar="NAME", help="With --reap: this one, whatever the hourly share; repeatable."),
    ] = None,
    accept_restored: Annotated[
        bool,
        typer.Option("--accept-restored", help="With --orphans: this database was set back, go on from it."),
    ] = False,
    yes: Yes = False,
    timeout: Timeout = None,
) -> None:
    """Check engine, gateway, controller, database, signals and orphans.

    Examples:
      greenctl doctor
      greenctl doctor --orphans                          what providers show beside what is recorded
      greenctl doctor --orphans --reap                   asks, then ends what may be ended
      greenctl doctor --orphans --reap --confirm gc-0f3a9c12-chat-5d41402abc
      greenctl doctor --json

    Packages, clocks, turns of controllers and pauses are looked at, too. Without --reap and --accept-restored nothing
    is changed. The exit status is 4 when a check failed or a listing cannot be used, and each says what to do. With
    --orphans it is 10 when there are any, 0 when all is accounted for; with --reap 10 when some were held back, and 3
    when the database looks restored from a backup.

    An orphan is ended only if it was suspected for 10 minutes, is known to have served nobody for 15, and carries our
    mark; at most a tenth of the fleet an hour, unless each is named.
    """
    session = Session.of(ctx)
    if orphans:
        asked = orphan_work.Asked(reap, tuple(confirm or ()), accept_restored, yes, timeout)
        orphan_work.run(session, asked)
        return
    if reap or confirm or accept_restored:
        raise UsageError("--reap, --confirm and --accept-restored go with --orphans", hint="greenctl doctor --orphans")
    checks = diagnose(session)
    session.emit(checks=checks)
    session.show(page.render(checks, width=session.out.width))
    if any(c.outcome is Outcome.FAILED for c in checks):
        raise typer.Exit(ExitStatus.PROVIDER)
