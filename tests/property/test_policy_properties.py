"""What every policy with rules and weights keeps to, in any world."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import tests.hypothesis_profiles  # noqa: F401  # loads the profile
from orchestrator.codec import to_json
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.offer import Candidate
from orchestrator.domain.plan import Plan
from orchestrator.domain.service import Objective, OfferRule, Policy, WeighedTerm, WhenUnknown
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.plan import plan
from orchestrator.planner.snapshot import Snapshot
from orchestrator.policy.assess import assess_all
from tests.builders import GREEN, NOON, PROVIDERS, applied, service_spec, snapshot
from tests.strategies import offer_lists, settled_worlds

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

RULES = st.lists(
    st.builds(
        OfferRule,
        name=st.sampled_from(["one", "two", "three"]),
        only_if=st.sampled_from(
            [
                "grams_per_kwh <= 200",
                "usd_per_hour < 3 || market == 'spot'",
                "ahead_grams_per_hour <= grams_per_hour * 1.2",
                "age_minutes < 60",
                "zone in ['SE', 'FR', 'DE']",
                "rtt_ms < 50",
                "provider != 'gcp'",
            ]
        ),
        if_unknown=st.sampled_from([WhenUnknown.EXCLUDE, WhenUnknown.KEEP]),
    ),
    max_size=2,
    unique_by=lambda rule: rule.name,
).map(tuple)
TERMS = st.lists(
    st.builds(
        WeighedTerm,
        term=st.sampled_from(["usd_per_hour", "ahead_grams_per_hour", "rtt_ms", "usd_per_hour / kwh_per_hour"]),
        weight=st.sampled_from([0.001, 0.5, 1.0, 20.0]),
        unit=st.sampled_from(["", "g/h"]),
        if_unknown=st.sampled_from([WhenUnknown.EXCLUDE, WhenUnknown.LAST]),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
WEIGHED = st.builds(
    lambda rules, weigh: replace(GREEN, objective=Objective.LOWEST_SCORE, rules=rules, weigh=weigh), RULES, TERMS
)
RULED = st.builds(
    lambda rules, objective: replace(GREEN, objective=objective, rules=rules),
    RULES,
    st.sampled_from([Objective.GREENEST, Objective.CHEAPEST]),
)
POLICIES = WEIGHED | RULED


def decided(world: Snapshot, policy: Policy) -> Plan | str:
    """Plan, or return why there is no plan."""
    try:
        return plan(world, policy, NOON)
    except NoFeasiblePlacement as error:
        return f"{error.message} {error.hint()}"


@given(offer_lists(), POLICIES, st.randoms(use_true_random=False))
def test_the_order_of_offers_means_nothing(offers: tuple[Candidate, ...], policy: Policy, random: object) -> None:
    """The same plan to the letter, or the same refusal."""
    shuffled = list(offers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    before, after = (decided(snapshot(o), policy) for o in (offers, shuffled))
    assert (before if isinstance(before, str) else to_json(before)) == (
        after if isinstance(after, str) else to_json(after)
    )


@given(offer_lists(), POLICIES)
def test_what_is_bought_satisfies_every_rule_and_has_the_lowest_score(
    offers: tuple[Candidate, ...], policy: Policy
) -> None:
    """No allowed offer has a lower one; where a score is unknown nobody's is known who might be taken."""
    made = decided(snapshot(offers), policy)
    if isinstance(made, str):
        event("refused")
        return
    (action,) = made.actions
    judged = {a.offer_id: a for a in made.decision.assessments}
    chosen = judged[action.offer_id]
    assert chosen.allowed
    assert {f"policy.rules.{r.name}" for r in policy.rules} <= {v.rule for v in chosen.verdicts}
    if policy.objective is Objective.LOWEST_SCORE:
        known = [a.score_usd_per_hour for a in judged.values() if a.allowed and a.score_usd_per_hour is not None]
        event("scored" if known else "no score")
        assert chosen.score_usd_per_hour == (min(known) if known else None)


@given(offer_lists(min_size=1), POLICIES)
def test_one_more_rule_never_allows_more(offers: tuple[Candidate, ...], policy: Policy) -> None:
    """Rules only take away."""
    more = replace(policy, rules=(*policy.rules, OfferRule("more", "usd_per_hour < 2")))
    before, after = (
        {a.offer_id for a in assess_all(offers, service_spec(), p, NOON, 4.0, PROVIDERS) if a.allowed}
        for p in (policy, more)
    )
    assert after <= before


@given(offer_lists(min_size=1), RULES)
def test_a_rule_that_keeps_the_unknown_allows_whatever_one_that_excludes_it_does(
    offers: tuple[Candidate, ...], rules: tuple[OfferRule, ...]
) -> None:
    """The two words differ only where something is unknown."""
    for rule in rules:
        strict, lenient = (
            assess_all(offers, service_spec(), replace(GREEN, rules=(one,)), NOON, 4.0, PROVIDERS)
            for one in (
                replace(rule, if_unknown=WhenUnknown.EXCLUDE),
                replace(rule, if_unknown=WhenUnknown.KEEP),
            )
        )
        for a, b in zip(strict, lenient, strict=True):
            assert b.allowed or not a.allowed
            if a.allowed is not b.allowed:
                assert "unknown" in b.verdicts[-1].text or b.verdicts[-1].text.startswith(
                    ("division by zero", "too large")
                )


@given(settled_worlds(), WEIGHED)
def test_a_plan_by_score_is_a_fixed_point_once_nothing_pays(
    world_and_policy: tuple[Snapshot, Policy], policy: Policy
) -> None:
    """On a world that stands still a replica that has moved does not move back."""
    world, _ = world_and_policy
    made = decided(replace(world, moves=()), policy)
    if isinstance(made, str) or made.decision.kind is not DecisionKind.MOVE or not made.decision.comparisons:
        event("no voluntary move")
        return
    moved = made.actions[0]
    after = applied(made, world, NOON)
    settled = tuple(replace(r, ready_at=world.replicas[0].ready_at) for r in after.replicas)
    again = decided(replace(after, replicas=settled, moves=()), policy)
    event("moved")
    assert isinstance(again, str) or not any(
        a.from_region == moved.region and a.region == moved.from_region for a in again.actions
    )
