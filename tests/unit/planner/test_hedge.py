from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise, product

import pytest

from orchestrator.errors import InvalidProgram
from orchestrator.planner.hedge.hedge import Hedge, Orders, felt
from orchestrator.planner.hedge.layouts import spreads
from orchestrator.planner.hedge.memory import Memory
from orchestrator.planner.hedge.rules import HedgeRules, SpotZone, carbon_weights
from orchestrator.planner.hedge.shortfall import event_probability, survivors

ZONES = tuple(SpotZone(f"{region}-{letter}", region, 300.0) for region in ("east", "west") for letter in "ab")
PLENTY = 100

Room = Callable[[int], Sequence[int]]


def replay(
    room: Room, ticks: int, zones: Sequence[SpotZone] = ZONES, rules: HedgeRules | None = None
) -> list[tuple[Orders, list[int]]]:
    """Let the hedge decide against the room of each tick; return its orders and what stood."""
    hedge = Hedge(zones, rules)
    story = []
    for tick in range(ticks):
        orders = hedge.decide(tick)
        stands = [min(w, limit) for w, limit in zip(orders.spot, room(tick), strict=True)]
        hedge.observe(tick, stands)
        story.append((orders, stands))
    return story


def everywhere(_tick: int) -> list[int]:
    """Room without end in every zone."""
    return [PLENTY] * len(ZONES)


def nowhere(_tick: int) -> list[int]:
    """No room at all."""
    return [0] * len(ZONES)


class TestSurvivors:
    def test_one_replica_stays_or_goes(self) -> None:
        """With one replica there are two outcomes, and its loss probability is the first of them."""
        assert survivors({"r": [(1, 0.25)]}, 0.2, 0.8) == pytest.approx([0.25, 0.75])

    def test_zones_of_different_regions_fail_independently(self) -> None:
        """Without a common region, losing both is the product."""
        found = survivors({"r": [(1, 0.1)], "s": [(1, 0.2)]}, 0.5, 1.0)

        assert found == pytest.approx([0.02, 0.1 * 0.8 + 0.9 * 0.2, 0.72])

    def test_a_region_is_lost_oftener_than_its_zones_by_chance(self) -> None:
        """The share of the region's shock is common to its zones; each zone keeps its own loss probability."""
        found = survivors({"r": [(1, 0.1), (1, 0.1)]}, 0.5, 1.0)

        assert found[0] > 0.1 * 0.1
        assert found[0] + found[1] / 2 == pytest.approx(0.1)

    def test_a_whole_loss_leaves_none(self) -> None:
        """Where every loss takes the whole zone, three replicas are all there or all gone, as likely as one."""
        assert survivors({"r": [(3, 0.1)]}, 0.2, 1.0) == pytest.approx([0.1, 0.0, 0.0, 0.9])

    def test_a_partial_loss_leaves_some(self) -> None:
        """With losses of their own, more replicas lose oftener, and something may be left."""
        found = survivors({"r": [(3, 0.1)]}, 0.2, 0.5)

        assert 1 - found[3] == pytest.approx(event_probability(0.1, 3, 0.5))
        assert found[3] < 0.9
        assert found[1] == pytest.approx(found[2])
        assert found[1] > 0

    def test_probabilities_add_up(self) -> None:
        """Whatever is held where, one of the outcomes happens."""
        for a, b, c in product((1, 2, 4), repeat=3):
            found = survivors({"r": [(a, 0.3), (b, 0.05)], "s": [(c, 0.6)]}, 0.3, 0.7)
            assert sum(found) == pytest.approx(1.0)
            assert len(found) == a + b + c + 1


class TestSpreads:
    def test_three_replicas(self) -> None:
        """Three and four from all in one zone to one in each; five only with two in a zone at most."""
        assert spreads(3) == (
            (3,), (2, 1), (1, 1, 1),
            (4,), (2, 2), (2, 1, 1), (1, 1, 1, 1),
            (2, 2, 1), (2, 1, 1, 1), (1, 1, 1, 1, 1),
        )  # fmt: skip


