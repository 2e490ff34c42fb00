"""What ``status --json`` tells while no signal can be read: what runs, that it stays, and why."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from orchestrator.domain.carbon import Kind
from orchestrator.domain.time import HOUR
from orchestrator.signals.fake import FakeCarbon
from tests.unit.cli.world import World

LEAST_LOOKS = 30
LONGEST_STEP = 4 * HOUR
"""Well within a replica's lease, which the controller renews while it looks."""

REASON = "the source does not answer"


def wait(world: World, length: timedelta) -> None:
    """Let so much time pass, in which the controller looks again and again."""

    async def pass_by() -> None:
        looks = max(LEAST_LOOKS, round(length / LONGEST_STEP))
        for _ in range(looks):
            await world.clock.sleep(length.total_seconds() / looks)

    asyncio.run(pass_by())


@pytest.mark.parametrize("length", [timedelta(minutes=1), 6 * HOUR, timedelta(days=30)], ids=str)
def test_a_blackout_leaves_the_last_plan_then_a_safe_one_and_status_says_why(world: World, length: timedelta) -> None:
    """What runs stays; what is lost comes back where it stood; what cannot be known is not zero; light ends it."""
    deployed = world.run("deploy", world.spec_file(), "--yes")
    assert deployed.exit_code == 0, deployed.stderr
    (before,) = world.document("status")["services"][0]["replicas"]
    world.carbon.fail(REASON)
    wait(world, length)

    dark = world.document("status")["services"][0]
    (replica,) = dark["replicas"]
    assert replica["replica"] == before["replica"] | {"state_since": replica["replica"]["state_since"]}
    assert (dark["ready"], dark["wanted"]) == (1, 1)
    assert dark["grams_per_hour"] is None
    assert REASON in replica["grid"]["reason"]
    assert REASON in dark["look"] or length < HOUR

    world.provisioner.vanish(replica["replica"]["name"])
    wait(world, timedelta(minutes=5))
    replaced = world.document("status")["services"][0]
    (other,) = replaced["replicas"]
    assert other["replica"]["name"] != replica["replica"]["name"]
    assert (other["replica"]["region"], replaced["ready"]) == (replica["replica"]["region"], 1)
    assert REASON in replaced["look"] or "signal" in replaced["look"]

    world.carbon.heal()
    wait(world, timedelta(minutes=5))
    light = world.document("status")["services"][0]
    assert light["replicas"][0]["grid"]["grams_per_kwh"] == 20.0
    assert REASON not in light["look"]
    assert light["ready"] == 1


def test_whoever_stands_in_for_a_source_that_cannot_be_read_is_told_of(world: World) -> None:
    """A broken recording is not replaced by made-up numbers in silence, not even where silence was asked for."""
    likeness = FakeCarbon("profile", kind=Kind.SYNTHETIC)
    for zone in ("SE", "DE"):
        likeness.hold(zone, 300.0)
    world.stand_in(likeness)
    assert "could not be read" not in world.run("plan", world.spec_file()).stderr

    world.carbon.fail("ci_lifecycle_2023.csv:2: the time has no zone")
    words = "warning: the carbon source 'fake' could not be read: ci_lifecycle_2023.csv:2: the time has no zone."
    assert words in " ".join(world.run("plan", world.spec_file(), "--quiet").stderr.split())
    assert words in " ".join(world.run("deploy", world.spec_file(), "--yes").stderr.split())
    assert words in " ".join(world.run("status").stderr.split())
    for document in (world.document("plan", world.spec_file()), world.document("status")):
        (gap,) = document["unread_signals"]
        assert (gap["source"], gap["reason"]) == ("fake", "ci_lifecycle_2023.csv:2: the time has no zone")
