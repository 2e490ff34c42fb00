"""Promises of the spec package over all inputs."""

import contextlib
import json
import re
import types
import typing
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.service import JsonScalar, Policy, ServiceSpec
from orchestrator.errors import InvalidSpec
from orchestrator.spec import grammar
from orchestrator.spec.codec import canonical, spec_digest, spec_from_json, spec_to_json
from orchestrator.spec.policy_file import parse_policy
from orchestrator.spec.scaffold import scaffold
from orchestrator.spec.service_file import LoadedSpec, load_service_file, parse_service, render_problems
from orchestrator.spec.yaml_scalars import BadScalar, resolve
from tests import hypothesis_profiles

# ── values ───────────────────────────────────────────────────────────────────────────────────────────

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
SCALARS: dict[object, st.SearchStrategy[object]] = {
    str: TEXT,
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    timedelta: st.timedeltas(timedelta(0), timedelta(days=366)),
    datetime: st.datetimes().map(lambda d: d.replace(fold=0)),  # clock times, which count the first time they come
    type(None): st.none(),
}


def values_of(kind: object) -> st.SearchStrategy[object]:
    """Values of a domain type, built from its annotations: a new field is covered on the day it is added."""
    if kind in SCALARS:
        return SCALARS[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{f.name: values_of(hints[f.name]) for f in fields(kind)})  # type: ignore[arg-type]
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        return st.one_of([values_of(a) for a in arguments])
    assert typing.get_origin(kind) is tuple, kind
    if arguments[-1] is Ellipsis:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    return st.tuples(*(values_of(a) for a in arguments))


SPECS = values_of(ServiceSpec)


@given(SPECS)
def test_a_spec_comes_back_from_json_as_it_was(spec: ServiceSpec) -> None:
    """Every field, to the last bit and microsecond, and of the same type."""
    back = spec_from_json(spec_to_json(spec))

    assert back == spec
    assert repr(back) == repr(spec)
    assert spec_digest(back) == spec_digest(spec)


@given(SPECS)
def test_canonical_json_is_one_line_of_sorted_keys(spec: ServiceSpec) -> None:
    """Reading and writing it again changes nothing, so a digest can be recomputed by anybody."""
    text = spec_to_json(spec)

    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False) == text


@given(SPECS, SPECS)
def test_different_specs_have_different_digests(one: ServiceSpec, other: ServiceSpec) -> None:
    """Twelve digits tell them apart exactly when their canonical text does."""
    assert (spec_digest(one) == spec_digest(other)) == (canonical(one) == canonical(other))


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────

SERVICE = """\
apiVersion: greenctl/v1
name: chat
model: {id: Qwen/Qwen3-8B, args: {max_model_len: 4096, dtype: auto}}
resources: &machine
  accelerators: {L4:1, L40S:1}
  use_spot: yes
service:
  readiness_probe: {path: /health, initial_delay_seconds: 60}
  replica_policy: {min_replicas: 2, max_replicas: 8}
secrets: {HF_TOKEN: null}
slo: {ttft_p95: 800ms, availability: 99.9%, clients: [{near: eu, weight: 1}]}
placement: {residency: [EU], allow: [aws/eu-*], deny: [aws/eu-south-*], max_per_region: 2}
carbon: {accounting: average, max_age: 90m, budget: 25kg/month, sources: [static]}
policy: {use: green-first, set: {max_extra_cost: 15%, price_cap: 0.35}}
migration: {min_dwell: 2h, canary: [10%, 100%], abort_if: {error_rate: 1%}}
gateway: {host: chat.example.net, retries: 1, resume_streams: true}
report: {functional_unit: 1000 output tokens, labels: {team: a}}
config: {more: *machine}
"""
WORDS = st.sampled_from(
    [
        "name",
        "model",
        "id",
        "engine",
        "args",
        "resources",
        "accelerators",
        "service",
        "replica_policy",
        "min_replicas",
        "max_replicas",
        "slo",
        "clients",
        "near",
        "weight",
        "placement",
        "allow",
        "deny",
        "carbon",
        "budget",
        "policy",
        "use",
        "set",
        "rules",
        "migration",
        "canary",
        "gateway",
        "labels",
        "report",
        "run",
        "envs",
        "secrets",
        "max_model_len",
        "trust_remote_code",
        "any_of",
        "infra",
        "<<",
        "null",
        "true",
        "yes",
        "15%",
        "2h",
        "-1",
        "0x1F",
        "1e999",
        ".nan",
        "a/b",
        "./a",
        "aws/*",
        "25kg/month",
    ]
)
MARKS = st.sampled_from(
    [*"{}[],:?-&*!|>'\"%@`#~\\ \n\t\r\x00\x85\u2028\ufeff\ud800", ": ", "\n  ", "<<: ", "---\n", "&a ", "*a", "!!str "]
)


