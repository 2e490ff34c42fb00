"""Spot with fallback: who stands on which market, what replaces what was taken away, and when it goes back."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.offer import Candidate
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import (
    CarbonRules,
    MigrationRules,
    ModelSpec,
    PlacementRules,
    Scaling,
    ServiceSpec,
    SpotLoss,
    SpotPlacer,
    WhenStale,
)
from orchestrator.domain.time import HOUR
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.launches import MOST_LAUNCHES_PER_MINUTE
from orchestrator.planner.plan import plan
from orchestrator.planner.slots import most_replicas, wanted_slots
from tests.builders import GREEN, MINUTE, NOON, candidate, replica, service_spec, snapshot, stale

SPOT, ON_DEMAND = Market.SPOT, Market.ON_DEMAND
SE_SPOT = candidate("aws/se", 30.0, usd=0.3, market=SPOT)
FR_SPOT = candidate("aws/fr", 60.0, usd=0.3, market=SPOT)
SE = candidate("aws/se", 30.0)
FR = candidate("aws/fr", 60.0)
ALL = (SE_SPOT, FR_SPOT, SE, FR)
LAUNCH, MOVE, RETIRE = ActionKind.LAUNCH, ActionKind.MOVE, ActionKind.RETIRE


def spec(
    replicas: int = 1, loss: SpotLoss = SpotLoss.ON_DEMAND, *, most: int | None = None, **knobs: Any
) -> ServiceSpec:
    """Make a service on spot."""
    made = service_spec(replicas, spot=True, placement=PlacementRules(on_spot_loss=loss, max_per_region=most))
    return replace(made, scaling=Scaling(replicas, replicas, **knobs))


def told(made: Plan) -> list[tuple[ActionKind, int, str]]:
    """Return what is to be done, in short."""
    return [(a.kind, a.slot, a.offer_id or a.replica) for a in made.actions]


def shut(one: Candidate, minutes: int = 30) -> Candidate:
    """Return the offer in back-off."""
    return replace(one, avoid_until=NOON + minutes * MINUTE, avoid_reason="failed 1x: no_capacity: sold out")


def lost(on: Candidate = SE_SPOT, slot: int = 0, *, ago: timedelta = MINUTE, name: str = "gc-lost") -> Replica:
    """Make a replica that was taken away that long ago after a day of service."""
    made = replica(on, slot, ReplicaState.LOST, name=name, up_for=26 * HOUR, ready_at=NOON - 26 * HOUR)
    return replace(made, state_since=NOON - ago, ended_at=NOON - ago)


def slots_of(wanted: ServiceSpec, *replicas: Replica) -> str:
    """Return the wanted slots as letters: D on demand, S spot, and where the stand-ins begin."""
    found = wanted_slots(snapshot(ALL, replicas, wanted))
    assert list(found) == sorted(found)
    return "".join("S" if market is SPOT else "D" for market in found.values())


class TestHowMany:
    """SkyServe's rule: on demand = min(wanted, base + spot wanted with its spares - spot ready)."""

    @pytest.mark.parametrize(
        ("knobs", "slots"),
        [
            ({}, "SSS"),
            ({"base_ondemand_fallback_replicas": 1}, "DSS"),
            ({"base_ondemand_fallback_replicas": 3}, "DDD"),
            ({"num_overprovision": 2}, "SSSSS"),
            ({"dynamic_ondemand_fallback": True}, "SSSDDD"),
            ({"dynamic_ondemand_fallback": True, "base_ondemand_fallback_replicas": 1}, "DSSDD"),
            ({"dynamic_ondemand_fallback": True, "num_overprovision": 1}, "SSSSDDD"),
        ],
        ids=lambda value: value if isinstance(value, str) else "+".join(value) or "plain",
    )
    def test_nothing_is_there_yet(self, knobs: dict[str, Any], slots: str) -> None:
        """Base first, then spot and spares; on demand stands in for all that is not ready, up to the wanted number."""
        assert slots_of(spec(3, **knobs)) == slots

    @pytest.mark.parametrize(("spares", "ready", "stand_ins"), [(0, 1, 2), (0, 3, 0), (1, 3, 1), (1, 4, 0), (2, 1, 3)])
    def test_stand_ins_leave_as_spot_becomes_ready(self, spares: int, ready: int, stand_ins: int) -> None:
        """One by one; a spare that is gone is stood in for, too, as SkyServe has it."""
        wanted = spec(3, dynamic_ondemand_fallback=True, num_overprovision=spares)
        serving = [replica(SE_SPOT, slot) for slot in range(ready)]
        assert slots_of(wanted, *serving) == "S" * (3 + spares) + "D" * stand_ins

    def test_spot_that_only_starts_is_not_ready(self) -> None:
        """It may still find the market sold out."""
        wanted = spec(1, dynamic_ondemand_fallback=True)
        assert slots_of(wanted, replica(SE_SPOT, 0, ReplicaState.STARTING)) == "SD"

    def test_a_service_on_demand_has_spares_but_neither_base_nor_stand_ins(self) -> None:
        """The knobs for spot mean nothing there."""
        knobs = Scaling(2, 2, num_overprovision=1, dynamic_ondemand_fallback=True, base_ondemand_fallback_replicas=1)
        assert slots_of(replace(service_spec(2), scaling=knobs)) == "DDD"

    def test_the_most_that_there_may_be(self) -> None:
        """Wanted, spares, stand-ins, and one more for a move."""
        knobs = {"num_overprovision": 1, "base_ondemand_fallback_replicas": 1}
        assert most_replicas(spec(3, **knobs)) == 3 + 1 + 1
        assert most_replicas(spec(3, dynamic_ondemand_fallback=True, **knobs)) == 3 + 1 + 2 + 1

    def test_of_two_stand_ins_the_one_that_serves_stays(self) -> None:
        """What starts dies before what serves."""
        wanted = spec(2, dynamic_ondemand_fallback=True)
        world = [
            replica(SE_SPOT, 0),
            replica(SE_SPOT, 1, ReplicaState.STARTING),
            replica(SE, 2, ReplicaState.STARTING),
            replica(SE, 3),
        ]
        assert told(plan(snapshot(ALL, world, wanted), GREEN, NOON)) == [(RETIRE, 2, "gc-test-chat-2")]

    def test_a_stand_in_stays_until_enough_others_serve(self) -> None:
        """It is no longer wanted when the spot replica is ready, and it goes no sooner."""
        wanted = spec(2, dynamic_ondemand_fallback=True)
        starting = replica(SE_SPOT, 1, ReplicaState.STARTING)
        world = [replica(SE_SPOT, 0), starting, replica(SE, 2)]
        assert plan(snapshot(ALL, world, wanted), GREEN, NOON).actions == ()
        ready = [world[0], replica(SE_SPOT, 1), world[2]]
        made = plan(snapshot(ALL, ready, wanted), GREEN, NOON)
        assert told(made) == [(RETIRE, 2, "gc-test-chat-2")]
        assert made.actions[0].reason == "stood in until spot was ready"


