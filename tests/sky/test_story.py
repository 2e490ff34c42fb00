"""One service on two real Slurm regions by real SkyPilot and real vLLM, from its first deploy to its end.

The traffic never stops, and no answer fails or is cut. It is light, because two cores serve, start replicas and ask.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from infra.lab import Lab
from orchestrator.demo.traffic import Stream, Tally
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.replica import ENDED, ReplicaState
from tests.e2e.deployment import Deployment, until
from tests.notes import note, phase
from tests.sky.installation import (
    EU,
    PATIENCE_SECONDS,
    US,
    install,
    is_job_of,
    jobs,
    last_operation_is_done,
    of,
    regions,
    serving,
    settled,
)

pytestmark = [pytest.mark.slurm, pytest.mark.engine, pytest.mark.ray]

SPEC = """
apiVersion: greenctl/v1
name: chat
model: {{id: {model}, served_name: tiny, args: {{max_model_len: 1024}}}}
resources: {{infra: slurm}}
service: {{replicas: {replicas}, readiness_probe: {{path: /health, initial_delay_seconds: 420}}}}
placement: {{allow: [slurm/*]{most}}}
policy: {{set: {{max_extra_cost: unlimited}}}}
migration: {{enabled: {moves}, min_dwell: 10m, canary: [50%, 100%], canary_hold: 8s, drain: 180s}}
gateway: {{retries: 3, resume_streams: {resumes}}}
"""


LONG_TOKENS = 950
LONG_STREAMS = 6


def spec(model: Path, replicas: int, *, one_each: bool = False, moves: bool = False, resumes: bool = False) -> str:
    """The service with that many replicas, in each region at most one or as the policy likes."""
    most = ", max_per_region: 1" if one_each else ""
    words = {"moves": str(moves).lower(), "resumes": str(resumes).lower()}
    return SPEC.format(model=model, replicas=replicas, most=most, **words)


@pytest.fixture(scope="module")
def made(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """An installation of its own."""
    installed = install(lab, tmp_path_factory.mktemp("grid"), change_after=timedelta(hours=1))
    try:
        yield installed
    finally:
        installed.end()


def test_a_service_lives_on_two_regions(lab: Lab, made: Deployment, model: Path) -> None:
    """Deploy, serve, move with the grid, meet a full region, lose a replica, end: nothing fails, nothing is left."""
    with phase("deploy: 2 replicas in 2 regions, ready"):
        made.run("deploy", made.spec(spec(model, 2, one_each=True)), "--yes")
    assert regions(made, "chat") == [EU, US]
    assert len(of(made, lab, EU)) == len(of(made, lab, US)) == 1

    tally = asyncio.run(_live(lab, made, model))

    assert (tally.failed, tally.truncated) == (0, 0), tally.problems
    assert tally.ok > 50
    with phase("down: nothing left in either queue"):
        made.run("down", "chat", "--yes")
        assert jobs(made, lab) == []
    note(f"answers: {tally.ok} ok, {tally.failed} failed, {tally.truncated} truncated, by region {tally.by_region}")
    ended = made.records().replicas("chat", ended=True)
    assert all(r.state in ENDED and r.cleaned_up for r in ended)


async def _live(lab: Lab, made: Deployment, model: Path) -> Tally:
    stream = Stream(made.url, made.key, "tiny", clients=2, max_tokens=32, pause_seconds=2.0)
    with ThreadPoolExecutor(1) as life:
        async with stream:
            await asyncio.get_running_loop().run_in_executor(life, _what_happens, lab, made, model)
    return stream.tally


def _what_happens(lab: Lab, made: Deployment, model: Path) -> None:
    with phase("the American grid turns dirty: its replica moves"):
        made.run("deploy", made.spec(spec(model, 2, moves=True)), "--yes")
        _moves_by_itself(lab, made)
    made.run("deploy", made.spec(spec(model, 2)), "--yes")
    with phase("a long stream is open while its replica leaves"):
        _leaves_under_a_long_stream(lab, made)
    with phase("a full region: the launch fails there, lands elsewhere"):
        _lands_elsewhere(lab, made, model)
    # Up to here no stream may need it. A replica that is taken away takes the streams on it with it, so from here on
    # they go on elsewhere.
    made.run("deploy", made.spec(spec(model, 3, resumes=True)), "--yes")
    with phase("scancel: a replica is lost and replaced"):
        _is_replaced(lab, made)


def _moves_by_itself(lab: Lab, made: Deployment) -> None:
    """The policy's own decision, carried out to the end."""

    def moved() -> bool:
        records = made.records()
        own = [d for d in records.decisions("chat", kind=DecisionKind.MOVE) if d.actor == "policy"]
        return bool(own) and regions(made, "chat") == [EU, EU] and of(made, lab, US) == []

    until(moved, "the policy moved the American replica", PATIENCE_SECONDS)
    settled(made, "chat", 2)


def _leaves_under_a_long_stream(lab: Lab, made: Deployment) -> None:
    """Streams that are open on a replica when it starts to drain end whole, and only then does the replica go."""
    leaving = serving(made, "chat")[1]
    made.run("migrate", "chat", "--replica", f"r{leaving.slot}", "--to", US, "--yes", "--detach")

    def is_shifting() -> bool:
        living = made.records().replicas("chat")
        return any(r.replaces == leaving.name and r.weight_percent > 0 for r in living)

    until(is_shifting, "the replacement has its first share of the traffic", PATIENCE_SECONDS)
    with ThreadPoolExecutor(LONG_STREAMS) as clients:
        answers = [clients.submit(_long_answer, made) for _ in range(LONG_STREAMS)]
        ended = [answer.result() for answer in answers]
    until(lambda: not made.records().operations("chat"), "the move is complete", PATIENCE_SECONDS)
    last_operation_is_done(made, "chat")
    left = next(r for r in made.records().replicas("chat", ended=True) if r.name == leaving.name)
    assert left.state is ReplicaState.TERMINATED
    assert left.ended_at is not None
    on_it = [a for a in ended if a.replica == leaving.name]
    assert on_it, "no long stream was given to the replica that left"
    assert all(a.is_whole for a in ended), "a long stream was cut"
    assert not any(is_job_of(job, leaving.name) for job in jobs(made, lab))
    drain = next(e for e in made.records().events("chat") if e.replica == leaving.name and "draining" in e.text)
    gone = next(e for e in made.records().events("chat") if e.replica == leaving.name and "terminated" in e.text)
    seconds = (gone.wall_at - drain.wall_at).total_seconds()
    longest = max(a.seconds for a in on_it)
    note(f"    {len(on_it)} of {len(ended)} long streams on it, up to {longest:.1f} s; drain to gone: {seconds:.1f} s")


@dataclass(frozen=True, slots=True)
class LongAnswer:
    """Who gave it, how long it took, and whether it came to its end."""

    replica: str
    seconds: float
    is_whole: bool


def _long_answer(made: Deployment) -> LongAnswer:
    """Stream the longest answer that the model can give."""
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "tell me everything"}],
        "max_tokens": LONG_TOKENS,
        "ignore_eos": True,
        "stream": True,
    }
    with httpx.Client(timeout=PATIENCE_SECONDS, headers={"authorization": f"Bearer {made.key}"}) as client:
        started = time.monotonic()
        with client.stream("POST", f"{made.url}/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            replica = response.headers["x-greenctl-replica"]
            lines = [line for line in response.iter_lines() if line]
    return LongAnswer(replica, time.monotonic() - started, lines[-1] == "data: [DONE]")


def _lands_elsewhere(lab: Lab, made: Deployment, model: Path) -> None:
    """A third replica is wanted where the grid is clean; that region is full, so it stands in the other one."""
    before = regions(made, "chat")
    blockers = lab.fill("eu-north")
    try:
        made.run("deploy", made.spec(spec(model, 3)), "--yes")
    finally:
        for job in blockers:
            lab.scancel("eu-north", job)
    settled(made, "chat", 3)
    assert regions(made, "chat") == sorted([*before, US])
    failed = [r for r in made.records().replicas("chat", ended=True) if r.state is ReplicaState.FAILED]
    assert failed, "the full region was never tried"
    assert all(r.region == EU and r.reason.startswith("no_capacity") for r in failed), [r.reason for r in failed]


def _is_replaced(lab: Lab, made: Deployment) -> None:
    """The provider takes a replica away: it is lost, another one stands in its slot."""
    victim = next(r for r in serving(made, "chat") if r.region == EU)
    job = next(j for j in lab.squeue("eu-north") if is_job_of(j.name, victim.name))
    taken = time.monotonic()
    lab.scancel("eu-north", job.job_id)
    until(lambda: victim.name not in {r.name for r in serving(made, "chat")}, "the loss is noticed", 60)
    note(f"    the loss was noticed after {time.monotonic() - taken:.1f} s")
    settled(made, "chat", 3)
    lost = next(r for r in made.records().replicas("chat", ended=True) if r.name == victim.name)
    assert lost.state is ReplicaState.LOST
    replacement = next(r for r in serving(made, "chat") if r.slot == victim.slot)
    assert replacement.created_at > victim.created_at
