"""A service on real vLLM through its day: load comes and goes, one window moves replicas, another finds no reason to.

The traffic never stops and no answer fails or is cut. ``GREENCTL_BURST_SECONDS`` says for how long four times the usual
load is sent at the least: 60 s unless told.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.clocks import anchored
from orchestrator.demo.traffic import Stream, Tally
from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.replica import ENDED, Replica, ReplicaState
from orchestrator.domain.time import Instant, format_instant
from tests.e2e.carbon import Level, record
from tests.e2e.deployment import Deployment, make, until
from tests.notes import note, phase

pytestmark = [pytest.mark.engine, pytest.mark.ray]

BURST_SECONDS = float(os.environ.get("GREENCTL_BURST_SECONDS", "60"))
PATIENCE_SECONDS = 420.0
START = datetime(2026, 3, 2, 4, tzinfo=UTC)
RATE = 60.0
"""An hour of grid time per minute, so a window of one grid minute is open for a second."""

DIRTY, CLEAN = "local/us-mida-pjm", "local/de"
ANYWHERE = f"{DIRTY}, {CLEAN}"
LEVELS = {"US-MIDA-PJM": Level(500.0, 500.0), "DE": Level(60.0, 60.0), "SE": Level(400.0, 400.0)}

SPEC = """
apiVersion: greenctl/v1
name: day
model: {{id: greenctl/tiny, engine: vllm}}
service:
  replica_policy: {{min_replicas: 1, max_replicas: 3, target_qps_per_replica: 0.6, downscale_delay_seconds: 15}}
placement: {{allow: [{allow}]}}
policy: {{set: {{max_extra_cost: unlimited}}}}
migration: {{min_dwell: 1m, max_moves_per_day: 6, canary: [50%, 100%], canary_hold: 3s, drain: 120s{schedule}}}
gateway: {{retries: 3, resume_streams: false}}
"""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Deployment]:
    """An installation in a world whose German grid is clean."""
    record(tmp_path, START, START, LEVELS)
    installed = make(
        GREENCTL_SIGNALS__RECORDED=str(tmp_path),
        GREENCTL_SIGNALS__PROFILE="false",
        GREENCTL_WORLD__START=format_instant(START),
        GREENCTL_WORLD__RATE=str(RATE),
    )
    installed.patience_seconds = PATIENCE_SECONDS
    try:
        yield installed
    finally:
        installed.end()


def spec(allow: str, *windows: tuple[Instant, Instant]) -> str:
    """The service that may be there, and may move of its own accord in these windows."""
    listed = ", ".join(f'{{days: [mon-sun], from: "{a:%H:%M}", to: "{b:%H:%M}"}}' for a, b in windows)
    return SPEC.format(allow=allow, schedule=f", schedule: {{windows: [{listed}]}}" if windows else "")


def test_load_and_windows_decide_and_nobody_who_asks_notices(made: Deployment) -> None:
    """One replica, three under four times the load, moved in their window, one again; then nothing is left."""
    with phase("busy day: deploy, ready"):
        made.run("deploy", made.spec(spec(DIRTY)), "--yes")
    assert [r.region for r in serving(made)] == [DIRTY]

    tally = asyncio.run(_day(made))

    assert (tally.failed, tally.truncated) == (0, 0), tally.problems
    assert tally.by_region.keys() == {DIRTY, CLEAN}
    note(f"busy day: {tally.ok} ok, {tally.failed} failed, {tally.truncated} truncated, by region {tally.by_region}")
    made.run("down", "day", "--yes")
    assert made.engines() == []
    ended = made.records().replicas("day", ended=True)
    assert all(r.state in ENDED and r.cleaned_up for r in ended)


async def _day(made: Deployment) -> Tally:
    """The usual load, and three times as much on top of it for a while."""
    usual, more = (
        Stream(made.url, made.key, "greenctl/tiny", clients=n, max_tokens=24, pause_seconds=2.0) for n in (1, 3)
    )
    with ThreadPoolExecutor(1) as life:
        loop = asyncio.get_running_loop()
        async with usual:
            async with more:
                await loop.run_in_executor(life, _burst, made)
            await loop.run_in_executor(life, _calm, made)
    tallies = usual.tally, more.tally
    return Tally(
        ok=sum(t.ok for t in tallies),
        failed=sum(t.failed for t in tallies),
        truncated=sum(t.truncated for t in tallies),
        by_region={r: sum(t.by_region.get(r, 0) for t in tallies) for r in usual.tally.by_region},
        problems=[p for t in tallies for p in t.problems],
    )


def _burst(made: Deployment) -> None:
    """Load adds replicas; then the clean region is opened, and the windows come."""
    begun = time.monotonic()
    with phase("busy day: four times the load, three replicas serve"):
        until(lambda: len(serving(made)) == 3, "load added two replicas", PATIENCE_SECONDS)
    first = _present(made) + timedelta(minutes=30)
    until_then = first + timedelta(hours=4)
    made.run("deploy", made.spec(spec(ANYWHERE, (first, until_then))), "--yes")
    with phase("busy day: its window moves whoever is in the dirty region"):
        until(lambda: {r.region for r in made.records().replicas("day")} == {CLEAN}, "all moved", PATIENCE_SECONDS)
    assert moves(made), "nobody moved: they were lost, or scaled"
    assert all(first <= d.at < until_then for d in moves(made)), (first, until_then, moves(made))
    until(lambda: time.monotonic() >= begun + BURST_SECONDS, "the burst is over", BURST_SECONDS + 1)


def _calm(made: Deployment) -> None:
    """The load is the usual one again: one replica stays, and a window in which nothing is to gain says why."""
    with phase("busy day: the usual load again, one replica"):
        until(lambda: len(made.records().replicas("day")) == 1, "the end of the load removed two", PATIENCE_SECONDS)
    (last,) = serving(made)
    first = _present(made) + timedelta(minutes=15)
    until_then = first + timedelta(minutes=10)
    made.run("deploy", made.spec(spec(ANYWHERE, (first, until_then))), "--yes")
    with phase("busy day: a window without gain says why"):
        until(lambda: bool(endings(made, first)), "the window without gain was recorded", PATIENCE_SECONDS)
    (stay,) = endings(made, first)
    note(f"busy day: {stay.summary}")
    assert stay.kind is DecisionKind.STAY
    assert stay.at >= until_then
    assert [r.name for r in serving(made)] == [last.name]


def serving(made: Deployment) -> list[Replica]:
    """Replicas that are ready."""
    return [r for r in made.records().replicas("day") if r.state is ReplicaState.READY]


def moves(made: Deployment) -> list[Decision]:
    """What the policy moved of its own accord."""
    return [d for d in made.records().decisions("day", kind=DecisionKind.MOVE) if d.actor == "policy"]


def endings(made: Deployment, since: Instant) -> list[Decision]:
    """What was said when a window closed in which nothing was moved."""
    found = made.records().decisions("day", kind=DecisionKind.STAY, limit=1_000)
    return [d for d in found if d.at >= since and " is over: stay, because " in d.summary]


def _present(made: Deployment) -> Instant:
    """The grid's present, at a full minute."""
    return anchored(made.state_dir, START, RATE).now().replace(second=0, microsecond=0)
