"""What the one acting controller may write. Each write first locks the epoch's row and compares, in its transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, select, update

from orchestrator.control.ports.store import MOST_COMPACTED
from orchestrator.domain.carbon import Reading
from orchestrator.domain.decision import Decision
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.money import SpendingCap
from orchestrator.domain.orphans import Reap, Suspect
from orchestrator.domain.records import (
    EventKind,
    Intent,
    IntentState,
    OperationState,
    Placement,
    ServiceState,
)
from orchestrator.domain.replica import ENDED, Replica, ReplicaState
from orchestrator.domain.turns import Turn
from orchestrator.store import mappers, orphans, spending, tables
from orchestrator.store.chain import Born, Rows, linked
from orchestrator.store.chain_check import notice
from orchestrator.store.compaction import SAMPLES, compact, seal, without_merged
from orchestrator.store.database import Database
from orchestrator.store.inserts import insert_all_new, insert_new
from orchestrator.store.remembered import RememberedReplicas
from orchestrator.store.requests import require_service
from orchestrator.store.resting import rest
from orchestrator.store.rules import (
    ACCEPTED_EPOCH,
    ROUTING_VERSION,
    SEEN_EPOCH,
    check_arrow,
    check_launch,
    check_weight,
    operation_changes,
    superseded,
    unknown,
)
from orchestrator.store.tidy import tidy, tidy_instant, tidy_text
from orchestrator.store.turns import hear

V = TypeVar("V")


class SqlJournal(orphans.SqlOrphanRecords):
    """The ``Journal`` port over a database. Every write raises ``LeaseHeld`` once a newer epoch was claimed.

    Writing about something that was never recorded is a ``ValueError`` (``UnknownService`` for a service).
    """

    def __init__(
        self,
        database: Database,
        epoch: int,
        remembered: RememberedReplicas | None = None,
        predecessor: Turn | None = None,
    ) -> None:
        super().__init__(database, remembered)
        self._epoch = epoch
        self._predecessor = predecessor

    @property
    def epoch(self) -> int:
        """Our turn's number."""
        return self._epoch

    @property
    def predecessor(self) -> Turn | None:
        """Whose turn it was before, as it was when we took it; ``None`` where nobody had said."""
        return self._predecessor

    def renew_turn(self) -> None:
        """Be heard of."""
        self._write(hear)

    def end_turn(self) -> None:
        """Say that we have stopped: the turn is free at once."""
        self._write(lambda tx: hear(tx, is_over=True))

    def start_replica(
        self,
        replica: Replica,
        intent: Intent,
        placement: Placement,
        *,
        lease_ends_at: datetime | None = None,
        cap: SpendingCap | None = None,
    ) -> None:
        """Commit a PENDING replica with its PLANNED launch intent, before anything is bought. Idempotent by name.

        Raises ``BudgetSpent``, having written nothing, when what it may cost does not fit below the cap.
        """
        check_launch(replica, intent, placement)
        new, plan, place = tidy(replica), tidy(intent), tidy(placement)
        ends_at = None if lease_ends_at is None else tidy_instant(lease_ends_at)

        def work(tx: Connection) -> None:
            require_service(tx, new.service)
            if not insert_new(tx, tables.replicas, mappers.row_of(new)):
                return
            if not insert_new(tx, tables.intents, mappers.row_of(plan)):
                raise ValueError(f"intent {plan.id} already belongs to another replica")
            tx.execute(tables.placements.insert().values(**mappers.row_of(place)))
            spending.hold(tx, new, ends_at, cap)

        self._write(work, [("replicas", new.name), ("intents", plan.id), ("placements", new.name)])

    def move_replica(self, name: str, to: ReplicaState, now: datetime, reason: str = "") -> Replica:
        """Change the state along ``NEXT_STATES``; raises ``ValueError`` for any other arrow.

        Ends the placement when the new state is final. An empty reason keeps the one before.
        """
        at, why = tidy_instant(now), tidy_text(reason)

        def work(tx: Connection) -> Replica:
            old = _replica(tx, name)
            check_arrow(name, old.state, to)
            change: dict[str, Any] = {"state": to, "state_since": at, "reason": why or old.reason}
            if to is ReplicaState.READY:
                change["ready_at"] = at
            if to in ENDED:
                change["ended_at"] = at
                table = tables.placements
                ending = update(table).where(table.c.replica == name, table.c.ended_at.is_(None))
                tx.execute(ending.values(ended_at=at, end_reason=why or to.value))
            return _change_replica(tx, name, change)

        return self._write(work, [("replicas", name), ("placements", name)])

    def update_replica(
        self,
        name: str,
        *,
        endpoint: str | None = None,
        weight_percent: int | None = None,
        cleaned_up: bool | None = None,
        now: datetime,
    ) -> Replica:
        """Change what is not the state; only what is given. ``weight_since`` follows a weight that really changes.

        Once nothing is left of a replica it has ended then, whenever it was given up: until then it was paid for.
        """
        at = tidy_instant(now)
        given = {
            "endpoint": endpoint and tidy_text(endpoint),
            "weight_percent": weight_percent,
            "cleaned_up": cleaned_up,
        }
        if weight_percent is not None:
            check_weight(name, weight_percent)

        def work(tx: Connection) -> Replica:
            old = _replica(tx, name)
            change: dict[str, Any] = {column: value for column, value in given.items() if value is not None}
            if weight_percent is not None and weight_percent != old.weight_percent:
                change["weight_since"] = at
            if cleaned_up and not old.cleaned_up and old.ended_at is not None:
                change["ended_at"] = at
            return _change_replica(tx, name, change) if change else old

        return self._write(work, [("replicas", name)])

    def renew_lease(self, replica: str, ends_at: datetime) -> None:
        """Record until when a replica goes on by itself."""
        row = {"replica": replica, "ends_at": tidy_instant(ends_at)}
        table = tables.leases

        def work(tx: Connection) -> None:
            _replica(tx, replica)
            if not insert_new(tx, table, row):
                tx.execute(update(table).where(table.c.replica == replica).values(ends_at=row["ends_at"]))

        self._write(work)

    def add_intent(self, intent: Intent) -> None:
        """Commit a further intent (a termination). Idempotent by id."""
        plan = tidy(intent)

        def work(tx: Connection) -> None:
            _replica(tx, plan.replica)
            require_service(tx, plan.service)
            insert_new(tx, tables.intents, mappers.row_of(plan))

        self._write(work, [("intents", plan.id)])

    def set_intent(self, intent_id: str, state: IntentState, now: datetime, detail: str = "") -> None:
        """Record how far an intent has come. An empty detail keeps the one before."""
        change: dict[str, Any] = {"state": state, "updated_at": tidy_instant(now)}
        if detail:
            change["detail"] = tidy_text(detail)
        table = tables.intents

        def work(tx: Connection) -> None:
            if tx.execute(update(table).where(table.c.id == intent_id).values(**change)).rowcount == 0:
                raise unknown("intent", intent_id)

        self._write(work, [("intents", intent_id)])

    def set_operation(
        self, operation_id: str, state: OperationState, now: datetime, *, error_code: str = "", error: str = ""
    ) -> None:
        """Record how far a request has come.

        What is done or failed stays so: the same again changes nothing, anything else is a ``ValueError``.
        """
        change = {"state": state, "updated_at": tidy_instant(now)}
        words = {"error_code": tidy_text(error_code), "error": tidy_text(error)}
        table = tables.operations

        def work(tx: Connection) -> None:
            old = tx.execute(select(table.c.state).where(table.c.id == operation_id)).scalar_one_or_none()
            if old is None:
                raise unknown("operation", operation_id)
            if operation_changes(operation_id, old, state):
                tx.execute(update(table).where(table.c.id == operation_id).values(**change, **words))

        self._write(work, [("operations", operation_id)])

    def set_service_state(
        self, service: str, state: ServiceState, now: datetime, *, only_from: ServiceState | None = None
    ) -> bool:
        """Record that a service is going down, or is down; return whether it was recorded.

        ``only_from``: the state it must have still. Raises ``UnknownService``.
        """
        table = tables.services
        change = update(table).where(table.c.name == service).values(state=state, updated_at=tidy_instant(now))
        if only_from is not None:
            change = change.where(table.c.state == only_from)

        def work(tx: Connection) -> bool:
            if tx.execute(change).rowcount:
                return True
            require_service(tx, service)
            return False

        return self._write(work, [("services", service)])

    def restore_revision(self, service: str, revision: int, now: datetime) -> None:
        """Make an older revision the current one again, after a deploy that failed.

        Raises ``UnknownService``, and ``ValueError`` when the service never had that revision.
        """
        change = {"revision": revision, "updated_at": tidy_instant(now)}
        known = tables.spec_revisions
        query = select(known.c.revision).where(known.c.service == service, known.c.revision == revision)

        def work(tx: Connection) -> None:
            require_service(tx, service)
            if tx.execute(query).first() is None:
                raise unknown("revision", f"{service}@{revision}")
            tx.execute(update(tables.services).where(tables.services.c.name == service).values(**change))

        self._write(work, [("services", service)])

    def record_decision(self, decision: Decision, signals: Sequence[Reading]) -> None:
        """Keep a decision and the signals it used. Idempotent by id."""
        why = tidy(decision)
        row = mappers.decision_row(why)
        verdicts = mappers.verdict_rows(why)
        readings = [mappers.reading_row(why.id, i, tidy(reading)) for i, reading in enumerate(signals)]

        def work(tx: Connection) -> None:
            require_service(tx, why.service)
            if insert_new(tx, tables.decisions, row):
                insert_all_new(tx, tables.verdicts, verdicts)
                insert_all_new(tx, tables.signals_used, readings)

        self._write(work, [("decisions", why.id)])

    def record_energy(self, samples: Sequence[EnergySample]) -> None:
        """Keep samples, all or none; a sample of the same replica and window start is kept once."""
        kept = [tidy(sample) for sample in samples]
        rows = [mappers.energy_row(sample) for sample in kept]

        def work(tx: Connection) -> None:
            for name in dict.fromkeys(sample.replica for sample in kept):
                _replica(tx, name)
            for name in dict.fromkeys(sample.service for sample in kept):
                require_service(tx, name)
            insert_all_new(tx, tables.energy_samples, without_merged(tx, rows))

        self._write(
            work, lambda tx: [(SAMPLES, row["replica"], row["window_start"]) for row in without_merged(tx, rows)]
        )

    def compact_energy(
        self, before: datetime, most: int = MOST_COMPACTED, *, links_before: datetime | None = None
    ) -> int:
        """Merge old samples into rows of an hour, about ``most`` at once; a step that is not full takes away links.

        Returns how many samples were merged or links taken away; 0 when nothing is left to do for now.
        """
        until = tidy_instant(before)
        sealed_until = until if links_before is None else tidy_instant(links_before)
        merged = self._write(lambda tx: compact(tx, until, most))
        return merged if merged >= most else merged + self._write(lambda tx: seal(tx, sealed_until))

    def compact_decisions(self, before: datetime) -> int:
        """Merge the oldest day of one service's old decisions that changed nothing; return how many were merged."""
        until = tidy_instant(before)
        return self._write(lambda tx: rest(tx, until))

    def record_event(
        self,
        kind: EventKind,
        text: str,
        *,
        service: str,
        at: datetime,
        wall_at: datetime,
        replica: str = "",
        detail_json: str = "{}",
    ) -> None:
        """Append one line of history."""
        row = {
            "kind": kind,
            "text": tidy_text(text),
            "service": tidy_text(service),
            "replica": tidy_text(replica),
            "at": tidy_instant(at),
            "wall_at": tidy_instant(wall_at),
            "detail_json": tidy_text(detail_json),
        }

        def work(tx: Connection) -> int:
            return int(tx.execute(_NEW_EVENT, row).scalar_one())

        self._write(work, born=lambda _tx, number: [("events", number)])

    def next_routing_version(self) -> int:
        """Return a number larger than any before, over restarts."""
        table = tables.counters

        def work(tx: Connection) -> int:
            insert_new(tx, table, {"name": ROUTING_VERSION, "value": 0})
            tx.execute(update(table).where(table.c.name == ROUTING_VERSION).values(value=table.c.value + 1))
            return int(tx.execute(select(table.c.value).where(table.c.name == ROUTING_VERSION)).scalar_one())

        return self._write(work, [("counters", ROUTING_VERSION)])

    def set_suspects(self, source: str, suspects: Sequence[Suspect]) -> None:
        """Keep these as the suspects of one source, in the place of those before."""
        kept = [tidy(suspect) for suspect in suspects]
        self._write(lambda tx: orphans.replace_suspects(tx, source, kept))

    def set_restored(self, *, seen_epoch: int = 0, accepted_epoch: int = 0) -> None:
        """Keep a sign that the database was set back, or that it is accepted. Neither number ever falls."""

        def work(tx: Connection) -> None:
            orphans.raise_counter(tx, SEEN_EPOCH, seen_epoch)
            orphans.raise_counter(tx, ACCEPTED_EPOCH, accepted_epoch)

        self._write(work, [("counters", SEEN_EPOCH), ("counters", ACCEPTED_EPOCH)])

    def close_reap_request(
        self, request_id: str, state: OperationState, now: datetime, *, outcome_json: str, reaps: Sequence[Reap] = ()
    ) -> None:
        """Close a request and commit what follows from it, in one transaction: no answer without its intents.

        A request that is closed already is left as it is, and then nothing is committed.
        """
        at, answer, plans = tidy_instant(now), tidy_text(outcome_json), [tidy(reap) for reap in reaps]
        rows = [("reap_requests", request_id), *(("reaps", plan.id) for plan in plans)]
        self._write(lambda tx: orphans.close_request(tx, request_id, state, at, answer, plans), rows)

    def set_reap_request(self, request_id: str, state: OperationState, now: datetime) -> None:
        """Record that an open request has been looked at."""
        at = tidy_instant(now)
        self._write(lambda tx: orphans.change_request(tx, request_id, state, at), [("reap_requests", request_id)])

    def set_reap(self, reap_id: str, state: IntentState, now: datetime, detail: str = "") -> None:
        """Record how far the end of an orphan has come. An empty detail keeps the one before."""
        at, words = tidy_instant(now), tidy_text(detail)
        self._write(lambda tx: orphans.change_reap(tx, reap_id, state, at, words), [("reaps", reap_id)])

    def notice_edits(self, digest: str) -> None:
        """Put on record that a check of the journal found something; once for the same findings."""
        self._write(lambda tx: notice(tx, digest))

    def _write(self, work: Callable[[Connection], V], rows: Rows = (), born: Born[V] | None = None) -> V:
        """Do the work in our turn. ``rows``: those that it may change; ``born``: those that the database numbers."""

        def fenced(tx: Connection) -> V:
            self._check_turn(tx)
            return linked(tx, work, rows, born) if rows or born else work(tx)

        return self._database.write(fenced)

    def _check_turn(self, tx: Connection) -> None:
        """Compare epochs under a lock, so that a claim waits for us or we see it.

        The lock is exclusive on purpose: journal writes follow one another, and therefore events are committed in the
        order of their ids and nobody who reads on from the last id misses one.
        """
        newest = tx.execute(_TURN).scalar_one_or_none() or 0
        if newest != self._epoch:
            table = tables.controllers
            holder = tx.execute(select(table.c.holder).where(table.c.epoch == newest)).scalar_one_or_none()
            raise superseded(self._epoch, newest, holder or "")


def _replica(tx: Connection, name: str) -> Replica:
    """Read the replica as it is now. The epoch's lock keeps everybody else from changing it meanwhile."""
    rows = mappers.fetch(tx, _REPLICA, {"replica": name})
    if not rows:
        raise unknown("replica", name)
    return mappers.replica_from(rows[0])


def _change_replica(tx: Connection, name: str, change: dict[str, Any]) -> Replica:
    tx.execute(_CHANGED_REPLICA, {**change, "replica": name})
    return _replica(tx, name)


_TURN = select(tables.deployment.c.epoch).with_for_update()
_REPLICA = select(tables.replicas).where(tables.replicas.c.name == bindparam("replica"))
_CHANGED_REPLICA = update(tables.replicas).where(tables.replicas.c.name == bindparam("replica"))
_NEW_EVENT = tables.events.insert().returning(tables.events.c.id)
"""Built once, being part of every write: making a statement costs more than running it."""
