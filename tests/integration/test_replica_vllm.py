"""A replica's whole life on a machine of SkyPilot's, with the real vLLM: the task's own words, our program, the guard.

One replica lives once; what was seen of it is looked at from several sides.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from infra.env.setup import ENGINE
from orchestrator.control.ports import LaunchRequest
from orchestrator.domain.hardware import Shape
from orchestrator.domain.service import ModelSpec
from orchestrator.provisioners.local import tiny_model
from orchestrator.provisioners.skypilot.task import NodeOptions, SkyTask, build_task
from tests.builders import offer
from tests.ports import free_port

pytestmark = pytest.mark.engine

START_SECONDS = 600.0
"""20 s on two idle cores; test machines may be anything but idle."""

TOKENS = 400
"""Tokens of an answer that takes some seconds."""

ROUTES = """
import json, warnings
warnings.simplefilter("ignore")
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
app = build_app(make_arg_parser(FlexibleArgumentParser()).parse_args([]), ("generate",))
found = {(m, r.path) for r in app.routes for m in (getattr(r, "methods", None) or ["GET"])}
found |= {(m.upper(), p) for p, methods in app.openapi()["paths"].items() for m in methods}
print("ROUTES " + json.dumps(sorted(found)))
"""


@dataclass
class Life:
    """What was seen."""

    key: str
    secret: str
    routes: list[tuple[str, str]] = field(default_factory=list)
    without_key: dict[tuple[str, str], int] = field(default_factory=dict)
    with_another_key: dict[tuple[str, str], int] = field(default_factory=dict)
    with_key: dict[tuple[str, str], int] = field(default_factory=dict)
    hidden: dict[tuple[str, str], int] = field(default_factory=dict)
    answer: str = ""
    streamed: list[str] = field(default_factory=list)
    chunks_apart_seconds: float = 0.0
    command_lines: dict[int, str] = field(default_factory=dict)
    users_who_hold_the_key: set[int] = field(default_factory=set)
    processes: list[int] = field(default_factory=list)
    stop: dict[str, int] = field(default_factory=dict)
    last_stream: list[str] = field(default_factory=list)
    status: int | None = None
    log: str = ""
    left: list[int] = field(default_factory=list)
    scratch: str = ""


def the_task(model: Path, port: int) -> SkyTask:
    """A small replica; even vLLM's routes for developers are there, for the guard to hide."""
    shape = Shape("2vCPU-4GB", None, 0, 2.0, 4.0, None)
    args = (("max_num_seqs", 8), ("shutdown_timeout", 240))
    request = LaunchRequest(
        name="gc-01234567-chat-aaaaaaaaaa",
        deployment_uid="0123456789abcdef",
        service="chat",
        intent_id="aaaaaaaaaa",
        offer=offer("slurm/eu", on=shape),
        model=ModelSpec(str(model), served_name="tiny", args=args),
        secrets=("A_SECRET",),
        task_json=json.dumps({"envs": {"VLLM_SERVER_DEV_MODE": "1"}}),
    )
    return build_task(request, NodeOptions(engine=str(ENGINE.python.parent / "vllm"), port=port, opens_ports=False))


