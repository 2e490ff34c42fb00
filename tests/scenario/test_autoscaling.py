"""Autoscaling: as many replicas as the load wants, and no request pays for the change."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.control.past import recent_moves
from orchestrator.control.status import service_status
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.replica import ENDED, ReplicaState
from orchestrator.domain.service import (
    Accelerators,
    CronWindow,
    MigrationRules,
    ModelSpec,
    MoveSchedule,
    Objective,
    Policy,
    ResourceRequest,
    Scaling,
    ServiceSpec,
)
from orchestrator.planner.launches import MOST_LAUNCHES_PER_MINUTE
from orchestrator.prices.shapes import ShapeCatalogue
from tests.builders import offer
from tests.scenario.crash import Fuse
from tests.scenario.world import RULES, Traffic, World, chat, only

STILL: MigrationRules = replace(RULES, enabled=False)
DOWN_AFTER = timedelta(seconds=120)
SECONDS_EACH = 4.0


def scaled(most: int = 6, target: float | None = 2.0, **changes: object) -> ServiceSpec:
    """Make a service of one to ``most`` replicas that does not move."""
    scaling = replace(Scaling(1, most, target, downscale_delay=DOWN_AFTER), **changes)  # type: ignore[arg-type]
    return chat(scaling=scaling, migration=STILL, placement=only("se"))


async def up(world: World, spec: ServiceSpec, per_second: float) -> None:
    """Bring it up and give it load for long enough that its number follows from that."""
    await world.up(spec)
    world.traffic["chat"] = Traffic(per_second, SECONDS_EACH)
    await world.run(60)


def nothing_failed(world: World) -> None:
    """No request was refused, failed or broken off."""
    counted = [(c.failed, c.truncated) for c in world.counts.values()]
    assert (world.refused, set(counted) or {(0, 0)}) == (0, {(0, 0)}), world.picture()


async def ready_becomes(world: World, number: int, limit: float) -> float:
    """Wait until exactly so many serve and nothing else is there."""

    def settled() -> bool:
        return len(world.ready()) == number and all(
            r.state is ReplicaState.READY for r in world.replicas() if r.state not in ENDED
        )

    return await world.until(settled, limit)


async def test_four_times_the_load_adds_replicas_and_its_end_removes_them() -> None:
    """Up within a minute, in the numbers of the target; down after the delay, step by step; nobody notices."""
    world = World()
    await up(world, scaled(), per_second=1.5)
    assert len(world.ready()) == 1

    world.traffic["chat"] = Traffic(6.0, SECONDS_EACH)
    assert await ready_becomes(world, 3, limit=60) <= 45
    await world.run(600)
    assert len(world.ready()) == 3

    world.traffic["chat"] = Traffic(1.5, SECONDS_EACH)
    await world.run(DOWN_AFTER.total_seconds() - 5)
    assert len(world.ready()) == 3, "it went down before its delay was over"
    await ready_becomes(world, 1, limit=240)
    nothing_failed(world)
    drained = [r for r in world.all_replicas() if r.state is ReplicaState.TERMINATED]
    assert len(drained) == 2
    assert not world.severed


async def test_the_decision_says_how_many_and_why() -> None:
    """The number, its bounds and its figures are in the record, and status tells them."""
    world = World()
    await up(world, scaled(), per_second=6.0)
    await ready_becomes(world, 3, limit=60)

    scaling = [d for d in world.store.decisions("chat") if d.kind is DecisionKind.SCALE]
    size = scaling[0].sizing
    assert size is not None
    assert (size.replicas, size.least, size.most) == (3, 1, 6)
    assert size.because.endswith("requests/s of 2 each")
    assert "wanted by load: 3 replicas" in scaling[0].summary
    (status,) = await service_status(world.runtime, "chat")
    assert status.wanted == 3
    assert status.sizing is not None
    assert status.sizing.replicas == 3


async def test_a_restart_of_the_controller_changes_nothing() -> None:
    """The number in force is read from the records: nothing is added, nothing leaves, and it goes on from there."""
    world = World()
    await up(world, scaled(), per_second=6.0)
    await ready_becomes(world, 3, limit=60)
    names = {r.name for r in world.ready()}

    world.kill()
    await world.run(20)
    world.start()
    await world.run(180)
    assert {r.name for r in world.ready()} == names

    world.kill()
    world.traffic["chat"] = Traffic(1.5, SECONDS_EACH)
    await world.run(5)
    world.start()
    await world.run(DOWN_AFTER.total_seconds() - 5)
    assert {r.name for r in world.ready()} == names, "what the new controller has not watched is not known to be low"
    await ready_becomes(world, 1, limit=300)
    nothing_failed(world)


@pytest.mark.parametrize("says_nothing_new", ["windows", "prices"])
async def test_a_restart_after_weeks_at_the_same_number_keeps_it(says_nothing_new: str) -> None:
    """The decisions of all that time are of windows that ended, or of prices that could not be read."""
    world = World(rate=60.0)
    hourly = MoveSchedule("UTC", (), (CronWindow("0 * * * *", timedelta(minutes=15)),))
    moves = replace(RULES, schedule=hourly) if says_nothing_new == "windows" else STILL
    await up(world, replace(scaled(), migration=moves), per_second=6.0)
    await ready_becomes(world, 3, limit=120)
    if says_nothing_new == "prices":
        world.offers.fail("the list cannot be read")
    await world.run(55 * 60, every=5.0, check=False)
    world.offers.heal()
    world.kill()
    world.start()
    for _ in range(30):
        await world.step(check=False)
        assert len(world.ready()) == 3

    sizes = [d.sizing for d in world.store.decisions("chat", limit=3)]
    assert all(size is not None and size.replicas == 3 for size in sizes), sizes


async def test_it_never_has_more_than_it_may_nor_fewer_than_it_must() -> None:
    """max_replicas and min_replicas bound it, and the decision says that more would be needed."""
    world = World()
    await up(world, scaled(most=2), per_second=8.0)
    await ready_becomes(world, 2, limit=60)
    await world.run(120)
    assert len(world.ready()) == 2
    size = next(d.sizing for d in world.store.decisions("chat") if d.sizing is not None)
    assert "max_replicas is 2" in size.because

    world.traffic["chat"] = Traffic(0.0, SECONDS_EACH)
    await ready_becomes(world, 1, limit=300)
    await world.run(200)
    assert len(world.ready()) == 1


async def test_without_the_gateways_counts_nothing_leaves() -> None:
    """Unknown is not zero: the gateway's silence is not an absence of requests."""
    world = World()
    await up(world, scaled(), per_second=6.0)
    await ready_becomes(world, 3, limit=60)

    world.traffic["chat"] = Traffic(1.5, SECONDS_EACH)
    world.gateway_is_away()
    await world.run(900)
    assert len(world.ready()) == 3, world.picture()
    world.gateway_is_back()
    await ready_becomes(world, 1, limit=400)


