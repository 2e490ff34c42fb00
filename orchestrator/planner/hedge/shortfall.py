"""How many replicas survive the next minutes: an exact convolution over zones and the shocks of their regions.

Inside a zone the losses follow a Marshall-Olkin law: one shock for all of them, and one for each (A. W. Marshall and
I. Olkin, "A multivariate exponential distribution", J. Am. Stat. Assoc. 62, 1967); across the zones of a region there
is one more common shock. Zones of different regions fail independently of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Held = tuple[int, float]
"""Replicas in one zone, and the probability that a single replica there is lost in the window."""


def survivors(regions: Mapping[str, Sequence[Held]], region_share: float, whole_share: float) -> list[float]:
    """Return P[0, 1, .. n survive] for the replicas held, by region.

    ``region_share``: which part of a zone's loss probability is a shock that takes all zones of its region; it counts
    where the region holds replicas in several zones. ``whole_share``: which part of a single replica's loss probability
    takes all replicas of its zone. A loss that does not leaves 1 .. n - 1 of n, each as likely.
    """
    total = [1.0]
    for zones in regions.values():
        if len(zones) == 1:
            ((count, lost),) = zones
            total = _with_zone(total, count, lost, whole_share)
            continue
        shock = region_share * min(p for _, p in zones)
        region = [1.0]
        for count, lost in zones:
            region = _with_zone(region, count, (lost - shock) / (1.0 - shock), whole_share)
        region = [p * (1.0 - shock) for p in region]
        region[0] += shock
        total = _convolved(total, region)
    return total


def event_probability(single: float, count: int, whole_share: float) -> float:
    """Return P[any replica of a zone is lost], of ``count`` that share one shock and have one each."""
    return single if count <= 1 else 1.0 - (1.0 - single) ** events_of(count, whole_share)


def events_of(count: int, whole_share: float) -> float:
    """Return how many times a single replica's hazard a zone's hazard is: one common shock, ``count`` of their own."""
    return whole_share + (1.0 - whole_share) * count


def _with_zone(before: Sequence[float], count: int, lost: float, whole_share: float) -> list[float]:
    after = [0.0] * (len(before) + count)
    event = event_probability(lost, count, whole_share)
    whole = event if count == 1 else event * whole_share / events_of(count, whole_share)
    each = (event - whole) / (count - 1) if count > 1 else 0.0
    for i, p in enumerate(before):
        after[i] += p * whole
        after[i + count] += p * (1.0 - event)
        if each > 0:
            for left in range(1, count):
                after[i + left] += p * each
    return after


def _convolved(a: Sequence[float], b: Sequence[float]) -> list[float]:
    if len(a) == 1:
        return [a[0] * y for y in b]
    result = [0.0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            result[i + j] += x * y
    return result
