"""A service that survives the loss of any one region: spares, where they go, and what may move or leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import pytest

from orchestrator.domain.offer import Candidate
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.scale import WantedReplicas
from orchestrator.domain.service import MigrationRules, PlacementRules, Scaling, ServiceSpec, Survives
from orchestrator.domain.survival import left_after_a_loss, spares_for, survival_of
from orchestrator.domain.time import HOUR
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.hedge.spares import hedged
from orchestrator.planner.judged import judge
from orchestrator.planner.plan import BY_ITSELF, plan, plan_beside, plan_migration
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.surviving import as_written
from tests.builders import GREEN, MINUTE, NOON, applied, candidate, replica, service_spec, snapshot, stale

SE = candidate("aws/se", 30.0)
FR = candidate("aws/fr", 60.0)
PL = candidate("aws/pl", 700.0)
ALL = (SE, FR, PL)
SPOT = Market.SPOT


def spec(replicas: int = 2, *, per_region: int | None = None, spot: bool = False, **changes: object) -> ServiceSpec:
    """Make a service that promises to survive the loss of a region."""
    rules = PlacementRules(max_per_region=per_region)
    return service_spec(replicas, placement=rules, spot=spot, survives=Survives.REGION, **changes)


def standing(*places: Candidate) -> list[Replica]:
    """Let one serve on each of the offers, in the order of slots."""
    return [replica(on, slot, up_for=48 * HOUR) for slot, on in enumerate(places)]


def decided(
    replicas: Sequence[Replica] = (),
    own: ServiceSpec | None = None,
    offers: Sequence[Candidate] = ALL,
    *,
    keep_up: bool = False,
) -> Plan:
    """Plan for a service that has these replicas."""
    actor = BY_ITSELF if keep_up else "deploy"
    return plan(snapshot(offers, replicas, own or spec()), GREEN, NOON, actor, keep_up=keep_up)


def went(made: Plan) -> Counter[str]:
    """Where replicas are launched."""
    return Counter(a.region for a in made.actions if a.kind is ActionKind.LAUNCH)


def kinds(made: Plan) -> list[tuple[str, str]]:
    """Which kinds of actions there are, with the region that each leaves."""
    return [(a.kind.name, a.from_region) for a in made.actions]


def refusal(own: ServiceSpec, offers: Sequence[Candidate]) -> str:
    """Return why there is no plan, and what helps."""
    with pytest.raises(NoFeasiblePlacement) as caught:
        decided(own=own, offers=offers)
    return f"{caught.value.message} {caught.value.hint()}"


class TestArithmetic:
    @pytest.mark.parametrize("needed", range(1, 8))
    @pytest.mark.parametrize("regions", range(2, 7))
    def test_spares_are_the_needed_ones_shared_by_the_regions_that_are_left(self, needed: int, regions: int) -> None:
        """That is ``ceil(n / (R - 1))``."""
        assert spares_for(needed, regions) == ceil(needed / (regions - 1))

    @pytest.mark.parametrize(
        ("needed", "regions", "held", "limit", "spares"),
        [
            (1, 1, (), None, None),
            (1, 0, (), None, None),
            (0, 0, (), None, 0),
            (2, 2, (), 1, None),
            (2, 3, (), 1, 1),
            (4, 3, (), 1, None),
            (2, 1, (1,), None, None),
            (2, 1, (1, 1), None, 1),
            (2, 0, (2, 2), None, 2),
        ],
    )
    def test_regions_that_take_no_more_count_for_who_stands_in_them(
        self, needed: int, regions: int, held: tuple[int, ...], limit: int | None, spares: int | None
    ) -> None:
        """And nobody gets more in a region than is wanted there; what cannot be is no number."""
        assert spares_for(needed, regions, held=held, limit=limit) == spares

    def test_what_is_left_is_what_the_fullest_region_does_not_hold(self) -> None:
        """Those whose loss leaves too few are named."""
        assert left_after_a_loss(["a", "a", "b"]) == 1
        assert left_after_a_loss([]) == 0
        found = survival_of(["a", "a", "b"], 2)
        assert (found.replicas, found.left, found.too_few_without, found.is_kept) == (3, 1, ("a",), False)
        assert survival_of(["a", "b"], 1).is_kept


class TestFirstDeploy:
    @pytest.mark.parametrize(
        ("number", "offers", "most"),
        [(1, (SE, FR), 1), (2, ALL, 1), (3, ALL, 2), (2, (SE, FR), 2), (4, ALL, 2)],
    )
    def test_the_loss_of_any_region_leaves_as_many_as_are_needed(
        self, number: int, offers: tuple[Candidate, ...], most: int
    ) -> None:
        """The spares are as few as that takes, and no region holds more than they are."""
        made = decided(own=spec(number), offers=offers)
        counts = went(made)
        assert counts.total() == number + most
        assert max(counts.values()) == most
        assert made.survival is not None
        assert made.survival.is_kept
        assert made.survival.needed == number

    def test_the_plan_says_why_there_are_more_and_what_they_cost(self) -> None:
        """In the reason of the launch, in dollars, and in grams at the load that is expected."""
        made = decided()
        assert made.actions[-1].reason == ("a spare: slo.survives: 2 of 3 are left when any one of 3 regions is lost")
        assert made.survival is not None
        assert made.survival.usd_per_hour == pytest.approx(1.0)
        (extra,) = [s for s in made.spares if not s.is_needed]
        assert made.survival.grams_per_hour == extra.grams_per_hour

    def test_one_region_is_refused_by_name(self) -> None:
        """And the smallest change that helps is named where there is one."""
        assert "only aws/se can be used" in refusal(spec(1), (SE,))
        denied = replace(spec(1), placement=PlacementRules(deny=("aws/fr",)))
        assert "Smallest change: take aws/fr out of placement.deny" in refusal(denied, (SE, FR))

    def test_a_limit_that_contradicts_it_is_named(self) -> None:
        """With the limit that would do."""
        said = refusal(spec(2, per_region=1), (SE, FR))
        assert "slo.survives: region contradicts placement.max_per_region: 1" in said
        assert said.endswith("Smallest change: raise placement.max_per_region to 2.")
        assert went(decided(own=spec(2, per_region=1))) == {"aws/se": 1, "aws/fr": 1, "aws/pl": 1}

    def test_a_region_of_which_nothing_is_known_is_no_region_for_a_first_deploy(self) -> None:
        """Two that are known are enough; of one the rest is said."""
        dark = candidate("aws/de", stale("DE", 10.0))
        assert went(decided(offers=(SE, FR, dark))) == {"aws/se": 2, "aws/fr": 2}
        assert "aws/de: intensity 360 min old" in refusal(spec(), (SE, dark))

    def test_nothing_is_promised_without_it_and_to_nobody(self) -> None:
        """A service without the key, one that sleeps, and one that is taken down have no spares."""
        assert decided(own=service_spec(2)).survival is None
        assert went(decided(own=service_spec(2))) == {"aws/se": 2}
        asleep = decided(own=spec(0))
        assert asleep.actions == ()
        assert asleep.survival is None
        gone = plan(snapshot(ALL, standing(SE, FR), spec(), taking_down=True), GREEN, NOON)
        assert [a.kind for a in gone.actions] == [ActionKind.RETIRE] * 2


class TestSpotAndOtherSpares:
    def test_spares_that_somebody_fixed_are_these_spares(self) -> None:
        """The larger number holds; they are not added up."""
        own = replace(spec(), scaling=Scaling(2, 2, num_overprovision=3))
        assert went(decided(own=own)).total() == 5
        own = replace(spec(), scaling=Scaling(2, 2, num_overprovision=1))
        assert went(decided(own=own, offers=(SE, FR))).total() == 4

    def test_on_spot_the_larger_of_both_promises_holds(self) -> None:
        """Spares that availability takes count for the loss of a region."""
        offers = tuple(candidate(r, g, usd=0.3, market=SPOT) for r, g in (("aws/se", 30.0), ("aws/fr", 60.0)))
        own = replace(spec(spot=True), availability_fraction=0.9)
        before = snapshot(offers, (), own)
        alone = hedged(replace(before, spec=replace(own, survives=None)), NOON).spec.scaling.num_overprovision
        world = hedged(before, NOON)
        assert judge(world, GREEN, NOON).snapshot.spec.scaling.num_overprovision == max(2, alone)
        counts = went(plan(world, GREEN, NOON))
        assert counts.total() - max(counts.values()) >= 2

    def test_judged_anew_it_is_worked_out_anew(self) -> None:
        """From what its owner wrote, not from what was made of it."""
        judged = judge(snapshot(ALL, (), spec()), GREEN, NOON)
        raised = judged.snapshot
        assert (raised.spec.scaling.num_overprovision, raised.spec.placement.max_per_region) == (1, 1)
        four = replace(raised, spec=replace(raised.spec, scaling=replace(raised.spec.scaling, min_replicas=4)))
        again = judge(four, GREEN, NOON).snapshot.spec
        assert (again.scaling.num_overprovision, again.placement.max_per_region) == (2, 2)
        assert as_written(raised).spec == spec()
        assert hedged(raised, NOON).spec == spec()


class TestLoad:
    def sized(self, number: int, replicas: Sequence[Replica]) -> Snapshot:
        """Make a world in which load wants so many."""
        own = replace(spec(), scaling=Scaling(number, 8))
        return snapshot(ALL, replicas, own, sizing=WantedReplicas(number, 1, 8, number, "load"))

    def test_more_load_takes_more_spares(self) -> None:
        """Four of six are left, where two of three were."""
        made = plan(self.sized(4, standing(SE, FR, PL)), GREEN, NOON, keep_up=True)
        assert made.survival is not None
        assert (made.survival.needed, made.survival.replicas, made.survival.is_kept) == (4, 6, True)

    def test_less_load_takes_from_the_fullest_region(self) -> None:
        """Whichever slots those have."""
        made = plan(self.sized(2, standing(SE, FR, PL, SE, SE)), GREEN, NOON, keep_up=True)
        assert kinds(made) == [("RETIRE", "aws/se"), ("RETIRE", "aws/se")]
        assert made.survival is not None
        assert made.survival.is_kept

    def test_beside_a_request_there_are_as_many_as_load_wants_more(self) -> None:
        """They go into the slots above those of the request and its spares."""
        low = self.sized(2, standing(SE, FR, PL))
        made = plan_beside(low, WantedReplicas(3, 1, 8, 3, "load"), GREEN, NOON)
        assert [a.slot for a in made.actions] == [3]


class TestWhatIsLost:
    def test_a_lost_region_is_made_up_for_in_the_others_at_once(self) -> None:
        """There the promise is kept again, with the spares that two regions take."""
        shut = candidate("aws/pl", 700.0, avoid_until=NOON + HOUR)
        gone = replica(shut, 2, ReplicaState.LOST, ended_at=NOON - MINUTE)
        made = decided([*standing(SE, FR), gone], offers=(SE, FR, shut), keep_up=True)
        assert went(made) == {"aws/se": 1, "aws/fr": 1}
        assert made.survival is not None
        assert made.survival.is_kept

    def test_with_one_region_left_as_many_stand_there_as_load_needs_and_that_is_said(self) -> None:
        """No limit of a region keeps them away, and nothing is refused to a service that runs."""
        shut = candidate("aws/fr", 60.0, avoid_until=NOON + HOUR)
        gone = [replica(shut, slot, ReplicaState.LOST, ended_at=NOON - MINUTE) for slot in (1, 2)]
        made = decided([*standing(SE), *gone], offers=(SE, shut), keep_up=True)
        assert went(made) == {"aws/se": 1}
        assert "only aws/se can be used" in made.decision.summary
        assert made.survival is not None
        assert made.survival.too_few_without == ("aws/se",)

    def test_spares_stay_while_one_region_alone_can_be_used(self) -> None:
        """Nobody lets go of what the promise will need in a few minutes."""
        shut = candidate("aws/fr", 60.0, avoid_until=NOON + HOUR)
        made = decided(standing(SE, SE, shut, shut), offers=(SE, shut), keep_up=True)
        assert [a.kind for a in made.actions] == []

    def test_a_region_whose_signal_is_late_is_still_one(self) -> None:
        """Nothing is bought, moved or let go because numbers are late."""
        dark = candidate("aws/fr", stale("FR", 60.0))
        made = decided(standing(SE, dark, PL), offers=(SE, dark, PL), keep_up=True)
        assert made.actions == ()

    def test_nobody_relies_on_a_region_that_is_late_while_others_are_enough(self) -> None:
        """Who stands in it counts. As load grew one more was to go where nobody could be sent."""
        dark = candidate("aws/fr", stale("FR", 60.0))
        made = decided(standing(SE, dark, PL), spec(4), offers=(SE, dark, PL), keep_up=True)
        assert went(made) == {"aws/se": 2, "aws/pl": 2}
        once = [replica(dark, 2, ReplicaState.LOST, ended_at=NOON - 24 * HOUR)]
        made = decided([*standing(SE, PL), *once], spec(3), offers=(SE, dark, PL), keep_up=True)
        assert went(made) == {"aws/se": 2, "aws/pl": 2}

    def test_what_is_lost_in_a_region_that_is_late_comes_back_where_no_other_is_enough(self) -> None:
        """Without a number: that it runs is worth more."""
        dark = candidate("aws/fr", stale("FR", 60.0))
        gone = replica(dark, 1, ReplicaState.LOST, ended_at=NOON - MINUTE)
        made = decided([*standing(SE), gone], spec(1), offers=(SE, dark), keep_up=True)
        assert went(made) == {"aws/fr": 1}

    def test_a_person_may_deploy_while_a_region_is_away_and_not_where_there_is_none(self) -> None:
        """What passes by itself keeps no fix from anybody; a promise that nothing can keep is refused, whoever runs."""
        shut = candidate("aws/fr", 60.0, avoid_until=NOON + HOUR)
        made = decided(standing(SE, SE), offers=(SE, shut))
        assert made.actions == ()
        assert "only aws/se can be used" in made.decision.summary
        with pytest.raises(NoFeasiblePlacement, match="only aws/se can be used"):
            decided(standing(SE, SE), offers=(SE,))
        with pytest.raises(NoFeasiblePlacement, match="not tried before"):
            decided(offers=(SE, shut))

    def test_where_spot_is_away_on_demand_keeps_the_promise(self) -> None:
        """One of those that crowd the last spot region moves for it, although it costs more."""
        spot = candidate("aws/se", 30.0, usd=0.3, market=SPOT)
        away = candidate("aws/fr", 60.0, usd=0.3, market=SPOT, avoid_until=NOON + HOUR)
        offers, own = (spot, away, SE, FR, PL), spec(spot=True)
        world = snapshot(offers, standing(spot, spot), own)
        for _ in range(6):
            made = plan(world, GREEN, NOON, keep_up=True)
            if not made.actions:
                break
            world = applied(made, world, NOON)
        assert left_after_a_loss(r.region for r in world.living()) >= 2
        assert {r.market for r in world.living()} == {SPOT, Market.ON_DEMAND}

    def test_a_region_without_room_for_those_that_are_never_on_spot_is_none(self) -> None:
        """It had room on spot, so one that is never on spot waited for it, and one of two would have been left."""
        spots = [candidate(f"aws/{name}", 30.0, usd=0.3, market=SPOT) for name in ("se", "fr", "pl")]
        shut = candidate("aws/pl", 700.0, avoid_until=NOON + HOUR)
        on_demand = Scaling(min_replicas=2, max_replicas=2, base_ondemand_fallback_replicas=2)
        own = replace(spec(spot=True), scaling=on_demand)
        gone = replica(shut, 1, ReplicaState.LOST, ended_at=NOON - MINUTE)
        made = decided([replica(FR, 0), replica(spots[0], 2), gone], own, (*spots, SE, FR, shut), keep_up=True)
        assert sorted((a.region, str(a.market)) for a in made.actions) == [("aws/fr", "spot"), ("aws/se", "on_demand")]

    def test_spot_that_was_taken_away_and_comes_back_on_demand_takes_no_more_spares(self) -> None:
        """Its region counted as none, so that one was bought besides and let go as soon as the other one started."""
        spots = [candidate(f"aws/{name}", 30.0, usd=0.3, market=SPOT) for name in ("fr", "pl")]
        away = candidate("aws/se", 30.0, usd=0.3, market=SPOT, avoid_until=NOON + HOUR)
        gone = replica(away, 2, ReplicaState.LOST, up_for=MINUTE)
        made = decided([*standing(*spots), gone], spec(spot=True), (*spots, away, *ALL), keep_up=True)
        assert [(a.region, a.market) for a in made.actions] == [("aws/se", Market.ON_DEMAND)]

    def test_spot_stays_in_the_place_of_whoever_is_on_demand_for_it(self) -> None:
        """Each kept the other's region full, so that four of three stayed until all were on spot again."""
        later = {"usd": 0.3, "market": SPOT, "avoid_until": NOON + HOUR}
        own = [candidate("aws/se", 30.0, **later), candidate("aws/fr", 60.0, **later)]
        spot = candidate("aws/pl", 700.0, usd=0.3, market=SPOT)
        made = decided(standing(FR, SE, FR, spot), spec(spot=True), (*own, spot, *ALL), keep_up=True)
        assert kinds(made) == [("RETIRE", "aws/fr")]


