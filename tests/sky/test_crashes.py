"""SIGKILL to the controller, in the middle of a launch, a move and an end, on real Slurm clusters.

Each point is a state of the journal or of Slurm's own queue that is waited for from outside; then the controller dies
and another one is started. What was found at that moment is noted, for life goes on between two looks. Whatever the
moment: nothing is bought twice, nothing is lost, nothing is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.lab import Lab
from orchestrator.domain.records import IntentKind, IntentState, ServiceState
from orchestrator.domain.replica import LIVE, Replica, ReplicaState
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
    serving,
    settled,
)

pytestmark = [pytest.mark.slurm, pytest.mark.engine, pytest.mark.ray]

SERVICE = "crash"
SPEC = """
apiVersion: greenctl/v1
name: crash
model: {id: MODEL, served_name: tiny}
resources: {infra: slurm}
service: {replicas: 1, readiness_probe: {path: /health, initial_delay_seconds: 420}}
placement: {allow: [slurm/*]}
policy: {set: {max_extra_cost: unlimited}}
migration: {enabled: false, canary: [50%, 100%], canary_hold: 4s, drain: 60s}
"""


_WAY = (
    ReplicaState.PENDING,
    ReplicaState.PROVISIONING,
    ReplicaState.STARTING,
    ReplicaState.READY,
    ReplicaState.DRAINING,
    ReplicaState.TERMINATED,
)
"""The way of a replica that nothing befalls."""


@dataclass(frozen=True, slots=True)
class World:
    """What can be seen from outside."""

    made: Deployment
    lab: Lab

    def replicas(self, *, moved: bool) -> list[Replica]:
        """All replicas ever, those of a move or the others."""
        found = self.made.records().replicas(SERVICE, ended=True)
        return [r for r in found if bool(r.replaces) is moved]

    def has_come_to(self, state: ReplicaState, *, moved: bool) -> bool:
        """Whether a replica of that kind has come at least that far: a restart can pass a state between two looks."""
        return any(_WAY.index(r.state) >= _WAY.index(state) for r in self.replicas(moved=moved) if r.state in _WAY)

    def end_is_issued(self, *, moved: bool) -> bool:
        """Whether the call that ends a replica of that kind is leaving, or has left."""
        ending = {r.name for r in self.replicas(moved=moved)}
        intents = self.made.records().intents(SERVICE)
        ends = [i for i in intents if i.kind is IntentKind.TERMINATE and i.replica in ending]
        return any(i.state is not IntentState.PLANNED for i in ends)

    def job_is_queued(self, region: str) -> bool:
        """Whether Slurm itself has a job of ours there."""
        return bool(of(self.made, self.lab, region))


Condition = Callable[[World], bool]


@dataclass(frozen=True, slots=True)
class Point:
    """A moment at which the controller dies."""

    name: str
    is_reached: Condition


LAUNCH = (
    Point("launch: the wish is stored, nothing else", lambda w: bool(w.made.records().operations(SERVICE))),
    Point("launch: PENDING, the intent is planned", lambda w: bool(w.replicas(moved=False))),
    Point("launch: ISSUED, the call is leaving", lambda w: w.has_come_to(ReplicaState.PROVISIONING, moved=False)),
    Point("launch: Slurm has the job", lambda w: w.job_is_queued(EU)),
    Point("launch: the provider shows it", lambda w: w.has_come_to(ReplicaState.STARTING, moved=False)),
)
MOVE = (
    Point("move: the replacement is ISSUED", lambda w: w.has_come_to(ReplicaState.PROVISIONING, moved=True)),
    Point("move: Slurm has the replacement's job", lambda w: w.job_is_queued(US)),
    Point("move: the replacement is ready", lambda w: w.has_come_to(ReplicaState.READY, moved=True)),
    Point(
        "move: half of the traffic is shifted", lambda w: any(r.weight_percent >= 50 for r in w.replicas(moved=True))
    ),
    Point("move: the old one drains", lambda w: w.has_come_to(ReplicaState.DRAINING, moved=False)),
    Point("move: the old one's end is ISSUED", lambda w: w.end_is_issued(moved=False)),
)
END = (
    Point("end: the wish is stored", lambda w: bool(w.made.records().operations(SERVICE))),
    Point("end: the replica drains", lambda w: w.has_come_to(ReplicaState.DRAINING, moved=True)),
    Point("end: its end is ISSUED", lambda w: w.end_is_issued(moved=True)),
)


@pytest.fixture(scope="module")
def world(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation of its own."""
    made = install(lab, tmp_path_factory.mktemp("grid"))
    try:
        yield World(made, lab)
    finally:
        made.end()


def test_a_controller_that_dies_loses_nothing_and_leaves_nothing(world: World, model: Path) -> None:
    """Fourteen deaths in one life: at rest after each chapter, Slurm runs exactly what the journal says."""
    made = world.made
    with phase("crashes: launch"):
        _die_at(world, LAUNCH, "deploy", made.spec(SPEC.replace("MODEL", str(model))), "--yes")
        settled(made, SERVICE, 1)
    _queue_equals_journal(world, 1)
    with phase("crashes: move"):
        _die_at(world, MOVE, "migrate", SERVICE, "--to", US, "--yes")
        settled(made, SERVICE, 1)
    _queue_equals_journal(world, 1)
    assert [r.region for r in serving(made, SERVICE)] == [US]
    with phase("crashes: end"):
        _die_at(world, END, "down", SERVICE, "--yes")
        until(lambda: _is_down(world), "the service is down", PATIENCE_SECONDS)
    assert jobs(made, world.lab) == []
    ended = made.records().replicas(SERVICE, ended=True)
    lost = [r for r in ended if r.state in {ReplicaState.LOST, ReplicaState.FAILED}]
    assert not lost, [(r.name, r.state, r.reason) for r in lost]
    assert len(ended) == 2, "one replica was launched, one took its place: nothing was bought twice"
    assert all(r.cleaned_up for r in ended)


def _die_at(world: World, points: tuple[Point, ...], *words: str) -> None:
    """Run a command, and kill the controller at each point on its way."""
    made = world.made
    command = made.start(*words)
    try:
        for point in points:
            until(lambda p=point: p.is_reached(world), point.name, PATIENCE_SECONDS)
            was_there = made.controller_pid() is not None
            if was_there:
                made.kill_controller()
            found = ", ".join(f"{r.state}" for r in made.records().replicas(SERVICE, ended=True)) or "no replica"
            queued = len(jobs(made, world.lab))
            restarted = time.monotonic()
            made.run("controller", "start")
            outcome = "killed" if was_there else "no controller yet"
            again = time.monotonic() - restarted
            note(f"{point.name:<46} {outcome}; {found}; {queued} jobs; started again in {again:.1f} s")
    finally:
        command.wait(PATIENCE_SECONDS)
    until(lambda: not made.records().operations(SERVICE), f"{words[0]} came to its end", PATIENCE_SECONDS)
    last_operation_is_done(made, SERVICE)


def _queue_equals_journal(world: World, count: int) -> None:
    """Slurm's own word against ours, in both directions."""
    living = [r for r in world.made.records().replicas(SERVICE) if r.state in LIVE]
    queued = jobs(world.made, world.lab)
    assert len(living) == count
    assert len(queued) == count, queued
    assert all(any(is_job_of(job, r.name) for job in queued) for r in living)
    note(f"{'':<46} in the queues: {len(queued)}, in the journal: {len(living)}, orphans: 0, lost: 0")


def _is_down(world: World) -> bool:
    service = world.made.records().service(SERVICE)
    done = service is not None and service.state is ServiceState.DOWN
    return done and not world.made.records().replicas(SERVICE)
