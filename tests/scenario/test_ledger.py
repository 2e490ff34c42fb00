"""The ledger of energy and tokens: what was drawn is counted once, whatever was restarted meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.control.controller import Controller
from orchestrator.control.reporting import service_report
from orchestrator.control.usecases import preview_deploy, submit_deploy
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import GatewayRules, ModelSpec
from orchestrator.domain.time import Window
from orchestrator.errors import StoreUnavailable
from orchestrator.planner.sizing.packaged import replica_model
from orchestrator.provisioners.skypilot.fake import FakeSky
from orchestrator.provisioners.skypilot.provisioner import SkyPilotProvisioner
from orchestrator.spec.codec import spec_digest
from tests.builders import HOUR, NOON, offer
from tests.scenario.test_migration import BY_HAND
from tests.scenario.world import Traffic, World, chat

EXACT = 0.005
"""Half a percent."""

EVERY = 2.0
"""Seconds between looks."""


def by_replica(world: World) -> dict[str, list[EnergySample]]:
    """Samples of each replica, in order."""
    found: dict[str, list[EnergySample]] = defaultdict(list)
    for sample in world.store.energy("chat"):
        found[sample.replica].append(sample)
    return found


def check_ledger(world: World, tolerance: float = EXACT) -> None:
    """Check joules against what the machines drew, tokens against what the engines counted, and every seam."""
    samples = by_replica(world)
    assert samples.keys() == {name for name, joules in world.joules.items() if joules}, "one account per machine"
    for name, own in samples.items():
        for earlier, later in pairwise(own):
            assert earlier.window.end <= later.window.start, f"{name}: counted twice"
        counted = sum(s.facility_joules for s in own)
        assert counted == pytest.approx(world.joules[name], rel=tolerance), name
        assert sum(s.facility_joules / s.pue for s in own) == pytest.approx(sum(s.it_joules for s in own))
        prompt, output = world.tokens.get(name, [0, 0])
        assert (sum(s.prompt_tokens for s in own), sum(s.output_tokens for s in own)) == (prompt, output), name


def restart_controller(world: World) -> None:
    """Kill it, and start another one at once."""
    world.kill()
    world.start()


def gateway_away(world: World) -> None:
    """Let the control socket be silent for a while."""
    world.gateway_is_away()


DISTURBANCES: dict[str, tuple[int, Callable[[World], None]]] = {
    "none": (60, lambda _: None),
    "controller": (5, restart_controller),
    "gateway": (12, lambda world: world.gateway_restarts()),
    "silence": (5, gateway_away),
}
"""What happens every so many minutes. What a gateway had counted since the last sample dies with it: one sample is then
taken at the load of the one before, which costs a thousandth per restart in this hour."""


@pytest.mark.parametrize("disturbance", DISTURBANCES)
async def test_joules_and_tokens_add_up_over_a_whole_life(disturbance: str) -> None:
    """An hour of service with a move in the middle, disturbed again and again, then taken down.

    Traffic is even: power saturates, so a replica with a request now and then draws less than its mean batch would, and
    samples of ten seconds tell the mean (1.2 % too much at 0.3 requests).
    """
    every, disturb = DISTURBANCES[disturbance]
    world = World()
    await world.up(chat(2, migration=BY_HAND, gateway=GatewayRules(routing="round_robin")))
    world.traffic["chat"] = Traffic(1.0, 6.0)
    for minute in range(60):
        if minute == 30:
            await world.migrate("de")
        if minute % every == every - 1:
            disturb(world)
        await world.run(30, every=EVERY)
        world.gateway_is_back()
        await world.run(30, every=EVERY)
    world.traffic.clear()
    world.down()
    await world.settle()

    assert len(by_replica(world)) == 3
    check_ledger(world)


async def test_time_without_a_controller_is_counted_when_there_is_one_again() -> None:
    """Ten minutes in which nobody looked: the load was what it was before, and the samples say that nobody looked."""
    world = World()
    await world.up(chat())
    world.traffic["chat"] = Traffic(1.0, 6.0)
    await world.run(600, every=EVERY)
    world.kill()
    await world.run(600, every=EVERY)
    world.start()
    await world.run(600, every=EVERY)
    world.traffic.clear()
    world.down()
    await world.settle()

    check_ledger(world)
    noted = [s for s in world.store.energy("chat") if "nobody looked" in s.method_detail]
    assert sum(s.engine_seconds for s in noted) == pytest.approx(600, abs=15)


@pytest.mark.parametrize("lives", [20.0, 60.0])
async def test_a_short_life_is_counted_to_its_end(lives: float) -> None:
    """Not only up to the last round sample: a move costs what the old one draws until it is gone."""
    world = World()
    world.start()
    await world.deploy(chat())
    await world.run(lives)
    world.down()
    await world.settle()

    check_ledger(world, tolerance=1.5 / lives)


async def test_a_lost_replica_draws_until_it_is_really_gone() -> None:
    """Lost by its health alone, its machine runs on until the drain limit: that is paid, and counted."""
    world = World()
    await world.up(chat())
    name = world.the_replica().name
    world.traffic["chat"] = Traffic(1.0, 6.0)
    await world.run(60)
    world.sick.add(name)
    await world.until(lambda: name not in world.cloud.existing(), limit=120)
    await world.settle()
    lost = world.replica(name)

    assert lost.state is ReplicaState.LOST
    own = by_replica(world)[name]
    assert sum(s.facility_joules for s in own) == pytest.approx(world.joules[name], rel=0.02)
    assert own[-1].window.end > lost.state_since


async def test_tokens_are_counted_until_the_engine_dies() -> None:
    """What was counted at the last look before its death is in the ledger, to the token."""
    world = World()
    await world.up(chat())
    name = world.the_replica().name
    world.traffic["chat"] = Traffic(1.0, 6.0)
    await world.run(64)
    seen = list(world.tokens[name])
    world.murder(name)
    await world.settle()
    own = by_replica(world)[name]

    assert [sum(s.prompt_tokens for s in own), sum(s.output_tokens for s in own)] == seen
    assert sum(s.facility_joules for s in own) == pytest.approx(world.joules[name], rel=0.02)


async def test_prompts_are_read_at_full_power() -> None:
    """Where a model of the replica tells how long reading takes, the ledger counts it, by what the engine has read."""
    world = World()
    await world.up(chat(model=ModelSpec("Qwen/Qwen3-8B", served_name="chat")))
    replica = world.the_replica()
    world.traffic["chat"] = Traffic(2.0, 6.0)
    await world.run(130, every=EVERY)
    shape = world.offers._offers[replica.offer_id].shape
    model = replica_model(ModelSpec("Qwen/Qwen3-8B"), shape)
    assert shape.power is not None
    assert model is not None

    busy = [s for s in by_replica(world)[replica.name] if s.prompt_tokens]
    assert len(busy) > 5
    for sample in busy:
        reading = model.reading(sample.prompt_tokens / sample.engine_seconds)
        assert 0 < reading < 1
        assert sample.watts == pytest.approx(shape.power.watts(sample.mean_batch, reading), rel=0.01)
        assert "full power while it reads prompts" in sample.method_detail


async def test_a_launch_that_never_became_a_machine_draws_nothing() -> None:
    """Sold out, refused or still queued: no energy of what is not there."""
    world = World()
    await world.up(chat())
    world.room.update({"sky/se": 0, "sky/fr": 0})
    world.cloud.delay_next_launch(120.0)
    world.preempt(world.the_replica().name)
    await world.settle()
    await world.run(30)

    failed = {r.name for r in world.all_replicas() if r.state is ReplicaState.FAILED}
    assert failed
    assert not failed & by_replica(world).keys()
    name = world.the_replica().name
    first = by_replica(world)[name][0].window.start
    assert (first - world.replica(name).created_at).total_seconds() > 110


async def test_what_a_provider_looks_for_draws_nothing_until_it_is_there() -> None:
    """Sold out for minutes, or queued: the launch is shown all the while, and its machine is not."""
    world = World()
    world.cloud.search_at_next_launch(400.0)
    await world.up(chat(startup_deadline=timedelta(minutes=30)))
    await world.run(60, every=EVERY)
    name = world.the_replica().name
    first = by_replica(world)[name][0].window.start

    assert 390 < (first - world.replica(name).created_at).total_seconds() < 410
    world.down()
    await world.settle()
    check_ledger(world, tolerance=0.05)


async def test_a_restart_does_not_take_a_launch_for_a_machine() -> None:
    """Its record says starting, and so it does while a machine is looked for: only the provider knows."""
    world = World()
    world.start()
    world.cloud.search_at_next_launch(600.0)
    await world.deploy(chat(startup_deadline=timedelta(minutes=30)))
    await world.run(300, every=5.0, check=False)
    (searched,) = world.store.replicas("chat")
    restart_controller(world)
    world.cloud.die(searched.name, "sold out", error_code="no_capacity")
    await world.run(30, check=False)

    assert searched.state is ReplicaState.STARTING
    assert searched.name not in by_replica(world)


async def test_what_skypilot_looked_for_in_vain_is_in_no_report(tmp_path: Path) -> None:
    """Ten minutes of trying in a region that is full: no hour of a machine, no energy, no dollar, nothing fetched."""
    world = World(places={})
    world.offers.put(offer("aws/eu-north-1", usd=98.0))
    world.carbon.hold("EU-NORTH-1", 40.0)
    sky = FakeSky(world.clock.monotonic, launch_seconds=600.0, max_clusters={"aws/eu-north-1": 0})
    provisioner = SkyPilotProvisioner(tmp_path, sky, ["aws"], now=world.clock.monotonic, refresh_seconds=5.0)
    runtime = replace(world.runtime, provisioners={"aws": provisioner})
    model = ModelSpec("meta-llama/Llama-3.1-70B-Instruct", served_name="chat")
    spec = chat(model=model, startup_deadline=timedelta(minutes=30))
    plan = await preview_deploy(spec, spec_digest(spec), runtime)
    submit_deploy(spec, spec_digest(spec), plan, runtime, actor="ada")
    controller = Controller(runtime, world.store.claim("test", world.now))
    for _ in range(60):
        world.clock.advance(timedelta(seconds=20))
        await controller.tick()
        for _ in range(5):
            await asyncio.sleep(0)
    await provisioner.close()
    failed, *_ = world.all_replicas()
    found = await service_report(runtime, "chat", None)

    assert failed.reason.startswith("no_capacity")
    assert failed.cleaned_up
    assert (found.engine_seconds, found.joules, found.usd, found.egress) == (0.0, 0.0, None, None)


async def test_a_write_whose_answer_was_lost_is_not_counted_twice_nor_forgotten() -> None:
    """The store took the samples and said that it did not: the next ones go on where it stands."""
    world = World()
    await world.up(chat())
    world.traffic["chat"] = Traffic(1.0, 6.0)
    for number in range(10):
        await world.run(25)
        world.store.fail_next("record_energy", StoreUnavailable("gone"), after=number % 2 == 0)
        try:
            await world.run(15)
        except StoreUnavailable:
            await world.run(5)
    world.traffic.clear()
    world.down()
    await world.settle()

    check_ledger(world)


@pytest.mark.parametrize("hours", [(1,), (-1,), (1, -1), (-1, 1), (-1, -1)])
async def test_a_clock_that_is_set_makes_no_time_and_loses_none(hours: Sequence[int]) -> None:
    """Each time by an hour, a quarter of an hour apart: what was drawn is counted once, and no two samples overlap."""
    world = World()
    await world.up(chat(2))
    world.traffic["chat"] = Traffic(1.0, 6.0)
    await world.run(900, every=EVERY)
    for by in hours:
        world.clock.present += by * HOUR
        await world.run(900, every=EVERY)
    world.traffic.clear()
    world.down()
    await world.settle()

    check_ledger(world)


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_restart_behind_a_clock_that_was_set_costs_what_nobody_saw_at_most(hours: int) -> None:
    """The ledger stands where the clock has left it: nothing is counted twice, and no hour is added or lost."""
    world = World()
    await world.up(chat())
    world.traffic["chat"] = Traffic(1.0, 6.0)
    await world.run(300, every=EVERY)
    world.clock.present += hours * HOUR
    for _ in range(3):
        await world.run(600, every=EVERY)
        world.kill()
        await world.run(20, every=EVERY)
        world.start()
    world.traffic.clear()
    world.down()
    await world.settle()

    ((name, own),) = by_replica(world).items()
    assert all(earlier.window.end <= later.window.start for earlier, later in pairwise(own))
    counted, drawn = sum(s.facility_joules for s in own), world.joules[name]
    unseen = 3 * (20 + 10 + 2 * EVERY) / world.clock.elapsed
    assert drawn * (1 - unseen - EXACT) <= counted <= drawn * (1 + EXACT)


@pytest.mark.parametrize("is_written", [True, False])
async def test_a_lost_answer_after_a_clock_was_set_back_loses_nothing(*, is_written: bool) -> None:
    """How far the store is tells whether the samples are in it, and so from which second on to count."""
    world = World()
    await world.up(chat())
    world.traffic["chat"] = Traffic(1.0, 6.0)
    await world.run(60)
    world.clock.present -= HOUR
    for _ in range(10):
        await world.run(25)
        world.store.fail_next("record_energy", StoreUnavailable("gone"), after=is_written)
        with pytest.raises(StoreUnavailable):
            await world.run(15)
    world.traffic.clear()
    world.down()
    await world.settle()

    check_ledger(world, tolerance=0.02)  # what a gateway counted up to a failed try is in no sample's load
    assert sum(s.engine_seconds for s in world.store.energy("chat")) == pytest.approx(world.clock.elapsed, abs=3)


async def test_energy_of_an_unknown_grid_is_kept_apart() -> None:
    """Joules without grams, never zero grams; known hours keep theirs."""
    world = World(rate=60.0)
    await world.up(chat())
    await world.run(120, every=EVERY)
    world.carbon.gap("SE", "the meter is broken")
    await world.run(600, every=EVERY)
    samples = world.store.energy("chat")

    unknown = [s for s in samples if s.grams is None]
    assert unknown
    assert all(s.grams_per_kwh is None and s.intensity_kind is None for s in unknown)
    assert all(s.grams and s.grams > 0 for s in samples if s.grams is not None)
    assert sum(s.facility_joules for s in samples) == pytest.approx(world.joules[world.the_replica().name], rel=0.02)


HOLE = Window(NOON + 24 * HOUR, NOON + 144 * HOUR)
"""Five days of which nobody ever publishes the intensity."""

STALE = Window(HOLE.start + 2 * HOUR, HOLE.end)
"""The part of it in which the last value before it is older than ``carbon.max_age``."""


def in_the_hole(hour: int) -> float | None:
    """Give an intensity for each hour of the world outside of the hole."""
    return None if NOON + hour * HOUR in HOLE else 10.0 + hour % 24


async def a_week(grams: Callable[[int], float | None], away: Window | None = None) -> World:
    """Serve for a week of the grid, an hour a second; nobody looks while the controller is ``away``."""
    world = World(rate=3600.0)
    world.grid("SE", grams, days=8)
    await world.up(chat(migration=BY_HAND))
    while world.now < NOON + 170 * HOUR:
        if away is not None and (world.controller is None) != (world.now in away):
            (world.kill if world.now in away else world.start)()
        await world.run(1, every=1.0)
    return world


@pytest.mark.parametrize("away", [None, Window(NOON + 20 * HOUR, NOON + 160 * HOUR)])
async def test_a_hole_in_the_signal_stays_unknown(away: Window | None) -> None:
    """The last value before it says nothing of days later: not in the ledger, whoever looked, and not in a report."""
    world = await a_week(in_the_hole, away)
    samples = world.store.energy("chat")
    dark = [s for s in samples if s.window.start in STALE]
    lit = [s for s in samples if s.window.start not in HOLE]

    assert sum(s.engine_seconds for s in dark) == pytest.approx(118, abs=2)
    assert {(s.grams, s.grams_per_kwh, s.intensity_kind) for s in dark} == {(None, None, None)}
    found = await service_report(world.runtime, "chat", STALE)
    assert found.joules == pytest.approx(sum(s.facility_joules for s in dark))
    assert (found.grams, found.known_joules, found.intensity_kind) == (None, 0.0, None)
    assert all(rival.grams is None for rival in found.rivals)
    whole = await service_report(world.runtime, "chat", None)
    short = [s for s in samples if s.window.start in HOLE and s.window.start not in STALE]
    assert whole.known_joules == pytest.approx(sum(s.facility_joules for s in [*lit, *short] if s.grams is not None))


async def test_what_was_known_of_a_hole_stays_as_it_was_stored() -> None:
    """A source that lacks the hours now does not replace what another one had said of them."""
    world = await a_week(lambda hour: 300.0 + hour if in_the_hole(hour) is None else 10.0)
    told = [s.grams or 0.0 for s in world.store.energy("chat", STALE)]

    world.carbon.put("SE", STALE.start, [None] * 118)
    found = await service_report(world.runtime, "chat", STALE)

    assert found.known_joules == found.joules
    assert found.grams == pytest.approx(sum(told))


async def test_on_a_replayed_grid_joules_are_physical() -> None:
    """A grid hour in a minute: a minute's worth of energy, with the hour's intensity, over the hour's window."""
    world = World(rate=60.0)
    world.grid("SE", lambda hour: 100.0 + hour if hour >= 0 else 100.0)
    await world.up(chat())
    await world.run(600, every=EVERY)
    world.down()
    await world.settle()

    check_ledger(world, tolerance=0.02)
    samples = world.store.energy("chat")
    assert sum(s.engine_seconds for s in samples) == pytest.approx(world.clock.elapsed, rel=0.05)
    assert all(s.window.start.hour == (s.window.end - HOUR / 3600).hour for s in samples)
    assert max(Counter(s.window.start for s in samples).values()) == 1


async def test_a_closed_period_keeps_its_rivals_whatever_fails_later() -> None:
    """A loss after the period takes nothing from home, B3 and the oracle of the period."""
    world = World()
    await world.up(chat())
    world.traffic["chat"] = Traffic(1.0, 6.0)
    start = world.now
    await world.run(900, every=EVERY)
    period = Window(start, world.now)
    before = await service_report(world.runtime, "chat", period)

    world.room["sky/se"] = 0
    world.preempt(world.the_replica().name)
    await world.run(200, every=EVERY)
    after = await service_report(world.runtime, "chat", period)

    assert world.regions() != ["se"]
    assert [(r.name, r.region) for r in after.rivals] == [(r.name, r.region) for r in before.rivals]
    assert {r.region for r in after.rivals if r.name != "oracle"} == {"sky/se"}
    for rival in after.rivals:
        assert rival.grams == pytest.approx(after.grams), rival.name
