"""Price and judge one offer.

Every rule that applies leaves a verdict, passed or not, with its value and limit. An offer is allowed when all passed.
What is unknown stays unknown: an offer without a price, a zone, a PUE, a power model or a usable intensity is shown and
excluded, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries, Kind, Reading
from orchestrator.domain.crossover import Crossover
from orchestrator.domain.decision import Assessment, Quality, Verdict
from orchestrator.domain.matching import denied_by
from orchestrator.domain.offer import Candidate
from orchestrator.domain.places import Region
from orchestrator.domain.price import Market
from orchestrator.domain.scale import Work
from orchestrator.domain.service import PlacementRules, Policy, ServiceSpec, WhenStale
from orchestrator.domain.time import HOUR, Instant, format_instant
from orchestrator.domain.units import watts_to_kw
from orchestrator.policy.apply import has_expressions, with_own_rules
from orchestrator.policy.latency import estimated_rtt_ms

FRESHNESS_RULE = "carbon.max_age"
HORIZON_RULE = "policy.horizon"
SPOT_MUST_BE_CHEAPER = "spot_cheaper_than_on_demand"
EXTRA_COST_RULE = "policy.max_extra_cost"

ROUNDING_USD = 1e-12
"""What a limit that was worked out may be off by."""

Yardsticks = Mapping[tuple[Market, bool], float]
"""The least dollars an hour of one replica, by market, and by whether it may be known to be too small for its share."""


CAPACITY_RULE = "capacity"
FLOOR_RULE = "model.quality.floor"
MEMORY_RULE = "model.memory_gib"
QUALITY_PRICE_RULE = "model.quality.price"

ENOUGH_OF_THE_HORIZON = 0.9
"""The part of the coming hours that has to be known for their mean to be. With a tenth of a day missing the mean of the
rest is at most 4 % off what it usually is in any recorded zone, less than the forecast itself (decision 0090)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds for an offer as one of a service's variants: its share of the load, its quality, and its own rules."""

    work: Work
    quality: Quality
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Intensity:
    """The number that a decision uses for "now", and how it was come by."""

    grams_per_kwh: float
    kind: Kind
    source: str
    age_seconds: float
    fresh: bool


def usable_intensity(candidate: Candidate, spec: ServiceSpec, now: Instant) -> Intensity | None:
    """Apply the staleness rule: the value while it is near the truth, then the forecast while the value is fresh.

    Beyond ``carbon.max_age``, what ``carbon.when_stale`` names; else nothing. The forecast has the last value in it;
    how soon it is nearer than that value as it was is learnt for each zone (``Candidate.crossover``).
    """
    reading = candidate.now
    rules = spec.carbon
    if isinstance(reading, CarbonIntensity):
        age = reading.age(now).total_seconds()
        if reading.is_fresh(now, rules.max_age):
            if (point := _nearer(candidate, now)) is not None:
                return Intensity(point.grams_per_kwh, point.kind, point.source, age, fresh=True)
            return Intensity(reading.grams_per_kwh, reading.kind, reading.source, age, fresh=True)
        if rules.when_stale is WhenStale.IGNORE:
            return Intensity(reading.grams_per_kwh, reading.kind, reading.source, age, fresh=False)
    else:
        age = float("inf")
    if rules.when_stale is WhenStale.FORECAST and (point := candidate.forecast.at(now)) is not None:
        return Intensity(point.grams_per_kwh, point.kind, point.source, age, fresh=False)
    mean = candidate.trailing_mean_grams_per_kwh
    if rules.when_stale is WhenStale.STATIC and mean is not None:
        return Intensity(mean, Kind.DERIVED, "trailing 28-day mean", age, fresh=False)
    return None