async def test_without_the_engines_figures_nothing_leaves_where_they_decide() -> None:
    """Without a target the engines' own figures say what fits, so none of them may be missing."""
    world = World()
    spec = scaled(target=None)
    spec = replace(spec, model=replace(spec.model, args=(("max_num_seqs", 4),)))
    await up(world, spec, per_second=1.0)
    world.traffic["chat"] = Traffic(3.0, SECONDS_EACH)
    await world.until(lambda: len(world.ready()) >= 4, limit=120)
    before = len(world.ready())

    world.mute = True
    world.traffic["chat"] = Traffic(0.25, SECONDS_EACH)
    await world.run(600)
    assert len(world.ready()) == before
    world.mute = False
    await ready_becomes(world, 1, limit=900)
    nothing_failed(world)


async def test_a_replica_that_is_lost_is_replaced_whatever_the_load_says() -> None:
    """A loss is no wish for fewer: the number in force holds."""
    world = World()
    await up(world, scaled(), per_second=6.0)
    await ready_becomes(world, 3, limit=60)

    world.murder(world.ready()[0].name)
    await world.until(lambda: len(world.ready()) < 3)
    await ready_becomes(world, 3, limit=120)


async def test_what_load_wants_and_nobody_sells_is_no_failure() -> None:
    """The service goes on with what there is, and says what it waits for; more come as soon as there is room."""
    world = World()
    world.room["sky/se"] = 2
    await up(world, scaled(), per_second=6.0)
    await ready_becomes(world, 2, limit=120)
    await world.run(120)
    assert len(world.ready()) == 2
    world.room["sky/se"] = 9
    await ready_becomes(world, 3, limit=900)


