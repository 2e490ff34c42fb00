"""The totals of a service, and the same traffic served elsewhere.

Every saving stands beside three rivals: *home* (where the service would have been), *B3* (the regions that were
cleanest by their trailing 28-day mean when the period began, under the same rules: no hindsight), and the *oracle* (the
cleanest allowed regions of every hour, with no cost of moving: a bound that nobody can reach). None of them moves, so
none is charged for the double running of this service's moves; everything else is on both sides (decision 0081).
Energy whose intensity was unknown is shown apart and enters no sum of grams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from types import MappingProxyType
from typing import Final

from orchestrator.domain.carbon import Basis, Kind, weakest
from orchestrator.domain.energy import EnergyMethod, EnergySample, grams_from
from orchestrator.domain.time import Instant, Window
from orchestrator.domain.transfer import Egress, Span, added
from orchestrator.domain.units import SECONDS_PER_HOUR, joules_to_kwh
from orchestrator.domain.written import ONLY_IF_SET
from orchestrator.ledger.double_runs import NO_DOUBLE_RUNS, DoubleRuns, extra_in, without
from orchestrator.ledger.embodied import embodied_rate
from orchestrator.ledger.hourly import details
from orchestrator.ledger.quality import Served

TOKENS_PER_UNIT: Final = 1000
"""R of SCI: a thousand output tokens."""

USUAL_BASIS: Final = Basis()

_NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})

IntensityAt = Callable[[str, Window], float | None]
"""Grams per kWh of a zone over a window, ``None`` where unknown."""

KindAt = Callable[[str, Window], Kind | None]
"""What kind of number that is, ``None`` where there is none."""


@dataclass(frozen=True, slots=True)
class Place:
    """A region as far as a rival needs it. ``offer_id``: what is rented there; empty where nobody says."""

    region: str
    zone: str
    pue: float
    usd_per_hour: float | None
    offer_id: str = ""


@dataclass(frozen=True, slots=True)
class Alternative:
    """How else the service could have stood: ``places_in`` a window, each with an equal share of the energy.

    No places means that nothing is known of that window.
    """

    name: str
    region: str
    why: str
    places_in: Callable[[Window], Sequence[Place]]


@dataclass(frozen=True, slots=True)
class Rival:
    """The same IT energy, hour by hour, in other places, but for what moves took.

    ``grams`` and ``usd`` are ``None`` when a minute is unknown there; ``known_fraction`` is the share of the service's
    known samples that could be priced. ``region`` names the places. ``intensity_kind``: the weakest there.
    """

    name: str
    region: str
    why: str
    grams: float | None
    usd: float | None
    known_fraction: float
    intensity_kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class RegionLine:
    """Sums of one region. ``usd`` covers ``replica_hours`` less ``unpriced_hours``, engine time both."""

    region: str
    zone: str | None
    replica_hours: float
    unpriced_hours: float
    kwh: float
    grams: float | None
    usd: float | None
    output_tokens: int
    mean_grams_per_kwh: float | None


@dataclass(frozen=True, slots=True)
class Embodied:
    """Shares of what making the hardware emitted, for the engine hours that were reserved: ``low`` to ``high`` grams.

    ``unknown_hours``: of hardware about which nothing is published; they are in neither sum. ``low_sci`` and
    ``high_sci``: (O + M) per 1,000 output tokens, grams, where every part of O and of M is known.
    """

    low_grams: float
    high_grams: float
    known_hours: float
    unknown_hours: float
    unknown_shapes: tuple[str, ...]
    methods: tuple[str, ...]
    low_sci: float | None
    high_sci: float | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the launches of a period fetched, modelled: it stands beside the sums of a report, and in none of them.

    ``gb``: of those whose size is known; ``unknown``: how many launches have an unknown part, which is in no range.
    ``grams`` and ``usd`` are ``None`` where nothing of them is known.
    """

    launches: int
    unknown: int
    gb: float
    grams: Span | None
    usd: Span | None
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moves:
    """What running twice for moves took: in the sums of a report, and in none of its rivals'.

    ``joules`` include the PUE. ``grams`` and ``usd`` are ``None`` where nothing of them is known.
    """

    count: int
    engine_seconds: float
    joules: float
    grams: float | None
    usd: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a service drew, emitted and cost in a period. Joules and kWh include the PUE.

    ``grams`` covers ``known_joules`` only. Sums are ``None`` where nothing is known. ``grams_per_1000_output_tokens``
    is the operational part of SCI with R = 1,000 output tokens, both of the samples whose grams are known; embodied
    emissions stand beside it, for they are the same wherever the service runs. ``quality``: of services with variants.
    ``moves``: ``None`` without any. ``basis``: what all grams of it count; ``basis_before``: what those counted that
    are older than it and left out, where nobody asked for a period.
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
    embodied: Embodied
    joules_per_output_token: float | None
    intensity_kind: Kind | None
    method: EnergyMethod | None
    method_details: tuple[str, ...]
    uncertainty_fraction: float | None
    regions: tuple[RegionLine, ...]
    rivals: tuple[Rival, ...]
    egress: Fetched | None = None
    moves: Moves | None = None
    basis: Basis = USUAL_BASIS
    basis_before: Basis | None = field(default=None, metadata=ONLY_IF_SET)
    quality: Served | None = field(default=None, metadata=ONLY_IF_SET)


