"""The engine without a model: vLLM's manners, honest about what it is, and faults exactly when asked for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.provisioners.local.builtin_engine.app import BuiltinEngine, Settings
from orchestrator.provisioners.local.builtin_engine.faults import NONE, FaultFile, Faults, parse_faults
from orchestrator.provisioners.local.builtin_engine.text import Continuation, render_chat, tokens_of
from orchestrator.provisioners.local.provisioner import _free_port
from orchestrator.telemetry.engine_probe import parse_load
from tests.provisioner_bench import eventually, unique, wait_until

KEY = "k" * 64
AUTHORIZED = {"authorization": f"Bearer {KEY}"}
FINGERPRINT = "greenctl-builtin-not-a-model"
DONE = "[DONE]"

Client = TestClient[aiohttp.web.Request, aiohttp.web.Application]


def settings(**changes: Any) -> Settings:
    """Make an engine without pauses."""
    values: dict[str, Any] = {
        "model": "chat",
        "api_key": KEY,
        "version": "1",
        "max_model_len": 512,
        "max_num_seqs": 8,
        "tokens_per_second": 0.0,
        "first_token_seconds": 0.0,
    }
    return Settings(**(values | changes))


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Any]]:
    """Give a way to start an engine in this process and talk to it."""
    clients: list[Client] = []

    async def start(faults: FaultFile | None = None, **changes: Any) -> tuple[BuiltinEngine, Client]:
        engine = BuiltinEngine(settings(**changes), faults or FaultFile(NONE, None))
        client: Client = TestClient(TestServer(engine.application()), headers=AUTHORIZED)
        await client.start_server()
        clients.append(client)
        return engine, client

    yield start
    for client in clients:
        await client.close()


async def ask(client: Client, prompt: str = "the grid", **more: Any) -> dict[str, Any]:
    """Ask for a completion and return the answer."""
    body = {"model": "chat", "prompt": prompt, "ignore_eos": True, "max_tokens": 12, **more}
    async with client.post("/v1/completions", json=body) as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def events(client: Client, route: str = "/v1/completions", **more: Any) -> list[Any]:
    """Ask for a stream and return its events, parsed."""
    body = {"model": "chat", "prompt": "the grid", "ignore_eos": True, "max_tokens": 12, "stream": True, **more}
    async with client.post(route, json=body) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["x-greenctl-engine"] == "builtin"
        found = [line.removeprefix("data: ") for line in (await answer.text()).split("\n\n") if line]
    return [event if event == DONE else json.loads(event) for event in found]


def reasons(found: list[Any]) -> list[str]:
    """Return the finish reasons that a stream gave."""
    choices = [choice for event in found if event != DONE for choice in event["choices"]]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def text_of(found: list[Any], chat: bool = False) -> str:
    """Return the text that a stream gave."""
    choices = [choice for event in found if event != DONE for choice in event["choices"]]
    return "".join(choice["delta"].get("content", "") if chat else choice["text"] for choice in choices)


class TestText:
    """Words from a list, as a function of all words before."""

    @given(st.text(), st.integers(1, 60), st.integers(0, 60))
    def test_a_text_that_is_cut_goes_on_as_if_it_had_not_been(self, prompt: str, length: int, cut: int) -> None:
        """What is said after a cut does not depend on the cut: the property that resuming a stream relies on."""
        whole = Continuation(prompt)
        words = [whole.next(may_end=False) for _ in range(length)]
        said = "".join(word or "" for word in words[:cut])
        rest = Continuation(prompt + said)

        assert [rest.next(may_end=False) for _ in words[cut:]] == words[cut:]

    def test_texts_end_by_themselves(self) -> None:
        """Every text ends some time, and most not at once."""
        lengths = []
        for number in range(200):
            continuation = Continuation(f"prompt {number}")
            lengths.append(next(n for n in range(10_000) if continuation.next() is None))

        assert 20 < sum(lengths) / len(lengths) < 100

    @given(st.text())
    def test_tokens_are_the_text(self, text: str) -> None:
        """Splitting loses nothing."""
        assert "".join(tokens_of(text)) == text

    def test_a_continued_answer_has_the_prompt_of_the_answer(self) -> None:
        """A final assistant message that is to be continued stands where the answer would stand."""
        question = {"role": "user", "content": "hi"}
        asked = render_chat([question], continue_final=False)
        continued = render_chat([question, {"role": "assistant", "content": " so far"}], continue_final=True)

        assert continued == asked + " so far"

    def test_content_may_come_in_parts(self) -> None:
        """OpenAI's list form of a text message."""
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

        assert render_chat([{"role": "user", "content": parts}], continue_final=False).startswith(
            "<|im_start|>user\nab<|im_end|>"
        )


