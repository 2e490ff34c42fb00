"""How long a decision may take."""

from __future__ import annotations

from typing import Final

from orchestrator.control.ports import Clock
from orchestrator.domain.certificate import Budget

THINKING_SECONDS: Final = 2.0
"""Far beyond what a service of a hundred replicas takes; a machine that is slower than that gets the greedy plan."""


def thinking_time(clock: Clock) -> Budget:
    """Return what says how many seconds are left, from now on."""
    end = clock.monotonic() + THINKING_SECONDS
    return lambda: end - clock.monotonic()
