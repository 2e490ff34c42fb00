"""Windows on a local clock become instants, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.control.calendar import Calendar, timetable_of
from orchestrator.domain.service import Closed, CronWindow, MoveSchedule, WeeklyWindow
from orchestrator.domain.time import HOUR, Instant
from orchestrator.planner.schedule import Timetable, schedule_verdict, words

STOCKHOLM = "Europe/Stockholm"
EVERY_DAY = tuple(range(7))
NIGHT = WeeklyWindow(EVERY_DAY, 2 * 60, 5 * 60)
LATE = WeeklyWindow(EVERY_DAY, 22 * 60, 60)


def utc(text: str) -> Instant:
    """An instant."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def closed(start: str, end: str, reason: str = "") -> Closed:
    """A closed period on the schedule's clock."""
    return Closed(datetime.fromisoformat(start), datetime.fromisoformat(end), reason)


def at(schedule: MoveSchedule, moment: str) -> Timetable:
    """What a schedule says of a moment."""
    found = timetable_of(schedule, utc(moment))
    assert found is not None
    return found


def openings(schedule: MoveSchedule, start: str, days: int) -> list[tuple[str, str]]:
    """Every window from that moment on, as it begins and ends, found by asking for the next one again and again."""
    found, now = [], utc(start)
    while (coming := at(schedule, f"{now:%Y-%m-%dT%H:%M:%S}").next_opening) is not None:
        if coming.window.start >= utc(start) + timedelta(days=days):
            break
        found.append((f"{coming.window.start:%d %H:%M}", f"{coming.window.end:%d %H:%M}"))
        now = coming.window.start
    return found


def test_without_a_schedule_there_is_nothing_to_say() -> None:
    """Neither a timetable nor a rule."""
    assert timetable_of(None, utc("2026-06-01T12:00")) is None
    assert schedule_verdict(None) is None


def test_a_window_is_half_open() -> None:
    """It is open at its first instant and shut at its last."""
    schedule = MoveSchedule(windows=(NIGHT,))
    opens = [at(schedule, t).lets_move for t in ("2026-06-02T01:59:59", "2026-06-02T02:00", "2026-06-02T04:59:59")]
    assert opens == [False, True, True]
    over = at(schedule, "2026-06-02T05:00")
    assert not over.lets_move
    assert over.ended[-1].window.end == utc("2026-06-02T05:00")


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    """Friday from 22:00 is open until Saturday, 01:00."""
    friday = MoveSchedule(windows=(WeeklyWindow((4,), 22 * 60, 60),))
    assert openings(friday, "2026-06-01T00:00", 7) == [("05 22:00", "06 01:00")]
    assert at(friday, "2026-06-06T00:59").lets_move
    assert not at(friday, "2026-06-05T00:30").lets_move


def test_a_whole_day_ends_at_midnight() -> None:
    """Two days in a row are two windows."""
    weekend = MoveSchedule(windows=(WeeklyWindow((5, 6), 0, 24 * 60),))
    assert openings(weekend, "2026-06-01T00:00", 7) == [("06 00:00", "07 00:00"), ("07 00:00", "08 00:00")]


@pytest.mark.parametrize(
    ("window", "found"),
    [
        (NIGHT, ("29 01:00", "29 03:00")),
        (WeeklyWindow(EVERY_DAY, 130, 170), ("29 01:10", "29 01:50")),
        (WeeklyWindow(EVERY_DAY, 60, 150), ("29 00:00", "29 01:30")),
    ],
    ids=["across the gap", "inside the gap", "ending in it"],
)
def test_a_clock_time_that_is_skipped_counts_as_much_later(window: WeeklyWindow, found: tuple[str, str]) -> None:
    """29 March 2026 has no time from 02:00 to 03:00 in Stockholm: 02:10 counts as 03:10."""
    assert openings(MoveSchedule(STOCKHOLM, windows=(window,)), "2026-03-28T12:00", 1) == [found]


def test_a_window_that_has_no_length_on_that_day_does_not_open() -> None:
    """From 02:30, which counts as 03:30, to 03:15: the next night is the first."""
    schedule = MoveSchedule(STOCKHOLM, windows=(WeeklyWindow(EVERY_DAY, 150, 195),))
    assert openings(schedule, "2026-03-28T12:00", 2) == [("30 00:30", "30 01:15")]


@pytest.mark.parametrize(
    ("window", "found"),
    [
        (NIGHT, ("25 00:00", "25 04:00")),
        (WeeklyWindow(EVERY_DAY, 135, 165), ("25 00:15", "25 00:45")),
    ],
    ids=["across both", "inside"],
)
def test_a_clock_time_that_comes_twice_counts_the_first_time(window: WeeklyWindow, found: tuple[str, str]) -> None:
    """25 October 2026 has 02:00 to 03:00 twice in Stockholm, and one window."""
    assert openings(MoveSchedule(STOCKHOLM, windows=(window,)), "2026-10-24T12:00", 1) == [found]


