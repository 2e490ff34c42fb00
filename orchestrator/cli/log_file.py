"""The end of a log file, and what is added to it later. The text is foreign: it is made safe before it is shown."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.errors import ProviderError

POLL_SECONDS: Final = 0.3
_BLOCK: Final = 64 * 1024


def last_lines(path: Path, count: int, *, hint: str) -> list[str]:
    """Return up to ``count`` last lines, 0 for all. Raises ``ProviderError`` with the hint when it cannot be read."""
    try:
        with path.open("rb") as file:
            return _last(file, count)
    except OSError as error:
        raise _unreadable(path, error, hint) from error


def last_lines_and_more(path: Path, count: int, *, hint: str) -> tuple[list[str], Iterator[str]]:
    """Return the last lines, and those that are added behind them, as :func:`follow` does: nothing between is lost.

    Raises as :func:`last_lines`.
    """
    try:
        file = path.open("rb")
        return _last(file, count), _lines(file, path)
    except OSError as error:
        raise _unreadable(path, error, hint) from error


def _unreadable(path: Path, error: OSError, hint: str) -> ProviderError:
    return ProviderError(f"{path}: {error.strerror or error}", hint=hint)


def _last(file: BinaryIO, count: int) -> list[str]:
    """Return the last lines, all for 0, and stay behind them."""
    data = file.read() if count == 0 else _tail(file, count)
    lines = data.decode("utf-8", errors="replace").splitlines()
    return lines[-count:] if count else lines


def _tail(file: BinaryIO, count: int) -> bytes:
    """Read backwards until there are enough line ends."""
    end = start = file.seek(0, 2)
    data = b""
    while start > 0 and data.count(b"\n") <= count:
        before, start = start, max(0, start - _BLOCK)
        file.seek(start)
        data = file.read(before - start) + data
    file.seek(end)
    return data


def follow(path: Path) -> Iterator[str]:
    """Yield lines as they are added from now on, for ever. Half a line waits for its other half.

    A log that is emptied, or begun anew under its name, is followed from its new beginning.
    """
    file = path.open("rb")
    file.seek(0, 2)
    return _lines(file, path)


def _lines(file: BinaryIO, path: Path) -> Iterator[str]:
    rest = b""
    try:
        while True:
            is_over = _is_another(file, path)  # asked first: what is read then is all that it will ever hold
            rest += file.read()
            *lines, rest = rest.split(b"\n")
            yield from (one.decode("utf-8", errors="replace") for one in lines)
            if lines:
                continue
            if is_over:
                file.close()
                file, rest = path.open("rb"), b""
            elif os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)
                rest = b""
            else:
                time.sleep(POLL_SECONDS)
    finally:
        file.close()


def _is_another(file: BinaryIO, path: Path) -> bool:
    """Whether the name belongs to another file by now; while there is none, the old one is all that there is."""
    try:
        return not os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
