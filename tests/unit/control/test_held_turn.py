"""Launches leave in a turn that is sure, and those of the holder before when it is quiet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.clocks import VirtualClock
from orchestrator.control.controller import Controller
from orchestrator.control.held_turn import HeldTurn
from orchestrator.domain.records import IntentState
from orchestrator.domain.turns import LATE_CALL, LEASE, SURE_FOR, Claim, Claimant, quiet_after
from orchestrator.errors import LeaseHeld, ProviderUnavailable, StoreUnavailable
from orchestrator.store.memory import MemoryStore
from tests.scenario.world import World, chat, only
from tests.store_samples import NOW, a_launch, a_spec, an_operation

HERE, THERE = Claimant("build1", "/srv/a"), Claimant("build2", "/srv/b")
SECOND = timedelta(seconds=1)


class Asleep(VirtualClock):
    """A machine that can sleep: time passes which its processes do not live through."""

    def __init__(self) -> None:
        super().__init__(NOW)
        self.slept = 0.0

    def through_sleep(self) -> float:
        """Physical seconds, with those in which it slept."""
        return self.elapsed + self.slept


@pytest.fixture
def clock() -> Asleep:
    return Asleep()


@pytest.fixture
def store() -> MemoryStore:
    """A service with one launch that was asked for, and one that was only planned."""
    store = MemoryStore()
    store.submit_deploy(a_spec(), an_operation())
    journal = store.claim("first", NOW, Claim(THERE))
    journal.start_replica(*a_launch("chat-1"))
    journal.start_replica(*a_launch("chat-2", slot=1))
    journal.set_intent("launch-chat-1", IntentState.ISSUED, NOW)
    return store


def test_what_another_host_asked_for_waits_until_it_is_quiet(store: MemoryStore, clock: Asleep) -> None:
    """What was only planned never left, and goes at once."""
    claim = Claim(HERE, take_over=True)
    journal = store.claim("second", NOW, claim)
    turn = HeldTurn(journal, clock, 0.0, quiet_after(journal.predecessor, claim))

    assert turn.waiting == 1
    assert not turn.may_ask_for("launch-chat-1")
    assert turn.may_ask_for("launch-chat-2")
    clock.advance(LATE_CALL + LEASE - 2 * SECOND)  # the store's own second or so has passed
    assert not turn.may_ask_for("launch-chat-1")
    clock.slept = 2.0
    assert turn.may_ask_for("launch-chat-1")
    assert turn.waiting == 0


def test_whoever_follows_in_its_own_place_asks_at_once(store: MemoryStore, clock: Asleep) -> None:
    """A restart loses no time."""
    journal = store.claim("second", NOW, Claim(THERE))
    turn = HeldTurn(journal, clock, 0.0, quiet_after(journal.predecessor, Claim(THERE)))

    assert turn.waiting == 0
    assert turn.may_ask_for("launch-chat-1")


def test_a_process_that_slept_asks_whether_the_turn_is_its_own(store: MemoryStore, clock: Asleep) -> None:
    """For a while it is known to be; after that the database says so, and a successor's turn ends ours."""
    journal = store.claim("second", NOW, Claim(THERE))
    turn = HeldTurn(journal, clock, clock.through_sleep())
    store.fail_next("renew_turn", StoreUnavailable("not asked yet"))
    clock.advance(SURE_FOR - SECOND)
    assert turn.is_sure()

    clock.slept += 1.0
    with pytest.raises(StoreUnavailable):
        turn.is_sure()
    assert turn.is_sure()
    assert turn.is_sure()

    clock.slept += 600.0
    store.claim("third", NOW, Claim(HERE, take_over=True))
    with pytest.raises(LeaseHeld):
        turn.is_sure()


def test_an_answer_that_took_as_long_as_the_lease_is_not_sure(store: MemoryStore, clock: Asleep) -> None:
    """What the database said counts from when it was asked."""
    journal = store.claim("second", NOW, Claim(THERE))
    turn = HeldTurn(journal, clock, clock.through_sleep())

    def slowly() -> None:
        clock.advance(SURE_FOR)

    journal.renew_turn = slowly  # type: ignore[method-assign]
    clock.advance(SURE_FOR)
    assert not turn.is_sure()


def test_being_heard_of_and_stopping(store: MemoryStore, clock: Asleep) -> None:
    """The store is told of both."""
    journal = store.claim("second", NOW, Claim(THERE))
    turn = HeldTurn(journal, clock, 0.0)
    turn.renew()
    assert store.turn() is not None
    turn.end()
    assert store.turn().is_over  # type: ignore[union-attr]


# ── in the controller ────────────────────────────────────────────────────────────────────────────────

