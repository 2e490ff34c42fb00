"""The controller's loop: whatever a look ends with, there is a next one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from orchestrator.control.controller import Controller
from orchestrator.control.held_turn import HeldTurn
from orchestrator.controller import loop
from orchestrator.errors import LeaseHeld, StoreUnavailable

A_DAY_OF_LOOKS = 24 * 3600 // 30


class Without:
    """A controller whose database is away for so many looks; after that the loop is told to stop."""

    troubles = ()

    def __init__(self, looks: int) -> None:
        self.left = looks
        self.stop = asyncio.Event()

    async def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.stop.set()
        raise StoreUnavailable("the database is away")


async def test_a_day_without_a_database_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failed look is followed by another one half a minute later at most, however many there were."""
    pauses: list[float] = []

    async def pause(_stop: asyncio.Event, seconds: float) -> None:
        pauses.append(seconds)

    async def keep_gateway() -> None:
        return

    monkeypatch.setattr(loop, "_pause", pause)
    controller = Without(A_DAY_OF_LOOKS)
    await loop.run(cast("Controller", controller), 0.001, controller.stop, keep_gateway)

    assert controller.left == 0
    assert len(pauses) == A_DAY_OF_LOOKS
    assert pauses[0] < pauses[1] <= max(pauses) == loop.LONGEST_PAUSE_SECONDS


class Counting:
    """A controller that counts its looks; after the third one the wall clock is set back by an hour."""

    troubles = ()

    def __init__(self) -> None:
        self.looks = 0
        self.stop = asyncio.Event()
        self.timer = AsyncIOScheduler(timezone="UTC")
        self.due: list[datetime] = []

    async def tick(self) -> None:
        self.looks += 1
        if self.looks == 3:
            # To a timer that goes by the wall clock, a clock that was set back is a next time far away.
            for job in self.timer.get_jobs():
                job.modify(next_run_time=datetime.now(UTC) + timedelta(hours=1))
        if self.looks == 6:
            self.due = [job.next_run_time for job in self.timer.get_jobs()]
            self.stop.set()


async def test_a_wall_clock_that_is_set_back_does_not_stop_the_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor what keeps the gateway running: both are due again within some ticks of a clock that nobody sets."""
    monkeypatch.setattr(loop, "SILENT_SECONDS", 0.0)
    controller = Counting()

    async def keep_gateway() -> None:
        return

    running = loop.run(cast("Controller", controller), 0.01, controller.stop, keep_gateway, controller.timer)
    await asyncio.wait_for(running, 60)

    assert controller.looks == 6
    assert all(due < datetime.now(UTC) + timedelta(minutes=1) for due in controller.due)


class Turn:
    """A turn that can be renewed so often, until its database is away, and is somebody else's after that."""

    def __init__(self, renewals: int) -> None:
        self.left = renewals

    def renew(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise StoreUnavailable("the database is away")
        if self.left < 0:
            raise LeaseHeld("another host took over")


class Idle:
    """A controller with nothing to do, and nothing to write."""

    troubles = ()

    async def tick(self) -> None:
        return


async def test_a_turn_that_is_lost_ends_the_loop_though_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is renewed beside the looks; a database that is away for once is asked again."""
    monkeypatch.setattr(loop, "RENEW_EVERY", timedelta(seconds=0.01))

    async def keep_gateway() -> None:
        return

    turn = Turn(renewals=3)
    running = loop.run(cast("Controller", Idle()), 0.01, asyncio.Event(), keep_gateway, turn=cast("HeldTurn", turn))
    with pytest.raises(LeaseHeld, match="another host"):
        await asyncio.wait_for(running, 60)

    assert turn.left < 0
