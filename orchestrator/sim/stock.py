"""How many instances of each offer are to be had, in steps of five minutes: on demand always, spot as recorded.

Layout of the folder: ``spot/availability_index.csv`` (a row per trace: ``trace_id, kind, cloud, zone,
instance_or_accelerator``) and ``spot/availability_runs.csv[.gz]`` (``trace_id, offset_s, duration_s,
available_instances``). A trace belongs to the spot offers of its region and accelerator; an offer without one is given
a trace of the same accelerator, else of any, drawn by the seed, and the result says which. A trace shorter than the
period is repeated; drawn ones begin somewhere inside.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import random
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market
from orchestrator.domain.time import Instant, Window
from orchestrator.errors import SignalFormatError, SignalUnavailable

STEP = timedelta(minutes=5)
"""Events of the market are seen at this raster: that of a controller's rest, and finer than most traces."""

STEPS_PER_HOUR = 12
INDEX_COLUMNS = ("trace_id", "kind", "cloud", "zone", "instance_or_accelerator")
RUN_COLUMNS = ("trace_id", "offset_s", "duration_s", "available_instances")
LAUNCHABLE = "availability"
"""The kind of trace that says how many could be launched; the other kind says how many of the held ones lived."""

MOST = 1_000
"""More than that of one zone counts as that many: nobody simulated wants more, and sums stay small numbers."""

Counts = NDArray[np.int16]


