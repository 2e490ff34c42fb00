r"""Foreign text on a terminal: file names, engine words, error messages. None of it may move the cursor.

What a terminal would obey is written out instead (``\x1b``), and so is what makes text read differently from what it
is (bidirectional overrides, invisible characters).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from rich.padding import Padding
from rich.segment import Segment
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

_OBEYED: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: escape sequences, bells, carriage returns
    "\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, or reorder what is read
    "\ud800-\udfff\U000e0000-\U000e007f]"  # lone surrogates, tag characters
)
_COLOURS: Final = re.compile("\x1b\\[[0-9;:]*m")


def safe(text: str) -> str:
    """Return one line with every character that a terminal would obey written as an escape; line ends included."""
    return _OBEYED.sub(_escape, text)


def safe_lines(text: str) -> str:
    """Return several lines, made safe; tabs become spaces and foreign colours are dropped. For logs."""
    return "\n".join(safe(_COLOURS.sub("", line).expandtabs()) for line in text.split("\n"))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    named = {10: "\\n", 13: "\\r", 9: "\\t"}
    if code in named:
        return named[code]
    if code < 0x100:  # noqa: PLR2004  # two hex digits are enough
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004  # as Python writes them


def line(*parts: str | Text | tuple[str, str]) -> Text:
    """Join parts into one safe line; a pair is text with its style."""
    joined = Text()
    for part in parts:
        if isinstance(part, Text):
            joined.append_text(part)
        elif isinstance(part, tuple):
            joined.append(safe(part[0]), style=part[1])
        else:
            joined.append(safe(part))
    return joined


def indented(by: int, *parts: str | Text | tuple[str, str]) -> Padding:
    """Join parts as :func:`line` does, and keep the indentation where the line wraps."""
    return Padding(line(*parts), (0, 0, 0, by))


class Escaped:
    """The last gate before the terminal: whatever a renderer forgot is escaped here, our own styling passes.

    Rich keeps text and its own control codes in separate segments, so only the text is searched.
    """

    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines, made safe and without blanks at their ends; the line ends themselves are Rich's layout."""
        for row in Segment.split_lines(console.render(self._renderable, options)):
            yield from _without_trailing_blanks(_escaped(row))
            yield Segment.line()


def _escaped(segments: Iterable[Segment]) -> Iterator[Segment]:
    for segment in segments:
        yield segment if segment.control else Segment(safe(segment.text), segment.style)


def _without_trailing_blanks(segments: Iterable[Segment]) -> list[Segment]:
    row = list(segments)
    while row and not row[-1].control:
        text = row[-1].text.rstrip(" ")
        if text:
            row[-1] = Segment(text, row[-1].style)
            break
        row.pop()
    return row
