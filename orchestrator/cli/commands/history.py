"""``greenctl history``."""

from typing import Annotated

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import MaybeServiceName
from orchestrator.cli.render import audit
from orchestrator.cli.render import history as page
from orchestrator.cli.render.labels import labels
from orchestrator.cli.session import Session
from orchestrator.control.audit import audit_trail
from orchestrator.control.runtime import Runtime
from orchestrator.domain.records import Event
from orchestrator.errors import UnknownService, UsageError

ROWS_SHOWN = 40
DECISIONS_READ = 1000
"""For a page that shows the last rows only."""

ALL = 2**31 - 1
PAGE = 1000

app = new_app()


@app.command(cls=Command)
def history(
    ctx: typer.Context,
    service: MaybeServiceName = None,
    *,
    actors: Annotated[
        bool, typer.Option("--actors", help="Every action with who is behind it and why; of all services without one.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=0, help="Rows; 0 for all.")] = ROWS_SHOWN,
) -> None:
    """List what happened to a service and what was decided.

    Examples:
      greenctl history chat
      greenctl history chat --limit 0                    from the beginning
      greenctl history chat --actors                     who did what, and why
      greenctl history --actors --json                   everybody's actions on everything

    Events, decisions and placements in one line of time (the grid's, where a recorded one is replayed). Each decision
    has an id for greenctl explain. With --actors: requests, pauses, reaps, restores and turns of controllers, and each
    launch and end of an instance, traced back to the request or decision that it follows from.
    """
    session = Session.of(ctx)
    if actors:
        _show_actors(session, service, limit)
        return
    if service is None:
        raise UsageError("history needs the name of a service", hint="greenctl history --actors shows all of them.")
    runtime = session.runtime
    if runtime.store.service(service) is None:
        raise UnknownService(f"no service {service!r}")
    events = _all_events(runtime, service)
    decisions = runtime.store.decisions(
        service, limit=max(limit, DECISIONS_READ) if limit and not session.as_json else ALL
    )
    placements = runtime.store.placements(service)
    pauses = [p for p in runtime.store.pauses(in_force=False) if p.service in {"", service}]
    resting = runtime.store.resting_days(service)
    document = {"service": service, "events": events, "decisions": decisions, "placements": placements}
    session.emit(history=document | {"pauses": pauses, "resting_days": resting})
    names = labels(runtime.store.replicas(service, ended=True))
    rows = page.timeline(events, decisions, placements, names, pauses, resting)
    session.show(page.render(service, rows, width=session.out.width, limit=limit, rate=runtime.clock.rate))


def _show_actors(session: Session, service: str | None, limit: int) -> None:
    found = audit_trail(session.runtime, service)
    session.emit(actions=found)
    names = labels(session.runtime.store.replicas(service, ended=True)) if service else {}
    session.show(audit.render(service, found, names, width=session.out.width, limit=limit))


def _all_events(runtime: Runtime, service: str) -> list[Event]:
    found: list[Event] = []
    while page_of_events := runtime.store.events(service, after_id=found[-1].id if found else 0, limit=PAGE):
        found += page_of_events
    return found
