"""Launches that go wrong in the ways in which real providers have shown it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.records import OperationState
from orchestrator.domain.replica import ReplicaState
from orchestrator.errors import EngineMissing, GreenctlError, PriceUnavailable, ProviderError, ProviderUnavailable
from tests.builders import MINUTE, offer
from tests.scenario.world import World, chat, only

TIMEOUT = ProviderError("the answer did not come in time")


async def test_a_launch_whose_answer_was_lost_leaves_no_second_instance() -> None:
    """It was created although the call failed: that one is ended, the next try has another name, one is left."""
    world = World()
    await world.up(chat())
    world.preempt(world.the_replica().name)
    world.cloud.lose_next_reply(TIMEOUT)
    await world.settle()

    assert len(world.cloud.launches) == 3
    assert len(world.cloud.existing()) == 1
    world.check_at_rest()


@pytest.mark.parametrize("late", [5.0, 45.0, 200.0])
@pytest.mark.parametrize("fault", ["late", "lost_reply_and_late", "lagging_list"])
async def test_an_instance_that_shows_up_late_belongs_to_somebody_or_is_ended(fault: str, late: float) -> None:
    """A create that succeeds long after it was given up is found by its mark and ended."""
    world = World()
    await world.up(chat())
    world.preempt(world.the_replica().name)
    if fault == "lagging_list":
        world.cloud.listing_lag_seconds = late
    else:
        world.cloud.delay_next_launch(late)
    if fault == "lost_reply_and_late":
        world.cloud.lose_next_reply(TIMEOUT)
    await world.settle(limit=900)
    await world.run(late + 150, every=5.0)

    assert len(world.cloud.existing()) == 1
    world.check_at_rest()


@pytest.mark.parametrize("after", [1, 2, 3, 4])
async def test_what_shows_up_after_the_service_was_taken_down_is_ended(after: int) -> None:
    """``down`` during a launch whose instance appears a minute later: it does not outlive the service."""
    world = World()
    world.start()
    world.cloud.delay_next_launch(60.0)
    await world.deploy(chat(placement=only("se")))
    await world.run(after)
    world.down()
    await world.settle()
    await world.run(240, every=5.0)

    assert world.cloud.existing() == frozenset()
    world.check_at_rest()


async def test_a_machine_in_another_region_than_was_asked_for_is_ended_and_never_served_by() -> None:
    """Nothing is sent there, no health check either; another one is launched in its place, and the deploy succeeds."""
    world = World()
    world.start()
    world.cloud.misplace_next_launch("sky/us")
    operation = await world.deploy(chat())
    await world.until(lambda: bool(world.cloud.launches))
    wrong = world.cloud.launches[0].name
    await world.until(lambda: world.replica(wrong).state is ReplicaState.FAILED)

    assert world.replica(wrong).reason == (
        f"wrong_region: it runs in sky/us, and was asked for in {world.replica(wrong).region}"
    )
    assert not [call for call in world.probe.calls if wrong in call[1]]

    await world.settle()

    assert world.operation(operation).state is OperationState.DONE
    assert wrong not in world.cloud.existing()
    assert len(world.cloud.launches) == 2
    world.check_at_rest()


async def test_what_was_refused_the_second_time_and_came_all_the_same_is_known_to_have_run() -> None:
    """The first try went through, its answer was lost, and the price rose before the next: it came to something."""
    world = World(places={"se": (30.0, 1.0)})
    world.start()
    world.cloud.delay_next_launch(45.0)
    world.cloud.lose_next_reply(ProviderUnavailable("the answer did not come"))
    await world.deploy(chat())
    await world.until(lambda: bool(world.cloud.launches))
    world.offers.put(offer("sky/se", usd=3.0))
    name = world.cloud.launches[0].name
    await world.until(lambda: world.replica(name).state is ReplicaState.FAILED)
    assert world.replica(name).reason.startswith("price_moved")
    await world.until(lambda: world.replica(name).cleaned_up)
    assert world.replica(name).came_to_nothing
    await world.run(300, every=5.0)

    assert name not in world.cloud.existing()
    assert world.replica(name).cleaned_up
    assert not world.replica(name).came_to_nothing


async def test_strangers_are_left_alone() -> None:
    """An instance with our mark that no row knows is told of once, after the grace, and never ended."""
    world = World()
    await world.up(chat())
    foreign = await world.plant()
    await world.run(540, every=10.0)
    assert not [e for e in world.events() if foreign in e.text]
    await world.run(1000, every=10.0)

    assert foreign in world.cloud.existing()
    assert len([e for e in world.events() if foreign in e.text]) == 1


@pytest.mark.parametrize("hours", [1, 12])
async def test_a_clock_that_is_set_forward_makes_no_launch_late(hours: int) -> None:
    """Nor does a machine that slept through it: replicas that have been starting for half a minute go on starting."""
    world = World()
    world.start()
    operation = await world.deploy(chat(4))
    await world.until(lambda: {r.state for r in world.replicas()} == {ReplicaState.STARTING})
    world.clock.present += timedelta(hours=hours)
    await world.settle()

    assert world.operation(operation).state is OperationState.DONE
    assert len(world.cloud.launches) == 4
    assert not [r for r in world.all_replicas() if r.state is ReplicaState.FAILED]


@pytest.mark.parametrize("minutes", [1, 30])
async def test_a_controller_that_was_away_counts_the_time_without_it(minutes: int) -> None:
    """Its own time is all that it can measure; what was before that is in the records."""
    world = World()
    world.start()
    world.cloud.start_seconds = 10**6
    operation = await world.deploy(chat(startup_deadline=20 * MINUTE))
    await world.until(lambda: {r.state for r in world.replicas()} == {ReplicaState.STARTING})
    world.kill()
    world.clock.advance(timedelta(minutes=minutes))
    world.start()
    await world.run(10)

    assert (world.operation(operation).state is OperationState.FAILED) is (minutes > 20)


@pytest.mark.parametrize("start_seconds", [10**6])
async def test_a_launch_that_hangs_is_given_up_at_its_deadline(start_seconds: float) -> None:
    """The deploy fails with that word, and what hangs is ended."""
    world = World()
    world.start()
    world.cloud.start_seconds = start_seconds
    operation = await world.deploy(chat(startup_deadline=2 * MINUTE))
    await world.settle()

    closed = world.operation(operation)
    assert (closed.state, closed.error_code) == (OperationState.FAILED, "launch_timed_out")
    assert 120 <= world.clock.elapsed <= 140
    assert world.cloud.existing() == frozenset()
    world.check_at_rest()


@pytest.mark.parametrize("error", [EngineMissing("no vllm"), TIMEOUT])
async def test_a_launch_that_is_refused_fails_the_first_deploy(error: GreenctlError) -> None:
    """With the code of what was wrong; nothing is left."""
    world = World()
    world.start()
    operation = await world.deploy(chat())
    world.cloud.fail_next("launch", error)
    await world.settle()

    assert world.operation(operation).error_code == error.code
    world.check_at_rest()


@pytest.mark.parametrize("stage", [ReplicaState.PROVISIONING, ReplicaState.STARTING])
async def test_an_instance_that_vanishes_while_it_starts_is_replaced(stage: ReplicaState) -> None:
    """Before or after the provider first showed it; there is one in the end."""
    world = World()
    await world.up(chat(startup_deadline=MINUTE))
    world.preempt(world.the_replica().name)
    await world.until(lambda: bool(world.replicas(state=stage)))
    (starting,) = world.replicas(state=stage)
    if starting.name in world.cloud._machines:
        world.preempt(starting.name)
    await world.settle()

    assert len(world.ready()) == 1
    world.check_at_rest()


async def test_an_end_that_is_reported_and_does_not_happen_is_asked_for_again() -> None:
    """Until the provider shows nothing any more."""
    world = World()
    await world.up(chat())
    world.cloud.lie_at_next_terminate()
    world.cloud.lie_at_next_terminate()
    world.down()
    await world.settle()

    assert world.cloud.existing() == frozenset()
    world.check_at_rest()


async def test_ends_that_fail_are_told_of_once_and_repeated() -> None:
    """An hour of errors is one line of history, not thousands; then it ends."""
    world = World()
    await world.up(chat())
    world.down()
    for _ in range(300):
        world.cloud.fail_next("terminate", TIMEOUT)
        await world.step()
        world.cloud._failures.clear()

    assert len([e for e in world.events() if TIMEOUT.message in e.text]) == 1

    await world.settle()
    world.check_at_rest()


async def test_slow_ends_are_waited_for() -> None:
    """A machine that takes its grace to stop is not forgotten meanwhile."""
    world = World()
    world.cloud.stop_at_once = False
    await world.up(chat(2))
    await world.deploy(chat(1))
    await world.settle()
    world.check_at_rest()
    world.down()
    await world.settle()
    world.check_at_rest()


async def test_a_price_list_that_cannot_be_read_stops_nothing_that_runs() -> None:
    """Health, losses, drains and routes go on; nothing is bought until prices are back."""
    world = World()
    await world.up(chat(2))
    first, second = [r.name for r in world.ready()]
    world.offers.fail("the list cannot be read")
    world.preempt(first)
    await world.run(30)

    assert list(world.routed()) == [second]
    assert len(world.cloud.launches) == 2
    assert "the list cannot be read" in world.store.decisions("chat")[0].summary

    world.offers.heal()
    await world.settle()

    assert len(world.ready()) == 2
    world.check_at_rest()


async def test_a_price_list_that_fails_in_the_middle_of_a_launch_delays_it() -> None:
    """What was decided is bought when it can be; it is not called "no longer sold"."""
    world = World()
    world.start()
    operation = await world.deploy(chat())
    await world.step()
    world.offers.fail("the list cannot be read")
    await world.run(20)

    assert world.replicas()[0].state is ReplicaState.PENDING

    world.offers.heal()
    await world.settle()

    assert world.operation(operation).state is OperationState.DONE
    assert isinstance(world.offers._failure, PriceUnavailable | None)


async def test_a_place_that_is_sold_no_longer_is_left() -> None:
    """Make before break, as with any other move."""
    world = World()
    await world.up(chat())
    world.offers.withdraw(world.the_replica().offer_id)
    await world.run(30)
    await world.settle()

    assert world.regions() == ["fr"]
    world.check_at_rest()
