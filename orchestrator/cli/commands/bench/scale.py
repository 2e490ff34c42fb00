"""``greenctl bench scale``."""

import asyncio
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.frame import FileCommand, new_app
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.bench.scale.measure import Size

SIZES = "100x20x20"
LARGEST = 5_000
SQLITE, MEMORY = "sqlite", "memory"

app = new_app()


@app.command(cls=FileCommand)
def scale(
    ctx: typer.Context,
    *,
    sizes: Annotated[
        str, typer.Option("--sizes", metavar="RxGxS,...", help="Replicas x regions x services of the fleets.")
    ] = SIZES,
    store: Annotated[
        str,
        typer.Option("--store", metavar="WHERE", help="sqlite, memory, or the URL of an empty PostgreSQL database."),
    ] = SQLITE,
) -> None:
    """Bring up a large fleet, take it down: how long looks take, what is left.

    Examples:
      greenctl bench scale
      greenctl bench scale --sizes 1000x200x100 --json rows.json
      greenctl bench scale --store postgresql://me@localhost/empty

    The controller and the journal are real; machines, engines and time are simulated. A look is what the controller
    does for one service. The whole fleet is taken down at once: neither a machine nor an open record may be left. The
    exit status is 3 when one is.
    """
    from orchestrator.bench.scale.measure import measure  # noqa: PLC0415  # --help needs none of it
    from orchestrator.cli.render import bench_scale as page  # noqa: PLC0415  # as above
    from orchestrator.store.memory import MemoryStore  # noqa: PLC0415  # as above
    from orchestrator.store.sql import SqlStore  # noqa: PLC0415  # as above

    session = Session.of(ctx)
    fleets = [_size(word.strip()) for word in sizes.split(",")]
    if len(fleets) > 1 and store not in {SQLITE, MEMORY}:
        hint = "Give one size for each empty database; sqlite and memory begin anew for each size."
        raise UsageError(f"--store: {len(fleets)} fleets do not fit into one database", hint=hint)
    rows = []
    with page.progress(session.talk, fleets, quiet=session.quiet) as done:
        for fleet in fleets:
            with tempfile.TemporaryDirectory(prefix="greenctl-scale-") as folder:
                if store == MEMORY:
                    rows.append(asyncio.run(measure(fleet, MemoryStore(), store, done)))
                    continue
                url = f"sqlite:///{Path(folder) / 'greenctl.db'}" if store == SQLITE else store
                with SqlStore.open(url) as opened:
                    if opened.services():
                        raise UsageError("--store: services are recorded there", hint="Name an empty database.")
                    label = SQLITE if store == SQLITE else "postgresql"
                    rows.append(asyncio.run(measure(fleet, opened, label, done)))
    session.emit(rows=rows)
    session.show(page.render(rows, width=session.out.width))
    if any(row.leaked or row.open_records or row.findings for row in rows):
        raise typer.Exit(3)


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
