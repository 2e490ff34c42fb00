from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.bench.planner.worlds import Size, random_world
from orchestrator.planner.optimum.groups import proven
from orchestrator.planner.optimum.judge import judge
from orchestrator.planner.optimum.lattice import Lattice, fits
from orchestrator.planner.optimum.plan import Answer, Rung
from orchestrator.planner.optimum.problem import Problem, Rules, Weights, canonical, open_offers, weigh
from orchestrator.planner.optimum.solve import WANTED_GAP, solve
from tests.hypothesis_profiles import PROFILE
from tests.optimum_reference import cheapest_plan, linear_optimum, random_rules, small_world, unhurried

SEEDS = st.integers(0, 2**31)
LAST_DIGITS = 1e-6

FEWER = settings(max_examples=300 if PROFILE == "thorough" else 20)
"""Each example plans a world of some dozens of offers twice or more."""


def handful(seed: int) -> Problem:
    """A world that can be tried out completely: a few offers, up to four replicas, any rule but the budget."""
    draw = np.random.default_rng([1, seed])
    world = small_world(seed, replicas=float(draw.uniform(0.3, 2.5)))
    most = int(draw.integers(1, 3 if len(world.offers) > 5 else 5))
    return replace(world, rules=replace(world.rules, max_replicas=most, budget_usd=None))


def middling(seed: int) -> Problem:
    """A world of some dozens of offers, with every rule that can be."""
    draw = np.random.default_rng([2, seed])
    size = Size(int(draw.integers(2, 9)), int(draw.integers(1, 5)), int(draw.integers(1, 7)))
    world = random_world(size, seed, replicas=float(draw.uniform(0.5, 12.0)))
    return replace(world, rules=random_rules(draw, world, most=None))


def roomy(seed: int) -> Problem:
    """A world in which little may be spot, some offers are sold in any number, and each origin has a region of its own.

    There replicas on demand that serve nobody make room for spot elsewhere.
    """
    draw = np.random.default_rng([3, seed])
    regions, steps = int(draw.integers(2, 5)), int(draw.integers(1, 4))
    offers = regions * 3
    spot = np.tile([False, False, True], regions)
    dear = draw.uniform(0.5, 3.0, regions).repeat(3) * np.where(spot, 0.2, draw.uniform(1.0, 1.3, offers))
    zeros, level = np.zeros((offers, steps)), draw.uniform(0.05, 3.0, regions)
    return Problem(
        start=random_world(Size(1, 1, 1), 0).start,
        step_hours=np.ones(steps),
        regions=tuple(f"r{n}" for n in range(regions)),
        origins=tuple(f"o{n}" for n in range(regions)),
        offers=tuple(f"r{n // 3}:{n % 3}" for n in range(offers)),
        region_of=np.arange(regions).repeat(3),
        spot=spot,
        capacity=draw.choice([50.0, 100.0], offers),
        quota=draw.choice([0.0, 2.0, 4.0, 8.0, 200.0], offers),
        running=np.zeros(offers),
        rent_usd=np.tile(dear[:, None], steps),
        rent_grams=zeros,
        start_usd=zeros + draw.uniform(0.0, 1.0) * (draw.random() < 0.5),
        start_grams=zeros,
        end_usd=np.zeros(offers),
        end_grams=np.zeros(offers),
        traffic_grams=np.zeros((regions, steps)),
        demand=100.0 * level[:, None] * draw.uniform(0.2, 1.0, (regions, steps)),
        rtt_ms=np.where(np.eye(regions) + (draw.random((regions, regions)) < 0.2), 10.0, 500.0),
        rtt_budget_ms=np.full(regions, 50.0),
        shortfall=np.full(steps, 1.0),
        exposure=np.full(steps, 0.5),
        weights=Weights(1.0, 0.0),
        rules=Rules(
            spot_fraction=float(draw.uniform(0.02, 0.6)),
            surviving_fraction=float(draw.uniform(0.2, 0.8)) if draw.random() < 0.3 else None,
        ),
    )


def by_name(answer: Answer) -> dict[str, list[float]]:
    plan = answer.plan
    return {name: row.tolist() for name, row in zip(plan.offers, plan.replicas, strict=True) if row.any()}


@given(SEEDS)
def test_a_small_service_gets_the_best_plan_there_is(seed: int) -> None:
    """Trying every sequence of states finds nothing cheaper, and the answer knows that it is the best."""
    world = handful(seed)
    assume(len(world.offers) <= 9)
    answer, best = solve(world, unhurried), cheapest_plan(world)

    assert answer.rung is Rung.EXACT
    assert answer.objective == pytest.approx(best, rel=1e-9)
    assert answer.gap == pytest.approx(0.0, abs=1e-9)


