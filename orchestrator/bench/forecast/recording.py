"""The recorded hours of a year with the years before it, and the provider's stored forecasts."""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from orchestrator.domain.carbon import PLAUSIBLE_GRAMS_PER_KWH, Factors
from orchestrator.errors import SignalFormatError, SignalUnavailable
from orchestrator.forecasting.pattern import DAY, Floats
from orchestrator.signals.recording import FIRST_ROW, ForecastTable, HourlyTable, hour_number

YEARS_BEFORE: Final = 2
"""So many earlier years are learnt from, if the folder has them without a break."""

_HOURLY: Final = re.compile(r"ci_(lifecycle|direct)_(\d{4})\.csv(?:\.gz)?")
_FORECAST: Final = re.compile(r"ci_forecast_([A-Za-z0-9-]+)_(\d{4})\.csv(?:\.gz)?")
_HINT: Final = "Expected is a row per hour of the year, in order; a cell without a value is empty."


@dataclass(frozen=True)
class Recording:
    """gCO2e/kWh, (hours, zones), ``nan`` where there is no value; the scored year is the last one.

    ``first_hour``: hours from the Unix epoch to row 0, which is a midnight. ``scored_from``: the row where the year
    begins.
    """

    year: int
    factors: Factors
    zones: tuple[str, ...]
    values: Floats
    first_hour: int
    scored_from: int

    @property
    def first_weekday(self) -> int:
        """Weekday of row 0; Monday is 0."""
        return (self.first_hour // DAY + 3) % 7  # the epoch was a Thursday


@dataclass(frozen=True)
class Provider:
    """A provider's forecasts of direct intensity, ``grams_per_kwh`` (issues, hours ahead, zones of the recording).

    ``issued_hours``: hours from the epoch to each issue, ascending.
    """

    name: str
    issued_hours: tuple[int, ...]
    grams_per_kwh: Floats


def read_recording(folder: Path, year: int, factors: Factors, zones: Sequence[str] = ()) -> Recording:
    """Read ``ci_FACTORS_YEAR.csv[.gz]`` and the years before it, in the folder or its subfolder ``carbon``.

    ``zones`` chooses columns, none means all. Raises ``SignalUnavailable`` for a missing file or column,
    ``SignalFormatError`` for hours that lack and cells that are no intensity.
    """
    place = _place(folder)
    tables = _hourly_tables(place, factors)
    if year not in tables:
        others = ", ".join(str(y) for y in sorted(tables)) or "none"
        message = f"{place} has no ci_{factors}_{year}.csv or .csv.gz (years of {factors} intensity there: {others})"
        raise SignalUnavailable(message, hint="Choose a --year or --factors that it has, or another --data folder.")
    names = tables[year].zones
    if not names:
        raise SignalFormatError(f"{tables[year].name}:1: there is no zone column", hint=_HINT)
    strange = sorted(set(zones) - set(names))
    if strange:
        message = f"{tables[year].name} has no column {strange[0]!r}; it has {', '.join(names)}"
        raise SignalUnavailable(message, hint="Name zones by their column.")
    chosen = tuple(name for name in names if not zones or name in zones)
    first = year
    while first - 1 in tables and year - first < YEARS_BEFORE:
        first -= 1
    parts = [_values(tables[y], chosen) for y in range(first, year + 1)]
    before = sum(len(part) for part in parts[:-1])
    if not np.isfinite(parts[-1]).any():
        raise SignalFormatError(f"{tables[year].name} has no value in {', '.join(chosen)}", hint=_HINT)
    return Recording(year, factors, chosen, np.vstack(parts), _new_year(first), before)


def read_provider(folder: Path, recording: Recording) -> Provider | None:
    """Read the forecasts of the recording's years by the first provider, by name, who has any of the scored year.

    ``None`` without one, or without any of these zones. Raises ``SignalUnavailable`` and ``SignalFormatError``.
    """
    found: dict[str, dict[int, Path]] = {}
    for path, match in _matches(_place(folder), _FORECAST):
        found.setdefault(match[1], {})[int(match[2])] = path
    names = sorted(name for name, years in found.items() if recording.year in years)
    if not names:
        return None
    issues: dict[int, Floats] = {}
    last = recording.first_hour + len(recording.values)
    for year, path in sorted(found[names[0]].items()):
        if year <= recording.year:
            issues |= _issues(ForecastTable(path, year), recording.zones)
    issues = {hour: grams for hour, grams in issues.items() if recording.first_hour <= hour < last}
    if not any(np.isfinite(grams).any() for grams in issues.values()):
        return None
    hours = tuple(sorted(issues))
    reach = max(len(issues[hour]) for hour in hours)
    grams = np.full((len(hours), reach, len(recording.zones)), np.nan)
    for row, hour in enumerate(hours):
        grams[row, : len(issues[hour])] = issues[hour]
    return Provider(names[0], hours, grams)


def _place(folder: Path) -> Path:
    if not folder.is_dir():
        raise SignalUnavailable(f"{folder} is not a folder", hint="Name the folder that holds carbon/, or that folder.")
    return folder / "carbon" if (folder / "carbon").is_dir() else folder


def _matches(place: Path, pattern: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
    """List the files of that name; of a plain and a packed one the plain one, which comes later, counts."""
    try:
        paths = sorted((p for p in place.iterdir() if p.is_file()), key=lambda p: (p.suffix != ".gz", p.name))
    except OSError as error:
        raise SignalUnavailable(f"{place} cannot be read: {error.strerror or error}") from error
    return [(path, match) for path in paths if (match := pattern.fullmatch(path.name)) is not None]


def _hourly_tables(place: Path, factors: Factors) -> dict[int, HourlyTable]:
    found = [(int(match[2]), path) for path, match in _matches(place, _HOURLY) if match[1] == factors]
    return {year: HourlyTable(path, year, factors) for year, path in found}


def _values(table: HourlyTable, zones: Sequence[str]) -> Floats:
    """Return (hours, zones); a zone that the year lacks is unknown throughout."""
    _refuse_missing_hours(table)
    columns = [table.header.index(zone) if zone in table.zones else None for zone in zones]
    values = np.full((len(table.rows), len(zones)), np.nan)
    for row, text in enumerate(table.rows):
        cells = text.split(",")
        for z, column in enumerate(columns):
            if column is not None and cells[column]:
                values[row, z] = _number(table, row, zones[z], cells[column])
    return values


def _issues(table: ForecastTable, zones: Sequence[str]) -> dict[int, Floats]:
    """Return each issue's (hours ahead, zones) by its hour number."""
    columns = [table.header.index(zone) if zone in table.zones else None for zone in zones]
    issues = {}
    for issued, rows in table.issues.items():
        grams = np.full((max(rows) + 1, len(zones)), np.nan)
        for ahead, row in rows.items():
            cells = table.rows[row].split(",")
            for z, column in enumerate(columns):
                if column is not None and cells[column]:
                    grams[ahead, z] = _number(table, row, zones[z], cells[column], lowest=-PLAUSIBLE_GRAMS_PER_KWH[1])
        issues[issued] = np.maximum(0.0, grams)  # some models overshoot below nothing
    return issues


def _number(table: HourlyTable | ForecastTable, row: int, zone: str, cell: str, lowest: float | None = None) -> float:
    low, high = PLAUSIBLE_GRAMS_PER_KWH
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not (low if lowest is None else lowest) <= value <= high:
        where = f"{table.name}:{row + FIRST_ROW}: column {zone!r}"
        raise SignalFormatError(f"{where}: {cell!r} is no intensity in {low:g}..{high:g} g/kWh", hint=_HINT)
    return value


def _new_year(year: int) -> int:
    return hour_number(datetime(year, 1, 1, tzinfo=UTC))


def _refuse_missing_hours(table: HourlyTable) -> None:
    expected = _new_year(table.year)
    for line, found in enumerate(table.hours, start=FIRST_ROW):
        if found != expected:
            raise SignalFormatError(f"{table.name}:{line}: {found - expected} hours are missing before it", hint=_HINT)
        expected += 1
    days = 366 if calendar.isleap(table.year) else 365
    if len(table.hours) != days * DAY:
        message = f"{table.name} has {len(table.hours)} hours, the year {table.year} has {days * DAY}"
        raise SignalFormatError(message, hint=_HINT)
