"""What moves cost: while a replica and what replaces it both run, one of the two is there for the move alone. Pure.

A rival stays where it is, so nothing of that is its own (decision 0081). Of each double run that is the rent of one
replica and what it draws while it idles: the replacement until it is ready, then what it replaces; the replacement all
along where it was gone first. Whatever is drawn above that is traffic, which a rival serves as well. A cold start
draws as an idle replica does in the ledger, so that is all of it.

Nobody runs double who is launched beside others or in place of what was lost: such starts are on both sides. So is
what a new workload takes, which would be started anew anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from orchestrator.domain.energy import EnergySample, grams_from
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.time import Instant, Window

LEAST_FRACTION: Final = 1e-9
"""Less of a sample than this is nothing: what subtracting leaves of a number."""


@dataclass(frozen=True, slots=True)
class DoubleRuns:
    """When replicas ran for moves alone, by their names, grid time.

    ``idle_watts``: IT power of an idle replica by name; where it is not known the mean of the sample counts.
    ``moves``: when both sides of each move ran.
    """

    windows: Mapping[str, tuple[Window, ...]]
    idle_watts: Mapping[str, float]
    moves: tuple[Window, ...] = ()


NO_DOUBLE_RUNS: Final = DoubleRuns(MappingProxyType({}), MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Extra:
    """The part of a sample that is a move's alone. ``grams`` and ``usd`` are ``None`` where the sample's are."""

    engine_seconds: float
    it_joules: float
    facility_joules: float
    grams: float | None
    usd: float | None


def double_runs(
    replicas: Iterable[Replica],
    is_needed_anywhere: Callable[[Replica, Replica], bool],
    idle_watts: Mapping[str, float],
    now: Instant,
) -> DoubleRuns:
    """Return when replicas ran for moves alone. ``replicas``: all of a service that ever were.

    ``is_needed_anywhere``: whether a replacement was due wherever the replica stood, as for a new workload.
    """
    by_name = {r.name: r for r in replicas}
    windows: dict[str, list[Window]] = {}
    moves = []
    for new in by_name.values():
        old = by_name.get(new.replaces or "")
        if old is None or is_needed_anywhere(old, new):
            continue
        # A loss ends the move: who was to replace it on purpose now replaces what was lost.
        old_ends = old.state_since if old.state is ReplicaState.LOST else _gone_at(old, now)
        new_ends = _gone_at(new, now)
        ends, ready = min(old_ends, new_ends), new.ready_at
        if ends <= new.created_at:
            continue
        moves.append(Window(new.created_at, ends))
        takes_over = new_ends if ready is None or new_ends < old_ends else ready
        if (until := min(takes_over, ends)) > new.created_at:
            windows.setdefault(new.name, []).append(Window(new.created_at, until))
        if takes_over < ends:
            windows.setdefault(old.name, []).append(Window(takes_over, ends))
    return DoubleRuns({name: _united(own) for name, own in windows.items()}, idle_watts, tuple(moves))


def _gone_at(replica: Replica, now: Instant) -> Instant:
    """When nothing was left of it; until then it is there."""
    return replica.ended_at if replica.cleaned_up and replica.ended_at is not None else now


def _united(windows: Sequence[Window]) -> tuple[Window, ...]:
    """Return the same time without overlap, in order."""
    found: list[Window] = []
    for window in sorted(windows, key=lambda w: (w.start, w.end)):
        if found and window.start <= found[-1].end:
            found[-1] = Window(found[-1].start, max(found[-1].end, window.end))
        else:
            found.append(window)
    return tuple(found)


def extra_in(sample: EnergySample, runs: DoubleRuns) -> Extra | None:
    """Return the part of a sample that is a move's alone, ``None`` without any.

    A row of an hour tells no more of its parts than how long they were; idle power does not change with the load.
    """
    length = sample.window.length
    own = [_common(w, sample.window) for w in runs.windows.get(sample.replica, ())]
    share = sum((w.length / length for w in own if w is not None), 0.0) if length else 0.0
    if share <= LEAST_FRACTION:
        return None
    share = 1.0 if share >= 1.0 - LEAST_FRACTION else share
    seconds = sample.engine_seconds * share
    joules = min(runs.idle_watts.get(sample.replica, sample.watts) * seconds, sample.it_joules * share)
    facility = joules * sample.pue
    intensity = None if sample.grams is None else sample.grams_per_kwh
    return Extra(
        engine_seconds=seconds,
        it_joules=joules,
        facility_joules=facility,
        grams=None if intensity is None else grams_from(facility, intensity),
        usd=None if sample.usd is None else sample.usd * share,
    )


def _common(one: Window, other: Window) -> Window | None:
    start, end = max(one.start, other.start), min(one.end, other.end)
    return Window(start, end) if start < end else None


def without(sample: EnergySample, extra: Extra | None) -> EnergySample | None:
    """Return what a rival is charged for of a sample: energy and paid time, ``None`` where nothing is left."""
    if extra is None:
        return sample
    joules = sample.it_joules - extra.it_joules
    seconds = sample.engine_seconds - extra.engine_seconds
    if joules <= LEAST_FRACTION * sample.it_joules and seconds <= LEAST_FRACTION * sample.engine_seconds:
        return None
    return replace(
        sample,
        engine_seconds=max(0.0, seconds),
        it_joules=max(0.0, joules),
        facility_joules=max(0.0, sample.facility_joules - extra.facility_joules),
        grams=None if sample.grams is None or extra.grams is None else max(0.0, sample.grams - extra.grams),
        usd=None if sample.usd is None or extra.usd is None else max(0.0, sample.usd - extra.usd),
    )