class TestManners:
    """Routes, statuses and forms of vLLM."""

    async def test_the_open_routes_need_no_key(self, connect: Callable[..., Any]) -> None:
        """As in vLLM, the key guards what lies below /v1."""
        _, client = await connect()
        for route in ("/health", "/ping", "/version", "/metrics"):
            async with client.get(route, headers={"authorization": ""}) as answer:
                assert (route, answer.status) == (route, 200)

    @pytest.mark.parametrize("given_key", ["", "Bearer", "Bearer wrong", KEY, "Bearer \u00e9"])
    async def test_below_v1_the_key_is_needed(self, connect: Callable[..., Any], given_key: str) -> None:
        """Anything but the key is 401."""
        _, client = await connect()
        async with client.get("/v1/models", headers={"authorization": given_key}) as answer:
            assert answer.status == 401
            assert answer.headers["x-greenctl-engine"] == "builtin"

    async def test_every_answer_says_that_there_is_no_model(self, connect: Callable[..., Any]) -> None:
        """Whole answers, chunks, lists and errors carry the mark."""
        _, client = await connect()
        asked = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
        bodies = [(await ask(client))]
        for method, route, body in (
            ("POST", "/v1/chat/completions", asked),
            ("POST", "/v1/chat/completions", {**asked, "model": "other"}),
            ("POST", "/tokenize", {"prompt": "a b"}),
            ("GET", "/v1/models", None),
            ("GET", "/version", None),
            ("GET", "/nowhere", None),
        ):
            async with client.request(method, route, json=body) as answer:
                assert answer.headers["x-greenctl-engine"] == "builtin"
                bodies.append(await answer.json())
        bodies += [event for event in await events(client) if event != DONE]

        assert {body["system_fingerprint"] for body in bodies} == {FINGERPRINT}

    @pytest.mark.parametrize(
        ("change", "status", "words"),
        [
            ({"model": "other"}, 404, "The model `other` does not exist."),
            ({"max_tokens": 0}, 400, "max_tokens must be at least 1"),
            ({"max_tokens": "many"}, 400, "max_tokens: 'many' is not a whole number"),
            ({"max_tokens": True}, 400, "is not a whole number"),
            ({"max_tokens": 512}, 400, "maximum context length is 512"),
            ({"prompt": None}, 400, "prompt: one text"),
            ({"prompt": ["a", "b"]}, 400, "prompt: one text"),
            ({"n": 2}, 400, "one choice only"),
            ({"stop": ["\n"]}, 400, "does not support stop"),
            ({"logprobs": 1}, 400, "does not support logprobs"),
        ],
    )
    async def test_bad_requests_are_told_in_openais_form(
        self, connect: Callable[..., Any], change: dict[str, Any], status: int, words: str
    ) -> None:
        """What cannot be honoured is refused with a sentence, never ignored."""
        _, client = await connect()
        body = {"model": "chat", "prompt": "x", **change}
        async with client.post("/v1/completions", json=body) as answer:
            assert answer.status == status
            error = (await answer.json())["error"]

        assert words in error["message"]
        assert error["code"] == status

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff"])
    async def test_a_body_that_is_no_object_is_a_bad_request(self, connect: Callable[..., Any], body: bytes) -> None:
        """Nothing that a client sends is an internal error."""
        _, client = await connect()
        for route in ("/v1/completions", "/v1/chat/completions", "/tokenize"):
            async with client.post(route, data=body) as answer:
                assert answer.status == 400

    @pytest.mark.parametrize(
        "messages",
        [None, [], ["x"], [{"role": "user", "content": 1}], [{"role": "user", "content": [{"type": "image"}]}]],
    )
    async def test_messages_that_are_none_are_a_bad_request(self, connect: Callable[..., Any], messages: Any) -> None:
        """Only text is understood."""
        _, client = await connect()
        async with client.post("/v1/chat/completions", json={"model": "chat", "messages": messages}) as answer:
            assert answer.status == 400

    async def test_max_tokens_is_honoured_and_counted(self, connect: Callable[..., Any]) -> None:
        """The answer is as long as was asked for, and the usage says so."""
        _, client = await connect()
        answer = await ask(client, "one two", max_tokens=7)

        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 7, "total_tokens": 9}
        assert len(tokens_of(answer["choices"][0]["text"])) == 7

    async def test_a_stream_says_the_same_as_a_whole_answer(self, connect: Callable[..., Any]) -> None:
        """One event a token, the reason in the last one, the usage after it when asked for, then the end mark."""
        _, client = await connect()
        found = await events(client, stream_options={"include_usage": True})

        assert text_of(found) == (await ask(client))["choices"][0]["text"]
        assert reasons(found) == ["length"]
        assert found[-1] == DONE
        assert found[-2]["choices"] == []
        assert found[-2]["usage"]["completion_tokens"] == 12
        assert found[-3]["choices"][0]["finish_reason"] == "length"

    async def test_a_chat_names_its_role_first(self, connect: Callable[..., Any]) -> None:
        """The first chunk of a chat stream."""
        _, client = await connect()
        found = await events(client, "/v1/chat/completions", messages=[{"role": "user", "content": "hi"}], prompt=None)

        assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert found[0]["object"] == "chat.completion.chunk"
        assert reasons(found) == ["length"]

    async def test_a_chat_that_was_cut_can_be_continued(self, connect: Callable[..., Any]) -> None:
        """``continue_final_message`` goes on with the very words that the uncut answer has."""
        _, client = await connect()
        question = {"role": "user", "content": "hi"}
        whole = text_of(await events(client, "/v1/chat/completions", messages=[question], max_tokens=20), chat=True)
        for cut in (1, 7, 19):
            said = "".join(tokens_of(whole)[:cut])
            rest = await events(
                client,
                "/v1/chat/completions",
                messages=[question, {"role": "assistant", "content": said}],
                continue_final_message=True,
                add_generation_prompt=False,
                max_tokens=20 - cut,
            )
            assert said + text_of(rest, chat=True) == whole

    async def test_continuing_and_beginning_at_once_is_refused(self, connect: Callable[..., Any]) -> None:
        """The two flags contradict each other, as vLLM says too."""
        _, client = await connect()
        body = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "continue_final_message": True}
        async with client.post("/v1/chat/completions", json=body) as answer:
            assert answer.status == 400
            assert "Cannot set both" in await answer.text()

    async def test_counters_have_vllms_names_and_only_grow(self, connect: Callable[..., Any]) -> None:
        """The metrics page is read by the same code as vLLM's."""
        _, client = await connect()
        await ask(client, "one two three", max_tokens=5)
        async with client.get("/metrics") as answer:
            page = await answer.text()
        load = parse_load(page)

        assert load is not None
        assert (load.running, load.waiting, load.prompt_tokens, load.output_tokens) == (0, 0, 3, 5)
        assert 'vllm:request_success_total{engine="0",model_name="chat",finished_reason="length"} 1.0' in page

    async def test_more_requests_than_places_wait(self, connect: Callable[..., Any]) -> None:
        """The queue shows in the counters and everybody is served."""
        engine, client = await connect(max_num_seqs=2, tokens_per_second=400.0)
        tasks = [asyncio.create_task(ask(client)) for _ in range(5)]
        await eventually(lambda: engine.counters.running + engine.counters.waiting == 5, "five requests")
        assert (engine.counters.running, engine.counters.waiting) == (2, 3)
        answers = await asyncio.gather(*tasks)

        assert [answer["usage"]["completion_tokens"] for answer in answers] == [12] * 5
        assert (engine.counters.running, engine.counters.waiting) == (0, 0)

    async def test_a_client_that_leaves_frees_its_place(self, connect: Callable[..., Any]) -> None:
        """Nothing is generated for nobody, and the counters come back to zero."""
        engine, client = await connect(tokens_per_second=200.0)
        body = {"model": "chat", "prompt": "x", "ignore_eos": True, "max_tokens": 500, "stream": True}
        answer = await client.post("/v1/completions", json=body)
        await answer.content.readline()
        answer.close()
        await eventually(lambda: engine.counters.running == 0, "the place to be free")

        assert engine.counters.generation_tokens < 500
        assert engine.counters.finished["abort"] == 1


