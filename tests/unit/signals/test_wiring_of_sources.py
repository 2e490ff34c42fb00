"""Which sources the settings make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import InvalidSettings
from orchestrator.settings import Settings
from orchestrator.signals.composite import CompositeCarbon
from orchestrator.signals.profile import ProfileCarbon
from orchestrator.wiring import carbon, live_sources


def settings(folder: Path, **signals: Any) -> Settings:
    """Make settings with these signals, whatever the environment says."""
    return Settings(state_dir=folder, **signals)


def test_without_a_word_nobody_is_asked(tmp_path: Path) -> None:
    """The default is the synthetic profile alone."""
    assert isinstance(carbon(settings(tmp_path)), ProfileCarbon)
    assert live_sources(settings(tmp_path)) == []


def test_sources_are_asked_in_the_order_that_is_set(tmp_path: Path) -> None:
    """Before the profile, each once."""
    made = carbon(
        settings(
            tmp_path,
            signals={
                "live": ["national-grid", "electricity-maps", "national-grid", "watttime", "eia"],
                "electricity_maps": {"key": "k"},
                "watttime": {"user": "u", "password": "p"},
                "eia": {"key": "k"},
            },
        )
    )

    assert isinstance(made, CompositeCarbon)
    assert made.name == "national-grid > electricity-maps > watttime > eia > profile"


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("electricity-maps", "ELECTRICITY_MAPS__KEY"),
        ("watttime", "WATTTIME__USER"),
        ("eia", "EIA__KEY"),
    ],
)
def test_a_missing_key_is_named(tmp_path: Path, source: str, named: str) -> None:
    """The hint is the variable to set."""
    with pytest.raises(InvalidSettings) as caught:
        live_sources(settings(tmp_path, signals={"live": [source]}))

    assert named in caught.value.hint()


def test_a_replayed_grid_has_no_live_sources(tmp_path: Path) -> None:
    """What an API says is about today."""
    with pytest.raises(InvalidSettings, match="replays another day"):
        live_sources(
            settings(tmp_path, signals={"live": ["national-grid"]}, world={"start": "2023-06-01T00:00Z", "rate": 60})
        )


def test_an_address_in_a_private_network_needs_a_word(tmp_path: Path) -> None:
    """Nobody reaches the inside of a network through a setting by mistake."""
    own = {"live": ["national-grid"], "national_grid": {"url": "http://10.0.0.1/carbon"}}
    with pytest.raises(InvalidSettings, match="https"):
        live_sources(settings(tmp_path, signals=own))

    assert len(live_sources(settings(tmp_path, signals=own | {"private": True}))) == 1


def test_keys_are_never_shown() -> None:
    """Neither in a representation nor in a dump of the settings."""
    made = Settings(signals={"electricity_maps": {"key": "very-secret"}})

    assert "very-secret" not in f"{made!r} {made.model_dump(mode='json')}"
