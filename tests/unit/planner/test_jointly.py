"""Slots that are filled together, and the proof that comes with a plan."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.certificate import Certificate, Rung
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.plan import Plan
from orchestrator.domain.price import Market
from orchestrator.domain.service import (
    MigrationRules,
    ModelSpec,
    Objective,
    PlacementRules,
    Policy,
    Scaling,
    ServiceSpec,
    SpotPlacer,
    WeighedTerm,
    WhenUnknown,
)
from orchestrator.domain.time import HOUR
from orchestrator.planner.plan import plan, plan_migration
from orchestrator.planner.snapshot import Hedging
from tests.builders import GREEN, NOON, candidate, replica, service_spec, snapshot, stale

SPOT = Market.SPOT
SE, SE_SPOT = candidate("aws/se", 30.0), candidate("aws/se", 30.0, usd=0.3, market=SPOT)
FI = candidate("gcp/fi", 36.0)
PL_SPOT = candidate("aws/pl", 700.0, usd=0.3, market=SPOT)
FR_SPOT = candidate("aws/fr", 60.0, usd=0.3, market=SPOT)
CONTESTED = (SE, SE_SPOT, FI, PL_SPOT)


def mixed(most: int | None = 1, **scaling: object) -> ServiceSpec:
    """One replica that is always on demand, and one on spot."""
    spec = service_spec(2, spot=True, placement=PlacementRules(max_per_region=most))
    knobs = {"base_ondemand_fallback_replicas": 1, **scaling}
    return replace(spec, scaling=replace(Scaling(2, 2), **knobs))  # type: ignore[arg-type]


def proof_of(made: Plan) -> Certificate:
    """Return the proof, which has to be there."""
    assert made.decision.certificate is not None
    return made.decision.certificate


def bought(made: Plan) -> list[str]:
    """Return what is bought, by slot."""
    return [a.offer_id for a in sorted(made.actions, key=lambda a: a.slot)]


class TestTogether:
    def test_one_does_not_take_the_place_that_only_another_one_needs(self) -> None:
        """On demand goes to Finland, a little dirtier, because Sweden is the only clean place that sells spot."""
        made = plan(snapshot(CONTESTED, spec=mixed()), GREEN, NOON)
        assert bought(made) == ["gcp/fi:1xL4:on_demand", "aws/se:1xL4:spot"]

    def test_the_proof_says_what_it_costs_and_what_one_by_one_would(self) -> None:
        """Grams over the horizon; nothing costs less."""
        world = snapshot(CONTESTED, spec=mixed())
        proof = proof_of(plan(world, GREEN, NOON))
        grams = {a.offer_id: a.expected_grams_per_hour or 0.0 for a in plan(world, GREEN, NOON).decision.assessments}
        assert proof.objective == pytest.approx(24 * (grams[FI.offer.id] + grams[SE_SPOT.offer.id]))
        assert proof.greedy == pytest.approx(24 * (grams[SE.offer.id] + grams[PL_SPOT.offer.id]))
        assert (proof.bound, proof.gap, proof.rung) == (proof.objective, 0.0, Rung.EXACT)
        assert proof.words == "proven best: gap 0 %"
        assert (proof.of, proof.unit, proof.hours) == ("the 2 replicas launched", "gCO2e", 24.0)

    def test_a_slot_that_one_by_one_finds_no_room_is_filled(self) -> None:
        """Where Poland is not to be had, choosing one by one leaves the spot slot empty."""
        made = plan(snapshot((SE, SE_SPOT, FI), spec=mixed()), GREEN, NOON)
        assert bought(made) == ["gcp/fi:1xL4:on_demand", "aws/se:1xL4:spot"]
        assert proof_of(made).greedy is None

    def test_where_there_is_no_contest_the_first_choice_stays(self) -> None:
        """Both go to Sweden where two may."""
        made = plan(snapshot(CONTESTED, spec=mixed(most=2)), GREEN, NOON)
        assert bought(made) == ["aws/se:1xL4:on_demand", "aws/se:1xL4:spot"]
        assert proof_of(made).greedy == proof_of(made).objective

    def test_spreading_comes_before_the_grid(self) -> None:
        """Two spot replicas that are to be spread take two regions, and the on-demand one leaves them their seats."""
        spec = mixed(spot_placer=SpotPlacer.DYNAMIC_FALLBACK, min_replicas=3, max_replicas=3)
        made = plan(snapshot((SE, SE_SPOT, FI, FR_SPOT), spec=spec), GREEN, NOON)
        assert bought(made) == ["gcp/fi:1xL4:on_demand", "aws/se:1xL4:spot", "aws/fr:1xL4:spot"]

    def test_regions_that_fall_together_are_not_taken_for_a_few_grams(self) -> None:
        """France is cleaner than Poland, and falls together with Sweden: what spreads further stays."""
        spec = mixed(most=None, base_ondemand_fallback_replicas=0, spot_placer=SpotPlacer.DYNAMIC_FALLBACK)
        falls = Hedging(0, 0.99, 0.9, "enough", {"aws/se": "north", "aws/fr": "north"})
        world = snapshot((SE_SPOT, FR_SPOT, PL_SPOT), spec=spec)
        assert bought(plan(world, GREEN, NOON)) == ["aws/se:1xL4:spot", "aws/fr:1xL4:spot"]
        assert bought(plan(replace(world, hedging=falls), GREEN, NOON)) == ["aws/se:1xL4:spot", "aws/pl:1xL4:spot"]

    def test_the_frontier_is_seated_together_too(self) -> None:
        """No plan is greener than the greenest end."""
        made = plan(snapshot(CONTESTED, spec=mixed()), GREEN, NOON)
        greenest = made.frontier[1]
        assert greenest.name == "greenest"
        assert sorted(greenest.placement) == sorted(bought(made))


class TestLadder:
    def test_without_time_slots_are_filled_one_by_one_and_the_proof_says_so(self) -> None:
        """As safe as ever; the bound is what each slot would cost if it were alone."""
        world = snapshot(CONTESTED, spec=mixed())
        made = plan(world, GREEN, NOON, budget=lambda: 0.0)
        proof, best = proof_of(made), proof_of(plan(world, GREEN, NOON))
        assert bought(made) == ["aws/se:1xL4:on_demand", "aws/pl:1xL4:spot"]
        assert proof.rung is Rung.GREEDY
        assert proof.objective == proof.greedy == best.greedy
        assert proof.bound <= best.bound
        assert proof.gap > 0.5

    def test_the_time_spent_comes_from_outside(self) -> None:
        """The planner looks at no clock: what the budget has lost is what it took."""
        left = iter([2.0] * 100)
        assert proof_of(plan(snapshot(CONTESTED, spec=mixed()), GREEN, NOON)).seconds is None
        made = plan(snapshot(CONTESTED, spec=mixed()), GREEN, NOON, budget=lambda: next(left))
        assert proof_of(made).seconds == 0.0


class TestWhatIsProven:
    @pytest.mark.parametrize(
        ("objective", "unit", "cost"),
        [(Objective.GREENEST, "gCO2e", None), (Objective.CHEAPEST, "USD", 24 * 0.8)],
    )
    def test_in_the_unit_of_what_is_minimised(self, objective: Objective, unit: str, cost: float | None) -> None:
        """Grams where grams are, dollars where dollars are."""
        world = snapshot([candidate("aws/se", 30.0, usd=0.8), FI])
        proof = proof_of(plan(world, replace(GREEN, objective=objective), NOON))
        assert proof.unit == unit
        assert cost is None or proof.objective == pytest.approx(cost)

    def test_a_score_is_in_dollars_by_the_weights(self) -> None:
        """The policy's own terms, and nothing where one of them is unknown."""
        policy = Policy(objective=Objective.LOWEST_SCORE, weigh=(WeighedTerm("usd_per_hour", 1.0, "USD/h"),))
        assert proof_of(plan(snapshot([SE, FI]), policy, NOON)).objective == pytest.approx(24.0)
        lost = WeighedTerm("usual_grams_per_kwh", 1e-3, "g/kWh", WhenUnknown.LAST)
        unknown = replace(policy, weigh=(lost,))
        assert plan(snapshot([SE, FI]), unknown, NOON).decision.certificate is None

    def test_who_may_not_move_yet_is_told_what_that_costs(self) -> None:
        """Poland to Sweden saves nearly all; the dwell holds it, and the gap is that part."""
        pole = candidate("aws/pl", 700.0)
        made = plan(snapshot([SE, pole], [replica(pole, up_for=HOUR)]), GREEN, NOON)
        proof, best = proof_of(made), made.decision.comparisons[0]
        assert made.decision.kind is DecisionKind.STAY
        assert proof.rung is Rung.BOUNDED
        assert proof.objective - proof.bound == pytest.approx(best.net_grams)
        assert proof.of == "where the replica stands; the rules of moving hold back the rest"

    def test_the_terms_of_a_move_are_the_difference_of_two_plans(self) -> None:
        """The objective of staying less that of moving is what the comparison's terms add up to."""
        pole = candidate("aws/pl", 700.0)
        world = snapshot([SE, pole], [replica(pole)])
        off = replace(world, spec=replace(world.spec, migration=MigrationRules(enabled=False)))
        moved, stayed = plan(world, GREEN, NOON), plan(off, GREEN, NOON)
        assert moved.decision.kind is DecisionKind.MOVE
        terms = moved.decision.comparisons[0].terms
        saved = proof_of(stayed).objective - proof_of(moved).objective
        assert saved == pytest.approx(sum(t.amount for t in terms), abs=1e-6)
        assert proof_of(moved).gap == 0.0

    def test_a_settled_service_in_the_best_place_is_proven_to_be_there(self) -> None:
        """Staying is the best there is."""
        assert proof_of(plan(snapshot([SE, FI], [replica(SE)]), GREEN, NOON)).words == "proven best: gap 0 %"

    def test_where_everybody_is_in_the_way_the_bound_holds_all_the_same(self) -> None:
        """Two replicas cannot swap one by one; the bound counts moves into seats that others hold."""
        pole = candidate("aws/pl", 700.0)
        spec = service_spec(2, placement=PlacementRules(max_per_region=1))
        made = plan(snapshot([SE, pole], [replica(SE, 0), replica(pole, 1)], spec), GREEN, NOON)
        assert made.actions == ()
        assert proof_of(made).gap > 0.5

    def test_nothing_is_proven_of_what_is_unknown(self) -> None:
        """Neither of a place without a number, nor of a plan that chooses nothing."""
        dark = candidate("aws/pl", stale("PL", 700.0))
        assert plan(snapshot([SE, dark], [replica(dark)]), GREEN, NOON).decision.certificate is None
        world = snapshot([SE], [replica(SE)], taking_down=True)
        assert plan(world, GREEN, NOON).decision.certificate is None

    def test_the_hours_are_those_that_were_summed_up(self) -> None:
        """Of two weeks six hours are known: it says so, and does not call their sum one of two weeks."""
        here, there = (candidate(f"aws/{name}", 500.0, ahead=[500.0] * 6) for name in ("here", "there"))
        made = plan(snapshot([here, there], [replica(here)]), replace(GREEN, horizon=timedelta(days=14)), NOON)
        (line,) = (a for a in made.decision.assessments if a.region == "aws/here")
        assert line.grams_per_hour is not None
        assert proof_of(made).hours == 6.0
        assert proof_of(made).objective == pytest.approx(6 * line.grams_per_hour)

    def test_sums_over_different_hours_are_no_sum(self) -> None:
        """Where one replica's hours are known further than the other's, nothing is proven of both."""
        near, far = candidate("aws/near", 30.0, ahead=[30.0] * 6), candidate("aws/far", 30.0)
        world = snapshot([near, far], [replica(near, 0), replica(far, 1)], service_spec(2))
        assert plan(world, GREEN, NOON).decision.certificate is None

    def test_nothing_is_proven_of_a_launch_into_unknown_hours(self) -> None:
        """It is made, because nothing better is known, and its day has no cost."""
        dusk = candidate("aws/se", 30.0, ahead=[30.0] * 6)
        made = plan(snapshot([dusk]), GREEN, NOON)
        assert bought(made) == ["aws/se:1xL4:on_demand"]
        assert made.decision.certificate is None

    def test_a_move_that_a_person_asks_for_goes_to_the_best_of_what_they_name(self) -> None:
        """All offers there were tried."""
        world = snapshot([SE, FI], [replica(SE, up_for=timedelta(hours=1))])
        made = plan_migration(world, GREEN, NOON, replica=None, to_region=None, actor="ada", reason="")
        assert proof_of(made).of == "where the replica goes"
        assert proof_of(made).rung is Rung.EXACT

    def test_where_a_person_names_the_region_that_is_all_that_is_proven(self) -> None:
        """The best of coal is not the best there is, and nothing says so."""
        world = snapshot([SE, FI, self.COAL], [replica(SE, up_for=timedelta(hours=1))])
        made = plan_migration(world, GREEN, NOON, replica=None, to_region="aws/pl", actor="ada", reason="")
        assert proof_of(made).of == "where the replica goes within aws/pl"
        assert proof_of(made).rung is Rung.EXACT

    COAL = candidate("aws/pl", 700.0)

    def moved_off_coal(self, weights_from: str, **rules: int) -> Certificate:
        """Prove where the first replica goes that a rule drives out, with the weights somewhere; a second stands."""
        near, far = candidate("aws/fr", 60.0), candidate("aws/se", 55.0)
        model = ModelSpec("org/model-70b", weights_from=weights_from)
        placement = PlacementRules(deny=("aws/pl",), **rules)
        spec = replace(service_spec(2, placement=placement), model=model)
        here = snapshot([near, far, self.COAL], spec=spec)
        stands = [replica(on, n, workload_digest=here.workload_digest) for n, on in enumerate((self.COAL, far))]
        made = plan(replace(here, replicas=tuple(stands)), GREEN, NOON)
        assert [a.reason for a in made.actions] == ["denied by aws/pl"]
        return proof_of(made)

    def test_who_has_to_move_fetches_its_weights_and_that_is_proven(self) -> None:
        """Like a launch: beside the weights it is dirtier to run and, with the way of the weights, cleaner to be."""
        beside, anywhere = self.moved_off_coal("aws/fr"), self.moved_off_coal("at-hand")
        assert beside.rung is anywhere.rung is Rung.EXACT
        assert beside.objective > anywhere.objective * 60.0 / 55.0

    def test_what_a_rule_costs_who_has_to_move_is_no_gap(self) -> None:
        """A region that is full is no place to go to."""
        assert self.moved_off_coal("at-hand", max_per_region=1).rung is Rung.EXACT


