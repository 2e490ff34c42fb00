"""What is to be done now: launches, forced moves, retirements, one voluntary move, or a reasoned "stay"."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.carbon import Gap
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.offer import Candidate
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.scale import LoadSeen, WantedReplicas
from orchestrator.domain.service import (
    CarbonRules,
    MigrationRules,
    ModelSpec,
    PlacementRules,
    Policy,
    Scaling,
    ServiceSpec,
    SpotLoss,
    WhenStale,
)
from orchestrator.domain.time import HOUR
from orchestrator.errors import NoFeasiblePlacement, SignalsTooOld
from orchestrator.planner.plan import plan
from orchestrator.prices.shapes import ShapeCatalogue
from tests.builders import (
    GREEN,
    MINUTE,
    NOON,
    applied,
    assessment_of,
    candidate,
    failed_rules,
    replica,
    service_spec,
    snapshot,
    stale,
)

SE = candidate("aws/se", 30.0)
FR = candidate("aws/fr", 60.0)
PL = candidate("aws/pl", 700.0)
GRIDS = (PL, SE, FR)


def told(made: Plan) -> list[tuple[ActionKind, int, str]]:
    """Return what is to be done, in short: kind, slot, and where to (or from)."""
    return [(a.kind, a.slot, a.region or a.from_region) for a in made.actions]


class TestPlacing:
    def test_a_new_service_is_placed_slot_by_slot(self) -> None:
        """Every wanted slot gets its replica, best places first."""
        spec = service_spec(3, placement=PlacementRules(max_per_region=1))
        made = plan(snapshot(GRIDS, spec=spec), GREEN, NOON)
        assert told(made) == [
            (ActionKind.LAUNCH, 0, "aws/se"),
            (ActionKind.LAUNCH, 1, "aws/fr"),
            (ActionKind.LAUNCH, 2, "aws/pl"),
        ]
        assert made.decision.kind is DecisionKind.PLACE
        assert {a.reason for a in made.actions} == {"wanted by the spec"}

    def test_an_action_names_all_that_is_bought(self) -> None:
        """Offer, place, shape, market and price: what the applier buys and what the digest binds."""
        (bought,) = plan(snapshot([candidate("aws/se", 30.0, usd=0.7)]), GREEN, NOON).actions
        assert (bought.offer_id, bought.region, bought.shape) == ("aws/se:1xL4:on_demand", "aws/se", "1xL4")
        assert (bought.market, bought.usd_per_hour) == (Market.ON_DEMAND, 0.7)

    def test_only_what_is_missing_is_launched(self) -> None:
        """What runs is kept where it is, also where it would not be placed today."""
        made = plan(snapshot(GRIDS, [replica(PL, 1)], service_spec(2)), GREEN, NOON)
        assert told(made) == [(ActionKind.LAUNCH, 0, "aws/se")]
        assert made.keep == ("gc-test-chat-1",)

    def test_a_draining_replica_does_not_count(self) -> None:
        """It is on its way out, so its slot is free."""
        made = plan(snapshot(GRIDS, [replica(SE, 0, ReplicaState.DRAINING)]), GREEN, NOON)
        assert [a.kind for a in made.actions] == [ActionKind.LAUNCH]

    @pytest.mark.parametrize("state", [ReplicaState.PENDING, ReplicaState.PROVISIONING, ReplicaState.STARTING])
    def test_a_replica_on_its_way_counts(self, state: ReplicaState) -> None:
        """Asked for is enough: nothing is bought twice while it starts."""
        made = plan(snapshot(GRIDS, [replica(SE, 0, state)]), GREEN, NOON)
        assert made.actions == ()
        assert made.decision.kind is DecisionKind.HOLD
        assert made.decision.summary == "hold: a replica is starting or moving"

    def test_a_lost_replica_is_replaced_and_named(self) -> None:
        """The reason says whose place is taken; the spec's wish is not the news."""
        lost = replica(PL, 0, ReplicaState.LOST, name="gc-lost")
        made = plan(snapshot(GRIDS, [lost]), GREEN, NOON)
        assert made.decision.kind is DecisionKind.REPLACE
        assert made.actions[0].reason == "replaces gc-lost"

    def test_the_last_one_of_the_slot_is_the_one_replaced(self) -> None:
        """Of several lost in one slot the newest is named, in whatever order they are read."""
        lost = [replica(PL, 0, ReplicaState.LOST, name=f"gc-{age}", up_for=age * HOUR) for age in (3, 1, 2)]
        forward = plan(snapshot(GRIDS, lost), GREEN, NOON)
        backward = plan(snapshot(GRIDS, lost[::-1]), GREEN, NOON)
        assert forward == backward
        assert forward.actions[0].reason == "replaces gc-1"

    def test_an_old_loss_is_not_replaced_again(self) -> None:
        """Its successor was retired on purpose; a launch in that slot is what the spec wants now."""
        lost = replica(PL, 0, ReplicaState.LOST, name="gc-lost", up_for=9 * HOUR)
        retired = replica(SE, 0, ReplicaState.TERMINATED, name="gc-retired", up_for=5 * HOUR)
        made = plan(snapshot(GRIDS, [lost, retired]), GREEN, NOON)
        assert made.actions[0].reason == "wanted by the spec"
        assert made.decision.kind is DecisionKind.PLACE

    def test_too_many_are_retired_from_the_top(self) -> None:
        """Scaling down frees the highest slots."""
        made = plan(snapshot(GRIDS, [replica(SE, 0), replica(FR, 1), replica(SE, 2)]), GREEN, NOON)
        assert told(made) == [(ActionKind.RETIRE, 1, "aws/fr"), (ActionKind.RETIRE, 2, "aws/se")]
        assert made.decision.kind is DecisionKind.SCALE
        assert made.keep == ("gc-test-chat-0",)

    def test_what_serves_is_not_retired_for_what_only_starts(self) -> None:
        """Scaling down while slot 0 starts: the surplus that serves waits, the surplus that starts does not."""
        world = [replica(SE, 0, ReplicaState.STARTING), replica(FR, 1), replica(FR, 2, ReplicaState.STARTING)]
        assert told(plan(snapshot(GRIDS, world), GREEN, NOON)) == [(ActionKind.RETIRE, 2, "aws/fr")]

    def test_a_second_one_in_a_slot_that_is_no_part_of_a_move_leaves(self) -> None:
        """However it came about: the newest stays."""
        twice = [replica(PL, 0, name="gc-older"), replica(SE, 0, name="gc-newer", up_for=HOUR)]
        made = plan(snapshot(GRIDS, twice), GREEN, NOON)
        assert [a.replica for a in made.actions] == ["gc-older"]

    def test_but_not_while_it_is_the_only_one_that_serves(self) -> None:
        """Two that serve beside one that starts: both wait for it, neither counts the other."""
        thrice = [
            replica(PL, 0, name="gc-oldest", up_for=9 * HOUR),
            replica(PL, 0, name="gc-older", up_for=2 * HOUR),
            replica(SE, 0, ReplicaState.STARTING, name="gc-newest", up_for=HOUR),
        ]
        assert plan(snapshot(GRIDS, thrice), GREEN, NOON).actions == ()


