"""Nobody comes back for days: what nobody uses ends itself, what serves goes on, and whoever returns mends the rest."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.domain.lease import DEFAULT_LEASE, renewed_every
from orchestrator.domain.records import EventKind
from orchestrator.domain.replica import ReplicaState
from orchestrator.errors import ProviderUnavailable
from tests.scenario.world import World, chat

HOURS = 3600.0
DAY = timedelta(days=1)


async def test_a_replica_that_nobody_comes_back_for_ends_itself() -> None:
    """The controller is dead for days: no later than a lease after its last word nothing is paid for any more."""
    world = World()
    await world.up(chat())
    world.kill()
    await world.run(23 * HOURS, every=600.0)
    left = world.cloud.existing()
    await world.run(2 * HOURS, every=600.0)

    assert len(left) == 1, "a night, and a day, are lived through"
    assert world.cloud.existing() == frozenset()


async def test_what_serves_outlives_its_controller() -> None:
    """The gateway goes on without us, and so does what it sends requests to; it ends a lease after the last of them."""
    world = World()
    await world.up(chat())
    name = world.the_replica().name
    world.kill()
    for _ in range(5 * 24):
        await world.run(HOURS, every=HOURS)
        world.cloud.serve(name)

    assert world.cloud.existing() == {name}
    await world.run(25 * HOURS, every=HOURS)
    assert world.cloud.existing() == frozenset()


async def test_whoever_comes_back_late_finds_out_and_starts_anew() -> None:
    """What ended meanwhile is on record as lost, with its reason, and the service is up again by itself."""
    world = World()
    await world.up(chat())
    old = world.the_replica().name
    world.kill()
    await world.run(30 * HOURS, every=HOURS)
    world.start()
    await world.settle()

    assert world.replica(old).state is ReplicaState.LOST
    assert "its lease was over" in world.replica(old).reason
    assert [r.name for r in world.ready()] == sorted(world.cloud.existing())


async def test_a_controller_that_lives_renews_and_writes_it_down() -> None:
    """After days of quiet the replica runs, and its lease on record is never older than two renewals."""
    world = World()
    await world.up(chat())
    name = world.the_replica().name
    ends = []
    for _ in range(3 * 24):
        await world.run(HOURS, every=300.0)
        ends.append(world.store.leases("chat")[name] - world.now)

    assert world.cloud.existing() == {name}
    assert all(DEFAULT_LEASE - 2 * renewed_every(DEFAULT_LEASE) <= left <= DEFAULT_LEASE for left in ends)
    renewals = [call for call in world.cloud.calls if call.method == "renew"]
    assert 3 * 24 * 6 * 0.9 <= len(renewals) <= 3 * 24 * 6 * 1.1


async def test_a_replica_that_cannot_be_told_is_warned_of_in_time() -> None:
    """Its lease runs on while renewals fail; people hear of it, once, with half of the lease left to do something."""
    world = World()
    await world.up(chat())
    for _ in range(2 * 24 * 60):
        world.cloud.fail_next("renew", ProviderUnavailable("no way to it"))
    await world.run(11 * HOURS, every=60.0)
    early = [e.text for e in world.events(EventKind.WARNING) if "lease" in e.text]
    await world.run(2 * HOURS, every=60.0)
    warned = [e.text for e in world.events(EventKind.WARNING) if "lease" in e.text]

    assert early == []
    assert len(warned) == 1
    assert "could not be renewed" in warned[0]
    assert "no way to it" in warned[0]


async def test_a_replica_that_is_not_wanted_any_more_is_not_renewed() -> None:
    """Once a service is taken down, an end that does not succeed is not put off by us."""
    world = World()
    await world.up(chat())
    name = world.the_replica().name
    for _ in range(10_000):
        world.cloud.fail_next("terminate", ProviderUnavailable("nobody answers"))
    world.down()
    await world.run(26 * HOURS, every=60.0, check=False)

    assert world.store.leases("chat").get(name, world.now) <= world.now
    assert name not in world.cloud.existing()
