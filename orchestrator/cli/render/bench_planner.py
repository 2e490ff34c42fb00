"""How fast, and how provably well, random worlds were planned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.progress import Progress
from rich.text import Text

from orchestrator.bench.planner.measure import Row
from orchestrator.cli.render.headline import headline
from orchestrator.cli.render.table import Column, Grid, columns


@contextmanager
def progress(console: Console, worlds: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a bar while it lasts; yields what to call after each world."""
    with Progress(console=console, transient=True, disable=quiet) as bars:
        task = bars.add_task("planning", total=worlds)
        yield lambda: bars.advance(task)


def render(rows: Sequence[Row], *, width: int) -> RenderableType:
    """Return the table for people."""
    grid = Grid(
        columns(
            "WORLD",
            Column("OFFERS", right=True, keep=3),
            Column("SEEDS", right=True, keep=5),
            Column("P50", right=True, keep=6),
            Column("P95", right=True),
            Column("CPU P95", right=True, keep=6),
            Column("AGAIN P50", right=True, keep=4),
            Column("P95", right=True, keep=4),
            Column("CPU P95", right=True, keep=4),
            Column("GAP P95", right=True),
            Column("MAX", right=True, keep=6),
            Column("WHOLE P50", right=True, keep=2),
            Column("P95", right=True, keep=2),
            Column("BROKEN", right=True, keep=1),
            Column("LEFT OVER", right=True, keep=1),
            Column("RUNGS", wrap=True),
        )
    )
    for row in rows:
        grid.add(
            f"{row.regions}x{row.shapes}x{row.steps}",
            f"{row.offers:,}",
            str(row.seeds),
            _milliseconds(row.p50_s),
            _milliseconds(row.p95_s),
            _milliseconds(row.cpu_p95_s),
            _milliseconds(row.warm_p50_s),
            _milliseconds(row.warm_p95_s),
            _milliseconds(row.warm_cpu_p95_s),
            _percent(row.gap_p95),
            _percent(row.gap_max),
            _percent(row.whole_gap_p50),
            _percent(row.whole_gap_p95),
            str(row.broken),
            str(row.uncovered),
            _counts(row.rungs),
        )
    notes = (
        "GAP: how much cheaper any plan could be at most than the linear one; WHOLE: than the plan handed back, whose ",
        "first step is whole replicas. AGAIN: with the plan in force and every cost moved by up to 5 %. ",
        "BROKEN: plans that break a rule. LEFT OVER: worlds whose demand cannot all be covered.",
    )
    return Group(headline("Planner", "random worlds"), grid.laid_out(width), Text("".join(notes), style="dim"))


def _milliseconds(seconds: float) -> str:
    return f"{1000.0 * seconds:,.0f} ms"


def _percent(fraction: float) -> str:
    return f"{100.0 * fraction:.3f} %"


def _counts(rungs: Mapping[str, int]) -> str:
    return " ".join(f"{name} {count}" for name, count in rungs.items())
