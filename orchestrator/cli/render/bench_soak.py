"""What a fleet leaves in its database over a year."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.progress import Progress

from orchestrator.bench.scale.soak import Mark
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line

MEBI = 1024.0 * 1024.0
SHOWN = (
    "energy_samples",
    "energy_hours",
    "journal_links",
    "events",
    "decisions",
    "verdicts",
    "signals_used",
    "resting_days",
)


@contextmanager
def progress(console: Console, days: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar while it lasts; yields what to call after each day."""
    with Progress(console=console, transient=True, disable=quiet) as bars:
        task = bars.add_task("day 0", total=days)
        yield lambda day: bars.update(task, completed=day, description=f"day {day}")


def render(marks: Sequence[Mark], *, width: int) -> RenderableType:
    """Return the table for people: a column for each mark."""
    grid = Grid(columns("", *(Column(f"DAY {mark.day}", right=True) for mark in marks)))
    for table in SHOWN:
        grid.add(f"rows of {table}", *(f"{mark.rows[table]:,}" for mark in marks))
    grid.add("rows of other tables", *(f"{sum(mark.rows.values()) - _shown(mark):,}" for mark in marks))
    grid.add("database", *(f"{mark.database_bytes / MEBI:,.1f} MiB" for mark in marks))
    grid.add("most memory", *(f"{mark.rss_mib:,.0f} MiB" for mark in marks))
    grid.add("own time", *(f"{mark.cpu_s:,.0f} s" for mark in marks))
    grid.add("check of the journal", *(f"{mark.check_s:,.1f} s" for mark in marks))
    grid.add("findings", *(str(mark.findings) for mark in marks))
    grid.add("report of the first month", *("the same" if mark.first_month_same else "CHANGED" for mark in marks))
    return Group(grid.laid_out(width), line(("Days are simulated; the rest is real.", "dim")))


def _shown(mark: Mark) -> int:
    return sum(mark.rows[table] for table in SHOWN)
