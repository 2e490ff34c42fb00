"""The region catalogue: facts with their source, nothing guessed, and help with misspelt names."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InvalidSettings, UnknownRegion
from orchestrator.regions.catalogue import RegionCatalogue
from orchestrator.regions.jurisdictions import EEA, EU, jurisdictions
from orchestrator.regions.local import LocalRegion

HEADER = "id,country,location,latitude,longitude,zone,zone_detail,zone_match,pue,pue_year,wue_liters_per_kwh,wue_year\n"


@pytest.fixture(scope="module")
def packaged() -> RegionCatalogue:
    """Read the catalogue that ships."""
    return RegionCatalogue.packaged()


def test_the_packaged_catalogue_has_the_big_clouds(packaged: RegionCatalogue) -> None:
    """133 regions of three providers, each with an id of provider/name and a grid zone."""
    regions = packaged.all()

    assert len(regions) == 133
    assert {r.provider for r in regions} == {"aws", "azure", "gcp"}
    assert [r.id for r in regions] == sorted(r.id for r in regions)
    assert all(r.zone for r in regions)
    assert all(r.location for r in regions)
    assert all(-90 <= (r.latitude or 0) <= 90 and -180 <= (r.longitude or 0) <= 180 for r in regions)


def test_a_region_knows_its_facts(packaged: RegionCatalogue) -> None:
    """Stockholm: zone with a public series, published PUE and water use with operator and year, and jurisdictions."""
    region = packaged.get("aws/eu-north-1")

    assert (region.zone, region.pue, region.pue_source) == ("SE", 1.1, "AWS 2024")
    assert region.residency == {"SE", "EU", "EEA"}
    assert region.wue_liters_per_kwh == 0.02
    assert region.location == "Europe (Stockholm)"


def test_an_unpublished_pue_is_unknown(packaged: RegionCatalogue) -> None:
    """London has none: not an average, not 1."""
    region = packaged.get("aws/eu-west-2")

    assert region.pue is None
    assert region.pue_source == "unknown"
    known = [r for r in packaged.all() if r.pue is not None]
    assert all(1.0 < (r.pue or 0) < 2.0 for r in known)
    assert all(r.pue_source[-4:].isdigit() for r in known)


def test_the_finer_zone_is_kept_beside(packaged: RegionCatalogue) -> None:
    """Stockholm lies in SE-SE3; regions without a finer zone answer with their own."""
    assert packaged.detail_zone("aws/eu-north-1") == "SE-SE3"
    assert packaged.detail_zone("aws/eu-central-1") == "DE"
    with pytest.raises(UnknownRegion):
        packaged.detail_zone("aws/atlantis-1")


def test_an_unknown_region_names_the_nearest(packaged: RegionCatalogue) -> None:
    """A misspelt id is answered with what may have been meant; nonsense is not."""
    with pytest.raises(UnknownRegion, match=r"did you mean aws/eu-north-1"):
        packaged.get("aws/eu-nort-1")
    with pytest.raises(UnknownRegion) as raised:
        packaged.get("zzz")
    assert "did you mean" not in raised.value.message


def test_globs_match_ids(packaged: RegionCatalogue) -> None:
    """As in a policy file: any pattern may match, case counts, order is that of the ids, no pattern is no region."""
    assert [r.id for r in packaged.match(["gcp/us-*", "aws/us-west-?"])] == [
        "aws/us-west-1",
        "aws/us-west-2",
        *(r.id for r in packaged.all() if r.id.startswith("gcp/us-")),
    ]
    assert packaged.match([]) == ()
    assert packaged.match(["AWS/*"]) == ()
    assert packaged.match(["*"]) == packaged.all()


def test_local_regions_join_the_catalogue(packaged: RegionCatalogue) -> None:
    """They are regions like any other, under provider local; the catalogue that they were added to stays as it was."""
    se = LocalRegion("se", "SE", 1.2, "assumed", frozenset({"SE", "EU"}), "this machine")
    both = packaged.with_local({"se": se})
    region = both.get("local/se")

    assert (region.provider, region.zone, region.pue, region.pue_source) == ("local", "SE", 1.2, "assumed")
    assert region.residency == {"SE", "EU"}
    assert both.by_id["local/se"] is region
    assert both.detail_zone("aws/eu-north-1") == "SE-SE3"
    assert len(both.all()) == 134
    with pytest.raises(UnknownRegion):
        packaged.get("local/se")


@pytest.mark.parametrize("name", ["de", "", "a/b"])
def test_a_local_region_needs_a_plain_name(packaged: RegionCatalogue, name: str) -> None:
    """The key of the settings and the region's name must be one plain word."""
    region = LocalRegion("se" if name == "de" else name, "SE", None, "unknown")
    with pytest.raises(InvalidSettings):
        packaged.with_local({name: region})


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("aws/x,SE,X,1,2,SE,,exact,0.8,2024,,\n", "PUE 0.8"),
        ("aws/x,SE,X,1,2,SE,,exact,11,2024,,\n", "PUE 11"),
        ("aws/x,SE,X,north,2,SE,,exact,1.1,2024,,\n", "north"),
    ],
    ids=["below-one", "absurd", "text"],
)
def test_impossible_facts_are_refused_with_their_line(tmp_path: Path, row: str, complaint: str) -> None:
    """A catalogue with a misprint is not used; the message says where it is."""
    path = tmp_path / "regions.csv"
    path.write_text("# comment\n" + HEADER + row, encoding="utf-8")

    with pytest.raises(InvalidSettings, match=r"regions\.csv:3") as raised:
        RegionCatalogue.read(path)
    assert complaint in raised.value.message


def test_a_missing_catalogue_is_a_matter_of_settings(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(InvalidSettings, match=r"nowhere\.csv cannot be read"):
        RegionCatalogue.read(tmp_path / "nowhere.csv")


def test_a_region_without_a_zone_stays_without(tmp_path: Path) -> None:
    """Nobody has established its grid: shown, but never given a neighbour's."""
    path = tmp_path / "regions.csv"
    path.write_text(HEADER + "aws/x,,X,,,,,exact,,,,\n", encoding="utf-8")
    region = RegionCatalogue.read(path).get("aws/x")

    assert region.zone is None
    assert region.residency == frozenset()
    assert region.latitude is None


def test_jurisdictions_follow_the_treaties() -> None:
    """27 members, three more in the EEA; Switzerland and Britain in neither."""
    assert len(EU) == 27
    assert EEA.difference(EU) == {"IS", "LI", "NO"}
    assert jurisdictions("no") == {"NO", "EEA"}
    assert jurisdictions("CH") == {"CH"}
    assert jurisdictions("GB") == {"GB"}
    assert jurisdictions("") == frozenset()
