"""Stay or move: every gram accounted for, every rule with its verdict."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain.carbon import Gap
from orchestrator.domain.decision import MoveComparison, Term, Verdict
from orchestrator.domain.offer import Candidate
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import CarbonRules, MigrationRules, Objective, Policy, ServiceSpec, WhenStale
from orchestrator.domain.time import HOUR
from orchestrator.planner.judged import judge
from orchestrator.planner.moves import COLD_START_POWER_FRACTION, compare
from orchestrator.planner.plan import plan
from tests.builders import (
    GREEN,
    L4,
    MINUTE,
    NOON,
    candidate,
    failed_rules,
    intensity,
    recomputed,
    replica,
    service_spec,
    shape,
    snapshot,
    stale,
)

DIRTY = candidate("aws/pl", 700.0)
CLEAN = candidate("aws/se", 30.0)
KWH = L4.watts(4.0) / 1000 * 1.1
"""Energy of either per hour: both run the same shape at the same PUE."""


def weighed(
    here: Candidate, there: Candidate, spec: ServiceSpec | None = None, policy: Policy = GREEN, **changes: Any
) -> MoveComparison:
    """Compare leaving ``here`` for ``there`` at noon, for a replica that has stood there for a day.

    ``tried``: replicas of earlier moves.
    """
    stays = replica(here, **changes.pop("replica", {}))
    world = snapshot([here, there], [stays, *changes.pop("tried", ())], spec, **changes)
    judged = judge(world, policy, NOON)
    from_side, to_side = judged.side(here.offer.id), judged.side(there.offer.id)
    assert from_side is not None
    assert to_side is not None
    return compare(stays, from_side, to_side, world, policy, NOON)


def term(comparison: MoveComparison, name: str) -> Term:
    """Return the term of that name."""
    (found,) = [t for t in comparison.terms if t.name == name]
    return found


def verdict(comparison: MoveComparison, rule: str) -> Verdict:
    """Return the verdict of that rule."""
    (found,) = [v for v in comparison.verdicts if v.rule == rule]
    return found


class TestAccounting:
    def test_the_terms_add_up_to_the_net(self) -> None:
        """Nothing is decided that the printed sum does not show."""
        found = weighed(DIRTY, CLEAN)
        assert sum(t.amount for t in found.terms) == pytest.approx(found.net_grams, abs=1e-9)
        assert found.saved_grams - found.cost_grams == pytest.approx(found.net_grams, abs=1e-9)

    def test_each_term_is_its_formula_applied_to_its_factors(self) -> None:
        """A reader can recompute every line by hand from what is printed."""
        for found in weighed(DIRTY, CLEAN), weighed(CLEAN, DIRTY):
            assert [t.name for t in found.terms] == ["stay", "move", "cold start", "overlap"]
            for line in found.terms:
                assert recomputed(line) == pytest.approx(line.amount, abs=1e-9)

    def test_staying_and_moving_are_energy_times_intensity(self) -> None:
        """Over a day of constant grids: 24 hours of each."""
        found = weighed(DIRTY, CLEAN)
        assert found.horizon_hours == 24
        assert term(found, "stay").amount == pytest.approx(KWH * 700 * 24)
        assert term(found, "move").amount == pytest.approx(-KWH * 30 * 24)

    def test_a_cold_start_draws_seventy_percent_at_the_new_place(self) -> None:
        """Full power of the new shape, its PUE, its grid, for as long as starts were seen to take."""
        found = weighed(DIRTY, candidate("aws/se", 30.0, pue=1.3), cold_start_seconds=600.0)
        assert COLD_START_POWER_FRACTION == 0.7
        assert term(found, "cold start").amount == pytest.approx(-0.7 * 0.3 * 1.3 * (600 / 3600) * 30)

    def test_the_overlap_is_paid_at_the_old_place(self) -> None:
        """The old replica draws what it draws until it has drained."""
        found = weighed(DIRTY, CLEAN, overlap_seconds=180.0)
        assert term(found, "overlap").amount == pytest.approx(-KWH * (180 / 3600) * 700)

    def test_switching_costs_dollars_too(self) -> None:
        """Both are paid for while the new one starts and the old one drains."""
        dear = candidate("aws/se", 30.0, usd=3.6)
        found = weighed(DIRTY, dear, cold_start_seconds=100.0, overlap_seconds=50.0)
        assert found.move_usd == pytest.approx(3.6 * 100 / 3600 + 1.0 * 50 / 3600)
        assert found.usd_per_hour_change == pytest.approx(2.6)

    def test_an_unknown_price_leaves_the_dollars_unknown(self) -> None:
        """Carbon can be weighed without them."""
        found = weighed(candidate("aws/pl", 700.0, usd=None), CLEAN)
        assert found.move_usd is None
        assert found.usd_per_hour_change is None
        assert found.net_usd is None

    def test_a_faster_grid_leaves_less_running_in_each_of_its_hours(self) -> None:
        """At clock rate 60 an hour of grid time holds a minute of running; switching stays physical."""
        real, replayed = weighed(DIRTY, CLEAN), weighed(DIRTY, CLEAN, clock_rate=60.0)
        assert replayed.saved_grams == pytest.approx(real.saved_grams / 60)
        assert replayed.cost_grams == pytest.approx(real.cost_grams)
        for line in replayed.terms:
            assert recomputed(line) == pytest.approx(line.amount, abs=1e-9)

    def test_without_known_energy_there_is_nothing_to_weigh(self) -> None:
        """No power model: no number, and no comparison that pretends to have one."""
        with pytest.raises(ValueError, match="unknown"):
            weighed(candidate("aws/pl", 700.0, on=shape(power=None)), CLEAN)

    def test_without_any_known_intensity_there_is_nothing_to_weigh(self) -> None:
        """Neither a present value nor a forecast: an overlap at "zero grams" would be a lie."""
        with pytest.raises(ValueError, match="unknown"):
            weighed(candidate("aws/pl", Gap("PL", "no data", "api")), CLEAN)

    def test_a_forecast_stands_in_for_a_missing_present(self) -> None:
        """Both hours and overlap then use this hour's forecast, and say so."""
        found = weighed(candidate("aws/pl", Gap("PL", "no data", "api"), ahead=[650.0] * 24), CLEAN)
        assert found.intensity_from[0] == 650.0
        priced_by = {f.name: f for f in term(found, "overlap").factors}["intensity"]
        assert (priced_by.value, priced_by.origin) == (650.0, "forecast")
        assert "carbon.fresh" in failed_rules(found.verdicts)


