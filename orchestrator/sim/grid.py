"""The recorded grid of a simulation: every hour of every zone, read once, checked once.

Hours are numbered from the start of the simulated period; those before it (as far as they are recorded) are negative
and are what the past knows. The mean of an hour is known when the hour is over, as in the recording.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from orchestrator.control.grid import TRAILING, GridReader, ZoneView
from orchestrator.control.ports import CarbonSource
from orchestrator.domain.carbon import PLAUSIBLE_GRAMS_PER_KWH, Basis, CarbonIntensity, CarbonSeries, Gap, Kind
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour, format_instant
from orchestrator.errors import SignalUnavailable
from orchestrator.forecasting.coming import SOURCE
from orchestrator.forecasting.missed import READ
from orchestrator.forecasting.pattern import LOOK_BACK_HOURS, blended_with_holes
from orchestrator.forecasting.persistence import MIN_COVERAGE

Floats = NDArray[np.float64]

DAY_HOURS = 24
TRAILING_HOURS = int(TRAILING / HOUR)
READ_HOURS = int(READ / HOUR)
PAST_HOURS = TRAILING_HOURS + 8 * DAY_HOURS
"""How much of the past is read: the trailing mean's 28 days, and the week that a forecast may look back, and a day."""

BLOCK_VALUES = 200_000
"""So many past values are worked on at once: a few megabytes."""

MOST_VIEWS = 120_000
"""About 500 MB: a year of thirteen zones stays whole; of more zones each policy works it out for itself."""