class TestWhoServesAbove:
    """Load falls by one while a replica of a low slot is lost: as many serve as are wanted, one of them one slot up."""

    FEWER = WantedReplicas(3, 1, 5, 3, "load")

    def test_whoever_serves_fills_the_place_of_what_was_lost(self) -> None:
        """Nobody is bought for the empty slot, and nobody let go; later looks find nothing to do either."""
        lost = replica(SE, 0, ReplicaState.LOST, name="gc-lost", up_for=HOUR)
        above = [lost, *(replica(SE, slot) for slot in (1, 2, 3))]
        for keep_up in (False, True):
            made = plan(snapshot([SE], above, service_spec(3), sizing=self.FEWER), GREEN, NOON, keep_up=keep_up)
            assert made.actions == ()
            assert made.keep == tuple(r.name for r in above[1:])

    def test_nothing_is_refused_that_serves_already(self) -> None:
        """A file that wants one replica less is deployed while its place is sold out."""
        sold_out = candidate("aws/se", 30.0, avoid_until=NOON + HOUR)
        above = [replica(sold_out, slot) for slot in (1, 2, 3)]
        assert plan(snapshot([sold_out], above, service_spec(3)), GREEN, NOON, "ada").actions == ()

    def test_spot_is_not_replaced_on_demand_while_spot_is_let_go(self) -> None:
        """Although a replica on demand is what a loss of spot calls for, none was lost that is still wanted."""
        spot = candidate("aws/se", 30.0, usd=0.3, market=Market.SPOT)
        rules = PlacementRules(on_spot_loss=SpotLoss.ON_DEMAND)
        lost = replica(spot, 0, ReplicaState.LOST, name="gc-lost", up_for=MINUTE, reason="preempted")
        above = [lost, *(replica(spot, slot) for slot in (1, 2, 3))]
        spec = service_spec(3, spot=True, placement=rules)
        made = plan(snapshot([spot, SE], above, spec, sizing=self.FEWER), GREEN, NOON, keep_up=True)
        assert made.actions == ()

    def test_who_is_above_moves_and_scales_as_the_others(self) -> None:
        """It is no stand-in: it may move, and the slot below is the first to be filled when load rises."""
        above = [replica(PL, slot) for slot in (1, 2, 3)]
        spec = service_spec(3)
        by_itself = plan(snapshot(GRIDS, above, spec, sizing=self.FEWER), GREEN, NOON)
        assert [a.kind for a in by_itself.actions] == [ActionKind.MOVE]
        assert {c.replica for c in by_itself.decision.comparisons} == {r.name for r in above}
        more = replace(self.FEWER, replicas=4)
        made = plan(snapshot([PL], above, service_spec(4), sizing=more), GREEN, NOON)
        assert told(made) == [(ActionKind.LAUNCH, 0, "aws/pl")]

    def test_one_that_starts_takes_the_place_as_well(self) -> None:
        """What is under way is not ended to begin the same anew; whoever serves goes first."""
        above = [replica(SE, 1, ReplicaState.STARTING), replica(SE, 2)]
        assert told(plan(snapshot([SE], above), GREEN, NOON)) == [(ActionKind.RETIRE, 1, "aws/se")]
        assert plan(snapshot([SE], above[:1]), GREEN, NOON).actions == ()

    def test_a_move_of_who_is_above_goes_on(self) -> None:
        """The one that takes over starts, the one that it replaces serves: both stay, and nobody else is bought."""
        new = replica(FR, 3, ReplicaState.STARTING, name="gc-new", replaces="gc-old", up_for=MINUTE)
        world = [replica(SE, 1), replica(SE, 2), replica(SE, 3, name="gc-old"), new]
        assert plan(snapshot(GRIDS, world, service_spec(3)), GREEN, NOON).actions == ()

    def test_stand_ins_count_who_serves_above(self) -> None:
        """With as many on spot ready as are wanted, nobody has to stand in for them."""
        spot = candidate("aws/se", 30.0, usd=0.3, market=Market.SPOT)
        spec = service_spec(2, spot=True)
        spec = replace(spec, scaling=replace(spec.scaling, dynamic_ondemand_fallback=True))
        above = [replica(spot, slot) for slot in (1, 2)]
        assert plan(snapshot([spot, SE], above, spec), GREEN, NOON, keep_up=True).actions == ()


