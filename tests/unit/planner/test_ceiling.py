"""Moves that are not weighed in full change nothing: held against weighing every one of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from math import inf

import pytest

from orchestrator.domain.decision import MoveComparison
from orchestrator.domain.service import (
    MigrationRules,
    Objective,
    PlacementRules,
    Policy,
    WeighedTerm,
    WhenUnknown,
)
from orchestrator.domain.time import HOUR
from orchestrator.planner.ceiling import most_saved, running
from orchestrator.planner.judged import Judged, judge
from orchestrator.planner.moves import compare, weighable
from orchestrator.planner.voluntary import MOST_COMPARISONS, net_of, outlook_of, weigh_moves
from tests.builders import GREEN, NOON, candidate, replica, service_spec, snapshot

SCORED = replace(
    GREEN,
    objective=Objective.LOWEST_SCORE,
    weigh=(
        WeighedTerm("usd_per_hour", 1.0, "USD/h", WhenUnknown.LAST),
        WeighedTerm("ahead_grams_per_hour", 0.001, "g/h", WhenUnknown.LAST),
    ),
)
POLICIES = {
    "greenest": GREEN,
    "greenest of an hour": replace(GREEN, horizon=HOUR),
    "cheapest": replace(GREEN, objective=Objective.CHEAPEST),
    "by score": SCORED,
}


def world_of(seed: int, policy: Policy) -> Judged:
    """Make forty places, dirty, dear, unknown or like each other, and seven replicas on five of them."""
    chance = random.Random(f"ceiling {seed}")
    places = []
    for n in range(40):
        grams = chance.choice([30.0, 300.0, chance.uniform(10.0, 900.0)])
        ahead = [max(1.0, grams * chance.uniform(0.3, 2.0)) for _ in range(chance.choice([3, 24, 24]))]
        usd = chance.choice([1.0, chance.uniform(0.1, 3.0), chance.uniform(0.1, 3.0), None])
        places.append(candidate(f"aws/p{n:02d}", grams, ahead=[grams, *ahead], usd=usd))
    standing = chance.sample(places, 5)
    standing += chance.choices(standing, k=2)
    hours = [chance.choice([0.5, 12.0, 300.0]) for _ in standing]
    replicas = [
        replica(on, n, up_for=timedelta(hours=h)) for n, (on, h) in enumerate(zip(standing, hours, strict=True))
    ]
    crowding = chance.choice([None, 1])
    spec = service_spec(
        7,
        placement=PlacementRules(max_per_region=crowding),
        migration=MigrationRules(enabled=chance.random() < 0.8),
    )
    made = snapshot(places, replicas, spec, clock_rate=chance.choice([1.0, 60.0]))
    return judge(made, policy, NOON)


def all_of(judged: Judged) -> Iterator[tuple[MoveComparison, bool]]:
    """Weigh every move in full, and say whether there is room for it."""
    limit = judged.snapshot.spec.placement.max_per_region
    for standing in judged.snapshot.replicas:
        here = judged.side(standing.offer_id)
        if here is None or not weighable(here, NOON):
            continue
        paths = partial(outlook_of, judged, judged.snapshot.occupants(), standing)
        others = [r.region for r in judged.snapshot.replicas if r.name != standing.name]
        for assessment in judged.assessments:
            there = judged.side(assessment.offer_id)
            if assessment.offer_id == standing.offer_id or not assessment.allowed or there is None:
                continue
            room = limit is None or others.count(assessment.region) < limit
            yield compare(standing, here, there, judged.snapshot, judged.policy, NOON, None, paths), room


def in_order(found: Sequence[MoveComparison], judged: Judged) -> list[tuple[str, str]]:
    """Return the moves that would be shown, by what is written in the decision record about their order."""

    def key(c: MoveComparison) -> tuple[bool, float, float, str, str]:
        net = net_of(c, judged.policy.objective)
        first = float("inf") if net is None else -net
        usd = float("inf") if c.net_usd is None else -c.net_usd
        second = -c.net_grams if judged.policy.objective is Objective.CHEAPEST else usd
        return (not c.approved, first, second, c.replica, c.to_offer)

    return [(c.replica, c.to_offer) for c in sorted(found, key=key)[:MOST_COMPARISONS]]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("seed", range(8))
def test_what_is_left_out_changes_nothing(seed: int, policy: Policy) -> None:
    """The moves that are shown, the best of them, and what each replica could save are those of weighing them all."""
    judged = world_of(seed, policy)
    everything = list(all_of(judged))
    open_to = [c for c, room in everything if room]
    found = weigh_moves(judged, judged.snapshot.occupants())

    assert [(c.replica, c.to_offer) for c in found.comparisons] == in_order(open_to, judged)
    in_full = {(c.replica, c.to_offer): c for c in open_to}
    assert [replace(c, likelihood=None) for c in found.comparisons] == [
        in_full[c.replica, c.to_offer] for c in found.comparisons
    ]
    best = next((c for c in found.comparisons if c.approved), None)
    assert found.best == best
    assert (best is None) == (not any(c.approved for c in open_to))
    assert {name: most for name, most in found.saves.items() if most} == saved_by([c for c, _ in everything], judged)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("seed", range(8))
def test_time_that_is_up_makes_the_best_move_or_none(seed: int, policy: Policy) -> None:
    """However few moves there was time for: what is made then is what would be, and nobody is said to save less."""
    judged = world_of(seed, policy)
    whole = weigh_moves(judged, judged.snapshot.occupants())
    for steps in range(0, 120, 3):
        left = iter([1.0] * steps)
        found = weigh_moves(judged, judged.snapshot.occupants(), lambda left=left: next(left, 0.0))  # type: ignore[misc]
        if not found.in_time:
            assert found.best is None
            continue
        assert found.best == whole.best
        assert all(found.saves[name] >= most for name, most in whole.saves.items())
        assert found.saves == whole.saves or not found.is_whole


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_no_move_saves_more_than_it_could_at_most(policy: Policy) -> None:
    """The bound holds for each move of a hundred worlds' worth of places, and rests on the same figures."""
    judged = world_of(99, policy)
    rate = judged.snapshot.clock_rate
    for comparison, _ in all_of(judged):
        here, there = judged.side(comparison.from_offer), judged.side(comparison.to_offer)
        assert here is not None
        assert there is not None
        bound = most_saved(running(here, policy, NOON, rate), running(there, policy, NOON, rate), policy.objective)
        net = net_of(comparison, policy.objective)
        assert net is None or net <= bound
        assert bound >= 0 or not comparison.approved


