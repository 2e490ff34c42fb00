"""A carbon source over an API: asks seldom, believes with care, remembers, and never hides an age.

The controller wants every zone's value each second; an API wants to be asked every few minutes and not at all while it
is down. In between the last believed value is served as what it is, a statement about its own interval, so that it
grows old in plain sight. When to ask again is reckoned in the ``now`` that callers hand over; nothing sleeps.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Gap, Reading
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.errors import SignalFormatError, SignalRefused, SignalThrottled, SignalUnavailable
from orchestrator.signals import gate
from orchestrator.signals.archive import Archive, Kept
from orchestrator.signals.budget import Budget, Rest
from orchestrator.signals.judging import Judge
from orchestrator.signals.statement import Feed, Said

CURRENT_EVERY: Final = timedelta(minutes=5)
"""No grid publishes more often, and plans with few requests a month last."""

PAST_EVERY: Final = timedelta(minutes=15)
FORECAST_EVERY: Final = timedelta(minutes=30)
REVISED_FOR: Final = timedelta(hours=24)
"""How far back hours are asked for again: providers correct their estimates within a day."""

BACK_OFF, LONGEST_BACK_OFF = timedelta(seconds=30), timedelta(minutes=15)
REFUSED_FOR: Final = timedelta(hours=1)
"""A key or a plan changes by hand, so asking sooner is noise."""

RECENT: Final = timedelta(hours=6)
LOOK_BACK: Final = timedelta(days=35)
MIN_FORECAST_HOURS: Final = 24
MAX_AT_ONCE: Final = 4
DOUBTS_KEPT: Final = 256
DOUBTS_SHOWN: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Doubted:
    """A statement that was not believed: about which zone and time, what it says, why, and when it was read."""

    source: str
    zone: str
    about: Window
    grams_per_kwh: float
    reason: str
    at: Instant


@dataclass(frozen=True, slots=True)
class State:
    """Where a zone stands: the newest believed value, what went wrong last, and what was not believed lately.

    ``problem``: "" when the last question was answered, or nobody asked in this process. ``doubts``: the reasons of the
    last day, each once, the newest first.
    """

    zone: str
    basis: Basis
    newest: CarbonIntensity | None
    ask_again_at: Instant | None
    problem: str
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """Where the API as a whole stands. ``problem``: why nobody is asked until ``rests_until``, "" if it is asked.

    ``failures``: in a row. ``requests``: on this day of UTC, by all processes; ``limit``: as many as there may be.
    """

    source: str
    rests_until: Instant | None
    problem: str
    failures: int
    requests: int
    limit: int | None


@dataclass(frozen=True, slots=True)
class _Asked:
    at: Instant
    until: Instant
    failures: int = 0
    problem: Gap | SignalUnavailable | None = None


@dataclass(slots=True)
class _Turns:
    """What belongs to one event loop: commands run one loop after another."""

    loop: asyncio.AbstractEventLoop
    few: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_AT_ONCE))
    locks: dict[tuple[str, str, Basis], asyncio.Lock] = field(default_factory=dict)


class LiveCarbon:
    """A :class:`~orchestrator.control.ports.CarbonSource` over a feed.

    ``yearly_grams_per_kwh``: packaged yearly means by zone, the only yardstick before there is a past. ``budget``: how
    many requests there may be; ``requests``: how many the feed has made so far, where one question may be several;
    ``today``: when requests are counted, the callers' ``now`` without it (a report asks as of the past).
    History and forecast are of whole clock hours, whatever the API's step.
    """

    def __init__(
        self,
        feed: Feed,
        archive: Archive,
        *,
        every: timedelta = CURRENT_EVERY,
        yearly_grams_per_kwh: Mapping[str, float] | None = None,
        budget: Budget | None = None,
        requests: Callable[[], int] | None = None,
        today: Callable[[], Instant] | None = None,
    ) -> None:
        self._feed = feed
        self._budget = budget or Budget(feed.name)
        self._requests = requests
        self._today = today
        self._counted = 0
        self._archive = archive
        self._every = max(every, CURRENT_EVERY)
        self._judge = Judge(archive, yearly_grams_per_kwh or {})
        self._asked: dict[tuple[str, str, Basis], _Asked] = {}
        self._rest: Rest | None = None
        self._rest_problem: SignalUnavailable | None = None
        self._reached: dict[tuple[str, Basis], Window] = {}
        self._forecasts: dict[tuple[str, Basis], tuple[Instant, tuple[CarbonIntensity, ...]]] = {}
        self._doubts: deque[Doubted] = deque(maxlen=DOUBTS_KEPT)
        self._turns: _Turns | None = None

    @property
    def name(self) -> str:
        """Short name that travels with each value."""
        return self._feed.name

    @property
    def credit(self) -> str:
        """Whose data it is, as the owner wants it said."""
        return self._feed.credit

    async def zones(self) -> frozenset[str]:
        """Return the zones that can be asked for. Raises ``SignalUnavailable``."""
        return await self._feed.zones()

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        """Return the newest believed value, of whatever age; asks for a newer one when it is time to.

        Raises ``SignalUnavailable`` when the API cannot be asked and nothing was ever known.
        """
        problem: Gap | SignalUnavailable | None = None
        try:
            asked = await self._ask(
                ("current", zone, basis), self._every, now, lambda: self._feed.current(zone, basis, now)
            )
            problem = self._take(asked, zone, basis, now)
        except SignalUnavailable as error:
            problem = error
        newest = self._newest(zone, basis, now)
        if newest is not None:
            return newest
        if isinstance(problem, SignalUnavailable) and not isinstance(problem, SignalFormatError):
            raise problem
        if problem is None:
            problem = self._last_doubt(zone) or Gap(zone, f"nothing is said of {zone} now", self.name)
        return problem if isinstance(problem, Gap) else Gap(zone, problem.message, self.name)

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """Return the believed whole hours that touch the window and are over at ``now``.

        Raises ``SignalUnavailable`` when the API cannot be asked and the memory holds nothing of the window.
        """
        span = (floor_hour(window.start), min(_ceil_hour(window.end), floor_hour(now)))
        if span[0] >= span[1]:
            return CarbonSeries(zone, ())
        problem: SignalUnavailable | None = None
        try:
            await self._fill(zone, basis, Window(*span), now)
        except SignalUnavailable as error:
            problem = error
        points = [k.reading() for k in self._hours(self._archive.believed(zone, basis, Window(*span), now), now)]
        if not points and problem is not None and not isinstance(problem, SignalFormatError):
            raise problem
        return CarbonSeries(zone, tuple(points))

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        """Return the API's own forecast as last read; ``None`` when it makes none or cannot be asked.

        It raises nothing: a missing forecast must not take the history with it, from which we can make our own.
        """
        hours = max(MIN_FORECAST_HOURS, -(-(window.end - now) // HOUR))
        try:
            said = await self._ask(
                ("forecast", zone, basis), FORECAST_EVERY, now, lambda: self._feed.forecast(zone, basis, hours, now)
            )
        except SignalUnavailable:
            said = None
        if isinstance(said, Sequence):
            points, doubts = self._judge.forecast(said, zone, basis, now)
            self._doubts.extend(Doubted(self.name, *d, now) for d in doubts)
            self._forecasts[zone, basis] = (now, points)
        read_at, points = self._forecasts.get((zone, basis), (now, ()))
        inside = [p for p in points if p.interval.start < window.end and p.interval.end > window.start]
        return CarbonSeries(zone, tuple(inside)) if inside and read_at <= now else None

    def quarantined(self) -> tuple[Doubted, ...]:
        """Return the statements that were not believed, newest last; the last few hundred of this process."""
        return tuple(self._doubts)

    def states(self, now: Instant) -> tuple[State, ...]:
        """Say where each zone stands that was ever asked for; by zone. Asks nobody."""
        found = []
        rest = self._rest or self._resting(now)
        keys = {(zone, basis) for _, zone, basis in self._asked} | set(self._archive.zones(now))
        for zone, basis in sorted(keys):
            asked = self._asked.get(("current", zone, basis))
            problem = asked.problem if asked else None
            words = problem.reason if isinstance(problem, Gap) else problem.message if problem else ""
            if not words and rest is not None:
                words = rest.problem
            newest, until = self._newest(zone, basis, now), asked.until if asked else None
            found.append(State(zone, basis, newest, until, words, self._doubts_of(zone, basis, now)))
        return tuple(found)

    def health(self, now: Instant) -> Health:
        """Say whether the API is asked at all now, and what it was asked today. Asks nobody."""
        spent, rest = self._budget.spent(self._counted_at(now)), self._resting(now)
        if rest is None:
            return Health(self.name, None, "", 0, spent.requests, spent.limit)
        return Health(self.name, rest.until, rest.problem, rest.failures, spent.requests, spent.limit)

    @property
    def problem(self) -> str:
        """What is wrong with the memory's file, "" if nothing."""
        return self._archive.problem or self._budget.problem

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────

    async def _ask(
        self, key: tuple[str, str, Basis], every: timedelta, now: Instant, question: Callable[[], Awaitable[Said]]
    ) -> Said | None:
        """Return what is said, ``None`` when it is too early to ask again; raises the last problem meanwhile."""
        turns = self._of_this_loop()
        async with turns.locks.setdefault(key, asyncio.Lock()):
            asked = self._asked.get(key)
            if asked is not None and asked.at <= now < asked.until:
                if isinstance(asked.problem, SignalUnavailable):
                    raise asked.problem
                return asked.problem
            async with turns.few:
                today = self._counted_at(now)
                shared = self._budget.rest()
                if self._rest is not None and self._rest.holds(now):
                    raise self._rest_problem or SignalUnavailable(self._rest.problem)
                if shared is not None and shared.holds(today):
                    raise SignalUnavailable(shared.problem)
                began = self._rest
                failed_before = max(rest.failures if rest else 0 for rest in (began, shared))
                try:
                    self._budget.check(today)
                except SignalUnavailable as error:
                    # Not told to others: they count with us, and a limit that is raised holds at once.
                    self._failed(key, error, now, failed_before)
                    raise
                try:
                    said = await question()
                except SignalUnavailable as error:
                    if (rest := self._failed(key, error, now, failed_before)) is not None:
                        self._budget.let_rest(replace(rest, at=today, until=today + (rest.until - rest.at)))
                    raise
                finally:
                    self._count(now)
            if self._rest is began:
                # Another zone may have been told to come back later while this answer was on its way.
                self._rest = self._rest_problem = None
                if shared is not None:
                    self._budget.rested(today)
            self._asked[key] = _Asked(now, now + every, problem=said if isinstance(said, Gap) else None)
            return said

    def _count(self, now: Instant) -> None:
        """Count what the feed has asked since the last count; questions, where it does not say."""
        made = self._counted + 1 if self._requests is None else self._requests()
        self._budget.add(made - self._counted, self._counted_at(now))
        self._counted = made

    def _resting(self, now: Instant) -> Rest | None:
        """Return the rest that holds, whoever of us was told to."""
        own, shared = self._rest, self._budget.rest()
        if own is not None and own.holds(now):
            return own
        return shared if shared is not None and shared.holds(self._counted_at(now)) else None

    def _counted_at(self, now: Instant) -> Instant:
        """Return the moment by which requests and rests are kept for all processes."""
        return self._today() if self._today else now

    def _failed(self, key: tuple[str, str, Basis], error: SignalUnavailable, now: Instant, of_all: int) -> Rest | None:
        """Note when to ask again. What concerns the API as a whole lets all its zones rest, and is returned.

        ``of_all``: how often in a row the API as a whole had failed before.
        """
        before = self._asked.get(key)
        of_key = before.failures if before else 0
        if isinstance(error, SignalRefused):
            self._asked[key] = _Asked(now, now + REFUSED_FOR, of_key + 1, error)
            return None
        if isinstance(error, SignalFormatError):
            self._asked[key] = _Asked(now, now + _back_off(of_key), of_key + 1, error)
            return None
        wait = _back_off(of_all)
        if isinstance(error, SignalThrottled) and error.retry_after_seconds is not None:
            wait = max(wait, timedelta(seconds=error.retry_after_seconds))
            self._asked[key] = _Asked(now, now + wait, of_key + 1, error)
        self._rest, self._rest_problem = Rest(now, now + wait, of_all + 1, error.message), error
        return self._rest

    async def _fill(self, zone: str, basis: Basis, span: Window, now: Instant) -> None:
        """Ask for the hours that are missing, and for the last day's again."""
        key = ("past", zone, basis)
        reached = self._reached.get((zone, basis))
        recent = max(span.start, span.end - REVISED_FOR)
        start = recent
        if reached is None or not reached.start <= span.start <= recent <= reached.end:
            known = {k.interval.start for k in self._hours(self._archive.known(zone, basis, span, now), now)}
            start = next((h for h in _hours(span) if h >= recent or h not in known), recent)
            if start < recent and reached is not None and not self._failing(key):
                self._asked.pop(key, None)
        said = await self._ask(key, PAST_EVERY, now, lambda: self._feed.past(zone, basis, Window(start, span.end), now))
        if isinstance(said, Sequence):
            self._take(said, zone, basis, now)
            self._reached[zone, basis] = _joined(reached, span)

    def _failing(self, key: tuple[str, str, Basis]) -> bool:
        asked = self._asked.get(key)
        return asked is not None and asked.problem is not None

    def _of_this_loop(self) -> _Turns:
        loop = asyncio.get_running_loop()
        if self._turns is None or self._turns.loop is not loop:
            self._turns = _Turns(loop)
        return self._turns

    # ── believing ────────────────────────────────────────────────────────────────────────────────────

    def _take(self, said: Said | None, zone: str, basis: Basis, now: Instant) -> Gap | None:
        """Judge and remember statements; returns the gap if that is what was said."""
        if said is None or isinstance(said, Gap):
            return said
        doubts = self._judge.observed(said, zone, basis, now)
        self._doubts.extend(Doubted(self.name, *d, now) for d in doubts)
        return None

    def _newest(self, zone: str, basis: Basis, now: Instant) -> CarbonIntensity | None:
        # Mostly there is one in the last hours; only after a long silence is the rest looked through.
        for back in (RECENT, LOOK_BACK):
            window = Window(now - back, now + gate.CLOCKS_DIFFER)
            begun = [k for k in self._archive.believed(zone, basis, window, now) if k.interval.start <= now]
            if begun:
                return begun[-1].reading()
        return None

    def _hours(self, kept: Sequence[Kept], now: Instant) -> list[Kept]:
        """Return the whole clock hours that are over; shorter intervals are for the present only."""
        return [
            k
            for k in kept
            if k.interval.end <= now and k.interval.length == HOUR and k.interval.start == floor_hour(k.interval.start)
        ]

    def _doubts_of(self, zone: str, basis: Basis, now: Instant) -> tuple[str, ...]:
        day = Window(now - DOUBTS_SHOWN, now + gate.CLOCKS_DIFFER)
        kept = [k.doubt for k in self._archive.known(zone, basis, day, now) if k.doubt]
        here = [d.reason for d in self._doubts if d.zone == zone and d.at > now - DOUBTS_SHOWN]
        return tuple(dict.fromkeys([*reversed(here), *reversed(kept)]))

    def _last_doubt(self, zone: str) -> Gap | None:
        last = next((d for d in reversed(self._doubts) if d.zone == zone), None)
        return Gap(zone, f"not believed: {last.reason}", self.name) if last else None


def _back_off(failures: int) -> timedelta:
    return min(BACK_OFF * (1 << min(failures, 10)), LONGEST_BACK_OFF)


def _joined(before: Window | None, span: Window) -> Window:
    """Return all that was asked for, as long as it has no hole; else what was asked for last."""
    if before is None or span.start > before.end or span.end < before.start:
        return span
    return Window(min(before.start, span.start), max(before.end, span.end))


def _ceil_hour(moment: Instant) -> Instant:
    start = floor_hour(moment)
    return start if start == moment else start + HOUR


def _hours(span: Window) -> list[Instant]:
    return [span.start + n * HOUR for n in range(-(-(span.end - span.start) // HOUR))]
