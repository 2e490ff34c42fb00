"""Whether the last idle replica may go: worked out by hand, by each objective, and not where something is unknown."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from orchestrator.domain.service import Objective, Policy, Scaling, WeighedTerm
from orchestrator.planner.sizing.idle import (
    LEAST_GAPS,
    BreakEven,
    Idle,
    Standing,
    break_even,
    expected_rest,
    judge_idle,
)
from orchestrator.planner.wanted import Need, may_sleep, wanted

PLACE = Standing(
    idle_watts=100.0,
    full_watts=600.0,
    pue=1.2,
    grams_per_kwh=300.0,
    usd_per_hour=3.6,
    cold_start_seconds=90.0,
    drain_seconds=10.0,
)
GREENEST = Policy(objective=Objective.GREENEST)
CHEAPEST = Policy(objective=Objective.CHEAPEST)
PRICED = Policy(
    objective=Objective.LOWEST_SCORE,
    weigh=(WeighedTerm("usd_per_hour", 1.0, "USD/h"), WeighedTerm("grams_per_hour", 0.01, "g/h")),
)
RULES = Scaling(0, 4, 2.0)
PAYS = Idle(may_sleep=True, because="no request for 400 s")


def quiet(until: float) -> list[Need]:
    return [Need(float(t), 0, 0, "0 requests/s of 2 each") for t in range(0, int(until) + 1, 5)]


class TestBreakEven:
    def test_in_grams_a_start_is_so_much_idling(self) -> None:
        """0.7 x 600 W for 90 s are 378 s of 100 W, and it draws for 10 s more while it drains."""
        even = break_even((PLACE,), GREENEST)
        assert even.seconds == pytest.approx(10.0 + 378.0)
        idling, start = even.figures[0], even.figures[1]
        assert (idling.unit, idling.value) == ("gCO2e/h", pytest.approx(0.1 * 1.2 * 300))
        assert (start.unit, start.value) == ("gCO2e", pytest.approx(0.7 * 0.6 * 90 / 3600 * 1.2 * 300))

    def test_in_dollars_rent_is_rent(self) -> None:
        """The machine is paid while it starts, and would have been while it idled."""
        assert break_even((PLACE,), CHEAPEST).seconds == pytest.approx(100.0)

    def test_by_a_score_grams_are_priced(self) -> None:
        """Both add up in the policy's own dollars: between the two times."""
        idling, start = 3.6 + 0.01 * 36.0, 0.09 + 0.01 * 3.78
        assert break_even((PLACE,), PRICED).seconds == pytest.approx(10.0 + start / idling * 3600)

    def test_in_grams_the_intensity_does_not_matter(self) -> None:
        """It is on both sides; without it the grams are not told, and the time is the same."""
        dark = break_even((replace(PLACE, grams_per_kwh=None, pue=None),), GREENEST)
        assert dark.seconds == break_even((PLACE,), GREENEST).seconds
        assert [f.unit for f in dark.figures] == ["USD/h", "USD"]

    def test_the_last_ones_are_judged_together(self) -> None:
        """A spare beside the last one doubles what idling costs, and what the starts cost as well."""
        for policy in (GREENEST, CHEAPEST, PRICED):
            one, two = break_even((PLACE,), policy), break_even((PLACE, PLACE), policy)
            assert two.seconds == pytest.approx(one.seconds)
            assert [f.value for f in two.figures] == [pytest.approx(2 * f.value) for f in one.figures]

    def test_of_two_places_the_dirtier_one_counts_for_more(self) -> None:
        """One idles at a third of its power and emits four times as much; where that is unknown, energy has its say."""
        thirsty = replace(PLACE, idle_watts=200.0, grams_per_kwh=1200.0)
        idling, starts = 0.1 * 300 + 0.2 * 1200, 0.7 * 0.6 * 90 / 3600 * (300 + 1200)
        assert break_even((PLACE, thirsty), GREENEST).seconds == pytest.approx(10.0 + starts / idling * 3600)
        dark = break_even((PLACE, replace(thirsty, grams_per_kwh=None)), GREENEST)
        assert dark.seconds == pytest.approx(10.0 + 2 * 0.7 * 0.6 * 90 / 0.3)

    @pytest.mark.parametrize(
        ("policy", "unknown"),
        [(GREENEST, "idle_watts"), (CHEAPEST, "usd_per_hour"), (PRICED, "usd_per_hour"), (PRICED, "grams_per_kwh")],
    )
    def test_what_is_unknown_is_not_nothing(self, policy: Policy, unknown: str) -> None:
        """Without the number that it minimises a policy cannot say that going pays."""
        even = break_even((PLACE, replace(PLACE, **{unknown: None})), policy)
        assert even.seconds is None
        judged = judge_idle(1e6, (), even, 300.0)
        assert (judged.may_sleep, "unknown" in judged.because) == (False, True)

    def test_where_idling_costs_nothing_it_stays(self) -> None:
        """A machine of one's own is free by the hour."""
        even = break_even((replace(PLACE, usd_per_hour=0.0),), CHEAPEST)
        assert even.seconds == inf
        assert not judge_idle(1e6, (), even, 300.0).may_sleep


