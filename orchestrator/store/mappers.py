"""Between rows and values, where a row is more than its value's fields."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from sqlalchemy import Row

from orchestrator.domain.carbon import Basis, CarbonIntensity, Gap, Reading
from orchestrator.domain.decision import Decision
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.records import Event, Intent, Operation, Placement, ServiceRecord
from orchestrator.domain.replica import Replica
from orchestrator.domain.time import Window
from orchestrator.errors import StoreIncompatible
from orchestrator.store.codec import DECISIONS, SPECS
from orchestrator.store.rules import deciding_verdicts

AnyRow = Row[*tuple[Any, ...]]


def row_of(value: Any) -> dict[str, Any]:  # noqa: ANN401  # any flat dataclass of the domain
    """Return the fields as columns."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _values(row: AnyRow) -> dict[str, Any]:
    values = dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's public name for it
    values.pop("seq", None)
    return values


def replica_from(row: AnyRow) -> Replica:
    """Read a replica."""
    return Replica(**_values(row))


def intent_from(row: AnyRow) -> Intent:
    """Read an intent."""
    return Intent(**_values(row))


def operation_from(row: AnyRow) -> Operation:
    """Read a request."""
    return Operation(**_values(row))


def placement_from(row: AnyRow) -> Placement:
    """Read a placement."""
    return Placement(**_values(row))


def event_from(row: AnyRow) -> Event:
    """Read a line of history."""
    return Event(**_values(row))


def service_from(row: AnyRow) -> ServiceRecord:
    """Read a service joined with its newest revision."""
    return ServiceRecord(**(_values(row) | {"spec": SPECS.decode(row.spec)}))


def decision_row(decision: Decision) -> dict[str, Any]:
    """Return the row: the document, and the columns that SQL asks for."""
    repeated = ("id", "service", "at", "kind", "actor", "policy", "summary", "plan_digest")
    return {name: getattr(decision, name) for name in repeated} | {"document": DECISIONS.encode(decision)}


def decision_from(row: AnyRow) -> Decision:
    """Read a decision from its document. The instant comes from its column, as UTC like every other."""
    return replace(DECISIONS.decode(row.document), at=row.at)


def verdict_rows(decision: Decision) -> list[dict[str, Any]]:
    """Return the rules that decided."""
    return [
        {"decision_id": decision.id, "ordinal": ordinal, "subject": subject, **row_of(verdict)}
        for ordinal, (subject, verdict) in enumerate(deciding_verdicts(decision))
    ]


def reading_row(decision_id: str, ordinal: int, reading: Reading) -> dict[str, Any]:
    """Return the row of a number or of its absence."""
    row: dict[str, Any] = dict.fromkeys(_READING_COLUMNS)
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


def reading_from(row: AnyRow) -> Reading:
    """Read a number or a gap."""
    if row.gap_reason is not None:
        return Gap(row.zone, row.gap_reason, row.source)
    try:
        return CarbonIntensity(
            zone=row.zone,
            grams_per_kwh=row.grams_per_kwh,
            interval=Window(row.interval_start, row.interval_end),
            kind=row.kind,
            source=row.source,
            issued_at=row.issued_at,
            fetched_at=row.fetched_at,
            basis=Basis(row.accounting, row.factors),
        )
    except (TypeError, ValueError) as error:
        raise StoreIncompatible(f"the database holds a reading of {row.zone} that cannot be: {error}") from error


def energy_row(sample: EnergySample) -> dict[str, Any]:
    """Return the sample as columns."""
    row = row_of(sample)
    window = row.pop("window")
    return row | {"window_start": window.start, "window_end": window.end}


def energy_from(row: AnyRow) -> EnergySample:
    """Read a sample."""
    values = _values(row)
    try:
        window = Window(values.pop("window_start"), values.pop("window_end"))
    except ValueError as error:
        raise StoreIncompatible(f"the database holds an energy sample that cannot be: {error}") from error
    return EnergySample(window=window, **values)
