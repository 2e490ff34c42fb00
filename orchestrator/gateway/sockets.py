"""Unix sockets in the gateway's folder, whatever the length of its path.

The kernel allows 107 bytes for a socket's path. Through an open handle of the folder the path is short, which Linux
offers under ``/proc/self/fd``; elsewhere a long path is an error that says so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from orchestrator.errors import InvalidSettings

FOLDER: Final = "gateway"
MAX_PATH_BYTES: Final = 100
"""107 less a margin for temporary suffixes."""

_PREFIX = "admin-"
_DRAFT_PREFIX = "new-"
_SUFFIX = ".sock"


def gateway_folder(state_dir: Path) -> Path:
    """Return the gateway's folder, made with mode 0700 if need be: who can enter it can steer traffic."""
    folder = state_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return folder


def socket_name(boot_id: str) -> str:
    """Return the file name of a gateway process's control socket."""
    return f"{_PREFIX}{boot_id}{_SUFFIX}"


def draft_name(boot_id: str) -> str:
    """Return the name under which the socket lies before it listens; it is none of :func:`sockets_in`."""
    return f"{_DRAFT_PREFIX}{boot_id}{_SUFFIX}"


def sockets_in(folder: Path) -> list[Path]:
    """Return the control sockets, stale ones included."""
    return sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"))


def drafts_in(folder: Path) -> list[Path]:
    """Return the sockets that do not listen yet, or never will because their process was killed."""
    return sorted(folder.glob(f"{_DRAFT_PREFIX}*{_SUFFIX}"))


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a path that a socket call accepts, valid inside the ``with``; raises ``InvalidSettings`` without one."""
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield str(path)
        return
    if not sys.platform.startswith("linux"):
        raise InvalidSettings(
            f"{path} is too long for a socket", hint=f"Use a state directory of at most {MAX_PATH_BYTES - 40} bytes."
        )
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{path.name}"
    finally:
        os.close(handle)
