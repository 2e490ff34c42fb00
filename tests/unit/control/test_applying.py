"""Applying what was decided when the world does not go along: what is on record, and what was asked, afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from orchestrator.control.apply import Applier
from orchestrator.control.leases import Renewals, ends_itself
from orchestrator.control.naming import termination_id
from orchestrator.control.ports import Instance, Journal, Phase
from orchestrator.control.usecases import preview_deploy
from orchestrator.domain.money import MoneyBudget
from orchestrator.domain.offer import Offer
from orchestrator.domain.plan import Action, ActionKind, Plan
from orchestrator.domain.price import Price
from orchestrator.domain.records import EventKind, IntentState, OperationState, ServiceRecord
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import Engine, ModelSpec, ServiceSpec
from orchestrator.domain.time import Instant
from orchestrator.errors import BudgetSpent, ProviderUnavailable
from orchestrator.planner.rollout import Step, StepKind
from orchestrator.spec.codec import spec_digest
from tests.scenario.world import World, chat, only

CAUSE = "op-test"
SE = only("se")


class Bench:
    """A world whose service is recorded and planned for, and an applier in its turn; no controller looks."""

    def __init__(self, world: World, journal: Journal, plan: Plan) -> None:
        self.world, self.journal, self.plan = world, journal, plan
        self.applier = Applier(world.runtime, journal)

    @classmethod
    async def of(cls, spec: ServiceSpec) -> Bench:
        """Submit a deploy that nobody carries out."""
        world = World()
        plan = await preview_deploy(spec, spec_digest(spec), world.runtime)
        await world.deploy(spec)
        journal = world.store.claim("test", world.now)
        for operation in world.store.operations():
            journal.set_operation(operation.id, OperationState.DONE, world.now)
        return cls(world, journal, plan)

    @property
    def service(self) -> ServiceRecord:
        """The only one."""
        (found,) = self.world.store.services()
        return found

    @property
    def launch(self) -> Action:
        """The launch that the plan wants."""
        return next(a for a in self.plan.actions if a.kind is ActionKind.LAUNCH)

    def act(self, *actions: Action, cause: str = CAUSE) -> None:
        """Apply these actions."""
        self.applier.actions(replace(self.plan, actions=actions), self.service, cause, {})

    def started(self) -> Replica:
        """Commit the launch; return the pending replica."""
        self.act(self.launch)
        return self.world.replicas()[0]

    def offer(self, replica: Replica) -> Offer:
        """What it was planned as."""
        return self.world.offer_of(replica)

    async def step(self, kind: StepKind, replica: Replica, offer: Offer | None = None) -> None:
        """Take one step of a replica as it is now."""
        await self.applier.step(
            Step(kind, replica.name, "a test"), self.world.replica(replica.name), self.service, offer
        )

    def asked(self, method: str) -> int:
        """How often the provider was asked."""
        return sum(c.method == method for c in self.world.cloud.calls)

    def intent(self, replica: Replica) -> tuple[IntentState, str]:
        """How far its launch has come."""
        found = self.world.store.intent(replica.intent_id)
        assert found is not None
        return found.state, found.detail


# ── what is on sale no longer is what was planned ────────────────────────────────────────────────────


async def test_what_is_sold_no_longer_is_not_asked_for() -> None:
    """The replica failed before anything was bought, and its intent says why."""
    bench = await Bench.of(chat(placement=SE))
    replica = bench.started()

    await bench.step(StepKind.ISSUE, replica, None)

    assert bench.world.replica(replica.name).state is ReplicaState.FAILED
    state, detail = bench.intent(replica)
    assert state is IntentState.FAILED
    assert "no longer sold" in detail
    assert bench.asked("launch") == 0


@pytest.mark.parametrize(("usd", "words"), [(None, "has no known price now"), (9.0, "costs 9 now")])
async def test_what_is_dearer_than_was_confirmed_is_not_bought(usd: float | None, words: str) -> None:
    """Nor what has no price any more, although it had one: unknown is not cheap."""
    bench = await Bench.of(chat(placement=SE))
    replica = bench.started()
    offer = bench.offer(replica)
    assert offer.price is not None
    price: Price | None = None if usd is None else replace(offer.price, usd_per_hour=usd)

    await bench.step(StepKind.ISSUE, replica, replace(offer, price=price))

    assert bench.world.replica(replica.name).state is ReplicaState.FAILED
    state, detail = bench.intent(replica)
    assert state is IntentState.FAILED
    assert detail.startswith("price_moved: ")
    assert words in detail
    assert bench.world.cloud.existing() == frozenset()


# ── nobody answers, or nobody is there to be asked ───────────────────────────────────────────────────


async def test_a_provider_that_does_not_answer_leaves_the_try_open() -> None:
    """Under the same name, told of once; the next try creates the one instance."""
    bench = await Bench.of(chat(placement=SE))
    replica = bench.started()
    for _ in range(2):
        bench.world.cloud.fail_next("launch", ProviderUnavailable("no way to it"))
        await bench.step(StepKind.ISSUE, replica, bench.offer(replica))

    assert bench.world.replica(replica.name).state is ReplicaState.PROVISIONING
    assert bench.intent(replica)[0] is IntentState.ISSUED
    assert len([e for e in bench.world.events(EventKind.WARNING) if "no way to it" in e.text]) == 1
    await bench.step(StepKind.ISSUE, replica, bench.offer(replica))
    assert bench.world.cloud.existing() == {replica.name}


async def test_a_provider_that_is_configured_no_longer_fails_launches_and_keeps_ends_open() -> None:
    """A launch cannot come to anything; what may still run there is never called ended."""
    bench = await Bench.of(chat(placement=SE))
    replica = bench.started()
    await bench.step(StepKind.ISSUE, replica, bench.offer(replica))
    bench.applier = Applier(replace(bench.world.runtime, provisioners={}), bench.journal)
    await bench.step(StepKind.TERMINATE, replica)
    (ending,) = [i for i in bench.world.store.intents("chat", open_only=True) if i.id != replica.intent_id]
    warned = [e.text for e in bench.world.events(EventKind.WARNING)]

    assert ending.state is IntentState.ISSUED
    assert bench.world.replica(replica.name).state is ReplicaState.PROVISIONING
    assert bench.asked("terminate") == 0
    assert len(warned) == 1
    assert "no provisioner is configured for sky" in warned[0]

    await bench.step(StepKind.ISSUE, replica, bench.offer(replica))
    assert bench.world.replica(replica.name).state is ReplicaState.FAILED
    assert bench.intent(replica)[0] is IntentState.FAILED


# ── plans that are late, wrong or too dear ───────────────────────────────────────────────────────────


async def test_a_slot_that_is_taken_is_not_filled_twice() -> None:
    """By another cause; the same cause again is the same launch."""
    bench = await Bench.of(chat(placement=SE))
    replica = bench.started()

    bench.act(bench.launch, cause="op-other")
    bench.act(bench.launch)

    assert [r.name for r in bench.world.replicas()] == [replica.name]
    assert len(bench.world.store.intents("chat", open_only=True)) == 1


async def test_a_launch_without_a_market_is_a_mistake_that_writes_nothing() -> None:
    """Nobody could say what it costs."""
    bench = await Bench.of(chat(placement=SE))

    with pytest.raises(ValueError, match="names no market"):
        bench.act(replace(bench.launch, market=None))

    assert bench.world.store.replicas(ended=True) == []
    assert bench.world.store.intents("chat", open_only=False) == []


async def test_what_cannot_be_afforded_holds_up_nothing_else() -> None:
    """The end in the same plan is written, a move that was refused is never said to have begun."""
    bench = await Bench.of(chat(2, placement=SE, budget=MoneyBudget(usd_per_day=60.0)))
    first, second = [a for a in bench.plan.actions if a.kind is ActionKind.LAUNCH]
    bench.act(first, second)
    kept, left = bench.world.replicas()
    dear = replace(first, kind=ActionKind.MOVE, replica=kept.name, from_region=kept.region, usd_per_hour=99.0)
    end = Action(ActionKind.RETIRE, left.slot, "not wanted", replica=left.name)

    with pytest.raises(BudgetSpent):
        bench.act(dear, end, cause="op-other")

    states: Mapping[str, ReplicaState] = {r.name: r.state for r in bench.world.replicas()}
    assert states == {kept.name: ReplicaState.PENDING, left.name: ReplicaState.DRAINING}
    assert bench.world.events(EventKind.MIGRATION_STARTED) == []


# ── much at once ─────────────────────────────────────────────────────────────────────────────────────


class NothingLookedThrough:
    """A journal in which single intents are found, and never all of them; ``leases_read``: how often leases were."""

    def __init__(self, real: Journal) -> None:
        self._real, self.leases_read = real, 0

    def intents(self, *_asked: object, **_more: object) -> None:
        """Fail: with many replicas each would look through those of all others."""
        raise AssertionError("all intents were read")

    def leases(self, service: str) -> Mapping[str, Instant]:
        """Read, and count."""
        self.leases_read += 1
        return self._real.leases(service)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


async def test_a_replica_is_ended_without_looking_through_what_is_open() -> None:
    """A fleet that is taken down costs each of its replicas two intents, found by name; both are closed in the end."""
    bench = await Bench.of(chat(placement=SE))
    replica = bench.started()
    await bench.step(StepKind.ISSUE, replica, bench.offer(replica))
    bench.applier = Applier(bench.world.runtime, cast("Journal", NothingLookedThrough(bench.journal)))

    for _ in range(2):
        await bench.step(StepKind.TERMINATE, replica)
    ending = bench.world.store.intent(termination_id(replica.intent_id))
    assert ending is not None
    assert ending.state is IntentState.ISSUED
    await bench.step(StepKind.CLEAN_UP, replica)

    closed = {i.id: i.state for i in bench.world.store.intents("chat")}
    assert closed == {replica.intent_id: IntentState.FAILED, ending.id: IntentState.CONFIRMED}
    assert bench.asked("terminate") == 2


async def test_renewals_that_fail_read_all_leases_once() -> None:
    """And not once each: when a whole provider is away, that is every replica, once a minute."""
    bench = await Bench.of(chat(3, placement=SE))
    bench.act(*[a for a in bench.plan.actions if a.kind is ActionKind.LAUNCH])
    replicas = bench.world.replicas()
    for replica in replicas:
        await bench.step(StepKind.ISSUE, replica, bench.offer(replica))
        bench.world.cloud.fail_next("renew", ProviderUnavailable("no way to it"))
    journal, warned = NothingLookedThrough(bench.journal), list[str]()
    renewals = Renewals(bench.world.runtime, cast("Journal", journal), lambda r, _text: warned.append(r.name))
    seen = {r.name: Instance(r.name, "sky/se", Phase.RUNNING, None) for r in replicas}

    bench.world.clock.advance(bench.service.spec.lease * 0.6)
    await renewals.look(bench.service, [replace(r, state=ReplicaState.READY) for r in replicas], seen)

    assert sorted(warned) == sorted(seen)
    assert journal.leases_read == 1


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_lease_is_only_recorded_where_somebody_counts_it_down() -> None:
    """Beside a command of the service's own nobody does, nor at a provider that is not there: no end is promised."""
    bench = await Bench.of(chat(placement=SE))
    spec = bench.service.spec
    nowhere = replace(bench.world.runtime, provisioners={})
    command = replace(spec, model=ModelSpec("org/model", engine=Engine.COMMAND))

    assert ends_itself(spec, "sky/se", bench.world.runtime)
    assert not ends_itself(command, "sky/se", bench.world.runtime)
    assert not ends_itself(spec, "sky/se", nowhere)
    bench.applier = Applier(nowhere, bench.journal)
    replica = bench.started()
    assert bench.world.store.leases("chat") == {}

    warned: list[str] = []
    renewals = Renewals(nowhere, bench.journal, lambda _replica, text: warned.append(text))
    await bench.step(StepKind.ISSUE, replica, bench.offer(replica))
    bench.applier = Applier(bench.world.runtime, bench.journal)
    seen = {replica.name: Instance(replica.name, "sky/se", Phase.RUNNING, None)}
    running = replace(replica, state=ReplicaState.READY)
    await renewals.look(bench.service, [running], seen)

    assert bench.world.store.leases("chat") == {}
    assert bench.asked("renew") == 0
    assert warned == []


async def test_a_renewal_that_fails_leaves_the_lease_as_it_is_and_is_tried_within_a_minute() -> None:
    """Nothing is promised that was not answered; the next answer is."""
    bench = await Bench.of(chat(placement=SE))
    replica = bench.started()
    await bench.step(StepKind.ISSUE, replica, bench.offer(replica))
    before = bench.world.store.leases("chat")[replica.name]
    renewals = Renewals(bench.world.runtime, bench.journal, lambda _replica, _text: None)
    seen = {replica.name: Instance(replica.name, "sky/se", Phase.RUNNING, None)}
    running = [replace(replica, state=ReplicaState.READY)]
    bench.world.cloud.fail_next("renew", ProviderUnavailable("no way to it"))

    bench.world.clock.advance(timedelta(hours=1))
    await renewals.look(bench.service, running, seen)
    failed = bench.world.store.leases("chat")[replica.name]
    await renewals.look(bench.service, running, seen)
    asked_at_once = bench.asked("renew")
    bench.world.clock.advance(timedelta(minutes=1))
    await renewals.look(bench.service, running, seen)

    assert failed == before
    assert asked_at_once == 1
    assert bench.world.store.leases("chat")[replica.name] == bench.world.now + bench.service.spec.lease
