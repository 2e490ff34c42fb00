"""Where results go: files that people name, and the standard streams.

A file is looked at before the work that fills it, which may take hours. What cannot be written is said in words.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from orchestrator.errors import DiskFull, GreenctlError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
ROOM_HINT: Final = "Make room there, or send it elsewhere, and ask again; what was done stays done."


def require_writable(option: str, file: Path) -> None:
    """Refuse a file that could not be written now. Writes nothing. Raises ``UsageError``.

    ``option`` named it.
    """
    try:
        reason = _hindrance(file)
    except OSError as error:  # a folder above it may not be looked into
        raise not_written(option, file, error) from error
    if reason is not None:
        raise not_written(option, file, OSError(reason, os.strerror(reason)))


def _hindrance(file: Path) -> int | None:
    """Return the system's number for what keeps this file from being written."""
    if file.is_dir():
        return errno.EISDIR
    if not file.parent.is_dir():
        return errno.ENOTDIR if file.parent.exists() else errno.ENOENT
    return None if os.access(file if file.exists() else file.parent, os.W_OK) else errno.EACCES


def not_written(option: str, file: Path, error: OSError) -> GreenctlError:
    """Turn what kept a file from being written into words. ``option`` named it."""
    message = f"{option} {file}: {error.strerror or error}"
    return DiskFull(message, hint=ROOM_HINT) if error.errno in NO_ROOM else UsageError(message)


@contextmanager
def onto(stream: str) -> Iterator[None]:
    """Turn what keeps a standard stream from being written into words. A reader that left is Typer's to see."""
    try:
        yield
    except OSError as error:
        if error.errno not in {*NO_ROOM, errno.EIO}:
            raise
        raise DiskFull(f"{stream} cannot be written: {error.strerror}", hint=ROOM_HINT) from error
