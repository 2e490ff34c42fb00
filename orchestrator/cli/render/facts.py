"""A short list of facts: a dim label, and words that wrap beside it and not below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cli.render.text import line

LABEL_WIDTH: Final = 9


def facts(*rows: tuple[str, str | Text] | None) -> RenderableType:
    """Lay out label and words; a row that is ``None`` is left out."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False, show_header=False)
    table.add_column("", width=0)
    table.add_column("", min_width=LABEL_WIDTH, no_wrap=True, style="dim")
    table.add_column("", overflow="fold")
    for row in rows:
        if row is not None:
            table.add_row("", row[0], line(row[1]))
    return table


def sentences(parts: Sequence[str]) -> str:
    """Join what is there, with three blanks between: the eye finds the parts."""
    return "   ".join(p for p in parts if p)
