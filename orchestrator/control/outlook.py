"""The carbon outlook of grid zones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from orchestrator.control.grid import GridReader, ZoneView
from orchestrator.control.runtime import Runtime
from orchestrator.control.views import Band, ZoneOutlook
from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Kind
from orchestrator.domain.misses import FEWEST_DAYS, Misses
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.forecasting.missed import KNOWN_BEFORE
from orchestrator.forecasting.windows import cleanest_window
from orchestrator.policy.assess import ENOUGH_OF_THE_HORIZON

BAND_LEVEL = 0.8
"""Of days: as sure as a move has to be to count as sure (rule 1 of the policy)."""


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
    regions = {zone: regions_by_zone.get(zone, ()) for zone in views}
    outlooks = [outlook_of(view, regions[zone], now, hours, window_hours) for zone, view in views.items()]
    return tuple(sorted(outlooks, key=lambda o: (o.mean_grams_per_kwh is None, o.mean_grams_per_kwh or 0.0, o.zone)))


def outlook_of(view: ZoneView, regions: tuple[str, ...], now: Instant, hours: int, window_hours: int) -> ZoneOutlook:
    """Return a zone's present, the coming hours and their bands, and the cleanest window of them.

    The mean is unknown where fewer hours are than the planner asks for before it believes one: days alone, of a feed
    that says nothing of the nights, would stand above zones that are known whole.
    """
    end = floor_hour(now) + hours * HOUR
    ahead = CarbonSeries(view.zone, tuple(p for p in view.forecast.points if p.interval.start < end))
    needed = ENOUGH_OF_THE_HORIZON * hours
    window = cleanest_window(ahead, window_hours * HOUR)
    inside = CarbonSeries(view.zone, tuple(p for p in ahead.points if window and p.interval.start in window))
    known = isinstance(view.now, CarbonIntensity)
    mean_band = _mean_band(view.misses, ahead)
    return ZoneOutlook(
        zone=view.zone,
        regions=regions,
        now=view.now,
        age_seconds=view.now.age(now).total_seconds() if known and isinstance(view.now, CarbonIntensity) else None,
        forecast=ahead,
        mean_grams_per_kwh=ahead.mean_grams_per_kwh() if len(ahead.points) >= needed else None,
        cleanest=window,
        cleanest_grams_per_kwh=inside.mean_grams_per_kwh(),
        trailing_mean_grams_per_kwh=view.trailing_mean_grams_per_kwh,
        band_level=BAND_LEVEL,
        bands=_bands(view.misses, ahead),
        mean_band=mean_band,
        no_mean_band="" if mean_band is not None else _why_none(view.misses, ahead, hours),
        crossover=view.crossover,
    )


def _bands(misses: Misses | None, ahead: CarbonSeries) -> tuple[Band, ...]:
    """Return the bands of the hours that have one."""
    if misses is None:
        return ()
    found = [(p.interval, misses.band(p.grams_per_kwh, p.interval.start, BAND_LEVEL)) for p in ahead.points]
    return tuple(Band(window, *ends) for window, ends in found if ends is not None)


def _mean_band(misses: Misses | None, ahead: CarbonSeries) -> Band | None:
    """Return the band of the mean; ``None`` where the forecast has a hole, whose hour would be missing in it."""
    if misses is None or not ahead.points or _has_holes(ahead):
        return None
    first, last = ahead.points[0].interval, ahead.points[-1].interval
    ends = misses.mean_band([p.grams_per_kwh for p in ahead.points], first.start, BAND_LEVEL)
    return None if ends is None else Band(Window(first.start, last.end), *ends)


def _why_none(misses: Misses | None, ahead: CarbonSeries, hours: int) -> str:
    """Say why the mean has no band; nothing where there is no mean either."""
    points = ahead.points
    if not points:
        return ""
    if len(points) < ENOUGH_OF_THE_HORIZON * hours:
        return f"{len(points)} of {hours} coming hours are known, which is no mean"
    if misses is None:
        if any(p.kind is Kind.SYNTHETIC for p in points):
            return "what is made up is never wrong, which says nothing of the grid"
        return "the earlier forecasts of this provider are not on record"
    if _has_holes(ahead):
        return "the forecast has holes"
    grams, first = [p.grams_per_kwh for p in points], points[0].interval.start
    judged = sum(misses.scenario(day, grams, first) is not None for day in range(len(misses.by_day)))
    return (
        f"{judged} earlier forecasts can be compared with what came, {FEWEST_DAYS} are needed:"
        f" that takes {(KNOWN_BEFORE + FEWEST_DAYS * timedelta(days=1)).days} days on record"
    )


def _has_holes(ahead: CarbonSeries) -> bool:
    points = ahead.points
    return Window(points[0].interval.start, points[-1].interval.end).length != len(points) * HOUR
