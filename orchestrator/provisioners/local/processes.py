"""What the operating system says about our processes.

Every process of a replica carries environment marks that say whose it is. They are the inventory: files can be lost,
an environment lives exactly as long as its process. A process is named by its pid *and* its birth, so that a pid which
was given to somebody else is never touched.

Only processes of our own user are looked at. One whose environment we may not read even so (a program that made itself
undumpable, as key rings do) is not ours: engines never do that.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil

from orchestrator.errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEPLOYMENT_MARK = "GREENCTL_DEPLOYMENT"
REPLICA_MARK = "GREENCTL_REPLICA"
SERVICE_MARK = "GREENCTL_SERVICE"
REGION_MARK = "GREENCTL_REGION"
PORT_MARK = "GREENCTL_PORT"
PART_MARK = "GREENCTL_PART"
INTENT_MARK = "GREENCTL_INTENT"
EPOCH_MARK = "GREENCTL_EPOCH"

STARTTIME_FIELD = 19
"""Index of ``starttime`` in /proc/PID/stat after the command name, see proc_pid_stat(5): field 22 of the whole line."""


class Part(StrEnum):
    """Which of a replica's processes it is. Children of the engine inherit ``ENGINE``."""

    KEEPER = "keeper"
    PREPARE = "prepare"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Marks:
    """Whose process it is, as its environment says. ``epoch``: the controller's turn in which it was asked for."""

    deployment: str
    replica: str
    service: str
    region: str
    port: int | None
    part: Part
    intent: str = ""
    epoch: int | None = None

    def as_environment(self) -> dict[str, str]:
        """Return the variables to start a process with."""
        return {
            DEPLOYMENT_MARK: self.deployment,
            REPLICA_MARK: self.replica,
            SERVICE_MARK: self.service,
            REGION_MARK: self.region,
            PORT_MARK: "" if self.port is None else str(self.port),
            PART_MARK: self.part.value,
            INTENT_MARK: self.intent,
            EPOCH_MARK: "" if self.epoch is None else str(self.epoch),
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Marks | None:
        """Read them back; ``None`` when the process is not one of ours."""
        deployment, replica = environment.get(DEPLOYMENT_MARK), environment.get(REPLICA_MARK)
        if not deployment or not replica:
            return None
        part = environment.get(PART_MARK, "")
        return cls(
            deployment=deployment,
            replica=replica,
            service=environment.get(SERVICE_MARK, ""),
            region=environment.get(REGION_MARK, ""),
            port=_whole(environment.get(PORT_MARK, "")),
            part=Part(part) if part in set(Part) else Part.ENGINE,
            intent=environment.get(INTENT_MARK, ""),
            epoch=_whole(environment.get(EPOCH_MARK, "")),
        )


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


@dataclass(frozen=True, slots=True)
class OsProcess:
    """One living process. ``birth``: clock ticks since boot on Linux, else seconds since the epoch; only ever compared.

    ``session`` is the pid of the process that made the session it belongs to.
    """

    pid: int
    birth: float
    parent: int
    session: int
    marks: Marks | None = None

    @property
    def leads_session(self) -> bool:
        """Whether it was started in a session of its own, as the first process of each part is."""
        return self.pid == self.session


class ProcessTable(Protocol):
    """The operating system's list of processes."""

    def snapshot(self) -> Sequence[OsProcess]:
        """Return our user's living processes; zombies are dead. Raises ``ProviderError`` when there is no list."""
        ...

    def signal(self, process: OsProcess, number: int) -> None:
        """Send a signal if it is still the same process; no error when it is gone."""
        ...


class PsutilTable:
    """The real one."""

    def snapshot(self) -> Sequence[OsProcess]:
        """Read the table; a process that ends meanwhile is left out."""
        try:
            pids = psutil.pids()
        except (OSError, psutil.Error) as exc:
            raise ProviderError(f"cannot list this machine's processes: {exc}") from exc
        return [found for pid in pids if (found := _look_at(pid)) is not None]

    def signal(self, process: OsProcess, number: int) -> None:
        """Send it through a process handle where the system has them: between check and signal no pid can change."""
        try:
            if sys.platform == "linux":
                handle = os.pidfd_open(process.pid)
                try:
                    if birth_of(process.pid) == process.birth:
                        signal.pidfd_send_signal(handle, number)
                finally:
                    os.close(handle)
            elif birth_of(process.pid) == process.birth:
                os.kill(process.pid, number)
        except ProcessLookupError:
            return


def birth_of(pid: int) -> float:
    """Return when a process was born. Raises ``ProcessLookupError`` when there is none.

    On Linux the kernel's own tick count: psutil turns it into wall-clock time, which moves when the clock is set.
    """
    try:
        if sys.platform == "linux":
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            birth = float(text.rpartition(")")[2].split()[STARTTIME_FIELD])
        else:
            birth = psutil.Process(pid).create_time()
    except (FileNotFoundError, psutil.NoSuchProcess) as exc:
        raise ProcessLookupError(pid) from exc
    return birth


def members(processes: Iterable[OsProcess], replica: str) -> list[OsProcess]:
    """Return the processes of one replica: the marked ones, and whatever they started.

    A child that cleared its environment, or painted over it (setproctitle does), is still found as a descendant or in
    the session of a marked process. A session whose every marked process is gone proves nothing, because its number
    may be somebody else's by now.
    """
    everyone = {p.pid: p for p in processes}
    found = {p.pid for p in everyone.values() if p.marks is not None and p.marks.replica == replica}
    sessions = {everyone[pid].session for pid in found}
    grown = True
    while grown:
        more = {
            p.pid
            for p in everyone.values()
            if p.pid not in found
            and (p.marks is None or p.marks.replica == replica)
            and (p.parent in found or p.session in sessions)
        }
        found |= more
        grown = bool(more)
    return sorted((everyone[pid] for pid in found), key=lambda p: p.pid)


def _look_at(pid: int) -> OsProcess | None:
    """Return one of our user's living processes."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
                return None
            return OsProcess(
                pid=pid,
                birth=birth_of(pid),
                parent=process.ppid(),
                session=os.getsid(pid),
                marks=_marks_of(process),
            )
    except (psutil.Error, OSError):
        return None


def _marks_of(process: psutil.Process) -> Marks | None:
    """Read the marks; a kernel thread, or an undumpable process, has none for us."""
    try:
        return Marks.from_environment(process.environ())
    except (psutil.AccessDenied, OSError):
        return None
