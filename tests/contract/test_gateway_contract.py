"""What the controller may rely on, whichever gateway it talks to."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.control.ports import Gateway
from orchestrator.domain.routing import RoutingTable, ServiceRoutes, Upstream
from orchestrator.errors import Conflict, GatewayUnavailable
from orchestrator.gateway import daemon
from orchestrator.gateway.app import GatewayApp
from orchestrator.gateway.client import SocketGateway
from orchestrator.gateway.fake import FakeGateway
from orchestrator.gateway.node import GatewayNode
from orchestrator.gateway.options import Options
from orchestrator.gateway.plain import serving
from orchestrator.gateway.sockets import drafts_in, gateway_folder, socket_name, sockets_in
from tests.ports import free_port

ISSUED = datetime(2026, 1, 2, tzinfo=UTC)


def table(version: int, *replicas: str) -> RoutingTable:
    upstreams = tuple(Upstream(name, "http://127.0.0.1:9", 100, False, "local/a", None) for name in replicas)
    return RoutingTable(version, ISSUED, (ServiceRoutes("chat", "tiny", upstreams),))


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: a socket's path has a hundred bytes at most, and pytest's own folders get longer with each run."""
    with tempfile.TemporaryDirectory(prefix="gc-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def serve_state(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One Ray Serve gateway with two processes for the whole module; starting one takes seconds."""
    pytest.importorskip("ray")
    state_dir = tmp_path_factory.mktemp("serve")
    daemon.start(Options(state_dir, port=free_port(), replicas=2))
    yield state_dir
    daemon.stop(state_dir)


@pytest.fixture(params=["fake", "plain", pytest.param("serve", marks=pytest.mark.ray)])
async def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with AsyncExitStack() as stack:
        if request.param == "fake":
            yield FakeGateway()
        elif request.param == "plain":
            node = GatewayNode(gateway_folder(tmp_path), mode="plain", keyless_allowed=True)
            await stack.enter_async_context(serving(GatewayApp(node), "127.0.0.1", 0))
            yield SocketGateway(tmp_path)
        else:
            yield SocketGateway(request.getfixturevalue("serve_state"))


@pytest.fixture
async def base(gateway: Gateway) -> int:
    """The version that is in use already: the Serve gateway is shared between tests."""
    return (await gateway.status()).applied_version


async def test_a_published_table_is_in_use(gateway: Gateway, base: int) -> None:
    """When publish returns, every process routes by it and the status says so."""
    await gateway.publish(table(base + 1, "r1", "r2"))
    assert (await gateway.status()).applied_version == base + 1


async def test_every_replica_of_the_table_has_counts(gateway: Gateway, base: int) -> None:
    """A replica that was never sent anything is reported with zeros, so that a drain can be seen to be over."""
    await gateway.publish(table(base + 1, "r1", "r2"))
    status = await gateway.status()
    assert {u.replica for u in status.upstreams} >= {"r1", "r2"}
    assert status.upstream("r1").in_flight == 0


async def test_every_service_of_the_table_has_counts(gateway: Gateway, base: int) -> None:
    """A service that nobody has asked for anything is reported with zeros: no load is something else than not known."""
    await gateway.publish(table(base + 1, "r1"))
    counts = (await gateway.status()).of_service("chat")
    assert counts is not None
    assert (counts.accepted, counts.in_flight, counts.failed) == (0, 0, 0)
    assert (await gateway.status()).of_service("nobody") is None


async def test_publishing_twice_is_publishing_once(gateway: Gateway, base: int) -> None:
    """A controller that does not know whether it was heard may repeat itself."""
    await gateway.publish(table(base + 1, "r1"))
    await gateway.publish(table(base + 1, "r1"))
    assert (await gateway.status()).applied_version == base + 1


async def test_the_table_that_was_taken_can_be_read_back(gateway: Gateway, base: int) -> None:
    """A controller that starts anew goes on from it."""
    await gateway.publish(table(base + 1, "r1", "r2"))
    found = await gateway.applied()
    assert found is not None
    assert found.services == table(base + 1, "r1", "r2").services


async def test_an_older_table_is_refused(gateway: Gateway, base: int) -> None:
    """A controller that was replaced while it slept cannot turn routes back; the newer version is named."""
    await gateway.publish(table(base + 2, "r1"))
    with pytest.raises(Conflict, match=str(base + 2)):
        await gateway.publish(table(base + 1, "r2"))
    assert (await gateway.status()).applied_version == base + 2


async def test_the_boot_id_is_stable(gateway: Gateway) -> None:
    """As long as nothing restarts, counters can be compared."""
    first, second = await gateway.status(), await gateway.status()
    assert first.boot_id == second.boot_id != ""


class TestFake:
    async def test_fails_when_told(self) -> None:
        """A test can take the gateway away for as many calls as it likes."""
        fake = FakeGateway()
        fake.fail_next(2)
        with pytest.raises(GatewayUnavailable):
            await fake.publish(table(1))
        with pytest.raises(GatewayUnavailable):
            await fake.status()
        await fake.publish(table(1, "r1"))
        assert fake.published == [table(1, "r1")]

    async def test_counts_are_what_was_set_and_restart_forgets_them(self) -> None:
        """Scenarios script traffic by its counts; they add up as real ones do."""
        fake = FakeGateway()
        await fake.publish(table(1, "r1"))
        fake.set_counts("r1", ok=3, in_flight=1)
        status = await fake.status()
        assert (status.accepted, status.ok, status.upstream("r1").in_flight) == (4, 3, 1)
        fake.restart()
        fresh = await fake.status()
        assert (fresh.accepted, fresh.applied_version) == (0, 1)
        assert fresh.boot_id != status.boot_id


@dataclass
class Process:
    """One plain gateway process of a shared state directory, here inside the test."""

    node: GatewayNode
    port: int


class TestSockets:
    @pytest.fixture
    async def start(self, tmp_path: Path) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:

            async def start(worker: str = "0") -> Process:
                node = GatewayNode(gateway_folder(tmp_path), mode="plain", keyless_allowed=True, worker=worker)
                return Process(node, await stack.enter_async_context(serving(GatewayApp(node), "127.0.0.1", 0)))

            yield start

    async def test_nobody_there_is_unavailable(self, tmp_path: Path) -> None:
        """No process is an error, never an empty status or a table that went nowhere."""
        gateway = SocketGateway(tmp_path)
        with pytest.raises(GatewayUnavailable):
            await gateway.publish(table(1))
        with pytest.raises(GatewayUnavailable):
            await gateway.status()

    async def test_all_processes_get_the_table_and_are_summed(self, tmp_path: Path, start: Any) -> None:
        """Publish reaches everybody; the status is one answer for all."""
        one, two = await start(), await start()
        gateway = SocketGateway(tmp_path)
        await gateway.publish(table(4, "r1"))
        assert one.node.applied_version == two.node.applied_version == 4
        status = await gateway.status()
        assert status.processes == 2
        assert status.boot_id == "+".join(sorted([one.node.boot_id, two.node.boot_id]))

    async def test_a_stale_socket_is_ignored_and_removed(self, tmp_path: Path, start: Any) -> None:
        """A process that was killed does not block the controller."""
        await start()
        stale = gateway_folder(tmp_path) / socket_name("dead")
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(stale))
        await SocketGateway(tmp_path).publish(table(1))
        assert stale not in sockets_in(gateway_folder(tmp_path))

    async def test_a_process_that_does_not_listen_yet_has_no_name_yet(
        self, tmp_path: Path, start: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever looks just then would take its socket for that of a process which is gone, and remove it."""
        seen: list[Path] = []
        listen = socket.socket.listen

        def looking(self: socket.socket, *args: int) -> None:
            if self.family == socket.AF_UNIX and not self.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                seen.extend(sockets_in(gateway_folder(tmp_path)))
            listen(self, *args)

        monkeypatch.setattr(socket.socket, "listen", looking)
        process = await start()

        assert seen == []
        assert [p.name for p in sockets_in(gateway_folder(tmp_path))] == [socket_name(process.node.boot_id)]
        assert drafts_in(gateway_folder(tmp_path)) == []
        assert (await SocketGateway(tmp_path).status()).boot_id == process.node.boot_id

    async def test_a_silent_process_is_not_ignored(self, tmp_path: Path, start: Any) -> None:
        """One that hangs may still route by the old table, so publish must not claim success."""
        await start()
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(gateway_folder(tmp_path) / socket_name("silent")))
            silent.listen()
            with pytest.raises(GatewayUnavailable, match="did not answer"):
                await SocketGateway(tmp_path, deadline_seconds=0.2).publish(table(1))

    async def test_a_process_that_starts_meanwhile_is_caught_up(self, tmp_path: Path, start: Any) -> None:
        """Whoever was booting while the table was published routes by it as well."""
        await start()
        publishing = asyncio.create_task(SocketGateway(tmp_path).publish(table(2, "r1")))
        late = await start()
        await publishing
        assert late.node.applied_version == 2

    async def test_a_long_state_directory_works(self, tmp_path: Path) -> None:
        """The kernel's limit on socket paths is not the user's problem."""
        deep = tmp_path / ("x" * 100)
        node = GatewayNode(gateway_folder(deep), mode="plain", keyless_allowed=True)
        async with serving(GatewayApp(node), "127.0.0.1", 0):
            await SocketGateway(deep).publish(table(1))
        assert node.applied_version == 1

    async def test_only_the_owner_can_steer(self, tmp_path: Path, start: Any) -> None:
        """Folder, socket and table are closed to other users."""
        await start()
        await SocketGateway(tmp_path).publish(table(1))
        folder = gateway_folder(tmp_path)
        modes = {path.name.partition("-")[0]: path.stat().st_mode & 0o777 for path in folder.iterdir()}
        assert folder.stat().st_mode & 0o777 == 0o700
        assert modes["admin"] == modes["routes.json"] == 0o600

    async def test_a_bad_table_is_refused_with_its_place(self, tmp_path: Path, start: Any) -> None:
        """What slips past the types is stopped at the socket, and the last good table stays."""
        process = await start()
        gateway = SocketGateway(tmp_path)
        await gateway.publish(table(1, "r1"))
        [path] = sockets_in(gateway_folder(tmp_path))
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
            session.put("http://gateway/table", data=b'{"format": 1}') as response,
        ):
            assert response.status == 400
            assert "version: missing" in (await response.json())["error"]
        assert process.node.table == table(1, "r1")

    async def test_a_table_that_cannot_be_kept_is_not_in_use(
        self, tmp_path: Path, start: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With a full disk the controller is told, and traffic goes on by the last table."""
        process = await start()
        gateway = SocketGateway(tmp_path)
        await gateway.publish(table(1, "r1"))

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(GatewayUnavailable, match="No space left"):
            await gateway.publish(table(2, "r2"))
        assert process.node.table == table(1, "r1")

    async def test_a_gateway_that_cannot_listen_to_us_does_not_serve(self, tmp_path: Path) -> None:
        """Traffic that nobody could steer or stop is not started."""
        node = GatewayNode(tmp_path / "missing", mode="plain", keyless_allowed=True)
        with pytest.raises(RuntimeError, match="No such file"):
            async with serving(GatewayApp(node), "127.0.0.1", 0):
                pass

    async def test_one_metrics_page_for_all_processes(self, tmp_path: Path, start: Any) -> None:
        """Whichever process answers a scrape, the page holds everybody's series, each family once."""
        one = await start("0")
        await start("1")
        await SocketGateway(tmp_path).publish(table(3))
        url = f"http://127.0.0.1:{one.port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            lines = (await response.text()).splitlines()
        name = "greenctl_gateway_routing_table_version"
        assert sorted(line for line in lines if line.startswith(name)) == [
            f'{name}{{worker="0"}} 3.0',
            f'{name}{{worker="1"}} 3.0',
        ]
        assert sum(line.startswith(f"# TYPE {name} ") for line in lines) == 1
