"""Logs of processes that run for years: two files bound what a year of troubles can fill."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

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