class TestFirstDeploy:
    def test_base_and_stand_ins_come_first(self) -> None:
        """What serving rests on is asked for before what is only cheaper."""
        wanted = spec(2, dynamic_ondemand_fallback=True, base_ondemand_fallback_replicas=1)
        made = plan(snapshot(ALL, spec=wanted), GREEN, NOON, actor="deploy")
        assert told(made) == [
            (LAUNCH, 0, SE.offer.id),
            (LAUNCH, 2, SE.offer.id),
            (LAUNCH, 1, SE_SPOT.offer.id),
        ]
        assert [a.reason for a in made.actions] == [
            "wanted by the spec",
            "stands in until spot is ready",
            "wanted by the spec",
        ]

    @pytest.mark.parametrize("loss", list(SpotLoss))
    def test_on_demand_is_not_bought_for_want_of_spot(self, loss: SpotLoss) -> None:
        """Nothing was lost yet: it is said when the first place may be tried again."""
        world = snapshot([shut(SE_SPOT), shut(FR_SPOT, 5), SE, FR], spec=spec(1, loss))
        with pytest.raises(NoFeasiblePlacement) as caught:
            plan(world, GREEN, NOON, actor="deploy")
        assert "chat needs 1 more replica, 0 can be placed" in caught.value.message
        assert "the earliest try is at 01 Jun 12:05 UTC, aws/fr:1xL4:spot" in caught.value.message

    def test_stand_ins_are_enough_to_serve(self) -> None:
        """No spot to be had: the service starts on demand, and says what it waits for."""
        world = snapshot([shut(SE_SPOT), shut(FR_SPOT, 5), SE, FR], spec=spec(1, dynamic_ondemand_fallback=True))
        made = plan(world, GREEN, NOON, actor="deploy")
        assert told(made) == [(LAUNCH, 1, SE.offer.id)]
        assert made.decision.summary.endswith("; r0 waits for spot room, not tried before 01 Jun 12:05 UTC")

    def test_a_spare_that_fits_nowhere_is_no_reason_to_refuse(self) -> None:
        """The wanted number has its room."""
        made = plan(snapshot(ALL, spec=spec(2, most=1, num_overprovision=1)), GREEN, NOON, actor="deploy")
        assert [a.slot for a in made.actions] == [0, 1]
        assert "r2 waits for spot room" in made.decision.summary

    def test_a_wanted_one_that_fits_nowhere_is(self) -> None:
        """With or without spares."""
        with pytest.raises(NoFeasiblePlacement, match="needs 3 more replicas, 2 can be placed"):
            plan(snapshot(ALL, spec=spec(3, most=1, num_overprovision=1)), GREEN, NOON, actor="deploy")

    def test_without_a_placer_all_stand_where_it_is_best(self) -> None:
        """And with one, regions without a spot replica come first."""
        together = plan(snapshot(ALL, spec=spec(3)), GREEN, NOON)
        apart = plan(snapshot(ALL, spec=spec(3, spot_placer=SpotPlacer.DYNAMIC_FALLBACK)), GREEN, NOON)
        assert [a.region for a in together.actions] == ["aws/se"] * 3
        assert [a.region for a in apart.actions] == ["aws/se", "aws/fr", "aws/se"]


