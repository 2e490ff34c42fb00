"""``greenctl bench scale``."""

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.commands.bench.database import SQLITE, empty_database
from orchestrator.cli.frame import FileCommand, new_app
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.bench.scale.measure import Row, Size

SIZES = "100x20x20"
LARGEST = 5_000
MEMORY = "memory"

app = new_app()


@app.command(cls=FileCommand)
def scale(
    ctx: typer.Context,
    *,
    sizes: Annotated[
        str, typer.Option("--sizes", metavar="RxGxS,...", help="Replicas x regions x services of the fleets.")
    ] = SIZES,
    store: Annotated[
        list[str] | None,
        typer.Option(
            "--store",
            metavar="WHERE",
            help="sqlite, memory, or the URL of an empty PostgreSQL database; may be repeated.",
        ),
    ] = None,
) -> None:
    """Bring up a large fleet, take it down: how long looks take, what is left.

    Examples:
      greenctl bench scale
      greenctl bench scale --sizes 1000x200x100 --json rows.json
      greenctl bench scale --store sqlite --store postgresql://me@localhost/empty

    The controller and the journal are real; machines, engines and time are simulated. A look is what the controller
    does for one service, a round is a look at each of them. The whole fleet is taken down at once: neither a machine
    nor an open record may be left. The exit status is 3 when one is.
    """
    from orchestrator.cli.render import bench_scale as page  # noqa: PLC0415  # --help needs none of it

    session = Session.of(ctx)
    fleets = [_size(word.strip()) for word in sizes.split(",")]
    stores = list(dict.fromkeys(store or [SQLITE]))
    if len(fleets) > 1 and not {SQLITE, MEMORY}.issuperset(stores):
        hint = "Give one size for each empty database; sqlite and memory begin anew for each size."
        raise UsageError(f"--store: {len(fleets)} fleets do not fit into one database", hint=hint)
    runs = [(fleet, where) for fleet in fleets for where in stores]
    with page.progress(session.talk, len(runs), quiet=session.quiet) as done:
        rows = [_measured(fleet, where, done) for fleet, where in runs]
    session.emit(rows=rows)
    session.show(page.render(rows, width=session.out.width))
    if any(row.leaked or row.open_records or row.findings for row in rows):
        raise typer.Exit(3)


def _measured(fleet: "Size", where: str, done: Callable[[str], None]) -> "Row":
    """Measure one fleet in one database."""
    from orchestrator.bench.scale.measure import measure  # noqa: PLC0415  # --help needs none of it
    from orchestrator.store.memory import MemoryStore  # noqa: PLC0415  # as above

    if where == MEMORY:
        return asyncio.run(measure(fleet, MemoryStore(), where, done))
    with empty_database(where) as opened:
        label = SQLITE if opened.address.path is not None else "postgresql"
        return asyncio.run(measure(fleet, opened, label, done))


def _size(word: str) -> "Size":
    """Read ``100x20x20``. Raises ``UsageError``."""
    from orchestrator.bench.scale.measure import Size  # noqa: PLC0415  # as above

    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", word)
    if found is None:
        hint = "Write replicas x regions x services, each at least 1: 100x20x20."
        raise UsageError(f"--sizes: {word!r} is not a size", hint=hint)
    size = Size(*(int(part) for part in found.groups()))
    if max(size.replicas, size.regions) > LARGEST or size.services > size.replicas:
        raise UsageError(f"--sizes: {word} is out of range", hint=f"At most {LARGEST:,} each; a replica per service.")
    return size
