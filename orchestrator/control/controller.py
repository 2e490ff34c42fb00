"""The loop: gather, decide, apply, for one service at a time, until everything is as it should be.

Level-based: each look starts from what is recorded and what is seen, so that a look which was interrupted, repeated
or skipped changes nothing but the time it takes. One service's trouble is not another's: a look that fails is repeated
later, and meanwhile the others are looked at as always.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.control.apply import Applier
from orchestrator.control.calendar import timetable_of
from orchestrator.control.edits import EditWatch
from orchestrator.control.gather import gather_snapshot, history
from orchestrator.control.grid import GridReader
from orchestrator.control.leases import Renewals
from orchestrator.control.load import LoadWatch, in_force, number_in_force
from orchestrator.control.metering import Meter
from orchestrator.control.observe import Watch, gateway_status, observe
from orchestrator.control.operations import (
    Failure,
    failure_of,
    given_up,
    is_done,
    plan_in,
    revision_of,
    revision_to_restore,
)
from orchestrator.control.past import Past, waits_for_window
from orchestrator.control.ports import Journal
from orchestrator.control.runtime import Runtime
from orchestrator.control.shares import Shares
from orchestrator.control.spending import afford, require_affordable
from orchestrator.control.sweep import Sweeper
from orchestrator.control.thinking import thinking_time
from orchestrator.control.traffic import routes_for, same_routes, table_of
from orchestrator.control.windows import WindowBook
from orchestrator.domain.carbon import Reading
from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.offer import Offer
from orchestrator.domain.records import (
    EventKind,
    Operation,
    OperationKind,
    OperationState,
    ServiceRecord,
    ServiceState,
)
from orchestrator.domain.replica import ENDED, LIVE, Replica, ReplicaState
from orchestrator.domain.routing import GatewayStatus, RoutingTable, ServiceRoutes
from orchestrator.domain.scale import WantedReplicas
from orchestrator.domain.time import HOUR, Instant
from orchestrator.errors import (
    BudgetSpent,
    Conflict,
    GatewayUnavailable,
    GreenctlError,
    LeaseHeld,
    NoFeasiblePlacement,
    PriceUnavailable,
    StalePlan,
)
from orchestrator.planner.pause import Held, hold_voluntary, needed_steps
from orchestrator.planner.plan import plan
from orchestrator.planner.rollout import RolloutView, StepKind, next_steps, weight_of
from orchestrator.planner.schedule import Timetable
from orchestrator.planner.wanted import is_scaled, may_sleep

STAY_EVERY = HOUR
"""A repeated "stay" is recorded once per grid hour: it is a decision, not a heartbeat."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
"""How long a service whose look failed is left alone, doubled by each further failure."""

MOST_DOUBLINGS = 10


ANOTHER_HOUR = timedelta(minutes=30)
"""A beginning that is put off by less is the same one: work that may be interrupted is planned by the quarter hour."""

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


@dataclass(frozen=True, slots=True)
class Pause:
    """A service's looks have failed that often; the next one is at that second of ``Clock.monotonic``."""

    failures: int
    until: float