class TestStandIns:
    """Replicas on demand that stand in for spot which is not ready, beside the spares of the promise."""

    OWN = replace(spec(spot=True), scaling=Scaling(2, 2, dynamic_ondemand_fallback=True))
    SPOTS = tuple(candidate(f"aws/{name}", grams, usd=0.3, market=SPOT) for name, grams in (("se", 30.0), ("fr", 60.0)))
    OFFERS = (*ALL, *SPOTS, candidate("aws/pl", 700.0, usd=0.3, market=SPOT))

    def test_a_first_deploy_has_room_for_them(self) -> None:
        """They took that of the last spare, so that it was refused; and later that of the spot they waited for."""
        made = decided(own=self.OWN, offers=self.OFFERS)
        assert went(made).total() == 6
        assert max(went(made).values()) == 2
        spot = Counter(a.region for a in made.actions if a.market is SPOT)
        assert left_after_a_loss(spot.elements()) >= 2

    def test_whoever_stands_in_makes_no_difference_to_the_number_of_spares(self) -> None:
        """In a region that takes no more spot it counted as one that stands for good, and there was one spare fewer.

        So spares were let go when it came, and bought again when it went.
        """
        away = candidate("aws/pl", 700.0, usd=0.3, market=SPOT, avoid_until=NOON + HOUR)
        serving = standing(*self.SPOTS)
        numbers = []
        for more in ([], [replica(PL, 4)], [replica(PL, 4), replica(PL, 5)]):
            made = judge(snapshot((*ALL, *self.SPOTS, away), [*serving, *more], self.OWN), GREEN, NOON)
            assert made.snapshot.surviving is not None
            numbers.append(made.snapshot.surviving.spares)
        assert len(set(numbers)) == 1


