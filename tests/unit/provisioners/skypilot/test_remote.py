"""The way to SkyPilot's own process: whatever that process does, a call comes to an end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.provisioners.skypilot import remote
from orchestrator.provisioners.skypilot.remote import Connection, RemoteSky
from orchestrator.provisioners.skypilot.sky_api import Cluster, SkyFailure
from orchestrator.provisioners.skypilot.worker import MOST_CALLS

WORKER = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)["call"]
    if asked == "down":
        print("no JSON at all", flush=True)
    elif asked == "cancel":
        print("x" * (17 * 2**20), flush=True)
    elif asked in ("ensure_server", "outcome", "job_log"):
        continue
    elif asked == "launch":
        print(json.dumps({"id": json.loads(line)["id"], "begun": True}), flush=True)
        print(json.dumps({"id": json.loads(line)["id"], "value": str(os.getpid())}), flush=True)
    else:
        print(json.dumps({"id": json.loads(line)["id"], "value": "RUNNING"}), flush=True)
"""


SLOW_SKY = """
import threading
def wait(*_, **__):
    threading.Event().wait()
down = launch = stream_and_get = wait
def api_status(**_):
    return []
def job_status(cluster):
    return {1: Up} if cluster == "gc-well" else wait()
def get(answer):
    return answer
class StatusRefreshMode:
    FORCE = 1
class Up:
    name = "UP"
class Launched:
    def get_cost(self, seconds):
        raise ValueError("No SpotPrice found for instance type 'g6.xlarge'.")
class Handle:
    launched_resources = Launched()
    stable_internal_external_ips = [("10.0.0.1", "1.2.3.4")]
def cluster(name, cloud, region):
    return {"name": name, "status": Up, "cloud": cloud, "region": region, "handle": Handle}
def status(*_, **__):
    return [cluster("gc-a", "AWS", "eu-north-1"), cluster("gc-b", "SSH", "ssh-rack1")]
"""
"""SkyPilot where machines never end, most hang, and one runs whose price the catalogue has lost."""


@pytest.fixture
def sky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteSky:
    """Workers that answer some questions well, two badly, and three not at all; a launch tells which worker it is."""
    (tmp_path / "strange_worker.py").write_text(WORKER, encoding="utf-8")
    monkeypatch.setattr(remote, "WORKER", "strange_worker")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return RemoteSky(Connection(tmp_path / "sky.log"), patience={"ensure_server": 0.2, "outcome": 0.2, "job_log": 0.2})


async def posted(sky: RemoteSky) -> str:
    """Return which worker it was that has posted a launch."""
    return await sky.launch("gc-a", {}, {})


@pytest.mark.parametrize("method", ["down", "cancel"], ids=["garbled", "endless line"])
async def test_an_answer_that_is_none_ends_the_worker_and_the_next_call_has_another(
    sky: RemoteSky, method: str
) -> None:
    """Whoever waits is told, and nobody after them waits behind a reader that has stopped."""
    try:
        async with asyncio.timeout(30):
            with pytest.raises(SkyFailure, match="WorkerDied"):
                await getattr(sky, method)("gc-a")
            assert (await posted(sky)).isdigit()
    finally:
        await sky.close()


async def test_a_call_that_is_never_answered_ends(sky: RemoteSky) -> None:
    """The thread that hangs in it goes with its worker; the next call has another."""
    try:
        async with asyncio.timeout(30):
            with pytest.raises(SkyFailure, match="no answer to ensure_server within"):
                await sky.ensure_server()
            assert (await posted(sky)).isdigit()
    finally:
        await sky.close()


async def test_who_has_only_waited_for_his_turn_does_not_take_the_others_with_him(sky: RemoteSky) -> None:
    """His call has not begun, and the worker speaks with others: it is busy, and nothing in it hangs."""
    try:
        async with asyncio.timeout(30):
            worker = await posted(sky)
            waiting = asyncio.create_task(sky.outcome("request-0"))
            await asyncio.sleep(0)  # it is asked
            assert await posted(sky) == worker
            with pytest.raises(SkyFailure, match="no answer to outcome within"):
                await waiting
            assert await posted(sky) == worker
    finally:
        await sky.close()


async def test_a_machine_that_hangs_costs_no_launch(sky: RemoteSky) -> None:
    """Who waits for it is told; the worker that posts launches, and carries their files, is the same as before."""
    try:
        async with asyncio.timeout(30):
            worker = await posted(sky)
            with pytest.raises(SkyFailure, match="no answer to job_log within"):
                await sky.job_log("gc-a")
            assert await posted(sky) == worker
            assert await sky.job_state("gc-a") == "RUNNING"
    finally:
        await sky.close()


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteSky:
    """Our own worker, with a SkyPilot that is slow."""
    (tmp_path / "sky").mkdir()
    (tmp_path / "sky" / "__init__.py").write_text(SLOW_SKY, encoding="utf-8")
    (tmp_path / "sky" / "exceptions.py").write_text("class ClusterDoesNotExist(Exception): pass\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return RemoteSky(Connection(tmp_path / "sky.log"))


async def test_many_machines_that_end_slowly_keep_nobody_waiting(slow: RemoteSky) -> None:
    """Ends take minutes, and so does handing over a launch: neither stands in the queue of the short questions."""
    downs = [asyncio.create_task(slow.down(f"gc-{number}")) for number in range(2 * MOST_CALLS)]
    try:
        async with asyncio.timeout(60):
            assert await slow.launches("gc-a") == []
        assert not any(down.done() for down in downs)
    finally:
        await slow.close()
        await asyncio.gather(*downs, return_exceptions=True)


async def test_many_machines_that_hang_keep_nobody_waiting(slow: RemoteSky) -> None:
    """SkyPilot waits for the logins of a whole cluster; a machine that is well is asked all the same."""
    hung = [asyncio.create_task(slow.job_state(f"gc-{number}")) for number in range(2 * MOST_CALLS)]
    try:
        async with asyncio.timeout(60):
            assert await slow.job_state("gc-well") == "UP"
        assert not any(job.done() for job in hung)
    finally:
        await slow.close()
        await asyncio.gather(*hung, return_exceptions=True)


async def test_a_machine_is_listed_whose_price_nobody_knows(slow: RemoteSky) -> None:
    """A listing is not about prices: one that the catalogue has lost would hide every machine."""
    try:
        async with asyncio.timeout(60):
            listed = await slow.clusters("gc-")
    finally:
        await slow.close()
    assert listed[0] == Cluster("gc-a", "UP", "aws", "eu-north-1", "1.2.3.4")


async def test_a_pool_of_machines_is_listed_as_it_is_asked_for(slow: RemoteSky) -> None:
    """SkyPilot asks for ``ssh/rack1``, and calls its region ``ssh-rack1``: it would pass for another place."""
    try:
        async with asyncio.timeout(60):
            listed = await slow.clusters("gc-")
    finally:
        await slow.close()
    assert (listed[1].cloud, listed[1].region) == ("ssh", "rack1")
