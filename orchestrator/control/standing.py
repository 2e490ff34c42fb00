"""Which plans still stand: what one controller remembers, so that nobody plans anew what cannot have another answer."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.control.past import Last, Past
from orchestrator.domain.time import HOUR, Instant
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.standing import asks_the_same, stands_until

STAY_EVERY = HOUR
"""A repeated "stay" is recorded once per grid hour: it is a decision, not a heartbeat."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A plan that wants nothing: what it was asked, and until when nothing but a change of that can change it.

    ``keep_up``: as the planner was asked it. ``last``: what was on record then. ``until``: in grid time, and at the
    latest when "stay" is recorded again. ``rest_seconds``: physical, after which the question is looked at again.
    """

    question: Snapshot
    keep_up: bool
    last: Last
    until: Instant
    rest_seconds: float


class Standings:
    """One per service; all of it can be worked out again after a restart."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._known: dict[str, Standing] = {}

    def of(self, snapshot: Snapshot, now: Instant, *, keep_up: bool) -> Standing | None:
        """Return the plan that still answers this question; ``None``, and nothing is remembered, where none does."""
        service = snapshot.spec.name
        standing = self._known.get(service)
        same_way = standing is not None and standing.keep_up is keep_up
        if standing is not None and same_way and self._still_stands(standing, snapshot, now):
            return standing
        self._known.pop(service, None)
        return None

    def keep(self, snapshot: Snapshot, now: Instant, rest_seconds: float, *, keep_up: bool) -> None:
        """Remember that nothing is wanted, for as long as that follows from the same question."""
        until, last = stands_until(snapshot, now), self._past.last(snapshot.spec.name)
        if until is not None and last is not None:
            end = min(until, last.at + STAY_EVERY)
            self._known[snapshot.spec.name] = Standing(snapshot, keep_up, last, end, rest_seconds)

    def _still_stands(self, standing: Standing, snapshot: Snapshot, now: Instant) -> bool:
        # After anything else was recorded it would be news that all is well again.
        recorded = self._past.last(snapshot.spec.name) == standing.last
        return recorded and now < standing.until and asks_the_same(standing.question, snapshot)
