"""How a large fleet was carried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.progress import Progress

from orchestrator.bench.scale.measure import PARTS, Row, Size
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line


@contextmanager
def progress(console: Console, fleets: Sequence[Size], *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show a bar while it lasts; yields what to call after each part of a fleet's life."""
    with Progress(console=console, transient=True, disable=quiet) as bars:
        task = bars.add_task("planning", total=len(fleets) * len(PARTS))
        yield lambda part: bars.update(task, advance=1, description=part)


def render(rows: Sequence[Row], *, width: int) -> RenderableType:
    """Return the table for people."""
    numbers = ("LOOKS", "P50", "P99", "CPU P99", "AT REST P99", "PLAN P99", "UP", "DOWN", "LINKS", "LEFT OVER")
    grid = Grid(columns("FLEET", "STORE", *(Column(name, right=True) for name in numbers)))
    for row in rows:
        size = row.size
        grid.add(
            f"{size.replicas}x{size.regions}x{size.services}",
            row.store,
            f"{row.looks:,}",
            *(_milliseconds(s) for s in (row.look_p50_s, row.look_p99_s, row.look_cpu_p99_s, row.rest_p99_s)),
            _milliseconds(row.plan_p99_s),
            *(f"{s:.0f} s" for s in (row.up_s, row.down_s)),
            f"{row.links:,}",
            str(row.leaked + row.open_records),
        )
    return Group(
        grid.laid_out(width),
        line(("Replicas x regions x services; UP and DOWN are simulated time, the others are real.", "dim")),
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"