class TestMoves:
    def test_no_voluntary_move_ends_where_too_few_would_be_left(self) -> None:
        """The dirty one stays where it is: the clean regions hold as many as they may."""
        assert decided(standing(SE, FR, PL), keep_up=True).actions == ()
        freed = decided(standing(SE, FR, PL), offers=(*ALL, candidate("aws/no", 20.0)), keep_up=True)
        (move,) = freed.actions
        assert (move.from_region, move.region) == ("aws/pl", "aws/no")

    def test_a_person_is_told_why_not(self) -> None:
        """By the name of the promise."""
        world = snapshot(ALL, standing(SE, FR, PL), spec())
        with pytest.raises(NoFeasiblePlacement, match=r"aws/se: limit of slo\.survives reached"):
            plan_migration(world, GREEN, NOON, replica="r2", to_region="aws/se", actor="ada", reason="because")

    def test_a_promise_that_comes_later_brings_spares_and_then_moves(self) -> None:
        """One step after the other, make before break, until it is kept; and then nothing more."""
        world = snapshot(ALL, standing(SE, SE, SE), spec(3))
        for _ in range(6):
            made = plan(world, GREEN, NOON, keep_up=True)
            if not made.actions:
                break
            world = replace(applied(made, world, NOON), moves=())
        assert made.actions == ()
        counts = Counter(r.region for r in world.living())
        assert counts == {"aws/se": 2, "aws/fr": 2, "aws/pl": 1}

    def test_what_stands_closer_than_it_need_spreads_and_then_takes_fewer(self) -> None:
        """A region came back: one moves there, and then one of four is too much."""
        crowded = standing(SE, SE, FR, FR)
        made = decided(crowded, keep_up=True)
        assert kinds(made) == [("MOVE", "aws/fr")]
        after = applied(made, snapshot(ALL, crowded, spec()), NOON)
        again = plan(after, GREEN, NOON, keep_up=True)
        assert kinds(again) == [("RETIRE", "aws/se")]
        assert again.survival is not None
        assert again.survival.is_kept

    def test_where_moves_are_off_nothing_moves_that_need_not(self) -> None:
        """The promise is kept by one more than it takes."""
        off = replace(spec(), migration=MigrationRules(enabled=False))
        assert decided(standing(SE, SE, FR, FR), off, keep_up=True).actions == ()
        broken = decided(standing(SE, SE, FR), off, keep_up=True)
        assert kinds(broken) == [("MOVE", "aws/se")]

    def test_nobody_who_serves_leaves_before_a_spare_serves(self) -> None:
        """What starts is no replica to rely on."""
        own = [*standing(SE, FR, FR), replica(PL, 3, ReplicaState.STARTING, up_for=MINUTE)]
        assert decided(own, keep_up=True).actions == ()
