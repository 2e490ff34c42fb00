"""What it takes to lose any one region and still have as many replicas as are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

SURVIVES_RULE = "slo.survives"


def spares_for(needed: int, regions: int, *, held: Iterable[int] = (), limit: int | None = None) -> int | None:
    """Return the fewest spares with which the loss of any one region leaves ``needed`` replicas.

    No region may hold more than the spares, so with nothing else in the way these are ``ceil(needed / (regions - 1))``.
    ``regions``: in how many of them replicas may be placed. ``held``: how many stand in each of those that take no
    more. ``limit``: the most that anybody wants in one region. ``None`` where no number is enough.
    """
    standing = tuple(held)
    for spares in range(1, needed + 1 if limit is None else min(needed, limit) + 1):
        if regions * spares + sum(min(spares, number) for number in standing) >= needed + spares:
            return spares
    return 0 if needed < 1 else None


def left_after_a_loss(regions: Iterable[str]) -> int:
    """Return how many of the replicas in these regions are left when the region with the most of them is lost."""
    counts = Counter(regions)
    return counts.total() - max(counts.values(), default=0)


def too_few_without(regions: Iterable[str], needed: int) -> tuple[str, ...]:
    """Return the regions whose loss leaves fewer than are needed, by name."""
    counts = Counter(regions)
    total = counts.total()
    return tuple(sorted(region for region, number in counts.items() if total - number < needed))


@dataclass(frozen=True, slots=True)
class Survival:
    """How far the promise of ``slo.survives`` is kept: by what serves now, or by what a plan comes to.

    ``needed``: replicas that have to be left. ``replicas``: those that there are. ``left``: of these when the region
    with the most of them is lost; ``is_kept`` says whether that is enough. ``too_few_without``: the regions whose loss
    would leave too few. ``because``: in words, why it is not kept, or how many spares it takes. ``usd_per_hour`` and
    ``grams_per_hour``: what the spares of a plan add at the same load; ``None`` is unknown, or nobody worked it out.
    """

    needed: int
    replicas: int
    left: int
    is_kept: bool
    too_few_without: tuple[str, ...] = ()
    because: str = ""
    usd_per_hour: float | None = None
    grams_per_hour: float | None = None


def survival_of(regions: Iterable[str], needed: int, because: str = "") -> Survival:
    """Count what is left of replicas in these regions, one entry of a region for each of them."""
    where = tuple(regions)
    left = left_after_a_loss(where)
    return Survival(needed, len(where), left, left >= needed, too_few_without(where, needed), because)
