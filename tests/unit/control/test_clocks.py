"""Clocks: the machine's, one that replays a grid faster, one that moves when told to."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.clocks import WORLD_FILE, ReplayClock, SystemClock, VirtualClock, anchored
from orchestrator.domain.time import HOUR
from orchestrator.errors import InvalidSettings
from tests.builders import NOON

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class TestSystem:
    async def test_it_is_the_machines_own(self) -> None:
        """UTC, at rate one, and sleeping takes physical time."""
        clock = SystemClock()
        before, started, lived = clock.now(), clock.monotonic(), clock.through_sleep()
        await clock.sleep(0.001)
        assert clock.rate == 1.0
        assert clock.now() >= before
        assert clock.monotonic() - started >= 0.001
        assert clock.through_sleep() - lived >= 0.001
        assert clock.now().tzinfo is clock.wall().tzinfo is UTC


class TestReplay:
    def test_grid_time_runs_at_its_rate(self) -> None:
        """An hour of machine time at rate 60 is sixty hours of grid time."""
        wall_start = datetime.now(UTC) - timedelta(hours=1)
        elapsed = ReplayClock(NOON, wall_start, 60.0).now() - NOON
        assert timedelta(hours=60) <= elapsed <= timedelta(hours=61)

    def test_it_never_runs_backwards(self) -> None:
        """While the machine's clock is behind the anchor, the grid stands still."""
        clock = ReplayClock(NOON, datetime.now(UTC) + timedelta(days=1), 60.0)
        assert clock.now() == clock.now() == NOON

    def test_wall_time_is_not_grid_time(self) -> None:
        """Log stamps stay the machine's."""
        clock = ReplayClock(NOON, LONG_AGO, 1.0)
        assert clock.wall() != clock.now()
        assert clock.wall() - datetime.now(UTC) < timedelta(seconds=10)


class TestVirtual:
    async def test_only_sleeping_and_advancing_move_it(self) -> None:
        """Grid time by the rate, physical time by itself."""
        clock = VirtualClock(NOON, rate=60.0)
        assert clock.now() == clock.now()
        await clock.sleep(30.0)
        clock.advance(timedelta(seconds=30))
        assert clock.now() == clock.wall() == NOON + HOUR
        assert clock.monotonic() == clock.through_sleep() == 60.0


class TestAnchor:
    """The first process of a state directory fixes the world; all others live in it."""

    def test_without_a_world_it_is_the_machines_time(self, tmp_path: Path) -> None:
        """And nothing is written down."""
        assert type(anchored(tmp_path, None, 1.0)) is SystemClock
        assert list(tmp_path.iterdir()) == []

    def test_every_process_lives_at_the_same_moment(self, tmp_path: Path) -> None:
        """The second clock is anchored where the first one is."""
        first, second = anchored(tmp_path / "state", NOON, 3600.0), anchored(tmp_path / "state", NOON, 3600.0)
        world = (tmp_path / "state" / WORLD_FILE).read_text()
        assert json.loads(world)["rate"] == 3600.0
        assert second.now() - first.now() < timedelta(hours=10)
        assert second.rate == first.rate == 3600.0

    def test_no_draft_is_left_behind(self, tmp_path: Path) -> None:
        """Only the anchor itself."""
        anchored(tmp_path, NOON, 1.0)
        anchored(tmp_path, NOON, 1.0)
        assert [f.name for f in tmp_path.iterdir()] == [WORLD_FILE]

    @pytest.mark.parametrize(("start", "rate"), [(NOON + HOUR, 60.0), (NOON, 61.0)], ids=["start", "rate"])
    def test_another_world_is_refused(self, tmp_path: Path, start: datetime, rate: float) -> None:
        """The history of one world makes no sense in another."""
        anchored(tmp_path, NOON, 60.0)
        with pytest.raises(InvalidSettings, match="replays 2026-06-01T12:00:00Z at rate 60"):
            anchored(tmp_path, start, rate)

    def test_a_replayed_directory_is_not_taken_for_the_present(self, tmp_path: Path) -> None:
        """Forgetting the setting is an error, not a jump of years."""
        anchored(tmp_path, NOON, 60.0)
        with pytest.raises(InvalidSettings, match=r"no world\.start is configured"):
            anchored(tmp_path, None, 1.0)

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"grid_start": 1, "rate": "x", "wall_start": null}'])
    def test_a_damaged_anchor_is_named(self, tmp_path: Path, text: str) -> None:
        """A file that cannot be read is a matter of settings, with its path, not a traceback."""
        (tmp_path / WORLD_FILE).write_text(text)
        with pytest.raises(InvalidSettings, match=WORLD_FILE):
            anchored(tmp_path, NOON, 60.0)
