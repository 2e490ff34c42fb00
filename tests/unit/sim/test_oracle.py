"""The optimum in hindsight, against every placement that there is."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from orchestrator.domain.service import PlacementRules
from orchestrator.domain.time import HOUR, Window
from orchestrator.sim import oracle
from orchestrator.sim.bill import account_of
from orchestrator.sim.board import Board
from orchestrator.sim.fleet import Fleet
from orchestrator.sim.layout import board_of, setting_of
from orchestrator.sim.oracle import as_rule, best
from orchestrator.sim.request import NEEDS_SPOT
from orchestrator.sim.rules import RULES
from orchestrator.sim.workload import diurnal
from tests.builders import GREEN
from tests.unit.sim.sample_world import PAST_DAYS, START, carbon, period, request, rows, spec, swinging, wait


def board(seed: int, hours: int, replicas: int, limit: int | None) -> Board:
    """Make a world of a few hours in which a move costs a noticeable part of an hour."""
    span = Window(START, START + hours * HOUR)
    rules = PlacementRules(home="sky/de", max_per_region=limit)
    source = carbon(swinging(PAST_DAYS * 24 + hours, seed))
    wanted = spec(replicas, placement=rules)
    asked = request(period=span, spec=wanted, load=diurnal(span, 0.4), carbon=source)
    return wait(board_of(asked, wait(setting_of(asked)), wanted))


def grams(board: Board, path: np.ndarray) -> float:
    """Send the real bill of a path."""
    stays = Fleet(board, as_rule(path)).play()
    return account_of(stays, board.offers, board.grid, board.load).grams


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("replicas", "limit"), [(1, None), (2, 1)])
def test_it_is_the_least_of_all_placements(seed: int, replicas: int, limit: int | None) -> None:
    """Every path through a few hours is billed; none is below, and its own bill is its value."""
    hours = 5 if replicas == 1 else 3
    made = board(seed, hours, replicas, limit)
    found = best(made)
    states = list(permutations(range(3), replicas))
    every = (np.array(path) for path in product(states, repeat=hours))

    least = min(grams(made, path) for path in every)

    assert found.grams == pytest.approx(least, rel=1e-9)
    assert grams(made, found.path) == pytest.approx(found.grams, rel=1e-9)
    assert found.exact


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("replicas", "limit"), [(1, None), (3, None), (2, 1), (3, 2)])
def test_nobody_is_below_it(seed: int, replicas: int, limit: int | None) -> None:
    """Neither a rival nor the real controller emits less over three days, whatever the grid does."""
    source = carbon(swinging((PAST_DAYS + 3) * 24, seed))
    wanted = spec(replicas, placement=PlacementRules(home="sky/de", max_per_region=limit))
    rules = tuple(name for name in RULES if name not in NEEDS_SPOT)
    ours = {"ours": wanted.policy}
    asked = request(spec=wanted, period=period(3), carbon=source, rules=rules, with_oracle=True, policies=ours)

    found = rows(asked)

    least = found["oracle"].grams
    for row in found.values():
        assert row.available_fraction == 1.0, row.policy
        # Home keeps all its replicas in one region even where the limit forbids that, and may be the cleanest.
        if row.policy != "home":
            assert row.grams >= least * (1 - 1e-9), row.policy


def test_a_zone_that_is_known_only_from_the_period_on_is_everybodys() -> None:
    """Sweden has no past: rivals and the oracle may go there as soon as its hours are known, just as ours does."""
    hours = (PAST_DAYS + 2) * 24
    silent: list[float | None] = [None] * (PAST_DAYS * 24)
    values = {"DE": [400.0] * hours, "FR": [300.0] * hours, "SE": [*silent, *[30.0] * 48]}
    asked = request(
        period=period(2), carbon=carbon(values, 2), rules=("greedy", "regret", "casper", "B3*"), with_oracle=True
    )

    found = rows(replace(asked, policies={"ours": asked.spec.policy}))

    for name in ("ours", "greedy", "regret", "casper"):
        assert found[name].by_region["sky/se"] > 20.0, name
    assert found["B3"].by_region == {"sky/fr": 48.0}  # a week's choice is made by what was known when it began
    assert all(row.grams >= found["oracle"].grams * (1 - 1e-9) for row in found.values())


def test_the_bound_is_that_of_all_policies_that_are_compared() -> None:
    """The service's own policy caps the price below all but home; one without a cap is no better than the oracle."""
    hours = (PAST_DAYS + 2) * 24
    values = {"DE": [400.0] * hours, "FR": [300.0] * hours, "SE": [30.0] * hours}
    capped = replace(GREEN, name="capped", price_cap_usd_per_hour=1.005)
    asked = request(spec=spec(policy=capped), period=period(2), carbon=carbon(values, 2), with_oracle=True)

    found = rows(replace(asked, policies={"capped": capped, "free": GREEN}))
    alone = rows(replace(asked, policies={"capped": capped}))

    assert found["free"].by_region == found["oracle"].by_region == {"sky/se": 48.0}
    assert found["free"].grams == pytest.approx(found["oracle"].grams)
    assert found["B3"].by_region == found["capped"].by_region == {"sky/de": 48.0}
    assert alone["oracle"].by_region == {"sky/de": 48.0}


def test_a_lattice_too_large_is_said_to_be_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the limit the value can only be lower, and it is not called exact."""
    made = board(1, 5, 2, 1)
    monkeypatch.setattr(oracle, "MOST_STATES", 0)
    loose = best(made)
    monkeypatch.undo()

    assert not loose.exact
    assert loose.grams <= best(made).grams