def make_home(home: Path, task: SkyTask, life: Life) -> None:
    """Put there what SkyPilot would carry."""
    (home / ".greenctl").mkdir(parents=True)
    for remote, text in task.files.items():
        (home / remote.removeprefix("~/")).write_text(text, encoding="utf-8")
    for remote, local in task.uploads.items():
        (home / remote.removeprefix("~/")).symlink_to(local)
    (home / task.key_path.removeprefix("~/")).write_text(life.key + "\n")
    (home / task.secrets_path.removeprefix("~/")).write_text(json.dumps({"A_SECRET": life.secret}))


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A replica that is started, used, stopped in the middle of a sentence, and looked at all the time."""
    if not ENGINE.python.exists():
        pytest.skip("no vLLM environment (make env-engine)")
    found = Life(key=f"gr-{secrets.token_urlsafe(24)}", secret=f"s3cret {secrets.token_urlsafe(24)}")
    model = tmp_path_factory.mktemp("models") / "tiny"
    subprocess.run([ENGINE.python, tiny_model.__file__, model], check=True, capture_output=True)
    found.routes = routes()
    home = tmp_path_factory.mktemp("home")
    port = free_port()
    task = the_task(model, port)
    make_home(home, task, found)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "SKYPILOT_NODE_IPS": "127.0.0.1"}
    with (home / "job.log").open("w") as log:
        job = subprocess.Popen(["/bin/bash", "-c", str(task.config["run"])], env=environment, stdout=log, stderr=log)
        try:
            live(found, job, f"http://127.0.0.1:{port}")
            found.status = job.wait(timeout=300)
        finally:
            found.log = (home / "job.log").read_text()
            found.left = [pid for pid in found.processes if psutil.pid_exists(pid)]
            job.kill()
            for pid in found.left:
                psutil.Process(pid).kill()
    return found


def routes() -> list[tuple[str, str]]:
    """Every route that this vLLM serves, those for developers included."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "VLLM_TARGET_DEVICE": "cpu"}
    done = subprocess.run(
        [ENGINE.python, "-c", ROUTES],
        env={**environment, "VLLM_SERVER_DEV_MODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("ROUTES "))
    return [(method, path) for method, path in json.loads(line.removeprefix("ROUTES "))]


def live(found: Life, job: subprocess.Popen[bytes], url: str) -> None:
    """Use it."""
    bearer = {"authorization": f"Bearer {found.key}"}
    with httpx.Client(base_url=url, timeout=300, trust_env=False) as client:
        wait_until_ready(client, job)
        main = psutil.Process(job.pid)
        found.processes = [job.pid, *(child.pid for child in main.children(recursive=True))]
        found.scratch = next(iter(main.children())).environ()["TMPDIR"]
        for method, path in found.routes:
            concrete = re.sub(r"{[^}]*}", "x", path)
            found.without_key[method, path] = client.request(method, concrete).status_code
            other = {"authorization": f"Bearer {found.key[:-1]}"}
            found.with_another_key[method, path] = client.request(method, concrete, headers=other).status_code
            if not path.startswith("/v1/"):
                found.hidden[method, path] = client.request(method, concrete, headers=bearer).status_code
        for path in ("/health", "/v1/models", "/metrics", "/version", "/load"):
            found.with_key["GET", path] = client.get(path, headers=bearer).status_code
        look_at_processes(found)
        asked = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
        found.answer = client.post("/v1/chat/completions", json=asked, headers=bearer).json()["object"]
        stream(client, bearer, 40, found.streamed, found)
        stream(client, bearer, TOKENS, found.last_stream, found, stop=True)


def wait_until_ready(client: httpx.Client, job: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + START_SECONDS
    while True:
        assert job.poll() is None, "the replica ended before it was ready"
        assert time.monotonic() < give_up, "the replica did not become ready"
        try:
            if client.get("/health").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.5)


def look_at_processes(found: Life) -> None:
    """Read what ``ps`` can read, of every process of this machine, and who could read more."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.command_lines[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
            if found.key.encode() in (folder / "environ").read_bytes():
                found.users_who_hold_the_key.add(folder.stat().st_uid)
        except OSError:
            continue


def stream(
    client: httpx.Client, bearer: dict[str, str], tokens: int, into: list[str], found: Life, *, stop: bool = False
) -> None:
    """Read an answer as it comes; ``stop``: end the replica after the first words of it."""
    asked: dict[str, Any] = {"model": "tiny", "prompt": "hello", "max_tokens": tokens, "ignore_eos": True}
    began = None
    with client.stream("POST", "/v1/completions", json={**asked, "stream": True}, headers=bearer) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: "):
                continue
            into.append(line.removeprefix("data: "))
            began = began or time.monotonic()
            if stop and len(into) == 3:
                found.stop["without key"] = httpx.post(f"{client.base_url}/greenctl/stop", trust_env=False).status_code
                url = f"{client.base_url}/greenctl/stop"
                found.stop["with key"] = httpx.post(url, headers=bearer, trust_env=False).status_code
    found.chunks_apart_seconds = time.monotonic() - (began or 0.0)


# ── the guard ────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_without_the_key_reaches_any_route_but_health(life: Life) -> None:
    """Every route of this vLLM was tried, those for developers included."""
    assert len(life.routes) > 30
    assert {"/tokenize", "/pause", "/invocations", "/v1/chat/completions"} <= {path for _, path in life.routes}
    open_ones = {route for route, status in life.without_key.items() if status not in {401, 404}}
    assert open_ones <= {("GET", "/health"), ("HEAD", "/health")}
    assert life.without_key["GET", "/health"] == 200
    others = {route for route, status in life.with_another_key.items() if status not in {401, 404}}
    assert others <= {("GET", "/health"), ("HEAD", "/health")}


def test_with_the_key_there_is_what_the_gateway_needs_and_nothing_else(life: Life) -> None:
    """Models, answers, counts of tokens, metrics; what pauses or rewires the engine is no route of a replica."""
    assert set(life.with_key.values()) == {200}, life.with_key
    known = {"/health", "/metrics", "/version", "/load", "/tokenize"}
    assert {path for (_, path), status in life.hidden.items() if status != 404} <= known


def test_answers_come_through_as_they_are_made(life: Life) -> None:
    """A chat works, and a stream is not collected on its way."""
    assert life.answer == "chat.completion"
    assert life.streamed[-1] == "[DONE]"
    assert len(life.streamed) > 10


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_stop_needs_the_key_and_lets_the_answer_finish(life: Life) -> None:
    """The replica was told to end after three pieces of a long answer; all of it arrived."""
    assert life.stop == {"without key": 401, "with key": 202}
    assert life.last_stream[-1] == "[DONE]"
    finish = [json.loads(piece)["choices"] for piece in life.last_stream[:-1]]
    reasons = [choices[0]["finish_reason"] for choices in finish if choices]
    assert reasons[-1] == "length"


def test_the_job_succeeds_and_nothing_is_left(life: Life) -> None:
    """Told to end, it ends well; no process, no temporary file."""
    assert life.status == 0, life.log[-3000:]
    assert len(life.processes) >= 3
    assert life.left == []
    assert not Path(life.scratch).exists()


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────


def test_no_command_line_of_the_machine_holds_key_or_secret(life: Life) -> None:
    """What ``ps`` shows to everybody; the environment is its own user's to read."""
    assert len(life.command_lines) > 5
    assert any("greenctl_guard.Guard" in line for line in life.command_lines.values())
    assert [line for line in life.command_lines.values() if life.key in line or life.secret in line] == []
    assert life.users_who_hold_the_key == {os.getuid()}


def test_the_log_holds_neither_key_nor_secret(life: Life) -> None:
    """Logs are copied about."""
    assert "starting " in life.log
    assert life.key not in life.log
    assert life.secret not in life.log
