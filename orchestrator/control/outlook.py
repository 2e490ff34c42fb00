"""The carbon outlook of grid zones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.control.grid import GridReader, ZoneView
from orchestrator.control.runtime import Runtime
from orchestrator.control.views import ZoneOutlook
from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour


async def carbon_outlook(
    runtime: Runtime,
    *,
    zones: Sequence[str],
    regions_by_zone: Mapping[str, tuple[str, ...]],
    hours: int,
    window_hours: int,
    basis: Basis,
) -> tuple[ZoneOutlook, ...]:
    """Return each zone's present, coming hours and cleanest window, cleanest zone first, unknown ones last."""
    now = runtime.clock.now()
    views = await GridReader(runtime.carbon).zones(sorted(set(zones)), basis, now, hours)
    outlooks = [_outlook(view, regions_by_zone.get(zone, ()), now, hours, window_hours) for zone, view in views.items()]
    return tuple(sorted(outlooks, key=lambda o: (o.mean_grams_per_kwh is None, o.mean_grams_per_kwh or 0.0, o.zone)))


def _outlook(view: ZoneView, regions: tuple[str, ...], now: Instant, hours: int, window_hours: int) -> ZoneOutlook:
    end = floor_hour(now) + hours * HOUR
    ahead = CarbonSeries(view.zone, tuple(p for p in view.forecast.points if p.interval.start < end))
    window, grams = _cleanest(ahead, window_hours)
    known = isinstance(view.now, CarbonIntensity)
    return ZoneOutlook(
        zone=view.zone,
        regions=regions,
        now=view.now,
        age_seconds=view.now.age(now).total_seconds() if known and isinstance(view.now, CarbonIntensity) else None,
        forecast=ahead,
        mean_grams_per_kwh=ahead.mean_grams_per_kwh(),
        cleanest=window,
        cleanest_grams_per_kwh=grams,
        trailing_mean_grams_per_kwh=view.trailing_mean_grams_per_kwh,
    )


def _cleanest(series: CarbonSeries, window_hours: int) -> tuple[Window | None, float | None]:
    """Return the contiguous run of that many hours with the lowest mean; the earlier of equals."""
    best: tuple[float, Window] | None = None
    points = series.points
    for first in range(len(points) - window_hours + 1):
        run = points[first : first + window_hours]
        if run[-1].interval.end - run[0].interval.start != window_hours * HOUR:
            continue
        mean = sum(p.grams_per_kwh for p in run) / window_hours
        if best is None or mean < best[0] - 1e-9:
            best = (mean, Window(run[0].interval.start, run[-1].interval.end))
    return (None, None) if best is None else (best[1], best[0])
