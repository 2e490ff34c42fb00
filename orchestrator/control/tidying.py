"""Tidying: old samples of energy become rows of an hour, a small step after each look while there are any.

Reports are the same to the last digit before and after (:mod:`orchestrator.ledger.hourly`). A step is one short
transaction between two looks, so it delays none of them by more than that; whatever goes wrong with it is said once and
tried again later, for nothing depends on it but the size of the database. See decision 0032.
"""

from __future__ import annotations

from orchestrator.control.ports import Journal
from orchestrator.control.runtime import Runtime, is_due
from orchestrator.errors import GreenctlError, LeaseHeld


class Tidier:
    """Asks the store for one step at a time."""

    def __init__(self, runtime: Runtime, journal: Journal) -> None:
        self._runtime = runtime
        self._journal = journal
        self._rested_at: float | None = None

    def look(self) -> GreenctlError | None:
        """Take a step, where there is one; return what went wrong with it. Raises ``LeaseHeld``."""
        tuning, clock = self._runtime.tuning, self._runtime.clock
        if tuning.keep_samples is None or not is_due(clock, self._rested_at, tuning.tidy_every.total_seconds()):
            return None
        try:
            done = self._journal.compact_energy(clock.now() - tuning.keep_samples * clock.rate)
        except LeaseHeld:
            raise
        except GreenctlError as error:
            self._rested_at = clock.monotonic()
            return error
        self._rested_at = None if done else clock.monotonic()
        return None
