"""SkyPilot in memory, as slow and as broken as it is told to be.

What it does was seen of the real one: a launch is posted at once and ends much later, a failed one may leave a cluster
behind, a preempted cluster disappears from the list, a job that dies leaves its cluster up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.provisioners.skypilot.sky_api import UNSURE, UP, CallState, Cluster, LaunchCall, SkyFailure


@dataclass
class _Call:
    id: str
    cluster: str
    posted_at: float
    ends_at: float
    failure: SkyFailure | None = None
    cancelled: bool = False


@dataclass
class _Machine:
    cluster: Cluster
    found_at: float
    job: str = "RUNNING"
    log: str = ""
    idle_since: float | None = None
    autodown_seconds: float | None = None


@dataclass
class FakeSky:
    """The fake. ``now`` moves when the test says so. ``jobs_submitted`` counts what was really started, by cluster.

    ``search_seconds``: for how long a launch looks for its machine before it takes ``launch_seconds``.
    """

    now: Callable[[], float]
    launch_seconds: float = 1.0
    search_seconds: float = 0.0
    max_clusters: Mapping[str, int] = field(default_factory=dict)
    enabled: frozenset[str] = frozenset({"slurm", "aws", "gcp", "local"})
    leave_cluster_behind: bool = False
    jobs_submitted: Counter[str] = field(default_factory=Counter)
    tasks: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    mounts: dict[str, Mapping[str, str]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    _launches: list[_Call] = field(default_factory=list)
    _machines: dict[str, _Machine] = field(default_factory=dict)
    _failures: dict[str, list[SkyFailure]] = field(default_factory=dict)
    _lies: int = 0

    # ── what a test may script ──

    def fail_next(self, method: str, failure: SkyFailure) -> None:
        """Let the next call of that method raise."""
        self._failures.setdefault(method, []).append(failure)

    def fail_launch(self, cluster: str, failure: SkyFailure) -> None:
        """Let a launch that is under way end badly, now."""
        for call in self._launches:
            if call.cluster == cluster:
                call.failure, call.ends_at = failure, self.now()
        if not self.leave_cluster_behind:
            self._machines.pop(cluster, None)

    def die(self, cluster: str, words: str = "killed by SIGKILL") -> None:
        """End the job by itself; the cluster stays."""
        machine = self._machines[cluster]
        self._end_job(machine, "FAILED", f"Error: {words}\n")

    def lapse(self, cluster: str) -> None:
        """End the job in good order, as a lease that is over does; a machine that ends itself when idle goes later."""
        self._end_job(self._machines[cluster], "SUCCEEDED", "greenctl: the lease is over\n")

    def vanish(self, cluster: str) -> None:
        """Take the machine away, as a preemption does."""
        del self._machines[cluster]

    def change(self, cluster: str, **fields: Any) -> None:  # noqa: ANN401 - fields of a cluster
        """Show it otherwise: stopped by hand, say, or without an address."""
        machine = self._machines[cluster]
        machine.cluster = replace(machine.cluster, **fields)

    def lie_at_next_down(self) -> None:
        """Let the next down report success and do nothing."""
        self._lies += 1

    def existing(self) -> frozenset[str]:
        """Return what costs money now."""
        self._end_idle()
        return frozenset(name for name, machine in self._machines.items() if self.now() >= machine.found_at)

    # ── the interface ──

    async def ensure_server(self) -> None:
        """It is always there, unless told otherwise."""
        self._note("ensure_server", "")

    async def enabled_clouds(self, wanted: frozenset[str]) -> frozenset[str]:  # noqa: ARG002 - it knows them all
        """Return what it was told."""
        self._note("enabled_clouds", "")
        return self.enabled

    async def launch(self, cluster: str, task: Mapping[str, Any], mounts: Mapping[str, str]) -> str:
        """Post it; a second launch of a living cluster submits a second job, as SkyPilot does."""
        self._note("launch", cluster)
        self.tasks[cluster], self.mounts[cluster] = task, mounts
        cloud, _, region = str(task["resources"]["infra"]).partition("/")
        here = [m for m in self._machines.values() if f"{m.cluster.cloud}/{m.cluster.region}" == f"{cloud}/{region}"]
        found_at = self.now() + self.search_seconds
        call = _Call(f"request-{len(self._launches)}", cluster, self.now(), found_at + self.launch_seconds)
        self._launches.append(call)
        if len(here) >= self.max_clusters.get(f"{cloud}/{region}", len(here) + 1):
            call.failure = SkyFailure("ResourcesUnavailableError", f"{cloud}/{region} is full")
            return call.id
        self.jobs_submitted[cluster] += 1
        address = f"10.0.0.{len(self._machines) + 1}"
        autostop = task["resources"].get("autostop") or {}
        autodown_seconds = 60.0 * autostop["idle_minutes"] if autostop.get("down") else None
        made = _Machine(Cluster(cluster, UP, cloud, region, address), found_at, autodown_seconds=autodown_seconds)
        self._machines.setdefault(cluster, made)
        return call.id

    async def launches(self, cluster: str) -> Sequence[LaunchCall]:
        """Return what was posted."""
        self._note("launches", cluster)
        return [LaunchCall(c.id, self._state(c), c.posted_at) for c in self._launches if c.cluster == cluster]

    async def outcome(self, request_id: str) -> None:
        """Raise what it failed with."""
        call = next(c for c in self._launches if c.id == request_id)
        if call.failure is not None:
            raise call.failure

    async def follow(self, request_id: str, log: Path) -> None:
        """Write one line, as nobody waits here."""
        self._note("follow", request_id)
        with log.open("a", encoding="utf-8") as file:
            file.write("Launching on a fake cloud\n")

    async def cancel(self, request_id: str) -> None:
        """Cancel it; what it has made by then stays."""
        self._note("cancel", request_id)
        for call in self._launches:
            if call.id == request_id and self._state(call) is CallState.OPEN:
                call.cancelled = True

    async def clusters(self, prefix: str) -> Sequence[Cluster]:
        """List what is there."""
        self._note("clusters", prefix)
        self._end_idle()
        return [self._listed(m) for name, m in sorted(self._machines.items()) if name.startswith(prefix)]

    async def job_state(self, cluster: str) -> str:
        """Return the state of its job."""
        self._note("job_state", cluster)
        return self._machine(cluster).job

    async def job_log(self, cluster: str) -> str:
        """Return what its job said."""
        return self._machine(cluster).log

    async def down(self, cluster: str) -> None:
        """End it at once."""
        self._note("down", cluster)
        if self._lies:
            self._lies -= 1
            return
        self._machines.pop(cluster, None)

    async def close(self) -> None:
        """Nothing is held."""

    def _listed(self, machine: _Machine) -> Cluster:
        is_found = self.now() >= machine.found_at
        return machine.cluster if is_found else replace(machine.cluster, state=UNSURE, address=None)

    def _machine(self, cluster: str) -> _Machine:
        if cluster not in self._machines:
            raise SkyFailure("ClusterDoesNotExist", f"Cluster {cluster!r} does not exist.")
        return self._machines[cluster]

    def _end_job(self, machine: _Machine, state: str, log: str) -> None:
        machine.job, machine.log, machine.idle_since = state, log, self.now()

    def _end_idle(self) -> None:
        """Take away machines that have had no job for as long as they were told to wait."""
        for name, machine in list(self._machines.items()):
            idle, limit = machine.idle_since, machine.autodown_seconds
            if idle is not None and limit is not None and self.now() >= idle + limit:
                del self._machines[name]

    def _note(self, method: str, subject: str) -> None:
        self.calls.append((method, subject))
        waiting = self._failures.get(method)
        if waiting:
            raise waiting.pop(0)

    def _state(self, call: _Call) -> CallState:
        if call.cancelled:
            return CallState.FAILED
        if self.now() < call.ends_at:
            return CallState.OPEN
        return CallState.FAILED if call.failure is not None else CallState.DONE