def fetched(egresses: Sequence[Egress]) -> Fetched | None:
    """Add up what launches fetched; ``None`` where none fetched anything."""
    if not egresses:
        return None
    grams = [e.grams for e in egresses if e.grams is not None]
    usd = [e.usd for e in egresses if e.usd is not None]
    return Fetched(
        launches=len(egresses),
        unknown=sum(e.grams is None or e.usd is None for e in egresses),
        gb=fsum(e.gb for e in egresses if e.gb is not None),
        grams=added(grams) if grams else None,
        usd=added(usd) if usd else None,
        sources=tuple(sorted({e.source for e in egresses})),
    )


def _sum_known(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) if known else None


def report(
    service: str,
    period: Window,
    samples: Sequence[EnergySample],
    alternatives: Sequence[Alternative],
    intensity_at: IntensityAt,
    shapes: Mapping[str, str] = _NO_NAMES,
    egresses: Sequence[Egress] = (),
    runs: DoubleRuns = NO_DOUBLE_RUNS,
    rented: Mapping[str, str] = _NO_NAMES,
    kind_at: KindAt = lambda _zone, _window: None,
) -> Report:
    """Total the samples of a period and price the same IT energy at each alternative, but for what moves took.

    ``shapes``: the hardware of each replica by name, for what is embodied in it; unknown without. ``egresses``: one
    for each launch of the period that fetched its weights. ``rented``: the offer of each replica by name: who rents the
    very same pays the same.
    """
    grams = _sum_known([s.grams for s in samples])
    tokens = sum(s.output_tokens for s in samples)
    joules = sum(s.facility_joules for s in samples)
    known = sum(s.facility_joules for s in samples if s.grams is not None)
    known_tokens = sum(s.output_tokens for s in samples if s.grams is not None)
    seconds = sum(s.engine_seconds for s in samples)
    grid_seconds = sum(s.window.length.total_seconds() for s in samples)
    kinds = [s.intensity_kind for s in samples if s.intensity_kind is not None]
    methods = {s.method for s in samples}
    charged = [left for s in samples if (left := without(s, extra_in(s, runs))) is not None]
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
        grams_per_1000_output_tokens=grams / known_tokens * TOKENS_PER_UNIT
        if grams is not None and known_tokens
        else None,
        embodied=_embodied(samples, shapes, grams if known == joules else None, tokens),
        joules_per_output_token=joules / tokens if tokens else None,
        intensity_kind=weakest(kinds) if kinds else None,
        method=EnergyMethod.MODELLED if EnergyMethod.MODELLED in methods else next(iter(methods), None),
        method_details=details(samples),
        uncertainty_fraction=max((s.uncertainty_fraction for s in samples), default=None),
        regions=_by_region(samples),
        rivals=tuple(_rival(a, charged, intensity_at, kind_at, rented) for a in alternatives),
        egress=fetched(egresses),
        moves=_moves(samples, runs),
    )


