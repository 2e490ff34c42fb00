"""Fit the model of a replica to measurements, and write the tables that ship with the planner.

    python -m infra.fit.replicas --data DIR

``DIR/energy/llm_energy_measured.csv`` holds throughput and power of vLLM by batch (ML.ENERGY's benchmark),
``DIR/energy/splitwise_perf_power.csv.gz`` prefill times, ``DIR/accelerators/accelerators.csv`` data sheets. Only what
follows from them is written: parameters, errors and their source. The same data give the same bytes.

Method. Decode step time ``tau = b / throughput`` is fitted as ``tau0 + tau1 b + tau2 b l`` with ``l`` half the mean
output (prompts of these tasks are short and not recorded), by least squares of relative errors under ``>= 0``. Where a
model was measured at one length only, ``tau2`` is what reading its KV cache takes at the data sheet's bandwidth, or 0
where its architecture is not in the table below. Power is ``idle + (full - idle)(1 - exp(-b/knee))`` with the idle
power of ``orchestrator/prices/accelerators.csv``. Models that were not measured are told by one law of size and data
sheet, and the error claimed for them is that of predicting each family from all others.
"""
# a script of the repository, not an installed package

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

Row = dict[str, Any]
"""One line of a table that is written, by column."""

ROOT = Path(__file__).parents[2]
POWER_TABLE = ROOT / "orchestrator" / "prices" / "accelerators.csv"
OUT = ROOT / "orchestrator" / "planner" / "sizing"

TEXT_TASKS = frozenset({"lm-arena-chat", "gpqa", "sourcegraph-fim"})
"""Tasks of text alone: pictures and films are paid for in prefill, of which the table says nothing."""

LEAST_POINTS = 4
"""Fewer than one more than there are parameters fit anything."""

LENGTHS_APART = 2.0
"""Outputs this many times as long tell how much a longer context costs."""

FULL_BATCH = 32
"""From here on a mixture's experts are all asked for: the batches that capacity is about."""

BYTES = {"bfloat16": 2.0, "fp8": 1.0, "mxfp4": 0.5313}
"""Per weight; mxfp4: 4 bits and a shared scale of 8 bits for each 32 (OCP Microscaling formats, version 1.0)."""

USABLE_MEMORY = 0.9
"""vLLM's default ``gpu_memory_utilization`` (0.9; 0.92 in newer releases)."""

KV_BYTES = {
    "Qwen/Qwen3-8B": 2 * 36 * 8 * 128 * 2,
    "Qwen/Qwen3-14B": 2 * 40 * 8 * 128 * 2,
    "Qwen/Qwen3-30B-A3B": 2 * 48 * 4 * 128 * 2,
    "Qwen/Qwen3-Coder-30B-A3B": 2 * 48 * 4 * 128 * 2,
    "Qwen/Qwen3-235B-A22B": 2 * 94 * 4 * 128 * 2,
    "Qwen/Qwen3-Coder-480B-A35B": 2 * 62 * 8 * 128 * 2,
    "meta-llama/Llama-3.1-8B": 2 * 32 * 8 * 128 * 2,
    "meta-llama/Llama-3.3-70B": 2 * 80 * 8 * 128 * 2,
    "meta-llama/Llama-3.1-405B": 2 * 126 * 8 * 128 * 2,
    "deepseek-ai/DeepSeek-V3.1": 61 * (512 + 64) * 2,
    "deepseek-ai/DeepSeek-R1-0528": 61 * (512 + 64) * 2,
    "openai/gpt-oss-20b": 2 * 24 * 8 * 64 * 2,
}
"""Bytes of KV cache per token: 2 x layers x KV heads x head size x 2 bytes, from each model's published config.json
(DeepSeek: its compressed latent and rotary part). Typed in; an upper bound where some layers look at a window only."""


@dataclass(frozen=True)
class Point:
    """One measurement: mean batch, step time (s), half the output (tokens), watts of one accelerator."""

    batch: float
    tau: float
    context: float
    watts: float


