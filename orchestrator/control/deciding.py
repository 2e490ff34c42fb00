"""When a service is planned anew, what of the plan is done, and what of it is worth remembering."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.control.apply import Applier
from orchestrator.control.calendar import timetable_of
from orchestrator.control.company import Company
from orchestrator.control.edits import EditWatch
from orchestrator.control.gather import gather_snapshot
from orchestrator.control.grid import GridReader
from orchestrator.control.load import LoadWatch
from orchestrator.control.operations import asked_for, is_company, is_done
from orchestrator.control.past import Past, waits_for_window
from orchestrator.control.ports import Journal
from orchestrator.control.progress import Progress
from orchestrator.control.runtime import Runtime, is_due
from orchestrator.control.spending import afford
from orchestrator.control.standing import STAY_EVERY, Standings
from orchestrator.control.thinking import thinking_time
from orchestrator.control.windows import WindowBook
from orchestrator.domain.carbon import Reading
from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.plan import Plan
from orchestrator.domain.records import EventKind, Operation, OperationKind, OperationState, ServiceRecord, ServiceState
from orchestrator.domain.replica import LIVE, ReplicaState
from orchestrator.domain.scale import WantedReplicas
from orchestrator.domain.time import Instant
from orchestrator.errors import BudgetSpent, NoFeasiblePlacement, PriceUnavailable
from orchestrator.planner.hedge.spares import hedged
from orchestrator.planner.pause import Held, hold_voluntary
from orchestrator.planner.plan import plan
from orchestrator.planner.schedule import Timetable
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.wanted import is_scaled

ANOTHER_HOUR = timedelta(minutes=30)
"""A beginning that is put off by less is the same one: work that may be interrupted is planned by the quarter hour."""

STANDING = frozenset({DecisionKind.STAY, DecisionKind.HOLD})
"""Plans that may stand: all is as it should be, or on its way there. What is refused is no plan."""

LONGEST_REST_SECONDS = 30.0
"""How long nothing is planned for a service at rest; less on a replayed grid, where five minutes pass sooner."""


@dataclass(frozen=True, slots=True)
class Planned:
    """When a plan was last made (``Clock.monotonic``), of what, and how long it holds while nothing changes.

    ``until``: when a window of the service's schedule opens or closes next, in grid time.
    """

    what: object
    at: float
    rest_seconds: float = 0.0
    until: Instant | None = None


class Decider:
    """Asks the planner, when it is time, records what it decided and applies what it wants."""

    def __init__(
        self,
        runtime: Runtime,
        journal: Journal,
        grid: GridReader,
        applier: Applier,
        edits: EditWatch,
        loads: LoadWatch,
        progress: Progress,
    ) -> None:
        self._runtime = runtime
        self._journal = journal
        self._grid = grid
        self._applier = applier
        self._edits = edits
        self._loads = loads
        self._progress = progress
        self._past = Past(journal)
        self._windows = WindowBook(journal, self._past)
        self._planned: dict[str, Planned] = {}
        self._standings = Standings(self._past)
        self.company = Company(runtime, journal, applier, self._past)

    async def plan(self, service: ServiceRecord, operation: Operation | None) -> bool:
        """Ask the planner, when it is time, and apply what it wants; return whether it was asked and wants nothing."""
        if service.state is ServiceState.DOWN:
            return False
        queued = operation is not None and operation.state is OperationState.QUEUED
        # What waits for the end of a pause keeps nobody from replacing what is lost meanwhile.
        if queued and not (self._edits.holds_back(service) and self._lives(service.name)):
            return False
        running = operation if operation is not None and operation.state is OperationState.RUNNING else None
        replicas = self._progress.replicas_since(running) if running is not None else ()
        asked = asked_for(running, replicas) if running is not None else ()
        looks_done = running is not None and is_done(running, service, asked)
        before = self.last_size(service)
        size = self._loads.wanted(service.spec, before, fixed=running is not None)
        more = self._loads.wanted(service.spec, before) if running is not None and size is not None else None
        what = self._what_there_is(service, operation, more or size)
        wakes = size is not None and before is not None and size.replicas > before.replicas == 0
        if not looks_done and not self._should_plan(service.name, what, at_once=wakes):
            return False
        now = self._runtime.clock.now()
        timetable = timetable_of(service.spec.migration.schedule, now)
        until = None if timetable is None else timetable.next_change
        self._planned[service.name] = Planned(what, self._runtime.clock.monotonic(), until=until)
        self._windows.settle(service, timetable, now, self._runtime.clock.rate)
        if running is not None and self._progress.failure_of(running, service, asked) is not None:
            return False
        if running is not None:
            self.company.make_way(running, replicas)
        moves = self._past.moves(service.name, now)
        # When batch work runs is decided with everything else that is known of its places.
        given = size if service.spec.batch is None or running is not None else None
        snapshot = await gather_snapshot(
            service.spec,
            service.spec_digest,
            self._runtime,
            self._grid,
            now,
            moves=moves,
            sizing=given,
            load=self._loads.steady(service.name),
            beside=frozenset(r.name for r in replicas if running is not None and is_company(running, r)),
            recent_launches=self._applier.pace.lately(),
        )
        if self._edits.holds_back(service) and not snapshot.paused:
            # Else load that could be carried by company would wait for an exchange that nobody makes.
            snapshot = hedged(replace(snapshot, paused=True), now)
        until = _next_of(until, snapshot.sizing, now)
        quiet = self._decide(service, running, snapshot, timetable, now, what, until)
        if running is not None and more is not None and size is not None and size.replicas:
            self.company.join(running, service, more, snapshot, replicas)
        return quiet

    def _decide(
        self,
        service: ServiceRecord,
        running: Operation | None,
        snapshot: Snapshot,
        timetable: Timetable | None,
        now: Instant,
        what: object,
        until: Instant | None,
    ) -> bool:
        """Ask the planner, unless what it said stands, and apply what it wants; return whether that is nothing."""
        keep_up = running is None or running.kind is not OperationKind.DEPLOY
        if self._stands(snapshot, now, what, until, keep_up=keep_up):
            return True
        budget = thinking_time(self._runtime.clock)
        wanted = plan(snapshot, service.spec.policy, now, keep_up=keep_up, budget=budget)
        if running is not None and wanted.decision.kind is DecisionKind.MOVE and wanted.decision.comparisons:
            return True  # a voluntary move waits until the request is closed
        # Signals take a while to read: a pause that came meanwhile holds for what was thought without knowing of it.
        newest = self._journal.service(service.name) or service
        held = hold_voluntary(wanted) if self._edits.holds_back(newest) else Held(wanted, ())
        afforded = afford(held.plan, service.spec, self._journal, self._runtime)
        wanted = afforded.plan
        self._windows.keep_in_mind(service.name, timetable, wanted.decision)
        if self._worth_recording(wanted.decision, service, timetable):
            readings = tuple({c.offer.region.zone: c.now for c in snapshot.candidates}.values())
            self._past.record(wanted.decision, readings)
        zones = {c.offer.id: c.offer.region.zone for c in snapshot.candidates}
        self._applier.actions(wanted, service, wanted.decision.id, zones)
        # What was refused, held back or not thought to its end is no answer to stand by.
        stands = not (afforded.refused or held.withheld) and budget() > 0
        self._rest(wanted, snapshot, what, until, keep_up=keep_up, stands=stands)
        if afforded.refused:
            raise BudgetSpent("; ".join(afforded.refused))
        return not wanted.actions and not held.withheld

    async def hold(self, service: ServiceRecord, error: NoFeasiblePlacement | PriceUnavailable | BudgetSpent) -> None:
        """Nothing can be decided now: say so once, keep what runs, ask again."""
        now = self._runtime.clock.now()
        digest = hashlib.sha256(f"{service.name}|hold|{now.isoformat()}".encode()).hexdigest()[:10]
        decision = Decision(
            id=f"d-{digest}",
            service=service.name,
            at=now,
            kind=DecisionKind.HOLD,
            actor="policy",
            policy=service.spec.policy.name,
            summary=f"hold: {error.message}",
            clock_rate=self._runtime.clock.rate,
        )
        self._windows.keep_in_mind(service.name, timetable_of(service.spec.migration.schedule, now), decision)
        last = self._past.last(service.name)
        if last is not None and last.kind is DecisionKind.HOLD and now - last.at < STAY_EVERY:
            return
        self._past.record(decision, ())
        self._applier.event(EventKind.WARNING, f"{error.code}: {error.message} {error.hint()}", service.name)

    def last_size(self, service: ServiceRecord) -> WantedReplicas | None:
        """Return how many replicas were wanted last, where load decides on that."""
        return self._past.size(service.name) if is_scaled(service.spec.scaling) else None

    def record(self, decision: Decision, signals: Sequence[Reading]) -> None:
        """Keep a decision and the signals it used."""
        self._past.record(decision, signals)

    def _stands(self, snapshot: Snapshot, now: Instant, what: object, until: Instant | None, *, keep_up: bool) -> bool:
        """Whether what was planned last still holds, and wants nothing; then that is looked at again after a rest."""
        standing = self._standings.of(snapshot, now, keep_up=keep_up)
        if standing is None:
            return False
        at = self._runtime.clock.monotonic()
        self._planned[snapshot.spec.name] = Planned(what, at, standing.rest_seconds, until)
        return True

    def _rest(
        self, wanted: Plan, snapshot: Snapshot, what: object, until: Instant | None, *, keep_up: bool, stands: bool
    ) -> None:
        """Leave a service alone of which nothing is wanted: for a while, or as long as the plan stands."""
        if wanted.decision.kind not in STANDING or wanted.actions:
            return
        rest = 0.0
        if wanted.decision.kind is DecisionKind.STAY:
            again = wanted.look_again_in.total_seconds() / self._runtime.clock.rate
            rest = min(again, LONGEST_REST_SECONDS)
        at = self._runtime.clock.monotonic()
        if stands:
            self._standings.keep(snapshot, wanted.decision.at, rest, keep_up=keep_up)
        self._planned[snapshot.spec.name] = Planned(what, at, rest, until)

    def _lives(self, service: str) -> bool:
        return any(r.state in LIVE for r in self._journal.replicas(service))

    def _should_plan(self, service: str, what: object, *, at_once: bool = False) -> bool:
        """Whether something has changed since the last plan, or time has: grids and prices move by themselves.

        ``at_once``: what has changed does not wait for anything, because somebody waits for it.
        """
        last = self._planned.get(service)
        if last is None or (last.what != what and (at_once or self._somebody_ended(service, last.at))):
            return True
        if last.until is not None and self._runtime.clock.now() >= last.until:
            return True  # all that the schedule's timer does: it asks for a look
        rest = self._runtime.tuning.plan_every.total_seconds()
        return is_due(self._runtime.clock, last.at, max(rest, last.rest_seconds) if last.what == what else rest)

    def _somebody_ended(self, service: str, since: float) -> bool:
        """Whether a replica was lost, or its start came to nothing, since the last plan: the next try is made at once.

        ``since``: seconds of ``Clock.monotonic``.
        """
        clock = self._runtime.clock
        planned_at = clock.now() - timedelta(seconds=(clock.monotonic() - since) * clock.rate)
        ended = (r for r in self._journal.replicas(service) if r.state in {ReplicaState.FAILED, ReplicaState.LOST})
        return any(r.state_since >= planned_at for r in ended)

    def _what_there_is(
        self, service: ServiceRecord, operation: Operation | None, size: WantedReplicas | None
    ) -> object:
        """Everything on record that a plan depends on, in short."""
        replicas = [(r.name, r.state, r.weight_percent) for r in self._journal.replicas(service.name)]
        number = None if size is None else size.replicas
        return service.revision, service.state, service.paused, operation, replicas, number

    def _worth_recording(self, decision: Decision, service: ServiceRecord, timetable: Timetable | None) -> bool:
        before = self.last_size(service)
        if decision.sizing is not None and (before is None or before.replicas != decision.sizing.replicas):
            return True  # the number in force is in the records, and nowhere else
        if decision.sizing is not None and before is not None and _waits_anew(before, decision.sizing):
            return True
        if decision.kind is not DecisionKind.STAY:
            return decision.kind is not DecisionKind.HOLD
        if timetable is not None and timetable.openings:
            return False  # said once, when the window closes
        last = self._past.last(service.name)
        if last is None or last.kind is not DecisionKind.STAY or decision.at - last.at >= STAY_EVERY:
            return True
        # Nothing to compare any more, or again: a place whose signal went dark or came back is news. So is a move that
        # begins to wait for its window.
        waits = waits_for_window(decision) and not last.waits
        return waits or last.compares is not bool(decision.comparisons)


def _next_of(until: Instant | None, size: WantedReplicas | None, now: Instant) -> Instant | None:
    """Return the earlier of a change of the schedule and the moment at which batch work begins or is due."""
    moments = [m for m in (until, None if size is None else size.until) if m is not None and m > now]
    return min(moments, default=None)


def _waits_anew(before: WantedReplicas, after: WantedReplicas) -> bool:
    """Whether batch work waits for another hour than was said last, or is due at another; minutes do not matter."""
    if before.until is None or after.until is None:
        return before.until is not after.until
    return abs(after.until - before.until) >= ANOTHER_HOUR