class TestTakingDown:
    def test_everything_that_lives_is_retired(self) -> None:
        """Ready, starting, both sides of a move: all of it, at once."""
        world = [
            replica(PL, 0, name="gc-old"),
            replica(SE, 0, ReplicaState.STARTING, name="gc-new", replaces="gc-old", up_for=MINUTE),
            replica(FR, 1, ReplicaState.PENDING, name="gc-other"),
            replica(FR, 2, ReplicaState.DRAINING, name="gc-leaving"),
            replica(FR, 3, ReplicaState.LOST, name="gc-lost"),
        ]
        made = plan(snapshot(GRIDS, world, service_spec(2), taking_down=True), GREEN, NOON)
        assert made.decision.kind is DecisionKind.TAKE_DOWN
        assert {a.replica for a in made.actions} == {"gc-old", "gc-new", "gc-other"}
        assert {a.kind for a in made.actions} == {ActionKind.RETIRE}
        assert made.totals.replicas == 0

    def test_both_sides_of_a_move_leave_a_slot_that_is_no_longer_wanted(self) -> None:
        """Scaling down during a move ends the move too."""
        world = [
            replica(SE, 0),
            replica(PL, 1, name="gc-old"),
            replica(SE, 1, ReplicaState.STARTING, name="gc-new", replaces="gc-old", up_for=MINUTE),
        ]
        made = plan(snapshot(GRIDS, world), GREEN, NOON)
        assert {a.replica for a in made.actions} == {"gc-old", "gc-new"}

    def test_an_empty_service_needs_nothing(self) -> None:
        """Taking down what is down already."""
        made = plan(snapshot(GRIDS, taking_down=True), GREEN, NOON)
        assert made.actions == ()
        assert made.decision.summary == "nothing to do"


