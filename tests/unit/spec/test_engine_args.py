"""Engine arguments: an allow-list, and command lines as words."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.domain.service import Engine, ModelSpec
from orchestrator.errors import InvalidSpec
from orchestrator.spec import engine_args
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.templates import load_template, parse_template

TEMPLATE = load_template("vllm-openai")
ENGINE_PYTHON = Path(__file__).parents[3] / ".venv-vllm" / "bin" / "python"

# One value per argument, and for those that are words or flags all of them.
EXAMPLES: dict[str, list[object]] = {
    "revision": ["main", "refs/pr/1", "0123456789abcdef0123456789abcdef01234567"],
    "tokenizer": ["Qwen/Qwen3-8B"],
    "tokenizer_revision": ["v1.0"],
    "tool_call_parser": ["hermes"],
    "reasoning_parser": ["deepseek_r1"],
    "spec_model": ["org/draft-1b"],
    "lora_modules": [{"sql": "org/sql-lora", "law": "org/law-lora"}],
}


def examples(name: str) -> list[object]:
    """Values that the argument takes."""
    schema = engine_args.ARGS[name].schema
    if "enum" in schema:
        return list(schema["enum"])
    if name in EXAMPLES:
        return EXAMPLES[name]
    if schema["type"] == "boolean":
        return [True, False]
    if schema["type"] in {"integer", "number"}:
        return [schema.get("minimum", 1), schema["maximum"]]
    return EXAMPLES[name]


@pytest.mark.parametrize("name", sorted(engine_args.ARGS))
def test_no_value_is_taken_for_an_option(name: str) -> None:
    """The flag comes first, and no word behind it begins with a dash: a value cannot become an option."""
    for value in examples(name):
        found = engine_args.words(name, engine_args.read(name, value))
        if name in engine_args.OURS:
            assert found == ()
            continue
        first, *more = found
        dashed = name.replace("_", "-")
        assert first.split("=")[0] in {f"--{dashed}", f"--no-{dashed}"}
        assert all(word[0].isalnum() for word in more)
        assert all(word.isascii() and " " not in word for word in [first, *more])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max-model-len", "max_model_len"),
        ("--max-model-len", "max_model_len"),
        ("max_model_length", "max_model_len"),
        ("gpu_mem_utilization", "gpu_memory_utilization"),
        ("xyzzy", None),
    ],
)
def test_an_unknown_argument_is_refused_with_the_nearest_one(name: str, meant: str | None) -> None:
    """Flags are often written with dashes, or nearly right."""
    with pytest.raises(Unreadable) as caught:
        engine_args.read(name, 1)

    assert caught.value.suggestion == meant


@pytest.mark.parametrize(
    "name", ["trust_remote_code", "--trust-remote-code", "no_trust_remote_code", "worker_cls", "api_key", "port"]
)
def test_what_must_not_be_set_is_refused_with_the_reason(name: str) -> None:
    """Running code from a model's repository is the reason for the list."""
    with pytest.raises(Unreadable, match="not accepted: it"):
        engine_args.read(name, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_model_len", "4096"),
        ("max_model_len", True),
        ("max_model_len", 0),
        ("max_model_len", -1),
        ("gpu_memory_utilization", 1.5),
        ("enforce_eager", "true"),
        ("enforce_eager", 1),
        ("dtype", "bfloat16 --trust-remote-code"),
        ("load_format", "pt"),
        ("load_format", "auto"),
        ("revision", "-x"),
        ("revision", "a b"),
        ("tokenizer", "/etc/passwd"),
        ("tool_call_parser", "/srv/parser.py"),
        ("seed", None),
        ("seed", [1]),
        ("seed", {"a": 1}),
    ],
)
def test_values_have_the_right_type_and_range(name: str, value: object) -> None:
    """Types are not converted, and pickled weights cannot be asked for."""
    with pytest.raises(Unreadable):
        engine_args.read(name, value)


def test_refused_and_known_arguments_are_apart() -> None:
    """A name on both lists would be allowed or not by accident."""
    assert not set(engine_args.ARGS) & set(engine_args.REFUSED)


# ── templates ────────────────────────────────────────────────────────────────────────────────────────


def test_the_cpu_family_has_what_replicas_on_one_machine_need() -> None:
    """Checked against what ran: eager, bfloat16, a small cache in bytes, answers that finish after SIGTERM."""
    argv = TEMPLATE.argv_for(ModelSpec("greenctl/tiny"), "cpu")

    assert argv == (
        "--dtype=bfloat16",
        "--enforce-eager",
        "--kv-cache-memory-bytes=134217728",
        "--load-format=safetensors",
        "--max-model-len=1024",
        "--max-num-seqs=32",
        "--shutdown-timeout=20",
    )


