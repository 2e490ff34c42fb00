"""The waiting room: whoever comes while a service sleeps is held and served, or told clearly that it took too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orchestrator.domain.routing import RoutingTable, ServiceRoutes
from tests.unit.gateway.conftest import ISSUED, Gateway, upstream
from tests.unit.gateway.scripted import ScriptedEngine

LONG = {"hold_seconds": 60.0, "max_held": 2}
SHORT = {"hold_seconds": 0.05, "max_held": 2}


async def until(done: Callable[[], bool]) -> None:
    """Let the event loop turn until something holds."""
    async with asyncio.timeout(5):
        while not done():  # noqa: ASYNC110  # what is waited for is a count, which tells nobody that it changes
            await asyncio.sleep(0)


async def completion(gateway: Gateway, **body: object) -> tuple[int, str]:
    async with gateway.post(**body) as response:
        return response.status, await response.text()


async def test_a_request_waits_for_the_first_replica(gateway: Gateway, engine: ScriptedEngine) -> None:
    """It is counted as in flight and as held, and answered as soon as a table names somebody."""
    await gateway.use(**LONG)
    asked = asyncio.create_task(completion(gateway))
    await until(lambda: gateway.node.waiting.held("chat") == 1)
    counts = gateway.node.status().of_service("chat")
    assert counts is not None
    assert (counts.accepted, counts.in_flight, counts.held) == (1, 1, 1)

    await gateway.use(upstream(engine), **LONG)
    assert (await asked)[0] == 200
    counts = (await gateway.status()).of_service("chat")
    assert counts is not None
    assert (counts.in_flight, counts.held, counts.failed) == (0, 0, 0)


async def test_a_stream_waits_too(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Streams are held like answers."""
    await gateway.use(**LONG)
    asked = asyncio.create_task(completion(gateway, stream=True))
    await until(lambda: gateway.node.waiting.held("chat") == 1)
    await gateway.use(upstream(engine), **LONG)
    status, text = await asked
    assert (status, "[DONE]" in text) == (200, True)


async def test_whoever_comes_while_the_last_replica_drains_waits(gateway: Gateway, engine: ScriptedEngine) -> None:
    """A draining upstream gets no new request; nobody is refused for that."""
    await gateway.use(upstream(engine, draining=True), **LONG)
    asked = asyncio.create_task(completion(gateway))
    await until(lambda: gateway.node.waiting.held("chat") == 1)
    assert engine.seen == []
    await gateway.use(upstream(engine), **LONG)
    assert (await asked)[0] == 200


async def test_the_wait_ends_with_a_clear_503(gateway: Gateway) -> None:
    """With nobody to start a replica: a reason, a code, and when to come again."""
    await gateway.use(**SHORT)
    async with gateway.post() as response:
        body = await response.json()
        assert (response.status, response.headers["retry-after"]) == (503, "30")
    assert body["error"]["code"] == "no_replica_in_time"
    assert "scaled to zero" in body["error"]["message"]
    counts = (await gateway.status()).of_service("chat")
    assert counts is not None
    assert (counts.failed, counts.held) == (1, 0)


async def test_only_so_many_wait(gateway: Gateway, engine: ScriptedEngine) -> None:
    """The third is refused at once, and the two before it keep their place."""
    await gateway.use(**LONG)
    waiting = [asyncio.create_task(completion(gateway)) for _ in range(2)]
    await until(lambda: gateway.node.waiting.held("chat") == 2)
    async with gateway.post() as response:
        body = await response.json()
        assert (response.status, body["error"]["code"]) == (503, "waiting_room_full")
        assert response.headers["retry-after"] == "30"
    await gateway.use(upstream(engine), **LONG)
    assert [status for status, _ in await asyncio.gather(*waiting)] == [200, 200]


async def test_a_client_that_leaves_leaves_its_place(gateway: Gateway) -> None:
    """Nobody is kept for a client that is gone."""
    await gateway.use(**LONG)
    asked = asyncio.create_task(completion(gateway))
    await until(lambda: gateway.node.waiting.held("chat") == 1)
    asked.cancel()
    await until(lambda: gateway.node.waiting.held("chat") == 0)
    assert (await gateway.status()).cancelled == 1


async def test_a_gateway_that_stops_refuses_whoever_waits(gateway: Gateway) -> None:
    """Stopping does not take as long as the longest wait."""
    await gateway.use(**LONG)
    asked = asyncio.create_task(completion(gateway))
    await until(lambda: gateway.node.waiting.held("chat") == 1)
    await gateway.node.drain()
    status, text = await asked
    assert (status, "shutting_down" in text) == (503, True)


async def test_a_service_that_is_taken_down_lets_nobody_wait(gateway: Gateway) -> None:
    """A table without the service, or one that holds nobody, ends the wait."""
    await gateway.use(**LONG)
    asked = asyncio.create_task(completion(gateway))
    await until(lambda: gateway.node.waiting.held("chat") == 1)
    await gateway.use()
    status, text = await asked
    assert (status, "no_ready_replica" in text) == (503, True)


async def test_others_are_refused_as_before(gateway: Gateway) -> None:
    """A service that never sleeps has lost its replicas: that is said at once."""
    await gateway.use()
    status, text = await completion(gateway)
    assert (status, "no_ready_replica" in text) == (503, True)


async def test_nobody_waits_without_a_key(gateway: Gateway) -> None:
    """A stranger neither takes a place nor wakes a machine."""
    await gateway.use(allowed_keys_sha256=("0" * 64,), **LONG)
    status, _ = await completion(gateway)
    assert (status, gateway.node.waiting.held("chat")) == (401, 0)
    counts = gateway.node.status().of_service("chat")
    assert counts is not None
    assert counts.accepted == 0


async def test_metrics_tell_who_waits_and_how_long(gateway: Gateway, engine: ScriptedEngine) -> None:
    """A gauge of now, and a histogram of those who waited."""
    await gateway.use(**LONG)
    asked = asyncio.create_task(completion(gateway))
    await until(lambda: gateway.node.waiting.held("chat") == 1)
    async with gateway.get("/metrics") as response:
        assert 'greenctl_gateway_held_requests{service="chat",worker="0"} 1.0' in await response.text()
    await gateway.use(upstream(engine), **LONG)
    await asked
    async with gateway.get("/metrics") as response:
        page = await response.text()
    assert 'greenctl_gateway_held_requests{service="chat",worker="0"} 0.0' in page
    assert 'greenctl_gateway_held_seconds_count{service="chat",worker="0"} 1.0' in page


def test_a_table_that_holds_nobody_is_read_by_older_gateways() -> None:
    """The keys of the waiting room are written where somebody may wait, and read back."""
    plain = RoutingTable(1, ISSUED, (ServiceRoutes("chat", "tiny", ()),))
    sleepy = RoutingTable(1, ISSUED, (ServiceRoutes("chat", "tiny", (), hold_seconds=30.0, max_held=7),))
    assert "hold_seconds" not in plain.to_json()
    assert RoutingTable.from_json(plain.to_json()) == plain
    assert RoutingTable.from_json(sleepy.to_json()) == sleepy