@dataclass(frozen=True)
class Setup:
    """What was measured: a family of models of one architecture, on so many accelerators."""

    family: str
    precision: str
    accelerator: str
    count: int
    tensor_parallel: int


@dataclass(frozen=True)
class Sheet:
    """A data sheet: bytes of memory, bytes/s, dense 16-bit FLOP/s, and idle watts of a loaded engine."""

    memory: float
    bandwidth: float
    flops: float
    idle: float


def main(argv: Sequence[str] | None = None) -> int:
    """Fit and write both tables; say what came out. Exits with 2 and a sentence when the data are not there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with energy/ and accelerators/")
    data: Path = parser.parse_args(argv).data
    try:
        sheets = read_sheets(data / "accelerators" / "accelerators.csv")
        points, sizes = read_points(data / "energy" / "llm_energy_measured.csv")
        prefill = prefill_efficiency(data / "energy" / "splitwise_perf_power.csv.gz", sheets)
        fits = [fit(s, p, sizes[s], sheets, prefill) for s, p in sorted(points.items(), key=lambda kv: str(kv[0]))]
        rules = efficiencies(sizes, points, sheets, prefill)
    except (OSError, KeyError, ValueError) as error:
        sys.stderr.write(f"{parser.prog}: {type(error).__name__}: {error}\n--data names a folder as infra/fit says.\n")
        return 2
    write_fits(OUT / "replicas.csv", fits)
    (OUT / "efficiencies.json").write_text(json.dumps(rules, indent=1) + "\n", encoding="utf-8")
    errors = [f["tau_error_fraction"] for f in fits]
    sys.stdout.write(
        f"{len(fits)} setups, {sum(f['points'] for f in fits)} points: step time {fmean(errors):.1%} mean error "
        f"(worst setup {max(errors):.1%}), power {fmean(f['power_error_fraction'] for f in fits):.1%}\n"
        f"not measured: step time {rules['tau_error_fraction']:.1%}, each family from all others "
        f"({rules['tau_error_fraction_full']:.1%} from batch {FULL_BATCH} on)\n"
    )
    return 0


def family_of(model: str) -> str:
    """Return the model's name without what does not change its architecture."""
    return re.sub(r"-(Instruct|Thinking|FP8|2507|it|BF16)(?=-|$)", "", model)


def read_sheets(path: Path) -> dict[str, Sheet]:
    """Read data sheets by the accelerator's name, with idle power of the packaged table where it has the part."""
    lines = POWER_TABLE.read_text(encoding="utf-8").splitlines()
    idle = {
        row["accelerator"]: float(row["bare_idle_watts"]) + float(row["context_watts"])
        for row in csv.DictReader(line for line in lines if not line.startswith("#"))
    }
    with path.open(encoding="utf-8") as file:
        return {
            row["accelerator"]: Sheet(
                float(row["memory_gb"]) * 1e9,
                float(row["memory_bandwidth_gb_s"]) * 1e9,
                float(row["dense_bf16_or_fp16_tflops"]) * 1e12,
                idle[row["accelerator"]],
            )
            for row in csv.DictReader(file)
            if row["accelerator"] in idle and row["dense_bf16_or_fp16_tflops"]
        }


