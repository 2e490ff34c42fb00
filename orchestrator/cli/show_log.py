"""Print a log file: its end, and what comes after it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from rich.text import Text

from orchestrator.cli import log_file
from orchestrator.cli.render.text import safe_lines
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError


def show_log(session: Session, path: Path, *, lines: int, follow: bool, about: str, hint: str) -> None:
    """Print the last lines of a log, and go on with ``follow``.

    Raises ``ProviderError`` when it cannot be read; ``hint`` then says when there will be one.
    """
    if follow and session.as_json:
        raise UsageError("--follow never ends, and --json is one document", hint="Leave one of them out.")
    more: Iterator[str] = iter(())
    if follow:
        found, more = log_file.last_lines_and_more(path, lines, hint=hint)
    else:
        found = log_file.last_lines(path, lines, hint=hint)
    session.emit(log={"of": about, "path": path, "lines": found})
    session.say(Text(f"{about}: {path}", style="dim"))
    for text in chain(found, more):
        session.show(_verbatim(text))


def _verbatim(text: str) -> Text:
    return Text(safe_lines(text), no_wrap=True, overflow="ignore")
