"""The models of replicas that ship with the package: fitted where somebody has measured, else told by size. Pure.

``replicas.csv`` and ``efficiencies.json`` are made by ``infra/fit/replicas.py`` and are read once. A model whose size
its name does not tell, or an accelerator without a data sheet, has no model: its capacity is unknown, not average.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from orchestrator.domain.hardware import PowerModel, Shape
from orchestrator.domain.model_names import size_in
from orchestrator.domain.service import ModelSpec
from orchestrator.errors import InvalidSettings
from orchestrator.planner.sizing.replica_model import Knowledge, ReplicaModel

FITTED: Final = Path(__file__).with_name("replicas.csv")
EFFICIENCIES: Final = Path(__file__).with_name("efficiencies.json")

USABLE_MEMORY = 0.9
"""vLLM's default ``gpu_memory_utilization``."""

PREFILL_ELSEWHERE = "H100"
"""Whose share of peak compute is taken for parts on which nobody has timed prefill."""

_GIB: Final = 2**30
_BYTES: Final = {"bfloat16": 2.0, "fp8": 1.0, "mxfp4": 0.5313}
_VARIANT = re.compile(r"-(Instruct|Thinking|FP8|2507|it|BF16)(?=-|$)")


@dataclass(frozen=True, slots=True)
class Rules:
    """The law that tells a model by its size: seconds per step, and shares of bandwidth and compute that it reaches.

    ``between_accelerators``: on top of ``step_overhead``, on more than one. ``per_sequence``: of each step.
    ``kv_bytes``: per token of a model of 8 billion weights, dense and mixture. ``sheets``: bytes of memory, bytes per
    second and dense 16-bit FLOP per second by accelerator (data sheets).
    """

    step_overhead: float
    between_accelerators: float
    per_sequence: float
    memory_efficiency: float
    compute_efficiency: float
    kv_bytes: tuple[float, float]
    prefill_efficiency: Mapping[str, float]
    error_fraction: float
    sheets: Mapping[str, tuple[float, float, float]]
    source: str


@lru_cache(maxsize=1024)
def replica_model(model: ModelSpec, shape: Shape) -> ReplicaModel | None:
    """Return the model of one replica: fitted if this setup was measured, else modelled, else ``None``.

    Raises ``InvalidSettings`` with file and line when the packaged tables were damaged.
    """
    precision = _precision(model)
    if shape.accelerator is None or shape.accelerator_count < 1 or precision is None:
        return None
    args = dict(model.args)
    parallel = args.get("tensor_parallel_size")
    rows = [
        m
        for (family, bits, accelerator, count, width), m in fitted().items()
        if (family, bits) == (family_of(model.id), precision)
        and (accelerator.casefold(), count) == (shape.accelerator.casefold(), shape.accelerator_count)
        and parallel in {None, width, count}
    ]
    return rows[0] if rows else _by_size(model, shape.accelerator, shape.accelerator_count, precision)


def accelerator_memory_gib(shape: Shape) -> float | None:
    """Return the memory of all of a shape's accelerators by their data sheet; ``None`` where there is none."""
    name = (shape.accelerator or "").casefold()
    sheet = next((s for known, s in rules().sheets.items() if known.casefold() == name), None)
    return None if sheet is None else sheet[0] * shape.accelerator_count / _GIB


def family_of(model_id: str) -> str:
    """Return a model's name without what does not change its architecture: tuning, precision, date."""
    return _VARIANT.sub("", model_id)


@cache
def fitted() -> Mapping[tuple[str, str, str, int, int], ReplicaModel]:
    """Read the measured setups, by family, precision, accelerator, count and tensor parallelism."""
    return read_fitted(FITTED)


