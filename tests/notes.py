"""What a long story measured, kept until the end of the run and printed there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

LINES: list[str] = []


def note(line: str) -> None:
    """Keep a line for the summary."""
    LINES.append(line)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Note how long something took, whether it worked or not."""
    started = time.monotonic()
    outcome = "FAILED"
    try:
        yield
        outcome = ""
    finally:
        note(f"{name:<58} {time.monotonic() - started:7.1f} s  {outcome}".rstrip())