class TestAfterALoss:
    def test_on_demand_replaces_it_at_once(self) -> None:
        """Where it is best on demand; the slot says what it stands for."""
        made = plan(snapshot(ALL, [lost()], spec()), GREEN, NOON, keep_up=True)
        assert told(made) == [(LAUNCH, 0, SE.offer.id)]
        assert made.actions[0].reason == "replaces gc-lost on demand"
        assert made.decision.kind is DecisionKind.REPLACE

    def test_spot_is_taken_where_on_demand_is_not_to_be_had(self) -> None:
        """Serving comes first."""
        made = plan(snapshot([shut(SE_SPOT), FR_SPOT, shut(SE), shut(FR)], [lost()], spec()), GREEN, NOON, keep_up=True)
        assert told(made) == [(LAUNCH, 0, FR_SPOT.offer.id)]

    def test_a_launch_that_met_no_room_is_no_loss(self) -> None:
        """The next spot offer is tried, and on demand only when there is none."""
        failed = replica(SE_SPOT, 0, ReplicaState.FAILED, up_for=MINUTE, reason="no_capacity: sold out")
        made = plan(snapshot([shut(SE_SPOT), FR_SPOT, SE, FR], [failed], spec()), GREEN, NOON, keep_up=True)
        assert told(made) == [(LAUNCH, 0, FR_SPOT.offer.id)]
        none = plan(snapshot([shut(SE_SPOT), shut(FR_SPOT), SE, FR], [failed], spec()), GREEN, NOON, keep_up=True)
        assert told(none) == [(LAUNCH, 0, SE.offer.id)]

    def test_with_stand_ins_the_slot_stays_on_spot(self) -> None:
        """Both at once: on demand serves, spot comes back elsewhere."""
        wanted = spec(dynamic_ondemand_fallback=True)
        made = plan(snapshot([shut(SE_SPOT), FR_SPOT, SE, FR], [lost()], wanted), GREEN, NOON, keep_up=True)
        assert told(made) == [(LAUNCH, 1, SE.offer.id), (LAUNCH, 0, FR_SPOT.offer.id)]

    def test_a_base_replica_is_replaced_on_demand(self) -> None:
        """Its slot was never meant for spot."""
        wanted = spec(2, SpotLoss.WAIT, base_ondemand_fallback_replicas=1)
        made = plan(snapshot(ALL, [lost(SE), replica(SE_SPOT, 1)], wanted), GREEN, NOON, keep_up=True)
        assert told(made) == [(LAUNCH, 0, SE.offer.id)]

    def test_other_region_goes_elsewhere_on_spot(self) -> None:
        """Although the region would be the best, and its back-off were over."""
        made = plan(snapshot(ALL, [lost(ago=HOUR)], spec(1, SpotLoss.OTHER_REGION)), GREEN, NOON, keep_up=True)
        assert told(made) == [(LAUNCH, 0, FR_SPOT.offer.id)]

    def test_other_region_comes_back_when_there_is_no_other(self) -> None:
        """Where it was lost is better than nowhere, once the back-off is over; on demand is never bought."""
        wanted = spec(1, SpotLoss.OTHER_REGION)
        assert told(plan(snapshot([SE_SPOT, SE], [lost()], wanted), GREEN, NOON, keep_up=True)) == [
            (LAUNCH, 0, SE_SPOT.offer.id)
        ]
        with pytest.raises(NoFeasiblePlacement, match=r"the earliest try is at 01 Jun 12:30 UTC, aws/se:1xL4:spot"):
            plan(snapshot([shut(SE_SPOT), SE], [lost()], wanted), GREEN, NOON, keep_up=True)

    def test_another_slots_loss_warns_this_one(self) -> None:
        """A region that takes one away may take the next."""
        world = [lost(slot=1), replica(FR_SPOT, 1)]
        made = plan(snapshot(ALL, world, spec(2, SpotLoss.OTHER_REGION)), GREEN, NOON, keep_up=True)
        assert told(made) == [(LAUNCH, 0, FR_SPOT.offer.id)]

    def test_wait_waits_and_says_so(self) -> None:
        """For this market alone, however green another one; the refusal names slot, offer and time."""
        wanted = spec(2, SpotLoss.WAIT)
        world = snapshot([shut(SE_SPOT), FR_SPOT, SE, FR], [lost(), replica(FR_SPOT, 1)], wanted)
        with pytest.raises(NoFeasiblePlacement) as caught:
            plan(world, GREEN, NOON, keep_up=True)
        assert caught.value.message == (
            "chat does without 1 of 2 replicas, as placement.on_spot_loss: wait asks for: "
            "r0 waits for aws/se:1xL4:spot, not tried before 01 Jun 12:30 UTC"
        )

    def test_wait_ends_with_the_back_off(self) -> None:
        """Then the same offer is tried, not the one that is better by now."""
        better = candidate("aws/no", 1.0, usd=0.1, market=SPOT)
        made = plan(snapshot([*ALL, better], [lost()], spec(1, SpotLoss.WAIT)), GREEN, NOON, keep_up=True)
        assert told(made) == [(LAUNCH, 0, SE_SPOT.offer.id)]

    def test_wait_does_not_wait_for_what_a_rule_forbids_by_now(self) -> None:
        """Nobody waits for ever."""
        wanted = spec(1, SpotLoss.WAIT)
        wanted = replace(wanted, placement=replace(wanted.placement, deny=("aws/se",)))
        assert told(plan(snapshot(ALL, [lost()], wanted), GREEN, NOON, keep_up=True)) == [(LAUNCH, 0, FR_SPOT.offer.id)]

    def test_one_slot_that_waits_does_not_hold_up_another(self) -> None:
        """What can be launched is, and the rest is noted."""
        wanted = spec(2, SpotLoss.WAIT)
        failed = replica(FR_SPOT, 1, ReplicaState.FAILED, name="gc-failed", up_for=MINUTE, reason="engine_died: boom")
        made = plan(snapshot([shut(SE_SPOT), FR_SPOT], [lost(), failed], wanted), GREEN, NOON, keep_up=True)
        assert told(made) == [(LAUNCH, 1, FR_SPOT.offer.id)]
        assert "r0 waits for aws/se:1xL4:spot, not tried before 01 Jun 12:30 UTC" in made.decision.summary

    def test_in_the_dark_on_demand_comes_first_all_the_same(self) -> None:
        """No fresh signal is no reason to forget what on_spot_loss says."""
        dark = [
            candidate("aws/se", stale("SE", 30.0), trailing=30.0),
            candidate("aws/se", stale("SE", 30.0), trailing=30.0, usd=0.3, market=SPOT),
        ]
        made = plan(snapshot(dark, [lost()], spec()), GREEN, NOON, keep_up=True)
        assert told(made) == [(LAUNCH, 0, SE.offer.id)]

    def test_stand_ins_are_launched_in_the_dark_too(self) -> None:
        """Once something was lost."""
        dark = [candidate("aws/se", stale("SE", 30.0), trailing=30.0)]
        made = plan(snapshot(dark, [lost()], spec(dynamic_ondemand_fallback=True)), GREEN, NOON, keep_up=True)
        assert told(made) == [(LAUNCH, 1, SE.offer.id)]


