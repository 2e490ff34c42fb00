"""``greenctl bench placement``."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.bench.placement.instance import TRACKS, read_instance
from orchestrator.cli.frame import FileCommand, new_app
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError

app = new_app()


@app.command(cls=FileCommand)
def placement(
    ctx: typer.Context,
    *,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Folder with carbon/ and placement/instance_YEAR.json.")
    ],
    year: Annotated[int, typer.Option("--year", metavar="YEAR", help="The year to place.")],
    placements: Annotated[
        Path, typer.Option("--placements", metavar="FILE", help="Where our hourly placements go: .json or .json.gz.")
    ],
    score: Annotated[
        bool,
        typer.Option("--score", help="Read FILE, whoever wrote it, and only count its grams.", show_default=False),
    ] = False,
    track: Annotated[
        str | None, typer.Option("--track", metavar="|".join(TRACKS), help="One track only.", show_default=False)
    ] = None,
) -> None:
    """Place a replica hour by hour for a year, beside rivals and the optimum.

    Examples:
      greenctl bench placement --data DIR --year 2023 --placements ours.json.gz
      greenctl bench placement --data DIR --year 2023 --placements ours.json --track scarce --json rows.json
      greenctl bench placement --data DIR --year 2023 --placements theirs.json --score

    Each hour is decided from the hours before it, those of the year before included where DIR has them. The grams of
    all are counted from the hourly placements alone, by one ledger: 1 kW of IT power, PUE, hourly average life-cycle
    intensity, and a fixed mass for every change of region. Gaps and differences are points: percent of the grams of
    staying at home. B3 is the honest rival: each week the cleanest region of the 28 days before; the oracle knows the
    year. controller is what an installed controller moves by (planner/moves and planner/path, all defaults, its own
    forecast); greenctl is the rule of planner/follow, a plan for each hour from what it learnt of the grids, which the
    controller does not run.
    """
    # numpy alone costs more than all of --help.
    from orchestrator.bench.placement.grid import read_grid, read_year_before  # noqa: PLC0415
    from orchestrator.bench.placement.measure import GIVEN, OURS, measure, place  # noqa: PLC0415
    from orchestrator.bench.placement.placements import read_placements, refuse_no_place, write_placements  # noqa: PLC0415
    from orchestrator.cli.render import bench_placement as page  # noqa: PLC0415

    session = Session.of(ctx)
    if track is not None and track not in TRACKS:
        raise UsageError(f"--track {track}: the tracks are {' and '.join(TRACKS)}")
    instance = read_instance(data, year)
    services = instance.services if track is None else instance.of_track(track)
    if not services:
        raise UsageError(f"--track {track}: the instance of {year} has no service of that track")
    if not score:
        refuse_no_place(placements)
    needed = instance.zones(services)
    grid = read_grid(data, year, needed)
    with page.progress(session.talk, quiet=session.quiet) as steps:
        before = read_year_before(data, grid, needed)
        if score:
            name, hours = GIVEN, read_placements(placements, instance)
        else:
            name, hours = OURS, place(instance, grid, services, before, steps("placing", len(services)))
            write_placements(placements, instance, hours)
        outcome = measure(instance, grid, services, hours, before, name=name, done=steps("counting", len(services)))
    session.emit(**page.document(outcome))
    session.show(page.render(outcome, width=session.out.width))
