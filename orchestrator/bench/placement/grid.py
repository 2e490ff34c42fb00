"""The hourly intensities of a year, and the ledger's rule for the hours that nobody recorded."""

from __future__ import annotations

import calendar
import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.carbon import PLAUSIBLE_GRAMS_PER_KWH, Factors
from orchestrator.errors import SignalFormatError, SignalUnavailable
from orchestrator.signals.recording import FIRST_ROW, HourlyTable, hour_number

Floats = NDArray[np.float64]

DAY: Final = 24
_HINT: Final = "Expected is a row per hour of the year, in order; a cell without a value is empty."


@dataclass(frozen=True)
class Grid:
    """Life-cycle gCO2e/kWh, (hours, zones), ``nan`` where the file has no value."""

    year: int
    zones: tuple[str, ...]
    grams_per_kwh: Floats

    @property
    def hours(self) -> int:
        """Hours of the year."""
        return len(self.grams_per_kwh)

    def filled(self, zone: str) -> Floats:
        """Return a zone's hours without gaps, by the ledger's rule (it looks ahead).

        Only a zone that is asked for has to have values. Raises ``SignalUnavailable`` and ``SignalFormatError``.
        """
        column = self.column(zone)
        return filled_by_neighbours(self.grams_per_kwh[:, column : column + 1], (zone,))[:, 0]

    def column(self, zone: str) -> int:
        """Return a zone's column. Raises ``SignalUnavailable``."""
        if zone not in self.zones:
            message = f"ci_lifecycle_{self.year} has no column {zone!r}, and the instance has regions in that zone"
            raise SignalUnavailable(message, hint="Use the carbon file that the instance was made from.")
        return self.zones.index(zone)


def read_grid(folder: Path, year: int, needed: AbstractSet[str] | None = None) -> Grid:
    """Read ``carbon/ci_lifecycle_YEAR.csv[.gz]`` below a folder, or the file beside the others.

    ``needed``: the zones of the services' candidates; None: all. A cell of theirs is empty or a number >= 0, and every
    number counts as it stands. Other columns are experience at most: what no grid can have is a hole there.
    Raises ``SignalUnavailable`` when it is missing, ``SignalFormatError`` when it lacks hours or has odd cells.
    """
    path = _find(folder, f"ci_lifecycle_{year}.csv")
    if path is None:
        message = f"{folder} has no carbon/ci_lifecycle_{year}.csv.gz"
        raise SignalUnavailable(message, hint="Choose a --year that has one, or another folder.")
    table = HourlyTable(path, year, Factors.LIFECYCLE)
    if not table.zones:
        raise SignalFormatError(f"{table.name}:1: there is no zone column", hint=_HINT)
    _refuse_missing_hours(table, year)
    return Grid(year, table.zones, _numbers(table, needed))


def read_year_before(folder: Path, grid: Grid, needed: AbstractSet[str] | None = None) -> Floats:
    """Return the year before for the zones of a grid, (hours, zones); no hours where the folder does not have it.

    It is experience where there is some: a zone or an hour that the earlier file lacks is ``nan``. ``needed`` is that
    of :func:`read_grid`. Raises ``SignalFormatError`` when the file is damaged.
    """
    year = grid.year - 1
    path = _find(folder, f"ci_lifecycle_{year}.csv")
    if path is None:
        return np.empty((0, len(grid.zones)))
    table = HourlyTable(path, year, Factors.LIFECYCLE)
    numbers = _numbers(table, needed)
    values = np.full((_hours_of(year), len(grid.zones)), np.nan)
    at = np.array(table.hours, dtype=np.intp) - hour_number(datetime(year, 1, 1, tzinfo=UTC))
    inside = (at >= 0) & (at < len(values))
    for column, zone in enumerate(grid.zones):
        if zone in table.zones:
            values[at[inside], column] = numbers[inside, table.zones.index(zone)]
    return values


def filled_by_neighbours(values: Floats, names: tuple[str, ...]) -> Floats:
    """Fill each gap with the mean of what stands 24k hours before and after it, for the smallest k that finds any.

    ``values`` is (hours, zones). Raises ``SignalFormatError`` for a zone whose gap has no such neighbour in the year.
    """
    filled = values.copy()
    hours = len(values)
    for t, z in np.argwhere(np.isnan(values)).tolist():
        for distance in range(DAY, hours, DAY):
            around = [values[i, z] for i in (t - distance, t + distance) if 0 <= i < hours]
            known = [v for v in around if not np.isnan(v)]
            if known:
                filled[t, z] = sum(known) / len(known)
                break
        else:
            raise SignalFormatError(f"column {names[z]!r} has no value at hour {t % DAY} of any day", hint=_HINT)
    return filled


def _find(folder: Path, name: str) -> Path | None:
    places = [at / f"{name}{suffix}" for at in (folder / "carbon", folder) for suffix in ("", ".gz")]
    return next((p for p in places if p.is_file()), None)


def _refuse_missing_hours(table: HourlyTable, year: int) -> None:
    expected = hour_number(datetime(year, 1, 1, tzinfo=UTC))
    for line, found in enumerate(table.hours, start=FIRST_ROW):
        if found != expected:
            raise SignalFormatError(f"{table.name}:{line}: {found - expected} hours are missing before it", hint=_HINT)
        expected += 1
    if len(table.hours) != _hours_of(year):
        message = f"{table.name} has {len(table.hours)} hours, the year {year} has {_hours_of(year)}"
        raise SignalFormatError(message, hint=_HINT)


def _hours_of(year: int) -> int:
    return (366 if calendar.isleap(year) else 365) * DAY


def _numbers(table: HourlyTable, needed: AbstractSet[str] | None) -> Floats:
    low, high = PLAUSIBLE_GRAMS_PER_KWH
    highest = [math.inf if needed is None or zone in needed else high for zone in table.zones]
    numbers = np.full((len(table.rows), len(table.zones)), np.nan)
    for t, row in enumerate(table.rows):
        for z, cell in enumerate(row.split(",")[1:]):
            if not cell:
                continue
            try:
                value = float(cell)
            except ValueError:
                value = np.nan
            if low <= value <= highest[z] and value < math.inf:
                numbers[t, z] = value
            elif highest[z] == math.inf:
                where = f"{table.name}:{t + FIRST_ROW}: column {table.zones[z]!r}"
                raise SignalFormatError(f"{where}: {cell!r} is no intensity in g/kWh, {low:g} or more", hint=_HINT)
    return numbers
