"""``greenctl bench forecast``."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.bench.forecast.measure import STEPS, measure
from orchestrator.cli.frame import FileCommand, new_app
from orchestrator.cli.render import bench_forecast as page
from orchestrator.cli.session import Session
from orchestrator.domain.carbon import Factors
from orchestrator.errors import UsageError

DAY_HOURS = 24

app = new_app()


@app.command(cls=FileCommand)
def forecast(
    ctx: typer.Context,
    *,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Recorded grids: DIR/carbon/ci_direct_2023.csv.gz and so on.")
    ],
    year: Annotated[int, typer.Option("--year", help="The year that is scored; earlier ones are learnt from.")],
    factors: Annotated[
        Factors, typer.Option("--factors", help="Providers' stored forecasts are of direct intensity.")
    ] = Factors.DIRECT,
    zone: Annotated[
        list[str] | None,
        typer.Option("--zone", metavar="ZONE", help="Only this grid zone; may be repeated.", show_default=False),
    ] = None,
    every: Annotated[
        int, typer.Option("--every", metavar="HOURS", help="Hours between two issues; a divisor of 24.")
    ] = 6,
    by_zone: Annotated[bool, typer.Option("--by-zone", help="A row per zone as well.", show_default=False)] = False,
) -> None:
    """Forecast a recorded year four days ahead, and score it honestly.

    Examples:
      greenctl bench forecast --data DIR --year 2023
      greenctl bench forecast --data DIR --year 2023 --factors lifecycle --by-zone
      greenctl bench forecast --data DIR --year 2023 --json forecast.json

    Scored are errors, bands, the order of hours, two decisions, and guesses from data that is old. Each forecast rests
    on the hours before its issue alone, and all are scored on the same hours: those that everybody forecast, in zones
    that everybody covers. A provider's forecast is the newest that was issued by then.
    The document's rows have error (wape), wrong order (rank_loss) and hours inside the 90 % band (coverage90), all in
    percent, by zone, hours ahead and method; median has the median zone. Methods are issued once a day, ours_rolling
    every hour; ours knows the recorded hours alone, and no provider. Null is no data.
    """
    session = Session.of(ctx)
    if every < 1 or DAY_HOURS % every:
        raise UsageError(f"--every {every} does not divide a day", hint="Use 1, 2, 3, 4, 6, 8, 12 or 24.")
    with page.progress(session.talk, STEPS, silent=session.quiet) as done:
        found = measure(data, year, factors, zones=zone or (), every_hours=every, done=done)
    session.emit(**page.document(found))
    session.show(page.render(found, by_zone=by_zone, width=session.out.width))
