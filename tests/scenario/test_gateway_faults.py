"""The gateway away, restarted, behind, ahead: it serves on, and nothing that it may still need is ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.routing import RoutingTable
from orchestrator.errors import ProviderError
from tests.scenario.test_migration import AT_ONCE, BY_HAND, until_move_begins
from tests.scenario.world import FULL, Traffic, World, chat


def versions(world: World) -> list[int]:
    """Versions of all tables that the gateway ever took."""
    return [t.version for t in world.gateway.published]


@pytest.mark.parametrize("away_at", range(0, 40, 4))
async def test_a_gateway_that_cannot_be_told_anything_is_not_overtaken(away_at: int) -> None:
    """At any moment of a move, for ten minutes: whatever its table says keeps running; then the move goes on."""
    world = World()
    await world.up(chat(migration=BY_HAND))
    world.traffic["chat"] = Traffic(2.0, 4.0)
    await world.migrate("de")
    await world.run(away_at)
    world.gateway_is_away()
    serving = {name for name in world.upstreams() if name in world.cloud.existing()}
    for _ in range(100):
        await world.step(6.0)

        assert serving <= world.cloud.existing(), world.picture()

    assert world.refused == 0
    assert not world.severed

    world.gateway_is_back()
    await world.settle()

    assert world.regions() == ["de"]
    assert not world.severed
    assert world.refused == 0
    assert versions(world) == sorted(set(versions(world)))
    world.check_at_rest()


async def test_a_gateway_that_is_away_at_the_first_deploy_gets_its_table_later() -> None:
    """Publishing is repeated until it succeeds; only then is the deploy done."""
    world = World()
    world.start()
    world.gateway_is_away()
    operation = await world.deploy(chat())
    await world.run(60)

    assert [r.state for r in world.replicas()] == [ReplicaState.READY]
    assert world.store.operations()[0].id == operation.id

    world.gateway_is_back()
    await world.settle(limit=5)
    world.check_at_rest()


async def test_requests_that_arrive_before_the_gateway_was_told_get_their_whole_time() -> None:
    """The drain limit counts from the moment from which nothing new comes, not from the wish."""
    world = World()
    await world.up(chat(2))
    world.traffic["chat"] = Traffic(1.0, 25.0)
    await world.run(30)
    await world.deploy(chat(1))
    await world.until(lambda: bool(world.replicas(state=ReplicaState.DRAINING)))
    world.gateway_is_away()
    await world.run(120)
    world.gateway_is_back()
    await world.settle()

    assert not world.severed
    world.check_at_rest()


async def test_a_lost_replica_is_not_ended_before_the_gateway_knows() -> None:
    """It answers no health check, but its old table sends requests there, and they may be answered."""
    world = World()
    await world.up(chat(2))
    name = world.ready()[0].name
    world.gateway_is_away()
    world.sick.add(name)
    await world.until(lambda: world.replica(name).state is ReplicaState.LOST)
    await world.run(120)

    assert name in world.cloud.existing()

    world.gateway_is_back()
    await world.settle()

    assert name not in world.cloud.existing()
    world.check_at_rest()


async def test_taking_down_does_not_wait_for_a_gateway_that_is_gone() -> None:
    """Nobody shall serve any more: past the drain limit everything is ended."""
    world = World()
    await world.up(chat(2))
    world.gateway_is_away()
    world.down()
    await world.until(lambda: not world.cloud.existing(), limit=60)
    world.gateway_is_back()
    await world.settle()
    world.check_at_rest()


@pytest.mark.parametrize("keeps_table", [True, False])
async def test_a_gateway_that_was_restarted_gets_the_table_again(keeps_table: bool) -> None:
    """With an empty memory at the next look; counters that began anew upset nothing."""
    world = World()
    await world.up(chat(2))
    table = world.table()
    world.traffic["chat"] = Traffic(2.0, 4.0)
    await world.run(20)
    world.gateway_restarts(keeps_table=keeps_table)
    await world.run(2)

    assert world.table().services == table.services
    assert (world.table().version > table.version) is not keeps_table
    await world.run(30)
    assert len(world.cloud.launches) == 2


@pytest.mark.parametrize("keeps_table", [True, False])
async def test_a_gateway_that_restarts_during_a_move_does_not_confuse_it(keeps_table: bool) -> None:
    """At every second of the move."""
    for at in range(2, 34, 2):
        world = World()
        await world.up(chat(migration=BY_HAND))
        old = world.the_replica().name
        await world.migrate("de")
        await world.run(at)
        world.gateway_restarts(keeps_table=keeps_table)
        world.traffic["chat"] = Traffic(2.0, 4.0)
        await world.settle()

        assert world.regions() == ["de"], at
        assert world.replica(old).state is ReplicaState.TERMINATED
        assert not world.severed
        world.check_at_rest()


@pytest.mark.parametrize("ahead", [1, 7, 1000])
async def test_a_database_that_was_set_back_still_steers_the_gateway(ahead: int) -> None:
    """The gateway's table is newer than anything that we remember: we number on from there."""
    world = World()
    await world.up(chat())
    newest = world.table().version + ahead
    await world.gateway.publish(RoutingTable(newest, world.now, world.table().services))
    world.preempt(world.the_replica().name)
    await world.settle()

    assert world.table().version > newest
    assert world.routed() == {world.the_replica().name: FULL}
    world.check_at_rest()


async def test_a_gateway_of_several_processes_of_which_one_is_far_ahead_is_steered_too() -> None:
    """The lowest version is reported, the highest refuses: we find a number that all of them take."""
    world = World()
    await world.up(chat())
    real = world.gateway
    status = real.status

    async def lowest() -> object:
        return replace(await status(), applied_version=2)

    await real.publish(RoutingTable(5000, world.now, world.table().services))
    real.status = lowest  # type: ignore[assignment,method-assign]
    world.preempt(world.the_replica().name)
    await world.run(40)

    assert world.table().version > 5000
    assert set(world.routed()) == {r.name for r in world.ready()}


async def test_no_table_without_a_service_of_which_nothing_is_known_yet() -> None:
    """A controller that starts anew, while the provider is silent about one service, never tells the gateway less."""
    world = World()
    await world.up(chat())
    await world.up(chat(name="talk"))
    world.kill()
    world.start()
    for _ in range(20):
        world.cloud.fail_next("describe", ProviderError("timeout"))
        await world.step()

        assert {s.service: len(s.upstreams) for s in world.table().services} == {"chat": 1, "talk": 1}

    await world.run(2)
    world.check_at_rest()


async def test_a_move_waits_for_a_gateway_but_the_policy_does_not_pile_up_more() -> None:
    """One replacement stands by while the gateway is away, however long."""
    world = World()
    world.grid("SE", lambda hour: 30.0 if hour < 0 else 500.0)
    await world.up(chat(migration=AT_ONCE))
    old = world.the_replica().name
    await world.run(3600, every=60.0)
    await until_move_begins(world, old)
    world.gateway_is_away()
    await world.run(1800, every=10.0)

    assert len(world.cloud.launches) == 2
    assert old in world.cloud.existing()

    world.gateway_is_back()
    await world.settle()
    world.check_at_rest()
