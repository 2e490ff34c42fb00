"""Several carbon sources in order: for each zone the first one that answers, with its own provenance.

Values are passed on as they are. Nothing is averaged, and a series never mixes two sources, because two vintages of the
same grid can lie further apart than the difference that a decision turns on. An answer that is not what was asked for
(another zone, another basis, dated later than ``now``) counts as none. With ``cross_check`` a value counts only if no
later source contradicts it (:mod:`orchestrator.signals.agreement`): then there is a gap that names both.

A source that has gone stale may be passed over for one that has not: of two real sources the one that knows the present
counts. A likeness is never fresher than a measurement, however old that is, for then nothing would ever be stale, and
what policies say about stale numbers would not be heard.

Contradicted hours are left out of a history, too: otherwise whoever lied for long enough would go on steering by what
is remembered of it, after it has told the truth again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.control.ports import CarbonSource
from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Gap, Kind, Reading
from orchestrator.domain.time import Instant, Window
from orchestrator.errors import SignalUnavailable
from orchestrator.signals.agreement import OWN_METHOD, apart


@dataclass(frozen=True, slots=True)
class _Said:
    source: CarbonSource
    latest: CarbonIntensity


class CompositeCarbon:
    """A :class:`~orchestrator.control.ports.CarbonSource` made of others, the preferred one first.

    ``fresh_for``: how old a value may be before a later source with a younger one is preferred; without it the first
    source that has any value counts. ``order``: for a zone, the names of the sources to ask, in this order and no
    others; other zones are asked of all.
    """

    def __init__(
        self,
        sources: Sequence[CarbonSource],
        *,
        fresh_for: timedelta | None = None,
        cross_check: bool = False,
        order: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Raise ``ValueError`` without any source, or for an order of sources that are not here."""
        if not sources:
            message = "a composite needs at least one source"
            raise ValueError(message)
        self._sources = tuple(sources)
        self._fresh_for = fresh_for
        self._cross_check = cross_check
        by_name = {source.name: source for source in self._sources}
        unknown = sorted({name for names in (order or {}).values() for name in names} - by_name.keys())
        if unknown:
            message = f"there is no source {unknown[0]!r}; there are: {', '.join(by_name)}"
            raise ValueError(message)
        self._order = {zone: tuple(by_name[n] for n in names) for zone, names in (order or {}).items()}
        self._passed_over: dict[tuple[str, Basis], tuple[Gap, ...]] = {}
        self._unread: dict[str, Gap] = {}

    @property
    def name(self) -> str:
        """The sources' names in order; values carry the name of the one that said them."""
        return " > ".join(source.name for source in self._sources)

    async def zones(self) -> frozenset[str]:
        """Return the zones of all sources that can be read. Raises ``SignalUnavailable`` when none can."""
        found: set[str] = set()
        failed: list[Gap] = []
        for source in self._sources:
            try:
                found |= await source.zones()
            except SignalUnavailable as error:
                failed.append(Gap("*", error.message, source.name))
        if len(failed) == len(self._sources):
            raise SignalUnavailable(_sentence(failed))
        return frozenset(found)

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        """Return the first source's value, of whatever age; staleness is the policy's business.

        Raises ``SignalUnavailable`` when no source can be read at all.
        """
        source, reading = await self._choose(zone, basis, now)
        if source is None or not isinstance(reading, CarbonIntensity):
            return reading
        return await self._contradicted(source, reading, now) or reading

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """Return the first series that has a point, without the hours that a later source contradicts.

        Raises ``SignalUnavailable`` when no source can be read.
        """
        failed: list[Gap] = []
        for source in self._of(zone):
            try:
                series = await source.history(zone, basis, window, now)
            except SignalUnavailable as error:
                failed.append(Gap(zone, error.message, source.name))
                continue
            if series.points and not _mismatch(series.points, zone, basis, now):
                return await self._uncontradicted(source, series, basis, window, now)
        if len(failed) == len(self._of(zone)):
            raise SignalUnavailable(_sentence(failed))
        return CarbonSeries(zone, ())

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        """Return the forecast of the source whose present value is used, else ``None``.

        A forecast from another source than the present value would put a step at ``now`` that no grid makes.
        """
        try:
            source, _ = await self._choose(zone, basis, now)
            series = await source.forecast(zone, basis, window, now) if source is not None else None
        except SignalUnavailable:
            return None
        return None if series is None or _mismatch(series.points, zone, basis, now) else series

    def passed_over(self, zone: str, basis: Basis) -> tuple[Gap, ...]:
        """Say why earlier sources were passed over when the zone's latest value was last asked for, in order."""
        return self._passed_over.get((zone, basis), ())

    def unread(self) -> tuple[Gap, ...]:
        """Say which sources could not be read when last asked, and why, in order; others may stand in for them."""
        return tuple(self._unread[source.name] for source in self._sources if source.name in self._unread)

    def _of(self, zone: str) -> tuple[CarbonSource, ...]:
        return self._order.get(zone, self._sources)

    async def _contradicted(self, source: CarbonSource, reading: CarbonIntensity, now: Instant) -> Gap | None:
        """Ask the sources that come after the one that counts whether they say otherwise of the same time."""
        for said in await self._others(source, reading.zone, reading.basis, now):
            told: tuple[CarbonIntensity, ...] = (said.latest,)
            if said.latest.interval.start >= reading.interval.end:
                told += await _hours_of(said.source, reading.zone, reading.basis, reading.interval, now)
            reason = next(filter(None, (apart(reading, other) for other in told)), "")
            if reason:
                return Gap(reading.zone, reason, self.name)
        return None

    async def _uncontradicted(
        self, source: CarbonSource, series: CarbonSeries, basis: Basis, window: Window, now: Instant
    ) -> CarbonSeries:
        points = series.points
        for said in await self._others(source, series.zone, basis, now):
            if said.latest.kind in OWN_METHOD or points[-1].kind in OWN_METHOD:
                continue
            theirs = await _hours_of(said.source, series.zone, basis, window, now)
            by_hour = {point.interval: point for point in theirs}
            points = tuple(p for p in points if p.interval not in by_hour or not apart(p, by_hour[p.interval]))
            if not points:
                break
        return CarbonSeries(series.zone, points)

    async def _others(self, source: CarbonSource, zone: str, basis: Basis, now: Instant) -> list[_Said]:
        """Return the sources after the one that counts with what they say now; none unless they are to be heard."""
        sources, found = self._of(zone), []
        for other in sources[sources.index(source) + 1 :] if self._cross_check else ():
            try:
                said = await other.latest(zone, basis, now)
            except SignalUnavailable:
                continue
            if isinstance(said, CarbonIntensity) and not _mismatch([said], zone, basis, now):
                found.append(_Said(other, said))
        return found

    async def _choose(self, zone: str, basis: Basis, now: Instant) -> tuple[CarbonSource | None, Reading]:
        """Return the source that counts and its value; no source and the reasons when none has one."""
        passed: list[Gap] = []
        stale: tuple[CarbonSource, CarbonIntensity, int] | None = None
        failures = 0
        for source in self._of(zone):
            try:
                reading = await source.latest(zone, basis, now)
                self._unread.pop(source.name, None)
            except SignalUnavailable as error:
                failures += 1
                reading = Gap(zone, error.message, source.name)
                self._unread[source.name] = Gap("*", error.message, source.name)
            if isinstance(reading, CarbonIntensity):
                reason = _mismatch([reading], zone, basis, now)
                if reason:
                    reading = Gap(zone, reason, source.name)
                elif self._is_to_do(reading, now) and (stale is None or reading.kind is not Kind.SYNTHETIC):
                    self._passed_over[zone, basis] = tuple(passed)
                    return source, reading
                else:
                    stale = stale or (source, reading, len(passed))
                    reading = Gap(zone, f"its value is {_hours(reading.age(now))} old", source.name)
            passed.append(reading)
        if stale is not None:
            self._passed_over[zone, basis] = tuple(passed[: stale[2]])
            return stale[0], stale[1]
        self._passed_over[zone, basis] = tuple(passed)
        if failures == len(self._of(zone)):
            raise SignalUnavailable(_sentence(passed))
        return None, Gap(zone, _sentence(passed), self.name)

    def _is_to_do(self, reading: CarbonIntensity, now: Instant) -> bool:
        return self._fresh_for is None or reading.is_fresh(now, self._fresh_for)


async def _hours_of(
    source: CarbonSource, zone: str, basis: Basis, window: Window, now: Instant
) -> tuple[CarbonIntensity, ...]:
    """Return what a source knows of the window; nothing if it cannot be asked."""
    try:
        series = await source.history(zone, basis, window, now)
    except SignalUnavailable:
        return ()
    return series.points


def _hours(age: timedelta) -> str:
    return f"{age / timedelta(hours=1):.1f} h"


def _mismatch(points: Sequence[CarbonIntensity], zone: str, basis: Basis, now: Instant) -> str:
    for point in points:
        if point.zone != zone:
            return f"answered for zone {point.zone}"
        if point.basis != basis:
            return f"answered with {point.basis.accounting} {point.basis.factors} intensity"
        if point.issued_at > now:
            return "answered with a value issued in the future"
    return ""


def _sentence(gaps: Sequence[Gap]) -> str:
    return "; ".join(f"{gap.source}: {gap.reason}" for gap in gaps)
