"""Templates: which accelerator is of which family, and what its hardware runs."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

import orchestrator.prices
from orchestrator.domain.service import JsonScalar, ModelSpec
from orchestrator.errors import InvalidSpec, Problem
from orchestrator.spec import engine_args
from orchestrator.spec.templates import CPU_FAMILY, load_template, parse_template

TEMPLATE = load_template("vllm-openai")
FAMILIES = dict(TEMPLATE.families)

NVIDIA = [family for family in FAMILIES if family.startswith("nvidia-")]


def refused(args: dict[str, JsonScalar], family: str) -> Problem:
    """What is said of arguments that make no sense there."""
    with pytest.raises(InvalidSpec) as caught:
        TEMPLATE.args_for(ModelSpec("a/b", args=tuple(sorted(args.items()))), family)
    (problem,) = caught.value.problems
    return problem


def template(families: str) -> str:
    """A template file with these families."""
    return f"kind: EngineTemplate\nname: t\nengine: vllm\nfamilies:\n{families}"


# ── families ─────────────────────────────────────────────────────────────────────────────────────────


def test_an_accelerator_is_of_one_family() -> None:
    """Else its defaults would depend on the order of a file."""
    counted = Counter(a.casefold() for defaults in FAMILIES.values() for a in defaults.accelerators)

    assert [name for name, count in counted.items() if count > 1] == []
    assert not counted.keys() & {name.casefold() for name, _ in TEMPLATE.unsupported}


def test_every_accelerator_with_a_power_model_has_a_family_or_a_reason() -> None:
    """What the planner can choose can be launched, or the template says why not."""
    path = Path(orchestrator.prices.__file__).with_name("accelerators.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        names = {row["accelerator"] for row in rows}

    assert len(names) > 10
    for name in names - {name for name, _ in TEMPLATE.unsupported}:
        assert TEMPLATE.family_of(name) in FAMILIES


@pytest.mark.parametrize(
    ("accelerator", "family"),
    [
        (None, CPU_FAMILY),
        ("T4", "nvidia-turing"),
        ("A100-80GB", "nvidia-ampere"),
        ("a10g", "nvidia-ampere"),
        ("L4", "nvidia-ada"),
        ("H100", "nvidia-hopper"),
        ("B200", "nvidia-blackwell"),
        ("MI300X", "amd-rocm"),
        ("tpu-v6e-8", "tpu"),
    ],
)
def test_accelerators_are_found_however_they_are_written(accelerator: str | None, family: str) -> None:
    """Names are SkyPilot's, which does not look at their case either."""
    assert TEMPLATE.family_of(accelerator) == family


def test_an_unknown_accelerator_is_refused_with_those_that_are_known() -> None:
    """And with the one that was probably meant."""
    with pytest.raises(InvalidSpec) as caught:
        TEMPLATE.family_of("H1000")
    (problem,) = caught.value.problems

    assert problem.suggestion == "H100"
    assert "A100-80GB" in problem.message


def test_an_accelerator_that_the_engine_has_no_use_for_is_refused_with_the_reason() -> None:
    """Clouds still sell it."""
    with pytest.raises(InvalidSpec) as caught:
        TEMPLATE.family_of("V100")

    assert "compute capability 7.0, and this vLLM needs 7.5" in caught.value.problems[0].message


@pytest.mark.parametrize(
    ("accelerator", "count", "devices"), [(None, 0, 0), ("H100", 8, 8), ("tpu-v6e-8", 1, 8), ("tpu-v5p-8", 1, 4)]
)
def test_devices_are_what_the_engine_sees(accelerator: str | None, count: int, devices: int) -> None:
    """One slice of a TPU host is one accelerator to buy and several to run on."""
    assert FAMILIES[TEMPLATE.family_of(accelerator)].devices(accelerator, count) == devices


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gets_its_engine_and_keeps_answers(family: str) -> None:
    """Pinned packages or a pinned image; safetensors alone; running answers may finish."""
    defaults = FAMILIES[family]
    args = dict(TEMPLATE.args_for(ModelSpec("a/b"), family))

    assert bool(defaults.packages) != bool(defaults.image)
    assert all("==0.32.0" in package for package in defaults.packages)
    assert defaults.image is None or ":v0.32.0" in defaults.image
    assert args["load_format"] == "safetensors"
    assert int(str(args["shutdown_timeout"])) >= 20
    if family != CPU_FAMILY:
        assert args["enable_prefix_caching"] is True
        assert args["enable_chunked_prefill"] is True


