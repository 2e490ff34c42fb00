"""A controller that was replaced while it slept wakes up: it can write nothing, and nothing is bought twice."""

from __future__ import annotations

import pytest

from orchestrator.domain.records import OperationState, ServiceState
from orchestrator.errors import LeaseHeld
from tests.scenario.crash import Nap
from tests.scenario.test_crash_points import STORIES, Story, check, outcome, service
from tests.scenario.world import World, chat


async def play(story: Story, sleeps_at: int | None) -> tuple[World, Nap, bool]:
    """Tell a story; the controller sleeps before that call until another one has done all the work.

    Returns whether it noticed, when it woke up, that its turn was over.
    """
    replicas, begin = story
    nap = Nap()
    world = World(wrap=nap.wrap)
    world.cloud.start_seconds = 1.0
    if replicas:
        await world.up(service(replicas))
    else:
        world.start()
    await begin(world)

    async def meanwhile() -> None:
        world.start()
        await world.run(5)
        await world.settle()

    nap.arm(sleeps_at, meanwhile)
    noticed = False
    try:
        await world.run(4, check=False)
        while not world.is_settled():
            await world.step(check=False)
    except LeaseHeld:
        noticed = True
    calls = nap.count
    await world.run(70)
    await world.settle()
    nap.count = calls
    return world, nap, noticed


@pytest.mark.parametrize("name", ["deploy", "migrate", "replace_lost", "down"])
async def test_who_wakes_up_after_his_turn_changes_nothing(name: str) -> None:
    """Before each call to a provider or the gateway: the world is as if he had never woken up."""
    story = STORIES[name]
    undisturbed, nap, _ = await play(story, None)
    expected, calls = outcome(undisturbed), nap.count
    noticed = 0

    for number in range(1, calls + 1):
        world, nap, has_noticed = await play(story, number)
        noticed += has_noticed

        where = f"{name}, asleep before call {number} of {calls} ({nap.where})"
        assert outcome(world) == expected, f"{where}\n{world.picture()}"
        check(world)

    assert noticed > 0


async def test_a_launch_that_leaves_after_the_service_was_taken_down_is_found_and_ended() -> None:
    """The worst moment: the row says that it ended and left nothing, and the call is still on its way."""
    nap = Nap()
    world = World(wrap=nap.wrap)
    world.start()
    operation = await world.deploy(chat())
    await world.step()

    async def meanwhile() -> None:
        journal = world.store.claim("the next one", world.now)
        journal.set_operation(operation.id, OperationState.FAILED, world.now)
        journal.set_service_state("chat", ServiceState.GOING_DOWN, world.now)
        world.start()
        await world.settle()

        assert world.cloud.launches == []

    nap.arm("provisioner.launch", meanwhile)
    with pytest.raises(LeaseHeld):
        await world.run(10, check=False)

    assert len(world.cloud.existing()) == 1

    await world.run(70, check=False)

    assert world.cloud.existing() == frozenset()
    world.check_at_rest()


async def test_an_old_controller_learns_of_its_end_at_its_next_write() -> None:
    """It looks on until then, and changes nothing."""
    world = World()
    await world.up(chat())
    old = world.kill()
    assert old is not None
    world.start()
    await world.run(15)
    before = outcome(world)
    with pytest.raises(LeaseHeld):
        await old.tick()
    assert outcome(world) == before
