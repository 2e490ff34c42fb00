"""``greenctl bench signals``."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.frame import FileCommand, new_app
from orchestrator.cli.session import Session

DEFAULT_FEEDS = 1000
DEFAULT_SEED = 20260

app = new_app()


@app.command(cls=FileCommand)
def signals(
    ctx: typer.Context,
    *,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder with carbon/, or of recorded files.")],
    feeds: Annotated[
        int, typer.Option("--feeds", metavar="N", min=1, help="Poisoned feeds; kinds of lies take turns.")
    ] = DEFAULT_FEEDS,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which scenes are drawn.")] = DEFAULT_SEED,
) -> None:
    """Poison carbon feeds, and count the moves to where nobody should go.

    Examples:
      greenctl bench signals --data DIR
      greenctl bench signals --data DIR --feeds 60 --json rows.json

    In each scene a replica stands in a zone that is cleaner, in every hour, than another one whose feed lies: wrong
    units, holes, frozen, old, misdated and foreign numbers, for 1 to 47 hours. The planner is the real one; it sees the
    feed through the gate of live sources (MISLED), or believes all that a grid can have (WITHOUT GATE). The last kind
    has a second source, which tells the truth; all others are found out, or not, alone.
    """
    from orchestrator.bench.signals.measure import measure  # noqa: PLC0415 - numpy costs more than all of --help
    from orchestrator.cli.render import bench_signals as page  # noqa: PLC0415 - as above

    session = Session.of(ctx)
    with page.progress(session.talk, feeds, quiet=session.quiet) as step:
        outcome = measure(data, feeds, step, seed)
    session.emit(**page.document(outcome))
    session.show(page.render(outcome, width=session.out.width))
