from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.gateway.cooldown import ALLOWED_FAILS
from orchestrator.gateway.transcript import Transcript
from tests.unit.gateway.conftest import Gateway, events, rests, spoken, upstream
from tests.unit.gateway.scripted import Act, ScriptedEngine

WHOLE = "w0 w1 w2 w3 w4 w5 w6 w7 "
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


async def read(gateway: Gateway, path: str = "/v1/completions", **body: Any) -> str:
    asked = {"messages": HELLO} if path == CHAT else {}
    async with gateway.post(path, stream=True, **{**asked, **body}) as response:
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        text: str = await response.text()
        return text


async def test_a_stream_comes_through_byte_for_byte(gateway: Gateway, engine: ScriptedEngine) -> None:
    """A healthy stream is forwarded as it was written, marker included."""
    await gateway.use(upstream(engine))

    text = await read(gateway, CHAT)

    assert spoken(text) == WHOLE
    assert text.endswith("data: [DONE]\n\n")
    assert '"role": "assistant"' in text


async def test_each_stream_has_one_first_token_and_other_answers_have_none(
    gateway: Gateway, engine: ScriptedEngine
) -> None:
    """What a move is judged by: of each replica, from when the request was sent on to the first piece of the stream."""
    await gateway.use(upstream(engine))
    await read(gateway, CHAT)
    await read(gateway)
    async with gateway.post() as response:
        assert response.status == 200

    (counts,) = (await gateway.status()).upstreams
    assert (counts.ok, sum(counts.first_tokens)) == (3, 2)