class TestForcedMoves:
    def test_a_changed_workload_is_rolled_out_one_by_one(self) -> None:
        """One replica at a time, lowest slot first, to today's best place: make before break."""
        spec = replace(service_spec(2), model=ModelSpec("org/newer"))
        world = snapshot(GRIDS, [replica(FR, 0), replica(FR, 1)], spec)
        first = plan(world, GREEN, NOON)
        assert told(first) == [(ActionKind.MOVE, 0, "aws/se")]
        assert first.actions[0].reason == "new workload"
        assert first.decision.kind is DecisionKind.MOVE
        then = applied(first, world, NOON)
        assert told(plan(then, GREEN, NOON)) == [(ActionKind.MOVE, 1, "aws/se")]

    def test_a_rollout_waits_for_the_one_under_way(self) -> None:
        """While one replica starts, the next one stays."""
        spec = replace(service_spec(2), model=ModelSpec("org/newer"))
        world = snapshot(GRIDS, [replica(FR, 0), replica(FR, 1, ReplicaState.STARTING)], spec)
        assert plan(world, GREEN, NOON).decision.kind is DecisionKind.HOLD

    @pytest.mark.parametrize(
        ("rules", "reason"),
        [
            (PlacementRules(residency=("EEA",)), "aws/pl is not in EEA"),
            (PlacementRules(allow=("aws/se",)), "aws/pl is not in placement.allow"),
            (PlacementRules(deny=("*/pl",)), "denied by */pl"),
        ],
        ids=["residency", "allow", "deny"],
    )
    def test_a_place_that_is_no_longer_permitted_is_left(self, rules: PlacementRules, reason: str) -> None:
        """A changed rule moves what already runs, whatever it gains, and however young it is."""
        inside = candidate("aws/se", 30.0, residency=("EU", "EEA"))
        spec = service_spec(placement=rules, migration=MigrationRules(enabled=False))
        made = plan(snapshot([PL, inside], [replica(PL, up_for=MINUTE)], spec), GREEN, NOON)
        assert told(made) == [(ActionKind.MOVE, 0, "aws/se")]
        assert made.actions[0].reason == reason

    def test_a_service_that_turns_to_spot_moves_to_spot(self) -> None:
        """The market is a rule about what stands, too."""
        spot = candidate("aws/se", 30.0, usd=0.4, market=Market.SPOT)
        made = plan(snapshot([SE, spot], [replica(SE)], service_spec(spot=True)), GREEN, NOON)
        assert made.actions[0].market is Market.SPOT

    def test_what_is_no_longer_sold_is_left(self) -> None:
        """A replica on an offer that vanished from every list has to go while it can."""
        made = plan(snapshot([SE], [replica(PL)]), GREEN, NOON)
        assert made.actions[0].reason == "no longer sold"

    @pytest.mark.parametrize(
        "grown_bad",
        [
            candidate("aws/pl", 700.0, usd=9.0),
            candidate("aws/pl", 700.0, usd=None),
            candidate("aws/pl", Gap("PL", "no data", "api")),
            candidate("aws/pl", stale("PL", 700.0)),
            candidate("aws/pl", 700.0, avoid_until=NOON + HOUR),
        ],
        ids=["dear", "unpriced", "no-signal", "stale", "failed-lately"],
    )
    def test_prices_and_signals_alone_evict_nobody(self, grown_bad: Candidate) -> None:
        """What runs may stay where it could not be placed today."""
        spec = service_spec(migration=MigrationRules(enabled=False))
        policy = Policy(price_cap_usd_per_hour=2.0, max_extra_cost_fraction=0.0)
        made = plan(snapshot([grown_bad, SE], [replica(grown_bad)], spec), policy, NOON)
        assert made.actions == ()

    def test_a_place_that_must_be_left_for_nowhere_is_an_error(self) -> None:
        """A rule that nobody satisfies is said aloud; "stay" would hide that the rule is broken."""
        spec = service_spec(placement=PlacementRules(residency=("US",)))
        with pytest.raises(NoFeasiblePlacement, match=r"placement\.residency"):
            plan(snapshot(GRIDS, [replica(PL)], spec), GREEN, NOON)

    def test_a_new_workload_that_fits_nowhere_is_an_error(self) -> None:
        """A deploy that cannot go on must not wait for ever."""
        spec = replace(service_spec(), model=ModelSpec("org/newer"))
        with pytest.raises(NoFeasiblePlacement, match=r"carbon\.max_age"):
            plan(snapshot([candidate("aws/se", stale("SE", 30.0))], [replica(SE)], spec), GREEN, NOON)

    def test_a_place_in_back_off_is_waited_for(self) -> None:
        """What failed two minutes ago is tried again by itself; that is no reason to give up a rollout."""
        spec = replace(service_spec(), model=ModelSpec("org/newer"))
        world = snapshot([candidate("aws/se", 30.0, avoid_until=NOON + 2 * MINUTE)], [replica(SE)], spec)
        assert plan(world, GREEN, NOON).actions == ()
        assert told(plan(world, GREEN, NOON + 2 * MINUTE)) == [(ActionKind.MOVE, 0, "aws/se")]

    def test_what_is_too_much_leaves_even_when_the_rest_is_stuck(self) -> None:
        """Scaling down needs no new place."""
        spec = service_spec(placement=PlacementRules(residency=("US",)))
        made = plan(snapshot(GRIDS, [replica(PL, 0), replica(SE, 1)], spec), GREEN, NOON)
        assert told(made) == [(ActionKind.RETIRE, 1, "aws/se")]

    def test_one_that_cannot_move_does_not_hold_up_another(self) -> None:
        """The next replica that has somewhere to go moves first."""
        spec = service_spec(2, placement=PlacementRules(deny=("aws/pl",), max_per_region=1))
        world = [replica(PL, 0), replica(SE, 1, workload_digest="older")]
        made = plan(snapshot([PL, SE], world, spec), GREEN, NOON)
        assert told(made) == [(ActionKind.MOVE, 1, "aws/se")]

    def test_missing_replicas_come_before_forced_moves(self) -> None:
        """First enough capacity, then order."""
        spec = service_spec(2, placement=PlacementRules(deny=("aws/pl",)))
        made = plan(snapshot(GRIDS, [replica(PL, 0)], spec), GREEN, NOON)
        assert told(made) == [(ActionKind.LAUNCH, 1, "aws/se")]


