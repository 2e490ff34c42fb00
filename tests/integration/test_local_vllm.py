"""Replicas of the real vLLM on this machine's processors, with a model that is made here."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from orchestrator.control.ports import Instance, Phase
from orchestrator.provisioners.local import tiny_model
from orchestrator.provisioners.local.engines.vllm_cpu import TINY_MODEL
from orchestrator.telemetry.engine_probe import HttpEngineProbe
from tests.provisioner_bench import (
    NO_GRACE,
    Bench,
    keeper_of,
    kill_main,
    main_of,
    processes_of,
    swept,
    text_of,
    vllm_bench,
    wait_until,
)

pytestmark = pytest.mark.engine

START_SECONDS = 300.0
"""It takes 6 s on two idle cores; test machines may be anything but idle."""

GRACE = timedelta(seconds=120)

LONG = 400
"""Tokens of an answer that takes some seconds."""

ONE_TOKEN = 5
"""Any token's number."""


@dataclass
class Serving:
    """A replica that has completed a token."""

    bench: Bench
    instance: Instance
    probe: HttpEngineProbe

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self.instance.endpoint is not None
        return self.instance.endpoint

    def client(self) -> httpx.AsyncClient:
        """Return a client that has the replica's key."""
        headers = {"authorization": f"Bearer {text_of(self.instance.api_key_file)}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=120, trust_env=False)


async def started(bench: Bench, *, asked: bool = True) -> Serving:
    """Launch a replica and wait until it completes; until it is healthy, if nobody is to have ``asked`` it anything."""
    request = bench.request()
    await bench.provisioner.launch(request)
    probe = HttpEngineProbe()
    give_up = time.monotonic() + START_SECONDS
    while True:
        instance = await bench.provisioner.describe(request.name)
        assert instance.phase in {Phase.STARTING, Phase.RUNNING}, instance
        if instance.endpoint and await (
            probe.completes(instance.endpoint, TINY_MODEL, instance.api_key_file)
            if asked
            else probe.is_healthy(instance.endpoint)
        ):
            await probe.aclose()
            return Serving(bench, instance, probe)
        assert time.monotonic() < give_up, text_of(bench.provisioner.log_path(request.name))
        await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the cache that the tiny model is made in, once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Serving]:
    """Give one replica to all tests that leave it as it was."""
    bench = vllm_bench(tmp_path_factory.mktemp("state"), cache_dir)
    with swept(bench.uid):
        yield asyncio.run(started(bench))


@pytest.fixture
async def own(tmp_path: Path, cache_dir: Path) -> AsyncIterator[Serving]:
    """Give a replica to a test that ends it."""
    bench = vllm_bench(tmp_path, cache_dir)
    with swept(bench.uid):
        yield await started(bench)


