"""``migration.schedule``: what people write, and what it means."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from orchestrator.domain.service import Closed, CronWindow, MoveSchedule, WeeklyWindow
from orchestrator.errors import InvalidSpec
from orchestrator.spec.codec import spec_from_json, spec_to_json
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.schedule_block import read_cron, read_days
from orchestrator.spec.service_file import parse_service

WEEK = tuple(range(7))


def schedule_of(text: str) -> MoveSchedule:
    """Read a service with that schedule."""
    found = parse_service(f"name: a\nmodel: {{id: a/b}}\nmigration: {{schedule: {text}}}\n", "s.yaml").spec
    assert spec_from_json(spec_to_json(found)) == found
    assert found.migration.schedule is not None
    return found.migration.schedule


def problems(text: str) -> list[tuple[str, int | None, int | None]]:
    """Read a broken one; return paths and places."""
    with pytest.raises(InvalidSpec) as caught:
        parse_service(f"name: a\nmodel: {{id: a/b}}\nmigration:\n  schedule: {text}\n", "s.yaml")
    return [(p.path.removeprefix("migration.schedule."), p.line, p.column) for p in caught.value.problems]


def test_what_is_left_out_means_every_day_all_day_in_utc() -> None:
    """One key is enough to say something."""
    assert schedule_of("{windows: [{from: '22:00'}]}").windows == (WeeklyWindow(WEEK, 22 * 60, 1440),)
    assert schedule_of("{windows: [{days: [sat, sun]}]}").windows == (WeeklyWindow((5, 6), 0, 1440),)
    assert schedule_of("{}") == MoveSchedule("UTC")


def test_the_last_day_of_a_period_is_part_of_it_and_a_time_is_not() -> None:
    """As people say it: until the sixth means through the sixth."""
    found = schedule_of(
        "{freeze: [{from: 2026-12-20, to: 2027-01-06}, {from: 2026-03-01T08:00, to: 2026-03-01T09:30}]}"
    )
    day = datetime.fromisoformat
    assert found.freezes == (
        Closed(day("2026-03-01T08:00"), day("2026-03-01T09:30")),
        Closed(day("2026-12-20"), day("2027-01-07")),
    )


def test_the_order_in_which_things_are_written_means_nothing() -> None:
    """Equal schedules have equal digests."""
    one = "{windows: [{days: [mon, tue], to: '05:00'}, {days: [sat]}, {cron: 0 1 * * *, for: 1h}]}"
    other = "{windows: [{cron: 0 1 * * *, for: 60m}, {days: [sat]}, {days: [mon-tue], from: '00:00', to: '05:00'}]}"
    assert schedule_of(one) == schedule_of(other)


@pytest.mark.parametrize(
    ("text", "days"), [("mon", (0,)), ("mon-fri", (0, 1, 2, 3, 4)), ("sat-mon", (5, 6, 0)), ("sun-sat", (6, *range(6)))]
)
def test_days(text: str, days: tuple[int, ...]) -> None:
    """One day, or from one to another over the end of the week."""
    assert read_days(text) == days


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("0 2 * * 0", "0 2 * * sun"),
        ("0 2 * * 7", "0 2 * * sun"),
        ("0 2 * * 1-5", "0 2 * * mon,tue,wed,thu,fri"),
        ("0 2 * * 5-7", "0 2 * * fri,sat,sun"),
        ("0 2 * * 0-7", "0 2 * * mon,tue,wed,thu,fri,sat,sun"),
        ("0 2 * * 1-7/2", "0 2 * * mon,wed,fri,sun"),
        ("0 2 * * 7-1", "0 2 * * mon,sun"),
        ("0 2 * * 6-0", "0 2 * * sat,sun"),
        ("0 2 * * */2", "0 2 * * tue,thu,sat,sun"),
        ("0 2 * * MON,thu", "0 2 * * mon,thu"),
        ("0 2 * * fri-mon", "0 2 * * mon,fri,sat,sun"),
        ("*/15  1-3 1,15 jan *", "*/15 1-3 1,15 jan *"),
    ],
)
def test_a_crontab_weekday_counts_from_sunday_and_is_kept_by_name(text: str, line: str) -> None:
    """The library under it counts from Monday, so no number ever reaches it."""
    assert read_cron(text) == line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 3 30 2 *", "names no day that ever comes"),
        ("0 3 31 4,6 *", "names no day that ever comes"),
        ("0 3 1 * mon", "two things to two programs"),
        ("0 3 * *", "is not a crontab line"),
        ("@daily", "is not a crontab line"),
        ("61 3 * * *", "is not a crontab line: "),
        ("0 3 * * 8", "is not a weekday"),
        ("0 3 * * 1/2", "is one day with a step"),
        ("0 3 * * mon#2", "is not a crontab line"),
        ("0 3 * foo *", "is not a crontab line: "),
    ],
)
def test_a_crontab_line_that_cannot_be_kept_is_refused_in_words(text: str, said: str) -> None:
    """What never fires is no schedule, and what is ambiguous is not guessed."""
    with pytest.raises(Unreadable, match=said):
        read_cron(text)


def test_a_leap_day_comes() -> None:
    """Rare is not never."""
    assert schedule_of("{windows: [{cron: 0 3 29 2 *, for: 1h}]}").cron == (
        CronWindow("0 3 29 2 *", timedelta(hours=1)),
    )


@pytest.mark.parametrize(
    ("text", "path", "column"),
    [
        ("{time_zone: Mars/Olympus}", "time_zone", 25),
        ("{windows: [{from: '02:00', to: '02:00'}]}", "windows[0].to", 40),
        ("{windows: [{cron: 0 3 30 2 *, for: 1h}]}", "windows[0].cron", 31),
        ("{windows: [{cron: 0 3 * * *}]}", "windows[0].cron", 25),
        ("{windows: [{from: '24:00'}]}", "windows[0].from", 25),
        ("{windows: []}", "windows", 23),
        ("{freeze: [{from: 2026-02-02, to: 2026-02-01}]}", "freeze[0].to", 42),
        ("{freeze: [{to: 2026-02-01}]}", "freeze[0].from", 23),
        ("{windows: [{from: '../etc/passwd'}]}", "windows[0].from", 31),
        ("{time_zone: ../../etc/passwd}", "time_zone", 25),
    ],
)
def test_every_problem_has_its_line_and_column(text: str, path: str, column: int) -> None:
    """An editor can jump there."""
    assert problems(text) == [(path, 4, column)]