class TestMemory:
    def memory(self, rules: HedgeRules | None = None) -> Memory:
        """Two zones of one region, of which nothing is known."""
        return Memory([SpotZone("a", "r"), SpotZone("b", "r")], rules or HedgeRules())

    def test_a_zone_that_holds_is_trusted_more(self) -> None:
        """The longer a zone has held, the less likely its loss in the next minutes."""
        memory = self.memory()
        risks = []
        before = [0, 0]
        for tick in range(400):
            memory.observe(tick, before, [1, 0], [1, 0])
            before = [1, 0]
            risks.append(memory.loss_probabilities(tick + 1)[0])

        assert all(later < earlier for earlier, later in pairwise(risks))

    def test_a_zone_that_just_came_back_is_trusted_less_than_one_found_up(self) -> None:
        """A zone seen to be down a minute ago is young; one whose first launch was accepted is of unknown age."""
        memory = self.memory()
        memory.observe(0, [0, 0], [1, 1], [0, 1])
        memory.observe(1, [0, 1], [1, 1], [1, 1])
        back, found_up = memory.loss_probabilities(2)

        assert back > found_up

    def test_losses_beyond_the_law_raise_the_risk_of_the_others(self) -> None:
        """What is lost oftener than expected makes all zones suspect, its own most."""
        memory, calm = self.memory(), self.memory()
        for tick in range(0, 40, 2):
            memory.observe(tick, [0, 0], [1, 0], [1, 0])
            memory.observe(tick + 1, [1, 0], [1, 0], [0, 0])
        lossy, other = memory.loss_probabilities(40)

        assert other > calm.loss_probabilities(40)[1]
        assert lossy > other

    def test_a_refusal_is_remembered_and_forgiven(self) -> None:
        """Right after a refusal hardly anything is hoped for; more with every minute of waiting."""
        memory = self.memory()
        memory.observe(0, [0, 0], [1, 0], [0, 0])
        hopes = [memory.odds(0, tick, 0, 1) for tick in (1, 20, 200, 2000)]

        assert hopes[0] < 0.05
        assert hopes == sorted(hopes)
        assert memory.odds(1, 1, 0, 1) == HedgeRules().first_odds

    def test_a_refused_depth_does_not_shut_the_zone(self) -> None:
        """Where the third replica was refused, two are still had, and the third is tried later."""
        memory = self.memory()
        memory.observe(0, [0, 0], [3, 0], [2, 0])

        assert memory.odds(0, 1, 2, 2) == HedgeRules().more_odds
        assert memory.odds(0, 1, 2, 3) < 0.05
        assert memory.odds(0, 500, 2, 3) > 0.5

    def test_a_partial_loss_warns_of_the_rest(self) -> None:
        """A zone that lost one of three is young again, however long it had held."""
        memory = self.memory()
        before = [0, 0]
        for tick in range(1000):
            memory.observe(tick, before, [3, 0], [3, 0])
            before = [3, 0]
        trusted = memory.loss_probabilities(1000)[0]
        memory.observe(1000, before, [3, 0], [2, 0])

        assert memory.loss_probabilities(1001)[0] > 10 * trusted

    def test_shares_are_learned(self) -> None:
        """Zones lost together raise the region's share, zones lost alone lower it; so do whole and partial losses."""
        together, apart = self.memory(), self.memory()
        together.observe(0, [2, 2], [2, 2], [0, 0])
        apart.observe(0, [2, 2], [2, 2], [1, 2])

        assert together.region_share > self.memory().region_share > apart.region_share
        assert together.whole_share > self.memory().whole_share > apart.whole_share

    def test_a_zone_with_little_headroom_is_trusted_less(self) -> None:
        """What is found beyond what is held counts from the look on, until a look finds enough, or it is long ago."""
        memory = self.memory()
        memory.observe(0, [0, 0], [3, 3], [3, 3])
        calm = memory.loss_probabilities(1)[0]
        assert memory.looked(0, 0, wanted=3, found=3)
        shallow = [memory.loss_probabilities(tick)[0] for tick in (1, 100)]
        assert not memory.looked(0, 0, wanted=3, found=7)

        assert shallow[0] > shallow[1] > calm
        assert memory.loss_probabilities(1)[0] == calm

    def test_what_is_never_sold_is_not_missed(self) -> None:
        """Where nobody ever gets more than four, a zone that gives four is deep, after three looks found no more."""
        memory = self.memory()
        found = [memory.looked(zone, 0, wanted=3, found=4) for zone in (0, 1, 0, 1, 0)]

        assert found == [True, True, True, False, False]
        assert memory.looked(0, 0, wanted=3, found=3)

    def test_without_edges_looks_become_rare(self) -> None:
        """Where there was always enough, the time to the next look doubles; once there was not, it is short."""
        memory = self.memory()
        rest = HedgeRules().ticks(HedgeRules().look_deeper)
        waits = []
        for _ in range(6):
            memory.looked(0, 0, wanted=3, found=7)
            waits.append(memory.zones[0].look_at // rest)
        memory.looked(0, 0, wanted=3, found=4)

        assert waits == [2, 4, 8, 8, 8, 8]
        assert memory.zones[0].look_at == rest
        assert memory.wants_a_look(0, rest)
        assert not memory.wants_a_look(0, rest - 1)

    def test_quiet_time_can_be_told_at_once(self) -> None:
        """A stretch in which nothing happens teaches what its ticks teach, one by one."""
        each, at_once = self.memory(), self.memory()
        for memory in (each, at_once):
            memory.observe(0, [0, 0], [2, 0], [2, 0])
        for tick in range(1, 500):
            each.observe(tick, [2, 0], [2, 0], [2, 0])
        at_once.hold(1, 500, [2, 0])
        at_once.hold(500, 500, [2, 0])

        assert at_once.loss_probabilities(500) == pytest.approx(each.loss_probabilities(500), rel=1e-3)
        assert at_once.odds(0, 500, 0, 1) == each.odds(0, 500, 0, 1)

    def test_letting_go_is_no_loss(self) -> None:
        """A replica that was not wanted any more says nothing against its zone."""
        memory = self.memory()
        memory.observe(0, [0, 0], [2, 0], [2, 0])

        assert memory.observe(1, [2, 0], [1, 0], [1, 0]) is False
        assert memory.zones[0].losses == 0


class TestHedge:
    def test_on_demand_covers_the_start(self) -> None:
        """Nothing is known yet: all replicas are wanted on demand as well as on spot."""
        orders = Hedge(ZONES).decide(0)

        assert orders.on_demand == 3
        assert sum(orders.spot) >= 3

    def test_on_demand_leaves_once_spot_has_settled(self) -> None:
        """On demand stays until spot has been ready for a while, and is gone for good where nothing happens."""
        rules = HedgeRules()
        story = replay(everywhere, 200)
        gone = next(t for t, (orders, _) in enumerate(story) if orders.on_demand == 0)

        assert gone >= rules.ticks(rules.cold_start) + rules.ticks(rules.settle)
        assert all(orders.on_demand == 0 for orders, _ in story[gone:])

    def test_without_spot_all_is_on_demand(self) -> None:
        """Where no zone has room, the replicas stand on demand at every tick, and spot is asked for again and again."""
        story = replay(nowhere, 300)

        assert all(orders.on_demand == 3 for orders, _ in story)
        assert sum(1 for orders, _ in story[200:] if sum(orders.spot)) > 3

    def test_a_loss_is_answered_at_the_next_tick(self) -> None:
        """When all zones but one vanish at once, what is missing is wanted on demand as soon as that is seen."""

        def room(tick: int) -> list[int]:
            return [PLENTY] * 4 if tick < 100 else [0, 0, 0, PLENTY]

        story = replay(room, 102)
        missing = 3 - sum(story[100][1])

        assert missing > 0
        assert story[101][0].on_demand >= missing

    def test_spares_are_for_the_young(self) -> None:
        """More is held while nothing has been proven than after hours of calm, and never fewer than the target."""
        story = replay(everywhere, 2500)
        totals = [sum(stands) for _, stands in story[30:]]

        assert max(totals) > totals[-1]
        assert totals[-1] == min(totals) == 3

    def test_a_dearer_shortage_buys_more_spares(self) -> None:
        """The price of a shortage is what over-provision follows from."""
        cheap = replay(everywhere, 600, rules=HedgeRules(shortage_price=20.0))
        dear = replay(everywhere, 600, rules=HedgeRules(shortage_price=5000.0))

        assert sum(sum(s) for _, s in cheap) < sum(sum(s) for _, s in dear)

    def test_a_shortage_weighs_more_where_it_is_rare(self) -> None:
        """The same price buys more safety on a calm market, and less on one where no spare helps for long."""
        flat, rules = HedgeRules(rarity=0.0), HedgeRules()

        assert [felt(p, flat) for p in (0.0, 0.001, 0.4)] == pytest.approx([0.0, 0.001, 0.4])
        assert felt(rules.usual_risk, rules) == pytest.approx(rules.usual_risk)
        assert felt(rules.usual_risk / 10, rules) > rules.usual_risk / 10
        assert felt(rules.usual_risk * 10, rules) < rules.usual_risk * 10
        risks = [k / 1000 for k in range(1001)]
        assert felt(0.0, rules) == 0.0
        assert [felt(p, rules) for p in risks] == sorted(felt(p, rules) for p in risks)

    def test_the_cleaner_of_equal_zones_is_used(self) -> None:
        """Among zones of which the same is known, replicas stand where the grid is cleaner."""
        zones = [replace(z, grams_per_kwh=50.0 if z.region == "west" else 600.0) for z in ZONES]
        story = replay(everywhere, 2500, zones)
        last = story[-1][1]

        assert sum(last[2:]) == 3
        assert sum(last[:2]) == 0

    def test_availability_comes_before_carbon(self) -> None:
        """A clean zone that keeps failing is not where replicas end up."""
        zones = [replace(z, grams_per_kwh=50.0 if z.name == "west-b" else 300.0) for z in ZONES]

        def room(tick: int) -> list[int]:
            return [PLENTY, PLENTY, PLENTY, PLENTY if tick % 40 < 30 else 0]

        story = replay(room, 1500, zones)

        assert sum(stands[3] for _, stands in story[500:]) < 0.2 * sum(sum(stands) for _, stands in story[500:])

    def test_nothing_is_let_go_before_its_replacement_is_ready(self) -> None:
        """In a calm world at least three replicas are ready at every tick after the first cold start."""
        story = replay(everywhere, 1500)
        for tick in range(4, 1500):
            window = story[tick - 4 : tick + 1]
            spot = sum(min(column) for column in zip(*(stands for _, stands in window), strict=True))
            assert spot + min(orders.on_demand for orders, _ in window) >= 3

    def test_a_zone_is_left_before_its_room_runs_out(self) -> None:
        """Three stand where grams are half until a look finds no more than them; then the zone is left, or hedged."""
        zones = [replace(z, grams_per_kwh=200.0 if z.name == "west-b" else 400.0) for z in ZONES]

        def room(tick: int) -> list[int]:
            return [PLENTY, PLENTY, PLENTY, PLENTY if tick < 2000 else 3]

        story = replay(room, 2400, zones)

        assert story[1990][1][3] >= 3
        assert any(sum(stands) >= 7 for _, stands in story[1000:2000])
        assert story[2399][1][3] < 3

    def test_on_demand_belongs_to_the_cleanest_grid(self) -> None:
        """The cleanest known grid; where none is known, the first zone by name; never a guess that unknown is clean."""
        mixed = [SpotZone("a", "r", None), SpotZone("b", "r", 400.0), SpotZone("c", "r", 20.0)]

        assert Hedge(mixed).on_demand_zone.name == "c"
        assert Hedge([SpotZone("z", "r"), SpotZone("y", "r")]).on_demand_zone.name == "y"


class TestRules:
    def test_unknown_grids_weigh_like_the_mean(self) -> None:
        """An unknown intensity is neither clean nor dirty."""
        zones = [SpotZone("a", "r", 100.0), SpotZone("b", "r", 300.0), SpotZone("c", "r", None)]

        assert carbon_weights(zones, 0.5) == pytest.approx([0.75, 1.25, 1.0])
        assert carbon_weights([SpotZone("a", "r", None)], 0.5) == [1.0]

    def test_one_set_of_parameters_in_any_tick(self) -> None:
        """Lengths are times: with half the tick a cold start has twice as many."""
        rules = HedgeRules()

        assert (rules.ticks(rules.cold_start), rules.recovery_ticks) == (4, 5)
        assert replace(rules, tick=timedelta(seconds=15)).recovery_ticks == 9

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("replicas", 0),
            ("shortage_price", float("nan")),
            ("rarity", 1.0),
            ("usual_risk", 0.0),
            ("stand_in_price", -1.0),
            ("first_odds", 0.0),
            ("carbon_weight", 1.5),
            ("tick", timedelta(0)),
            ("headroom", -1),
            ("look_deeper", timedelta(seconds=-1)),
            ("settle", timedelta(seconds=-1)),
        ],
    )
    def test_rules_that_make_no_sense_are_refused(self, name: str, value: object) -> None:
        """The refusal names the rule."""
        with pytest.raises(InvalidProgram, match=name):
            replace(HedgeRules(), **{name: value})

    def test_zones_that_make_no_sense_are_refused(self) -> None:
        """No zone, a name twice, an intensity that cannot be."""
        for zones in ([], [SpotZone("a", "r"), SpotZone("a", "s")], [SpotZone("a", "r", -3.0)]):
            with pytest.raises(InvalidProgram):
                Hedge(zones)

    def test_ticks_come_one_by_one(self) -> None:
        """A tick that was left out, and more replicas than were wanted, are mistakes of the caller."""
        hedge = Hedge(ZONES)
        hedge.decide(0)
        with pytest.raises(InvalidProgram, match="cannot decide tick 5"):
            hedge.decide(5)
        with pytest.raises(InvalidProgram, match="stand where"):
            hedge.observe(0, [9, 9, 9, 9])
