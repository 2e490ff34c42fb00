"""Recorded carbon: a folder of hourly files, replayed as it could have been known then.

Layout, each file plain or gzip'd (with both, the plain one counts: it is the one that people edit):

* ``ci_lifecycle_YYYY.csv``, ``ci_direct_YYYY.csv``: ``datetime_utc``, then a column per zone, g CO2e/kWh;
* ``ci_lifecycle_YYYY_extra_zones.csv`` (also ``direct``): more zones, used for zones that the main file lacks;
* ``ci_forecast_NAME_YYYY.csv``: ``issued_date_utc``, ``horizon_h``, zones. These forecasts are of *direct* intensity
  and are served for that basis alone.

Convention: the mean of an hour is known when the hour is over, so ``issued_at`` is the end of the interval. Real feeds
publish some minutes later still; the end is the earliest moment that never looks ahead.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from orchestrator.domain.carbon import Accounting, Basis, CarbonIntensity, CarbonSeries, Factors, Gap, Kind, Reading
from orchestrator.domain.time import HOUR, Instant, Window, format_instant
from orchestrator.errors import SignalFormatError, SignalUnavailable
from orchestrator.file_marks import FileMark, is_time, mark_of
from orchestrator.signals.recording import (
    EPOCH,
    ForecastTable,
    HourlyTable,
    Quarantined,
    hour_number,
    hour_start,
)

DIRECT = Basis(Accounting.AVERAGE, Factors.DIRECT)
MAX_ISSUES_BACK = 7
"""How many daily issues are tried before a zone counts as not forecast. A week-old forecast is no forecast."""

_HOURLY = re.compile(r"ci_(lifecycle|direct)_(\d{4})(_extra_zones)?\.csv(\.gz)?")
_FORECAST = re.compile(r"ci_forecast_[A-Za-z0-9-]+_(\d{4})\.csv(\.gz)?")
_OWNER = re.compile(r"^Attribution: *(?P<line>[^\n]{1,60})$|Attribute \"(?P<quoted>[^\"\n]{1,60})\"", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the recording has of one zone and basis: from the first hour's start to the last hour's end.

    Holes inside are not counted here; ``years`` names the files' years.
    """

    zone: str
    basis: Basis
    first: Instant
    until: Instant
    years: tuple[int, ...]