class TestJudge:
    EVEN = BreakEven(388.0, "grams")

    def test_not_before_the_delay(self) -> None:
        """What the owner wrote comes first."""
        assert not judge_idle(299.0, (), BreakEven(100.0, "grams"), 300.0).may_sleep
        assert judge_idle(300.0, (), BreakEven(100.0, "grams"), 300.0).may_sleep

    def test_without_a_past_it_goes_when_idling_has_cost_a_start(self) -> None:
        """The ski-rental rule: at most twice what hindsight would have paid."""
        assert not judge_idle(387.0, (), self.EVEN, 300.0).may_sleep
        judged = judge_idle(388.0, (), self.EVEN, 300.0)
        assert judged.may_sleep
        assert judged.because == "no request for 388 s; a start costs as much as 388 s of idling in grams"

    def test_long_gaps_let_it_go_at_once(self) -> None:
        """Nights of hours: nobody waits for the break-even."""
        judged = judge_idle(300.0, (7200.0,) * LEAST_GAPS, self.EVEN, 300.0)
        assert judged.may_sleep
        assert "none for 115 min more" in judged.because
        assert next(f.value for f in judged.figures if f.name == "expected rest") == 6900.0

    def test_short_gaps_keep_it(self) -> None:
        """Requests that come again before the break-even."""
        assert not judge_idle(310.0, (330.0,) * 20, self.EVEN, 300.0).may_sleep

    def test_two_gaps_are_no_past(self) -> None:
        """Too few say nothing, and what is over already says nothing of the rest."""
        assert expected_rest((9000.0,) * (LEAST_GAPS - 1), 300.0) is None
        assert expected_rest((200.0,) * 50, 300.0) is None


class TestWanted:
    def test_load_alone_never_takes_the_last(self) -> None:
        """An hour without a request, and nobody has weighed a start against it."""
        assert wanted(1, quiet(3600), RULES, 3600, 0.0).replicas == 1
        assert wanted(1, quiet(3600), RULES, 3600, 0.0, Idle(because="not to zero yet")).replicas == 1

    def test_the_last_goes_where_that_pays(self) -> None:
        """From one to none, and never from two."""
        found = wanted(1, quiet(3600), RULES, 3600, 0.0, PAYS)
        assert (found.replicas, found.least, found.because) == (0, 0, PAYS.because)
        assert wanted(2, quiet(3600), RULES, 3600, 0.0, PAYS).replicas == 1

    def test_a_service_of_at_least_one_keeps_it(self) -> None:
        """min_replicas is obeyed whatever pays."""
        assert wanted(1, quiet(3600), Scaling(1, 4, 2.0), 3600, 0.0, PAYS).replicas == 1
        assert not may_sleep(Scaling(1, 4))
        assert not may_sleep(Scaling(0, 0))

    def test_load_that_is_there_goes_first(self) -> None:
        """Two are needed: nobody speaks of none."""
        trail = [Need(0.0, 2, 2, "4 requests/s of 2 each")]
        assert wanted(1, trail, RULES, 0.0, 0.0, PAYS).replicas == 2

    def test_it_wakes_at_once(self) -> None:
        """No delay of scaling up holds for somebody who waits."""
        rules = replace(RULES, upscale_delay=RULES.downscale_delay)
        woken = wanted(0, quiet(10), rules, 10, 0.0, Idle(wakes=True, because="1 request waits while nobody serves"))
        assert (woken.replicas, woken.needed) == (1, 1)
        assert woken.words == "1 replica: 1 request waits while nobody serves"

    def test_it_wakes_to_what_is_needed_and_may_be(self) -> None:
        """A crowd at the door wants more than one."""
        trail = [Need(0.0, 9, None, "18 requests/s of 2 each")]
        assert wanted(0, trail, RULES, 0.0, 0.0, Idle(wakes=True, because="…")).replicas == 4

    @pytest.mark.parametrize("idle", [None, Idle()])
    def test_it_sleeps_on(self, idle: Idle | None) -> None:
        """Neither silence nor no request is a reason."""
        assert wanted(0, quiet(10), RULES, 10, 0.0, idle).replicas == 0
