"""Whose traffic goes where: promises kept by origin, capacity shared, grams first and then the way."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.hardware import PowerModel
from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.split import OriginSplit
from orchestrator.planner.origins import best_rows, next_rows, totals_of
from orchestrator.planner.sizing.capacity import Capacity
from orchestrator.planner.sizing.replica_model import Knowledge, ReplicaModel
from orchestrator.planner.split import MOST_SHIFTED, Place, best_split, most_part

POWER = PowerModel(100.0, 600.0, 8.0, "test", 0.1, "test")
MODEL = ReplicaModel("simple", 0.010, 0.0001, 1e-7, 10_000.0, 100_000, None, Knowledge.FITTED, 0.05, "test")
PROMISE = Capacity(64, (MODEL,), 0.2)
LOAD = LoadSeen(60.0, 4.0, 8.0, 2, prompt_tokens=500.0, output_tokens=200.0)
HALVES = {"eu": 0.5, "us-east": 0.5}


def place(name: str, grams: float | None, capacity: Capacity = PROMISE, replicas: int = 1) -> Place:
    """Make a place of the usual machine."""
    return Place(f"aws/{name}:1xL4:on_demand", replicas, POWER, 1.2, grams, capacity)


SE, VA = place("se", 30.0), place("va", 400.0)
FAR = {"eu": {SE.offer_id: 20.0, VA.offer_id: 180.0}, "us-east": {SE.offer_id: 180.0, VA.offer_id: 20.0}}


def row_of(found: OriginSplit, origin: str) -> dict[str, float]:
    """Return the parts of a row by region."""
    (row,) = (r for r in found.rows if r.origin == origin)
    return {offer.split(":")[0].removeprefix("aws/"): part for offer, part in row.parts}


def test_each_origin_is_served_where_its_promise_is_kept() -> None:
    """The clean place is too far for one of them: the other goes there whole, and that one stays near."""
    found = best_rows([SE, VA], HALVES, FAR, LOAD)
    assert row_of(found, "eu") == {"se": pytest.approx(1.0), "va": 0.0}
    assert row_of(found, "us-east") == {"se": 0.0, "va": pytest.approx(1.0)}
    assert found.differs
    assert found.rtt_ms == pytest.approx(20.0)
    assert "eu to aws/se 100 % (20 ms)" in found.rows[0].words


def test_without_a_promise_the_totals_are_those_of_the_one_split_and_the_ways_are_short() -> None:
    """Grams come first: as few as one split for all emits; then nobody is sent farther than that takes."""
    free = [replace(p, capacity=Capacity(64, (MODEL,))) for p in (SE, VA)]
    found, split = best_rows(free, HALVES, FAR, LOAD), best_split(free, LOAD)
    assert found.grams_per_hour == pytest.approx(split.grams_per_hour)
    assert row_of(found, "eu")["se"] == pytest.approx(1.0)
    assert row_of(found, "us-east")["va"] == pytest.approx(0.1)  # what shows that the dirty place is well


def test_an_origin_that_nobody_can_serve_in_time_takes_what_is_left() -> None:
    """Its promise cannot be kept; it keeps nobody else from theirs, and it is said."""
    far = {**FAR, "au": {SE.offer_id: 300.0, VA.offer_id: 250.0}}
    found = best_rows([SE, VA], {"eu": 0.45, "us-east": 0.45, "au": 0.1}, far, LOAD)
    assert [r.is_hopeless for r in found.rows] == [True, False, False]
    assert row_of(found, "us-east")["va"] == pytest.approx(1.0)
    assert "later than promised" in found.rows[0].words


def test_a_place_near_to_few_clients_gets_no_more_than_those() -> None:
    """A fiftieth of them: less than any place gets otherwise, and no reason to have no rows."""
    found = best_rows([SE, VA], {"eu": 0.02, "us-east": 0.98}, FAR, replace(LOAD, requests_per_second=2.0))
    assert row_of(found, "eu") == {"se": pytest.approx(1.0), "va": 0.0}
    assert row_of(found, "us-east") == {"se": 0.0, "va": pytest.approx(1.0)}


@pytest.mark.parametrize(
    ("places", "weights", "trips", "load", "word"),
    [
        ([SE, VA], {"eu": 1.0}, FAR, LOAD, "one place"),
        ([SE, VA], HALVES, FAR, None, "no load"),
        ([SE], HALVES, FAR, LOAD, "one offer"),
        ([SE, replace(VA, grams_per_kwh=None)], HALVES, FAR, LOAD, "carbon intensity"),
        ([SE, VA], HALVES, {**FAR, "eu": {SE.offer_id: None, VA.offer_id: 1.0}}, LOAD, "round trip"),
        ([SE, VA], HALVES, FAR, replace(LOAD, output_tokens=None), "first token"),
        ([SE, VA], HALVES, FAR, replace(LOAD, requests_per_second=500.0), "no sharing"),
    ],
    ids=["one-origin", "no-load", "one-offer", "dark", "no-rtt", "no-model", "too-much"],
)
def test_what_is_unknown_or_cannot_be_has_no_rows(
    places: list[Place],
    weights: dict[str, float],
    trips: dict[str, dict[str, float | None]],
    load: LoadSeen | None,
    word: str,
) -> None:
    """Then the one split serves everybody, as it does without origins, and why is said."""
    found = best_rows(places, weights, trips, load)
    assert found.rows == ()
    assert word in found.why_none


def test_rows_move_by_steps_and_what_breaks_a_promise_moves_at_once() -> None:
    """From even: the far half of each origin is late and goes home at once; without a promise it takes steps."""
    even = {o: {SE.offer_id: 0.5, VA.offer_id: 0.5} for o in HALVES}
    parts, target = next_rows(even, [SE, VA], HALVES, FAR, LOAD)
    assert parts == {r.origin: dict(r.parts) for r in target.rows}
    free = [replace(p, capacity=Capacity(64, (MODEL,))) for p in (SE, VA)]
    steps, held = 0, even
    while True:
        later, target = next_rows(held, free, HALVES, FAR, LOAD)
        assert max(sum(abs(later[o][i] - held[o][i]) for i in held[o]) / 2 for o in held) <= MOST_SHIFTED + 1e-9
        assert all(sum(own.values()) == pytest.approx(1.0) for own in later.values())
        if later == held:
            break
        held, steps = later, steps + 1
    assert 1 < steps < 10
    assert totals_of(held, HALVES)[SE.offer_id] > 0.9


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Place], dict[str, float], dict[str, dict[str, float]], LoadSeen]:
    """Two or three places, two or three origins at any distance, and any load."""
    names = [f"z{n}" for n in range(draw(st.integers(2, 3)))]
    places = [
        place(
            n,
            draw(st.floats(0, 900)),
            Capacity(draw(st.integers(8, 64)), (MODEL,), draw(st.sampled_from((None, 0.15, 0.3)))),
            draw(st.integers(1, 2)),
        )
        for n in names
    ]
    origins = ["eu", "in", "us"][: draw(st.integers(2, 3))]
    weights = {o: draw(st.integers(1, 9)) / 10 for o in origins}
    trips = {o: {p.offer_id: float(draw(st.integers(1, 250))) for p in places} for o in origins}
    load = LoadSeen(60.0, draw(st.floats(0.1, 20)), 8.0, 2, prompt_tokens=300.0, output_tokens=draw(st.floats(5, 300)))
    return places, weights, trips, load


@given(worlds())
@settings(max_examples=25, deadline=None)
def test_mass_is_conserved_and_no_origin_is_beyond_its_limit(
    world: tuple[list[Place], dict[str, float], dict[str, dict[str, float]], LoadSeen],
) -> None:
    """Every row adds up; no place takes more than is kept of the promise to anyone whom it serves; order is nothing."""
    places, weights, trips, load = world
    found = best_rows(places, weights, trips, load)
    backwards = best_rows(places[::-1], dict(reversed(weights.items())), dict(reversed(trips.items())), load)
    assert backwards == found
    if not found.rows:
        return
    shares = {r.origin: r.weight for r in found.rows}
    assert sum(shares.values()) == pytest.approx(1.0)
    totals = totals_of({r.origin: dict(r.parts) for r in found.rows}, shares)
    for row in found.rows:
        assert sum(part for _, part in row.parts) == pytest.approx(1.0)
        for one in places:
            if dict(row.parts)[one.offer_id] > 1e-6 and not row.is_hopeless:
                most = most_part(replace(one, rtt_ms=trips[row.origin][one.offer_id]), load, 1.0)
                assert totals[one.offer_id] <= min(1.0, most) + 1e-6


@given(worlds(), st.floats(1, 100))
@settings(max_examples=20, deadline=None)
def test_origins_that_are_equally_far_get_the_grams_of_the_one_split(
    world: tuple[list[Place], dict[str, float], dict[str, dict[str, float]], LoadSeen], ms: float
) -> None:
    """Where all round trips are the same, rows emit what the one split does: checked against dynamic programming."""
    places, weights, trips, load = world
    equal = {o: dict.fromkeys(own, ms) for o, own in trips.items()}
    split = best_split([replace(p, rtt_ms=ms) for p in places], load)
    found = best_rows(places, weights, equal, load)
    if found.rows and not any(r.is_hopeless for r in found.rows) and split.grams_per_hour is not None:
        assert found.grams_per_hour == pytest.approx(split.grams_per_hour, rel=1e-6)


def test_no_sharing_on_the_lattice_emits_less() -> None:
    """Against all totals of two places with the promises of two origins, counted by hand."""
    tight = Capacity(64, (MODEL,), 0.13)
    places = [place("se", 30.0, tight), place("va", 400.0, tight)]
    trips = {"eu": {places[0].offer_id: 10.0, places[1].offer_id: 30.0}, "us-east": dict.fromkeys(FAR["eu"], 25.0)}
    found = best_rows(places, HALVES, trips, LOAD)
    most = {
        (o, p.offer_id): most_part(replace(p, rtt_ms=trips[o][p.offer_id]), LOAD, 1.0)
        for o, p in product(HALVES, places)
    }
    best = min(
        places[0].grams_at(LOAD, k / 100) + places[1].grams_at(LOAD, 1 - k / 100)
        for k in range(5, 96)
        if all(
            any(part <= most[o, p.offer_id] for p, part in zip(places, (k / 100, 1 - k / 100), strict=True))
            for o in HALVES
        )
    )
    assert found.grams_per_hour == pytest.approx(best)