class RecordedCarbon:
    """A :class:`~orchestrator.control.ports.CarbonSource` over such a folder. Files are read when first asked for.

    They may grow meanwhile: one that has changed is read again. Where it is broken then, what was read of it before
    stands, and grows old in plain sight.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looked_at: Instant | None = None
        self._files: dict[Path, tuple[FileMark, HourlyTable | ForecastTable]] = {}

    @property
    def name(self) -> str:
        """Short name that travels with each value."""
        return "recorded"

    async def zones(self) -> frozenset[str]:
        """Return the zones that have a column in any year, of either factor. Raises ``SignalUnavailable``."""
        self._look()
        return frozenset(zone for table in self._tables for zone in table.zones)

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        """Return the newest hour that was over at ``now``, of whatever age.

        Raises ``SignalUnavailable`` when there is no recording in the folder, ``SignalFormatError`` when a file that
        is needed is damaged.
        """
        self._look(now)
        tables = self._tables_of(zone, basis)
        if not tables:
            return Gap(zone, self._why_none(zone, basis), self.name)
        for table in reversed([t for t in tables if t.year <= now.year]):
            column = table.column(zone)
            for row in reversed(range(bisect_left(table.hours, hour_number(now)))):
                if not math.isnan(column[row]):
                    return self._point(table, zone, basis, row, now)
        first = hour_start(tables[0].hours[0]) if tables[0].hours else None
        begin = f"before {format_instant(now)}" + (f", it begins {format_instant(first)}" if first else "")
        return Gap(zone, f"the recording has no value {begin}", self.name)

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """Return the hours that touch the window and were over at ``now``. Raises as :meth:`latest`."""
        self._look(now)
        first, last = hour_number(window.start), min(_hours_up_to(window.end), hour_number(now))
        points = []
        for table in self._tables_of(zone, basis):
            if not hour_start(first).year <= table.year <= window.end.year:
                continue
            column = table.column(zone)
            rows = range(bisect_left(table.hours, first), bisect_left(table.hours, last))
            points += [self._point(table, zone, basis, row, now) for row in rows if not math.isnan(column[row])]
        return CarbonSeries(zone, tuple(points))

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        """Return the newest stored forecast issued by ``now`` that says something about the window, else ``None``."""
        if basis != DIRECT:
            return None
        self._look(now)
        tables = [t for t in self._forecasts if zone in t.zones]
        midnight = hour_number(now.replace(hour=0))
        for issued in range(midnight, midnight - 24 * MAX_ISSUES_BACK, -24):
            for table in tables:
                if table.year != hour_start(issued).year or issued not in table.issues:
                    continue
                points = tuple(self._forecast_points(table, zone, issued, window, now))
                if points:
                    return CarbonSeries(zone, points)
        return None

    def coverage(self) -> tuple[Coverage, ...]:
        """Say which zones there are, on which basis, from when to when; by zone. Reads the time columns only."""
        self._look()
        found: dict[tuple[str, Factors], list[HourlyTable]] = {}
        for table in self._tables:
            if table.hours:
                for zone in table.zones:
                    found.setdefault((zone, table.factors), []).append(table)
        return tuple(
            Coverage(
                zone,
                Basis(Accounting.AVERAGE, factors),
                min(hour_start(t.hours[0]) for t in tables),
                max(hour_start(t.hours[-1]) + HOUR for t in tables),
                tuple(sorted({t.year for t in tables})),
            )
            for (zone, factors), tables in sorted(found.items())
        )

    def quarantined(self) -> tuple[Quarantined, ...]:
        """Values that were not believed, among those read so far."""
        self._look()
        return tuple(q for table in (*self._tables, *self._forecasts) for q in table.quarantined())

    def _look(self, now: Instant | None = None) -> None:
        """Take the folder as it is; without a time, or when it is time to. A file that is the same keeps its table."""
        if now is not None and not is_time(self._looked_at, now):
            return
        try:
            marks = [mark_of(path) for path in self._paths()]
        except OSError as error:
            if self._files:
                return
            raise SignalUnavailable(f"recording {self._folder} cannot be read: {error.strerror or error}") from error
        looked = {mark.path: self._looked(mark) for mark in marks}
        self._files = {path: found for path, found in looked.items() if found is not None}
        self.__dict__.pop("_tables", None)
        self.__dict__.pop("_forecasts", None)
        self._looked_at = now

    def _looked(self, mark: FileMark) -> tuple[FileMark, HourlyTable | ForecastTable] | None:
        """Return a file's table, new where the file is another one; ``None`` for a file that is none of ours."""
        before = self._files.get(mark.path)
        if before is not None and before[0] == mark:
            return before
        table = _table(mark.path)
        if table is None:
            return None
        try:
            if before is not None:
                table.check()
        except (SignalFormatError, SignalUnavailable):
            # Perhaps it is being written. With its old mark it is looked at again.
            return before
        return mark, table

    @cached_property
    def _tables(self) -> tuple[HourlyTable, ...]:
        """Hourly tables by year, the main file before the one with extra zones."""
        tables = [table for _, table in self._files.values() if isinstance(table, HourlyTable)]
        if not tables:
            raise SignalUnavailable(f"no recording in {self._folder}: expected ci_lifecycle_YYYY.csv or .csv.gz")
        return tuple(sorted(tables, key=lambda t: (t.year, "_extra_zones" in t.name)))

    @cached_property
    def _forecasts(self) -> tuple[ForecastTable, ...]:
        return tuple(table for _, table in self._files.values() if isinstance(table, ForecastTable))

    def _paths(self) -> list[Path]:
        """Return the files, in order. Raises ``OSError``."""
        names = {path.name for path in self._folder.iterdir() if path.is_file()}
        return [self._folder / name for name in sorted(names) if name.removesuffix(".gz") not in names - {name}]

    @cached_property
    def _owner(self) -> str:
        """Who owns the data, if the README of the folder, or of the folder above it, says so."""
        for folder in (self._folder, self._folder.absolute().parent):
            try:
                match = _OWNER.search((folder / "README.md").read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError):
                continue
            if match is not None:
                return (match["line"] or match["quoted"]).strip()
        return ""

    def _tables_of(self, zone: str, basis: Basis) -> list[HourlyTable]:
        """One table per year that has the zone on that basis, oldest first; two files of a year never mix."""
        if basis.accounting is not Accounting.AVERAGE:
            return []
        by_year: dict[int, HourlyTable] = {}
        for table in self._tables:
            if table.factors is basis.factors and zone in table.zones:
                by_year.setdefault(table.year, table)
        return [by_year[year] for year in sorted(by_year)]

    def _why_none(self, zone: str, basis: Basis) -> str:
        if basis.accounting is not Accounting.AVERAGE:
            return f"the recording is of the average mix, {basis.accounting} was asked for"
        names = [t.name for t in self._tables if t.factors is basis.factors]
        if not names:
            return f"the recording has no file of {basis.factors} intensity"
        return f"no column {zone!r} in {', '.join(names)}"

    def _source(self, name: str) -> str:
        return f"recorded {name}" + (f" (data: {self._owner})" if self._owner else "")

    def _point(self, table: HourlyTable, zone: str, basis: Basis, row: int, now: Instant) -> CarbonIntensity:
        interval = Window.starting(hour_start(table.hours[row]), HOUR)
        grams = table.column(zone)[row]
        source = self._source(table.name)
        return CarbonIntensity(zone, grams, interval, Kind.RECORDED, source, interval.end, now, basis)

    def _forecast_points(
        self, table: ForecastTable, zone: str, issued: int, window: Window, now: Instant
    ) -> Iterator[CarbonIntensity]:
        source = self._source(table.name)
        for ahead, row in sorted(table.issues[issued].items()):
            if not hour_number(window.start) <= issued + ahead < _hours_up_to(window.end):
                continue
            grams = table.value(row, zone)
            if not math.isnan(grams):
                interval = Window.starting(hour_start(issued + ahead), HOUR)
                yield CarbonIntensity(
                    zone, grams, interval, Kind.FORECAST, source, hour_start(issued), fetched_at=now, basis=DIRECT
                )


def _table(path: Path) -> HourlyTable | ForecastTable | None:
    hourly, forecast = _HOURLY.fullmatch(path.name), _FORECAST.fullmatch(path.name)
    if hourly is not None:
        return HourlyTable(path, int(hourly[2]), Factors(hourly[1]))
    return None if forecast is None else ForecastTable(path, int(forecast[1]))


def _hours_up_to(moment: Instant) -> int:
    """Hour number of the first hour that starts at the moment or later."""
    return -((EPOCH - moment) // HOUR)