class TestFaults:
    """What goes wrong on demand."""

    @pytest.mark.parametrize("text", ["[]", "1", "{", '{"die_after": 1}'])
    def test_an_unknown_fault_is_an_error(self, text: str) -> None:
        """A fault that is misspelt must not become one that never happens."""
        with pytest.raises((ValueError, TypeError, AttributeError)):
            parse_faults(text)

    def test_no_text_is_no_fault(self) -> None:
        """The environment variable is usually absent."""
        assert parse_faults("") == Faults()

    async def test_a_cut_stream_ends_like_vllms_at_sigterm(self, connect: Callable[..., Any]) -> None:
        """The end mark without a finish reason: a naive client takes it for a complete answer."""
        _, client = await connect(FaultFile(Faults(cut_after_tokens=3), None))
        found = await events(client)

        assert (reasons(found), len(found), found[-1]) == ([], 4, DONE)

    async def test_a_dropped_connection_is_an_error_for_the_client(self, connect: Callable[..., Any]) -> None:
        """No end mark, and the transport says so."""
        _, client = await connect(FaultFile(Faults(drop_after_tokens=3), None))
        with pytest.raises(aiohttp.ClientError):
            await events(client)

    async def test_a_hanging_stream_says_nothing_more(self, connect: Callable[..., Any]) -> None:
        """The connection stays, the tokens stop."""
        engine, client = await connect(FaultFile(Faults(hang_after_tokens=2), None))
        body = {"model": "chat", "prompt": "x", "max_tokens": 9, "ignore_eos": True, "stream": True}
        async with client.post("/v1/completions", json=body) as answer:
            lines = [await answer.content.readline() for _ in range(4)]  # two events, each with its empty line
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(answer.content.readline(), 0.2)

        assert [bool(line.strip()) for line in lines] == [True, False, True, False]
        assert engine.counters.generation_tokens == 2

    async def test_the_fault_file_is_read_while_running(self, connect: Callable[..., Any], tmp_path: Path) -> None:
        """Faults can begin and end at any time; a broken file is told, not ignored."""
        path = tmp_path / "faults.json"
        _, client = await connect(FaultFile(NONE, path))
        statuses = []
        for number, text in enumerate(('{"status": 503}', '{"status": null}', "{", '{"health": "refuse"}')):
            draft = tmp_path / f"draft{number}"
            draft.write_text(text, encoding="utf-8")
            draft.rename(path)
            body = {"model": "chat", "prompt": "x", "max_tokens": 1}
            async with client.post("/v1/completions", json=body) as answer:
                statuses.append(answer.status)
            async with client.get("/health") as answer:
                statuses.append(answer.status)

        assert statuses == [503, 200, 200, 200, 500, 500, 200, 503]


