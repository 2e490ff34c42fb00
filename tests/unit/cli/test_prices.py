"""``greenctl prices`` against the world in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.offer import Offer
from orchestrator.domain.places import Region
from orchestrator.domain.price import Market
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