class TestHorizon:
    """A move is weighed over the coming hours up to where it pays most, but never less than it has to stay."""

    NO_DWELL = service_spec(migration=MigrationRules(min_dwell=timedelta(0)))

    def test_it_ends_where_staying_away_stops_paying(self) -> None:
        """Clean for five hours and dirty afterwards: five hours are counted."""
        until_five = candidate("aws/se", 30.0, ahead=[30.0] * 5 + [900.0] * 19)
        found = weighed(DIRTY, until_five, self.NO_DWELL)
        assert found.horizon_hours == 5
        assert found.intensity_to == (30.0,) * 5
        assert found.intensity_from == (700.0,) * 5

    def test_it_looks_across_a_bad_hour(self) -> None:
        """One dirty hour among clean ones does not end it, if the sum is larger behind it."""
        with_a_dip = candidate("aws/se", 30.0, ahead=[30.0] * 2 + [1000.0] + [30.0] * 21)
        assert weighed(DIRTY, with_a_dip, self.NO_DWELL).horizon_hours == 24

    def test_it_includes_the_hours_in_which_it_cannot_come_back(self) -> None:
        """With a dwell time of four hours the dirty hours two to four count as well."""
        one_hour = candidate("aws/se", 30.0, ahead=[30.0] + [900.0] * 23)
        spec = service_spec(migration=MigrationRules(min_dwell=210 * MINUTE))
        found = weighed(DIRTY, one_hour, spec)
        assert found.horizon_hours == 4
        assert found.saved_grams == pytest.approx(KWH * (670 - 3 * 200))

    def test_it_never_exceeds_the_policys(self) -> None:
        """A horizon of six hours sees six hours."""
        assert weighed(DIRTY, CLEAN, policy=replace(GREEN, horizon=6 * HOUR)).horizon_hours == 6

    def test_it_ends_at_a_hole(self) -> None:
        """What is not known on both sides is not counted on either."""
        known_for_three = candidate("aws/se", 30.0, ahead=[30.0] * 3 + [None] + [30.0] * 20)
        assert weighed(DIRTY, known_for_three).horizon_hours == 3
        assert weighed(known_for_three, DIRTY).horizon_hours == 2

    def test_the_first_hour_is_the_live_one(self) -> None:
        """The measured present goes before what was forecast for it."""
        surprised = candidate("aws/se", intensity("SE", 80.0), ahead=[30.0] * 24)
        assert weighed(DIRTY, surprised).intensity_to[:2] == (80.0, 30.0)

    def test_a_losing_move_is_shown_over_the_least_that_it_has_to_stay(self) -> None:
        """The horizon is never stretched to make a bad move look worse, nor shrunk below the dwell time."""
        found = weighed(CLEAN, DIRTY)
        assert found.horizon_hours == 2
        assert found.net_grams < 0


