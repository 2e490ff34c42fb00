"""``greenctl history``."""

from typing import Annotated

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import ServiceName
from orchestrator.cli.render import history as page
from orchestrator.cli.render.labels import labels
from orchestrator.cli.session import Session
from orchestrator.control.runtime import Runtime
from orchestrator.domain.records import Event
from orchestrator.errors import UnknownService

ROWS_SHOWN = 40
DECISIONS_READ = 1000
PAGE = 1000

app = new_app()


@app.command(cls=Command)
def history(
    ctx: typer.Context,
    service: ServiceName,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=0, help="Rows; 0 for all.")] = ROWS_SHOWN,
) -> None:
    """List what happened to a service and what was decided.

    Examples:
      greenctl history chat
      greenctl history chat --limit 0                    from the beginning
      greenctl history chat --json

    Events, decisions and placements in one line of time (the grid's, where a recorded one is replayed). Each decision
    has an id for greenctl explain.
    """
    session = Session.of(ctx)
    runtime = session.runtime
    if runtime.store.service(service) is None:
        raise UnknownService(f"no service {service!r}")
    events = _all_events(runtime, service)
    decisions = runtime.store.decisions(service, limit=DECISIONS_READ)
    placements = runtime.store.placements(service)
    pauses = [p for p in runtime.store.pauses(in_force=False) if p.service in {"", service}]
    document = {"service": service, "events": events, "decisions": decisions, "placements": placements}
    session.emit(history=document | {"pauses": pauses})
    names = labels(runtime.store.replicas(service, ended=True))
    rows = page.timeline(events, decisions, placements, names, pauses)
    session.show(page.render(service, rows, width=session.out.width, limit=limit, rate=runtime.clock.rate))


def _all_events(runtime: Runtime, service: str) -> list[Event]:
    found: list[Event] = []
    while page_of_events := runtime.store.events(service, after_id=found[-1].id if found else 0, limit=PAGE):
        found += page_of_events
    return found
