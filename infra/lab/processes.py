"""Running commands, finding processes, and ending them for good."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

from infra.lab.config import LabError

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""Things take a second or two; ten times that on a machine that is busy with engines."""
POLL_SECONDS = 0.1


def run(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, seconds: float = 60.0) -> str:
    """Run a command to its end and return what it printed. Raises ``LabError`` with its own words."""
    try:
        done = subprocess.run(
            argv, env=None if env is None else dict(env), capture_output=True, text=True, timeout=seconds, check=False
        )
    except FileNotFoundError as error:
        raise LabError(f"there is no {argv[0]} on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{argv[0]} did not end within {seconds:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(map(str, argv[:3]))}... ended with {done.returncode}: {said[-600:]}")
    return done.stdout


def wait_for(holds: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Poll until it holds. Raises ``LabError``."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:.0f} s, and it did not happen: {what}")
        time.sleep(POLL_SECONDS)


def others() -> list[psutil.Process]:
    """Every process but this one and those that it descends from: a shell in which somebody works on the lab."""
    ours = psutil.Process()
    spared = {ours.pid, *(parent.pid for parent in ours.parents())}
    return [process for process in psutil.process_iter() if process.pid not in spared]


def of_user(user: str) -> list[psutil.Process]:
    """Everything that runs as a user."""
    return [p for p in others() if _try(p.username) == user]


def name_of(process: psutil.Process) -> str:
    """Its short name; empty when it is gone."""
    return _try(process.name) or ""


def words_of(process: psutil.Process) -> list[str]:
    """Its command line; empty when it is gone. A process may have written a title over it."""
    return _try(process.cmdline) or []


def variable_of(process: psutil.Process, name: str) -> str:
    """A variable that it was started with; empty when it has none, is gone, or wrote its title over them."""
    return (_try(process.environ) or {}).get(name, "")


def has_open(process: psutil.Process, directory: Path) -> bool:
    """Whether it has a file below a directory open."""
    return any(Path(file.path).is_relative_to(directory) for file in _try(process.open_files) or [])


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that descends from it."""
    return [process, *(_try(lambda: process.children(recursive=True)) or [])]


def end(processes: Iterable[psutil.Process], *, grace_seconds: float = 5.0) -> None:
    """TERM, and KILL for who does not listen. Executors of SkyPilot's API server are among those."""
    left = list(processes)
    for process in left:
        _try(process.terminate)
    _, left = psutil.wait_procs(left, timeout=grace_seconds)
    for process in left:
        _try(process.kill)
    psutil.wait_procs(left, timeout=grace_seconds)


def is_listening(address: str, port: int) -> bool:
    """Whether somebody accepts connections there, whichever address they are bound to. Needs root to see all."""
    bound_to = (c.laddr for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
    return any(a and a.port == port and a.ip in {address, "0.0.0.0", "::"} for a in bound_to)  # noqa: S104 - asked


def _try(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except (psutil.Error, OSError):
        return None
