"""A series of points of any length as clock hours, each with its mean and the weakest kind of what is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.domain.carbon import CarbonIntensity, Kind, weakest
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour


@dataclass(frozen=True, slots=True)
class Hour:
    """Mean of one clock hour over what is known of it, and the weakest kind among that."""

    grams_per_kwh: float
    kind: Kind


def by_hour(points: Iterable[CarbonIntensity]) -> dict[Instant, Hour]:
    """Average points of any length by clock hour."""
    parts: dict[Instant, list[tuple[float, CarbonIntensity]]] = {}
    for point in points:
        start = point.interval.start
        if point.interval.end - start == HOUR and not (start.minute or start.second or start.microsecond):
            parts.setdefault(start, []).append((1.0, point))  # nearly all of them
            continue
        for hour in clock_hours(point.interval):
            overlap = min(point.interval.end, hour + HOUR) - max(point.interval.start, hour)
            parts.setdefault(hour, []).append((overlap / HOUR, point))
    return {start: _mean(held) for start, held in parts.items()}


def _mean(held: list[tuple[float, CarbonIntensity]]) -> Hour:
    if len(held) == 1:
        return Hour(held[0][1].grams_per_kwh, held[0][1].kind)
    total = sum(weight for weight, _ in held)
    return Hour(sum(weight * p.grams_per_kwh for weight, p in held) / total, weakest([p.kind for _, p in held]))


def clock_hours(window: Window) -> Iterator[Instant]:
    """Starts of the clock hours that touch the window."""
    start = floor_hour(window.start)
    while start < window.end:
        yield start
        start += HOUR
