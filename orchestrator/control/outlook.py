"""The carbon outlook of grid zones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.control.grid import GridReader, ZoneView
from orchestrator.control.runtime import Runtime
from orchestrator.control.views import ZoneOutlook
from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries
from orchestrator.domain.time import HOUR, Instant, floor_hour
from orchestrator.forecasting.windows import cleanest_window


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
    window = cleanest_window(ahead, window_hours * HOUR)
    inside = CarbonSeries(view.zone, tuple(p for p in ahead.points if window and p.interval.start in window))
    known = isinstance(view.now, CarbonIntensity)
    return ZoneOutlook(
        zone=view.zone,
        regions=regions,
        now=view.now,
        age_seconds=view.now.age(now).total_seconds() if known and isinstance(view.now, CarbonIntensity) else None,
        forecast=ahead,
        mean_grams_per_kwh=ahead.mean_grams_per_kwh(),
        cleanest=window,
        cleanest_grams_per_kwh=inside.mean_grams_per_kwh(),
        trailing_mean_grams_per_kwh=view.trailing_mean_grams_per_kwh,
    )
