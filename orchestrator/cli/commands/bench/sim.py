"""``greenctl bench sim``."""

from typing import Annotated

import typer

from orchestrator.cli.frame import FileCommand, new_app
from orchestrator.cli.session import Session
from orchestrator.errors import PromiseBroken

app = new_app()


@app.command(cls=FileCommand)
def sim(
    ctx: typer.Context,
    *,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100_000, help="Days of each kind.")] = 20,
    seed0: Annotated[int, typer.Option("--seed0", min=0, help="The first seed.")] = 0,
    hours: Annotated[float, typer.Option("--hours", min=1.0, max=720.0, help="Simulated hours of each day.")] = 24.0,
) -> None:
    """Live through simulated bad days: how fast, and whether a promise was broken.

    Examples:
      greenctl bench sim
      greenctl bench sim --seeds 500 --json days.json
      greenctl bench sim --seeds 1 --seed0 7

    The controller, the planner and the store of this installation run in simulated time, through everything that the
    fault model has: lost answers, late machines, wrong listings, databases that go away or are set back, kills,
    sleeps, dark grids, people. Some twenty promises are checked at every call. A day follows from its seed. Nothing is
    contacted and nothing is remembered. Exits with 1 when a promise was broken.
    """
    # The simulated world brings the controller with it, which costs more than all of --help.
    from orchestrator.bench.sim.measure import measure  # noqa: PLC0415
    from orchestrator.cli.render import bench_sim as page  # noqa: PLC0415

    session = Session.of(ctx)
    with page.progress(session.talk, 2 * seeds, quiet=session.quiet) as done:
        rows = measure(range(seed0, seed0 + seeds), hours, done)
    session.emit(rows=[page.document(row) for row in rows])
    session.show(page.render(rows, width=session.out.width))
    broken = [b for row in rows for b in row.broken]
    if broken:
        first = broken[0]
        raise PromiseBroken(f"seed {first.seed} broke {first.invariant} at {first.at_seconds:.0f} s: {first.text}")
