"""The stage of the demonstration stands beside a production that the same user runs, and does not touch it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.demo.stage import Stage, stage_settings
from orchestrator.settings import PROJECT_FILE, WorldSettings, load_settings

WORLD = WorldSettings(start=datetime(2023, 4, 1, tzinfo=UTC), rate=60.0)
PRODUCTION = {
    "GREENCTL_DATABASE_URL": "postgresql://greenctl@db/production",
    "GREENCTL_SKYPILOT__CLOUDS": '["aws"]',
    "GREENCTL_SIGNALS__LIVE": '["eia"]',
    "GREENCTL_SIGNALS__EIA__KEY": "k",
    "GREENCTL_PRICES__LIVE": '["azure-retail"]',
    "GREENCTL_CACHE_DIR": "/models",
    "GREENCTL_LOCAL__VLLM": "/opt/vllm/bin/vllm",
}


def test_a_demonstration_has_a_database_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment and both files of settings say; neither it nor its commands see the user's fleet."""
    stage_dir, user = tmp_path / "stage", tmp_path / "user" / "greenctl" / "config.toml"
    stage_dir.mkdir()
    user.parent.mkdir(parents=True)
    user.write_text("database_url = 'postgresql://greenctl@db/production'\n[skypilot]\nclouds = ['aws']\n")
    (tmp_path / PROJECT_FILE).write_text("[gateway]\nport = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)

    stage = Stage(stage_settings(stage_dir, carbon_data=Path("carbon"), world=WORLD))
    for name in set(os.environ) - set(stage.environment):
        monkeypatch.delenv(name)
    for name, value in stage.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(stage_dir)

    assert load_settings() == stage.settings
    assert stage.settings.store_url == f"sqlite:///{stage_dir}/greenctl.db"
    assert stage.settings.skypilot.clouds == stage.settings.signals.live == stage.settings.prices.live == ()
    assert stage.settings.signals.recorded == tmp_path / "carbon"
    assert (stage.settings.cache_dir, stage.settings.local.vllm) == (Path("/models"), Path("/opt/vllm/bin/vllm"))
