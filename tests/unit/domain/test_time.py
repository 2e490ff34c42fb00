"""Instants and windows: always UTC, always half-open."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest

from orchestrator.domain.time import HOUR, Window, as_utc, floor_hour, format_instant, parse_instant
from tests.builders import MINUTE, NOON


class TestInstants:
    def test_a_naive_time_is_refused(self) -> None:
        """Guessing a zone is a bug: hours of carbon would be read at the wrong hour."""
        with pytest.raises(ValueError, match="no time zone"):
            as_utc(datetime(2026, 6, 1, 12))  # noqa: DTZ001  # the point of the test
        with pytest.raises(ValueError, match="no time zone"):
            parse_instant("2026-06-01T12:00")

    def test_another_zones_clock_is_the_same_instant(self) -> None:
        """14:00 in Stockholm in June is noon."""
        summer_time = timezone(timedelta(hours=2))
        assert as_utc(datetime(2026, 6, 1, 14, tzinfo=summer_time)) == NOON
        assert parse_instant("2026-06-01T14:00+02:00") == NOON
        assert as_utc(datetime(2026, 6, 1, 14, tzinfo=summer_time)).tzinfo is UTC

    def test_what_is_written_is_read_back(self) -> None:
        """RFC 3339 with Z, whole seconds unless there is a fraction."""
        precise = NOON + timedelta(microseconds=1)
        assert format_instant(NOON) == "2026-06-01T12:00:00Z"
        assert parse_instant(format_instant(precise)) == precise

    def test_the_hour_begins_at_its_beginning(self) -> None:
        """A full hour is its own floor."""
        assert floor_hour(NOON + 59 * MINUTE) == NOON
        assert floor_hour(NOON) == NOON


class TestWindows:
    def test_the_start_is_inside_and_the_end_is_not(self) -> None:
        """Two windows side by side share no instant, so that nothing is counted twice."""
        window = Window.starting(NOON, HOUR)
        assert NOON in window
        assert NOON + HOUR not in window
        assert NOON + HOUR in Window.starting(NOON + HOUR, HOUR)
        assert "noon" not in window

    def test_it_cannot_end_before_it_starts(self) -> None:
        """A negative length would become negative energy."""
        with pytest.raises(ValueError, match="before it starts"):
            Window(NOON, NOON - MINUTE)

    def test_it_knows_its_length(self) -> None:
        """In hours, as the energy formulas want it."""
        assert Window.starting(NOON, 90 * MINUTE).hours == 1.5
        assert Window(NOON, NOON).hours == 0.0

    def test_its_pieces_make_it_up(self) -> None:
        """Side by side, none too long, the last one as long as what is left; nothing is in nothing."""
        window = Window.starting(NOON, 150 * MINUTE)
        pieces = list(window.pieces(HOUR))
        assert [p.hours for p in pieces] == [1.0, 1.0, 0.5]
        assert (pieces[0].start, pieces[-1].end) == (window.start, window.end)
        assert all(one.end == other.start for one, other in pairwise(pieces))
        assert list(Window(NOON, NOON).pieces(HOUR)) == []
