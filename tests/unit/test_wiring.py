"""The composition root: what the settings say is what is built."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.clocks import WORLD_FILE, ReplayClock, SystemClock
from orchestrator.errors import InvalidSettings, StoreUnavailable
from orchestrator.gateway.instance import GatewayInfo, announce, holding
from orchestrator.gateway.sockets import gateway_folder
from orchestrator.settings import GatewaySettings, Settings, SignalSettings, WorldSettings
from orchestrator.wiring import build, gateway_options


@pytest.mark.parametrize(("host", "url"), [("::1", "http://[::1]:8081"), ("127.0.0.1", "http://127.0.0.1:8081")])
def test_the_url_of_the_gateway_can_be_opened(tmp_path: Path, host: str, url: str) -> None:
    """An IPv6 address stands in brackets, else its end would be taken for the port."""
    settings = Settings(
        state_dir=tmp_path, gateway=GatewaySettings(host=host, port=8081), signals=SignalSettings(profile=True)
    )
    assert build(settings).gateway_url() == url


def test_clients_are_sent_to_the_gateway_that_runs(tmp_path: Path) -> None:
    """It was started with other settings than these: where these say, nobody listens, or somebody else.

    What is told is told anew each time: it stops, and may be started elsewhere.
    """
    settings = Settings(state_dir=tmp_path, gateway=GatewaySettings(port=8080), signals=SignalSettings(profile=True))
    runtime = build(settings)
    folder = gateway_folder(tmp_path)
    with holding(folder):
        announce(folder, GatewayInfo(os.getpid(), "127.0.0.1", 9001, "plain", 1))
        assert runtime.gateway_url() == "http://127.0.0.1:9001"

    assert runtime.gateway_url() == "http://127.0.0.1:8080"


def test_a_gateway_is_started_with_its_origin(tmp_path: Path) -> None:
    """What the settings say of whence requests come reaches the process."""
    own = GatewaySettings(origin="us-east", origin_header="X-Client-Area")
    options = gateway_options(Settings(state_dir=tmp_path, gateway=own))
    assert (options.origin, options.origin_header) == ("us-east", "X-Client-Area")


def test_a_database_that_was_emptied_beside_replicas_is_no_new_one(tmp_path: Path) -> None:
    """With a new identity what runs would belong to nobody; nothing is made of it before a person has looked."""
    settings = Settings(state_dir=tmp_path, signals=SignalSettings(profile=True))
    database = tmp_path / "greenctl.db"
    database.touch()
    assert build(settings).store.services() == [], "an empty file alone is what a first start that was cut short leaves"

    for log in tmp_path.glob("greenctl.db*"):
        log.unlink()
    database.touch()
    (tmp_path / "replicas" / "gc-1-chat").mkdir(parents=True)
    with pytest.raises(StoreUnavailable, match=r"greenctl\.db is empty, and replicas of an earlier one lie in"):
        build(settings)
    assert database.stat().st_size == 0


class TestAReplayedGrid:
    """Which grid a state directory lives in is fixed by who acts there first, and by nobody who only looks."""

    REPLAY = WorldSettings(start=datetime(2023, 6, 1, 12, tzinfo=UTC), rate=60.0)

    def test_a_look_at_an_empty_directory_fixes_nothing(self, tmp_path: Path) -> None:
        """Somebody tries a recording, and deploys in real time afterwards."""
        settings = Settings(state_dir=tmp_path, world=self.REPLAY)

        clock = build(settings, only_looks=True).clock

        assert isinstance(clock, ReplayClock)
        assert (clock.now().date().isoformat(), clock.rate) == ("2023-06-01", 60.0)
        assert not (tmp_path / WORLD_FILE).exists()
        assert type(build(Settings(state_dir=tmp_path)).clock) is SystemClock

    def test_a_look_is_at_the_moment_that_is_fixed(self, tmp_path: Path) -> None:
        """Once somebody has acted, all live at the same one."""
        settings = Settings(state_dir=tmp_path, world=self.REPLAY)
        build(settings)
        fixed = (tmp_path / WORLD_FILE).read_text()

        build(settings, only_looks=True)

        assert (tmp_path / WORLD_FILE).read_text() == fixed

    @pytest.mark.parametrize("only_looks", [True, False])
    def test_what_happened_in_real_time_is_never_replayed(self, tmp_path: Path, only_looks: bool) -> None:
        """One look with a start in the environment would have kept its controller from ever starting again."""
        build(Settings(state_dir=tmp_path)).store.claim("host", datetime.now(UTC))

        with pytest.raises(InvalidSettings, match="happened in real time") as caught:
            build(Settings(state_dir=tmp_path, world=self.REPLAY), only_looks=only_looks)

        assert not (tmp_path / WORLD_FILE).exists()
        assert WORLD_FILE in caught.value.hint()
        assert "greenctl restore" in caught.value.hint()
