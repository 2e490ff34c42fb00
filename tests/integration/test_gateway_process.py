"""The gateway as a process of its own, without Ray: started, killed, restarted, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from orchestrator.domain.routing import OriginWeights, RoutingTable, ServiceRoutes
from orchestrator.errors import Conflict, PortBusy
from orchestrator.gateway import daemon
from orchestrator.gateway.client import SocketGateway
from orchestrator.gateway.instance import holder
from orchestrator.gateway.options import Options
from orchestrator.gateway.sockets import FOLDER, gateway_folder
from tests.ports import free_port
from tests.unit.gateway.conftest import ISSUED, upstream
from tests.unit.gateway.scripted import Act, scripted


async def refused(url: str) -> None:
    """Ask until the gateway refuses because it is stopping."""
    status = 200
    while status != 503:
        status, _ = await complete(url)


@pytest.fixture
def options(tmp_path: Path) -> Iterator[Options]:
    yield Options(tmp_path, port=free_port(), plain=True, drain_seconds=5)
    daemon.stop(tmp_path)


async def complete(url: str, **body: object) -> tuple[int, str]:
    document = {"model": "tiny", "prompt": "hello ", **body}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/completions", json=document) as response:
        return response.status, await response.text()


async def test_serves_from_its_file_alone(options: Options) -> None:
    """Killed without a word, the next start serves by the last table with nobody to ask."""
    async with scripted() as engine:
        info = await asyncio.to_thread(daemon.start, options)
        routes = ServiceRoutes("chat", "tiny", (upstream(engine),))
        await SocketGateway(options.state_dir).publish(RoutingTable(5, ISSUED, (routes,)))
        os.kill(info.pid, signal.SIGKILL)
        await asyncio.to_thread(psutil.Process(info.pid).wait, 5)
        assert daemon.running(options.state_dir) is None

        again = await asyncio.to_thread(daemon.start, options)

        assert again.pid != info.pid
        assert (await complete(again.url))[0] == 200
        assert (await SocketGateway(options.state_dir).status()).applied_version == 5


async def test_two_gateways_of_one_table_serve_each_by_its_own_origin(options: Options, tmp_path_factory: Any) -> None:
    """What one is told of both, each sends its own clients where its own row says."""
    there = Options(tmp_path_factory.mktemp("us"), port=free_port(), plain=True, drain_seconds=1, origin="us-east")
    here = replace(options, origin="eu")
    try:
        async with scripted("se") as se, scripted("va") as va:
            near = OriginWeights("eu", (("r-se", 100), ("r-va", 0)))
            far = OriginWeights("us-east", (("r-se", 0), ("r-va", 100)))
            routes = ServiceRoutes("chat", "tiny", (upstream(se), upstream(va)), rows=(near, far))
            for own, region in ((here, "local/se"), (there, "local/va")):
                info = await asyncio.to_thread(daemon.start, own)
                await SocketGateway(own.state_dir).publish(RoutingTable(1, ISSUED, (routes,)))
                assert await regions_of(info.url, 4) == {region}
    finally:
        await asyncio.to_thread(daemon.stop, there.state_dir)


async def regions_of(url: str, count: int) -> set[str]:
    """Ask so often, and return where the answers came from."""
    found = set()
    async with aiohttp.ClientSession() as session:
        for _ in range(count):
            async with session.post(f"{url}/v1/completions", json={"model": "tiny", "prompt": "hello "}) as response:
                found.add(response.headers["x-greenctl-region"])
    return found


def test_starting_tells_how_far_it_is_and_is_idempotent(options: Options) -> None:
    """Progress for the impatient; a second start of the same gateway is the same gateway."""
    said: list[str] = []
    info = daemon.start(options, progress=said.append)
    assert said == [f"serving on {info.url} (plain)"]
    assert daemon.start(options) == info == daemon.running(options.state_dir)


async def test_whoever_comes_second_gets_the_one_that_is_starting(options: Options) -> None:
    """Three starts at once are one gateway, and none of them ends it for the others."""
    infos = await asyncio.gather(*(asyncio.to_thread(daemon.start, options) for _ in range(3)))
    assert len(set(infos)) == 1
    assert daemon.running(options.state_dir) == infos[0]


def test_a_busy_port_is_told_by_the_starter(options: Options) -> None:
    """The error names the port and leaves nothing running."""
    with socket.socket() as taken:
        taken.bind((options.host, options.port))
        taken.listen()
        with pytest.raises(PortBusy, match=str(options.port)) as refused:
            daemon.start(options)
    assert str(options.port) in refused.value.hint()
    assert holder(options.state_dir / FOLDER) is None


def test_the_command_ends_with_status_four_when_the_port_is_busy(options: Options) -> None:
    """In the foreground the same words go to standard error."""
    with socket.socket() as taken:
        taken.bind((options.host, options.port))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.gateway", *options.arguments()],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    assert done.returncode == 4
    assert f"port {options.port}" in done.stderr
    assert "[port_busy]" in done.stderr


def test_another_port_of_the_same_state_is_a_conflict(options: Options) -> None:
    """One state directory, one gateway."""
    daemon.start(options)
    with pytest.raises(Conflict, match=str(options.port)):
        daemon.start(Options(options.state_dir, port=free_port(), plain=True))


async def test_a_stop_lets_running_requests_end(options: Options) -> None:
    """SIGTERM refuses new work, finishes what runs, and then the process is gone."""
    async with scripted() as engine:
        gate = asyncio.Event()
        engine.then(Act(gate=gate, gate_at=1))
        info = await asyncio.to_thread(daemon.start, options)
        routes = ServiceRoutes("chat", "tiny", (upstream(engine),))
        await SocketGateway(options.state_dir).publish(RoutingTable(1, ISSUED, (routes,)))
        request = asyncio.create_task(complete(info.url, stream=True))
        await engine.arrived.wait()

        stopping = asyncio.create_task(asyncio.to_thread(daemon.stop, options.state_dir))
        async with asyncio.timeout(5):
            await refused(info.url)
        gate.set()

        assert (await request)[1].endswith("data: [DONE]\n\n")
        assert await stopping
    assert holder(options.state_dir / FOLDER) is None
    assert not daemon.stop(options.state_dir)


async def test_a_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A request that never ends is cut off after the drain time."""
    options = Options(tmp_path, port=free_port(), plain=True, drain_seconds=0.2)
    async with scripted() as engine:
        engine.then(Act(silent=True))
        info = await asyncio.to_thread(daemon.start, options)
        routes = ServiceRoutes("chat", "tiny", (upstream(engine),))
        await SocketGateway(tmp_path).publish(RoutingTable(1, ISSUED, (routes,)))
        request = asyncio.create_task(complete(info.url))
        await engine.arrived.wait()

        assert await asyncio.to_thread(daemon.stop, tmp_path)

        assert holder(gateway_folder(tmp_path)) is None
        with pytest.raises(aiohttp.ClientError):
            await request
