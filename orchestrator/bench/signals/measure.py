"""Run the real planner over poisoned feeds behind the real gate, and count who is led astray.

The control is the same planner without the gate: it believes whatever a grid can have. As the zone is never the
cleaner one (:mod:`orchestrator.bench.signals.scenes`), every move to it is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from orchestrator.bench.signals.feeds import PretendedFeed
from orchestrator.bench.signals.lies import CONTRADICTED, LIES
from orchestrator.bench.signals.scenes import AFTER, BEFORE, KNOWN_BEFORE, Draw, Scene
from orchestrator.bench.signals.service import moves_to, snapshot_of
from orchestrator.control.grid import GridReader, ZoneView
from orchestrator.control.ports import CarbonSource
from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Gap
from orchestrator.domain.service import CarbonRules
from orchestrator.domain.time import Instant, Window, floor_hour
from orchestrator.signals.archive import Archive
from orchestrator.signals.composite import CompositeCarbon
from orchestrator.signals.live import LiveCarbon
from orchestrator.signals.profile import packaged_facts
from orchestrator.signals.recorded import RecordedCarbon

SEED: Final = 20260
LOOK_EVERY: Final = timedelta(hours=1)
FIRST_LOOK: Final = timedelta(minutes=10)
"""After the full hour, when an estimate of it is out."""

HORIZON_HOURS: Final = 24
FRESH_FOR: Final = CarbonRules().max_age
ASKED_AGAIN: Final = timedelta(days=1)
"""Of the past, each look asks for the last day anew."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one scene led to. ``doubted``: how many statements about the zone were not believed.

    ``true_hours``: of the zone in the weeks before it was lied about, read at once when the replica looked for the
    first time; ``true_hours_refused``: as many of them as were not believed.
    """

    scene: Scene
    misled_at: Instant | None
    misled_without_gate: bool
    doubted: int
    true_hours: int
    true_hours_refused: int


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of lie: how many scenes, and in how many a replica was moved to the zone, with the gate and without."""

    kind: str
    sources: int
    scenes: int
    misled: int
    misled_without_gate: int
    doubted_scenes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """All rows, and the runs in which the gate was passed."""

    seed: int
    rows: tuple[Row, ...]
    misled: tuple[Run, ...]
    true_hours: int
    true_hours_refused: int

    @property
    def scenes(self) -> int:
        """How many scenes were run."""
        return sum(row.scenes for row in self.rows)


def measure(folder: Path, feeds: int, step: Callable[[], None], seed: int = SEED) -> Outcome:
    """Run so many scenes on the recording in the folder, or in its subfolder ``carbon``.

    Raises ``SignalUnavailable`` for a folder without a recording or with too few zones, and ``SignalFormatError`` for
    damaged files.
    """
    place = folder / "carbon" if (folder / "carbon").is_dir() else folder
    return asyncio.run(_measure(Draw.of(RecordedCarbon(place), seed), feeds, step))


async def _measure(draw: Draw, feeds: int, step: Callable[[], None]) -> Outcome:
    runs: list[Run] = []
    for number in range(feeds):
        runs.append(await run_scene(await draw.scene(number)))
        step()
    rows = tuple(_row(kind, [r for r in runs if r.scene.kind == kind]) for kind in LIES)
    misled = tuple(r for r in runs if r.misled_at is not None)
    return Outcome(
        seed=draw.seed,
        rows=tuple(r for r in rows if r.scenes),
        misled=misled,
        true_hours=sum(r.true_hours for r in runs),
        true_hours_refused=sum(r.true_hours_refused for r in runs),
    )


