"""SkyPilot's own catalogues: what is read, what is joined, what is not believed."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.places import Region
from orchestrator.domain.price import Market
from orchestrator.domain.service import Accelerators, ResourceRequest
from orchestrator.domain.time import Instant, parse_instant
from orchestrator.errors import PriceUnavailable
from orchestrator.prices.catalogue import CompositeOffers, SkyPilotOffers
from orchestrator.prices.fake import FakeOffers
from orchestrator.prices.shapes import ShapeCatalogue
from tests.builders import candidate

NOW = parse_instant("2031-03-01T12:00Z")
AWS = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone\n"
GCP = "InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Region,AvailabilityZone,Price,SpotPrice\n"
LAMBDA = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice\n"


def wanted(name: str, count: int = 1) -> ResourceRequest:
    """Ask for one kind of accelerator."""
    return ResourceRequest(accelerators=(Accelerators(name, count),))


def source(folder: Path, **catalogues: str) -> SkyPilotOffers:
    """Write catalogues and read them, with the regions aws/one and gcp/one known."""
    for cloud, text in catalogues.items():
        (folder / "v8" / cloud).mkdir(parents=True)
        (folder / "v8" / cloud / "vms.csv").write_text(text, encoding="utf-8")
    known = {i: Region(i, "DE", 1.1, "test") for i in ("aws/one", "gcp/one")}
    return SkyPilotOffers(folder, list(catalogues), known, ShapeCatalogue.packaged())


async def test_the_cheapest_zone_of_each_market_is_offered(tmp_path: Path) -> None:
    """With the machine type that has the price, and the catalogue with its day as the source."""
    rows = "g6.xlarge,L4,1.0,4.0,16.0,,0.80,0.30,one,one-az1\ng6.xlarge,L4,1.0,4.0,16.0,,0.80,0.25,one,one-az2\n"
    on_demand, spot = await source(tmp_path, aws=AWS + rows).offers(wanted("L4"), NOW)

    assert (on_demand.id, on_demand.instance_type) == ("aws/one:1xL4:on_demand", "g6.xlarge")
    assert on_demand.price is not None
    assert spot.price is not None
    assert (on_demand.price.usd_per_hour, spot.price.usd_per_hour) == (0.80, 0.25)
    assert spot.price.source.startswith("SkyPilot aws/vms.csv of 20")
    assert spot.price.source.endswith("g6.xlarge in one-az2")


async def test_on_google_cloud_machine_and_accelerator_add_up(tmp_path: Path) -> None:
    """SkyPilot lists them apart; an accelerator whose machine is not sold in the zone is not offered."""
    rows = "g2-standard-4,4,16,,,,one,one-a,0.20,0.05\n,,,L4,1,,one,one-a,0.60,0.25\n,,,L4,1,,one,one-b,0.10,0.02\n"
    on_demand, spot = await source(tmp_path, gcp=GCP + rows).offers(wanted("L4"), NOW)

    assert on_demand.price is not None
    assert spot.price is not None
    assert on_demand.price.usd_per_hour == pytest.approx(0.80)
    assert spot.price.usd_per_hour == pytest.approx(0.30)
    assert (on_demand.instance_type, on_demand.shape.vcpus) == ("g2-standard-4", 4.0)


async def test_a_price_that_nobody_charges_does_not_win(tmp_path: Path) -> None:
    """The catalogue of May 2026 has 2.95 USD for a machine whose list price is 5.07: unknown, and said so."""
    rows = "a2-ultragpu-1g,12,170,,,,one,one-a,1.10,0.55\n,,,A100-80GB,1,,one,one-a,1.8462,1.2\n"
    offers = source(tmp_path, gcp=GCP + rows)
    on_demand, spot = await offers.offers(wanted("A100-80GB"), NOW)

    assert on_demand.price is None
    assert spot.price is not None
    (complaint,) = offers.rejected()
    assert complaint.reason == "on-demand 2.9462 USD/h is 2.95 per A100-80GB, below 4: not a list price"
    assert on_demand.price_note == complaint.reason


async def test_a_placeholder_is_rejected(tmp_path: Path) -> None:
    """TPUs at 700 USD an hour are a mistake of the catalogue."""
    offers = source(tmp_path, gcp=GCP + ",,,tpu-v6e-1,1,,one,one-a,700,350\n")

    assert await offers.offers(wanted("tpu-v6e-1"), NOW) == []
    assert [r.reason for r in offers.rejected()] == ["on_demand 700 USD/h is 700 per accelerator, outside 0.02..40"]


@pytest.mark.parametrize("odd", ["N/A", "-0.40", "nan", "0,40", "1e999"])
@pytest.mark.parametrize("part", ["machine", "accelerator"])
async def test_an_odd_price_of_a_part_costs_its_own_row_alone(tmp_path: Path, part: str, odd: str) -> None:
    """One cell that is no amount is told with its line; the other machines, zones and clouds are sold on."""
    usd = {"machine": "0.20", "accelerator": "0.60"} | {part: f'"{odd}"'}
    rows = f"g2-standard-4,4,16,,,,one,one-a,{usd['machine']},0.05\n,,,L4,1,,one,one-a,{usd['accelerator']},0.25\n"
    rows += "g2-standard-4,4,16,,,,one,one-b,0.30,0.06\n,,,L4,1,,one,one-b,0.60,0.26\n"
    offers = source(tmp_path, gcp=GCP + rows, aws=AWS + "g6.xlarge,L4,1.0,4.0,16.0,,0.80,0.30,one,one-az1\n")

    assert await spot_prices(offers, NOW) == {"aws/one": 0.30, "gcp/one": pytest.approx(0.32)}
    (complaint,) = [r for r in offers.rejected() if "spot" not in r.what]
    assert (complaint.what, complaint.reason) == ("gcp/one g2-standard-4", f"Price: {odd!r} is no amount")
    assert complaint.line == 3


async def test_a_renewed_catalogue_with_an_odd_cell_sells_its_other_rows(tmp_path: Path) -> None:
    """A controller that has read the good file goes on with what is good of the next one."""
    good = "g2-standard-4,4,16,,,,one,one-a,0.20,0.05\n,,,L4,1,,one,one-a,0.60,0.25\n"
    offers = source(tmp_path, gcp=GCP + good, aws=AWS + "g6.xlarge,L4,1.0,4.0,16.0,,0.80,0.30,one,one-az1\n")
    assert set(await spot_prices(offers, NOW)) == {"aws/one", "gcp/one"}

    renew(tmp_path, "gcp", GCP + good.replace("0.60", "N/A"))
    assert set(await spot_prices(offers, NOW + timedelta(minutes=1))) == {"aws/one"}
    renew(tmp_path, "gcp", GCP + good)
    assert set(await spot_prices(offers, NOW + timedelta(minutes=2))) == {"aws/one", "gcp/one"}


async def test_a_region_that_nobody_knows_is_shown_with_what_is_unknown(tmp_path: Path) -> None:
    """So that a plan can say why it is not used."""
    rows = "gpu_1x_h100,H100,1.0,26,200,2.49,mars-1,,\n"
    (on_demand, spot) = await source(tmp_path, **{"lambda": LAMBDA + rows}).offers(wanted("H100"), NOW)

    assert (on_demand.region.id, on_demand.region.zone, on_demand.region.pue) == ("lambda/mars-1", None, None)
    assert spot.price is None


async def test_one_broken_catalogue_hides_no_other(tmp_path: Path) -> None:
    """It is told of, with its line; without any that can be read there is nothing to plan with."""
    good = "g6.xlarge,L4,1.0,4.0,16.0,,0.80,0.30,one,one-az1\n"
    offers = source(tmp_path, aws=AWS + good, gcp="what,is,this\n1,2,3\n")

    assert len(await offers.offers(wanted("L4"), NOW)) == 2
    assert any("no column" in r.reason for r in offers.rejected())
    with pytest.raises(PriceUnavailable, match="no catalogue of aws"):
        await SkyPilotOffers(tmp_path / "nowhere", ["aws"], {}, ShapeCatalogue.packaged()).offers(wanted("L4"), NOW)


async def test_the_newest_version_is_read(tmp_path: Path) -> None:
    """SkyPilot keeps the catalogues of its older versions."""
    offers = source(tmp_path, aws=AWS + "g6.xlarge,L4,1.0,4.0,16.0,,0.80,0.30,one,one-az1\n")
    (tmp_path / "v7" / "aws").mkdir(parents=True)
    (tmp_path / "v7" / "aws" / "vms.csv").write_text(AWS, encoding="utf-8")

    assert len(await offers.offers(wanted("L4"), NOW)) == 2


@pytest.mark.parametrize(
    ("infra", "usd"),
    [
        ("aws/one/one-b", [0.80]),
        ("aws/one/one-az1", [0.80]),
        ("aws/one/one-a", [0.90]),
        ("aws/*/one-a", [0.90]),
        ("aws/one/one-c", []),
    ],
)
async def test_zones_of_aws_are_found_by_the_names_that_people_write(
    tmp_path: Path, infra: str, usd: list[float]
) -> None:
    """The list has ids; which name an account has for each, SkyPilot writes beside it. The newest file counts."""
    rows = "g6.xlarge,L4,1.0,4.0,16.0,,0.80,,one,one-az1\ng6.xlarge,L4,1.0,4.0,16.0,,0.90,,one,one-az2\n"
    offers = source(tmp_path, aws=AWS + rows)
    for day, names in (("1", "one-az1,one-a\none-az2,one-b\n"), ("2", "one-az1,one-b\none-az2,one-a\n")):
        file = tmp_path / "v8" / "aws" / f"az_mappings-{day}.csv"
        file.write_text("AvailabilityZone,AvailabilityZoneName\n" + names, encoding="utf-8")
        os.utime(file, (int(day), int(day)))
    found = await offers.offers(replace(wanted("L4"), infra=infra), NOW)

    assert [o.price.usd_per_hour for o in found if o.price is not None] == usd


async def test_a_zone_that_is_not_listed_is_told(tmp_path: Path) -> None:
    """Without names of zones there is no offer, and the sentence says where they come from."""
    offers = source(tmp_path, aws=AWS + "g6.xlarge,L4,1.0,4.0,16.0,,0.80,0.30,one,one-az1\n")
    request = replace(wanted("L4"), infra="aws/one/one-a")
    (tmp_path / "v8" / "aws" / "az_mappings-1.csv").write_bytes(b"\xff")

    assert await offers.offers(request, NOW) == []
    assert (await offers.shelf()).why_none(request) == (
        "what fits in aws/one is not listed in one-a "
        "(which zone that is on your account, SkyPilot writes beside its catalogue: sky check aws)"
    )


async def test_several_sources_are_one() -> None:
    """The earlier one counts where two sell the same; one that cannot be read does not stop the other."""
    mine = FakeOffers([candidate("aws/one", 30.0).offer])
    other = FakeOffers([candidate("aws/two", 30.0).offer, candidate("aws/one", 30.0, usd=9.0).offer])
    both = CompositeOffers([mine, other])
    found = {o.id: o for o in await both.offers(wanted("L4"), NOW)}

    assert set(found) == {"aws/one:1xL4:on_demand", "aws/two:1xL4:on_demand"}
    assert found["aws/one:1xL4:on_demand"].price == candidate("aws/one", 30.0).offer.price
    mine.fail("gone")
    assert len(await both.offers(wanted("L4"), NOW)) == 2
    other.fail("gone, too")
    with pytest.raises(PriceUnavailable):
        await both.offers(wanted("L4"), NOW)


async def test_a_shelf_names_the_lists_that_are_missing(tmp_path: Path) -> None:
    """One missing catalogue beside one that is there, and all of them missing."""
    row = "g6.xlarge,L4,1.0,4.0,16.0,,0.80,0.30,one,one-az1\n"
    (tmp_path / "some" / "aws").mkdir(parents=True)
    (tmp_path / "some" / "aws" / "vms.csv").write_text(AWS + row)
    some = SkyPilotOffers(tmp_path / "some", ["aws", "gcp"], {}, ShapeCatalogue.packaged())
    none = SkyPilotOffers(tmp_path / "none", ["gcp"], {}, ShapeCatalogue.packaged())

    why = (await some.shelf()).why_none(wanted("H100", 8))
    assert why.startswith(f"no catalogue of gcp below {tmp_path / 'some'}; H100:8 is not listed anywhere")
    both = await CompositeOffers([none, FakeOffers()]).shelf()
    assert both.why_none(wanted("L4")) == f"no catalogue of gcp below {tmp_path / 'none'}; no price list has anything"


async def spot_prices(offers: SkyPilotOffers, now: Instant) -> dict[str, float]:
    """What an L4 costs on spot, by region."""
    found = await offers.offers(wanted("L4"), now)
    return {o.region.id: o.price.usd_per_hour for o in found if o.market is Market.SPOT and o.price is not None}


def renew(folder: Path, cloud: str, text: str) -> None:
    """Replace a catalogue by a later one, as SkyPilot does every few hours."""
    file = folder / "v8" / cloud / "vms.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    later = 1 + (file.stat().st_mtime if file.exists() else NOW.timestamp())
    file.write_text(text, encoding="utf-8")
    os.utime(file, (later, later))


async def test_a_catalogue_that_was_renewed_is_read_again(tmp_path: Path) -> None:
    """A controller lives for weeks; a minute after SkyPilot's prices have changed it plans with them."""
    row = "g6.xlarge,L4,1.0,4.0,16.0,,0.80,{},one,one-az1\n"
    offers = source(tmp_path, aws=AWS + row.format(0.30))
    assert await spot_prices(offers, NOW) == {"aws/one": 0.30}

    renew(tmp_path, "aws", AWS + row.format(0.42))
    assert await spot_prices(offers, NOW + timedelta(seconds=59)) == {"aws/one": 0.30}
    assert await spot_prices(offers, NOW + timedelta(seconds=60)) == {"aws/one": 0.42}