class TestPayback:
    def test_it_is_when_the_gains_have_repaid_the_cost(self) -> None:
        """Constant gains: cost over gain per hour."""
        found = weighed(DIRTY, CLEAN)
        assert found.payback_hours == pytest.approx(found.cost_grams / (KWH * 670))

    def test_it_is_interpolated_inside_the_hour(self) -> None:
        """Nothing gained in the first hour, the rest of the cost in the second."""
        slow = candidate("aws/se", 700.0, ahead=[700.0] + [30.0] * 23)
        found = weighed(DIRTY, slow)
        assert found.payback_hours == pytest.approx(1 + found.cost_grams / (KWH * 670))

    def test_losses_on_the_way_have_to_be_repaid_too(self) -> None:
        """First a worse hour, then better ones."""
        worse_first = candidate("aws/se", 900.0, ahead=[900.0] + [30.0] * 23)
        found = weighed(DIRTY, worse_first)
        assert found.payback_hours == pytest.approx(1 + (found.cost_grams + KWH * 200) / (KWH * 670))

    def test_what_never_repays_says_so(self) -> None:
        """Not infinity, not zero."""
        assert weighed(CLEAN, DIRTY).payback_hours is None


class TestRules:
    """Each soft rule blocks by itself, with its numbers."""

    def test_a_sound_move_passes_them_all(self) -> None:
        """From Poland to Sweden, a day in place, fresh numbers at both ends."""
        found = weighed(DIRTY, CLEAN)
        assert found.approved
        assert [v.rule for v in found.verdicts] == [
            "migration.enabled",
            "migration.min_dwell",
            "migration.max_moves_per_day",
            "migration.rest",
            "carbon.fresh",
            "carbon.fresh",
            "migration.min_improvement",
            "net_carbon",
            "migration.timing",
        ]

    def test_who_would_save_more_by_leaving_later_stays(self) -> None:
        """Where it is dirtier for five more hours and cleaner for the rest of the day, it goes in five hours."""
        here = candidate("aws/pl", 100.0, ahead=[100.0] * 24)
        there = candidate("aws/se", 150.0, ahead=[150.0] * 5 + [20.0] * 19)
        found = weighed(here, there)
        assert found.net_grams > 0
        assert failed_rules(found.verdicts) == {"migration.timing"}
        timing = verdict(found, "migration.timing")
        assert timing.text.startswith("begun 5 h later it saves ")
        assert (timing.limit, timing.unit) == (0.0, "gCO2e")
        # Going now, it would come back after the two hours of the dwell, at 50 g/kWh more, and then go again.
        assert KWH * 100 < -(timing.value or 0.0) < KWH * 250

    def test_who_would_have_to_come_back_stays(self) -> None:
        """Three clean hours pay for the way there, and not for the way back as well."""
        here = candidate("aws/pl", 300.0, ahead=[300.0] * 24)
        there = candidate("aws/se", 200.0, ahead=[200.0] * 3 + [900.0] * 21)
        spec = service_spec(migration=MigrationRules(min_improvement_fraction=0.0))
        found = weighed(here, there, spec, cold_start_seconds=5400.0)
        assert found.net_grams > 0
        assert failed_rules(found.verdicts) == {"migration.timing"}
        assert "with the way back" in verdict(found, "migration.timing").text
        lasting = candidate("aws/se", 200.0, ahead=[200.0] * 24)
        assert weighed(here, lasting, spec, cold_start_seconds=5400.0).approved

    def test_an_hour_that_is_worse_after_a_better_one_does_not_delay(self) -> None:
        """What is gained first pays for it."""
        here = candidate("aws/pl", 100.0, ahead=[100.0] * 24)
        there = candidate("aws/se", 20.0, ahead=[20.0, 150.0] + [20.0] * 22)
        assert weighed(here, there).approved

    @pytest.mark.parametrize(("hours_ago", "rests"), [(1, True), (23, True), (24, False)])
    @pytest.mark.parametrize(
        "change",
        [
            {"state": ReplicaState.FAILED, "reason": "engine_died: boom"},
            {"state": ReplicaState.TERMINATED, "reason": "aborted: 3 of 9 requests failed on it"},
            {"state": ReplicaState.LOST, "reason": "its process is gone", "weight_percent": 50},
        ],
        ids=["never-started", "aborted", "lost-on-the-way"],
    )
    def test_a_place_where_a_move_failed_is_left_alone_for_a_day(
        self, hours_ago: int, rests: bool, change: dict[str, Any]
    ) -> None:
        """The same mistake is not made all day long; other places are not concerned."""
        tried = replica(CLEAN, up_for=hours_ago * HOUR, name="tried", replaces="old", cleaned_up=True, **change)
        found = weighed(DIRTY, CLEAN, tried=(tried,))
        assert ("migration.rest" in failed_rules(found.verdicts)) is rests
        elsewhere = candidate("aws/fr", 30.0)
        assert weighed(DIRTY, elsewhere, tried=(tried,)).approved

    def test_a_place_that_was_only_sold_out_is_not(self) -> None:
        """Back-off keeps it from being asked too often, and that is enough."""
        reason = "no_capacity: none"
        tried = replica(
            CLEAN, state=ReplicaState.FAILED, up_for=HOUR, name="tried", replaces="old", reason=reason, cleaned_up=True
        )
        assert weighed(DIRTY, CLEAN, tried=(tried,)).approved

    def test_moves_can_be_switched_off(self) -> None:
        """migration.enabled: false."""
        off = service_spec(migration=MigrationRules(enabled=False))
        assert failed_rules(weighed(DIRTY, CLEAN, off).verdicts) == {"migration.enabled"}

    def test_moves_can_be_paused(self) -> None:
        """Greenctl rollout pause."""
        assert failed_rules(weighed(DIRTY, CLEAN, paused=True).verdicts) == {"rollout.paused"}

    @pytest.mark.parametrize(("minutes", "allowed"), [(120, True), (119, False), (0, False)])
    def test_a_replica_stays_for_a_while(self, minutes: int, allowed: bool) -> None:
        """Two hours by default, counted from ready; the limit itself is enough."""
        found = weighed(DIRTY, CLEAN, replica={"up_for": minutes * MINUTE})
        assert found.approved is allowed
        assert verdict(found, "migration.min_dwell").value == pytest.approx(minutes / 60)
        assert verdict(found, "migration.min_dwell").limit == 2.0

    @pytest.mark.parametrize(("made", "allowed"), [(5, True), (6, False), (9, False)])
    def test_moves_per_day_are_bounded(self, made: int, allowed: bool) -> None:
        """Six by default."""
        found = weighed(DIRTY, CLEAN, moves=tuple(NOON - h * HOUR for h in range(made)))
        assert found.approved is allowed
        assert verdict(found, "migration.max_moves_per_day").value == made

    @pytest.mark.parametrize("end", ["here", "there"])
    def test_a_stale_number_moves_nobody(self, end: str) -> None:
        """Neither toward the zone nor away from it, also where a stale number is good enough to place by."""
        old_here = replace(DIRTY, now=stale("PL", 700.0)) if end == "here" else DIRTY
        old_there = replace(CLEAN, now=stale("SE", 30.0)) if end == "there" else CLEAN
        for rule in (WhenStale.FORECAST, WhenStale.STATIC, WhenStale.IGNORE):
            spec = service_spec(carbon=CarbonRules(when_stale=rule))
            here = replace(old_here, trailing_mean_grams_per_kwh=700.0)
            there = replace(old_there, trailing_mean_grams_per_kwh=30.0)
            assert failed_rules(weighed(here, there, spec).verdicts) == {"carbon.fresh"}

    def test_a_misdated_number_moves_nobody(self) -> None:
        """A value dated tomorrow is not fresh, however young it looks."""
        tomorrow = replace(CLEAN, now=intensity("SE", 1.0, NOON + 24 * HOUR))
        found = weighed(DIRTY, tomorrow)
        assert "carbon.fresh" in failed_rules(found.verdicts)
        assert any("still to come" in v.text for v in found.verdicts)

    @pytest.mark.parametrize(("grams", "allowed"), [(50.0, True), (50.1, False)])
    def test_a_small_improvement_is_not_worth_the_trouble(self, grams: float, allowed: bool) -> None:
        """Half of it is asked for here; exactly half is enough."""
        spec = service_spec(migration=MigrationRules(min_improvement_fraction=0.5))
        found = weighed(candidate("aws/pl", 100.0), candidate("aws/se", grams), spec)
        assert verdict(found, "migration.min_improvement").passed is allowed
        assert verdict(found, "migration.min_improvement").limit == 0.5

    def test_unless_said_it_is_three_percent_by_the_hour_and_fifteen_of_what_is_taken_to_last(self) -> None:
        """Of what staying would emit, or cost."""
        for grams, allowed in ((96.9, True), (97.1, False)):
            found = weighed(candidate("aws/pl", 100.0), candidate("aws/se", grams))
            assert verdict(found, "migration.min_improvement").passed is allowed
        rules, asked = MigrationRules(), [Objective.GREENEST, Objective.CHEAPEST, Objective.LOWEST_SCORE]
        assert [rules.asked_of_move(o) for o in asked] == [0.03, 0.15, 0.15]
        assert rules.asked_of_exchange == 0.15
        said = MigrationRules(min_improvement_fraction=0.0)
        assert [said.asked_of_exchange, *(said.asked_of_move(o) for o in asked)] == [0.0] * 4

    def test_the_improvement_of_nothing_is_nothing(self) -> None:
        """From a grid at 0 g/kWh no move improves anything."""
        found = weighed(candidate("aws/pl", 0.0), CLEAN)
        assert verdict(found, "migration.min_improvement").value == 0.0

    def test_a_gain_smaller_than_the_cost_of_moving_is_no_gain(self) -> None:
        """The dead band is the cost of switching itself."""
        found = weighed(DIRTY, CLEAN, cold_start_seconds=600 * 3600.0)
        assert found.saved_grams > 0 > found.net_grams
        assert failed_rules(found.verdicts) == {"net_carbon"}
        assert "migration.timing" not in {v.rule for v in found.verdicts}, "what saves nothing is not asked when"


