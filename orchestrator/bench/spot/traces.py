"""Availability traces: which zones had room for how many instances, tick by tick.

Layout of a folder: ``spot/availability_index.csv`` (a row per trace) and ``spot/availability_runs.csv[.gz]`` (run
lengths: ``trace_id, offset_s, duration_s, available_instances``). Traces of one campaign form a group; their ids are
alike but for the zone. Of the index ``kind`` and ``instances_requested`` may be missing; without the latter nobody says
that more than one was asked for.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.bench.spot.settings import TICK_SECONDS
from orchestrator.errors import SignalFormatError, SignalUnavailable

Ints = NDArray[np.int64]

INDEX: Final = "availability_index.csv"
RUNS: Final = "availability_runs.csv"
UNLIMITED: Final = 1_000_000
"""What the 1 of a 0/1 trace is read as, as SpotHedge's simulator does: it says nothing of how many there were."""

_INDEX_COLUMNS: Final = ("trace_id", "cloud", "zone", "gap_seconds")
_RUN_COLUMNS: Final = ("trace_id", "offset_s", "duration_s", "available_instances")
_NAMES: Final = {"st-avail-1n-aws-20230215-v100_1": "AWS3", "sn-h100": "H100"}
"""Names in use for groups whose traces do not carry one."""
_SAMPLE_SECONDS: Final = {"st-avail-1n-aws-20230215-v100_1": 300.0}
"""That campaign's files say 195 s, its authors' notes and SpotHedge's copy 300 s; the settings follow the latter."""
_NEAR: Final = 1 / 8
"""A sample is replayed as whole ticks, as the settings have it, where these are not farther from its length than this
part of it; else each tick takes what held at its time."""
_HINT: Final = "The layout is that of spot/ in the benchmark's data: an index of traces, and their runs."


@dataclass(frozen=True, slots=True)
class ZoneTrace:
    """Room in one zone: ``instances`` per tick, as long as it was observed."""

    cloud: str
    zone: str
    instances: Ints


@dataclass(frozen=True, slots=True)
class TraceGroup:
    """One campaign: its zones by name. ``counts``: whether the numbers are instances, or only none and some.

    They are instances where more than one was asked for, even if more than one was never found, and where more than
    one was found.

    ``kind``: what was observed, as the index has it: how many could be launched, or how many of those held lived; empty
    where that is not said, or not the same for all. ``replayed_as``: (seconds of a sample, seconds that it is replayed
    as) where the two differ.
    """

    name: str
    zones: tuple[ZoneTrace, ...]
    counts: bool
    kind: str = ""
    replayed_as: tuple[tuple[float, float], ...] = ()

    @property
    def ticks(self) -> int:
        """Length of the shortest trace: windows begin within it."""
        return min(len(z.instances) for z in self.zones)

    def window(self, offset: int, ticks: int) -> Ints:
        """Return the room, (ticks, zones), from a tick on; each trace is read as a circle."""
        at = np.arange(offset, offset + ticks)
        return np.stack([np.take(z.instances, at, mode="wrap") for z in self.zones], axis=1)


def read_traces(folder: Path) -> tuple[TraceGroup, ...]:
    """Read all groups below ``folder``, in the order of the index.

    Raises ``SignalUnavailable`` for a file that is missing, ``SignalFormatError`` for one that says what cannot be.
    """
    index = _find(folder, INDEX)
    listed = _rows(index, _INDEX_COLUMNS)
    if not listed:
        raise SignalFormatError(f"{index.name} lists no trace", hint=_HINT)
    path = _find(folder, RUNS)
    runs: dict[str, list[tuple[int, Mapping[str, str]]]] = {row["trace_id"]: [] for row in listed}
    if len(runs) != len(listed):
        twice = next(
            r["trace_id"] for i, r in enumerate(listed) if r["trace_id"] in {x["trace_id"] for x in listed[:i]}
        )
        raise SignalFormatError(f"{index.name}: trace {twice!r} is listed twice", hint=_HINT)
    for line, row in enumerate(_rows(path, _RUN_COLUMNS), start=2):
        if row["trace_id"] not in runs:
            raise SignalFormatError(f"{path.name}:{line}: trace {row['trace_id']!r} is not in {INDEX}", hint=_HINT)
        runs[row["trace_id"]].append((line, row))
    groups: dict[str, list[ZoneTrace]] = {}
    kinds: dict[str, set[str]] = {}
    requested: dict[str, float] = {}
    replayed: dict[str, set[tuple[float, float]]] = {}
    for line, row in enumerate(listed, start=2):
        key = _group_key(row, f"{index.name}:{line}")
        gap = _positive(row["gap_seconds"], f"{index.name}:{line}: gap_seconds")
        samples = _samples(runs[row["trace_id"]], gap, path.name, row["trace_id"])
        ticks, seconds = _ticks(samples, _SAMPLE_SECONDS.get(key, gap))
        trace = ZoneTrace(row["cloud"], row["zone"], ticks)
        kinds.setdefault(key, set()).add(row.get("kind") or "")
        requested[key] = max(requested.get(key, 1), _requested(row, f"{index.name}:{line}"))
        replayed.setdefault(key, set()).update({(gap, seconds)} if seconds != gap else ())
        if any(z.zone == trace.zone for z in groups.setdefault(key, [])):
            raise SignalFormatError(f"{index.name}:{line}: zone {trace.zone!r} occurs twice in its group", hint=_HINT)
        groups[key].append(trace)
    return tuple(
        _group(key, zones, groups, kinds[key], replayed[key], requested=requested[key]) for key, zones in groups.items()
    )