def nearer(
    reading: Reading, crossover: Crossover | None, forecast: CarbonSeries, now: Instant
) -> CarbonIntensity | None:
    """Return the forecast of the present where that is nearer than the last value; ``None`` where the value is."""
    if not isinstance(reading, CarbonIntensity) or reading.interval.end > now:
        return None
    if crossover is None or crossover.believes(reading.age(now)):
        return None
    return forecast.at(now)


def _nearer(candidate: Candidate, now: Instant) -> CarbonIntensity | None:
    return nearer(candidate.now, candidate.crossover, candidate.forecast, now)


@dataclass(frozen=True, slots=True)
class _Ahead:
    """The coming hours: how many of the horizon's ``hours`` are ``known``, and their mean where those are enough."""

    hours: int
    known: int
    mean_grams_per_kwh: float | None

    @property
    def is_enough(self) -> bool:
        """Whether the mean of those that are known may stand for all of them."""
        return self.known >= ENOUGH_OF_THE_HORIZON * self.hours

    @property
    def verdict(self) -> Verdict | None:
        """Name the hole; nothing where there is none."""
        if self.known == self.hours:
            return None
        text = f"coming hours known for {self.known} of {self.hours}"
        text += ", enough for a mean" if self.is_enough else ": their mean is unknown and comes after those known"
        return Verdict(HORIZON_RULE, passed=True, text=text, value=float(self.known), unit="h")


def _ahead(candidate: Candidate, intensity: Intensity | None, policy: Policy, now: Instant) -> _Ahead:
    """Count the hours that are known as moves do: the present value first, then the forecast."""
    hours = max(1, int(policy.horizon / HOUR))
    present, *later = candidate.forecast.hourly_grams(now, hours)
    first = present if intensity is None else intensity.grams_per_kwh
    found = _Ahead(hours, hours - (first, *later).count(None), candidate.forecast.mean_grams_per_kwh())
    return found if found.is_enough else replace(found, mean_grams_per_kwh=None)


def assess(
    candidate: Candidate,
    spec: ServiceSpec,
    policy: Policy,
    now: Instant,
    mean_batch: float,
    providers: frozenset[str],
    without_spot: frozenset[str] = frozenset(),
    work: Work | None = None,
) -> Assessment:
    """Judge one offer on its own; :func:`assess_all` adds the rules that compare offers.

    ``mean_batch``: expected of any replica; ``work``: of one on this very shape, which goes before it.
    """
    offer, region = candidate.offer, candidate.offer.region
    intensity = usable_intensity(candidate, spec, now)
    power, share = offer.shape.power, work or Work(mean_batch, "assumed of every shape", 1)
    it_kwh = None if power is None else watts_to_kw(share.watts(power))
    kwh = None if it_kwh is None or region.pue is None else it_kwh * region.pue
    wue = region.wue_liters_per_kwh
    ahead = _ahead(candidate, intensity, policy, now)
    grams = None if intensity is None or kwh is None else kwh * intensity.grams_per_kwh
    static = intensity is not None and not intensity.fresh and spec.carbon.when_stale is WhenStale.STATIC
    mean = ahead.mean_grams_per_kwh
    expected = kwh * mean if kwh is not None and mean is not None and not static else grams
    is_expected = intensity is not None and (static or ahead.is_enough)
    hole = None if static or intensity is None else ahead.verdict
    reading = candidate.now
    return Assessment(
        offer_id=offer.id,
        region=region.id,
        zone=region.zone,
        shape=offer.shape.name,
        market=offer.market,
        pue=region.pue,
        grams_per_kwh=None if intensity is None else intensity.grams_per_kwh,
        intensity_kind=None if intensity is None else intensity.kind,
        intensity_source=reading.source if intensity is None else intensity.source,
        intensity_age_seconds=reading.age(now).total_seconds() if isinstance(reading, CarbonIntensity) else None,
        next_24h_grams_per_kwh=mean,
        next_24h_kind=None if mean is None else candidate.forecast.kind,
        kwh_per_hour=kwh,
        grams_per_hour=grams,
        expected_grams_per_hour=expected if is_expected else None,
        usd_per_hour=None if offer.price is None else offer.price.usd_per_hour,
        price_source="" if offer.price is None else offer.price.source,
        trailing_mean_grams_per_kwh=candidate.trailing_mean_grams_per_kwh,
        # ISO/IEC 30134-9: on-site water over the energy of the IT equipment, so without PUE.
        liters_per_hour=None if it_kwh is None or wue is None else it_kwh * wue,
        work=work,
        verdicts=(
            *_verdicts(candidate, intensity, spec, policy, now, providers, without_spot),
            *([] if hole is None else [hole]),
        ),
    )


