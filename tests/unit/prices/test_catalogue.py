"""Offers from a price list: which row wins, what is rejected, and what the packaged list says."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.domain.carbon import Kind
from orchestrator.domain.offer import Offer
from orchestrator.domain.places import Region
from orchestrator.domain.price import Market
from orchestrator.domain.service import Accelerators, ResourceRequest
from orchestrator.domain.time import parse_instant
from orchestrator.errors import PriceUnavailable
from orchestrator.prices.catalogue import LOCAL_OFFERS, CatalogueOffers
from orchestrator.prices.shapes import ShapeCatalogue

NOW = parse_instant("2031-03-01T12:00Z")
HEADER = (
    "cloud,region,zone,instance_type,accelerator,accelerator_count,vcpus,memory_gib,"
    "ondemand_usd_per_hour,spot_usd_per_hour,as_of,note\n"
)
L4 = ResourceRequest(accelerators=(Accelerators("L4", 1),))
CPU = ResourceRequest()


def regions(*ids: str) -> Mapping[str, Region]:
    """Give regions of these ids."""
    return {i: Region(i, "DE", 1.1, "test") for i in ids}


def catalogue(folder: Path, *rows: str, where: Mapping[str, Region] | None = None) -> CatalogueOffers:
    """Give a catalogue of these rows, for regions aws/one and aws/two."""
    path = folder / "offers.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return CatalogueOffers(path, regions("aws/one", "aws/two") if where is None else where, ShapeCatalogue.packaged())


def prices(offers: list[Offer]) -> dict[str, float | None]:
    """Give prices by offer id."""
    return {o.id: o.price.usd_per_hour if o.price else None for o in offers}


async def test_the_cheapest_zone_of_a_region_wins_per_market(tmp_path: Path) -> None:
    """On demand and spot may be cheapest in different zones, and each price says where it comes from."""
    source = catalogue(
        tmp_path,
        "aws,one,a,g6.xlarge,L4,1,4,16,0.80,0.30,2026-05-01,",
        "aws,one,b,g6.xlarge,L4,1,4,16,0.81,0.20,2026-05-01,",
    )
    on_demand, spot = await source.offers(L4, NOW)

    assert (on_demand.id, spot.id) == ("aws/one:1xL4:on_demand", "aws/one:1xL4:spot")
    assert on_demand.price is not None
    assert spot.price is not None
    assert (on_demand.price.usd_per_hour, spot.price.usd_per_hour) == (0.80, 0.20)
    assert on_demand.price.source == "offers.csv: g6.xlarge in a"
    assert spot.price.source == "offers.csv: g6.xlarge in b"
    assert spot.price.kind is Kind.RECORDED
    assert spot.price.as_of == parse_instant("2026-05-01T00:00Z")


async def test_the_cheapest_instance_type_that_is_large_enough_wins(tmp_path: Path) -> None:
    """A minimum of vCPUs or memory rules the smaller machine out."""
    source = catalogue(
        tmp_path,
        "aws,one,a,g6.xlarge,L4,1,4,16,0.80,,2026-05-01,",
        "aws,one,a,g6.2xlarge,L4,1,8,32,0.98,,2026-05-01,",
    )
    any_size = await source.offers(L4, NOW)
    larger = await source.offers(ResourceRequest(accelerators=L4.accelerators, min_vcpus=6), NOW)
    too_large = await source.offers(ResourceRequest(accelerators=L4.accelerators, min_memory_gib=64), NOW)

    assert prices(list(any_size))["aws/one:1xL4:on_demand"] == 0.80
    assert prices(list(larger))["aws/one:1xL4:on_demand"] == 0.98
    assert larger[0].shape.vcpus == 8
    assert too_large == []


async def test_an_empty_price_is_an_unpriced_offer(tmp_path: Path) -> None:
    """Nobody knows it: shown, never guessed."""
    source = catalogue(tmp_path, "aws,one,a,g6.xlarge,L4,1,4,16,0.80,,2026-05-01,")

    assert prices(list(await source.offers(L4, NOW))) == {"aws/one:1xL4:on_demand": 0.80, "aws/one:1xL4:spot": None}


@pytest.mark.parametrize("spot", ["0.80", "0.95"])
async def test_spot_that_is_not_cheaper_is_not_offered(tmp_path: Path, spot: str) -> None:
    """It can be taken away and costs no less: it cannot be bought by mistake, and the rejection says why."""
    source = catalogue(tmp_path, f"aws,one,a,g6.xlarge,L4,1,4,16,0.80,{spot},2026-05-01,")

    assert list(prices(list(await source.offers(L4, NOW)))) == ["aws/one:1xL4:on_demand"]
    (rejected,) = source.rejected()
    assert (rejected.line, rejected.what) == (2, "aws/one 1xL4 spot")
    assert "not below the on-demand price" in rejected.reason


async def test_alternatives_come_in_the_order_in_which_they_were_asked_for(tmp_path: Path) -> None:
    """Region by region; case of the name does not count and asking twice gives one offer."""
    source = catalogue(
        tmp_path,
        "aws,two,a,g6.xlarge,L4,1,4,16,0.80,0.3,2026-05-01,",
        "aws,one,a,g6.xlarge,L4,1,4,16,0.80,0.3,2026-05-01,",
        "aws,one,a,g6e.xlarge,L40S,1,4,32,1.86,0.9,2026-05-01,",
        "aws,one,a,g6.48xlarge,L4,8,192,768,13.35,4.0,2026-05-01,",
    )
    request = ResourceRequest(accelerators=(Accelerators("L40S", 1), Accelerators("l4", 1), Accelerators("L4", 1)))

    assert [o.id for o in await source.offers(request, NOW) if o.market is Market.ON_DEMAND] == [
        "aws/one:1xL40S:on_demand",
        "aws/one:1xL4:on_demand",
        "aws/two:1xL4:on_demand",
    ]


async def test_without_accelerators_the_smallest_machine_is_offered(tmp_path: Path) -> None:
    """Power grows with size, so a larger machine is never greener; GPU machines are not CPU machines."""
    source = catalogue(
        tmp_path,
        "aws,one,a,c6i.xlarge,,,4,8,0.17,0.06,2026-05-01,",
        "aws,one,a,c6i.large,,,2,4,0.085,0.03,2026-05-01,",
        "aws,one,a,c6a.large,,,2,4,0.077,0.03,2026-05-01,",
        "aws,one,a,g6.xlarge,L4,1,4,16,0.80,0.3,2026-05-01,",
    )
    small = await source.offers(CPU, NOW)
    large = await source.offers(ResourceRequest(min_vcpus=3), NOW)

    assert prices(list(small)) == {"aws/one:2vCPU-4GB:on_demand": 0.077, "aws/one:2vCPU-4GB:spot": 0.03}
    assert prices(list(large)) == {"aws/one:4vCPU-8GB:on_demand": 0.17, "aws/one:4vCPU-8GB:spot": 0.06}


@pytest.mark.parametrize(
    ("infra", "found"),
    [
        (None, ["aws/one", "aws/two", "gcp/one", "slurm/hpc1"]),
        ("aws", ["aws/one", "aws/two"]),
        ("aws/two", ["aws/two"]),
        ("*/one", ["aws/one", "gcp/one"]),
        ("aws/one/b", ["aws/one"]),
        ("aws/one/c", []),
        ("azure", []),
        ("slurm/hpc1/preempt", ["slurm/hpc1"]),
    ],
    ids=str,
)
async def test_infra_restricts_as_in_skypilot(tmp_path: Path, infra: str | None, found: list[str]) -> None:
    """Provider, region or zone, with stars. What has no zones in the list may be bought in the one that is wanted."""
    source = catalogue(
        tmp_path,
        "aws,one,a,g6.xlarge,L4,1,4,16,0.80,,2026-05-01,",
        "aws,one,b,g6.xlarge,L4,1,4,16,0.90,,2026-05-01,",
        "aws,two,a,g6.xlarge,L4,1,4,16,0.80,,2026-05-01,",
        "gcp,one,a,g2-standard-4,L4,1,4,16,0.70,,2026-05-01,",
        "slurm,hpc1,,,L4,1,4,16,,,2026-05-01,",
        where=regions("aws/one", "aws/two", "gcp/one", "slurm/hpc1"),
    )
    offers = await source.offers(ResourceRequest(accelerators=L4.accelerators, infra=infra), NOW)

    assert sorted({o.region.id for o in offers}) == found
    if infra == "aws/one/b":
        assert offers[0].price is not None
        assert offers[0].price.usd_per_hour == 0.90


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("aws,one,a,x,L4,1,4,16,700,,2026-05-01,", "700 per accelerator"),
        ("aws,one,a,x,L4,1,4,16,0.80,0.001,2026-05-01,", "0.001 per accelerator"),
        ("aws,one,a,x,tpu-v6e-4,1,,,700,,2026-05-01,", "175 per accelerator"),
        ("aws,one,a,x,,,2,4,9,,2026-05-01,", "4.5 per vCPU"),
        ("aws,one,a,x,,,2,4,0,,2026-05-01,", "0 per vCPU"),
        ("aws,one,a,x,L4,1,4,16,-1,,2026-05-01,", "'-1' is no amount"),
        ("aws,one,a,x,L4,1,4,16,cheap,,2026-05-01,", "'cheap' is no amount"),
        ("aws,one,a,x,L4,1,4,16,nan,,2026-05-01,", "'nan' is no amount"),
        ("aws,one,a,x,A10,0.333,6,55,0.45,,2026-05-01,", "parts of an accelerator"),
        ("aws,one,a,x,,,,,0.45,,2026-05-01,", "neither an accelerator nor"),
        ("aws,one,a,x,L4,1,4,16,0.8,,someday,", "someday"),
        ("aws,three,a,x,L4,1,4,16,0.8,,2026-05-01,", "no region aws/three"),
    ],
    ids=lambda text: text.split()[0][-24:],
)
async def test_absurd_rows_are_dropped_and_reported(tmp_path: Path, row: str, reason: str) -> None:
    """A price of 700 USD or of a tenth of a cent must not steer anything; the good row beside it stays."""
    source = catalogue(tmp_path, row, "aws,two,a,g6.xlarge,L4,1,4,16,0.80,,2026-05-01,")

    assert {o.region.id for o in await source.offers(L4, NOW)} == {"aws/two"}
    (rejected,) = source.rejected()
    assert rejected.line == 2
    assert reason in rejected.reason


async def test_large_tpu_pods_are_not_absurd(tmp_path: Path) -> None:
    """SkyPilot counts a pod as one accelerator; the band is per chip in its name."""
    source = catalogue(tmp_path, "aws,one,a,TPU-VM,tpu-v6e-256,1,,,760.32,,2026-05-01,")
    offers = await source.offers(ResourceRequest(accelerators=(Accelerators("tpu-v6e-256", 1),)), NOW)

    assert prices(list(offers))["aws/one:1xtpu-v6e-256:on_demand"] == 760.32
    assert offers[0].shape.power is None
    assert source.rejected() == ()


async def test_a_note_travels_with_the_price(tmp_path: Path) -> None:
    """What the list says about its own number is part of the number's source."""
    source = catalogue(tmp_path, "aws,one,a,g6.xlarge,L4,1,4,16,0.80,,2026-05-01,on-demand not cross-checked")
    (on_demand, _) = await source.offers(L4, NOW)

    assert on_demand.price is not None
    assert on_demand.price.source == "offers.csv: g6.xlarge in a; on-demand not cross-checked"


