"""Tidying: old samples become rows of an hour, old decisions that changed nothing rows of a day. In small steps.

Reports are the same to the last digit before and after (:mod:`orchestrator.ledger.hourly`), and whatever acted keeps
its reason. A step is one short transaction between two looks, so it delays none of them by more than that; whatever
goes wrong with it is said once and tried again later, for nothing depends on it but the size of the database. See
decisions 0032 and 0043.
"""

from __future__ import annotations

from datetime import timedelta

from orchestrator.control.ports import Journal
from orchestrator.control.runtime import Runtime, is_due
from orchestrator.domain.time import Instant
from orchestrator.errors import GreenctlError, LeaseHeld

DAY = timedelta(days=1)


class Tidier:
    """Asks the store for one step at a time."""

    def __init__(self, runtime: Runtime, journal: Journal) -> None:
        self._runtime = runtime
        self._journal = journal
        self._rested_at: float | None = None

    def look(self) -> GreenctlError | None:
        """Take a step, where there is one; return what went wrong with it. Raises ``LeaseHeld``."""
        clock = self._runtime.clock
        if not is_due(clock, self._rested_at, self._runtime.tuning.tidy_every.total_seconds()):
            return None
        try:
            done = self._step(clock.now(), clock.rate)
        except LeaseHeld:
            raise
        except GreenctlError as error:
            self._rested_at = clock.monotonic()
            return error
        self._rested_at = None if done else clock.monotonic()
        return None

    def _step(self, now: Instant, rate: float) -> int:
        """Merge decisions first: links of them and of samples of the same days are taken away together."""
        decisions, samples = self._runtime.tuning.keep_decisions, self._runtime.tuning.keep_samples
        done = 0 if decisions is None else self._journal.compact_decisions(now - decisions * rate)
        if done or samples is None:
            return done
        before = now - samples * rate
        merged_by = before if decisions is None else min(before, now - decisions * rate - DAY)
        return self._journal.compact_energy(before, links_before=merged_by)