class TestVoluntaryMoves:
    def test_the_best_approved_move_is_made(self) -> None:
        """One, with its whole comparison kept."""
        made = plan(snapshot(GRIDS, [replica(PL)]), GREEN, NOON)
        assert told(made) == [(ActionKind.MOVE, 0, "aws/se")]
        assert made.decision.kind is DecisionKind.MOVE
        assert [c.to_offer for c in made.decision.comparisons] == ["aws/se:1xL4:on_demand", "aws/fr:1xL4:on_demand"]

    def test_only_one_moves_at_a_time(self) -> None:
        """The dirtiest of many gains most and goes first."""
        made = plan(snapshot(GRIDS, [replica(FR, 0), replica(PL, 1)], service_spec(2)), GREEN, NOON)
        assert told(made) == [(ActionKind.MOVE, 1, "aws/se")]

    def test_staying_is_a_decision_with_its_reason(self) -> None:
        """The best alternative and the rule that it fails are named."""
        made = plan(snapshot(GRIDS, [replica(PL, up_for=HOUR)]), GREEN, NOON)
        assert made.actions == ()
        assert made.decision.kind is DecisionKind.STAY
        assert made.decision.summary.startswith("stay: the best move (gc-test-chat-0 to aws/se:1xL4:on_demand, +")
        assert made.decision.summary.endswith("fails migration.min_dwell: in place for 1.0 h, at least 2.0 h asked")

    def test_in_the_best_place_every_move_loses(self) -> None:
        """Both alternatives are weighed and shown, neither is approved."""
        made = plan(snapshot(GRIDS, [replica(SE)]), GREEN, NOON)
        assert made.actions == ()
        assert {c.to_offer for c in made.decision.comparisons} == {FR.offer.id, PL.offer.id}
        assert all(c.net_grams < 0 for c in made.decision.comparisons)

    def test_without_alternatives_there_is_nothing_to_weigh(self) -> None:
        """A single region: stay, and say so."""
        made = plan(snapshot([SE], [replica(SE)]), GREEN, NOON)
        assert made.decision.summary.startswith("stay: no other allowed place has room")

    def test_a_full_region_is_no_alternative(self) -> None:
        """The limit per region binds moves as well."""
        spec = service_spec(2, placement=PlacementRules(max_per_region=1))
        made = plan(snapshot([SE, PL], [replica(SE, 0), replica(PL, 1)], spec), GREEN, NOON)
        assert made.actions == ()
        assert made.decision.comparisons == ()

    def test_a_denied_or_dear_place_is_no_alternative(self) -> None:
        """Hard rules bind every move."""
        spec = service_spec(placement=PlacementRules(deny=("aws/se",)))
        dear = candidate("aws/fr", 60.0, usd=1.2)
        made = plan(snapshot([PL, SE, dear], [replica(PL)], spec), Policy(max_extra_cost_fraction=0.1), NOON)
        assert made.actions == ()

    @pytest.mark.parametrize("rule", list(WhenStale))
    @pytest.mark.parametrize("gap", [True, False], ids=["gap", "stale"])
    def test_a_zone_gone_dark_moves_nobody(self, rule: WhenStale, gap: bool) -> None:
        """Toward or away from it, whatever the rule for stale numbers says about placing."""
        spec = service_spec(carbon=CarbonRules(when_stale=rule))
        for dark, lit in ((SE, PL), (PL, SE)):
            zone = dark.offer.region.zone or ""
            grams = dark.forecast.points[0].grams_per_kwh
            unlit = replace(
                dark,
                now=Gap(zone, "no data", "api") if gap else stale(zone, grams),
                trailing_mean_grams_per_kwh=grams,
            )
            assert plan(snapshot([unlit, lit], [replica(PL)], spec), GREEN, NOON).actions == ()

    def test_nothing_moves_while_something_moves(self) -> None:
        """The next comparison waits until the old replica of the last move has gone."""
        world = [replica(PL, 0, name="gc-old"), replica(SE, 0, name="gc-new", replaces="gc-old", up_for=3 * HOUR)]
        made = plan(snapshot(GRIDS, [*world, replica(PL, 1)], service_spec(2)), GREEN, NOON)
        assert made.decision.kind is DecisionKind.HOLD