@dataclass(frozen=True)
class Stock:
    """Instances to be had by offer id, one number per step of the period; an offer that is not named never runs out.

    ``notes``: which trace speaks for which offer.
    """

    period: Window
    counts: Mapping[str, Counts] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def step(self, moment: Instant) -> int:
        """Return the step that holds the moment; before the period the first, after it the last."""
        steps = int(self.period.length / STEP)
        return min(max(int((moment - self.period.start) // STEP), 0), steps - 1)

    def room(self, offer_id: str, moment: Instant) -> int | None:
        """Return how many can run then, ``None`` without a limit."""
        counts = self.counts.get(offer_id)
        return None if counts is None else int(counts[self.step(moment)])

    def changes(self, offers: Collection[str] | None = None) -> NDArray[np.intp]:
        """Return the steps at which any number differs from the step before, ascending; never the first step.

        ``offers``: ids of those that matter; else all.
        """
        names = [name for name in sorted(self.counts) if offers is None or name in offers]
        if not names:
            return np.zeros(0, dtype=np.intp)
        together = np.stack([self.counts[name] for name in names])
        return np.flatnonzero((together[:, 1:] != together[:, :-1]).any(axis=0)) + 1


@dataclass(frozen=True, slots=True)
class Trace:
    """One recorded trace. ``ends_s`` and ``available``: runs, in order, from offset 0 on."""

    id: str
    region: str
    accelerator: str
    ends_s: NDArray[np.float64]
    available: Counts

    def sampled(self, steps: int, begin_s: float) -> Counts:
        """Return the number at each step, the trace repeated, from an offset inside it on."""
        length = float(self.ends_s[-1])
        moments = (begin_s + np.arange(steps) * STEP.total_seconds()) % length
        return self.available[np.searchsorted(self.ends_s, moments, side="right")]


def stock_of(offers: Sequence[Offer], period: Window, traces: Sequence[Trace], seed: int) -> Stock:
    """Give each spot offer its trace. Without traces spot never runs out, and a note says so."""
    spot = sorted((o for o in offers if o.market is Market.SPOT), key=lambda o: o.id)
    if not spot:
        return Stock(period)
    if not traces:
        return Stock(period, notes=("no availability traces: spot never runs out here",))
    steps = int(period.length / STEP)
    draw = random.Random(seed)  # noqa: S311  # a reproducible draw, not a secret
    counts: dict[str, Counts] = {}
    notes = []
    for offer in spot:
        kind = (offer.shape.accelerator or "").casefold()
        own = [t for t in traces if t.region == offer.region.id and t.accelerator == kind]
        if own:
            # Zones of one region add up: whoever launches in a region tries all of them.
            counts[offer.id] = np.sum([t.sampled(steps, 0.0) for t in own], axis=0).astype(np.int16)
            notes.append(f"spot stock of {offer.id}: its own trace, of {len(own)} zone{'' if len(own) == 1 else 's'}")
            continue
        pool = [t for t in traces if t.accelerator == kind] or list(traces)
        trace = draw.choice(pool)
        begin = draw.randrange(int(trace.ends_s[-1]))
        counts[offer.id] = trace.sampled(steps, float(begin))
        notes.append(
            f"spot stock of {offer.id}: no trace of its own, so {trace.id} from {begin / 3600:.1f} h on (drawn)"
        )
    return Stock(period, counts, tuple(notes))


def read_traces(folder: Path) -> tuple[Trace, ...]:
    """Read the traces of what could be launched; none where the folder has no ``spot`` in it.

    Raises ``SignalUnavailable`` when one of the two files is missing, ``SignalFormatError`` with file and line.
    """
    index, runs = (_find(folder / "spot", f"availability_{name}.csv") for name in ("index", "runs"))
    if index is None and runs is None:
        return ()
    if index is None or runs is None:
        message = f"{folder / 'spot'} has only one of availability_index.csv and availability_runs.csv"
        raise SignalUnavailable(message, hint="Both are needed: the one names the traces, the other holds them.")
    by_trace: dict[str, list[tuple[float, int]]] = {}
    for line, row in _rows(runs, RUN_COLUMNS):
        try:
            begin, end = float(row["offset_s"]), float(row["offset_s"]) + float(row["duration_s"])
            available = int(row["available_instances"])
        except (TypeError, ValueError) as error:
            raise SignalFormatError(f"{runs.name}:{line}: {error}") from error
        before = by_trace.setdefault(row["trace_id"], [])
        due = before[-1][0] if before else 0.0
        # What was to be had in a hole nobody knows, so none is read as the run after it.
        if available < 0 or not math.isclose(begin, due, abs_tol=1e-6) or not begin < end < math.inf:
            message = f"{runs.name}:{line}: runs of {row['trace_id']} do not follow one another"
            raise SignalFormatError(f"{message}: this one begins at {begin:g} s, the one before ended at {due:g} s")
        before.append((end, min(available, MOST)))
    traces = []
    for line, row in _rows(index, INDEX_COLUMNS):
        if row["kind"] != LAUNCHABLE:
            continue
        found = by_trace.get(row["trace_id"])
        if not found:
            raise SignalFormatError(f"{index.name}:{line}: {runs.name} has no run of {row['trace_id']}")
        ends, available_ = zip(*found, strict=True)
        traces.append(
            Trace(
                row["trace_id"],
                f"{row['cloud']}/{_region(row['cloud'], row['zone'])}",
                _accelerator(row["instance_or_accelerator"]),
                np.array(ends, dtype=np.float64),
                np.array(available_, dtype=np.int16),
            )
        )
    return tuple(sorted(traces, key=lambda t: t.id))


def _region(cloud: str, zone: str) -> str:
    """``us-east-1a`` lies in ``us-east-1``, ``us-central1-b`` in ``us-central1``."""
    return re.sub(r"-[a-z]$", "", zone) if cloud == "gcp" else re.sub(r"(?<=\d)[a-z]$", "", zone)


def _accelerator(name: str) -> str:
    """``v100_1`` and ``a100_40gb_8`` are V100 and A100."""
    return re.split(r"[_:-]", name.casefold())[0]


def _find(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SignalFormatError(f"{path.name} is damaged: {error}") from error
    reader = csv.DictReader(io.StringIO(text))
    missing = [c for c in columns if c not in (reader.fieldnames or ())]
    if missing:
        raise SignalFormatError(f"{path.name}:1: there is no column {missing[0]!r}")
    return [(line, row) for line, row in enumerate(reader, start=2)]
