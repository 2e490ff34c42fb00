"""``greenctl policy``: what policies say, and whether they decide as is expected of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from orchestrator.spec.policy_file import shipped_policies
from tests.unit.cli.world import World

MINE = """\
kind: Policy
name: mine
objective: cheapest
rules:
  - {name: clean, only_if: grams_per_kwh <= 400, if_unknown: keep, because: no coal}
"""
CASES = """\
kind: PolicyFixtures
policy: mine
cases:
  - name: not the coal
    regions:
      - {region: coal, grams_per_kwh: 700, usd_per_hour: 1.0}
      - {region: north, grams_per_kwh: 30, usd_per_hour: 1.5}
    expect: choose north
"""


def write(folder: Path, cases: str = CASES) -> Path:
    """Write a policy with its cases beside it."""
    (folder / "fixtures").mkdir()
    (folder / "mine.yaml").write_text(MINE)
    (folder / "fixtures" / "mine.yaml").write_text(cases)
    return folder / "mine.yaml"


def test_the_shipped_policies_are_listed_and_shown(world: World) -> None:
    """By name, with what they weigh and what the names in it mean."""
    listed = world.run("policy", "show")
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in shipped_policies())

    shown = world.run("policy", "show", "price-of-carbon")
    assert "190 dollars per tonne" in shown.stdout
    assert "0.00019" in shown.stdout
    assert "what it emits per hour over the horizon" in shown.stdout


def test_a_policy_that_is_not_there_is_said_in_words(world: World) -> None:
    """With the nearest one that is."""
    result = world.run("policy", "show", "green-frist")
    assert result.exit_code == 2
    assert 'Did you mean "green-first"?' in result.stderr


def test_the_shipped_policies_decide_as_expected(world: World) -> None:
    """One row per case, and a count."""
    result = world.run("policy", "test", "green-first", "cheapest")
    assert result.exit_code == 0
    assert "the cleanest place wins although it costs 15 % more" in result.stdout
    assert "cases, each decided as expected." in result.stdout
    assert "✗" not in result.stdout


def test_one_s_own_policy_is_tried_by_its_path(world: World) -> None:
    """The cases stand in the folder fixtures beside it."""
    result = world.run("policy", "test", write(world.folder))
    assert result.exit_code == 0
    assert "1 case, each decided as expected." in result.stdout


def test_a_decision_that_is_not_the_expected_one_is_told_in_full(world: World) -> None:
    """Where the case stands, what was expected, what was decided, and because of what; status 1."""
    path = write(world.folder, CASES.replace("choose north", "choose coal"))
    result = world.run("policy", "test", path)

    assert result.exit_code == 1
    assert f"{world.folder}/fixtures/mine.yaml:4  not the coal" in result.stdout
    assert "expected  choose coal" in result.stdout
    assert "decided   choose north" in result.stdout
    assert "because   coal: no coal: grams_per_kwh <= 400 is false" in result.stdout
    assert "1 case, 1 not decided as expected." in result.stdout


def test_the_outcomes_are_data(world: World) -> None:
    """Rows with everything that the table has."""
    path = write(world.folder, CASES.replace("choose north", "choose coal"))
    document = world.document("policy", "test", path)
    (row,) = document["rows"]
    assert (row["policy"], row["expected"], row["decided"], row["passed"]) == (
        "mine",
        "choose coal",
        "choose north",
        False,
    )
    assert document["passed"] is False
    (shown,) = world.document("policy", "show", path)["rows"]
    assert shown["policy"]["rules"][0]["only_if"] == "grams_per_kwh <= 400"


def test_a_policy_without_cases_or_with_another_s_is_refused(world: World) -> None:
    """Nothing that was not tried is called tried."""
    path = write(world.folder, CASES.replace("policy: mine", "policy: other"))
    result = world.run("policy", "test", path)
    assert result.exit_code == 2
    assert '"other" is not mine' in result.output

    (world.folder / "fixtures" / "mine.yaml").unlink()
    missing = world.run("policy", "test", path)
    assert missing.exit_code == 2
    assert "fixtures/mine.yaml" in missing.output


def test_help_needs_no_language() -> None:
    """The parser of expressions is imported where a policy has some."""
    program = (
        "import sys\nfrom orchestrator.cli.app import app\n"
        "try:\n    app(['policy', 'test', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'celpy', 'lark', 'pendulum', 're2'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.splitlines()[-1] == "[]"


def test_what_is_asked_about_is_never_written_over(world: World) -> None:
    """A policy file behind --json is the one to read: it is shown as a document, and tried, and stays as it is."""
    file = write(world.folder)

    shown = world.run("policy", "show", "--json", str(file))
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["rows"][0]["policy"]["name"] == "mine"
    tried = world.run("policy", "test", "--json", str(file))
    assert [row["policy"] for row in json.loads(tried.stdout)["rows"]] == ["mine"]
    assert file.read_text() == MINE


def test_a_policy_without_cases_is_told_how_to_get_them(world: World, tmp_path: Path) -> None:
    """A policy file of one's own has none at first; what the hint says is a file that works."""
    mine = write(tmp_path)
    cases = tmp_path / "fixtures" / "mine.yaml"
    cases.unlink()

    refused = world.run("policy", "test", mine, "--json")

    assert refused.exit_code == 2
    error = json.loads(refused.stdout)["error"]
    assert "mine has no expected decisions yet" in json.dumps(error)
    assert "service file" not in error["hint"]

    cases.write_text(error["hint"].removeprefix("Write it, for a start as ") + "\n")
    tried = world.run("policy", "test", mine)
    assert tried.exit_code == 0, tried.stderr