class TestBackToSpot:
    """A slot that on demand holds goes back, make before break, when the dwell since the loss is over."""

    def world(self, *losses: Replica, offers: tuple[Candidate, ...] = ALL, **rules: Any) -> Plan:
        """Plan for one replica that serves on demand in a spot slot."""
        wanted = replace(spec(), migration=MigrationRules(**rules))
        return plan(snapshot(offers, [*losses, replica(SE, name="gc-od", up_for=MINUTE)], wanted), GREEN, NOON)

    def test_not_before_the_dwell_is_over(self) -> None:
        """Two hours by default, counted from the loss; the decision says until when."""
        early, late = self.world(lost(ago=2 * HOUR - MINUTE)), self.world(lost(ago=2 * HOUR))
        assert early.actions == ()
        assert "r0 stays on demand until 01 Jun 12:01 UTC (placement.on_spot_loss" in early.decision.summary
        assert told(late) == [(MOVE, 0, SE_SPOT.offer.id)]
        assert (late.actions[0].replica, late.actions[0].reason) == ("gc-od", "spot is to be had")

    def test_not_more_often_than_moves_are_allowed(self) -> None:
        """A slot that was lost as often as it may move in a day stays where it is until a day has passed."""
        losses = [lost(ago=n * 3 * HOUR, name=f"gc-{n}") for n in (1, 2, 3)]
        assert told(self.world(*losses, max_moves_per_day=4)) == [(MOVE, 0, SE_SPOT.offer.id)]
        assert self.world(*losses, max_moves_per_day=3).actions == ()

    @pytest.mark.parametrize(
        "offers",
        [(shut(SE_SPOT), shut(FR_SPOT), SE), (SE, FR), (candidate("aws/se", 30.0, usd=1.0, market=SPOT), SE)],
        ids=["in-back-off", "not-sold", "not-cheaper"],
    )
    def test_not_without_a_spot_offer_that_is_worth_it(self, offers: tuple[Candidate, ...]) -> None:
        """It stays on demand, and that is no error."""
        made = self.world(lost(ago=9 * HOUR), offers=offers)
        assert made.actions == ()
        assert "r0 stays on demand until spot is to be had for less" in made.decision.summary

    def test_not_to_spot_that_costs_more_than_what_it_has(self) -> None:
        """Spot may be cheaper than on demand there, and dearer than on demand here."""
        dear = (candidate("aws/no", 1.0, usd=5.0), candidate("aws/no", 1.0, usd=2.0, market=SPOT), SE)
        assert self.world(lost(ago=9 * HOUR), offers=dear, enabled=True).actions == ()

    @pytest.mark.parametrize("rule", list(WhenStale))
    def test_not_to_a_zone_gone_dark(self, rule: WhenStale) -> None:
        """Whatever may be launched there: what serves does not move to where nobody knows how dirty it is."""
        dark = replace(SE_SPOT, now=stale("SE", 30.0), trailing_mean_grams_per_kwh=30.0)
        wanted = replace(spec(), carbon=CarbonRules(when_stale=rule))
        losses = [lost(ago=9 * HOUR)]
        stays = plan(snapshot((dark, FR), [*losses, replica(FR, name="gc-od")], wanted), GREEN, NOON)
        assert stays.actions == ()
        with_light = plan(snapshot((dark, FR_SPOT, FR), [*losses, replica(FR, name="gc-od")], wanted), GREEN, NOON)
        assert told(with_light) == [(MOVE, 0, FR_SPOT.offer.id)]

    def test_not_while_moves_are_off_or_paused(self) -> None:
        """It is a move of its own accord."""
        off = self.world(lost(ago=9 * HOUR), enabled=False)
        assert off.actions == ()
        assert "as long as migration.enabled is false" in off.decision.summary
        on_demand = replica(SE, name="gc-od", up_for=MINUTE)
        paused = plan(snapshot(ALL, [lost(ago=9 * HOUR), on_demand], spec(), paused=True), GREEN, NOON)
        assert paused.actions == ()

    def test_not_while_another_one_moves(self) -> None:
        """One at a time."""
        wanted = spec(2)
        world = [lost(ago=9 * HOUR), replica(SE, 0, name="gc-od"), replica(SE_SPOT, 1, ReplicaState.STARTING)]
        assert plan(snapshot(ALL, world, wanted), GREEN, NOON).actions == ()

    def test_a_new_workload_takes_the_way_back_with_it(self) -> None:
        """One move where two would do the same; before the dwell is over it rolls out on demand."""
        newer = replace(spec(), model=ModelSpec("org/newer"))
        for ago, offer in ((9 * HOUR, SE_SPOT), (HOUR, SE)):
            world = snapshot(ALL, [lost(ago=ago), replica(FR, name="gc-od")], newer)
            made = plan(world, GREEN, NOON)
            assert told(made) == [(MOVE, 0, offer.offer.id)]
            assert made.actions[0].reason == "new workload"

    def test_a_slot_that_becomes_base_leaves_spot(self) -> None:
        """The rule changed, so it moves, make before break."""
        made = plan(snapshot(ALL, [replica(SE_SPOT)], spec(base_ondemand_fallback_replicas=1)), GREEN, NOON)
        assert told(made) == [(MOVE, 0, SE.offer.id)]
        assert "base_ondemand_fallback_replicas" in made.actions[0].reason

    def test_a_voluntary_move_stays_on_its_market(self) -> None:
        """From spot to spot, from on demand to on demand; stand-ins do not move at all."""
        dirty_spot = candidate("aws/pl", 700.0, usd=0.3, market=SPOT)
        dirty = candidate("aws/pl", 700.0)
        made = plan(snapshot([*ALL, dirty_spot, dirty], [replica(dirty_spot)], spec()), GREEN, NOON)
        assert told(made) == [(MOVE, 0, SE_SPOT.offer.id)]
        wanted = spec(dynamic_ondemand_fallback=True)
        world = snapshot([SE, dirty, shut(SE_SPOT)], [replica(dirty, 1)], wanted)
        assert plan(world, GREEN, NOON, keep_up=True).actions == ()

    def test_replicas_that_are_spread_do_not_gather_again(self) -> None:
        """The greenest region is taken: moving there would undo what the placer did."""
        world = [replica(SE_SPOT, 0), replica(candidate("aws/pl", 700.0, usd=0.3, market=SPOT), 1)]
        offers = [SE_SPOT, candidate("aws/pl", 700.0, usd=0.3, market=SPOT)]
        spread = spec(2, spot_placer=SpotPlacer.DYNAMIC_FALLBACK)
        assert plan(snapshot(offers, world, spread), GREEN, NOON).actions == ()
        assert told(plan(snapshot(offers, world, spec(2)), GREEN, NOON)) == [(MOVE, 1, SE_SPOT.offer.id)]


