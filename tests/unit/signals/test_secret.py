"""Keys that are kept elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.errors import InvalidSettings
from orchestrator.settings import Settings
from orchestrator.signals.secret import resolved
from orchestrator.wiring import live_sources


def test_a_key_is_what_it_is() -> None:
    """Nothing is looked up for a plain key."""
    assert resolved("abc:def", "signals.eia.key") == "abc:def"


def test_a_key_in_a_file_is_its_first_line(tmp_path: Path) -> None:
    """Blanks and the line's end do not count, and the settings use it."""
    file = tmp_path / "key"
    file.write_text("  very-secret \n# rotated in May\n", encoding="utf-8")

    assert resolved(f"file:{file}", "signals.eia.key") == "very-secret"
    own = {"live": ["eia"], "eia": {"key": f"file:{file}"}}
    assert len(live_sources(Settings(state_dir=tmp_path, signals=own))) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\n"])
def test_a_file_without_a_key_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty or not text: the setting and the path are said."""
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidSettings, match=r"eia\.key") as caught:
        resolved(f"file:{file}", "signals.eia.key")

    assert str(file) in caught.value.message


def test_a_key_in_the_keyring_is_asked_for_by_service_and_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is asked; what it does not have is an error that says how to store it."""
    kept = {("greenctl", "maps"): "very-secret"}
    fake = SimpleNamespace(get_password=lambda service, user: kept.get((service, user)))
    monkeypatch.setitem(sys.modules, "keyring", fake)

    assert resolved("keyring:greenctl/maps", "signals.electricity_maps.key") == "very-secret"
    with pytest.raises(InvalidSettings, match="nothing of greenctl/eia") as caught:
        resolved("keyring:greenctl/eia", "signals.eia.key")
    assert "keyring set greenctl eia" in caught.value.hint()
    with pytest.raises(InvalidSettings, match="a service and a user"):
        resolved("keyring:greenctl", "signals.eia.key")


def test_without_the_package_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has no keyring may use a file."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(InvalidSettings, match="not installed") as caught:
        resolved("keyring:greenctl/maps", "signals.eia.key")

    assert "file:PATH" in caught.value.hint()