def _ticks(samples: Ints, seconds: float) -> tuple[Ints, float]:
    """Return samples of so many seconds tick by tick, and how many seconds each of them stands for now."""
    repeat = round(seconds / TICK_SECONDS)
    if repeat and abs(repeat * TICK_SECONDS - seconds) <= _NEAR * seconds:
        return np.repeat(samples, repeat), float(repeat * TICK_SECONDS)
    ticks = max(1, int(len(samples) * seconds // TICK_SECONDS))
    holding = (np.arange(ticks) * TICK_SECONDS / seconds).astype(np.int64)
    return samples[np.minimum(holding, len(samples) - 1)], seconds


def _group(
    key: str,
    zones: Sequence[ZoneTrace],
    keys: Mapping[str, object],
    kinds: AbstractSet[str],
    replayed_as: AbstractSet[tuple[float, float]],
    *,
    requested: float,
) -> TraceGroup:
    # One campaign asked for one and found room for four, so what was found counts as well.
    counts = max(requested, *(int(z.instances.max()) for z in zones)) > 1
    if not counts:
        zones = [ZoneTrace(z.cloud, z.zone, z.instances * UNLIMITED) for z in zones]
    name = _NAMES.get(key, key.partition("-")[2] or key)
    if any(other != key and (other.partition("-")[2] or other) == name for other in keys):
        name = key
    kind = next(iter(kinds)) if len(kinds) == 1 else ""
    return TraceGroup(name, tuple(sorted(zones, key=lambda z: z.zone)), counts, kind, tuple(sorted(replayed_as)))


def _requested(row: Mapping[str, str], where: str) -> float:
    """Return how many instances were asked for; one where the index does not say."""
    said = row.get("instances_requested")
    return _positive(said, f"{where}: instances_requested") if said else 1


def _group_key(row: Mapping[str, str], where: str) -> str:
    """Return what the ids of a campaign have in common: source, name, and the accelerator where it is not the name."""
    left, found, right = row["trace_id"].partition(row["zone"])
    if not row["zone"] or not found or not left:
        raise SignalFormatError(
            f"{where}: trace {row['trace_id']!r} does not name its zone {row['zone']!r}", hint=_HINT
        )
    left, right = left.rstrip("-"), right.strip("-")
    # Each of SpotHedge's folders is one campaign with one accelerator, which its name stands for.
    return left if left.startswith("sh-") or not right else f"{left}-{right}"


def _samples(runs: Sequence[tuple[int, Mapping[str, str]]], gap: float, file: str, trace: str) -> Ints:
    if not runs:
        raise SignalFormatError(f"{file} has no row of trace {trace!r}", hint=_HINT)
    parts: list[Ints] = []
    expected = 0.0
    for line, row in runs:
        where = f"{file}:{line}"
        offset, length = _number(row["offset_s"], where), _positive(row["duration_s"], f"{where}: duration_s")
        count = _number(row["available_instances"], where)
        if offset != expected:
            raise SignalFormatError(f"{where}: the run begins at {offset:g} s, the one before ended at {expected:g} s")
        if length % gap:
            raise SignalFormatError(f"{where}: {length:g} s are no whole samples of {gap:g} s", hint=_HINT)
        if count < 0 or count != int(count):
            raise SignalFormatError(f"{where}: {row['available_instances']} instances cannot be", hint=_HINT)
        parts.append(np.full(int(length // gap), int(count), dtype=np.int64))
        expected = offset + length
    return np.concatenate(parts)


def _find(folder: Path, name: str) -> Path:
    places = [at / f"{name}{suffix}" for at in (folder / "spot", folder) for suffix in ("", ".gz")]
    for place in places:
        if place.is_file():
            return place
    raise SignalUnavailable(f"{folder} has no spot/{name}, plain or .gz", hint="Name the folder that holds spot/.")


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [c for c in columns if c not in (reader.fieldnames or ())]
            if missing:
                raise SignalFormatError(f"{path.name}: there is no column {', '.join(missing)}", hint=_HINT)
            rows = list(reader)
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise SignalFormatError(f"{path.name} is damaged: {error}") from error
    except OSError as error:
        raise SignalUnavailable(f"{path.name} cannot be read: {error.strerror or error}") from error
    for line, row in enumerate(rows, start=2):
        if None in row or any(row[c] is None for c in columns):
            raise SignalFormatError(f"{path.name}:{line}: the row has another number of cells than the header")
    return rows


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise SignalFormatError(f"{where}: {text!r} is not a number", hint=_HINT)
    return value


def _positive(text: str, where: str) -> float:
    value = _number(text, where)
    if value <= 0:
        raise SignalFormatError(f"{where}: {text} is not positive", hint=_HINT)
    return value