def assess_all(
    candidates: Sequence[Candidate],
    spec: ServiceSpec,
    policy: Policy,
    now: Instant,
    mean_batch: float,
    providers: frozenset[str],
    without_spot: frozenset[str] = frozenset(),
    rtt_ms: Mapping[str, float] | None = None,
    works: Mapping[str, Work] | None = None,
    standings: Mapping[str, Standing] | None = None,
    promises: Mapping[str, Verdict] | None = None,
) -> tuple[Assessment, ...]:
    """Judge every offer, then apply the rules between offers: spot must be cheaper, and the extra cost is bounded.

    Extra cost is counted above the cheapest offer of the same market: on demand is a fallback because it is dearer. Who
    carries its share of the load is measured by those that do (ADR 0089), anybody else by all.
    ``without_spot``: regions where no provisioner can buy spot. ``rtt_ms``: measured round trips by region; others
    are estimated from distance. ``works``: what a replica has to do, by offer id; ``mean_batch`` holds for the others.
    ``standings``: of services with variants, by offer id. ``promises``: what each offer makes of ``slo.ttft_p95``, by
    offer id. The result is in the order of the offers' ids, whatever the
    order of the input.
    """
    ordered = sorted(candidates, key=lambda c: c.offer.id)
    shares, variants = works or {}, standings or {}
    alone = [
        _judged_variant(c, spec, policy, now, mean_batch, providers, without_spot, own)
        if (own := variants.get(c.offer.id)) is not None
        else assess(c, spec, policy, now, mean_batch, providers, without_spot, shares.get(c.offer.id))
        for c in ordered
    ]
    alone = [_with(a, (promises or {}).get(a.offer_id)) for a in alone]
    if has_expressions(policy):
        measured = rtt_ms or {}
        regions = {c.offer.region.id: c.offer.region for c in ordered}
        rtts = {i: measured.get(i, estimated_rtt_ms(spec.clients, region)) for i, region in regions.items()}
        alone = [_less_quality(with_own_rules(a, spec, policy, rtts[a.region])) for a in alone]
    on_demand = {
        (a.region, a.shape): a.usd_per_hour
        for a in alone
        if a.market is Market.ON_DEMAND and a.usd_per_hour is not None
    }
    with_spot = [_with(a, _spot_verdict(a, on_demand.get((a.region, a.shape)))) for a in alone]
    fraction = policy.max_extra_cost_fraction
    if fraction is None:
        return tuple(with_spot)
    # What is shown of the other market is measured by the same limit.
    cheapest = yardsticks((a for a in with_spot if a.allowed), one_for_all=len(spec.markets) == 1)
    return tuple(_with(a, _extra_cost_verdict(a, cheapest, fraction)) for a in with_spot)


def is_small(assessment: Assessment | None) -> bool:
    """Whether it is known that a replica there is too small for its share of the load."""
    return assessment is not None and assessment.work is not None and assessment.work.carries is False


def yardsticks(assessments: Iterable[Assessment], *, one_for_all: bool = False) -> Yardsticks:
    """Return the least price of these offers by market: of all, and of all but those that are known to be too small.

    ``one_for_all``: whatever the market.
    """
    found: dict[tuple[Market, bool], float] = {}
    for a in assessments:
        usd = a.usd_per_hour
        if usd is None:
            continue
        for small in (True,) if is_small(a) else (False, True):
            found[a.market, small] = min(usd, found.get((a.market, small), usd))
    if one_for_all:
        least = {s: min(usd for (_, small), usd in found.items() if small is s) for s in {s for _, s in found}}
        return {(market, small): usd for small, usd in least.items() for market in Market}
    return found


