"""One part that fails, a service or the listings, under the real loop: everything else goes on as if it did not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from orchestrator.control.controller import Controller, Trouble
from orchestrator.controller import loop
from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.records import EventKind, OperationState
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import Scaling
from orchestrator.errors import DiskFull, GatewayUnavailable, ProviderError, ProviderUnavailable, StoreUnavailable
from tests.scenario.test_migration import BY_HAND
from tests.scenario.test_two_services import both, break_offers
from tests.scenario.world import Traffic, World, chat

MINUTE = 60.0
KEY = Path("/keys/engine")
NO_SPACE = OSError(28, "No space left on device")


class Looped:
    """A world's controller under the loop: a second passes before each look. Notes when which service is looked at."""

    def __init__(
        self, world: World, seconds: float, *, at: float = 0.0, then: Callable[[], None] | None = None
    ) -> None:
        assert world.controller is not None
        self._world, self._controller = world, world.controller
        self._end, self._at, self._then = world.clock.elapsed + seconds, world.clock.elapsed + at, then
        self.stop = asyncio.Event()
        self.looked: dict[str, list[float]] = {}
        reconcile = self._controller.reconcile

        async def noted(name: str, status: GatewayStatus | None, *, sample: bool = False) -> None:
            self.looked.setdefault(name, []).append(world.clock.elapsed)
            await reconcile(name, status, sample=sample)

        self._controller.reconcile = noted  # type: ignore[method-assign]

    @property
    def troubles(self) -> Sequence[Trouble]:
        """What the controller says of its last look."""
        return self._controller.troubles

    async def tick(self) -> None:
        """Let a second pass, then look."""
        self._world.clock.advance(timedelta(seconds=1))
        self._world._serve(1.0)
        if self._then is not None and self._world.clock.elapsed >= self._at:
            self._then()
            self._then = None
        self._world.sync_engines()
        if self._world.clock.elapsed >= self._end:
            self.stop.set()
        await self._controller.tick()

    def longest_gap(self, service: str) -> float:
        """Return the longest time between two looks at a service, in seconds."""
        times = self.looked[service]
        return max(later - earlier for earlier, later in pairwise(times))


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[EventDict]]:
    """What the loop has logged."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[Looped]]:
    """Let the loop run a world's controller for so many seconds of the world's own time."""

    async def _live(world: World, seconds: float, **more: Any) -> Looped:
        looped = Looped(world, seconds, **more)

        async def at_once(*_events: asyncio.Event, seconds: float) -> bool:
            return seconds > MINUTE

        async def pause(_stop: asyncio.Event, length: float) -> None:
            world.clock.advance(timedelta(seconds=length))

        async def keep_gateway() -> None:
            return

        monkeypatch.setattr(loop, "_either", at_once)
        monkeypatch.setattr(loop, "_pause", pause)
        await loop.run(cast("Controller", looped), MINUTE, looped.stop, keep_gateway)
        return looped

    return _live


async def test_a_service_whose_look_fails_does_not_slow_the_looks_at_another_one(
    live: Callable[..., Awaitable[Looped]], logged: list[EventDict]
) -> None:
    """Twenty minutes of it: the other is looked at every second and repaired at once; the log names the service."""
    world = await both(resources=replace(chat().resources, min_vcpus=1.0))
    break_offers(world)
    lost = world.ready("talk")[0].name

    looped = await live(world, 20 * MINUTE, at=2 * MINUTE, then=lambda: world.preempt(lost))

    assert looped.longest_gap("talk") <= 2
    assert looped.longest_gap("chat") > 25, "it is left alone for longer and longer"
    assert len(world.ready("talk")) == 2
    assert lost not in world.upstreams("talk")
    told = [e for e in world.events(EventKind.WARNING) if "look failed" in e.text]
    assert [e.service for e in told] == ["chat"]
    assert {(e["event"], e["service"]) for e in logged} == {("look_failed", "chat")}


async def test_where_no_look_goes_well_the_loop_itself_waits(live: Callable[..., Awaitable[Looped]]) -> None:
    """One service alone, whose looks all fail: what fails everywhere is not tried every second."""
    world = World()
    await world.up(chat(2, migration=BY_HAND, resources=replace(chat().resources, min_vcpus=1.0)))
    break_offers(world)

    looped = await live(world, 20 * MINUTE)

    assert len(looped.looked["chat"]) < 60


async def test_a_listing_that_fails_with_an_error_of_the_system_stops_no_look(
    live: Callable[..., Awaitable[Looped]],
) -> None:
    """No space left: it is a listing that cannot be used, which is told of once, and both services go on."""
    world = await both()

    async def inventory(_uid: str) -> Any:
        raise NO_SPACE

    world.cloud.inventory = inventory  # type: ignore[method-assign]
    lost = world.ready("talk")[0].name

    looped = await live(world, 10 * MINUTE, at=2 * MINUTE, then=lambda: world.preempt(lost))

    assert max(looped.longest_gap("talk"), looped.longest_gap("chat")) <= 2
    assert len(world.ready("talk")) == 2
    told = [e.text for e in world.events(EventKind.WARNING)]
    assert len([t for t in told if "OSError: No space left on device" in t]) == 1
    assert len([t for t in told if "failed and will be repeated" in t]) == 0


def silence(world: World, service: str) -> Callable[[], None]:
    """Let the provider say nothing of a service's replicas; return what lets it speak again."""
    return silence_of(world, *(r.name for r in world.ready(service)))


