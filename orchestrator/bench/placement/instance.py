"""The services of a placement year and the regions that they may use, from ``instance_YEAR.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import UsageError

TRACKS: Final = ("open", "scarce")
"""Everywhere, or everywhere but in the cleanest grids, which are sold out."""

BENCHMARK: Final = "placement-year"
VERSION: Final = 1
_NEEDED: Final = "The layout is that of placement-year, version 1: see greenctl bench placement --help."


@dataclass(frozen=True, slots=True)
class Place:
    """A region: its grid zone and its PUE, total over IT energy."""

    id: str
    zone: str
    pue: float


@dataclass(frozen=True, slots=True)
class Service:
    """One replica of 1 kW of IT power. ``candidates`` are region ids in order, ``origin`` among them.

    ``switching_grams``: gCO2e that each change of region costs; ``switching_hours``: the same in hours at home.
    """

    id: str
    track: str
    origin: str
    rtt_budget_ms: float
    switching_hours: float
    switching_grams: float
    candidates: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, float, float]:
        """What a file of placements knows it by."""
        return self.track, self.origin, self.rtt_budget_ms, self.switching_hours


@dataclass(frozen=True, slots=True)
class Instance:
    """A year: ``hours`` in it, of which those from ``first`` on are scored."""

    year: int
    hours: int
    first: int
    places: Mapping[str, Place]
    services: tuple[Service, ...]

    @property
    def scored(self) -> int:
        """How many hours are scored."""
        return self.hours - self.first

    def of_track(self, track: str) -> tuple[Service, ...]:
        """Return the services of a track, in the file's order."""
        return tuple(s for s in self.services if s.track == track)

    def zones(self, services: Iterable[Service]) -> frozenset[str]:
        """Return the grid zones of the candidates of services: regions that nobody may use need no numbers."""
        return frozenset(self.places[c].zone for s in services for c in s.candidates)


def read_instance(folder: Path, year: int) -> Instance:
    """Read ``placement/instance_YEAR.json`` below a folder, or the file beside the others.

    Raises ``UsageError`` when it is missing or contradicts itself, with the place and what was expected there.
    """
    name = f"instance_{year}.json"
    path = next((p for p in (folder / "placement" / name, folder / name) if p.is_file()), None)
    if path is None:
        message = f"--data {folder}: there is no placement/{name}"
        raise UsageError(message, hint=f"Choose a --year that has one, or another folder. {_NEEDED}")
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}", hint=_NEEDED) from error
    try:
        return _instance(document, year)
    except KeyError as error:
        raise UsageError(f"{path}: {error} is missing", hint=_NEEDED) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: {error}", hint=_NEEDED) from error


def _instance(document: Mapping[str, Any], year: int) -> Instance:
    found = document["benchmark"], document["version"], document["year"]
    if found != (BENCHMARK, VERSION, year):
        raise ValueError(f"benchmark, version and year are {found}, not {(BENCHMARK, VERSION, year)}")
    hours, first, scored = document["hours_in_year"], document["warmup_hours"], document["scored_hours"]
    if not all(type(count) is int for count in (hours, first, scored)):
        raise TypeError("hours_in_year, warmup_hours and scored_hours are not all whole numbers")
    if not 0 < first < hours or first + scored != hours:
        raise ValueError(f"{first} hours of warm-up and {scored} scored ones are not the {hours} of the year")
    places = {name: _place(name, entry) for name, entry in document["regions"].items()}
    services = tuple(_service(entry, places) for entry in document["services"])
    if not services:
        raise ValueError("services is empty")
    _refuse_twins([s.id for s in services])
    _refuse_twins([str(s.key) for s in services])
    return Instance(year, hours, first, places, services)


def _place(name: str, entry: Mapping[str, Any]) -> Place:
    pue = float(entry["pue"])
    if not math.isfinite(pue) or pue < 1:
        raise ValueError(f"regions.{name}.pue is {pue}, and no PUE is below 1")
    return Place(name, str(entry["zone"]), pue)


def _service(entry: Mapping[str, Any], places: Mapping[str, Place]) -> Service:
    service = Service(
        id=str(entry["id"]),
        track=str(entry["track"]),
        origin=str(entry["origin"]),
        rtt_budget_ms=_as_written(entry, "rtt_budget_ms"),
        switching_hours=_as_written(entry, "switching_hours"),
        switching_grams=float(entry["switching_grams"]),
        candidates=tuple(sorted(entry["candidates"])),
    )
    if service.track not in TRACKS:
        raise ValueError(f"services.{service.id}.track is {service.track!r}, not one of {', '.join(TRACKS)}")
    if not math.isfinite(service.switching_grams) or service.switching_grams < 0:
        raise ValueError(f"services.{service.id}.switching_grams is {service.switching_grams}")
    if service.origin not in service.candidates:
        raise ValueError(f"services.{service.id}.candidates lacks the origin {service.origin!r}")
    unknown = [c for c in service.candidates if c not in places]
    if unknown:
        raise ValueError(f"services.{service.id}.candidates names {unknown[0]!r}, which is not in regions")
    _refuse_twins(service.candidates)
    return service


def _as_written(entry: Mapping[str, Any], name: str) -> float:
    """Keep 50 apart from 50.0: files of placements are matched by what stands there."""
    value = entry[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"services.{entry['id']}.{name} is {value!r}, not a number")
    return value


def _refuse_twins(names: Sequence[str]) -> None:
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"{twice[0]} occurs twice")
