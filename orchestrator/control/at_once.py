"""Wait for several things of the same kind at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

V = TypeVar("V")


async def all_of(work: Sequence[Coroutine[Any, Any, V]]) -> list[V]:
    """Return all answers in order; raises the first error. One alone, which is most services' lot, needs no task."""
    if not work:
        return []
    return [await work[0]] if len(work) == 1 else list(await asyncio.gather(*work))
