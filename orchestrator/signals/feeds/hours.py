"""Whole clock hours out of shorter steps. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from orchestrator.domain.carbon import weakest
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.signals.statement import Statement


def by_hour(statements: Sequence[Statement]) -> list[Statement]:
    """Return the mean of each clock hour that is covered without a gap, in order.

    An hour of which a part is missing is left out: the missing part need not be like the rest. The mean is of the
    weakest kind among its parts, and was issued when the last of them was. All must be of one zone and basis.
    """
    parts: dict[Instant, dict[Window, Statement]] = {}
    for one in statements:
        start = floor_hour(one.interval.start)
        if one.interval.end <= start + HOUR:
            parts.setdefault(start, {})[one.interval] = one
    return [_mean(start, list(parts[start].values())) for start in sorted(parts) if _is_full(list(parts[start]))]


def _is_full(intervals: Sequence[Window]) -> bool:
    ordered = sorted(intervals)
    met = all(later.start == earlier.end for earlier, later in pairwise(ordered))
    return met and sum((i.length for i in ordered), timedelta(0)) == HOUR


def _mean(start: Instant, parts: Sequence[Statement]) -> Statement:
    first, issued = parts[0], [p.issued_at for p in parts if p.issued_at is not None]
    return Statement(
        zone=first.zone,
        basis=first.basis,
        interval=Window.starting(start, HOUR),
        grams_per_kwh=sum(p.grams_per_kwh * p.interval.hours for p in parts),
        kind=weakest([p.kind for p in parts]),
        source=first.source,
        issued_at=max(issued) if len(issued) == len(parts) else None,
    )
