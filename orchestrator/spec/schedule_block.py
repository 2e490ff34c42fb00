"""``migration.schedule``: when replicas may move, as people write it, and what single values may be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from orchestrator.domain.service import Closed, CronWindow, LocalTime, MoveSchedule, WeeklyWindow
from orchestrator.spec import forms, grammar
from orchestrator.spec.block import Block
from orchestrator.spec.forms import Form
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.words import Path, nearest, show

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CRON_DAYS = ("sun", *DAYS[:-1])
"""Crontab counts weekdays from Sunday (0, and 7 again)."""

DAY_END = 24 * 60
MAX_WINDOWS, MAX_PERIODS = 50, 100
SHORTEST, LONGEST = "5m", "24h"

DAYS_PATTERN = r"^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))?$"
CLOCK_PATTERN = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
DATE_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T([01][0-9]|2[0-3]):[0-5][0-9])?$"
ZONE_PATTERN = r"^[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z0-9][A-Za-z0-9_+-]{0,31}){0,2}$"
REASON_PATTERN = r"^[^\x00-\x1f\x7f]{1,120}$"
CRON_PATTERN = r"^[-0-9A-Za-z*,/]{1,60}( +[-0-9A-Za-z*,/]{1,60}){4}$"


# ── single values ────────────────────────────────────────────────────────────────────────────────────


def read_days(value: object) -> tuple[int, ...]:
    """Read ``mon`` or ``mon-fri`` (``sat-mon`` goes over the end of the week) as days, 0 for Monday."""
    text = grammar.text(value, DAYS_PATTERN, "a day or days like mon or mon-fri")
    first, _, last = text.partition("-")
    start, end = DAYS.index(first), DAYS.index(last or first)
    return tuple(day % len(DAYS) for day in range(start, end + 1 if end >= start else end + 1 + len(DAYS)))


def read_clock(value: object) -> int:
    """Read ``02:00`` as minutes after midnight; ``24:00`` is the end of the day."""
    hours, _, minutes = grammar.text(value, CLOCK_PATTERN, "a time of the day like 02:00").partition(":")
    return 60 * int(hours) + int(minutes)


def read_zone(value: object) -> str:
    """Read the name of a time zone that this machine's tables have."""
    name = grammar.text(value, ZONE_PATTERN, "a time zone like Europe/Stockholm")
    from zoneinfo import ZoneInfo, available_timezones  # noqa: PLC0415  # a folder of tables; few files need it

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise Unreadable(
            f"{show(name)} is not a time zone that is known here", nearest(name, available_timezones())
        ) from error
    return name


def read_cron(value: object) -> str:
    """Read a crontab line of five fields; weekdays come back by name. Raises ``Unreadable`` where it never fires."""
    text = " ".join(grammar.text(value, CRON_PATTERN, "a crontab line like 0 2 * * sat").split())
    minute, hour, day, month, weekday = text.lower().split(" ")
    if day != "*" and weekday != "*":
        raise Unreadable("a day of the month beside a weekday means two things to two programs. Write two windows")
    line = " ".join((minute, hour, day, month, _weekdays(weekday)))
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415  # only files with a cron line pay for it

    try:
        trigger = CronTrigger.from_crontab(line, timezone="UTC")
    except ValueError as error:
        raise Unreadable(f"{show(text)} is not a crontab line: {str(error).rstrip('.')}") from error
    # A leap year comes at least every eight years, so what does not fire from here on never does.
    if trigger.get_next_fire_time(None, datetime.fromisoformat("2000-01-01T00:00+00:00")) is None:
        raise Unreadable(f"{show(text)} names no day that ever comes")
    return line


