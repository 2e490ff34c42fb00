"""Replicas as engine processes on this machine.

What exists is what the operating system lists (see ``processes``); files only add what it cannot know: the key, the
log, how something ended, that somebody asked for the end. So a controller that was killed at any point loses nothing:

* ``launch`` holds a lock that its death releases, looks before it starts anything, and starts a keeper that refuses
  to be the second one in its directory.
* ``terminate`` writes the deadline down and tells the keeper, which enforces it alone. If the keeper was killed, the
  engine is told directly and whoever asks next (``describe``, ``inventory``, ``terminate``) enforces the deadline.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.control.ports import Ability, Instance, LaunchRequest, Phase
from orchestrator.domain.offer import Offer
from orchestrator.domain.service import Engine, ModelSpec
from orchestrator.errors import DiskFull, EngineMissing, NoCapacity, PortBusy, ProviderError
from orchestrator.provisioners.last_words import describe_end
from orchestrator.provisioners.local.engines.base import EngineCommand, EngineLauncher
from orchestrator.provisioners.local.files import InstanceRecord, ReplicaDirectory, StateDirectory, StopRecord
from orchestrator.provisioners.local.processes import Marks, OsProcess, Part, ProcessTable, PsutilTable, members

HOST = "127.0.0.1"

PORTS = range(20_000, 30_000)
"""Below the ranges from which Linux (32768) and IANA (49152) hand out temporary ports, so that no outgoing connection
takes an engine's port during the seconds before the engine binds it."""

KEEPER_SCRIPT = Path(__file__).with_name("keeper.py")

KEEPER_PATIENCE_SECONDS = 20.0
"""The keeper detaches within 50 ms; a machine that swaps needs longer."""

KEEPER_LATE_SECONDS = 10.0
"""A keeper that has not enforced a deadline after that long is stopped or stuck, and we do it."""

SWEEPS = 4
"""Passes over the process table when killing: a child forked during one pass is found by the next."""