class Count:
    """All the time there is, and how often somebody asked for it: once for each move that is weighed."""

    asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return inf


def test_most_moves_are_left_out() -> None:
    """Or it would be no help: of replicas that stand well, a few dozen of nearly two thousand are weighed."""
    places = [candidate(f"aws/p{n:03d}", 30.0 + 3.0 * n) for n in range(200)]
    replicas = [replica(on, n) for n, on in enumerate(places[:10])]
    spec = service_spec(10, placement=PlacementRules(max_per_region=1))
    judged = judge(snapshot(places, replicas, spec), GREEN, NOON)
    count = Count()
    found = weigh_moves(judged, judged.snapshot.occupants(), count)

    assert len(found.comparisons) == MOST_COMPARISONS
    assert count.asked < 200


FLEETS = {
    "side by side": (0, MigrationRules()),
    "each elsewhere": (300, MigrationRules()),
    "each elsewhere, moved enough today": (300, MigrationRules(max_moves_per_day=0)),
}


@pytest.mark.parametrize(("apart", "rules"), FLEETS.values(), ids=FLEETS)
def test_a_fleet_s_best_move_is_found_among_sixty_thousand(apart: int, rules: MigrationRules) -> None:
    """Three hundred replicas on coal, two hundred cleaner places: one in forty is weighed at most, the best is made."""
    coal = [candidate(f"aws/c{n:03d}", 800.0 + n / 10) for n in range(max(1, apart))]
    clean = [candidate(f"aws/p{n:03d}", 30.0 + 2.0 * n) for n in range(200)]
    replicas = [replica(coal[n % len(coal)], n) for n in range(300)]
    world = snapshot([*coal, *clean], replicas, service_spec(300, migration=rules))
    count = Count()
    found = weigh_moves(judge(world, GREEN, NOON), world.occupants(), count)

    assert count.asked < 1500
    assert len(found.comparisons) == MOST_COMPARISONS
    assert (found.best is None) == (rules.max_moves_per_day == 0)
    first = found.comparisons[0]
    assert first.to_offer.startswith("aws/p000:")
    assert first.from_offer.startswith("aws/c299:" if apart else "aws/c000:")
    assert min(found.saves.values()) > 0
    assert len(found.saves) == 300


def saved_by(comparisons: Sequence[MoveComparison], judged: Judged) -> dict[str, float]:
    """Return what the best move of each replica saves, of those that save anything."""
    best: dict[str, float] = {}
    for comparison in comparisons:
        net = net_of(comparison, judged.policy.objective)
        if net is not None and net > 0:
            best[comparison.replica] = max(net, best.get(comparison.replica, 0.0))
    return best