def _weekdays(field: str) -> str:
    """Write a crontab weekday field by names: programs count them from different days."""
    if field == "*":
        return field
    named: set[int] = set()
    for part in field.split(","):
        found = re.fullmatch(r"(\*|[a-z]+|[0-7])(?:-([a-z]+|[0-7]))?(?:/([1-7]))?", part)
        if found is None:
            raise Unreadable(f"{show(part)} is not a weekday. Write mon, mon-fri or mon,thu")
        first, last, step = found[1], found[2], int(found[3] or 1)
        if found[3] and first != "*" and last is None:
            raise Unreadable(f"{show(part)} is one day with a step. Write days like mon-fri/2, or mon,wed,fri")
        start, end = (0, 6) if first == "*" else (_weekday(first), _weekday(last or first))
        named |= {day % 7 for day in range(start, end + 1 if end >= start else end + 8, step)}
    return ",".join(CRON_DAYS[day] for day in sorted(named, key=lambda d: (d - 1) % 7))


def _weekday(word: str) -> int:
    """Return the day as a crontab counts it: 7 stays what it is, for it ends ranges."""
    if word.isdigit():
        return int(word)
    if word not in CRON_DAYS:
        raise Unreadable(f"{show(word)} is not a weekday. Write mon to sun")
    return CRON_DAYS.index(word)


@dataclass(frozen=True, slots=True)
class Moment:
    """A date, or a date with a time of the day, on the schedule's clock."""

    local: LocalTime
    is_day: bool


def read_moment(value: object) -> Moment:
    """Read ``2026-12-20`` or ``2026-12-20T18:00``."""
    text = grammar.text(value, DATE_PATTERN, "a date like 2026-12-20, or 2026-12-20T18:00")
    try:
        return Moment(datetime.fromisoformat(text), "T" not in text)
    except ValueError as error:
        raise Unreadable(f"{show(text)} is not in the calendar") from error


Days = Annotated[tuple[int, ...], Form(read_days, {"type": "string", "pattern": DAYS_PATTERN, "examples": ["mon-fri"]})]
Clock = Annotated[int | None, Form(read_clock, {"type": "string", "pattern": CLOCK_PATTERN, "examples": ["02:00"]})]
Cron = Annotated[str | None, Form(read_cron, {"type": "string", "pattern": CRON_PATTERN, "examples": ["0 2 * * sat"]})]
Date = Annotated[
    Moment | None, Form(read_moment, {"type": "string", "pattern": DATE_PATTERN, "examples": ["2026-12-20"]})
]
Zone = Annotated[str | None, Form(read_zone, {"type": "string", "pattern": ZONE_PATTERN, "examples": ["Europe/Paris"]})]
Reason = Annotated[str | None, forms.pattern(REASON_PATTERN, "one line of at most 120 characters", "Black Friday")]


# ── blocks ───────────────────────────────────────────────────────────────────────────────────────────


class WindowBlock(Block):
    """A time in which replicas may move: days with from and to, or a crontab line with for."""

    days: list[Days] | None = Field(None, min_length=1, max_length=7, description="mon, mon-fri. Default: every day.")
    start: Clock = Field(None, alias="from", description="When it opens, like 02:00. Default 00:00.")
    end: Clock = Field(
        None, alias="to", description="When it closes; not after from means the next day. Default 24:00."
    )
    cron: Cron = Field(None, description="Opens whenever this crontab line fires; instead of days, from and to.")
    length: Annotated[timedelta | None, forms.duration(SHORTEST, LONGEST)] = Field(
        None, alias="for", description="How long it stays open after cron fires."
    )


class PeriodBlock(Block):
    """A stretch of days in which nothing voluntary moves."""

    start: Date = Field(None, alias="from", description="The first day, or its time like 2026-12-20T18:00.")
    end: Date = Field(None, alias="to", description="The last day, which is part of it; a time is not.")
    reason: Reason = Field(None, description="Why; plans repeat it.")