async def test_gzipped_lists_are_read(tmp_path: Path) -> None:
    """The layout is the same, plain or packed."""
    path = tmp_path / "offers.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(HEADER + "aws,one,a,g6.xlarge,L4,1,4,16,0.80,0.2,2026-05-01,\n")
    source = CatalogueOffers(path, regions("aws/one"), ShapeCatalogue.packaged())

    assert len(await source.offers(L4, NOW)) == 2


async def test_a_list_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """Missing, torn or without the columns: each says which file."""
    shapes = ShapeCatalogue.packaged()
    with pytest.raises(PriceUnavailable, match=r"nowhere\.csv cannot be read"):
        await CatalogueOffers(tmp_path / "nowhere.csv", {}, shapes).offers(L4, NOW)

    torn = tmp_path / "torn.csv.gz"
    torn.write_bytes(gzip.compress(HEADER.encode() * 90)[:60])
    with pytest.raises(PriceUnavailable, match=r"torn\.csv\.gz is damaged"):
        await CatalogueOffers(torn, {}, shapes).offers(L4, NOW)

    other = tmp_path / "other.csv"
    other.write_text("# a comment\ncloud,region\naws,one\n", encoding="utf-8")
    with pytest.raises(PriceUnavailable, match=r"other\.csv:2: no column zone, instance_type"):
        await CatalogueOffers(other, {}, shapes).offers(L4, NOW)