class TestMoves:
    """Where nothing is to be filled, time bounds the weighing of moves."""

    HERE, THERE = candidate("aws/pl", 700.0), candidate("aws/se", 30.0)

    def test_time_that_is_up_moves_nobody_and_says_so(self) -> None:
        """A move that pays is not made half weighed: what runs is frozen, with the least that is known as its bound."""
        world = snapshot([self.HERE, self.THERE], [replica(self.HERE)])
        assert plan(world, GREEN, NOON).decision.kind is DecisionKind.MOVE
        made = plan(world, GREEN, NOON, budget=lambda: 0.0)
        assert made.actions == ()
        assert made.decision.kind is DecisionKind.STAY
        assert made.decision.summary == "stay: the time for thinking was up before every move was weighed"
        certificate = made.decision.certificate
        assert certificate is not None
        assert (certificate.rung, certificate.bound) == (Rung.FROZEN, 0.0)
        assert certificate.objective > 0

    def test_time_that_is_up_between_two_replicas_moves_neither(self) -> None:
        """The first one's best move may not be the best of all."""
        also = candidate("aws/de", 700.0)
        places = [self.HERE, also, self.THERE]
        world = snapshot(places, [replica(self.HERE, 0), replica(also, 1)], service_spec(2))
        left = iter([2.0] * 3)
        assert plan(world, GREEN, NOON, budget=lambda: next(left, 0.0)).actions == ()

    def test_time_that_is_up_keeps_no_move_back_that_no_other_can_beat(self) -> None:
        """What is not weighed yet saves less even if moving were free."""
        also = candidate("aws/de", 300.0)
        world = snapshot([self.HERE, also, self.THERE], [replica(self.HERE, 0), replica(also, 1)], service_spec(2))
        left = iter([2.0] * 3)
        made = plan(world, GREEN, NOON, budget=lambda: next(left, 0.0))
        unhurried = plan(world, GREEN, NOON)
        assert [(a.replica, a.region) for a in made.actions] == [("gc-test-chat-0", "aws/se")]
        assert made.actions == unhurried.actions
        certificate = proof_of(made)
        assert certificate.of == "where 2 replicas stand; there was no time to weigh every move"
        assert certificate.bound <= proof_of(unhurried).bound