class ScheduleBlock(Block):
    """When replicas may move of their own accord. What was lost is replaced at any time."""

    time_zone: Zone = Field(None, description="Whose clock the times below are read on. Default UTC.")
    windows: list[WindowBlock] | None = Field(
        None, min_length=1, max_length=MAX_WINDOWS, description="When voluntary moves may begin. Default: at any time."
    )
    blackout: list[PeriodBlock] | None = Field(
        None, max_length=MAX_PERIODS, description="When the windows stay shut; a person may still ask for a move."
    )
    freeze: list[PeriodBlock] | None = Field(
        None, max_length=MAX_PERIODS, description="When nothing voluntary moves, whoever asks."
    )


# ── what two values say to each other, and what they mean ────────────────────────────────────────────


def findings(schedule: ScheduleBlock) -> Iterator[tuple[Path, str, bool]]:
    """Yield paths below the schedule, what is wrong there, and whether the key is to be pointed at."""
    for index, window in enumerate(schedule.windows or ()):
        for key, message in _window_findings(window):
            yield ("windows", index, *key), message, True
    for name, periods in (("blackout", schedule.blackout), ("freeze", schedule.freeze)):
        for index, period in enumerate(periods or ()):
            for key, message in _period_findings(period):
                yield (name, index, *key), message, True


def _window_findings(window: WindowBlock) -> Iterator[tuple[Path, str]]:
    daily = {"days": window.days, "from": window.start, "to": window.end}
    written = [key for key, value in daily.items() if value is not None]
    if window.cron is None and not written:
        yield (), "an empty window. Write days, from and to, or cron and for"
    if window.cron is not None:
        for key in written:
            yield (key,), "has no meaning beside cron. Write two windows"
        if window.length is None:
            yield ("cron",), "needs to know how long it stays open. Write for: 2h"
    elif window.length is not None:
        yield ("for",), "belongs to cron. Write to: and the time at which it closes"
    if window.start == DAY_END:
        yield ("from",), "24:00 is the end of a day. Write 00:00 and the next day"
    elif window.cron is None and written and window.start is not None and window.start == window.end:
        yield ("to",), "it closes when it opens. Leave from and to out for the whole day"


def _period_findings(period: PeriodBlock) -> Iterator[tuple[Path, str]]:
    for key, value in (("from", period.start), ("to", period.end)):
        if value is None:
            yield (key,), "missing. Write a date like 2026-12-20"
    if period.start is not None and period.end is not None and last_moment(period.end) <= period.start.local:
        yield ("to",), "it ends before it begins"


def last_moment(moment: Moment) -> LocalTime:
    """Return when a last day or moment is over: a day is part of the period."""
    return moment.local + timedelta(days=1) if moment.is_day else moment.local


def meaning(schedule: ScheduleBlock) -> MoveSchedule:
    """Turn a block without findings into the domain's value; the order of windows and periods does not matter."""
    windows = schedule.windows or ()
    return MoveSchedule(
        time_zone=schedule.time_zone or "UTC",
        windows=tuple(
            sorted(
                {_weekly(w) for w in windows if w.cron is None}, key=lambda w: (w.days, w.start_minute, w.end_minute)
            )
        ),
        cron=tuple(
            sorted(
                {CronWindow(w.cron, w.length) for w in windows if w.cron and w.length}, key=lambda w: (w.cron, w.length)
            )
        ),
        blackouts=_closed(schedule.blackout or ()),
        freezes=_closed(schedule.freeze or ()),
    )


def _weekly(window: WindowBlock) -> WeeklyWindow:
    days = tuple(sorted({day for days in window.days or () for day in days})) or tuple(range(len(DAYS)))
    start = 0 if window.start is None else window.start
    end = DAY_END if window.end is None else window.end
    return WeeklyWindow(days, start, end)


def _closed(periods: Sequence[PeriodBlock]) -> tuple[Closed, ...]:
    found = {Closed(p.start.local, last_moment(p.end), p.reason or "") for p in periods if p.start and p.end}
    return tuple(sorted(found, key=lambda c: (c.start, c.end, c.reason)))
