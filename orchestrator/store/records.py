"""Reading: each method is one short transaction.

What is ordered by text is sorted here: PostgreSQL would follow the database's language, SQLite the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import CompoundSelect, Connection, Select, Table, and_, func, select, union, union_all

from orchestrator.domain.carbon import Reading
from orchestrator.domain.decision import Decision, DecisionKind, RestingDay
from orchestrator.domain.energy import EnergySample, EnergySoFar
from orchestrator.domain.records import Event, Intent, Operation, Pause, Placement, ServiceRecord
from orchestrator.domain.replica import Replica
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import Instant, Window
from orchestrator.domain.turns import Turn
from orchestrator.store import mappers, resting, rules, spending, tables
from orchestrator.store.codec import spec_from_json
from orchestrator.store.database import Database
from orchestrator.store.inserts import insert_new
from orchestrator.store.remembered import RememberedReplicas
from orchestrator.store.rules import EVERY_SERVICE
from orchestrator.store.tidy import tidy_instant
from orchestrator.store.turns import turn_in

V = TypeVar("V")
AnySelect = Select[*tuple[Any, ...]]
AnyQuery = AnySelect | CompoundSelect[*tuple[Any, ...]]

UID_HEX_DIGITS = 16
"""64 random bits: a million installations that share one cloud account collide with a chance of 3 in 10^8."""


class SqlRecords:
    """The ``Records`` port over a database."""

    def __init__(self, database: Database, remembered: RememberedReplicas | None = None) -> None:
        self._database = database
        self._remembered = remembered
        """Of the store whose process acts, and its journal; whoever reads once has no use for it."""

    def deployment_uid(self) -> str:
        """Return this installation's unique id, made on first use."""
        uid = self._database.read(_uid)
        return uid if uid is not None else self._database.write(ensure_deployment)

    def turn(self) -> Turn | None:
        """Return whose turn it is, and when they were heard of; ``None`` where nobody has said."""
        return self._database.read(turn_in)

    def services(self) -> Sequence[ServiceRecord]:
        """Return all services by name, those that are down included."""
        return sorted(self._all(_SERVICES, mappers.service_from), key=lambda s: s.name)

    def service(self, name: str) -> ServiceRecord | None:
        """Return the service with its newest revision."""
        return self._first(_SERVICES.where(tables.services.c.name == name), mappers.service_from)

    def pauses(self, *, in_force: bool = True) -> Sequence[Pause]:
        """Return what is paused now, everything first and then by name; else every word about it, oldest first."""
        query = select(tables.pauses).order_by(tables.pauses.c.seq)
        words = self._all(query, lambda row: Pause(**row))
        return rules.pauses_in_force(words) if in_force else words

    def replicas(
        self, service: str | None = None, *, ended: bool = False, ended_since: Instant | None = None
    ) -> Sequence[Replica]:
        """Return replicas by service, slot and age. Without ``ended``, those that live or are not yet cleaned up.

        With it and ``ended_since``, those too that ended then or later.
        """
        memory, since = self._remembered, None if ended_since is None else tidy_instant(ended_since)
        if memory is not None and not ended and service is not None:
            return self._database.read(lambda tx: memory.unfinished(tx, service))
        if memory is not None and ended and since is not None:
            return self._database.read(lambda tx: memory.since(tx, service, since))
        return self._database.read(lambda tx: self._all_replicas(tx, service, since, ended=ended))

    def _all_replicas(
        self, tx: Connection, service: str | None, since: datetime | None, *, ended: bool
    ) -> list[Replica]:
        table = tables.replicas
        query = _of_service(table, service).order_by(table.c.service, table.c.seq)
        if not ended:
            query = query.where(tables.UNFINISHED)
        elif since is not None:
            # Two searches by an index each; databases read every row that ever was for one search with an "or" in it.
            lately = select(table.c.seq).where(table.c.ended_at >= since)
            query = query.where(table.c.seq.in_(union(select(table.c.seq).where(tables.UNFINISHED), lately)))
        rows = (mappers.replica_from(row) for row in mappers.fetch(tx, query))
        found = sorted(rows, key=lambda r: (r.service, r.slot))
        if self._remembered is not None and not ended:
            self._remembered.compare(tx, found)
        return found

    def leases(self, service: str | None = None) -> Mapping[str, Instant]:
        """Return when the leases of the replicas end that need attention still, by name."""
        return self._database.read(lambda tx: spending.leases_in(tx, service))

    def operations(self, service: str | None = None, *, open_only: bool = True) -> Sequence[Operation]:
        """Return requests in order of arrival."""
        table = tables.operations
        query = _of_service(table, service).order_by(table.c.seq)
        if open_only:
            query = query.where(tables.OPEN_OPERATION)
        return self._all(query, mappers.operation_from)

    def operation(self, operation_id: str) -> Operation | None:
        """Return one request."""
        return self._first(
            select(tables.operations).where(tables.operations.c.id == operation_id), mappers.operation_from
        )

    def deployed_spec(self, service: str, operation_id: str) -> ServiceSpec | None:
        """Return the spec that a deploy asked for, whatever was deployed since; ``None`` of any other request."""
        table = tables.spec_revisions
        query = select(table.c.spec).where(table.c.operation_id == operation_id, table.c.service == service)
        return self._first(query, lambda row: spec_from_json(row["spec"]))

    def spec_of(self, service: str, revision: int) -> ServiceSpec | None:
        """Return the spec of one revision, whichever is in force; ``None`` where there never was one."""
        table = tables.spec_revisions
        query = select(table.c.spec).where(table.c.service == service, table.c.revision == revision)
        return self._first(query, lambda row: spec_from_json(row["spec"]))

    def decisions(
        self, service: str, *, limit: int = 50, kind: DecisionKind | None = None, since: Instant | None = None
    ) -> Sequence[Decision]:
        """Return decisions, newest first; of one kind, or made at that moment or later, where that is asked for."""
        table = tables.decisions
        query = _of_service(table, service).order_by(table.c.seq.desc()).limit(max(0, limit))
        if kind is not None:
            query = query.where(table.c.kind == kind)
        if since is not None:
            query = query.where(table.c.at >= tidy_instant(since))
        return self._all(query, mappers.decision_from)

    def decision(self, decision_id: str) -> Decision | None:
        """Return one decision by id."""
        return self._first(select(tables.decisions).where(tables.decisions.c.id == decision_id), mappers.decision_from)

    def signals_used(self, decision_id: str) -> Sequence[Reading]:
        """Return the signals that a decision was recorded with, in their order; none when there is no such decision."""
        table = tables.signals_used
        query = select(table).where(table.c.decision_id == decision_id).order_by(table.c.ordinal)
        return self._all(query, mappers.reading_from)

    def resting_days(self, service: str) -> Sequence[RestingDay]:
        """Return what is left of old decisions that changed nothing, oldest first."""
        return self._database.read(lambda tx: resting.days_of(tx, service))

    def placements(self, service: str) -> Sequence[Placement]:
        """Return where replicas stood, in order of their launches."""
        return self._all(
            _of_service(tables.placements, service).order_by(tables.placements.c.seq), mappers.placement_from
        )

    def intents(self, service: str | None = None, *, open_only: bool = False) -> Sequence[Intent]:
        """Return intents in the order in which they were committed."""
        table = tables.intents
        query = _of_service(table, service).order_by(table.c.seq)
        if open_only:
            query = query.where(tables.OPEN_INTENT)
        return self._all(query, mappers.intent_from)

    def events(self, service: str | None = None, *, after_id: int = 0, limit: int = 1000) -> Sequence[Event]:
        """Return events with a larger id, oldest first."""
        table = tables.events
        query = _of_service(table, service).where(table.c.id > after_id).order_by(table.c.id).limit(max(0, limit))
        return self._all(query, mappers.event_from)

    def last_event(self, service: str) -> Event | None:
        """Return the newest event of a service."""
        table = tables.events
        query = _of_service(table, service).order_by(table.c.id.desc()).limit(1)
        return next(iter(self._all(query, mappers.event_from)), None)

    def energy(
        self, service: str, window: Window | None = None, *, replica: str | None = None
    ) -> Sequence[EnergySample]:
        """Return energy samples whose window starts inside, oldest first; of one replica where that is asked for."""
        names = [column.name for column in tables.energy_samples.columns]
        query = energy_of(names, service, window, replica)
        found = self._all(query, mappers.energy_from, streamed=True)
        return sorted(found, key=lambda s: (s.window.start, s.replica))

    def energy_so_far(self, service: str, replica: str) -> EnergySoFar | None:
        """Return how far the samples of a replica reach, ``None`` without any.

        The database adds up: a month of samples would take most of a second to become values, for each replica.
        """
        columns = ["window_start", "window_end", "prompt_tokens", "output_tokens"]
        own = energy_of(columns, service, None, replica).subquery().c
        totals = select(
            func.max(own.window_start),
            func.max(own.window_end),
            func.sum(own.prompt_tokens),
            func.sum(own.output_tokens),
        )

        def work(tx: Connection) -> tuple[tuple[Any, ...], list[mappers.Values]]:
            found = tuple(tx.execute(totals).one())
            if found[0] is None:
                return found, []
            names = [column.name for column in tables.energy_samples.columns]
            last = Window.starting(found[0], timedelta.resolution)
            return found, mappers.fetch(tx, energy_of(names, service, last, replica))

        (_, until, prompt, output), rows = self._database.read(work)
        return EnergySoFar(until, int(prompt), int(output), mappers.energy_from(rows[-1])) if rows else None

    def output_tokens(self, service: str, window: Window) -> int:
        """Return the sum of what the energy samples count whose window starts inside."""
        counted = energy_of(["output_tokens"], service, window).subquery()
        query = select(func.coalesce(func.sum(counted.c.output_tokens), 0))
        return self._database.read(lambda tx: int(tx.execute(query).scalar_one()))

    def _all(self, query: AnyQuery, read: Callable[[mappers.Values], V], *, streamed: bool = False) -> list[V]:
        # Values are made when the transaction is over: with many rows it would idle for longer than it may meanwhile.
        rows = self._database.read(lambda tx: mappers.fetch(tx, query, streamed=streamed))
        return [read(row) for row in rows]

    def _first(self, query: AnySelect, read: Callable[[mappers.Values], V]) -> V | None:
        return next(iter(self._all(query, read)), None)


