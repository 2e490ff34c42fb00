"""Foreign text on a terminal."""

import io

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli.render.text import Escaped, indented, line, safe, safe_lines
from tests.unit.cli.samples import HOSTILE

ATTACKS = {
    "clear screen": "\x1b[2J",
    "window title": "\x1b]0;title\x07",
    "8-bit control sequence": "\x9b31m",
    "carriage return": "harmless\rhidden",
    "forged line": "a\nerror[x]: b",
    "backspace": "abc\x08\x08\x08xyz",
    "delete": "a\x7fb",
    "null": "a\x00b",
    "right-to-left override": "\u202egnp.exe",
    "isolate": "\u2066a\u2069",
    "zero width": "ad\u200bmin",
    "byte order mark": "\ufeffa",
    "line separator": "a\u2028b",
    "tag characters": "a\U000e0041",
    "lone surrogate": "a\ud800b",
    "hyperlink": "\x1b]8;;http://evil.invalid\x1b\\here\x1b]8;;\x1b\\",
}


def is_harmless(text: str) -> bool:
    """Whether every character prints as itself; line ends are the layout's."""
    return all(c == "\n" or c.isprintable() for c in text)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_whatever_a_terminal_would_obey_is_written_out(attack: str) -> None:
    """Nothing foreign moves the cursor, starts a line, changes a colour, or reads differently from what it is."""
    found = safe(attack)

    assert found.isprintable()
    assert "\n" not in found


def test_ordinary_text_of_any_language_stays_as_it_is() -> None:
    """Only what is obeyed or invisible is touched: names of people and places are not."""
    for text in ("Skåne–Gävle", "電力 390 g/kWh", "año", "½ ▁█ ✔ ×2 → −", "emoji 🌱"):
        assert safe(text) == text


def test_logs_keep_their_lines_and_lose_their_colours() -> None:
    """An engine's log is shown line by line: colours go, tabs become blanks, everything else is escaped."""
    assert safe_lines("\x1b[1;32mINFO\x1b[0m\ta\nb\x1b[2Jc") == "INFO    a\nb\\x1b[2Jc"


def test_the_last_gate_escapes_what_a_renderer_forgot() -> None:
    """Even text that was put into a table unescaped cannot reach the terminal as it is; our own styles can."""
    output = io.StringIO()
    table = Table(box=None)
    table.add_column("NAME")
    table.add_row(Text(HOSTILE, style="red"))
    console = Console(file=output, force_terminal=True, color_system="standard", width=200, markup=False, emoji=False)

    console.print(Escaped(table), end="")

    shown = output.getvalue()
    assert "\x1b[31m" in shown
    for own in ("\x1b[31m", "\x1b[1m", "\x1b[0m", "\x1b[1;39m"):
        shown = shown.replace(own, "")
    assert is_harmless(shown)


def test_markup_in_foreign_text_is_just_text() -> None:
    """Square brackets and colons are printed, not interpreted."""
    output = io.StringIO()
    console = Console(file=output, width=80, markup=False, emoji=False, highlight=False)

    console.print(Escaped(line("[bold red]x[/] :smile: ", ("[link=http://evil.invalid]y", "bold"))), end="")

    assert output.getvalue() == "[bold red]x[/] :smile: [link=http://evil.invalid]y\n"


def test_an_indented_sentence_keeps_its_indentation_where_it_wraps() -> None:
    """The second line of a note stands under the first, not under the margin."""
    output = io.StringIO()

    Console(file=output, width=12).print(Escaped(indented(2, "one two three four")), end="")

    assert output.getvalue() == "  one two\n  three four\n"
