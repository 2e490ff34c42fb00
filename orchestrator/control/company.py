"""Company: replicas that load wants beside what a request that is under way asks for (decision 0076).

A request goes by the number that was in force when it began, and is judged by what it asked for alone. What load wants
beyond that comes beside it, keeps nothing from it, and becomes part of the number once the request is closed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.control.apply import Applier
from orchestrator.control.load import number_in_force
from orchestrator.control.operations import company_cause, in_the_way, is_company, why_alone
from orchestrator.control.past import Past
from orchestrator.control.ports import Journal
from orchestrator.control.runtime import Runtime
from orchestrator.control.spending import afford
from orchestrator.control.thinking import thinking_time
from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.records import EventKind, Operation, ServiceRecord, ServiceState
from orchestrator.domain.replica import LIVE, Replica
from orchestrator.domain.scale import WantedReplicas
from orchestrator.errors import BudgetSpent
from orchestrator.planner.plan import BY_ITSELF, plan_beside
from orchestrator.planner.slots import wanted_slots
from orchestrator.planner.snapshot import Snapshot


class Company:
    """Has those launched that load wants beside a request, lets them go where they are in its way, and keeps them."""

    def __init__(self, runtime: Runtime, journal: Journal, applier: Applier, past: Past) -> None:
        self._runtime = runtime
        self._journal = journal
        self._applier = applier
        self._past = past
        self._told: dict[str, tuple[str, str]] = {}

    def join(
        self,
        operation: Operation,
        service: ServiceRecord,
        size: WantedReplicas,
        snapshot: Snapshot,
        replicas: Sequence[Replica],
    ) -> None:
        """Launch what is missing of the number that load wants, where that cannot hurt the request; else say why not.

        ``snapshot``: at the number that the request goes by. ``replicas``: those since the request.
        """
        in_force = number_in_force(service.spec, self._past.size(service.name))
        if in_force is None or in_force.replicas != snapshot.wanted:
            return  # what was planned just now for the request goes by another number already
        if size.replicas <= snapshot.wanted + len(snapshot.company()):
            return
        why = why_alone(operation, service, replicas)
        if not why and wanted_slots(snapshot).keys() - snapshot.occupants().keys():
            why = "what the request asks for comes first"
        why = why or self._launch(operation, service, size, snapshot)
        if why and self._told.get(service.name) != (operation.id, why):
            self._told[service.name] = operation.id, why
            until = f"{snapshot.wanted} until the {operation.kind.value} is closed"
            text = f"load wants {size.words}; {until}: {why}"
            self._applier.event(EventKind.WARNING, text, service.name)

    def make_way(self, operation: Operation, replicas: Sequence[Replica]) -> None:
        """Let those go who are where a start that the request asks for found no room."""
        for replica in in_the_way(operation, replicas):
            self._applier.drain(replica, "load wanted it, and a start that was asked for found no room beside it")

    def keep(self, operation: Operation, service: ServiceRecord) -> None:
        """Make those who came part of the number, before a request is closed. Idempotent."""
        size, company = number_in_force(service.spec, self._past.size(service.name)), self._of(operation, service)
        identity = "d-" + hashlib.sha256(company_cause(operation).encode()).hexdigest()[:10]
        if size is None or not company or service.state is not ServiceState.ACTIVE:
            return
        if self._journal.decision(identity) is not None:
            return
        number = min(size.most, size.replicas + len(company))
        because = f"load wanted {len(company)} more while a {operation.kind.value} was under way"
        grown = replace(size, replicas=number, needed=None, because=because, figures=())
        decision = Decision(
            id=identity,
            service=service.name,
            at=self._runtime.clock.now(),
            kind=DecisionKind.SCALE,
            actor=BY_ITSELF,
            policy=service.spec.policy.name,
            summary=f"keep {grown.words}",
            clock_rate=self._runtime.clock.rate,
            sizing=grown,
        )
        self._past.record(decision, ())
        self._told.pop(service.name, None)

    def _launch(self, operation: Operation, service: ServiceRecord, size: WantedReplicas, snapshot: Snapshot) -> str:
        """Launch what there is room and money for; say why not all of it was."""
        now, budget = self._runtime.clock.now(), thinking_time(self._runtime.clock)
        wished = plan_beside(snapshot, size, service.spec.policy, now, budget)
        afforded = afford(wished, service.spec, self._journal, self._runtime)
        if not afforded.plan.actions:
            return "; ".join(afforded.refused) or wished.decision.summary
        readings = tuple({c.offer.region.zone: c.now for c in snapshot.candidates}.values())
        self._past.record(afforded.plan.decision, readings)
        zones = {c.offer.id: c.offer.region.zone for c in snapshot.candidates}
        try:
            self._applier.actions(afforded.plan, service, company_cause(operation), zones)
        except BudgetSpent as error:
            return error.message
        return "; ".join(afforded.refused)

    def _of(self, operation: Operation, service: ServiceRecord) -> list[Replica]:
        there = self._journal.replicas(service.name)
        return [r for r in there if r.state in LIVE and is_company(operation, r)]
