"""Hardware shapes with what they draw: accelerators by data sheet and measurement, CPU machines by vCPU.

Accelerated shapes: the accelerator's curve from ``accelerators.csv`` times the count, plus a host share. CPU shapes:
Cloud Carbon Footprint's averages per vCPU and gigabyte. Both are models with a stated half-width. An accelerator
without an entry has no power model, and then its energy is unknown rather than zero.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from orchestrator.domain.hardware import PowerModel, Shape
from orchestrator.errors import InvalidSettings

ACCELERATORS = Path(__file__).with_name("accelerators.csv")

HOST_SHARE = 0.06 / 0.14
"""Host power over accelerator power: of 0.24 Wh for a median prompt, accelerators take 0.14 and CPU and memory 0.06
(Google 2025, arXiv 2508.15734). Applied to idle power too, for want of a measurement."""

CPU_IDLE_WATTS_PER_VCPU = 0.74
CPU_FULL_WATTS_PER_VCPU = 3.5
"""Cloud Carbon Footprint, methodology, appendix I: averages over AWS's processors, from SPECpower results. Google's and
Microsoft's figures (0.71-4.26, 0.78-3.76) lie within the uncertainty claimed here."""

MEMORY_WATTS_PER_GIB = 0.392
"""Cloud Carbon Footprint, methodology: 0.000392 kWh per GB and hour."""

CPU_KNEE_BATCH = 1.0
"""A CPU engine is fully busy as soon as one sequence runs. With independent arrivals the number that runs is Poisson
(M/G/infinity), so at mean ``b`` it is busy ``1 - exp(-b)`` of the time: a knee of exactly 1."""

CPU_UNCERTAINTY = 0.5


class ShapeCatalogue:
    """Makes shapes. Accelerator names are as SkyPilot writes them; case does not count."""

    def __init__(self, models: Mapping[str, PowerModel]) -> None:
        self._models = {name.casefold(): model for name, model in models.items()}

    @classmethod
    def packaged(cls) -> ShapeCatalogue:
        """Use the power models that ship with the package."""
        return cls(packaged_models())

    def accelerated(self, accelerator: str, count: int, vcpus: float | None, memory_gib: float | None) -> Shape:
        """Return ``8xH100`` and the like; without a power model where none is known."""
        model = self._models.get(accelerator.casefold())
        power = _with_host(model, count) if model is not None else None
        return Shape(f"{count}x{accelerator}", accelerator, count, vcpus, memory_gib, power)

    def cpu(self, vcpus: float, memory_gib: float) -> Shape:
        """Return ``2vCPU-4GB`` and the like."""
        memory_watts = memory_gib * MEMORY_WATTS_PER_GIB
        power = PowerModel(
            idle_watts=vcpus * CPU_IDLE_WATTS_PER_VCPU + memory_watts,
            full_watts=vcpus * CPU_FULL_WATTS_PER_VCPU + memory_watts,
            knee_batch=CPU_KNEE_BATCH,
            method=f"modelled: {CPU_IDLE_WATTS_PER_VCPU}-{CPU_FULL_WATTS_PER_VCPU} W per vCPU and memory",
            uncertainty_fraction=CPU_UNCERTAINTY,
            source="Cloud Carbon Footprint, AWS averages",
        )
        return Shape(f"{vcpus:g}vCPU-{memory_gib:g}GB", None, 0, vcpus, memory_gib, power)


@cache
def packaged_models() -> Mapping[str, PowerModel]:
    """Read the power curve of one accelerator of each kind, a loaded engine at idle, without its host."""
    return read_models(ACCELERATORS)


def read_models(path: Path) -> Mapping[str, PowerModel]:
    """Read a table of the packaged layout. Raises ``InvalidSettings`` with file and line."""
    models: dict[str, PowerModel] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = sum(line.startswith("#") for line in lines)
    for number, row in enumerate(csv.DictReader(lines[comments:]), start=comments + 2):
        try:
            tdp = float(row["tdp_watts"])
            model = PowerModel(
                idle_watts=float(row["bare_idle_watts"]) + float(row["context_watts"]),
                full_watts=tdp * float(row["full_fraction_of_tdp"]),
                knee_batch=float(row["knee_batch"]),
                method=f"modelled: {tdp:g} W TDP, {row['fit']} fit",
                uncertainty_fraction=float(row["uncertainty_fraction"]),
                source="ML.ENERGY" if row["fit"] == "measured" else "data sheet, H100's curve",
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidSettings(f"{path.name}:{number}: {error}") from error
        models[row["accelerator"]] = model
    return models


def _with_host(one: PowerModel, count: int) -> PowerModel:
    factor = count * (1 + HOST_SHARE)
    return PowerModel(
        idle_watts=one.idle_watts * factor,
        full_watts=one.full_watts * factor,
        knee_batch=one.knee_batch,
        method=f"{one.method}, host +{HOST_SHARE:.0%}",
        uncertainty_fraction=one.uncertainty_fraction,
        source=one.source,
    )
