from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from orchestrator.bench.planner.worlds import Size, random_world
from orchestrator.errors import InvalidProgram
from orchestrator.planner.optimum.certify import certify
from orchestrator.planner.optimum.conflict import find_conflict
from orchestrator.planner.optimum.dominance import without_beaten
from orchestrator.planner.optimum.duality import price
from orchestrator.planner.optimum.fallback import frozen, greedy, shifted
from orchestrator.planner.optimum.judge import judge
from orchestrator.planner.optimum.plan import Rung
from orchestrator.planner.optimum.problem import Problem, Rules, Weights, canonical, open_offers, weigh
from orchestrator.planner.optimum.relay import Relay, legs_of
from orchestrator.planner.optimum.routing import carried, routed
from orchestrator.planner.optimum.solve import solve
from tests.optimum_reference import linear_optimum, stage_cost, unhurried

TYPICAL = Size(20, 10, 24)


def no_time() -> float:
    return 0.0


def tiny(**changes: object) -> Problem:
    """Two regions, one offer each, two steps; ``clean`` is out of reach of nobody and dearer to rent."""
    plain = {
        "start": random_world(Size(1, 1, 1), 0).start,
        "step_hours": np.ones(2),
        "regions": ("clean", "dirty"),
        "origins": ("users",),
        "offers": ("clean:card:on_demand", "dirty:card:on_demand"),
        "region_of": np.array([0, 1]),
        "spot": np.array([False, False]),
        "capacity": np.array([100.0, 100.0]),
        "quota": np.array([5.0, 5.0]),
        "running": np.zeros(2),
        "rent_usd": np.array([[2.0, 2.0], [1.0, 1.0]]),
        "rent_grams": np.array([[10.0, 10.0], [400.0, 400.0]]),
        "start_usd": np.full((2, 2), 0.5),
        "start_grams": np.full((2, 2), 5.0),
        "end_usd": np.zeros(2),
        "end_grams": np.zeros(2),
        "traffic_grams": np.array([[0.1, 0.1], [1.0, 1.0]]),
        "demand": np.array([[150.0, 90.0]]),
        "rtt_ms": np.array([[20.0, 30.0]]),
        "rtt_budget_ms": np.array([100.0]),
        "shortfall": np.full(2, 1e3),
        "exposure": np.full(2, 1e3),
        "weights": Weights(1.0, 0.0),
        "rules": Rules(max_replicas=4),
    }
    return Problem(**{**plain, **changes})  # type: ignore[arg-type]


# ── what is chosen ───────────────────────────────────────────────────────────────────────────────────────


def test_money_and_grams_choose_differently() -> None:
    """The cheap region wins by dollars, the clean one by grams, and the cost is the sum that a person would make."""
    by_usd, by_grams = solve(tiny(), unhurried), solve(tiny(weights=Weights(0.0, 1.0)), unhurried)

    assert by_usd.plan.first_step() == {"dirty:card:on_demand": 2}
    assert by_usd.objective == pytest.approx(2 * 1.0 + 2 * 0.5 + 1.0)
    assert by_grams.plan.first_step() == {"clean:card:on_demand": 2}
    assert by_grams.objective == pytest.approx(3 * 10.0 + 2 * 5.0 + 0.1 * 240.0)
    assert by_usd.rung is by_grams.rung is Rung.EXACT
    assert by_usd.gap == 0.0


def test_latency_keeps_traffic_near() -> None:
    """A region beyond the budget carries nothing, however cheap it is."""
    answer = solve(tiny(rtt_ms=np.array([[20.0, 130.0]])), unhurried)

    assert answer.plan.first_step() == {"clean:card:on_demand": 2}


def test_losing_the_largest_region_leaves_what_was_asked_for() -> None:
    """With full survival, each region can carry all demand alone."""
    answer = solve(tiny(rules=Rules(surviving_fraction=1.0, max_replicas=4)), unhurried)

    assert answer.plan.first_step() == {"clean:card:on_demand": 2, "dirty:card:on_demand": 2}
    assert answer.exposed_tokens == 0.0


