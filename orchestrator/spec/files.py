"""Reading the files that people name."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import InvalidSpec, Problem
from orchestrator.spec.yaml_nodes import MAX_BYTES, Place, refuse


def read_text(path: Path, shown: str) -> str:
    """Return a file's text; ``shown`` is its name in messages. Raises ``InvalidSpec``."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise _unreadable(shown, "there is no such file") from error
    except IsADirectoryError as error:
        raise _unreadable(shown, "this is a folder, not a file") from error
    except (OSError, ValueError) as error:
        raise _unreadable(shown, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return decode(raw, shown)


def decode(raw: bytes, file: str) -> str:
    """Read UTF-8 bytes. Raises ``InvalidSpec`` when they are too many or something else."""
    if len(raw) > MAX_BYTES:
        raise refuse(file, f"larger than {MAX_BYTES // 1024} KiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        raise refuse(file, f"byte 0x{raw[error.start]:02x} is not UTF-8 text", Place(line, column)) from error


def _unreadable(shown: str, message: str) -> InvalidSpec:
    return InvalidSpec(
        shown, (Problem("", message),), hint="Check the path; greenctl init writes a first service file."
    )
