"""Whether a file that was read is still the same one: its path, length, and when it was last written.

A process that lives for weeks reads lists and recordings that others renew beside it. Their text is not compared: a
mark costs one question to the file system, so that it can be asked once a minute for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from orchestrator.domain.time import Instant

LOOK_EVERY: Final = timedelta(minutes=1)
"""Of the time that callers hand over. Lists and recordings are renewed by the hour, or by the day."""


@dataclass(frozen=True, slots=True)
class FileMark:
    """What a file was when it was looked at."""

    path: Path
    written_ns: int
    bytes: int


def mark_of(path: Path) -> FileMark:
    """Look at a file. Raises ``OSError``."""
    found = path.stat()
    return FileMark(path, found.st_mtime_ns, found.st_size)


def is_time(looked_at: Instant | None, now: Instant) -> bool:
    """Whether to look again; always where time has gone backwards, as between two replays."""
    return looked_at is None or not looked_at <= now < looked_at + LOOK_EVERY
