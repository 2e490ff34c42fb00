"""Requests: what is asked for is begun, watched, and closed when it is done or cannot be."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.control.apply import Applier
from orchestrator.control.deciding import Decider
from orchestrator.control.edits import EditWatch
from orchestrator.control.market import Market
from orchestrator.control.naming import intent_id
from orchestrator.control.operations import asked_for, is_done, plan_in, revision_to_restore
from orchestrator.control.orphan_survey import in_no_record
from orchestrator.control.ports import Journal
from orchestrator.control.progress import Progress
from orchestrator.control.routes import Routes
from orchestrator.control.runtime import Runtime
from orchestrator.control.spending import require_affordable
from orchestrator.domain.plan import Plan
from orchestrator.domain.records import EventKind, Operation, OperationKind, OperationState, ServiceRecord, ServiceState
from orchestrator.domain.replica import ENDED, LIVE, ReplicaState
from orchestrator.domain.variants import with_variants
from orchestrator.errors import BudgetSpent, NoFeasiblePlacement, PriceUnavailable, StalePlan


class Fulfilment:
    """Begins what was asked for, has the service planned, and closes requests that are done or beyond hope."""

    def __init__(
        self,
        runtime: Runtime,
        journal: Journal,
        applier: Applier,
        market: Market,
        edits: EditWatch,
        progress: Progress,
        decider: Decider,
        routes: Routes,
    ) -> None:
        self._runtime = runtime
        self._journal = journal
        self._applier = applier
        self._market = market
        self._edits = edits
        self._progress = progress
        self._decider = decider
        self._routes = routes

    async def look(self, service: ServiceRecord) -> None:
        """Take whatever was asked for, and whatever the planner wants, a step further."""
        operation = next(iter(self._journal.operations(service.name)), None)
        quiet = False
        try:
            queued = operation is not None and operation.state is OperationState.QUEUED
            if operation is not None and queued and not self._waits(operation, service):
                # As it is now: somebody may have deployed while this look waited for a provider.
                await self._begin(operation, self._journal.service(service.name) or service)
                operation = self._journal.operation(operation.id)
            quiet = await self._decider.plan(self._journal.service(service.name) or service, operation)
        except NoFeasiblePlacement as error:
            if operation is not None and operation.kind is OperationKind.DEPLOY:
                self._fail(operation, service, error.code, f"{error.message} {error.hint()}")
                return
            await self._decider.hold(service, error)
        except BudgetSpent as error:
            if operation is not None and (
                operation.kind is OperationKind.DEPLOY or operation.state is OperationState.QUEUED
            ):
                self._fail(operation, service, error.code, f"{error.message} {error.hint()}")
                return
            await self._decider.hold(service, error)
        except PriceUnavailable as error:
            if (self._journal.service(service.name) or service).state is ServiceState.GOING_DOWN:
                self._retire_all(service)
            else:
                await self._decider.hold(service, error)
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
            require_affordable(self._not_begun(confirmed, operation), service.spec, self._journal, self._runtime)
            offers = with_variants(await self._runtime.offers.offers(service.spec.resources, now), service.spec)
            zones = {o.id: o.region.zone for o in offers}
            signals = await self._market.signals(service, offers)
            if self._is_overtaken(operation, service):  # somebody has spoken while prices and grids were being read
                return
            self._applier.event(EventKind.OPERATION, f"{operation.kind.value} begins", service.name)
            self._decider.record(confirmed.decision, signals)
            if service.state is ServiceState.ACTIVE:
                self._applier.actions(confirmed, service, operation.id, zones)
        self._journal.set_operation(operation.id, OperationState.RUNNING, now)

    def _not_begun(self, confirmed: Plan, operation: Operation) -> Plan:
        """Return what of a plan was not begun yet: what was, by a process that died since, holds its money already."""
        begun = {a for a in confirmed.actions if self._journal.intent(intent_id(operation.id, a.slot)) is not None}
        return replace(confirmed, actions=tuple(a for a in confirmed.actions if a not in begun))

    def _is_overtaken(self, operation: Operation, service: ServiceRecord) -> bool:
        """Whether it was said that the service goes down, or what is wanted of it has changed: the next look begins."""
        newest, current = self._journal.operation(operation.id), self._journal.service(service.name)
        is_closed = newest is not None and newest.state is not OperationState.QUEUED
        return is_closed or (current is not None and current.revision != service.revision)

    def _settle(self, operation: Operation, service: ServiceRecord, *, quiet: bool) -> None:
        """Close a request that is done, or give up one that cannot be.

        A deploy is done when the planner, asked about what there is now, wants nothing more (``quiet``).
        """
        fresh = self._journal.operation(operation.id) or operation
        if fresh.state is not OperationState.RUNNING:
            return
        replicas = asked_for(fresh, self._progress.replicas_since(fresh))
        failure = self._progress.failure_of(fresh, service, replicas)
        if failure is not None:
            self._fail(fresh, service, failure.code, failure.message)
            return
        settled = is_done(fresh, service, replicas) and (quiet or fresh.kind is not OperationKind.DEPLOY)
        if settled and self._routes.has_told_of(self._journal.replicas(service.name)):
            self._decider.company.keep(fresh, service)
            now = self._runtime.clock.now()
            self._journal.set_operation(fresh.id, OperationState.DONE, now)
            self._progress.forget(fresh)
            self._applier.event(EventKind.OPERATION, f"{fresh.kind.value} done", service.name)

    def _fail(self, operation: Operation, service: ServiceRecord, code: str, message: str) -> None:
        """Give up: what this request started and what does not serve yet is taken back.

        The last good revision is wanted again. What serves goes on serving; where it is not what that revision wants,
        the planner replaces it without a gap. Without such a revision nothing of the service stays.
        """
        now = self._runtime.clock.now()
        if operation.kind is OperationKind.DEPLOY:
            replicas = self._journal.replicas(service.name)
            serving = {r.name for r in replicas if r.state is ReplicaState.READY}
            good = revision_to_restore(operation, self._journal.operations(service.name, open_only=False))
            if good is None:
                self._journal.set_service_state(service.name, ServiceState.GOING_DOWN, now)
            else:
                self._journal.restore_revision(service.name, good, now)
            for replica in replicas:
                may_go = replica.state is not ReplicaState.READY or replica.replaces in serving
                if replica.state in LIVE and replica.revision == self._progress.revision_of(operation) and may_go:
                    self._applier.drain(replica, f"taken back: {code}")
        self._decider.company.keep(operation, self._journal.service(service.name) or service)
        self._journal.set_operation(operation.id, OperationState.FAILED, now, error_code=code, error=message)
        self._progress.forget(operation)
        self._applier.event(EventKind.OPERATION, f"{operation.kind.value} failed: {code}: {message}", service.name)

    def _retire_all(self, service: ServiceRecord) -> None:
        """End a service without a plan: what is to be ended needs no price."""
        for replica in self._journal.replicas(service.name):
            if replica.state in LIVE:
                self._applier.drain(replica, "the service is taken down")

    def _finish_take_down(self, service: ServiceRecord) -> None:
        if service.state is not ServiceState.GOING_DOWN:
            return
        left = [r for r in self._journal.replicas(service.name) if not (r.state in ENDED and r.cleaned_up)]
        if not left:
            now = self._runtime.clock.now()
            down, going_down = ServiceState.DOWN, ServiceState.GOING_DOWN
            if not self._journal.set_service_state(service.name, down, now, only_from=going_down):
                return  # somebody has deployed since it was read
            for operation in self._journal.operations(service.name):
                if operation.kind is OperationKind.DOWN:
                    self._journal.set_operation(operation.id, OperationState.DONE, now)
            strange = in_no_record(self._journal, service.name)
            words = f"every replica on record has ended. {strange}" if strange else "nothing of it is left"
            self._applier.event(EventKind.OPERATION, f"the service is down; {words}", service.name)

    def _waits(self, operation: Operation, service: ServiceRecord) -> bool:
        """Whether a request waits for the end of a pause that came just after it."""
        return self._edits.holds_back(service) and operation.kind is not OperationKind.DOWN
