"""Which upstreams failed lately and should rest.

This is the gateway's own memory, so that a dead replica stops getting traffic at once, whether or not a controller is
there to notice.

The words are LiteLLM's: after ``allowed_fails`` failures in a row an upstream rests for its cooldown time. One that
is *gone* (refused, reset, silent) rests at once. When the time is over, one request tries it while the others still
stay away; its success ends the matter, its failure starts the next rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from orchestrator.domain.routing import Upstream

ALLOWED_FAILS: Final = 3


@dataclass(slots=True)
class _Record:
    fails: int = 0
    is_gone: bool = False
    rests_until: float | None = None


class Cooldowns:
    """Kept by URL: a replica that comes back elsewhere starts with a clean slate. ``clock`` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}

    def resting(self, upstreams: Iterable[Upstream]) -> frozenset[str]:
        """Return the names of the replicas that should rest now."""
        if not self._records:
            return frozenset()
        now = self._clock()
        return frozenset(u.replica for u in upstreams if self._rests(u.url, now))

    def gone(self, upstreams: Iterable[Upstream]) -> frozenset[str]:
        """Return the names of the replicas that should rest now because they did not answer at all."""
        if not self._records:
            return frozenset()
        now = self._clock()
        return frozenset(u.replica for u in upstreams if self._rests(u.url, now) and self._records[u.url].is_gone)

    def trying(self, upstream: Upstream, cooldown_seconds: float) -> None:
        """Note that a request goes there now; after a rest it is the trial, and the others keep away meanwhile."""
        record = self._records.get(upstream.url)
        if record is not None and record.rests_until is not None:
            record.rests_until = max(record.rests_until, self._clock() + cooldown_seconds)

    def worked(self, upstream: Upstream) -> None:
        """Note a whole answer: all is forgiven."""
        self._records.pop(upstream.url, None)

    def failed(self, upstream: Upstream, cooldown_seconds: float, *, gone: bool) -> bool:
        """Note a failure; return whether the upstream began to rest by it."""
        record = self._records.setdefault(upstream.url, _Record())
        record.fails += 1
        record.is_gone = gone
        if not gone and record.fails < ALLOWED_FAILS:
            return False
        was_resting = record.rests_until is not None
        record.rests_until = self._clock() + cooldown_seconds
        return not was_resting

    def forget_all_but(self, upstreams: Iterable[Upstream]) -> None:
        """Drop what is known about upstreams that no table names any more."""
        urls = {u.url for u in upstreams}
        self._records = {url: record for url, record in self._records.items() if url in urls}

    def _rests(self, url: str, now: float) -> bool:
        record = self._records.get(url)
        return record is not None and record.rests_until is not None and now < record.rests_until
