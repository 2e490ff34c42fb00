"""How fast simulated days went, and what was broken in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import Progress
from rich.text import Text

from orchestrator.bench.sim.measure import Row
from orchestrator.cli.render.headline import headline
from orchestrator.cli.render.table import Column, Grid, columns


@contextmanager
def progress(console: Console, runs: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a bar while it lasts; yields what to call after each run."""
    with Progress(console=console, transient=True, disable=quiet) as bars:
        task = bars.add_task("living", total=runs)
        yield lambda: bars.advance(task)


def document(row: Row) -> dict[str, Any]:
    """Return a row as it stands in the document."""
    return asdict(row) | {"service_hours_per_second": row.service_hours_per_second}


def render(rows: Sequence[Row], *, width: int) -> RenderableType:
    """Return the table for people."""
    grid = Grid(
        columns(
            "DAYS",
            Column("RUNS", right=True),
            Column("FAULTS", right=True, keep=2),
            Column("SERVICE-HOURS", right=True, keep=4),
            Column("LOOKS", right=True, keep=3),
            Column("LAUNCHES", right=True, keep=1),
            Column("CORE-SECONDS", right=True, keep=5),
            Column("PER SECOND", right=True),
            Column("BROKEN", right=True),
        )
    )
    for row in rows:
        grid.add(
            row.days,
            f"{row.runs:,}",
            f"{row.faults:,}",
            f"{row.service_hours:,.0f}",
            f"{row.looks:,}",
            f"{row.launches:,}",
            f"{row.cpu_s:,.1f}",
            f"{row.service_hours_per_second:,.1f}",
            f"{len(row.broken):,}",
        )
    broken = [Text(f"seed {b.seed}: {b.invariant} at {b.at_seconds:.0f} s: {b.text}") for r in rows for b in r.broken]
    note = "PER SECOND: service-hours that one core simulates in a second, calm and rest after the faults included."
    return Group(
        headline("Simulated days", "of the controller"), grid.laid_out(width), *broken, Text(note, style="dim")
    )
