"""Mean grid intensity of the zones of a trace, from the same folder's regions and hourly carbon."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.domain.carbon import Factors
from orchestrator.errors import SignalFormatError, SignalUnavailable
from orchestrator.signals.recording import HourlyTable

_COLUMNS: Final = ("cloud", "region", "ci_series_zone")
_FILE: Final = re.compile(r"ci_lifecycle_(\d{4})\.csv(\.gz)?")


@dataclass(frozen=True, slots=True)
class Place:
    """A cloud's region and the grid that it draws from, ``None`` where no series tells."""

    cloud: str
    region: str
    series: str | None


class GridMeans:
    """Life-cycle gCO2e/kWh by zone of a cloud: the mean over the hours of the newest year that has the grid's column.

    A zone whose region is not listed, or has no series, has no mean: unknown is not zero.
    """

    def __init__(self, places: Sequence[Place], tables: Sequence[HourlyTable]) -> None:
        """``tables``: one a year, the newest first."""
        self._places = tuple(places)
        self._tables = tuple(tables)
        self._means: dict[str, float | None] = {}

    @property
    def years(self) -> tuple[int, ...]:
        """Years of the tables, the newest first."""
        return tuple(t.year for t in self._tables)

    def region_of(self, cloud: str, zone: str) -> str:
        """Return the region that a zone lies in: the longest listed name that its own begins with, else itself."""
        place = self._place(cloud, zone)
        return zone if place is None else place.region

    def grams_per_kwh(self, cloud: str, zone: str) -> float | None:
        """Return the mean of a zone's grid."""
        place = self._place(cloud, zone)
        if place is None or place.series is None:
            return None
        if place.series not in self._means:
            self._means[place.series] = self._mean(place.series)
        return self._means[place.series]

    def _place(self, cloud: str, zone: str) -> Place | None:
        inside = [p for p in self._places if p.cloud == cloud and re.fullmatch(rf"{re.escape(p.region)}-?[a-z]?", zone)]
        return max(inside, key=lambda p: len(p.region), default=None)

    def _mean(self, series: str) -> float | None:
        for table in self._tables:
            if series in table.zones:
                known = [v for v in table.column(series) if not math.isnan(v)]
                if known:
                    return sum(known) / len(known)
        return None


def read_grid_means(folder: Path) -> GridMeans:
    """Read ``regions/regions.csv`` and every ``carbon/ci_lifecycle_YEAR.csv[.gz]`` below a folder.

    Raises ``SignalUnavailable`` for what is missing, ``SignalFormatError`` for what cannot be read.
    """
    tables = _tables(folder)
    if not tables:
        message = f"{folder} has no carbon/ci_lifecycle_YEAR.csv, plain or .gz"
        raise SignalUnavailable(message, hint="Name the folder that holds carbon/ beside spot/.")
    return GridMeans(_places(folder / "regions" / "regions.csv"), tables)


def _tables(folder: Path) -> list[HourlyTable]:
    found: dict[int, Path] = {}
    for path in sorted((folder / "carbon").glob("ci_lifecycle_*")):
        if (named := _FILE.fullmatch(path.name)) is not None:
            # Sorted, the plain file comes first: it is the one that people edit.
            found.setdefault(int(named[1]), path)
    return [HourlyTable(found[year], year, Factors.LIFECYCLE) for year in sorted(found, reverse=True)]


def _places(path: Path) -> list[Place]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [c for c in _COLUMNS if c not in (reader.fieldnames or ())]
            if missing:
                raise SignalFormatError(f"{path.name}: there is no column {', '.join(missing)}")
            return [Place(r["cloud"], r["region"], r["ci_series_zone"] or None) for r in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SignalFormatError(f"{path.name} is damaged: {error}") from error
    except OSError as error:
        message = f"regions/{path.name} cannot be read: {error.strerror or error}"
        raise SignalUnavailable(message, hint="Name the folder that holds regions/ beside spot/.") from error
