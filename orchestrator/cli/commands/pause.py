"""``greenctl pause``."""

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import MaybeServiceName
from orchestrator.cli.pausing import Reason, set_paused
from orchestrator.cli.session import Session

app = new_app()


@app.command(cls=Command)
def pause(ctx: typer.Context, service: MaybeServiceName = None, *, reason: Reason = "") -> None:
    """Hold whatever is voluntary, of one service or of all.

    Examples:
      greenctl pause                                     everything, also what is deployed later
      greenctl pause chat --reason "incident 42"
      greenctl status                                    says who paused what, when and why

    No replica moves, none that serves is ended, a rollout stays where it stands, and deploy and migrate are refused.
    Requests are served on; what is lost is replaced and what load needs is launched. greenctl down still works. It
    holds from the next look on, over restarts of the controller and without one. Pausing twice is pausing once.
    """
    session = Session.of(ctx)
    session.emit(pause=set_paused(session, service, paused=True, reason=reason))
