"""Stay, move now, or change a limit: each answer with numbers that can be checked by doing what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.carbon import CarbonSeries
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.offer import Candidate
from orchestrator.domain.price import Market
from orchestrator.domain.service import (
    MigrationRules,
    Objective,
    OfferRule,
    PlacementRules,
    Policy,
    Scaling,
    WeighedTerm,
)
from orchestrator.domain.time import HOUR
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.advice.advise import Advice, Answer, advise
from orchestrator.planner.advice.backtest import LOOKED_BACK_DAYS, hindsight
from orchestrator.planner.advice.clients import chosen_anew
from orchestrator.planner.advice.shadow import ShadowPrice, shadow_prices
from orchestrator.planner.plan import plan
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.spending import Afforded
from tests.builders import GREEN, NOON, candidate, replica, series, service_spec, snapshot

DIRTY, MIDDLE, CLEAN = candidate("aws/pl", 700.0), candidate("aws/fr", 300.0), candidate("aws/se", 30.0)


def world(*others: Candidate, stands: Candidate = DIRTY, **changes: object) -> Snapshot:
    """Make a world in which one replica has stood somewhere for a day."""
    spec = changes.pop("spec", None) or service_spec()
    return snapshot([stands, *others], [replica(stands)], spec, **changes)  # type: ignore[arg-type]  # as given


def advice(*others: Candidate, policy: Policy = GREEN, **changes: object) -> Advice:
    """Ask about it."""
    return advise(world(*others, **changes), policy, NOON)


def prices(made: Snapshot, policy: Policy = GREEN) -> dict[str, ShadowPrice]:
    """Return the price of each limit."""
    return {p.rule: p for p in shadow_prices(made, policy, NOON)}


def crowded(most: int, clean: Candidate = CLEAN, dirty: Candidate = DIRTY) -> Snapshot:
    """Make a world in which one of two replicas stands in the clean place, and so many may be in one region."""
    spec = service_spec(2, placement=PlacementRules(max_per_region=most))
    return snapshot([clean, dirty], [replica(clean, 0), replica(dirty, 1)], spec)


class TestAnswers:
    def test_a_move_that_pays_is_move_now(self) -> None:
        """With the same sentence that the plan gives."""
        found = advice(CLEAN)
        assert found.answer is Answer.MOVE_NOW
        assert found.because == plan(world(CLEAN), GREEN, NOON).decision.summary
        assert found.best is not None
        assert found.best.comparison.approved
        assert found.best.carbon_hours is not None

    def test_nothing_better_is_stay(self) -> None:
        """And no limit is to blame for it."""
        found = advice(DIRTY, stands=CLEAN)
        assert found.answer is Answer.STAY
        assert found.shadow_prices == ()

    @pytest.mark.parametrize("pattern", ["aws/s*", "aws/S*"])
    def test_a_limit_in_the_way_is_named_with_what_it_costs(self, pattern: str) -> None:
        """Stay as things are; or change that one thing, and save so much. What is denied in any case is named so."""
        spec = service_spec(placement=PlacementRules(deny=(pattern,)))
        found = advice(CLEAN, spec=spec)
        assert found.answer is Answer.CHANGE_THE_CONSTRAINT
        assert f"take {pattern} out of placement.deny would save 96%" in found.because

    def test_a_service_without_its_replicas_is_told_to_deploy(self) -> None:
        """Advice about moving what is not there would be none."""
        found = advise(snapshot([CLEAN], [], service_spec()), GREEN, NOON)
        assert (found.answer, found.best, found.flips) == (Answer.DEPLOY, None, ())

    def test_one_too_many_is_no_move(self) -> None:
        """It is ended without any advice, and nobody is told to move."""
        found = advise(replace(world(), replicas=(replica(DIRTY, 0), replica(DIRTY, 1))), GREEN, NOON)
        assert (found.answer, "retire r1" in found.because) == (Answer.STAY, True)

    def test_a_change_after_which_nothing_would_be_done_is_not_recommended(self) -> None:
        """Where money decides, a place that is cleaner and dearer is not taken, whatever is taken out of a list."""
        cheapest = Policy("cheapest", Objective.CHEAPEST, None)
        spec = service_spec(placement=PlacementRules(deny=("aws/s*",)))
        found = advice(candidate("aws/se", 30.0, usd=1.5), policy=cheapest, spec=spec)
        assert (found.answer, found.shadow_prices) == (Answer.STAY, ())
        cheaper = candidate("aws/se", 30.0, usd=0.5)
        (price,) = advice(cheaper, policy=cheapest, spec=spec).shadow_prices
        assert price.offer_id == cheaper.offer.id
        # The same change lets in what is cheaper still, and dirtier: that would be taken.
        cheapest_of_all = candidate("aws/sx", 650.0, usd=0.4)
        (price,) = advice(cheaper, cheapest_of_all, policy=cheapest, spec=spec).shadow_prices
        assert price.offer_id == cheapest_of_all.offer.id

    @pytest.mark.parametrize(
        "rules",
        [
            MigrationRules(enabled=False),
            MigrationRules(max_moves_per_day=0),
            MigrationRules(min_improvement_fraction=0.99),
        ],
    )
    def test_a_change_after_which_nobody_would_move_is_not_recommended(self, rules: MigrationRules) -> None:
        """What it costs is listed all the same: a first deploy would have gone there."""
        found = advice(CLEAN, spec=service_spec(placement=PlacementRules(deny=("aws/s*",)), migration=rules))
        assert (found.answer, [p.rule for p in found.shadow_prices]) == (Answer.STAY, ["placement.deny"])
        assert "would save" not in found.because

    def test_what_holds_a_move_back_for_a_while_is_said_beside_the_change(self) -> None:
        """A pause ends some day, and the limit would still be in the way then."""
        found = advice(CLEAN, spec=service_spec(placement=PlacementRules(deny=("aws/s*",))), paused=True)
        assert found.answer is Answer.CHANGE_THE_CONSTRAINT
        assert found.because.endswith("once this is over: rollout.paused: voluntary moves are paused")

    def test_what_the_budget_refuses_is_not_recommended(self) -> None:
        """The plan is there, and the controller would hold; a move would be refused."""
        made = plan(world(CLEAN), GREEN, NOON, keep_up=True)
        words = "r0 is not started in aws/se: usd_per_day"
        decision = replace(made.decision, kind=DecisionKind.HOLD, summary=f"hold: {words}")
        held = Afforded(replace(made, actions=(), decision=decision), (words,))
        found = advise(world(CLEAN), GREEN, NOON, held)
        assert (found.answer, found.because) == (Answer.STAY, f"hold: {words}")
        assert found.best is not None

    def test_a_dearer_move_says_what_a_tonne_would_have_to_be_worth(self) -> None:
        """Dollars of the whole horizon and of the move itself, over what it saves."""
        dear = candidate("aws/se", 30.0, usd=1.5)
        found = advice(dear)
        assert found.best is not None
        c = found.best.comparison
        assert c.move_usd is not None
        assert found.best.usd_per_tonne == pytest.approx((0.5 * c.horizon_hours + c.move_usd) / c.net_grams * 1e6)
        assert found.best.money_hours is None

    def test_a_cheaper_move_says_when_it_has_paid_for_itself(self) -> None:
        """The double run, over the dollars saved per hour; no tonne has to be worth anything."""
        found = advice(candidate("aws/se", 30.0, usd=0.5))
        assert found.best is not None
        assert found.best.comparison.move_usd is not None
        assert found.best.money_hours == pytest.approx(found.best.comparison.move_usd / 0.5)
        assert found.best.usd_per_tonne is None


class TestShadowPrices:
    def test_each_limit_by_itself(self) -> None:
        """Allow, residency, market, back-off, a cap, an own rule: every one with the change that lets the offer in."""
        spec = service_spec(placement=PlacementRules(allow=("aws/*",), residency=("EU",)))
        own = Policy(max_extra_cost_fraction=None, rules=(OfferRule("calm", 'region != "aws/own"'),))
        found = prices(
            world(
                candidate("gcp/fi", 80.0),
                candidate("aws/us", 60.0, residency=("US",)),
                candidate("aws/off", 50.0, market=Market.SPOT, usd=0.3),
                candidate("aws/full", 40.0, avoid_until=NOON + HOUR),
                candidate("aws/own", 35.0),
                spec=spec,
                providers=frozenset({"aws", "gcp"}),
            ),
            own,
        )
        assert {rule: p.change for rule, p in found.items()} == {
            "placement.allow": "add gcp/fi to placement.allow",
            "placement.residency": "add US to placement.residency",
            "resources.use_spot": "set resources.use_spot: true",
            "capacity": "get room for one more in aws/full",
            "policy.rules.calm": "drop the policy's rule calm",
        }
        assert found["capacity"].by == "+1 replica"
        assert found["placement.allow"].saved_fraction == pytest.approx(1 - 80 / 700)

    def test_money_limits_say_how_far(self) -> None:
        """The limit that is just enough, and by how many points or dollars it moves."""
        made = world(candidate("aws/se", 30.0, usd=1.25), candidate("aws/fr", 300.0, usd=1.05))
        found = prices(made, Policy(max_extra_cost_fraction=0.05))["policy.max_extra_cost"]
        assert (found.change, found.by) == ("raise policy.max_extra_cost to 25.0%", "+20.0 points")
        assert found.usd_per_hour_change == pytest.approx(0.20)
        assert found.saved_fraction == pytest.approx(0.9)

        capped = prices(made, Policy(max_extra_cost_fraction=None, price_cap_usd_per_hour=1.1))["policy.price_cap"]
        assert (capped.change, capped.by) == ("raise policy.price_cap to $1.2500/h", "+$0.1500/h")

    @pytest.mark.parametrize("usd", [1.2344, 1.23454, 1.25, 1.2500000001, 1.3])
    def test_a_limit_is_enough_as_it_is_written(self, usd: float) -> None:
        """Rounded up: whoever writes what they are told is not refused again."""
        made = world(candidate("aws/se", 30.0, usd=usd))
        bound = Policy(max_extra_cost_fraction=0.05)
        told = prices(made, bound)["policy.max_extra_cost"].change
        share = float(told.removeprefix("raise policy.max_extra_cost to ").removesuffix("%")) / 100
        assert usd - 1.0 <= share + 1e-12 < usd - 1.0 + 0.001 + 1e-12
        assert plan(made, replace(bound, max_extra_cost_fraction=share), NOON).actions

        capped = Policy(max_extra_cost_fraction=None, price_cap_usd_per_hour=1.0)
        told = prices(made, capped)["policy.price_cap"].change
        cap = float(told.removeprefix("raise policy.price_cap to $").removesuffix("/h"))
        assert usd <= cap < usd + 0.0001
        assert plan(made, replace(capped, price_cap_usd_per_hour=cap), NOON).actions

    def test_a_refusal_names_a_limit_that_is_enough(self) -> None:
        """Rounded to the nearest, the cap would still be below the price."""
        made = snapshot([candidate("aws/se", 30.0, usd=1.23454)], [], service_spec())
        capped = Policy(max_extra_cost_fraction=None, price_cap_usd_per_hour=1.0)
        with pytest.raises(NoFeasiblePlacement) as refused:
            plan(made, capped, NOON)
        assert "raise policy.price_cap to $1.2346/h" in refused.value.hint()
        assert plan(made, replace(capped, price_cap_usd_per_hour=1.2346), NOON).actions

    def test_a_refusal_names_all_that_keeps_the_nearest_offer_out(self) -> None:
        """Three rules of its own, none of which helps without the others; the law of where data may be comes last."""
        own = candidate("aws/us", 20.0, usd=2.0, residency=("US",))
        further = candidate("aws/uk", 10.0, usd=2.0, residency=("UK",), market=Market.SPOT)
        rules = PlacementRules(residency=("EU",), deny=("aws/u*",))
        capped = Policy(price_cap_usd_per_hour=1.0, max_extra_cost_fraction=None)
        with pytest.raises(NoFeasiblePlacement) as refused:
            plan(snapshot([further, own], [], service_spec(placement=rules)), capped, NOON)
        assert refused.value.hint() == (
            "Smallest change: take aws/u* out of placement.deny (aws/us:1xL4:on_demand), and"
            " raise policy.price_cap to $2.0000/h (+$1.0000/h, aws/us:1xL4:on_demand), and"
            " add US to placement.residency (aws/us:1xL4:on_demand)."
        )
        done = service_spec(placement=PlacementRules(residency=("EU", "US")))
        (action,) = plan(snapshot([further, own], [], done), replace(capped, price_cap_usd_per_hour=2.0), NOON).actions
        assert action.region == "aws/us"

    def test_what_is_unknown_is_no_limit(self) -> None:
        """A zone, a price or a PUE that nobody knows cannot be wished away."""
        unknown = (candidate("aws/x", 10.0, usd=None), candidate("aws/y", 10.0, pue=None))
        assert prices(world(*unknown)) == {}

    def test_so_many_in_one_region_has_its_price(self) -> None:
        """One stands where the grid is dirty, because there may be no second one in the clean place: say so."""
        made = crowded(1)
        price = prices(made)["placement.max_per_region"]
        assert (price.change, price.by) == ("raise placement.max_per_region to 2", "+1 replica")
        assert (price.offer_id, price.replicas, price.is_of_all) == (CLEAN.offer.id, 2, True)
        assert price.saved_fraction == pytest.approx(1 - 60 / 730)
        found = advise(made, GREEN, NOON)
        assert found.answer is Answer.CHANGE_THE_CONSTRAINT
        assert "to raise placement.max_per_region to 2 would save 92% of the carbon of all replicas" in found.because
        (action,) = plan(crowded(2), GREEN, NOON).actions
        assert action.region == CLEAN.offer.region.id

    def test_room_for_more_than_there_are_has_no_price(self) -> None:
        """Neither has a limit beyond which nothing would be saved, nor where money decides and it is the dearer."""
        assert "placement.max_per_region" not in prices(crowded(2))
        assert "placement.max_per_region" not in prices(crowded(1, clean=candidate("aws/se", 700.0)))
        cheapest = Policy("cheapest", Objective.CHEAPEST, None)
        assert "placement.max_per_region" not in prices(crowded(1, clean=candidate("aws/se", 30.0, usd=2.0)), cheapest)

    def test_a_place_without_any_carbon_may_be_full(self) -> None:
        """Nothing is greener than the best offer then, and the limit keeps the other one from it all the same."""
        price = prices(crowded(1, clean=candidate("aws/se", 0.0)))["placement.max_per_region"]
        assert price.saved_fraction == pytest.approx(1.0)

    def test_a_fleet_that_would_find_no_place_again_is_priced_by_where_it_stands(self) -> None:
        """The dirty place is sold out by now; whoever is there could move to the clean one."""
        made = crowded(1, dirty=replace(DIRTY, avoid_until=NOON + HOUR))
        assert chosen_anew(made, GREEN, NOON) is None
        assert prices(made)["placement.max_per_region"].saved_fraction == pytest.approx(1 - 60 / 730)

    def test_two_limits_at_once_are_not_blamed_on_one(self) -> None:
        """An offer that two rules keep out would not come in by either change."""
        spec = service_spec(placement=PlacementRules(deny=("gcp/*",), allow=("aws/*",)))
        made = world(candidate("gcp/fi", 30.0), spec=spec, providers=frozenset({"aws", "gcp"}))
        assert prices(made) == {}

    def test_the_change_does_what_it_says(self) -> None:
        """Made in the file, the plan moves there."""
        limit = Policy(max_extra_cost_fraction=0.05)
        made = world(candidate("aws/se", 30.0, usd=1.25))
        assert plan(made, limit, NOON).actions == ()
        needed = prices(made, limit)["policy.max_extra_cost"]
        (action,) = plan(made, replace(limit, max_extra_cost_fraction=0.25), NOON).actions
        assert action.offer_id == needed.offer_id


class TestHindsight:
    def past(self, *grams: float) -> CarbonSeries:
        """Hours up to noon, the last one just over."""
        return series("ZONE", list(grams), NOON - len(grams) * HOUR)

    def test_days_that_would_have_paid_are_counted(self) -> None:
        """By the hours that followed on each of them, and against the cost of the move."""
        found = advice(CLEAN)
        assert found.best is not None
        c = found.best.comparison
        hours = int(c.horizon_hours)
        days = LOOKED_BACK_DAYS
        length = days * 24 + hours
        here = self.past(*(700.0,) * length)
        there = self.past(*(30.0 if h < 10 * 24 else 900.0 for h in range(length)))
        seen = hindsight(c, here, there, NOON)
        assert seen.days == days
        assert 8 <= seen.right <= 10

    def test_holes_leave_days_out(self) -> None:
        """What is not known is neither right nor wrong."""
        found = advice(CLEAN)
        assert found.best is not None
        seen = hindsight(found.best.comparison, self.past(*(700.0,) * 30), self.past(), NOON)
        assert (seen.right, seen.days) == (0, 0)


def test_a_price_that_a_limit_does_not_let_in_flips_the_answer() -> None:
    """By default nothing may be 15 % dearer than the cheapest: five cents more keep the target out."""
    by_what = {f.what: f for f in advice(candidate("aws/se", 30.0, usd=1.1), policy=Policy()).flips}
    theirs = by_what["the price of aws/se:1xL4:on_demand"]
    assert (theirs.by, theirs.becomes) == (pytest.approx(0.05, abs=1e-5), "stay")
    assert by_what["the price of aws/pl:1xL4:on_demand"].by == pytest.approx(1.1 / 1.15 - 1.0, abs=1e-5)


def test_who_is_too_dear_now_bounds_what_may_be_paid_later() -> None:
    """The target is cheaper by far; once it is dearer, a third place says what it may cost."""
    bound = Policy(max_extra_cost_fraction=0.15)
    found = advice(candidate("aws/se", 30.0, usd=0.1), candidate("aws/fr", 695.0, usd=0.5), policy=bound)
    flip = next(f for f in found.flips if f.what == "the price of aws/se:1xL4:on_demand")
    assert (flip.by, flip.becomes) == (pytest.approx(0.5 * 1.15 - 0.1, abs=1e-5), "stay")


def test_by_a_score_every_number_in_it_flips_the_answer() -> None:
    """A price counts with its weight, and so do the grams that a grid makes of the same energy."""
    terms = (WeighedTerm("usd_per_hour", 1.0, "USD/h"), WeighedTerm("ahead_grams_per_hour", 0.005, "gCO2e/h"))
    score = Policy("score", Objective.LOWEST_SCORE, None, weigh=terms)
    dear = 1.3
    found = advice(candidate("aws/se", 30.0, usd=dear), policy=score)
    assert found.answer is Answer.MOVE_NOW
    flip = next(f for f in found.flips if f.what == "the price of aws/se:1xL4:on_demand")
    assert (flip.by > 0, flip.becomes) == (True, "stay")
    for by, answer in ((flip.by - 0.001, Answer.MOVE_NOW), (flip.by + 0.001, Answer.STAY)):
        assert advice(candidate("aws/se", 30.0, usd=dear + by), policy=score).answer is answer
    grid = next(f for f in found.flips if f.what == "the grid of aws/se")
    for by, answer in ((grid.by - 1.0, Answer.MOVE_NOW), (grid.by + 1.0, Answer.STAY)):
        assert advice(candidate("aws/se", 30.0 + by, usd=dear), policy=score).answer is answer


def test_the_runner_up_is_taken_before_anybody_stays() -> None:
    """Ten grams between two places decide where it goes; whoever is told of them finds the plan to be so."""
    near = (candidate("aws/a", 100.0), candidate("aws/b", 110.0))
    by_what = {f.what: f for f in advice(*near).flips}
    a, b = by_what["the grid of aws/a"], by_what["the grid of aws/b"]
    assert (a.by, b.by) == (pytest.approx(10.0, abs=1e-3), pytest.approx(-10.0, abs=1e-3))
    assert a.becomes == b.becomes == "move to aws/b:1xL4:on_demand instead"
    for grams, region in ((109.9, "aws/a"), (110.1, "aws/b")):
        (action,) = plan(world(candidate("aws/a", grams), near[1]), GREEN, NOON).actions
        assert action.region == region


def test_who_was_not_among_the_best_may_be_the_one_who_is_taken() -> None:
    """The clean place may cost 15 % more than the cheapest, which is the present one: that has to be dearer for it."""
    found = advice(candidate("aws/fr", 690.0, usd=1.1), candidate("aws/se", 30.0, usd=1.25), policy=Policy())
    assert found.answer is not Answer.MOVE_NOW
    flip = next(f for f in found.flips if f.what == "the price of aws/pl:1xL4:on_demand")
    assert flip.becomes == "move to aws/se:1xL4:on_demand"
    assert flip.by == pytest.approx(1.25 / 1.15 - 1.0, abs=1e-5)


def test_a_dwell_in_the_way_leaves_nothing_for_a_number_to_flip() -> None:
    """No price and no grid makes time pass."""
    rules = MigrationRules(min_dwell=timedelta(days=3))
    found = advice(CLEAN, spec=service_spec(migration=rules))
    assert found.answer is Answer.STAY
    assert found.flips == ()


def test_who_only_stands_in_is_not_of_the_fleet_that_is_chosen_anew() -> None:
    """A world without replicas asks for a stand-in for each on spot; their grams and dollars are not lasting ones."""
    spot, on_demand = candidate("aws/se", 30.0, market=Market.SPOT, usd=0.3), CLEAN
    spec = replace(service_spec(2, spot=True), scaling=Scaling(2, 2, dynamic_ondemand_fallback=True))
    found = chosen_anew(snapshot([spot, on_demand], [replica(spot, 0), replica(spot, 1)], spec), GREEN, NOON)
    assert found is not None
    assert [a.offer_id for a in found.offers] == [spot.offer.id] * 2
    assert found.usd == pytest.approx(0.6)