class Controller:
    """One acting controller. ``tick`` is one look at everything; whoever calls it owns the time between looks.

    ``grid``: what reads the grid for it; a simulation of many policies reads each hour once for all of them.
    """

    def __init__(self, runtime: Runtime, journal: Journal, grid: GridReader | None = None) -> None:
        self._runtime = runtime
        self._journal = journal
        self._grid = grid or GridReader(runtime.carbon)
        self._applier = Applier(runtime, journal)
        self._meter = Meter(runtime, journal, self._grid)
        self._past = Past(journal)
        self._windows = WindowBook(journal, self._past)
        self._loads = LoadWatch(runtime)
        self._shares = Shares()
        self._edits = EditWatch(journal, self._applier)
        self._renewals = Renewals(runtime, journal, self._applier.warn_once)
        self._sweeper = Sweeper(runtime, journal, self._applier, self._edits)
        self._watch = Watch()
        self._published: RoutingTable | None = None
        self._least_version = 0
        self._routes: dict[str, ServiceRoutes] = {}
        self._steps: dict[str, dict[str, int]] = {}
        self._published_steps: dict[str, int] = {}
        self._known_offers: dict[str, dict[str, Offer]] = {}
        self._pauses: dict[str, Pause] = {}
        self._revisions: dict[str, int] = {}
        self._planned: dict[str, Planned] = {}
        self._sampled_at: float | None = None
        self._swept_at: float | None = None

    async def tick(self) -> None:
        """Look at every service of which something is there, going down or asked for, then at the gateway.

        Raises the first error that a service's look ended with, after all have been looked at; ``LeaseHeld`` at once.
        """
        status = await gateway_status(self._runtime)
        sample = self._due(self._sampled_at, self._runtime.tuning.sample_every.total_seconds())
        if self._due(self._swept_at, self._runtime.tuning.sweep_every.total_seconds()) or self._sweeper.is_asked():
            await self._sweeper.sweep(status)
            self._swept_at = self._runtime.clock.monotonic()
        there = {r.name: r.service for r in self._journal.replicas()}
        busy = {o.service for o in self._journal.operations()} | set(there.values())
        services = [s for s in self._journal.services() if s.state is not ServiceState.DOWN or s.name in busy]
        looks = [await self._try(s.name, status, sample=sample) for s in services]
        if sample:
            self._sampled_at = self._runtime.clock.monotonic()
        self._watch.forget_all_but(there)
        self._meter.forget_all_but(there.keys())
        self._renewals.forget_all_but(there)
        self._shares.forget_all_but(there.values())
        await self._publish(status, {s.name for s in services})
        for error in looks:
            if error is not None:
                raise error

    async def _try(self, name: str, status: GatewayStatus | None, *, sample: bool) -> Exception | None:
        """Look at one service, unless its last look failed a moment ago; return the error instead of raising it."""
        pause = self._pauses.get(name)
        if pause is not None and self._runtime.clock.monotonic() < pause.until:
            return None
        try:
            await self.reconcile(name, status, sample=sample)
        except LeaseHeld:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not stop the other services
            failures = 0 if pause is None else pause.failures
            seconds = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures, MOST_DOUBLINGS))
            self._pauses[name] = Pause(failures + 1, self._runtime.clock.monotonic() + seconds)
            if pause is None:
                self._warn_of(error, name)
            return error
        self._pauses.pop(name, None)
        return None

    def _warn_of(self, error: Exception, service: str) -> None:
        words = f"{error.code}: {error.message}" if isinstance(error, GreenctlError) else type(error).__name__
        with suppress(GreenctlError):
            self._applier.event(EventKind.WARNING, f"the last look failed and will be repeated: {words}", service)

    async def reconcile(self, name: str, status: GatewayStatus | None, *, sample: bool = False) -> None:
        """Bring one service a step nearer to what is wanted."""
        service = self._journal.service(name)
        if service is None:
            return
        replicas = self._open_replicas(name)
        sold = await self._sold(service)
        offers = self._known_offers.get(name, {})
        seen = await observe(
            service, replicas, self._runtime, self._watch, status, self._published, self._published_steps
        )
        await self._meter.look(service, replicas, seen, offers, status, self._watch, due=sample)
        await self._renewals.look(service, replicas, self._watch.instances)
        sleeps = may_sleep(service.spec.scaling)
        self._loads.look(
            service, replicas, offers, status, self._watch, await self._readings(service, replicas) if sleeps else {}
        )
        view = RolloutView(
            spec=in_force(service.spec, number_in_force(service.spec, self._last_size(service))),
            replicas=replicas,
            observations=seen,
            traffic={} if status is None else {u.replica: u for u in status.upstreams},
            clock_rate=self._runtime.clock.rate,
            health_failures_until_lost=self._runtime.tuning.health_failures_until_lost,
            taking_down=service.state is not ServiceState.ACTIVE,
        )
        by_name = {r.name: r for r in replicas}
        steps = next_steps(view, self._runtime.clock.now())
        if self._is_held(service):
            steps = needed_steps(steps, replicas)
        try:
            for step in self._edits.allowed(steps):
                if step.kind is StepKind.ISSUE and (sold is None or self._sweeper.held):
                    continue
                replica = by_name[step.replica]
                await self._applier.step(step, replica, service, (sold or {}).get(replica.offer_id))
            await self._operations_and_plan(service)
        finally:
            # Whatever went wrong: what is known to be lost is routed to no longer.
            await self._refresh_routes(name)

    # ── operations and plans ─────────────────────────────────────────────────────────────────────────

    async def _operations_and_plan(self, service: ServiceRecord) -> None:
        if self._sweeper.held:
            return  # what this database wants is not what was wanted last
        operation = next(iter(self._journal.operations(service.name)), None)
        quiet = False
        try:
            queued = operation is not None and operation.state is OperationState.QUEUED
            if operation is not None and queued and not self._waits(operation, service):
                await self._begin(operation, service)
                operation = self._journal.operation(operation.id)
            quiet = await self._plan(self._journal.service(service.name) or service, operation)
        except NoFeasiblePlacement as error:
            if operation is not None and operation.kind is OperationKind.DEPLOY:
                self._fail(operation, service, error.code, f"{error.message} {error.hint()}")
                return
            await self._hold(service, error)
        except BudgetSpent as error:
            if operation is not None and (
                operation.kind is OperationKind.DEPLOY or operation.state is OperationState.QUEUED
            ):
                self._fail(operation, service, error.code, f"{error.message} {error.hint()}")
                return
            await self._hold(service, error)
        except PriceUnavailable as error:
            if (self._journal.service(service.name) or service).state is ServiceState.GOING_DOWN:
                self._retire_all(service)
            else:
                await self._hold(service, error)
        current = self._journal.service(service.name) or service
        if operation is not None:
            self._settle(operation, current, quiet=quiet)
        self._finish_take_down(current)

    async def _begin(self, operation: Operation, service: ServiceRecord) -> None:
        """Start a request: exactly the plan that was confirmed, under names that a second beginning would repeat."""
        now = self._runtime.clock.now()
        if operation.kind is OperationKind.DOWN:
            self._applier.event(EventKind.OPERATION, "down begins", service.name)
            self._journal.set_service_state(service.name, ServiceState.GOING_DOWN, now)
        else:
            try:
                confirmed = plan_in(operation)
            except ValueError as error:
                self._fail(operation, service, StalePlan.code, f"the confirmed plan cannot be read: {error}")
                return
            require_affordable(confirmed, service.spec, self._journal, self._runtime)
            offers = await self._runtime.offers.offers(service.spec.resources, now)
            zones = {o.id: o.region.zone for o in offers}
            signals = await self._signals(service, offers)
            self._applier.event(EventKind.OPERATION, f"{operation.kind.value} begins", service.name)
            self._past.record(confirmed.decision, signals)
            if service.state is ServiceState.ACTIVE:
                self._applier.actions(confirmed, service, operation.id, zones)
        self._journal.set_operation(operation.id, OperationState.RUNNING, now)

    async def _plan(self, service: ServiceRecord, operation: Operation | None) -> bool:
        """Ask the planner, when it is time, and apply what it wants; return whether it was asked and wants nothing."""
        if service.state is ServiceState.DOWN:
            return False
        queued = operation is not None and operation.state is OperationState.QUEUED
        # What waits for the end of a pause keeps nobody from replacing what is lost meanwhile.
        if queued and not (self._is_held(service) and self._lives(service.name)):
            return False
        running = operation if operation is not None and operation.state is OperationState.RUNNING else None
        replicas = self._replicas_since(running) if running is not None else ()
        looks_done = running is not None and is_done(running, service, replicas)
        before = self._last_size(service)
        size = self._loads.wanted(service.spec, before, fixed=running is not None)
        what = self._what_there_is(service, operation, size)
        wakes = size is not None and before is not None and size.replicas > before.replicas == 0
        if not looks_done and not self._should_plan(service.name, what, at_once=wakes):
            return False
        now = self._runtime.clock.now()
        timetable = timetable_of(service.spec.migration.schedule, now)
        until = None if timetable is None else timetable.next_change
        self._planned[service.name] = Planned(what, self._runtime.clock.monotonic(), until=until)
        self._windows.settle(service, timetable, now, self._runtime.clock.rate)
        if running is not None and self._failure_of(running, service, replicas) is not None:
            return False
        moves = self._past.moves(service.name, now)
        # When batch work runs is decided with everything else that is known of its places.
        given = size if service.spec.batch is None or running is not None else None
        snapshot = await gather_snapshot(
            service.spec, service.spec_digest, self._runtime, self._grid, now, moves=moves, sizing=given
        )
        until = _next_of(until, snapshot.sizing, now)
        deploying = running is not None and running.kind is OperationKind.DEPLOY
        budget = thinking_time(self._runtime.clock)
        wanted = plan(snapshot, service.spec.policy, now, keep_up=not deploying, budget=budget)
        if running is not None and wanted.decision.kind is DecisionKind.MOVE and wanted.decision.comparisons:
            return True  # a voluntary move waits until the request is closed
        held = hold_voluntary(wanted) if self._is_held(service) else Held(wanted, ())
        afforded = afford(held.plan, service.spec, self._journal, self._runtime)
        wanted = afforded.plan
        self._windows.keep_in_mind(service.name, timetable, wanted.decision)
        if self._worth_recording(wanted.decision, service, timetable):
            readings = tuple({c.offer.region.zone: c.now for c in snapshot.candidates}.values())
            self._past.record(wanted.decision, readings)
        zones = {c.offer.id: c.offer.region.zone for c in snapshot.candidates}
        self._applier.actions(wanted, service, wanted.decision.id, zones)
        if wanted.decision.kind is DecisionKind.STAY:
            again = wanted.look_again_in.total_seconds() / self._runtime.clock.rate
            self._planned[service.name] = Planned(
                what, self._runtime.clock.monotonic(), min(again, LONGEST_REST_SECONDS), until
            )
        if afforded.refused:
            raise BudgetSpent("; ".join(afforded.refused))
        return not wanted.actions and not held.withheld

    def _lives(self, service: str) -> bool:
        return any(r.state in LIVE for r in self._open_replicas(service))

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
        if last.what == what:
            rest = max(rest, last.rest_seconds)
        return self._due(last.at, rest)

    def _somebody_ended(self, service: str, since: float) -> bool:
        """Whether a replica was lost, or its start came to nothing, since the last plan: the next try is made at once.

        ``since``: seconds of ``Clock.monotonic``.
        """
        clock = self._runtime.clock
        planned_at = clock.now() - timedelta(seconds=(clock.monotonic() - since) * clock.rate)
        ended = (r for r in self._open_replicas(service) if r.state in {ReplicaState.FAILED, ReplicaState.LOST})
        return any(r.state_since >= planned_at for r in ended)

    def _last_size(self, service: ServiceRecord) -> WantedReplicas | None:
        """Return how many replicas were wanted last, where load decides on that."""
        return self._past.size(service.name) if is_scaled(service.spec.scaling) else None

    def _what_there_is(
        self, service: ServiceRecord, operation: Operation | None, size: WantedReplicas | None
    ) -> object:
        """Everything on record that a plan depends on, in short."""
        replicas = [(r.name, r.state, r.weight_percent) for r in self._open_replicas(service.name)]
        number = None if size is None else size.replicas
        return service.revision, service.state, service.paused, operation, replicas, number

    def _worth_recording(self, decision: Decision, service: ServiceRecord, timetable: Timetable | None) -> bool:
        before = self._last_size(service)
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

    async def _hold(self, service: ServiceRecord, error: NoFeasiblePlacement | PriceUnavailable | BudgetSpent) -> None:
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

    def _settle(self, operation: Operation, service: ServiceRecord, *, quiet: bool) -> None:
        """Close a request that is done, or give up one that cannot be.

        A deploy is done when the planner, asked about what there is now, wants nothing more (``quiet``).
        """
        fresh = self._journal.operation(operation.id) or operation
        if fresh.state is not OperationState.RUNNING:
            return
        replicas = self._replicas_since(fresh)
        failure = self._failure_of(fresh, service, replicas)
        if failure is not None:
            self._fail(fresh, service, failure.code, failure.message)
            return
        settled = is_done(fresh, service, replicas) and (quiet or fresh.kind is not OperationKind.DEPLOY)
        if settled and self._routed(service):
            now = self._runtime.clock.now()
            self._journal.set_operation(fresh.id, OperationState.DONE, now)
            self._revisions.pop(fresh.id, None)
            self._applier.event(EventKind.OPERATION, f"{fresh.kind.value} done", service.name)

    def _failure_of(self, running: Operation, service: ServiceRecord, replicas: Sequence[Replica]) -> Failure | None:
        if running.kind is OperationKind.DEPLOY and (gone := given_up(service, self._revision_of(running), replicas)):
            return gone
        return failure_of(running, service, replicas)

    def _revision_of(self, deploy: Operation) -> int:
        """Requests carry whole plans, so all of them are read once per deploy and not at every look."""
        if deploy.id not in self._revisions:
            requests = self._journal.operations(deploy.service, open_only=False)
            self._revisions[deploy.id] = revision_of(deploy, requests)
        return self._revisions[deploy.id]

    def _routed(self, service: ServiceRecord) -> bool:
        """Whether the gateway has been told of every ready replica."""
        told = {u.replica for s in (self._published.services if self._published else ()) for u in s.upstreams}
        ready = {r.name for r in self._open_replicas(service.name) if r.state is ReplicaState.READY}
        return ready <= told

    def _fail(self, operation: Operation, service: ServiceRecord, code: str, message: str) -> None:
        """Give up: what this request started and what does not serve yet is taken back.

        The last good revision is wanted again. What serves goes on serving; where it is not what that revision wants,
        the planner replaces it without a gap. Without such a revision nothing of the service stays.
        """
        now = self._runtime.clock.now()
        if operation.kind is OperationKind.DEPLOY:
            replicas = self._open_replicas(service.name)
            serving = {r.name for r in replicas if r.state is ReplicaState.READY}
            good = revision_to_restore(operation, self._journal.operations(service.name, open_only=False))
            if good is None:
                self._journal.set_service_state(service.name, ServiceState.GOING_DOWN, now)
            else:
                self._journal.restore_revision(service.name, good, now)
            for replica in replicas:
                may_go = replica.state is not ReplicaState.READY or replica.replaces in serving
                if replica.state in LIVE and replica.revision == self._revision_of(operation) and may_go:
                    self._applier.drain(replica, f"taken back: {code}")
        self._journal.set_operation(operation.id, OperationState.FAILED, now, error_code=code, error=message)
        self._revisions.pop(operation.id, None)
        self._applier.event(EventKind.OPERATION, f"{operation.kind.value} failed: {code}: {message}", service.name)

    def _retire_all(self, service: ServiceRecord) -> None:
        """End a service without a plan: what is to be ended needs no price."""
        for replica in self._open_replicas(service.name):
            if replica.state in LIVE:
                self._applier.drain(replica, "the service is taken down")

    def _finish_take_down(self, service: ServiceRecord) -> None:
        if service.state is not ServiceState.GOING_DOWN:
            return
        left = [r for r in self._open_replicas(service.name) if not (r.state in ENDED and r.cleaned_up)]
        if not left:
            now = self._runtime.clock.now()
            self._journal.set_service_state(service.name, ServiceState.DOWN, now)
            for operation in self._journal.operations(service.name):
                if operation.kind is OperationKind.DOWN:
                    self._journal.set_operation(operation.id, OperationState.DONE, now)
            self._applier.event(EventKind.OPERATION, "the service is down; nothing of it is left", service.name)

    # ── traffic ──────────────────────────────────────────────────────────────────────────────────────

    async def _refresh_routes(self, name: str) -> None:
        service = self._journal.service(name)
        if service is None or service.state is ServiceState.DOWN:
            self._routes.pop(name, None)
            self._steps.pop(name, None)
            return
        replicas = self._open_replicas(name)
        if self._unseen(replicas):
            return
        grid = await self._readings(service, replicas)
        keys, clock = self._runtime.client_keys_sha256, self._runtime.clock
        offers, load = self._known_offers.get(name, {}), self._loads.seen(name)
        news = self._shares.look(
            service.spec, replicas, offers, grid, load, self._watch, clock.now(), clock.monotonic()
        )
        shares = self._shares.weights(name, replicas)
        self._routes[name] = routes_for(service, replicas, self._watch.instances, grid, keys, shares)
        self._steps[name] = {r.name: weight_of(r, replicas) for r in replicas}
        if news:
            with suppress(GreenctlError):
                self._applier.event(EventKind.GATEWAY, news, name)

    def _unseen(self, replicas: Sequence[Replica]) -> bool:
        """Whether a replica that serves was not seen yet since we started, although its provider can be asked.

        The key to its engine is known from its provider only, so its routes would lock the gateway out.
        """
        serving = (r for r in replicas if r.state in {ReplicaState.READY, ReplicaState.DRAINING})
        return any(
            r.name not in self._watch.instances and r.region.partition("/")[0] in self._runtime.provisioners
            for r in serving
        )

    async def _publish(self, status: GatewayStatus | None, services: AbstractSet[str]) -> None:
        """Tell the gateway what is new, or everything when it has lost its memory.

        Before every service has been seen once, a table would lack some: the gateway keeps the one it has.
        """
        if status is None or not services <= self._routes.keys() | self._down(services):
            return
        if self._sweeper.held and status.applied_version > 0:
            return  # replicas that we do not know may serve by the table that it has
        routes = tuple(self._routes[n] for n in sorted(self._routes))
        lags = self._published is not None and status.applied_version < self._published.version
        steps = {r: step for own in self._steps.values() for r, step in own.items()}
        if same_routes(self._published, routes) and not lags:
            self._published_steps = steps  # small shares round to the same weight at more than one canary step
            return
        # A gateway that kept its table while our database was set back refuses anything that looks older.
        version = max(self._journal.next_routing_version(), status.applied_version + 1, self._least_version)
        table = table_of(routes, version, self._runtime.clock.now())
        try:
            await self._runtime.gateway.publish(table)
        except GatewayUnavailable:
            return
        except Conflict:
            # One of several gateway processes has a table far ahead of the others'.
            self._least_version = 2 * version
            return
        self._published = table
        self._published_steps = steps

    def _down(self, services: AbstractSet[str]) -> set[str]:
        return {s.name for s in self._journal.services() if s.name in services and s.state is ServiceState.DOWN}

    # ── small parts ──────────────────────────────────────────────────────────────────────────────────

    def _is_held(self, service: ServiceRecord) -> bool:
        """Whether only what is needed may be done. Whoever takes it down has said so."""
        return (service.paused or self._edits.holds) and service.state is ServiceState.ACTIVE

    def _waits(self, operation: Operation, service: ServiceRecord) -> bool:
        """Whether a request waits for the end of a pause that came just after it."""
        return self._is_held(service) and operation.kind is not OperationKind.DOWN

    def _due(self, last: float | None, every: float) -> bool:
        return last is None or self._runtime.clock.monotonic() - last >= every

    def _open_replicas(self, name: str) -> tuple[Replica, ...]:
        return tuple(self._journal.replicas(name))

    def _replicas_since(self, operation: Operation) -> tuple[Replica, ...]:
        """Those that are there, and those that ended since the request or lately."""
        since = min(operation.created_at, self._runtime.clock.now() - history(self._runtime.clock.rate))
        return tuple(self._journal.replicas(operation.service, ended=True, ended_since=since))

    async def _sold(self, service: ServiceRecord) -> Mapping[str, Offer] | None:
        """Return what is sold now, by id; ``None`` while the price list cannot be read."""
        try:
            found = await self._runtime.offers.offers(service.spec.resources, self._runtime.clock.now())
        except PriceUnavailable:
            return None
        sold = {o.id: o for o in found}
        # What is sold no longer may still run: its power model and its PUE go on counting.
        self._known_offers.setdefault(service.name, {}).update(sold)
        return sold

    async def _readings(self, service: ServiceRecord, replicas: Sequence[Replica]) -> dict[str, Reading]:
        zones = sorted({r.zone for r in replicas if r.zone is not None})
        now, hours = self._runtime.clock.now(), max(1, int(service.spec.policy.horizon / HOUR))
        views = await self._grid.zones(zones, service.spec.carbon.basis, now, hours)
        return {zone: view.now for zone, view in views.items()}

    async def _signals(self, service: ServiceRecord, offers: Sequence[Offer]) -> tuple[Reading, ...]:
        zones = sorted({o.region.zone for o in offers if o.region.zone is not None})
        now, hours = self._runtime.clock.now(), max(1, int(service.spec.policy.horizon / HOUR))
        views = await self._grid.zones(zones, service.spec.carbon.basis, now, hours)
        return tuple(v.now for v in views.values())


def _next_of(until: Instant | None, size: WantedReplicas | None, now: Instant) -> Instant | None:
    """Return the earlier of a change of the schedule and the moment at which batch work begins or is due."""
    moments = [m for m in (until, None if size is None else size.until) if m is not None and m > now]
    return min(moments, default=None)


def _waits_anew(before: WantedReplicas, after: WantedReplicas) -> bool:
    """Whether batch work waits for another hour than was said last, or is due at another; minutes do not matter."""
    if before.until is None or after.until is None:
        return before.until is not after.until
    return abs(after.until - before.until) >= ANOTHER_HOUR