def silence_of(world: World, *mute: str) -> Callable[[], None]:
    """Let the provider say nothing of these replicas; return what lets it speak again."""
    real = world.cloud.describe

    async def describe(name: str) -> Any:
        if name in mute:
            raise ProviderUnavailable("SkyPilot has not answered")
        return await real(name)

    def speak() -> None:
        world.cloud.describe = real  # type: ignore[method-assign]

    world.cloud.describe = describe  # type: ignore[method-assign]
    return speak


async def restarted_beside_a_silent_provider() -> tuple[World, Callable[[], None]]:
    """The provider of one of two services cannot be asked since before the controller was started anew."""
    world = await both()
    world.cloud.key_file = KEY
    await world.run(2)
    speak = silence(world, "talk")
    world.kill()
    world.start()
    await world.run(5)
    return world, speak


def keys(world: World, service: str) -> set[str | None]:
    """The key files that the gateway has for a service's replicas."""
    return {u.api_key_file for s in world.table().services if s.service == service for u in s.upstreams}


async def test_a_provider_that_says_nothing_after_a_restart_holds_up_its_own_services_only() -> None:
    """The other one is deployed, repaired and taken down meanwhile; those that nobody sees keep routes and keys."""
    world, speak = await restarted_beside_a_silent_provider()
    talk = set(world.upstreams("talk"))
    more = await world.deploy(chat(3, migration=BY_HAND))
    await world.run(MINUTE)
    lost = world.ready("chat")[0].name
    world.preempt(lost)
    await world.run(MINUTE)

    assert world.operation(more).state is OperationState.DONE
    assert set(world.upstreams("chat")) == {r.name for r in world.ready("chat")}
    assert lost not in world.upstreams("chat")
    assert set(world.upstreams("talk")) == talk
    assert keys(world, "talk") == {str(KEY)}

    speak()
    await world.settle()
    assert set(world.upstreams("talk")) == talk
    assert keys(world, "talk") == {str(KEY)}
    assert world.refused == 0
    world.check_at_rest()


async def test_who_was_not_seen_since_a_restart_and_is_taken_down_gets_nothing_new() -> None:
    """The routes that it keeps say that it leaves; it ends once its provider can be asked."""
    world, speak = await restarted_beside_a_silent_provider()
    del world.traffic["talk"]
    down = world.down("talk")
    await world.run(10)

    assert {u.draining for s in world.table().services if s.service == "talk" for u in s.upstreams} == {True}
    speak()
    await world.settle()
    assert world.operation(down).state is OperationState.DONE
    assert {s.service for s in world.table().services} == {"chat"}
    world.check_at_rest()


async def test_a_service_whose_looks_fail_since_a_restart_holds_up_no_other(
    live: Callable[..., Awaitable[Looped]],
) -> None:
    """Nothing was worked out for it yet: it keeps the routes that the gateway has, the other one gets new ones."""
    world = await both(resources=replace(chat().resources, min_vcpus=1.0))
    break_offers(world)
    world.kill()
    world.start()
    lost, held = world.ready("talk")[0].name, set(world.upstreams("chat"))

    await live(world, 5 * MINUTE, at=5, then=lambda: world.preempt(lost))

    assert set(world.upstreams("talk")) == {r.name for r in world.ready("talk")}
    assert len(world.ready("talk")) == 2
    assert set(world.upstreams("chat")) == held


