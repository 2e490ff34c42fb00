"""Filling free slots with the best allowed offers."""

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.domain.carbon import Gap
from orchestrator.domain.decision import Assessment
from orchestrator.domain.offer import Candidate
from orchestrator.domain.price import Market
from orchestrator.domain.service import Objective, PlacementRules, Policy
from orchestrator.planner.choose import choose, rank, total
from orchestrator.planner.frontier import frontier
from orchestrator.planner.judged import Judged, judge
from orchestrator.policy.assess import assess_all
from tests.builders import GREEN, NOON, PROVIDERS, candidate, intensity, service_spec, shape, snapshot

ANYWHERE = PlacementRules()


def judged(candidates: Sequence[Candidate], policy: Policy = GREEN) -> tuple[Assessment, ...]:
    """Judge offers at noon."""
    return assess_all(candidates, service_spec(), policy, NOON, 4.0, PROVIDERS)


def weighed(candidates: Sequence[Candidate], policy: Policy = GREEN, rules: PlacementRules = ANYWHERE) -> Judged:
    """The same, for a service with such rules."""
    return judge(snapshot(candidates, spec=service_spec(placement=rules)), policy, NOON)


def picked(
    candidates: Sequence[Candidate],
    count: int = 1,
    occupied: Sequence[str] = (),
    rules: PlacementRules = ANYWHERE,
    objective: Objective = Objective.GREENEST,
) -> list[str]:
    """Choose; the regions in the order of choice."""
    return [a.region for a in choose(judged(candidates), count, occupied, rules, objective)]


GREEN_DEAR = candidate("aws/se", 30.0, usd=2.0)
BROWN_CHEAP = candidate("aws/pl", 700.0, usd=1.0)
MIDDLING = candidate("aws/fr", 60.0, usd=1.5)
ALL = (BROWN_CHEAP, GREEN_DEAR, MIDDLING)


class TestOrder:
    def test_the_objective_decides(self) -> None:
        """Greenest and cheapest choose opposite ends here."""
        assert picked(ALL) == ["aws/se"]
        assert picked(ALL, objective=Objective.CHEAPEST) == ["aws/pl"]

    def test_the_coming_hours_decide_not_the_present_one(self) -> None:
        """Clean at noon and dirty all night loses to always middling."""
        sunny = candidate("aws/de", 20.0, ahead=[20.0] * 3 + [500.0] * 21)
        assert picked([sunny, MIDDLING]) == ["aws/fr"]

    def test_a_frugal_shape_beats_a_clean_grid(self) -> None:
        """What counts is grams per hour: energy times intensity, PUE included."""
        wasteful = candidate("aws/se", 30.0, pue=1.9)
        frugal = candidate("aws/no", 40.0, pue=1.1)
        assert picked([wasteful, frugal]) == ["aws/no"]

    @pytest.mark.parametrize("objective", list(Objective))
    def test_equals_are_settled_by_the_other_quantity(self, objective: Objective) -> None:
        """Of two equally clean offers the cheaper one is taken, of two equally cheap ones the cleaner."""
        same_grid = [candidate("aws/b", 30.0, zone="SE", usd=1.0), candidate("aws/a", 30.0, zone="SE", usd=1.2)]
        same_price = [candidate("aws/b", 30.0, usd=1.0), candidate("aws/a", 50.0, usd=1.0)]
        assert picked(same_grid, objective=objective) == ["aws/b"]
        assert picked(same_price, objective=objective) == ["aws/b"]

    def test_complete_equals_are_settled_by_name(self) -> None:
        """Somebody has to win, and always the same one."""
        twins = [candidate("gcp/x", 30.0, zone="SE"), candidate("aws/x", 30.0, zone="SE")]
        assert picked(twins) == picked(twins[::-1]) == ["aws/x"]

    def test_unknown_ranks_last(self) -> None:
        """An offer without price or grid stands behind every known one, whatever is minimised."""
        unpriced, known = judged([candidate("aws/a", 30.0, usd=None), BROWN_CHEAP])
        assert rank(unpriced, Objective.CHEAPEST) > rank(known, Objective.CHEAPEST)
        unlit, _ = judged([candidate("aws/a", Gap("A", "no data", "api")), BROWN_CHEAP])
        assert rank(unlit, Objective.GREENEST) > rank(known, Objective.GREENEST)

    def test_hours_that_nobody_knows_attract_nobody(self) -> None:
        """Whose nights are dirty and told comes before whose nights are not told; the cheaper of two equals goes on."""
        untold = candidate("aws/x", 50.0, ahead=[50.0] * 5 + [None] * 15 + [50.0] * 5)
        assert picked([untold, BROWN_CHEAP]) == ["aws/pl"]
        assert picked([untold]) == ["aws/x"]
        twin = candidate("aws/w", 60.0, ahead=[60.0] * 24)
        assert picked([untold, twin], objective=Objective.CHEAPEST) == ["aws/w"]

    def test_among_unknown_days_the_present_hour_decides(self) -> None:
        """It is known of all of them, before their first day is over as well, and the price does not come first."""
        dear = candidate("aws/se", intensity("SE", 30.0), usd=1.1)
        cheap = candidate("aws/de", intensity("DE", 400.0), ahead=[400.0] * 20, usd=1.0)
        assert picked([cheap, dear]) == ["aws/se"]
        assert picked([cheap, dear], objective=Objective.CHEAPEST) == ["aws/de"]