def test_a_running_replica_stays_where_a_move_does_not_pay() -> None:
    """Starting elsewhere costs more than two hours of the difference, so what runs goes on."""
    dear_start = np.full((2, 2), 5.0)
    answer = solve(tiny(running=np.array([2.0, 0.0]), start_usd=dear_start), unhurried)

    assert answer.plan.first_step() == {"clean:card:on_demand": 2}


def test_the_end_of_the_horizon_counts() -> None:
    """What comes after the last step can make the dearer region the better one to be in."""
    answer = solve(tiny(end_usd=np.array([0.0, 9.0])), unhurried)

    assert answer.plan.replicas.tolist() == [[0.0, 1.0], [2.0, 0.0]]


def test_spot_stays_below_its_share() -> None:
    """Half on spot at most, although spot is cheaper."""
    answer = solve(tiny(spot=np.array([False, True]), rules=Rules(spot_fraction=0.5, max_replicas=4)), unhurried)

    assert answer.plan.first_step() == {"clean:card:on_demand": 1, "dirty:card:on_demand": 1}


def test_a_budget_is_kept_by_choosing_what_is_dirtier() -> None:
    """Greenest within the money: the clean region costs too much for both replicas."""
    greenest = Weights(0.0, 1.0)
    rules = Rules(max_replicas=4, budget_usd=4.6)
    answer = solve(tiny(weights=greenest, rules=rules), unhurried)

    replicas = answer.plan.replicas
    assert float((replicas * tiny().rent_usd).sum()) <= 4.6
    assert answer.missing_tokens == 0.0
    assert answer.bound <= answer.objective


# ── certificates ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(4))
def test_priced_columns_reach_the_optimum_of_the_whole_program(seed: int) -> None:
    """The plan over few offers is within the wanted gap of the program over all of them; its bound is below that."""
    world = canonical(random_world(Size(10, 4, 6), seed))[0]
    whole = linear_optimum(world)
    relaxed = certify(world, weigh(world), unhurried, 0.005)

    assert relaxed is not None
    assert relaxed.bound <= whole * (1 + 1e-7)
    assert whole * (1 - 1e-7) <= relaxed.objective <= whole * 1.006


@pytest.mark.parametrize("seed", range(3))
def test_days_in_a_relay_are_as_good_as_the_whole_horizon(seed: int) -> None:
    """Three days, solved one by one, come within the wanted gap of all at once, and to the optimum where none is."""
    world = canonical(random_world(Size(8, 4, 72), seed))[0]
    whole, weighed = linear_optimum(world), weigh(world)
    near, exact = certify(world, weighed, unhurried, 0.005), certify(world, weighed, unhurried, 0.0)

    assert near is not None
    assert exact is not None
    assert (near.relay.legs, legs_of(world)) == (3, 3)
    assert near.bound <= whole * (1 + 1e-7)
    assert whole * (1 - 1e-7) <= near.objective <= whole * 1.006
    assert exact.objective == pytest.approx(whole, rel=1e-6)


def test_every_pass_of_a_relay_is_a_plan_with_a_bound() -> None:
    """Nothing is free between two days: what runs at night runs in the morning, or is started again."""
    world = canonical(random_world(Size(6, 3, 48), 3))[0]
    whole, weighed = linear_optimum(world), weigh(world)
    relay = Relay(world, weighed, open_offers(world), 2)
    costs, bounds = [], []
    for _ in range(4):
        assert relay.forward(unhurried)
        plan = relay.solution()
        verdict = judge(world, weighed, plan.replicas, plan.traffic)
        assert verdict.broken == ()
        costs.append(verdict.objective)
        assert relay.backward(unhurried)
        bounds.append(price(world, weighed, relay.prices()).bound)

    assert max(bounds) <= whole * (1 + 1e-7)
    assert min(costs) >= whole * (1 - 1e-7)
    assert min(costs) - max(bounds) < costs[0] - bounds[0]


def test_money_for_all_days_is_not_cut_into_days() -> None:
    """A budget spans the horizon, so its program does, too."""
    world = random_world(Size(2, 2, 96), 0)

    assert legs_of(world) == 4
    assert legs_of(replace(world, rules=Rules(budget_usd=1e6))) == 1


