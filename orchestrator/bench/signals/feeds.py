"""A feed over a recording that tells the truth of every zone but one, and that one's from a moment on no longer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from orchestrator.bench.signals.lies import Lie, Occasion, is_odd
from orchestrator.domain.carbon import Basis, CarbonIntensity, Gap, Kind
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.signals.statement import Said, Statement

NAME: Final = "pretended"


@dataclass(frozen=True, slots=True)
class Attack:
    """Who is lied about, how, from when until when. ``rewrites``: hours before it began are lied about, too.

    ``older_by_hours``: how old numbers are that are told as new. ``share``: of the truth, for lies by a factor.
    """

    zone: str
    lie: Lie
    window: Window
    other_zone: str
    older_by_hours: int
    share: float
    rewrites: bool


@dataclass
class PretendedFeed:
    """A :class:`~orchestrator.signals.statement.Feed` of hours by zone; the running hour is told as an estimate."""

    basis: Basis
    grams_per_kwh: dict[str, dict[Instant, float]]
    attack: Attack | None = None
    name: str = NAME
    credit: str = "a recording"
    _truth: dict[str, dict[Instant, Statement]] = field(default_factory=dict, repr=False)

    async def zones(self) -> frozenset[str]:
        """Return the recorded zones."""
        return frozenset(self.grams_per_kwh)

    async def current(self, zone: str, basis: Basis, now: Instant) -> Said:
        """Return the running hour."""
        start = floor_hour(now)
        return self._said(zone, basis, Window(start, start + HOUR), now)

    async def past(self, zone: str, basis: Basis, window: Window, now: Instant) -> Said:
        """Return the window's hours that are over."""
        return self._said(zone, basis, Window(window.start, max(window.start, min(window.end, floor_hour(now)))), now)

    async def forecast(self, zone: str, basis: Basis, hours: int, now: Instant) -> Said:
        """Return none: what is forecast follows from what was said."""
        del basis, hours, now
        return Gap(zone, "no forecast is pretended", self.name)

    async def latest(self, zone: str, basis: Basis, now: Instant) -> CarbonIntensity | Gap:
        """Return what whoever believes everything takes for the present; what no grid can have is a gap there too."""
        said = await self.current(zone, basis, now)
        for one in said if not isinstance(said, Gap) else ():
            try:
                return CarbonIntensity(
                    zone, one.grams_per_kwh, one.interval, one.kind, one.source, now, fetched_at=now, basis=one.basis
                )
            except ValueError as error:
                return Gap(zone, str(error), self.name)
        return Gap(zone, "nothing is said", self.name)

    def _said(self, zone: str, basis: Basis, window: Window, now: Instant) -> Said:
        if zone not in self.grams_per_kwh or basis != self.basis:
            return Gap(zone, "nothing is recorded", self.name)
        first, last = floor_hour(window.start), window.end
        told = (self._told(true, now) for start, true in self._truth_of(zone).items() if first <= start < last)
        return [one for one in told if one is not None]

    def _truth_of(self, zone: str) -> dict[Instant, Statement]:
        if zone not in self._truth:
            self._truth[zone] = {
                start: Statement(zone, self.basis, Window.starting(start, HOUR), grams, Kind.ESTIMATED, self.name)
                for start, grams in sorted(self.grams_per_kwh[zone].items())
            }
        return self._truth[zone]

    def _told(self, true: Statement, now: Instant) -> Statement | None:
        attack, start = self.attack, true.interval.start
        if attack is None or true.zone != attack.zone or now not in attack.window:
            return true
        if start < floor_hour(attack.window.start) and not attack.rewrites:
            return true
        own, others = self.grams_per_kwh[true.zone], self.grams_per_kwh[attack.other_zone]
        occasion = Occasion(
            began_grams_per_kwh=own.get(floor_hour(attack.window.start), true.grams_per_kwh),
            other_zone=attack.other_zone,
            other_grams_per_kwh=others.get(start),
            older_grams_per_kwh=own.get(start - attack.older_by_hours * HOUR),
            odd_hour=is_odd(start),
            share=attack.share,
        )
        return attack.lie(true, occasion)