def test_a_cron_line_fires_once_for_a_clock_time_that_comes_twice() -> None:
    """The same rule as for windows; a skipped time is as much later."""
    schedule = MoveSchedule(STOCKHOLM, cron=(CronWindow("30 2 * * *", HOUR),))
    assert openings(schedule, "2026-10-24T12:00", 2) == [("25 00:30", "25 01:30"), ("26 01:30", "26 02:30")]
    assert openings(schedule, "2026-03-28T12:00", 2) == [("29 01:30", "29 02:30"), ("30 00:30", "30 01:30")]


def test_a_cron_line_that_fires_while_its_window_is_open_opens_another_one() -> None:
    """Each window is one of its own."""
    schedule = MoveSchedule(cron=(CronWindow("0,30 3 * * *", HOUR),))
    assert len(at(schedule, "2026-06-01T03:45").openings) == 2
    assert at(schedule, "2026-06-01T03:45").next_change == utc("2026-06-01T04:00")


def test_a_rare_cron_line_is_found_years_ahead() -> None:
    """29 February comes again."""
    coming = at(MoveSchedule(cron=(CronWindow("0 3 29 2 *", HOUR),)), "2026-06-01T00:00").next_opening
    assert coming is not None
    assert coming.window.start == utc("2028-02-29T03:00")


@pytest.mark.parametrize(
    ("zone", "night"),
    [(STOCKHOLM, "2026-03-30"), ("America/New_York", "2026-03-09")],
)
def test_a_cron_line_for_midnight_opens_on_the_day_after_clocks_were_put_forward(zone: str, night: str) -> None:
    """As a weekly window for the same hours does."""
    midnight = datetime.fromisoformat(night)
    by_cron = MoveSchedule(zone, cron=(CronWindow("0 0 * * mon", 4 * HOUR),))
    by_week = MoveSchedule(zone, windows=(WeeklyWindow((midnight.weekday(),), 0, 4 * 60),))
    opens = midnight.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    for hours in range(-48, 12):
        now = opens + hours * HOUR
        cron, week = timetable_of(by_cron, now), timetable_of(by_week, now)
        assert cron is not None
        assert week is not None
        assert cron.lets_move == week.lets_move
        assert [o.window for o in (cron.next_opening, week.next_opening) if o] == [
            week.next_opening.window if week.next_opening else None
        ] * 2


def test_a_midnight_that_is_skipped_counts_as_one_o_clock() -> None:
    """Cairo puts its clocks forward at midnight."""
    schedule = MoveSchedule("Africa/Cairo", cron=(CronWindow("0 0 * * *", 4 * HOUR),))
    (opening,) = Calendar(schedule).at(utc("2026-04-23 23:00")).openings
    assert (opening.window.start, opening.local) == (utc("2026-04-23 22:00"), "Fri 24 Apr 01:00 Africa/Cairo")


def test_a_line_that_fires_often_is_found_behind_a_long_freeze() -> None:
    """However many of its windows the freeze swallows, and however many closed periods lie one beside the other."""
    often = (CronWindow("* * * * *", timedelta(minutes=5)),)
    freezes = (
        closed("2026-05-01 00:00", "2026-08-01 00:00"),
        closed("2026-08-01 00:00", "2027-08-01 00:00"),
        closed("2027-08-01 00:02", "2029-01-01 00:00"),
    )
    schedule = MoveSchedule(STOCKHOLM, cron=often, freezes=freezes)
    found = Calendar(schedule).at(utc("2026-06-01"))
    assert found.next_opening is not None
    assert found.next_opening.local == "Sun 01 Aug 00:00 Europe/Stockholm"
    later = Calendar(schedule).at(utc("2028-06-01"))
    assert later.next_opening is not None
    assert later.next_opening.local == "Mon 01 Jan 00:00 Europe/Stockholm"


def test_closed_periods_cut_windows() -> None:
    """What is left of one opens; a window that is swallowed whole does not exist, and is not said to have ended."""
    schedule = MoveSchedule(
        windows=(NIGHT,),
        blackouts=(closed("2026-06-02T03:00", "2026-06-02T04:00"),),
        freezes=(closed("2026-06-03", "2026-06-04"),),
    )
    assert [at(schedule, f"2026-06-02T{t}").lets_move for t in ("02:30", "03:30", "04:30")] == [True, False, True]
    assert at(schedule, "2026-06-03T06:00").ended[-1].window.start == utc("2026-06-02T02:00")
    assert openings(schedule, "2026-06-02T12:00", 2) == [("04 02:00", "04 05:00")]


def test_a_freeze_inside_a_blackout_is_named_first() -> None:
    """It binds people, too."""
    schedule = MoveSchedule(
        blackouts=(closed("2026-06-01", "2026-06-05", "b"),), freezes=(closed("2026-06-02", "2026-06-03", "f"),)
    )
    found = at(schedule, "2026-06-02T12:00").closure
    assert found is not None
    assert (found.kind, found.reason, found.until) == ("freeze", "f", utc("2026-06-03T00:00"))


