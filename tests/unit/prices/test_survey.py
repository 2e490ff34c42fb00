"""All that is for sale, in one list."""

from __future__ import annotations

from pathlib import Path

from orchestrator.domain.places import Region
from orchestrator.domain.price import Market
from orchestrator.domain.service import Accelerators, ResourceRequest
from orchestrator.domain.time import parse_instant
from orchestrator.prices.catalogue import CatalogueOffers
from orchestrator.prices.shapes import ShapeCatalogue
from orchestrator.prices.survey import everything, survey

NOW = parse_instant("2031-03-01T12:00Z")
LIST = """\
cloud,region,zone,instance_type,accelerator,accelerator_count,vcpus,memory_gib,ondemand_usd_per_hour,spot_usd_per_hour,as_of,note
gcp,south,a,g2-standard-4,L4,1,4,16,0.70,,2031-02-27,
aws,north,a,g6.48xlarge,L4,8,192,768,4.80,2.40,2031-02-28,
aws,north,a,c6i.large,,,2,4,0.085,0.03,2031-02-28,
"""


def source(folder: Path) -> CatalogueOffers:
    """Read the list."""
    path = folder / "offers.csv"
    path.write_text(LIST, encoding="utf-8")
    regions = [Region("aws/north", "SE", 1.1, "test"), Region("gcp/south", "PL", None, "unknown")]
    return CatalogueOffers(path, {r.id: r for r in regions}, ShapeCatalogue.packaged())


async def test_everything_is_each_accelerator_in_each_number_and_a_cpu(tmp_path: Path) -> None:
    """In the order of names and numbers, each once."""
    assert everything(await source(tmp_path).shelf()) == (
        ResourceRequest(accelerators=(Accelerators("L4", 1),)),
        ResourceRequest(accelerators=(Accelerators("L4", 8),)),
        ResourceRequest(),
    )


async def test_the_cheapest_accelerator_comes_first_and_the_unknown_last(tmp_path: Path) -> None:
    """Eight for 2.40 are cheaper each than one for 0.70; no price is no zero."""
    offers = source(tmp_path)
    accelerated = everything(await offers.shelf())[:2]
    lines = await survey(offers, accelerated, NOW)

    assert [(one.offer_id, one.usd_per_accelerator_hour) for one in lines] == [
        ("aws/north:8xL4:spot", 0.3),
        ("aws/north:8xL4:on_demand", 0.6),
        ("gcp/south:1xL4:on_demand", 0.7),
        ("gcp/south:1xL4:spot", None),
    ]
    assert lines[0].age_seconds == 36 * 3600
    assert lines[0].source == "offers.csv: g6.48xlarge in a"
    assert (lines[3].usd_per_hour, lines[3].age_seconds, lines[3].kind) == (None, None, None)


async def test_it_can_be_narrowed_to_places_and_a_market(tmp_path: Path) -> None:
    """Patterns are of region ids."""
    offers = source(tmp_path)
    wanted = everything(await offers.shelf())

    spot = await survey(offers, wanted, NOW, regions=["aws/*"], market=Market.SPOT)
    assert {one.offer_id for one in spot} == {"aws/north:8xL4:spot", "aws/north:2vCPU-4GB:spot"}
    assert await survey(offers, wanted, NOW, regions=["azure/*"]) == ()
