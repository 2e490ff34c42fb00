"""Replay every policy on every group of traces, and gather the scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import numpy as np

from orchestrator.bench.spot import rivals
from orchestrator.bench.spot.grams import GridMeans, read_grid_means
from orchestrator.bench.spot.ledger import Score, mean_score, score
from orchestrator.bench.spot.optimum import optimal
from orchestrator.bench.spot.ours import hedged
from orchestrator.bench.spot.rivals import Held
from orchestrator.bench.spot.settings import COLD_START_TICKS, OPTIMUM_WINDOWS, SEED, WINDOW_TICKS
from orchestrator.bench.spot.traces import Ints, TraceGroup, read_traces
from orchestrator.errors import UsageError
from orchestrator.planner.hedge.rules import SpotZone

ON_DEMAND: Final = "OnDemand"
NAIVE_SPREAD: Final = "NaiveSpread"
ROUND_ROBIN: Final = "RoundRobin"
SPOT_HEDGE: Final = "SpotHedge"
OURS: Final = "greenctl"
OPTIMAL: Final = "Optimal"
POLICIES: Final = (ON_DEMAND, NAIVE_SPREAD, ROUND_ROBIN, SPOT_HEDGE, OURS, OPTIMAL)

Done = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Group:
    """What was replayed: a campaign's zones, and the mean of their grids where all are known.

    ``kind`` and ``replayed_as`` are those of its :class:`~orchestrator.bench.spot.traces.TraceGroup`.
    """

    name: str
    zones: tuple[SpotZone, ...]
    counts: bool
    ticks: int
    mean_grams_per_kwh: float | None
    kind: str = ""
    replayed_as: tuple[tuple[float, float], ...] = ()

    def on_demand_grams_per_kwh(self, policy: str) -> float | None:
        """Return the grid in which a policy's on-demand replicas are counted.

        Only ours says where they stand: in the cleanest one. The others' stand anywhere.
        """
        known = [z.grams_per_kwh for z in self.zones if z.grams_per_kwh is not None]
        return min(known) if policy == OURS and self.mean_grams_per_kwh is not None else self.mean_grams_per_kwh


@dataclass(frozen=True, slots=True)
class Row:
    """One policy on one group: the mean over ``windows``. ``on_demand_grams_per_kwh``: where stand-ins are counted."""

    trace_group: str
    policy: str
    windows: int
    score: Score
    on_demand_grams_per_kwh: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """All rows, by group and in the order of :data:`POLICIES`. ``carbon_years``: whose means count, the first first."""

    offsets: int
    seed: int
    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    carbon_years: tuple[int, ...]

    def mean_relative_cost(self, policy: str) -> float:
        """Return the plain mean over the groups."""
        costs = [r.score.relative_cost for r in self.rows if r.policy == policy]
        return sum(costs) / len(costs)


def measure(folder: Path, offsets: int, begin: Callable[[str, int], Done], seed: int = SEED) -> Outcome:
    """Replay ``offsets`` windows of a day for every group of traces below ``folder``.

    ``seed``, below 2^32, draws the windows and what SpotHedge chooses at random; that of the artefact without.
    ``begin(name, total)`` is told of each group, and what it returns is called after each of its windows. Raises
    ``UsageError`` for no windows, ``SignalUnavailable`` and ``SignalFormatError`` for data that cannot be used.
    """
    if offsets < 1:
        raise UsageError(f"--offsets {offsets}: at least one window is needed")
    means = read_grid_means(folder)
    traces = read_traces(folder)
    groups, rows = [], []
    for group in traces:
        found = _group(group, means)
        groups.append(found)
        scores = _replay(group, found, offset_ticks(group.ticks, offsets, seed), seed, begin(group.name, offsets))
        rows += [
            Row(group.name, p, len(scores[p]), mean_score(scores[p]), found.on_demand_grams_per_kwh(p))
            for p in POLICIES
        ]
    return Outcome(offsets, seed, tuple(groups), tuple(rows), means.years)


def offset_ticks(shortest: int, count: int, seed: int = SEED) -> list[int]:
    """Draw where windows begin, as the artefact does (numpy's first generator, one draw each, its seed is 0).

    A trace that is no longer than a window is read as a circle from anywhere.
    """
    latest = shortest - WINDOW_TICKS if shortest > WINDOW_TICKS else shortest
    drawn = np.random.RandomState(seed)
    return [int(drawn.randint(0, latest)) for _ in range(count)]


def _group(group: TraceGroup, means: GridMeans) -> Group:
    zones = tuple(
        SpotZone(z.zone, means.region_of(z.cloud, z.zone), means.grams_per_kwh(z.cloud, z.zone)) for z in group.zones
    )
    known = [z.grams_per_kwh for z in zones if z.grams_per_kwh is not None]
    mean = sum(known) / len(known) if len(known) == len(zones) else None
    return Group(group.name, zones, group.counts, group.ticks, mean, group.kind, group.replayed_as)


def _replay(
    traces: TraceGroup, group: Group, offsets: Sequence[int], seed: int, done: Done
) -> Mapping[str, list[Score]]:
    grams = [z.grams_per_kwh for z in group.zones]
    mean = group.mean_grams_per_kwh
    spot_hedge = rivals.SpotHedge(Random(seed))  # noqa: S311  # repeatable, as in the artefact
    scores: dict[str, list[Score]] = {p: [] for p in POLICIES}

    def enter(policy: str, held: Held, first: int = COLD_START_TICKS) -> None:
        scores[policy].append(score(held, grams, group.on_demand_grams_per_kwh(policy), first=first))

    for number, offset in enumerate(offsets):
        room: Ints = traces.window(offset, WINDOW_TICKS)
        enter(ON_DEMAND, rivals.on_demand(room))
        enter(NAIVE_SPREAD, rivals.in_ring_order(rivals.naive_spread, room))
        enter(ROUND_ROBIN, rivals.in_ring_order(rivals.round_robin, room))
        enter(SPOT_HEDGE, spot_hedge(room))
        enter(OURS, hedged(room, group.zones))
        if number < OPTIMUM_WINDOWS:
            # As published, its cost is counted from the first tick on.
            enter(OPTIMAL, optimal(room, grams, mean), first=0)
        done()
    return scores
