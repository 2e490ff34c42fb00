"""A simulated week of swinging grids, misfortunes and whims: always safe, and in order again when it is over.

A seed that fails is named in the test's id, and what happened is printed: the same seed is the same week again.
"""

from __future__ import annotations

import math
from random import Random

import pytest

from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.records import EventKind, ServiceState
from orchestrator.errors import GreenctlError
from tests.builders import HOUR
from tests.scenario.storm import REGIONS, Storm
from tests.scenario.world import RULES, Traffic, World, chat

RATE = 240.0
"""A grid hour takes fifteen seconds."""

WEEK_SECONDS = 7 * 24 * 3600 / RATE
LOOK_SECONDS = 3.0


def swinging(random: Random) -> World:
    """Three grids with a day, a level and noise of their own."""
    world = World(rate=RATE)
    for region, level in zip(REGIONS, (90.0, 110.0, 200.0), strict=True):
        swing, phase, noise = random.uniform(0.2, 0.8), random.uniform(0, 24), random.uniform(0.0, 0.3)
        values = [
            level * (1 + swing * math.sin((hour - phase) * math.pi / 12)) * random.uniform(1 - noise, 1 + noise)
            for hour in range(40 * 24)
        ]
        world.grid(region.upper(), lambda hour, values=values: values[hour], days=9, history_hours=8 * 24)
    return world


def moves_in_a_day(world: World) -> int:
    """Voluntary moves that were decided on within the last grid day."""
    decided = world.store.decisions("chat", limit=200)
    return sum(
        d.kind is DecisionKind.MOVE and d.actor == "policy" and bool(d.comparisons) and world.now - d.at < 24 * HOUR
        for d in decided
    )


async def live_through(seed: int, per_look: float) -> tuple[World, Storm]:
    """Live through a week; raise with everything that is known when a promise is broken."""
    random = Random(seed)
    world = swinging(random)
    storm = Storm(world, random, per_look=per_look)
    await world.up(chat(2))
    world.traffic["chat"] = Traffic(1.0, 5.0)
    failed_looks = 0
    try:
        while world.clock.elapsed < WEEK_SECONDS:
            await storm.blow()
            try:
                await world.step(LOOK_SECONDS)
            except GreenctlError:
                failed_looks += 1
            assert moves_in_a_day(world) <= RULES.max_moves_per_day
        storm.calm()
        await world.settle(limit=1800, every=LOOK_SECONDS)
        await world.run(300, every=LOOK_SECONDS)  # until the last create that was late has shown itself
        await world.settle(limit=900, every=LOOK_SECONDS)
        world.check_at_rest()
    except AssertionError as error:
        history = "\n  ".join(storm.log[-40:])
        raise AssertionError(f"seed {seed}\n  {history}\n{error}") from error
    assert failed_looks <= len(storm.log)
    return world, storm


@pytest.mark.parametrize("seed", range(4))
async def test_a_rough_week(seed: int) -> None:
    """A misfortune every few grid hours."""
    world, storm = await live_through(seed, per_look=0.15)
    record = world.store.service("chat")

    assert record is not None
    assert len(storm.log) > 80
    if record.state is ServiceState.ACTIVE:
        assert len(world.ready()) == record.spec.scaling.min_replicas


async def test_a_quiet_week() -> None:
    """Nothing goes wrong: no request is refused, no replica is lost, and the policy moves now and then."""
    world, storm = await live_through(99, per_look=0.0)

    assert storm.log == []
    assert len(world.events(EventKind.MIGRATION_DONE)) > 4
    assert world.refused == 0
    assert not [e for e in world.events() if "warning" in e.kind]
    assert {r.state.value for r in world.all_replicas()} <= {"ready", "terminated"}
