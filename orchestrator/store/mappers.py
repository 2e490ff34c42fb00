"""Between rows and values, where a row is more than its value's fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import CompoundSelect, Connection, Select

from orchestrator.domain.carbon import Basis, CarbonIntensity, Gap, Reading
from orchestrator.domain.decision import Decision
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.records import Event, Intent, Operation, Placement, ServiceRecord
from orchestrator.domain.replica import Replica
from orchestrator.domain.time import Window
from orchestrator.errors import StoreIncompatible
from orchestrator.store.codec import DECISIONS, spec_from_json
from orchestrator.store.rules import deciding_verdicts

Values = dict[str, Any]
"""A row by column names."""

PAGE = 1000
"""Rows that are taken over at once: some hundredths of a second, which PostgreSQL waits for without giving up."""


def fetch(
    tx: Connection,
    query: Select[*tuple[Any, ...]] | CompoundSelect[*tuple[Any, ...]],
    parameters: Mapping[str, Any] | None = None,
    *,
    streamed: bool = False,
) -> list[Values]:
    """Run the query; return the rows by column names, without the number of arrival, which no value has.

    ``streamed``: a page at a time, so that PostgreSQL hears from us however many there are.
    """
    with tx.execute(query, parameters, execution_options={"yield_per": PAGE} if streamed else {}) as found:
        names = tuple(found.keys())
        rows = [dict(zip(names, row, strict=True)) for row in found]
    for row in rows:
        row.pop("seq", None)
    return rows


def row_of(value: Any) -> Values:  # noqa: ANN401  # any flat dataclass of the domain
    """Return the fields as columns."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def replica_from(row: Values) -> Replica:
    """Read a replica."""
    return Replica(**row)


def intent_from(row: Values) -> Intent:
    """Read an intent."""
    return Intent(**row)


def operation_from(row: Values) -> Operation:
    """Read a request."""
    return Operation(**row)


def placement_from(row: Values) -> Placement:
    """Read a placement."""
    return Placement(**row)


def event_from(row: Values) -> Event:
    """Read a line of history."""
    return Event(**row)


def service_from(row: Values) -> ServiceRecord:
    """Read a service joined with its newest revision, and with whether everything is paused."""
    paused = bool(row.pop("all_paused")) or row["paused"]
    return ServiceRecord(**(row | {"spec": spec_from_json(row["spec"]), "paused": paused}))


def decision_row(decision: Decision) -> Values:
    """Return the row: the document, and the columns that SQL asks for."""
    repeated = ("id", "service", "at", "kind", "actor", "policy", "summary", "plan_digest")
    return {name: getattr(decision, name) for name in repeated} | {"document": DECISIONS.encode(decision)}


def decision_from(row: Values) -> Decision:
    """Read a decision from its document. The instant comes from its column, as UTC like every other."""
    return replace(DECISIONS.decode(row["document"]), at=row["at"])


def verdict_rows(decision: Decision) -> list[Values]:
    """Return the rules that decided."""
    return [
        {"decision_id": decision.id, "ordinal": ordinal, "subject": subject, **row_of(verdict)}
        for ordinal, (subject, verdict) in enumerate(deciding_verdicts(decision))
    ]


def reading_row(decision_id: str, ordinal: int, reading: Reading) -> Values:
    """Return the row of a number or of its absence."""
    row: Values = dict.fromkeys(_READING_COLUMNS)
    row |= {"decision_id": decision_id, "ordinal": ordinal, "zone": reading.zone, "source": reading.source}
    match reading:
        case Gap(reason=reason):
            return row | {"gap_reason": reason}
        case CarbonIntensity(basis=basis, interval=interval):
            return row | {
                "grams_per_kwh": reading.grams_per_kwh,
                "kind": reading.kind,
                "accounting": basis.accounting,
                "factors": basis.factors,
                "interval_start": interval.start,
                "interval_end": interval.end,
                "issued_at": reading.issued_at,
                "fetched_at": reading.fetched_at,
            }


_READING_COLUMNS = (
    *("gap_reason", "grams_per_kwh", "kind", "accounting", "factors"),
    *("interval_start", "interval_end", "issued_at", "fetched_at"),
)


def reading_from(row: Values) -> Reading:
    """Read a number or a gap."""
    if row["gap_reason"] is not None:
        return Gap(row["zone"], row["gap_reason"], row["source"])
    try:
        return CarbonIntensity(
            zone=row["zone"],
            grams_per_kwh=row["grams_per_kwh"],
            interval=Window(row["interval_start"], row["interval_end"]),
            kind=row["kind"],
            source=row["source"],
            issued_at=row["issued_at"],
            fetched_at=row["fetched_at"],
            basis=Basis(row["accounting"], row["factors"]),
        )
    except (TypeError, ValueError) as error:
        raise StoreIncompatible(f"the database holds a reading of {row['zone']} that cannot be: {error}") from error


def energy_row(sample: EnergySample) -> Values:
    """Return the sample as columns."""
    row = row_of(sample)
    window = row.pop("window")
    return row | {"window_start": window.start, "window_end": window.end}


def energy_from(row: Values) -> EnergySample:
    """Read a sample."""
    try:
        window = Window(row.pop("window_start"), row.pop("window_end"))
    except ValueError as error:
        raise StoreIncompatible(f"the database holds an energy sample that cannot be: {error}") from error
    return EnergySample(window=window, **row)
