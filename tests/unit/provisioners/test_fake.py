"""The fake misbehaves as it is told, and not otherwise."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.control.ports import LaunchRequest, Phase
from orchestrator.domain.service import ModelSpec
from orchestrator.errors import NoCapacity, ProviderError
from orchestrator.provisioners.fake import Call, FakeProvisioner
from tests.builders import offer

GRACE = timedelta(seconds=30)


class World:
    """A fake and its clock."""

    def __init__(self, **behaviour: object) -> None:
        self.seconds = 0.0
        self.provisioner = FakeProvisioner(lambda: self.seconds, **behaviour)  # type: ignore[arg-type]

    async def launch(self, name: str = "r1") -> None:
        """Launch one."""
        request = LaunchRequest(name, "uid", "chat", "i1", offer("fake/se"), ModelSpec("m"))
        await self.provisioner.launch(request)

    async def phase(self, name: str = "r1") -> Phase:
        """Describe one."""
        return (await self.provisioner.describe(name)).phase

    async def names(self) -> list[str]:
        """List all."""
        return [instance.name for instance in await self.provisioner.inventory("uid")]


async def test_a_lost_reply_leaves_an_instance_behind() -> None:
    """The create succeeded and the answer was lost: the next try finds it and buys nothing."""
    world = World()
    world.provisioner.lose_next_reply(ProviderError("connection reset"))
    with pytest.raises(ProviderError, match="connection reset"):
        await world.launch()
    await world.launch()

    assert world.provisioner.existing() == {"r1"}
    assert len(world.provisioner.launches) == 1


async def test_a_failed_launch_leaves_nothing_and_the_next_one_succeeds() -> None:
    """A queued error is raised once."""
    world = World()
    world.provisioner.fail_next("launch", NoCapacity("sold out"))
    with pytest.raises(NoCapacity):
        await world.launch()
    assert world.provisioner.existing() == frozenset()
    await world.launch()

    assert world.provisioner.existing() == {"r1"}


async def test_listings_lag_behind_what_exists() -> None:
    """A new instance costs money before it can be seen, in listings and by name."""
    world = World(listing_lag_seconds=60.0)
    await world.launch()

    assert world.provisioner.existing() == {"r1"}
    assert (await world.phase(), await world.names()) == (Phase.GONE, [])
    world.seconds = 60.0
    assert (await world.phase(), await world.names()) == (Phase.RUNNING, ["r1"])


async def test_a_create_can_succeed_late() -> None:
    """The delay holds for one launch; starting takes its own time after that."""
    world = World(start_seconds=10.0)
    world.provisioner.delay_next_launch(100.0)
    await world.launch("r1")
    await world.launch("r2")

    assert await world.names() == ["r2"]
    world.seconds = 100.0
    assert (await world.phase("r1"), await world.phase("r2")) == (Phase.STARTING, Phase.RUNNING)
    world.seconds = 110.0
    assert await world.phase("r1") is Phase.RUNNING


async def test_a_terminate_can_lie() -> None:
    """Success is reported and nothing happens; the next one is honest."""
    world = World()
    await world.launch()
    world.provisioner.lie_at_next_terminate()
    await world.provisioner.terminate("r1", GRACE)
    assert (await world.phase(), world.provisioner.existing()) == (Phase.RUNNING, {"r1"})
    await world.provisioner.terminate("r1", GRACE)

    assert (await world.phase(), world.provisioner.existing()) == (Phase.GONE, frozenset())


async def test_the_grace_can_be_used_up() -> None:
    """An instance that takes its whole grace exists until then; a second call can only hurry."""
    world = World(stop_at_once=False)
    await world.launch()
    await world.provisioner.terminate("r1", GRACE)
    await world.provisioner.terminate("r1", 2 * GRACE)
    world.seconds = 29.0
    assert (await world.phase(), world.provisioner.existing()) == (Phase.STOPPING, {"r1"})
    world.seconds = 30.0

    assert (await world.phase(), world.provisioner.existing()) == (Phase.GONE, frozenset())


async def test_a_death_is_seen_and_a_disappearance_is_not() -> None:
    """A provider knows what died there; preempted capacity is simply gone."""
    world = World()
    await world.launch("r1")
    await world.launch("r2")
    world.provisioner.die("r1", "out of memory")
    world.provisioner.vanish("r2")

    assert (await world.provisioner.describe("r1")).exit_detail == "out of memory"
    assert (await world.phase("r1"), await world.phase("r2")) == (Phase.FAILED, Phase.GONE)
    assert world.provisioner.existing() == frozenset()


@pytest.mark.parametrize("method", ["preflight", "describe", "inventory", "terminate"])
async def test_any_call_can_be_made_to_fail(method: str) -> None:
    """Once, and it is recorded as a call."""
    world = World()
    world.provisioner.fail_next(method, ProviderError("500"))
    calls = {
        "preflight": lambda: world.provisioner.preflight(ModelSpec("x")),
        "describe": lambda: world.provisioner.describe("x"),
        "inventory": lambda: world.provisioner.inventory("x"),
        "terminate": lambda: world.provisioner.terminate("x", GRACE),
    }
    with pytest.raises(ProviderError):
        await calls[method]()
    await calls[method]()

    assert world.provisioner.calls == [Call(method, "x")] * 2
