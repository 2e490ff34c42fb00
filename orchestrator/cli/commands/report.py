"""``greenctl report``."""

from datetime import datetime
from typing import Annotated, Final

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import ServiceName
from orchestrator.cli.render import report as page
from orchestrator.cli.session import Session
from orchestrator.control.usecases import service_report
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.errors import UsageError
from orchestrator.ledger.report import period_of

YEARS: Final = range(1970, 2200)
"""Nothing is recorded of others, and near the ends of the calendar days before and after cannot be counted."""

app = new_app()


def _instant(text: str) -> datetime:
    try:
        found = parse_instant(text)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is not an instant with its offset: write 2023-06-01T12:00Z") from error
    if found.year not in YEARS:
        raise typer.BadParameter(f"{text!r} is before {YEARS.start}, or after {YEARS.stop - 1}")
    return found


@app.command(cls=Command)
def report(
    ctx: typer.Context,
    service: ServiceName,
    *,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--from", metavar="INSTANT", parser=_instant, help="Start, as 2023-06-01T00:00Z; the first sample."
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--to", metavar="INSTANT", parser=_instant, help="End, not included; now without it."),
    ] = None,
) -> None:
    """Total the energy, emissions and cost of a service.

    Examples:
      greenctl report chat
      greenctl report chat --from 2023-06-01T00:00Z --to 2023-07-01T00:00Z
      greenctl report chat --json

    The same traffic is priced elsewhere: at home (the spec's, or the cheapest), in B3, the region that was cleanest by
    its trailing 28-day mean when the period began, and by the oracle, which moves at will and knew every hour. What
    running two replicas for one took in moves is charged to nobody but this service. Where it emitted more, it says so.

    On demand costs what was agreed at the launch. Spot is counted at the market's price of each minute, and a rival's
    spot at that of the period's beginning, but for the very machine that ran here. "carbon.basis" counts as it was at
    the time: without a period the report begins where it was changed last.
    """
    session = Session.of(ctx)
    period = _period(session, service, since, until)
    found = session.run(service_report(session.runtime, service, period))
    session.emit(report=found)
    session.show(page.render(found, width=session.out.width))


def _period(session: Session, service: str, since: Instant | None, until: Instant | None) -> Window | None:
    if since is None and until is None:
        return None
    end = until or session.runtime.clock.now()
    if since is None:
        # An hour before the end where nothing was measured before it: a report of nothing, not of all time.
        first = period_of(session.runtime.store.energy(service, None), end).start
        return Window(min(first, end - HOUR), end)
    if end <= since:
        raise UsageError("--to is not after --from")
    return Window(since, end)
