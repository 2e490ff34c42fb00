"""Gather what a report needs: samples, the intensities known by now, and the rivals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.control.deployed import Deployed, deployed
from orchestrator.control.gather import gather_snapshot
from orchestrator.control.grid import GridReader
from orchestrator.control.requests import known_service
from orchestrator.control.runtime import Runtime
from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Kind
from orchestrator.domain.decision import Assessment
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.offer import Offer, variant_in
from orchestrator.domain.records import ServiceRecord
from orchestrator.domain.replica import Replica
from orchestrator.domain.service import CarbonRules, Objective
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour, format_instant
from orchestrator.domain.transfer import Egress
from orchestrator.domain.variants import model_of
from orchestrator.errors import UsageError
from orchestrator.ledger.double_runs import double_runs
from orchestrator.ledger.egress import egress_of, on_grids
from orchestrator.ledger.hourly import hourly
from orchestrator.ledger.quality import served
from orchestrator.ledger.report import Alternative, Place, Report, period_of, report
from orchestrator.ledger.sampling import known_or_latest, settle
from orchestrator.planner.choose import choose
from orchestrator.planner.judged import judge

PRICE_RULE: Final = "offer.price"


async def service_report(runtime: Runtime, service: str, period: Window | None) -> Report:
    """Total a service's ledger, settled with what is known now, beside home, B3 and the oracle.

    Without a period, all there is since ``carbon.basis`` was changed last. Raises ``UnknownService``, and
    ``UsageError`` for a period in which it was changed.
    """
    record = known_service(service, runtime)
    now = runtime.clock.now()
    history = deployed(runtime.store, record)
    asked, period = period, _whole_hours(period, runtime)
    rows = hourly(runtime.store.energy(service, period))
    changes = _changes_in(rows, history, asked)
    if changes and asked is None:
        found = await service_report(runtime, service, Window(changes[-1], period_of(rows, now).end))
        return replace(found, basis_before=history.basis_before(changes[-1]))
    if changes:
        raise _two_bases(changes, history)
    basis, samples = _of_one_basis(rows, history, asked)
    record = _counting(record, basis)
    span = period_of(samples, now) if period is None else period
    market = await _market(record, runtime, span.start) if samples else NOTHING_SOLD
    zones = {s.zone for s in samples if s.zone is not None} | {a.zone for a in market.allowed if a.zone is not None}
    table = _Intensities(runtime, record.spec.carbon)
    replicas = runtime.store.replicas(service, ended=True) if samples else []
    launched = _launched_in(replicas, period, span)
    asked_of = [*(s.window for s in samples), *(Window(r.created_at, r.created_at + HOUR) for r in launched)]
    if asked_of:  # and not all of a period that somebody asked for: it may be a century
        first, last = min(w.start for w in asked_of), max(w.end for w in asked_of)
        await table.read(zones, Window(floor_hour(first - record.spec.carbon.max_age), last + HOUR), now)
    settled = settle(samples, table.of_hour)
    table.believe(settled)
    found = report(
        service,
        span,
        settled,
        _alternatives(record, market.allowed, table, span.start),
        table.grams_per_kwh,
        {r.name: r.shape for r in replicas},
        _egresses(record, launched, table),
        double_runs(replicas, history.wanted_another, market.idle_watts(replicas), now),
        {r.name: r.offer_id for r in replicas},
        table.kind,
    )
    quality = served(settled, {r.name: variant_in(r.offer_id) for r in replicas}, record.spec.variants)
    return replace(found, quality=quality, basis=basis)


def _changes_in(samples: Sequence[EnergySample], history: Deployed, asked: Window | None) -> list[Instant]:
    """Return when ``carbon.basis`` was changed between samples of a period; without one, of all."""
    if not samples:
        return []
    span = period_of(samples, samples[0].window.start) if asked is None else asked
    own = [max(s.window.start, span.start) for s in samples if s.window.start < span.end and span.start < s.window.end]
    if len({history.basis_at(at) for at in own}) == 1:
        return []
    changes = [since for since, _ in history.bases if span.start < since < span.end]
    return [since for since in changes if any(at < since for at in own) and any(at >= since for at in own)]


def _two_bases(changes: Sequence[Instant], history: Deployed) -> UsageError:
    when = ", ".join(f"to {_words(history.basis_at(since))} on {format_instant(since)}" for since in changes)
    first = format_instant(changes[0])
    return UsageError(
        f"carbon.basis was changed in this period ({when}), and grams of two bases are no sum",
        hint=f"Ask for what was before and after: --to {first}, and --from {first}",
    )


def _of_one_basis(
    samples: Sequence[EnergySample], history: Deployed, asked: Window | None
) -> tuple[Basis, Sequence[EnergySample]]:
    """Return the basis of a period without a change, and its samples: whole hours at its ends may hold others."""
    if not samples:
        return history.bases[-1][1], samples
    at = samples[0].window.start if asked is None else max(asked.start, samples[0].window.start)
    basis = history.basis_at(at)
    return basis, [s for s in samples if history.basis_at(s.window.start) == basis]


def _words(basis: Basis) -> str:
    return f"{basis.accounting} {basis.factors}"


def _counting(record: ServiceRecord, basis: Basis) -> ServiceRecord:
    """Return the service as it would be with that basis, so that its rivals are chosen and priced by it."""
    return replace(record, spec=replace(record.spec, carbon=replace(record.spec.carbon, basis=basis)))


def _launched_in(replicas: Sequence[Replica], period: Window | None, span: Window) -> list[Replica]:
    """Return those asked for in the period; without one, all up to the last sample. Not what came to nothing."""
    start = span.start if period is not None else min([span.start, *(r.created_at for r in replicas)])
    return [r for r in replicas if start <= r.created_at < span.end and not r.came_to_nothing]


def _egresses(record: ServiceRecord, launched: Sequence[Replica], table: _Intensities) -> list[Egress]:
    """Return what each launch fetched, on the grid of its own hour; by the model that the service has now."""
    found = []
    for replica in launched:
        at = Window(replica.created_at, replica.created_at + HOUR)
        grams = None if replica.zone is None else table.grams_per_kwh(replica.zone, at)
        model = model_of(record.spec, variant_in(replica.offer_id)) or record.spec.model
        egress = egress_of(model, replica.region)
        if egress is not None:
            found.append(egress if grams is None else on_grids(egress, {replica.region: grams}, replica.region))
    return found


def _whole_hours(period: Window | None, runtime: Runtime) -> Window | None:
    """Widen to whole clock hours what lies so far back that samples may stand as hours: those are never cut."""
    keep, clock = runtime.tuning.keep_samples, runtime.clock
    if period is None or keep is None:
        return period
    old = clock.now() - keep * clock.rate
    start = floor_hour(period.start) if period.start < old else period.start
    end = period.end if period.end >= old or floor_hour(period.end) == period.end else floor_hour(period.end) + HOUR
    return Window(start, end)


class _Intensities:
    """The past of several zones, looked up by window."""

    def __init__(self, runtime: Runtime, rules: CarbonRules) -> None:
        self._runtime = runtime
        self._rules = rules
        self._by_hour: dict[tuple[str, Instant], CarbonIntensity] = {}
        self._series: dict[str, CarbonSeries] = {}
        self._counted: dict[tuple[str, Instant], tuple[float, Kind]] = {}

    async def read(self, zones: set[str], window: Window, now: Instant) -> None:
        """Read the past of the zones."""
        grid = GridReader(self._runtime.carbon)
        for zone in sorted(zones):
            series = await grid.intensities(zone, self._rules.basis, window, now)
            self._series[zone] = series
            for point in series.points:
                self._by_hour[zone, floor_hour(point.interval.start)] = point

    def of_hour(self, zone: str, window: Window) -> CarbonIntensity | None:
        """Return the value of the window's hour; ``None`` in a hole, and while that hour is not published yet."""
        return self._by_hour.get((zone, floor_hour(window.start)))

    def believe(self, settled: Sequence[EnergySample]) -> None:
        """Let what the service counts in a zone and hour hold for whoever else is there: it is the same grid."""
        for sample in settled:
            if sample.zone is not None and sample.grams_per_kwh is not None and sample.intensity_kind is not None:
                key = sample.zone, floor_hour(sample.window.start)
                self._counted[key] = sample.grams_per_kwh, sample.intensity_kind

    def grams_per_kwh(self, zone: str, window: Window) -> float | None:
        """Price a rival as the service was metered: by that hour, or the newest earlier one while it is fresh."""
        found = self._at(zone, window)
        return None if found is None else found[0]

    def kind(self, zone: str, window: Window) -> Kind | None:
        """Return what kind of number that is."""
        found = self._at(zone, window)
        return None if found is None else found[1]

    def _at(self, zone: str, window: Window) -> tuple[float, Kind] | None:
        if counted := self._counted.get((zone, floor_hour(window.start))):
            return counted
        series = self._series.get(zone, CarbonSeries(zone, ()))
        point = self.of_hour(zone, window) or known_or_latest(series, window, self._rules.max_age)
        return None if point is None else (point.grams_per_kwh, point.kind)


