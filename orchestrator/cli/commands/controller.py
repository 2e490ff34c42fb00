"""``greenctl controller``."""

from typing import Annotated

import typer

from orchestrator.cli.acting import acting_elsewhere, in_words, last_word
from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import LOG_LINES, Follow, Lines, Timeout
from orchestrator.cli.render.facts import facts
from orchestrator.cli.render.headline import grid_time
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.cli.show_log import show_log
from orchestrator.domain.turns import Turn
from orchestrator.errors import ControllerUnavailable, GreenctlError

STOP_SECONDS = 30.0

app = new_app(
    """Start, stop and inspect the process that keeps services up.

    Examples:
      greenctl controller status
      greenctl controller start
      greenctl controller logs -f
    """
)


@app.command(cls=Command)
def start(
    ctx: typer.Context,
    *,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over", help="The controller of another host that was heard of lately is dead.", show_default=False
        ),
    ] = False,
) -> None:
    """Start the controller, and with it the gateway, unless one runs.

    Examples:
      greenctl controller start
      greenctl controller start --take-over              the host that ran it until now is known to be dead

    A deploy starts it by itself. It goes on after this command and after you log out. One database has one controller:
    while that of another host is heard of, none is started here.
    """
    session = Session.of(ctx)
    session.outside.controller().start(
        session.settings, progress=lambda words: session.say(line(words)), take_over=take_over
    )
    _show(session)


@app.command(cls=Command)
def stop(ctx: typer.Context, *, timeout: Timeout = None) -> None:
    """Stop the controller; replicas and the gateway go on serving.

    Examples:
      greenctl controller stop

    Nothing is replaced and nothing moves until it is started again.
    """
    session = Session.of(ctx)
    seconds = STOP_SECONDS if timeout is None else timeout.total_seconds()
    ran = session.outside.controller().stop(session.settings, timeout_seconds=seconds)
    session.emit(controller={"running": False, "stopped": ran})
    session.show(line("The controller has stopped; replicas go on serving." if ran else "No controller was running."))
    there = None if ran else _elsewhere(session)
    if there is not None:
        session.say(line((f"One runs elsewhere: {in_words(there)}. Stop it there.", "yellow")))


@app.command(cls=Command)
def status(ctx: typer.Context) -> None:
    """Say whether the controller runs, where, since when, and by which clock.

    Examples:
      greenctl controller status

    The exit status is 4 when none runs, neither here nor on another host that shares the database.
    """
    _show(Session.of(ctx))


@app.command(cls=Command)
def logs(ctx: typer.Context, *, lines: Lines = LOG_LINES, follow: Follow = False) -> None:
    """Show the controller's log.

    Examples:
      greenctl controller logs -n 50
      greenctl controller logs -f
    """
    session = Session.of(ctx)
    path = session.outside.controller().log_path(session.settings)
    show_log(session, path, lines=lines, follow=follow, about="controller", hint="greenctl controller start")


def _elsewhere(session: Session) -> Turn | None:
    """Return the one of another host; none, where the database cannot be asked."""
    try:
        return acting_elsewhere(session)
    except GreenctlError:
        return None


def _show(session: Session) -> None:
    info = session.outside.controller().info(session.settings)
    clock = session.runtime.clock
    if info is None:
        there = _elsewhere(session)
        if there is None:
            raise ControllerUnavailable(f"no controller runs on {session.settings.state_dir}{last_word(session)}")
        session.emit(
            controller={"running": True, "elsewhere": there, "grid_time": clock.now(), "clock_rate": clock.rate}
        )
        session.show(line(("The controller runs elsewhere", "green"), f": {in_words(there)}."))
        return
    session.emit(controller={"running": True, "info": info, "grid_time": clock.now(), "clock_rate": clock.rate})
    session.show(line(("The controller runs", "green"), f", pid {info.pid}, since {info.since}, epoch {info.epoch}."))
    session.show(facts(("Clock", grid_time(clock.now(), clock.rate)), ("Log", str(info.log_path))))
