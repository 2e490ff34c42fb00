"""Deploying, changing and taking down: what people ask for, and what they may rely on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.control.usecases import preview_deploy, submit_deploy
from orchestrator.domain.offer import Offer
from orchestrator.domain.records import EventKind, Operation, OperationState, ServiceState
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import ModelSpec, ResourceRequest
from orchestrator.domain.time import Instant
from orchestrator.spec.codec import spec_digest
from tests.builders import SECOND
from tests.scenario.world import FULL, RULES, Traffic, World, chat, only


@pytest.mark.parametrize("replicas", [1, 3])
async def test_a_deploy_ends_with_as_many_replicas_serving_as_were_asked_for(replicas: int) -> None:
    """Each replica is ready, at full weight, known to the gateway, bought once; the request is closed as done."""
    world = World()
    world.start()
    operation = await world.deploy(chat(replicas))
    await world.settle()

    assert world.operation(operation).state is OperationState.DONE
    assert [r.slot for r in world.ready()] == list(range(replicas))
    assert world.routed() == {r.name: FULL for r in world.ready()}
    assert len(world.cloud.launches) == replicas
    assert world.regions() == ["se"] * replicas
    world.check_at_rest()


async def test_a_request_waits_for_a_controller() -> None:
    """A wish that nobody could act upon is carried out as soon as a controller runs."""
    world = World()
    operation = await world.deploy(chat())
    await world.run(30)

    assert world.operation(operation).state is OperationState.QUEUED

    world.start()
    await world.settle()

    assert world.operation(operation).state is OperationState.DONE


async def test_a_replica_gets_no_traffic_before_it_has_completed_something() -> None:
    """A machine that runs and a health route that answers are no proof: one real completion is."""
    world = World()
    world.start()
    await world.deploy(chat())
    await world.run(10, check=False)
    world.cloud.start_seconds = 5.0
    world.down()
    await world.settle()
    await world.deploy(chat())
    await world.step()
    for _ in range(20):
        world.clock.advance(SECOND)
        world.sync_engines()
        world.probe.completing.clear()
        assert world.controller is not None
        await world.controller.tick()

        assert world.routed() == {}

    await world.settle()

    assert len(world.routed()) == 1


async def test_the_same_spec_again_changes_nothing() -> None:
    """A second deploy of what runs already buys nothing and ends nothing."""
    world = World()
    await world.up(chat(2))
    before, table = [r.name for r in world.ready()], world.table().services
    world.cloud.calls.clear()
    await world.up(chat(2))

    assert [r.name for r in world.ready()] == before
    assert world.table().services == table
    assert {c.method for c in world.cloud.calls} <= {"describe", "inventory"}


async def test_scaling_up_leaves_alone_what_runs() -> None:
    """One replica more is one launch more."""
    world = World()
    await world.up(chat(2))
    before = [r.name for r in world.ready()]
    await world.up(chat(3))

    assert [r.name for r in world.ready()][:2] == before
    assert len(world.cloud.launches) == 3
    world.check_at_rest()


async def test_scaling_down_finishes_requests_first() -> None:
    """The last slot goes; nobody's request is cut."""
    world = World()
    await world.up(chat(3))
    first, second, third = [r.name for r in world.ready()]
    world.traffic["chat"] = Traffic(1.0, 8.0)
    await world.run(20)
    await world.deploy(chat(2))
    await world.settle()

    assert [r.name for r in world.ready()] == [first, second]
    assert world.replica(third).state is ReplicaState.TERMINATED
    assert not world.severed
    assert world.refused == 0
    world.check_at_rest()


async def test_scaling_down_while_a_slot_is_being_replaced_keeps_the_one_that_serves() -> None:
    """What starts dies before what serves: a surplus replica is kept until those that stay are ready."""
    world = World()
    await world.up(chat(2))
    first, second = [r.name for r in world.ready()]
    world.cloud.start_seconds = 40.0
    world.preempt(first)
    await world.run(10)

    assert [r.name for r in world.ready()] == [second]

    await world.deploy(chat(1))
    await world.settle()

    assert [r.slot for r in world.ready()] == [0]
    world.check_at_rest()


