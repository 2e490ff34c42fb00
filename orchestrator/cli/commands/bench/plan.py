"""``greenctl bench plan``."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.bench.plan.ours import bench_settings, our_plan
from orchestrator.bench.plan.rival import rival_plan
from orchestrator.cli.frame import FileCommand, new_app
from orchestrator.cli.parameters import SpecFile
from orchestrator.cli.reading import read_spec
from orchestrator.cli.render import bench_plan as page
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError
from orchestrator.prices.sky_catalogue import find_catalogues
from orchestrator.provisioners.skypilot.resources import CLOUDS

app = new_app()


@app.command(cls=FileCommand)
def plan(
    ctx: typer.Context,
    spec: SpecFile,
    *,
    catalogs: Annotated[
        Path, typer.Option("--catalogs", metavar="DIR", help="SkyPilot's catalogues: DIR/CLOUD/vms.csv, or DIR/vN/...")
    ],
    with_skypilot: Annotated[
        bool,
        typer.Option("--with-skypilot", help="Ask SkyPilot's optimizer the same, in this run.", show_default=False),
    ] = False,
) -> None:
    """Plan a service over whole catalogues, beside SkyPilot's own optimizer.

    Examples:
      greenctl bench plan 70b.yaml --catalogs ~/.sky/catalogs
      greenctl bench plan 70b.yaml --catalogs DIR --with-skypilot --json

    Nothing is contacted and nothing is remembered. Prices are what the catalogues say, whatever their age; grid
    intensities come from where plan takes them. SkyPilot minimises cost and knows no rule of a service file beyond its
    resources, so its choice is also shown as our rules judge it.
    """
    session = Session.of(ctx)
    loaded = read_spec(session, spec)
    clouds = [c.cloud for c in find_catalogues(catalogs, sorted(CLOUDS))]
    if not clouds:
        message = f"--catalogs {catalogs}: no catalogue of a cloud that SkyPilot knows is there"
        raise UsageError(message, hint="Expected are files such as DIR/aws/vms.csv or DIR/v8/aws/vms.csv.")
    with tempfile.TemporaryDirectory(prefix="greenctl-bench-") as state:
        settings = bench_settings(session.settings, catalogs.absolute(), clouds, Path(state))
        ours = our_plan(loaded, session.outside.runtime(settings), session.run)
    rival = None
    if with_skypilot:
        session.say(line("Asking SkyPilot's optimizer; its import alone takes seconds."))
        rival = rival_plan(loaded.spec, catalogs, clouds, ours.assessments)
    session.emit(clouds=clouds, greenctl=page.document(ours), skypilot=rival)
    session.show(page.render(ours, rival, clouds, width=session.out.width))
