"""A carbon source for tests and simulations: it says what it was told, at the time it may know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Gap, Kind, Reading
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.errors import SignalUnavailable

AVERAGE_LIFECYCLE = Basis()


@dataclass(frozen=True, slots=True)
class Call:
    """One question that was asked."""

    method: str
    zone: str
    basis: Basis
    now: Instant


class FakeCarbon:
    """A :class:`~orchestrator.control.ports.CarbonSource` whose values, gaps, failures and forecasts are set by hand.

    As in a real feed, a value is known from the end of its interval on. ``calls`` records every question.
    """

    def __init__(self, name: str = "fake", *, kind: Kind = Kind.MEASURED) -> None:
        self._name = name
        self._kind = kind
        self._points: dict[tuple[str, Basis], dict[Instant, CarbonIntensity]] = {}
        self._held: dict[tuple[str, Basis], float] = {}
        self._forecasts: dict[tuple[str, Basis], list[CarbonSeries]] = {}
        self._gaps: dict[str, str] = {}
        self._failure: SignalUnavailable | None = None
        self.calls: list[Call] = []

    # ── what a test says ─────────────────────────────────────────────────────────────────────────────

    def put(
        self,
        zone: str,
        start: Instant,
        grams_per_kwh: Sequence[float | None],
        *,
        basis: Basis = AVERAGE_LIFECYCLE,
        every: timedelta = HOUR,
    ) -> None:
        """Set consecutive values from ``start`` on, each lasting ``every``; ``None`` leaves a hole."""
        points = self._points.setdefault((zone, basis), {})
        for number, grams in enumerate(grams_per_kwh):
            interval = Window.starting(start + number * every, every)
            points.pop(interval.start, None)
            if grams is not None:
                points[interval.start] = self._point(zone, grams, interval, basis, interval.end)

    def hold(self, zone: str, grams_per_kwh: float, *, basis: Basis = AVERAGE_LIFECYCLE) -> None:
        """Let every hour without a value of its own have this one."""
        self._held[zone, basis] = grams_per_kwh

    def put_forecast(
        self,
        zone: str,
        issued_at: Instant,
        start: Instant,
        grams_per_kwh: Sequence[float | None],
        *,
        basis: Basis = AVERAGE_LIFECYCLE,
    ) -> None:
        """Issue an hourly forecast from ``start`` on."""
        points = [
            CarbonIntensity(
                zone,
                grams,
                Window.starting(start + n * HOUR, HOUR),
                Kind.FORECAST,
                self._name,
                issued_at,
                issued_at,
                basis,
            )
            for n, grams in enumerate(grams_per_kwh)
            if grams is not None
        ]
        self._forecasts.setdefault((zone, basis), []).append(CarbonSeries(zone, tuple(points)))

    def gap(self, zone: str, reason: str) -> None:
        """Know the zone, but nothing about it, until :meth:`heal`."""
        self._gaps[zone] = reason

    def fail(self, message: str) -> None:
        """Raise ``SignalUnavailable`` on every question, until :meth:`heal`."""
        self._failure = SignalUnavailable(message)

    def heal(self) -> None:
        """End gaps and failures."""
        self._gaps.clear()
        self._failure = None

    # ── what the port promises ───────────────────────────────────────────────────────────────────────

    @property
    def name(self) -> str:
        """Short name that travels with each value."""
        return self._name

    async def zones(self) -> frozenset[str]:
        """Return every zone that was mentioned."""
        self._raise_if_failing()
        return frozenset(zone for zone, _ in (*self._points, *self._held)) | frozenset(self._gaps)

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        """Return the newest value known at ``now``, or why there is none."""
        self._ask("latest", zone, basis, now)
        if zone in self._gaps:
            return Gap(zone, self._gaps[zone], self._name)
        known = [p for p in self._points.get((zone, basis), {}).values() if p.issued_at <= now]
        if (zone, basis) in self._held:
            known += self._held_points(zone, basis, Window(floor_hour(now) - HOUR, floor_hour(now)), now)
        if not known:
            return Gap(zone, f"nothing is known of zone {zone!r} on this basis", self._name)
        return max(known, key=lambda p: p.interval.end)

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """Return the values that touch the window and are known at ``now``."""
        self._ask("history", zone, basis, now)
        if zone in self._gaps:
            return CarbonSeries(zone, ())
        known = {
            p.interval.start: p
            for p in self._points.get((zone, basis), {}).values()
            if p.issued_at <= now and p.interval.start < window.end and p.interval.end > window.start
        }
        if (zone, basis) in self._held:
            for point in self._held_points(zone, basis, window, now):
                known.setdefault(point.interval.start, point)
        return CarbonSeries(zone, tuple(known[start] for start in sorted(known)))

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        """Return the newest forecast issued by ``now``, cut to the window; ``None`` when there is none."""
        self._ask("forecast", zone, basis, now)
        issued = [s for s in self._forecasts.get((zone, basis), []) if s.points and s.points[0].issued_at <= now]
        if zone in self._gaps or not issued:
            return None
        newest = max(issued, key=lambda s: s.points[0].issued_at)
        inside = [p for p in newest.points if p.interval.start < window.end and p.interval.end > window.start]
        return CarbonSeries(zone, tuple(inside))

    def _held_points(self, zone: str, basis: Basis, window: Window, now: Instant) -> list[CarbonIntensity]:
        points, start = [], floor_hour(window.start)
        while start < window.end and start + HOUR <= now:
            interval = Window.starting(start, HOUR)
            points.append(self._point(zone, self._held[zone, basis], interval, basis, interval.end))
            start += HOUR
        return points

    def _point(self, zone: str, grams: float, interval: Window, basis: Basis, issued_at: Instant) -> CarbonIntensity:
        return CarbonIntensity(zone, grams, interval, self._kind, self._name, issued_at, issued_at, basis)

    def _ask(self, method: str, zone: str, basis: Basis, now: Instant) -> None:
        self.calls.append(Call(method, zone, basis, now))
        self._raise_if_failing()

    def _raise_if_failing(self) -> None:
        if self._failure is not None:
            raise self._failure
