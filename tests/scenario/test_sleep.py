"""Scaling to zero: nobody runs while nobody asks, where that pays, and the next request is held and served."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from orchestrator.control.status import service_status
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.records import EventKind, OperationState
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import GatewayRules, MigrationRules, ModelSpec, Scaling, ServiceSpec
from orchestrator.errors import NoFeasiblePlacement
from tests.scenario.world import RULES, Traffic, World, chat, only

STILL: MigrationRules = replace(RULES, enabled=False)
DOWN_AFTER = timedelta(seconds=60)
SECONDS_EACH = 4.0


def sleepy(**changes: object) -> ServiceSpec:
    """Make a service of none to two replicas."""
    rules = Scaling(0, 2, 2.0, downscale_delay=DOWN_AFTER)
    return replace(chat(scaling=rules, migration=STILL, placement=only("se", "fr")), **changes)  # type: ignore[arg-type]


async def up(world: World, spec: ServiceSpec) -> None:
    """Deploy it; one replica shows that it can serve."""
    if world.controller is None:
        world.start()
    operation = await world.deploy(spec)
    await world.until(lambda: world.operation(operation).state is OperationState.DONE)
    assert len(world.ready()) == 1


async def asleep(world: World, limit: float = 1200.0) -> float:
    """Wait until nothing of the service runs."""
    return await world.until(lambda: not world.replicas() and not world.cloud.existing(), limit)


def ask(world: World, number: int = 1, seconds: float = SECONDS_EACH) -> None:
    """Send some requests in the next second, and none after it."""
    world.traffic["chat"] = Traffic(0.0, seconds, owed=float(number))


async def test_the_last_replica_goes_when_idling_has_cost_a_start_and_a_request_brings_it_back() -> None:
    """The decision says what it weighed; the request is held while a replica starts, and nothing is refused."""
    world = World()
    await up(world, sleepy())
    assert await asleep(world) >= DOWN_AFTER.total_seconds()

    last = world.store.decisions("chat", limit=1)[0]
    assert last.kind is DecisionKind.SCALE
    assert last.sizing is not None
    assert last.sizing.replicas == 0
    assert "a start costs as much as" in last.sizing.because
    assert {f.name for f in last.sizing.figures} >= {"idle", "break-even", "idling", "start"}
    (status,) = await service_status(world.runtime, "chat")
    assert (status.wanted, status.ready) == (0, 0)
    assert "0 replicas" in status.look
    await world.run(3700, every=20.0)
    (status,) = await service_status(world.runtime, "chat")
    assert status.look == "stay: asleep, 0 replicas: no requests; the next one starts a replica"

    ask(world)
    await world.step()
    (status,) = await service_status(world.runtime, "chat")
    assert status.look.endswith("1 request waits for the first replica")
    await world.until(lambda: len(world.ready()) == 1, limit=30)
    await world.run(10)
    assert (world.refused, len(world.waited), len(world.held)) == (0, 1, 0), world.picture()
    woken = world.store.decisions("chat", kind=DecisionKind.SCALE, limit=1)[0]
    assert "waits while nobody serves" in woken.summary
    await asleep(world)
    assert not world.severed


async def test_the_spare_goes_with_the_last_replica_and_comes_back_with_it() -> None:
    """One that stands beside the last one is idle as well: nobody pays for two because there are two."""
    world = World()
    world.start()
    operation = await world.deploy(sleepy(scaling=Scaling(0, 3, 2.0, num_overprovision=1, downscale_delay=DOWN_AFTER)))
    await world.until(lambda: world.operation(operation).state is OperationState.DONE)
    assert len(world.ready()) == 2
    await asleep(world)

    ask(world)
    await world.until(lambda: len(world.ready()) == 2, limit=60)
    await world.run(10)
    assert (world.refused, len(world.held)) == (0, 0), world.picture()
    await asleep(world)
    assert not world.severed


async def test_it_wakes_at_the_next_look_wherever_is_best_by_then() -> None:
    """Nobody waits for a planning interval, and the place is chosen anew."""
    world = World()
    await up(world, sleepy())
    assert world.regions() == ["se"]
    await asleep(world)
    world.grid("SE", lambda _hour: 900.0)
    await world.run(3600, every=60.0)
    ask(world)
    await world.step()
    await world.step()
    (begun,) = world.replicas()
    assert begun.region == "sky/fr"


async def test_steady_requests_closer_than_the_break_even_keep_it_up() -> None:
    """A request each twenty seconds: idling is cheaper than starting all the time."""
    world = World()
    await up(world, sleepy())
    world.traffic["chat"] = Traffic(0.05, SECONDS_EACH)
    (name,) = [r.name for r in world.ready()]
    await world.run(1200)
    assert [r.name for r in world.ready()] == [name]
    assert len(world.all_replicas()) == 1


async def test_a_long_answer_keeps_the_last_replica() -> None:
    """Requests in flight are work, however long ago they came."""
    world = World()
    await up(world, sleepy())
    ask(world, seconds=900.0)
    await world.run(880)
    assert len(world.ready()) == 1
    await asleep(world)
    assert not world.severed


async def test_nothing_goes_to_zero_on_silence() -> None:
    """A gateway that does not tell its counts may have requests: unknown is not zero."""
    world = World()
    await up(world, sleepy())
    world.gateway_is_away()
    await world.run(1200)
    assert len(world.ready()) == 1


async def test_a_request_between_the_decision_and_the_end_is_not_lost() -> None:
    """The last replica drains while somebody asks: the request is held, and a new replica serves it."""
    world = World()
    await up(world, sleepy())
    await world.until(lambda: any(r.state is ReplicaState.DRAINING for r in world.replicas()), limit=1200)
    ask(world)
    await world.run(60)
    assert (world.refused, len(world.held)) == (0, 0), world.picture()
    assert sum(c.ok for c in world.counts.values()) >= 1
    assert not world.severed


async def test_a_new_controller_leaves_it_asleep_and_sees_who_waits() -> None:
    """The number is in the records; a request that came meanwhile is seen by the gateway's counters."""
    world = World()
    await up(world, sleepy())
    await asleep(world)
    world.kill()
    await world.run(30)
    world.start()
    await world.run(120)
    assert world.replicas() == []
    world.kill()
    ask(world)
    await world.run(20)
    assert len(world.held) == 1
    world.start()
    await world.until(lambda: len(world.ready()) == 1, limit=30)
    await world.run(10)
    assert (world.refused, len(world.waited)) == (0, 1)


