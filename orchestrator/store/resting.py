"""Old decisions that changed nothing become rows of a day; whatever acted stays as it was written.

A service at rest says "stay" once an hour, with every offer that was weighed: nearly all of a database that is a year
old. What is merged, :meth:`orchestrator.control.ports.store.Journal.compact_decisions` says. Each decision is compared
with the chain first, and what differs is put on record, as before any other write. The rows of days are links of the
chain and repeat the names in it; a decision that one of them names is not missing. See decision 0043.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, exists, select, update

from orchestrator.control.ports.store import DECISIONS_LEFT
from orchestrator.domain.decision import RESTING, Decision, RestingDay, resting_days
from orchestrator.domain.time import floor_day
from orchestrator.store import tables
from orchestrator.store.chain import LINKED, LinkKind, Pen, content_of, contents, row_text

DECISIONS, DAYS = tables.decisions.name, tables.resting_days.name
POLICY = "policy"
"""The actor of decisions that no person made."""

_DAY = timedelta(days=1)
_TABLE = tables.decisions.c
_KEPT = tables.resting_days.c
_COLUMNS = (_TABLE.id, _TABLE.service, _TABLE.at, _TABLE.kind, _TABLE.actor, _TABLE.policy, _TABLE.summary)


def rest(tx: Connection, before: datetime) -> int:
    """Merge the oldest day of one service of which something may be merged; return how many decisions were.

    Only days that ended by ``before``. The deployment's row is locked.
    """
    end = floor_day(before)
    oldest = min(_oldest(tx, end), default=None)
    if oldest is None:
        return 0
    at, service = oldest
    query = select(*_COLUMNS).where(*_idle(tx, service, floor_day(at) + _DAY)).order_by(_TABLE.at, _TABLE.seq)
    merged = [Decision(*row) for row in tx.execute(query)]
    within = _TABLE.id.in_([one.id for one in merged])
    found = dict(contents(tx, LINKED[DECISIONS], within))
    pen = Pen(tx)
    pen.compare(DECISIONS, found)
    for part in (tables.verdicts, tables.signals_used):
        tx.execute(delete(part).where(part.c.decision_id.in_([one.id for one in merged])))
    tx.execute(delete(tables.decisions).where(within))
    for day in resting_days(merged):
        _keep(tx, pen, day, [found[row_text((name,))] for name in day.ids])
    pen.close()
    return len(merged)


def days_of(tx: Connection, service: str) -> list[RestingDay]:
    """Return what is left of old decisions on a service, oldest first."""
    query = select(tables.resting_days).where(_KEPT.service == service)
    return [_day_from(row) for row in tx.execute(query.order_by(_KEPT.day, _KEPT.first_at, _KEPT.kind))]


def merged_ids(tx: Connection) -> set[str]:
    """Return the names of all decisions that ever stood in rows of days.

    By the chain: a row of a day that is missing is one finding, and not one for each decision that it stood for.
    """
    links = tables.journal_links.c
    told = tx.execute(select(links.detail).where(links.entity == DAYS, links.detail != "")).scalars()
    return {name for detail in told for name in _names(detail)}


def merged_between(tx: Connection, first: datetime | None = None, last: datetime | None = None) -> set[str]:
    """Return the names of the decisions that stand in rows of the days from the first to the last; ``None``: no end."""
    query = select(_KEPT.ids_json)
    if first is not None:
        query = query.where(_KEPT.day >= floor_day(first))
    if last is not None:
        query = query.where(_KEPT.day <= last)
    return {name for ids in tx.execute(query).scalars() for name in _names(ids)}


def moments(tx: Connection, names: Sequence[str]) -> Mapping[str, datetime]:
    """Return when those of the decisions were made that stand for themselves still, by name."""
    return {row.id: row.at for row in tx.execute(select(_TABLE.id, _TABLE.at).where(_TABLE.id.in_(names)))}


# ── the parts ────────────────────────────────────────────────────────────────────────────────────────


def _oldest(tx: Connection, end: datetime) -> Iterable[tuple[datetime, str]]:
    """When the oldest decision was made that may be merged, by service."""
    for service in tx.execute(select(tables.services.c.name)).scalars().all():
        query = select(_TABLE.at).where(*_idle(tx, service, end)).order_by(_TABLE.at).limit(1)
        at = tx.execute(query).scalar_one_or_none()
        if at is not None:
            yield at, service


def _idle(tx: Connection, service: str, end: datetime) -> list[ColumnElement[bool]]:
    """What holds for the decisions on a service that may be merged and were made before ``end``."""
    newest = select(_TABLE.seq).where(_TABLE.service == service).order_by(_TABLE.seq.desc())
    left = tx.execute(newest.limit(1).offset(DECISIONS_LEFT - 1)).scalar_one_or_none()
    followed = exists().where(tables.placements.c.service == service, tables.placements.c.decision_id == _TABLE.id)
    return [
        *(_TABLE.service == service, _TABLE.kind.in_(sorted(RESTING)), _TABLE.at < end, _TABLE.actor == POLICY),
        *(_TABLE.seq < (0 if left is None else left), ~followed),
    ]


def _keep(tx: Connection, pen: Pen, day: RestingDay, told: list[str]) -> None:
    """Write the row of a day, or add to the one that is there: part of it may have been among the newest before."""
    key = (day.service, day.day, day.kind, day.policy)
    here = [_KEPT.service == day.service, _KEPT.day == day.day, _KEPT.kind == day.kind, _KEPT.policy == day.policy]
    old = tx.execute(select(tables.resting_days).where(*here)).first()
    if old is not None:
        pen.look([(DAYS, *key)])
        day, told = _day_from(old).with_more(day), [old.decisions_sha256, *told]
    values = {name: getattr(day, name) for name in ("first_at", "last_at", "summary")}
    ids, digest = json.dumps(day.ids), hashlib.sha256(json.dumps(told).encode()).hexdigest()
    values |= {"ids_json": ids, "decisions_sha256": digest}
    if old is None:
        named = dict(zip(("service", "day", "kind", "policy"), key, strict=True))
        tx.execute(tables.resting_days.insert().values(**named, **values))
    else:
        tx.execute(update(tables.resting_days).where(*here).values(**values))
    pen.append(LinkKind.WRITTEN, DAYS, row_text(key), content_of(tx, DAYS, key), ids)


def _day_from(row: Row[*tuple[Any, ...]]) -> RestingDay:
    moments = (row.first_at, row.last_at)
    return RestingDay(row.service, row.day, row.kind, row.policy, *moments, row.summary, _names(row.ids_json))


def _names(ids_json: str) -> tuple[str, ...]:
    """Read the names in a row; none where somebody edited it so that it cannot be read, which a check finds."""
    try:
        return tuple(str(name) for name in json.loads(ids_json))
    except (ValueError, TypeError):
        return ()