class TestCheapest:
    """With ``objective: cheapest`` a move is judged by money."""

    CHEAPEST = Policy(name="cheapest", objective=Objective.CHEAPEST, max_extra_cost_fraction=None)

    def test_it_moves_for_money(self) -> None:
        """Half the price, dirtier grid: approved, over the whole horizon of the policy."""
        found = weighed(candidate("aws/se", 30.0, usd=2.0), candidate("aws/pl", 700.0, usd=1.0), policy=self.CHEAPEST)
        assert found.approved
        assert found.net_grams < 0
        assert found.net_usd == pytest.approx(24 * 1.0 - (1.0 * 90 + 2.0 * 25) / 3600)
        assert verdict(found, "net_cost").value == found.net_usd

    def test_it_does_not_move_for_carbon(self) -> None:
        """The same price and a cleaner grid is no reason."""
        found = weighed(DIRTY, CLEAN, policy=self.CHEAPEST)
        assert failed_rules(found.verdicts) == {"migration.min_improvement", "net_cost"}

    @pytest.mark.parametrize(("usd", "allowed"), [(0.85, True), (0.86, False)])
    def test_the_least_improvement_is_one_of_money(self, usd: float, allowed: bool) -> None:
        """15 % cheaper at least."""
        found = weighed(DIRTY, candidate("aws/se", 30.0, usd=usd), policy=self.CHEAPEST)
        assert found.approved is allowed
        assert verdict(found, "migration.min_improvement").value == pytest.approx(1 - usd)

    def test_an_unknown_price_is_no_saving(self) -> None:
        """A replica whose present price is unknown does not move for money."""
        found = weighed(candidate("aws/pl", 700.0, usd=None), CLEAN, policy=self.CHEAPEST)
        assert "net_cost" in failed_rules(found.verdicts)

    def test_the_dearest_saving_goes_first(self) -> None:
        """Of several cheaper places the cheapest is chosen, not the cleanest: two hops would pay twice."""
        offers = [
            candidate("aws/se", 30.0, usd=3.0),
            candidate("aws/fr", 20.0, usd=2.0),
            candidate("aws/pl", 700.0, usd=1.0),
        ]
        made = plan(snapshot(offers, [replica(offers[0])]), self.CHEAPEST, NOON)
        assert [a.region for a in made.actions] == ["aws/pl"]


class TestTies:
    def test_of_equally_clean_places_the_cheaper_one_is_moved_to(self) -> None:
        """A dearer twin of an offer is never preferred for its name."""
        dear = candidate("aws/a", 30.0, zone="SE", usd=5.0)
        fair = candidate("aws/b", 30.0, zone="SE", usd=1.0)
        made = plan(snapshot([DIRTY, dear, fair], [replica(DIRTY)]), GREEN, NOON)
        assert [a.region for a in made.actions] == ["aws/b"]
