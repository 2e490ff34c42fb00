"""What would change a decision does change it, and nothing nearer does."""

from __future__ import annotations

from dataclasses import replace
from math import copysign

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries
from orchestrator.domain.offer import Candidate
from orchestrator.domain.plan import ActionKind
from orchestrator.domain.price import Price
from orchestrator.domain.service import Objective, Policy, WeighedTerm
from orchestrator.planner.advice.flip import Flip, flips
from orchestrator.planner.advice.shadow import shadow_prices
from orchestrator.planner.judged import judge
from orchestrator.planner.plan import plan
from orchestrator.planner.snapshot import Snapshot
from tests.builders import NOON
from tests.strategies import settled_worlds, worlds

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

STEP = 1e-5
"""Ten times what the search is exact to."""


WEIGHED = Policy(
    "weighed",
    Objective.LOWEST_SCORE,
    max_extra_cost_fraction=0.5,
    weigh=(WeighedTerm("usd_per_hour", 1.0, "USD/h"), WeighedTerm("ahead_grams_per_hour", 0.01, "gCO2e/h")),
)
"""A gram is worth a cent, and no place may be half as dear again as the cheapest."""


def _changed(world: Snapshot, flip: Flip, by: float) -> Snapshot:
    """Change the whole world, and not only those offers that the search works on."""
    zones = {c.offer.region.id: c.offer.region.zone for c in world.candidates}

    def change(one: Candidate) -> Candidate:
        if flip.unit == "USD/h" and flip.what.endswith(one.offer.id) and one.offer.price is not None:
            price = one.offer.price
            paid = Price(max(0.0, price.usd_per_hour + by), price.source, price.kind, price.as_of)
            return replace(one, offer=replace(one.offer, price=paid))
        if flip.unit == "g/kWh" and one.offer.region.zone == zones[flip.what.removeprefix("the grid of ")]:
            points = tuple(_shifted(p, by) for p in one.forecast.points)
            now = _shifted(one.now, by) if isinstance(one.now, CarbonIntensity) else one.now
            return replace(one, now=now, forecast=CarbonSeries(one.forecast.zone, points))
        return one

    return replace(world, candidates=tuple(change(c) for c in world.candidates))


def _shifted(point: CarbonIntensity, by: float) -> CarbonIntensity:
    return replace(point, grams_per_kwh=min(max(0.0, point.grams_per_kwh + by), 2000.0))


def _decided(world: Snapshot, policy: Policy) -> tuple[str, str] | None:
    """Plan the world: who moves, and where to; ``None`` where everybody stays."""
    actions = plan(world, policy, NOON).actions
    return next(((a.replica, a.offer_id) for a in actions if a.kind is ActionKind.MOVE), None)


@settings(max_examples=60)
@given(settled_worlds(), st.data())
def test_a_flip_flips_and_nothing_nearer_does(known: tuple[Snapshot, Policy], data: st.DataObject) -> None:
    """Made in the world, the change turns the plan into what was told; a hair short of it, the plan is the old one."""
    world, policy = known[0], data.draw(st.sampled_from([known[1], WEIGHED]))
    comparisons = plan(world, policy, NOON).decision.comparisons
    assume(comparisons)
    now = _decided(world, policy)
    found = flips(comparisons, judge(world, policy, NOON))
    event(f"{len(found)} flips, {'stay' if now is None else 'move'}")
    for flip in found:
        then = _decided(_changed(world, flip, flip.by), policy)
        assert then != now, flip
        if then is None:
            assert (flip.becomes, flip.replica) == ("stay", comparisons[0].replica)
        else:
            assert (flip.replica, flip.to_offer) == then
            assert flip.becomes == f"move to {then[1]}{'' if now is None else ' instead'}"
        nearer = flip.by - copysign(min(abs(flip.by), STEP), flip.by)
        assert _decided(_changed(world, flip, nearer), policy) == now, flip


@settings(max_examples=60)
@given(worlds())
def test_a_limits_price_is_a_saving_on_an_offer_that_is_out(known: tuple[Snapshot, Policy]) -> None:
    """Positive, at most everything, one for each limit, and of one replica never on an offer that is allowed anyhow."""
    world, policy = known
    found = shadow_prices(world, policy, NOON)
    allowed = {a.offer_id for a in judge(world, policy, NOON).assessments if a.allowed}
    event(f"{len(found)} prices, {sum(p.is_of_all for p in found)} of all")
    assert len({p.rule for p in found}) == len(found)
    for price in found:
        assert price.is_of_all is (price.offer_id in allowed)
        assert 0 < price.saved_fraction <= 1
        assert price.grams_per_hour_saved > 0
