"""A list of checks: what was looked at, what was found, what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line, safe


class Outcome(StrEnum):
    """How a check came out. ``NOTE`` is neither good nor bad."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAILED = "failed"


SIGNS: Final = {
    Outcome.OK: ("✓", "green"),
    Outcome.NOTE: ("·", "dim"),
    Outcome.WARNING: ("!", "yellow"),
    Outcome.FAILED: ("✗", "red"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. ``hint``: what to do, where something is to be done."""

    name: str
    outcome: Outcome
    found: str
    hint: str = ""


def render(checks: Sequence[Check], *, width: int) -> RenderableType:
    """Return the list and a last line with the counts."""
    grid = Grid(columns("", "", Column("", wrap=True)))
    for check in checks:
        sign, style = SIGNS[check.outcome]
        words = Text(safe(check.found))
        if check.hint:
            words.append(f"\n→ {safe(check.hint)}", style="bold")
        grid.add(Text(sign, style=style), check.name, words)
    return Group(grid.laid_out(width), Text(""), line(_counts(checks)))


def _counts(checks: Sequence[Check]) -> str:
    failed = sum(c.outcome is Outcome.FAILED for c in checks)
    warned = sum(c.outcome is Outcome.WARNING for c in checks)
    if not failed and not warned:
        return "All is well."
    return f"{failed} failed, {warned} to look at, {len(checks) - failed - warned} fine."
