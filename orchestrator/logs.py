"""Logs of processes that run for years: two files bound what a year of troubles can fill.

A full disk ends nobody.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

LOG_LIMIT_BYTES = 8 * 1024 * 1024
"""At this size a log is copied to ``NAME.log.1`` and emptied."""


def keep_log_short(path: Path, limit_bytes: int = LOG_LIMIT_BYTES) -> None:
    """Empty a log that has become too long; whoever writes it appends, and so goes on at its new end.

    A full disk or a log that is not there keeps nobody from going on.
    """
    with suppress(OSError):
        if path.stat().st_size > limit_bytes:
            old = path.with_suffix(".log.1")
            shutil.copyfile(path, old)
            old.chmod(0o600)
            os.truncate(path, 0)


class LineLogger:
    """Writes each line at once, for structlog. A line that cannot be written is lost: the work matters more.

    Past Python's own buffers: what waits there would be tried again at the process's end, and change its exit status.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def msg(self, line: str) -> None:
        """Write one line."""
        with suppress(OSError):
            os.write(self._handle, f"{line}\n".encode(errors="backslashreplace"))

    debug = info = warning = error = critical = exception = log = msg


def lines_to(handle: int) -> Callable[..., LineLogger]:
    """Return structlog's ``logger_factory`` for an open file."""

    def made(*_: Any) -> LineLogger:  # noqa: ANN401 - whatever a logger was asked for with
        return LineLogger(handle)

    return made
