"""The journal's chain: a row that is changed by hand, or taken away, is seen.

Each write to a table of :data:`LINKED` appends links in its own transaction, one per row that it changed. A link holds
the SHA-256 of the row as it is now, the SHA-256 of the link before it, and its own over both; so links can neither be
changed nor taken out without breaking all that follow, and the last one is repeated in ``journal_head``. Before a
writer changes a row it compares it with its last link. What differs is put on record first (``noticed``): a write never
launders what somebody did by hand, and is never refused for it.

There is no secret in this: whoever rewrites every link from the first changed one on, and the head, is seen only by
somebody who has kept a head elsewhere. See decision 0028.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table, bindparam, select, type_coerce, update
from sqlalchemy.types import NULLTYPE

from orchestrator.domain.time import as_utc
from orchestrator.store import tables

V = TypeVar("V")
AnySelect = Select[*tuple[Any, ...]]

RowName = tuple[Any, ...]
"""A table's name, then the values of its key, as :data:`LINKED` has them."""

Rows = Sequence[RowName] | Callable[[Connection], Sequence[RowName]]
Born = Callable[[Connection, V], Sequence[RowName]]
"""The rows whose names are known once the work is done: those that the database has numbered."""

AT_ONCE = 1000
JOURNAL = "journal"
HEAD = "head"


class LinkKind(StrEnum):
    """``BEGUN``: the first of all. ``ADOPTED``: the row was there before the chain, or was accepted as it is.

    ``SEALED``: stands for links that were taken away, see :mod:`orchestrator.store.compaction`.
    """

    BEGUN = "begun"
    ADOPTED = "adopted"
    WRITTEN = "written"
    NOTICED = "noticed"
    ACCEPTED = "accepted"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True)
class Linked:
    """How the rows of a table are named and read. ``parts``: tables whose rows belong to one of these, by its key."""

    table: Table
    key: tuple[str, ...]
    parts: tuple[Table, ...] = ()
    is_history: bool = False

    @property
    def query(self) -> AnySelect:
        """Every row, by name."""
        return _raw(self.table).order_by(*(self.table.c[name] for name in self.key))


def _raw(table: Table) -> AnySelect:
    """Every column as the driver has it: a word that no version knows must not stop a check."""
    return select(*(type_coerce(c, NULLTYPE).label(c.name) for c in table.columns))


LINKED: Mapping[str, Linked] = {
    linked.table.name: linked
    for linked in (
        Linked(tables.controllers, ("epoch",)),
        Linked(tables.counters, ("name",)),
        Linked(tables.services, ("name",)),
        Linked(tables.pauses, ("seq",)),
        Linked(tables.operations, ("id",)),
        Linked(tables.spec_revisions, ("service", "revision")),
        Linked(tables.replicas, ("name",)),
        Linked(tables.intents, ("id",)),
        Linked(tables.placements, ("replica",)),
        Linked(tables.decisions, ("id",), (tables.verdicts, tables.signals_used)),
        Linked(tables.resting_days, ("service", "day", "kind", "policy")),
        Linked(tables.reap_requests, ("id",)),
        Linked(tables.reaps, ("id",)),
        Linked(tables.events, ("id",), is_history=True),
        Linked(tables.energy_samples, ("replica", "window_start"), is_history=True),
        Linked(tables.energy_hours, ("replica", "window_start"), is_history=True),
    )
}
"""Not among them: suspects, which every sweep finds anew, and the newest turn, which ``controllers`` repeats."""


def linked(tx: Connection, work: Callable[[Connection], V], rows: Rows = (), born: Born[V] | None = None) -> V:
    """Do the work between two looks at the rows that it changes. The deployment's row must be locked already."""
    named = list(rows(tx) if callable(rows) else rows)
    pen = Pen(tx)
    before = pen.look(named)
    answer = work(tx)
    pen.keep(before)
    if born is not None:
        pen.keep(dict.fromkeys(born(tx, answer)))
    pen.close()
    return answer


