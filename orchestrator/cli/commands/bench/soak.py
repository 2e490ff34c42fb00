"""``greenctl bench soak``."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.commands.bench.database import SQLITE, empty_database
from orchestrator.cli.frame import FileCommand, new_app
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError

FOR_EVER = 0

app = new_app()


@app.command(cls=FileCommand)
def soak(
    ctx: typer.Context,
    *,
    days: Annotated[int, typer.Option("--days", min=1, max=3660, help="Simulated days.")] = 365,
    replicas: Annotated[int, typer.Option("--replicas", min=1, max=100, help="Replicas of the one service.")] = 2,
    places: Annotated[int, typer.Option("--places", min=1, max=200, help="Regions to choose from.")] = 10,
    tick_minutes: Annotated[
        int, typer.Option("--tick-minutes", min=1, max=60, help="Minutes between two looks, a divisor of 60.")
    ] = 60,
    keep_days: Annotated[
        int, typer.Option("--keep-days", min=0, max=3660, help="Days that samples stay as written; 0: for ever.")
    ] = 30,
    keep_decisions: Annotated[
        int,
        typer.Option("--keep-decisions", min=0, max=3660, help="Days of decisions that changed nothing; 0: for ever."),
    ] = 14,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", exists=True, file_okay=False, help="Where a SQLite database is made."),
    ] = None,
    where: Annotated[
        str, typer.Option("--store", metavar="WHERE", help="sqlite, or the URL of an empty PostgreSQL database.")
    ] = SQLITE,
) -> None:
    """Run a small fleet for a year: what the database and the process grow to.

    Examples:
      greenctl bench soak
      greenctl bench soak --days 60 --keep-days 0 --json rows.json
      greenctl bench soak --days 60 --store postgresql://me@localhost/empty

    The controller and its database are real; machines, engines and time are simulated. Energy is written by the
    minute, whatever the time between two looks. The exit status is 3 when the journal is not whole in the end, or when
    the report of the first month is not what it was when the month was over.
    """
    from orchestrator.bench.scale.measure import Size  # noqa: PLC0415  # --help needs none of it
    from orchestrator.bench.scale.soak import Soak  # noqa: PLC0415  # as above
    from orchestrator.bench.scale.soak import soak as run  # noqa: PLC0415  # as above
    from orchestrator.cli.render import bench_soak as page  # noqa: PLC0415  # as above

    if 60 % tick_minutes:
        raise UsageError(f"--tick-minutes: {tick_minutes} does not divide an hour", hint="Give 60, 30, 20, 15, ...")
    session = Session.of(ctx)
    keep, whole = (None if n == FOR_EVER else timedelta(days=n) for n in (keep_days, keep_decisions))
    asked = Soak(Size(replicas, places, 1), days, timedelta(minutes=tick_minutes), keep, whole)
    with (
        page.progress(session.talk, days, quiet=session.quiet) as done,
        empty_database(where, folder) as store,
    ):
        marks = asyncio.run(run(asked, store, done))
    session.emit(rows=marks)
    session.show(page.render(marks, width=session.out.width))
    if marks[-1].findings or not marks[-1].first_month_same:
        raise typer.Exit(3)