def test_days_without_anything_for_sale_have_a_plan_of_nothing() -> None:
    """What cannot be bought is left over, in every leg."""
    world = random_world(Size(2, 2, 48), 0)
    answer = solve(replace(world, quota=np.zeros(len(world.offers))), unhurried)

    assert not answer.plan.replicas.any()
    assert answer.missing_tokens == pytest.approx(world.demand.sum(axis=0).max())


@pytest.mark.parametrize("seed", range(3))
def test_a_typical_service_is_certified(seed: int) -> None:
    """A plan of twenty regions keeps every rule, serves everybody, and says how far from the best it can be at most."""
    world = random_world(TYPICAL, seed)
    answer = solve(world, unhurried)
    verdict = judge(world, weigh(world), answer.plan.replicas, answer.plan.traffic)

    assert answer.rung is Rung.CERTIFIED
    assert answer.linear_gap <= 0.005
    assert answer.gap <= 0.05
    assert verdict.broken == ()
    assert verdict.objective == pytest.approx(answer.objective, rel=1e-12)
    assert answer.conflict is None
    assert np.array_equal(answer.plan.replicas[:, 0], np.rint(answer.plan.replicas[:, 0]))


def test_the_time_that_is_left_decides_the_rung() -> None:
    """Without any time the answer is a fallback; with a little it has a bound; with enough it is certified."""
    world = random_world(TYPICAL, 1)
    seconds_left = iter([9.0, 9.0, 9.0])
    nothing, some, enough = (
        solve(world, no_time),
        solve(world, lambda: next(seconds_left, 0.0)),
        solve(world, unhurried),
    )

    assert nothing.rung is Rung.GREEDY
    assert some.rung in {Rung.BOUNDED, Rung.GREEDY}
    assert enough.rung is Rung.CERTIFIED
    assert enough.objective <= some.objective <= nothing.objective
    assert nothing.bound <= some.bound <= enough.objective


# ── fallbacks ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(6))
def test_every_fallback_keeps_every_rule(seed: int) -> None:
    """The previous plan, greedy and what runs break nothing, whatever is limited."""
    world = random_world(Size(8, 4, 6), seed)
    plan = solve(world, unhurried).plan
    rules = Rules(0.5, 0.4, budget_usd=150.0 + 100.0 * seed, starts_per_step=(6.0,) * 6, max_replicas=12)
    later = replace(world, rules=rules, start=world.start + timedelta(hours=1))
    weighed = weigh(later)
    for replicas in (
        shifted(later, plan),
        greedy(later, weighed, shifted(later, plan)),
        greedy(later, weighed, np.zeros_like(plan.replicas)),
        frozen(later),
    ):
        verdict = judge(later, weighed, replicas, carried(later, weighed, replicas))
        assert verdict.broken == ()


def test_the_previous_plan_moves_on_with_the_clock() -> None:
    """An hour later, the first step is what the plan had for its second, rounded up."""
    world = replace(random_world(TYPICAL, 0), rules=Rules())
    plan = solve(world, unhurried).plan
    later = replace(world, start=world.start + timedelta(hours=1))

    assert np.array_equal(shifted(later, plan)[:, 0], np.ceil(plan.replicas[:, 1] - 1e-6))


def test_routing_without_a_program_carries_as_much() -> None:
    """Greedy routing with augmenting paths leaves no more over than the cheapest routing does."""
    world = random_world(TYPICAL, 2)
    weighed = weigh(world)
    replicas = np.floor(solve(world, unhurried).plan.replicas * 0.9)
    left = [
        world.demand.sum() - traffic.sum()
        for traffic in (routed(world, weighed, replicas, 60.0), carried(world, weighed, replicas))
    ]

    assert left[1] == pytest.approx(left[0], abs=1e-6 * world.demand.sum())
    assert left[0] > 0.0


