"""Reading recorded tables from disk: lazy, one column at a time, strict about structure, wary of single values.

A table is CSV, plain or gzip'd, without quoting: a header, then one row per hour and one column per zone. A damaged
structure (a row with too few cells, a time that runs backwards) makes every number of the file doubtful and is a
:class:`~orchestrator.errors.SignalFormatError`. A single value that no grid can have becomes a hole and is listed by
``quarantined``. Nothing here knows what ``now`` is.
"""

from __future__ import annotations

import gzip
import math
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from orchestrator.domain.carbon import PLAUSIBLE_GRAMS_PER_KWH, Factors
from orchestrator.domain.time import HOUR, Instant, parse_instant
from orchestrator.errors import SignalFormatError, SignalUnavailable

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_ROW = 2
"""Line number of the first row below the header, as editors count."""

HOLE = math.nan


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A value that was not believed: where it stands (1-based line), what it says, why it is ignored."""

    file: str
    line: int
    zone: str
    text: str
    reason: str


def hour_number(moment: Instant) -> int:
    """Whole hours from the Unix epoch to the start of the hour that holds the moment."""
    return (moment - EPOCH) // HOUR


def hour_start(number: int) -> Instant:
    """Undo :func:`hour_number`."""
    return EPOCH + number * HOUR


class RecordedTable:
    """One file of the layout: a few key columns, then a column per zone."""

    def __init__(self, path: Path, keys: Sequence[str], factors: Factors) -> None:
        self.path = path
        self.name = path.name
        self.factors = factors
        self._keys = tuple(keys)
        self._quarantined: dict[tuple[int, str], Quarantined] = {}

    @cached_property
    def header(self) -> tuple[str, ...]:
        """Column names. Raises ``SignalFormatError`` when a key column is missing or a name occurs twice."""
        names = tuple(cell.strip() for cell in self._read(only_header=True)[0].removeprefix("\ufeff").split(","))
        if names[: len(self._keys)] != self._keys:
            wanted = ", ".join(self._keys)
            raise SignalFormatError(f"{self.name}:1: the file must begin with column {wanted}, not {names[0]!r}")
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise SignalFormatError(f"{self.name}:1: column {twice[0]!r} occurs twice")
        if "" in names or any('"' in n for n in names):
            raise SignalFormatError(f"{self.name}:1: column {_first_odd(names)} needs a plain name")
        return names

    @property
    def zones(self) -> tuple[str, ...]:
        """The zones that have a column."""
        return self.header[len(self._keys) :]

    @cached_property
    def rows(self) -> list[str]:
        """The rows as text, each with as many cells as the header."""
        rows = self._read()[1:]
        commas = len(self.header) - 1
        for line, row in enumerate(rows, start=FIRST_ROW):
            if row.count(",") != commas:
                raise SignalFormatError(f"{self.name}:{line}: {row.count(',') + 1} cells, the header has {commas + 1}")
        return rows

    def value(self, row: int, zone: str) -> float:
        """Return the number in a row (0-based) of a zone's column; ``nan`` for a hole or a quarantined value."""
        return self.values(range(row, row + 1), zone)[0]

    def values(self, rows: range, zone: str) -> array[float]:
        """Return a zone's numbers of these rows; ``nan`` for holes and quarantined values."""
        index = self._index(zone)
        text = self.rows
        found = array("d", bytes(8 * len(rows)))
        for position, row in enumerate(rows):
            cell = text[row].split(",", index + 1)[index]
            found[position] = self._number(cell, row, zone) if cell else HOLE
        return found

    def quarantined(self) -> tuple[Quarantined, ...]:
        """Values that were not believed, among those read so far, by line."""
        return tuple(self._quarantined[key] for key in sorted(self._quarantined))

    def _index(self, zone: str) -> int:
        try:
            return self.header.index(zone, len(self._keys))
        except ValueError:
            raise SignalUnavailable(f"{self.name} has no column {zone!r}") from None

    def _number(self, cell: str, row: int, zone: str) -> float:
        try:
            number = float(cell)
        except ValueError:
            number = HOLE
        low, high = PLAUSIBLE_GRAMS_PER_KWH
        if low < number <= high or (number == low and self.factors is Factors.DIRECT):
            return number
        if cell.strip():
            reason = f"not a life-cycle intensity above {low:g} and up to {high:g} g/kWh"
            if self.factors is Factors.DIRECT:
                reason = f"not a direct intensity in {low:g}..{high:g} g/kWh"
            if math.isnan(number):
                reason = "not a number"
            key = (row + FIRST_ROW, zone)
            self._quarantined[key] = Quarantined(self.name, row + FIRST_ROW, zone, cell, reason)
        return HOLE

    def _read(self, *, only_header: bool = False) -> list[str]:
        try:
            opener = gzip.open if self.path.suffix == ".gz" else open
            with opener(self.path, "rt", encoding="utf-8", newline="") as file:
                lines = [file.readline().rstrip("\r\n")] if only_header else file.read().splitlines()
        except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise SignalFormatError(f"{self.name} is damaged: {error}") from error
        except OSError as error:
            raise SignalUnavailable(f"{self.name} cannot be read: {error.strerror or error}") from error
        while lines and not lines[-1].strip():
            lines.pop()  # an editor, or two files joined: blank lines at the end hold no hour
        if not lines or not lines[0]:
            raise SignalFormatError(f"{self.name} is empty")
        return lines


