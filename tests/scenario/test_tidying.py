"""Old samples become rows of an hour while the controller runs, and nobody who reads a report can tell."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.control.reporting import service_report
from orchestrator.control.runtime import Tuning
from orchestrator.domain.time import HOUR, Window, floor_hour
from orchestrator.errors import StoreUnavailable
from tests.scenario.world import World, chat

RATE = 60.0
EVERY = 10.0
KEPT = timedelta(minutes=3)
SHORT = Tuning(keep_samples=KEPT, tidy_every=timedelta(seconds=30))


async def lived(tuning: Tuning) -> World:
    """Serve for a quarter of an hour, which is fifteen hours of the grid, two of them in the dark."""
    world = World(rate=RATE, tuning=tuning)
    world.grid("SE", lambda hour: 100.0 + hour if hour >= 0 else 100.0)
    await world.up(chat())
    await world.run(480, every=EVERY)
    world.carbon.gap("SE", "the meter is broken")
    await world.run(420, every=EVERY)
    return world


async def test_reports_are_the_same_with_and_without_the_old_samples() -> None:
    """The whole of it, and each month (here: hour) alone, to the last bit; old hours are few rows."""
    tidied, kept = await lived(SHORT), await lived(Tuning())
    now = tidied.clock.now()
    old = Window(floor_hour(now) - 14 * HOUR, floor_hour(now) - 5 * HOUR)

    assert len(tidied.store.energy("chat", old)) <= 9 * 2 < len(kept.store.energy("chat", old))
    for period in (None, old, *(Window.starting(old.start + n * HOUR, HOUR) for n in range(12))):
        assert await service_report(tidied.runtime, "chat", period) == await service_report(
            kept.runtime, "chat", period
        )


async def test_an_old_hour_is_counted_whole_or_not_at_all() -> None:
    """A period that begins or ends within one is widened to it, and says so; young ones are cut as asked."""
    world = await lived(SHORT)
    now = world.clock.now()
    start = floor_hour(now) - 10 * HOUR

    found = await service_report(world.runtime, "chat", Window(start + HOUR / 2, start + 2.5 * HOUR))
    young = await service_report(world.runtime, "chat", Window(now - HOUR / 2, now))

    assert found.period == Window(start, start + 3 * HOUR)
    assert found == await service_report(world.runtime, "chat", Window(start, start + 3 * HOUR))
    assert young.period == Window(now - HOUR / 2, now)


async def test_a_step_that_fails_is_told_and_tried_again() -> None:
    """Looks go on as before; the samples are merged a while later."""
    world = await lived(Tuning())
    world.runtime = type(world.runtime)(
        **{name: getattr(world.runtime, name) for name in world.runtime.__dataclass_fields__ if name != "tuning"},
        tuning=SHORT,
    )
    world.kill()
    controller = world.start()
    before = len(world.store.energy("chat"))
    world.store.fail_next("compact_energy", StoreUnavailable("the database does not answer"))

    with pytest.raises(StoreUnavailable):
        await controller.tick()
    assert len(world.store.energy("chat")) >= before
    await world.run(60, every=EVERY)

    assert len(world.store.energy("chat")) < before