class TestInfeasible:
    def test_the_reasons_are_counted(self) -> None:
        """How many offers each rule excluded, most first."""
        spec = service_spec(placement=PlacementRules(residency=("EU",)))
        abroad = [candidate(f"aws/us{n}", 400.0, residency=("US",)) for n in range(2)]
        with pytest.raises(NoFeasiblePlacement) as caught:
            plan(snapshot([*abroad, candidate("aws/se", 30.0, usd=None)], spec=spec), GREEN, NOON)
        assert caught.value.message == (
            "chat needs 1 more replica, 0 can be placed; 3 offers, excluded: 2 by placement.residency, 1 by offer.price"
        )
        assert caught.value.code == "no_feasible_placement"

    def test_the_smallest_change_is_the_hint(self) -> None:
        """One rule moved as little as can be, although a greener offer is a little beyond it."""
        spec = service_spec(placement=PlacementRules(residency=("EU",)))
        offers = [
            candidate("aws/us", 10.0, usd=3.0, residency=("US",)),
            candidate("aws/se", 30.0, usd=2.0),
            candidate("aws/fr", 60.0, usd=1.5),
        ]
        with pytest.raises(NoFeasiblePlacement) as caught:
            plan(snapshot(offers, spec=spec), replace(GREEN, price_cap_usd_per_hour=1.0), NOON)
        assert caught.value.hint() == (
            "Smallest change: raise policy.price_cap to $1.5000/h (+$0.5000/h, aws/fr:1xL4:on_demand)."
        )

    def test_two_changes_are_named_where_one_is_not_enough(self) -> None:
        """A region limit and a pattern together keep the second replica out."""
        spec = service_spec(2, placement=PlacementRules(allow=("gcp/*",)))
        with pytest.raises(NoFeasiblePlacement) as caught:
            plan(
                snapshot([candidate("aws/se", 30.0, usd=2.0)], spec=spec),
                replace(GREEN, price_cap_usd_per_hour=1.0),
                NOON,
            )
        assert caught.value.hint() == (
            "Smallest change: add aws/se to placement.allow (aws/se:1xL4:on_demand), and "
            "raise policy.price_cap to $2.0000/h (+$1.0000/h, aws/se:1xL4:on_demand)."
        )

    def test_where_data_may_be_is_given_up_last(self) -> None:
        """A law is not the first thing to be bent."""
        spec = service_spec(placement=PlacementRules(residency=("EU",), deny=("aws/se",)))
        offers = [candidate("aws/us", 10.0, residency=("US",)), candidate("aws/se", 30.0)]
        with pytest.raises(NoFeasiblePlacement) as caught:
            plan(snapshot(offers, spec=spec), GREEN, NOON)
        assert caught.value.hint() == "Smallest change: take aws/se out of placement.deny (aws/se:1xL4:on_demand)."

    def test_what_nobody_chose_is_no_rule_to_give_up(self) -> None:
        """An unknown price cannot be relaxed; it is named as what is nearest."""
        with pytest.raises(NoFeasiblePlacement) as caught:
            plan(snapshot([candidate("aws/se", 30.0, usd=None)]), GREEN, NOON)
        assert caught.value.hint() == "Closest: aws/se:1xL4:on_demand, excluded only because price unknown."

    def test_that_change_really_helps(self) -> None:
        """Relaxing the named rule places the named offer."""
        offers = [candidate("aws/se", 30.0, usd=2.0), candidate("aws/fr", 60.0, usd=1.5)]
        made = plan(snapshot(offers), replace(GREEN, price_cap_usd_per_hour=1.5), NOON)
        assert made.actions[0].offer_id == "aws/fr:1xL4:on_demand"

    def test_a_lack_of_room_names_the_limit(self) -> None:
        """Where offers are allowed but full, max_per_region is what binds."""
        spec = service_spec(3, placement=PlacementRules(max_per_region=1))
        with pytest.raises(NoFeasiblePlacement) as caught:
            plan(snapshot([SE, FR], spec=spec), GREEN, NOON)
        assert caught.value.hint() == "Smallest change: raise placement.max_per_region to 2."
        assert "needs 3 more replicas, 2 can be placed" in caught.value.message

    def test_offers_that_fail_many_rules_get_no_false_hope(self) -> None:
        """No single change would help: the hint does not pretend so."""
        hopeless = candidate("aws/us", Gap("US", "no data", "api"), usd=None)
        with pytest.raises(NoFeasiblePlacement) as caught:
            plan(snapshot([hopeless]), GREEN, NOON)
        assert caught.value.hint() == "Allow more regions, or relax the rules named above."

    def test_nothing_on_sale_is_said_so(self) -> None:
        """An empty list of offers is a reason too."""
        with pytest.raises(NoFeasiblePlacement, match="0 offers, excluded: none"):
            plan(snapshot([]), GREEN, NOON)