def test_a_services_own_arguments_win() -> None:
    """The template holds defaults, nothing more."""
    model = ModelSpec("a/b", args=(("enforce_eager", False), ("max_model_len", 2048), ("seed", 7)))
    argv = TEMPLATE.argv_for(model, "cpu")

    assert {"--no-enforce-eager", "--max-model-len=2048", "--seed=7"} <= set(argv)
    assert len(argv) == len({word.split("=")[0].replace("--no-", "--") for word in argv})


@pytest.mark.parametrize("family", ["quantum", "", "cpu;id"])
def test_an_unknown_family_is_refused(family: str) -> None:
    """No family, no defaults; guessing some would start something that nobody measured."""
    with pytest.raises(InvalidSpec):
        TEMPLATE.argv_for(ModelSpec("a/b"), family)


@pytest.mark.parametrize("engine", [Engine.BUILTIN, Engine.COMMAND])
def test_another_engines_model_is_refused(engine: Engine) -> None:
    """A file's own run command is never turned into a vLLM command line."""
    with pytest.raises(InvalidSpec):
        TEMPLATE.argv_for(ModelSpec("a/b", engine), "cpu")


@pytest.mark.parametrize("args", [(("trust_remote_code", True),), (("seed", "1 --api-key x"),), (("x y", 1),)])
def test_arguments_are_checked_again_where_they_become_words(args: tuple[tuple[str, object], ...]) -> None:
    """A spec may reach a launcher by another way than a file."""
    with pytest.raises(InvalidSpec):
        TEMPLATE.argv_for(ModelSpec("a/b", args=args), "cpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["vllm", "../policies/green-first", "", "nothing"])
def test_only_shipped_templates_are_loaded(name: str) -> None:
    """A name is looked up in a list, never joined to a path."""
    with pytest.raises(InvalidSpec):
        load_template(name)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("kind: EngineTemplate\nname: t\nengine: vllm", "families: missing"),
        ("kind: EngineTemplate\nname: t\nengine: sglang\nfamilies: {cpu: {}}", "engine:"),
        (
            "kind: EngineTemplate\nname: t\nengine: vllm\nfamilies: {cpu: {args: {trust_remote_code: true}}}",
            "trust_remote_code",
        ),
        ("kind: EngineTemplate\nname: t\nengine: vllm\nfamilies: {cpu: {argv: [x]}}", "argv"),
    ],
)
def test_templates_are_checked_like_services(text: str, word: str) -> None:
    """A template is data, too."""
    with pytest.raises(InvalidSpec) as caught:
        parse_template(text, "t.yaml")

    assert any(word in f"{p.path}: {p.message}" for p in caught.value.problems)


_PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
for argv in json.load(sys.stdin):
    parser.parse_args(argv)
try:
    parser.parse_args(["--no-such-flag=1"])
except SystemExit:
    print("all read")
"""

_WORDS = """
import json
from vllm.model_executor.layers import quantization
from vllm.model_executor.model_loader import _LOAD_FORMAT_TO_MODEL_LOADER
from vllm.v1.attention.backends.registry import AttentionBackendEnum
known = set(quantization.QUANTIZATION_METHODS) - set(quantization.DEPRECATED_QUANTIZATION_METHODS)
print(json.dumps({
    "quantization": sorted(known),
    "attention_backend": ["auto", *AttentionBackendEnum.__members__],
    "load_format": sorted(_LOAD_FORMAT_TO_MODEL_LOADER),
}))
"""


def asked_vllm(program: str, given: str = "") -> str:
    """What a program says that runs in vLLM's own environment."""
    done = subprocess.run(
        [ENGINE_PYTHON, "-c", program],
        input=given,
        env={"PATH": os.environ["PATH"], "VLLM_TARGET_DEVICE": "cpu", "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.engine
@pytest.mark.skipif(not ENGINE_PYTHON.exists(), reason="no vLLM environment (make env-engine)")
def test_vllm_itself_reads_every_word_that_we_write() -> None:
    """Each argument of the list, in each of its spellings, is one of this vLLM's own; so are the templates."""
    lines = [[*engine_args.words(name, engine_args.read(name, v))] for name in engine_args.ARGS for v in examples(name)]
    lines += [list(TEMPLATE.argv_for(ModelSpec("a/b"), family)) for family, _ in TEMPLATE.families]

    assert asked_vllm(_PARSE, json.dumps(lines)).endswith("all read\n")


@pytest.mark.engine
@pytest.mark.skipif(not ENGINE_PYTHON.exists(), reason="no vLLM environment (make env-engine)")
def test_vllm_knows_every_word_that_its_parser_does_not_check() -> None:
    """It takes any text for these and refuses it minutes later, on a machine that is paid for."""
    known = json.loads(asked_vllm(_WORDS).splitlines()[-1])

    for name, words in known.items():
        ours = {*engine_args.ARGS[name].schema["enum"]}
        ours |= {str(value) for _, family in TEMPLATE.families for value in dict(family.runs).get(name, ())}
        assert ours <= set(words), name
