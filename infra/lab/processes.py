"""Running commands, finding processes, and ending them for good."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

from infra.lab.config import LabError

T = TypeVar("T")

PATIENCE_SECONDS = 20.0
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


def of_user(user: str) -> list[psutil.Process]:
    """Everything that runs as a user."""
    return [p for p in psutil.process_iter() if _try(p.username) == user]


def below(directory: Path) -> list[psutil.Process]:
    """Everything whose command line names something below a directory, or whose ``HOME`` is there; not ourselves."""
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _belongs(p, directory)]


def end(processes: Iterable[psutil.Process], *, grace_seconds: float = 5.0) -> None:
    """TERM, and KILL for who does not listen. Executors of SkyPilot's API server are among those."""
    left = list(processes)
    for process in left:
        _try(process.terminate)
    _, left = psutil.wait_procs(left, timeout=grace_seconds)
    for process in left:
        _try(process.kill)
    psutil.wait_procs(left, timeout=grace_seconds)


def _belongs(process: psutil.Process, directory: Path) -> bool:
    home = (_try(process.environ) or {}).get("HOME", "")
    words = _try(process.cmdline) or []
    return _is_below(home, directory) or any(str(directory) in word for word in words)


def _is_below(path: str, directory: Path) -> bool:
    return bool(path) and Path(path).is_relative_to(directory)


def _try(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except psutil.Error:
        return None
