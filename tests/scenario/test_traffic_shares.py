"""Traffic before replicas: what runs anyhow is used where the grid is clean."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from orchestrator.control.shares import SHIFT_EVERY_SECONDS
from orchestrator.control.status import service_status
from orchestrator.domain.records import EventKind
from orchestrator.domain.service import GatewayRules, PlacementRules, Scaling
from orchestrator.planner.split import LEAST_OF_EVEN, MOST_SHIFTED
from tests.scenario.test_migration import BY_HAND
from tests.scenario.world import Traffic, World, chat

APART = PlacementRules(max_per_region=1)


async def two_places(**changes: object) -> World:
    """Two replicas, one of them on a grid that is ten times as dirty, with traffic."""
    world = World()
    world.grid("SE", lambda _: 30.0)
    for zone in ("DE", "FR"):
        world.grid(zone, lambda _: 500.0)
    spec = replace(chat(migration=BY_HAND), scaling=Scaling(2, 2), placement=APART)
    await world.up(replace(spec, **changes))  # type: ignore[arg-type]
    world.traffic["chat"] = Traffic(2.0, 4.0)
    return world


def parts(world: World) -> dict[str, float]:
    """The part of new requests that each region gets by the gateway's table."""
    routed = world.routed()
    where = {r.name: r.region.partition("/")[2] for r in world.ready()}
    return {where[name]: weight / sum(routed.values()) for name, weight in routed.items()}


async def test_traffic_moves_to_the_clean_grid_step_by_step() -> None:
    """A fifth a minute, until the dirty one has what shows that it is well; it is told once, with what it saves."""
    world = await two_places()
    assert parts(world)["se"] == pytest.approx(0.5)
    before = parts(world)["se"]
    seen = [before]
    for _ in range(6):
        await world.run(SHIFT_EVERY_SECONDS, every=2.0)
        seen.append(parts(world)["se"])
    assert all(0 <= b - a <= MOST_SHIFTED + 0.01 for a, b in pairwise(seen))
    assert seen[-1] == pytest.approx(1 - LEAST_OF_EVEN / 2, abs=0.01)
    (event,) = [e for e in world.events(EventKind.GATEWAY) if "traffic moves" in e.text]
    assert "gCO2e/h less than evenly" in event.text
    (status,) = await service_status(world.runtime, "chat")
    assert status.split is not None
    assert status.split.words.startswith("sky/")
    assert "less than evenly" in status.split.words
    assert world.refused == 0


async def test_a_signal_that_goes_dark_brings_traffic_back_to_even() -> None:
    """Unknown is not zero, and not what it was either."""
    world = await two_places()
    await world.run(5 * SHIFT_EVERY_SECONDS, every=5.0)
    assert parts(world)["se"] > 0.9
    world.grid("SE", lambda _: None)
    await world.run(2 * 3600, every=20.0)
    assert parts(world)["se"] == pytest.approx(0.5, abs=0.01)


async def test_round_robin_is_even_whatever_the_grid_says() -> None:
    """Whoever asks for it gets it."""
    world = await two_places(gateway=GatewayRules(routing="round_robin"))
    await world.run(5 * SHIFT_EVERY_SECONDS, every=5.0)
    assert parts(world)["se"] == pytest.approx(0.5)


async def test_a_restart_begins_evenly_and_shifts_again() -> None:
    """What is remembered dies with the process; an even split is always safe to begin with."""
    world = await two_places()
    await world.run(5 * SHIFT_EVERY_SECONDS, every=5.0)
    world.kill()
    world.start()
    await world.run(5.0)
    assert parts(world)["se"] == pytest.approx(0.5)
    await world.run(5 * SHIFT_EVERY_SECONDS, every=5.0)
    assert parts(world)["se"] > 0.9


async def test_a_move_is_made_in_the_same_steps_while_traffic_is_uneven() -> None:
    """Canary steps are parts of a slot's own share, and no other traffic moves meanwhile."""
    world = await two_places()
    await world.run(5 * SHIFT_EVERY_SECONDS, every=5.0)
    dirty = next(r for r in world.ready() if r.region != "sky/se")
    target = "sky/fr" if dirty.region == "sky/de" else "sky/de"
    await world.migrate(target.partition("/")[2], replica=dirty.name)
    await world.until(lambda: target in {r.region for r in world.ready()})
    held = parts(world)["se"]
    await world.until(lambda: dirty.region not in {r.region for r in world.ready()})
    assert parts(world)["se"] == pytest.approx(held, abs=0.02)
    await world.settle()
    assert sum(parts(world).values()) == pytest.approx(1.0)
    assert world.refused == 0