def read_points(path: Path) -> tuple[dict[Setup, list[Point]], dict[Setup, tuple[float, float]]]:
    """Read the points of text tasks by setup, and each setup's billions of weights: all, and those active per token."""
    points: dict[Setup, list[Point]] = defaultdict(list)
    sizes: dict[Setup, tuple[float, float]] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["task"] not in TEXT_TASKS:
                continue
            count = int(row["num_gpus"])
            setup = Setup(
                family_of(row["model_id"]),
                row["weight_precision"],
                row["gpu_model"],
                count,
                int(row["tensor_parallel"]),
            )
            batch, rate = float(row["avg_batch_size"]), float(row["output_throughput_tokens_per_sec"])
            point = Point(batch, batch / rate, float(row["avg_output_len"]) / 2, float(row["avg_power_watts"]) / count)
            if not all(math.isfinite(v) and v > 0 for v in (point.batch, point.tau, point.context, point.watts)):
                raise ValueError(f"{path.name}: {row['model_id']}: a measurement is not a positive number")
            points[setup].append(point)
            sizes[setup] = float(row["total_params_billions"]), float(row["activated_params_billions"])
    if not points:
        raise ValueError(f"{path.name} has no measurement of {', '.join(sorted(TEXT_TASKS))}")
    return {s: p for s, p in points.items() if len(p) >= LEAST_POINTS}, sizes


def prefill_efficiency(path: Path, sheets: dict[str, Sheet]) -> dict[str, float]:
    """Return the share of peak compute that prefill reaches, by accelerator: ``2 N tokens / (seconds x peak)``.

    Median over prompts of 512 tokens and more at batch 1; a shorter one does not fill the machine.
    """
    billions = {"llama2-70b": 70.0, "bloom-176b": 176.0}
    names = {"a100-80gb": "A100-80GB", "h100-80gb": "H100"}
    found: dict[str, list[float]] = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = names.get(row["hardware"])
            if name is None or row["batch_size"] != "1" or float(row["prompt_tokens"]) < 512:  # noqa: PLR2004
                continue
            work = 2 * billions[row["model"]] * 1e9 * float(row["prompt_tokens"])
            peak = sheets[name].flops * int(row["tensor_parallel"])
            found[name].append(work / (float(row["prompt_time_ms"]) / 1e3 * peak))
    if not found:
        raise ValueError(f"{path.name} has no prefill time of 512 tokens or more")
    return {name: round(median(values), 4) for name, values in sorted(found.items())}


def fit(
    setup: Setup, points: list[Point], size: tuple[float, float], sheets: dict[str, Sheet], prefill: dict[str, float]
) -> Row:
    """Fit one setup; return its row."""
    sheet = sheets[setup.accelerator]
    kv_bytes = KV_BYTES.get(setup.family)
    taus = np.array([p.tau for p in points])
    batch, context = np.array([p.batch for p in points]), np.array([p.context for p in points])
    identified = context.max() >= LENGTHS_APART * context.min()
    fixed = 0.0 if identified or kv_bytes is None else kv_bytes / (sheet.bandwidth * setup.count)
    columns = [np.ones_like(batch), batch] + ([batch * context] if identified else [])
    coefficients = nonnegative(np.stack(columns, axis=1), taus - fixed * batch * context, 1 / taus)
    tau0, tau1 = coefficients[0], coefficients[1]
    tau2 = coefficients[2] if identified else fixed
    modelled = tau0 + batch * (tau1 + tau2 * context)
    full, knee, power_error = fit_power(points, sheet.idle)
    weights = size[0] * 1e9 * BYTES[setup.precision]
    room = sheet.memory * USABLE_MEMORY * setup.count - weights
    return {
        "model": setup.family,
        "precision": setup.precision,
        "accelerator": setup.accelerator,
        "count": setup.count,
        "tensor_parallel": setup.tensor_parallel,
        "tau0_s": significant(tau0),
        "tau1_s": significant(tau1),
        "tau2_s_per_token": significant(tau2),
        "tau2_from": "fit" if identified else "data sheet" if kv_bytes else "not known",
        "prefill_tokens_per_s": round(prefill_rate(setup, size[1], sheet, prefill)),
        "kv_tokens": int(room / kv_bytes) if kv_bytes and room > 0 else "",
        "idle_watts": sheet.idle,
        "full_watts": round(full, 1),
        "knee_batch": round(knee, 2),
        "points": len(points),
        "batch_from": round(batch.min(), 1),
        "batch_to": round(batch.max(), 1),
        "output_from": round(2 * context.min()),
        "output_to": round(2 * context.max()),
        "tau_error_fraction": round(float(np.mean(np.abs(modelled / taus - 1))), 4),
        "power_error_fraction": round(power_error, 4),
    }


