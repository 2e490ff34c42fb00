"""Puts statements through the gate, beside what the archive knows, and remembers them with the verdict."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from orchestrator.domain.carbon import Basis, CarbonIntensity, Kind
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.signals import gate
from orchestrator.signals.archive import Archive, Kept
from orchestrator.signals.statement import Statement

Doubt = tuple[str, Window, float, str]
"""Zone that was asked for, interval, g/kWh as it was said, reason."""


class Judge:
    """The gate with a memory."""

    def __init__(self, archive: Archive, yearly_grams_per_kwh: Mapping[str, float]) -> None:
        self._archive = archive
        self._yearly = yearly_grams_per_kwh

    def observed(self, statements: Sequence[Statement], zone: str, basis: Basis, now: Instant) -> list[Doubt]:
        """Remember statements about the present and the past; returns those that are not believed, with the reason.

        One that was said before in the same words keeps its verdict.
        """
        doubts, past = [], _Past(self._archive, zone, basis, statements, now)
        for statement in sorted(statements, key=lambda s: (s.interval.start, s.interval.end)):
            reason = (
                gate.misdirected(statement, zone, basis)
                or gate.misdated(statement, now)
                or gate.impossible(statement.grams_per_kwh, basis)
            )
            if reason:
                doubts.append((zone, statement.interval, statement.grams_per_kwh, reason))
                continue
            if past.was_said(statement):
                continue
            values, recent = past.before(statement)
            reason = self._beside(
                statement.grams_per_kwh, zone, basis, values, past.watched(statement, now)
            ) or gate.stands_still(statement.grams_per_kwh, recent)
            if reason:
                doubts.append((zone, statement.interval, statement.grams_per_kwh, reason))
            past.add(_kept(statement, now, reason))
        self._archive.add(past.added, now)
        return doubts

    def forecast(
        self, statements: Sequence[Statement], zone: str, basis: Basis, now: Instant
    ) -> tuple[tuple[CarbonIntensity, ...], list[Doubt]]:
        """Return the believed points of a forecast in order, and the others. Forecasts are not remembered here."""
        points: list[CarbonIntensity] = []
        doubts: list[Doubt] = []
        values, _ = _Past(self._archive, zone, basis, statements, now).until(now)
        for statement in sorted(statements, key=lambda s: (s.interval.start, s.interval.end)):
            reason = (
                gate.misdirected(statement, zone, basis)
                or gate.misdated(statement, now, forecast=True)
                or gate.impossible(statement.grams_per_kwh, basis)
                or ("" if statement.kind is Kind.FORECAST else f"is {statement.kind}, not a forecast")
                or self._beside(statement.grams_per_kwh, zone, basis, values, ())
            )
            if reason:
                doubts.append((zone, statement.interval, statement.grams_per_kwh, reason))
            elif not points or points[-1].interval.end <= statement.interval.start:
                points.append(_kept(statement, now, "").reading())
        return tuple(points), doubts

    def _beside(
        self, grams_per_kwh: float, zone: str, basis: Basis, values: Sequence[float], watched: Sequence[float]
    ) -> str:
        if len(values) < gate.MIN_PAST:
            return gate.far_from_year(grams_per_kwh, basis, self._yearly.get(zone))
        return gate.out_of_range(grams_per_kwh, values, watched)


class _Past:
    """The hours before a batch of statements, growing as the batch is judged."""

    def __init__(
        self, archive: Archive, zone: str, basis: Basis, statements: Sequence[Statement], now: Instant
    ) -> None:
        self.added: list[Kept] = []
        first = min((s.interval.start for s in statements), default=now)
        kept = archive.known(zone, basis, Window(min(first, now) - gate.PAST, now + gate.CLOCKS_DIFFER), now)
        self._said = {k.interval: k for k in kept}
        self._hours = [k for k in kept if k.interval.length == HOUR]
        self._starts = [k.interval.start for k in self._hours]

    def was_said(self, statement: Statement) -> bool:
        """Whether the interval's newest version is this very number, of this kind."""
        last = self._said.get(statement.interval)
        return last is not None and (last.grams_per_kwh, last.kind) == (statement.grams_per_kwh, statement.kind)

    def before(self, statement: Statement) -> tuple[list[float], list[float]]:
        """Return what :meth:`until` does for the start of the statement's interval."""
        return self.until(statement.interval.start)

    def until(self, moment: Instant) -> tuple[list[float], list[float]]:
        """Return the believed values of the 28 days before, and all that was said of them, oldest first, g/kWh."""
        low, high = bisect_left(self._starts, moment - gate.PAST), bisect_left(self._starts, moment)
        hours = self._hours[low:high]
        return [k.grams_per_kwh for k in hours if not k.doubt], [k.grams_per_kwh for k in hours]

    def watched(self, statement: Statement, now: Instant) -> list[float]:
        """Return what was said of the day before the statement, if it was heard over a day, g/kWh.

        A liar can tell a whole day at once; to go on for a day is harder, and is what a new level does.
        """
        high = bisect_left(self._starts, statement.interval.start)
        day = self._hours[max(0, high - gate.MIN_PAST) : high]
        heard_for = now - min((k.fetched_at for k in day), default=now)
        return [k.grams_per_kwh for k in day] if heard_for >= gate.WATCHED else []

    def add(self, kept: Kept) -> None:
        """Take the judged statement in."""
        self.added.append(kept)
        if kept.interval.length != HOUR:
            return
        place = bisect_left(self._starts, kept.interval.start)
        if place < len(self._starts) and self._starts[place] == kept.interval.start:
            self._hours[place] = kept
        else:
            self._starts.insert(place, kept.interval.start)
            self._hours.insert(place, kept)


def _kept(statement: Statement, now: Instant, doubt: str) -> Kept:
    """Note it as issued when its source says so, and at the latest when we read it."""
    return Kept(
        statement.zone,
        statement.basis,
        statement.interval,
        float(statement.grams_per_kwh),
        statement.kind,
        statement.source,
        min(statement.issued_at or now, now),
        now,
        doubt,
    )