# ── what runs where ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("family", "args", "instead"),
    [
        ("nvidia-ampere", {"quantization": "fp8_per_block"}, "nvidia-hopper"),
        ("nvidia-turing", {"quantization": "mxfp4"}, "awq"),
        ("nvidia-turing", {"kv_cache_dtype": "fp8"}, "float16"),
        ("nvidia-turing", {"dtype": "bfloat16"}, "half"),
        ("nvidia-turing", {"attention_backend": "FLASH_ATTN"}, "TRITON_ATTN"),
        ("cpu", {"quantization": "fp8"}, "int8_per_channel_weight_only"),
        ("tpu", {"quantization": "gptq"}, "compressed-tensors"),
        ("amd-rocm", {"attention_backend": "FLASHINFER"}, "ROCM_ATTN"),
        ("cpu", {"power_limit_watts": 300}, "nvidia-ada"),
    ],
)
def test_what_hardware_does_not_run_is_refused_with_what_it_does(
    family: str, args: dict[str, JsonScalar], instead: str
) -> None:
    """Before a machine is paid for."""
    problem = refused(args, family)

    assert problem.path == f"model.args.{next(iter(args))}"
    assert f"does not run on {family}" in problem.message
    assert instead in problem.message


@pytest.mark.parametrize("family", NVIDIA)
def test_the_common_quantizations_run_on_every_nvidia(family: str) -> None:
    """AWQ, GPTQ, compressed tensors, and FP8 weights: from 8.9 in hardware, below as W8A16."""
    for method in ("awq", "gptq", "compressed-tensors", "fp8"):
        assert dict(TEMPLATE.args_for(ModelSpec("a/b", args=(("quantization", method),)), family))


def test_every_quantization_of_the_list_runs_somewhere() -> None:
    """What no family runs would be a promise that nobody keeps."""
    listed = {method for defaults in FAMILIES.values() for method in dict(defaults.runs)["quantization"]}

    assert listed == set(engine_args.ARGS["quantization"].schema["enum"])


# ── arguments that contradict each other ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("args", "path", "word"),
    [
        ({"max_loras": 4}, "max_loras", "enable_lora"),
        ({"lora_modules": "a=b/c", "enable_lora": False}, "lora_modules", "enable_lora"),
        ({"spec_method": "eagle3", "spec_tokens": 3}, "spec_method", "spec_model"),
        ({"spec_method": "ngram"}, "spec_method", "spec_tokens"),
        ({"spec_method": "ngram", "spec_tokens": 3, "spec_model": "a/b"}, "spec_model", "prompt"),
        ({"spec_tokens": 3}, "spec_tokens", "spec_method"),
        ({"enable_auto_tool_choice": True}, "enable_auto_tool_choice", "tool_call_parser"),
    ],
)
def test_arguments_that_mean_nothing_together_are_refused(args: dict[str, JsonScalar], path: str, word: str) -> None:
    """vLLM would refuse them after minutes, or ignore them for ever."""
    problem = refused(args, "nvidia-ada")

    assert problem.path == f"model.args.{path}"
    assert word in problem.message


@pytest.mark.parametrize(
    "args",
    [
        {"enable_lora": True, "max_loras": 4, "max_lora_rank": 64, "lora_modules": "law=org/law sql=org/sql"},
        {"spec_method": "ngram", "spec_tokens": 4},
        {"spec_method": "mtp", "spec_tokens": 2},
        {"spec_method": "draft_model", "spec_model": "org/draft", "spec_tokens": 4},
        {"enable_auto_tool_choice": True, "tool_call_parser": "hermes"},
    ],
)
def test_arguments_that_belong_together_are_taken(args: dict[str, JsonScalar]) -> None:
    """The usual ways to speculate and to adapt."""
    model = ModelSpec("a/b", args=tuple(sorted(args.items())))

    assert args.items() <= dict(TEMPLATE.args_for(model, "nvidia-ada")).items()


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("families", "line", "column", "word"),
    [
        ("  gpu: {args: {max_modle_len: 1}}", 5, 16, "max_modle_len"),
        ("  gpu:\n    args:\n      seed: many", 7, 13, "whole number"),
        ("  gpu:\n    args:\n      trust_remote_code: true", 7, 7, "not accepted"),
        ("  gpu:\n    runs:\n      quantization: [awq, nf4]", 7, 27, "nf4"),
        ("  gpu:\n    runs:\n      quantisation: []", 7, 7, "not an engine argument"),
        ("  gpu:\n    accelerators: [L4]\n    chips: {L40: 2}", 7, 13, "not one of the accelerators"),
        ("  gpu:\n    packages: [vllm]", 6, 16, "a pinned package"),
        ("  gpu:\n    image: 'docker:a/b:c; id'", 6, 12, "a container image"),
        ("  gpu:\n    runs: {dtype: [half]}\n    args: {dtype: bfloat16}", 7, 19, "does not run here"),
    ],
)
def test_mistakes_in_a_template_are_found_with_their_place(families: str, line: int, column: int, word: str) -> None:
    """A template is checked like a service file."""
    with pytest.raises(InvalidSpec) as caught:
        parse_template(template(families), "t.yaml")
    (problem,) = caught.value.problems

    assert (problem.line, problem.column) == (line, column), problem
    assert word in f"{problem.path} {problem.message}"
