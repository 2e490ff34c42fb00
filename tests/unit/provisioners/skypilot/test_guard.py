"""What stands before the engine's routes: who may end and renew a replica, and what renews it by itself."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.provisioners.skypilot.node import greenctl_guard

KEY = "secret"


async def engine(scope: Any, receive: Any, send: Any) -> None:
    """Answer everything."""
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


class Door:
    """The guard with a lease file beside it, and the statuses of what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.lease = folder / "lease"
        self.stop = folder / "stop"
        self._guard = greenctl_guard.Guard(engine)

    def ask(self, method: str, path: str, query: str = "", key: str = KEY) -> int:
        """Ask once; returns the status."""
        statuses: list[int] = []

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        headers = [(b"authorization", f"Bearer {key}".encode())]
        scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": headers}
        asyncio.run(self._guard(scope, None, send))
        return statuses[0]

    def age(self) -> None:
        """Let the lease have been written long ago."""
        os.utime(self.lease, (1, 1))

    def is_renewed(self) -> bool:
        """Whether it was written or touched since."""
        return self.lease.stat().st_mtime > 1


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    """Give a guard whose replica has a lease of an hour."""
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    monkeypatch.setenv("GREENCTL_STOP_FILE", str(tmp_path / "stop"))
    monkeypatch.setenv("GREENCTL_LEASE_FILE", str(tmp_path / "lease"))
    made = Door(tmp_path)
    made.lease.write_text("3600", encoding="ascii")
    made.age()
    return made


def test_whoever_has_the_key_renews_the_lease(door: Door) -> None:
    """The length that was asked for is what the supervisor reads next, whole."""
    assert door.ask("POST", "/greenctl/renew", "seconds=86400") == 202
    assert door.lease.read_text(encoding="ascii") == "86400"
    assert door.is_renewed()
    assert [path.name for path in door.lease.parent.iterdir()] == ["lease"]


@pytest.mark.parametrize("query", ["", "seconds=", "seconds=0", "seconds=-5", "seconds=1e9", "seconds=9999999999999"])
def test_a_length_that_is_none_changes_nothing(door: Door, query: str) -> None:
    """It is refused, and the lease runs on as before."""
    assert door.ask("POST", "/greenctl/renew", query) == 400
    assert door.lease.read_text(encoding="ascii") == "3600"
    assert not door.is_renewed()


def test_nobody_else_renews_it(door: Door) -> None:
    """Neither a stranger nor a request that he sends in vain keeps a machine running that somebody pays for."""
    assert door.ask("POST", "/greenctl/renew", "seconds=86400", key="guessed") == 401
    assert door.ask("POST", "/v1/chat/completions", key="guessed") == 401
    assert door.ask("GET", "/greenctl/renew", "seconds=86400") == 404
    assert not door.is_renewed()


def test_where_there_is_no_lease_none_is_made(door: Door) -> None:
    """Whoever asks hears so; requests do not make one either."""
    door.lease.unlink()

    assert door.ask("POST", "/greenctl/renew", "seconds=86400") == 404
    assert door.ask("POST", "/v1/chat/completions") == 200
    assert not door.lease.exists()


def test_requests_renew_it_and_questions_about_it_do_not(door: Door) -> None:
    """What serves goes on; what is only watched (health, metrics, the list of models) does not count as served."""
    for method, path in (("GET", "/health"), ("GET", "/metrics"), ("GET", "/v1/models")):
        assert door.ask(method, path) == 200
    assert not door.is_renewed()
    assert door.ask("POST", "/v1/chat/completions") == 200
    assert door.is_renewed()

    door.age()
    assert door.ask("POST", "/v1/chat/completions") == 200
    assert not door.is_renewed(), "the disk is touched once a minute, not for every request"
