"""What a check of the journal found, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render.numbers import instant
from orchestrator.cli.render.table import Grid, columns
from orchestrator.cli.render.text import line, safe
from orchestrator.control.edits import words as in_words
from orchestrator.domain.chain import Acceptance, Finding, JournalMarks, JournalReport

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


def edits_line(glanced: Sequence[Finding], marks: JournalMarks) -> Text | None:
    """Return one line for the status page, ``None`` when nothing is known to be wrong. ``glanced``: found just now."""
    if not glanced and not marks.holds:
        return None
    more = f", and {len(glanced) - 1} more" if len(glanced) > 1 else ""
    what = f": {safe(in_words(glanced[0]))}{more}" if glanced else ""
    words = f"The journal is not as it was written{what}. What stands above may be wrong; nothing voluntary is done. "
    return line((words, "red"), "Look: ", ("greenctl journal check", "bold"))