# ── conflicts ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"rules": Rules(max_replicas=1)}, "max_replicas"),
        ({"rules": Rules(max_replicas=4, budget_usd=1.0)}, "budget_usd"),
        ({"rules": Rules(max_replicas=4, starts_per_step=(1.0, 4.0))}, "starts_per_step"),
        ({"quota": np.array([1.0, 0.0])}, "quota"),
        ({"rtt_ms": np.array([[120.0, 130.0]])}, "latency"),
        ({"spot": np.array([True, True]), "rules": Rules(max_replicas=4, spot_fraction=0.2)}, "spot_fraction"),
        ({"quota": np.array([0.0, 5.0]), "rules": Rules(1.0, max_replicas=3)}, None),
    ],
    ids=["replicas", "budget", "starts", "quota", "latency", "spot", "two-at-once"],
)
def test_rules_that_cannot_hold_are_named(changes: dict[str, object], rule: str | None) -> None:
    """The fewest rules to give up come with what they would have to allow; the plan still breaks nothing."""
    world = tiny(**changes)
    answer = solve(world, unhurried)

    assert answer.conflict is not None
    named = [relaxation.rule for relaxation in answer.conflict.relax]
    assert named == ([rule] if rule else ["surviving_fraction"])
    assert all(relaxation.needs for relaxation in answer.conflict.relax)
    assert judge(world, weigh(world), answer.plan.replicas, answer.plan.traffic).broken == ()


def islands(rules: Rules) -> Problem:
    """Eight regions, each with half a replica's worth of clients that reach no other one."""
    n = 8
    zeros = {name: np.zeros((n, 1)) for name in ("rent_grams", "start_usd", "start_grams", "traffic_grams")}
    names = tuple(f"island{i}" for i in range(n))
    return tiny(
        step_hours=np.ones(1),
        regions=names,
        origins=names,
        offers=tuple(f"{name}:card:on_demand" for name in names),
        region_of=np.arange(n),
        spot=np.zeros(n, dtype=bool),
        capacity=np.full(n, 100.0),
        quota=np.full(n, 5.0),
        running=np.zeros(n),
        rent_usd=np.ones((n, 1)),
        **zeros,
        end_usd=np.zeros(n),
        end_grams=np.zeros(n),
        demand=np.full((n, 1), 50.0),
        rtt_ms=np.where(np.eye(n) > 0, 10.0, 500.0),
        rtt_budget_ms=np.full(n, 50.0),
        shortfall=np.ones(1),
        exposure=np.ones(1),
        rules=rules,
    )


def test_what_a_rule_would_have_to_allow_is_enough_for_whole_replicas() -> None:
    """Four would do in halves, which is less than the five that are allowed; nobody can buy halves."""
    answer = solve(islands(Rules(max_replicas=5)), unhurried)

    assert answer.conflict is not None
    assert [(r.rule, r.needs) for r in answer.conflict.relax] == [("max_replicas", "8 replicas")]
    assert answer.conflict.text == "all demand could be covered without max_replicas"


def test_a_rule_that_holds_for_halves_alone_is_named_with_the_conflict() -> None:
    """Three dollars pay for three of the four that halves add up to; and whole ones are eight, where five may be."""
    answer = solve(islands(Rules(max_replicas=5, budget_usd=3.0)), unhurried)

    assert answer.conflict is not None
    assert [(r.rule, r.needs) for r in answer.conflict.relax] == [("budget_usd", "8.00 USD")]
    assert answer.conflict.text.endswith("; in whole replicas max_replicas may have to give way, too")


def test_without_time_a_conflict_is_said_to_be_unexplored() -> None:
    """No time means no claim about which rule is to blame, but the shortfall is told."""
    answer = solve(tiny(rules=Rules(max_replicas=1)), no_time)

    assert answer.missing_tokens == pytest.approx(50.0)
    assert answer.conflict is not None
    assert answer.conflict.relax == ()
    assert "no time" in answer.conflict.text


def test_a_solver_that_had_no_time_proves_nothing() -> None:
    """Nobody says that demand stays uncovered, because a solver came back with empty hands."""
    found = find_conflict(random_world(Size(3, 2, 2), 0), lambda _lifted: None, lambda: 1.0)

    assert found.relax == ()
    assert "no time" in found.text


