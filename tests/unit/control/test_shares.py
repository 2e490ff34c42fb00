"""Shares by origin: each origin's row reaches the table, canaries included, and the nearest truth of a grid decides."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.control.grid import ZoneView
from orchestrator.control.market import nearest_to_now
from orchestrator.control.observe import Watch
from orchestrator.control.shares import SHIFT_EVERY_SECONDS, Shares, rtts_of
from orchestrator.control.traffic import routes_for
from orchestrator.domain.carbon import CarbonSeries, Reading
from orchestrator.domain.crossover import Crossover
from orchestrator.domain.offer import Candidate
from orchestrator.domain.replica import Replica
from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.service import ClientArea
from orchestrator.domain.time import HOUR
from orchestrator.planner.promise import weights_of
from orchestrator.planner.split import Place
from tests.builders import MINUTE, NOON, candidate, intensity, record, replica, service_spec


def at(found: Candidate, latitude: float, longitude: float) -> Candidate:
    """Put an offer somewhere on Earth."""
    region = replace(found.offer.region, latitude=latitude, longitude=longitude)
    return replace(found, offer=replace(found.offer, region=region))


SE, VA = at(candidate("aws/se", 30.0), 59.3, 18.1), at(candidate("aws/va", 400.0), 39.0, -77.4)
OFFERS = {c.offer.id: c.offer for c in (SE, VA)}
GRID: dict[str, Reading] = {"SE": intensity("SE", 30.0), "VA": intensity("VA", 400.0)}
CLIENTS = (ClientArea("eu", 0.5), ClientArea("us-east", 0.5))
SPEC = service_spec(2, clients=CLIENTS)
LOAD = LoadSeen(60.0, 4.0, 8.0, 2)


def come_to_rest(shares: Shares, replicas: list[Replica], clients: tuple[ClientArea, ...] = CLIENTS) -> str:
    """Look as often as traffic takes to come to rest; return all that was told."""
    spec, told = replace(SPEC, clients=clients), []
    for n in range(12):
        seconds = 1.0 + n * SHIFT_EVERY_SECONDS
        told.append(shares.look(spec, replicas, OFFERS, GRID, LOAD, Watch(), NOON, seconds))
    return "; ".join(filter(None, told))


def test_each_origin_has_its_own_row_in_the_table() -> None:
    """Europe goes to the clean place whole; the other one takes what the dirty one must have, from nearby."""
    shares, pair = Shares(), [replica(SE, 0, name="se"), replica(VA, 1, name="va")]
    told = come_to_rest(shares, pair)
    rows = shares.rows("chat", pair)
    assert rows["eu"]["va"] == 0
    assert rows["us-east"]["va"] > 0
    assert "by origin: eu to aws/se" in told
    found = routes_for(record(SPEC), pair, {}, GRID, (), shares.weights("chat", pair), rows)
    assert {row.origin: dict(row.weights) for row in found.rows} == rows


def test_one_origin_is_served_as_ever() -> None:
    """No rows, and the weights of the one split."""
    shares, pair = Shares(), [replica(SE, 0, name="se"), replica(VA, 1, name="va")]
    come_to_rest(shares, pair, (ClientArea("eu", 1.0),))
    bare = Shares()
    come_to_rest(bare, pair, ())
    assert shares.rows("chat", pair) == {} == bare.rows("chat", pair)
    assert shares.weights("chat", pair) == bare.weights("chat", pair)


def test_a_canary_takes_its_step_of_each_row() -> None:
    """A replacement has its slot's part of every row, and none where the slot has none."""
    shares, pair = Shares(), [replica(SE, 0, name="se"), replica(VA, 1, name="va")]
    come_to_rest(shares, pair)
    new = replica(VA, 1, name="new", replaces="va", weight_percent=10, up_for=MINUTE)
    three = [*pair, new]
    rows = shares.rows("chat", three)
    assert rows["us-east"]["new"] == rows["us-east"]["va"]
    found = routes_for(record(SPEC), three, {}, GRID, (), shares.weights("chat", three), rows)
    eu, us = ({**dict(row.weights)} for row in found.rows)
    assert eu["new"] == 0 == eu["va"]
    assert 0 < us["new"] < us["va"]


def test_who_is_left_of_a_row_takes_all_of_it() -> None:
    """The only place of a row is lost: those that had none of it serve, evenly."""
    shares, pair = Shares(), [replica(SE, 0, name="se"), replica(VA, 1, name="va")]
    come_to_rest(shares, pair)
    shares.look(SPEC, pair[1:], OFFERS, GRID, LOAD, Watch(), NOON, 5000.0)
    assert shares.rows("chat", pair[1:]) == {}
    assert shares.weights("chat", pair[1:]) == {"va": 100}


def test_origins_named_twice_are_one() -> None:
    """Weights add up; a place whose coordinates nobody knows has no round trip."""
    assert weights_of((*CLIENTS, ClientArea("eu", 0.5))) == {"eu": 1.0, "us-east": 0.5}
    place = Place("aws/x:1xL4:on_demand", 1, None, None, None, None)  # type: ignore[arg-type]
    assert rtts_of(CLIENTS, [place], {}) == {"eu": {place.offer_id: None}, "us-east": {place.offer_id: None}}


@pytest.mark.parametrize(
    ("hours", "max_age", "grams"), [(1, 6 * HOUR, 90.0), (4, 6 * HOUR, 30.0), (1, timedelta(hours=1), 30.0)]
)
def test_shares_believe_a_value_for_as_long_as_moves_do(hours: int, max_age: timedelta, grams: float) -> None:
    """Beyond the learnt crossover the forecast of the present counts; one too old to count is not made young by it."""
    reading = intensity("SE", 30.0, start=NOON - 3 * HOUR)
    ahead = CarbonSeries("SE", (intensity("SE", 90.0, start=NOON),))
    view = ZoneView("SE", reading, CarbonSeries("SE", ()), ahead, None, None, Crossover(hours))
    found = nearest_to_now(view, max_age, NOON)
    assert getattr(found, "grams_per_kwh", None) == grams