async def run_scene(scene: Scene) -> Run:
    """Play a scene behind the gate, and without it."""
    honest = PretendedFeed(scene.basis, scene.grams_per_kwh)
    lying = PretendedFeed(scene.basis, scene.grams_per_kwh, scene.attack, name="liar")
    homes = _Homes(scene, GridReader(_Naive(honest)))
    archive = Archive(lying.name)
    guarded = _live(lying, archive)
    sources: list[CarbonSource] = [guarded]
    if scene.kind == CONTRADICTED:
        sources.append(_live(honest, Archive(honest.name)))
    source = CompositeCarbon(sources, fresh_for=FRESH_FOR, cross_check=True)
    misled_at = await _misled_at(source, scene, homes)
    without = await _misled_at(_Naive(lying), scene, homes)
    doubted = sum(d.zone == scene.attack.zone for d in guarded.quarantined())
    first = _looks(scene)[0]
    told = archive.known(scene.attack.zone, scene.basis, Window(first - KNOWN_BEFORE, floor_hour(first)), first)
    return Run(scene, misled_at, without is not None, doubted, len(told), sum(bool(k.doubt) for k in told))


def _live(feed: PretendedFeed, archive: Archive) -> LiveCarbon:
    yearly = {zone: facts.mean_grams_per_kwh for zone, facts in packaged_facts().items()}
    return LiveCarbon(feed, archive, yearly_grams_per_kwh=yearly)


def _looks(scene: Scene) -> list[Instant]:
    window = scene.attack.window
    first = window.start - BEFORE + FIRST_LOOK
    return [first + n * LOOK_EVERY for n in range(int((window.end + AFTER - first) / LOOK_EVERY) + 1)]


@dataclass
class _Homes:
    """What is seen of home: always the truth, and always fresh, so that nothing holds the replica there."""

    scene: Scene
    reader: GridReader
    seen: dict[Instant, ZoneView] = field(default_factory=dict)

    async def at(self, now: Instant) -> ZoneView:
        if now not in self.seen:
            self.seen[now] = await self.reader.zone(self.scene.home, self.scene.basis, now, HORIZON_HOURS)
        return self.seen[now]


async def _misled_at(source: CarbonSource, scene: Scene, homes: _Homes) -> Instant | None:
    """Look as a controller does until a replica is to move to the zone; ``None`` if none ever is.

    The planner is asked where it could say yes: a zone without a fresh number attracts nobody (``carbon.fresh``). What
    a look asks the source for is asked for in either case.
    """
    reader, zone, basis = GridReader(source), scene.attack.zone, scene.basis
    for now in _looks(scene):
        seen = await source.latest(zone, basis, now)
        if not isinstance(seen, CarbonIntensity) or not seen.is_fresh(now, FRESH_FOR):
            await source.history(zone, basis, Window(now - ASKED_AGAIN, now), now)
            continue
        there = await reader.zone(zone, basis, now, HORIZON_HOURS)
        if moves_to(there, snapshot_of(await homes.at(now), there, basis, now), now):
            return now
    return None


class _Naive:
    """A source that believes its feed: every number that a grid can have, as soon as it is said."""

    def __init__(self, feed: PretendedFeed) -> None:
        self._feed = feed
        self.name = f"naive {feed.name}"

    async def zones(self) -> frozenset[str]:
        return await self._feed.zones()

    async def latest(self, zone: str, basis: Basis, now: Instant) -> CarbonIntensity | Gap:
        return await self._feed.latest(zone, basis, now)

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        said = await self._feed.past(zone, basis, window, now)
        points = {}
        for one in () if isinstance(said, Gap) else said:
            if one.interval.end <= now and 0 <= one.grams_per_kwh <= 2000:  # noqa: PLR2004 - what a value can hold
                points[one.interval.start] = CarbonIntensity(
                    zone, one.grams_per_kwh, one.interval, one.kind, one.source, one.interval.end, now, basis
                )
        return CarbonSeries(zone, tuple(points[start] for start in sorted(points)))

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> None:
        del zone, basis, window, now


def _row(kind: str, runs: list[Run]) -> Row:
    return Row(
        kind=kind,
        sources=2 if kind == CONTRADICTED else 1,
        scenes=len(runs),
        misled=sum(r.misled_at is not None for r in runs),
        misled_without_gate=sum(r.misled_without_gate for r in runs),
        doubted_scenes=sum(r.doubted > 0 for r in runs),
    )
