"""``greenctl bench spot``."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.bench.spot.settings import SEED
from orchestrator.cli.frame import FileCommand, new_app
from orchestrator.cli.session import Session

DEFAULT_OFFSETS = 200
GREATEST_SEED = 2**32 - 1
"""What numpy's first generator takes."""

app = new_app()


@app.command(cls=FileCommand)
def spot(
    ctx: typer.Context,
    *,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder with spot/, carbon/ and regions/.")],
    offsets: Annotated[
        int, typer.Option("--offsets", metavar="N", min=1, help="Windows of a day per group of traces.")
    ] = DEFAULT_OFFSETS,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="N", min=0, max=GREATEST_SEED, help="Which windows are drawn, and SpotHedge's choices."
        ),
    ] = SEED,
) -> None:
    """Keep three replicas ready on spot, beside SpotHedge and the optimum.

    Examples:
      greenctl bench spot --data DIR
      greenctl bench spot --data DIR --offsets 10 --seed 1 --json rows.json

    Every policy replays the same windows of published availability traces, with the settings of SpotHedge's simulator:
    ticks of 30 s, cold starts of 120 s, on demand three times as dear as spot. AVAILABLE: share of the ticks with three
    ready replicas. COST: of three on-demand replicas. GRAMS: per wanted replica-hour at 1 kW, by the mean intensity of
    each zone's grid; on-demand replicas of ours, which chooses where they stand, by the cleanest zone's, and of others
    by the mean of the zones. Ours begins every window without having seen anything; the optimum knows the window.
    Ours is the rule of planner/hedge/hedge, which chooses zones, spares and stand-ins at each tick; the controller does
    not run it. It takes the number of spares from planner/hedge/spares and chooses places by its plan: greenctl
    simulate measures that.
    """
    # numpy and the solver alone cost more than all of --help.
    from orchestrator.bench.spot.measure import measure  # noqa: PLC0415
    from orchestrator.cli.render import bench_spot as page  # noqa: PLC0415

    session = Session.of(ctx)
    with page.progress(session.talk, quiet=session.quiet) as begin:
        outcome = measure(data, offsets, begin, seed)
    session.emit(**page.document(outcome))
    session.show(page.render(outcome, width=session.out.width))
