"""Rules and weights in policy files: what they mean, and where they are wrong."""

from __future__ import annotations

import pytest

from orchestrator.domain.service import Objective, OfferRule, WeighedTerm, WhenUnknown
from orchestrator.errors import InvalidSpec
from orchestrator.spec.codec import canonical, spec_from_json, spec_to_json
from orchestrator.spec.policy_file import parse_policy, shipped_policies, shipped_policy
from orchestrator.spec.service_file import parse_service

HEAD = "kind: Policy\nname: p\nobjective: greenest\nmax_extra_cost: unlimited\n"
SCORE = "kind: Policy\nname: p\nobjective: lowest_score\n"


def problems(text: str) -> list[tuple[str, int | None, int | None, str]]:
    """Path, line, column and words of everything that is wrong."""
    with pytest.raises(InvalidSpec) as caught:
        parse_policy(text, "p.yaml")
    return [(p.path, p.line, p.column, p.message) for p in caught.value.problems]


def test_rules_and_weights_are_read() -> None:
    """With the unit of each term, for people."""
    text = SCORE + (
        "rules:\n  - {name: clean, only_if: grams_per_kwh <= 400, if_unknown: keep, because: no coal}\n"
        "  - {name: ours, only_if: provider == 'aws'}\n"
        "weigh:\n  - {term: usd_per_hour, weight: 1, if_unknown: last}\n"
        "  - {term: '2 * rtt_ms', weight: 0.5, if_unknown: exclude}\n"
    )
    policy = parse_policy(text, "p.yaml").policy
    assert policy.objective is Objective.LOWEST_SCORE
    assert policy.rules == (
        OfferRule("clean", "grams_per_kwh <= 400", WhenUnknown.KEEP, "no coal"),
        OfferRule("ours", "provider == 'aws'"),
    )
    assert policy.weigh == (
        WeighedTerm("usd_per_hour", 1.0, "USD/h", WhenUnknown.LAST),
        WeighedTerm("2 * rtt_ms", 0.5, "ms", WhenUnknown.EXCLUDE),
    )


@pytest.mark.parametrize(
    ("line", "column", "said"),
    [
        ("  - {name: r, only_if: usd_per_hour > grams_per_kwh, if_unknown: keep}", 24, "USD/h cannot be compared"),
        ("  - {name: r, only_if: true && grams > 1}", 32, "there is no grams"),
        ("  - {name: r, only_if: 'true && grams > 1'}", 33, "there is no grams"),
        ('  - {name: r, only_if: "[1].all(x, true)"}', 25, "loops are not taken"),
        ("  - {name: r, only_if: usd_per_hour, if_unknown: keep}", 24, "gives a number, and true or false is wanted"),
        ("  - {name: r, only_if: usd_per_hour > 1}", 15, "which is never 0. Write if_unknown: exclude, or keep"),
        ("  - {name: r, only_if: 7}", 24, "is not an expression"),
        ("  - {name: r, only_if: market == 'spot', if_unknown: last}", 54, "is not one of exclude, keep"),
        ("  - {name: r, only_if: market == 'spot', then: x}", 42, "unknown key"),
        ("  - {only_if: market == 'spot'}", 5, "missing"),
    ],
)
def test_a_wrong_rule_has_its_place(line: str, column: int, said: str) -> None:
    """Line and column lead into the expression, quoted or not."""
    (found,) = problems(HEAD + "rules:\n" + line + "\n")
    assert found[1:3] == (6, column)
    assert said in found[3]


def test_an_expression_over_lines_says_where_inside_it_is_wrong() -> None:
    """A folded text has no columns of the file."""
    text = HEAD + "rules:\n  - name: r\n    only_if: |\n      true &&\n      grams > 1\n"
    (found,) = problems(text)
    assert found[1] == 7
    assert found[3].endswith("(line 2, column 1 of the expression)")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (SCORE, ["weigh"]),
        (HEAD + "weigh: [{term: usd_per_hour, weight: 1, if_unknown: last}]", ["weigh"]),
        (SCORE + "weigh: [{term: usd_per_hour, weight: 1}]", ["weigh[0].term"]),
        (SCORE + "weigh: [{term: usd_per_hour > 1, weight: 1, if_unknown: last}]", ["weigh[0].term"]),
        (SCORE + "weigh: [{term: usd_per_hour, weight: .inf, if_unknown: last}]", ["weigh[0].weight"]),
        (HEAD + "rules: []", ["rules"]),
        (HEAD + "rules: [{name: a, only_if: provider == 'a'}, {name: a, only_if: provider == 'b'}]", ["rules[1].name"]),
    ],
)
def test_what_does_not_fit_together(text: str, found: list[str]) -> None:
    """Each at its key."""
    assert [p[0] for p in problems(text)] == found


@pytest.mark.parametrize("name", shipped_policies())
def test_a_policy_survives_being_stored(name: str) -> None:
    """With its rules, as a part of the spec that uses it."""
    spec = parse_service(f"name: a\nmodel: {{id: a/b}}\npolicy: {{use: {name}}}\n", "s.yaml").spec
    assert spec.policy == shipped_policy(name).policy
    assert spec_from_json(spec_to_json(spec)) == spec
    assert canonical(spec.policy)


def test_single_values_can_be_set_on_a_policy_with_rules() -> None:
    """The rules stay; a score cannot be conjured up without terms."""
    base = "name: a\nmodel: {id: a/b}\ncarbon: {budget: 1kg/day}\npolicy:\n  use: "
    spec = parse_service(base + "carbon-budget\n  set: {price_cap: 2}\n", "s.yaml").spec
    assert (spec.policy.price_cap_usd_per_hour, len(spec.policy.rules)) == (2.0, 2)
    with pytest.raises(InvalidSpec) as caught:
        parse_service(base + "green-first\n  set: {objective: lowest_score}\n", "s.yaml")
    assert [p.path for p in caught.value.problems] == ["policy.set"]