def nonnegative(columns: np.ndarray, values: np.ndarray, weights: np.ndarray) -> list[float]:
    """Return the least-squares solution under ``>= 0``: the best among all choices of columns that are not 0.

    Exact, and quick for the three or five columns there are. The first one, a step's fixed time, is always among them.
    """
    number = columns.shape[1]
    best, least = [0.0] * number, math.inf
    a, b = columns * weights[:, None], values * weights
    for chosen in chain.from_iterable(combinations(range(number), size) for size in range(1, number + 1)):
        if 0 not in chosen:
            continue
        solved = np.linalg.lstsq(a[:, chosen], b, rcond=None)[0]
        error = float(np.sum((a[:, chosen] @ solved - b) ** 2))
        if (solved >= 0).all() and solved[0] > 0 and error < least:
            least = error
            best = [float(solved[chosen.index(i)]) if i in chosen else 0.0 for i in range(number)]
    return best


def fit_power(points: Sequence[Point], idle: float) -> tuple[float, float, float]:
    """Return full power, knee and mean relative error, over a grid of knees; full power has a closed form for each."""
    batch, watts = np.array([p.batch for p in points]), np.array([p.watts for p in points])
    best = (float(watts.max()), 1.0, math.inf)
    for knee in np.geomspace(1.0, 200.0, 107):
        rise = 1 - np.exp(-batch / knee)
        over = float(np.sum(rise * (watts - idle) / watts**2) / np.sum(rise**2 / watts**2))
        error = float(np.mean(np.abs((idle + over * rise) / watts - 1)))
        if over >= 0 and error < best[2]:
            best = (idle + over, float(knee), error)
    return best


def prefill_rate(setup: Setup, active: float, sheet: Sheet, prefill: dict[str, float]) -> float:
    """Return prompt tokens per second at the share of peak that was measured on the part, else on an H100."""
    share = prefill.get(setup.accelerator, prefill["H100"])
    return share * sheet.flops * setup.count / (2 * active * 1e9)


def efficiencies(
    sizes: dict[Setup, tuple[float, float]],
    points: dict[Setup, list[Point]],
    sheets: dict[str, Sheet],
    prefill: dict[str, float],
) -> Row:
    """Return what tells a model that nobody has measured: one law for all of them, and how far off it is.

    A step takes a fixed time, longer between several accelerators; it reads the weights and the KV cache at a share of
    bandwidth, computes at a share of the peak, and each sequence takes its own time on top.
    """
    law, errors = regress(points, sizes, sheets), []
    for family in sorted({s.family for s in points}):
        others = {s: p for s, p in points.items() if s.family != family}
        found, kv = regress(others, sizes, sheets), kv_law({s.family for s in others}, sizes)
        for setup in (s for s in points if s.family == family):
            cache = kv[_is_dense(sizes[setup])] * (sizes[setup][0] / 8) ** (1 / 3)
            for p in points[setup]:
                told = float(np.dot(_terms(setup, p, sizes[setup], sheets[setup.accelerator], cache, told=True), found))
                errors.append((p.batch, abs(told / p.tau - 1)))
    kv = kv_law({s.family for s in points}, sizes)
    full = [e for b, e in errors if b >= FULL_BATCH]
    return {
        "step_overhead_s": significant(law[0]),
        "between_accelerators_s": significant(law[1]),
        "memory_efficiency": round(1 / law[2], 4),
        "compute_efficiency": round(1 / law[3], 4),
        "per_sequence_s": significant(law[4]),
        "kv_bytes_per_token_dense_8b": round(kv[True]),
        "kv_bytes_per_token_sparse_8b": round(kv[False]),
        "prefill_efficiency": prefill,
        "tau_error_fraction": round(fmean(e for _, e in errors), 3),
        "tau_error_fraction_full": round(fmean(full), 3),
        "tau_error_p90": round(sorted(e for _, e in errors)[int(0.9 * len(errors))], 3),
        "families": len({s.family for s in points}),
        "points": len(errors),
        "sheets": {
            name: {"memory_bytes": s.memory, "bytes_per_s": s.bandwidth, "flop_per_s": s.flops}
            for name, s in sorted(sheets.items())
        },
        "source": "ML.ENERGY benchmark (vLLM, H100 and B200), Splitwise (prefill, A100 and H100)",
    }


