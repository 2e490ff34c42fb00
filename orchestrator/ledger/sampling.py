"""Cut a stretch of running time into energy samples. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries, weakest
from orchestrator.domain.energy import EnergyMethod, EnergySample, grams_from
from orchestrator.domain.hardware import PowerModel
from orchestrator.domain.replica import Replica
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.domain.units import SECONDS_PER_HOUR

LONGEST_SAMPLE = timedelta(minutes=1)

IntensityIn = Callable[[str, Window], CarbonIntensity | None]
"""The intensity of a zone over a window, ``None`` where it is unknown."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a replica did in a window: mean concurrent sequences and tokens.

    ``reading``: the part of the window (0..1) that reading the prompts took, by a model of the replica; 0 without one.
    """

    mean_batch: float
    prompt_tokens: int
    output_tokens: int
    note: str = ""
    reading: float = 0.0


def cut(window: Window, clock_rate: float, longest_sample: timedelta = LONGEST_SAMPLE) -> Iterator[Window]:
    """Cut at clock hours (intensities change there) and into at most so much physical time each."""
    longest = longest_sample * clock_rate
    start = window.start
    while start < window.end:
        end = min(window.end, start + longest, floor_hour(start) + HOUR)
        yield Window(start, end)
        start = end


def samples_for(
    replica: Replica,
    window: Window,
    load: Load,
    power: PowerModel,
    pue: float,
    intensity_in: IntensityIn,
    clock_rate: float,
    longest_sample: timedelta = LONGEST_SAMPLE,
) -> tuple[EnergySample, ...]:
    """Return the samples of one replica over a window; tokens are spread by time, no joule is lost or doubled."""
    samples = []
    for piece in cut(window, clock_rate, longest_sample):
        prompt = _tokens_in(piece, load.prompt_tokens, window)
        output = _tokens_in(piece, load.output_tokens, window)
        seconds = piece.length.total_seconds() / clock_rate
        watts = power.watts(load.mean_batch, load.reading)
        intensity = intensity_in(replica.zone, piece) if replica.zone is not None else None
        facility = watts * seconds * pue
        samples.append(
            EnergySample(
                service=replica.service,
                replica=replica.name,
                region=replica.region,
                zone=replica.zone,
                window=piece,
                engine_seconds=seconds,
                mean_batch=load.mean_batch,
                watts=watts,
                it_joules=watts * seconds,
                pue=pue,
                facility_joules=facility,
                grams_per_kwh=None if intensity is None else intensity.grams_per_kwh,
                intensity_kind=None if intensity is None else intensity.kind,
                intensity_source="" if intensity is None else intensity.source,
                grams=None if intensity is None else grams_from(facility, intensity.grams_per_kwh),
                usd=None if replica.usd_per_hour is None else replica.usd_per_hour * seconds / SECONDS_PER_HOUR,
                prompt_tokens=prompt,
                output_tokens=output,
                method=EnergyMethod.MODELLED,
                method_detail=power.method
                + (", full power while it reads prompts" if load.reading > 0 else "")
                + (f"; {load.note}" if load.note else ""),
                uncertainty_fraction=power.uncertainty_fraction,
            )
        )
    return tuple(samples)


def _tokens_in(piece: Window, tokens: int, window: Window) -> int:
    """Return the piece's share by time, rounded at its edges: neighbours share an edge, so nothing falls between."""
    start, end = ((edge - window.start) / window.length for edge in (piece.start, piece.end))
    return round(tokens * end) - round(tokens * start)


def known_or_latest(series: CarbonSeries, window: Window, max_age: timedelta) -> CarbonIntensity | None:
    """Return the value at the window's start, or the newest one before it that was not older than ``max_age`` then.

    Only for what is provisional, or stands beside the ledger: whatever is settled goes by the value of its own hour.
    """
    following = bisect_right(series.points, window.start, key=lambda p: p.interval.start)
    newest = series.points[following - 1] if following else None
    return newest if newest is not None and newest.age(window.start) <= max_age else None


def settle(samples: Sequence[EnergySample], intensity_in: IntensityIn) -> tuple[EnergySample, ...]:
    """Re-price samples with what is known now: an hour's intensity is often published only after the hour.

    ``intensity_in`` knows an hour by its own value alone, never by one before it. Samples whose window is still unknown
    keep what they were stored with: a provisional number, one of another source, or none. So do those of which only
    another source tells now, and that with less: its likeness of an hour is no news of what was measured in it.
    """
    settled = []
    for sample in samples:
        known = intensity_in(sample.zone, sample.window) if sample.zone is not None else None
        if known is not None and _is_news(known, sample):
            grams = grams_from(sample.facility_joules, known.grams_per_kwh)
            settled.append(
                replace(
                    sample,
                    grams_per_kwh=known.grams_per_kwh,
                    intensity_kind=known.kind,
                    intensity_source=known.source,
                    grams=grams,
                )
            )
        else:
            settled.append(sample)
    return tuple(settled)


def _is_news(known: CarbonIntensity, sample: EnergySample) -> bool:
    """Whether a value counts in place of the stored one: a source may correct itself, others must not know less."""
    stored = sample.intensity_kind
    if stored is None or known.source == sample.intensity_source:
        return True
    return known.kind is stored or weakest((known.kind, stored)) is stored


def counted_until(samples: Sequence[EnergySample], fallback: Instant) -> Instant:
    """Return the end of the last sample, so that a restarted controller goes on where it stopped."""
    return max((s.window.end for s in samples), default=fallback)
