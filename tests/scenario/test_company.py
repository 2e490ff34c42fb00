"""A burst while a deploy or a move is under way: load is served beside it, and never at its cost (decision 0076)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.money import MoneyBudget
from orchestrator.domain.records import EventKind, Operation, OperationState
from orchestrator.domain.replica import LIVE, Replica
from orchestrator.domain.service import PlacementRules, Scaling, ServiceSpec
from orchestrator.domain.variants import workloads_of
from tests.scenario.crash import Fuse
from tests.scenario.world import RULES, Traffic, World, chat, only

SLOW = replace(RULES, enabled=False, canary_hold=timedelta(seconds=60))
"""A rollout of two replicas takes about eight minutes."""

SECONDS_EACH = 4.0


def scaled(**changes: object) -> ServiceSpec:
    """Make a service of two to six replicas, each for two requests a second, with a careful rollout."""
    scaling = Scaling(2, 6, 2.0, downscale_delay=timedelta(seconds=120))
    return chat(**{"scaling": scaling, "migration": SLOW, "placement": only("se", "fr"), **changes})  # type: ignore[arg-type]


async def up(world: World, spec: ServiceSpec) -> None:
    """Bring it up under a load that two replicas carry."""
    await world.up(spec)
    world.traffic["chat"] = Traffic(3.0, SECONDS_EACH)
    await world.run(60)
    assert len(world.ready()) == 2


def other_model(spec: ServiceSpec, name: str = "org/other") -> ServiceSpec:
    """Make a revision that runs something else."""
    return replace(spec, model=replace(spec.model, id=name))


def beside(world: World) -> list[Replica]:
    """Those of the slots above what was deployed, the ended ones included."""
    return [r for r in world.all_replicas() if r.slot >= 2]


def is_open(world: World, operation: Operation) -> bool:
    """Whether the request is under way."""
    return world.operation(operation).state in {OperationState.QUEUED, OperationState.RUNNING}


def said(world: World, words: str) -> int:
    """Count the warnings that say so."""
    return sum(words in e.text for e in world.events(EventKind.WARNING))


async def rollout_until_proven(world: World, spec: ServiceSpec) -> Operation:
    """Deploy, and wait until the first slot is wholly with the new revision."""
    operation = await world.deploy(spec)
    workloads = workloads_of(spec)

    def is_proven() -> bool:
        old = {r.name for r in world.ready() if r.workload_digest not in workloads}
        new = [r for r in world.ready() if r.workload_digest in workloads and r.weight_percent == 100]
        return any(r.replaces not in old for r in new)

    await world.until(is_proven, limit=900)
    assert is_open(world, operation)
    return operation


async def test_a_burst_in_a_rollout_is_served_by_the_new_revision_once_it_is_proven() -> None:
    """Nobody comes before a slot is wholly with it; then as many as load wants, and they are there when it is done."""
    world, spec = World(), scaled()
    await up(world, spec)
    new = other_model(spec)
    operation = await world.deploy(new)
    world.traffic["chat"] = Traffic(7.0, SECONDS_EACH)
    await world.until(lambda: any(r.workload_digest in workloads_of(new) for r in world.ready()))
    await world.run(60)
    assert beside(world) == []
    assert said(world, "nothing of what shall run serves in full yet") == 1

    await world.until(lambda: len(beside(world)) == 2, limit=600)
    assert is_open(world, operation)
    assert {r.workload_digest for r in beside(world)} <= workloads_of(new)
    await world.until(lambda: all(r.weight_percent == 100 for r in beside(world)))
    assert is_open(world, operation)

    await world.until(lambda: not is_open(world, operation), limit=900)
    assert world.operation(operation).state is OperationState.DONE
    names = {r.name for r in world.ready()}
    await world.run(300)
    assert {r.name for r in world.ready()} == names
    assert len(names) == 4
    world.traffic["chat"] = Traffic(3.0, SECONDS_EACH)
    await world.until(lambda: len(world.replicas()) == 2, limit=600)
    assert {r.workload_digest for r in world.ready()} <= workloads_of(new)


async def test_a_deploy_that_changes_nothing_of_what_runs_gets_company_at_once() -> None:
    """What serves is proven. A first deploy of slow starters is another such: the first that serves is enough."""
    world, spec = World(), scaled()
    await up(world, spec)
    world.room["sky/se"] = world.room["sky/fr"] = 3
    more = replace(spec, scaling=replace(spec.scaling, min_replicas=3))
    world.traffic["chat"] = Traffic(11.0, SECONDS_EACH)
    operation = await world.deploy(more)
    await world.until(lambda: not is_open(world, operation), limit=300)
    assert world.operation(operation).state is OperationState.DONE
    await world.until(lambda: len(world.ready()) == 6, limit=120)


async def test_who_came_for_load_and_cannot_start_fails_nothing() -> None:
    """Its place is full: the rollout goes on and is done, the number stays as it was, and it is not tried again."""
    world, spec = World(), scaled()
    await up(world, spec)
    operation = await rollout_until_proven(world, other_model(spec))
    world.room["sky/se"] = sum(r.region == "sky/se" for r in world.replicas()) + 1  # for the rollout itself
    world.room["sky/fr"] = 0
    world.traffic["chat"] = Traffic(11.0, SECONDS_EACH)
    await world.until(lambda: any(r.state not in LIVE for r in beside(world)), limit=120)
    before = len(beside(world))
    await world.until(lambda: not is_open(world, operation), limit=1200)
    assert world.operation(operation).state is OperationState.DONE, world.picture()
    assert before <= 4
    assert said(world, "which came for it, has ended") >= 1


async def test_what_load_wants_and_nobody_sells_keeps_no_rollout_waiting() -> None:
    """Nothing is launched, which is said once, and the deploy is done in its own time."""
    world, spec = World(), scaled(placement=PlacementRules(allow=("sky/se", "sky/fr"), max_per_region=2))
    await up(world, spec)
    operation = await rollout_until_proven(world, other_model(spec))
    world.traffic["chat"] = Traffic(11.0, SECONDS_EACH)
    await world.until(lambda: not is_open(world, operation), limit=900)
    assert world.operation(operation).state is OperationState.DONE
    assert beside(world) == []
    assert said(world, "max_per_region") == 1


async def test_what_a_budget_leaves_is_for_the_deploy() -> None:
    """Nobody is bought for load from money that the rollout may need."""
    world, spec = World(), scaled(budget=MoneyBudget(usd_per_day=1000.0))
    await up(world, spec)
    operation = await rollout_until_proven(world, other_model(spec))
    world.traffic["chat"] = Traffic(7.0, SECONDS_EACH)
    await world.until(lambda: not is_open(world, operation), limit=900)
    assert world.operation(operation).state is OperationState.DONE
    assert beside(world) == []
    assert said(world, "what the budget leaves") == 1
    await world.until(lambda: len(world.ready()) == 4, limit=120)


async def test_a_deploy_that_is_taken_back_keeps_who_serves_for_load() -> None:
    """The second slot never starts, four times: that alone fails it, and the old revision takes over what there is."""
    world, spec = World(), scaled()
    await up(world, spec)
    new = other_model(spec)
    world.traffic["chat"] = Traffic(7.0, SECONDS_EACH)
    operation = await rollout_until_proven(world, new)

    def starts(replica: Replica) -> bool:
        return replica.slot < 2 and replica.ready_at is None and replica.name in world.cloud.existing()

    await world.until(lambda: any(starts(r) for r in world.replicas()), limit=60)
    for _ in range(4000):
        for replica in filter(starts, world.replicas()):
            world.murder(replica.name)
        await world.step()
        if not is_open(world, operation):
            break
    assert world.operation(operation).state is OperationState.FAILED
    assert sum(r.weight_percent == 100 for r in beside(world)) == 2, world.picture()
    await world.until(lambda: all(r.workload_digest in workloads_of(spec) for r in world.ready()), limit=3000)
    assert len(world.ready()) == 4
    assert world.refused == 0


async def test_a_move_that_somebody_asked_for_gets_company_too() -> None:
    """It is done in its own time, and the number holds when it is."""
    world, spec = World(), scaled()
    await up(world, spec)
    operation = await world.migrate("fr")
    await world.run(10)
    world.traffic["chat"] = Traffic(7.0, SECONDS_EACH)
    await world.until(lambda: sum(r.weight_percent == 100 for r in beside(world)) == 2, limit=120)
    assert is_open(world, operation)
    await world.until(lambda: not is_open(world, operation), limit=600)
    assert world.operation(operation).state is OperationState.DONE
    await world.run(120)
    assert len(world.ready()) == 4


async def test_a_kill_at_any_call_buys_nobody_twice() -> None:
    """Whoever goes on knows by their names who came for load, and how many of them."""
    world, calls = await _burst(None)
    assert len(beside(world)) == 2
    assert calls > 20
    for number in range(1, calls + 1, 7):
        world, _ = await _burst(number)
        assert len(beside(world)) == 2, f"killed before call {number} of {calls}\n{world.picture()}"


async def _burst(kills_at: int | None) -> tuple[World, int]:
    """Let the load rise in a rollout, with a kill at that call from then on; return how many calls there were."""
    fuse = Fuse()
    world, spec = World(wrap=fuse.wrap), scaled()
    await up(world, spec)
    operation = await rollout_until_proven(world, other_model(spec))
    world.traffic["chat"] = Traffic(7.0, SECONDS_EACH)
    await world.run(4)
    fuse.arm(kills_at)
    await world.run(20)
    calls = fuse.count
    fuse.disarm()
    if world.controller is None:
        world.start()
    await world.until(lambda: not is_open(world, operation), limit=900)
    assert world.operation(operation).state is OperationState.DONE
    await ready_becomes_four(world)
    return world, calls


async def ready_becomes_four(world: World) -> None:
    """Wait until as many serve as load wants, and see that they stay."""
    await world.until(lambda: len(world.ready()) == len(world.replicas()) == 4, limit=300)
    await world.run(60)
    assert len(world.replicas()) == 4
