"""The way to SkyPilot's own process: whatever that process does, a call comes to an end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.provisioners.skypilot import remote
from orchestrator.provisioners.skypilot.remote import Connection, RemoteSky
from orchestrator.provisioners.skypilot.sky_api import SkyFailure

WORKER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)["call"]
    if asked == "down":
        print("no JSON at all", flush=True)
    elif asked == "cancel":
        print("x" * (17 * 2**20), flush=True)
    elif asked == "ensure_server":
        continue
    else:
        print(json.dumps({"id": json.loads(line)["id"], "value": "RUNNING"}), flush=True)
"""


@pytest.fixture
def sky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteSky:
    """A worker that answers one question well, two badly, and one not at all."""
    (tmp_path / "strange_worker.py").write_text(WORKER, encoding="utf-8")
    monkeypatch.setattr(remote, "WORKER", "strange_worker")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return RemoteSky(Connection(tmp_path / "sky.log"), patience={"ensure_server": 0.2})


@pytest.mark.parametrize("method", ["down", "cancel"], ids=["garbled", "endless line"])
async def test_an_answer_that_is_none_ends_the_worker_and_the_next_call_has_another(
    sky: RemoteSky, method: str
) -> None:
    """Whoever waits is told, and nobody after them waits behind a reader that has stopped."""
    try:
        async with asyncio.timeout(30):
            with pytest.raises(SkyFailure, match="WorkerDied"):
                await getattr(sky, method)("gc-a")
            assert await sky.job_state("gc-a") == "RUNNING"
    finally:
        await sky.close()


async def test_a_call_that_is_never_answered_ends(sky: RemoteSky) -> None:
    """The thread that hangs in it goes with its worker; the next call has another."""
    try:
        async with asyncio.timeout(30):
            with pytest.raises(SkyFailure, match="no answer to ensure_server within"):
                await sky.ensure_server()
            assert await sky.job_state("gc-a") == "RUNNING"
    finally:
        await sky.close()
