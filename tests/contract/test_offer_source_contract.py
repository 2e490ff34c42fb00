"""What every offer source promises, whatever is behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.control.ports import OfferSource
from orchestrator.domain.carbon import Kind
from orchestrator.domain.offer import Offer
from orchestrator.domain.places import Region
from orchestrator.domain.price import Market, Price
from orchestrator.domain.service import Accelerators, ResourceRequest
from orchestrator.domain.time import parse_instant
from orchestrator.errors import PriceUnavailable
from orchestrator.prices.catalogue import CatalogueOffers
from orchestrator.prices.fake import FakeOffers
from orchestrator.prices.shapes import ShapeCatalogue

NOW = parse_instant("2031-03-01T12:00Z")
SHAPES = ShapeCatalogue.packaged()
NORTH, SOUTH = Region("aws/north", "SE", 1.1, "test"), Region("gcp/south", "PL", None, "unknown")
LIST = """\
cloud,region,zone,instance_type,accelerator,accelerator_count,vcpus,memory_gib,ondemand_usd_per_hour,spot_usd_per_hour,as_of,note
gcp,south,a,g2-standard-4,L4,1,4,16,0.70,,2026-05-01,
aws,north,a,g6.xlarge,L4,1,4,16,0.80,0.30,2026-05-01,
aws,north,a,g6.48xlarge,L4,8,192,768,13.35,5.00,2026-05-01,
aws,north,a,c6i.large,,,2,4,0.085,0.03,2026-05-01,
"""


def from_list(folder: Path) -> OfferSource:
    """Read the list from a file."""
    path = folder / "offers.csv"
    path.write_text(LIST, encoding="utf-8")
    return CatalogueOffers(path, {r.id: r for r in (NORTH, SOUTH)}, SHAPES)


def by_hand(_: Path) -> OfferSource:
    """Put the same offers into the fake."""

    def priced(usd: float | None) -> Price | None:
        return None if usd is None else Price(usd, "list", Kind.RECORDED, parse_instant("2026-05-01T00:00Z"))

    one, eight, cpu = SHAPES.accelerated("L4", 1, 4, 16), SHAPES.accelerated("L4", 8, 192, 768), SHAPES.cpu(2, 4)
    rows = ((SOUTH, one, 0.70, None), (NORTH, one, 0.80, 0.30), (NORTH, eight, 13.35, 5.0), (NORTH, cpu, 0.085, 0.03))
    fake = FakeOffers()
    for region, shape, on_demand, spot in rows:
        fake.put(Offer(region, shape, Market.ON_DEMAND, priced(on_demand)))
        fake.put(Offer(region, shape, Market.SPOT, priced(spot)))
    return fake


MAKERS: dict[str, Callable[[Path], OfferSource]] = {"catalogue": from_list, "fake": by_hand}
L4 = ResourceRequest(accelerators=(Accelerators("L4", 1),))


@pytest.fixture(params=sorted(MAKERS))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> OfferSource:
    """Make each source in turn."""
    return MAKERS[request.param](tmp_path)


async def test_every_offer_has_the_hardware_asked_for(source: OfferSource) -> None:
    """Eight are not one, a CPU machine is no GPU machine, and nothing that fits is left out."""
    offers = await source.offers(L4, NOW)

    assert {(o.shape.accelerator, o.shape.accelerator_count) for o in offers} == {("L4", 1)}
    assert {(o.region.id, o.market) for o in offers} == {
        (region, market) for region in ("aws/north", "gcp/south") for market in Market
    }


async def test_no_accelerators_means_cpu_only(source: OfferSource) -> None:
    """A request without accelerators gets no GPU."""
    offers = await source.offers(ResourceRequest(), NOW)

    assert {o.shape.name for o in offers} == {"2vCPU-4GB"}
    assert {o.shape.accelerator for o in offers} == {None}


async def test_minimums_hold(source: OfferSource) -> None:
    """Too few vCPUs or too little memory is not offered."""
    for request in (
        ResourceRequest(accelerators=L4.accelerators, min_vcpus=5),
        ResourceRequest(accelerators=L4.accelerators, min_memory_gib=17),
        ResourceRequest(min_vcpus=3),
    ):
        assert list(await source.offers(request, NOW)) == []


async def test_infra_holds(source: OfferSource) -> None:
    """Whoever names a provider or a region gets no other."""
    for infra in ("aws", "aws/north", "*/north"):
        offers = await source.offers(ResourceRequest(accelerators=L4.accelerators, infra=infra), NOW)
        assert {o.region.id for o in offers} == {"aws/north"}


async def test_unpriced_offers_are_included(source: OfferSource) -> None:
    """A missing price is shown as unknown, neither left out nor made up."""
    unpriced = [o.id for o in await source.offers(L4, NOW) if o.price is None]

    assert unpriced == ["gcp/south:1xL4:spot"]


async def test_prices_have_source_kind_and_day(source: OfferSource) -> None:
    """Each number can be traced."""
    for offer in await source.offers(L4, NOW):
        if offer.price is not None:
            assert offer.price.usd_per_hour > 0
            assert offer.price.source
            assert offer.price.as_of == parse_instant("2026-05-01T00:00Z")


async def test_ids_are_unique_and_the_order_is_stable(source: OfferSource) -> None:
    """The same question gives the same list, by region, and no id twice."""
    first, second = await source.offers(L4, NOW), await source.offers(L4, NOW)
    ids = [o.id for o in first]

    assert first == second
    assert len(set(ids)) == len(ids)
    assert [o.region.id for o in first] == sorted(o.region.id for o in first)


async def test_the_fake_can_change_its_mind() -> None:
    """Tests withdraw, reprice and break it; it recovers, and remembers what it was asked."""
    fake = FakeOffers([Offer(NORTH, SHAPES.cpu(2, 4), Market.ON_DEMAND, None)])
    offer_id = "aws/north:2vCPU-4GB:on_demand"
    fake.reprice(offer_id, Price(0.1, "test", Kind.SYNTHETIC, NOW))
    (offer,) = await fake.offers(ResourceRequest(), NOW)
    assert offer.price is not None

    fake.fail("the list is gone")
    with pytest.raises(PriceUnavailable):
        await fake.offers(ResourceRequest(), NOW)
    fake.heal()
    fake.withdraw(offer_id)
    assert list(await fake.offers(ResourceRequest(), NOW)) == []
    assert len(fake.calls) == 3


async def test_the_shelf_says_why_nothing_fits(source: OfferSource) -> None:
    """A place that nobody has, an accelerator in no such number, a machine that is too small: each by name."""
    shelf = await source.shelf()
    two = ResourceRequest(accelerators=(Accelerators("L4", 2),))

    assert shelf.why_none(L4) == ""
    assert shelf.why_none(replace(L4, infra="aws/nort")) == (
        "no price list has a region aws/nort; the nearest: aws/north"
    )
    assert shelf.why_none(two) == "L4:2 is not listed anywhere (2 regions looked at); the nearest: L4:1, L4:8"
    assert shelf.why_none(replace(two, infra="gcp")) == (
        "L4:2 is not listed in gcp (1 region looked at); the nearest: L4:1"
    )
    assert shelf.why_none(replace(L4, min_memory_gib=99.0)) == (
        "no machine anywhere has 99 GiB as well (2 regions looked at)"
    )
