"""Quotes of an API, asked seldom: the controller wants prices every few seconds, and they change by the hour.

What was quoted is served on while nobody can be asked; each price says since when it holds, so it grows old in plain
sight. When to ask again is reckoned in the ``now`` that callers hand over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from orchestrator.domain.time import Instant
from orchestrator.errors import PriceUnavailable
from orchestrator.prices.quotes import Quote, QuoteSource, Wanted

REST: Final = timedelta(minutes=5)


class HeldQuotes:
    """A :class:`~orchestrator.prices.quotes.QuoteSource` that asks another one about each machine once in ``every``."""

    def __init__(self, source: QuoteSource, every: timedelta) -> None:
        self._source = source
        self._every = every
        self._asked: dict[tuple[str, str], Instant] = {}
        self._held: dict[tuple[str, str], tuple[Quote, ...]] = {}
        self._rests: tuple[Instant, PriceUnavailable] | None = None
        self._troubles: dict[str, str] = {}

    @property
    def name(self) -> str:
        """Short name that travels with each price."""
        return self._source.name

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why some regions could not be asked about the last time."""
        return self._troubles

    async def quotes(self, wanted: Wanted, now: Instant) -> Sequence[Quote]:
        """Return what was quoted last. Raises ``PriceUnavailable`` when nobody can be asked and nothing is held."""
        machines = [(region, machine) for region, names in sorted(wanted.machines.items()) for machine in sorted(names)]
        due = [m for m in machines if not self._is_held(m, now)]
        problem: PriceUnavailable | None = None
        if due:
            try:
                await self._ask(due, now)
            except PriceUnavailable as error:
                problem = error
        held = [quote for machine in machines for quote in self._held.get(machine, ())]
        if problem is not None and not held:
            raise problem
        return held

    def _is_held(self, machine: tuple[str, str], now: Instant) -> bool:
        asked = self._asked.get(machine)
        return asked is not None and asked <= now < asked + self._every

    async def _ask(self, due: Sequence[tuple[str, str]], now: Instant) -> None:
        if self._rests is not None and self._rests[0] <= now < self._rests[0] + REST:
            raise self._rests[1]
        regions = sorted({region for region, _ in due})
        wanted = Wanted({region: frozenset(m for r, m in due if r == region) for region in regions})
        try:
            quoted = await self._source.quotes(wanted, now)
        except PriceUnavailable as error:
            self._rests = (now, error)
            raise
        self._rests = None
        failed = self._source.troubles
        for region in regions:
            self._troubles.pop(region, None)
        self._troubles.update(failed)
        for machine in due:
            if machine[0] in failed:
                # What it said before stands; it is asked again as soon as one that is down would be.
                self._asked[machine] = now - max(self._every - REST, timedelta(0))
                continue
            self._asked[machine] = now
            self._held[machine] = tuple(q for q in quoted if (q.region, q.instance_type) == machine)