class Process:
    """The engine as a process."""

    def __init__(self, port: int, *arguments: str, faults: str = "") -> None:
        command = (sys.executable, "-m", "orchestrator.provisioners.local.builtin_engine", "--port", str(port))
        environment = os.environ | {"VLLM_API_KEY": KEY, "GREENCTL_BUILTIN_FAULTS": faults}
        self.url = f"http://127.0.0.1:{port}"
        self.started = time.monotonic()
        self.running = subprocess.Popen(
            (*command, "--served-model-name", "chat", *arguments), stderr=subprocess.PIPE, env=environment, text=True
        )

    async def wait_until_up(self) -> None:
        """Wait for its health."""
        async with aiohttp.ClientSession() as session:
            while self.running.poll() is None:
                try:
                    async with session.get(f"{self.url}/health"):
                        return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.02)
        raise AssertionError(self.running.communicate()[1])


@pytest.fixture
def engine_process() -> Iterator[Callable[..., Process]]:
    """Give a way to start one, and end it afterwards."""
    made: list[Process] = []

    def start(*arguments: str, faults: str = "") -> Process:
        made.append(Process(_free_port([], unique()), *arguments, faults=faults))
        return made[-1]

    yield start
    for process in made:
        process.running.kill()
        process.running.communicate()


async def read_stream(process: Process, tokens: int, told: asyncio.Event) -> list[str]:
    """Read a stream of that many tokens, setting ``told`` after the third one."""
    body = {"model": "chat", "prompt": "x", "max_tokens": tokens, "ignore_eos": True, "stream": True}
    found = []
    async with (
        aiohttp.ClientSession(headers=AUTHORIZED) as session,
        session.post(f"{process.url}/v1/completions", json=body) as answer,
    ):
        async for line in answer.content:
            if line.strip():
                found.append(line.decode().strip().removeprefix("data: "))
            if len(found) == 3:
                told.set()
    return found