def parsed(text: str) -> LoadedSpec | None:
    """Read a text; the only error that may come out is one that can be shown."""
    try:
        return parse_service(text, "s.yaml")
    except InvalidSpec as refusal:
        error = refusal
    lines = 1 + sum(text.count(end) for end in ("\n", "\r", "\x85", "\u2028", "\u2029"))
    assert error.problems
    for problem, line in zip(error.problems, render_problems(error), strict=True):
        assert line.isprintable()
        assert problem.line is None or 1 <= problem.line <= lines
        assert problem.column is None or problem.column >= 1
    return None


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Any text is a spec or an InvalidSpec."""
    parsed(text)


@given(st.lists(st.one_of(WORDS, MARKS), max_size=60).map("".join))
def test_no_mixture_of_our_words_and_yamls_marks_breaks_the_reader(text: str) -> None:
    """As above, nearer to what the grammar looks at."""
    parsed(text)


@given(st.data())
def test_no_slip_in_a_good_file_breaks_the_reader(data: st.DataObject) -> None:
    """Cut, double or replace any part of a sound file."""
    start = data.draw(st.integers(0, len(SERVICE)))
    end = data.draw(st.integers(start, min(len(SERVICE), start + 40)))
    middle = data.draw(st.one_of(st.just(""), WORDS, MARKS, st.just(SERVICE[start:end] * 2)))

    parsed(SERVICE[:start] + middle + SERVICE[end:])


KEYS = st.one_of(WORDS, st.text(max_size=5))
TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), WORDS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, TREES, max_size=6), st.booleans())
def test_no_structure_breaks_the_reader(tree: dict[str, object], sound: bool) -> None:
    """Values of every shape at every key, alone and inside a sound file."""
    base = {"name": "a", "model": {"id": "a/b"}} if sound else {}

    loaded = parsed(json.dumps(base | tree))

    if loaded is not None:
        assert spec_from_json(spec_to_json(loaded.spec)) == loaded.spec


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader_of_policies(text: str) -> None:
    """Policies are files of strangers, too."""
    for candidate in (text, f"kind: Policy\nname: a\nobjective: {text}"):
        with contextlib.suppress(InvalidSpec):
            parse_policy(candidate, "p.yaml")


UNSHARED = SERVICE.replace(" &machine", "").replace("config: {more: *machine}\n", "")
TOP_LEVEL = re.split(r"\n(?=\S)", UNSHARED.strip())


@given(st.permutations(TOP_LEVEL))
def test_the_order_of_keys_means_nothing(blocks: list[str]) -> None:
    """Files that say the same have the same digest."""
    loaded = parsed("\n".join(blocks))

    assert loaded is not None
    assert loaded.digest == parse_service(UNSHARED, "s").digest


# ── single values ────────────────────────────────────────────────────────────────────────────────────

PLAIN = st.one_of(
    st.from_regex(r"[-+0-9.eExob_:]{1,12}", fullmatch=True),
    st.from_regex(r"[0-9]{1,4}-[0-9]{1,2}-[0-9]{1,2}([Tt ][0-9:.Z]{0,9})?", fullmatch=True),
    st.sampled_from(
        ["yes", "No", "ON", "off", "True", "false", "NULL", "~", "y", "n", "=", "nan", ".NaN", "-.inf", "1e3"]
    ),
    st.from_regex(r"[A-Za-z0-9.+%/-]{1,10}", fullmatch=True),
)


@given(PLAIN.map(str.strip))
def test_skypilots_parser_reads_plain_words_as_we_do(word: str) -> None:
    """Whatever we take for SkyPilot's blocks, PyYAML (which SkyPilot uses) takes for the same value."""
    try:
        ours = resolve(word, as_skypilot=True)
        theirs = yaml.safe_load(f"- {word}")
    except (BadScalar, yaml.YAMLError, ValueError):
        return
    if isinstance(theirs, list) and len(theirs) == 1 and isinstance(theirs[0], (str, int, float, bool, type(None))):
        assert (ours, type(ours)) == (theirs[0], type(theirs[0]))


@given(st.sampled_from(["ms", "s", "m", "h", "d"]), st.integers(0, 366 * 24 * 60))
def test_durations_are_exact(unit: str, count: int) -> None:
    """No unit loses a millisecond."""
    milliseconds = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}[unit]
    if count * milliseconds <= 366 * 86_400_000:
        assert grammar.duration(f"{count}{unit}") == timedelta(milliseconds=count * milliseconds)


@given(st.from_regex(grammar.NAME_PATTERN, fullmatch=True), st.from_regex(grammar.HUB_ID_PATTERN, fullmatch=True))
def test_every_name_and_model_that_we_take_can_be_scaffolded(tmp_path_factory: object, name: str, model: str) -> None:
    """What init writes is never what validate refuses."""
    if name.endswith("\n") or model.endswith("\n") or ".." in model:
        return
    folder = tmp_path_factory.mktemp("svc")  # type: ignore[attr-defined]

    spec = load_service_file(scaffold(folder, name, model, force=True)[0]).spec

    assert (spec.name, spec.model.id) == (name, model)
    assert replace(spec, policy=Policy()).policy == Policy()


def test_the_profile_is_in_force() -> None:
    """How hard to search is decided in one place."""
    assert settings.get_current_profile_name() == hypothesis_profiles.PROFILE


def test_the_scalars_of_the_domain_are_the_ones_above() -> None:
    """The strategies cover engine arguments of every type."""
    assert set(typing.get_args(JsonScalar)) <= set(SCALARS)