async def test_each_chunk_arrives_before_the_next_is_made(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Nothing is buffered: the client holds the first words while the engine has not said the others yet."""
    gate = asyncio.Event()
    engine.then(Act(gate=gate, gate_at=3))
    await gateway.use(upstream(engine))

    async with gateway.post(stream=True) as response:
        seen = ""
        while "w2 " not in seen:
            seen += (await response.content.readany()).decode()
        assert "w3 " not in seen
        gate.set()
        seen += (await response.content.read()).decode()
    assert spoken(seen) == WHOLE


@pytest.mark.parametrize(
    "act",
    [
        Act(status=503),
        Act(cut_after=0),
        Act(abort_after=0),
        Act(error_after=0),
        Act(abort_after=0, abort_reason="abort"),
    ],
    ids=["503", "dies", "done-only", "error-event", "abort"],
)
async def test_a_stream_that_never_began_is_retried(gateway: Gateway, engines: Any, act: Act) -> None:
    """Before the first event, another replica takes over and the client cannot tell, resuming allowed or not."""
    bad, good = await engines("a"), await engines("b")
    bad.then(act)
    await gateway.use(upstream(bad), upstream(good, weight=0), resume_streams=False)

    text = await read(gateway)

    assert spoken(text) == WHOLE
    assert "greenctl" not in text
    assert (await gateway.status()).upstream("r-a").failed == 1


@pytest.mark.parametrize("path", ["/v1/completions", CHAT])
@pytest.mark.parametrize(
    "act",
    [
        Act(cut_after=3),
        Act(abort_after=3),
        Act(abort_after=3, abort_reason="abort"),
        Act(error_after=3),
    ],
    ids=["killed", "done-without-reason", "abort", "error-event"],
)
async def test_a_broken_stream_goes_on_elsewhere(gateway: Gateway, engines: Any, act: Act, path: str) -> None:
    """The client reads one seamless answer: same id, one role, no word twice or missing, and a note in a comment."""
    bad, good = await engines("a"), await engines("b")
    bad.then(act)
    await gateway.use(upstream(bad), upstream(good, weight=0), resume_streams=True)

    text = await read(gateway, path, max_tokens=8)

    found = events(text)
    chunks = [e for e in found if isinstance(e, dict)]
    assert spoken(text) == WHOLE
    assert {(c["id"], c["created"], c["model"]) for c in chunks} == {("id-a", 1, "tiny")}
    assert sum("role" in (c["choices"][0].get("delta") or {}) for c in chunks) == (path == CHAT)
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"][0]["finish_reason"]] == ["length"]
    assert found.count(": greenctl resumed on local/b") == 1
    assert found[-1] == "[DONE]"
    assert good.completions[0].body["max_tokens"] == 5
    status = await gateway.status()
    assert (status.accepted, status.ok, status.resumed, status.truncated) == (1, 1, 1, 0)
    assert (status.upstream("r-a").resumed, status.upstream("r-b").ok) == (1, 1)


async def test_a_stream_can_move_twice(gateway: Gateway, engines: Any) -> None:
    """Two losses, two continuations, still one answer; both limits are counted down by all that was said."""
    fleet = [await engines(name) for name in "abc"]
    fleet[0].then(Act(cut_after=2))
    fleet[1].then(Act(cut_after=3))
    weighted = [upstream(one, weight=weight) for one, weight in zip(fleet, (100, 1, 0), strict=True)]
    await gateway.use(*weighted, resume_streams=True)

    text = await read(gateway, CHAT, max_completion_tokens=8)

    assert spoken(text) == WHOLE
    assert fleet[2].completions[0].body["max_completion_tokens"] == 3
    assert fleet[2].completions[0].body["messages"][-1] == {"role": "assistant", "content": "w0 w1 w2 w3 w4 "}
    status = await gateway.status()
    assert (status.resumed, status.ok) == (1, 1)


async def test_usage_is_that_of_the_whole_answer(gateway: Gateway, engines: Any) -> None:
    """Tokens said by the lost replica are completion tokens, not prompt tokens of the second."""
    bad, good = await engines("a"), await engines("b")
    bad.then(Act(cut_after=3))
    await gateway.use(upstream(bad), upstream(good, weight=0), resume_streams=True)

    found = events(await read(gateway, stream_options={"include_usage": True}))

    assert found[-2]["usage"] == {"prompt_tokens": 97, "completion_tokens": 8, "total_tokens": 105}


async def test_without_tokenize_chunks_are_counted(gateway: Gateway, engines: Any) -> None:
    """An engine that cannot count tokens gets the number of chunks as the best known."""
    bad, good = await engines("a"), await engines("b")
    good.can_tokenize = False
    bad.then(Act(cut_after=3))
    await gateway.use(upstream(bad), upstream(good, weight=0), resume_streams=True)

    assert spoken(await read(gateway, max_tokens=8)) == WHOLE


async def test_when_all_tokens_were_said_the_end_is_length(gateway: Gateway, engines: Any) -> None:
    """Nothing is generated beyond the limit: the lost ending is written as what it was."""
    bad, good = await engines("a"), await engines("b")
    bad.then(Act(abort_after=3))
    await gateway.use(upstream(bad), upstream(good, weight=0), resume_streams=True)

    # The scripted engine looks at the first limit only, so it is lost just when the second one is used up.
    text = await read(gateway, CHAT, max_tokens=8, max_completion_tokens=3)

    found = events(text)
    assert found[-2]["choices"][0]["finish_reason"] == "length"
    assert found[-2]["id"] == "id-a"
    assert found[-1] == "[DONE]"
    assert good.completions == []
    assert (await gateway.status()).ok == 1


@pytest.mark.parametrize(
    "act",
    [Act(cut_after=3), Act(abort_after=3), Act(abort_after=3, abort_reason="abort")],
    ids=["killed", "done-without-reason", "abort"],
)
async def test_a_lost_stream_ends_with_an_error_and_no_marker(
    gateway: Gateway, engine: ScriptedEngine, act: Act
) -> None:
    """Nobody takes a part for the whole: an error event, no [DONE], counted as truncated."""
    engine.then(act)
    await gateway.use(upstream(engine), resume_streams=False)

    found = events(await read(gateway))

    assert found[-1]["error"]["code"] == "upstream_lost"
    assert "[DONE]" not in found
    status = await gateway.status()
    assert (status.accepted, status.truncated, status.upstream("r-a").truncated) == (1, 1, 1)


async def test_the_engines_own_words_are_kept(gateway: Gateway, engine: ScriptedEngine) -> None:
    """If the engine said what broke, that is the error event."""
    engine.then(Act(error_after=2))
    await gateway.use(upstream(engine))

    found = events(await read(gateway))

    assert found[-1] == {"error": {"message": "engine died", "code": 500}}


@pytest.mark.parametrize(
    "extra",
    [{"n": 2}, {"tools": [{}]}, {"logprobs": 1}, {"response_format": {"type": "json_object"}}, {"a_new_field": 1}],
    ids=["choices", "tools", "logprobs", "structured", "unknown"],
)
async def test_what_cannot_be_continued_is_not(gateway: Gateway, engines: Any, extra: dict[str, Any]) -> None:
    """Requests that need state of the lost replica, or that we do not understand, end honestly instead."""
    bad, good = await engines("a"), await engines("b")
    bad.then(Act(cut_after=3, choices=extra.get("n", 1)))
    await gateway.use(upstream(bad), upstream(good, weight=0), resume_streams=True)

    found = events(await read(gateway, **extra))

    assert found[-1]["error"]["code"] == "upstream_lost"
    assert good.seen == []


async def test_a_refused_continuation_is_the_end(gateway: Gateway, engines: Any) -> None:
    """If the second replica rejects the continued request, the stream ends with an error, not with its JSON."""
    bad, good = await engines("a"), await engines("b")
    bad.then(Act(cut_after=3))
    good.then(Act(status=400, text='{"error": {"message": "no"}}'))
    await gateway.use(upstream(bad), upstream(good, weight=0), resume_streams=True)

    found = events(await read(gateway))

    assert found[-1]["error"]["code"] == "upstream_lost"
    status = await gateway.status()
    assert (status.truncated, status.upstream("r-a").truncated, status.upstream("r-b").ok) == (1, 1, 1)


async def test_resuming_is_bounded_too(gateway: Gateway, engines: Any) -> None:
    """The retries of a request are its resumes as well; then it ends with an error."""
    fleet = [await engines(name) for name in "abc"]
    for one in fleet:
        one.then(Act(cut_after=1))
    await gateway.use(*(upstream(one) for one in fleet), resume_streams=True, retries=1)

    found = events(await read(gateway))

    assert found[-1]["error"]["code"] == "upstream_lost"
    status = await gateway.status()
    assert sorted(u.resumed for u in status.upstreams) == [0, 0, 1]
    assert (status.truncated, status.resumed, status.accepted) == (1, 1, 1)


async def test_every_choice_must_end(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Two answers in one stream are whole only when both have said why they ended."""
    engine.then(Act(choices=2))
    await gateway.use(upstream(engine))
    assert events(await read(gateway, n=2))[-1] == "[DONE]"

    engine.then(Act(choices=1))
    assert events(await read(gateway, n=2))[-1]["error"]["code"] == "upstream_lost"


async def test_a_complete_stream_without_marker_gets_one(gateway: Gateway, engine: ScriptedEngine) -> None:
    """All was said and only the marker is missing: the client gets its end."""
    engine.then(Act(end_without_done=True))
    await gateway.use(upstream(engine))

    assert events(await read(gateway))[-1] == "[DONE]"
    assert (await gateway.status()).ok == 1


async def test_a_cut_after_the_last_word_is_no_loss(gateway: Gateway, engine: ScriptedEngine) -> None:
    """When everything was said, a connection that breaks before the marker breaks nothing."""
    engine.then(Act(cut_after=8))
    await gateway.use(upstream(engine))

    text = await read(gateway)

    assert spoken(text) == WHOLE
    assert text.endswith("data: [DONE]\n\n")
    assert (await gateway.status()).ok == 1


@pytest.mark.parametrize("after", [0, 2], ids=["at-once", "after-some-words"])
async def test_who_begins_streams_and_breaks_them_rests(gateway: Gateway, engines: Any, after: int) -> None:
    """Its GPU is lost and its front answers still: each stream begins with a 200, and three that break are enough."""
    broken, good = await engines("a"), await engines("b")
    broken.then(*(Act(error_after=after) for _ in range(20)))
    await gateway.use(upstream(broken), upstream(good), cooldown_seconds=300.0)

    for _ in range(20):
        await read(gateway)

    assert len(broken.completions) == ALLOWED_FAILS


async def test_whole_streams_clear_what_broken_ones_counted(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Only failures in a row add up, of streams as of whole answers."""
    await gateway.use(upstream(engine), cooldown_seconds=300.0)
    for _ in range(2 * ALLOWED_FAILS):
        engine.then(Act(error_after=2), Act())
        await read(gateway)
        await read(gateway)

    assert not rests(gateway, "r-a")


async def test_words_that_a_client_leaves_behind_speak_for_the_replica(
    gateway: Gateway, engine: ScriptedEngine
) -> None:
    """Some clients leave nearly every stream early; a replica that spoke to them is not a broken one."""
    await gateway.use(upstream(engine), cooldown_seconds=300.0)
    engine.then(*(Act(error_after=2) for _ in range(ALLOWED_FAILS)))
    for _ in range(ALLOWED_FAILS):
        await read(gateway)
    assert rests(gateway, "r-a")

    engine.then(Act(gate=asyncio.Event(), gate_at=3))
    async with gateway.post(stream=True) as response:
        seen = ""
        while "w2 " not in seen:
            seen += (await response.content.readany()).decode()
        response.close()
    await gateway.status()

    assert not rests(gateway, "r-a")


async def test_an_error_that_blames_the_request_is_passed_on(gateway: Gateway, engines: Any) -> None:
    """No other replica is bothered with a request that the engine calls wrong; nothing follows the error."""
    engine, other = await engines("a"), await engines("b")
    engine.then(Act(error_after=2, error_code=400))
    await gateway.use(upstream(engine), upstream(other, weight=0), resume_streams=True)

    found = events(await read(gateway))

    assert found[-1] == {"error": {"message": "engine died", "code": 400}}
    assert other.seen == []
    assert (await gateway.status()).truncated == 1


async def test_our_own_mistake_ends_a_stream_with_an_error(
    gateway: Gateway, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even an unexpected failure inside does not leave a stream that just stops."""
    gate = asyncio.Event()
    engine.then(Act(gate=gate, gate_at=3))
    await gateway.use(upstream(engine))

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with gateway.post(stream=True) as response:
        first = await response.content.readany()
        monkeypatch.setattr(Transcript, "read", broken)
        gate.set()
        found = events((first + await response.content.read()).decode())

    assert found[-1]["error"]["code"] == "upstream_lost"
    assert "[DONE]" not in found
    assert (await gateway.status()).failed == 1


async def test_a_client_that_leaves_a_stream_stops_it(gateway: Gateway, engine: ScriptedEngine) -> None:
    """Closing the stream closes the replica's side within two seconds."""
    engine.then(Act(gate=asyncio.Event(), gate_at=2))
    await gateway.use(upstream(engine))

    async with gateway.post(stream=True) as response:
        await response.content.readany()
        response.close()

    async with asyncio.timeout(2):
        await engine.left.wait()
    status = await gateway.status()
    assert (status.cancelled, status.upstream("r-a").cancelled, status.upstream("r-a").in_flight) == (1, 1, 0)


async def test_an_error_status_of_a_stream_is_an_answer(gateway: Gateway, engine: ScriptedEngine) -> None:
    """A request that the engine rejects gets its status and its body, though a stream was asked for."""
    engine.then(Act(status=400, text='{"error": {"message": "max_tokens"}}'))
    await gateway.use(upstream(engine))

    async with gateway.post(stream=True) as response:
        assert response.status == 400
        assert await response.json() == {"error": {"message": "max_tokens"}}
