"""What people read of work that waits: until when, why, and what that saves."""

from __future__ import annotations

import asyncio

from orchestrator.domain.carbon import Basis
from orchestrator.domain.time import HOUR, floor_hour
from tests.unit.cli.world import World

SPEC = """\
name: chat
model: {id: greenctl/tiny, engine: builtin}
placement: {allow: ['local/de']}
service: {replica_policy: {min_replicas: 0, max_replicas: 2}}
batch: {engine_hours: 2, due: {at: DUE}}
"""


def windy(world: World, hours: int) -> str:
    """Let the wind blow for three hours, so many hours from now on, each day; return a time of the day after it."""
    start = floor_hour(world.clock.now())
    world.carbon._held.pop(("DE", Basis()), None)
    past = 28 * 24 + 24
    grams = [20.0 if (hour - hours) % 24 < 3 else 400.0 for hour in range(-past, 72)]
    world.carbon.put("DE", start - past * HOUR, grams)
    return f"{start + (hours + 8) * HOUR:%H:%M}"


def test_plan_status_and_explain_say_until_when_it_waits(world: World) -> None:
    """The first replica shows that it can serve; then nothing runs, and everybody can read why."""
    due = windy(world, 6)
    file = world.spec_file(SPEC.replace("DUE", due))
    planned = world.run("plan", file)
    assert planned.exit_code == 0, planned.stderr
    page = " ".join(planned.stdout.split())
    assert "(0 to 2 by hours: one to begin with, to be seen to serve; batch waits until" in page
    assert "less than beginning now); 2.0 engine hours of work by" in page

    deployed = world.run("deploy", file, "--yes")
    assert deployed.exit_code == 0, deployed.stderr

    async def go_on() -> None:
        for _ in range(30):
            await world.clock.sleep(60.0)

    asyncio.run(go_on())
    status = " ".join(world.run("status").stdout.split())
    assert "chat: stay: asleep, 0 replicas: batch waits until" in status
    assert "(of 0 to 2)" in status
    told = " ".join(world.run("explain", "chat").stdout.split())
    for words in ("How many replicas", "batch waits until", "beginning now", "as planned", "engine h", "launches"):
        assert words in told
    size = world.document("status")["services"][0]["sizing"]
    assert f"batch waits until {size['until']} (local/de: " in size["because"]
    assert size["replicas"] == 0
