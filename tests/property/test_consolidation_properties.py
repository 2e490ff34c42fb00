"""Fewer, fuller replicas: as few as carry the load with its promises kept, where that costs least, never fewer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import combinations_with_replacement

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.hardware import Shape
from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.service import ModelSpec, Objective, Policy, Scaling, ServiceSpec
from orchestrator.planner.judged import judge
from orchestrator.planner.plan import plan
from orchestrator.planner.sizing.packaged import fitted
from orchestrator.planner.sizing.share import capacity_on, work_on
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.wanted import need
from orchestrator.prices.shapes import ShapeCatalogue
from tests.builders import GREEN, NOON, candidate, service_spec, snapshot

MEASURED = [
    (ModelSpec(family, args=(("quantization", "fp8"),) if precision == "fp8" else ()), accelerator, count)
    for family, precision, accelerator, count, _ in sorted(fitted())
    if precision != "mxfp4"
]
"""Every setup that somebody has measured, as a service would ask for it."""

CATALOGUE = ShapeCatalogue.packaged()
CHEAPEST = Policy(name="cheap", objective=Objective.CHEAPEST, max_extra_cost_fraction=None)
QWEN = ModelSpec("Qwen/Qwen3-8B")
SHAPES = [CATALOGUE.accelerated(name, 1, None, None) for name in ("L4", "A100-80GB", "H100")]
MOST = 5

setups = st.sampled_from(MEASURED)
lengths = st.tuples(st.integers(1, 4000).map(float), st.integers(20, 1500).map(float))
busy = st.floats(0.01, 20.0)
policies = st.sampled_from([GREEN, CHEAPEST])


def load(rate: float, prompt: float, output: float) -> LoadSeen:
    """A load that engines answer without anything waiting."""
    return LoadSeen(600.0, rate, 2.0 * rate, 1, 0, 0, None, prompt, output)


def world(spec: ServiceSpec, seen: LoadSeen, shapes: list[Shape], grams: list[float], usd: list[float]) -> Snapshot:
    """One offer of each shape, each on its own grid."""
    offers = [candidate(f"aws/r{k}", grams[k], on=shape, usd=usd[k], zone=f"Z{k}") for k, shape in enumerate(shapes)]
    return snapshot(offers, spec=spec, load=seen)


def sized(world: Snapshot, number: int) -> Snapshot:
    """The same with another number of replicas in force, as load sets it."""
    scaling = replace(world.spec.scaling, min_replicas=number, max_replicas=max(number, 1))
    return replace(world, spec=replace(world.spec, scaling=scaling))


@settings(deadline=None)
@given(setups, lengths, busy)
def test_the_fewest_that_keep_the_promises_draw_least(
    setup: tuple[ModelSpec, str, int], tokens: tuple[float, float], offered: float
) -> None:
    """By the batch-energy curve of every measured setup no larger number draws less.

    So the number that load wants, which is the fewest, is the greenest, too, and, as rent grows with it, the cheapest.
    """
    model, accelerator, count = setup
    shape = CATALOGUE.accelerated(accelerator, count, None, None)
    spec = replace(service_spec(), model=model)
    capacity = capacity_on(spec, [shape])
    assert capacity.models
    assert shape.power is not None
    rate = offered * capacity.models[0].requests_per_second(*tokens, capacity.places)
    before = snapshot([], spec=spec, load=load(rate, *tokens))
    assert before.load is not None
    fewest = capacity.replicas_for(before.load)
    draws = [n * work_on(before, shape, n).watts(shape.power) for n in range(fewest, 2 * fewest + 3)]
    assert all(d >= draws[0] * (1 - 1e-9) for d in draws)


@settings(deadline=None)
@given(setups, lengths, busy, st.none() | st.floats(0.05, 3.0))
def test_never_fewer_than_the_promise_needs_and_not_one_more(
    setup: tuple[ModelSpec, str, int], tokens: tuple[float, float], offered: float, ttft: float | None
) -> None:
    """What load wants carries it: no offer of that shape is said to be too small for so many; for one fewer it is."""
    model, accelerator, count = setup
    shape = CATALOGUE.accelerated(accelerator, count, None, None)
    promised = None if ttft is None else timedelta(seconds=ttft)
    spec = replace(service_spec(), model=model, scaling=Scaling(1, 1000), ttft_p95=promised)
    capacity = capacity_on(spec, [shape])
    rate = offered * capacity.models[0].requests_per_second(*tokens, capacity.places)
    seen = load(rate, *tokens)
    number = need(0.0, seen, spec.scaling, capacity).up
    assert number is not None
    before = snapshot([], spec=spec, load=seen)
    assert work_on(sized(before, number), shape).carries is True
    if number > 1:
        assert work_on(sized(before, number - 1), shape).carries is False


@settings(deadline=None)
@given(st.sampled_from(SHAPES), lengths, busy, busy, st.integers(1, 30))
def test_more_load_never_makes_a_replica_idler_or_enough(
    shape: Shape, tokens: tuple[float, float], one: float, other: float, number: int
) -> None:
    """Batch, watts and the number that it takes grow with the load; what was too small stays so."""
    spec = replace(service_spec(number), model=QWEN)
    low, high = (work_on(snapshot([], spec=spec, load=load(r, *tokens)), shape) for r in sorted((one, other)))
    assert shape.power is not None
    assert low.mean_batch <= high.mean_batch + 1e-9
    assert low.watts(shape.power) <= high.watts(shape.power) + 1e-9
    assert (low.needed or 0) <= (high.needed or 0)
    assert not (high.carries and not low.carries)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3),
    st.lists(st.floats(10.0, 900.0), min_size=3, max_size=3),
    st.lists(st.floats(0.2, 6.0), min_size=3, max_size=3),
    st.floats(0.1, 25.0),
    st.integers(1, 3),
    policies,
)
def test_a_plan_is_the_best_of_all_ways_to_seat_so_many(
    shapes: list[Shape], grams: list[float], usd: list[float], rate: float, number: int, policy: Policy
) -> None:
    """By brute force over the offers of each replica: the fewest too small ones, and among those the least cost."""
    spec = replace(service_spec(number), model=QWEN)
    before = world(spec, load(rate, 200.0, 150.0), shapes, grams, usd)
    sold = {a.offer_id: a for a in judge(before, policy, NOON).assessments}

    def cost(ids: tuple[str, ...]) -> tuple[int, float]:
        parts = [sold[i].expected_grams_per_hour if policy is GREEN else sold[i].usd_per_hour for i in ids]
        works = [sold[i].work for i in ids]
        return sum(w is not None and w.carries is False for w in works), sum(p or 0.0 for p in parts)

    ways = [cost(ids) for ids in combinations_with_replacement(sorted(sold), number)]
    small, least = cost(tuple(a.offer_id for a in plan(before, policy, NOON).actions))
    assert small == min(ways)[0]
    assert least <= min(ways)[1] * (1 + 1e-9)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(SHAPES),
    st.lists(st.floats(10.0, 900.0), min_size=3, max_size=3),
    st.lists(st.floats(0.2, 6.0), min_size=3, max_size=3),
    st.floats(0.1, 3.0),
    policies,
)
def test_number_and_offers_together_are_the_best_of_all(
    shape: Shape, grams: list[float], usd: list[float], offered: float, policy: Policy
) -> None:
    """The number that load wants, seated by the plan, costs what the best of all ways costs that carry the load."""
    spec = replace(service_spec(), model=QWEN, scaling=Scaling(1, MOST))
    capacity = capacity_on(spec, [shape])
    seen = load(offered * capacity.models[0].requests_per_second(200.0, 150.0, capacity.places), 200.0, 150.0)
    number = need(0.0, seen, spec.scaling, capacity).up
    assert number is not None
    if number > MOST:
        return
    before = world(spec, seen, [shape] * 3, grams, usd)

    def costs(count: int) -> dict[str, float]:
        judged = judge(sized(before, count), policy, NOON).assessments
        found = {a.offer_id: a.expected_grams_per_hour if policy is GREEN else a.usd_per_hour for a in judged}
        return {i: cost for i, cost in found.items() if cost is not None}

    best = min(
        sum(parts)
        for count in range(1, MOST + 1)
        if work_on(sized(before, count), shape).carries
        for parts in combinations_with_replacement(costs(count).values(), count)
    )
    made = plan(sized(before, number), policy, NOON)
    assert sum(costs(number)[a.offer_id] for a in made.actions) <= best * (1 + 1e-9)
