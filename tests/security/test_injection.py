"""Nobody's text is run: hundreds of payloads in every field of a service file, rendered and executed in a shell.

What the spec refuses is refused. What it takes is rendered into the task, whose commands then run in a real shell with
our real program for the machine and an engine that writes down how it was called. A payload that had become a command
anywhere on the way would have touched the canary.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control.ports import LaunchRequest
from orchestrator.domain.service import ServiceSpec
from orchestrator.errors import GreenctlError, InvalidSpec
from orchestrator.provisioners.skypilot.task import NodeOptions, SkyTask, build_task
from orchestrator.spec.service_file import parse_service
from tests.builders import offer
from tests.security.payloads import CANARY, PAYLOADS

ENGINE = """\
#!{python} -IS
import json, os, sys
json.dump({{"argv": sys.argv[1:], "env": dict(os.environ)}}, open({called!r}, "w"))
"""

SCRIPTS = ("setup", "run")
REACHES_THE_MACHINE = (*SCRIPTS, "envs")
"""The parts of a task's configuration that a test executes; ``files`` are carried beside it."""

Put = Callable[[dict[str, Any], str], None]


def _at(*path: str) -> Put:
    def put(spec: dict[str, Any], payload: str) -> None:
        here = spec
        for key in path[:-1]:
            here = here.setdefault(key, {})
        here[path[-1]] = payload

    return put


def _key_of(*path: str) -> Put:
    def put(spec: dict[str, Any], payload: str) -> None:
        here = spec
        for key in path:
            here = here.setdefault(key, {})
        here[payload] = None if path == ("secrets",) else "x"

    return put


FIELDS: dict[str, Put] = {
    "name": _at("name"),
    "model.id": _at("model", "id"),
    "model.engine": _at("model", "engine"),
    "model.served_name": _at("model", "served_name"),
    "model.template": _at("model", "template"),
    "model.args.revision": _at("model", "args", "revision"),
    "model.args.tokenizer": _at("model", "args", "tokenizer"),
    "model.args.dtype": _at("model", "args", "dtype"),
    "model.args.quantization": _at("model", "args", "quantization"),
    "model.args.attention_backend": _at("model", "args", "attention_backend"),
    "model.args.tool_call_parser": _at("model", "args", "tool_call_parser"),
    "model.args.reasoning_parser": _at("model", "args", "reasoning_parser"),
    "model.args.spec_model": _at("model", "args", "spec_model"),
    "model.args.spec_method": _at("model", "args", "spec_method"),
    "model.args.lora_modules": _at("model", "args", "lora_modules"),
    "model.args.lora_modules.name": _key_of("model", "args", "lora_modules"),
    "model.args.lora_modules.value": _at("model", "args", "lora_modules", "sql"),
    "model.args (key)": _key_of("model", "args"),
    "placement.home": _at("placement", "home"),
    "placement.on_spot_loss": _at("placement", "on_spot_loss"),
    "policy.use": _at("policy", "use"),
    "carbon.accounting": _at("carbon", "accounting"),
    "gateway.routing": _at("gateway", "routing"),
    "gateway.host": _at("gateway", "host"),
    "report.labels": _at("report", "labels", "team"),
    "report.labels (key)": _key_of("report", "labels"),
    "resources.infra": _at("resources", "infra"),
    "resources.cloud": _at("resources", "cloud"),
    "resources.region": _at("resources", "region"),
    "resources.accelerators": _at("resources", "accelerators"),
    "resources.instance_type": _at("resources", "instance_type"),
    "resources.image_id": _at("resources", "image_id"),
    "resources.cpus": _at("resources", "cpus"),
    "resources.labels": _at("resources", "labels", "team"),
    "envs": _at("envs", "NAME"),
    "envs (key)": _key_of("envs"),
    "secrets (key)": _key_of("secrets"),
    "service.readiness_probe": _at("service", "readiness_probe", "path"),
}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine's home with an engine that only writes down how it was called."""
    engine = tmp_path / "engine"
    engine.write_text(ENGINE.format(python=sys.executable, called=str(tmp_path / "called.json")))
    engine.chmod(engine.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "home" / ".greenctl").mkdir(parents=True)
    return tmp_path


def _taken(put: Put, payload: str) -> ServiceSpec | None:
    """Read a service file with the payload in its place; ``None`` when it is refused, as it should be."""
    document: dict[str, Any] = {"name": "chat", "model": {"id": "org/model"}}
    put(document, payload)
    try:
        return parse_service(json.dumps(document), "service.yaml").spec
    except InvalidSpec:
        return None