# ── the rivals ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Market:
    """What was sold when the period began. ``allowed``: to rivals."""

    allowed: tuple[Assessment, ...]
    offers: tuple[Offer, ...]

    def idle_watts(self, replicas: Iterable[Replica]) -> dict[str, float]:
        """Return what each replica draws while it idles, IT power, by name: of those whose shape is still sold."""
        by_shape = {o.shape.name: o.shape.power.idle_watts for o in self.offers if o.shape.power is not None}
        return {r.name: by_shape[r.shape] for r in replicas if r.shape in by_shape}


NOTHING_SOLD: Final = _Market((), ())


async def _market(record: ServiceRecord, runtime: Runtime, start: Instant) -> _Market:
    """Every offer with a known zone, PUE and price that the rules allowed when the period began, and home.

    What had failed by then keeps no rival out: the pause is one of minutes, and the failure was ours. Nor does a price
    that is not believed today: its dollars are unknown, and what a place emitted stays what it was.
    """
    snapshot = await gather_snapshot(record.spec, record.spec_digest, runtime, GridReader(runtime.carbon), start)
    unfailed = tuple(replace(c, avoid_until=None, avoid_reason="") for c in snapshot.candidates)
    doubted = {c.offer.id for c in unfailed if c.offer.price is None and c.offer.price_note}
    snapshot = replace(snapshot, candidates=unfailed)
    assessments = judge(snapshot, record.spec.policy, start).assessments
    assessments = tuple(_whatever_it_costs(a) if a.offer_id in doubted else a for a in assessments)
    home = record.spec.placement.home
    return _Market(
        tuple(a for a in assessments if (a.allowed or a.region == home) and a.zone is not None and a.pue is not None),
        tuple(c.offer for c in unfailed),
    )