class TestPace:
    """A storm of losses is no storm of purchases: so many launches in a minute, of all services together."""

    @pytest.mark.parametrize("recent", [0, 4, MOST_LAUNCHES_PER_MINUTE, 99])
    def test_no_more_than_so_many_in_a_minute(self, recent: int) -> None:
        """The rest is said to follow, and is no error."""
        world = snapshot(ALL, [lost(slot=n, name=f"gc-{n}") for n in range(25)], spec(25), recent_launches=recent)
        made = plan(world, GREEN, NOON, keep_up=True)
        assert len(made.actions) == max(0, MOST_LAUNCHES_PER_MINUTE - recent)
        assert "later: no more than 10 launches in a minute" in made.decision.summary

    def test_what_a_person_confirms_is_shown_whole(self) -> None:
        """A big deploy is not cut into pieces."""
        made = plan(snapshot(ALL, spec=spec(25), recent_launches=99), GREEN, NOON, actor="deploy")
        assert len(made.actions) == 25

    def test_moves_wait_too(self) -> None:
        """They are launches."""
        world = snapshot(ALL, [lost(ago=9 * HOUR), replica(SE, name="gc-od")], spec(), recent_launches=10)
        assert plan(world, GREEN, NOON).actions == ()

    def test_stand_ins_go_first(self) -> None:
        """Of few launches those are made that serve soonest and surest."""
        wanted = spec(6, dynamic_ondemand_fallback=True)
        world = snapshot(ALL, [lost(slot=n, name=f"gc-{n}") for n in range(6)], wanted)
        made = plan(world, GREEN, NOON, keep_up=True)
        markets = [a.market for a in made.actions]
        assert markets == [ON_DEMAND] * 6 + [SPOT] * 4