def test_when_no_window_is_to_come_it_says_so() -> None:
    """A freeze that ends after the last year there is."""
    schedule = MoveSchedule(windows=(NIGHT,), freezes=(closed("2026-01-01", "9999-12-01"),))
    found = at(schedule, "2026-06-01T00:00")
    assert found.next_opening is None
    assert "no further window" in words(found)


SCHEDULES = st.builds(
    MoveSchedule,
    time_zone=st.sampled_from(["UTC", STOCKHOLM, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    windows=st.lists(
        st.builds(
            WeeklyWindow,
            days=st.sets(st.integers(0, 6), min_size=1).map(lambda d: tuple(sorted(d))),
            start_minute=st.integers(0, 1439),
            end_minute=st.integers(1, 1440),
        ).filter(lambda w: w.start_minute != w.end_minute),
        max_size=2,
    ).map(tuple),
    cron=st.lists(
        st.builds(
            CronWindow, st.sampled_from(["0 2 * * *", "15 */6 * * sat", "0 0 1 * *"]), st.sampled_from([HOUR, 5 * HOUR])
        ),
        max_size=1,
    ).map(tuple),
    blackouts=st.lists(
        st.builds(
            lambda day, hours: Closed(day, day + hours * HOUR),
            st.datetimes(datetime.fromisoformat("2026-03-20"), datetime.fromisoformat("2026-04-05")),
            st.integers(1, 100),
        ),
        max_size=2,
    ).map(tuple),
)
MOMENTS = st.datetimes(
    datetime.fromisoformat("2026-03-25"), datetime.fromisoformat("2026-04-02"), timezones=st.just(UTC)
)


@settings(max_examples=150)
@given(SCHEDULES, MOMENTS, st.integers(1, 72 * 60))
def test_nothing_becomes_different_before_the_next_change(schedule: MoveSchedule, now: Instant, minutes: int) -> None:
    """Whoever looks again at ``next_change`` misses no opening and no end: the timer may rest until then."""
    found = timetable_of(schedule, now)
    assert found is not None
    later = now + timedelta(minutes=minutes)
    if found.next_change is not None and later >= found.next_change:
        later = found.next_change - timedelta(microseconds=1)
    then = Calendar(schedule).at(max(later, now))
    assert (then.lets_move, then.openings, then.closure, then.next_opening) == (
        found.lets_move,
        found.openings,
        found.closure,
        found.next_opening,
    )
    assert timetable_of(schedule, max(later, now)) == then, "what is remembered is what would be worked out"
    assert found.next_change is None or found.next_change > now


ZONES = (
    *(STOCKHOLM, "America/New_York", "America/Havana", "America/Santiago", "America/St_Johns", "Asia/Beirut"),
    *("Africa/Cairo", "Africa/Casablanca", "Antarctica/Troll", "Australia/Lord_Howe", "Pacific/Chatham", "UTC"),
)


def days_around_changes(zone: str) -> list[datetime]:
    """The days of a year beside those on which the zone's clocks are changed; its first day where none are."""
    days = [datetime.fromisoformat("2026-01-02") + timedelta(days=n) for n in range(360)]
    offsets = [day.replace(tzinfo=ZoneInfo(zone)).utcoffset() for day in days]
    changes = [n for n, (a, b) in enumerate(pairwise(offsets)) if a != b]
    return [days[n + beside] for n in changes for beside in (-1, 0, 1)] or days[:1]


@settings(max_examples=80)
@given(
    st.data(), st.sampled_from(ZONES), st.sampled_from([5, 15, 30, 60]), st.integers(0, 3), st.sampled_from([5, 300])
)
def test_a_cron_line_opens_whenever_a_clock_shows_its_time(
    data: st.DataObject, zone: str, step: int, hour: int, length: int
) -> None:
    """Counted by hand around every change of clocks: each time once, the first that comes, a skipped one later."""
    minutes = range(0, 60, step)
    line = f"{','.join(map(str, minutes))} {hour} * * *"
    calendar = Calendar(MoveSchedule(zone, cron=(CronWindow(line, timedelta(minutes=length)),)))
    first = data.draw(st.sampled_from(days_around_changes(zone)))
    days = [first + timedelta(days=n) for n in range(-2, 5)]
    shown = {day.replace(hour=hour, minute=m, tzinfo=ZoneInfo(zone)).astimezone(UTC) for day in days for m in minutes}
    since = (first - timedelta(hours=12)).replace(tzinfo=UTC)
    now, found = since, list[Instant]()
    while now < since + timedelta(days=3):
        coming = calendar.at(now).next_opening
        assert coming is not None
        now = coming.window.start
        found.append(now)
    assert found == sorted(moment for moment in shown if since < moment <= now)


@settings(max_examples=150)
@given(SCHEDULES, MOMENTS)
def test_what_is_to_open_next_is_open_when_its_time_has_come(schedule: MoveSchedule, now: Instant) -> None:
    """And no sooner than now."""
    found = timetable_of(schedule, now)
    assert found is not None
    if found.next_opening is not None:
        assert found.next_opening.window.start > now
        then = timetable_of(schedule, found.next_opening.window.start)
        assert then is not None
        assert then.lets_move