def _task(spec: ServiceSpec, engine: Path) -> SkyTask | None:
    request = LaunchRequest(
        name=f"gc-01234567-{spec.name[:20]}-aaaaaaaaaa",
        deployment_uid="0123456789abcdef",
        service=spec.name,
        intent_id="aaaaaaaaaa",
        offer=replace(offer("slurm/eu"), shape=replace(offer("slurm/eu").shape, accelerator=None)),
        model=spec.model,
        labels=spec.labels,
        secrets=spec.secrets,
        task_json=spec.passthrough_json,
    )
    try:
        return build_task(request, NodeOptions(engine=str(engine), opens_ports=False))
    except GreenctlError:
        return None


def _execute(task: SkyTask, machine: Path, payload: str) -> dict[str, Any]:
    """Run the task's own words in a shell, the payload being a secret's value as well; return what the engine saw."""
    home = machine / "home"
    (machine / "called.json").unlink(missing_ok=True)
    for remote, text in task.files.items():
        (home / remote.removeprefix("~/")).write_text(text, encoding="utf-8")
    (home / ".greenctl/key").write_text("the-key\n")
    (home / ".greenctl/secrets.json").write_text(json.dumps({"SECRET": payload.replace("\0", "")}))
    script = "\n".join(str(task.config[part]) for part in SCRIPTS if part in task.config)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], CANARY: str(machine / "canary")}
    environment |= {k: str(v) for k, v in task.config.get("envs", {}).items()}
    subprocess.run(["/bin/bash", "-c", script], env=environment, capture_output=True, timeout=60, check=False)
    called: dict[str, Any] = json.loads((machine / "called.json").read_text())
    return called


def _on(machine: Path, word: str) -> str:
    """The one word of a model that travelled along which the machine itself fills in."""
    return str(machine / "home/.greenctl/model") if word == "@HERE@/model" else word


def _distinct(tasks: Iterable[tuple[str, SkyTask]]) -> list[tuple[str, SkyTask]]:
    """Of tasks of which a machine gets the same to the last byte, one is enough.

    Most payloads that are taken go nowhere near it, or are words for SkyPilot alone, as an image is.
    """
    found: dict[str, tuple[str, SkyTask]] = {}
    for payload, task in tasks:
        reaches = {part: task.config[part] for part in REACHES_THE_MACHINE if part in task.config}
        found.setdefault(json.dumps([reaches, dict(task.files)], sort_keys=True), (payload, task))
    return list(found.values())


def test_the_corpus_is_large_enough() -> None:
    """Three hundred payloads, no two the same."""
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 300


@pytest.mark.parametrize("field", FIELDS)
def test_no_payload_in_any_field_is_run(
    field: str, machine: Path, record_property: Callable[[str, object], None]
) -> None:
    """Every payload: refused, or carried as data to where data belongs."""
    taken: list[tuple[str, SkyTask]] = []
    for payload in PAYLOADS:
        spec = _taken(FIELDS[field], payload)
        task = None if spec is None else _task(spec, machine / "engine")
        if task is not None:
            taken.append((payload, task))

    distinct = _distinct(taken)
    for payload, task in distinct:
        called = _execute(task, machine, payload)
        assert not (machine / "canary").exists(), f"{payload!r} was run"
        launch = json.loads(task.files["~/.greenctl/launch.json"])
        words = [_on(machine, word) for word in launch["argv"][1:] if not word.startswith("--host=")]
        assert [word for word in called["argv"] if not word.startswith("--host=")] == words
        assert called["env"]["SECRET"] == payload.replace("\0", "")
    record_property("injection", f"{len(PAYLOADS)} tried, {len(taken)} taken, {len(distinct)} different tasks, 0 hits")


@pytest.mark.parametrize("payload", PAYLOADS[::9])
def test_secrets_of_any_content_arrive_as_they_are(machine: Path, payload: str) -> None:
    """A value that looks like a command is a value, and no word of the engine's command line."""
    spec = _taken(_at("name"), "chat")
    assert spec is not None
    task = _task(spec, machine / "engine")
    assert task is not None
    called = _execute(task, machine, payload)

    assert called["env"]["SECRET"] == payload.replace("\0", "")
    assert called["env"]["VLLM_API_KEY"] == "the-key"
    assert not (machine / "canary").exists()
    assert all("the-key" not in word for word in called["argv"])
    if len(payload) > 8:
        assert all(payload not in word for word in called["argv"])


def test_every_task_has_the_same_words_for_the_shell() -> None:
    """What a shell reads does not depend on the file at all."""
    seen = set()
    for payload in ("org/one", "org/two-x.y"):
        spec = _taken(_at("model", "id"), payload)
        assert spec is not None
        task = _task(spec, Path("/engine"))
        assert task is not None
        seen.add((task.config["run"], task.config.get("setup")))
    assert len(seen) == 1