class TestEnd:
    """SIGTERM, as vLLM 0.32 takes it."""

    async def test_with_a_timeout_running_answers_finish_and_new_ones_are_refused(
        self, engine_process: Callable[..., Process]
    ) -> None:
        """In-flight requests end normally; meanwhile health is 200 and a new request gets vLLM's 500."""
        process = engine_process("--shutdown-timeout", "30", "--tokens-per-second", "40")
        await process.wait_until_up()
        told = asyncio.Event()
        stream = asyncio.create_task(read_stream(process, 60, told))
        await told.wait()
        process.running.send_signal(signal.SIGTERM)
        async with aiohttp.ClientSession(process.url, headers=AUTHORIZED) as session:
            refused = 0
            while not refused:
                async with session.post("/v1/completions", json={"model": "chat", "prompt": "x"}) as answer:
                    refused = answer.status if answer.status != 200 else 0
                    words = await answer.text()
            async with session.get("/health") as answer:
                assert answer.status == 200
        found = await stream

        assert refused == 500
        assert "cannot schedule new futures after shutdown" in words
        assert found[-1] == DONE
        assert json.loads(found[-2])["choices"][0]["finish_reason"] == "length"
        assert len(found) == 61
        wait_until(lambda: process.running.poll() == 0, "the engine's end")

    async def test_without_a_timeout_running_answers_are_cut(self, engine_process: Callable[..., Process]) -> None:
        """VLLM's default: the stream ends at once, with the end mark and no finish reason."""
        process = engine_process("--tokens-per-second", "40")
        await process.wait_until_up()
        told = asyncio.Event()
        stream = asyncio.create_task(read_stream(process, 3000, told))
        await told.wait()
        process.running.send_signal(signal.SIGTERM)
        found = await stream

        assert found[-1] == DONE
        assert json.loads(found[-2])["choices"][0]["finish_reason"] is None
        wait_until(lambda: process.running.poll() == 0, "the engine's end")

    async def test_it_can_die_in_mid_answer(self, engine_process: Callable[..., Process]) -> None:
        """Not an exit: a death, as by the out-of-memory killer."""
        process = engine_process(faults='{"die_after_tokens": 5}')
        await process.wait_until_up()
        with pytest.raises(aiohttp.ClientError):
            await read_stream(process, 100, asyncio.Event())

        wait_until(lambda: process.running.poll() == -signal.SIGKILL, "the engine's death")

    def test_it_can_fail_to_start(self, engine_process: Callable[..., Process]) -> None:
        """With the exit status that was asked for, and a reason in the log."""
        process = engine_process(faults='{"exit_at_start": 5}')
        words = process.running.communicate(timeout=60)[1]

        assert process.running.returncode == 5
        assert "RuntimeError: fault on demand" in words

    def test_a_misspelt_fault_is_no_start(self, engine_process: Callable[..., Process]) -> None:
        """A test that asks for a fault gets it or an error."""
        process = engine_process(faults='{"dye_after_tokens": 5}')
        words = process.running.communicate(timeout=60)[1]

        assert process.running.returncode != 0
        assert "unknown faults: dye_after_tokens" in words

    def test_arguments_that_only_vllm_knows_are_named(self, engine_process: Callable[..., Process]) -> None:
        """One spec can be tried with either engine, and nothing is dropped silently."""
        process = engine_process("--enforce-eager", "--dtype=bfloat16", faults='{"exit_at_start": 1}')
        words = process.running.communicate(timeout=60)[1]

        assert "ignored arguments: --enforce-eager --dtype=bfloat16" in words
