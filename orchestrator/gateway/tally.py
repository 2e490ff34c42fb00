"""Counts that add up: every request and every attempt at an upstream ends in exactly one outcome.

An attempt or a request is a context manager; whatever happens inside, leaving it settles it once. So the number in
flight cannot go below zero, and returns to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

from orchestrator.domain.counters import GatewayStatus, ServiceCounts, UpstreamStatus, first_token_class


class Outcome(StrEnum):
    """How an attempt or a request ended; the words are those of the status."""

    OK = "ok"
    FAILED = "failed"
    TRUNCATED = "truncated"
    RESUMED = "resumed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class _Counts:
    """``seconds`` is the integral of ``in_flight`` up to ``since``."""

    since: float
    in_flight: int = 0
    seconds: float = 0.0
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    first_tokens: list[int] = field(default_factory=list)

    def note_first_token(self, seconds: float) -> None:
        number = first_token_class(max(0.0, seconds))
        self.first_tokens += [0] * (number + 1 - len(self.first_tokens))
        self.first_tokens[number] += 1

    def change(self, by: int, now: float) -> None:
        self.seconds += self.in_flight * (now - self.since)
        self.since = now
        self.in_flight += by


class Counted:
    """One thing being counted. :meth:`settle` may be called at most once with effect; leaving settles the rest."""

    def __init__(self, *counts: _Counts, clock: Callable[[], float], ended: Callable[[], None] | None = None) -> None:
        self._counts = counts
        self._clock = clock
        self._ended = ended
        self.outcome: Outcome | None = None
        self._began = now = clock()
        self._has_spoken = False
        for each in counts:
            each.change(+1, now)

    def note_first_token(self) -> None:
        """Count how long the first piece of a stream took; what comes after it is none."""
        if not self._has_spoken:
            self._has_spoken = True
            for each in self._counts:
                each.note_first_token(self._clock() - self._began)

    def settle(self, outcome: Outcome) -> None:
        """Decide the outcome, unless it is decided already."""
        if self.outcome is None:
            self.outcome = outcome
            now = self._clock()
            for each in self._counts:
                each.change(-1, now)
                each.outcomes[outcome] += 1
            if self._ended is not None:
                self._ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.settle(Outcome.CANCELLED if isinstance(error, asyncio.CancelledError) else Outcome.FAILED)


class Tally:
    """All counts of one gateway process. ``clock`` counts seconds and never runs backwards."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._upstreams: dict[str, _Counts] = {}
        self._services: dict[str, _Counts] = {}
        self._requests = _Counts(clock())
        self._accepted = 0
        self._resumed = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def attempt(self, replica: str) -> Counted:
        """Count one request being sent to the replica."""
        counts = self._upstreams.setdefault(replica, _Counts(self._clock()))
        return Counted(counts, clock=self._clock)

    def request(self, service: str) -> Counted:
        """Count one accepted request to the service."""
        self._accepted += 1
        self._idle.clear()
        own = self._services.setdefault(service, _Counts(self._clock()))
        return Counted(self._requests, own, clock=self._clock, ended=self._note_end)

    def note_resumed(self) -> None:
        """Count a request whose stream changed its upstream (once per request)."""
        self._resumed += 1

    async def until_idle(self) -> None:
        """Return once every accepted request has ended."""
        await self._idle.wait()

    def prune(self, keep: Collection[str], services: Collection[str] | None = None) -> None:
        """Forget replicas outside ``keep`` that have nothing in flight, so that the memory stays bounded.

        The same for services outside ``services``, where that is given.
        """
        self._upstreams = {name: c for name, c in self._upstreams.items() if name in keep or c.in_flight}
        if services is not None:
            self._services = {name: c for name, c in self._services.items() if name in services or c.in_flight}

    def status(
        self,
        *,
        applied_version: int,
        boot_id: str,
        mode: str,
        replicas: Iterable[str] = (),
        services: Iterable[str] = (),
    ) -> GatewayStatus:
        """Return the counts as of now, for ``replicas``, ``services`` and whatever else has been sent something."""
        now = self._clock()
        for name in services:
            self._services.setdefault(name, _Counts(now))
        for name in replicas:
            self._upstreams.setdefault(name, _Counts(now))
        return GatewayStatus(
            applied_version=applied_version,
            boot_id=boot_id,
            upstreams=tuple(_upstream_status(name, counts, now) for name, counts in self._upstreams.items()),
            accepted=self._accepted,
            ok=self._requests.outcomes[Outcome.OK],
            failed=self._requests.outcomes[Outcome.FAILED],
            truncated=self._requests.outcomes[Outcome.TRUNCATED],
            cancelled=self._requests.outcomes[Outcome.CANCELLED],
            resumed=self._resumed,
            mode=mode,
            services=tuple(_service_counts(name, counts, now) for name, counts in self._services.items()),
        )

    def _note_end(self) -> None:
        if self._requests.in_flight == 0:
            self._idle.set()


def _service_counts(service: str, counts: _Counts, now: float) -> ServiceCounts:
    counts.change(0, now)
    return ServiceCounts(
        service=service,
        accepted=counts.in_flight + sum(counts.outcomes.values()),
        in_flight=counts.in_flight,
        failed=counts.outcomes[Outcome.FAILED],
        request_seconds=counts.seconds,
    )


def _upstream_status(replica: str, counts: _Counts, now: float) -> UpstreamStatus:
    counts.change(0, now)
    return UpstreamStatus(
        replica=replica,
        in_flight=counts.in_flight,
        request_seconds=counts.seconds,
        ok=counts.outcomes[Outcome.OK],
        failed=counts.outcomes[Outcome.FAILED],
        truncated=counts.outcomes[Outcome.TRUNCATED],
        resumed=counts.outcomes[Outcome.RESUMED],
        cancelled=counts.outcomes[Outcome.CANCELLED],
        first_tokens=tuple(counts.first_tokens),
    )
