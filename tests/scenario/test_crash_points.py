"""Kill the controller at every call that it makes, start another one, and see that nothing is different in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain.replica import ENDED
from orchestrator.domain.service import ModelSpec, Policy
from tests.scenario.crash import Fuse
from tests.scenario.world import RULES, World, chat

QUICK = replace(RULES, canary_percent=(50, 100), canary_hold=timedelta(seconds=1), enabled=False)
NEAR = Policy(name="near", max_extra_cost_fraction=None, horizon=timedelta(hours=2))
"""Short steps and a short horizon: a run takes few looks, and a look little time."""

PLACES = {"se": (30.0, 1.0), "de": (400.0, 1.0)}


def service(replicas: int = 1, **changes: Any) -> Any:
    """Make the spec of a service that is quick to simulate."""
    return chat(replicas, migration=QUICK, policy=NEAR, **changes)


async def deploy(world: World) -> None:
    """Two replicas where there were none."""
    await world.deploy(service(2))


async def migrate(world: World) -> None:
    """One replica to another place."""
    await world.migrate("de")


async def replace_lost(world: World) -> None:
    """One replica in place of one whose machine is gone."""
    world.preempt(world.the_replica().name)


async def replace_silent(world: World) -> None:
    """One replica in place of one that does not answer."""
    world.sick.add(world.the_replica().name)


async def roll_over(world: World) -> None:
    """Another model."""
    await world.deploy(service(model=ModelSpec("org/other", served_name="chat")))


async def roll_over_in_vain(world: World) -> None:
    """Another model, which never starts: the old one serves on and is the current one again."""
    broken = ModelSpec("org/broken", served_name="chat")
    await world.deploy(service(model=broken, startup_deadline=timedelta(seconds=6)))
    world.cloud.start_seconds = 10**6


async def scale_down(world: World) -> None:
    """Nothing of the second replica is left."""
    await world.deploy(service(1))


async def down(world: World) -> None:
    """Nothing of the service is left."""
    world.down()


NOTICED_AFTER = 4.0
"""Seconds after which the controller has begun to do something about each of them."""

Story = tuple[int, Callable[[World], Awaitable[None]]]
STORIES: dict[str, Story] = {
    "deploy": (0, deploy),
    "migrate": (1, migrate),
    "replace_lost": (1, replace_lost),
    "replace_silent": (1, replace_silent),
    "roll_over": (1, roll_over),
    "roll_over_in_vain": (1, roll_over_in_vain),
    "scale_down": (2, scale_down),
    "down": (2, down),
}


async def begin(story: Story, fuse: Fuse) -> World:
    """Have the world in which the story begins."""
    replicas, _ = story
    world = World(places=PLACES, wrap=fuse.wrap)
    world.cloud.start_seconds = 1.0
    for region, (grams, _) in PLACES.items():
        world.grid(region.upper(), lambda _, same=grams: same, days=1, history_hours=26)
    if replicas:
        await world.up(service(replicas))
    else:
        world.start()
    return world


async def play(story: Story, kills_at: int | None, again_at: int | None = None) -> tuple[World, Fuse]:
    """Tell a story to its end, with a kill at that call, and perhaps one more during the recovery."""
    fuse = Fuse()
    world = await begin(story, fuse)
    await story[1](world)
    fuse.arm(kills_at)
    await world.run(NOTICED_AFTER)
    for then in (again_at, None):
        while not world.is_settled() and world.controller is not None:
            await world.step()
        if world.controller is not None:
            break
        fuse.arm(then)
        await world.run(1)
        world.start()
        await world.run(NOTICED_AFTER)
    calls = fuse.count
    fuse.disarm()
    if world.controller is None:
        world.start()
    await world.settle(limit=120)
    await world.run(3)
    fuse.count = calls
    return world, fuse


def outcome(world: World) -> dict[str, Any]:
    """Everything that has to be the same in the end, however often the controller died. Names are hashes of times."""
    replicas = world.all_replicas()
    return {
        "services": [(s.name, s.state, s.revision, s.spec_digest) for s in world.store.services()],
        "requests": [(o.kind, o.state, o.error_code) for o in world.store.operations(open_only=False)],
        "replicas": Counter((r.slot, r.region, r.state, r.weight_percent, r.cleaned_up) for r in replicas),
        "routes": sorted((u.region, u.weight, u.draining) for u in world.upstreams().values()),
        "bought": Counter(r.offer.id for r in world.cloud.launches),
        "intents": Counter((i.kind, i.state) for i in world.store.intents("chat")),
    }


def check(world: World) -> None:
    """Check what has to hold in the end, beyond the checks after every look."""
    world.check_at_rest()
    by_name = {p.replica: p for p in world.store.placements("chat")}
    for replica in world.all_replicas():
        assert (by_name[replica.name].ended_at is not None) == (replica.state in ENDED)
    starts = [(s.replica, s.window.start) for s in world.store.energy("chat")]
    assert len(starts) == len(set(starts))


@pytest.mark.parametrize("name", STORIES)
async def test_a_kill_at_any_call_changes_nothing_in_the_end(name: str) -> None:
    """The same replicas, routes and records as without a kill; bought once, nothing left over, nothing unknown."""
    story = STORIES[name]
    undisturbed, fuse = await play(story, None)
    check(undisturbed)
    expected, calls = outcome(undisturbed), fuse.count
    assert calls > 10

    for number in range(1, calls + 1):
        world, fuse = await play(story, number)

        assert fuse.where, f"{name}: nobody died at call {number} of {calls}"
        assert outcome(world) == expected, f"{name}, killed before call {number} ({fuse.where})\n{world.picture()}"
        check(world)


@pytest.mark.parametrize("name", ["deploy", "migrate", "replace_lost", "down"])
async def test_a_second_kill_during_the_recovery_changes_nothing_either(name: str) -> None:
    """Every seventh call, and after it one of the first two dozen calls of the next process."""
    story = STORIES[name]
    undisturbed, fuse = await play(story, None)
    expected, calls = outcome(undisturbed), fuse.count

    for number in range(1, calls + 1, 7):
        for again_at in (1, 2, 5, 11, 23):
            world, _ = await play(story, number, again_at)
            where = f"{name}, killed before call {number} and call {again_at} after that"
            assert outcome(world) == expected, f"{where}\n{world.picture()}"
            check(world)
