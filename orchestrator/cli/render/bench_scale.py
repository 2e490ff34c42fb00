"""How a large fleet was carried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.progress import Progress

from orchestrator.bench.scale.measure import PARTS, Row
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line


@contextmanager
def progress(console: Console, runs: int, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show a bar while it lasts; yields what to call after each part of a fleet's life."""
    with Progress(console=console, transient=True, disable=quiet) as bars:
        task = bars.add_task("planning", total=runs * len(PARTS))
        yield lambda part: bars.update(task, advance=1, description=part)


def render(rows: Sequence[Row], *, width: int) -> RenderableType:
    """Return the table for people."""
    numbers = ("TAKES", "LOOKS", "P50", "P99", "CPU P99", "ROUNDS", "P50", "P99", "CPU P99")
    grid = Grid(columns("FLEET", "STORE", "PHASE", *(Column(name, right=True) for name in numbers)))
    for row in rows:
        for phase in row.phases:
            grid.add(
                _name(row),
                row.store,
                phase.name,
                f"{phase.simulated_s:,.0f} s",
                f"{phase.looks:,}",
                *(_milliseconds(s) for s in (phase.look_p50_s, phase.look_p99_s, phase.look_cpu_p99_s)),
                f"{phase.rounds:,}",
                *(_milliseconds(s) for s in (phase.round_p50_s, phase.round_p99_s, phase.round_cpu_p99_s)),
            )
    return Group(
        grid.laid_out(width),
        *(line((_end(row), "")) for row in rows),
        line(("Replicas x regions x services. A look is at one service, a round at all of them.", "dim")),
        line(("TAKES is simulated time, the others are real.", "dim")),
    )


def _name(row: Row) -> str:
    return f"{row.size.replicas}x{row.size.regions}x{row.size.services}"


def _end(row: Row) -> str:
    """Say what is left, and what was needed besides."""
    return (
        f"{_name(row)} {row.store}: {row.leaked} machines and {row.open_records} open records left over;"
        f" journal of {row.links:,} links compared in {_milliseconds(row.check_s)}, {row.findings} findings;"
        f" plan p99 {_milliseconds(row.plan_p99_s)}; {row.rss_mib:,.0f} MiB"
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"