def _embodied(samples: Sequence[EnergySample], shapes: Mapping[str, str], grams: float | None, tokens: int) -> Embodied:
    """Count what is embodied in the hours; ``grams``: all that was emitted in them, ``None`` if a part is unknown."""
    hours: dict[str, float] = {}
    for sample in samples:
        shape = shapes.get(sample.replica, "")
        hours[shape] = hours.get(shape, 0.0) + sample.engine_seconds / SECONDS_PER_HOUR
    rates = {shape: embodied_rate(shape) for shape in sorted(hours)}
    low = sum(hours[shape] * rate.low_grams_per_hour for shape, rate in rates.items() if rate is not None)
    high = sum(hours[shape] * rate.high_grams_per_hour for shape, rate in rates.items() if rate is not None)
    unknown = tuple(shape for shape, rate in rates.items() if rate is None)
    is_whole = grams is not None and tokens > 0 and not unknown
    return Embodied(
        low_grams=low,
        high_grams=high,
        known_hours=sum(hours[shape] for shape, rate in rates.items() if rate is not None),
        unknown_hours=sum(hours[shape] for shape in unknown),
        unknown_shapes=unknown,
        methods=tuple(rate.method for rate in rates.values() if rate is not None),
        low_sci=((grams or 0.0) + low) / tokens * TOKENS_PER_UNIT if is_whole else None,
        high_sci=((grams or 0.0) + high) / tokens * TOKENS_PER_UNIT if is_whole else None,
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
                replica_hours=sum(s.engine_seconds for s in own) / SECONDS_PER_HOUR,
                unpriced_hours=sum(s.engine_seconds for s in own if s.usd is None) / SECONDS_PER_HOUR,
                kwh=joules_to_kwh(sum(s.facility_joules for s in own)),
                grams=grams,
                usd=_sum_known([s.usd for s in own]),
                output_tokens=sum(s.output_tokens for s in own),
                mean_grams_per_kwh=grams / known_kwh if grams is not None and known_kwh else None,
            )
        )
    return tuple(lines)


def _moves(samples: Sequence[EnergySample], runs: DoubleRuns) -> Moves | None:
    found = [(s, extra) for s in samples if (extra := extra_in(s, runs)) is not None]
    if not found:
        return None
    took_part = [m for m in runs.moves if any(s.window.start < m.end and m.start < s.window.end for s, _ in found)]
    return Moves(
        count=len(took_part),
        engine_seconds=sum(extra.engine_seconds for _, extra in found),
        joules=sum(extra.facility_joules for _, extra in found),
        grams=_sum_known([extra.grams for _, extra in found]),
        usd=_sum_known([extra.usd for _, extra in found]),
    )


def _rival(
    alternative: Alternative,
    samples: Sequence[EnergySample],
    intensity_at: IntensityAt,
    kind_at: KindAt,
    rented: Mapping[str, str],
) -> Rival:
    """Serve the known samples from elsewhere, so that both sides cover the same joules and the same paid hours."""
    covered = [s for s in samples if s.grams is not None]
    grams = [_grams_elsewhere(s, alternative, intensity_at) for s in covered]
    known = [g for g in grams if g is not None]
    priced = [s for s in samples if s.usd is not None]
    dollars = [_usd_elsewhere(s, alternative, rented.get(s.replica, "")) for s in priced]
    paid = [d for d in dollars if d is not None]
    kinds = {kind_at(p.zone, s.window) for s in covered for p in alternative.places_in(s.window)} - {None}
    return Rival(
        name=alternative.name,
        region=alternative.region,
        why=alternative.why,
        grams=sum(known) if covered and len(known) == len(covered) else None,
        usd=sum(paid) if priced and len(paid) == len(priced) else None,
        known_fraction=len(known) / len(covered) if covered else 0.0,
        intensity_kind=weakest([k for k in kinds if k is not None]) if kinds else None,
    )


def _grams_elsewhere(sample: EnergySample, alternative: Alternative, intensity_at: IntensityAt) -> float | None:
    places = alternative.places_in(sample.window)
    values = [intensity_at(p.zone, sample.window) for p in places]
    parts = [grams_from(sample.it_joules * p.pue, v) for p, v in zip(places, values, strict=True) if v is not None]
    return sum(parts) / len(parts) if parts and len(parts) == len(places) else None


def _usd_elsewhere(sample: EnergySample, alternative: Alternative, offer_id: str) -> float | None:
    """Rent the same hours elsewhere; ``offer_id``: what the service rented, which costs a rival what it cost then."""
    rents = [_rent(sample, place, offer_id) for place in alternative.places_in(sample.window)]
    known = [rent for rent in rents if rent is not None]
    return sum(known) / len(known) if known and len(known) == len(rents) else None


def _rent(sample: EnergySample, place: Place, offer_id: str) -> float | None:
    if offer_id and place.offer_id == offer_id:
        return sample.usd
    return None if place.usd_per_hour is None else place.usd_per_hour * sample.engine_seconds / SECONDS_PER_HOUR


def period_of(samples: Sequence[EnergySample], fallback: Instant) -> Window:
    """Return the window that the samples span; an empty one at ``fallback`` without samples."""
    if not samples:
        return Window(fallback, fallback)
    return Window(min(s.window.start for s in samples), max(s.window.end for s in samples))
