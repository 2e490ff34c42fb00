"""``greenctl status``."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from orchestrator.cli.acting import is_acting, last_word
from orchestrator.cli.endpoint import say_if_elsewhere
from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import MaybeServiceName
from orchestrator.cli.render import journal, orphans, pauses
from orchestrator.cli.render import status as page
from orchestrator.cli.render.headline import grid_time
from orchestrator.cli.render.text import Escaped, line
from orchestrator.cli.session import Session
from orchestrator.cli.unread import say_unread, unread
from orchestrator.control.usecases import service_status
from orchestrator.control.views import ServiceStatus
from orchestrator.domain.orphans import SuspectKind
from orchestrator.domain.records import Pause, ServiceState
from orchestrator.errors import UsageError

REDRAW_SECONDS = 2.0
_START = ("greenctl controller start", "bold")

app = new_app()


@app.command(cls=Command)
def status(
    ctx: typer.Context,
    service: MaybeServiceName = None,
    *,
    replicas: Annotated[
        bool, typer.Option("--replicas", help="A row per replica as well; always so for one service.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Redraw until Ctrl-C.", show_default=False)] = False,
) -> None:
    """Show services and replicas: state, grid, money.

    Examples:
      greenctl status                                    every service that is not down
      greenctl status chat                               one service with its replicas
      greenctl status -w                                 redraw every two seconds

    gCO2e/h and $/h are what is drawn and paid now; a sum with an unknown part is unknown, and the reason stands below.
    """
    session = Session.of(ctx)
    if watch:
        _watch(session, service, detailed=replicas or service is not None)
        return
    found = session.run(service_status(session.runtime, service))
    strangers = [s for s in session.runtime.store.suspects() if s.kind is SuspectKind.STRANGER]
    passed = unread(session)
    say_unread(session, passed)
    say_if_elsewhere(session)
    store = session.runtime.store
    document = {"services": found, "suspects": strangers, "restored": store.restored()}
    document["controller_runs"] = is_acting(session)
    session.emit(**document, unread_signals=passed, journal_edits=store.glance_at_journal())
    session.show(_page(session, found, detailed=replicas or service is not None))


def _page(session: Session, found: Sequence[ServiceStatus], *, detailed: bool) -> RenderableType:
    rate, width = session.runtime.clock.rate, session.out.width
    parts: list[RenderableType] = []
    if rate != 1.0:
        parts.append(line((grid_time(session.runtime.clock.now(), rate), "dim")))
    down = [s.name for s in session.runtime.store.services() if s.state is ServiceState.DOWN] if not found else []
    parts.append(page.services(found, width=width, rate=rate, down=down))
    if detailed:
        for one in found:
            parts += [Text(""), page.replicas(one, width=width, rate=rate)]
    if found and not is_acting(session):
        parts.append(_nobody_acts(session))
    parts += pauses.in_force(_pauses(session, found))
    store = session.runtime.store
    suspects = orphans.suspects_line(store.suspects(), store.restored())
    if suspects is not None:
        parts.append(suspects)
    edits = journal.edits_line(store.glance_at_journal(), store.journal_marks())
    if edits is not None:
        parts.append(edits)
    return Group(*parts)


def _nobody_acts(session: Session) -> Text:
    """What serves goes on without a controller; the picture above is then of a moment that may be long ago."""
    where = f"No controller runs on {session.settings.state_dir}"
    return line(
        (f"{where}{last_word(session)}: ", "yellow"), "nothing is replaced, moved or begun. Start one: ", _START
    )


def _pauses(session: Session, found: Sequence[ServiceStatus]) -> list[Pause]:
    """Return the words about what is shown; the one about everything also where nothing is up."""
    shown = {"", *(s.service.name for s in found)}
    return [p for p in session.runtime.store.pauses() if p.service in shown]


def _watch(session: Session, service: str | None, *, detailed: bool) -> None:
    if session.as_json or not session.out.is_terminal:
        raise UsageError("--watch redraws a terminal, and this is none", hint="Call greenctl status again instead.")

    async def redraw() -> None:
        with Live(console=session.out, auto_refresh=False, screen=False) as live:
            while True:
                found = await service_status(session.runtime, service)
                live.update(Escaped(_page(session, found, detailed=detailed)), refresh=True)
                await session.runtime.clock.sleep(REDRAW_SECONDS)

    session.run(redraw())