class LocalProvisioner:
    """The ``local`` provider.

    ``engines``: how each engine is started. ``max_replicas``: by region id (``local/se``), for regions that can be
    full; one that is not named has no limit. Below ``min_free_disk_mib`` nothing is started. ``keep_ended``: how many
    ended replicas keep their log. ``lock_patience_seconds``: how long another process may take to launch.
    ``keeper_words``: further arguments of every keeper, for tests that cannot wait for hours.
    """

    providers = frozenset({"local"})

    def __init__(
        self,
        state_dir: Path,
        engines: Mapping[Engine, EngineLauncher],
        *,
        max_replicas: Mapping[str, int] | None = None,
        min_free_disk_mib: int = 256,
        keep_ended: int = 20,
        lock_patience_seconds: float = 15.0,
        processes: ProcessTable | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        keeper_words: tuple[str, ...] = (),
    ) -> None:
        self._keeper_words = keeper_words
        self._state = StateDirectory(state_dir)
        self._engines = dict(engines)
        self._max_replicas = {} if max_replicas is None else max_replicas
        self._min_free_disk_mib = min_free_disk_mib
        self._keep_ended = keep_ended
        self._lock_patience_seconds = lock_patience_seconds
        self._processes = PsutilTable() if processes is None else processes
        self._monotonic = monotonic

    # ── the port ──

    def abilities(self, region: str) -> frozenset[Ability]:  # noqa: ARG002 - the port's signature
        """Nothing besides launching and ending, and that replicas end by themselves when nobody is heard of."""
        return frozenset({Ability.LEASE})

    async def preflight(self, model: ModelSpec, offers: Sequence[Offer] = ()) -> None:  # noqa: ARG002 - as above
        """Check engine, model and disk space; start nothing."""
        await asyncio.to_thread(self._preflight, model)

    async def launch(self, request: LaunchRequest) -> None:
        """Start the replica unless its name was ever used; return when its keeper runs."""
        await asyncio.to_thread(self._launch, request)

    async def describe(self, name: str) -> Instance:
        """Say what there is; enforces an overdue stop on the way."""
        return await asyncio.to_thread(self._describe, name)

    async def inventory(self, deployment_uid: str) -> Sequence[Instance]:
        """List every replica of the deployment that has a living process, by name."""
        return await asyncio.to_thread(self._inventory, deployment_uid)

    async def terminate(self, name: str, grace: timedelta) -> None:
        """Ask for the end. A second call can bring the deadline forward, never push it back."""
        await asyncio.to_thread(self._terminate, name, grace)

    async def renew(self, name: str, lease: timedelta) -> bool:
        """Write the lease again, which its keeper sees; without a keeper, or a lease from the start, nobody would."""
        return await asyncio.to_thread(self._renew, name, lease)

    def log_path(self, name: str) -> Path | None:
        """Return the engine's log; it stays after the end until ``keep_ended`` others have ended."""
        log = self._state.replica(name).log
        return log if log.exists() else None

    # ── starting ──

    def _preflight(self, model: ModelSpec) -> None:
        self._launcher(model).preflight(model)
        free_mib = self._state.free_mib()
        if free_mib < self._min_free_disk_mib:
            raise DiskFull(f"{free_mib} MiB left below {self._state.path}, {self._min_free_disk_mib} MiB are needed")

    def _launcher(self, model: ModelSpec) -> EngineLauncher:
        try:
            return self._engines[model.engine]
        except KeyError:
            raise EngineMissing(f"this installation cannot start the engine {model.engine}") from None

    def _launch(self, request: LaunchRequest) -> None:
        directory = self._state.replica(request.name)
        with self._state.launch_lock(self._lock_patience_seconds):
            processes = self._processes.snapshot()
            record = directory.read_instance()
            keeper = _part(members(processes, request.name), Part.KEEPER)
            if keeper is not None and record is not None and record.keeper_pid is None:
                directory.write_instance(replace(record, keeper_pid=keeper.pid))  # its launcher died in between
            # A name is used up once something ran under it, however it ended: the next try has another name.
            started = (record is not None and record.keeper_pid is not None) or directory.read_exit() is not None
            if started or members(processes, request.name) or directory.read_stop() is not None:
                return
            self._preflight(request.model)
            self._refuse_if_full(request, processes)
            self._prune(processes)
            self._start(request, directory, processes)

    def _refuse_if_full(self, request: LaunchRequest, processes: Sequence[OsProcess]) -> None:
        region = request.offer.region.id
        limit = self._max_replicas.get(region)
        if limit is None:
            return
        there = {
            p.marks.replica
            for p in processes
            if p.marks is not None and p.marks.region == region and p.marks.deployment == request.deployment_uid
        }
        if len(there) >= limit:
            raise NoCapacity(f"{region} is full: {len(there)} of {limit} replicas run there")

    def _start(self, request: LaunchRequest, directory: ReplicaDirectory, processes: Sequence[OsProcess]) -> None:
        port = _free_port(processes, request.name)
        command = self._launcher(request.model).command(request.model, HOST, port)
        directory.create()
        record = _record_of(request, command, port)
        if command.api_key_variable is not None:
            directory.ensure_api_key()
        directory.write_instance(record)
        if request.lease is not None:
            directory.write_lease(request.lease.total_seconds())
        marks = Marks(
            deployment=request.deployment_uid,
            replica=request.name,
            service=request.service,
            region=request.offer.region.id,
            port=port,
            part=Part.KEEPER,
            intent=request.intent_id,
            epoch=request.epoch,
        )
        keeper_pid = _start_keeper(directory, {**command.environment, **marks.as_environment()}, self._keeper_words)
        directory.write_instance(replace(record, keeper_pid=keeper_pid))

    def _prune(self, processes: Sequence[OsProcess]) -> None:
        """Forget the oldest of the replicas that were ended and have no process left."""
        living = {p.marks.replica for p in processes if p.marks is not None}
        ended = []
        for name in self._state.names():
            stop = self._state.replica(name).path / "stop.json"
            if name not in living and stop.exists():
                ended.append((stop.stat().st_mtime, name))
        for _, name in sorted(ended, reverse=True)[self._keep_ended :]:
            self._state.forget(name)

    # ── looking ──

    def _describe(self, name: str) -> Instance:
        return self._look(name, members(self._processes.snapshot(), name))

    def _inventory(self, deployment_uid: str) -> list[Instance]:
        processes = self._processes.snapshot()
        names = {p.marks.replica for p in processes if p.marks is not None and p.marks.deployment == deployment_uid}
        return [self._look(name, members(processes, name)) for name in sorted(names)]

    def _look(self, name: str, processes: Sequence[OsProcess]) -> Instance:
        """Put together what the processes and the files say."""
        directory = self._state.replica(name)
        stop = directory.read_stop()
        if stop is not None and processes:
            processes = self._enforce(name, directory, stop, processes)
        record = directory.read_instance()
        phase, detail = _phase_of(directory, record, stop, processes)
        if stop is not None and phase is Phase.GONE:
            directory.api_key.unlink(missing_ok=True)
        marks = next((p.marks for p in processes if p.marks is not None), None)
        port = marks.port if marks is not None else record.port if record is not None else None
        return Instance(
            name=name,
            service=marks.service if marks is not None else record.service if record is not None else "",
            phase=phase,
            endpoint=None if port is None or phase in {Phase.GONE, Phase.FAILED} else f"http://{HOST}:{port}",
            api_key_file=directory.api_key if directory.api_key.exists() else None,
            exit_detail=detail,
            region=marks.region if marks is not None else "",
            intent_id=marks.intent if marks is not None else "",
            epoch=marks.epoch if marks is not None else None,
            deployment_uid=marks.deployment if marks is not None else "",
            has_machine=bool(processes),
        )

    # ── going on ──

    def _renew(self, name: str, lease: timedelta) -> bool:
        directory = self._state.replica(name)
        processes = members(self._processes.snapshot(), name)
        if _part(processes, Part.KEEPER) is None or not directory.lease.exists():
            return False
        directory.write_lease(lease.total_seconds())
        return True

    # ── ending ──

    def _terminate(self, name: str, grace: timedelta) -> None:
        directory = self._state.replica(name)
        processes: Sequence[OsProcess] = members(self._processes.snapshot(), name)
        if not processes and not directory.path.exists():
            return
        deadline = self._monotonic() + grace.total_seconds()
        stop = directory.read_stop()
        if stop is None or deadline < stop.deadline:
            stop = StopRecord(deadline, told=stop is not None and stop.told)
            directory.create()  # an engine whose directory was lost can be ended too
            directory.write_stop(stop)
            # Written first, then looked again: a keeper that starts meanwhile either reads it or is seen here.
            processes = members(self._processes.snapshot(), name)
        if processes:
            processes = self._enforce(name, directory, stop, processes)
        if not processes:
            directory.api_key.unlink(missing_ok=True)

    def _enforce(
        self, name: str, directory: ReplicaDirectory, stop: StopRecord, processes: Sequence[OsProcess]
    ) -> Sequence[OsProcess]:
        """Drive a stop one step on: by the keeper if there is one, else ourselves. Returns what is left."""
        overdue_seconds = self._monotonic() - stop.deadline
        keeper, engine = _part(processes, Part.KEEPER), _main(processes)
        if keeper is not None and overdue_seconds < KEEPER_LATE_SECONDS:
            self._processes.signal(keeper, signal.SIGTERM)  # "look at stop.json"; any number of times
            return processes
        if keeper is None and engine is not None and overdue_seconds < 0:
            if not stop.told:  # once: a second SIGTERM makes some engines drop what they were finishing
                self._processes.signal(engine, signal.SIGTERM)
                directory.write_stop(replace(stop, told=True))
            return processes
        return self._kill(name, processes)

    def _kill(self, name: str, processes: Sequence[OsProcess]) -> Sequence[OsProcess]:
        """Kill every process of the replica, and what they fork meanwhile."""
        for _ in range(SWEEPS):
            for process in processes:
                self._processes.signal(process, signal.SIGKILL)
            known = set(processes)
            processes = members(self._processes.snapshot(), name)
            if not set(processes) - known:
                break
        return processes


