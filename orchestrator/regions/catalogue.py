"""The catalogue of regions: 133 of AWS, Azure and Google Cloud as packaged, and those of this machine.

``Region.zone`` is the zone of which a public hourly series exists: the region's own, or its country's where the finer
zone has none (Stockholm lies in SE-SE3, its region says SE). :meth:`RegionCatalogue.detail_zone` keeps the finer one
for sources that know it. Nothing is guessed: a PUE that its operator does not publish is ``None``.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType

from orchestrator.domain.places import Region
from orchestrator.errors import InvalidSettings, UnknownRegion
from orchestrator.regions.jurisdictions import jurisdictions
from orchestrator.regions.local import PROVIDER, LocalRegion

PACKAGED = Path(__file__).with_name("regions.csv")
UNKNOWN = "unknown"
PLAUSIBLE_PUE = (1.0, 3.0)
"""Below 1 is impossible by definition (ISO/IEC 30134-2); above 3 is a misprint for any data centre of a cloud."""

_OPERATORS = {"aws": "AWS", "azure": "Microsoft", "gcp": "Google"}
_NEAREST = 3


class RegionCatalogue:
    """Regions by id. Immutable: additions give a new catalogue."""

    def __init__(self, regions: Iterable[Region], detail_zones: Mapping[str, str] | None = None) -> None:
        self._regions = {region.id: region for region in sorted(regions, key=lambda r: r.id)}
        self._detail_zones = dict(detail_zones or {})

    @classmethod
    def packaged(cls) -> RegionCatalogue:
        """Read the catalogue that ships with the package."""
        return cls.read(PACKAGED)

    @classmethod
    def read(cls, path: Path) -> RegionCatalogue:
        """Read a catalogue of the packaged layout. Raises ``InvalidSettings`` with file and line."""
        regions, details = [], {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSettings(f"region catalogue {path.name} cannot be read: {error}") from error
        comments = sum(line.startswith("#") for line in lines)
        rows = csv.DictReader(lines[comments:])
        for number, row in enumerate(rows, start=comments + 2):
            try:
                regions.append(_region(row))
            except (KeyError, TypeError, ValueError) as error:
                raise InvalidSettings(f"{path.name}:{number}: {error}") from error
            if row.get("zone_detail"):
                details[row["id"]] = row["zone_detail"]
        return cls(regions, details)

    @property
    def by_id(self) -> Mapping[str, Region]:
        """All regions by id, read-only."""
        return MappingProxyType(self._regions)

    def get(self, region_id: str) -> Region:
        """Return the region. Raises ``UnknownRegion`` that names the nearest ids."""
        region = self._regions.get(region_id)
        if region is None:
            near = difflib.get_close_matches(region_id, self._regions, n=_NEAREST, cutoff=0.5)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UnknownRegion(f"no region {region_id!r} in the catalogue{meant}")
        return region

    def all(self) -> tuple[Region, ...]:
        """Return all regions, by id."""
        return tuple(self._regions.values())

    def match(self, patterns: Iterable[str]) -> tuple[Region, ...]:
        """Return the regions that any pattern matches (``aws/eu-*``, case counts), by id; none without a pattern."""
        wanted = tuple(patterns)
        return tuple(r for r in self._regions.values() if any(fnmatchcase(r.id, p) for p in wanted))

    def detail_zone(self, region_id: str) -> str | None:
        """Return the finest grid zone that the region is known to lie in. Raises ``UnknownRegion``."""
        return self._detail_zones.get(region_id) or self.get(region_id).zone

    def with_facts(self, regions: Iterable[Region]) -> RegionCatalogue:
        """Return this catalogue with regions added, or put in the place of those of the same id."""
        return RegionCatalogue({**self._regions, **{r.id: r for r in regions}}.values(), self._detail_zones)

    def with_local(self, regions: Mapping[str, LocalRegion]) -> RegionCatalogue:
        """Return this catalogue with this machine's regions, the mapping's keys being their names."""
        for name, region in regions.items():
            if name != region.name or not name or "/" in name:
                raise InvalidSettings(f"local region {name!r} cannot be called {PROVIDER}/{region.name}")
        return RegionCatalogue((*self.all(), *(r.as_region() for r in regions.values())), self._detail_zones)


def _region(row: Mapping[str, str]) -> Region:
    provider = row["id"].partition("/")[0]
    pue = _number(row["pue"])
    low, high = PLAUSIBLE_PUE
    if pue is not None and not low <= pue <= high:
        message = f"PUE {pue:g} of {row['id']} is outside {low:g}..{high:g}"
        raise ValueError(message)
    operator = _OPERATORS.get(provider, provider)
    return Region(
        id=row["id"],
        zone=row["zone"] or None,
        pue=pue,
        pue_source=f"{operator} {row['pue_year']}" if pue is not None else UNKNOWN,
        residency=jurisdictions(row["country"]),
        wue_liters_per_kwh=_number(row["wue_liters_per_kwh"]),
        latitude=_number(row["latitude"]),
        longitude=_number(row["longitude"]),
        location=row["location"],
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
