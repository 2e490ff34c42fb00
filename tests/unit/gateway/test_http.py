from __future__ import annotations

import asyncio
import hashlib
import io
import json
from typing import Any

import pytest

from orchestrator.domain.routing import ServiceRoutes
from orchestrator.gateway import __name__ as package
from orchestrator.gateway.asgi import MAX_BODY_BYTES
from tests.unit.gateway.conftest import ISSUED, Gateway, upstream
from tests.unit.gateway.scripted import Act, ScriptedEngine

KEY = "sk-client"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()


async def refusal(response: Any) -> Any:
    """Check the shape that OpenAI clients parse, and return the error."""
    document = await response.json()
    assert set(document) == {"error"}
    assert set(document["error"]) == {"message", "type", "param", "code"}
    return document["error"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/invocations"),
        ("POST", "/tokenize"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/completions/"),
        ("POST", "/v1/../invocations"),
        ("POST", "//v1/completions"),
        ("GET", "/v1/completions"),
        ("DELETE", "/v1/models"),
        ("GET", "/"),
        ("POST", "/table"),
        ("GET", "/status"),
    ],
)
async def test_only_the_listed_routes_exist(gateway: Gateway, engine: ScriptedEngine, method: str, path: str) -> None:
    """Nothing else of the engines, and nothing of the control socket, can be reached from outside."""
    await gateway.use(upstream(engine))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()

    assert answer.startswith("HTTP/1.1 404 ")
    assert json.loads(answer.rpartition("\r\n\r\n")[2])["error"]["code"] == "unknown_url"
    assert engine.seen == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"[" * 200_000, "invalid_json"),
        (b"{}", "missing_model"),
        (b'{"model": 3}', "missing_model"),
        (b'{"model": ""}', "missing_model"),
        (b'{"model": "tiny", "stream": "yes"}', "invalid_stream"),
    ],
)
async def test_a_body_that_cannot_be_routed_is_a_400(
    gateway: Gateway, engine: ScriptedEngine, body: bytes, code: str
) -> None:
    """Bad input is the client's error, said in its language; no engine sees it."""
    await gateway.use(upstream(engine))
    async with gateway.session.post(f"{gateway.url}/v1/completions", data=body) as response:
        assert response.status == 400
        assert (await refusal(response))["code"] == code
    assert engine.seen == []


@pytest.mark.parametrize("model", ["tiny", "chat"])
async def test_half_a_surrogate_pair_is_passed_on(gateway: Gateway, engine: ScriptedEngine, model: str) -> None:
    """JSON can spell what UTF-8 cannot carry; under the engine's own name for the model or ours, it is no mistake."""
    await gateway.use(upstream(engine))
    body = b'{"model":"%s","max_tokens":1,"prompt":"\\ud800 \xc3\xa9"}' % model.encode()
    async with gateway.session.post(f"{gateway.url}/v1/completions", data=body) as response:
        assert response.status == 200
    assert engine.seen[0].body == {"model": "tiny", "max_tokens": 1, "prompt": "\ud800 é"}


async def test_the_body_limit_is_a_mebibyte(gateway: Gateway, engine: ScriptedEngine) -> None:
    """A body at the limit passes; one byte more is a 413, announced or not."""
    await gateway.use(upstream(engine))
    url = f"{gateway.url}/v1/completions"
    head, tail = b'{"model":"tiny","max_tokens":1,"prompt":"', b'"}'
    full = head + b"x" * (MAX_BODY_BYTES - len(head) - len(tail)) + tail

    async with gateway.session.post(url, data=full) as response:
        assert response.status == 200
    async with gateway.session.post(url, data=io.BytesIO(full + b" ")) as response:
        assert response.status == 413
        assert (await refusal(response))["code"] == "request_too_large"

    async def unannounced() -> Any:
        yield full
        yield b" "

    async with gateway.session.post(url, data=unannounced()) as response:
        assert response.status == 413