class TestKeepingUp:
    """A service that has been deployed is kept up: serving comes before choosing well."""

    DARK_PL = candidate("aws/pl", stale("PL", 700.0), trailing=720.0)
    DARK_SE = candidate("aws/se", Gap("SE", "no data", "api"), trailing=31.0)
    DARK_FR = candidate("aws/fr", stale("FR", 60.0), trailing=62.0)

    def kept_up(self, candidates: list[Candidate], replicas: list[Replica], spec: ServiceSpec | None = None) -> Plan:
        """Plan at noon for a service that has been deployed."""
        return plan(snapshot(candidates, replicas, spec), GREEN, NOON, keep_up=True)

    def test_a_loss_in_the_dark_is_put_back_where_it_stood(self) -> None:
        """A blackout of the signals is no outage of the service."""
        made = self.kept_up([self.DARK_PL, self.DARK_SE], [replica(PL, 0, ReplicaState.LOST, name="gc-lost")])
        assert told(made) == [(ActionKind.LAUNCH, 0, "aws/pl")]
        assert made.actions[0].reason == "replaces gc-lost; no fresh signal says where"

    def test_else_where_the_last_weeks_were_cleanest(self) -> None:
        """Where it stood is no longer sold: the trailing mean decides, not the order of the list."""
        lost = replica(candidate("aws/gone", 1.0), 0, ReplicaState.LOST)
        assert told(self.kept_up([self.DARK_PL, self.DARK_SE, self.DARK_FR], [lost])) == [
            (ActionKind.LAUNCH, 0, "aws/se")
        ]

    def test_a_place_with_a_signal_goes_before_any_without(self) -> None:
        """Blind is the last resort."""
        lost = replica(SE, 0, ReplicaState.LOST)
        assert told(self.kept_up([self.DARK_SE, PL], [lost])) == [(ActionKind.LAUNCH, 0, "aws/pl")]

    @pytest.mark.parametrize(
        "unfit",
        [
            candidate("aws/pl", stale("PL", 700.0), residency=("US",)),
            candidate("aws/pl", stale("PL", 700.0), usd=None),
            candidate("aws/pl", stale("PL", 700.0), pue=None),
            candidate("aws/pl", stale("PL", 700.0), avoid_until=NOON + HOUR),
            candidate("azure/pl", stale("PL", 700.0)),
        ],
        ids=["residency", "unpriced", "pue", "failed-lately", "no-provisioner"],
    )
    def test_every_other_rule_holds_in_the_dark(self, unfit: Candidate) -> None:
        """Only freshness is given up."""
        spec = service_spec(placement=PlacementRules(residency=("EU",)))
        with pytest.raises(NoFeasiblePlacement):
            self.kept_up([unfit], [replica(unfit, 0, ReplicaState.LOST)], spec)

    def test_what_was_never_there_is_not_put_anywhere_in_the_dark(self) -> None:
        """Scaling up can wait for a signal; being there cannot."""
        with pytest.raises(SignalsTooOld):
            self.kept_up([self.DARK_SE], [replica(SE, 0)], service_spec(2))

    def by_load(self, *candidates: Candidate, stands: Replica) -> Plan:
        """Plan for three replicas that load wants, of which one is there; the owner insists on that one alone."""
        size = WantedReplicas(3, 1, 4, 3, "load")
        spec = replace(service_spec(3), scaling=Scaling(3, 4))
        world = replace(snapshot(list(candidates), [stands], spec), sizing=size)
        return plan(world, GREEN, NOON, keep_up=True)

    def test_load_that_rises_in_the_dark_is_served_beside_who_serves(self) -> None:
        """Whoever asks does not wait for a meter; however clean another place was, nobody goes there unseen."""
        made = self.by_load(self.DARK_PL, self.DARK_SE, stands=replica(PL))
        assert told(made) == [(ActionKind.LAUNCH, 1, "aws/pl"), (ActionKind.LAUNCH, 2, "aws/pl")]
        assert made.actions[0].reason == "wanted by load: 3 replicas: load; no fresh signal says where"
        assert told(self.by_load(self.DARK_PL, SE, stands=replica(PL))) == [
            (ActionKind.LAUNCH, 1, "aws/se"),
            (ActionKind.LAUNCH, 2, "aws/se"),
        ]

    def test_load_that_rises_in_the_dark_goes_nowhere_else(self) -> None:
        """Where it stands there is no room, and only starting is not yet serving: it waits for a signal."""
        full = replace(self.DARK_PL, avoid_until=NOON + HOUR)
        assert told(self.by_load(full, self.DARK_SE, stands=replica(PL))) == []
        assert told(self.by_load(self.DARK_PL, stands=replica(PL, 0, ReplicaState.STARTING))) == []

    def test_one_of_two_is_better_than_none(self) -> None:
        """With room for one, one is placed; a first deploy would be refused."""
        spec = service_spec(2, placement=PlacementRules(max_per_region=1))
        lost = [replica(SE, slot, ReplicaState.LOST) for slot in range(2)]
        assert told(self.kept_up([SE], lost, spec)) == [(ActionKind.LAUNCH, 0, "aws/se")]
        with pytest.raises(NoFeasiblePlacement):
            plan(snapshot([SE], lost, spec), GREEN, NOON)

    OLD, LOST = replica(SE, 0), replica(PL, 1, ReplicaState.LOST, name="gc-lost")
    SOLD_OUT = candidate("aws/pl", 700.0, avoid_until=NOON + 6 * HOUR)

    @staticmethod
    def moving(to: Candidate, state: ReplicaState = ReplicaState.PROVISIONING) -> Replica:
        """Make the new side of a move of the first replica, which serves in aws/se meanwhile."""
        return replica(to, 0, state, name="gc-new", up_for=MINUTE, replaces="gc-test-chat-0")

    def test_who_is_being_replaced_still_takes_its_region(self) -> None:
        """A loss in the middle of a move is not made up for beside the old side: the move may fail, and both stay."""
        spec = service_spec(2, placement=PlacementRules(max_per_region=1))
        world = snapshot([SE, FR, self.SOLD_OUT], [self.OLD, self.moving(FR), self.LOST], spec)
        made = plan(world, GREEN, NOON, keep_up=True)
        assert made.actions == ()
        assert made.decision.kind is DecisionKind.HOLD
        assert made.decision.summary.endswith("; r1 waits until r0 has left aws/se")
        with_room = plan(replace(world, candidates=(SE, FR, PL)), GREEN, NOON, keep_up=True)
        assert told(with_room) == [(ActionKind.LAUNCH, 1, "aws/pl")]

    def test_once_the_move_is_over_its_region_is_free(self) -> None:
        """Whichever it was that stayed: the other side's."""
        spec = service_spec(2, placement=PlacementRules(max_per_region=1))
        offers = [SE, FR, self.SOLD_OUT]
        failed = snapshot(offers, [self.OLD, self.moving(FR, ReplicaState.FAILED), self.LOST], spec)
        assert told(plan(failed, GREEN, NOON, keep_up=True)) == [(ActionKind.LAUNCH, 1, "aws/fr")]
        left = replica(SE, 0, ReplicaState.DRAINING)
        done = snapshot(offers, [left, self.moving(FR, ReplicaState.READY), self.LOST], spec)
        assert told(plan(done, GREEN, NOON, keep_up=True)) == [(ActionKind.LAUNCH, 1, "aws/se")]

    def test_a_rollout_within_a_region_takes_one_place_of_it(self) -> None:
        """Both sides are of one slot: beside them there is room for as many as ever."""
        spec = service_spec(2, placement=PlacementRules(max_per_region=2))
        world = snapshot([SE], [self.OLD, self.moving(SE), replica(SE, 1, ReplicaState.LOST, name="gc-lost")], spec)
        assert told(plan(world, GREEN, NOON, keep_up=True)) == [(ActionKind.LAUNCH, 1, "aws/se")]

    def test_the_limit_per_region_counts_blind_ones_too(self) -> None:
        """Two lost in the dark, one room each."""
        spec = service_spec(2, placement=PlacementRules(max_per_region=1))
        lost = [replica(SE, slot, ReplicaState.LOST) for slot in range(2)]
        made = self.kept_up([self.DARK_SE, self.DARK_FR], lost, spec)
        assert told(made) == [(ActionKind.LAUNCH, 0, "aws/se"), (ActionKind.LAUNCH, 1, "aws/fr")]

    def test_a_stay_in_the_dark_says_what_is_missing(self) -> None:
        """The replica's own place, and its signal."""
        made = self.kept_up([self.DARK_SE, PL], [replica(SE)])
        assert made.actions == ()
        assert made.decision.summary == "stay: aws/se: no carbon intensity for SE: no data"