@FEWER
@given(SEEDS, st.floats(0.3, 3.0))
def test_a_small_service_within_a_budget_gets_the_best_plan_there_is(seed: int, budget: float) -> None:
    """The same where money binds, to the digits that branch and bound proves."""
    world = handful(seed)
    assume(len(world.offers) <= 6)
    dear = budget * float(np.median(world.rent_usd)) * world.steps
    world = replace(world, rules=replace(world.rules, max_replicas=2, budget_usd=dear))
    answer, best = solve(world, unhurried), cheapest_plan(world)

    assert answer.objective == pytest.approx(best, rel=1e-6)
    assert answer.bound <= best * (1 + 1e-9)
    assert answer.gap <= 1e-5


@given(SEEDS)
def test_no_plan_is_cheaper_than_its_bound(seed: int) -> None:
    """The bound is below the optimum of the whole linear program, which is below the plan's own cost."""
    world = small_world(seed, replicas=6.0)
    world = replace(world, rules=replace(world.rules, max_replicas=None))
    answer, best = solve(world, unhurried), linear_optimum(world)
    slack = LAST_DIGITS * abs(best)

    assert answer.bound <= best + slack
    assert best <= answer.objective + slack


@given(SEEDS)
def test_no_plan_is_cheaper_than_its_bound_where_spot_needs_room(seed: int) -> None:
    """Offers that are left out before the search are not those whose idle replicas let spot in elsewhere."""
    world = roomy(seed)
    answer, best = solve(world, unhurried), linear_optimum(world)
    slack = LAST_DIGITS * abs(best)

    assert answer.bound <= best + slack
    assert best <= answer.objective + slack


@given(SEEDS, st.sampled_from([0, 1, 2, 3, 5, 9, 1000]))
def test_whatever_the_time_no_rule_is_broken(seed: int, looks: int) -> None:
    """The budget may run out at any look at it: the plan keeps every rule, and what is left over is owned up to."""
    world = middling(seed)
    seconds = iter([60.0] * looks)
    answer = solve(world, lambda: next(seconds, 0.0))
    verdict = judge(world, weigh(world), answer.plan.replicas, answer.plan.traffic)
    first = answer.plan.replicas[:, : answer.plan.whole_steps]

    assert verdict.broken == ()
    assert np.array_equal(first, np.rint(first))
    assert answer.bound <= answer.objective
    left_over = max(answer.missing_tokens, answer.exposed_tokens) > 1e-5 * float(world.demand.sum(axis=0).max())
    assert (answer.conflict is not None) or not left_over


@FEWER
@given(SEEDS)
def test_more_quota_never_costs_more(seed: int) -> None:
    """A world that sells more has plans at least as good, exactly for small services and within bounds for all."""
    small, large = handful(seed), middling(seed)

    less = solve(small, unhurried).objective
    assert solve(replace(small, quota=small.quota + 1.0), unhurried).objective <= less + LAST_DIGITS * abs(less)
    less = solve(large, unhurried).objective
    assert solve(replace(large, quota=large.quota + 1.0), unhurried).bound <= less + LAST_DIGITS * abs(less)


@FEWER
@given(SEEDS, st.booleans())
def test_a_beaten_offer_is_never_used(seed: int, is_small: bool) -> None:
    """A copy of an offer that costs more in every way gets no replica, nor does it change the plan."""
    world = handful(seed) if is_small else middling(seed)
    world = replace(world, quota=np.where(world.quota > 0, 1000.0, 0.0), running=np.zeros(len(world.offers)))
    arrays = ("rent_usd", "rent_grams", "start_usd", "start_grams", "end_usd", "end_grams")
    worse = {name: np.concatenate([getattr(world, name), getattr(world, name)[:1] + 1.0]) for name in arrays}
    same = {
        n: np.append(getattr(world, n), getattr(world, n)[0])
        for n in ("region_of", "spot", "capacity", "quota", "running")
    }
    with_copy = replace(world, offers=(*world.offers, "beaten"), **worse, **same)
    answer = solve(with_copy, unhurried)

    assert "beaten" not in by_name(answer)
    assert by_name(answer) == by_name(solve(world, unhurried))


