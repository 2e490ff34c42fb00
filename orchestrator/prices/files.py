"""Reading the text of a price file, packed or not."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from orchestrator.errors import PriceUnavailable


def text_of(path: Path, name: str) -> str:
    """Return the whole text. Raises ``PriceUnavailable``, which calls the file by that name."""
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            return file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise PriceUnavailable(f"{name} is damaged: {error}") from error
    except OSError as error:
        raise PriceUnavailable(f"{name} cannot be read: {error.strerror or error}") from error
