from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.domain.routing import RoutingTable, ServiceRoutes
from orchestrator.gateway.cooldown import ALLOWED_FAILS
from tests.gateway_mistakes import ask, routes
from tests.gateway_world import PATIENCE, Ending, GatewayWorld
from tests.gateway_world import Act as GatewayAct
from tests.unit.gateway.conftest import Gateway, rests, upstream
from tests.unit.gateway.scripted import Act, ScriptedEngine

SHUTTING_DOWN = '{"error": {"message": "cannot schedule new futures after shutdown", "type": "InternalServerError"}}'


async def test_bytes_go_up_unchanged_and_come_back_unchanged(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Fields that the gateway has never heard of reach the engine, byte for byte."""
    await gateway.use(upstream(engine))
    raw = b'{ "model":"tiny","prompt":"hello ",\n "some_new_field": {"deep": [1.50]}, "max_tokens": 2}'

    async with gateway.session.post(f"{gateway.url}/v1/completions", data=raw) as response:
        answer = await response.json()

    assert engine.seen[0].raw == raw
    assert answer["choices"][0]["text"] == "w0 w1 "


async def test_the_service_name_becomes_the_models_name(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Clients may name the service; the engine is asked for the model that it knows, all else as it was."""
    await gateway.use(upstream(engine))

    async with gateway.post(model="chat", custom="ü") as response:
        assert response.status == 200

    assert engine.seen[0].body == {"model": "tiny", "prompt": "hello ", "custom": "ü"}


async def test_the_answer_says_where_it_was_made(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Region, replica and a known intensity with its kind are in the headers."""
    await gateway.use(upstream(engine, grams_per_kwh=27.5, intensity_kind="measured"))

    async with gateway.post() as response:
        assert response.headers["x-greenctl-region"] == "local/a"
        assert response.headers["x-greenctl-replica"] == "r-a"
        assert response.headers["x-greenctl-grams-per-kwh"] == "27.5"
        assert response.headers["x-greenctl-intensity-kind"] == "measured"


async def test_an_unknown_intensity_is_not_a_header(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Unknown is not zero: nothing is claimed."""
    await gateway.use(upstream(engine))

    async with gateway.post() as response:
        assert "x-greenctl-grams-per-kwh" not in response.headers
        assert "x-greenctl-intensity-kind" not in response.headers


async def test_the_answer_says_which_variant_gave_it(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Where the table names one, which it does for services with variants alone; the table keeps it through JSON."""
    named = upstream(engine, variant="fp8")
    await gateway.use(named)

    async with gateway.post() as response:
        assert response.headers["x-greenctl-variant"] == "fp8"

    table = RoutingTable(1, datetime(2026, 6, 1, tzinfo=UTC), (ServiceRoutes("chat", "tiny", (named,)),))
    assert RoutingTable.from_json(table.to_json()) == table


async def test_without_variants_no_header_speaks_of_them(gateway: Gateway, engine: ScriptedEngine) -> None:
    """The answer reads as it always did."""
    await gateway.use(upstream(engine))

    async with gateway.post() as response:
        assert "x-greenctl-variant" not in response.headers


async def test_the_request_id_is_kept_when_sound(gateway: Gateway, engine: ScriptedEngine) -> None:
    """One id from client to engine; one that could forge a log line is replaced."""
    await gateway.use(upstream(engine))

    async with gateway.post(headers={"x-request-id": "abc-123"}) as response:
        assert response.headers["x-request-id"] == "abc-123"
    async with gateway.post(headers={"x-request-id": "a b"}) as response:
        made = response.headers["x-request-id"]
    assert made != "a b"
    assert [s.headers["X-Request-ID"] for s in engine.seen] == ["abc-123", made]


async def test_a_replica_gets_its_own_key_and_never_the_clients(
    gateway: Gateway, engine: ScriptedEngine, tmp_path: Any
) -> None:
    """The client's key stops at the gateway; the replica's comes from its file, fresh when the file changes."""
    key_file = tmp_path / "key"
    key_file.write_text("first\n")
    await gateway.use(upstream(engine, api_key_file=str(key_file)))

    async with gateway.post(headers={"authorization": "Bearer client"}) as response:
        assert response.status == 200
    key_file.write_text("second, which is longer\n")
    async with gateway.post() as response:
        assert response.status == 200

    assert [s.headers["Authorization"] for s in engine.seen] == ["Bearer first", "Bearer second, which is longer"]


async def test_a_replica_whose_key_cannot_be_read_is_passed_over(gateway: Gateway, engines: Any, tmp_path: Any) -> None:
    """It is never asked without its key: that would only bring a 401 that is not the client's."""
    locked, good = await engines("a"), await engines("b")
    await gateway.use(upstream(locked, api_key_file=str(tmp_path / "missing")), upstream(good, weight=0))

    async with gateway.post() as response:
        assert response.status == 200

    assert locked.seen == []
    assert len(good.seen) == 1


@pytest.mark.parametrize(
    "act",
    [
        Act(status=502),
        Act(status=503, text="{}"),
        Act(status=500, text=SHUTTING_DOWN),
        Act(status=401, text="{}"),
        Act(status=302),
        Act(cut_after=0),
        Act(abort_reason="abort"),
    ],
    ids=["502", "503", "shutting-down", "our-key-refused", "redirect", "dies-half-way", "aborted-with-200"],
)
async def test_a_failed_answer_is_made_elsewhere(gateway: Gateway, engines: Any, act: Act) -> None:
    """Whatever a replica does to a whole answer, the client gets one complete answer from another replica."""
    bad, good = await engines("a"), await engines("b")
    await gateway.use(upstream(bad), upstream(good, weight=0))
    bad.then(act)

    async with gateway.post() as response:
        assert response.status == 200
        assert (await response.json())["choices"][0]["text"] == "w0 w1 w2 w3 w4 w5 w6 w7 "
        assert response.headers["x-greenctl-replica"] == "r-b"

    status = await gateway.status()
    assert (status.upstream("r-a").failed, status.upstream("r-b").ok) == (1, 1)
    assert (status.accepted, status.ok) == (1, 1)


async def test_a_killed_replica_gets_no_more_traffic_at_once(gateway: Gateway, engines: Any) -> None:
    """The first refused connection is the last that a client's request makes; no controller is involved."""
    dead, good = await engines("a"), await engines("b")
    await gateway.use(upstream(dead, weight=90), upstream(good, weight=10))
    await dead.die()

    for _ in range(20):
        async with gateway.post() as response:
            assert response.status == 200

    status = await gateway.status()
    assert status.upstream("r-a").failed == 1
    assert status.upstream("r-b").ok == 20


async def test_other_errors_are_the_engines_to_tell(gateway: Gateway, engines: Any) -> None:
    """A 400 or a plain 500 is the answer; asking another replica would only repeat it."""
    engine, other = await engines("a"), await engines("b")
    await gateway.use(upstream(engine), upstream(other, weight=0))
    for status, text in ((400, '{"error": {"message": "too long"}}'), (500, '{"error": {"message": "bug"}}')):
        engine.then(Act(status=status, text=text))
        async with gateway.post() as response:
            assert response.status == status
            assert await response.text() == text

    assert other.seen == []
    counts = (await gateway.status()).upstream("r-a")
    assert (counts.ok, counts.failed) == (1, 1)


@pytest.mark.parametrize("act", [GatewayAct(pause=60.0), GatewayAct(Ending.STALLED, after=2)], ids=["slow", "stalled"])
def test_a_whole_answer_that_takes_too_long_is_made_once(tmp_path: Path, act: GatewayAct) -> None:
    """Elsewhere it would take as long. The client hears so at once, and whoever worked on it is not called dead."""
    world = GatewayWorld(tmp_path)
    try:
        routes(world, 1, "abc", retries=2)
        for engine in world.engines.values():
            engine.acts.append(act)
        client = ask(world, stream=False)
        world.passes(PATIENCE.first_byte_seconds + 1)
        [(_, start), *_], made = client.exchange.heard, len(world.history.generations)
        for engine in world.engines.values():
            engine.acts.clear()
        for _ in range(3):
            ask(world, stream=False)
        world.passes(1)
    finally:
        world.close()

    assert (start["status"], made) == (504, 1)
    assert {g.replica for g in world.history.generations[1:]} == {"a", "b", "c"}


async def test_who_answers_with_500_rests_and_is_tried_again(gateway: Gateway, engines: Any) -> None:
    """Each 500 is told as it is, but three in a row are enough: the next clients are served elsewhere."""
    broken, good = await engines("a"), await engines("b")
    broken.then(*(Act(status=500, text='{"error": {"message": "CUDA error"}}') for _ in range(20)))
    await gateway.use(upstream(broken), upstream(good), cooldown_seconds=300.0)

    told = []
    for _ in range(20):
        async with gateway.post() as response:
            told.append(response.status)

    assert told.count(500) == len(broken.seen) == ALLOWED_FAILS
    assert rests(gateway, "r-a")


@pytest.mark.parametrize("status", [400, 501])
async def test_an_answer_about_the_request_is_no_failure(gateway: Gateway, engine: ScriptedEngine, status: int) -> None:
    """Somebody may ask for what the engine refuses, or does not know how to do, as often as they like."""
    engine.then(*(Act(status=status, text="{}") for _ in range(2 * ALLOWED_FAILS)))
    await gateway.use(upstream(engine))

    for _ in range(2 * ALLOWED_FAILS):
        async with gateway.post() as response:
            assert response.status == status

    assert not rests(gateway, "r-a")


async def test_a_request_that_breaks_every_engine_takes_the_service_from_nobody(gateway: Gateway, engines: Any) -> None:
    """However often somebody sends it: while more than half rest all are asked, and a good answer ends a rest."""
    fleet = [await engines(name) for name in "abcd"]
    await gateway.use(*(upstream(one) for one in fleet), cooldown_seconds=300.0)
    for one in fleet:
        one.then(*(Act(status=500, text="{}") for _ in range(ALLOWED_FAILS)))
    for _ in range(len(fleet) * ALLOWED_FAILS):
        async with gateway.post() as response:
            assert response.status == 500
    assert all(rests(gateway, f"r-{one.name}") for one in fleet)

    for _ in range(20):
        async with gateway.post() as response:
            assert response.status == 200

    assert sum(rests(gateway, f"r-{one.name}") for one in fleet) == len(fleet) // 2


async def test_retries_are_bounded(gateway: Gateway, engines: Any) -> None:
    """A request that kills its replica takes at most one more with it than it is allowed retries."""
    fleet = [await engines(name) for name in "abcd"]
    for one in fleet:
        one.then(Act(cut_after=0))
    await gateway.use(*(upstream(one) for one in fleet), retries=2)

    async with gateway.post() as response:
        assert response.status == 502
        assert response.headers["retry-after"] == "5"
        assert (await response.json())["error"]["code"] == "upstream_failed"

    assert sum(len(one.seen) for one in fleet) == 3


async def test_nobody_ready_is_said_with_a_time_to_wait(gateway: Gateway, engine: ScriptedEngine) -> None:
    """503 and Retry-After when all replicas drain; draining ones get nothing new."""
    await gateway.use(upstream(engine, draining=True))

    async with gateway.post() as response:
        assert response.status == 503
        assert response.headers["retry-after"] == "5"
        assert (await response.json())["error"]["code"] == "no_ready_replica"
    assert engine.seen == []
    assert (await gateway.status()).failed == 1


async def test_a_client_that_leaves_stops_the_generation(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Within two seconds the engine sees its client gone; nothing stays in flight."""
    await gateway.use(upstream(engine))
    engine.then(Act(silent=True))
    request = asyncio.create_task(gateway.session.post(f"{gateway.url}/v1/completions", data=b'{"model": "tiny"}'))
    await engine.arrived.wait()
    assert gateway.node.status().upstream("r-a").in_flight == 1

    request.cancel()

    async with asyncio.timeout(2):
        await engine.left.wait()
    status = await gateway.status()
    assert (status.upstream("r-a").in_flight, status.upstream("r-a").cancelled, status.cancelled) == (0, 1, 1)


async def test_a_drain_is_seen_by_the_next_attempt(gateway: Gateway, engines: Any) -> None:
    """A retry goes by the table of its own moment, not by that of its request's start."""
    first, second = await engines("a"), await engines("b")
    gate = asyncio.Event()
    first.then(Act(gate=gate, cut_after=0))
    await gateway.use(upstream(first), upstream(second, weight=0))
    request = asyncio.create_task(
        gateway.session.post(f"{gateway.url}/v1/completions", data=b'{"model":"tiny","prompt":""}')
    )
    await first.arrived.wait()

    await gateway.use(upstream(first), upstream(second, draining=True))
    gate.set()

    async with await request as response:
        assert response.status == 502
    assert second.seen == []


async def test_in_flight_is_what_the_drain_waits_for(gateway: Gateway, engine: ScriptedEngine) -> None:
    """A request that runs when its replica begins to drain is finished there, and then the count is zero."""
    gate = asyncio.Event()
    engine.then(Act(gate=gate))
    await gateway.use(upstream(engine))
    request = asyncio.create_task(
        gateway.session.post(f"{gateway.url}/v1/completions", data=b'{"model":"tiny","prompt":""}')
    )
    await engine.arrived.wait()

    await gateway.use(upstream(engine, draining=True))
    assert gateway.node.status().upstream("r-a").in_flight == 1
    gate.set()
    async with await request as response:
        assert response.status == 200

    assert (await gateway.status()).upstream("r-a").in_flight == 0


async def test_counts_add_up_over_a_mixed_bag(gateway: Gateway, engines: Any) -> None:
    """The accepted are ok, failed, truncated or cancelled, and each attempt has one outcome, whatever happened."""
    a, b = await engines("a"), await engines("b")
    await gateway.use(upstream(a), upstream(b), retries=0, cooldown_seconds=0)
    for engine in (a, b):
        engine.then(Act(), Act(cut_after=1), Act(status=503), Act(abort_after=2), Act(error_after=1), Act())

    async def one(number: int) -> None:
        async with gateway.post(stream=number % 2 == 0) as response:
            await response.read()

    await asyncio.gather(*(one(n) for n in range(12)))

    status = await gateway.status()
    assert status.accepted == 12 == status.ok + status.failed + status.truncated + status.cancelled
    attempts = [u.ok + u.failed + u.truncated + u.resumed + u.cancelled for u in status.upstreams]
    assert sum(attempts) == len(a.seen) + len(b.seen) == 12
    assert all(u.in_flight == 0 and u.request_seconds > 0 for u in status.upstreams)


async def test_one_model_of_two_services_is_ambiguous(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Guessing a tenant's service would be worse than asking for its name."""
    one = ServiceRoutes("one", "tiny", (upstream(engine),))
    two = ServiceRoutes("two", "tiny", ())
    await gateway.use_services(one, two)

    async with gateway.post(model="tiny") as response:
        assert response.status == 400
        assert "one, two" in (await response.json())["error"]["message"]
    async with gateway.post(model="one") as response:
        assert response.status == 200


async def test_a_proxy_in_the_environment_is_ignored(
    gateway: Gateway, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replica traffic goes where the table says."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    await gateway.use(upstream(engine))

    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway.url}/v1/completions", data=json.dumps({"model": "tiny", "prompt": ""})) as response,
    ):
        assert response.status == 200
