"""``greenctl bench planner``."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.frame import FileCommand, new_app
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.bench.planner.worlds import Size

SIZES = "20x10x24,50x40x24,200x40x24,200x40x96"
LARGEST = 100_000
"""Regions x shapes; beyond that a world alone takes gigabytes."""

app = new_app()


@app.command(cls=FileCommand)
def planner(
    ctx: typer.Context,
    *,
    sizes: Annotated[
        str, typer.Option("--sizes", metavar="RxKxT,...", help="Regions x shapes x hourly steps of the worlds.")
    ] = SIZES,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=10_000, help="Worlds of each size.")] = 20,
    budget: Annotated[
        float, typer.Option("--budget", metavar="SECONDS", min=0.0, help="Time that each plan may take.")
    ] = 20.0,
) -> None:
    """Plan random worlds: how fast, and how far from the optimum at most.

    Examples:
      greenctl bench planner
      greenctl bench planner --sizes 200x40x24 --seeds 100 --json rows.json
      greenctl bench planner --sizes 200x40x96 --budget 2

    Worlds follow from size and seed. A shape is sold on demand and on spot, so 200 regions with 40 shapes have some
    11,000 offers; demand, latency, quota, survival of a region's loss and a limit on spot are kept in all of them. Gaps
    are certified: no plan, of whole or of fractional replicas, is cheaper by more. To measure one core, set
    OMP_NUM_THREADS=1. What is measured is the optimiser of planner/optimum; the controller does not run it, but fills
    slots by planner/plan and weighs moves by planner/moves, with a proof in each plan.
    """
    # numpy and the solver cost more than all of --help.
    from orchestrator.bench.planner.measure import measure  # noqa: PLC0415
    from orchestrator.cli.render import bench_planner as page  # noqa: PLC0415

    session = Session.of(ctx)
    worlds = tuple(_size(word.strip()) for word in sizes.split(","))
    with page.progress(session.talk, len(worlds) * seeds, quiet=session.quiet) as done:
        rows = measure(worlds, seeds, budget, done)
    session.emit(rows=rows)
    session.show(page.render(rows, width=session.out.width))


def _size(word: str) -> "Size":
    """Read ``200x40x24``. Raises ``UsageError``."""
    from orchestrator.bench.planner.worlds import Size  # noqa: PLC0415  # as above

    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", word)
    if found is None:
        hint = "Write regions x shapes x steps, each at least 1: 200x40x24."
        raise UsageError(f"--sizes: {word!r} is not a size", hint=hint)
    size = Size(*(int(part) for part in found.groups()))
    if size.regions * size.shapes > LARGEST:
        raise UsageError(f"--sizes: {word} has more than {LARGEST:,} shapes in all its regions")
    return size
