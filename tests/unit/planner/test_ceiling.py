"""Moves that are not weighed in full change nothing: held against weighing every one of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

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
from orchestrator.planner.voluntary import MOST_COMPARISONS, net_of, weigh_moves
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
    """Make forty places, dirty, dear, unknown or like each other, and five replicas on some of them."""
    chance = random.Random(f"ceiling {seed}")
    places = []
    for n in range(40):
        grams = chance.choice([30.0, 300.0, chance.uniform(10.0, 900.0)])
        ahead = [max(1.0, grams * chance.uniform(0.3, 2.0)) for _ in range(chance.choice([3, 24, 24]))]
        usd = chance.choice([1.0, chance.uniform(0.1, 3.0), chance.uniform(0.1, 3.0), None])
        places.append(candidate(f"aws/p{n:02d}", grams, ahead=[grams, *ahead], usd=usd))
    standing = chance.sample(places, 5)
    hours = [chance.choice([0.5, 12.0, 300.0]) for _ in standing]
    replicas = [
        replica(on, n, up_for=timedelta(hours=h)) for n, (on, h) in enumerate(zip(standing, hours, strict=True))
    ]
    crowding = chance.choice([None, 1])
    spec = service_spec(
        5,
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
        others = [r.region for r in judged.snapshot.replicas if r.name != standing.name]
        for assessment in judged.assessments:
            there = judged.side(assessment.offer_id)
            if assessment.offer_id == standing.offer_id or not assessment.allowed or there is None:
                continue
            room = limit is None or others.count(assessment.region) < limit
            yield compare(standing, here, there, judged.snapshot, judged.policy, NOON), room


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

    assert [(c.replica, c.to_offer) for c in found.shown] == in_order(open_to, judged)
    approved = {(c.replica, c.to_offer) for c in open_to if c.approved}
    assert {(c.replica, c.to_offer) for c in found.comparisons if c.approved} == approved
    assert saved_by([*found.comparisons, *found.crowded], judged) == saved_by([c for c, _ in everything], judged)


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


def test_most_moves_are_left_out() -> None:
    """Or it would be no help: of replicas that stand well, a few dozen of nearly two thousand are weighed."""
    places = [candidate(f"aws/p{n:03d}", 30.0 + 3.0 * n) for n in range(200)]
    replicas = [replica(on, n) for n, on in enumerate(places[:10])]
    spec = service_spec(10, placement=PlacementRules(max_per_region=1))
    judged = judge(snapshot(places, replicas, spec), GREEN, NOON)
    found = weigh_moves(judged, judged.snapshot.occupants())

    assert len(found.shown) == MOST_COMPARISONS
    assert len(found.comparisons) + len(found.crowded) < 200


def saved_by(comparisons: Sequence[MoveComparison], judged: Judged) -> dict[str, float]:
    """Return what the best move of each replica saves, of those that save anything."""
    best: dict[str, float] = {}
    for comparison in comparisons:
        net = net_of(comparison, judged.policy.objective)
        if net is not None and net > 0:
            best[comparison.replica] = max(net, best.get(comparison.replica, 0.0))
    return best
