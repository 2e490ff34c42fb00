"""Locks of the operating system on files (``flock(2)``): they die with their process, so a crash blocks nobody.

Whoever only asks whether a lock is held takes it shared for an instant: askers do not see each other, and a taker that
meets one tries again.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable

TRIES = 50
WAIT_SECONDS = 0.02
"""A second in all; an asker holds the lock for microseconds, or for as long as a stopped process is stopped."""


def take(handle: int, *, wait: Callable[[float], None] = time.sleep) -> bool:
    """Take the lock of an open file; ``False`` when somebody has it and keeps it."""
    for left in range(TRIES - 1, -1, -1):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if left:
                wait(WAIT_SECONDS)
        else:
            return True
    return False


def is_held(handle: int) -> bool:
    """Whether somebody has taken the lock; other askers do not count."""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(handle, fcntl.LOCK_UN)
    return False