PATIENT = chat(placement=only("se"), startup_deadline=timedelta(minutes=40))


def asked(world: World) -> int:
    """How often the provider was asked for an instance."""
    return [call.method for call in world.cloud.calls].count("launch")


def begin(world: World, claim: Claim) -> HeldTurn:
    """Let a controller act from now on that has claimed its turn so."""
    journal = world.store.claim("a controller", world.now, claim)
    quiet = quiet_after(journal.predecessor, claim)
    turn = HeldTurn(journal, world.clock, world.clock.through_sleep(), quiet)
    world.controller = Controller(world.runtime, journal, turn=turn)
    return turn


async def asked_by_another() -> World:
    """A world in which a controller has asked for a replica that nobody shows yet."""
    world = World()
    begin(world, Claim(THERE))
    await world.deploy(PATIENT)
    world.cloud.fail_next("launch", ProviderUnavailable("no answer"))
    while not asked(world):
        await world.step()
    return world


async def test_the_controller_does_not_repeat_another_hosts_call_before_it_is_quiet() -> None:
    """Its call may be on its way: nothing is asked for in the meantime, and then the same name is asked for again."""
    world = await asked_by_another()
    turn = begin(world, Claim(HERE, take_over=True))
    assert turn.waiting == 1

    await world.run(LATE_CALL.total_seconds() + 30, every=30.0, check=False)
    assert asked(world) == 1
    await world.run(60, every=30.0, check=False)

    assert asked(world) == 2
    assert len(world.cloud.launches) == 1
    await world.settle()


async def test_a_late_call_that_arrives_meanwhile_is_found() -> None:
    """What the other host asked for serves, and nothing was asked for twice."""
    world = World()
    begin(world, Claim(THERE))
    await world.deploy(PATIENT)
    world.cloud.delay_next_launch(30.0)
    while not asked(world):
        await world.step()
    begin(world, Claim(HERE, take_over=True))

    await world.settle()

    assert asked(world) == 1


async def test_a_restart_in_the_same_place_asks_again_at_once() -> None:
    """The next look after it."""
    world = await asked_by_another()
    begin(world, Claim(THERE))
    await world.run(2)

    assert asked(world) == 2


async def test_a_restart_within_the_quiet_goes_on_with_it() -> None:
    """The call of the host before may be on its way still, whoever it is that has followed it, and however often."""
    world = await asked_by_another()
    begin(world, Claim(HERE, take_over=True))
    await world.run(60, every=30.0, check=False)
    turn = begin(world, Claim(HERE))
    assert turn.waiting == 1
    await world.run(60, every=30.0, check=False)
    world.store.claim("stopped in order", world.now, Claim(HERE)).end_turn()
    begin(world, Claim(replace(HERE, host="build3")))

    await world.run(LATE_CALL.total_seconds() - 60, every=30.0, check=False)
    assert asked(world) == 1
    await world.run(180, every=30.0, check=False)

    assert asked(world) == 2
    await world.settle()


async def test_a_controller_that_slept_between_its_record_and_its_call_does_not_call() -> None:
    """Its turn was taken meanwhile: it is told so, and the provider hears nothing of it."""
    world = World()
    turn = begin(world, Claim(THERE))
    await world.deploy(PATIENT)
    written = turn._journal.set_intent

    def sleep_after(*words: Any, **named: Any) -> None:
        written(*words, **named)
        world.clock.advance(timedelta(minutes=10))
        world.store.claim("another", world.now, Claim(HERE, take_over=True))

    turn._journal.set_intent = sleep_after  # type: ignore[method-assign]
    with pytest.raises(LeaseHeld):
        await world.run(30)

    assert asked(world) == 0


async def test_where_the_database_is_as_slow_as_the_lease_nothing_leaves() -> None:
    """The look after it asks once more."""
    world = World()
    turn = begin(world, Claim(THERE))
    await world.deploy(PATIENT)
    renewed, written = turn._journal.renew_turn, turn._journal.set_intent

    def slowly(*_words: Any, **_named: Any) -> None:
        renewed()
        world.clock.advance(SURE_FOR)

    def sleep_after(*words: Any, **named: Any) -> None:
        written(*words, **named)
        world.clock.advance(SURE_FOR)

    turn._journal.renew_turn = slowly  # type: ignore[method-assign]
    turn._journal.set_intent = sleep_after  # type: ignore[method-assign]
    await world.run(5, check=False)
    assert asked(world) == 0

    turn._journal.renew_turn, turn._journal.set_intent = renewed, written  # type: ignore[method-assign]
    await world.settle()
    assert asked(world) == 1
