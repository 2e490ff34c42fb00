"""Expected decisions as files."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.price import Market
from orchestrator.errors import InvalidSpec
from orchestrator.spec.fixture_file import Expectation, Verb, load_fixtures, parse_fixtures, shipped_fixtures
from orchestrator.spec.policy_file import shipped_policies

HEAD = "kind: PolicyFixtures\npolicy: p\ncases:\n"
PLAIN = "{region: north, grams_per_kwh: 30, usd_per_hour: 1"
NORTH = PLAIN + "}"
FIRST = "cases[0].regions[0]"


def case(expect: str, *regions: str) -> str:
    """A file of one case."""
    listed = "".join(f"      - {region}\n" for region in regions or (NORTH,))
    return f"{HEAD}  - name: a case\n    regions:\n{listed}    expect: {expect}\n"


def paths(text: str) -> list[str]:
    """Where something is wrong."""
    with pytest.raises(InvalidSpec) as caught:
        parse_fixtures(text, "f.yaml")
    assert all(p.line for p in caught.value.problems)
    return [p.path for p in caught.value.problems]


@pytest.mark.parametrize("name", shipped_policies())
def test_every_shipped_policy_has_expected_decisions(name: str) -> None:
    """At least four, with every way to decide that it can show."""
    found = load_fixtures(shipped_fixtures(name))
    assert found.policy == name
    assert len(found.cases) >= 4
    assert len({c.expect.verb for c in found.cases}) >= 2


def test_what_is_left_out_is_plain() -> None:
    """Fresh numbers that stay, nobody there, on demand, one replica wanted."""
    (found,) = parse_fixtures(case("choose north"), "f.yaml").cases
    (region,) = found.regions
    assert (found.replicas, found.line) == (1, 4)
    assert (region.region, region.grams_per_kwh, region.coming[23]) == ("somewhere/north", 30.0, 30.0)
    assert (region.age, region.market, region.replicas) == (timedelta(0), Market.ON_DEMAND, 0)
    assert (region.usual_grams_per_kwh, region.rtt_ms) == (None, None)


def test_unknown_is_a_word_of_its_own() -> None:
    """And not zero."""
    text = case("refuse", "{region: north, grams_per_kwh: unknown, usd_per_hour: unknown, pue: unknown}")
    (region,) = parse_fixtures(text, "f.yaml").cases[0].regions
    assert (region.grams_per_kwh, region.usd_per_hour, region.pue, region.coming) == (None, None, None, ())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("choose north", Expectation(Verb.CHOOSE, ("somewhere/north",), text="choose north")),
        ("choose  north and north", Expectation(Verb.CHOOSE, ("somewhere/north",) * 2, text="choose north and north")),
        ("stay", Expectation(Verb.STAY, text="stay")),
        ("stay because 10% less", Expectation(Verb.STAY, because="10% less", text="stay because 10% less")),
        ("refuse because x", Expectation(Verb.REFUSE, because="x", text="refuse because x")),
    ],
)
def test_expectations(text: str, found: Expectation) -> None:
    """A small grammar of plain words."""
    assert parse_fixtures(case(text), "f.yaml").cases[0].expect == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("kind: PolicyFixtures", ["cases", "policy"]),
        ("kind: Policy\npolicy: p\ncases: []", ["kind", "cases"]),
        (case("go north"), ["cases[0].expect"]),
        (case("choose south"), ["cases[0].expect"]),
        (case("move north to south"), ["cases[0].expect"]),
        (case("choose north", NORTH, NORTH), ["cases[0].regions[1].region"]),
        (case("choose north", "{region: north, usd_per_hour: 1}"), [f"{FIRST}.grams_per_kwh"]),
        (case("choose north", "{region: north, grams_per_kwh: -1, usd_per_hour: 1}"), [f"{FIRST}.grams_per_kwh"]),
        (case("choose north", "{region: north, grams_per_kwh: .nan, usd_per_hour: 1}"), [f"{FIRST}.grams_per_kwh"]),
        (case("choose north", PLAIN + ", coming_grams_per_kwh: []}"), [f"{FIRST}.coming_grams_per_kwh"]),
        (case("choose north", PLAIN + ", colour: red}"), [f"{FIRST}.colour"]),
    ],
)
def test_a_wrong_case_has_its_place(text: str, found: list[str]) -> None:
    """Nothing of it is run."""
    assert paths(text) == found