async def test_without_a_table_to_go_on_from_the_gateway_is_told_nothing() -> None:
    """A table without a service that serves would take it from its clients: rather none than that."""
    world = await both()
    silence(world, "talk")
    world.kill()
    world.start()
    real = world.gateway.applied

    async def applied() -> Any:
        raise GatewayUnavailable("the table cannot be read")

    world.gateway.applied = applied  # type: ignore[method-assign]
    before = world.table()
    await world.run(5)
    assert world.table() == before

    world.gateway.applied = real  # type: ignore[method-assign]
    await world.run(5)
    assert {s.service for s in world.table().services} == {"chat", "talk"}


async def restarted_beside_a_silent_replica(world: World) -> tuple[str, Callable[[], None]]:
    """The provider of the first replica of ``chat`` cannot be asked since before the controller was started anew."""
    first = world.ready()[0].name
    await world.run(2)
    speak = silence_of(world, first)
    world.kill()
    world.start()
    await world.run(5)
    return first, speak


async def test_a_replica_that_was_not_seen_since_a_restart_keeps_no_other_from_its_service_s_traffic() -> None:
    """What replaces a lost one is routed to beside it, and carries the traffic alone when the silent one is gone."""
    world = await both()
    world.cloud.key_file = KEY
    silent, speak = await restarted_beside_a_silent_replica(world)
    lost = world.ready()[1].name
    world.preempt(lost)
    await world.run(MINUTE)
    new = world.ready()[1].name

    assert new != lost
    assert world.routed() == {silent: 100, new: 100}
    assert keys(world, "chat") == {str(KEY)}

    world.preempt(silent)
    await world.run(10 * MINUTE, every=2)
    assert world.refused == 0
    speak()
    await world.settle()
    assert silent not in world.upstreams()
    world.check_at_rest()


async def test_what_load_asks_for_is_routed_to_beside_a_replica_that_was_not_seen_since_a_restart() -> None:
    """Three more are bought and all of them get their part."""
    world = World()
    world.cloud.key_file = KEY
    await world.up(chat(1, migration=BY_HAND, scaling=Scaling(1, 5, target_qps_per_replica=1.0)))
    await restarted_beside_a_silent_replica(world)
    world.traffic["chat"] = Traffic(4.0, 1.0)
    await world.run(5 * MINUTE, every=2)

    assert len(world.ready()) > 1
    assert world.routed() == {r.name: 100 for r in world.ready()}
    assert keys(world, "chat") == {str(KEY)}


async def test_a_replica_that_was_not_seen_since_a_restart_hands_its_traffic_over() -> None:
    """Step by step, as if its provider had fallen silent later; it ends once its provider can be asked."""
    world = await both()
    silent, speak = await restarted_beside_a_silent_replica(world)
    move = await world.migrate("de", replica="r0")
    seen: list[tuple[int, int]] = []

    def leaves() -> bool:
        new = next((r.name for r in world.ready() if r.replaces == silent), "")
        seen.append((world.routed().get(silent, 0), world.routed().get(new, 0)))
        return world.replica(silent).state is ReplicaState.DRAINING

    await world.until(leaves)
    assert list(dict.fromkeys(seen)) == [(100, 0), (90, 10), (50, 50), (0, 100)]
    await world.run(MINUTE)
    assert world.replica(silent).state is ReplicaState.DRAINING
    speak()
    await world.settle()
    assert world.operation(move).state is OperationState.DONE
    assert world.refused == 0
    world.check_at_rest()


async def test_a_replica_of_which_neither_its_provider_nor_the_gateway_knows_a_key_waits_for_it() -> None:
    """It became ready just before the restart, and the gateway could not be told any more: all others are routed to."""
    world = await both()
    world.cloud.key_file = KEY
    await world.run(2)
    world.gateway_is_away()
    lost = world.ready()[1].name
    world.preempt(lost)
    await world.until(lambda: len(world.ready()) == 2 and world.ready()[1].name != lost)
    world.kill()
    first, new = [r.name for r in world.ready()]
    speak = silence_of(world, new)
    world.gateway_is_back()
    world.start()
    await world.run(MINUTE)

    assert set(world.upstreams()) == {first}
    speak()
    await world.run(2)
    assert world.routed() == {first: 100, new: 100}
    assert keys(world, "chat") == {str(KEY)}


