"""Which stretch of the coming hours is the cleanest."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.domain.carbon import CarbonSeries
from orchestrator.domain.time import Window


def cleanest_window(series: CarbonSeries, length: timedelta) -> Window | None:
    """Return the earliest window of that length with the lowest mean, starting where a point starts.

    Only windows without a hole count: an unknown hour is not a clean hour. ``None`` when there is none.
    """
    best: tuple[float, Window] | None = None
    points = series.points
    for first, point in enumerate(points):
        window = Window.starting(point.interval.start, length)
        weighed, reached = 0.0, window.start
        for other in points[first:]:
            if other.interval.start != reached or reached >= window.end:
                break
            reached = min(other.interval.end, window.end)
            weighed += other.grams_per_kwh * ((reached - other.interval.start) / length)
        if reached == window.end and (best is None or weighed < best[0]):
            best = (weighed, window)
    return best[1] if best else None