@dataclass(frozen=True)
class RecordedGrid:
    """g CO2e/kWh of the zones, (past + period hours, zones), ``nan`` where the past has no value; later none lacks.

    ``past``: how many rows lie before the period. ``points``: the same as the controller's own values, by zone.
    """

    period: Window
    basis: Basis
    zones: tuple[str, ...]
    grams_per_kwh: Floats
    past: int
    points: dict[str, tuple[CarbonIntensity | None, ...]]

    @property
    def hours(self) -> int:
        """Hours of the period."""
        return len(self.grams_per_kwh) - self.past

    def row(self, moment: Instant) -> int:
        """Return the row of the hour that holds the moment; out of range where nothing was read."""
        return int((moment - self.period.start) // HOUR) + self.past

    def point_in(self, zone: str, window: Window) -> CarbonIntensity | None:
        """Return the recorded value of the hour in which a window starts: what the ledger settles by."""
        row = self.row(window.start)
        known = self.points.get(zone, ())
        return known[row] if 0 <= row < len(known) else None


async def read_grid(source: CarbonSource, zones: Sequence[str], basis: Basis, period: Window) -> RecordedGrid:
    """Read the zones. A zone without any value in the period is left out; the period is of whole hours.

    Raises ``SignalUnavailable`` when a zone lacks some hours of the period, or when no zone has any.
    """
    start = period.start - PAST_HOURS * HOUR
    total = int((period.end - start) / HOUR)
    columns: list[Floats] = []
    points: dict[str, tuple[CarbonIntensity | None, ...]] = {}
    for zone in sorted(set(zones)):
        series = await source.history(zone, basis, Window(start, period.end), period.end)
        found: list[CarbonIntensity | None] = [None] * total
        for point in series.points:
            row = int((point.interval.start - start) // HOUR)
            if 0 <= row < total:
                found[row] = point
        if all(p is None for p in found[PAST_HOURS:]):
            continue
        _refuse_holes(zone, found, start)
        points[zone] = tuple(found)
        columns.append(np.array([math.nan if p is None else p.grams_per_kwh for p in found]))
    if not columns:
        span = f"{format_instant(period.start)} to {format_instant(period.end)}"
        message = f"the recording has no value of {', '.join(sorted(set(zones))) or 'any zone'} from {span}"
        hint = "Choose --from and --to inside the recording, or name another folder with --data."
        raise SignalUnavailable(message, hint=hint)
    return RecordedGrid(period, basis, tuple(points), np.stack(columns, axis=1), PAST_HOURS, points)


def _refuse_holes(zone: str, found: Sequence[CarbonIntensity | None], start: Instant) -> None:
    holes = [row for row in range(PAST_HOURS, len(found)) if found[row] is None]
    if holes:
        first = format_instant(start + holes[0] * HOUR)
        message = f"{zone}: {len(holes)} hours of the period are missing in the recording, the first is {first}"
        hint = f"Choose other dates, or keep the service out of {zone} with placement.deny: no hour is made up."
        raise SignalUnavailable(message, hint=hint)


class SharedGrid(GridReader):
    """The controller's reader of the grid over a recorded period; what it says of an hour is worked out once for all.

    It says what :class:`~orchestrator.control.grid.GridReader` says (a test compares them): the newest hour that is
    over, the blend of four weeks, and the trailing mean. By how much the blend was wrong lately it leaves out: a year
    of that for every zone is shown to nobody, and nothing is decided on it.
    """

    def __init__(self, source: CarbonSource, grid: RecordedGrid) -> None:
        super().__init__(source)
        self._grid = grid
        self._column = {zone: i for i, zone in enumerate(grid.zones)}
        self._complete = {zone: None not in grid.points[zone] for zone in grid.zones}
        self._blocks: dict[int, _Block] = {}
        self._intervals: dict[int, Window] = {}
        self._views: dict[tuple[str, int, int], ZoneView] = {}

    async def zone(self, zone: str, basis: Basis, now: Instant, hours: int) -> ZoneView:
        """Return what is known now; as its base where something of the last day is missing."""
        row = self._grid.row(now)
        known = self._views.get((zone, row, hours))
        if known is not None:
            return known
        view = self._worked_out(zone, row, now, hours) if basis == self._grid.basis else None
        if view is None:
            view = await super().zone(zone, basis, now, hours)
            if zone not in self._column:
                view = ZoneView(zone, Gap(zone, "not in the recording", "recorded"), view.history, view.forecast, None)
        if len(self._views) >= MOST_VIEWS:
            self._views.clear()
        self._views[zone, row, hours] = view
        return view

    async def zones(self, zones: Sequence[str], basis: Basis, now: Instant, hours: int) -> dict[str, ZoneView]:
        """Read several zones, one after the other: nothing waits here."""
        return {z: await self.zone(z, basis, now, hours) for z in zones}

    async def intensities(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """Return the past values of a window."""
        if zone not in self._column or basis != self._grid.basis:
            return await super().intensities(zone, basis, window, now)
        first = max(0, self._grid.row(window.start))
        last = min(self._grid.row(now), self._grid.row(window.end) + (floor_hour(window.end) < window.end))
        return trusted(zone, self._known(zone, first, max(first, last)))

    def _block(self, row: int, hours: int) -> _Block:
        """Return what is expected and was usual at a row, worked out with its neighbours; the last one is kept."""
        size = max(1, BLOCK_VALUES // (LOOK_BACK_HOURS * len(self._grid.zones)))
        first = row - row % size
        found = self._blocks.get(hours)
        if found is None or found.first != first:
            found = self._blocks[hours] = _Block.of(self._grid, first, size, hours)
        return found

    def _interval(self, row: int) -> Window:
        """Return the hour of a row: one value for all zones and forecasts."""
        found = self._intervals.get(row)
        if found is None:
            start = self._grid.period.start + (row - self._grid.past) * HOUR
            found = self._intervals[row] = Window.starting(start, HOUR)
        return found

    def _after(self, row: int, hours: int) -> Window:
        """Return the hour so many after a row's."""
        return self._interval(row + hours)

    def _known(self, zone: str, first: int, end: int) -> tuple[CarbonIntensity, ...]:
        """Return the known values of the rows."""
        points = self._grid.points[zone][first:end]
        if self._complete[zone]:
            return cast("tuple[CarbonIntensity, ...]", points)
        return tuple(p for p in points if p is not None)

    def _worked_out(self, zone: str, row: int, now: Instant, hours: int) -> ZoneView | None:
        """Return the view by the same rules as the base's; ``None`` where a value that they need is missing."""
        column = self._column.get(zone)
        newest = self._grid.points[zone][row - 1] if column is not None and row > 0 else None
        if column is None or newest is None:
            return None
        start = floor_hour(now)
        block = self._block(row, hours + 1)
        grams = block.expected[row - block.first][column]
        coming = _Coming(zone, start, newest.basis, partial(self._after, row))
        forecast: CarbonSeries
        if None not in grams:
            forecast = _Hourly.of(coming, cast("tuple[float, ...]", tuple(grams)))
        else:  # an hour of the day that the last week never saw stays a hole
            told = tuple(coming.point(ahead, value) for ahead, value in enumerate(grams) if value is not None)
            forecast = trusted(zone, told)
        mean = block.means[row - block.first][column]
        history = _Stretch.of(zone, partial(self._known, zone, max(0, row - READ_HOURS), row))
        return ZoneView(zone, newest, history, forecast, mean)


@dataclass(frozen=True, slots=True)
class _Block:
    """Some consecutive rows, from ``first`` on: one sum over all costs little more than one over each.

    By row and zone. ``expected``: g CO2e/kWh of each coming hour, ``None`` where the forecast has a hole; ``means``: of
    the trailing weeks, ``None`` where too little of them is known.
    """

    first: int
    expected: list[list[list[float | None]]]
    means: list[list[float | None]]

    @classmethod
    def of(cls, grid: RecordedGrid, first: int, rows: int, hours: int) -> _Block:
        """Work them out as if each row were alone."""
        longest = max(LOOK_BACK_HOURS, TRAILING_HOURS)
        begin, end = first - longest, min(first + rows - 1, len(grid.grams_per_kwh))
        missing = np.full((max(0, -begin), len(grid.zones)), math.nan)
        values = np.concatenate([missing, grid.grams_per_kwh[max(0, begin) : end]])
        # (rows, zones, hours before), the newest hour last; that of the row itself is not known yet.
        past = sliding_window_view(values, longest, axis=0)
        issues = np.ascontiguousarray(past[..., -LOOK_BACK_HOURS:].transpose(0, 2, 1))
        blends = np.clip(blended_with_holes(issues, hours), *PLAUSIBLE_GRAMS_PER_KWH).transpose(0, 2, 1)
        numbers: list[list[list[float]]] = blends.tolist()
        expected: list[list[list[float | None]]] = [[list(zone) for zone in row] for row in numbers]
        if np.isnan(blends).any():
            expected = [[[None if math.isnan(v) else v for v in zone] for zone in row] for row in numbers]
        trailing = np.ascontiguousarray(past[..., -TRAILING_HOURS:])
        return cls(first, expected, [[_trailing_mean(zone) for zone in row] for row in trailing])


def _trailing_mean(hours: Floats) -> float | None:
    """Return the mean of what is known of the hours, where that is enough of them."""
    seen = hours[~np.isnan(hours)]
    return float(seen.mean()) if len(seen) >= MIN_COVERAGE * TRAILING_HOURS else None


class _Stretch(CarbonSeries):
    """A series whose points are looked up when somebody asks: four weeks copied for every hour would fill gigabytes."""

    __slots__ = ("_points",)
    _points: Callable[[], tuple[CarbonIntensity, ...]]

    @classmethod
    def of(cls, zone: str, points: Callable[[], tuple[CarbonIntensity, ...]]) -> CarbonSeries:
        """Make it; the points are known to be in order and of the zone."""
        series = object.__new__(cls)
        object.__setattr__(series, "zone", zone)
        object.__setattr__(series, "_points", points)
        return series

    @property
    def points(self) -> tuple[CarbonIntensity, ...]:
        """The values, oldest first."""
        return self._points()


@dataclass(frozen=True, slots=True)
class _Coming:
    """Makes the points of a zone's forecast issued at the beginning of an hour; ``interval``: that of so many ahead."""

    zone: str
    issued_at: Instant
    basis: Basis
    interval: Callable[[int], Window]

    def point(self, ahead: int, grams: float) -> CarbonIntensity:
        """Return the forecast of the hour that begins so many hours after the issue."""
        hour, issued = self.interval(ahead), self.issued_at
        return CarbonIntensity(self.zone, grams, hour, Kind.FORECAST, SOURCE, issued, issued, self.basis)


class _Hourly(CarbonSeries):
    """A forecast of hours without a hole, from its issue on: the place of an hour follows from its number.

    Its points are made when somebody asks for them. The planner asks for numbers, two dozen of each offer each hour,
    and points kept for a year would fill gigabytes.
    """

    __slots__ = ("_coming", "_grams")
    _coming: _Coming
    _grams: tuple[float, ...]

    @classmethod
    def of(cls, coming: _Coming, grams: tuple[float, ...]) -> CarbonSeries:
        """Make it of the numbers of its hours, all of them plausible."""
        series = object.__new__(cls)
        object.__setattr__(series, "zone", coming.zone)
        object.__setattr__(series, "_coming", coming)
        object.__setattr__(series, "_grams", grams)
        return series

    @property
    def points(self) -> tuple[CarbonIntensity, ...]:
        """The values, oldest first."""
        return tuple(self._coming.point(ahead, grams) for ahead, grams in enumerate(self._grams))

    @property
    def kind(self) -> Kind | None:
        """What all of its points are."""
        return Kind.FORECAST

    def at(self, moment: Instant) -> CarbonIntensity | None:
        """Return the point whose hour holds the instant, if any."""
        ahead = (moment - self._coming.issued_at) // HOUR
        return self._coming.point(ahead, self._grams[ahead]) if 0 <= ahead < len(self._grams) else None

    def hourly_grams(self, start: Instant, hours: int) -> tuple[float | None, ...]:
        """Return the numbers of the hours from the one that holds ``start`` on."""
        ahead = (start - self._coming.issued_at) // HOUR
        if ahead < 0:
            return super().hourly_grams(start, hours)
        found = self._grams[ahead : ahead + hours]
        return found if len(found) == hours else (*found, *[None] * (hours - len(found)))

    def phases_after(self, now: Instant) -> frozenset[timedelta]:
        """Return the one phase of whole hours; none once all of them are over."""
        issued = self._coming.issued_at
        return frozenset({(issued - now) % HOUR or HOUR} if issued + len(self._grams) * HOUR > now else ())

    def mean_grams_per_kwh(self) -> float | None:
        """Mean over the hours, each of the same weight."""
        return sum(self._grams) / float(len(self._grams)) if self._grams else None


def trusted(zone: str, points: tuple[CarbonIntensity, ...]) -> CarbonSeries:
    """Make a series of points that are known to be in order and of one zone: each was checked when it was read."""
    series = object.__new__(CarbonSeries)
    object.__setattr__(series, "zone", zone)
    object.__setattr__(series, "points", points)
    return series