async def test_a_replica_serves_under_the_name_of_its_model(shared: Serving) -> None:
    """Health, model list, a chat through the template, and counters that move with it."""
    before = await shared.probe.load(shared.url, None)
    async with shared.client() as client:
        (model,) = (await client.get("/v1/models")).json()["data"]
        body = {"model": TINY_MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        answer = (await client.post("/v1/chat/completions", json={**body, "ignore_eos": True})).json()
    after = await shared.probe.load(shared.url, None)
    await shared.probe.aclose()

    assert model["id"] == TINY_MODEL
    assert answer["choices"][0]["finish_reason"] == "length"
    assert before is not None
    usage = answer["usage"]
    moved = {"prompt_tokens": before.prompt_tokens + usage["prompt_tokens"], "output_tokens": before.output_tokens + 5}
    assert after == replace(before, **moved)
    assert (after.running, after.waiting, after.kv_fraction) == (0, 0, 0.0)
    assert after.kv_tokens is not None
    assert after.kv_tokens > 0


async def test_its_first_prompt_may_be_of_one_token(tmp_path: Path, cache_dir: Path) -> None:
    """On processors with a tile unit (AMX) too, where vLLM 0.32.0 by itself dies of it."""
    bench = vllm_bench(tmp_path, cache_dir)
    with swept(bench.uid):
        serving = await started(bench, asked=False)
        async with serving.client() as client:
            body = {"model": TINY_MODEL, "prompt": [ONE_TOKEN], "max_tokens": 1, "ignore_eos": True}
            answer = await client.post("/v1/completions", json=body)

    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"] == {**answer.json()["usage"], "prompt_tokens": 1, "completion_tokens": 1}


async def test_an_answer_can_be_continued(shared: Serving) -> None:
    """The chat template leaves a final assistant message open, so that its continuation has the same prompt."""
    question = {"role": "user", "content": "hi"}
    body = {"model": TINY_MODEL, "temperature": 0, "max_tokens": 8, "ignore_eos": True}
    async with shared.client() as client:
        first = (await client.post("/v1/chat/completions", json={**body, "messages": [question]})).json()
        said = first["choices"][0]["message"]["content"]
        more = [question, {"role": "assistant", "content": said}]
        flags = {"continue_final_message": True, "add_generation_prompt": False}
        second = (await client.post("/v1/chat/completions", json={**body, **flags, "messages": more})).json()

    assert len(set(said.split())) > 2, "the tiny model repeats itself"
    assert second["usage"]["prompt_tokens"] >= first["usage"]["prompt_tokens"] + 4
    assert second["choices"][0]["finish_reason"] == "length"


async def test_every_process_shows_whose_it_is(shared: Serving) -> None:
    """Main process and engine core keep their marks, although vLLM rewrites its process titles; no key in arguments."""
    found = processes_of(shared.instance.name)
    key = text_of(shared.instance.api_key_file)

    assert len(found) >= 3  # keeper, server, engine core
    assert [p for p in found if p.marks is None or p.marks.deployment != shared.bench.uid] == []
    for ours in found:
        assert key not in " ".join(psutil.Process(ours.pid).cmdline())


async def test_nothing_listens_beyond_this_machine(shared: Serving) -> None:
    """Every socket is on the loopback interface, and only the server holds the port."""
    port = int(shared.url.rpartition(":")[2])
    holders = set()
    for ours in processes_of(shared.instance.name):
        for connection in psutil.Process(ours.pid).net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip in {"127.0.0.1", "::1"}
                if connection.laddr.port == port:
                    holders.add(ours.pid)
    server = main_of(shared.instance.name)

    assert server is not None
    assert holders == {server.pid}


async def test_the_record_names_the_engine_and_the_log_stays_quiet(shared: Serving) -> None:
    """The version comes from the environment's metadata; our own questions are not logged."""
    log = shared.bench.provisioner.log_path(shared.instance.name)
    assert log is not None
    record = json.loads(text_of(log.with_name("instance.json")))
    for _ in range(3):
        assert await shared.probe.is_healthy(shared.url)
        await shared.probe.load(shared.url, None)
    await shared.probe.aclose()

    assert record["engine_version"][:1].isdigit()
    assert "/health" not in text_of(log).partition("Application startup complete")[2]


async def test_a_drained_replica_finishes_what_it_began(own: Serving) -> None:
    """SIGTERM lets a running stream end normally; then everything is gone, with exit status 0."""
    name = own.instance.name
    body = {"model": TINY_MODEL, "prompt": "x", "max_tokens": LONG, "ignore_eos": True, "stream": True}
    events: list[Any] = []
    async with own.client() as client, client.stream("POST", "/v1/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                events.append(json.loads(line.removeprefix("data: ")))
            if len(events) == 5:
                await own.bench.provisioner.terminate(name, GRACE)
    await own.bench.until(name, Phase.GONE)

    assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert processes_of(name) == []
    log = own.bench.provisioner.log_path(name)
    assert log is not None
    assert json.loads(text_of(log.with_name("exit.json")))["status"] == 0


async def test_a_killed_server_leaves_no_engine_core(own: Serving) -> None:
    """SIGKILL of the main process alone: its children follow, and the port is free."""
    name = own.instance.name
    assert keeper_of(name) is not None
    kill_main(name)
    failed = await own.bench.until(name, Phase.FAILED)
    with pytest.raises(httpx.HTTPError):
        async with own.client() as client:
            await client.get("/health")

    assert failed.exit_detail.startswith("killed by SIGKILL")
    await own.bench.provisioner.terminate(name, NO_GRACE)
    await own.bench.until(name, Phase.GONE)
    wait_until(lambda: not processes_of(name), "the engine core's end")


async def test_an_engine_that_refuses_its_arguments_says_why(tmp_path: Path, cache_dir: Path) -> None:
    """The cause is told, not the traceback's last line."""
    bench = vllm_bench(tmp_path, cache_dir)
    with swept(bench.uid):
        request = bench.request(max_model_len=1_000_000)
        await bench.provisioner.launch(request)
        give_up = time.monotonic() + START_SECONDS
        while (found := await bench.provisioner.describe(request.name)).phase is not Phase.FAILED:
            assert time.monotonic() < give_up
            await asyncio.sleep(0.2)

    assert found.exit_detail.startswith("exit status 1: ")
    assert "max_model_len (1000000) is greater than" in found.exit_detail


def test_the_tiny_model_is_the_same_wherever_it_is_made(own_python: Path, tmp_path: Path) -> None:
    """Two makers of one directory both succeed, and a third elsewhere makes equal files."""
    script = str(Path(tiny_model.__file__))
    targets = [tmp_path / "a" / "model", tmp_path / "a" / "model", tmp_path / "b" / "model"]
    makers = [subprocess.Popen([str(own_python), script, str(target)]) for target in targets]

    assert [maker.wait() for maker in makers] == [0, 0, 0]
    assert digests(targets[0]) == digests(targets[2])
    assert [p.name for p in targets[0].parent.iterdir()] == ["model"]  # no draft is left


@pytest.fixture
def own_python() -> Path:
    """Give the engine's own Python."""
    bench = vllm_bench(Path(os.devnull), Path(os.devnull))
    launcher = bench.provisioner._engines[bench.model.engine]  # type: ignore[attr-defined]
    return Path(launcher.command(bench.model, "127.0.0.1", 1).argv[0])


def digests(folder: Path) -> dict[str, str]:
    """Return what every file holds, in short."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
