"""Signals that are missing, old or wrong: the service stays up, nothing moves by itself, and status says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.control.usecases import service_status
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.records import EventKind
from orchestrator.domain.service import CarbonRules, Scaling, WhenStale
from orchestrator.errors import NoFeasiblePlacement
from tests.builders import GREEN, HOUR, MINUTE
from tests.scenario.test_migration import AT_ONCE
from tests.scenario.world import RULES, Traffic, World, chat, only

DARK: dict[str, Callable[[World], None]] = {
    "unreachable": lambda world: world.carbon.fail("the source does not answer"),
    "gaps": lambda world: [world.carbon.gap(zone, "the meter is broken") for zone in ("SE", "FR", "DE")] and None,
}


def moves(world: World) -> list[str]:
    """Every voluntary move that was begun."""
    return [e.text for e in world.events(EventKind.MIGRATION_STARTED)]


@pytest.mark.parametrize("dark", DARK)
@pytest.mark.parametrize("hours", [1 / 60, 1, 6, 24, 24 * 7, 24 * 30])
async def test_without_signals_the_service_stays_up_where_it_is(hours: float, dark: str) -> None:
    """For a minute or a month, while the grids change completely: no move, no loss, and a reason; then all goes on."""
    world = World(rate=3600.0)
    for zone, before, after in (("SE", 30.0, 700.0), ("FR", 60.0, 20.0), ("DE", 400.0, 30.0)):
        world.grid(
            zone, lambda hour, before=before, after=after: before if hour < 30 else after, days=3 + int(hours / 24)
        )
    await world.up(chat(2, migration=replace(RULES, canary_percent=(100,))))
    table = world.routed()
    await world.run(28, every=1.0)
    DARK[dark](world)
    moved = moves(world)
    step = min(max(hours / 100, 1 / 3600), 4.0)
    await world.run(hours, every=step)

    assert world.routed() == table
    assert moves(world) == moved == []
    if hours >= 6:
        (status,) = await service_status(world.runtime, "chat")
        assert any(word in status.look for word in ("the source does not answer", "the meter is broken")), status.look

    world.carbon.heal()
    await world.until(lambda: bool(moves(world)), limit=48)
    await world.settle(limit=100)

    assert set(world.regions()) == {"fr"}
    world.check_at_rest()


@pytest.mark.parametrize("dark", DARK)
async def test_what_is_lost_without_signals_is_replaced(dark: str) -> None:
    """A replica is worth more than a good place for it: back where it stood, or else where the rules allow."""
    world = World()
    await world.up(chat(2))
    DARK[dark](world)
    await world.run(60)
    world.preempt(world.ready()[0].name)
    await world.settle(limit=30)

    assert world.regions() == ["se", "se"]

    world.room["sky/se"] = 0
    world.preempt(world.ready()[0].name)
    await world.settle(limit=60)

    assert len(world.ready()) == 2
    assert "sky/se" in {r.region for r in world.ready()}
    reasons = [d.summary for d in world.store.decisions("chat") if d.kind is DecisionKind.REPLACE]
    assert all("signal" in reason for reason in reasons), reasons
    world.check_at_rest()


@pytest.mark.parametrize("dark", DARK)
async def test_load_that_rises_without_signals_is_served_where_the_service_stands(dark: str) -> None:
    """An outage of a meter is none of the service: more come beside those that serve, and go again with the load."""
    world = World()
    await world.up(chat(scaling=Scaling(1, 4, 2.0, downscale_delay=MINUTE), migration=replace(RULES, enabled=False)))
    world.traffic["chat"] = Traffic(1.5, 3.0)
    await world.run(60)
    DARK[dark](world)
    await world.run(3 * 3600, every=60.0)
    world.traffic["chat"] = Traffic(6.0, 3.0)
    await world.until(lambda: len(world.ready()) == 3, limit=90)

    assert set(world.regions()) == {"se"}
    world.traffic["chat"] = Traffic(1.5, 3.0)
    await world.until(lambda: len(world.ready()) == 1, limit=600)
    assert world.refused == 0


async def test_what_is_lost_without_signals_is_replaced_within_the_rules() -> None:
    """Residency, allow and deny hold in the dark too: nowhere is better than a forbidden place."""
    world = World()
    await world.up(chat(placement=only("se")))
    world.carbon.fail("the source does not answer")
    world.room["sky/se"] = 0
    world.preempt(world.the_replica().name)
    await world.run(600, every=2.0)

    assert world.ready() == []
    assert {r.region for r in world.all_replicas()} == {"sky/se"}

    world.room.clear()
    await world.settle(limit=1200, every=2.0)
    world.check_at_rest()


async def test_a_first_deploy_without_signals_is_refused() -> None:
    """Nobody is down yet, and a person is there to decide."""
    world = World()
    world.start()
    world.carbon.fail("the source does not answer")
    with pytest.raises(NoFeasiblePlacement):
        await world.deploy(chat())


@pytest.mark.parametrize("when_stale", WhenStale)
async def test_a_stale_zone_attracts_nobody(when_stale: WhenStale) -> None:
    """However clean it was when it was last heard of, and whatever the spec makes of old numbers elsewhere."""
    world = World()
    world.grid("SE", lambda hour: 30.0 if hour < 1 else 500.0)
    world.grid("FR", lambda hour: 5.0 if hour < -2 else None)
    rules = CarbonRules(max_age=90 * MINUTE, when_stale=when_stale)
    await world.up(chat(migration=AT_ONCE, carbon=rules, placement=only("se", "fr")))

    assert world.regions() == ["fr"] or when_stale is not WhenStale.HOLD or world.regions() == ["se"]

    await world.run(6 * 3600, every=60.0)

    assert moves(world) == []


async def test_a_stale_zone_is_not_fled_either() -> None:
    """Old bad news are old news: it may be clean by now."""
    world = World()
    world.grid("SE", lambda hour: 30.0 if hour < 0 else (600.0 if hour < 1 else None))
    await world.up(chat(migration=AT_ONCE, carbon=CarbonRules(max_age=30 * MINUTE)))
    world.store.set_paused("chat", paused=True, now=world.now)
    await world.run(3 * 3600, every=60.0)
    world.store.set_paused("chat", paused=False, now=world.now)
    await world.run(6 * 3600, every=60.0)

    assert moves(world) == []
    (status,) = await service_status(world.runtime, "chat")
    assert "SE" in status.look


async def test_forecasts_are_made_from_what_was_known_while_the_source_is_away() -> None:
    """With ``when_stale: forecast`` a lost replica goes to the place that is expected to be cleanest."""
    world = World(rate=60.0)
    for zone, night, day in (("SE", 300.0, 100.0), ("FR", 50.0, 500.0)):
        world.grid(zone, lambda hour, night=night, day=day: day if hour % 24 < 12 else night)
    rules = CarbonRules(when_stale=WhenStale.FORECAST)
    near = replace(GREEN, horizon=4 * HOUR)
    await world.up(chat(carbon=rules, placement=only("se", "fr"), migration=replace(RULES, enabled=False), policy=near))

    assert world.regions() == ["se"]

    await world.run(9 * 60, every=5.0)
    world.carbon.fail("the source does not answer")
    await world.run(6 * 60, every=5.0)
    world.preempt(world.the_replica().name)
    await world.settle()
    placed = next(d for d in world.store.decisions("chat") if d.kind is DecisionKind.REPLACE)

    assert {a.intensity_source for a in placed.assessments if a.allowed} == {"greenctl blend-28"}
    assert world.regions() == ["fr"]


async def test_traffic_does_not_notice_a_blackout() -> None:
    """Routes go on being published, without numbers that nobody knows."""
    world = World()
    await world.up(chat(2))
    world.traffic["chat"] = Traffic(2.0, 3.0)
    await world.run(20)
    world.carbon.fail("the source does not answer")
    await world.run(60)

    assert all(u.grams_per_kwh is None and u.intensity_kind is None for u in world.upstreams().values())
    assert world.refused == 0

    world.carbon.heal()
    await world.run(5)

    assert all(u.grams_per_kwh == 30.0 for u in world.upstreams().values())
    assert world.now - world.store.decisions("chat")[0].at < HOUR


async def test_status_shows_what_is_known_while_no_price_can_be_read() -> None:
    """Replicas, readiness and money are the journal's; what hangs on an offer is unknown, and the sentence says why."""
    world = World()
    await world.up(chat(2))
    world.offers.fail("the list cannot be read")
    await world.run(10)
    (status,) = await service_status(world.runtime, "chat")

    assert (status.wanted, status.ready) == (2, 2)
    assert status.usd_per_hour is not None
    assert [view.pue for view in status.replicas] == [None, None]
    assert "the list cannot be read" in status.look
