"""A policy's own rules and weights, applied to offers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.carbon import Gap
from orchestrator.domain.decision import Assessment
from orchestrator.domain.offer import Candidate
from orchestrator.domain.service import (
    CarbonRules,
    ClientArea,
    Objective,
    OfferRule,
    Policy,
    Scaling,
    ServiceSpec,
    WeighedTerm,
    WhenUnknown,
)
from orchestrator.planner.plan import plan
from orchestrator.policy.apply import budget_grams_per_hour, usd_per_gram
from orchestrator.policy.assess import assess_all
from orchestrator.spec.policy_file import shipped_policy
from tests.builders import GREEN, NOON, PROVIDERS, candidate, failed_rules, service_spec, snapshot

DIRTY, CLEAN = candidate("aws/pl", 700.0), candidate("aws/se", 30.0)
SILENT = candidate("aws/fi", Gap("FI", "no data", "api"), ahead=[20.0] * 24)


def ruled(only_if: str, if_unknown: WhenUnknown = WhenUnknown.EXCLUDE, because: str = "") -> Policy:
    """A policy of one rule."""
    return replace(GREEN, rules=(OfferRule("mine", only_if, if_unknown, because),))


def weighed(*terms: tuple[str, float], if_unknown: WhenUnknown = WhenUnknown.EXCLUDE) -> Policy:
    """A policy of weighed terms."""
    weigh = tuple(WeighedTerm(term, weight, "", if_unknown) for term, weight in terms)
    return replace(GREEN, objective=Objective.LOWEST_SCORE, weigh=weigh)


def one(offered: Candidate, policy: Policy, spec: ServiceSpec | None = None, **more: float) -> Assessment:
    """Judge a single offer."""
    (found,) = assess_all([offered], spec or service_spec(), policy, NOON, 4.0, PROVIDERS, rtt_ms=more)
    return found


def test_a_rule_that_is_false_excludes_with_its_reason_and_numbers() -> None:
    """A person can check it."""
    found = one(DIRTY, ruled("grams_per_kwh <= 400", because="too dirty"))
    assert failed_rules(found.verdicts) == {"policy.rules.mine"}
    assert found.excluded_because == "too dirty: grams_per_kwh <= 400 is false (grams_per_kwh 700 g/kWh)"


def test_a_rule_that_is_true_leaves_its_verdict_too() -> None:
    """What was checked is shown."""
    found = one(CLEAN, ruled("grams_per_kwh <= 400"))
    assert found.allowed
    assert found.verdicts[-1].text == "grams_per_kwh <= 400 is true (grams_per_kwh 30 g/kWh)"


@pytest.mark.parametrize("only_if", ["grams_per_kwh <= 400", "grams_per_kwh > 400"])
@pytest.mark.parametrize(("if_unknown", "kept"), [(WhenUnknown.EXCLUDE, False), (WhenUnknown.KEEP, True)])
def test_unknown_means_what_the_rule_says(only_if: str, if_unknown: WhenUnknown, kept: bool) -> None:
    """The same for a rule and for its opposite: no value is put in the place of what is not known."""
    found = one(SILENT, ruled(only_if, if_unknown))
    verdict = found.verdicts[-1]
    assert (verdict.rule, verdict.passed) == ("policy.rules.mine", kept)
    assert verdict.text.startswith("grams_per_kwh unknown: ")


@pytest.mark.parametrize("sign", ["<", ">"])
@pytest.mark.parametrize(("if_unknown", "kept"), [(WhenUnknown.EXCLUDE, False), (WhenUnknown.KEEP, True)])
def test_a_division_by_zero_is_named_and_has_no_result(sign: str, if_unknown: WhenUnknown, kept: bool) -> None:
    """Infinity is more than anything, and must pass nothing: what the rule says of the unknown holds."""
    found = one(CLEAN, ruled(f"usd_per_hour / (grams_per_kwh - 30) {sign} 3", if_unknown))
    verdict = found.verdicts[-1]
    assert (verdict.rule, verdict.passed) == ("policy.rules.mine", kept)
    assert verdict.text == (
        f"division by zero in rule mine (usd_per_hour / (grams_per_kwh - 30) {sign} 3; "
        f"grams_per_kwh 30 g/kWh, usd_per_hour 1 USD/h): {'kept' if kept else 'excluded'} by if_unknown"
    )


def test_a_term_that_divides_by_zero_weighs_nothing() -> None:
    """It has no score, and says why."""
    found = one(CLEAN, weighed(("usd_per_hour / (grams_per_kwh - 30)", 1.0)))
    assert found.score_usd_per_hour is None
    assert found.excluded_because is not None
    assert found.excluded_because.startswith("division by zero in a term (usd_per_hour / (grams_per_kwh - 30); ")


def test_a_score_is_the_weighed_sum() -> None:
    """In dollars per hour."""
    found = one(
        CLEAN, weighed(("usd_per_hour", 1.0), ("grams_per_hour", 0.002), ("rtt_ms - 10", 0.1)), **{"aws/se": 25}
    )
    assert found.grams_per_hour is not None
    assert found.score_usd_per_hour == pytest.approx(1.0 + 0.002 * found.grams_per_hour + 1.5)


@pytest.mark.parametrize(("if_unknown", "allowed"), [(WhenUnknown.EXCLUDE, False), (WhenUnknown.LAST, True)])
def test_a_score_with_an_unknown_part_is_unknown(if_unknown: WhenUnknown, allowed: bool) -> None:
    """Excluded, or last: never the sum of the rest."""
    found = one(CLEAN, weighed(("usd_per_hour", 1.0), ("rtt_ms", 0.1), if_unknown=if_unknown))
    assert found.score_usd_per_hour is None
    assert found.allowed is allowed
    if not allowed:
        assert found.excluded_because == "rtt_ms unknown, and rtt_ms is weighed"


def test_policies_without_expressions_score_nothing() -> None:
    """The field stays empty."""
    assert one(CLEAN, GREEN).score_usd_per_hour is None


def test_round_trips_are_estimated_from_the_service_s_clients() -> None:
    """A measured one comes first."""
    here = replace(CLEAN, offer=replace(CLEAN.offer, region=replace(CLEAN.offer.region, latitude=59.3, longitude=18.0)))
    spec = service_spec(clients=(ClientArea("eu-north", 1.0),))
    policy = weighed(("rtt_ms", 1.0))
    assert one(here, policy, spec).score_usd_per_hour == pytest.approx(1.0, abs=0.2)
    assert one(here, policy, spec, **{"aws/se": 40.0}).score_usd_per_hour == 40.0


@pytest.mark.parametrize(("period", "hours"), [("day", 24), ("week", 168), ("month", 730.485)])
def test_a_budget_is_shared_evenly(period: str, hours: float) -> None:
    """Over its period and the wanted replicas."""
    spec = service_spec(2, carbon=CarbonRules(budget_grams=1000.0, budget_period=period))
    assert budget_grams_per_hour(spec) == pytest.approx(1000 / hours / 2)
    assert budget_grams_per_hour(service_spec()) is None


@pytest.mark.parametrize("spares", [0, 1, 2])
def test_spares_keep_to_the_budget_too(spares: int) -> None:
    """All that a fresh plan starts emits no more than the budget per hour: with a budget for two the third one is cut.

    The place of 100 g/kWh is cheap and that of 30 g/kWh is dear, so the former is taken as long as the share allows it.
    """
    dirty, clean = candidate("aws/fr", 100.0, usd=0.5), candidate("aws/se", 30.0, usd=1.0)
    of_one = one(dirty, GREEN).expected_grams_per_hour
    assert of_one is not None
    budget = 2.1 * of_one
    rules = CarbonRules(budget_grams=24 * budget, budget_period="day")
    spec = replace(service_spec(1, carbon=rules), scaling=Scaling(1, 1, num_overprovision=spares))
    made = plan(snapshot([dirty, clean], spec=spec), shipped_policy("carbon-budget").policy, NOON)
    assert {a.region for a in made.actions} == ({"aws/se"} if spares == 2 else {"aws/fr"})
    assert len(made.actions) == 1 + spares
    assert made.totals.grams_per_hour is not None
    assert made.totals.grams_per_hour <= budget


def test_the_grams_of_a_move_are_priced_as_those_of_running() -> None:
    """By the weights of terms in grams per hour; other terms say nothing of grams."""
    policy = replace(
        GREEN, weigh=(WeighedTerm("grams_per_hour", 0.5, "g/h"), WeighedTerm("usd_per_hour", 1.0, "USD/h"))
    )
    assert usd_per_gram(policy) == 0.5