def _whatever_it_costs(a: Assessment) -> Assessment:
    return replace(a, verdicts=tuple(v for v in a.verdicts if v.rule != PRICE_RULE))


def _alternatives(
    record: ServiceRecord, known: Sequence[Assessment], table: _Intensities, start: Instant
) -> tuple[Alternative, ...]:
    """Home, the trailing-mean choice and the hindsight bound, the latter two under the service's own rules."""
    allowed = [a for a in known if a.allowed]
    found = []
    home, why = _home(record, known)
    if home is not None:
        found.append(_fixed("home", (home,), why))
    ranked = [(a, a.trailing_mean_grams_per_kwh) for a in allowed]
    trailing = {a.offer_id: mean for a, mean in ranked if mean is not None}
    if trailing:
        best = _cleanest(record, allowed, trailing)
        why = f"cleanest by the 28 days before {start:%Y-%m-%d %H:%M} UTC, under the same rules"
        found.append(_fixed("B3", best, why))
    if allowed:
        why = "cleanest of every hour in hindsight, moving for nothing: a bound"
        found.append(Alternative("oracle", "any allowed", why, _oracle(record, allowed, table)))
    return tuple(found)


def _fixed(name: str, chosen: Sequence[Assessment], why: str) -> Alternative:
    places = _places(chosen)
    return Alternative(name, " + ".join(dict.fromkeys(p.region for p in places)), why, lambda _window: places)


def _places(chosen: Sequence[Assessment]) -> tuple[Place, ...]:
    return tuple(
        Place(a.region, a.zone, a.pue, a.usd_per_hour, a.offer_id)
        for a in chosen
        if a.zone is not None and a.pue is not None
    )


def _cleanest(
    record: ServiceRecord, allowed: Sequence[Assessment], grams_per_kwh: Mapping[str, float]
) -> tuple[Assessment, ...]:
    """Choose by given intensities, with the chooser and the rules that the service itself lives under."""
    weighted = [replace(a, expected_grams_per_hour=_weighted(a, grams_per_kwh.get(a.offer_id))) for a in allowed]
    count = max(1, record.spec.scaling.min_replicas)
    return choose(weighted, count, (), record.spec.placement, Objective.GREENEST)


def _weighted(assessment: Assessment, grams_per_kwh: float | None) -> float | None:
    """Return what one kWh of IT energy emits there: a rival is charged with the service's own energy, on any shape."""
    pue = assessment.pue
    return None if pue is None or grams_per_kwh is None else pue * grams_per_kwh


def _oracle(
    record: ServiceRecord, allowed: Sequence[Assessment], table: _Intensities
) -> Callable[[Window], tuple[Place, ...]]:
    by_hour: dict[Instant, tuple[Place, ...]] = {}

    def places_in(window: Window) -> tuple[Place, ...]:
        hour = floor_hour(window.start)
        if hour not in by_hour:
            values = {a.offer_id: table.grams_per_kwh(a.zone or "", window) for a in allowed}
            known = {offer: value for offer, value in values.items() if value is not None}
            complete = len(known) == len(values)
            by_hour[hour] = _places(_cleanest(record, allowed, known)) if complete else ()
        return by_hour[hour]

    return places_in


def _home(record: ServiceRecord, assessments: Sequence[Assessment]) -> tuple[Assessment | None, str]:
    named = record.spec.placement.home
    there = sorted((a for a in assessments if a.region == named), key=lambda a: _order_at_home(record, a))
    if there:
        return there[0], "placement.home in the spec"
    cheapest = choose(assessments, 1, (), record.spec.placement, Objective.CHEAPEST)
    return (cheapest[0] if cheapest else None), "the cheapest allowed region (the spec names no placement.home)"


def _order_at_home(record: ServiceRecord, a: Assessment) -> tuple[bool, bool, float, str]:
    """Order what home sells as somebody would rent it: what is allowed, of the service's market, the cheapest."""
    usd = math.inf if a.usd_per_hour is None else a.usd_per_hour
    return not a.allowed, a.market is not record.spec.market, usd, a.offer_id
