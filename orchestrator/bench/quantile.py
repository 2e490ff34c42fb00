"""The quantile that all benches print: one of the values that were measured, never a mixture of two."""

from __future__ import annotations

import math
from collections.abc import Sequence


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` (0..1) of the values do not exceed (nearest rank).

    Raises ``ValueError`` without any value: nothing was measured, and that is no number.
    """
    if not values:
        raise ValueError("there is no quantile of nothing")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
