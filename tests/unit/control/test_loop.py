"""The controller's loop: whatever a look ends with, there is a next one."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from orchestrator.control.controller import Controller
from orchestrator.controller import loop
from orchestrator.errors import StoreUnavailable

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
