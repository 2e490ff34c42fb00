"""The arguments of ``vllm serve`` that a service file may set, with types and ranges.

An allow-list: what is not here is refused, because among the other flags are ones that run code from a model's
repository, load Python classes by name, open files of the machine or listen elsewhere. Names and words were checked
against ``vllm serve --help=all`` of 0.32.0; ranges are the sensible ones, narrower than vLLM's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from orchestrator.domain.service import JsonScalar
from orchestrator.spec import forms
from orchestrator.spec.forms import Form
from orchestrator.spec.grammar import HUB_ID_PATTERN, Unreadable
from orchestrator.spec.words import nearest

_GIB = 2**30
_PARSER_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,39}$"
_REVISION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,99}$"
_PARSER = forms.pattern(_PARSER_PATTERN, "the name of a parser", "hermes")
_REVISION = forms.pattern(_REVISION_PATTERN, "a branch, a tag or a commit", "main")

_ADAPTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HUB_ID = re.compile(HUB_ID_PATTERN)
_MODULES_SCHEMA = {"type": ["object", "string"], "additionalProperties": {"type": "string", "pattern": HUB_ID_PATTERN}}


def _read_modules(value: object) -> str:
    """Read adapters, by name the hub id of each; kept as ``name=id`` with spaces between."""
    if isinstance(value, str):
        value = dict(word.partition("=")[::2] for word in value.split(" "))
    if not isinstance(value, dict) or not value:
        raise Unreadable("write the adapters' hub ids by name, like {sql: org/qwen3-8b-sql-lora}")
    for name, hub_id in value.items():
        if not isinstance(name, str) or not _ADAPTER.fullmatch(name):
            raise Unreadable("the name of an adapter is letters, digits, dots, dashes")
        if not isinstance(hub_id, str) or not _HUB_ID.fullmatch(hub_id):
            raise Unreadable(f"adapter {name}: this is not a hub id like org/qwen3-8b-sql-lora")
    return " ".join(f"{name}={hub_id}" for name, hub_id in sorted(value.items()))


ARGS: Final[dict[str, Form]] = {
    # the model and its numbers
    "revision": _REVISION,
    "tokenizer": forms.pattern(HUB_ID_PATTERN, "the hub id of a tokenizer", "Qwen/Qwen3-8B"),
    "tokenizer_revision": _REVISION,
    "dtype": forms.choice(("auto", "bfloat16", "float16", "half", "float32", "float")),
    # bitsandbytes (NF4) and GGUF left vLLM before 0.32; fbgemm_fp8 is deprecated there and refused.
    "quantization": forms.choice(
        (
            "awq",
            "awq_marlin",
            "gptq",
            "gptq_marlin",
            "compressed-tensors",
            "fp8",
            "fp8_per_tensor",
            "fp8_per_block",
            "fp8_per_channel",
            "int8_per_channel_weight_only",
            "modelopt",
            "modelopt_fp4",
            "modelopt_mxfp8",
            "mxfp4",
            "mxfp8",
            "moe_wna16",
            "quark",
        )
    ),
    # Only formats on top of safetensors: the others unpickle, which runs code from the checkpoint.
    "load_format": forms.choice(("safetensors", "runai_streamer", "mistral")),
    "max_model_len": forms.whole(16, 16_777_216),
    "seed": forms.whole(0, 2**32 - 1),
    "generation_config": forms.choice(("auto", "vllm")),
    "enforce_eager": forms.flag(),
    "disable_sliding_window": forms.flag(),
    "max_logprobs": forms.whole(0, 1000),
    "language_model_only": forms.flag(),
    # memory
    "gpu_memory_utilization": forms.number(0.05, 0.99),
    "kv_cache_memory_bytes": forms.whole(2**20, 1024 * _GIB),
    "kv_cache_dtype": forms.choice(("auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2")),
    "block_size": forms.whole(1, 1024),
    "cpu_offload_gb": forms.number(0, 4096),
    "enable_prefix_caching": forms.flag(),
    "prefix_caching_hash_algo": forms.choice(("sha256", "sha256_cbor")),
    # the scheduler
    "attention_backend": forms.choice(
        ("auto", "FLASH_ATTN", "FLASHINFER", "TRITON_ATTN", "FLEX_ATTENTION", "CPU_ATTN", "ROCM_ATTN", "ROCM_AITER_FA")
    ),
    "max_num_seqs": forms.whole(1, 65_536),
    "max_num_batched_tokens": forms.whole(16, 16_777_216),
    "max_num_queued_reqs": forms.whole(1, 1_000_000),
    "enable_chunked_prefill": forms.flag(),
    "long_prefill_token_threshold": forms.whole(0, 16_777_216),
    "scheduling_policy": forms.choice(("fcfs", "priority")),
    "async_scheduling": forms.flag(),
    "stream_interval": forms.whole(1, 1024),
    "performance_mode": forms.choice(("balanced", "interactivity", "throughput")),
    # several accelerators
    "tensor_parallel_size": forms.whole(1, 64),
    "pipeline_parallel_size": forms.whole(1, 64),
    "data_parallel_size": forms.whole(1, 64),
    "enable_expert_parallel": forms.flag(),
    # adapters: LORA_MODULES is read here, the numbers go to the engine as they are
    "enable_lora": forms.flag(),
    "max_loras": forms.whole(1, 1024),
    "max_cpu_loras": forms.whole(1, 4096),
    "max_lora_rank": forms.whole_of(1, 8, 16, 32, 64, 128, 256, 320, 512),
    "fully_sharded_loras": forms.flag(),
    "lora_modules": Form(_read_modules, _MODULES_SCHEMA),
    # speculative decoding; the method "suffix" needs a package that vLLM does not bring
    "spec_method": forms.choice(("ngram", "eagle", "eagle3", "medusa", "mtp", "draft_model")),
    "spec_model": forms.pattern(HUB_ID_PATTERN, "the hub id of a draft model", "RedHatAI/Qwen3-8B-speculator.eagle3"),
    "spec_tokens": forms.whole(1, 64),
    # answers
    "enable_auto_tool_choice": forms.flag(),
    "tool_call_parser": _PARSER,
    "reasoning_parser": _PARSER,
    "enable_prompt_tokens_details": forms.flag(),
    # the server
    "shutdown_timeout": forms.whole(0, 3600),
    "enable_server_load_tracking": forms.flag(),
    # not the engine's: see OURS
    "power_limit_watts": forms.whole(50, 2000),
}
"""Name (vLLM's flag with underscores) to form."""

OURS: Final = frozenset({"power_limit_watts"})
"""What our own program on the machine reads, and no engine: a cap for each accelerator, where the machine allows it."""

REFUSED: Final[dict[str, str]] = {
    "trust_remote_code": "would run Python code from the model's repository on a machine that holds your keys",
    "model": "is model.id",
    "served_model_name": "is model.served_name",
    "host": "is set by greenctl: the gateway must find the replica",
    "port": "is set by greenctl: the gateway must find the replica",
    "uds": "is set by greenctl: the gateway must find the replica",
    "root_path": "is set by greenctl: the gateway must find the replica",
    "api_key": "would stand on a command line that every user of the machine can read; greenctl makes its own",
    "hf_token": "would stand on a command line that every user of the machine can read; write it under secrets",
    "config": "would read further flags from a file past this check",
    "download_dir": "is set by greenctl: weights share one cache",
    "middleware": "would import Python code by name",
    "worker_cls": "would import Python code by name",
    "worker_extension_cls": "would import Python code by name",
    "scheduler_cls": "would import Python code by name",
    "logits_processors": "would import Python code by name",
    "model_class_overrides": "would import Python code by name",
    "tool_parser_plugin": "would import Python code by name",
    "reasoning_parser_plugin": "would import Python code by name",
    "io_processor_plugin": "would import Python code by name",
    "chat_template": "would read a file of the machine as a template; use the model's own",
    "trust_request_chat_template": "would let any client send a template",
    "allowed_local_media_path": "would let clients read files of the machine",
    "enable_sleep_mode": "is greenctl's business",
    "enable_log_requests": "would write prompts into log files",
    "enable_log_outputs": "would write answers into log files",
}
"""Flags that people ask for, and why they may not be set."""


def read(name: str, value: object) -> JsonScalar:
    """Return the value of one argument, typed. Raises ``Unreadable``."""
    word = name.lstrip("-").replace("-", "_")
    if word in REFUSED or word.removeprefix("no_") in REFUSED:
        raise Unreadable(f"not accepted: it {REFUSED.get(word) or REFUSED[word.removeprefix('no_')]}")
    if name not in ARGS:
        raise Unreadable("not an engine argument that greenctl knows", word if word in ARGS else nearest(word, ARGS))
    found = ARGS[name].read(value)
    if not isinstance(found, (str, int, float, bool)):
        raise TypeError(f"form of {name} reads {type(found).__name__}")
    return found


def words(name: str, value: JsonScalar) -> tuple[str, ...]:
    """Return command-line words, ``--max-model-len=1024``: a value can never be taken for an option of its own."""
    dashed = name.replace("_", "-")
    if name in OURS:
        return ()
    if isinstance(value, bool):
        return (f"--{dashed}" if value else f"--no-{dashed}",)
    if name == "lora_modules":  # takes several words, each of which begins with a letter or a digit
        return (f"--{dashed}", *str(value).split(" "))
    return (f"--{dashed}={value}",)


_FOR_ADAPTERS = ("lora_modules", "max_loras", "max_cpu_loras", "max_lora_rank", "fully_sharded_loras")
_WITH_A_DRAFT = ("eagle", "eagle3", "medusa", "draft_model")


def contradictions(args: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield each argument that makes no sense beside the others, and why: vLLM would refuse it, or ignore it."""
    if not args.get("enable_lora"):
        yield from ((name, "needs enable_lora: true") for name in _FOR_ADAPTERS if name in args)
    method, model = args.get("spec_method"), args.get("spec_model")
    if method is None:
        yield from ((name, "needs spec_method") for name in ("spec_model", "spec_tokens") if name in args)
    if method in _WITH_A_DRAFT and model is None:
        yield "spec_method", f"{method} needs spec_model, the hub id of what drafts"
    if method == "ngram" and model is not None:
        yield "spec_model", "ngram finds its drafts in the prompt, without a model"
    if method == "ngram" and "spec_tokens" not in args:
        yield "spec_method", "ngram needs spec_tokens, the length of a draft"
    if args.get("enable_auto_tool_choice") and "tool_call_parser" not in args:
        yield "enable_auto_tool_choice", "needs tool_call_parser"


def schema() -> dict[str, Any]:
    """Describe ``model.args`` as JSON Schema."""
    properties = {name: form.schema for name, form in ARGS.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}