def change_client_key(world: World, digit: str) -> None:
    """Take the key that clients use away and give them another one; a controller knows it from its start on."""
    world.kill()
    world.runtime = replace(world.runtime, client_keys_sha256=(digit * 64,))
    world.start()


def client_keys(world: World) -> dict[str, tuple[str, ...]]:
    """The first digit of each client key that the gateway takes, by service."""
    return {s.service: tuple(k[0] for k in s.allowed_keys_sha256) for s in world.table().services}


async def test_a_client_key_that_was_taken_away_ends_for_services_that_nobody_sees_as_well(
    live: Callable[..., Awaitable[Looped]],
) -> None:
    """The provider of one is silent since before the change, the looks at the other fail."""
    world = await both(resources=replace(chat().resources, min_vcpus=1.0))
    change_client_key(world, "a")
    await world.run(5)
    assert client_keys(world) == {"chat": ("a",), "talk": ("a",)}

    silence(world, "talk")
    break_offers(world)
    change_client_key(world, "b")
    await live(world, 10)

    assert client_keys(world) == {"chat": ("b",), "talk": ("b",)}


async def test_a_client_key_that_was_taken_away_ends_where_no_look_goes_well(
    live: Callable[..., Awaitable[Looped]],
) -> None:
    """One service alone, whose looks all fail: its routes stay, the key does not."""
    world = World()
    await world.up(chat(2, migration=BY_HAND, resources=replace(chat().resources, min_vcpus=1.0)))
    held = set(world.upstreams())
    break_offers(world)
    change_client_key(world, "b")
    await live(world, 10)

    assert client_keys(world) == {"chat": ("b",)}
    assert set(world.upstreams()) == held


class Forgetful:
    """A journal whose list of suspects cannot be read while ``error`` is set."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def wrap(self, port: str, real: Any) -> Any:
        """Stand between the controller and its journal."""
        return _Forgetful(real, self) if port == "journal" else real


class _Forgetful:
    def __init__(self, real: Any, forgetful: Forgetful) -> None:
        self._real, self._forgetful = real, forgetful

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def suspects(self) -> Any:
        if self._forgetful.error is not None:
            raise self._forgetful.error
        return self._real.suspects()


async def with_forgetful_journal() -> tuple[World, Forgetful]:
    """One service at rest, just before a sweep is due."""
    forgetful = Forgetful()
    world = World(wrap=forgetful.wrap)
    await world.up(chat(2, migration=BY_HAND))
    return world, forgetful


async def test_a_sweep_that_fails_is_told_once_repeated_and_stops_no_look(
    live: Callable[..., Awaitable[Looped]],
) -> None:
    """Whatever nobody expected: looks go on, sweeps are tried again and again, and go on when it is over."""
    world, forgetful = await with_forgetful_journal()
    forgetful.error = RuntimeError("nobody expected this")

    longest_gap = (await live(world, 10 * MINUTE)).longest_gap("chat")
    told = [e.text for e in world.events(EventKind.WARNING) if "sweep failed" in e.text]
    forgetful.error = None
    stray = await world.plant()
    await world.run(2 * MINUTE, every=10)

    assert longest_gap <= 2
    assert told == ["the last sweep failed and will be repeated: RuntimeError"]
    assert [s.name for s in world.store.suspects()] == [stray]


@pytest.mark.parametrize("error", [StoreUnavailable("the database does not answer"), DiskFull("no space left")])
async def test_without_a_database_nothing_is_done_after_a_sweep_that_failed(error: ProviderError) -> None:
    """Only a sweep says whether the database was set back, and nobody may act before that.

    Nor on a full disk, where what the sweep had to write had no room, and the next write may have.
    """
    world, forgetful = await with_forgetful_journal()
    world.kill()
    controller = world.start()
    forgetful.error = error
    world.preempt(world.ready()[0].name)
    world.sync_engines()
    before = world.store.replicas()

    with pytest.raises(type(error)):
        await controller.tick()

    assert world.store.replicas() == before
