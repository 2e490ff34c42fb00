"""Which sources the settings make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.carbon import Basis, CarbonIntensity, Kind
from orchestrator.domain.time import HOUR, parse_instant
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


def test_a_zone_may_have_an_order_of_its_own(tmp_path: Path) -> None:
    """Of sources that are set; another name is refused with those that there are."""
    own = {"live": ["national-grid"], "order": {"GB": ["profile", "national-grid"]}}
    assert isinstance(carbon(settings(tmp_path, signals=own)), CompositeCarbon)
    with pytest.raises(InvalidSettings, match="no source 'eia'; there are: national-grid, profile"):
        carbon(settings(tmp_path, signals=own | {"order": {"GB": ["eia"]}}))


@pytest.mark.parametrize("missing", ["url", "accounting", "factors"])
def test_a_carbon_aware_sdk_has_to_say_where_it_is_and_what_it_counts(tmp_path: Path, missing: str) -> None:
    """Its own API tells neither, and a guess would mix what must not be mixed."""
    own = {"url": "https://sdk.example.org", "accounting": "marginal", "factors": "direct", "locations": {"SE": "eu"}}
    signals = {"live": ["carbon-aware-sdk"], "carbon_aware": own}
    assert [s.name for s in live_sources(settings(tmp_path, signals=signals))] == ["carbon-aware-sdk"]

    del own[missing]
    with pytest.raises(InvalidSettings, match=f"carbon_aware.{missing}"):
        live_sources(settings(tmp_path, signals=signals))


async def test_yearly_means_are_the_last_resort(tmp_path: Path) -> None:
    """Without the profile they are all there is, and say that they are synthetic."""
    made = carbon(settings(tmp_path, signals={"profile": False, "static": True}))
    now = parse_instant("2031-03-01T12:00Z")
    readings = [await made.latest("SE", Basis(), now + n * HOUR) for n in (0, 9)]

    assert all(isinstance(r, CarbonIntensity) and r.kind is Kind.SYNTHETIC for r in readings)
    assert len({r.grams_per_kwh for r in readings if isinstance(r, CarbonIntensity)}) == 1
