"""Clocks: the machine's own, one that replays a recorded grid faster, and one that only moves when told to."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
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

    def advance(self, physical: timedelta) -> None:
        """Let physical time pass."""
        self.elapsed += physical.total_seconds()
        self.present += physical * self.rate

    async def sleep(self, physical_seconds: float) -> None:
        """Let that much time pass at once."""
        self.advance(timedelta(seconds=physical_seconds))
        await asyncio.sleep(0)


def anchored(state_dir: Path, grid_start: Instant | None, rate: float) -> SystemClock:
    """Return the clock of a state directory: the replayed world's, fixed by whoever asks first, or the system's.

    Raises ``InvalidSettings`` when the directory already replays another world: its history makes no sense in ours.
    """
    file = state_dir / WORLD_FILE
    if grid_start is None:
        if file.exists():
            message = f"{state_dir} replays a recorded grid, but no world.start is configured"
            raise InvalidSettings(
                message, hint="Set GREENCTL_WORLD__START as before, or use another GREENCTL_STATE_DIR."
            )
        return SystemClock()
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    wanted = {"grid_start": format_instant(grid_start), "rate": rate}
    fresh = wanted | {"wall_start": format_instant(datetime.now(UTC))}
    draft = state_dir / f".{WORLD_FILE}.{os.getpid()}"
    draft.write_text(json.dumps(fresh))
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    found, clock = _read(file)
    if found != wanted:
        asked = f"{wanted['grid_start']} at rate {wanted['rate']:g}"
        message = f"{state_dir} replays {found['grid_start']} at rate {found['rate']}, not {asked}"
        raise InvalidSettings(message, hint="Use another GREENCTL_STATE_DIR for another world.")
    return clock


def _read(file: Path) -> tuple[dict[str, object], ReplayClock]:
    """Return the world that an anchor names, and its clock. Raises ``InvalidSettings`` when it cannot be read."""
    try:
        world = json.loads(file.read_text())
        clock = ReplayClock(
            parse_instant(world["grid_start"]), parse_instant(world["wall_start"]), float(world["rate"])
        )
    except (ValueError, KeyError, TypeError) as error:
        message = f"{file} is damaged: {error!r}"
        raise InvalidSettings(
            message, hint="Use another GREENCTL_STATE_DIR; its history has no clock any more."
        ) from error
    return {"grid_start": world["grid_start"], "rate": world["rate"]}, clock