def yardstick_of(a: Assessment, cheapest: Yardsticks) -> float | None:
    """Return the price that the extra cost of an offer is measured from; ``None`` where nothing may be bought there.

    Less money for less than its share of the load is no bargain, so who carries it is not held to that. Who may be too
    small for it is.
    """
    carries = a.work is not None and a.work.carries is True
    of_all = cheapest.get((a.market, True))
    return cheapest.get((a.market, False), of_all) if carries else of_all


def _judged_variant(
    candidate: Candidate,
    spec: ServiceSpec,
    policy: Policy,
    now: Instant,
    mean_batch: float,
    providers: frozenset[str],
    without_spot: frozenset[str],
    own: Standing,
) -> Assessment:
    judged = assess(candidate, spec, policy, now, mean_batch, providers, without_spot, own.work)
    return replace(judged, quality=own.quality, verdicts=(*judged.verdicts, *own.verdicts))


def _less_quality(a: Assessment) -> Assessment:
    """Count the quality that is lost in the score; one that is priced and not known is no bargain."""
    if a.quality is None or a.score_usd_per_hour is None or not a.quality.usd_per_point:
        return a
    lost = a.quality.usd_per_hour
    if lost is None:
        text = f"{a.quality.variant} loses quality, which has a price, and how many tokens are written is unknown"
        return replace(
            a, score_usd_per_hour=None, verdicts=(*a.verdicts, Verdict(QUALITY_PRICE_RULE, passed=False, text=text))
        )
    return replace(a, score_usd_per_hour=a.score_usd_per_hour + lost)


def _with(assessment: Assessment, verdict: Verdict | None) -> Assessment:
    return assessment if verdict is None else replace(assessment, verdicts=(*assessment.verdicts, verdict))


def _spot_verdict(a: Assessment, on_demand: float | None) -> Verdict | None:
    if a.market is not Market.SPOT or a.usd_per_hour is None or on_demand is None:
        return None
    cheaper = a.usd_per_hour < on_demand
    text = f"spot ${a.usd_per_hour:.4f}/h {'<' if cheaper else '>='} on-demand ${on_demand:.4f}/h"
    return Verdict(SPOT_MUST_BE_CHEAPER, cheaper, text, a.usd_per_hour, on_demand, "USD/h")


def _extra_cost_verdict(a: Assessment, cheapest: Yardsticks, fraction: float) -> Verdict | None:
    least = yardstick_of(a, cheapest)
    if a.usd_per_hour is None or least is None:
        return None
    limit = least * (1 + fraction)
    passed = a.usd_per_hour <= limit + ROUNDING_USD
    whose = "cheapest" if least == cheapest[a.market, True] else "cheapest that carries its share"
    text = f"${a.usd_per_hour:.4f}/h {'<=' if passed else '>'} {whose} +{fraction:.0%} (${limit:.4f}/h)"
    return Verdict(EXTRA_COST_RULE, passed, text, a.usd_per_hour, limit, "USD/h")


