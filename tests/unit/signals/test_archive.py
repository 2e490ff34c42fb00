"""What is remembered of what sources said."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.carbon import Basis, Kind
from orchestrator.domain.time import HOUR, Window, parse_instant
from orchestrator.signals.archive import KEPT, Archive, Kept

START = parse_instant("2031-03-01T00:00Z")
NOW = START + 5 * HOUR
ONE = Kept("DE", Basis(), Window.starting(START, HOUR), 300.0, Kind.ESTIMATED, "test", START + HOUR, START + HOUR)
ALL = Window(START - HOUR, START + 48 * HOUR)


@pytest.fixture(params=["file", "memory"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Archive:
    """Make one of either kind."""
    return Archive("test", tmp_path / "deep" / "signals.db" if request.param == "file" else None)


def test_a_correction_adds_a_version_and_keeps_what_was_known(archive: Archive) -> None:
    """Asking as of an earlier moment gives what was known then."""
    better = replace(ONE, grams_per_kwh=310.0, kind=Kind.MEASURED, issued_at=START + 3 * HOUR)
    archive.add([ONE], NOW)
    archive.add([better], NOW)

    assert archive.known("DE", Basis(), ALL, START + 2 * HOUR) == [ONE]
    assert archive.known("DE", Basis(), ALL, NOW) == [better]
    assert archive.known("DE", Basis(), ALL, START) == []


def test_the_same_words_again_are_no_news(archive: Archive) -> None:
    """A number keeps the time at which it was first known."""
    archive.add([ONE], NOW)
    archive.add([replace(ONE, issued_at=NOW, fetched_at=NOW)], NOW)

    assert archive.known("DE", Basis(), ALL, NOW) == [ONE]


def test_an_older_version_that_arrives_late_is_not_the_newest(archive: Archive) -> None:
    """A server that answers from an old copy takes nothing back."""
    newer = replace(ONE, grams_per_kwh=310.0, issued_at=START + 3 * HOUR)
    archive.add([newer], NOW)
    archive.add([ONE], NOW)

    assert archive.known("DE", Basis(), ALL, NOW) == [newer]


def test_another_archive_of_the_file_knows_it_all(tmp_path: Path) -> None:
    """Times, kinds, doubts and numbers survive exactly; other sources' do not mix in."""
    file = tmp_path / "signals.db"
    doubted = replace(ONE, interval=Window.starting(NOW - HOUR, HOUR), grams_per_kwh=0.1, doubt="too little")
    Archive("test", file).add([ONE, doubted], NOW)

    assert Archive("test", file).known("DE", Basis(), ALL, NOW) == [ONE, doubted]
    assert Archive("test", file).zones(NOW) == (("DE", Basis()),)
    assert Archive("other", file).known("DE", Basis(), ALL, NOW) == []


def test_what_is_too_old_is_forgotten(tmp_path: Path) -> None:
    """A year and a month stay in the file."""
    file = tmp_path / "signals.db"
    Archive("test", file).add([ONE], NOW)
    later = NOW + KEPT + timedelta(days=1)
    Archive("test", file).add([replace(ONE, zone="FR", interval=Window.starting(later - HOUR, HOUR))], later)

    assert Archive("test", file).known("DE", Basis(), ALL, NOW) == []


def test_parts_of_hours_are_kept_for_days_only(archive: Archive) -> None:
    """Five-minute values speak of the present; hours stay, and the memory of a long life does not grow without end."""
    part = replace(ONE, interval=Window.starting(START, timedelta(minutes=5)))
    archive.add([ONE, part], NOW)
    assert archive.known("DE", Basis(), ALL, NOW) == [part, ONE]
    later = NOW + timedelta(days=3)
    archive.add([replace(part, interval=Window.starting(later, timedelta(minutes=5)), issued_at=later)], later)

    assert archive.known("DE", Basis(), ALL, later) == [ONE]


def test_a_window_finds_all_that_touches_it_and_nothing_else(archive: Archive) -> None:
    """Half-open on both sides: an hour that ends where the window begins does not touch it."""
    hours = [replace(ONE, interval=Window.starting(START + n * HOUR, HOUR)) for n in range(6)]
    archive.add(hours, START + 6 * HOUR)
    half = timedelta(minutes=30)

    def starts(window: Window) -> list[int]:
        return [(k.interval.start - START) // HOUR for k in archive.known("DE", Basis(), window, START + 6 * HOUR)]

    assert starts(Window(START + 2 * HOUR, START + 4 * HOUR)) == [2, 3]
    assert starts(Window(START + 2 * HOUR + half, START + 4 * HOUR + half)) == [2, 3, 4]
    assert starts(Window(START + 3 * HOUR + half, START + 3 * HOUR + half)) == [3]


def test_a_file_that_cannot_be_written_is_a_problem_and_nothing_is_lost_meanwhile(tmp_path: Path) -> None:
    """The process goes on with what it has in memory."""
    (tmp_path / "file").write_text("in the way")
    archive = Archive("test", tmp_path / "file" / "signals.db")
    archive.add([ONE], NOW)

    assert archive.problem
    assert archive.known("DE", Basis(), ALL, NOW) == [ONE]
