"""Several services under one controller: one's trouble is not another's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.control.runtime import Tuning
from orchestrator.domain.records import OperationState, ServiceState
from orchestrator.errors import PriceUnavailable
from orchestrator.planner.rush import MOST_ON_THE_WAY
from tests.scenario.test_migration import AT_ONCE, BY_HAND, dirty_from
from tests.scenario.world import Traffic, World, chat


async def both(tuning: Tuning | None = None, **changes: Any) -> World:
    """Two services with traffic."""
    world = World(tuning=tuning)
    await world.up(chat(2, migration=BY_HAND, **changes))
    await world.up(chat(2, name="talk", migration=BY_HAND))
    for name in ("chat", "talk"):
        world.traffic[name] = Traffic(1.0, 4.0)
    await world.run(10)
    return world


async def test_a_service_goes_down_while_another_one_moves() -> None:
    """Both requests are done; nobody's request is cut or refused."""
    world = await both()
    move = await world.migrate("de", service="talk", replica="r0")
    await world.run(4)
    del world.traffic["chat"]
    down = world.down("chat")
    await world.settle()

    assert world.operation(move).state is OperationState.DONE
    assert world.operation(down).state is OperationState.DONE
    assert world.regions("talk") == ["de", "se"]
    assert {s.service for s in world.table().services} == {"talk"}
    assert world.refused == 0
    assert not world.severed
    world.check_at_rest()


async def test_both_can_be_changed_at_once() -> None:
    """One open request per service, not per installation."""
    world = await both()
    first = await world.deploy(chat(3, migration=BY_HAND))
    second = await world.deploy(chat(1, name="talk", migration=BY_HAND))
    await world.settle()

    assert {world.operation(o).state for o in (first, second)} == {OperationState.DONE}
    assert (len(world.ready("chat")), len(world.ready("talk"))) == (3, 1)
    assert world.refused == 0
    world.check_at_rest()


def break_offers(world: World) -> None:
    """Let every look at one service meet what nobody expected."""
    real = world.offers.offers
    record = world.store.service("chat")
    assert record is not None
    broken = record.spec.resources

    async def offers(request: Any, now: Any) -> Any:
        if request == broken:
            raise RuntimeError("nobody expected this")
        return await real(request, now)

    world.offers.offers = offers  # type: ignore[method-assign]


async def test_a_service_whose_look_fails_does_not_stop_the_others() -> None:
    """An error that nobody expected, in one service only: the other is looked at, repaired and routed meanwhile."""
    world = await both(resources=replace(chat().resources, min_vcpus=1.0))
    break_offers(world)
    lost = world.ready("talk")[0].name
    world.preempt(lost)
    failures = 0
    for _ in range(60):
        try:
            await world.step(check=False)
        except RuntimeError:
            failures += 1
        if world.clock.elapsed > 30:
            assert lost not in world.upstreams("talk")

    assert len(world.ready("talk")) == 2
    assert len(world.upstreams("talk")) == 2
    assert len(world.upstreams("chat")) == 2, "what cannot be looked at keeps its routes"
    assert failures <= 8, "it is left alone for longer and longer"
    told = [e for e in world.events(service="chat") if "look failed" in e.text]
    assert len(told) == 1
    assert world.refused == 0


PRICES: dict[str, Callable[[World], None]] = {
    "prices": lambda world: world.offers.fail("the list cannot be read"),
    "signals": lambda world: world.carbon.fail("the source does not answer"),
}


@pytest.mark.parametrize("missing", PRICES)
async def test_a_service_can_be_taken_down_whatever_is_missing(missing: str) -> None:
    """Neither prices nor signals are needed to end something."""
    world = await both()
    PRICES[missing](world)
    world.down("chat")
    await world.settle(limit=60)

    record = world.store.service("chat")
    assert record is not None
    assert record.state is ServiceState.DOWN
    assert len(world.ready("talk")) == 2
    assert isinstance(world.offers._failure, PriceUnavailable | None)
    world.check_at_rest()


class Hanging:
    """Health routes that neither answer nor refuse, until they are given up; the other engines answer as before."""

    def __init__(self, world: World, endpoints: set[str]) -> None:
        self.asked = 0
        self.given_up = asyncio.Event()
        self._endpoints, self._answers = endpoints, world.probe.is_healthy
        world.probe.is_healthy = self.is_healthy  # type: ignore[method-assign]

    async def is_healthy(self, endpoint: str) -> bool:
        if endpoint not in self._endpoints:
            return await self._answers(endpoint)
        self.asked += 1
        await self.given_up.wait()
        return False


async def test_a_service_whose_engines_hang_holds_up_nobody() -> None:
    """The others are looked at as always, and what hangs is judged by answers alone: after three it is lost."""
    world = await both(tuning=Tuning(look_patience=timedelta(0)))
    one, other = world.ready()
    assert one.endpoint is not None
    hanging = Hanging(world, {one.endpoint})
    world.sick.add(one.name)
    await world.run(60)

    assert hanging.asked == 1
    assert len(world.ready()) == 2, "nothing is known of it, so nothing is concluded"
    up = await world.deploy(chat(3, name="talk", migration=BY_HAND))
    await world.until(lambda: world.operation(up).state is OperationState.DONE)
    assert not hanging.given_up.is_set()

    hanging.given_up.set()
    await world.until(lambda: one.name not in {r.name for r in world.ready()}, limit=10)
    assert hanging.asked == 3
    assert other.name in {r.name for r in world.ready()}
    await world.settle()
    assert len(world.ready()) == 2
    world.check_at_rest()


async def test_an_engine_that_is_too_busy_to_answer_us_in_time_keeps_its_place() -> None:
    """Clients that it answered while our question was open count when that is given up, not only the last ones."""
    world = await both(tuning=Tuning(look_patience=timedelta(0)))
    one = world.ready()[0]
    assert one.endpoint is not None
    hanging = Hanging(world, {one.endpoint})
    for _ in range(5):
        hanging.given_up.clear()
        await world.run(10)
        traffic = world.traffic.pop("chat")
        await world.run(6)  # nobody is answered any more when the question is given up
        hanging.given_up.set()
        await world.run(1)
        world.traffic["chat"] = traffic

    assert hanging.asked >= 5
    assert one.name in {r.name for r in world.ready()}


@pytest.mark.parametrize("room", [None, 3])
async def test_many_services_go_to_the_same_clean_place_a_few_at_a_time(room: int | None) -> None:
    """All of them want to be there in the same minute, and get there; one that is full is asked by a few of them."""
    world = World()
    world.grid("SE", dirty_from(1))
    names = [f"chat-{n:02d}" for n in range(8)]
    for name in names:
        await world.up(chat(name=name, migration=AT_ONCE))
    assert {r for name in names for r in world.regions(name)} == {"se"}
    if room is not None:
        world.room["sky/fr"] = room
    world.cloud.start_seconds = 120.0
    asked: list[int] = []
    await world.run(118 * 60, every=60.0)
    for _ in range(15):
        await world.run(60.0, every=20.0)
        asked.append(sum(r.region == "sky/fr" for name in names for r in world.all_replicas(name)))

    assert next(n for n in asked if n) == MOST_ON_THE_WAY, "all eight would have gone at once"
    there = [name for name in names if world.regions(name) == ["fr"]]
    assert len(there) == (room or len(names))
    assert world.refused == 0
    assert not world.severed
