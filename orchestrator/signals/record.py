"""Writing what sources said as a recording, in the layout that :mod:`orchestrator.signals.recorded` reads.

A recording is of one owner's data: two vintages of a grid never mix in a folder. Hours that are written again replace
what stood there, because they are corrections; other hours, zones and years stay. Each file is replaced whole, so that
whoever reads it meanwhile sees the old or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Final

from orchestrator.domain.carbon import CarbonIntensity, Factors
from orchestrator.domain.time import HOUR, Instant
from orchestrator.errors import UsageError
from orchestrator.signals.recording import HourlyTable, hour_start

README: Final = "README.md"
OWNER: Final = "Attribution: "
MAX_OWNER: Final = 60
"""As much of the first line as a recording's readers look at."""

_Column = dict[Instant, str]


def write_recording(
    folder: Path, owner: str, factors: Factors, points: Mapping[str, Sequence[CarbonIntensity]]
) -> tuple[Path, ...]:
    """Add hourly points, by zone, to the folder's files of those factors; returns the files that were written.

    Raises ``UsageError`` for a folder of another owner's data or one that cannot be written, and ``SignalFormatError``
    for a file there that is not a recording.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _claim(folder, owner)
        years = sorted({p.interval.start.year for series in points.values() for p in series})
        return tuple(_write_year(folder, factors, year, points) for year in years)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from error


def _claim(folder: Path, owner: str) -> None:
    line = f"{OWNER}{owner[:MAX_OWNER]}"
    readme = folder / README
    if not readme.exists():
        if any(folder.glob("ci_*.csv*")):
            raise UsageError(f"{folder} holds a recording that does not say whose it is", hint="Choose a new folder.")
        _replace(readme, f"# Recorded grid carbon intensity\n\n{line}\n\nWritten by greenctl signals record.\n")
    elif line not in readme.read_text(encoding="utf-8", errors="replace").splitlines():
        message = f"{readme} does not say {line!r}: two owners' numbers do not mix"
        raise UsageError(message, hint="Choose another folder for this source.")


def _write_year(folder: Path, factors: Factors, year: int, points: Mapping[str, Sequence[CarbonIntensity]]) -> Path:
    path = folder / f"ci_{factors.value}_{year}.csv"
    if (folder / f"{path.name}.gz").exists():
        raise UsageError(f"{folder} holds {path.name}.gz already", hint="Unpack it, or choose another folder.")
    columns = _read(path, year, factors) if path.exists() else {}
    for zone, series in points.items():
        column = columns.setdefault(zone, {})
        for point in series:
            if point.interval.start.year == year and point.interval.length == HOUR:
                column[point.interval.start] = f"{point.grams_per_kwh:.6g}"
    hours = sorted({hour for column in columns.values() for hour in column})
    zones = sorted(columns)
    lines = [",".join(["datetime_utc", *zones])]
    lines += [
        ",".join([f"{hour.astimezone(UTC):%Y-%m-%dT%H:%MZ}", *(columns[z].get(hour, "") for z in zones)])
        for hour in hours
    ]
    _replace(path, "\n".join(lines) + "\n")
    return path


def _read(path: Path, year: int, factors: Factors) -> dict[str, _Column]:
    table = HourlyTable(path, year, factors)
    zones: dict[str, _Column] = {zone: {} for zone in table.zones}
    for number, row in zip(table.hours, table.rows, strict=True):
        for zone, cell in zip(table.zones, row.split(",")[1:], strict=True):
            if cell:
                zones[zone][hour_start(number)] = cell
    return zones


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
