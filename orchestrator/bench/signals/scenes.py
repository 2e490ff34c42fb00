"""Scenes drawn from a recording: a replica in a clean zone, a dirtier one that is lied about, and how.

Equal folders and seeds give equal scenes. The lie can only lead astray: while it lasts and for a day after, there is no
hour in which the zone that it is about is not the dirtier one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np

from orchestrator.bench.signals.feeds import Attack
from orchestrator.bench.signals.lies import LIES
from orchestrator.domain.carbon import Basis
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.errors import SignalUnavailable
from orchestrator.signals.recorded import Coverage, RecordedCarbon

LENGTHS_HOURS: Final = (1, 2, 3, 4, 6, 8, 12, 24, 47)
"""A new level counts after two days of watching; whoever lies alone for longer is believed, and that is said."""

SHARES: Final = (0.2, 0.6)
KNOWN_BEFORE: Final = timedelta(days=30)
BEFORE, AFTER = 1 * HOUR, 2 * HOUR
AROUND: Final = 24 * HOUR
CLEANER: Final = 0.95
"""Home has at most this part of the other zone's intensity, in every hour."""

TRIES: Final = 400
LEAST_ZONES: Final = 3
"""Home, the one that is lied about, and one whose numbers are told of it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One run: where the replica is, what is recorded, and the attack."""

    kind: str
    basis: Basis
    home: str
    attack: Attack
    grams_per_kwh: dict[str, dict[Instant, float]]


@dataclass(frozen=True, slots=True)
class Draw:
    """Draws scenes, each from its own number."""

    source: RecordedCarbon
    coverage: tuple[Coverage, ...]
    seed: int

    @classmethod
    def of(cls, source: RecordedCarbon, seed: int) -> Draw:
        """Raise ``SignalUnavailable`` for a folder without two zones of half a year."""
        long_enough = tuple(c for c in source.coverage() if c.until - c.first > 6 * KNOWN_BEFORE)
        if len({c.zone for c in long_enough}) < LEAST_ZONES:
            message = "the recording has fewer than three zones of half a year or more"
            raise SignalUnavailable(message, hint="Name a folder with ci_lifecycle_YYYY.csv.gz or ci_direct_YYYY.csv.")
        return cls(source, long_enough, seed)

    async def scene(self, number: int) -> Scene:
        """Return the scene of that number; kinds of lies take turns.

        Raises ``SignalUnavailable`` when no two zones of the recording will do.
        """
        kind = list(LIES)[number % len(LIES)]
        draw = np.random.default_rng([self.seed, number])
        for _ in range(TRIES):
            found = await self._try(kind, draw)
            if found is not None:
                return found
        message = f"no zone of the recording is cleaner than another one for a day (scene {number})"
        raise SignalUnavailable(message, hint="Use a recording of more zones.")

    async def _try(self, kind: str, draw: np.random.Generator) -> Scene | None:
        victim = self.coverage[int(draw.integers(len(self.coverage)))]
        alike = [c for c in self.coverage if c.basis == victim.basis and c.zone != victim.zone]
        begin = victim.first + KNOWN_BEFORE + BEFORE
        hours = int((victim.until - max(AROUND, AFTER) - LENGTHS_HOURS[-1] * HOUR - begin) / HOUR)
        length = LENGTHS_HOURS[int(draw.integers(len(LENGTHS_HOURS)))] * HOUR
        start = begin + int(draw.integers(max(1, hours))) * HOUR
        places, shares = draw.permutation(len(alike)), draw.uniform(*SHARES)
        older, rewrites = int(draw.integers(3, 21)), bool(draw.random() < 0.5)  # noqa: PLR2004 - a coin
        span = Window(start - KNOWN_BEFORE - BEFORE, start + length + AROUND)
        around = Window(start - BEFORE, start + length + AROUND)
        own = await self._hours(victim.zone, victim.basis, around)
        if any(start not in own for start in _hours_of(around)):
            return None
        found: list[str] = []
        for place in places:
            zone = alike[int(place)].zone
            hours_there = await self._hours(zone, victim.basis, around)
            if all(hours_there.get(start, math.inf) <= CLEANER * own[start] for start in _hours_of(around)):
                found.append(zone)
            if len(found) == 2:  # noqa: PLR2004 - home, and another clean one
                break
        if len(found) < 2:  # noqa: PLR2004 - as above
            return None
        home, other = found
        attack = Attack(
            zone=victim.zone,
            lie=LIES[kind],
            window=Window(start, start + length),
            other_zone=other,
            older_by_hours=older,
            share=float(shares),
            rewrites=rewrites,
        )
        known = {zone: await self._hours(zone, victim.basis, span) for zone in (victim.zone, home, other)}
        return Scene(kind, victim.basis, home, attack, known)

    async def _hours(self, zone: str, basis: Basis, span: Window) -> dict[Instant, float]:
        series = await self.source.history(zone, basis, span, span.end)
        return {p.interval.start: p.grams_per_kwh for p in series.points}


def _hours_of(window: Window) -> list[Instant]:
    return [window.start + n * HOUR for n in range(round(window.hours))]
