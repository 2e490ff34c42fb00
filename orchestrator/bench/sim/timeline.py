"""Simulated time and chance: a clock that jumps from event to event, and dice that do not depend on each other.

Every draw is a hash of the seed and of what it is for. So a schedule from which one fault was dropped is the same
schedule without that fault, and not another one: that is what makes a failing run small.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from orchestrator.clocks import VirtualClock
from orchestrator.domain.time import Instant

V = TypeVar("V")

BEGIN = datetime(2026, 3, 28, 12, tzinfo=UTC)
"""A day in which clocks change in Europe: nothing may depend on it."""


@dataclass(frozen=True, slots=True)
class Dice:
    """Chance by name: the same seed and the same question give the same answer, in whatever order they are asked."""

    seed: str

    def fraction(self, *what: object) -> float:
        """Return a number of [0, 1)."""
        words = "/".join([self.seed, *map(str, what)])
        digest = hashlib.blake2b(words.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    def between(self, low: float, high: float, *what: object) -> float:
        """Return a number of [low, high)."""
        return low + (high - low) * self.fraction(*what)

    def one_of(self, choices: Sequence[V], *what: object) -> V:
        """Return one of them."""
        return choices[int(self.fraction(*what) * len(choices))]


class SimClock(VirtualClock):
    """Physical time that only the simulation moves.

    ``skew_seconds``: how wrong the machine's own clock is; ``stepped_seconds``: how far somebody has put forward what
    records are written by.
    """

    skew_seconds: float = 0.0
    stepped_seconds: float = 0.0

    def now(self) -> Instant:
        """Return the present, as far as it is known here."""
        return self.present + timedelta(seconds=self.stepped_seconds)

    def wall(self) -> Instant:
        """Return what the machine's clock shows: for display only, so nothing may depend on it."""
        return self.now() + timedelta(seconds=self.skew_seconds)

    def move_to(self, elapsed: float) -> None:
        """Let time pass until then; never backwards."""
        if elapsed > self.elapsed:
            # By the exact sum: what is rounded at each step adds up, and an hour would begin a moment late.
            self.present = BEGIN + timedelta(seconds=round(elapsed, 6))
            self.elapsed = elapsed


class Timeline:
    """What is to happen, in order. Things of the same moment happen in the order in which they were planned."""

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self._coming: list[tuple[float, int, Callable[[], Awaitable[None]]]] = []
        self._planned = 0
        self.stopped = False

    def at(self, elapsed: float, what: Callable[[], Awaitable[None]]) -> None:
        """Plan something."""
        self._planned += 1
        heapq.heappush(self._coming, (round(elapsed, 3), self._planned, what))

    async def until(self, elapsed: float) -> None:
        """Let everything happen up to then. May be called by what happens: somebody waits while the world goes on."""
        while self._coming and self._coming[0][0] <= elapsed and not self.stopped:
            at, _, what = heapq.heappop(self._coming)
            self.clock.move_to(at)
            await what()
        self.clock.move_to(elapsed)