def regress(
    points: dict[Setup, list[Point]], sizes: dict[Setup, tuple[float, float]], sheets: dict[str, Sheet]
) -> list[float]:
    """Return the five coefficients of the law by least squares of relative errors. Raises ``ValueError``."""
    rows, taus = [], []
    for setup, measured in points.items():
        for p in measured:
            cache = KV_BYTES.get(setup.family, 0)
            rows.append(_terms(setup, p, sizes[setup], sheets[setup.accelerator], cache))
            taus.append(p.tau)
    if len(rows) < LEAST_POINTS:
        raise ValueError("one family of models tells nothing about others: measure at least two")
    law = nonnegative(np.array(rows), np.array(taus), 1 / np.array(taus))
    if not (law[2] > 0 and law[3] > 0):
        raise ValueError("the measurements do not tell how fast weights are read and how fast is computed")
    return law


def kv_law(families: set[str], sizes: dict[Setup, tuple[float, float]]) -> dict[bool, float]:
    """Return bytes of KV per token of a model of 8 billion weights, dense or a mixture: they grow as the cube root.

    Depth and width both grow with size, KV heads hardly do; the geometric mean over families whose config is known.
    """
    logs: dict[bool, list[float]] = {True: [], False: []}
    for family in sorted(families & KV_BYTES.keys()):
        size = next(sizes[s] for s in sorted(sizes, key=str) if s.family == family)
        logs[_is_dense(size)].append(math.log(KV_BYTES[family] / (size[0] / 8) ** (1 / 3)))
    every = [value for values in logs.values() for value in values]
    return {dense: math.exp(fmean(values or every)) if every else 0.0 for dense, values in logs.items()}


def _terms(
    setup: Setup, p: Point, size: tuple[float, float], sheet: Sheet, kv_bytes: float, *, told: bool = False
) -> list[float]:
    """Return the five times whose weighed sum is a step. ``told``: as the planner knows them, for large batches.

    A mixture reads the experts that at least one sequence asks for: ``1 - (1 - active share)^b`` of its weights. The
    planner takes all of them, so that a step stays linear in the batch.
    """
    total, active = size
    share = active / total
    touched = total if told else max(active, total * (1 - (1 - share) ** p.batch))
    read = touched * 1e9 * BYTES[setup.precision] + kv_bytes * p.batch * p.context
    return [
        1.0,
        float(setup.count > 1),
        read / (sheet.bandwidth * setup.count),
        2 * active * 1e9 * p.batch / (sheet.flops * setup.count),
        p.batch,
    ]


def _is_dense(size: tuple[float, float]) -> bool:
    return size[0] == size[1]


def significant(value: float) -> float:
    """Return four significant digits: more would claim what no measurement says."""
    return float(f"{value:.4g}")


def write_fits(path: Path, fits: Sequence[Row]) -> None:
    """Write the table with its origin on top."""
    head = (
        "# Made by infra/fit/replicas.py from measurements of vLLM by the ML.ENERGY benchmark (https://ml.energy);\n"
        "# prefill by Splitwise (arXiv 2311.18677). Watts are of one accelerator, without host. Errors: mean\n"
        "# relative, on the points fitted.\n"
    )
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(head)
        writer = csv.DictWriter(file, list(fits[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(fits)


if __name__ == "__main__":
    raise SystemExit(main())
