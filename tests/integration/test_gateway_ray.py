"""The gateway as it is run for real: Ray Serve behind HAProxy, on real sockets, with processes being killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.routing import RoutingTable, ServiceRoutes, Upstream
from orchestrator.errors import ProviderError
from orchestrator.gateway import daemon, serve_app
from orchestrator.gateway.client import SocketGateway
from orchestrator.gateway.instance import GatewayInfo
from orchestrator.gateway.leftovers import living_in
from orchestrator.gateway.options import Options
from orchestrator.gateway.sockets import FOLDER
from tests.ports import free_port
from tests.unit.gateway.conftest import ISSUED, events, spoken, upstream
from tests.unit.gateway.scripted import Act, ScriptedEngine, scripted

pytest.importorskip("ray")
pytestmark = pytest.mark.ray

WHOLE = "w0 w1 w2 w3 w4 w5 w6 w7 "


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def info(state_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayInfo]:
    """Started in a directory whose modules Ray's processes may not take for those that they import."""
    foreign = tmp_path_factory.mktemp("foreign")
    for name in ("aiohttp.py", "psutil.py", "queue.py"):
        (foreign / name).write_text("raise SystemExit\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(foreign)
        found = daemon.start(Options(state_dir, port=free_port(), drain_seconds=5))
    yield found
    daemon.stop(state_dir)


class Front:
    """Clients on one side of the gateway, engines on the other."""

    def __init__(self, url: str, session: aiohttp.ClientSession, gateway: SocketGateway, stack: AsyncExitStack) -> None:
        self.url = url
        self.session = session
        self.gateway = gateway
        self._stack = stack

    async def engine(self, name: str) -> ScriptedEngine:
        return await self._stack.enter_async_context(scripted(name))

    async def use(self, *upstreams: Upstream, **changes: Any) -> None:
        version = (await self.gateway.status()).applied_version + 1
        service = ServiceRoutes(**{"service": "chat", "model": "tiny", "upstreams": upstreams, **changes})
        await self.gateway.publish(RoutingTable(version, ISSUED, (service,)))

    def post(self, **body: Any) -> Any:
        document = {"model": "tiny", "prompt": "hello ", **body}
        return self.session.post(f"{self.url}/v1/completions", json=document)

    async def at_rest(self) -> GatewayStatus:
        """Return the counts once nothing is in flight."""
        status = await self.gateway.status()
        while status.accepted > status.ok + status.failed + status.truncated + status.cancelled:
            status = await self.gateway.status()
        return status


@pytest.fixture
async def front(info: GatewayInfo, state_dir: Path) -> AsyncIterator[Front]:
    async with AsyncExitStack() as stack, aiohttp.ClientSession() as session, asyncio.timeout(120):
        yield Front(info.url, session, SocketGateway(state_dir), stack)


def scratch_of(state_dir: Path) -> Path:
    return Path((state_dir / FOLDER / "scratch").read_text())


def our_processes(state_dir: Path) -> list[psutil.Process]:
    return living_in(scratch_of(state_dir))


def assert_nothing_of(scratch: Path) -> None:
    assert living_in(scratch) == []
    assert not scratch.exists()


async def test_a_front_that_is_replaced_may_end_its_streams(front: Front, state_dir: Path) -> None:
    """HAProxy is started anew at each change of our processes; what the old one still sends is not cut off."""
    await front.at_rest()
    scratch = Path((state_dir / FOLDER / "scratch").read_text(encoding="utf-8"))
    [config] = (scratch / "h").rglob("c")

    assert "hard-stop-after 86400s" in config.read_text(encoding="utf-8")


async def test_it_says_that_it_is_ray_serve(front: Front) -> None:
    """The mode is in /health, so that a demo cannot pretend."""
    async with front.session.get(f"{front.url}/health") as response:
        assert (await response.json())["mode"] == "serve"


async def test_a_hundred_requests_split_by_weight(front: Front) -> None:
    """90/10 through the whole stack is ninety and ten."""
    old, new = await front.engine("old"), await front.engine("new")
    await front.use(upstream(old, weight=90), upstream(new, weight=10))
    seen: Counter[str] = Counter()
    for _ in range(100):
        async with front.post(max_tokens=1) as response:
            seen[response.headers["x-greenctl-replica"]] += 1
    assert seen == {"r-old": 90, "r-new": 10}


async def test_refusals_pass_through_haproxy(front: Front) -> None:
    """Status, body and Retry-After are the gateway's own, with one request id."""
    engine = await front.engine("a")
    await front.use(upstream(engine, draining=True))
    async with front.post() as response:
        assert response.status == 503
        assert response.headers["retry-after"] == "5"
        assert len(response.headers.getall("x-request-id")) == 1
        assert (await response.json())["error"]["code"] == "no_ready_replica"


async def test_chunks_are_not_held_back(front: Front) -> None:
    """HAProxy and Ray Serve pass each event on as it comes."""
    engine = await front.engine("a")
    gate = asyncio.Event()
    engine.then(Act(gate=gate, gate_at=3))
    await front.use(upstream(engine))
    async with front.post(stream=True) as response:
        seen = ""
        while "w2 " not in seen:
            seen += (await response.content.readany()).decode()
        assert "w3 " not in seen
        gate.set()
        seen += (await response.content.read()).decode()
    assert spoken(seen) == WHOLE


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_client_that_leaves_stops_the_generation(front: Front, *, stream: bool) -> None:
    """Through HAProxy and Ray Serve, the engine loses its client within two seconds."""
    engine = await front.engine("a")
    engine.then(Act(gate=asyncio.Event(), gate_at=1))
    await front.use(upstream(engine))
    before = await front.at_rest()
    async with aiohttp.ClientSession() as leaving:
        document = {"model": "tiny", "prompt": "hello ", "stream": stream}
        request = asyncio.create_task(leaving.post(f"{front.url}/v1/completions", json=document))
        await engine.arrived.wait()
        if stream:
            response = await request
            await response.content.readany()
            response.close()
        request.cancel()
    async with asyncio.timeout(2):
        await engine.left.wait()
    assert (await front.at_rest()).cancelled == before.cancelled + 1


async def test_killing_a_replica_under_load_loses_nothing(front: Front) -> None:
    """Half of the fleet dies in the middle of whole answers and streams: every client gets all its words."""
    dying, staying = await front.engine("a"), await front.engine("b")
    await front.use(upstream(dying, weight=50), upstream(staying, weight=50), resume_streams=True)
    gate = asyncio.Event()
    dying.then(*(Act(gate=gate, gate_at=n % 8, cut_after=n % 8) for n in range(20)))
    before = await front.at_rest()

    async def one(number: int) -> str:
        async with front.post(stream=number % 2 == 0) as response:
            assert response.status == 200
            text = await response.text()
        return spoken(text) if number % 2 == 0 else json.loads(text)["choices"][0]["text"]

    requests = [asyncio.create_task(one(n)) for n in range(40)]
    await dying.arrived.wait()
    gate.set()
    await dying.die()
    answers = await asyncio.gather(*requests)

    assert answers == [WHOLE] * 40
    after = await front.at_rest()
    assert after.accepted - before.accepted == after.ok - before.ok == 40
    assert (after.failed, after.truncated) == (before.failed, before.truncated)


async def test_a_lost_stream_is_resumed_across_the_stack(front: Front) -> None:
    """The comment that discloses it reaches the client as well."""
    bad, good = await front.engine("a"), await front.engine("b")
    bad.then(Act(abort_after=3))
    await front.use(upstream(bad), upstream(good, weight=0), resume_streams=True)
    async with front.post(stream=True) as response:
        text = await response.text()
    assert spoken(text) == WHOLE
    assert ": greenctl resumed on local/b" in events(text)


async def test_ray_is_ours_alone(front: Front, state_dir: Path) -> None:
    """HAProxy's pages and the processes behind it listen on the loopback address; none gives way to other work."""
    del front
    processes = our_processes(state_dir)
    names = {process.pid: " ".join(process.cmdline()) for process in processes}
    web = [p for p in processes if "haproxy" in names[p.pid] or "ServeReplica:" in names[p.pid]]
    assert len(web) >= 2
    for process in web:
        listening = [c.laddr.ip for c in process.net_connections("tcp4") if c.status == psutil.CONN_LISTEN]
        assert listening
        assert set(listening) == {"127.0.0.1"}
    assert {p.nice() for p in web} == {psutil.Process().nice()}


async def test_a_killed_gateway_process_comes_back_with_its_table(front: Front, state_dir: Path) -> None:
    """Ray Serve starts another one, which routes by the file; the status shows that counts began again."""
    engine = await front.engine("a")
    await front.use(upstream(engine))
    before = await front.gateway.status()
    [replica] = [p for p in our_processes(state_dir) if "ServeReplica:" in " ".join(p.cmdline())]
    replica.kill()

    status = 0
    while status != 200:  # requests wait in HAProxy meanwhile, or are refused; both are fine
        try:
            async with asyncio.timeout(10), front.post() as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError):
            continue

    after = await front.gateway.status()
    assert after.applied_version == before.applied_version
    assert after.boot_id != before.boot_id


