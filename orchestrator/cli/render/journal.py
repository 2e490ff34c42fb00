"""What a check of the journal found, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render.numbers import instant
from orchestrator.cli.render.table import Grid, columns
from orchestrator.cli.render.text import line, safe
from orchestrator.domain.chain import Acceptance, JournalReport

MOST_SHOWN: Final = 20


def render(report: JournalReport, accepted: Sequence[Acceptance], *, width: int) -> RenderableType:
    """Return what was found, what was accepted before, and the head."""
    parts: list[RenderableType] = [findings(report, width=width)]
    parts += [_accepted(word) for word in accepted]
    if report.head:
        parts.append(line(("Head  ", "dim"), report.head))
    return Group(*parts)


def findings(report: JournalReport, *, width: int) -> RenderableType:
    """Return the findings, the first ones by name, or that there are none."""
    if report.is_whole:
        return line(("✓ ", "green"), f"{report.rows:,} rows and {report.links:,} links are as they were written.")
    grid = Grid(columns("Link", "Table", "Row", "What"))
    for found in report.findings[:MOST_SHOWN]:
        grid.add(str(found.link or "-"), safe(found.table), safe(found.row), found.what.value)
    more = len(report.findings) - MOST_SHOWN
    rest = [line((f"and {more:,} more", "dim"))] if more > 0 else []
    first = line(("✗ ", "red"), f"{len(report.findings):,} findings, {report.digest}; the first row is the oldest.")
    word = f"greenctl journal accept {report.digest} --reason WORDS"
    return Group(first, grid.laid_out(width), *rest, line("To go on from it all the same: ", (word, "bold")))


def _accepted(word: Acceptance) -> Text:
    who = safe(word.actor) or "somebody"
    return line(
        f"Accepted by {who} at {instant(word.at)}: {word.findings:,} findings ({safe(word.reason)}), link {word.link}."
    )
