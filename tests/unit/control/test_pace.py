"""How many were asked for in the last minute: our own by the seconds that passed, those before us by their records."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.clocks import VirtualClock
from orchestrator.control.apply import Applier
from orchestrator.control.pace import LaunchPace, launched_lately
from orchestrator.control.usecases import preview_deploy
from orchestrator.domain.time import HOUR
from orchestrator.errors import StoreUnavailable
from orchestrator.spec.codec import spec_digest
from orchestrator.store.memory import MemoryStore
from tests.scenario.world import World, chat
from tests.store_samples import NOW, a_launch, a_spec, an_operation, later


def store_with(*names: str) -> MemoryStore:
    """Have replicas on record that were asked for at ``NOW``."""
    store = MemoryStore()
    store.submit_deploy(a_spec(), an_operation())
    journal = store.claim("another", NOW)
    for name in names:
        journal.start_replica(*a_launch(name))
    return store


@pytest.mark.parametrize("rate", [1.0, 60.0])
def test_what_another_process_asked_for_counts_by_its_record(rate: float) -> None:
    """A minute of physical time after it, whatever the rate of the grid's clock."""
    clock = VirtualClock(NOW + timedelta(seconds=20) * rate, rate=rate)
    pace = LaunchPace(clock, store_with("chat-0", "chat-1"))

    assert pace.lately() == 2
    clock.advance(timedelta(seconds=39))
    assert pace.lately() == 2
    clock.advance(timedelta(seconds=1))
    assert pace.lately() == 0


def test_a_record_of_the_future_counts_for_a_minute() -> None:
    """The clock was set back between two processes: it was asked for by now, and not in an hour."""
    clock = VirtualClock(NOW - HOUR)
    pace = LaunchPace(clock, store_with("chat-0"))

    assert pace.lately() == 1
    clock.advance(timedelta(minutes=1))
    assert pace.lately() == 0


def test_our_own_count_by_the_seconds_that_passed() -> None:
    """However the clock is set meanwhile; one that was asked for again is one."""
    clock = VirtualClock(NOW)
    pace = LaunchPace(clock, store_with())
    pace.note("chat-0")
    clock.present += HOUR
    clock.advance(timedelta(seconds=30))
    pace.note("chat-1")
    pace.note("chat-1")
    clock.present -= 2 * HOUR

    assert pace.lately() == 2
    clock.advance(timedelta(seconds=30))
    assert pace.lately() == 1


def test_who_only_asks_leaves_out_what_is_dated_later_than_now() -> None:
    """A preview has no process that it could have counted in."""
    (found,) = store_with("chat-0").replicas()

    assert [launched_lately([found], later(s), 1.0) for s in (-1, 0, 59, 60)] == [0, 1, 1, 0]
    assert launched_lately([replace(found, created_at=later(3600))], NOW, 1.0) == 0


@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_launch_of_which_nobody_knows_whether_it_is_on_record_counts(*, is_committed: bool) -> None:
    """The store says that it could not, and may have done it."""
    world = World()
    plan = await preview_deploy(chat(), spec_digest(chat()), world.runtime)
    await world.deploy(chat())
    applier = Applier(world.runtime, world.store.claim("test", world.now))
    (service,) = world.store.services()
    world.store.fail_next("start_replica", StoreUnavailable("gone"), after=is_committed)
    with pytest.raises(StoreUnavailable):
        applier.actions(plan, service, "op-test", {})

    assert applier.pace.lately() == 1
