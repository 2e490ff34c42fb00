"""What an attacker writes into a field is refused, or carried as data that nothing reads as anything else."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.domain.service import Engine
from orchestrator.errors import InvalidSpec
from orchestrator.spec.codec import spec_from_json, spec_to_json
from orchestrator.spec.service_file import LoadedSpec, parse_service, render_problems
from orchestrator.spec.templates import load_template

PAYLOADS = [
    # shells
    "; touch /tmp/canary",
    "$(touch /tmp/canary)",
    "`touch /tmp/canary`",
    "a && touch /tmp/canary",
    "a | tee /tmp/canary",
    "a > /tmp/canary",
    "a\ntouch /tmp/canary",
    "a\rtouch /tmp/canary",
    "a\0b",
    "'; touch /tmp/canary; '",
    '"; touch /tmp/canary; "',
    "\\$(touch /tmp/canary)",
    "${IFS}touch${IFS}/tmp/canary",
    "$HOME",
    "~root",
    "a{b,c}",
    "!!",
    "EOF\ntouch /tmp/canary\nEOF",
    "() { :;}; touch /tmp/canary",
    "%0atouch",
    # options
    "-rf",
    "--trust-remote-code",
    "a --trust-remote-code",
    "a=b --middleware=os.system",
    "--config=/etc/passwd",
    # templates
    "{{ 7 * 7 }}",
    "{{ cycler.__init__.__globals__.os.popen('id') }}",
    "{% include '/etc/passwd' %}",
    "${7*7}",
    "#{7*7}",
    "<%= 7*7 %>",
    "%(name)s",
    "{0.__class__}",
    "{name}",
    # YAML, JSON, SQL, paths, terminals
    "!!python/object/apply:os.system ['id']",
    "a: b",
    "a #comment",
    "*alias",
    '{"__proto__": 1}',
    "' OR 1=1 --",
    "../../../../etc/passwd",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe",
    "\u2028newline",
    "\ufeffbom",
    "a\tb",
    "\uff02\uff1b\uff44",  # full-width quote, semicolon and letter
    "x" * 5000,
]

OURS: dict[str, tuple[Any, ...]] = {
    "name": ("name",),
    "model": ("model", "id"),
    "engine": ("model", "engine"),
    "served_name": ("model", "served_name"),
    "template": ("model", "template"),
    **{
        f"args.{name}": ("model", "args", name)
        for name in (
            "revision",
            "tokenizer",
            "tokenizer_revision",
            "dtype",
            "quantization",
            "load_format",
            "kv_cache_dtype",
            "tool_call_parser",
            "reasoning_parser",
            "scheduling_policy",
            "max_model_len",
            "enforce_eager",
        )
    },
    "clients.near": ("slo", "clients", [0], "near"),
    "ttft": ("slo", "ttft_p95"),
    "availability": ("slo", "availability"),
    "residency": ("placement", "residency", [0]),
    "allow": ("placement", "allow", [0]),
    "deny": ("placement", "deny", [0]),
    "on_spot_loss": ("placement", "on_spot_loss"),
    "home": ("placement", "home"),
    "accounting": ("carbon", "accounting"),
    "factors": ("carbon", "factors"),
    "sources": ("carbon", "sources", [0]),
    "max_age": ("carbon", "max_age"),
    "when_stale": ("carbon", "when_stale"),
    "budget": ("carbon", "budget"),
    "policy": ("policy", "use"),
    "objective": ("policy", "set", "objective"),
    "extra_cost": ("policy", "set", "max_extra_cost"),
    "strategy": ("migration", "strategy"),
    "min_dwell": ("migration", "min_dwell"),
    "min_improvement": ("migration", "min_improvement"),
    "canary": ("migration", "canary", [0]),
    "drain": ("migration", "drain"),
    "error_rate": ("migration", "abort_if", "error_rate"),
    "host": ("gateway", "host"),
    "routing": ("gateway", "routing"),
    "cooldown": ("gateway", "cooldown"),
    "functional_unit": ("report", "functional_unit"),
    "label": ("report", "labels", "team"),
    "accelerators": ("resources", "accelerators"),
    "infra": ("resources", "infra"),
    "cloud": ("resources", "cloud"),
    "region": ("resources", "region"),
    "cpus": ("resources", "cpus"),
    "memory": ("resources", "memory"),
}
SKYPILOTS: dict[str, tuple[Any, ...]] = {
    "run": ("run",),
    "setup": ("setup",),
    "env": ("envs", "A"),
    "workdir": ("workdir",),
    "file_mounts": ("file_mounts", "/data"),
    "config": ("config", "docker", "run_options", [0]),
    "image": ("resources", "image_id"),
    "resource_label": ("resources", "labels", "team"),
    "probe": ("service", "readiness_probe"),
    "probe_header": ("service", "readiness_probe", "headers", "X"),
    "volumes": ("volumes", "/mnt"),
}
KEYS = {
    "labels": ("report", "labels"),
    "secrets": ("secrets",),
    "envs": ("envs",),
    "args": ("model", "args"),
    "top": (),
    "carbon": ("carbon",),
}
HARMLESS = re.compile(r"[A-Za-z0-9 ._/@:+=,*?-]*")
"""What no shell, template, option parser or terminal acts upon inside a word (a pattern of regions aside)."""


def file_with(path: tuple[Any, ...], payload: str) -> dict[str, Any]:
    """A sound file with the payload at one place."""
    base: dict[str, Any] = {"name": "a", "model": {"id": "a/b"}}
    if path[:2] == ("service", "readiness_probe") and len(path) > 2:
        base["service"] = {"readiness_probe": {"path": "/"}}
    if path[0] == "run":
        del base["model"]
    if path == ("slo", "clients", [0], "near"):
        return base | {"slo": {"clients": [{"near": payload, "weight": 1}]}}
    block: Any = base
    for part, following in pairwise(path):
        block = (
            block.setdefault(part, [{}] if isinstance(following, list) else {}) if isinstance(part, str) else block[0]
        )
    if isinstance(path[-1], list):
        block[0] = payload
    else:
        block[path[-1]] = payload
    return base


def read(data: dict[str, Any]) -> LoadedSpec | None:
    """Read it as a file; a refusal must be fit for a terminal."""
    try:
        return parse_service(json.dumps(data, ensure_ascii=True), "s.yaml")
    except InvalidSpec as error:
        lines = render_problems(error)
        assert lines
        assert all(line.isprintable() and len(line) < 600 for line in lines), lines
        return None


def words(value: object) -> Iterator[str]:
    """Every text inside, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from words(inner)


