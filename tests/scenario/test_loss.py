"""Losing replicas: out of the traffic at once, replaced, and never ended while it may still serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.control.runtime import Tuning
from orchestrator.domain.records import Event, EventKind
from orchestrator.domain.replica import ReplicaState
from orchestrator.errors import NoCapacity, ProviderError
from tests.builders import HOUR, SECOND
from tests.scenario.world import DRAIN, FULL, Traffic, World, chat, only

GONE: dict[str, Callable[[World, str], None]] = {"killed": World.murder, "preempted": World.preempt}


@pytest.mark.parametrize("kill", GONE)
async def test_a_replica_whose_machine_is_gone_is_out_of_the_traffic_at_the_next_look(kill: str) -> None:
    """And it is replaced; the others serve on."""
    world = World()
    await world.up(chat(2))
    first, second = [r.name for r in world.ready()]
    world.traffic["chat"] = Traffic(2.0, 4.0)
    await world.run(10)
    GONE[kill](world, first)
    await world.step()

    assert world.routed() == {second: FULL}
    assert world.replica(first).state is ReplicaState.LOST

    await world.settle(limit=15)

    assert len(world.ready()) == 2
    assert len(world.cloud.launches) == 3
    assert world.refused == 0
    world.check_at_rest()


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_is_set_holds_up_no_replacement(hours: int) -> None:
    """Set back, it finds the launches of the hour before it: they are no younger for that."""
    world = World()
    await world.up(chat(12))
    await world.run(120, every=5.0)
    world.clock.present += hours * HOUR
    await world.run(10)
    for replica in world.ready()[:2]:
        world.preempt(replica.name)
    await world.step()
    assert len(world.ready()) == 10

    await world.settle(limit=30)


@pytest.mark.parametrize("looks", [1, 2])
async def test_a_health_blip_changes_nothing(looks: int) -> None:
    """An engine that does not answer for less than the limit keeps its place and its traffic."""
    world = World()
    await world.up(chat())
    name = world.the_replica().name
    table = world.table()
    for _ in range(5):
        world.sick.add(name)
        await world.run(looks)
        world.sick.clear()
        await world.run(2)

    assert world.the_replica().name == name
    assert world.table() == table
    assert len(world.cloud.launches) == 1


async def test_a_replica_that_is_too_busy_for_us_keeps_its_place() -> None:
    """Its health route times out for minutes while its clients get their answers: nothing is wrong with it."""
    world = World()
    await world.up(chat(2))
    busy = world.ready()[0].name
    table = world.table()
    world.traffic["chat"] = Traffic(4.0, 2.0)
    await world.run(10)
    world.deaf.add(busy)
    await world.run(180)

    assert world.replica(busy).state is ReplicaState.READY
    assert world.table() == table
    assert world.severed == []

    world.traffic.clear()  # from here on nobody has an answer of it, either
    await world.until(lambda: world.replica(busy).state is ReplicaState.LOST, limit=10)


async def test_a_gateway_that_was_started_anew_vouches_for_nobody() -> None:
    """Its counters begin at nothing, and fewer answers than before are no answers."""
    world = World()
    await world.up(chat())
    name = world.the_replica().name
    world.traffic["chat"] = Traffic(2.0, 1.0)
    await world.run(10)
    world.traffic.clear()
    await world.run(5)
    world.sick.add(name)
    await world.run(1)
    world.gateway_restarts()

    await world.until(lambda: world.replica(name).state is ReplicaState.LOST, limit=5)


async def test_a_silent_replica_is_lost_and_replaced_but_its_streams_get_their_time() -> None:
    """Its machine runs and holds streams: it is not ended before the drain limit, but right after it."""
    world = World()
    await world.up(chat())
    name = world.the_replica().name
    world.traffic["chat"] = Traffic(2.0, 4.0)
    await world.run(10)
    world.sick.add(name)
    await world.until(lambda: world.replica(name).state is ReplicaState.LOST, limit=5)

    assert world.routed() == {}
    assert world.in_flight(name) > 0

    await world.until(lambda: len(world.ready()) == 1, limit=15)
    await world.until(lambda: name not in world.cloud.existing(), limit=60)
    await world.step()
    ((severed, streams, drained),) = world.severed

    assert severed == name
    assert streams > 0
    assert DRAIN <= drained <= DRAIN + 5 * SECOND
    await world.settle()
    world.check_at_rest()


async def test_a_silent_replica_without_streams_is_ended_soon() -> None:
    """There is nothing to wait for."""
    world = World()
    await world.up(chat())
    name = world.the_replica().name
    world.sick.add(name)
    await world.until(lambda: name not in world.cloud.existing(), limit=10)
    await world.settle()
    world.check_at_rest()


async def test_a_replica_that_comes_back_after_it_was_given_up_is_still_ended() -> None:
    """Lost is final: two replicas in one place would both be paid."""
    world = World()
    await world.up(chat())
    name = world.the_replica().name
    world.sick.add(name)
    await world.until(lambda: world.replica(name).state is ReplicaState.LOST)
    world.sick.clear()
    await world.settle()

    assert world.the_replica().name != name
    world.check_at_rest()


async def test_all_replicas_at_once() -> None:
    """A storm: everything in a region is preempted in one moment, and comes back elsewhere when there is room."""
    world = World()
    await world.up(chat(3))
    world.room["sky/se"] = 0
    for replica in world.ready():
        world.preempt(replica.name)
    await world.settle(limit=30)

    assert world.regions() == ["fr"] * 3
    world.check_at_rest()


async def test_a_provider_that_does_not_answer_proves_nothing() -> None:
    """Two minutes of errors: nothing is lost, nothing is bought, traffic stays; then all is as before."""
    world = World()
    await world.up(chat(2))
    before, table = [r.name for r in world.ready()], world.table()
    for _ in range(120):
        world.cloud.fail_next("describe", ProviderError("timeout"))
        world.cloud.fail_next("describe", ProviderError("timeout"))
        world.cloud.fail_next("inventory", ProviderError("timeout"))
        await world.step()
        world.cloud._failures.clear()

    assert [r.name for r in world.ready()] == before
    assert world.table() == table
    assert len(world.cloud.launches) == 2

    await world.run(5)
    world.check_at_rest()


async def test_a_controller_that_starts_while_the_provider_is_silent_keeps_the_traffic_as_it_is() -> None:
    """What only the provider knows (the engines' keys) is not known yet, so nothing is told to the gateway."""
    world = World()
    await world.up(chat(2))
    table = world.table()
    world.kill()
    world.start()
    for _ in range(60):
        world.cloud.fail_next("describe", ProviderError("timeout"))
        world.cloud.fail_next("describe", ProviderError("timeout"))
        await world.step()
        world.cloud._failures.clear()

    assert world.table().services == table.services

    await world.run(5)

    assert world.table().services == table.services
    assert world.table().version > table.version


async def test_a_replacement_that_cannot_be_placed_is_tried_until_there_is_room() -> None:
    """Stock-out: elsewhere first, then with growing pauses, and at last with success."""
    world = World()
    await world.up(chat(placement=only("se", "fr")))
    world.room.update({"sky/se": 0, "sky/fr": 0})
    world.preempt(world.the_replica().name)
    await world.run(20 * 60, every=2.0)
    asked = [c for c in world.cloud.calls if c.method == "launch"]

    assert world.ready() == []
    assert {r.region for r in world.all_replicas() if r.state is ReplicaState.FAILED} == {"sky/se", "sky/fr"}
    assert len(asked) <= 1 + 2 * 5, "pauses grow: 2, 4, 8 minutes"
    assert "no_feasible_placement" in " ".join(e.text for e in world.events())

    world.room.clear()
    await world.settle(limit=3600, every=5.0)

    assert len(world.ready()) == 1
    world.check_at_rest()


async def test_a_sold_out_region_sends_a_deploy_elsewhere() -> None:
    """The second best place serves; the first is left alone for a while."""
    world = World()
    world.start()
    world.room["sky/se"] = 1
    await world.deploy(chat(2))
    await world.settle()

    assert world.regions() == ["fr", "se"]
    assert [r.state for r in world.all_replicas() if r.reason.startswith(NoCapacity.code)] == [ReplicaState.FAILED]
    world.check_at_rest()


@pytest.mark.parametrize("died", GONE)
async def test_the_old_machine_dies_in_the_moment_of_the_hand_over(died: str) -> None:
    """Lost and drained in one look: the look goes on, the new one takes all."""
    world = World()
    await world.up(chat())
    old = world.the_replica().name
    await world.migrate("de")
    await world.until(lambda: len(world.routed()) == 2 and max(world.routed().values()) == FULL)
    await world.until(lambda: {r.weight_percent for r in world.ready()} == {FULL})
    for seconds in range(5):
        saved = world.replica(old).state
        if saved is not ReplicaState.READY:
            break
        if seconds == 3:
            GONE[died](world, old)
        await world.step()
    await world.settle()

    assert world.regions() == ["de"]
    assert not [e for e in world.events() if "look failed" in e.text]
    world.check_at_rest()


async def test_what_its_provider_cannot_log_in_to_serves_on_with_its_key() -> None:
    """SkyPilot shows a machine as starting, without address and key, when its way there is cut."""
    world = World()
    world.cloud.key_file = Path("/keys/of-it")
    await world.up(chat(2))
    blurred = world.ready()[0].name
    table = world.table()
    renewals = [c for c in world.cloud.calls if c.method == "renew"]
    world.cloud.blur(blurred)
    world.traffic["chat"] = Traffic(2.0, 1.0)
    await world.run(3600, every=10.0)

    assert world.replica(blurred).state is ReplicaState.READY
    assert world.table() == table
    assert {u.api_key_file for s in table.services for u in s.upstreams} == {"/keys/of-it"}
    assert len([c for c in world.cloud.calls if c.method == "renew" and c.subject == blurred]) > len(renewals)


@pytest.mark.parametrize("anew", [False, True])
async def test_what_its_provider_cannot_log_in_to_is_lost_when_it_is_silent(*, anew: bool) -> None:
    """A machine that was stopped, say: it was starting for ever. ``anew``: for a controller that never saw it well."""
    world = World()
    await world.up(chat(2))
    blurred = world.ready()[0].name
    world.cloud.blur(blurred)
    world.sick.add(blurred)
    if anew:
        world.kill()
        world.start()
    await world.until(lambda: world.replica(blurred).state is ReplicaState.LOST, limit=5)
    await world.settle()
    world.check_at_rest()


async def test_a_controller_that_begins_with_such_a_machine_leaves_the_table_as_it_is() -> None:
    """Nobody has told it the key: a table without it would lock the gateway out."""
    world = World()
    world.cloud.key_file = Path("/keys/of-it")
    await world.up(chat(2))
    blurred = world.ready()[0].name
    table = world.table()
    world.cloud.blur(blurred)
    world.kill()
    world.start()
    await world.run(30)

    assert world.table().services == table.services

    world.cloud.blur(blurred, blurred=False)
    await world.run(5)
    assert {u.api_key_file for s in world.table().services for u in s.upstreams} == {"/keys/of-it"}


async def test_a_controller_without_the_setting_of_a_cloud_leaves_what_serves_there_alone() -> None:
    """Another folder, another shell: nobody knows the keys there, and a table without them locks all out."""
    world = World()
    world.cloud.key_file = Path("/keys/of-it")
    await world.up(chat(2))
    table = world.table()
    world.kill()
    world.runtime = replace(world.runtime, provisioners={})
    world.start()
    await world.run(60)

    assert world.table().services == table.services
    assert len(world.ready()) == 2


async def test_nobody_is_given_up_where_nobody_can_be_heard() -> None:
    """Several that fall silent at once: it is rather we that are cut off, and no client is failed. It is said once."""
    world = World()
    await world.up(chat(2))
    table = world.table()
    names = {r.name for r in world.ready()}
    world.deaf |= names
    await world.run(600)

    assert {r.name for r in world.ready()} == names
    assert world.table() == table
    assert [e.text for e in warnings(world)] == [
        "none of 2 replicas that should answer us does: nobody is given up who fails no client"
    ]

    world.deaf.clear()
    await world.run(5)

    assert [e.text for e in warnings(world)][1:] == ["replicas can be heard again"]
    assert len(world.cloud.launches) == 2


async def test_who_fails_its_clients_is_given_up_though_nobody_can_be_heard() -> None:
    """Engines that all hang say nothing, and the gateway's counters say enough."""
    world = World()
    await world.up(chat(2))
    names = {r.name for r in world.ready()}
    world.traffic["chat"] = Traffic(4.0, 1.0)
    await world.run(10)
    world.sick |= names
    await world.until(lambda: not names & {r.name for r in world.ready()}, limit=30)
    await world.until(lambda: len(world.ready()) == 2, limit=60)
    world.traffic.clear()
    await world.settle()
    world.check_at_rest()


async def ask(world: World, requests: int) -> None:
    """Ask the service so many times, once per look."""
    world.traffic["chat"] = Traffic(1.0, 1.0)
    await world.run(requests)
    world.traffic.clear()


async def test_three_rounds_of_failed_clients_are_enough_however_much_silence_is_borne() -> None:
    """A health route may be late many times; where nobody is heard, a client that is failed proves more."""
    world = World(tuning=Tuning(health_failures_until_lost=15))
    await world.up(chat(2))
    world.sick |= {r.name for r in world.ready()}
    await world.run(60)
    assert len(world.ready()) == 2
    await ask(world, 3)
    assert not world.ready()

    await world.until(lambda: len(world.ready()) == 2, limit=60)
    await world.settle()
    world.check_at_rest()


async def test_a_request_or_two_that_fail_prove_nothing() -> None:
    """They may have been broken themselves. Nor do more of them, where others are answered in between."""
    world = World(tuning=Tuning(health_failures_until_lost=15))
    await world.up(chat(2))
    names = {r.name for r in world.ready()}
    world.deaf |= names
    await world.run(60)
    for _ in range(5):
        world.sick |= names
        await ask(world, 2)
        await world.run(20)
        world.sick.clear()
        await ask(world, 5)

    assert {r.name for r in world.ready()} == names


async def test_whoever_falls_silent_while_another_is_heard_is_lost() -> None:
    """One service's engine vouches for our own ears, of another service's too."""
    world = World()
    await world.up(chat(1))
    await world.up(chat(1, name="other"))
    (name,) = [r.name for r in world.ready() if r.service == "chat"]
    world.sick.add(name)
    await world.until(lambda: world.replica(name).state is ReplicaState.LOST, limit=5)


async def test_a_silence_that_ends_soon_is_not_told() -> None:
    """A blip of all engines at once is no news."""
    world = World()
    await world.up(chat(2))
    world.deaf |= {r.name for r in world.ready()}
    await world.run(2)
    world.deaf.clear()
    await world.run(5)

    assert not warnings(world)


def warnings(world: World) -> list[Event]:
    """Return what was warned of."""
    return [e for e in world.store.events() if e.kind is EventKind.WARNING]
