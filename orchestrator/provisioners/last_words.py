"""What an engine said before it ended, fit to be shown: lines that name a cause, without secrets or control codes."""

from __future__ import annotations

import itertools
import re
import signal
from collections.abc import Iterable
from pathlib import Path

from orchestrator.provisioners.masking import masked

TAIL_BYTES = 64 * 1024
MAX_LINES = 3
MAX_CHARACTERS = 800

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
"""Terminal control sequences (ECMA-48 CSI, and OSC): colours, and titles that a log line could set."""

_CAUSE = re.compile(r"\b\w*(?:Error|Exception|Interrupt)\b\s*:|\berror:|\bFATAL\b|\bkilled\b|\bcannot\b", re.IGNORECASE)

_HARMLESS = re.compile(r"\b(?:DEBUG|INFO|WARNING)\b")
"""Levels below error: their lines may quote one."""

_FRAME = re.compile(r"\s+(?:File \"|\^|~)")
"""What follows an exception's line without explaining it: the next traceback's frames."""


def describe_end(status: int | None, log: Path, secrets: Iterable[str] = ()) -> str:
    """Say how a process ended and what its log names as the cause.

    ``status``: exit status, negative for a signal, ``None`` when nobody saw it.
    """
    words = last_words(log, secrets)
    end = (
        "ended unseen (killed together with its keeper, or this machine restarted)"
        if status is None
        else _status_text(status)
    )
    return f"{end}: {words}" if words else end


def last_words(log: Path, secrets: Iterable[str] = ()) -> str:
    """Return the lines of the log's end that name a cause, the first cause first; else its last line; else nothing."""
    lines = [line for raw in _tail(log).splitlines() if (line := presentable(raw, secrets)).strip()]
    causes = []
    for line, following in itertools.pairwise([*lines, ""]):
        if _CAUSE.search(line) and not _HARMLESS.search(line):
            explained = following.startswith(" ") and not _FRAME.match(following)
            causes.append(" ".join([line.strip(), following.strip()] if explained else [line.strip()]))
    causes = list(dict.fromkeys(causes))
    # The first error is the root cause, the last one what it led to; those between mostly repeat.
    picked = causes[: MAX_LINES - 1] + causes[MAX_LINES - 1 :][-1:] if causes else [line.strip() for line in lines[-1:]]
    return " | ".join(picked)[:MAX_CHARACTERS]


def presentable(line: str, secrets: Iterable[str] = ()) -> str:
    """Mask secrets and neutralise control characters, so that a log line cannot speak to the terminal."""
    line = masked(_ESCAPES.sub("", line), secrets)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line.replace("\t", " "))


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _status_text(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
