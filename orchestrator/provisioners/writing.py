"""What goes wrong where a provisioner writes its files, in our words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import DiskFull, ProviderError


@contextmanager
def translated(place: Path) -> Iterator[None]:
    """Turn the system's errors into ours: raises ``DiskFull`` or ``ProviderError`` for an ``OSError``."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(f"no space left below {place}") from error
        raise ProviderError(f"cannot write below {place}: {error.strerror}") from error
