"""How many replicas were asked for lately: our own by a clock that nobody sets, earlier ones by their records.

Set back by an hour, the machine's clock would find the launches of that hour before it, and nothing lost would be
replaced until it has passed; set forward, it would forget the last minute, and a storm of losses could be one of
purchases. See decision 0092.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from orchestrator.control.ports import Clock, Records
from orchestrator.domain.replica import Replica
from orchestrator.domain.time import Instant

A_MINUTE = timedelta(minutes=1)
"""Physical."""


class LaunchPace:
    """One controller's. Nobody else launches during its turn, so records are read once."""

    def __init__(self, clock: Clock, records: Records) -> None:
        self._clock = clock
        self._records = records
        self._asked_at: dict[str, float] = {}
        self._has_read = False

    def note(self, name: str) -> None:
        """Remember that a replica was asked for now."""
        at = self._clock.monotonic()
        self._asked_at = {n: then for n, then in self._asked_at.items() if _is_lately(then, at)} | {name: at}

    def lately(self) -> int:
        """Count the replicas of all services that were asked for in the last physical minute."""
        if not self._has_read:
            self._read()
        at = self._clock.monotonic()
        return sum(_is_lately(then, at) for then in self._asked_at.values())

    def _read(self) -> None:
        """Take in what was asked for before this process; what is dated later than now was so at least by now."""
        now, at, rate = self._clock.now(), self._clock.monotonic(), self._clock.rate
        for replica in self._records.replicas(ended=True, ended_since=now - A_MINUTE * rate):
            age = max(timedelta(0), now - replica.created_at) / rate
            self._asked_at.setdefault(replica.name, at - age.total_seconds())
        self._has_read = True


def launched_lately(replicas: Iterable[Replica], now: Instant, rate: float) -> int:
    """Count by records alone, for whoever only asks what would be: what is dated later than now is left out."""
    return sum(now - A_MINUTE * rate < r.created_at <= now for r in replicas)


def _is_lately(then: float, at: float) -> bool:
    return at - then < A_MINUTE.total_seconds()
