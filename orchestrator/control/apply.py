"""Apply: write the intent, then touch the world. Every function may be repeated after a crash at any point."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from orchestrator.control.held_turn import HeldTurn
from orchestrator.control.leases import ends_itself
from orchestrator.control.naming import intent_id, replica_name, termination_id
from orchestrator.control.pace import LaunchPace
from orchestrator.control.ports import Journal, LaunchRequest, Provisioner
from orchestrator.control.runtime import Runtime
from orchestrator.domain.offer import Offer, variant_in
from orchestrator.domain.plan import Action, ActionKind, Plan
from orchestrator.domain.price import highest_price
from orchestrator.domain.records import (
    EventKind,
    Intent,
    IntentKind,
    IntentState,
    Placement,
    ServiceRecord,
    ServiceState,
)
from orchestrator.domain.replica import LIVE, Replica, ReplicaState
from orchestrator.domain.service import ModelSpec
from orchestrator.domain.variants import model_of, workload_of
from orchestrator.domain.workload import model_digest, workload_digest
from orchestrator.errors import (
    BudgetSpent,
    GreenctlError,
    PriceMoved,
    ProviderError,
    ProviderUnavailable,
    StoreUnavailable,
)
from orchestrator.planner.rollout import ABORTED, Step, StepKind
from orchestrator.planner.spending import cap_of, first_lease_end


class Applier:
    """Turns actions and steps into journal rows and provider calls, in that order."""

    def __init__(self, runtime: Runtime, journal: Journal, turn: HeldTurn | None = None) -> None:
        self._runtime = runtime
        self._journal = journal
        self._turn = turn
        self._warned: dict[str, str] = {}
        self.pace = LaunchPace(runtime.clock, journal)

    # ── plans ────────────────────────────────────────────────────────────────────────────────────────

    def actions(self, plan: Plan, service: ServiceRecord, cause: str, zones: Mapping[str, str | None]) -> None:
        """Commit what the plan wants: PENDING replicas with planned intents, and drains. Nothing is bought yet.

        ``cause`` names the operation or decision; ``zones`` maps offer ids to grid zones. Raises ``BudgetSpent``, once
        all the rest is done, when a launch did not fit into the budget.
        """
        living = {r.name: r for r in self._journal.replicas(service.name) if r.state in LIVE}
        unaffordable: BudgetSpent | None = None
        # Who leaves comes first: the plan counts with its seat, of which a region may have no other.
        for action in sorted(plan.actions, key=lambda a: a.kind is not ActionKind.RETIRE):
            if action.kind is ActionKind.RETIRE:
                if action.replica in living and _may_retire(living[action.replica], living.values(), service):
                    self.drain(living.pop(action.replica), action.reason)
                continue
            if action.kind is ActionKind.MOVE and not _can_move(action, living, intent_id(cause, action.slot)):
                continue
            taken = any(r.slot == action.slot and r.intent_id != intent_id(cause, action.slot) for r in living.values())
            if action.kind is ActionKind.LAUNCH and taken:
                continue
            try:
                self._start(action, service, cause, plan.decision.id, zones.get(action.offer_id))
            except BudgetSpent as error:
                unaffordable = error  # what is to be ended is ended all the same
                continue
        if unaffordable is not None:
            raise unaffordable

    def _start(self, action: Action, service: ServiceRecord, cause: str, decision_id: str, zone: str | None) -> None:
        now = self._runtime.clock.now()
        intent = intent_id(cause, action.slot)
        name = replica_name(self._journal.deployment_uid(), service.name, intent)
        if action.market is None:
            message = f"{action.kind} of slot {action.slot} names no market"
            raise ValueError(message)
        replica = Replica(
            name=name,
            service=service.name,
            slot=action.slot,
            offer_id=action.offer_id,
            region=action.region,
            zone=zone,
            shape=action.shape,
            market=action.market,
            usd_per_hour=action.usd_per_hour,
            state=ReplicaState.PENDING,
            intent_id=intent,
            revision=service.revision,
            workload_digest=_workload(action, service),
            created_at=now,
            state_since=now,
            replaces=action.replica or None,
            reason=action.reason,
        )
        planned = Intent(
            id=intent,
            service=service.name,
            replica=name,
            kind=IntentKind.LAUNCH,
            state=IntentState.PLANNED,
            epoch=self._journal.epoch,
            offer_id=action.offer_id,
            usd_per_hour=action.usd_per_hour,
            created_at=now,
            updated_at=now,
            detail=action.reason,
        )
        placement = Placement(
            service=service.name,
            replica=name,
            offer_id=action.offer_id,
            region=action.region,
            zone=zone,
            usd_per_hour=action.usd_per_hour,
            decision_id=decision_id,
            started_at=now,
        )
        rate, leased = self._runtime.clock.rate, ends_itself(service.spec, action.region, self._runtime)
        ends_at, cap = first_lease_end(service.spec, now, rate) if leased else None, cap_of(service.spec, rate)
        try:
            self._journal.start_replica(replica, planned, placement, lease_ends_at=ends_at, cap=cap)
        except StoreUnavailable:
            self.pace.note(name)  # it may be committed all the same
            raise
        self.pace.note(name)
        self._state_event(replica, ReplicaState.PENDING, action.reason)

    # ── steps ────────────────────────────────────────────────────────────────────────────────────────

    async def step(  # noqa: C901  # one case per kind of step
        self, step: Step, replica: Replica, service: ServiceRecord, offer: Offer | None
    ) -> None:
        """Take one step of one replica."""
        now = self._runtime.clock.now()
        match step.kind:
            case StepKind.ISSUE:
                await self._issue(replica, service, offer)
            case StepKind.SEEN:
                self._journal.update_replica(replica.name, endpoint=step.endpoint, now=now)
                self._journal.set_intent(replica.intent_id, IntentState.CONFIRMED, now)
                self._move(replica, ReplicaState.STARTING, "the provider shows it")
            case StepKind.READY:
                self._journal.update_replica(replica.name, endpoint=step.endpoint, now=now)
                self._move(replica, ReplicaState.READY, step.reason)
            case StepKind.WEIGHT:
                self._journal.update_replica(replica.name, weight_percent=step.weight_percent, now=now)
                if replica.replaces:
                    text = f"r{replica.slot}: {step.weight_percent} % of its traffic goes to {replica.region}"
                    text = "; ".join(filter(None, (text, step.reason)))
                    self.event(EventKind.MIGRATION_STEP, text, service.name, replica.name)
            case StepKind.DRAIN:
                self.drain(replica, step.reason)
            case StepKind.LOST:
                self._move(replica, ReplicaState.LOST, step.reason)
            case StepKind.FAIL:
                self._journal.set_intent(replica.intent_id, IntentState.FAILED, now, step.reason)
                self._move(replica, ReplicaState.FAILED, step.reason)
            case StepKind.TERMINATE:
                await self._terminate(replica, step)
            case StepKind.ENDED:
                self._confirm_end(replica)
                self._move(replica, ReplicaState.TERMINATED, replica.reason or step.reason)
                self._journal.update_replica(replica.name, cleaned_up=True, now=now)
                if replica.reason.startswith("replaced by"):
                    self.event(
                        EventKind.MIGRATION_DONE, f"r{replica.slot}: left {replica.region}", service.name, replica.name
                    )
            case StepKind.CLEAN_UP:
                self._confirm_end(replica)
                self._journal.update_replica(replica.name, cleaned_up=True, now=now)

    async def _issue(self, replica: Replica, service: ServiceRecord, offer: Offer | None) -> None:
        """Say that the call is about to leave, then make it."""
        now, uid = self._runtime.clock.now(), self._journal.deployment_uid()
        # Written before each try, not only the first: whoever lost the turn while he slept is stopped here.
        self._journal.set_intent(replica.intent_id, IntentState.ISSUED, now)
        if replica.state is ReplicaState.PENDING:
            self._move(replica, ReplicaState.PROVISIONING, "asked of the provider")
            self._tell_of_move(replica)
        if self._turn is not None and not self._turn.is_sure():
            return  # we slept since it was written; the next look asks, if the turn is ours still
        try:
            await self._provisioner(replica).launch(
                LaunchRequest(
                    name=replica.name,
                    deployment_uid=uid,
                    service=service.name,
                    intent_id=replica.intent_id,
                    offer=_as_shown(offer, replica),
                    model=_model(replica, service),
                    labels=service.spec.labels,
                    replica=f"r{replica.slot}",
                    epoch=self._journal.epoch,
                    max_usd_per_hour=highest_price(replica.usd_per_hour),
                    secrets=service.spec.secrets,
                    task_json=service.spec.passthrough_json,
                    lease=service.spec.lease,
                )
            )
        except ProviderUnavailable as error:
            # Nobody was asked, or nobody answered: the try stays open under its name until its deadline.
            self.warn_once(replica, f"its provider cannot be asked and will be asked again: {error.message}")
        except ProviderError as error:
            reason = f"{error.code}: {error.message}"
            self._journal.set_intent(replica.intent_id, IntentState.FAILED, now, reason)
            self._move(replica, ReplicaState.FAILED, reason)

    def _tell_of_move(self, replica: Replica) -> None:
        """Say that a migration has begun: not before its replacement is asked for, as a pause may come until then."""
        replaced = self._journal.replica(replica.replaces or "")
        if replaced is None or replaced.state not in LIVE:
            return
        caused = next((p for p in self._journal.placements(replica.service) if p.replica == replica.name), None)
        decision = None if caused is None else self._journal.decision(caused.decision_id)
        known = {} if decision is None else {"decision": decision.id, "actor": decision.actor}
        self.event(
            EventKind.MIGRATION_STARTED,
            f"r{replica.slot}: {replaced.region} to {replica.region} ({replica.reason})",
            replica.service,
            replaced.name,
            {**known, "at": replica.created_at.isoformat()},
        )

    async def _terminate(self, replica: Replica, step: Step) -> None:
        """Commit the termination, then ask for it; asked again every look until the provider says that it is gone."""
        now = self._runtime.clock.now()
        if step.endpoint is not None and replica.endpoint is None:
            self._journal.update_replica(replica.name, endpoint=step.endpoint, now=now)  # it did run (decision 0084)
        ending = termination_id(replica.intent_id)
        known = self._journal.intent(ending)
        if known is None or not known.is_open:
            planned = Intent(
                id=ending,
                service=replica.service,
                replica=replica.name,
                kind=IntentKind.TERMINATE,
                state=IntentState.PLANNED,
                epoch=self._journal.epoch,
                offer_id=replica.offer_id,
                usd_per_hour=None,
                created_at=now,
                updated_at=now,
                detail=step.reason,
            )
            self._journal.add_intent(planned)
            self._journal.set_intent(ending, IntentState.ISSUED, now)
        try:
            await self._provisioner(replica).terminate(replica.name, self._runtime.tuning.terminate_grace)
        except GreenctlError as error:
            self.warn_once(replica, f"it could not be ended and will be asked again: {error.code}: {error.message}")

    def _confirm_end(self, replica: Replica) -> None:
        """Close what was intended with a replica of which nothing is left."""
        self._warned.pop(replica.name, None)
        now = self._runtime.clock.now()
        # By their names: to look through all that is open would cost a fleet that ends a second for each thousand.
        launch, ending = replica.intent_id, termination_id(replica.intent_id)
        for name in (launch, ending):
            intent = self._journal.intent(name)
            if intent is not None and intent.is_open:
                ended = intent.kind is IntentKind.TERMINATE
                detail = "" if ended else "ended before the provider had shown it"
                self._journal.set_intent(name, IntentState.CONFIRMED if ended else IntentState.FAILED, now, detail)

    # ── small parts ──────────────────────────────────────────────────────────────────────────────────

    def _provisioner(self, replica: Replica) -> Provisioner:
        provider = replica.region.partition("/")[0]
        provisioner = self._runtime.provisioners.get(provider)
        if provisioner is None:
            message = f"no provisioner is configured for {provider}"
            raise ProviderError(message)
        return provisioner

    def warn_once(self, replica: Replica, text: str) -> None:
        """Tell of a trouble when it begins or changes, not at every look."""
        if self._warned.get(replica.name) != text:
            self._warned[replica.name] = text
            self.event(EventKind.WARNING, text, replica.service, replica.name)

    def drain(self, replica: Replica, reason: str) -> None:
        """Take a replica out of the traffic; it ends once nothing is in flight."""
        self._move(replica, ReplicaState.DRAINING, reason)
        if reason.startswith(ABORTED):
            text = f"r{replica.slot}: {reason}; the traffic stays where it was"
            self.event(EventKind.MIGRATION_ABORTED, text, replica.service, replica.name)

    def _move(self, replica: Replica, to: ReplicaState, reason: str) -> None:
        self._journal.move_replica(replica.name, to, self._runtime.clock.now(), reason)
        self._state_event(replica, to, reason)

    def _state_event(self, replica: Replica, state: ReplicaState, reason: str) -> None:
        detail = {"slot": replica.slot, "region": replica.region, "state": state.value}
        text = f"r{replica.slot} {replica.region}: {state.value}" + (f" ({reason})" if reason else "")
        self.event(EventKind.REPLICA_STATE, text, replica.service, replica.name, detail)

    def event(
        self, kind: EventKind, text: str, service: str, replica: str = "", detail: Mapping[str, object] | None = None
    ) -> None:
        """Append one line of history."""
        clock = self._runtime.clock
        self._journal.record_event(
            kind,
            text,
            service=service,
            at=clock.now(),
            wall_at=clock.wall(),
            replica=replica,
            detail_json=json.dumps(detail or {}),
        )


def _workload(action: Action, service: ServiceRecord) -> str:
    """Digest what the action's offer names. A variant that the file lost since starts nothing: ``_model`` says so."""
    found = workload_of(service.spec, variant_in(action.offer_id))
    return workload_digest(service.spec) if found is None else found


