"""Placing and moving by a policy's own score."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.decision import DecisionKind, MoveComparison
from orchestrator.domain.offer import Candidate
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import Objective, OfferRule, Policy, WeighedTerm, WhenUnknown
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.moves import NET_SCORE
from orchestrator.planner.plan import plan
from tests.builders import GREEN, L4, NOON, candidate, replica, service_spec, snapshot, stale

KILO = 0.001
PRICED = replace(
    GREEN,
    objective=Objective.LOWEST_SCORE,
    weigh=(
        WeighedTerm("usd_per_hour", 1.0, "USD/h", WhenUnknown.LAST),
        WeighedTerm("ahead_grams_per_hour", KILO, "g/h", WhenUnknown.LAST),
    ),
)
"""A dollar for a kilogram: far more than anybody asks, so that small numbers show it."""

KWH = L4.watts(4.0) / 1000 * 1.1


def weighed(here: Candidate, there: Candidate, policy: Policy = PRICED) -> MoveComparison:
    """Weigh one move at noon."""
    made = plan(snapshot([here, there], [replica(here)]), policy, NOON)
    return made.decision.comparisons[0]


def test_the_lowest_score_wins_at_both_ends() -> None:
    """A cleaner place may cost what its grams are worth, and no more."""
    worth = (700.0 - 30.0) * KWH * KILO
    dirty = candidate("aws/pl", 700.0, usd=1.0)
    for price, chosen in ((1.0 + worth - 0.001, "aws/se"), (1.0 + worth + 0.001, "aws/pl")):
        made = plan(snapshot([dirty, candidate("aws/se", 30.0, usd=price)]), PRICED, NOON)
        assert [a.region for a in made.actions] == [chosen]


def test_a_move_is_worth_its_score_less_what_it_costs() -> None:
    """The double run in dollars, and its grams at the policy's own price."""
    found = weighed(candidate("aws/pl", 700.0, usd=0.5), candidate("aws/se", 30.0, usd=0.5))
    (net,) = [v for v in found.verdicts if v.rule == NET_SCORE]
    assert found.approved
    assert found.move_usd is not None
    expected = (700.0 - 30.0) * KWH * KILO * 24 - found.move_usd - KILO * found.cost_grams
    assert net.value == pytest.approx(expected)


def test_the_share_asked_for_is_of_the_score() -> None:
    """Ninety-six per cent less carbon is one per cent of a dear machine."""
    found = weighed(candidate("aws/pl", 700.0, usd=20.0), candidate("aws/se", 30.0, usd=20.0))
    first = next(v for v in found.verdicts if not v.passed)
    assert (first.rule, first.text) == ("migration.min_improvement", "1% lower score, at least 15% lower asked")


def test_an_unknown_score_moves_nobody() -> None:
    """Neither from nor to a place of which it is not known."""
    policy = replace(PRICED, weigh=(WeighedTerm("rtt_ms", 1.0, "ms", WhenUnknown.LAST),))
    found = weighed(candidate("aws/pl", 700.0), candidate("aws/se", 30.0), policy)
    assert not found.approved
    assert "a score or a price is unknown" in [v.text for v in found.verdicts]


def test_offers_without_a_score_come_last_by_price() -> None:
    """Where that is what the policy says of unknown."""
    policy = replace(PRICED, weigh=(WeighedTerm("rtt_ms", 1.0, "ms", WhenUnknown.LAST),))
    offers = [candidate("aws/a", 30.0, usd=1.0), candidate("aws/b", 30.0, usd=0.5), candidate("aws/c", 30.0, usd=9.0)]
    world = snapshot(offers)
    assert [a.region for a in plan(world, policy, NOON).actions] == ["aws/b"]
    measured = replace(world, rtt_ms={"aws/c": 80.0})
    assert [a.region for a in plan(measured, policy, NOON).actions] == ["aws/c"]


def test_a_rule_evicts_nobody() -> None:
    """Who stands where a rule now says no stays until a move pays."""
    policy = replace(GREEN, rules=(OfferRule("clean", "grams_per_kwh <= 400"),))
    here, there = candidate("aws/pl", 700.0), candidate("aws/de", 690.0)
    made = plan(snapshot([here, there], [replica(here)]), policy, NOON)
    assert (made.decision.kind, made.actions) == (DecisionKind.STAY, ())


def test_what_no_offer_satisfies_is_refused_by_the_rule_s_name() -> None:
    """With the closest offer."""
    policy = replace(GREEN, rules=(OfferRule("clean", "grams_per_kwh <= 400", because="no coal"),))
    with pytest.raises(NoFeasiblePlacement, match=r"1 by policy\.rules\.clean") as caught:
        plan(snapshot([candidate("aws/pl", 700.0)]), policy, NOON)
    assert 'drop the policy\'s rule clean, "no coal" (aws/pl:1xL4:on_demand)' in caught.value.hint()


def test_a_lost_replica_is_replaced_in_the_dark_where_the_score_may_be_unknown() -> None:
    """The shipped policies of weighed terms rank the unknown last, so that serving does not wait for a signal."""
    dark = candidate("aws/se", stale("SE", 30.0), trailing=30.0)
    world = snapshot([dark], [replica(dark, state=ReplicaState.LOST)], service_spec())
    made = plan(world, PRICED, NOON, keep_up=True)
    assert [a.region for a in made.actions] == ["aws/se"]
