"""What happened, in order: events, decisions, and where replicas stood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render import numbers
from orchestrator.cli.render.headline import headline
from orchestrator.cli.render.labels import shortened
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line
from orchestrator.domain.decision import Decision, RestingDay
from orchestrator.domain.records import Event, EventKind, Pause, Placement
from orchestrator.domain.time import Instant

STYLES: Final = {
    EventKind.WARNING.value: "yellow",
    EventKind.MIGRATION_ABORTED.value: "red",
    EventKind.REPLICA_REPLACED.value: "yellow",
    "decision": "cyan",
    "placed": "green",
    "left": "dim",
    "paused": "cyan",
    "resumed": "cyan",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of history; ``times`` it was repeated without anything between, last at ``until``."""

    at: Instant
    what: str
    replica: str
    text: str
    times: int = 1
    until: Instant | None = None


def timeline(
    events: Sequence[Event],
    decisions: Sequence[Decision],
    placements: Sequence[Placement],
    labels: Mapping[str, str],
    pauses: Sequence[Pause] = (),
    resting: Sequence[RestingDay] = (),
) -> list[Row]:
    """Merge all of them, oldest first; what repeats itself becomes one row that says so. ``labels``: short names."""
    rows = [Row(e.at, e.kind.value, labels.get(e.replica, e.replica), shortened(e.text, labels)) for e in events]
    rows += [Row(d.at, "decision", "", f"{shortened(_decided(d), labels)} ({d.id}, by {d.actor})") for d in decisions]
    rows += [row for p in placements for row in _stays(p, labels.get(p.replica, p.replica))]
    rows += [Row(p.at, "paused" if p.paused else "resumed", "", _pause_words(p)) for p in pauses]
    rows += [Row(*_rested(d, labels), times=len(d.ids), until=d.last_at) for d in resting]
    order = {"decision": 0, "placed": 1}
    return list(_merged(sorted(rows, key=lambda r: (r.at, order.get(r.what, 2)))))


def _rested(day: RestingDay, labels: Mapping[str, str]) -> tuple[Instant, str, str, str]:
    return day.first_at, "decision", "", f"{shortened(day.summary, labels)} (no longer kept whole, by {day.policy})"


def _pause_words(word: Pause) -> str:
    who = word.actor or "an unknown user"
    return f"{word.service or 'everything'} by {who}{f': {word.reason}' if word.reason else ''}"


def _decided(decision: Decision) -> str:
    kind = decision.kind.value.replace("_", " ")
    return decision.summary if decision.summary.startswith(kind) else f"{kind}: {decision.summary}"


def _stays(placement: Placement, replica: str) -> Iterator[Row]:
    price = "price unknown" if placement.usd_per_hour is None else f"{numbers.usd(placement.usd_per_hour)}/h"
    decided = f", decision {placement.decision_id}" if placement.decision_id else ""
    yield Row(placement.started_at, "placed", replica, f"on {placement.offer_id} at {price}{decided}")
    if placement.ended_at is not None:
        stayed = numbers.duration((placement.ended_at - placement.started_at).total_seconds())
        why = f": {placement.end_reason}" if placement.end_reason else ""
        yield Row(placement.ended_at, "left", replica, f"{placement.region} after {stayed} of grid time{why}")


def _merged(rows: Sequence[Row]) -> Iterator[Row]:
    pending: Row | None = None
    for row in rows:
        if pending is not None and _signature(pending) == _signature(row):
            pending = Row(
                pending.at, pending.what, row.replica, row.text, pending.times + row.times, row.until or row.at
            )
            continue
        if pending is not None:
            yield pending
        pending = row
    if pending is not None:
        yield pending


def _signature(row: Row) -> tuple[str, str, str]:
    """Two decisions are the same news when only their ids differ."""
    text = row.text.rpartition(" (")[0] if row.what == "decision" else row.text
    return (row.what, row.replica, text)


def render(service: str, rows: Sequence[Row], *, width: int, limit: int, rate: float) -> RenderableType:
    """Return the last ``limit`` rows, 0 for all."""
    if not rows:
        return line(f"Nothing has happened to {service} yet.")
    shown = rows[-limit:] if limit > 0 else rows
    clock = numbers.rate_words(rate)
    grid = Grid(
        columns("TIME (UTC)", Column("KIND", keep=6), Column("REPLICA", keep=4), Column("WHAT", wrap=True)),
    )
    for row in shown:
        again = f"  (×{row.times}, last {row.until:%H:%M:%S})" if row.until is not None else ""
        what = Text(row.what.replace("_", " "), style=STYLES.get(row.what, ""))
        grid.add(f"{row.at:%Y-%m-%d %H:%M:%S}", what, row.replica, row.text + again)
    parts: list[RenderableType] = [headline(service, f"grid time, {clock}" if clock else ""), grid.laid_out(width)]
    if len(shown) < len(rows):
        parts.append(line((f"The last {len(shown)} of {len(rows)} rows. All: --limit 0.", "dim")))
    return Group(*parts)
