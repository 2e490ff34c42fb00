"""How many spares a promised availability takes, where they go, and what the journal teaches about places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.offer import Candidate
from orchestrator.domain.plan import ActionKind
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import PlacementRules, Scaling, ServiceSpec, SpotPlacer
from orchestrator.domain.time import HOUR, Instant
from orchestrator.planner.hedge.past import Bond, Past, remembered
from orchestrator.planner.hedge.rules import HedgeRules
from orchestrator.planner.hedge.spares import MOST_SPARES, hedged
from orchestrator.planner.plan import plan
from orchestrator.planner.snapshot import Hedging, Snapshot
from tests.builders import GREEN, MINUTE, NOON, candidate, replica, service_spec, snapshot
from tests.spot_world import SpotWorld

SPOT = Market.SPOT
SE = candidate("aws/se", 30.0, usd=0.3, market=SPOT)
FR = candidate("aws/fr", 60.0, usd=0.3, market=SPOT)
PL = candidate("aws/pl", 70.0, usd=0.3, market=SPOT)
ALL = (SE, FR, PL)
RULES = HedgeRules()


def spec(replicas: int = 2, goal: float | None = 0.995, **knobs: int) -> ServiceSpec:
    """Make a service on spot that promises something."""
    made = service_spec(replicas, spot=True, availability_fraction=goal)
    return replace(made, scaling=Scaling(replicas, replicas, **knobs))


def serving(on: object, slot: int, *, hours: float) -> Replica:
    """Make a replica that has served for so long."""
    since = NOON - hours * HOUR
    return replica(on, slot, up_for=hours * HOUR + MINUTE, ready_at=since)  # type: ignore[arg-type]


def lost(on: object, at: Instant, *, name: str, after: timedelta = 30 * MINUTE) -> Replica:
    """Make a replica that was taken away then, after so much service."""
    made = replica(on, 0, ReplicaState.LOST, name=name, ready_at=at - after)  # type: ignore[arg-type]
    return replace(made, created_at=at - after - MINUTE, state_since=at, ended_at=at)


def wave(number: int, at: Instant, *places: object) -> list[Replica]:
    """Lose a replica in each of the places, half a minute apart."""
    return [lost(place, at + n * timedelta(seconds=30), name=f"gc-{number}-{n}") for n, place in enumerate(places)]


def hedging(snap: Snapshot) -> Hedging:
    """Return what the hedge says."""
    found = hedged(snap, NOON).hedging
    assert found is not None
    return found


class Read(tuple[Candidate, ...]):
    """Offers that count how often somebody goes through all of them."""

    __slots__ = ()
    times = 0

    def __iter__(self) -> Iterator[Candidate]:
        """Go through them."""
        type(self).times += 1
        return super().__iter__()


def learnt(replicas: list[Replica]) -> Past:
    """Return what records teach."""
    return remembered([c.offer.region.id for c in ALL], replicas, NOON, 1.0, RULES)


def test_places_are_judged_once_however_many_slots_are_empty() -> None:
    """Hundreds of replicas that have no place yet, over a thousand offers, are a look like any other."""
    places = [candidate(f"aws/r{n}", 100.0 + n, usd=0.3, market=SPOT) for n in range(5)]
    world = snapshot(places, [], spec(300))
    Read.times = 0
    found = hedging(replace(world, candidates=Read(world.candidates)))
    assert Read.times == 1
    assert found == hedging(world)


class TestPast:
    def test_what_held_long_is_trusted_more(self) -> None:
        """Ten hours of service say more than one, and one that was never tried is in between."""
        past = learnt([serving(SE, 0, hours=10), serving(FR, 1, hours=0.2)])

        assert past.lost["aws/se"] < past.lost["aws/pl"]
        assert past.losses == {"aws/se": 0, "aws/fr": 0, "aws/pl": 0}
        assert past.bonds == ()

    def test_losses_make_a_place_suspect(self) -> None:
        """A place that took replicas away lately is trusted less than one that did not."""
        old = [lost(SE, NOON - n * HOUR, name=f"gc-{n}") for n in (1, 2, 3)]
        past = learnt([*old, serving(FR, 1, hours=4)])

        assert past.lost["aws/se"] > past.lost["aws/pl"] > past.lost["aws/fr"]
        assert past.losses["aws/se"] == 3

    def test_places_that_fall_together_become_one_group(self) -> None:
        """Two waves that take both, half a minute apart, are two events, and enough to tell."""
        past = learnt([*wave(1, NOON - 5 * HOUR, SE, FR), *wave(2, NOON - 2 * HOUR, SE, FR), serving(PL, 0, hours=9)])

        assert Bond(("aws/fr", "aws/se"), 2, 0) in past.bonds
        assert past.groups == {"aws/fr": "aws/fr", "aws/se": "aws/fr", "aws/pl": "aws/pl"}

    def test_places_that_fall_one_by_one_do_not(self) -> None:
        """While one was lost the other held on, four times: that they fell once together does not make a bond."""
        apart = [lost(SE, NOON - n * HOUR, name=f"gc-{n}") for n in (2, 4, 6, 8)]
        held_on = lost(FR, NOON - 20 * MINUTE, name="gc-fr", after=10 * HOUR)
        together = lost(SE, NOON - 20 * MINUTE, name="gc-last")
        past = learnt([*apart, held_on, together])

        assert past.bonds == (Bond(("aws/fr", "aws/se"), 1, 4),)
        assert past.groups["aws/fr"] != past.groups["aws/se"]

    def test_the_order_of_the_records_changes_nothing(self) -> None:
        """The same records in another order teach the same, to the last bit."""
        records = [*wave(1, NOON - 5 * HOUR, SE, FR), lost(SE, NOON - HOUR, name="gc-x"), serving(PL, 0, hours=9)]

        assert learnt(records) == learnt(records[::-1])

    def test_physical_time_counts(self) -> None:
        """On a grid that is replayed sixty times as fast, ten grid hours are ten minutes of service."""
        slow = remembered(["aws/se"], [serving(SE, 0, hours=10)], NOON, 1.0, RULES)
        fast = remembered(["aws/se"], [serving(SE, 0, hours=10)], NOON, 60.0, RULES)

        assert fast.lost["aws/se"] > slow.lost["aws/se"]

    def test_nothing_is_known_of_nothing(self) -> None:
        """Without places and records there is nothing to say."""
        assert remembered([], [], NOON, 1.0, RULES).lost == {}


class TestHowMany:
    def test_without_a_promise_nothing_changes(self) -> None:
        """Neither where none is made, nor where replicas are on demand anyhow."""
        plain = snapshot(ALL, spec=spec(goal=None, num_overprovision=1))
        on_demand = snapshot(ALL, spec=service_spec(2, availability_fraction=0.999))
        all_base = snapshot(ALL, spec=spec(2, base_ondemand_fallback_replicas=2))

        assert [hedged(s, NOON) for s in (plain, on_demand, all_base)] == [plain, on_demand, all_base]

    def test_young_replicas_want_a_spare_and_old_ones_none(self) -> None:
        """Nothing is known at the start; after a quiet day two places are good for 99 % by themselves."""
        young = hedging(snapshot(ALL, spec=spec(goal=0.99)))
        old = hedging(snapshot(ALL, [serving(SE, 0, hours=23), serving(FR, 1, hours=23)], spec(goal=0.99)))

        assert (young.spares, old.spares) == (1, 0)
        assert young.ready_probability >= 0.99
        assert old.ready_probability >= 0.99

    def test_a_higher_promise_never_takes_fewer(self) -> None:
        """Spares grow with the goal."""
        goals = (0.9, 0.97, 0.99, 0.995, 0.999, 0.9999)
        found = [hedging(snapshot(ALL, spec=spec(goal=goal))).spares for goal in goals]

        assert found == sorted(found)
        assert found[0] == 0
        assert found[-1] > 0

    def test_what_is_fixed_is_never_undercut(self) -> None:
        """num_overprovision stays what it is at least."""
        assert hedging(snapshot(ALL, spec=spec(goal=0.9, num_overprovision=2))).spares == 2

    def test_on_demand_replicas_are_not_hedged(self) -> None:
        """With one of two on demand by rule only the other one may be lost."""
        one = hedging(snapshot(ALL, spec=spec(2, 0.985, base_ondemand_fallback_replicas=1)))
        two = hedging(snapshot(ALL, spec=spec(2, 0.985)))

        assert (one.spares, two.spares) == (0, 1)

    def test_where_all_fall_at_once_spares_are_not_bought_in_vain(self) -> None:
        """One region takes all of its replicas along: more of them there do not keep the promise, and that is said."""
        found = hedging(snapshot([SE], spec=spec(1, 0.9999)))

        assert found.spares < MOST_SPARES
        assert found.ready_probability < 0.9999
        assert "more spares would not help" in found.words

    def test_a_spare_does_not_come_and_go_at_the_limit(self) -> None:
        """Where it stands it leaves only when the promise is kept by a quarter without it."""
        two = [serving(SE, 0, hours=8), serving(FR, 1, hours=8)]
        alone = hedging(snapshot(ALL, two, spec(goal=0.5))).ready_probability
        goal = alone - 0.0001
        assert hedging(snapshot(ALL, two, spec(goal=goal))).spares == 0
        assert hedging(snapshot(ALL, [*two, serving(PL, 2, hours=8)], spec(goal=goal))).spares == 1

    def test_a_pause_holds_the_number(self) -> None:
        """Nothing is added and nothing leaves while moves are paused, whatever the promise takes."""
        two, three = [serving(SE, 0, hours=1), serving(FR, 1, hours=1)], serving(PL, 2, hours=1)
        without = replace(snapshot(ALL, two, spec(goal=0.9999)), paused=True)
        with_one = replace(snapshot(ALL, [*two, three], spec(goal=0.5)), paused=True)

        assert hedging(without).spares == 0
        assert hedging(with_one).spares == 1


class TestWhere:
    def test_the_spread_avoids_what_falls_together(self) -> None:
        """France is greener than Poland, and fell together with Sweden twice: the second replica goes to Poland."""
        past = [*wave(1, NOON - 5 * HOUR, SE, FR), *wave(2, NOON - 3 * HOUR, SE, FR)]
        world = hedged(snapshot(ALL, [*past, serving(SE, 0, hours=2)], spec()), NOON)
        made = plan(world, GREEN, NOON, keep_up=True)
        launched = [a for a in made.actions if a.kind is ActionKind.LAUNCH]

        assert launched[0].region == "aws/pl"
        assert world.spec.scaling.spot_placer is SpotPlacer.DYNAMIC_FALLBACK

    def test_without_a_past_the_greener_region_is_taken(self) -> None:
        """The same world without losses."""
        world = hedged(snapshot(ALL, [serving(SE, 0, hours=2)], spec()), NOON)

        assert plan(world, GREEN, NOON, keep_up=True).actions[0].region == "aws/fr"

    def test_the_plan_says_why(self) -> None:
        """What the spare is for, what it gives, and what happened."""
        past = [*wave(1, NOON - 5 * HOUR, SE, FR), *wave(2, NOON - 3 * HOUR, SE, FR)]
        two = [serving(SE, 0, hours=2), serving(FR, 1, hours=2)]
        world = hedged(snapshot(ALL, [*past, *two], spec(goal=0.99)), NOON)
        text = plan(world, GREEN, NOON, keep_up=True).decision.summary

        assert "launch r2 in aws/pl (a spare: slo.availability 99%: 2 of 3 are ready 99." in text
        assert "aws/fr and aws/se fell together 2 times in 24 h" in text

    @pytest.mark.parametrize("rules", [PlacementRules(deny=("aws/pl",)), PlacementRules(allow=("aws/se", "aws/fr"))])
    def test_places_that_rules_forbid_are_not_counted_upon(self, rules: PlacementRules) -> None:
        """A third place that nobody may use does not make the promise easier to keep."""
        free = hedging(snapshot(ALL, spec=spec(2, 0.9999)))
        bound = hedging(snapshot(ALL, spec=replace(spec(2, 0.9999), placement=rules)))

        assert bound.ready_probability < free.ready_probability


class TestADay:
    def test_waves_that_take_two_regions_along(self) -> None:
        """Two regions fall together every two hours: two replicas serve again soon after each, and one stands apart.

        Spares are not bought and let go by turns: at most two leave for each wave.
        """
        wanted = spec(2, 0.99)
        world = SpotWorld(wanted, lambda region, minute: region == "aws/pl" or minute % 120 not in range(100, 106))
        world.run(98)
        waves = 4
        for _ in range(waves):
            world.run(120, step=2)
            assert len(world.ready()) >= 2, world.picture()
        given_up = [r for r in world.replicas if r.state is ReplicaState.TERMINATED and r.market is Market.SPOT]

        assert "fell together" in " ".join(world.told.values()), world.picture()
        assert len(given_up) <= 2 * waves, world.picture()
        assert "aws/pl" in {r.region for r in world.ready(Market.SPOT)}, world.picture()

    def test_a_quiet_day_ends_without_spares(self) -> None:
        """The spare of the first hours is let go once, and does not come back."""
        world = SpotWorld(spec(2, 0.99), lambda _region, _minute: True)
        world.run(20 * 60, step=20)

        assert len(world.ready()) == 2, world.picture()
        assert len(world.asked_at) == 3, world.picture()
