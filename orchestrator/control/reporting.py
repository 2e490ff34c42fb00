"""Gather what a report needs: samples, the intensities known by now, and the rivals."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.control.gather import gather_snapshot
from orchestrator.control.grid import GridReader
from orchestrator.control.requests import known_service
from orchestrator.control.runtime import Runtime
from orchestrator.domain.carbon import Basis, CarbonIntensity
from orchestrator.domain.decision import Assessment
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.records import ServiceRecord
from orchestrator.domain.service import Objective
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour, format_instant
from orchestrator.ledger.report import Report, Rival, period_of, report
from orchestrator.ledger.sampling import settle
from orchestrator.planner.choose import choose
from orchestrator.planner.plan import judge


async def service_report(runtime: Runtime, service: str, period: Window | None) -> Report:
    """Total a service's ledger, settled with what is known now, beside home and B3. Raises ``UnknownService``."""
    record = known_service(service, runtime)
    now = runtime.clock.now()
    samples = runtime.store.energy(service, period)
    span = period_of(samples, now) if period is None else period
    rivals = await _rivals(record, runtime, samples, span.start)
    zones = {s.zone for s in samples if s.zone is not None} | {r.zone for r in rivals}
    table = _Intensities(runtime, record.spec.carbon.basis)
    before = floor_hour(span.start - record.spec.carbon.max_age)
    await table.read(zones, Window(before, span.end + HOUR), now)
    settled = settle(samples, table.reading)
    return report(service, span, settled, rivals, table.grams_per_kwh)


class _Intensities:
    """The past of several zones, looked up by window."""

    def __init__(self, runtime: Runtime, basis: Basis) -> None:
        self._runtime = runtime
        self._basis = basis
        self._by_hour: dict[tuple[str, Instant], CarbonIntensity] = {}
        self._points: dict[str, tuple[CarbonIntensity, ...]] = {}

    async def read(self, zones: set[str], window: Window, now: Instant) -> None:
        """Read the past of the zones."""
        grid = GridReader(self._runtime.carbon)
        for zone in sorted(zones):
            series = await grid.intensities(zone, self._basis, window, now)
            self._points[zone] = series.points
            for point in series.points:
                self._by_hour[zone, floor_hour(point.interval.start)] = point

    def reading(self, zone: str, window: Window) -> CarbonIntensity | None:
        """Return the value of the window's hour, or the newest earlier one while that hour is not published yet."""
        known = self._by_hour.get((zone, floor_hour(window.start)))
        if known is not None:
            return known
        earlier = (p for p in reversed(self._points.get(zone, ())) if p.interval.end <= window.start)
        return next(earlier, None)

    def grams_per_kwh(self, zone: str, window: Window) -> float | None:
        """Price a rival by the same rule as the service itself."""
        point = self.reading(zone, window)
        return None if point is None else point.grams_per_kwh


async def _rivals(
    record: ServiceRecord, runtime: Runtime, samples: Sequence[EnergySample], start: Instant
) -> tuple[Rival, ...]:
    """Home, and the region that was cleanest by its trailing 28-day mean when the period began."""
    if not samples:
        return ()
    grid = GridReader(runtime.carbon)
    snapshot = await gather_snapshot(record.spec, record.spec_digest, runtime, grid, start)
    judged = judge(snapshot, record.spec.policy, start)
    rivals = []
    home, why = _home(record, judged.assessments)
    if home is not None and home.zone is not None and home.pue is not None:
        rivals.append(Rival("home", home.region, home.zone, home.pue, home.usd_per_hour, why))
    ranked = [a for a in judged.assessments if a.allowed and a.trailing_mean_grams_per_kwh is not None]
    if ranked:
        best = min(ranked, key=lambda a: ((a.trailing_mean_grams_per_kwh or 0.0) * (a.pue or 1.0), a.offer_id))
        if best.zone is not None and best.pue is not None:
            mean = f"{best.trailing_mean_grams_per_kwh:.0f} g/kWh"
            why = f"cleanest trailing 28-day mean at {format_instant(start)}: {mean}"
            rivals.append(Rival("B3", best.region, best.zone, best.pue, best.usd_per_hour, why))
    return tuple(rivals)


def _home(record: ServiceRecord, assessments: Sequence[Assessment]) -> tuple[Assessment | None, str]:
    named = record.spec.placement.home
    there = sorted((a for a in assessments if a.region == named), key=lambda a: (not a.allowed, a.offer_id))
    if there:
        return there[0], "placement.home in the spec"
    cheapest = choose(assessments, 1, (), record.spec.placement, Objective.CHEAPEST)
    return (cheapest[0] if cheapest else None), "the cheapest allowed region (the spec names no placement.home)"