def read_fitted(path: Path) -> Mapping[tuple[str, str, str, int, int], ReplicaModel]:
    """Read a table of the packaged layout. Raises ``InvalidSettings`` with file and line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = sum(line.startswith("#") for line in lines)
    found = {}
    for number, row in enumerate(csv.DictReader(lines[comments:]), start=comments + 2):
        try:
            count = int(row["count"])
            key = (row["model"], row["precision"], row["accelerator"], count, int(row["tensor_parallel"]))
            found[key] = _from_row(row, count)
        except (KeyError, TypeError, ValueError) as error:
            message = f"{path.name}:{number}: {error}"
            raise InvalidSettings(message) from error
    return found


@cache
def rules() -> Rules:
    """Read what tells a model by its size. Raises ``InvalidSettings``."""
    try:
        read = json.loads(EFFICIENCIES.read_text(encoding="utf-8"))
        sheets = {n: (s["memory_bytes"], s["bytes_per_s"], s["flop_per_s"]) for n, s in read["sheets"].items()}
        return Rules(
            read["step_overhead_s"],
            read["between_accelerators_s"],
            read["per_sequence_s"],
            read["memory_efficiency"],
            read["compute_efficiency"],
            (read["kv_bytes_per_token_dense_8b"], read["kv_bytes_per_token_sparse_8b"]),
            read["prefill_efficiency"],
            read["tau_error_fraction"],
            sheets,
            f"size and data sheet, by the law of {read['families']} measured families",
        )
    except (KeyError, TypeError, ValueError) as error:
        message = f"{EFFICIENCIES.name}: {error}"
        raise InvalidSettings(message) from error


def _from_row(row: Mapping[str, str], count: int) -> ReplicaModel:
    power = PowerModel(
        idle_watts=float(row["idle_watts"]) * count,
        full_watts=float(row["full_watts"]) * count,
        knee_batch=float(row["knee_batch"]),
        method=f"fitted to {row['points']} points",
        uncertainty_fraction=float(row["power_error_fraction"]),
        source="ML.ENERGY",
    )
    return ReplicaModel(
        name=f"{row['model']} {row['precision']} on {count}x{row['accelerator']}",
        tau0=float(row["tau0_s"]),
        tau1=float(row["tau1_s"]),
        tau2=float(row["tau2_s_per_token"]),
        prefill_tokens_per_second=float(row["prefill_tokens_per_s"]),
        kv_tokens=int(row["kv_tokens"]) if row["kv_tokens"] else None,
        accelerator_power=power,
        knowledge=Knowledge.FITTED,
        error_fraction=float(row["tau_error_fraction"]),
        source=f"ML.ENERGY, {row['points']} points of batch {row['batch_from']} to {row['batch_to']}",
    )


def _by_size(model: ModelSpec, accelerator: str, count: int, precision: str) -> ReplicaModel | None:
    """Tell a model by the billions in its name: weights are read once per step, and each token takes 2 N FLOP.

    A mixture of experts reads all of its weights at the batches that capacity is about. How much KV a token takes is
    told by size, too, until the engine says how much room it has.
    """
    law = rules()
    sheet = next((s for name, s in law.sheets.items() if name.casefold() == accelerator.casefold()), None)
    size = size_in(model.id.rpartition("/")[2])
    if sheet is None or size is None:
        return None
    memory, bandwidth, flops = sheet
    billions, active = size.billions, size.billions if size.active is None else size.active
    weights = billions * 1e9 * _BYTES[precision]
    room = memory * count * USABLE_MEMORY - weights
    if weights <= 0 or active <= 0 or room <= 0:
        return None
    kv_bytes = law.kv_bytes[size.active is not None] * (billions / 8) ** (1 / 3)
    read_rate = bandwidth * count * law.memory_efficiency
    prefill = law.prefill_efficiency.get(accelerator, law.prefill_efficiency[PREFILL_ELSEWHERE])
    return ReplicaModel(
        name=f"{model.id} {precision} on {count}x{accelerator}",
        tau0=law.step_overhead + (law.between_accelerators if count > 1 else 0.0) + weights / read_rate,
        tau1=law.per_sequence + 2 * active * 1e9 / (flops * count * law.compute_efficiency),
        tau2=kv_bytes / read_rate,
        prefill_tokens_per_second=prefill * flops * count / (2 * active * 1e9),
        kv_tokens=int(room / kv_bytes) if kv_bytes else None,
        accelerator_power=None,
        knowledge=Knowledge.MODELLED,
        error_fraction=law.error_fraction,
        source=law.source,
    )


def _precision(model: ModelSpec) -> str | None:
    """Return in what its weights are kept; ``None`` where that is none of those that were measured."""
    args = dict(model.args)
    written = args.get("quantization")
    if written is not None:
        return "fp8" if written == "fp8" else None
    name = model.id.casefold()
    if "gpt-oss" in name:
        return "mxfp4"
    if re.search(r"fp8", name):
        return "fp8"
    if re.search(r"awq|gptq|int4|int8|w4a16|w8a8|gguf|bnb|nf4|fp4", name):
        return None
    return "bfloat16"