def ensure_deployment(tx: Connection) -> str:
    """Make the one row that holds our id and the epoch, unless it is there; return the id."""
    uid = uuid4().hex[:UID_HEX_DIGITS]
    insert_new(tx, tables.deployment, {"singleton": 1, "uid": uid, "epoch": 0})
    return str(tx.execute(select(tables.deployment.c.uid)).scalar_one())


def _uid(tx: Connection) -> str | None:
    return tx.execute(select(tables.deployment.c.uid)).scalar_one_or_none()


def _of_service(table: Table, service: str | None) -> AnySelect:
    query = select(table)
    return query if service is None else query.where(table.c.service == service)


def energy_of(
    names: Sequence[str], service: str, window: Window | None, replica: str | None = None
) -> CompoundSelect[*tuple[Any, ...]]:
    """Ask for columns of hours and samples in one statement: what is merged in between is read once."""
    parts = []
    for table in (tables.energy_hours, tables.energy_samples):
        query = select(*(table.c[name] for name in names))
        if replica is None:
            query = query.where(table.c.service == service)
        else:
            # Were the service asked for as well, SQLite would go through all of its samples to find the replica's.
            own = select(tables.replicas.c.name).where(
                tables.replicas.c.name == replica, tables.replicas.c.service == service
            )
            query = query.where(table.c.replica == own.scalar_subquery())
        if window is not None:
            start, end = tidy_instant(window.start), tidy_instant(window.end)
            query = query.where(table.c.window_start >= start, table.c.window_start < end)
        parts.append(query)
    return union_all(*parts)


EVERY_PAUSE = (
    select(tables.pauses.c.paused)
    .where(tables.pauses.c.service == EVERY_SERVICE)
    .order_by(tables.pauses.c.seq.desc())
    .limit(1)
)
"""The newest word about all services at once; no row before the first."""

_SERVICES = select(
    tables.services,
    EVERY_PAUSE.scalar_subquery().label("all_paused"),
    tables.spec_revisions.c.spec,
    tables.spec_revisions.c.digest.label("spec_digest"),
).join(
    tables.spec_revisions,
    and_(
        tables.spec_revisions.c.service == tables.services.c.name,
        tables.spec_revisions.c.revision == tables.services.c.revision,
    ),
)
