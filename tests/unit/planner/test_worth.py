"""What a move is worth in dollars, by the policy's weights and in water: terms that add up to what the rules judge."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from orchestrator.cli.render.worth import worth
from orchestrator.domain.decision import MoveComparison
from orchestrator.domain.offer import Candidate
from orchestrator.domain.service import Objective, Policy, WeighedTerm
from orchestrator.planner.moves import NET_SCORE
from orchestrator.planner.plan import plan
from orchestrator.planner.snapshot import Snapshot
from tests.builders import GREEN, NOON, candidate, recomputed, replica, snapshot
from tests.strategies import settled_worlds

SCORED = Policy(
    name="scored",
    objective=Objective.LOWEST_SCORE,
    max_extra_cost_fraction=None,
    weigh=(
        WeighedTerm("usd_per_hour", 1.0, "USD/h"),
        WeighedTerm("grams_per_hour", 0.002, "g/h"),
        WeighedTerm("liters_per_hour", 0.5, "L/h"),
    ),
)


def wet(region: str, grams: float, wue: float | None, usd: float = 1.0) -> Candidate:
    """Make an offer whose operator publishes how much water it takes."""
    made = candidate(region, grams, usd=usd)
    return replace(made, offer=replace(made.offer, region=replace(made.offer.region, wue_liters_per_kwh=wue)))


def comparison(here: Candidate, there: Candidate, policy: Policy) -> MoveComparison:
    """Weigh the only move there is."""
    (found,) = plan(snapshot([here, there], [replica(here)]), policy, NOON).decision.comparisons
    return found


@given(settled_worlds())
def test_every_sum_is_the_one_that_is_judged(world_and_policy: tuple[Snapshot, Policy]) -> None:
    """In any world: the terms of dollars add up to the net in dollars, and each is its formula on its factors."""
    world, policy = world_and_policy
    for found in plan(world, policy, NOON).decision.comparisons:
        size = max(1.0, *(abs(t.amount) for t in found.usd_terms), 1.0)
        assert bool(found.usd_terms) == (found.net_usd is not None)
        if found.net_usd is not None:
            assert sum(t.amount for t in found.usd_terms) == pytest.approx(found.net_usd, abs=1e-6 * size)
        for term in (*found.usd_terms, *found.score_terms):
            assert recomputed(term) == pytest.approx(term.amount, abs=1e-9 * size)


def test_the_terms_of_a_score_add_up_to_what_the_rule_judges() -> None:
    """Score over the horizon, rent paid twice, and the grams of the move at the policy's own price."""
    found = comparison(wet("aws/pl", 700.0, 1.5, usd=2.0), wet("aws/se", 30.0, 0.1), SCORED)
    judged = next(v.value for v in found.verdicts if v.rule == NET_SCORE)
    assert sum(t.amount for t in found.score_terms) == pytest.approx(judged, abs=1e-9)
    assert [t.name for t in found.score_terms] == ["score", "start rent", "drain rent", "its carbon"]


def test_water_is_reported_and_weighed_where_the_policy_says_so() -> None:
    """Two places that differ by nothing else: the wet one is left, by a policy that weighs water only."""
    dry, thirsty = wet("aws/dry", 100.0, 0.0), wet("aws/wet", 100.0, 2.0)
    moved = comparison(thirsty, dry, SCORED)
    assert moved.water is not None
    litres = 2.0 * (60 + 240 * (1 - 2.718281828459045 ** (-1))) / 1000
    assert moved.water.amount == pytest.approx(24 * litres)
    assert recomputed(moved.water) == pytest.approx(moved.water.amount)
    assert next(v.value or 0.0 for v in moved.verdicts if v.rule == NET_SCORE) > 0
    assert not comparison(thirsty, dry, GREEN).approved


def test_water_that_nobody_publishes_is_not_none_at_all() -> None:
    """Unknown is not zero: not weighed as dry, but out, with its reason; and no sum of litres is shown."""
    here, dark = wet("aws/pl", 700.0, 1.0), wet("aws/se", 30.0, None)
    made = plan(snapshot([here, dark], [replica(here)]), SCORED, NOON)
    assert made.decision.comparisons == ()
    (out,) = [a for a in made.decision.assessments if a.region == "aws/se"]
    assert out.excluded_because == "liters_per_hour unknown, and liters_per_hour is weighed"
    assert comparison(here, dark, GREEN).water is None
    assert plan(snapshot([dark], [replica(dark)]), GREEN, NOON).totals.liters_per_hour is None


def test_water_follows_the_energy_of_the_machines_and_not_of_the_building() -> None:
    """WUE is litres per kWh of IT energy: the PUE changes nothing."""
    offers = [wet("aws/se", 30.0, 1.2)]
    plain = plan(snapshot(offers, [replica(offers[0])]), GREEN, NOON).totals.liters_per_hour
    region = replace(offers[0].offer.region, pue=2.0)
    hot = replace(offers[0], offer=replace(offers[0].offer, region=region))
    assert plan(snapshot([hot], [replica(hot)]), GREEN, NOON).totals.liters_per_hour == plain
    assert plain is not None
    assert plain > 0


def test_each_sum_is_shown_on_a_line() -> None:
    """With its terms, so that it can be added up by hand."""
    found = comparison(wet("aws/pl", 700.0, 1.5, usd=2.0), wet("aws/se", 30.0, 0.1), SCORED)
    words = "\n".join(str(getattr(part, "renderable", part)) for part in worth(found))
    assert "In dollars: 24 rent" in words
    assert "In water" in words
    assert worth(replace(found, usd_terms=(), score_terms=(), water=None)) == []
