"""What every engine probe promises: it tells what an engine does, and never raises for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.control.ports import EngineLoad, EngineProbe, Phase
from orchestrator.domain.service import Engine, ModelSpec
from orchestrator.provisioners.local.engines.builtin import BuiltinLauncher
from orchestrator.provisioners.local.provisioner import LocalProvisioner
from orchestrator.telemetry.engine_probe import (
    MAX_AT_ONCE,
    FakeProbe,
    HttpEngineProbe,
    has_finished_choice,
    parse_load,
)
from tests.gateway_world import VirtualLoop
from tests.provisioner_bench import Bench, kill_main, swept

MODEL = "chat"
NOWHERE = "http://127.0.0.1:9"
"""The discard port, on which nobody listens."""


@dataclass
class Served:
    """A probe and an engine that it can reach. ``end`` takes the engine away."""

    probe: EngineProbe
    endpoint: str
    api_key_file: Path | None
    end: Callable[[], None]


async def up(bench: Bench, name: str) -> str:
    """Wait until a replica answers and return its endpoint."""
    endpoint = (await bench.until(name, Phase.RUNNING)).endpoint
    assert endpoint is not None
    async with httpx.AsyncClient() as client:
        for _ in range(3000):
            try:
                await client.get(f"{endpoint}/health")
            except httpx.HTTPError:
                await asyncio.sleep(0.02)
            else:
                return endpoint
    raise AssertionError(f"{name} never answered")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, str]]:
    """Give one engine process to all tests of this module that do not end it."""
    bench = builtin_bench(tmp_path_factory.mktemp("state"))
    request = bench.request()
    with swept(bench.uid):
        asyncio.run(bench.provisioner.launch(request))
        asyncio.run(up(bench, request.name))
        yield bench, request.name


def builtin_bench(state_dir: Path) -> Bench:
    """Make a provisioner of builtin engines."""
    provisioner = LocalProvisioner(state_dir, {Engine.BUILTIN: BuiltinLauncher()})
    model = ModelSpec(MODEL, Engine.BUILTIN)
    return Bench(provisioner, model, lambda: time.sleep(0.02), kill_main)


@pytest.fixture(params=["fake", "http"])
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    """Give each implementation in turn, with an engine of its own."""
    if request.param == "fake":
        fake = FakeProbe()
        fake.serve("http://engine.invalid")
        yield Served(fake, "http://engine.invalid", None, lambda: fake.silence("http://engine.invalid"))
        return
    bench = builtin_bench(tmp_path)
    with swept(bench.uid):
        launch = bench.request()
        await bench.provisioner.launch(launch)
        endpoint = await up(bench, launch.name)
        key = (await bench.provisioner.describe(launch.name)).api_key_file
        probe = HttpEngineProbe()
        yield Served(probe, endpoint, key, lambda: kill_main(launch.name))
        await probe.aclose()


async def test_an_engine_that_serves_is_seen_to_serve(served: Served) -> None:
    """Healthy, completing, and idle."""
    assert await served.probe.is_healthy(served.endpoint)
    assert await served.probe.completes(served.endpoint, MODEL, served.api_key_file)
    load = await served.probe.load(served.endpoint, served.api_key_file)

    assert load is not None
    assert (load.running, load.waiting) == (0, 0)


async def test_where_nobody_listens_nothing_is_claimed(served: Served) -> None:
    """Not healthy, not completing, and of unknown load: never an error, never a zero."""
    assert not await served.probe.is_healthy(NOWHERE)
    assert not await served.probe.completes(NOWHERE, MODEL, None)
    assert await served.probe.load(NOWHERE, None) is None


async def test_an_engine_that_ended_is_seen_to_have_ended(served: Served) -> None:
    """What answered a moment ago does not count, and connections that were kept open do not mislead."""
    assert await served.probe.is_healthy(served.endpoint)
    served.end()

    assert not await served.probe.is_healthy(served.endpoint)
    assert not await served.probe.completes(served.endpoint, MODEL, served.api_key_file)
    assert await served.probe.load(served.endpoint, served.api_key_file) is None


class TestHttp:
    """The probe that really asks."""

    @pytest.fixture
    async def probe(self) -> AsyncIterator[HttpEngineProbe]:
        """Give a probe with little patience."""
        made = HttpEngineProbe(health_seconds=5.0, completion_seconds=30.0)
        yield made
        await made.aclose()

    async def test_a_completion_is_counted_by_the_engine(
        self, probe: HttpEngineProbe, engine: tuple[Bench, str]
    ) -> None:
        """One token was really made, and the counters show it."""
        bench, name = engine
        instance = await bench.provisioner.describe(name)
        assert instance.endpoint is not None
        before = await probe.load(instance.endpoint, instance.api_key_file)
        assert await probe.completes(instance.endpoint, MODEL, instance.api_key_file)
        after = await probe.load(instance.endpoint, instance.api_key_file)

        assert before is not None
        assert after is not None
        assert after == EngineLoad(0, 0, after.prompt_tokens, before.output_tokens + 1)
        assert after.prompt_tokens > before.prompt_tokens + 4, "an engine may die of a first prompt of four tokens"

    async def test_a_wrong_key_or_model_is_no_completion(
        self, probe: HttpEngineProbe, engine: tuple[Bench, str], tmp_path: Path
    ) -> None:
        """An engine that is somebody else's does not serve for us."""
        bench, name = engine
        instance = await bench.provisioner.describe(name)
        assert instance.endpoint is not None
        (tmp_path / "key").write_text("wrong", encoding="ascii")

        assert not await probe.completes(instance.endpoint, MODEL, tmp_path / "key")
        assert not await probe.completes(instance.endpoint, MODEL, tmp_path / "no-such-key")
        assert not await probe.completes(instance.endpoint, MODEL, None)
        assert not await probe.completes(instance.endpoint, "other", instance.api_key_file)

    @pytest.mark.parametrize("fault", ['{"health": "hang"}', '{"health": "refuse"}'])
    async def test_an_engine_that_is_ill_is_not_healthy(
        self, probe: HttpEngineProbe, engine: tuple[Bench, str], tmp_path_factory: pytest.TempPathFactory, fault: str
    ) -> None:
        """Neither a refusal nor silence is health, and silence does not hold us up."""
        bench, name = engine
        instance = await bench.provisioner.describe(name)
        assert instance.endpoint is not None
        assert instance.api_key_file is not None
        with faulty(instance.api_key_file.parent, tmp_path_factory.mktemp("faults"), fault):
            begun = time.monotonic()
            assert not await probe.is_healthy(instance.endpoint)
            assert time.monotonic() - begun < 30

        assert await probe.is_healthy(instance.endpoint)

    @pytest.mark.parametrize("fault", ['{"hang_after_tokens": 1}', '{"status": 500}'])
    async def test_an_engine_that_is_healthy_and_does_not_complete_does_not_serve(
        self, probe: HttpEngineProbe, engine: tuple[Bench, str], tmp_path_factory: pytest.TempPathFactory, fault: str
    ) -> None:
        """Health is not proof: only the completion is."""
        bench, name = engine
        instance = await bench.provisioner.describe(name)
        assert instance.endpoint is not None
        assert instance.api_key_file is not None
        with faulty(instance.api_key_file.parent, tmp_path_factory.mktemp("faults"), fault):
            assert await probe.is_healthy(instance.endpoint)
            assert not await probe.completes(instance.endpoint, MODEL, instance.api_key_file)

    async def test_the_probe_can_be_used_after_it_was_closed(self, engine: tuple[Bench, str]) -> None:
        """Closing drops connections, not the probe."""
        bench, name = engine
        endpoint = (await bench.provisioner.describe(name)).endpoint
        assert endpoint is not None
        probe = HttpEngineProbe()
        assert await probe.is_healthy(endpoint)
        await probe.aclose()

        assert await probe.is_healthy(endpoint)
        await probe.aclose()

    async def test_many_engines_are_asked_at_once(self) -> None:
        """Above the hundred connections that an HTTP client has by itself: each waits for the others' questions."""
        count = 150
        arrived, everybody = 0, asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal arrived
            await reader.readuntil(b"\r\n\r\n")
            arrived += 1
            if arrived == count:
                everybody.set()
            await everybody.wait()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            writer.close()

        probe = HttpEngineProbe(health_seconds=20.0, completion_seconds=20.0)
        async with await asyncio.start_server(answer, "127.0.0.1", 0, backlog=count) as server:
            port = server.sockets[0].getsockname()[1]
            answers = await asyncio.gather(*(probe.is_healthy(f"http://127.0.0.1:{port}") for _ in range(count)))
            await probe.aclose()

        assert answers == [True] * count

    def test_the_dark_do_not_use_up_the_time_of_others(self) -> None:
        """As many as can be asked at once are silent; those who come after them have all of their own time."""
        most = 0
        open_now = 0

        async def answer(asked: httpx.Request) -> httpx.Response:
            nonlocal most, open_now
            open_now += 1
            most = max(most, open_now)
            try:
                await asyncio.sleep(3600.0 if asked.url.host == "dark" else 2.0)
            finally:
                open_now -= 1
            return httpx.Response(200)

        async def look() -> list[bool]:
            probe = HttpEngineProbe(health_seconds=3.0, transport=httpx.MockTransport(answer))
            hosts = ["dark"] * MAX_AT_ONCE + ["well"] * 40
            answers = await asyncio.gather(*(probe.is_healthy(f"http://{host}") for host in hosts))
            await probe.aclose()
            return answers

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            answers = runner.run(look())

        assert answers == [False] * MAX_AT_ONCE + [True] * 40
        assert most == MAX_AT_ONCE

    @pytest.mark.parametrize("endpoint", ["", "http://", "not a url", "http://[::1", "ftp://x"])
    async def test_an_address_that_is_none_is_nobody(self, probe: HttpEngineProbe, endpoint: str) -> None:
        """A broken record does not break the loop."""
        assert not await probe.is_healthy(endpoint)
        assert await probe.load(endpoint, None) is None

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, b""),
            (200, b"{"),
            (200, b"[]"),
            (200, b'{"choices": []}'),
            (200, b'{"choices": [{"finish_reason": null}]}'),
            (200, b'{"choices": [{}]}'),
            (200, b'{"choices": 5}'),
            (500, b'{"choices": [{"finish_reason": "length"}]}'),
            (302, b'{"choices": [{"finish_reason": "length"}]}'),
        ],
    )
    async def test_nonsense_is_no_completion(self, status: int, body: bytes) -> None:
        """A choice that ended for a stated reason, with status 200, and nothing else."""
        answer = httpx.MockTransport(lambda _: httpx.Response(status, content=body, headers={"location": "/x"}))
        probe = HttpEngineProbe(transport=answer)

        assert not await probe.completes("http://engine", MODEL, None)
        await probe.aclose()

    async def test_an_endless_answer_is_no_answer(self) -> None:
        """Somebody else's server on the port cannot fill our memory."""

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"vllm:num_requests_running 1\n" * 4096

        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=endless()))
        probe = HttpEngineProbe(transport=transport)

        assert await probe.load("http://engine", None) is None
        await probe.aclose()