def _phase_of(
    directory: ReplicaDirectory, record: InstanceRecord | None, stop: StopRecord | None, processes: Sequence[OsProcess]
) -> tuple[Phase, str]:
    """Return the phase and, when it failed, why."""
    if stop is not None:
        return (Phase.STOPPING if processes else Phase.GONE), ""
    ended = directory.read_exit()
    if ended is None and _main(processes) is not None:
        return Phase.RUNNING, ""
    keeper = _part(processes, Part.KEEPER)
    if ended is None and keeper is not None:
        return Phase.STARTING, ""
    if ended is None and not processes and (record is None or record.keeper_pid is None):
        return Phase.GONE, ""  # nothing, or a launch that never came to start anything
    secrets = [directory.api_key.read_text(encoding="ascii").strip()] if directory.api_key.exists() else []
    detail = describe_end(None if ended is None else ended.status, directory.log, secrets)
    if ended is not None and ended.error:
        detail = ended.error
    left = [p for p in processes if p is not keeper]
    if left:
        detail += f" ({len(left)} of its child processes are still there)"
    return Phase.FAILED, detail


def _part(processes: Sequence[OsProcess], part: Part) -> OsProcess | None:
    """Return the first process of a part, the oldest if several claim it."""
    of_part = [p for p in processes if p.marks is not None and p.marks.part is part]
    return min(of_part, key=lambda p: p.birth, default=None)


