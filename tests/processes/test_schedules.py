"""Real processes under kill, freeze, cut, delay and a stopped database: nothing is left behind, bought twice or cut."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from orchestrator.demo.traffic import Stream, Tally
from tests.e2e.deployment import make, until
from tests.postgres import new_server
from tests.processes.proxy import Mode, Proxy
from tests.processes.schedule import FAULTS, SPEC, Yard, drawn, play

COUNT = int(os.environ.get("GREENCTL_TEST_SCHEDULES", "20"))
FIRST = int(os.environ.get("GREENCTL_TEST_SCHEDULE0", "0"))
TICK_SECONDS = "0.25"
"""A quarter of what it is unless told, for looks and for the pauses after failed ones: faults meet more looks so, and a
schedule takes less time."""

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def yard(request: pytest.FixtureRequest) -> Iterator[Yard]:
    """One ready replica, a gateway, a controller whose database is behind the proxy."""
    server = new_server(request.config)
    url = server.new_database()
    database = url.partition("@/")[2].partition("?")[0]
    proxy = Proxy(server.home / ".s.PGSQL.5432")
    proxy.start()
    through = f"postgresql://greenctl@127.0.0.1:{proxy.port}/{database}?sslmode=disable&gssencmode=disable"
    made = make(
        GREENCTL_DATABASE_URL=through,
        GREENCTL_GATEWAY__MODE="plain",
        GREENCTL_CONTROLLER__TICK_SECONDS=TICK_SECONDS,
    )
    yard = Yard(made, server, database, proxy)
    try:
        made.run("deploy", made.spec(SPEC.format(replicas=1)), "--yes")
        yield yard
    finally:
        proxy.set(Mode.PASS)
        made.end()
        proxy.close()
        server.stop()


def test_every_fault_is_drawn() -> None:
    """The schedules of a run are the same each time, and leave no fault out."""
    plans = [drawn(seed) for seed in range(20)]

    assert plans == [drawn(seed) for seed in range(20)]
    assert {name for plan in plans for name, _ in plan.faults} == set(FAULTS)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_a_schedule(yard: Yard, seed: int) -> None:
    """0 orphans, 0 double launches, an unbroken journal, and 0 truncated streams among those open meanwhile."""
    tally = asyncio.run(_under_traffic(yard, seed))

    assert tally.truncated == 0, tally.problems
    assert tally.failed == 0, tally.problems
    assert tally.ok > 0


async def _under_traffic(yard: Yard, seed: int) -> Tally:
    made = yard.deployment
    stream = Stream(made.url, made.key, "greenctl/tiny", clients=4, max_tokens=16, pause_seconds=0.05)
    async with stream:
        await asyncio.to_thread(play, yard, drawn(seed))
        await asyncio.to_thread(until, lambda: stream.tally.ok > 0, "somebody was served")
    return stream.tally
