"""``greenctl resume``."""

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import MaybeServiceName
from orchestrator.cli.pausing import Reason, set_paused
from orchestrator.cli.session import Session

app = new_app()


@app.command(cls=Command)
def resume(ctx: typer.Context, service: MaybeServiceName = None, *, reason: Reason = "") -> None:
    """Take back a pause, of one service or the one of everything.

    Examples:
      greenctl resume                                    what greenctl pause alone has paused
      greenctl resume chat --reason "incident 42 is over"

    Without SERVICE, services that were paused by their own names stay so, and are listed. A service is held as long as
    it or everything is paused.
    """
    session = Session.of(ctx)
    session.emit(pause=set_paused(session, service, paused=False, reason=reason))