async def test_a_client_that_leaves_while_it_sends_is_not_a_request(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Half a body is nothing that was accepted, and no engine sees it."""
    await gateway.use(upstream(engine))
    _, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    writer.write(b'POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{"model":')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with gateway.post() as response:
        assert response.status == 200
    status = await gateway.status()
    assert (status.accepted, status.ok) == (1, 1)
    assert len(engine.seen) == 1


async def test_an_unknown_model_lists_those_that_exist(gateway: Gateway, engine: ScriptedEngine) -> None:
    """The mistake and its cure in one message."""
    await gateway.use(upstream(engine))
    async with gateway.post(model="gpt-9") as response:
        assert response.status == 404
        error = await refusal(response)
    assert error["code"] == "model_not_found"
    assert error["message"] == "The model 'gpt-9' does not exist. Available: chat, tiny."


async def test_models_are_what_may_be_asked_for(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Every listed id works as `model`."""
    await gateway.use(upstream(engine))
    async with gateway.get("/v1/models") as response:
        models = (await response.json())["data"]
    assert [(m["id"], m["object"], m["root"]) for m in models] == [("chat", "model", "tiny"), ("tiny", "model", "tiny")]
    for model in models:
        async with gateway.post(model=model["id"]) as response:
            assert response.status == 200


async def test_each_model_can_be_asked_for_by_itself(gateway: Gateway, engine: ScriptedEngine) -> None:
    """As OpenAI's clients do, with all that their schema wants; a name may hold slashes."""
    await gateway.use(upstream(engine), model="org/tiny")
    async with gateway.get("/v1/models") as response:
        models = (await response.json())["data"]
    assert {m["id"] for m in models} == {"chat", "org/tiny"}
    for model in models:
        assert set(model) == {"id", "object", "created", "owned_by", "root"}
        assert model["created"] == int(ISSUED.timestamp())
        for written in {model["id"], model["id"].replace("/", "%2F")}:
            async with gateway.get(f"/v1/models/{written}") as response:
                assert (response.status, await response.json()) == (200, model)
    async with gateway.get("/v1/models/gpt-9") as response:
        assert response.status == 404
        assert (await refusal(response))["code"] == "model_not_found"
    for path in ("/v1/models/", "/v1/modelsx"):
        async with gateway.get(path) as response:
            assert (await refusal(response))["code"] == "unknown_url"


async def said(reader: asyncio.StreamReader, end: bytes) -> bytes:
    """Read up to these bytes, for no longer than a moment."""
    async with asyncio.timeout(5):
        return await reader.readuntil(end)


async def test_an_answer_to_head_has_no_body(gateway: Gateway, engine: ScriptedEngine) -> None:
    """On a connection that is kept, the next answer begins where this one ends. Health is what GET says of it."""
    await gateway.use(upstream(engine))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    heads = b"".join(b"HEAD %s HTTP/1.1\r\nhost: x\r\n\r\n" % path for path in (b"/health", b"/nothing"))
    writer.write(heads + b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
    answers = [await said(reader, b"\r\n\r\n") for _ in range(3)]
    body = await said(reader, b"}")
    writer.close()
    await writer.wait_closed()

    assert [a.partition(b"\r\n")[0] for a in answers] == [
        b"HTTP/1.1 %s" % s for s in (b"200 OK", b"404 Not Found", b"200 OK")
    ]
    assert json.loads(body)["status"] == "ok"
    assert b"content-length: %d" % len(body) in answers[0].lower(), "how long the body would be may be said"


async def test_a_client_that_waits_to_be_let_continue_is_let(gateway: Gateway, engine: ScriptedEngine) -> None:
    """It sends its body only then; one whose body is too large is refused at once, and never invited to send it."""
    await gateway.use(upstream(engine))
    port, body = int(gateway.url.rpartition(":")[2]), b'{"model":"chat","prompt":"hi "}'
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-Continue\r\ncontent-length: %d\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head % len(body))
    assert await said(reader, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await said(reader, b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    await writer.wait_closed()

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head % (MAX_BODY_BYTES + 1))
    assert (await said(reader, b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
    writer.close()
    await writer.wait_closed()


class TestKeys:
    async def test_the_right_key_opens(self, gateway: Gateway, engine: ScriptedEngine) -> None:
        """A bearer key whose digest is in the table is let in."""
        await gateway.use(upstream(engine), allowed_keys_sha256=(DIGEST,))
        async with gateway.post(headers={"authorization": f"Bearer {KEY}"}) as response:
            assert response.status == 200

    @pytest.mark.parametrize("given", [None, "Bearer ", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {DIGEST}"])
    async def test_anything_else_does_not(self, gateway: Gateway, engine: ScriptedEngine, given: str | None) -> None:
        """No key, a wrong one, the wrong scheme, or the digest itself: 401, and no word about what exists."""
        await gateway.use(upstream(engine), allowed_keys_sha256=(DIGEST,))
        headers = {"authorization": given} if given is not None else {}
        async with gateway.post(headers=headers) as response:
            assert response.status == 401
            assert "chat" not in (await refusal(response))["message"]
        async with gateway.get("/v1/models", **headers) as response:
            assert response.status == 401
        assert engine.seen == []

    async def test_a_key_opens_its_own_service_only(self, gateway: Gateway, engine: ScriptedEngine) -> None:
        """To a tenant, another tenant's service does not exist."""
        mine = ServiceRoutes("mine", "tiny", (upstream(engine),), allowed_keys_sha256=(DIGEST,))
        yours = ServiceRoutes("yours", "other", (), allowed_keys_sha256=("0" * 64,))
        await gateway.use_services(mine, yours)
        headers = {"authorization": f"Bearer {KEY}"}
        async with gateway.post(model="yours", headers=headers) as response:
            assert response.status == 404
            assert "yours" not in (await refusal(response))["message"].partition("Available")[2]
        async with gateway.get("/v1/models", **headers) as response:
            assert [m["id"] for m in (await response.json())["data"]] == ["mine", "tiny"]

    async def test_metrics_want_a_key_where_there_are_keys(self, gateway: Gateway, engine: ScriptedEngine) -> None:
        """Also on a loopback address: a proxy there passes on what strangers send. Any client key will do."""
        free = ServiceRoutes("free", "other", ())
        mine = ServiceRoutes("mine", "tiny", (upstream(engine),), allowed_keys_sha256=(DIGEST,))
        await gateway.use_services(free, mine)
        for authorization, status in ((None, 401), ("Bearer wrong", 401), (f"Bearer {KEY}", 200)):
            headers = {} if authorization is None else {"authorization": authorization}
            async with gateway.get("/metrics", **headers) as response:
                assert response.status == status
                assert ('service="mine"' in await response.text()) is (status == 200)
        await gateway.use_services(free)
        async with gateway.get("/metrics") as response:
            assert response.status == 200

    async def test_without_keys_only_this_machine_is_served(self, gateway: Gateway, engine: ScriptedEngine) -> None:
        """A service without keys stays shut on an address that others can reach."""
        await gateway.use(upstream(engine))
        gateway.node.keyless_allowed = False
        async with gateway.post() as response:
            assert response.status == 401
        async with gateway.get("/metrics") as response:
            assert response.status == 401
        async with gateway.get("/health") as response:
            assert response.status == 200


async def test_health_says_what_runs(gateway: Gateway, engine: ScriptedEngine) -> None:
    """The plain mode says that it is plain; versions and counts are those of the table."""
    async with gateway.get("/health") as response:
        before = await response.json()
    assert (before["mode"], before["table_version"], before["services"]) == ("plain", 0, 0)
    await gateway.use(upstream(engine))
    async with gateway.get("/health") as response:
        after = await response.json()
    assert (after["status"], after["table_version"], after["services"], after["upstreams"]) == ("ok", 1, 1, 1)


async def test_metrics_are_prometheus_text(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Counters end in _total, carry region and outcome, and start at the events that happened."""
    engine.then(Act(status=503))
    await gateway.use(upstream(engine), retries=0)
    async with gateway.post():
        pass
    async with gateway.post(stream=True) as response:
        await response.read()
    async with gateway.post(model="none"):
        pass
    await gateway.status()

    async with gateway.get("/metrics") as response:
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = await response.text()

    for line in (
        'greenctl_gateway_requests_total{outcome="failed",region="local/a",service="chat",worker="0"} 1.0',
        'greenctl_gateway_requests_total{outcome="ok",region="local/a",service="chat",worker="0"} 1.0',
        'greenctl_gateway_upstream_failures_total{reason="status_503",region="local/a",service="chat",worker="0"} 1.0',
        'greenctl_gateway_refusals_total{code="model_not_found",worker="0"} 1.0',
        'greenctl_gateway_in_flight_requests{service="chat",worker="0"} 0.0',
        'greenctl_gateway_time_to_first_chunk_seconds_count{region="local/a",service="chat",worker="0"} 1.0',
        'greenctl_gateway_routing_table_version{worker="0"} 1.0',
    ):
        assert line in text.splitlines()
    assert "_created" not in text


async def test_a_draining_gateway_refuses_new_requests(gateway: Gateway, engine: ScriptedEngine) -> None:
    """On its way to a stop it says so, and what runs is finished first."""
    gate = asyncio.Event()
    engine.then(Act(gate=gate, gate_at=1))
    await gateway.use(upstream(engine))
    async with gateway.post(stream=True) as running:
        draining = asyncio.create_task(gateway.node.drain())
        await engine.arrived.wait()
        async with gateway.post() as response:
            assert response.status == 503
            assert (await refusal(response))["code"] == "shutting_down"
        assert not draining.done()
        gate.set()
        assert (await running.text()).endswith("[DONE]\n\n")
    async with asyncio.timeout(5):
        await draining


async def test_no_body_reaches_a_log(
    gateway: Gateway, engine: ScriptedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Prompts and answers are nobody's to keep, in good times and in bad."""
    caplog.set_level("DEBUG", logger=package)
    canary = "canary-5d1f"
    engine.then(Act(), Act(cut_after=2), Act(status=500, text=canary), Act(abort_after=2), Act(error_after=1))
    await gateway.use(upstream(engine), resume_streams=True, cooldown_seconds=0)
    for stream in (False, True, False, True, True):
        async with gateway.post(prompt=canary, stream=stream) as response:
            await response.read()
    async with gateway.session.post(f"{gateway.url}/v1/completions", data=canary.encode()) as response:
        assert response.status == 400
    await gateway.status()

    assert caplog.records
    assert canary not in caplog.text
    assert "w0" not in caplog.text


async def test_our_own_mistake_is_a_500_without_details(
    gateway: Gateway, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error inside is answered in the usual shape, counted, and does not leak its words."""
    await gateway.use(upstream(engine))

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(gateway.node.client, "answer", broken)
    async with gateway.post() as response:
        assert response.status == 500
        error = await refusal(response)
    assert error["code"] == "internal_error"
    assert "secret" not in error["message"]
    status = await gateway.status()
    assert (status.failed, status.upstream("r-a").failed) == (1, 1)