class HourlyTable(RecordedTable):
    """``datetime_utc`` and a column per zone: mean intensity of the hour that starts then."""

    def __init__(self, path: Path, year: int, factors: Factors) -> None:
        super().__init__(path, ("datetime_utc",), factors)
        self.year = year
        self._columns: dict[str, array[float]] = {}

    @cached_property
    def hours(self) -> array[int]:
        """Hour numbers of the rows, ascending. Missing hours are allowed, other spacings and other years are not."""
        hours = array("q")
        previous = None
        for line, row in enumerate(self.rows, start=FIRST_ROW):
            moment = self._moment(row.partition(",")[0], line)
            if moment.minute or moment.second or moment.microsecond:
                raise SignalFormatError(f"{self.name}:{line}: {row.partition(',')[0]} is not the start of an hour")
            if moment.year != self.year:
                raise SignalFormatError(f"{self.name}:{line}: {moment.year} in a file of {self.year}")
            number = hour_number(moment)
            if previous is not None and number <= previous:
                raise SignalFormatError(f"{self.name}:{line}: column datetime_utc does not grow")
            hours.append(number)
            previous = number
        return hours

    def check(self) -> None:
        """Read all of the structure. Raises as :meth:`RecordedTable.rows`."""
        _ = self.hours

    def column(self, zone: str) -> array[float]:
        """Return the whole column of a zone, read once and kept (70 kB a year)."""
        if zone not in self._columns:
            self._columns[zone] = self.values(range(len(self.hours)), zone)
        return self._columns[zone]

    def _moment(self, text: str, line: int) -> Instant:
        try:
            return parse_instant(text)
        except ValueError as error:
            raise SignalFormatError(f"{self.name}:{line}: column datetime_utc: {error}") from error


class ForecastTable(RecordedTable):
    """``issued_date_utc``, ``horizon_h`` and a column per zone: forecasts issued at 00:00 of that day."""

    def __init__(self, path: Path, year: int) -> None:
        super().__init__(path, ("issued_date_utc", "horizon_h"), Factors.DIRECT)
        self.year = year

    @cached_property
    def issues(self) -> dict[int, dict[int, int]]:
        """Row numbers by the hour number of the issue and the hours ahead of it."""
        issues: dict[int, dict[int, int]] = {}
        dates: dict[str, int] = {}
        for number, row in enumerate(self.rows):
            date, ahead = row.split(",", 2)[:2]
            if date not in dates:
                dates[date] = self._issue_hour(date, number + FIRST_ROW)
            issue = issues.setdefault(dates[date], {})
            try:
                hours_ahead = int(ahead)
            except ValueError:
                hours_ahead = -1
            if hours_ahead < 0 or hours_ahead in issue:
                where = f"{self.name}:{number + FIRST_ROW}"
                raise SignalFormatError(f"{where}: column horizon_h: {ahead!r} is no further hour of {date}")
            issue[hours_ahead] = number
        return issues

    def check(self) -> None:
        """Read all of the structure. Raises as :meth:`RecordedTable.rows`."""
        _ = self.issues

    def _issue_hour(self, date: str, line: int) -> int:
        try:
            return hour_number(parse_instant(f"{date}T00:00Z"))
        except ValueError as error:
            raise SignalFormatError(f"{self.name}:{line}: column issued_date_utc: {error}") from error


def _first_odd(names: Sequence[str]) -> str:
    return next(f"{number}" for number, name in enumerate(names, start=1) if not name or '"' in name)
