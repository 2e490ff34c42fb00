"""The gateway's scratch folder, and the processes that live in it.

Ray ends most of its processes with its driver, but not all, and a killed driver ends none itself. Each of them keeps
files open in our scratch folder (or names it in its arguments), whose name is random and recorded in the state
directory. So what a crash left behind is told apart from anybody else's Ray by what it is, not by a process id that
may have been given to another program since.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

import psutil

logger = logging.getLogger(__name__)

_RECORD = "scratch"
_PREFIX = "gw-"
_RANDOM_BYTES = 8

MAX_SCRATCH_BYTES: Final = 24
"""What the names inside leave of the 107 bytes that a unix socket's path may have: HAProxy's control socket lies in a
folder named by 56 hex digits, and is first bound under a temporary suffix."""

_GRACE_SECONDS = 3.0
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")


def new_scratch(folder: Path) -> Path:
    """Make a private folder with a short path, and record it so that :func:`clean_up` finds it after a crash."""
    base = tempfile.gettempdir()
    too_long = len(os.fsencode(base)) + len("/") + len(_PREFIX) + _RANDOM_BYTES > MAX_SCRATCH_BYTES
    if too_long or not _PLAIN.fullmatch(base):  # Ray writes it into HAProxy's configuration without quotes
        base = "/tmp"  # noqa: S108  # mkdtemp makes it unguessable and 0700
    scratch = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base)).resolve()
    (folder / _RECORD).write_text(str(scratch), encoding="utf-8")
    return scratch


def clean_up(folder: Path) -> int:
    """End the processes of the recorded scratch folder, then remove it; return how many there were."""
    record = folder / _RECORD
    try:
        scratch = Path(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0
    count = 0
    if scratch.name.startswith(_PREFIX):
        count = _end(living_in(scratch))
        shutil.rmtree(scratch, ignore_errors=True)
    record.unlink(missing_ok=True)
    return count


def living_in(scratch: Path) -> list[psutil.Process]:
    """Return the processes that have a file open in the folder or name it in their arguments, this one excepted."""
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _lives_in(p, str(scratch))]


def _lives_in(process: psutil.Process, scratch: str) -> bool:
    inside = scratch + os.sep
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return any(inside in word for word in process.cmdline()) or any(
            file.path.startswith(inside) for file in process.open_files()
        )
    except (psutil.Error, OSError):
        return False  # gone meanwhile, or another user's


def _end(processes: list[psutil.Process]) -> int:
    """Ask them to end, then make them."""
    for process in processes:
        _signal(process, kill=False)
    _, stubborn = psutil.wait_procs(processes, timeout=_GRACE_SECONDS)
    for process in stubborn:
        _signal(process, kill=True)
    psutil.wait_procs(stubborn, timeout=_GRACE_SECONDS)
    if processes:
        logger.info("ended %d leftover process(es)", len(processes))
    return len(processes)


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.Error:
        return  # gone meanwhile
