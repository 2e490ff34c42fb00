"""Energy of a replica over a stretch of time, and what it emits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.carbon import Kind
from orchestrator.domain.time import Instant, Window
from orchestrator.domain.units import joules_to_kwh


class EnergyMethod(StrEnum):
    """Measured by a meter, or modelled from load. Never mixed under one name."""

    MEASURED = "measured"
    MODELLED = "modelled"


@dataclass(frozen=True, slots=True)
class EnergySample:
    """What one replica used in one window (at most a minute of engine time, of old samples an hour of the grid's).

    ``engine_seconds`` is physical running time. On a recorded grid that is replayed faster than real time the window is
    longer than that (``window`` = engine seconds x clock rate): joules are drawn in physical seconds, the intensity is
    that of the replayed moment. ``it_joules`` excludes, ``facility_joules`` includes the PUE. ``grams`` is ``None``
    when the zone's intensity was unknown: such energy is reported apart, never as zero grams.
    """

    service: str
    replica: str
    region: str
    zone: str | None
    window: Window
    engine_seconds: float
    mean_batch: float
    watts: float
    it_joules: float
    pue: float
    facility_joules: float
    grams_per_kwh: float | None
    intensity_kind: Kind | None
    intensity_source: str
    grams: float | None
    usd: float | None
    prompt_tokens: int
    output_tokens: int
    method: EnergyMethod
    method_detail: str
    uncertainty_fraction: float


@dataclass(frozen=True, slots=True)
class EnergySoFar:
    """How far the samples of one replica reach. ``until``: the latest end; ``last``: the one that starts last."""

    until: Instant
    prompt_tokens: int
    output_tokens: int
    last: EnergySample


def grams_from(facility_joules: float, grams_per_kwh: float) -> float:
    """Operational emissions, location-based: ``E x I`` (SCI, ISO/IEC 21031:2024)."""
    return joules_to_kwh(facility_joules) * grams_per_kwh
