"""Puts statements through the gate, beside what the archive knows, and remembers them with the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.domain.carbon import Basis, CarbonIntensity, Kind
from orchestrator.domain.time import Instant, Window
from orchestrator.signals import gate
from orchestrator.signals.archive import Archive, Kept
from orchestrator.signals.past import Past
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
        doubts: list[Doubt] = []
        past = Past(self._archive, zone, basis, statements, now)
        sound = [s for s in statements if not self._wrong(s, zone, basis, now)]
        taken_back = past.taken_back(sound, now)
        if taken_back.startswith(gate.TAKES_BACK):
            just_said = [replace(k, doubt=taken_back) for k in past.just_said(now)]
            self._archive.retract(just_said, now)
            doubts += [(zone, k.interval, k.grams_per_kwh, taken_back) for k in just_said]
        for statement in sorted(statements, key=lambda s: (s.interval.start, s.interval.end)):
            reason = self._wrong(statement, zone, basis, now)
            if reason:
                doubts.append((zone, statement.interval, statement.grams_per_kwh, reason))
                continue
            if past.was_said(statement):
                continue
            start = statement.interval.start
            values, recent = past.until(start)
            watched = past.watched(start, now)
            reason = (
                taken_back
                or self._beside(statement.grams_per_kwh, zone, basis, values, watched)
                or past.jump(start, statement.grams_per_kwh, watched)
                or past.to_and_fro(start, statement.grams_per_kwh)
                or past.on_probation(start, watched)
                or gate.stands_still(statement.grams_per_kwh, recent)
            )
            if reason:
                doubts.append((zone, statement.interval, statement.grams_per_kwh, reason))
            past.add(_kept(statement, now, reason))
        self._archive.add(past.added, now)
        return doubts

    def forecast(
        self, statements: Sequence[Statement], zone: str, basis: Basis, now: Instant
    ) -> tuple[tuple[CarbonIntensity, ...], list[Doubt]]:
        """Return the believed points of a forecast in order, and the others. Forecasts are not remembered here.

        A forecast that jumps, from the present or inside, is not believed from there on: where its own numbers do not
        hang together, nothing says which of them to take.
        """
        points: list[CarbonIntensity] = []
        doubts: list[Doubt] = []
        past = Past(self._archive, zone, basis, statements, now)
        values, _ = past.until(now)
        jumped = ""
        for statement in sorted(statements, key=lambda s: (s.interval.start, s.interval.end)):
            reason = (
                gate.misdirected(statement, zone, basis)
                or gate.misdated(statement, now, forecast=True)
                or gate.impossible(statement.grams_per_kwh, basis)
                or ("" if statement.kind is Kind.FORECAST else f"is {statement.kind}, not a forecast")
                or self._beside(statement.grams_per_kwh, zone, basis, values, ())
            )
            if not reason:
                reason = jumped = jumped or past.jump_ahead(points[-1] if points else None, statement)
            if reason:
                doubts.append((zone, statement.interval, statement.grams_per_kwh, reason))
            elif not points or points[-1].interval.end <= statement.interval.start:
                points.append(_kept(statement, now, "").reading())
        return tuple(points), doubts

    def _wrong(self, statement: Statement, zone: str, basis: Basis, now: Instant) -> str:
        """Say what is wrong with a statement whatever is known of its zone, "" if nothing is."""
        return (
            gate.misdirected(statement, zone, basis)
            or gate.misdated(statement, now)
            or gate.impossible(statement.grams_per_kwh, basis)
        )

    def _beside(
        self, grams_per_kwh: float, zone: str, basis: Basis, values: Sequence[float], watched: Sequence[float]
    ) -> str:
        if len(values) < gate.MIN_PAST:
            return gate.far_from_year(grams_per_kwh, basis, self._yearly.get(zone))
        return gate.out_of_range(grams_per_kwh, values, watched)


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