class TestExplanation:
    def test_totals_are_those_after_the_plan(self) -> None:
        """What is kept and what is bought; what leaves is not counted."""
        made = plan(snapshot(GRIDS, [replica(PL)]), GREEN, NOON)
        assert made.totals.replicas == 1
        assert made.totals.grams_per_hour == assessment_of(made, "aws/se").grams_per_hour

    def test_a_kept_replica_that_is_no_longer_sold_makes_the_totals_unknown(self) -> None:
        """Its dollars and grams are not zero, they are not known."""
        spec = service_spec(2)
        world = [replica(PL, 0), replica(SE, 1, ReplicaState.STARTING)]
        made = plan(snapshot([SE], world, spec), GREEN, NOON)
        assert made.totals.replicas == 2
        assert made.totals.kwh_per_hour is made.totals.grams_per_hour is made.totals.usd_per_hour is None

    def test_every_offer_is_explained_and_the_chosen_ones_counted(self) -> None:
        """Chosen: how many replicas will stand there."""
        made = plan(snapshot(GRIDS, [replica(FR, 0)], service_spec(3)), GREEN, NOON)
        assert {a.region: a.chosen for a in made.decision.assessments} == {"aws/fr": 1, "aws/se": 2, "aws/pl": 0}

    def test_the_frontier_shows_what_the_trade_off_was(self) -> None:
        """Both ends for the same number of replicas."""
        cheap = candidate("aws/pl", 700.0, usd=0.5)
        made = plan(snapshot([SE, cheap], spec=service_spec(2)), GREEN, NOON)
        cheapest, greenest = made.frontier
        assert cheapest.totals.usd_per_hour == 1.0
        assert greenest.totals.usd_per_hour == 2.0

    def test_what_carries_the_load_for_more_carbon_is_not_called_the_greenest(self) -> None:
        """The cap leaves L4s, which are too small for the load; H100s would carry it and are 50 times dirtier."""
        on = ShapeCatalogue.packaged().accelerated
        small = candidate("aws/fr", 100.0, usd=0.4, on=on("L4", 1, None, None))
        large = candidate("aws/se", 500.0, usd=6.0, on=on("H100", 1, None, None))
        load = LoadSeen(600.0, 60.0, 120.0, 3, None, None, None, 200.0, 150.0)
        spec = replace(service_spec(4), model=ModelSpec("Qwen/Qwen3-8B"))
        made = plan(snapshot([small, large], spec=spec, load=load), replace(GREEN, price_cap_usd_per_hour=1.0), NOON)
        assert {a.region for a in made.actions} == {"aws/fr"}
        assert [end.name for end in made.frontier] == ["cheapest"]

    def test_the_decision_names_service_policy_actor_and_moment(self) -> None:
        """Who decided what for whom, when and by which policy."""
        decision = plan(snapshot(GRIDS, clock_rate=60.0), GREEN, NOON, actor="deploy").decision
        assert (decision.service, decision.policy, decision.actor) == ("chat", "green", "deploy")
        assert (decision.at, decision.clock_rate) == (NOON, 60.0)

    def test_two_looks_are_two_decisions(self) -> None:
        """Ids differ by moment and by content, and repeat for the same question."""
        world = snapshot(GRIDS)
        first, again = plan(world, GREEN, NOON).decision.id, plan(world, GREEN, NOON).decision.id
        later = plan(world, GREEN, NOON + timedelta(seconds=1)).decision.id
        other = plan(snapshot(GRIDS, spec=service_spec(2)), GREEN, NOON).decision.id
        assert first == again
        assert len({first, later, other}) == 3

    def test_an_excluded_offer_keeps_its_reason(self) -> None:
        """The table can say why not, for each of them."""
        made = plan(snapshot([SE, candidate("aws/fr", 60.0, pue=None)]), GREEN, NOON)
        assert failed_rules(assessment_of(made, "aws/fr").verdicts) == {"region.pue"}