def assert_inert(loaded: LoadedSpec) -> None:
    """Whatever was accepted could be pasted anywhere, and makes a command line of the usual words."""
    document = json.loads(spec_to_json(loaded.spec))
    document.pop("passthrough_json")
    document["policy"].pop("description")
    assert all(HARMLESS.fullmatch(word) and not word.startswith("-") for word in words(document))
    if loaded.spec.model.engine is Engine.VLLM:
        argv = load_template(loaded.spec.model.template).argv_for(loaded.spec.model, "cpu")
        assert all(re.fullmatch(r"--[a-z0-9-]+(=[A-Za-z0-9][A-Za-z0-9._/-]*)?", word) for word in argv)


@pytest.mark.parametrize("path", OURS.values(), ids=OURS)
def test_our_fields_take_no_payload(path: tuple[Any, ...]) -> None:
    """Allow-lists: the few payloads that are plain names come out as plain names."""
    for payload in PAYLOADS:
        loaded = read(file_with(path, payload))
        if loaded is not None:
            assert HARMLESS.fullmatch(payload), (path, payload)
            assert_inert(loaded)


@pytest.mark.parametrize("path", SKYPILOTS.values(), ids=SKYPILOTS)
def test_skypilots_fields_carry_payloads_as_data(path: tuple[Any, ...]) -> None:
    """Its scripts are the user's own; they pass through to the byte, and reach nothing else."""
    carried = 0
    for payload in PAYLOADS:
        loaded = read(file_with(path, payload))
        if loaded is not None:
            carried += 1
            assert payload in words(json.loads(loaded.spec.passthrough_json))
            assert spec_from_json(spec_to_json(loaded.spec)) == loaded.spec
            assert_inert(loaded)
    assert carried > 20


@pytest.mark.parametrize("path", KEYS.values(), ids=KEYS)
def test_keys_take_no_payload(path: tuple[str, ...]) -> None:
    """Names of labels, variables and arguments have grammars, too."""
    for payload in PAYLOADS:
        value = None if path == ("secrets",) else "x"
        loaded = read(file_with((*path, payload), value))  # type: ignore[arg-type]
        if loaded is not None:
            assert HARMLESS.fullmatch(payload), payload
            assert_inert(loaded)
