"""The composition root: what the settings say is what is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import StoreUnavailable
from orchestrator.settings import GatewaySettings, Settings, SignalSettings
from orchestrator.wiring import build, gateway_options


@pytest.mark.parametrize(("host", "url"), [("::1", "http://[::1]:8081"), ("127.0.0.1", "http://127.0.0.1:8081")])
def test_the_url_of_the_gateway_can_be_opened(tmp_path: Path, host: str, url: str) -> None:
    """An IPv6 address stands in brackets, else its end would be taken for the port."""
    settings = Settings(
        state_dir=tmp_path, gateway=GatewaySettings(host=host, port=8081), signals=SignalSettings(profile=True)
    )
    assert build(settings).gateway_url == url


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
