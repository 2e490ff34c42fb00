"""From a migration schedule to the instants at which its windows open and close.

Windows are given on a local clock. A clock time that comes twice when summer time ends counts the first time only; one
that a change of clocks skips counts as much later as the clocks are put forward. A window that has no length on such a
day does not open on it. A cron line is read the same way: by a clock that knows no summer time, and what that clock
shows is turned into an instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from functools import lru_cache, partial
from heapq import heappop, heappush
from typing import Protocol, cast
from zoneinfo import ZoneInfo

from orchestrator.domain.service import Closed, CronWindow, LocalTime, MoveSchedule, WeeklyWindow
from orchestrator.domain.time import Instant, Window
from orchestrator.planner.schedule import BLACKOUT, FREEZE, Closure, Opening, Timetable

REMEMBERED = timedelta(hours=26)
"""How long a window that has closed is still named: a little more than the longest window lasts."""

_A_DAY = timedelta(days=1)
_AN_INSTANT = timedelta(microseconds=1)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEK = 7

_From = Callable[[Instant], Iterator[Opening]]
"""Yields the occurrences of one window that end after a moment, in order and without end."""


class _Trigger(Protocol):
    """The part of APScheduler's ``CronTrigger`` that is used."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the first time to fire at or after ``now``."""


def timetable_of(schedule: MoveSchedule | None, now: Instant) -> Timetable | None:
    """Return what a schedule says of ``now``; ``None`` without one. The schedule has been checked: its zone exists."""
    return None if schedule is None else _remembered(schedule).at(now)


@lru_cache(maxsize=256)
def _remembered(schedule: MoveSchedule) -> _Remembered:
    return _Remembered(Calendar(schedule))