async def test_a_new_workload_is_shown_to_serve_before_its_deploy_is_done() -> None:
    """Nobody is up who could be replaced, so one is started for it; what cannot serve is taken back."""
    world = World()
    await up(world, sleepy())
    await asleep(world)
    broken = await world.deploy(sleepy(model=ModelSpec("org/broken", served_name="chat")))
    await world.until(lambda: bool(world.cloud.existing()), limit=60)
    (begun,) = world.cloud.existing()
    world.murder(begun)
    await world.until(lambda: world.operation(broken).state is OperationState.FAILED, limit=60)

    other = await world.deploy(sleepy(model=ModelSpec("org/other", served_name="chat")))
    await world.until(lambda: world.operation(other).state is OperationState.DONE)
    assert [r.revision for r in world.ready()] == [3]
    await asleep(world)


async def test_a_deploy_that_changes_no_workload_wakes_nobody() -> None:
    """What served before can serve."""
    world = World()
    await up(world, sleepy())
    await asleep(world)
    again = await world.deploy(sleepy(gateway=GatewayRules(hold=timedelta(seconds=90))))
    await world.until(lambda: world.operation(again).state is OperationState.DONE)
    await world.run(60)
    assert len(world.all_replicas()) == 1


async def test_without_a_controller_the_wait_ends_in_a_refusal() -> None:
    """The gateway alone holds a request as long as the spec says, and so many as it says; then it refuses."""
    world = World()
    await up(world, sleepy(gateway=GatewayRules(hold=timedelta(seconds=30), max_held=2)))
    await asleep(world)
    world.kill()
    ask(world, number=3)
    await world.run(20)
    assert (len(world.held), world.refused) == (2, 1)
    await world.run(20)
    assert (len(world.held), world.refused) == (0, 3)


async def test_it_wakes_although_no_signal_says_where() -> None:
    """Whoever waits is served: where only fresh signals are wanting, the place is chosen without them."""
    world = World()
    await up(world, sleepy())
    await asleep(world)
    for zone in ("SE", "FR"):
        world.carbon.gap(zone, "the meter is broken")
    await world.run(3600, every=60.0)
    ask(world)
    await world.until(lambda: len(world.ready()) == 1, limit=60)
    assert world.refused == 0


async def test_a_start_that_nobody_sells_is_tried_again_and_said() -> None:
    """No room anywhere: a warning, and the replica comes as soon as there is room."""
    world = World()
    await up(world, sleepy())
    await asleep(world)
    world.room |= {"sky/se": 0, "sky/fr": 0}
    ask(world)
    await world.run(60)
    assert world.ready() == []
    assert world.events(EventKind.WARNING) or any(r.state is ReplicaState.FAILED for r in world.all_replicas())
    world.room.clear()
    await world.until(lambda: len(world.ready()) == 1, limit=900)


async def test_what_can_stand_nowhere_is_refused_at_deploy() -> None:
    """A deploy that could never wake is not a service that sleeps."""
    world = World()
    world.start()
    with pytest.raises(NoFeasiblePlacement):
        await world.deploy(sleepy(placement=only("nowhere")))


async def test_a_day_of_office_hours() -> None:
    """Requests by day, none by night: it sleeps most of the night, nobody is refused, and it draws less than idling."""
    world = World()
    await up(world, sleepy())
    drawn = sum(world.joules.values())
    for hour in range(24):
        world.traffic["chat"] = Traffic(0.2 if 8 <= hour < 18 else 0.0, SECONDS_EACH)
        await world.run(3600, every=30.0)
    assert world.refused == 0, world.picture()
    assert world.held == []
    slept = [d for d in world.store.decisions("chat", limit=1000) if d.sizing is not None and d.sizing.replicas == 0]
    assert slept
    (one, *_others) = world.offers._offers.values()
    assert one.shape.power is not None
    assert one.region.pue is not None
    idling = one.shape.power.idle_watts * one.region.pue * 24 * 3600
    assert sum(world.joules.values()) - drawn < idling


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_comes_and_goes_nobody_is_refused(seed: int) -> None:
    """Bursts and silences by chance, the controller killed now and then: each request is answered in the end."""
    chance, world = Random(seed), World()
    await up(world, sleepy())
    asked = 0
    for _ in range(12):
        number = chance.choice((0, 0, 1, 1, 3))
        asked += number
        ask(world, number=number, seconds=chance.uniform(0.5, 30.0))
        if chance.random() < 0.2:
            world.kill()
            await world.run(chance.randint(1, 60))
            world.start()
        await world.run(chance.randint(5, 200))
        in_flight = len(world.held) + len(world.streams)
        assert in_flight == 0 or world.replicas() or world.held, "somebody is at work on a machine that is gone"
    await world.until(lambda: not world.held and not world.streams, limit=120)
    assert (world.refused, sum(c.ok for c in world.counts.values())) == (0, asked), world.picture()
    assert not world.severed
    await asleep(world)
