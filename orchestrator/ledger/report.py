"""The totals of a service, and the same traffic served elsewhere.

Every saving stands beside two rivals: *home* (where the service would have been) and *B3* (the region that was cleanest
by its trailing 28-day mean when the period began: no hindsight). Energy whose intensity was unknown is shown apart and
enters no sum of grams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.domain.carbon import Kind, weakest
from orchestrator.domain.energy import EnergyMethod, EnergySample, grams_from
from orchestrator.domain.time import Instant, Window
from orchestrator.domain.units import joules_to_kwh

IntensityAt = Callable[[str, Window], float | None]
"""Grams per kWh of a zone over a window, ``None`` where unknown."""


@dataclass(frozen=True, slots=True)
class Rival:
    """The same IT energy, minute by minute, in one fixed region.

    ``grams`` is ``None`` when a minute is unknown there.
    """

    name: str
    region: str
    zone: str
    pue: float
    usd_per_hour: float | None
    why: str
    grams: float | None = None
    usd: float | None = None
    known_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class RegionLine:
    """Sums of one region."""

    region: str
    zone: str | None
    replica_hours: float
    kwh: float
    grams: float | None
    usd: float | None
    output_tokens: int
    mean_grams_per_kwh: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a service drew, emitted and cost in a period. Joules and kWh include the PUE.

    ``grams`` covers ``known_joules`` only. Sums are ``None`` where nothing is known. ``grams_per_1000_output_tokens``
    is the operational part of SCI with R = 1,000 output tokens (embodied emissions are not included yet, and said
    so).
    """

    service: str
    period: Window
    engine_seconds: float
    clock_rate: float
    joules: float
    it_joules: float
    known_joules: float
    kwh: float
    grams: float | None
    usd: float | None
    prompt_tokens: int
    output_tokens: int
    grams_per_1000_output_tokens: float | None
    joules_per_output_token: float | None
    intensity_kind: Kind | None
    method: EnergyMethod | None
    method_details: tuple[str, ...]
    uncertainty_fraction: float | None
    regions: tuple[RegionLine, ...]
    rivals: tuple[Rival, ...]


def _sum_known(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) if known else None


def report(
    service: str, period: Window, samples: Sequence[EnergySample], rivals: Sequence[Rival], intensity_at: IntensityAt
) -> Report:
    """Total the samples of a period and price the same IT energy at each rival."""
    grams = _sum_known([s.grams for s in samples])
    tokens = sum(s.output_tokens for s in samples)
    joules = sum(s.facility_joules for s in samples)
    known = sum(s.facility_joules for s in samples if s.grams is not None)
    seconds = sum(s.engine_seconds for s in samples)
    grid_seconds = sum(s.window.length.total_seconds() for s in samples)
    kinds = [s.intensity_kind for s in samples if s.intensity_kind is not None]
    methods = {s.method for s in samples}
    return Report(
        service=service,
        period=period,
        engine_seconds=seconds,
        clock_rate=grid_seconds / seconds if seconds else 1.0,
        joules=joules,
        it_joules=sum(s.it_joules for s in samples),
        known_joules=known,
        kwh=joules_to_kwh(joules),
        grams=grams,
        usd=_sum_known([s.usd for s in samples]),
        prompt_tokens=sum(s.prompt_tokens for s in samples),
        output_tokens=tokens,
        grams_per_1000_output_tokens=grams / tokens * 1000 if grams is not None and tokens else None,
        joules_per_output_token=joules / tokens if tokens else None,
        intensity_kind=weakest(kinds) if kinds else None,
        method=EnergyMethod.MODELLED if EnergyMethod.MODELLED in methods else next(iter(methods), None),
        method_details=tuple(sorted({s.method_detail for s in samples})),
        uncertainty_fraction=max((s.uncertainty_fraction for s in samples), default=None),
        regions=_by_region(samples),
        rivals=tuple(_price_rival(r, samples, intensity_at) for r in rivals),
    )


def _by_region(samples: Sequence[EnergySample]) -> tuple[RegionLine, ...]:
    lines = []
    for region in sorted({s.region for s in samples}):
        own = [s for s in samples if s.region == region]
        known = [s for s in own if s.grams is not None]
        known_kwh = joules_to_kwh(sum(s.facility_joules for s in known))
        grams = _sum_known([s.grams for s in own])
        lines.append(
            RegionLine(
                region=region,
                zone=own[0].zone,
                replica_hours=sum(s.engine_seconds for s in own) / 3600,
                kwh=joules_to_kwh(sum(s.facility_joules for s in own)),
                grams=grams,
                usd=_sum_known([s.usd for s in own]),
                output_tokens=sum(s.output_tokens for s in own),
                mean_grams_per_kwh=grams / known_kwh if grams is not None and known_kwh else None,
            )
        )
    return tuple(lines)


def _price_rival(rival: Rival, samples: Sequence[EnergySample], intensity_at: IntensityAt) -> Rival:
    """Serve the known samples from the rival's region, so that both sides cover the same joules."""
    covered = [s for s in samples if s.grams is not None]
    grams = 0.0
    priced = 0
    for sample in covered:
        intensity = intensity_at(rival.zone, sample.window)
        if intensity is not None:
            grams += grams_from(sample.it_joules * rival.pue, intensity)
            priced += 1
    hours = sum(s.engine_seconds for s in samples) / 3600
    complete = bool(covered) and priced == len(covered)
    return Rival(
        name=rival.name,
        region=rival.region,
        zone=rival.zone,
        pue=rival.pue,
        usd_per_hour=rival.usd_per_hour,
        why=rival.why,
        grams=grams if complete else None,
        usd=rival.usd_per_hour * hours if rival.usd_per_hour is not None else None,
        known_fraction=priced / len(covered) if covered else 0.0,
    )


def period_of(samples: Sequence[EnergySample], fallback: Instant) -> Window:
    """Return the window that the samples span; an empty one at ``fallback`` without samples."""
    if not samples:
        return Window(fallback, fallback)
    return Window(min(s.window.start for s in samples), max(s.window.end for s in samples))
