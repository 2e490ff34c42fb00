"""What servers say that the time is: read, remembered for other processes, and never in anybody's way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from orchestrator.signals.http import Fetch
from orchestrator.signals.server_clocks import ServerClocks, Told, told_by

ASKED = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("date", "skew_seconds", "least"),
    [
        ("Sat, 21 Nov 2026 12:00:00 GMT", -0.5, 0.0),
        ("Sat, 21 Nov 2026 12:00:01 GMT", 0.5, 0.0),
        ("Sat, 21 Nov 2026 12:02:00 GMT", 119.5, 118.0),
        ("Sat, 21 Nov 2026 11:58:00 GMT", -120.5, 119.0),
        ("Sat, 21 Nov 2026 11:58:00 -0000", -120.5, 119.0),
    ],
)
def test_a_date_says_how_far_ahead_a_server_is(date: str, skew_seconds: float, least: float) -> None:
    """In whole seconds, said at some moment of the two that the answer took: that much is not known."""
    told = told_by("h", {"Date": date}, ASKED, ASKED + 2 * SECOND)

    assert told is not None
    assert (told.skew.total_seconds(), told.within.total_seconds()) == (skew_seconds, 1.5)
    assert told.least_skew.total_seconds() == least


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Date": ""},
        {"Date": "yesterday"},
        {"Date": "Sat, 21 Nov 99999 12:00:00 GMT"},
        {"Date": "Fri, 31 Dec 9999 23:59:59 -1400"},
        {"Date": "Sat, 21 Nov 2026 12:00:00 GMT", "Age": "30"},
        {"Date": "Sat, 21 Nov 2026 12:00:00 GMT", "Age": "soon"},
    ],
)
def test_what_is_no_date_or_was_kept_by_a_cache_says_nothing(headers: Mapping[str, str]) -> None:
    """A cache repeats the date of the day it asked."""
    assert told_by("h", headers, ASKED, ASKED) is None


def test_the_newest_word_of_each_host_is_remembered(tmp_path: Path) -> None:
    """For every process of the state directory, as long as somebody calls it recent."""
    file = tmp_path / "state" / "signals.db"
    for at, skew in ((ASKED, 9), (ASKED + SECOND, 3)):
        ServerClocks(file).note(Told("b", at, skew * SECOND, SECOND))
    ServerClocks(file).note(Told("a", ASKED - DAY, -SECOND, SECOND))

    assert ServerClocks(file).told(since=ASKED - 2 * DAY) == (
        Told("a", ASKED - DAY, -SECOND, SECOND),
        Told("b", ASKED + SECOND, 3 * SECOND, SECOND),
    )
    assert [t.host for t in ServerClocks(file).told(since=ASKED)] == ["b"]


def test_a_file_that_cannot_be_used_stops_nobody(tmp_path: Path) -> None:
    """None, rubbish, or a folder in its place: nothing is known, nothing is raised, and reading makes no file."""
    none, rubbish, folder = tmp_path / "none.db", tmp_path / "rubbish.db", tmp_path / "folder.db"
    rubbish.write_bytes(b"no database" * 500)
    folder.mkdir()

    assert ServerClocks(none).told(since=ASKED) == ()
    for file in (rubbish, folder):
        ServerClocks(file).note(Told("a", ASKED, SECOND, SECOND))
        assert ServerClocks(file).told(since=ASKED) == ()
    assert not none.exists()
    assert rubbish.read_bytes() == b"no database" * 500


async def test_every_answer_is_listened_to(tmp_path: Path) -> None:
    """A real exchange, whatever its status: this machine's server agrees with this machine's clock."""
    clocks = ServerClocks(tmp_path / "signals.db")
    before = datetime.now(UTC)
    async with TestServer(web.Application()) as server:
        await Fetch(private=True, clocks=clocks).get(str(server.make_url("/no-such-path")))

    (told,) = clocks.told(since=before)
    assert told.host == "127.0.0.1"
    assert told.least_skew < SECOND
