"""The loop: gather, decide, apply, for one service at a time, until everything is as it should be.

Level-based: each look starts from what is recorded and what is seen, so that a look which was interrupted, repeated
or skipped changes nothing but the time it takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from orchestrator.control.apply import Applier
from orchestrator.control.gather import gather_snapshot
from orchestrator.control.grid import GridReader
from orchestrator.control.metering import Meter
from orchestrator.control.observe import Watch, gateway_status, observe
from orchestrator.control.operations import failure_of, is_done, plan_in
from orchestrator.control.ports import Journal
from orchestrator.control.runtime import Runtime
from orchestrator.control.traffic import routes_for, same_routes, table_of
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
from orchestrator.domain.time import HOUR
from orchestrator.errors import GatewayUnavailable, NoFeasiblePlacement
from orchestrator.planner.plan import plan
from orchestrator.planner.rollout import RolloutView, next_steps

STAY_EVERY = HOUR
"""A repeated "stay" is recorded once per grid hour: it is a decision, not a heartbeat."""


class Controller:
    """One acting controller. ``tick`` is one look at everything; whoever calls it owns the time between looks."""

    def __init__(self, runtime: Runtime, journal: Journal) -> None:
        self._runtime = runtime
        self._journal = journal
        self._grid = GridReader(runtime.carbon)
        self._applier = Applier(runtime, journal)
        self._meter = Meter(runtime, journal, self._grid)
        self._watch = Watch()
        self._published: RoutingTable | None = None
        self._routes: dict[str, ServiceRoutes] = {}
        self._planned_at: dict[str, float] = {}
        self._sampled_at: float | None = None

    async def tick(self) -> None:
        """Look at every service that is up or going down, then at the gateway."""
        status = await gateway_status(self._runtime)
        sample = self._due(self._sampled_at, self._runtime.tuning.sample_every.total_seconds())
        for service in self._journal.services():
            if service.state is not ServiceState.DOWN:
                await self.reconcile(service.name, status, sample=sample)
        if sample:
            self._sampled_at = self._runtime.clock.monotonic()
        await self._publish(status)

    async def reconcile(self, name: str, status: GatewayStatus | None, *, sample: bool = False) -> None:
        """Bring one service a step nearer to what is wanted."""
        service = self._journal.service(name)
        if service is None:
            return
        replicas = self._open_replicas(name)
        offers = await self._offers(service, replicas)
        seen = await observe(service, replicas, self._runtime, self._watch, status, self._published)
        if sample:
            await self._meter.sample(service, replicas, offers, status, self._watch)
        traffic = {} if status is None else {u.replica: u for u in status.upstreams}
        view = RolloutView(
            spec=service.spec,
            replicas=replicas,
            observations=seen,
            traffic=traffic,
            clock_rate=self._runtime.clock.rate,
            health_failures_until_lost=self._runtime.tuning.health_failures_until_lost,
        )
        by_name = {r.name: r for r in replicas}
        for step in next_steps(view, self._runtime.clock.now()):
            replica = by_name[step.replica]
            await self._applier.step(step, replica, service, offers.get(replica.offer_id))
        await self._operations_and_plan(service)
        await self._refresh_routes(name)
        self._watch.forget_all_but(r.name for s in self._journal.services() for r in self._open_replicas(s.name))

    # ── operations and plans ─────────────────────────────────────────────────────────────────────────

    async def _operations_and_plan(self, service: ServiceRecord) -> None:
        operation = next(iter(self._journal.operations(service.name)), None)
        if operation is not None and operation.state is OperationState.QUEUED:
            await self._begin(operation, service)
            operation = self._journal.operation(operation.id)
        current = self._journal.service(service.name) or service
        try:
            await self._plan(current, operation)
        except NoFeasiblePlacement as error:
            if operation is not None and operation.kind is OperationKind.DEPLOY:
                self._fail(operation, current, error.code, f"{error.message} {error.hint()}")
                return
            await self._hold(current, error)
        if operation is not None:
            self._settle(operation, current)
        self._finish_take_down(current)

    async def _begin(self, operation: Operation, service: ServiceRecord) -> None:
        """Start a request: exactly the plan that was confirmed, under names that a second beginning would repeat."""
        now = self._runtime.clock.now()
        self._applier.event(EventKind.OPERATION, f"{operation.kind.value} begins", service.name)
        if operation.kind is OperationKind.DOWN:
            self._journal.set_service_state(service.name, ServiceState.GOING_DOWN, now)
        else:
            confirmed = plan_in(operation)
            offers = await self._runtime.offers.offers(service.spec.resources, now)
            zones = {o.id: o.region.zone for o in offers}
            self._journal.record_decision(confirmed.decision, await self._signals(service, offers))
            self._applier.actions(confirmed, service, operation.id, zones)
        self._journal.set_operation(operation.id, OperationState.RUNNING, now)

    async def _plan(self, service: ServiceRecord, operation: Operation | None) -> None:
        """Ask the planner, when it is time, and apply what it wants."""
        started = operation is None or operation.state is not OperationState.QUEUED
        last = self._planned_at.get(service.name)
        if not started or not self._due(last, self._runtime.tuning.plan_every.total_seconds()):
            return
        self._planned_at[service.name] = self._runtime.clock.monotonic()
        now = self._runtime.clock.now()
        if operation is not None and failure_of(operation, service, self._all_replicas(service.name)) is not None:
            return
        snapshot = await gather_snapshot(service.spec, service.spec_digest, self._runtime, self._grid, now)
        wanted = plan(snapshot, service.spec.policy, now)
        if operation is not None and wanted.decision.kind is DecisionKind.MOVE and wanted.decision.comparisons:
            return
        if self._worth_recording(wanted.decision, service):
            readings = tuple({c.offer.region.zone: c.now for c in snapshot.candidates}.values())
            self._journal.record_decision(wanted.decision, readings)
        zones = {c.offer.id: c.offer.region.zone for c in snapshot.candidates}
        self._applier.actions(wanted, service, wanted.decision.id, zones)

    def _worth_recording(self, decision: Decision, service: ServiceRecord) -> bool:
        if decision.kind not in {DecisionKind.STAY, DecisionKind.HOLD}:
            return True
        last = next(iter(self._journal.decisions(service.name, limit=1)), None)
        if decision.kind is DecisionKind.HOLD:
            return False
        return last is None or last.kind is not DecisionKind.STAY or decision.at - last.at >= STAY_EVERY

    async def _hold(self, service: ServiceRecord, error: NoFeasiblePlacement) -> None:
        """Nothing fits now: say so once, keep what runs, ask again."""
        now = self._runtime.clock.now()
        last = next(iter(self._journal.decisions(service.name, limit=1)), None)
        if last is not None and last.kind is DecisionKind.HOLD and now - last.at < STAY_EVERY:
            return
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
        self._journal.record_decision(decision, ())
        self._applier.event(EventKind.WARNING, f"{error.code}: {error.message} {error.hint()}", service.name)

    def _settle(self, operation: Operation, service: ServiceRecord) -> None:
        """Close a request that is done, or give up one that cannot be."""
        fresh = self._journal.operation(operation.id) or operation
        if fresh.state is not OperationState.RUNNING:
            return
        replicas = self._all_replicas(service.name)
        failure = failure_of(fresh, service, replicas)
        if failure is not None:
            self._fail(fresh, service, failure.code, failure.message)
        elif is_done(fresh, service, replicas) and self._routed(service):
            now = self._runtime.clock.now()
            self._journal.set_operation(fresh.id, OperationState.DONE, now)
            self._applier.event(EventKind.OPERATION, f"{fresh.kind.value} done", service.name)

    def _routed(self, service: ServiceRecord) -> bool:
        """Whether the gateway has been told of every ready replica."""
        told = {u.replica for s in (self._published.services if self._published else ()) for u in s.upstreams}
        ready = {r.name for r in self._open_replicas(service.name) if r.state is ReplicaState.READY}
        return ready <= told

    def _fail(self, operation: Operation, service: ServiceRecord, code: str, message: str) -> None:
        """Give up: what this request started is taken back, what served before goes on serving."""
        now = self._runtime.clock.now()
        replicas = self._open_replicas(service.name)
        if operation.kind is OperationKind.DEPLOY:
            older = [r for r in replicas if r.revision < service.revision and r.state is ReplicaState.READY]
            if older:
                self._journal.restore_revision(service.name, older[0].revision, now)
            else:
                self._journal.set_service_state(service.name, ServiceState.GOING_DOWN, now)
            for replica in replicas:
                if replica.state in LIVE and replica.revision == service.revision:
                    self._applier.drain(replica, f"taken back: {code}")
        self._journal.set_operation(operation.id, OperationState.FAILED, now, error_code=code, error=message)
        self._applier.event(EventKind.OPERATION, f"{operation.kind.value} failed: {code}: {message}", service.name)

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
            return
        replicas = self._open_replicas(name)
        grid = await self._readings(service, replicas)
        keys = self._runtime.client_keys_sha256
        self._routes[name] = routes_for(service, replicas, self._watch.instances, grid, keys)

    async def _publish(self, status: GatewayStatus | None) -> None:
        """Tell the gateway what is new, or everything when it has lost its memory."""
        if status is None:
            return
        services = tuple(self._routes[n] for n in sorted(self._routes))
        lags = self._published is not None and status.applied_version < self._published.version
        if same_routes(self._published, services) and not lags:
            return
        # A gateway that kept its table while our database was set back refuses anything that looks older.
        version = max(self._journal.next_routing_version(), status.applied_version + 1)
        table = table_of(services, version, self._runtime.clock.now())
        try:
            await self._runtime.gateway.publish(table)
        except GatewayUnavailable:
            return
        self._published = table

    # ── small parts ──────────────────────────────────────────────────────────────────────────────────

    def _due(self, last: float | None, every: float) -> bool:
        return last is None or self._runtime.clock.monotonic() - last >= every

    def _open_replicas(self, name: str) -> tuple[Replica, ...]:
        return tuple(self._journal.replicas(name))

    def _all_replicas(self, name: str) -> tuple[Replica, ...]:
        return tuple(self._journal.replicas(name, ended=True))

    async def _offers(self, service: ServiceRecord, replicas: Sequence[Replica]) -> Mapping[str, Offer]:
        del replicas
        now = self._runtime.clock.now()
        return {o.id: o for o in await self._runtime.offers.offers(service.spec.resources, now)}

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