def _verdicts(
    candidate: Candidate,
    intensity: Intensity | None,
    spec: ServiceSpec,
    policy: Policy,
    now: Instant,
    providers: frozenset[str],
    without_spot: frozenset[str],
) -> Iterator[Verdict]:
    """Yield the verdicts of one offer, the most telling first: the first that failed is the reason shown."""
    offer, region, rules = candidate.offer, candidate.offer.region, spec.placement
    if region.provider not in providers:
        yield Verdict("provider", passed=False, text=f"no provisioner is configured for {region.provider}")
    yield from placement_verdicts(region, rules)
    if offer.market not in spec.markets:
        asked = "spot" if spec.resources.use_spot else "on-demand"
        yield Verdict("resources.use_spot", passed=False, text=f"{asked} was asked for")
    if offer.market is Market.SPOT and region.id in without_spot:
        yield Verdict("provider.spot", passed=False, text=f"spot is not sold in {region.id}, or cannot be bought there")
    yield from _known_verdicts(candidate)
    if policy.price_cap_usd_per_hour is not None and offer.price is not None:
        price, cap = offer.price.usd_per_hour, policy.price_cap_usd_per_hour
        text = f"${price:.4f}/h {'<=' if price <= cap else '>'} price cap ${cap:.4f}/h"
        yield Verdict("policy.price_cap", price <= cap, text, price, cap, "USD/h")
    yield _freshness_verdict(candidate, intensity, spec, now)
    if candidate.avoid_until is not None and candidate.avoid_until > now:
        until = candidate.avoid_until.strftime("%d %b %H:%M UTC")
        yield Verdict(CAPACITY_RULE, passed=False, text=f"{candidate.avoid_reason}; not tried before {until}")


def placement_verdicts(region: Region, rules: PlacementRules) -> Iterator[Verdict]:
    """Yield what the rules on places say of a region, whatever its grid and its prices; rules not set say nothing."""
    if rules.residency:
        inside = bool(region.residency & set(rules.residency))
        named = "/".join(rules.residency)
        yield Verdict("placement.residency", inside, f"{region.id} is {'in' if inside else 'not in'} {named}")
    if rules.allow:
        passed = any(fnmatchcase(region.id, pattern) for pattern in rules.allow)
        yield Verdict("placement.allow", passed, f"{region.id} {'is' if passed else 'is not'} in placement.allow")
    if rules.deny:
        hit = denied_by(region.id, rules.deny)
        yield Verdict("placement.deny", hit is None, f"denied by {hit}" if hit else f"{region.id} is not denied")


def _known_verdicts(candidate: Candidate) -> Iterator[Verdict]:
    offer, region = candidate.offer, candidate.offer.region
    if not (region.zone is None or region.pue is None or offer.price is None or offer.shape.power is None):
        return
    known = {
        "region.zone": (region.zone is not None, "grid zone"),
        "region.pue": (region.pue is not None, "PUE"),
        "offer.price": (offer.price is not None, "price"),
        "shape.power": (offer.shape.power is not None, "power model"),
    }
    for rule, (is_known, word) in known.items():
        if not is_known:
            note = f": {offer.price_note}" if rule == "offer.price" and offer.price_note else ""
            yield Verdict(rule, passed=False, text=f"{word} unknown{note}")


def _freshness_verdict(candidate: Candidate, intensity: Intensity | None, spec: ServiceSpec, now: Instant) -> Verdict:
    limit = spec.carbon.max_age.total_seconds()
    reading = candidate.now
    if not isinstance(reading, CarbonIntensity):
        text = f"no carbon intensity for {reading.zone}: {reading.reason}"
        return Verdict(FRESHNESS_RULE, intensity is not None, text, None, limit, "s")
    age = reading.age(now).total_seconds()
    described = f"intensity {age / 60:.0f} min old"
    if reading.interval.start - now > spec.carbon.max_age:
        described = f"intensity dated {format_instant(reading.interval.start)}, still to come"
    if intensity is not None and intensity.fresh:
        text = f"{described}, limit {limit / 60:.0f} min"
        if (point := _nearer(candidate, now)) is not None and candidate.crossover is not None:
            text += f": using {point.source}, as {candidate.crossover.words}"
    elif intensity is not None:
        text = f"{described}: using {intensity.source} (carbon.when_stale)"
    else:
        text = f"{described}, over the limit of {limit / 60:.0f} min"
    return Verdict(FRESHNESS_RULE, intensity is not None, text, age, limit, "s")