def _main(processes: Sequence[OsProcess]) -> OsProcess | None:
    """Return the engine's main process: the one that leads the session in which its keeper started it."""
    leaders = [p for p in processes if p.marks is not None and p.marks.part is Part.ENGINE and p.leads_session]
    return min(leaders, key=lambda p: p.birth, default=None)


def _record_of(request: LaunchRequest, command: EngineCommand, port: int) -> InstanceRecord:
    variable = command.api_key_variable
    return InstanceRecord(
        name=request.name,
        deployment_uid=request.deployment_uid,
        service=request.service,
        intent_id=request.intent_id,
        offer_id=request.offer.id,
        region=request.offer.region.id,
        engine=request.model.engine.value,
        engine_version=command.version,
        model_id=request.model.id,
        port=port,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        steps=(*command.prepare, command.argv),
        secret_environment={} if variable is None else {variable: "api-key"},
    )


def _start_keeper(directory: ReplicaDirectory, environment: Mapping[str, str], words: tuple[str, ...]) -> int | None:
    """Start the keeper and wait until it has detached. Returns its pid, ``None`` if another keeper was there first."""
    try:
        finished = subprocess.run(  # noqa: S603 - our own script and a checked path
            (sys.executable, "-I", "-S", str(KEEPER_SCRIPT), str(directory.path), *words),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            timeout=KEEPER_PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ProviderError(f"cannot start a process: {exc}") from exc
    answer = finished.stdout.decode("ascii", errors="replace").strip()
    if finished.returncode != 0:
        last = finished.stderr.decode("utf-8", errors="replace").strip().splitlines()[-1:]
        raise ProviderError(f"the keeper of {directory.path.name} did not start: {' '.join(last)}")
    return int(answer) if answer.isdigit() else None


def _free_port(processes: Sequence[OsProcess], name: str) -> int:
    """Return a port that no engine of ours has and nobody listens on.

    The search starts at a place of the name's own, so that two installations on one machine, which do not share the
    launch lock, hardly ever try the same port at the same moment.
    """
    taken = {p.marks.port for p in processes if p.marks is not None}
    start = zlib.crc32(name.encode()) % len(PORTS)
    for offset in range(len(PORTS)):
        port = PORTS[(start + offset) % len(PORTS)]
        if port not in taken and _can_bind(port):
            return port
    raise PortBusy(f"every port from {PORTS[0]} to {PORTS[-1]} is taken")


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection in TIME_WAIT is no obstacle
        try:
            attempt.bind((HOST, port))
        except OSError:
            return False
    return True
