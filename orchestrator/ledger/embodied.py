"""What making the hardware emitted, spread over its life: M of SCI (ISO/IEC 21031:2024).

``M = TE x TS x RS``: total embodied emissions, times the share of the hardware's life that was reserved, times the
share of the hardware. It is reported and weighed in no decision: the machines exist whatever is chosen, and moving away
from one does not undo it (a sunk cost).

Published figures of like hardware differ several times over, so a range is given and no middle. The low end takes the
least that was published and the longest life, the high end the most and the shortest:

* a GPU server without its eight GPUs: 2,500 kg (Luccioni et al. 2023, arXiv 2211.02001, section 4.1) to 5,700 kg
  (EcoLogits, after BoaviztAPI's model of a DGX H100);
* a CPU server of two sockets, 96 vCPUs: 1,000 kg, 100 kg for the second processor, 1.39 kg per GB of memory (Davy,
  Teads 2021, from Dell's assessment of the R740);
* lives of six years (arXiv 2211.02001) to three (EcoLogits).

An accelerator about which nothing is published has no number; that is unknown, not nothing.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from orchestrator.domain.units import HOURS_PER_YEAR

TABLE: Final = Path(__file__).with_name("embodied.csv")

GPU_SERVER_KG: Final = (2500.0, 5700.0)
GPUS_PER_SERVER: Final = 8
CPU_SERVER_KG: Final = 1000.0 + 100.0
CPU_SERVER_VCPUS: Final = 96
MEMORY_KG_PER_GIB: Final = 533 / 384
LIFE_YEARS: Final = (6.0, 3.0)
"""At the low end and at the high end."""

GRAMS_PER_KG: Final = 1000.0

_ACCELERATED = re.compile(r"(?P<count>[1-9]\d{0,3})x(?P<name>.+)")
_CPU = re.compile(r"(?P<vcpus>\d{1,6}(?:\.\d{1,3})?)vCPU-(?P<gib>\d{1,6}(?:\.\d{1,3})?)GB")


@dataclass(frozen=True, slots=True)
class EmbodiedRate:
    """Grams CO2e per hour in which a machine is reserved, from ``low`` to ``high``; ``method`` says from what."""

    low_grams_per_hour: float
    high_grams_per_hour: float
    method: str


def embodied_rate(shape: str) -> EmbodiedRate | None:
    """Return the rate of a shape by its name (``8xH100``, ``2vCPU-4GB``), ``None`` where nothing is published."""
    if found := _ACCELERATED.fullmatch(shape):
        return _accelerated(found["name"], int(found["count"]))
    if found := _CPU.fullmatch(shape):
        kg = float(found["vcpus"]) * CPU_SERVER_KG / CPU_SERVER_VCPUS + float(found["gib"]) * MEMORY_KG_PER_GIB
        return _over_life(kg, kg, "a share of a two-socket server by vCPU and memory")
    return None


def _accelerated(name: str, count: int) -> EmbodiedRate | None:
    board = published().get(name.casefold())
    if board is None:
        return None
    low, high = (count * (board + server / GPUS_PER_SERVER) for server in GPU_SERVER_KG)
    return _over_life(low, high, f"{count} {name} and {count}/{GPUS_PER_SERVER} of its server")


def _over_life(low_kg: float, high_kg: float, method: str) -> EmbodiedRate:
    longest, shortest = LIFE_YEARS
    return EmbodiedRate(
        low_kg * GRAMS_PER_KG / (longest * HOURS_PER_YEAR),
        high_kg * GRAMS_PER_KG / (shortest * HOURS_PER_YEAR),
        f"{method}, {shortest:g} to {longest:g} years",
    )


@cache
def published() -> Mapping[str, float]:
    """Return kg CO2e of one accelerator by its name in lower case."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {row["accelerator"].casefold(): float(row["kg"]) for row in csv.DictReader(lines)}
