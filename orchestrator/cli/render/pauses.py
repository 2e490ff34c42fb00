"""What is paused, by whom and why."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from orchestrator.cli.render.numbers import instant
from orchestrator.cli.render.text import line
from orchestrator.control.pausing import in_words
from orchestrator.domain.records import Pause

STILL_DONE = "What is voluntary is held: nothing moves, nothing that serves is ended. Lost replicas are replaced still."


def answer(service: str | None, held: Sequence[Pause], *, paused: bool, changed: bool) -> Group:
    """Say what a word has changed, and what holds now. ``held``: the words in force about what was named."""
    what = service or "everything"
    if paused:
        parts = [] if changed else [line(f"{what} was paused already; the older word stays.")]
        return Group(*parts, *in_force(held), line(STILL_DONE))
    said = f"{what} is paused no longer." if changed else f"{what} was not paused by itself."
    left = [line("Still held:"), *in_force(held)] if held else []
    return Group(line(said if changed or service else "There was no pause of everything."), *left)


def in_force(held: Sequence[Pause]) -> list[Text]:
    """Return one line per word: what, who, why, since when, and how to take it back."""
    return [
        line(
            (f"{in_words(p)}", "cyan"),
            f" since {instant(p.at)}. Lift it: ",
            (f"greenctl resume {p.service}".rstrip(), "bold"),
        )
        for p in held
    ]
