"""Clocks: the machine's own, one that replays a recorded grid faster, and one that only moves when told to."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.domain.time import Instant, format_instant, parse_instant
from orchestrator.errors import InvalidSettings

WORLD_FILE = "world.json"


class SystemClock:
    """Grid time is the machine's UTC time."""

    @property
    def rate(self) -> float:
        """One grid second per physical second."""
        return 1.0

    def now(self) -> Instant:
        """Return the present."""
        return datetime.now(UTC)

    def wall(self) -> Instant:
        """Return the present."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Physical seconds since an arbitrary origin."""
        return time.monotonic()

    def through_sleep(self) -> float:
        """Physical seconds since an arbitrary origin, those included in which the machine slept (clock_gettime(2))."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()

    async def sleep(self, physical_seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(physical_seconds)


class ReplayClock(SystemClock):
    """Grid time runs from a recorded instant, ``rate`` grid seconds per physical second.

    The anchor is shared by every process of one state directory (:func:`anchored`), so that all of them live at the
    same grid moment.
    """

    def __init__(self, grid_start: Instant, wall_start: Instant, rate: float) -> None:
        self._grid_start = grid_start
        self._wall_start = wall_start
        self._rate = rate
        self._latest = grid_start

    @property
    def rate(self) -> float:
        """Grid seconds per physical second."""
        return self._rate

    def now(self) -> Instant:
        """Return the grid's present; it stands still while the machine's clock steps back."""
        elapsed = datetime.now(UTC) - self._wall_start
        self._latest = max(self._latest, self._grid_start + elapsed * self._rate)
        return self._latest


@dataclass(slots=True)
class VirtualClock:
    """A clock that only moves when told to, or when somebody sleeps: for tests and simulations."""

    present: Instant
    rate: float = 1.0
    elapsed: float = 0.0

    def now(self) -> Instant:
        """Return the present."""
        return self.present

    def wall(self) -> Instant:
        """Return the present."""
        return self.present

    def monotonic(self) -> float:
        """Physical seconds that were let pass."""
        return self.elapsed

    def through_sleep(self) -> float:
        """Physical seconds that were let pass: nothing here sleeps through any."""
        return self.elapsed

    def advance(self, physical: timedelta) -> None:
        """Let physical time pass."""
        self.elapsed += physical.total_seconds()
        self.present += physical * self.rate

    async def sleep(self, physical_seconds: float) -> None:
        """Let that much time pass at once."""
        self.advance(timedelta(seconds=physical_seconds))
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class World:
    """What an anchor says: which grid instant it was at which wall time (both RFC 3339), and how fast time runs."""

    grid_start: str
    wall_start: str
    rate: float

    @classmethod
    def of(cls, found: Mapping[str, object]) -> World:
        """Read one. Raises ``ValueError``, ``KeyError`` or ``TypeError``."""
        world = cls(str(found["grid_start"]), str(found["wall_start"]), float(str(found["rate"])))
        parse_instant(world.grid_start)
        parse_instant(world.wall_start)
        if not 0 < world.rate < math.inf:
            raise ValueError(f"time cannot run at rate {world.rate:g}")
        return world

    @property
    def text(self) -> str:
        """What its file holds."""
        return json.dumps(asdict(self))

    def clock(self) -> ReplayClock:
        """Return its clock."""
        return ReplayClock(parse_instant(self.grid_start), parse_instant(self.wall_start), self.rate)

    def is_of(self, grid_start: Instant | None, rate: float) -> bool:
        """Whether settings ask for this world."""
        return grid_start is not None and (self.grid_start, self.rate) == (format_instant(grid_start), rate)


def world_of(state_dir: Path) -> World | None:
    """Return the world that a state directory replays, ``None`` in real time. Raises ``InvalidSettings``: damaged."""
    file = state_dir / WORLD_FILE
    return _read(file) if file.exists() else None


def anchored(
    state_dir: Path,
    grid_start: Instant | None,
    rate: float,
    *,
    only_looks: bool = False,
    has_history: Callable[[], bool] = lambda: False,
) -> SystemClock:
    """Return the clock of a state directory: the replayed world's, fixed by whoever acts first, or the system's.

    Who ``only_looks`` fixes nothing: before the world is fixed, it begins with each look. ``has_history``: whether
    anything happened here that is recorded; without an anchor that was in real time, or the anchor is lost.

    Raises ``InvalidSettings`` when the directory already replays another world, or none: its history makes no sense in
    ours.
    """
    file = state_dir / WORLD_FILE
    if grid_start is None:
        if file.exists():
            found = _read(file)
            message = f"{state_dir} replays a recorded grid, but no world.start is configured"
            hint = f"Set GREENCTL_WORLD__START={found.grid_start} and GREENCTL_WORLD__RATE={found.rate:g} as before"
            raise InvalidSettings(message, hint=f"{hint} ({file} says so), or use another GREENCTL_STATE_DIR.")
        return SystemClock()
    fresh = World(format_instant(grid_start), format_instant(datetime.now(UTC)), rate)
    if not file.exists():
        if has_history():
            message = f"world.start is configured, but what is recorded in {state_dir} happened in real time"
            raise InvalidSettings(
                message,
                hint="Leave GREENCTL_WORLD__START unset, or use another GREENCTL_STATE_DIR to replay. If it did replay,"
                f" {file} is lost: greenctl restore puts back the one of a backup.",
            )
        if only_looks:
            return fresh.clock()
        _fix(file, fresh)
    found = _read(file)
    if not found.is_of(grid_start, rate):
        asked = f"{fresh.grid_start} at rate {rate:g}"
        message = f"{state_dir} replays {found.grid_start} at rate {found.rate}, not {asked}"
        raise InvalidSettings(message, hint="Use another GREENCTL_STATE_DIR for another world.")
    return found.clock()


def _fix(file: Path, world: World) -> None:
    """Write an anchor, complete or not at all; whoever comes second keeps the first one's."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(world.text)
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _read(file: Path) -> World:
    """Return the world that an anchor names. Raises ``InvalidSettings`` when it cannot be read."""
    try:
        return World.of(json.loads(file.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        message = f"{file} is damaged: {error!r}"
        raise InvalidSettings(
            message, hint="greenctl restore puts back the one of a backup; or use another GREENCTL_STATE_DIR."
        ) from error
