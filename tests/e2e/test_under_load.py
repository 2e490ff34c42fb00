"""A hundred requests in flight while replicas move, and while the controller dies in the middle of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from orchestrator.demo.traffic import Stream, Tally
from orchestrator.domain.records import OperationState
from orchestrator.domain.replica import ENDED, ReplicaState
from tests.e2e.deployment import Deployment, make, until

ROUNDS = int(os.environ.get("GREENCTL_LOAD_ROUNDS", "1"))
IN_FLIGHT = 100

SPEC = """
apiVersion: greenctl/v1
name: load
model: {{id: greenctl/tiny, engine: {engine}}}
service: {{replicas: 2}}
placement: {{allow: [local/*], max_per_region: 1}}
migration: {{enabled: false, canary: [25%, 100%], canary_hold: 2s, drain: 120s}}
gateway: {{retries: 3, resume_streams: false}}
"""

ENGINES = [
    pytest.param(("builtin", "plain"), id="builtin"),
    pytest.param(("vllm", "serve"), id="vllm", marks=[pytest.mark.engine, pytest.mark.ray]),
]


@pytest.fixture(scope="module", params=ENGINES)
def deployment(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """Two ready replicas behind a gateway."""
    engine, mode = request.param
    made = make(GREENCTL_GATEWAY__MODE=mode)
    try:
        made.run("deploy", made.spec(SPEC.format(engine=engine)), "--yes")
        yield made
    finally:
        made.end()


async def _migrate_under_load(deployment: Deployment, *, kill: bool) -> Tally:
    """Keep a hundred requests in flight from before the migration until after it."""
    stream = Stream(
        deployment.url, deployment.key, "greenctl/tiny", clients=IN_FLIGHT, max_tokens=48, pause_seconds=0.0
    )
    async with stream:
        while stream.tally.ok < IN_FLIGHT:
            assert not stream.tally.problems, stream.tally.problems
            await asyncio.sleep(0.1)
        if kill:
            await asyncio.to_thread(_migrate_and_kill_controller, deployment)
        else:
            await asyncio.to_thread(deployment.run, "migrate", "load", "--yes")
        before = stream.tally.ok
        while stream.tally.ok < before + IN_FLIGHT:
            assert not stream.tally.problems, stream.tally.problems
            await asyncio.sleep(0.1)
    return stream.tally


def _migrate_and_kill_controller(deployment: Deployment) -> None:
    """SIGKILL the controller once the new replica is ready and traffic is about to shift; then start it again."""
    records = deployment.records()
    moving = deployment.start("migrate", "load", "--yes")
    try:
        until(
            lambda: any(r.replaces and r.state is ReplicaState.READY for r in records.replicas("load")),
            "the new replica is ready",
        )
        deployment.kill_controller()
        deployment.run("controller", "start")
        until(lambda: not records.operations("load"), "the migration was completed by the next controller")
    finally:
        moving.wait(60)
    newest = records.operations("load", open_only=False)[-1]
    assert newest.state is OperationState.DONE, newest.error


@pytest.mark.parametrize("round_number", range(ROUNDS))
@pytest.mark.parametrize("kill", [False, True], ids=["steady", "controller-killed"])
def test_no_request_is_lost_while_a_replica_moves(deployment: Deployment, kill: bool, round_number: int) -> None:
    """100 requests in flight, one migration: none fails, none is truncated, and nothing is left of the old replica."""
    del round_number
    tally = asyncio.run(_migrate_under_load(deployment, kill=kill))

    assert (tally.failed, tally.truncated) == (0, 0), tally.problems
    assert tally.ok >= 2 * IN_FLIGHT
    records = deployment.records()
    gone = [r for r in records.replicas("load", ended=True) if r.state in ENDED]
    assert all(r.state is ReplicaState.TERMINATED and r.cleaned_up for r in gone)
    serving = {r.name for r in records.replicas("load") if r.state is ReplicaState.READY}
    assert len(serving) == 2
    assert {p.environ()["GREENCTL_REPLICA"] for p in deployment.engines()} == serving