class Pen:
    """Appends links within one transaction. Nobody else does meanwhile: the deployment's row is locked."""

    def __init__(self, tx: Connection) -> None:
        self._tx = tx
        self._fresh: list[dict[str, Any]] = []
        last = tx.execute(_LAST).first()
        head = tx.execute(_HEAD).first()
        self.seq, self._before = (int(last.seq), str(last.sha256)) if last else (0, "")
        self._has_head, self._began_at = head is not None, self.seq
        if head is None and last is None:
            self._begin()
        elif head is None or (head.seq, head.sha256) != (self.seq, self._before):
            self.seq = max(self.seq, 0 if head is None else int(head.seq))
            self.append(LinkKind.NOTICED, JOURNAL, HEAD)

    def append(self, kind: LinkKind, table: str, row: str, content: str = "", detail: str = "") -> None:
        """Add a link to the end."""
        self.seq += 1
        values = (self.seq, kind.value, table, row, content, self._before, detail)
        self._before = link_sha256(*values)
        self._fresh.append(dict(zip(_COLUMNS, (*values, self._before), strict=True)))
        if len(self._fresh) >= AT_ONCE:
            self._flush()

    def look(self, rows: Iterable[RowName]) -> dict[RowName, str]:
        """Compare rows with the chain before they change; return what each contains, nothing where it is not."""
        found = {}
        for name in dict.fromkeys(rows):
            table, *key = name
            content = content_of(self._tx, table, key)
            known = self._known(table, row_text(key))
            if content != known:
                self.append(LinkKind.NOTICED, table, row_text(key), content)
            found[name] = content
        return found

    def keep(self, rows: Mapping[RowName, str | None]) -> None:
        """Link those rows that are no longer what they were before."""
        for name, before in rows.items():
            table, *key = name
            content = content_of(self._tx, table, key)
            if content != before and (before is not None or content != self._known(table, row_text(key))):
                self.append(LinkKind.WRITTEN, table, row_text(key), content)

    def compare(self, table: str, found: Mapping[str, str]) -> None:
        """Compare many rows of one table, by name with what each contains, with the chain before they change."""
        query = select(_LINKS.row_key, _LINKS.content_sha256).where(_LINKS.entity == table, _LINKS.row_key.in_(found))
        known = {str(row): str(content) for row, content in self._tx.execute(query.order_by(_LINKS.seq))}
        for row, content in found.items():
            if content != known.get(row, ""):
                self.append(LinkKind.NOTICED, table, row, content)

    def close(self) -> None:
        """Write what was appended, and the new head."""
        self._flush()
        if self.seq == self._began_at:
            return
        head = {"seq": self.seq, "sha256": self._before}
        if self._has_head:
            self._tx.execute(update(tables.journal_head).values(**head))
        else:
            self._tx.execute(tables.journal_head.insert().values(singleton=1, **head))

    def _begin(self) -> None:
        """Begin the chain with every row that is there: what happened before nobody can tell any more."""
        uid = self._tx.execute(select(tables.deployment.c.uid)).scalar_one()
        self.append(LinkKind.BEGUN, JOURNAL, str(uid))
        for name, kind in LINKED.items():
            for row, content in contents(self._tx, kind):
                self.append(LinkKind.ADOPTED, name, row, content)

    def _known(self, table: str, row: str) -> str:
        """Return what the last link says that the row contains; nothing where there is no row or no link."""
        waiting = (f["content_sha256"] for f in reversed(self._fresh) if f["entity"] == table and f["row_key"] == row)
        found = next(waiting, None)
        if found is not None:
            return str(found)
        return str(self._tx.execute(_KNOWN, {"entity": table, "row_key": row}).scalar_one_or_none() or "")

    def _flush(self) -> None:
        if self._fresh:
            self._tx.execute(tables.journal_links.insert(), self._fresh)
            self._fresh = []


def link_sha256(*values: object) -> str:
    """Return the name of a link: SHA-256 of its number, kind, table, row, content, predecessor and detail as JSON."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def content_of(tx: Connection, table: str, key: Sequence[Any]) -> str:
    """Return the SHA-256 of a row as it is now, with what belongs to it; nothing where there is no such row."""
    kind = LINKED[table]
    found = tx.execute(_ONE[table], dict(zip(kind.key, key, strict=True))).mappings().first()
    return "" if found is None else _digest(tx, kind, found)


def contents(tx: Connection, kind: Linked, *within: ColumnElement[bool]) -> Iterator[tuple[str, str]]:
    """Return name and SHA-256 of every row of a table, or of those for which all of that holds."""
    rows = tx.execute(kind.query.where(*within), execution_options=_STREAMED)
    for row in rows.mappings():
        yield row_text([row[name] for name in kind.key]), _digest(tx, kind, row)


def row_text(key: Iterable[Any]) -> str:
    """Return the name of a row within its table."""
    return "|".join(str(_plain(part)) for part in key)


def _digest(tx: Connection, kind: Linked, row: RowMapping) -> str:
    """Hash the row by its columns' names, so that it may be read in any order."""
    value: list[Any] = [_columns(row)]
    for part in kind.parts:
        found = tx.execute(_PARTS[part.name], {"id": row["id"]})
        value.append([_columns(r) for r in found.mappings()])
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _columns(row: RowMapping) -> list[tuple[str, Any]]:
    return sorted((name, _plain(value)) for name, value in row.items())


def _plain(value: Any) -> Any:  # noqa: ANN401  # what a driver returns
    """Bring what both drivers return to one form: SQLite has text for instants and 0 or 1 for flags."""
    if isinstance(value, datetime):
        return as_utc(value).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return int(value) if isinstance(value, bool) else value


_COLUMNS = ("seq", "kind", "entity", "row_key", "content_sha256", "before_sha256", "detail", "sha256")
_STREAMED = {"yield_per": AT_ONCE}
_LAST = (
    select(tables.journal_links.c.seq, tables.journal_links.c.sha256)
    .order_by(tables.journal_links.c.seq.desc())
    .limit(1)
)
_HEAD = select(tables.journal_head.c.seq, tables.journal_head.c.sha256)
_LINKS = tables.journal_links.c
_KNOWN = (
    select(_LINKS.content_sha256)
    .where(_LINKS.entity == bindparam("entity"), _LINKS.row_key == bindparam("row_key"))
    .order_by(_LINKS.seq.desc())
    .limit(1)
)
_ONE = {
    name: _raw(kind.table).where(*(kind.table.c[part] == bindparam(part) for part in kind.key))
    for name, kind in LINKED.items()
}
_PARTS = {
    part.name: _raw(part).where(part.c.decision_id == bindparam("id")).order_by(part.c.ordinal)
    for kind in LINKED.values()
    for part in kind.parts
}
"""Built once: making a statement costs several times what running it does."""