@FEWER
@given(SEEDS, st.booleans())
def test_the_order_of_the_input_is_not_in_the_plan(seed: int, is_small: bool) -> None:
    """Offers, regions and origins in another order get the same replicas, digit by digit."""
    world = handful(seed) if is_small else middling(seed)
    draw = np.random.default_rng(seed)
    offers, regions, origins = (draw.permutation(len(names)) for names in (world.offers, world.regions, world.origins))
    shuffled = replace(
        world,
        offers=tuple(world.offers[i] for i in offers),
        regions=tuple(world.regions[i] for i in regions),
        origins=tuple(world.origins[i] for i in origins),
        region_of=np.argsort(regions)[world.region_of[offers]],
        traffic_grams=world.traffic_grams[regions],
        demand=world.demand[origins],
        rtt_ms=world.rtt_ms[np.ix_(origins, regions)],
        rtt_budget_ms=world.rtt_budget_ms[origins],
        **{n: getattr(world, n)[offers] for n in _BY_OFFER},
    )

    assert by_name(solve(shuffled, unhurried)) == by_name(solve(world, unhurried))


_BY_OFFER = (
    "spot",
    "capacity",
    "quota",
    "running",
    "rent_usd",
    "rent_grams",
    "start_usd",
    "start_grams",
    "end_usd",
    "end_grams",
)


@FEWER
@given(SEEDS, st.booleans())
def test_planning_the_same_world_again_changes_nothing(seed: int, is_small: bool) -> None:
    """With the plan in force, and even with its first step running, the same plan comes back."""
    world = handful(seed) if is_small else middling(seed)
    world = replace(world, rules=replace(world.rules, starts_per_step=None))
    plan = solve(world, unhurried).plan
    again = solve(world, unhurried, plan)
    running = solve(replace(world, running=plan.replicas[:, 0].copy()), unhurried, plan)

    assert again.plan.digest == plan.digest
    assert running.plan.first_step() == plan.first_step()


@FEWER
@given(SEEDS)
def test_a_relay_of_days_breaks_no_rule_and_its_bound_holds(seed: int) -> None:
    """Over two or three days, under any rule, the optimum lies between what is proven and what is planned."""
    draw = np.random.default_rng([3, seed])
    size = Size(int(draw.integers(2, 5)), int(draw.integers(1, 4)), int(draw.integers(37, 73)))
    world = random_world(size, seed, replicas=float(draw.uniform(5.0, 12.0)))
    world = replace(world, rules=replace(random_rules(draw, world), max_replicas=None))
    answer, whole = solve(world, unhurried), linear_optimum(world)

    assert answer.linear is not None
    assert answer.bound <= whole + LAST_DIGITS * abs(whole)
    assert whole - LAST_DIGITS * abs(whole) <= answer.linear
    assert answer.linear_gap <= WANTED_GAP
    assert judge(world, weigh(world), answer.plan.replicas, answer.plan.traffic).broken == ()


@given(SEEDS)
def test_a_certified_gap_is_what_it_says(seed: int) -> None:
    """Where an answer calls itself certified, its linear plan is within the wanted gap of the bound."""
    world = replace(middling(seed), rules=Rules(surviving_fraction=0.5))
    answer = solve(world, unhurried)

    assert answer.rung is Rung.CERTIFIED
    assert answer.linear_gap <= WANTED_GAP


@FEWER
@given(SEEDS)
def test_excluding_groups_of_offers_loses_nothing(seed: int) -> None:
    """What groups exclude is in no better plan: the bound is below the best of a lattice over all offers."""
    draw = np.random.default_rng([4, seed])
    size = Size(int(draw.integers(3, 7)), int(draw.integers(2, 4)), int(draw.integers(2, 6)))
    world = random_world(size, seed, replicas=float(draw.uniform(0.3, 2.0)))
    rules = random_rules(draw, world, most=int(draw.integers(1, 3)))
    world = canonical(replace(world, rules=replace(rules, budget_usd=None)))[0]
    weighed, offers = weigh(world), open_offers(world)
    assume(len(offers) >= 3 and fits(len(offers), 2))
    best = Lattice(world, weighed, offers).best()
    found, bound = proven(
        world, weighed, offers, Lattice(world, weighed, offers[:1]).best(), unhurried, room=max(2, len(offers) // 3)
    )

    assert bound <= best.cost * (1 + 1e-9)
    assert found.cost >= best.cost * (1 - 1e-9)
    assert found.cost == pytest.approx(best.cost, rel=1e-9) or bound < found.cost
