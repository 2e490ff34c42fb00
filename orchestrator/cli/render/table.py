"""Tables that fit the terminal by leaving out the least important columns, and say which.

A cell is never cut: half a region name is worse than none, and half a number is a wrong one. What still does not fit
goes into the one column that may wrap; where not even that helps, each row becomes a list of its cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cli.render.text import indented, safe

Cell = str | Text
GAP: Final = 2
MIN_WRAPPED: Final = 16
ALWAYS: Final = 9


@dataclass(frozen=True, slots=True)
class Column:
    """``keep`` orders what is left out first: 0 goes first, 9 never. ``wrap``: may break over lines."""

    title: str
    right: bool = False
    keep: int = ALWAYS
    wrap: bool = False
    style: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns and rows before they are laid out."""

    columns: tuple[Column, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """Append a row; foreign text is made safe here."""
        self.rows.append(tuple(safe(c) if isinstance(c, str) else c for c in cells))

    def natural_width(self) -> int:
        """Return how many columns of a terminal it takes with nothing left out."""
        return self._needed([i for i in range(len(self.columns)) if self._says_something(i)])

    def laid_out(self, width: int, indent: int = 0) -> RenderableType:
        """Return the table, at most ``width`` wide, with a note of the columns that were left out.

        Where the columns that always stay are wider, it is a list, which has room for all of them.
        """
        kept = self._kept(width - indent)
        if self._needed(kept) > width - indent:
            return self._listed(indent)
        titled = any(self.columns[index].title for index in kept)
        table = Table(
            box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_edge=False, header_style="bold", show_header=titled
        )
        if indent:
            table.add_column("", width=indent - GAP, no_wrap=True)
        for index in kept:
            column = self.columns[index]
            justify: Literal["right", "left"] = "right" if column.right else "left"
            table.add_column(
                Text(column.title), justify=justify, no_wrap=not column.wrap, overflow="fold", style=column.style
            )
        for row in self.rows:
            cells = [_text(row[index]) for index in kept]
            table.add_row(*([Text("")] if indent else []), *cells)
        missing = (c.title for i, c in enumerate(self.columns) if i not in kept and self._says_something(i))
        left_out = [title for title in missing if title]
        if not left_out:
            return table
        note = f"No room for {', '.join(left_out)}: widen the terminal."
        return Group(table, indented(indent, (note, "dim")))

    def _listed(self, indent: int) -> RenderableType:
        """Return a line for each cell, as ``TITLE  value``; only what is wider than the terminal is broken."""
        told = [i for i in range(len(self.columns)) if self._says_something(i)]
        parts: list[RenderableType] = []
        for row in self.rows:
            parts += [Text("")] if parts else []
            for index in told:
                cell, column = _text(row[index]), self.columns[index]
                if cell.plain.strip():
                    title = (f"{column.title}  ", "bold") if column.title else ""
                    parts.append(indented(indent, title, Text.assemble(cell, style=column.style)))
        return Group(*parts)

    def _kept(self, width: int) -> list[int]:
        kept = [i for i in range(len(self.columns)) if self._says_something(i)]
        while self._needed(kept) > width:
            weakest = min(kept, key=lambda i: (self.columns[i].keep, -i))
            if self.columns[weakest].keep == ALWAYS:
                break
            kept.remove(weakest)
        return kept

    def _says_something(self, index: int) -> bool:
        return any(_text(row[index]).plain.strip() for row in self.rows)

    def _needed(self, kept: Sequence[int]) -> int:
        return sum(self._width(i) + GAP for i in kept) - GAP if kept else 0

    def _width(self, index: int) -> int:
        column = self.columns[index]
        widest = max((cell_len(_text(row[index]).plain) for row in self.rows), default=0)
        return max(cell_len(column.title), min(widest, MIN_WRAPPED) if column.wrap else widest)


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def columns(*specs: Column | str) -> tuple[Column, ...]:
    """Make columns; a bare string is a left-aligned one that always stays."""
    return tuple(Column(s) if isinstance(s, str) else s for s in specs)
