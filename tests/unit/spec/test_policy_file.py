"""Policy files, shipped and one's own."""

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.service import Objective, Policy, usual_horizon
from orchestrator.errors import InvalidSpec
from orchestrator.spec import shipped
from orchestrator.spec.policy_file import load_policy_file, parse_policy, shipped_policies, shipped_policy

GREENEST = "kind: Policy\nname: p\nobjective: greenest\nmax_extra_cost: 15%\n"


def messages(text: str) -> list[str]:
    """What is wrong with a policy, by key."""
    with pytest.raises(InvalidSpec) as caught:
        parse_policy(text, "p.yaml")
    return [f"{p.path}: {p.message}" for p in caught.value.problems]


def test_the_shipped_policies() -> None:
    """Their names are part of the product."""
    assert shipped_policies() == (
        "balanced",
        "batch-wait",
        "carbon-budget",
        "cheapest",
        "follow-the-sun",
        "green-first",
        "latency-first",
        "price-of-carbon",
    )


@pytest.mark.parametrize(
    ("name", "objective", "extra"),
    [
        ("green-first", Objective.GREENEST, 0.15),
        ("balanced", Objective.GREENEST, 0.05),
        ("cheapest", Objective.CHEAPEST, None),
    ],
)
def test_what_the_shipped_policies_do(name: str, objective: Objective, extra: float | None) -> None:
    """Each says what it is for, and its name is its file's."""
    policy = shipped_policy(name).policy

    assert (policy.name, policy.objective, policy.max_extra_cost_fraction) == (name, objective, extra)
    assert policy.horizon == usual_horizon(objective)
    assert policy.description.endswith(".")


def test_there_is_one_copy_of_the_shipped_files() -> None:
    """The folders at the top of the tree and those in the package are the same files."""
    top = Path(__file__).parents[3]

    assert shipped.POLICIES.resolve() == top / "policies"
    assert shipped.TEMPLATES.resolve() == top / "task_templates"


def test_a_policy_of_ones_own(tmp_path: Path) -> None:
    """All keys, with the description on several lines."""
    file = tmp_path / "p.yaml"
    file.write_text(
        "apiVersion: greenctl/v1\nkind: Policy\nname: mine\ndescription: >\n  Two\n  lines.\nobjective: greenest\n"
        "max_extra_cost: unlimited\nprice_cap: 2\nhorizon: 6h\n"
    )

    assert load_policy_file(file).policy == Policy(
        "mine", Objective.GREENEST, None, 2.0, timedelta(hours=6), "Two lines."
    )


def test_equal_policies_have_equal_digests() -> None:
    """Comments and order do not matter, numbers do."""
    digest = parse_policy(GREENEST, "a").digest

    assert (
        parse_policy("# hello\nmax_extra_cost: 15.0%\nobjective: greenest\nname: p\nkind: Policy\n", "b").digest
        == digest
    )
    assert parse_policy(GREENEST.replace("15%", "16%"), "c").digest != digest


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name: p", ["kind: missing", "objective: missing"]),
        ("kind: Policy\nname: p\nobjective: greenest", ["max_extra_cost: missing"]),
        (
            "kind: Policy\nname: p\nobjective: cheapest\nmax_extra_cost: 5%",
            ["max_extra_cost: the cheapest costs nothing"],
        ),
        (GREENEST + "rules: [{name: r, when: x}]", ["rules[0].only_if: missing", "rules[0].when: unknown key"]),
        (GREENEST + "prize_cap: 1", ["prize_cap: unknown key"]),
        (GREENEST + "price_cap: 0", ["price_cap: 0 is not above 0"]),
        (GREENEST + "horizon: 8d", ['horizon: "8d" is not between 1h and 168h']),
        (GREENEST.replace("15%", "0.15"), ["max_extra_cost: 0.15 is not a percentage. Write 15%"]),
        (GREENEST.replace("Policy", "Service"), ['kind: "Service" is not one of Policy']),
        (GREENEST + "description: [a]", ["description: a list is not text"]),
        (GREENEST + "description: " + "x" * 501, ["description: longer than"]),
        ("- a", [": the top level"]),
    ],
)
def test_problems_of_a_policy(text: str, found: list[str]) -> None:
    """Each comes with its key, all at once."""
    said = messages(text)

    assert len(said) == len(found)
    assert all(line.startswith(start) for line, start in zip(said, found, strict=True))