async def test_a_changed_workload_rolls_over_one_at_a_time() -> None:
    """Make before break: never fewer serve than before, at most one replica more than asked for is paid."""
    world = World()
    await world.up(chat(3))
    world.traffic["chat"] = Traffic(2.0, 3.0)
    old = {r.name for r in world.ready()}
    changed = chat(3, model=ModelSpec("org/other", served_name="chat"))
    operation = await world.deploy(changed)
    fewest, most = 3, 3
    while not world.is_settled():
        await world.step()
        fewest = min(fewest, len(world.ready()))
        most = max(most, len([r for r in world.replicas() if r.state is not ReplicaState.DRAINING]))

    assert world.operation(operation).state is OperationState.DONE
    assert fewest == 3
    assert most == 4
    assert not old & {r.name for r in world.ready()}
    assert {r.request.model.id for r in world.cloud._machines.values()} == {"org/other"}
    assert world.refused == 0
    assert not world.severed
    world.check_at_rest()


@pytest.mark.parametrize("start_seconds", [1.0, 2.0, 3.0, 4.0, 5.0])
async def test_changed_placement_rules_evict_all_replicas_that_may_not_stay(start_seconds: float) -> None:
    """The request is done when the last one has left, and not when the first one has."""
    world = World()
    world.cloud.start_seconds = start_seconds
    await world.up(chat(3))
    operation = await world.deploy(chat(3, placement=only("fr", "de")))
    await world.settle()

    assert world.operation(operation).state is OperationState.DONE
    assert world.regions() == ["fr"] * 3
    world.check_at_rest()


async def test_down_that_comes_while_a_deploy_is_being_begun_buys_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices and grids take seconds to read; whoever says ``down`` meanwhile pays for nothing after it."""
    world = World()
    world.start()
    await world.deploy(chat(2))
    real, asked = world.offers.offers, 0

    async def offers(request: ResourceRequest, now: Instant) -> Sequence[Offer]:
        nonlocal asked
        found = await real(request, now)
        asked += 1
        if asked == 2:  # the look's own was the first, the deploy's is the second
            world.down()
        return found

    monkeypatch.setattr(world.offers, "offers", offers)
    await world.settle()

    assert asked >= 2
    assert not world.cloud.launches
    assert not [e.text for e in world.store.events("chat") if e.kind is EventKind.WARNING]
    world.check_at_rest()


@pytest.mark.parametrize("when", ["describe", "offers"])
async def test_a_deploy_that_comes_during_a_look_is_begun_as_what_it_asks_for(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look waits for providers and prices. What it read before that is no longer what is wanted after it."""
    world = World()
    await world.up(chat(1, migration=replace(RULES, enabled=False)))
    asked_for = chat(3, migration=replace(RULES, enabled=False), model=ModelSpec("org/other", served_name="chat"))
    port = world.cloud if when == "describe" else world.offers
    real, said = getattr(port, when), list[str]()

    async def meanwhile(*args: Any) -> Any:
        found = await real(*args)
        if not said:
            said.append("it is being said")
            said[:] = [await world.deploy(asked_for)]
        return found

    before = len(world.cloud.launches)
    monkeypatch.setattr(port, when, meanwhile)
    await world.settle()

    assert world.operation(said[0]).state is OperationState.DONE
    assert [r.model.id for r in world.cloud.launches[before:]] == ["org/other"] * 3
    assert {r.revision for r in world.ready()} == {2}
    world.check_at_rest()


async def test_what_is_pending_is_not_bought_once_somebody_says_down() -> None:
    """The replica is on record and not yet asked for: ``down`` comes first, whatever the order within a look."""
    world = World()
    world.start()
    await world.deploy(chat(2))
    while not world.store.replicas("chat"):
        await world.look(check=False)
    bought = len(world.cloud.launches)
    world.down()
    await world.settle()

    assert len(world.cloud.launches) == bought
    world.check_at_rest()


