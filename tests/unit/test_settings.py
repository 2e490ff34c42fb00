"""Where settings may come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InvalidSettings
from orchestrator.settings import NOT_OF_A_PROJECT, PROJECT_FILE, load_settings


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, and a user without settings. Gives the directory's file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("GREENCTL_DATABASE_URL", raising=False)
    return tmp_path / PROJECT_FILE


@pytest.mark.parametrize("name", NOT_OF_A_PROJECT)
def test_the_file_of_a_directory_says_nothing_of_the_users_keys_and_programs(project: Path, name: str) -> None:
    """A repository that was cloned would have them sent to its author; the refusal says where they belong instead."""
    section, _, key = name.rpartition(".")
    line = f"{key} = {'true' if key == 'private' else repr('http://elsewhere/a')}"
    project.write_text(f"[{section}]\n{line}\n" if section else f"{line}\n")

    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert name in caught.value.message
    assert "config.toml" in caught.value.hint()

    own = project.parent / "config" / "greenctl" / "config.toml"
    own.parent.mkdir(parents=True)
    project.rename(own)
    load_settings()


def test_the_file_of_a_directory_says_all_the_rest(project: Path) -> None:
    """Also in the same sections."""
    project.write_text("[skypilot]\nclouds = ['aws']\n[signals]\nlive = ['eia']\n[signals.eia]\nkey = 'k'\n")

    settings = load_settings()

    assert settings.skypilot.clouds == ("aws",)
    assert settings.signals.live == ("eia",)
