"""Poisoned feeds: how many moved a replica, by kind of lie, with the gate and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.progress import Progress

from orchestrator.bench.signals.measure import Outcome, Run
from orchestrator.cli.render.headline import headline
from orchestrator.cli.render.numbers import number
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import indented, line
from orchestrator.domain.time import floor_hour, format_instant

SHOWN: Final = 10


@contextmanager
def progress(console: Console, feeds: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a bar while it lasts; yields what to call after each feed."""
    with Progress(console=console, transient=True, disable=quiet) as bars:
        task = bars.add_task("poisoned feeds", total=feeds)
        yield lambda: bars.advance(task)


def document(outcome: Outcome) -> dict[str, object]:
    """Return what ``--json`` says: the totals, a row per kind, and each run that was misled."""
    return {
        "seed": outcome.seed,
        "feeds": outcome.scenes,
        "misled": len(outcome.misled),
        "misled_without_gate": sum(row.misled_without_gate for row in outcome.rows),
        "true_hours": outcome.true_hours,
        "true_hours_refused": outcome.true_hours_refused,
        "rows": [
            {
                "kind": row.kind,
                "sources": row.sources,
                "feeds": row.scenes,
                "misled": row.misled,
                "misled_without_gate": row.misled_without_gate,
                "feeds_with_doubts": row.doubted_scenes,
            }
            for row in outcome.rows
        ],
        "runs_misled": [_run(run) for run in outcome.misled],
    }


def render(outcome: Outcome, *, width: int) -> RenderableType:
    """Return the table for people, the total, and the runs in which the gate was passed."""
    grid = Grid(
        columns(
            "LIE",
            Column("SOURCES", right=True, keep=3),
            Column("FEEDS", right=True),
            Column("MISLED", right=True),
            Column("WITHOUT GATE", right=True, keep=6),
            Column("DOUBTED", right=True, keep=4),
        )
    )
    for row in outcome.rows:
        grid.add(
            row.kind,
            str(row.sources),
            str(row.scenes),
            str(row.misled),
            str(row.misled_without_gate),
            str(row.doubted_scenes),
        )
    without = sum(row.misled_without_gate for row in outcome.rows)
    total = f"{len(outcome.misled)} of {outcome.scenes} feeds moved a replica; without the gate {without} did"
    parts: list[RenderableType] = [
        headline("Poisoned carbon feeds", f"{outcome.scenes} feeds", f"seed {outcome.seed}"),
        grid.laid_out(width),
        line((total, "bold")),
    ]
    parts += [_line(run) for run in outcome.misled[:SHOWN]]
    refused = outcome.true_hours_refused / outcome.true_hours if outcome.true_hours else 0.0
    hours = f"{outcome.true_hours:,} true hours before the lies: {refused:.2%} were not believed"
    parts.append(line(hours))
    parts.append(indented(0, ("DOUBTED: feeds of which at least one statement was not believed.", "dim")))
    return Group(*parts)


def _run(run: Run) -> dict[str, object]:
    scene, attack = run.scene, run.scene.attack
    begin = floor_hour(attack.window.start)
    return {
        "kind": scene.kind,
        "factors": scene.basis.factors.value,
        "home": scene.home,
        "zone": attack.zone,
        "begins_at": format_instant(attack.window.start),
        "hours": attack.window.hours,
        "misled_at": None if run.misled_at is None else format_instant(run.misled_at),
        "home_grams_per_kwh": scene.grams_per_kwh[scene.home].get(begin),
        "zone_grams_per_kwh": scene.grams_per_kwh[attack.zone].get(begin),
    }


def _line(run: Run) -> RenderableType:
    told = _run(run)
    home, zone = _numbers(run)
    words = f"{told['home']} ({home} g/kWh) to {told['zone']} ({zone}), lied about from {told['begins_at']}"
    return line((f"{run.scene.kind}: ", "bold"), words)


def _numbers(run: Run) -> tuple[str, str]:
    """Return both zones' true intensity when the lie began, as people read it."""
    begin = floor_hour(run.scene.attack.window.start)
    hours = run.scene.grams_per_kwh
    return number(hours[run.scene.home].get(begin)), number(hours[run.scene.attack.zone].get(begin))