@pytest.mark.parametrize("after", range(12))
async def test_taking_down_leaves_nothing_at_any_moment(after: int) -> None:
    """Pending, starting, ready: ``down`` ends it all and closes; the same name can be used again."""
    world = World()
    world.start()
    await world.deploy(chat(2))
    await world.run(after)
    interrupted = [o for o in world.store.operations() if o.state is not OperationState.DONE]
    operation = world.down()
    await world.settle()

    assert world.operation(operation).state is OperationState.DONE
    assert all(world.operation(o).error_code == "superseded" for o in interrupted)
    assert world.cloud.existing() == frozenset()
    assert world.routes() is None
    world.check_at_rest()

    await world.up(chat(1))
    world.check_at_rest()


async def test_taking_down_includes_what_was_just_lost() -> None:
    """A replica that died a moment ago is neither replaced nor forgotten."""
    world = World()
    await world.up(chat(2))
    first, second = [r.name for r in world.ready()]
    world.sick.add(first)
    world.preempt(second)
    await world.until(lambda: world.replica(first).state is ReplicaState.LOST)
    operation = world.down()
    await world.settle()

    assert world.operation(operation).state is OperationState.DONE
    assert world.cloud.existing() == frozenset()
    world.check_at_rest()


async def test_taking_down_twice_is_taking_down_once() -> None:
    """A second ``down`` of what is down is closed as done."""
    world = World()
    await world.up(chat())
    world.down()
    await world.settle()
    again = world.down()
    await world.run(10)

    assert world.operation(again).state is OperationState.DONE


async def test_a_first_deploy_whose_engine_dies_leaves_nothing() -> None:
    """The request fails with the engine's code and words, nothing runs, nothing is paid."""
    world = World()
    world.start()
    world.cloud.start_seconds = 30.0
    operation = await world.deploy(chat(2))
    await world.until(lambda: len(world.cloud.existing()) == 2)
    world.murder(min(world.cloud.existing()))
    await world.settle()

    closed = world.operation(operation)
    assert (closed.state, closed.error_code) == (OperationState.FAILED, "engine_died")
    assert "killed by SIGKILL" in closed.error
    assert world.store.service("chat").state is ServiceState.DOWN  # type: ignore[union-attr]
    assert world.cloud.existing() == frozenset()
    world.check_at_rest()


class Hasty:
    """Somebody who says something right before a service is recorded as down."""

    def __init__(self) -> None:
        self.say: Callable[[], object] | None = None

    def wrap(self, port: str, real: Any) -> Any:
        """Stand between the controller and its journal."""
        return _Hurried(real, self) if port == "journal" else real


class _Hurried:
    def __init__(self, real: Any, hasty: Hasty) -> None:
        self._real, self._hasty = real, hasty

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def set_service_state(self, service: str, state: ServiceState, *rest: Any, **more: Any) -> Any:
        say, self._hasty.say = self._hasty.say, None
        if say is not None:
            say()
        return self._real.set_service_state(service, state, *rest, **more)


async def test_a_mended_deploy_that_comes_while_the_failed_one_is_cleared_away_is_carried_out() -> None:
    """A look reads that nothing is left, somebody deploys, the look writes: the service is not down for it."""
    hasty = Hasty()
    world = World(wrap=hasty.wrap)
    world.start()
    world.cloud.start_seconds = 30.0
    await world.deploy(chat())
    await world.until(lambda: bool(world.cloud.existing()))
    world.murder(min(world.cloud.existing()))
    await world.until(lambda: world.store.service("chat").state is ServiceState.GOING_DOWN)  # type: ignore[union-attr]
    mended, said = chat(2), list[Operation]()
    digest = spec_digest(mended)
    plan = await preview_deploy(mended, digest, world.runtime)
    hasty.say = lambda: said.append(submit_deploy(mended, digest, plan, world.runtime, actor="ada"))
    await world.until(lambda: bool(said))
    await world.settle()

    assert world.operation(said[0]).state is OperationState.DONE
    assert len(world.ready()) == 2
    assert not [e.text for e in world.events(EventKind.OPERATION) if "the service is down" in e.text]
    world.check_at_rest()


async def _fail_to_start(world: World) -> None:
    """Let every engine that starts from now on die."""
    while not world.is_settled():
        await world.step()
        for name, machine in list(world.cloud._machines.items()):
            if machine.request.model.id == "org/broken" and not machine.failure:
                world.murder(name)


