"""Which sources of prices the settings make."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.time import HOUR, parse_instant
from orchestrator.errors import InvalidSettings, PriceUnavailable
from orchestrator.prices.catalogue import CatalogueOffers
from orchestrator.prices.quotes import QuotedOffers, Wanted
from orchestrator.prices.spot_advisor import SpotAdvisor
from orchestrator.settings import Settings
from orchestrator.wiring import interruption_source, offers, quote_sources, regions
from tests.conformance.alone import alone
from tests.conformance.gcp_catalog import KEY, GcpCatalogApi, parts


def settings(folder: Path, **own: Any) -> Settings:
    """Make settings with these, whatever the environment says."""
    return Settings(state_dir=folder, **own)


def test_without_a_word_the_list_stands_alone(tmp_path: Path) -> None:
    """Nobody is asked."""
    own = settings(tmp_path)
    assert quote_sources(own) == []
    assert isinstance(offers(own, regions(own)), CatalogueOffers)


def test_recorded_prices_come_first_and_each_source_once(tmp_path: Path) -> None:
    """The order is the one that is set."""
    own = settings(tmp_path, prices={"recorded": tmp_path, "live": ["azure-retail", "aws-spot", "azure-retail"]})
    assert [source.name for source in quote_sources(own)] == ["recorded", "azure-retail", "aws-spot"]
    assert isinstance(offers(own, regions(own)), QuotedOffers)


def test_a_replayed_grid_has_no_live_prices(tmp_path: Path) -> None:
    """What is asked is about today; recorded prices are replayed with the grid."""
    world = {"start": "2023-06-01T00:00Z", "rate": 60}
    with pytest.raises(InvalidSettings, match="replays another day"):
        quote_sources(settings(tmp_path, prices={"live": ["aws-spot"]}, world=world))

    assert len(quote_sources(settings(tmp_path, prices={"recorded": tmp_path}, world=world))) == 1


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Before anything is planned."""
    with pytest.raises(InvalidSettings, match="no folder"):
        quote_sources(settings(tmp_path, prices={"recorded": tmp_path / "nowhere"}))


@pytest.mark.parametrize("url", ["http://prices.example.org/x", "https://10.0.0.1/x", "https://a:b@prices.example.org"])
def test_an_address_that_may_not_be_used_is_refused(tmp_path: Path, url: str) -> None:
    """As for carbon: https to a public host, and nothing else in it."""
    with pytest.raises(InvalidSettings):
        quote_sources(settings(tmp_path, prices={"live": ["azure-retail"], "azure_url": url}))


def test_the_spot_advisor_is_asked_when_it_is_named_and_lays_no_price_over_the_list(tmp_path: Path) -> None:
    """It has none."""
    own = settings(tmp_path, prices={"live": ["aws-spot-advisor"]})

    assert isinstance(interruption_source(own), SpotAdvisor)
    assert isinstance(offers(own, regions(own)), CatalogueOffers)
    assert interruption_source(settings(tmp_path, prices={"live": ["aws-spot"]})) is None
    with pytest.raises(InvalidSettings):
        interruption_source(
            settings(tmp_path, prices={"live": ["aws-spot-advisor"], "advisor_url": "http://a.example"})
        )


def test_googles_list_wants_a_key_which_may_be_in_a_file(tmp_path: Path) -> None:
    """Without one the setting is named; a mirror has to be an address that may be used."""
    with pytest.raises(InvalidSettings, match=r"prices.gcp.key is not set") as caught:
        quote_sources(settings(tmp_path, prices={"live": ["gcp-catalog"]}))
    assert "GREENCTL_PRICES__GCP__KEY" in caught.value.hint()
    with pytest.raises(InvalidSettings, match=r"prices.gcp.key: the key cannot be read"):
        quote_sources(settings(tmp_path, prices={"live": ["gcp-catalog"], "gcp": {"key": f"file:{tmp_path}/none"}}))

    (tmp_path / "key").write_text("very-secret\n", encoding="utf-8")
    gcp = {"key": f"file:{tmp_path}/key"}
    (source,) = quote_sources(settings(tmp_path, prices={"live": ["gcp-catalog"], "gcp": gcp}))
    assert source.name == "gcp-catalog"
    mirror = gcp | {"url": "http://billing.example.org/v1"}
    with pytest.raises(InvalidSettings):
        quote_sources(settings(tmp_path, prices={"live": ["gcp-catalog"], "gcp": mirror}))


async def test_googles_list_is_never_much_older_than_a_day(tmp_path: Path) -> None:
    """A machine that is first asked for late in the list's day is not served from that list for another one."""
    api = GcpCatalogApi(parts("G2", "L4", "Netherlands", (0.0275, 0.0032, 0.61), ["europe-west4"]))
    begin = parse_instant("2031-03-01T00:00Z")
    async with alone(api, "/v1") as running:
        gcp = {"key": KEY, "url": running.url}
        own = settings(tmp_path, prices={"live": ["gcp-catalog"], "gcp": gcp}, signals={"private": True})
        (source,) = quote_sources(own)
        for hours, machine in ((0, "g2-standard-4"), (23, "g2-standard-8")):
            assert await source.quotes(Wanted({"gcp/europe-west4": frozenset({machine})}), begin + hours * HOUR)
        for hours in range(24, 72):
            now = begin + hours * HOUR
            quoted = await source.quotes(Wanted({"gcp/europe-west4": frozenset({"g2-standard-8"})}), now)
            assert all(now - quote.as_of <= timedelta(hours=25) for quote in quoted)
        assert 2 <= len(api.asked) <= 4


async def test_aws_without_boto3_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional, and the list's prices stand without it."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    (source,) = quote_sources(settings(tmp_path, prices={"live": ["aws-spot"]}))
    with pytest.raises(PriceUnavailable, match="boto3") as caught:
        await source.quotes(Wanted({"aws/eu-north-1": frozenset({"p4d.24xlarge"})}), parse_instant("2031-03-01T00:00Z"))

    assert 'pip install "greenctl[aws]"' in caught.value.hint()