async def test_nothing_is_left_after_a_stop_or_a_crash(front: Front, info: GatewayInfo, state_dir: Path) -> None:
    """A killed driver's leftovers end with the next stop or start; a stop leaves no process and no scratch."""
    scratch = scratch_of(state_dir)
    assert len(living_in(scratch)) > 5
    os.kill(info.pid, signal.SIGKILL)
    await asyncio.to_thread(psutil.Process(info.pid).wait, 10)

    await asyncio.to_thread(daemon.stop, state_dir)

    assert_nothing_of(scratch)
    options = Options(state_dir, port=info.port, drain_seconds=5)
    again = await asyncio.to_thread(daemon.start, options)
    async with front.session.get(f"{again.url}/v1/models") as response:
        assert [m["id"] for m in (await response.json())["data"]] == ["chat", "tiny"]
    scratch = scratch_of(state_dir)
    assert await asyncio.to_thread(daemon.stop, state_dir)
    assert_nothing_of(scratch)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no such option\nand more"), "Ray did not start: ValueError: no such option"),
        (OSError(), "Ray did not start: OSError: "),
    ],
)
def test_what_kept_ray_from_starting_is_told_in_a_line(error: Exception, told: str) -> None:
    with pytest.raises(ProviderError) as caught, serve_app._failures_told():
        raise error
    assert str(caught.value) == told


def test_a_failure_in_another_process_is_told_by_its_cause_and_not_by_its_traceback() -> None:
    from ray.exceptions import RayTaskError  # noqa: PLC0415

    cause = RuntimeError("Failed to bind to address '127.0.0.1:8500'.")
    traceback = f"ray::ProxyActor.ready() (pid=7)\n  File x, line 1\nRuntimeError: {cause}\n"
    with pytest.raises(ProviderError) as caught, serve_app._failures_told():
        raise RayTaskError("ready", traceback, cause)
    assert str(caught.value) == f"Ray did not start: RuntimeError: {cause}"