class TestRoom:
    def test_the_best_is_taken_as_often_as_wanted(self) -> None:
        """Without a limit all replicas stand in the best place."""
        assert picked(ALL, 3) == ["aws/se"] * 3

    def test_a_full_region_passes_to_the_next_best(self) -> None:
        """max_per_region spreads, best first."""
        assert picked(ALL, 3, rules=PlacementRules(max_per_region=1)) == ["aws/se", "aws/fr", "aws/pl"]
        assert picked(ALL, 3, rules=PlacementRules(max_per_region=2)) == ["aws/se", "aws/se", "aws/fr"]

    def test_those_that_stay_take_room(self) -> None:
        """The limit counts every replica of the service, not only the new ones."""
        assert picked(ALL, 1, occupied=["aws/se"], rules=PlacementRules(max_per_region=1)) == ["aws/fr"]

    def test_the_limit_is_the_regions_not_the_offers(self) -> None:
        """Two shapes in one region share its room."""
        two_shapes = [candidate("aws/se", 30.0), candidate("aws/se", 31.0, on=shape("2xL4")), MIDDLING]
        assert picked(two_shapes, 2, rules=PlacementRules(max_per_region=1)) == ["aws/se", "aws/fr"]

    def test_too_little_room_gives_fewer(self) -> None:
        """The caller sees how many could be placed; nothing is squeezed in."""
        assert picked(ALL, 5, rules=PlacementRules(max_per_region=1)) == ["aws/se", "aws/fr", "aws/pl"]
        assert picked([], 1) == []
        assert picked(ALL, 0) == []

    def test_what_is_not_allowed_is_not_chosen(self) -> None:
        """However green."""
        assert picked([candidate("aws/no", 1.0, usd=None), GREEN_DEAR]) == ["aws/se"]


class TestTotals:
    def test_they_are_sums(self) -> None:
        """Two different offers add up in energy, carbon and money."""
        found = total(judged([GREEN_DEAR, BROWN_CHEAP]))
        one, two = judged([GREEN_DEAR, BROWN_CHEAP])
        assert found.replicas == 2
        assert found.usd_per_hour == 3.0
        assert found.grams_per_hour == pytest.approx((one.grams_per_hour or 0) + (two.grams_per_hour or 0))

    @pytest.mark.parametrize(
        ("field", "unknown"),
        [
            ("usd_per_hour", {"usd": None}),
            ("kwh_per_hour", {"pue": None}),
            ("grams_per_hour", {"grams": Gap("X", "no data", "api")}),
        ],
    )
    def test_one_unknown_part_makes_the_sum_unknown(self, field: str, unknown: dict[str, Any]) -> None:
        """A sum that leaves out what it does not know would look like a saving."""
        partly = candidate("aws/x", **{"grams": 30.0, **unknown})
        assert getattr(total(judged([partly, MIDDLING])), field) is None

    def test_nothing_costs_nothing(self) -> None:
        """No replicas: zero is known here."""
        assert total(()).usd_per_hour == 0


class TestFrontier:
    def test_both_ends_are_shown(self) -> None:
        """What the cheapest and the greenest would be, for the same number of replicas."""
        cheapest, greenest = frontier(weighed(ALL), [Market.ON_DEMAND] * 2, ())
        assert (cheapest.name, greenest.name) == ("cheapest", "greenest")
        assert cheapest.placement == ("aws/pl:1xL4:on_demand",) * 2
        assert greenest.placement == ("aws/se:1xL4:on_demand",) * 2
        assert greenest.totals.usd_per_hour == 4.0

    def test_the_green_end_ignores_only_what_is_about_money(self) -> None:
        """It shows what a budget costs in carbon; residency and freshness still hold."""
        offers = [GREEN_DEAR, BROWN_CHEAP, candidate("aws/no", 1.0, usd=1.0, avoid_until=NOON.replace(hour=13))]
        policy = Policy(max_extra_cost_fraction=0.1, price_cap_usd_per_hour=1.5)
        cheapest, greenest = frontier(weighed(offers, policy), [Market.ON_DEMAND], ())
        assert cheapest.placement == ("aws/pl:1xL4:on_demand",)
        assert greenest.placement == ("aws/se:1xL4:on_demand",)

    def test_an_end_that_cannot_hold_them_all_is_left_out(self) -> None:
        """Totals for fewer replicas would compare apples with pears."""
        assert frontier(weighed(ALL, rules=PlacementRules(max_per_region=1)), [Market.ON_DEMAND] * 4, ()) == ()
