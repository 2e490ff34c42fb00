"""The replicas that a controller has read before, brought up to date by the journal's own chain.

A look at one service asks for everybody's replicas: with a hundred services of ten, reading a thousand rows a hundred
times is most of a round. The chain says which rows were written since, by whomever: only those are read again. What
nobody linked (a row edited by hand) is not seen here, see :meth:`RememberedReplicas.compare`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock

from sqlalchemy import ColumnElement, Connection, TextClause, bindparam, select, union

from orchestrator.domain.replica import ENDED, Replica
from orchestrator.domain.time import Instant
from orchestrator.store import mappers, tables

MOST_LINKS = 5_000
"""Links that are looked through for changed rows; after more of them everything is read anew."""

MOST_FINISHED = 2_000
"""A day of a large fleet. More than these are left behind by a history that nobody asks for any longer."""

_AT_ONCE = 500
"""Rows asked for by name in one statement: databases bound the number of parameters."""


@dataclass(slots=True)
class _Memory:
    """Every replica that is unfinished, or ended at ``floor`` or later, as of one link of the chain.

    ``floor`` of ``None``: none that is finished was read. ``order``: the number of arrival by name.
    """

    seq: int
    sha256: str
    floor: Instant | None
    rows: dict[str, Replica] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)
    sorted_rows: dict[str, list[Replica]] = field(default_factory=dict)

    def put(self, found: Sequence[tuple[int, Replica]]) -> None:
        """Keep these in the place of what was known of them."""
        for seq, replica in found:
            self.rows[replica.name] = replica
            self.order[replica.name] = seq
        self.sorted_rows = {}

    def drop(self, names: Sequence[str]) -> None:
        """Forget those that are not there any more."""
        for name in names:
            self.rows.pop(name, None)
            self.order.pop(name, None)
        self.sorted_rows = {}

    def of(self, service: str | None) -> list[Replica]:
        """Return them by service, slot and arrival."""
        if not self.sorted_rows:
            for replica in sorted(self.rows.values(), key=lambda r: (r.service, r.slot, self.order[r.name])):
                self.sorted_rows.setdefault(replica.service, []).append(replica)
        if service is not None:
            return self.sorted_rows.get(service, [])
        return [r for name in sorted(self.sorted_rows) for r in self.sorted_rows[name]]


class RememberedReplicas:
    """One store's. Safe to use from several threads; everything happens in the transaction that is given.

    ``most_finished``: how many finished ones are kept beyond those that are unfinished before older ones are let go.
    """

    def __init__(self, most_finished: int = MOST_FINISHED) -> None:
        self.most_finished = most_finished
        self._lock = Lock()
        self._memory: _Memory | None = None

    @property
    def known(self) -> int:
        """How many replicas are remembered."""
        return 0 if self._memory is None else len(self._memory.rows)

    def unfinished(self, tx: Connection, service: str) -> list[Replica]:
        """Return the replicas of a service that live or are not yet cleaned up, by slot and age."""
        with self._lock:
            memory = self._brought_up_to_date(tx, None)
            rows = [r for _, r in _read(tx, None, service)] if memory is None else memory.of(service)
        return sorted((r for r in rows if _is_unfinished(r)), key=lambda r: r.slot)

    def since(self, tx: Connection, service: str | None, ended_since: Instant) -> list[Replica]:
        """Return those that are unfinished, or ended at that moment or later, by service, slot and age."""
        with self._lock:
            memory = self._brought_up_to_date(tx, ended_since)
            if memory is None:
                found = [r for _, r in _read(tx, ended_since, service)]
                return sorted(found, key=lambda r: (r.service, r.slot))
            return [r for r in memory.of(service) if _is_unfinished(r) or _ended_by(r, ended_since)]

    def compare(self, tx: Connection, found: Sequence[Replica]) -> None:
        """Forget everything unless this, read from the database just now, is what is unfinished as far as we know.

        A row that was changed past the journal is known from then on.
        """
        with self._lock:
            memory = self._memory
            if memory is not None and _head(tx) == (memory.seq, memory.sha256):
                known = [r for r in memory.of(None) if _is_unfinished(r)]
                if known != list(found):
                    self._memory = None

    def _brought_up_to_date(self, tx: Connection, since: Instant | None) -> _Memory | None:
        """Return what the database holds now; ``None`` where its chain has not begun."""
        head = _head(tx)
        memory, self._memory = self._memory, None  # what is interrupted half way is not to be believed
        if head is None:
            return None
        if memory is None or (since is not None and (memory.floor is None or since < memory.floor)):
            memory = _whole(tx, head, since if memory is None or since is not None else memory.floor)
        elif head != (memory.seq, memory.sha256):
            changed = _changed(tx, memory, head[0])
            if changed is None:
                memory = _whole(tx, head, since or memory.floor)
            else:
                _reread(tx, memory, changed)
                memory.seq, memory.sha256 = head
        if since is not None:
            _let_go(memory, since, self.most_finished)
        self._memory = memory
        return memory


def _head(tx: Connection) -> tuple[int, str] | None:
    found = tx.execute(_HEAD).first()
    return None if found is None else (int(found.seq), str(found.sha256))


def _whole(tx: Connection, head: tuple[int, str], floor: Instant | None) -> _Memory:
    memory = _Memory(*head, floor)
    memory.put(list(_read(tx, floor)))
    return memory


def _changed(tx: Connection, memory: _Memory, newest: int) -> list[str] | None:
    """Return the names of the replicas that were written since; ``None`` where that cannot be known."""
    if not 0 < newest - memory.seq <= MOST_LINKS:
        return None
    links = tx.execute(_SINCE, {"seq": memory.seq}).all()
    if not links or (links[0].seq, links[0].sha256) != (memory.seq, memory.sha256):
        return None  # another chain than the one that we know
    return list(dict.fromkeys(link.row_key for link in links[1:] if link.entity == tables.replicas.name))


def _reread(tx: Connection, memory: _Memory, names: Sequence[str]) -> None:
    table = tables.replicas
    found: list[tuple[int, Replica]] = []
    for start in range(0, len(names), _AT_ONCE):
        part = list(names[start : start + _AT_ONCE])
        found += _values(tx, table.c.name.in_(part))
    if names:
        there = {replica.name for _, replica in found}
        memory.drop([name for name in names if name not in there])
        memory.put(found)


def _let_go(memory: _Memory, since: Instant, most: int) -> None:
    """Forget what ended before anybody asks, once that is much."""
    finished = [r for r in memory.rows.values() if not _is_unfinished(r)]
    if len(finished) > most:
        memory.drop([r.name for r in finished if not _ended_by(r, since)])
        memory.floor = since


def _read(tx: Connection, floor: Instant | None, service: str | None = None) -> Iterator[tuple[int, Replica]]:
    """Read those that are unfinished, or ended at the floor or later, in order of arrival."""
    table = tables.replicas
    mine = [] if service is None else [table.c.service == service]
    if floor is None:
        return _values(tx, tables.UNFINISHED, *mine)
    # Two searches by an index each; databases read every row that ever was for one search with an "or" in it.
    lately = select(table.c.seq).where(table.c.ended_at >= floor)
    return _values(tx, table.c.seq.in_(union(select(table.c.seq).where(tables.UNFINISHED), lately)), *mine)


def _values(tx: Connection, *where: ColumnElement[bool] | TextClause) -> Iterator[tuple[int, Replica]]:
    found = tx.execute(select(tables.replicas).where(*where).order_by(tables.replicas.c.seq))
    names = tuple(found.keys())
    for row in found:
        values = dict(zip(names, row, strict=True))
        seq = int(values.pop("seq"))
        yield seq, mappers.replica_from(values)


def _is_unfinished(replica: Replica) -> bool:
    return not (replica.state in ENDED and replica.cleaned_up)


def _ended_by(replica: Replica, since: Instant) -> bool:
    return replica.ended_at is not None and replica.ended_at >= since


_LINKS = tables.journal_links.c
_HEAD = select(tables.journal_head.c.seq, tables.journal_head.c.sha256)
_SINCE = (
    select(_LINKS.seq, _LINKS.sha256, _LINKS.entity, _LINKS.row_key)
    .where(_LINKS.seq >= bindparam("seq"))
    .order_by(_LINKS.seq)
)
