"""A controller that is told to end while its gateway comes up: nobody waits for that, and the gateway can be found."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from orchestrator.aside import aside
from orchestrator.controller.gateway_keeper import GatewayKeeper
from orchestrator.errors import GatewayUnavailable
from orchestrator.gateway import daemon as gateway_daemon
from orchestrator.settings import Settings


class Coming:
    """A gateway that is started and does not serve until it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_serve, self.begun = threading.Event(), threading.Event()
        self.asked = 0
        monkeypatch.setattr(gateway_daemon, "running", lambda _: None)
        monkeypatch.setattr(gateway_daemon, "is_there", self.is_there)
        monkeypatch.setattr(gateway_daemon, "start", self.start)

    def start(self, _: object) -> None:
        """As the real one: it returns when the gateway serves."""
        self.begun.set()
        self.may_serve.wait()

    def is_there(self, _: Path) -> bool:
        """Found from the third question on."""
        self.asked += 1
        return self.asked > 2


def test_who_is_told_to_end_does_not_wait_until_the_gateway_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would neither look nor make room for another one meanwhile. It waits until the gateway can be found."""
    gateway = Coming(monkeypatch)
    keeper = GatewayKeeper(Settings(state_dir=tmp_path, cache_dir=tmp_path))

    async def told_to_end() -> None:
        keeping = asyncio.create_task(keeper.keep())
        await asyncio.to_thread(gateway.begun.wait)
        keeping.cancel()
        await keeper.leave()

    asyncio.run(told_to_end())  # ends, although the thread does not
    assert not gateway.may_serve.is_set()
    assert gateway.asked == 3
    gateway.may_serve.set()


def test_who_starts_no_gateway_leaves_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has to be found that was not started."""
    gateway = Coming(monkeypatch)
    asyncio.run(GatewayKeeper(Settings(state_dir=tmp_path, cache_dir=tmp_path)).leave())

    assert gateway.asked == 0


async def test_what_is_done_aside_returns_and_raises_what_it_does() -> None:
    """As if it had been called."""

    def fails() -> NoReturn:
        raise GatewayUnavailable("not today")

    assert await aside(lambda: 7) == 7
    with pytest.raises(GatewayUnavailable, match="not today"):
        await aside(fails)
