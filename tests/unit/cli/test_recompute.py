"""An explanation can be checked with pencil and paper: by the text of the page alone."""

import io
import math
import re

import pytest
from rich.console import Console

from orchestrator.cli.render import explain
from orchestrator.cli.render.text import Escaped
from orchestrator.domain.decision import Decision
from orchestrator.domain.service import Objective, Policy, WeighedTerm
from orchestrator.planner.plan import plan
from tests import builders
from tests.unit.cli import samples

AMOUNT = re.compile(r"^  (stay|move|cold start|overlap|net) +([+-]\S+) gCO2e$")
LISTED = re.compile(r"^    (hour|from g/kWh|to g/kWh|gain gCO2e) +(.*)$")


def page_of(decision: Decision, *, every: bool = True) -> list[str]:
    """The page as text."""
    output = io.StringIO()
    console = Console(file=output, width=200, markup=False, highlight=False, color_system=None)
    console.print(Escaped(explain.render(decision, width=200, every=every)), end="")
    return output.getvalue().splitlines()


def real_decision(rate: float = 1.0) -> Decision:
    """A decision of the real planner: it stands in a dirty zone, and another is clean for most of the day."""
    here = builders.candidate("local/de", 412.37, ahead=[412.37, 398.1, 405.55, 377.25] * 12, pue=1.33)
    there = builders.candidate("local/se", 21.71, ahead=[21.71, 24.13, 700.5, 19.99] * 12, pue=1.07)
    world = builders.snapshot([here, there], [builders.replica(here)], clock_rate=rate)
    return plan(world, world.spec.policy, builders.NOON).decision


DECISIONS = {
    "hand-made": samples.DECISION,
    "planned": real_decision(),
    "planned on a grid at 60 times": real_decision(60.0),
}


@pytest.mark.parametrize("decision", DECISIONS.values(), ids=list(DECISIONS))
def test_every_term_is_the_product_that_is_printed_under_it(decision: Decision) -> None:
    """Multiplying the numbers of a term's second line gives the term."""
    lines = page_of(decision)
    products = 0
    for index, text in enumerate(lines):
        found = AMOUNT.match(text)
        if found is None or found[1] == "net":
            continue
        numbers = lines[index + 2].strip().removeprefix("= ")
        sign = -1 if numbers.startswith("-") else 1
        product = sign * math.prod(float(part) for part in numbers.lstrip("-").split(" x "))
        assert product == pytest.approx(float(found[2]), rel=1e-6)
        products += 1

    assert products >= 3


@pytest.mark.parametrize(
    "decision", [DECISIONS["planned"], DECISIONS["planned on a grid at 60 times"]], ids=["1", "60"]
)
def test_the_net_is_the_sum_that_is_printed_under_it(decision: Decision) -> None:
    """Adding the terms gives the net, and the sentence below repeats it."""
    lines = page_of(decision)
    index = next(i for i, text in enumerate(lines) if text.startswith("  net"))
    net = float(lines[index].split()[1])

    assert sum(map(float, lines[index + 1].strip().removeprefix("= ").split())) == pytest.approx(net, rel=1e-6)
    assert any(f"{abs(net):.8g} gCO2e in all." in text for text in lines)


@pytest.mark.parametrize("decision", DECISIONS.values(), ids=list(DECISIONS))
def test_the_sums_of_intensities_are_the_sums_of_the_hours_that_are_printed(decision: Decision) -> None:
    """The factor of "stay" is the sum of the "from" row, the factor of "move" that of the "to" row."""
    lines = page_of(decision)
    start = next(i for i, text in enumerate(lines) if text.startswith("Move "))
    rows: dict[str, list[float]] = {}
    factors: list[float] = []
    for text in lines[start:]:
        if found := LISTED.match(text):
            rows.setdefault(found[1], []).extend(float(v) for v in found[2].split())
        if "sum_of_hourly_intensities  " in text:
            factors.append(float(text.split()[1]))
        if text.startswith("  net"):
            break

    assert factors[0] == pytest.approx(sum(rows["from g/kWh"]), rel=1e-5)
    assert factors[1] == pytest.approx(sum(rows["to g/kWh"]), rel=1e-5)
    assert rows["hour"] == [float(h) for h in range(len(rows["from g/kWh"]))]


def test_the_payback_is_when_the_printed_gains_have_repaid_the_printed_cost() -> None:
    """Walking along the gains until they add up to the cost gives the hours of the sentence."""
    lines = page_of(DECISIONS["planned"])
    text = "\n".join(lines)
    gains = [float(v) for row in lines if row.startswith("    gain gCO2e") for v in row.split()[2:]]
    cost = float(re.search(r"takes (\S+) gCO2e to make", text)[1])  # type: ignore[index]
    payback = float(re.search(r"carbon after (\S+) h of grid time", text)[1])  # type: ignore[index]

    running, hours = 0.0, 0.0
    for gain in gains:
        if running + gain >= cost:
            hours += (cost - running) / gain
            break
        running, hours = running + gain, hours + 1.0

    assert payback == pytest.approx(hours, rel=1e-4)


def test_emissions_of_an_offer_are_its_energy_times_its_intensity_as_printed() -> None:
    """The row of an offer multiplies out by itself."""
    checked = 0
    for text in page_of(DECISIONS["planned"]):
        if not re.match(r"^  \d+  local/", text):
            continue
        numbers = [float(w) for w in text.split() if re.fullmatch(r"[\d.]+", w)]
        _, _pue, grams_per_kwh, _ahead, kwh, grams, *_ = numbers
        assert kwh * grams_per_kwh == pytest.approx(grams, rel=1e-5)
        checked += 1

    assert checked == 2


SCORE = Policy(
    "score",
    Objective.LOWEST_SCORE,
    max_extra_cost_fraction=None,
    weigh=(WeighedTerm("usd_per_hour", 1.0, "USD/h"), WeighedTerm("ahead_grams_per_hour", 0.0002, "gCO2e/h")),
)


@pytest.mark.parametrize("policy", [Policy("cheap", Objective.CHEAPEST, max_extra_cost_fraction=None), SCORE])
def test_the_move_that_was_made_is_in_full_and_then_what_it_was_preferred_to(policy: Policy) -> None:
    """By what the policy minimises: the greenest of them is neither, and the same move of another replica is no other.

    All that was weighed is there with ``--all``.
    """
    here = builders.candidate("aws/pl", 800.0, usd=3.0)
    cheap, second = builders.candidate("aws/fr", 700.0, usd=1.0), builders.candidate("aws/es", 690.0, usd=1.1)
    green = builders.candidate("aws/se", 10.0, usd=1.3)
    standing = [builders.replica(here, 0), builders.replica(here, 1)]
    world = builders.snapshot([here, cheap, second, green], standing, builders.service_spec(2))
    decision = plan(world, policy, builders.NOON).decision
    assert decision.comparisons[0].to_offer == cheap.offer.id
    assert max(decision.comparisons, key=lambda c: c.net_grams).to_offer == green.offer.id

    page = page_of(decision, every=False)
    made = [page[i + 1].split("→ ")[1] for i, row in enumerate(page) if row.startswith("Move ")]
    assert made == [cheap.offer.id, second.offer.id]
    assert "  2 of 6 in full below. All: --all." in page
