"""Load decides on the number of real processes, and nobody who sends requests notices."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from orchestrator.demo.traffic import Stream, Tally
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.replica import ENDED, ReplicaState
from tests.e2e.deployment import Deployment, make, until

SPEC = """
apiVersion: greenctl/v1
name: grow
model: {id: greenctl/tiny, engine: builtin}
service:
  replica_policy: {min_replicas: 1, max_replicas: 3, target_qps_per_replica: 0.5, downscale_delay_seconds: 10}
placement: {allow: [local/*]}
migration: {enabled: false, drain: 30s}
gateway: {resume_streams: false}
"""


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """One ready replica behind a gateway."""
    made = make(GREENCTL_GATEWAY__MODE="plain")
    try:
        made.run("deploy", made.spec(SPEC), "--yes")
        yield made
    finally:
        made.end()


def serving(deployment: Deployment) -> set[str]:
    """Names of the replicas that serve."""
    return {r.name for r in deployment.records().replicas("grow") if r.state is ReplicaState.READY}


async def _burst(deployment: Deployment) -> Tally:
    """Send far more than one replica's target until three serve and a new controller has taken over."""
    stream = Stream(deployment.url, deployment.key, "greenctl/tiny", clients=8, max_tokens=8, pause_seconds=1.0)
    async with stream:
        await asyncio.to_thread(until, lambda: len(serving(deployment)) == 3, "load added two replicas")
        grown = serving(deployment)
        await asyncio.to_thread(deployment.kill_controller)
        await asyncio.to_thread(deployment.run, "controller", "start")
        before = stream.tally.ok
        while stream.tally.ok < before + 100:
            assert not stream.tally.problems, stream.tally.problems
            await asyncio.sleep(0.1)
        assert serving(deployment) == grown, "a new controller changed the number"
    return stream.tally


def test_load_adds_processes_and_its_end_removes_them(deployment: Deployment) -> None:
    """One process, then three, then one; no request fails, and a controller that is killed between changes nothing."""
    tally = asyncio.run(_burst(deployment))
    assert (tally.failed, tally.truncated) == (0, 0), tally.problems

    until(lambda: len(serving(deployment)) == 1, "the end of the load removed two replicas")
    records = deployment.records()
    until(lambda: len(records.replicas("grow")) == 1, "nothing of them is left")
    ended = [r for r in records.replicas("grow", ended=True) if r.state in ENDED]
    assert [r.state for r in ended] == [ReplicaState.TERMINATED] * 2
    assert {p.environ()["GREENCTL_REPLICA"] for p in deployment.engines()} == serving(deployment)
    sizes = [d.sizing for d in records.decisions("grow", kind=DecisionKind.SCALE)]
    assert {s.replicas for s in sizes if s is not None} >= {1, 3}
    (status,) = deployment.json("status", "grow")["services"]  # type: ignore[misc]
    assert status["sizing"]["most"] == 3
