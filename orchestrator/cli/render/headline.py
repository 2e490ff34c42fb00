"""The first line of an answer: about what, by which policy, when, on which clock."""

from __future__ import annotations

from rich.text import Text

from orchestrator.cli.render.numbers import instant, rate_words
from orchestrator.cli.render.text import safe
from orchestrator.domain.time import Instant


def headline(name: str, *details: str) -> Text:
    """Return a bold name and its details."""
    text = Text(safe(name), style="bold")
    for detail in details:
        if detail:
            text.append(f"   {safe(detail)}", style="not bold")
    return text


def grid_time(moment: Instant, rate: float) -> str:
    """Say the grid's time, and that it is not the real one where it is not."""
    words = rate_words(rate)
    return f"grid time {instant(moment)}, {words}" if words else instant(moment)