class TestMetrics:
    """Reading vLLM's metrics page."""

    PAGE = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_running{engine="1",model_name="tiny"} 1.0
vllm:num_requests_waiting{engine="0",model_name="a } b"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 41.0
vllm:prompt_tokens_created{engine="0",model_name="tiny"} 1.795218477114112e+09
vllm:prompt_tokens_by_source_total{engine="0",source="local_compute"} 41.0
vllm:generation_tokens_total{engine="0",model_name="tiny"} 1.2e+03 1795218477114
vllm:generation_tokens_created{engine="0",model_name="tiny"} 1.795218477114112e+09
process_resident_memory_bytes 5.5e+08
"""

    def test_the_four_counters_are_found_among_their_likes(self) -> None:
        """Neither ``_created`` stamps nor longer names count; the engines of one server are added up."""
        assert parse_load(self.PAGE) == EngineLoad(running=3, waiting=3, prompt_tokens=41, output_tokens=1200)

    def test_what_its_cache_holds_is_read_where_it_is_told(self) -> None:
        """The fullest of a server's engines counts, and tokens are blocks times their size, as vLLM writes them."""
        page = self.PAGE + (
            'vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25\n'
            'vllm:kv_cache_usage_perc{engine="1",model_name="tiny"} 0.75\n'
            'vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="0",num_gpu_blocks="100",'
            'num_gpu_blocks_override="None"} 1.0\n'
            'vllm:cache_config_info{block_size="16",engine="1",num_gpu_blocks="50"} 1.0\n'
        )
        assert parse_load(page) == EngineLoad(3, 3, 41, 1200, kv_fraction=0.75, kv_tokens=2400)

    @pytest.mark.parametrize(
        "line",
        [
            'vllm:kv_cache_usage_perc{engine="0"} NaN',
            'vllm:kv_cache_usage_perc{engine="0"} 1.5',
            'vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1.0',
            'vllm:cache_config_info{num_gpu_blocks="100"} 1.0',
        ],
    )
    def test_a_cache_that_is_told_badly_is_unknown_and_the_rest_is_not(self, line: str) -> None:
        """Neither an empty nor a full cache is made up from a number that is none."""
        assert parse_load(self.PAGE + line + "\n") == EngineLoad(3, 3, 41, 1200, None, None)

    @pytest.mark.parametrize("missing", ["running{", "waiting{", "prompt_tokens_total{", "generation_tokens_total{"])
    def test_without_one_of_them_the_load_is_unknown(self, missing: str) -> None:
        """Unknown is not zero."""
        lines = [line for line in self.PAGE.splitlines() if missing not in line]

        assert parse_load("\n".join(lines)) is None

    @pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "many", ""])
    def test_what_is_not_a_count_makes_the_load_unknown(self, value: str) -> None:
        """A counter that is not a finite number of at least zero counts nothing."""
        assert parse_load(self.PAGE.replace("41.0", value)) is None

    @given(st.text())
    def test_no_page_breaks_the_reader(self, page: str) -> None:
        """Whatever answers on the port."""
        assert parse_load(page) is None
        assert not has_finished_choice(page.encode(errors="replace"))


class faulty:  # noqa: N801 - reads as the context manager that it is
    """Let the engine in a directory misbehave for a while; its fault file is replaced in one step."""

    def __init__(self, directory: Path, workshop: Path, text: str) -> None:
        self._target, self._draft, self._text = directory / "faults.json", workshop / "faults.json", text

    def __enter__(self) -> None:
        self._put(self._text)

    def __exit__(self, *_: object) -> None:
        self._put("{}")

    def _put(self, text: str) -> None:
        self._draft.write_text(text, encoding="utf-8")
        self._draft.rename(self._target)