LOCAL = ("local/se", "local/de", "local/us-mida-pjm", "local/fr", "local/pl")


async def test_a_cell_that_no_reader_takes_is_an_error_with_its_line(tmp_path: Path) -> None:
    """A quote that is never closed makes one cell of all that follows; the list says where."""
    rows = ["aws,one,a,g6.xlarge,L4,1,4,16,0.80,0.30,2026-05-01,"] * 4_000
    source = catalogue(tmp_path, 'aws,one,a,g6.xlarge,L4,1,4,16,0.80,0.30,2026-05-01,"open', *rows)

    with pytest.raises(PriceUnavailable, match=r"offers\.csv:\d+: field larger than field limit"):
        await source.offers(L4, NOW)


async def test_the_local_list_prices_the_local_regions() -> None:
    """One small machine each, on both markets, marked as notional."""
    source = CatalogueOffers(LOCAL_OFFERS, regions(*LOCAL), ShapeCatalogue.packaged())
    offers = await source.offers(ResourceRequest(min_vcpus=2), NOW)

    assert {o.region.id for o in offers} == set(LOCAL)
    assert {o.shape.name for o in offers} == {"2vCPU-4GB"}
    assert len(offers) == 2 * len(LOCAL)
    assert all(o.price is not None and o.price.kind is Kind.SYNTHETIC for o in offers)
    assert all(o.price is not None and "notional" in o.price.source for o in offers)


async def test_local_prices_are_so_close_that_carbon_decides() -> None:
    """The dearest is within ten per cent of the cheapest, on either market."""
    source = CatalogueOffers(LOCAL_OFFERS, regions(*LOCAL, "local/anything"), ShapeCatalogue.packaged())
    offers = await source.offers(CPU, NOW)

    for market in Market:
        usd = [o.price.usd_per_hour for o in offers if o.market is market and o.price is not None]
        assert max(usd) <= 1.10 * min(usd)


async def test_a_local_region_of_ones_own_has_a_price_too() -> None:
    """Whoever ties local/x to a zone in the settings need not write a price list first."""
    source = CatalogueOffers(LOCAL_OFFERS, regions("local/attic", "local/se"), ShapeCatalogue.packaged())
    offers = await source.offers(CPU, NOW)

    assert [o.region.id for o in offers if o.market is Market.ON_DEMAND] == ["local/attic", "local/se"]