# ── input ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"offers": ("same", "same")}, "'same' is there twice"),
        ({"demand": np.array([[np.nan, 1.0]])}, "demand holds a number that is missing"),
        ({"demand": np.array([[1.0]])}, "demand has the shape"),
        ({"capacity": np.array([0.0, 1.0])}, "capacity and step_hours"),
        ({"quota": np.array([0.5, 1.0])}, "whole replicas"),
        ({"rent_usd": -np.ones((2, 2))}, "negative"),
        ({"region_of": np.array([0, 2])}, "outside the regions"),
        ({"rules": Rules(spot_fraction=1.5)}, "spot_fraction is 1.5"),
        ({"rules": Rules(starts_per_step=(1.0,))}, "starts_per_step needs 2"),
        ({"rules": Rules(budget_usd=float("nan"))}, "budget_usd"),
        ({"offers": (), "region_of": np.empty(0, int)}, "needs a region"),
    ],
)
def test_a_problem_that_cannot_be_is_refused_by_name(changes: dict[str, object], named: str) -> None:
    """What is wrong is said before anything is planned; unknown numbers are not zero."""
    with pytest.raises(InvalidProgram, match=named):
        tiny(**changes)


def test_a_beaten_offer_is_not_even_looked_at() -> None:
    """An offer that another one beats in everything leaves the lattice."""
    world = tiny(region_of=np.array([0, 0]), rent_grams=np.full((2, 2), 10.0), rules=Rules(max_replicas=2))

    assert without_beaten(world, weigh(world)).quota.tolist() == [0.0, 5.0]


def test_what_makes_room_for_spot_is_not_beaten_by_what_is_sold_out() -> None:
    """Of the cheaper offer two are sold, enough for all who are near: the dearer one still lets spot in elsewhere."""
    world = tiny(
        step_hours=np.ones(1),
        origins=("here", "there"),
        offers=("clean:card:on_demand", "clean:other:on_demand", "dirty:card:spot"),
        region_of=np.array([0, 0, 1]),
        spot=np.array([False, False, True]),
        capacity=np.full(3, 100.0),
        quota=np.array([2.0, 100.0, 100.0]),
        running=np.zeros(3),
        rent_usd=np.array([[1.0], [1.1], [0.3]]),
        **{name: np.zeros((3, 1)) for name in ("rent_grams", "start_usd", "start_grams")},
        **{name: np.zeros(3) for name in ("end_usd", "end_grams")},
        traffic_grams=np.zeros((2, 1)),
        demand=np.array([[1.0], [99.0]]),
        rtt_ms=np.array([[10.0, 500.0], [500.0, 10.0]]),
        rtt_budget_ms=np.full(2, 50.0),
        shortfall=np.ones(1),
        exposure=np.ones(1),
        rules=Rules(spot_fraction=0.2),
    )
    by_hand = judge(world, weigh(world), np.array([[2.0], [2.0], [1.0]]), np.array([[[1.0], [0.0]], [[0.0], [99.0]]]))
    answer = solve(world, unhurried)

    assert by_hand.broken == ()
    assert by_hand.objective == pytest.approx(2 * 1.0 + 2 * 1.1 + 0.3)
    assert answer.bound <= by_hand.objective
    assert answer.objective == pytest.approx(by_hand.objective)
    assert answer.conflict is None
    plenty = replace(world, quota=np.full(3, 100.0))
    assert without_beaten(plenty, weigh(plenty)).quota.tolist() == [100.0, 0.0, 100.0]


def test_the_reference_agrees_with_a_sum_by_hand() -> None:
    """The plain reference counts rent, traffic and shortfall as a person would."""
    cost = stage_cost(tiny(weights=Weights(1.0, 1.0)), np.array([0.0, 1.0]), 0)

    assert cost == pytest.approx(1.0 + 400.0 + 1.0 * 100.0 + 1e3 * 50.0)


_DIGEST = """
from orchestrator.bench.planner.worlds import Size, random_world
from orchestrator.planner.optimum.solve import solve
for size in (Size(12, 6, 8), Size(12, 6, 48)):
    print(solve(random_world(size, 5), lambda: float("inf")).plan.digest)
"""


def test_plans_are_equal_byte_by_byte_in_every_process() -> None:
    """Neither the hash seed nor the number of threads is in a plan."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, threads in (("0", "1"), ("1", "2"), ("77", "4"))
    }

    assert len(digests) == 1