@pytest.mark.parametrize("delay", [0, 60])
async def test_more_come_only_after_the_upscale_delay(delay: int) -> None:
    """A burst that is shorter than upscale_delay_seconds starts nothing."""
    world = World()
    await up(world, scaled(upscale_delay=timedelta(seconds=delay)), per_second=1.0)
    world.traffic["chat"] = Traffic(6.0, SECONDS_EACH)
    await world.run(30)
    world.traffic["chat"] = Traffic(1.0, SECONDS_EACH)
    await world.run(20)
    assert (len(world.replicas()) > 1) is (delay == 0)


async def test_a_kill_at_any_call_while_it_grows_buys_nothing_twice() -> None:
    """Wherever the controller dies between the wish for three and three that serve: three are bought in all."""
    undisturbed, calls = await _grow(None)
    assert len(undisturbed.cloud.launches) == 3
    assert calls > 20
    for number in range(1, calls + 1, 5):
        world, _ = await _grow(number)
        assert len(world.cloud.launches) == 3, f"killed before call {number} of {calls}\n{world.picture()}"
        nothing_failed(world)


async def _grow(kills_at: int | None) -> tuple[World, int]:
    """Let the load rise, with a kill at that call from then on; return how many calls there were until it is calm."""
    fuse = Fuse()
    world = World(wrap=fuse.wrap)
    await up(world, scaled(), per_second=1.5)
    world.traffic["chat"] = Traffic(6.0, SECONDS_EACH)
    await world.run(8)
    fuse.arm(kills_at)
    await world.run(10)
    calls = fuse.count
    if world.controller is None:
        fuse.disarm()
        world.start()
    fuse.disarm()
    await ready_becomes(world, 3, limit=120)
    await world.run(30)
    return world, calls


async def test_another_model_is_rolled_out_in_the_number_that_load_wants() -> None:
    """A deploy while three serve keeps three serving, and ends with three of the new workload."""
    world = World()
    await up(world, scaled(), per_second=6.0)
    await ready_becomes(world, 3, limit=60)
    spec = scaled()
    await world.deploy(replace(spec, model=replace(spec.model, id="org/other")))
    fewest = 3
    for _ in range(300):
        await world.step()
        fewest = min(fewest, len(world.ready()))
    assert fewest == 3, "fewer served than load wants"
    assert len({r.workload_digest for r in world.ready()}) == 1
    assert len(world.ready()) == 3
    nothing_failed(world)


async def test_a_burst_is_no_storm_of_purchases() -> None:
    """Thirty are wanted at once, and as many are asked for in a minute as the brake on launches lets through."""
    world = World()
    await world.up(scaled(most=30, target=0.1))
    world.traffic["chat"] = Traffic(3.0, SECONDS_EACH)
    for minute in range(1, 4):
        before = len(world.cloud.launches)
        await world.run(60)
        assert len(world.cloud.launches) - before <= MOST_LAUNCHES_PER_MINUTE + 1, f"minute {minute}"
    await ready_becomes(world, 30, limit=120)
    nothing_failed(world)


async def test_who_makes_room_for_a_larger_one_is_a_move_of_the_day() -> None:
    """Two small ones cost more than a large one, one costs less: whoever watches next counts the exchange."""
    small, large = (ShapeCatalogue.packaged().accelerated(name, 1, None, None) for name in ("L4", "A100-80GB"))
    world = World(places={})
    world.offers.put(offer("sky/se", usd=1.0, on=small))
    world.offers.put(offer("sky/fr", usd=1.5, on=large))
    world.carbon.hold("SE", 100.0)
    world.carbon.hold("FR", 100.0)
    wanted = ResourceRequest(accelerators=(Accelerators("L4", 1), Accelerators("A100-80GB", 1)))
    rules = replace(RULES, min_dwell=timedelta(minutes=1))
    cheap = Policy(name="cheap", objective=Objective.CHEAPEST, max_extra_cost_fraction=None)
    model = ModelSpec("Qwen/Qwen3-8B", served_name="chat")
    await world.up(chat(model=model, resources=wanted, scaling=Scaling(1, 4), migration=rules, policy=cheap))
    (old,) = (r.name for r in world.ready())
    world.traffic["chat"] = Traffic(20.0, seconds=1.0)
    await world.run(120)
    assert recent_moves(world.store, "chat", world.now) == ()

    world.traffic["chat"] = Traffic(120.0, seconds=1.0)
    await world.until(lambda: any(r.replaces == old for r in world.ready()))
    (decision,) = (d for d in world.store.decisions("chat") if d.exchanged)
    assert decision.exchanged == old
    assert recent_moves(world.store, "chat", world.now) == (decision.at,)