class _Remembered:
    """A calendar that is asked at every look, and worked out again only when something changes."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._last: tuple[Instant, Timetable] | None = None

    def at(self, now: Instant) -> Timetable:
        """Say what holds at a moment."""
        if self._last is None or now < self._last[0] or (self._last[1].next_change or now + _A_DAY) <= now:
            self._last = now, self._calendar.at(now)
        timetable = self._last[1]
        return replace(timetable, ended=tuple(o for o in timetable.ended if now - REMEMBERED < o.window.end))


class Calendar:
    """One schedule with its zone and its closed periods as instants."""

    def __init__(self, schedule: MoveSchedule) -> None:
        self._zone = ZoneInfo(schedule.time_zone)
        self._zone_name = schedule.time_zone
        self._windows: tuple[_From, ...] = (
            *(partial(self._weekly_from, window) for window in schedule.windows),
            *(partial(self._cron_from, window, _trigger(window.cron)) for window in schedule.cron),
        )
        kinds = ((FREEZE, schedule.freezes), (BLACKOUT, schedule.blackouts))
        self._closed = sorted(
            ((self._closed_window(c), kind, c.reason) for kind, closed in kinds for c in closed),
            key=lambda entry: (entry[0], entry[1]),
        )

    def at(self, now: Instant) -> Timetable:
        """Say what holds at a moment."""
        closure = self._closure(now)
        coming = self._next(now)
        around = [cut for o in self._occurrences(now - REMEMBERED, now + _AN_INSTANT) if (cut := self._cut(o))]
        around.sort(key=lambda o: (o.window.end, o.name))
        openings = tuple(o for o in around if closure is None and now in o.window)
        edges = [o.window.end for o in openings] + [
            edge for entry, _, _ in self._closed for edge in (entry.start, entry.end)
        ]
        edges += [] if coming is None else [coming.window.start]
        return Timetable(
            has_windows=bool(self._windows),
            openings=openings,
            closure=closure,
            next_opening=coming,
            next_change=min((edge for edge in edges if edge > now), default=None),
            ended=tuple(o for o in around if now - REMEMBERED < o.window.end <= now),
        )

    # ── closed periods ───────────────────────────────────────────────────────────────────────────────

    def _closed_window(self, closed: Closed) -> Window:
        start, end = self._instant(closed.start), self._instant(closed.end)
        return Window(start, max(start, end))

    def _closure(self, now: Instant) -> Closure | None:
        """Return what closes this moment, freezes first, until the end of all that closes without a pause."""
        holding = [(entry, kind, reason) for entry, kind, reason in self._closed if now in entry]
        if not holding:
            return None
        window, kind, reason = min(holding, key=lambda e: (e[1] != FREEZE, -e[0].end.timestamp(), e[2]))
        return Closure(kind, self._open_again(window.end) if kind == BLACKOUT else window.end, reason)

    def _open_again(self, moment: Instant) -> Instant:
        """Return the first moment at or after this one that no closed period holds."""
        for entry, _, _ in self._closed:
            if moment in entry:
                moment = entry.end
        return moment

    def _pieces(self, window: Window) -> list[Window]:
        """Return what closed periods leave of a window."""
        left, start = [], window.start
        for entry, _, _ in self._closed:
            if entry.end <= start or entry.start >= window.end:
                continue
            if entry.start > start:
                left.append(Window(start, entry.start))
            start = max(start, entry.end)
        return [*left, Window(start, window.end)] if start < window.end else left

    def _cut(self, opening: Opening) -> Opening | None:
        """Return a window from where it opens to where it closes for good; ``None`` where it does not open at all."""
        pieces = self._pieces(opening.window)
        if not pieces:
            return None
        return Opening(Window(pieces[0].start, pieces[-1].end), opening.name, opening.local)

    # ── windows ──────────────────────────────────────────────────────────────────────────────────────

    def _next(self, now: Instant) -> Opening | None:
        found = [o for each in self._windows if (o := self._first_opening(each, now)) is not None]
        return min(found, key=lambda o: (o.window.start, o.name), default=None)

    def _first_opening(self, each: _From, now: Instant) -> Opening | None:
        """Return where a window opens first after now; the rest of one that is open does not count."""
        since: Instant | None = now
        while since is not None:
            after, since = since, None
            for occurrence in each(after):
                pieces = self._pieces(occurrence.window)
                if not pieces:
                    # Whatever ends before that is swallowed as well: a line for every minute has many in a long freeze.
                    since = self._open_again(occurrence.window.start)
                    break
                for piece in pieces:
                    if piece.start > now:
                        return Opening(piece, occurrence.name, self._local(piece.start))
        return None

    def _occurrences(self, since: Instant, until: Instant) -> Iterator[Opening]:
        """Yield all windows that end after ``since`` and begin before ``until``."""
        for each in self._windows:
            for occurrence in each(since):
                if occurrence.window.start >= until:
                    break
                yield occurrence

    def _weekly_from(self, window: WeeklyWindow, since: Instant) -> Iterator[Opening]:
        name = f"{_named_days(window.days)}{_clock(window.start_minute)}-{_clock(window.end_minute)} {self._zone_name}"
        day = since.astimezone(self._zone).date() - 2 * _A_DAY
        while day.year < MAXYEAR:
            if day.weekday() in window.days:
                last_day = day if window.end_minute > window.start_minute else day + _A_DAY
                start = self._instant(_on(day, window.start_minute))
                end = self._instant(_on(last_day, window.end_minute))
                if end > max(start, since):
                    yield Opening(Window(start, end), name, self._local(start))
            day += _A_DAY

    def _cron_from(self, window: CronWindow, trigger: _Trigger, since: Instant) -> Iterator[Opening]:
        name = f"cron '{window.cron}' for {_spoken(window.length)}, {self._zone_name}"
        for start in self._starts(trigger, since - window.length):
            if start + window.length > since:
                yield Opening(Window.starting(start, window.length), name, self._local(start))

    def _starts(self, trigger: _Trigger, since: Instant) -> Iterator[Instant]:
        """Yield the instants of a cron line from about a moment on, in order and each once.

        A skipped clock time comes after times that are later on the clock, or with one of them: it waits for those.
        """
        waiting: list[Instant] = []
        for local in _shown(trigger, self._clock_before(since)):
            start = self._instant(local)
            if start not in waiting:
                heappush(waiting, start)
            no_other_before = min(start, self._instant(local, fold=1))
            while waiting and waiting[0] <= no_other_before:
                yield heappop(waiting)
        yield from sorted(waiting)

    def _clock_before(self, moment: Instant) -> LocalTime:
        """Return what a clock in the zone shows, or would show if it had not been put forward within the last day."""
        shown = moment.astimezone(self._zone).replace(tzinfo=None)
        return min(shown, (moment - _A_DAY).astimezone(self._zone).replace(tzinfo=None) + _A_DAY)

    def _instant(self, local: LocalTime, *, fold: int = 0) -> Instant:
        """Return when a clock in the zone first shows that; a time that is skipped is as much later.

        ``fold=1``: when it last shows that; a time that is skipped is as much earlier.
        """
        return local.replace(tzinfo=self._zone, fold=fold).astimezone(UTC)

    def _local(self, moment: Instant) -> str:
        return f"{moment.astimezone(self._zone):%a %d %b %H:%M} {self._zone_name}"


def _trigger(cron: str) -> _Trigger:
    """Return a cron line on a clock that is never changed: in a zone the trigger leaves out hours after a change."""
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415  # only a schedule that has cron lines needs it

    return cast("_Trigger", CronTrigger.from_crontab(cron, timezone=UTC))


def _shown(trigger: _Trigger, since: LocalTime) -> Iterator[LocalTime]:
    """Yield the clock times of a cron line from one on."""
    moment = since.replace(tzinfo=UTC)
    while (fires := trigger.get_next_fire_time(None, moment)) is not None:
        yield fires.replace(tzinfo=None)
        moment = fires + timedelta(seconds=1)


def _on(day: date, minute: int) -> LocalTime:
    midnight: LocalTime = datetime.combine(day, datetime.min.time())
    return midnight + timedelta(minutes=minute)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _named_days(days: Iterable[int]) -> str:
    wanted = sorted(set(days))
    if len(wanted) == _WEEK:
        return ""
    runs: list[list[int]] = []
    for day in wanted:
        if runs and day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    names = [_DAYS[r[0]] if len(r) == 1 else f"{_DAYS[r[0]]}-{_DAYS[r[-1]]}" for r in runs]
    return ",".join(names) + " "


def _spoken(length: timedelta) -> str:
    minutes = round(length.total_seconds() / 60)
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"
