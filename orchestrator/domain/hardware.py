"""Shapes that can be rented, and how much power they draw."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PowerModel:
    """Watts of a whole replica (accelerators and its share of the host) as a function of the mean batch.

    ``P(b) = idle + (full - idle) * (1 - exp(-b / knee))``: decode power rises steeply with the first concurrent
    sequences and then saturates (fitted form for H100 decode, ML.ENERGY measurements; the linear special case is
    Fan, Weber and Barroso, ISCA 2007). ``uncertainty_fraction`` is the half-width that we claim for the result.
    """

    idle_watts: float
    full_watts: float
    knee_batch: float
    method: str
    uncertainty_fraction: float
    source: str

    def __post_init__(self) -> None:
        """Refuse a curve that would make power negative or falling."""
        if not (0 <= self.idle_watts <= self.full_watts and self.knee_batch > 0):
            message = f"power model {self.method} needs 0 <= idle <= full and a positive knee"
            raise ValueError(message)

    def watts(self, mean_batch: float, reading: float = 0.0) -> float:
        """IT power at a mean number of concurrently running sequences (``>= 0``).

        ``reading``: the part of the time (0..1) in which prompts are read. That is bound by compute and draws full
        power, as the batch-energy curve of ``planner.sizing.energy`` has it: ``reading P_full + (1 - reading) P(b)``.
        """
        rise = 1.0 - math.exp(-max(0.0, mean_batch) / self.knee_batch)
        decoding = self.idle_watts + (self.full_watts - self.idle_watts) * rise
        return reading * self.full_watts + (1.0 - reading) * decoding


@dataclass(frozen=True, slots=True)
class Shape:
    """What one replica runs on. ``accelerator`` is ``None`` for a CPU-only shape."""

    name: str
    accelerator: str | None
    accelerator_count: int
    vcpus: float | None
    memory_gib: float | None
    power: PowerModel | None