async def test_a_failed_change_keeps_serving_what_served() -> None:
    """A new workload that cannot start is taken back; the old one served all the time and is the current one again."""
    world = World()
    await world.up(chat(2))
    serving = [r.name for r in world.ready()]
    world.traffic["chat"] = Traffic(2.0, 3.0)
    operation = await world.deploy(chat(2, model=ModelSpec("org/broken", served_name="chat")))
    await _fail_to_start(world)
    await world.run(60)

    assert world.operation(operation).error_code == "engine_died"
    assert [r.name for r in world.ready()] == serving
    record = world.store.service("chat")
    assert record is not None
    assert (record.revision, record.spec.model.id) == (1, "org/model")
    assert world.refused == 0
    world.check_at_rest()


async def test_a_failed_change_restores_the_last_revision_that_was_good() -> None:
    """Not the one of the oldest replica: a service that was scaled up since does not shrink."""
    world = World()
    await world.up(chat(1))
    await world.up(chat(2))
    await world.up(chat(2, ttft_p95=SECOND))
    serving = [r.name for r in world.ready()]
    await world.deploy(chat(2, model=ModelSpec("org/broken", served_name="chat")))
    await _fail_to_start(world)
    await world.deploy(chat(2, model=ModelSpec("org/broken", served_name="chat")))
    await _fail_to_start(world)
    await world.run(30)

    record = world.store.service("chat")
    assert record is not None
    assert record.revision == 3
    assert [r.name for r in world.ready()] == serving


async def test_a_rollout_that_fails_half_way_goes_back_without_a_gap() -> None:
    """Replicas that run the new workload serve on until they are rolled back, one at a time."""
    world = World()
    await world.up(chat(2))
    world.traffic["chat"] = Traffic(2.0, 3.0)
    operation = await world.deploy(chat(2, model=ModelSpec("org/broken", served_name="chat")))
    fewest = 2
    while not world.is_settled():
        await world.step()
        fewest = min(fewest, len(world.ready()))
        broken = [n for n, m in world.cloud._machines.items() if m.request.model.id == "org/broken" and not m.failure]
        for name in broken:
            if any(r.workload_digest == world.replica(name).workload_digest for r in world.ready() if r.name != name):
                world.murder(name)

    assert world.operation(operation).state is OperationState.FAILED
    assert fewest == 2
    assert {world.cloud._machines[r.name].request.model.id for r in world.ready()} == {"org/model"}
    assert world.refused == 0
    world.check_at_rest()


async def test_a_deploy_that_failed_while_everything_was_lost_brings_back_what_was_deployed() -> None:
    """Losing a machine during a change that turns out to be bad does not take the service down."""
    world = World()
    await world.up(chat(1))
    await world.deploy(chat(1, model=ModelSpec("org/broken", served_name="chat")))
    await world.step()
    world.preempt(world.the_replica().name)
    await _fail_to_start(world)
    await world.settle()

    record = world.store.service("chat")
    assert record is not None
    assert (record.state, record.spec.model.id) == (ServiceState.ACTIVE, "org/model")
    assert len(world.ready()) == 1


async def test_a_plan_that_cannot_be_read_fails_its_request_only() -> None:
    """A request of a version that we do not know is closed, and the service goes on."""
    world = World()
    await world.up(chat(1))
    operation = await world.deploy(chat(2))
    kept = world.store._state.operations
    kept.put(operation.id, replace(world.operation(operation), payload_json='{"plan": {"later": 1}}'))
    await world.run(60)

    assert world.operation(operation).error_code == "stale_plan"
    assert len(world.ready()) == 1
    world.check_at_rest()


async def test_a_confirmed_plan_retires_nobody_who_has_become_the_last_one() -> None:
    """A machine dies between the plan that a person saw and its beginning: the other one is all that is wanted now."""
    world = World()
    await world.up(chat(2))
    first, second = [r.name for r in world.ready()]
    operation = await world.deploy(chat(1))
    world.preempt(first)
    await world.step()

    assert [r.name for r in world.ready()] == [second]

    await world.settle()

    assert world.operation(operation).state is OperationState.DONE
    assert [r.name for r in world.ready()] == [second]
    world.check_at_rest()
