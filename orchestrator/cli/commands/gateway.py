"""``greenctl gateway``."""

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import LOG_LINES, Follow, Lines
from orchestrator.cli.render import gateway as page
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.cli.show_log import show_log
from orchestrator.errors import GatewayUnavailable
from orchestrator.gateway.instance import log_path

app = new_app(
    """Start, stop and inspect the endpoint that clients talk to.

    Examples:
      greenctl gateway status
      greenctl gateway start
      greenctl gateway stop
    """
)


@app.command(cls=Command)
def start(ctx: typer.Context) -> None:
    """Start the gateway unless it runs; the controller does this by itself.

    Examples:
      greenctl gateway start
      GREENCTL_GATEWAY__PORT=9000 greenctl gateway start
    """
    session = Session.of(ctx)
    options = session.outside.gateway_options(session.settings)
    info = session.outside.gateway().start(options, progress=lambda words: session.say(line(words)))
    session.emit(gateway={"running": True, "info": info, "url": info.url})
    session.show(line(("The gateway runs", "green"), f" on {info.url}, pid {info.pid}, mode {info.mode}."))


@app.command(cls=Command)
def stop(ctx: typer.Context) -> None:
    """Stop the gateway; requests under way are finished first.

    Examples:
      greenctl gateway stop

    A running controller starts it again: stop that first (greenctl controller stop).
    """
    session = Session.of(ctx)
    if session.outside.controller().info(session.settings) is not None:
        session.say(line(("A controller runs and will start the gateway again.", "yellow")))
    ran = session.outside.gateway().stop(session.settings.state_dir)
    session.emit(gateway={"running": False, "stopped": ran})
    session.show(line("The gateway has stopped." if ran else "No gateway was running."))


@app.command(cls=Command)
def status(ctx: typer.Context) -> None:
    """Show what the gateway serves and has counted.

    Examples:
      greenctl gateway status
      greenctl gateway status --json

    The exit status is 4 when it does not run.
    """
    session = Session.of(ctx)
    info = session.outside.gateway().running(session.settings.state_dir)
    if info is None:
        raise GatewayUnavailable(f"no gateway runs on {session.settings.state_dir}", hint="greenctl gateway start")
    counted = session.run(session.runtime.gateway.status())
    session.emit(gateway={"running": True, "info": info, "url": info.url, "status": counted})
    session.show(page.render(info, counted, width=session.out.width))


@app.command(cls=Command)
def logs(ctx: typer.Context, *, lines: Lines = LOG_LINES, follow: Follow = False) -> None:
    """Show the gateway's log.

    Examples:
      greenctl gateway logs -n 50
      greenctl gateway logs -f
    """
    session = Session.of(ctx)
    show_log(
        session,
        log_path(session.settings.state_dir),
        lines=lines,
        follow=follow,
        about="gateway",
        hint="greenctl gateway start",
    )