def _model(replica: Replica, service: ServiceRecord) -> ModelSpec:
    """Return what the replica runs. Raises ``ProviderError`` for what the service's file no longer says.

    Somebody may have deployed between the record and this call: what runs is what the record says that it is.
    """
    name = variant_in(replica.offer_id)
    model = model_of(service.spec, name)
    if model is None:
        message = f"{name} is no variant of {service.name} any more"
        raise ProviderError(message)
    if model_digest(service.spec, model) != replica.workload_digest:
        message = "another workload was deployed before it was asked for"
        raise ProviderError(message)
    return model


def _may_retire(replica: Replica, living: Iterable[Replica], service: ServiceRecord) -> bool:
    """Whether enough others serve now: between a plan and this moment a person may have thought, and a machine died.

    The planner retires it once they do.
    """
    others = [r for r in living if r.state is ReplicaState.READY and r.name != replica.name]
    wanted = service.spec.scaling.min_replicas if service.state is ServiceState.ACTIVE else 0
    return replica.state is not ReplicaState.READY or len(others) >= wanted


def _can_move(action: Action, living: Mapping[str, Replica], intent: str) -> bool:
    """Whether what is to be moved is still there, and nothing else is about to take its place."""
    rivals = [r for r in living.values() if r.replaces == action.replica and r.intent_id != intent]
    return action.replica in living and not rivals


def _as_shown(offer: Offer | None, replica: Replica) -> Offer:
    """Return the offer as it is sold, if it is still what was confirmed: there, and not dearer. Raises otherwise."""
    if offer is None:
        message = f"{replica.offer_id} is no longer sold"
        raise ProviderError(message)
    limit = highest_price(replica.usd_per_hour)
    if limit is not None and offer.price is None:
        message = f"{offer.id} was shown at {replica.usd_per_hour:g} USD/h and has no known price now"
        raise PriceMoved(message)
    if limit is not None and offer.price is not None and offer.price.usd_per_hour > limit:
        message = f"{offer.id} was shown at {replica.usd_per_hour:g} USD/h and costs {offer.price.usd_per_hour:g} now"
        raise PriceMoved(message)
    return replace(offer, variant="") if offer.variant else offer
