"""What the one acting controller may write into the memory of one process. Every write first compares epochs."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.control.ports.store import DECISIONS_LEFT, MOST_COMPACTED
from orchestrator.domain.carbon import Reading
from orchestrator.domain.decision import RESTING, Decision, resting_days
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.money import SpendingCap
from orchestrator.domain.orphans import Reap, Restored, Suspect
from orchestrator.domain.records import (
    Event,
    EventKind,
    Intent,
    IntentState,
    OperationState,
    Placement,
    ServiceState,
)
from orchestrator.domain.replica import ENDED, Replica, ReplicaState
from orchestrator.domain.time import HOUR, floor_day, floor_hour
from orchestrator.domain.turns import Turn
from orchestrator.ledger.hourly import hourly
from orchestrator.store import rules
from orchestrator.store.memory_orphans import MemoryOrphanRecords, close_request, replace_suspects
from orchestrator.store.memory_state import State, at_revision, faultable, require_replica, require_service
from orchestrator.store.spending import refuse_unaffordable
from orchestrator.store.tidy import tidy, tidy_instant, tidy_text

DAY = timedelta(days=1)


class MemoryJournal(MemoryOrphanRecords):
    """The ``Journal`` port over values in this process.

    Every write raises ``LeaseHeld`` once a newer epoch was claimed. Writing about something that was never recorded is
    a ``ValueError`` (``UnknownService`` for a service).
    """

    def __init__(self, state: State, epoch: int, predecessor: Turn | None = None) -> None:
        super().__init__(state)
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

    @faultable
    def renew_turn(self) -> None:
        """Be heard of."""
        state = self._at_turn()
        if state.turn is not None:
            state.turn = replace(state.turn, heard_at=state.present(), is_over=False)

    @faultable
    def end_turn(self) -> None:
        """Say that we have stopped: the turn is free at once."""
        state = self._at_turn()
        if state.turn is not None:
            state.turn = replace(state.turn, heard_at=state.present(), is_over=True)

    @faultable
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
        rules.check_launch(replica, intent, placement)
        new, plan, place = tidy(replica), tidy(intent), tidy(placement)
        ends_at = None if lease_ends_at is None else tidy_instant(lease_ends_at)
        state = self._at_turn()
        require_service(state, new.service)
        if new.name in state.replicas:
            return
        if plan.id in state.intents:
            raise ValueError(f"intent {plan.id} already belongs to another replica")
        if cap is not None:
            others = [r for r in state.replicas.all() if r.service == new.service]
            refuse_unaffordable(new, ends_at, others, state.leases, cap)
        if ends_at is not None:
            state.leases[new.name] = ends_at
        state.replicas.put(new.name, new)
        state.intents.put(plan.id, plan)
        state.placements[new.name] = place

    @faultable
    def move_replica(self, name: str, to: ReplicaState, now: datetime, reason: str = "") -> Replica:
        """Change the state along ``NEXT_STATES``; raises ``ValueError`` for any other arrow.

        Ends the placement when the new state is final. An empty reason keeps the one before.
        """
        at, why = tidy_instant(now), tidy_text(reason)
        state = self._at_turn()
        old = require_replica(state, name)
        rules.check_arrow(name, old.state, to)
        new = replace(old, state=to, state_since=at, reason=why or old.reason)
        if to is ReplicaState.READY:
            new = replace(new, ready_at=at)
        if to in ENDED:
            new = replace(new, ended_at=at)
            place = state.placements[name]
            state.placements[name] = replace(place, ended_at=at, end_reason=why or to.value)
        return state.replicas.put(name, new)

    @faultable
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
        if weight_percent is not None:
            rules.check_weight(name, weight_percent)
        state = self._at_turn()
        old = new = require_replica(state, name)
        if endpoint is not None:
            new = replace(new, endpoint=tidy_text(endpoint))
        if weight_percent is not None and weight_percent != old.weight_percent:
            new = replace(new, weight_percent=weight_percent, weight_since=at)
        if cleaned_up and not old.cleaned_up and old.ended_at is not None:
            new = replace(new, ended_at=at)
        if cleaned_up is not None:
            new = replace(new, cleaned_up=cleaned_up)
        return state.replicas.put(name, new)

    @faultable
    def renew_lease(self, replica: str, ends_at: datetime) -> None:
        """Record until when a replica goes on by itself."""
        at = tidy_instant(ends_at)
        state = self._at_turn()
        require_replica(state, replica)
        state.leases[replica] = at

    @faultable
    def add_intent(self, intent: Intent) -> None:
        """Commit a further intent (a termination). Idempotent by id."""
        plan = tidy(intent)
        state = self._at_turn()
        require_replica(state, plan.replica)
        require_service(state, plan.service)
        if plan.id not in state.intents:
            state.intents.put(plan.id, plan)

    @faultable
    def set_intent(self, intent_id: str, state: IntentState, now: datetime, detail: str = "") -> None:
        """Record how far an intent has come. An empty detail keeps the one before."""
        at, words = tidy_instant(now), tidy_text(detail)
        memory = self._at_turn()
        old = memory.intents.get(intent_id)
        if old is None:
            raise rules.unknown("intent", intent_id)
        memory.intents.put(intent_id, replace(old, state=state, updated_at=at, detail=words or old.detail))

    @faultable
    def set_operation(
        self, operation_id: str, state: OperationState, now: datetime, *, error_code: str = "", error: str = ""
    ) -> None:
        """Record how far a request has come.

        What is done or failed stays so: the same again changes nothing, anything else is a ``ValueError``.
        """
        at, code, words = tidy_instant(now), tidy_text(error_code), tidy_text(error)
        memory = self._at_turn()
        old = memory.operations.get(operation_id)
        if old is None:
            raise rules.unknown("operation", operation_id)
        if rules.operation_changes(operation_id, old.state, state):
            new = replace(old, state=state, updated_at=at, error_code=code, error=words)
            memory.operations.put(operation_id, new)

    @faultable
    def set_service_state(
        self, service: str, state: ServiceState, now: datetime, *, only_from: ServiceState | None = None
    ) -> bool:
        """Record that a service is going down, or is down; return whether it was recorded.

        ``only_from``: the state it must have still. Raises ``UnknownService``.
        """
        at = tidy_instant(now)
        memory = self._at_turn()
        old = require_service(memory, service)
        if only_from not in {None, old.state}:
            return False
        memory.services[service] = replace(old, state=state, updated_at=at)
        return True

    @faultable
    def restore_revision(self, service: str, revision: int, now: datetime) -> None:
        """Make an older revision the current one again, after a deploy that failed.

        Raises ``UnknownService``, and ``ValueError`` when the service never had that revision.
        """
        at = tidy_instant(now)
        state = self._at_turn()
        old = require_service(state, service)
        state.services[service] = replace(at_revision(state, old, revision), updated_at=at)

    @faultable
    def record_decision(self, decision: Decision, signals: Sequence[Reading]) -> None:
        """Keep a decision and the signals it used. Idempotent by id."""
        why, readings = tidy(decision), tuple(tidy(reading) for reading in signals)
        state = self._at_turn()
        require_service(state, why.service)
        if why.id not in state.decisions:
            state.decisions[why.id] = why
            state.decisions_of[why.service].append(why.id)
            state.signals[why.id] = readings

    @faultable
    def record_energy(self, samples: Sequence[EnergySample]) -> None:
        """Keep samples, all or none; a sample of the same replica and window start is kept once."""
        kept = [tidy(sample) for sample in samples]
        state = self._at_turn()
        for sample in kept:
            require_replica(state, sample.replica)
        for sample in kept:
            require_service(state, sample.service)
        for sample in kept:
            key = (sample.replica, sample.window.start)
            merged = any(w.start <= sample.window.start < w.end for w in state.energy_merged[sample.replica])
            if key not in state.energy and not merged:
                state.energy[key] = sample
                insort(state.energy_of[sample.service], sample, key=_by_start)

    @faultable
    def compact_energy(
        self,
        before: datetime,
        most: int = MOST_COMPACTED,
        *,
        links_before: datetime | None = None,  # noqa: ARG002  # there is no chain of links
    ) -> int:
        """Merge old samples into rows of an hour, about ``most`` at once; return how many were merged."""
        state, end = self._at_turn(), floor_hour(tidy_instant(before))
        raw = [
            s
            for s in state.energy.values()
            if s.window.start < end and not any(w.start == s.window.start for w in state.energy_merged[s.replica])
        ]
        if not raw:
            return 0
        first = min(raw, key=lambda s: (s.window.start, s.service))
        hour, done = floor_hour(first.window.start), 0
        within = [s for s in raw if s.service == first.service and s.window.start < hour + HOUR]
        for name in sorted({s.replica for s in within}):
            if done >= most:
                break
            own = [s for s in within if s.replica == name]
            for sample in own:
                del state.energy[name, sample.window.start]
            for row in hourly(own):
                state.energy[name, row.window.start] = row
                state.energy_merged[name].append(row.window)
            done += len(own)
        state.energy_of[first.service] = sorted(
            (s for s in state.energy.values() if s.service == first.service), key=_by_start
        )
        return done

    @faultable
    def compact_decisions(self, before: datetime) -> int:
        """Merge the oldest day of one service's old decisions that changed nothing; return how many were merged."""
        state, end = self._at_turn(), floor_day(tidy_instant(before))
        followed = {p.decision_id for p in state.placements.values()}
        idle = [
            (decision.at, service, name)
            for service, names in state.decisions_of.items()
            for name in names[:-DECISIONS_LEFT]
            if (decision := state.decisions[name]).kind in RESTING and decision.actor == "policy"
            if decision.at < end and name not in followed
        ]
        if not idle:
            return 0
        at, service, _ = min(idle)
        merged = [name for then, whose, name in idle if whose == service and then < floor_day(at) + DAY]
        for day in resting_days(sorted((state.decisions.pop(name) for name in merged), key=lambda d: d.at)):
            key = (day.service, day.day, day.kind, day.policy)
            old = state.resting.get(key)
            state.resting[key] = day if old is None else old.with_more(day)
        for name in merged:
            state.decisions_of[service].remove(name)
            del state.signals[name]
        return len(merged)

    @faultable
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
        event = Event(0, service, kind, at, wall_at, text, replica, detail_json)
        events = self._at_turn().events
        events.append(replace(tidy(event), id=len(events) + 1))

    @faultable
    def next_routing_version(self) -> int:
        """Return a number larger than any before, over restarts."""
        state = self._at_turn()
        state.routing_version += 1
        return state.routing_version

    @faultable
    def set_suspects(self, source: str, suspects: Sequence[Suspect]) -> None:
        """Keep these as the suspects of one source, in the place of those before."""
        kept = [tidy(suspect) for suspect in suspects]
        replace_suspects(self._at_turn(), source, kept)

    @faultable
    def set_restored(self, *, seen_epoch: int = 0, accepted_epoch: int = 0) -> None:
        """Keep a sign that the database was set back, or that it is accepted. Neither number ever falls."""
        state = self._at_turn()
        old = state.restored
        state.restored = Restored(max(old.seen_epoch, seen_epoch), max(old.accepted_epoch, accepted_epoch))

    @faultable
    def close_reap_request(
        self, request_id: str, state: OperationState, now: datetime, *, outcome_json: str, reaps: Sequence[Reap] = ()
    ) -> None:
        """Close a request and commit what follows from it, in one step: no answer without its intents.

        A request that is closed already is left as it is, and then nothing is committed.
        """
        at, answer, plans = tidy_instant(now), tidy_text(outcome_json), [tidy(reap) for reap in reaps]
        memory = self._at_turn()
        if close_request(memory, request_id, state, at, answer):
            for plan in plans:
                memory.reaps.setdefault(plan.id, plan)

    @faultable
    def set_reap_request(self, request_id: str, state: OperationState, now: datetime) -> None:
        """Record that an open request has been looked at."""
        at = tidy_instant(now)
        close_request(self._at_turn(), request_id, state, at, None)

    @faultable
    def set_reap(self, reap_id: str, state: IntentState, now: datetime, detail: str = "") -> None:
        """Record how far the end of an orphan has come. An empty detail keeps the one before."""
        at, words = tidy_instant(now), tidy_text(detail)
        memory = self._at_turn()
        old = memory.reaps.get(reap_id)
        if old is None:
            raise rules.unknown("reap", reap_id)
        memory.reaps[reap_id] = replace(old, state=state, updated_at=at, detail=words or old.detail)

    @faultable
    def notice_edits(self, digest: str) -> None:
        """Put on record that a check of the journal found something."""
        del digest
        state = self._at_turn()
        if not state.marks.holds:
            state.marks = replace(state.marks, noticed=state.marks.accepted + 1)

    def _at_turn(self) -> State:
        """Return what may be changed, if it is still our turn."""
        newest = self._state.epoch
        if newest != self._epoch:
            raise rules.superseded(self._epoch, newest, self._state.holders[-1])
        return self._state


def _by_start(sample: EnergySample) -> tuple[datetime, str]:
    return sample.window.start, sample.replica
