"""Several services under one controller: one's trouble is not another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.records import OperationState, ServiceState
from orchestrator.errors import PriceUnavailable
from tests.scenario.test_migration import BY_HAND
from tests.scenario.world import Traffic, World, chat


async def both(**changes: Any) -> World:
    """Two services with traffic."""
    world = World()
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
