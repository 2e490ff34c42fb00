"""A year of placements: ours, the rivals' and the optimum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.progress import Progress

from orchestrator.bench.placement.measure import Outcome
from orchestrator.cli.render.headline import headline
from orchestrator.cli.render.numbers import UNKNOWN
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line

_INDENT: Final = 2

Steps = Callable[[str, int], Callable[[], None]]


@contextmanager
def progress(console: Console, *, quiet: bool) -> Iterator[Steps]:
    """Show bars while it lasts; yields a function that begins a bar and returns what to call after each step."""
    with Progress(console=console, transient=True, disable=quiet) as bars:

        def begin(name: str, total: int) -> Callable[[], None]:
            task = bars.add_task(name, total=total)
            return lambda: bars.advance(task)

        yield begin


def document(outcome: Outcome) -> dict[str, object]:
    """Return what ``--json`` says: the rows, the summaries, and every bill."""
    return {
        "year": outcome.year,
        "scored_hours": outcome.hours - outcome.first,
        "rows": outcome.rows,
        "summaries": outcome.summaries,
        "services": [
            {
                "id": s.id,
                "grams": {p: b.grams for p, b in bills.items()},
                "moves": {p: b.moves for p, b in bills.items()},
            }
            for s, bills in ((s, outcome.bills[s.id]) for s in outcome.services)
        ],
    }


def render(outcome: Outcome, *, width: int) -> RenderableType:
    """Return the tables for people."""
    details = f"{len(outcome.services)} services, {outcome.hours - outcome.first:,} hours"
    parts: list[RenderableType] = [headline(f"Placement year {outcome.year}", details), _summaries(outcome, width)]
    parts += [line(""), _rows(outcome, width), line("")]
    parts.append(
        line(
            (
                "Points are percent of the grams of staying at home. GAP: above the oracle. VS B3: below the cleanest ",
                "dim",
            ),
            ("region of the 28 days before; < 0 is worse. EXCESS: grams above the oracle's.", "dim"),
        )
    )
    return Group(*parts)


def _summaries(outcome: Outcome, width: int) -> RenderableType:
    grid = Grid(
        columns(
            "TRACK",
            "POLICY",
            Column("GAP", right=True),
            Column("P90", right=True, keep=5),
            Column("WORST", right=True),
            Column("WORST VS B3", right=True),
            Column("BELOW B3", right=True, keep=4),
            Column("BELOW HOME", right=True, keep=3),
            Column("EXCESS %", right=True),
            Column("MOVES A YEAR, BY K", right=True, keep=6),
        )
    )
    for s in outcome.summaries:
        grid.add(
            s.track,
            s.policy,
            f"{s.gap_points:.2f}",
            f"{s.p90_gap_points:.2f}",
            f"{s.worst_gap_points:.2f}",
            f"{s.worst_over_b3_points:+.2f}",
            str(s.below_b3),
            str(s.below_home),
            _percent(s.excess_percent),
            "  ".join(f"{hours} h: {moves:.1f}" for hours, moves in s.moves_by_switching_hours.items()),
        )
    return grid.laid_out(width, _INDENT)


def _rows(outcome: Outcome, width: int) -> RenderableType:
    """Ours in detail; the rivals' rows are in the document."""
    grid = Grid(
        columns(
            "TRACK",
            Column("RTT ms", right=True),
            Column("K h", right=True),
            "POLICY",
            Column("SAVING %", right=True),
            Column("WORST", right=True, keep=3),
            Column("MOVES", right=True),
            Column("GAP", right=True),
            Column("WORST", right=True, keep=4),
            Column("VS B3", right=True),
            Column("WORST", right=True, keep=5),
            Column("EXCESS %", right=True),
        )
    )
    for r in outcome.rows:
        if r.policy != outcome.policies[0]:
            continue
        grid.add(
            r.track,
            f"{r.rtt_budget_ms:g}",
            f"{r.switching_hours:g}",
            r.policy,
            f"{r.saving_percent:.2f}",
            f"{r.worst_saving_percent:.2f}",
            f"{r.moves:.1f}",
            f"{r.gap_points:.2f}",
            f"{r.worst_gap_points:.2f}",
            f"{r.over_b3_points:+.2f}",
            f"{r.worst_over_b3_points:+.2f}",
            _percent(r.excess_percent),
        )
    return grid.laid_out(width, _INDENT)


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"
