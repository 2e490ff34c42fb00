"""Grid zones side by side: now, the coming hours on one scale, and the cleanest window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render import numbers
from orchestrator.cli.render.headline import grid_time, headline
from orchestrator.cli.render.numbers import NOTHING, Marks, number
from orchestrator.cli.render.sparkline import LEVELS, Scale, sparkline
from orchestrator.cli.render.table import GAP, Column, Grid, columns
from orchestrator.cli.render.text import indented, line
from orchestrator.control.views import Band, ZoneOutlook
from orchestrator.domain.carbon import Basis, CarbonIntensity, Gap
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour

REGIONS_SHOWN: Final = 2
REGIONS_TITLE: Final = "REGIONS"


def render(
    outlooks: Sequence[ZoneOutlook],
    *,
    at: Instant,
    rate: float,
    hours: int,
    window_hours: int,
    basis: Basis,
    width: int,
) -> RenderableType:
    """Return the table, in the order given; zones without a number have their reason below."""
    marks = Marks()
    hourly = {o.zone: hourly_values(o, at, hours) for o in outlooks}
    scale = Scale.over(value for values in hourly.values() for value in values)
    without_regions = _table(outlooks, [""] * len(outlooks), hourly, scale, marks, hours, window_hours)
    room = max(len(REGIONS_TITLE), width - without_regions.natural_width() - GAP)
    grid = _table(outlooks, [_regions(o.regions, room) for o in outlooks], hourly, scale, marks, hours, window_hours)
    unit = f"gCO2e/kWh · {basis.factors.value} factors · {basis.accounting.value} mix"
    parts: list[RenderableType] = [headline("Grid carbon intensity", grid_time(at, rate)), grid.laid_out(width)]
    parts.append(Text(unit, style="dim"))
    if scale is not None:
        low, high = number(scale.low), number(scale.high)
        words = (
            f"{LEVELS[0]} is {low}, {LEVELS[-1]} is {high}: one scale for all rows; each character is an hour from now"
        )
        parts.append(Text(words, style="dim"))
    if level := next((o.band_level for o in outlooks if o.mean_band is not None), None):
        words = f"BAND: the mean on {level:.0%} of days, by how wrong the same forecast was lately"
        parts.append(Text(words, style="dim"))
    parts += [indented(0, (words, "dim")) for words in _without_band(outlooks)]
    if legend := marks.legend():
        parts.append(Text(legend, style="dim"))
    parts += [indented(0, ("Source: ", "dim"), (words, "dim")) for words in _sources(outlooks)]
    parts += [
        line((f"{o.zone}: ", "bold"), f"{o.now.reason} ({o.now.source})") for o in outlooks if isinstance(o.now, Gap)
    ]
    return Group(*parts)


def _table(
    outlooks: Sequence[ZoneOutlook],
    regions: Sequence[str],
    hourly: Mapping[str, Sequence[float | None]],
    scale: Scale | None,
    marks: Marks,
    hours: int,
    window_hours: int,
) -> Grid:
    """Return a row per zone; ``regions`` are in the order of the zones."""
    grid = Grid(
        columns(
            "ZONE",
            Column(REGIONS_TITLE, keep=3),
            Column("NOW", right=True),
            Column(f"NEXT {hours} h", keep=6),
            Column("MEAN", right=True, keep=5),
            Column("BAND", right=True, keep=2),
            Column(f"CLEANEST {window_hours} h UTC", keep=4),
            Column("28 DAYS", right=True, keep=1),
            Column("AGE", right=True, keep=7),
        )
    )
    for o, named in zip(outlooks, regions, strict=True):
        now = o.now
        known = now if isinstance(now, CarbonIntensity) else None
        grid.add(
            o.zone,
            named,
            marks.write(number(None if known is None else known.grams_per_kwh), None if known is None else known.kind),
            sparkline(hourly[o.zone], scale),
            marks.write(number(o.mean_grams_per_kwh), o.forecast.kind),
            _band(o.mean_band),
            _window(o.cleanest, o.cleanest_grams_per_kwh),
            number(o.trailing_mean_grams_per_kwh),
            numbers.age(o.age_seconds) if known is not None else NOTHING,
        )
    return grid


def _without_band(outlooks: Sequence[ZoneOutlook]) -> list[str]:
    """Say once for each reason why the mean of some zones has no band, and of which."""
    zones: dict[str, list[str]] = {}
    for o in outlooks:
        if o.no_mean_band:
            zones.setdefault(o.no_mean_band, []).append(o.zone)
    everywhere = len(zones) == 1 and len(next(iter(zones.values()))) == len(outlooks)
    some = [f" of {', '.join(names)}" for names in zones.values()]
    return [f"BAND {numbers.UNKNOWN}{'' if everywhere else of}: {why}" for of, why in zip(some, zones, strict=True)]


def _sources(outlooks: Sequence[ZoneOutlook]) -> list[str]:
    """Name each source of the present values once, with its zones where there are several sources."""
    zones: dict[str, list[str]] = {}
    for o in outlooks:
        if isinstance(o.now, CarbonIntensity):
            zones.setdefault(o.now.source, []).append(o.zone)
    return list(zones) if len(zones) == 1 else [f"{source}: {', '.join(names)}" for source, names in zones.items()]


def hourly_values(outlook: ZoneOutlook, at: Instant, hours: int) -> list[float | None]:
    """Return the forecast at the middle of each coming clock hour; ``None`` where there is none."""
    first = floor_hour(at) + HOUR / 2
    points = [outlook.forecast.at(first + step * HOUR) for step in range(hours)]
    return [None if p is None else p.grams_per_kwh for p in points]


def _regions(regions: Sequence[str], room: int) -> str:
    """Name as many regions as there is room for, two at most, and count the others."""
    if not regions:
        return NOTHING
    for shown in range(min(REGIONS_SHOWN, len(regions)), 0, -1):
        rest = len(regions) - shown
        named = ", ".join(regions[:shown]) + (f" +{rest}" if rest else "")
        if len(named) <= room:
            return named
    return f"{len(regions)} region{'' if len(regions) == 1 else 's'}"


def _band(band: Band | None) -> str:
    return numbers.UNKNOWN if band is None else f"{number(band.low_grams_per_kwh)}–{number(band.high_grams_per_kwh)}"


def _window(window: Window | None, grams: float | None) -> str:
    if window is None:
        return numbers.UNKNOWN
    days = window.start.date() != window.end.date() and window.end - window.start >= timedelta(days=1)
    ending = f"{window.end:%d %b %H:%M}" if days else f"{window.end:%H:%M}"
    return f"{window.start:%d %b %H:%M}–{ending}" + ("" if grams is None else f" ({number(grams)})")
