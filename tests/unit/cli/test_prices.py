"""``greenctl prices`` against the world in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.carbon import Kind
from orchestrator.domain.offer import Offer
from orchestrator.domain.places import Region
from orchestrator.domain.price import Market, Price
from orchestrator.domain.shelf import Shelf
from orchestrator.prices.fake import FakeInterruptions, FakeOffers
from orchestrator.prices.spot_advisor import InterruptionBand
from orchestrator.settings import Settings
from tests.unit.cli.samples import NOW
from tests.unit.cli.world import CPU, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two regions, nothing deployed."""
    return World(tmp_path)


def test_prices_have_source_age_and_kind(world: World) -> None:
    """The cheapest first, and the mark of a synthetic price is explained."""
    lines = world.run("prices").stdout.splitlines()

    assert lines[1].split()[:4] == ["INFRA", "SHAPE", "MARKET", "$/h"]
    assert [text.split()[0] for text in lines[2:4]] == ["local/de", "local/se"]
    assert any("s synthetic" in text for text in lines)


def test_the_document_has_every_number(world: World) -> None:
    """Who says it, when, and how old it is."""
    (first, _) = world.document("prices")["prices"]

    assert first["offer_id"] == "local/de:2vCPU-4GB:on_demand"
    assert (first["usd_per_hour"], first["kind"], first["source"]) == (0.085, "synthetic", "test list")
    assert first["age_seconds"] == 0
    assert first["usd_per_accelerator_hour"] is None


def test_a_price_that_is_not_believed_says_why(world: World) -> None:
    """The offer stays, without a price."""
    region = Region("local/xx", None, None, "unknown")
    note = "on-demand 0.001 USD/h is below 0.02: not a list price"
    world.offers.put(Offer(region, CPU, Market.ON_DEMAND, None, price_note=note))
    result = world.run("prices")

    assert "local/xx:2vCPU-4GB:on_demand not believed: on-demand 0.001 USD/h" in " ".join(result.stdout.split())
    assert world.document("prices")["prices"][-1]["usd_per_hour"] is None


def test_what_nobody_sells_is_an_error_with_the_way_out(world: World) -> None:
    """Status 5, and what was asked for by name."""
    result = world.run("prices", "--accelerators", "H100:8", "--region", "aws/*")

    assert result.exit_code == 5
    assert "no list has an offer of that in aws/*" in result.stderr
    assert world.run("prices", "--accelerators", "H100:many").exit_code == 2


def test_rows_can_be_limited(world: World) -> None:
    """The page says how many there are."""
    shown = world.run("prices", "--limit", "1").stdout

    assert "Shown 1 of 2" in shown
    assert "local/se" not in shown


# ── how often spot machines were taken back ──────────────────────────────────────────────────────────

BAND = InterruptionBand("10-15%", 0.1, 0.15, 0.62, "aws-spot-advisor", NOW - timedelta(hours=3))


class Down(FakeOffers):
    """A list over which somebody tells prices of the moment, who turns out to be down when asked."""

    async def shelf(self) -> Shelf:
        """Tell of it once it is known."""
        return replace(await super().shelf(), troubles=("spot: nobody answers",) if self.calls else ())


def test_who_did_not_answer_is_named(tmp_path: Path) -> None:
    """Whether somebody answers is known once he was asked."""
    world = World(tmp_path, offers=Down())

    assert world.document("prices")["troubles"] == ["spot: nobody answers"]


@dataclass
class Spotty(World):
    """A world with spot machines, and somebody who knows how often one of them was taken back."""

    fails: str = ""

    def __post_init__(self) -> None:
        """Sell two kinds of them in one region of AWS."""
        super().__post_init__()
        region = Region("aws/north", "SE", 1.1, "test")
        for market, machine, usd in ((Market.ON_DEMAND, "c6i.large", 0.08), (Market.SPOT, "c6i.large", 0.03)):
            self.offers.put(Offer(region, CPU, market, Price(usd, "test list", Kind.SYNTHETIC, NOW), machine))
        other = Region("aws/south", "ES", 1.1, "test")
        self.offers.put(Offer(other, CPU, Market.SPOT, Price(0.04, "test list", Kind.SYNTHETIC, NOW), "c6i.large"))

    def interruptions(self, settings: Settings) -> FakeInterruptions:
        """Know one of them."""
        del settings
        return FakeInterruptions({("aws/north", "c6i.large"): BAND}, self.fails)


def test_spot_machines_say_how_often_they_were_taken_back(tmp_path: Path) -> None:
    """With source and age; unknown is a question mark, and on demand there is nothing to say."""
    world = Spotty(tmp_path)
    page = world.run("prices").stdout.splitlines()
    cells = {(row[0], row[2]): row for row in (text.split() for text in page[2:7])}

    assert "TAKEN BACK" in page[1]
    assert "10-15%" in cells["aws/north", "spot"]
    assert "?" in cells["aws/south", "spot"]
    assert not {"?", "10-15%"} & set(cells["aws/north", "on-demand"][:7])
    assert any("within the month before; aws-spot-advisor, 3h 00m old." in text for text in page)

    found = {one["offer_id"]: one["interruptions"] for one in world.document("prices")["prices"]}
    assert found["aws/north:2vCPU-4GB:spot"] == {
        "label": "10-15%",
        "low_fraction": 0.1,
        "high_fraction": 0.15,
        "saving_fraction": 0.62,
        "source": "aws-spot-advisor",
        "as_of": found["aws/north:2vCPU-4GB:spot"]["as_of"],
    }
    assert (found["aws/south:2vCPU-4GB:spot"], found["aws/north:2vCPU-4GB:on_demand"]) == (None, None)


def test_prices_are_shown_when_nobody_tells_how_often(tmp_path: Path) -> None:
    """The reason is there in place of the column, and nothing is taken for seldom."""
    result = Spotty(tmp_path, fails="advisor.example answers to come back later (429)").run("prices")

    assert result.exit_code == 0
    assert "TAKEN BACK" not in result.stdout
    assert "advisor.example answers to come back later (429)" in " ".join(result.stdout.split())


def test_nobody_is_asked_how_often_without_a_word(world: World) -> None:
    """Neither on the page nor in the document."""
    assert "TAKEN BACK" not in world.run("prices").stdout
    assert {one["interruptions"] for one in world.document("prices")["prices"]} == {None}
