"""A day with a service that survives the loss of any one region, by the real controller."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import replace

from orchestrator.control.usecases import service_status
from orchestrator.domain.price import Market
from orchestrator.domain.records import OperationState
from orchestrator.domain.replica import LIVE, ReplicaState
from orchestrator.domain.service import ServiceSpec, Survives
from orchestrator.domain.survival import left_after_a_loss
from tests.scenario.test_spot import SpotWorld
from tests.scenario.world import chat, only

A_DAY_SECONDS = 86_400.0
RATE = 60.0
"""A grid minute in each second: the day of the story is 24 minutes of looks."""


def surviving(replicas: int = 2) -> ServiceSpec:
    """Make a service that may stand in three regions."""
    return replace(chat(replicas, placement=only("se", "fr", "de")), survives=Survives.REGION)


def where(world: SpotWorld) -> Tally[str]:
    """How many serve in each region."""
    return Tally(r.region.partition("/")[2] for r in world.ready())


def stands(world: SpotWorld, **counts: int) -> Callable[[], bool]:
    """Return whether exactly these serve, and nobody else lives."""
    return lambda: (
        where(world) == counts and len([r for r in world.replicas() if r.state in LIVE]) == sum(counts.values())
    )


async def test_a_region_goes_down_and_enough_serve_all_day() -> None:
    """Two are needed and three stand apart. One region dies: two serve at every look, and spares come elsewhere.

    When the region is back, the service stands as it did, with no more replicas than that takes.
    """
    world = SpotWorld(rate=RATE)
    world.start()
    asked = await world.deploy(surviving())
    await world.until(stands(world, se=1, fr=1, de=1))
    await world.until(lambda: world.operation(asked).state is OperationState.DONE)
    (status,) = await service_status(world.runtime, "chat")
    assert status.wanted == 2
    assert status.survival is not None
    assert status.survival.is_kept

    world.close("se", market=Market.ON_DEMAND)
    for one in world.ready():
        if one.region == "sky/se":
            world.preempt(one.name)
    fewest, seen = 3, False
    for _ in range(120):
        await world.step()
        fewest = min(fewest, len(world.ready()))
        (status,) = await service_status(world.runtime, "chat")
        seen = seen or (status.survival is not None and status.survival.too_few_without == ("sky/de", "sky/fr"))
    assert fewest == 2
    assert seen, "nobody was told that the promise was not kept for a while"
    assert where(world) == {"fr": 2, "de": 2}, world.picture()

    world.shut.clear()
    end = world.clock.monotonic() + A_DAY_SECONDS / RATE
    while world.clock.monotonic() < end:
        await world.step(5)
        assert left_after_a_loss(r.region for r in world.ready()) >= 2, world.picture()
    assert stands(world, se=1, fr=1, de=1)(), world.picture()
    assert not world.store.operations()
    assert not world.store.intents(open_only=True)
    assert not [r for r in world.all_replicas() if r.state is ReplicaState.FAILED and r.region != "sky/se"]
