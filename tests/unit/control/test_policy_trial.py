"""Trials run through the real planner, and can fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.control.policy_trial import Outcome, try_policy
from orchestrator.domain.time import HOUR
from orchestrator.spec.fixture_file import load_fixtures, parse_fixtures, shipped_fixtures
from orchestrator.spec.policy_file import shipped_policies, shipped_policy

CASE = """\
kind: PolicyFixtures
policy: green-first
cases:
  - name: coal or hydro
    regions:
      - {{region: coal, grams_per_kwh: 700, usd_per_hour: 1, replicas: {there}}}
      - {{region: north, grams_per_kwh: {north}, usd_per_hour: 1}}
    expect: {expect}
"""


def outcome(expect: str, *, there: int = 0, north: str = "30") -> Outcome:
    """Try one case with the policy green-first."""
    fixtures = parse_fixtures(CASE.format(expect=expect, there=there, north=north), "f.yaml")
    (found,) = try_policy(shipped_policy("green-first").policy, fixtures)
    return found


@pytest.mark.parametrize("name", shipped_policies())
def test_every_shipped_policy_decides_as_is_expected_of_it(name: str) -> None:
    """The files that people read are true."""
    outcomes = try_policy(shipped_policy(name).policy, load_fixtures(shipped_fixtures(name)))
    assert [o for o in outcomes if not o.passed] == []


@pytest.mark.parametrize(
    ("expect", "there", "north", "passed", "decided"),
    [
        ("choose north", 0, "30", True, "choose north"),
        ("choose coal", 0, "30", False, "choose north"),
        ("choose north and north", 0, "30", False, "choose north"),
        ("stay", 0, "30", False, "choose north"),
        ("refuse", 0, "30", False, "choose north"),
        ("move coal to north", 1, "30", True, "move coal to north"),
        ("choose north", 1, "30", False, "move coal to north"),
        ("stay", 1, "30", False, "move coal to north"),
        ("stay", 1, "690", True, "stay"),
        ("stay because of the weather", 1, "690", False, "stay"),
        ("move coal to north", 1, "690", False, "stay"),
        ("stay because at least 3% less", 1, "690", True, "stay"),
    ],
)
def test_a_case_passes_exactly_when_the_planner_decides_so(
    expect: str, there: int, north: str, passed: bool, decided: str
) -> None:
    """And says what was decided otherwise."""
    found = outcome(expect, there=there, north=north)
    assert (found.passed, found.decided) == (passed, decided)
    assert found.because
    assert found.line == 4


def test_the_worst_is_that_a_refusal_is_expected_for_another_reason() -> None:
    """The reason belongs to the expectation."""
    text = CASE.format(expect="refuse because EXPECTED", there=0, north="unknown").replace("700", "unknown")
    for words, passed in (("carbon.max_age", True), ("policy.price_cap", False)):
        fixtures = parse_fixtures(text.replace("EXPECTED", words), "f.yaml")
        (found,) = try_policy(shipped_policy("green-first").policy, fixtures)
        assert (found.decided, found.passed) == ("refuse", passed)


@pytest.mark.parametrize("horizon", [6, 24])
def test_batch_work_is_judged_up_to_its_deadline(horizon: int) -> None:
    """Not by as many hours as the policy looks ahead: the controller does not either."""
    policy = replace(shipped_policy("green-first").policy, horizon=horizon * HOUR)
    coming = "[" + ", ".join(["300"] * 8 + ["50"] * 8) + "]"
    text = f"""\
kind: PolicyFixtures
policy: green-first
cases:
  - name: the wind comes in the evening
    batch: {{engine_hours: 2, due_in: 16h}}
    regions:
      - {{region: north, grams_per_kwh: 300, coming_grams_per_kwh: {coming}, usd_per_hour: 1}}
    expect: wait 8h
"""
    (found,) = try_policy(policy, parse_fixtures(text, "f.yaml"))
    assert found.passed, found
