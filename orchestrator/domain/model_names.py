"""What the name of a model tells of its size, as names have it: ``8B``, or ``30B-A3B``. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SIZE = r"(\d{1,4}(?:\.\d{1,2})?)"
_BILLIONS = re.compile(rf"(?<![A-Za-z0-9.]){_SIZE}[Bb](?:-[Aa]{_SIZE}[Bb])?(?![A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class NamedSize:
    """Billions of weights; ``active``: of those that each token uses in a mixture of experts, ``None`` in any other."""

    billions: float
    active: float | None


def size_in(name: str) -> NamedSize | None:
    """Return the size that a name tells, without its folder; ``None`` where it tells none."""
    found = _BILLIONS.search(name)
    return None if found is None else NamedSize(float(found[1]), float(found[2]) if found[2] else None)