async def test_a_catalogue_that_was_missing_is_found_when_it_comes(tmp_path: Path) -> None:
    """Its cloud is offered from then on, and the trouble is over."""
    renew(tmp_path, "aws", AWS + "g6.xlarge,L4,1.0,4.0,16.0,,0.80,0.30,one,one-az1\n")
    offers = SkyPilotOffers(tmp_path, ["aws", "gcp"], {}, ShapeCatalogue.packaged())
    assert await spot_prices(offers, NOW) == {"aws/one": 0.30}

    renew(tmp_path, "gcp", GCP + "g2-standard-4,4,16,,,,one,one-a,0.20,0.05\n,,,L4,1,,one,one-a,0.60,0.25\n")
    later = NOW + timedelta(minutes=1)
    assert await spot_prices(offers, later) == {"aws/one": 0.30, "gcp/one": pytest.approx(0.30)}
    assert (await offers.shelf()).troubles == ()


@pytest.mark.parametrize("how", ["broken", "gone"])
async def test_a_catalogue_that_breaks_keeps_what_it_said(tmp_path: Path, how: str) -> None:
    """Prices of yesterday are worth more than none; the shelf tells of it until the file is whole again."""
    good = AWS + "g6.xlarge,L4,1.0,4.0,16.0,,0.80,0.30,one,one-az1\n"
    offers = source(tmp_path, aws=good)
    assert await spot_prices(offers, NOW) == {"aws/one": 0.30}

    if how == "broken":
        renew(tmp_path, "aws", "what,is,this\n1,2,3\n")
    else:
        (tmp_path / "v8" / "aws" / "vms.csv").unlink()
    assert await spot_prices(offers, NOW + timedelta(minutes=1)) == {"aws/one": 0.30}
    (trouble,) = (await offers.shelf()).troubles
    assert trouble.endswith("; what it said before stands")

    renew(tmp_path, "aws", good.replace("0.30", "0.20"))
    assert await spot_prices(offers, NOW + timedelta(minutes=2)) == {"aws/one": 0.20}
    assert (await offers.shelf()).troubles == ()
