"""A place that is near to clients by the promise is one that the rows can send them to, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.service import ClientArea, ModelSpec, Scaling
from orchestrator.planner.judged import judge
from orchestrator.planner.promise import Promised, promised, trip_seconds
from orchestrator.planner.rows import rows_of
from orchestrator.planner.sizing.share import capacity_on
from orchestrator.planner.snapshot import Snapshot
from orchestrator.policy.latency import AREAS, rtt_by_area
from orchestrator.prices.shapes import ShapeCatalogue
from tests.builders import GREEN, NOON, candidate, service_spec, snapshot

CATALOGUE = ShapeCatalogue.packaged()
SHAPES = [CATALOGUE.accelerated(name, 1, None, None) for name in ("L4", "A100-80GB", "H100")]
WHERE = ("eu", "us-east", "us-west", "au")

sold = st.lists(
    st.tuples(st.sampled_from(SHAPES), st.sampled_from(WHERE), st.floats(10.0, 600.0)), min_size=2, max_size=4
)
clients = st.lists(st.sampled_from(WHERE), min_size=2, max_size=3, unique=True)


def _world(
    offers: Sequence[tuple[object, str, float]],
    areas: Sequence[str],
    ms: float,
    places: int,
    busy: float,
    output: float,
) -> Snapshot:
    """What is sold, with as much load as keeps so much (0..1) of one replica of each busy."""
    found = []
    for number, (shape, site, grams) in enumerate(offers):
        one = candidate(f"aws/r{number}", grams, on=shape, zone=f"Z{number}")  # type: ignore[arg-type]
        latitude, longitude = AREAS[site]
        region = replace(one.offer.region, latitude=latitude, longitude=longitude)
        found.append(replace(one, offer=replace(one.offer, region=region)))
    spec = replace(
        service_spec(1),
        model=ModelSpec("Qwen/Qwen3-8B", args=(("max_num_seqs", places),)),
        ttft_p95=timedelta(milliseconds=ms),
        scaling=Scaling(1, 9),
        clients=tuple(ClientArea(area, 1 / len(areas)) for area in areas),
    )
    one_each = LoadSeen(600.0, 1.0, 1.0, 1, prompt_tokens=200.0, output_tokens=output)
    most = sum(1 / capacity_on(spec, [c.offer.shape]).offered(one_each).replicas for c in found)
    return snapshot(found, (), spec, load=replace(one_each, requests_per_second=busy * most))


def _near(snap: Snapshot, kept: Promised) -> Mapping[str, frozenset[str]]:
    """To whom each offer is near; where one place is near to all, only places that are are let in."""
    everybody = frozenset(c.near for c in snap.spec.clients)
    return kept.near or {i: everybody if v.passed else frozenset() for i, v in kept.verdicts.items()}


def _first_token_ms(snap: Snapshot, area: str) -> float:
    """The least time to the first token of clients there at the first place that is sold."""
    offer = snap.candidates[0].offer
    assert snap.load is not None
    serving = capacity_on(snap.spec, [offer.shape]).serving_seconds(snap.load)
    trip = rtt_by_area(snap.spec.clients, offer.region)[area]
    assert serving is not None
    assert trip is not None
    return 1000.0 * serving + trip


@settings(deadline=None, max_examples=150)
@given(
    sold,
    clients,
    st.floats(-90.0, 60.0),
    st.sampled_from([8, 64, 256]),
    st.floats(0.02, 0.6),
    st.floats(20.0, 600.0),
    st.data(),
)
def test_who_is_near_by_the_promise_is_never_hopeless_in_the_rows(
    offers: Sequence[tuple[object, str, float]],
    areas: Sequence[str],
    slack_ms: float,
    places: int,
    busy: float,
    output: float,
    data: st.DataObject,
) -> None:
    """And whom the rows send where their promise is kept, the promise calls near: one formula of the engine for both.

    The promise is drawn about what the first place can just keep to somebody.
    """
    easy = _world(offers, areas, 1e6, places, busy, output)
    ms = max(1.0, _first_token_ms(easy, areas[0]) + slack_ms)
    snap = replace(easy, spec=replace(easy.spec, ttft_p95=timedelta(milliseconds=ms)))
    kept = promised(snap)
    near = _near(snap, kept)
    able = sorted(i for i in near if kept.verdicts[i].passed)
    assume(able)
    others = data.draw(st.lists(st.sampled_from(sorted(near)), min_size=1, max_size=3))
    chosen = [data.draw(st.sampled_from(able)), *others]
    found = rows_of(judge(snap, GREEN, NOON), chosen)
    assert found is not None
    for row in found.rows:
        assert row.is_hopeless is not any(row.origin in near[i] for i in chosen)


@settings(deadline=None)
@given(st.sampled_from(SHAPES), st.floats(1.0, 4000.0), st.floats(1.0, 4000.0), st.floats(0.001, 100.0))
def test_what_no_replica_mends_is_the_least_that_sizing_ever_counts(
    shape: object, prompt: float, output: float, rate: float
) -> None:
    """Any number of replicas waits for nothing less, and does not come below it; the rate says nothing of it."""
    spec = replace(service_spec(1), model=ModelSpec("Qwen/Qwen3-8B"))
    capacity = capacity_on(spec, [shape])  # type: ignore[list-item]
    load = LoadSeen(600.0, rate, 1.0, 1, prompt_tokens=prompt, output_tokens=output)
    serving = capacity.serving_seconds(load)
    assert serving is not None
    assert serving == capacity.serving_seconds(replace(load, requests_per_second=2 * rate))
    many = 4 * capacity.replicas_for(load)
    assert capacity.ttft_seconds(load, many) == pytest.approx(serving)
    assert all((capacity.ttft_seconds(load, n) or 0.0) >= serving for n in range(1, 4))


def test_a_fuller_batch_counts_for_nearness_too() -> None:
    """An L4 reads 200 tokens and takes a step alone in 154 ms, and in 216 ms of a full batch: users see the latter."""
    snap = _world([(SHAPES[0], "eu", 30.0)], ("eu", "us-east"), 216.0, 256, 0.1, 150.0)
    (offer,) = (c.offer for c in snap.candidates)
    assert promised(snap).near[offer.id] == frozenset()
    later = replace(snap, spec=replace(snap.spec, ttft_p95=timedelta(milliseconds=217)))
    assert promised(later).near[offer.id] == {"eu"}
    assert trip_seconds(later.spec, offer, later.load) == pytest.approx(0.001)
