"""Whatever spot markets do: never too many, never fewer by our own doing, never to and fro."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from orchestrator.domain.price import Market
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import MigrationRules, PlacementRules, Scaling, ServiceSpec, SpotLoss, SpotPlacer
from orchestrator.domain.time import HOUR
from orchestrator.planner.slots import wanted_slots
from tests.builders import replica, service_spec, snapshot
from tests.hypothesis_profiles import PROFILE
from tests.spot_world import START_MINUTES, SpotWorld, offers

HOURS = 12
FEW = 8 if PROFILE == "moderate" else 300
"""Each of these examples is hundreds of plans."""

LONGEST_STORM = 4
"""Steps of the planner: the loss is seen and replaced in the same one, then comes the start."""


@st.composite
def spot_specs(draw: st.DrawFn) -> ServiceSpec:
    """Make a service on spot with any of the knobs."""
    replicas = draw(st.integers(1, 4))
    scaling = Scaling(
        replicas,
        replicas,
        num_overprovision=draw(st.integers(0, 2)),
        base_ondemand_fallback_replicas=draw(st.integers(0, replicas)),
        dynamic_ondemand_fallback=draw(st.booleans()),
        spot_placer=draw(st.sampled_from([None, SpotPlacer.DYNAMIC_FALLBACK])),
    )
    spec = service_spec(
        spot=True,
        placement=PlacementRules(on_spot_loss=draw(st.sampled_from(SpotLoss))),
        migration=MigrationRules(min_dwell=draw(st.sampled_from([0 * HOUR, HOUR, 2 * HOUR])), max_moves_per_day=4),
    )
    return replace(spec, scaling=scaling)


@dataclass(frozen=True)
class Weather:
    """When spot is to be had, region by region: stretches of a few minutes to hours, all of them from one seed."""

    seed: int

    def is_open(self, region: str, minute: int) -> bool:
        """Whether it is; after the half day all is open."""
        return minute >= HOURS * 60 or _course(self.seed, region)[minute]


@lru_cache(maxsize=50)
def _course(seed: int, region: str) -> tuple[bool, ...]:
    random = Random(f"{seed} {region}")
    found: list[bool] = []
    state = random.random() < 0.7
    while len(found) < HOURS * 60:
        found += [state] * random.choice([3, 10, 30, 120, 300])
        state = not state
    return tuple(found)


weathers = st.builds(Weather, st.integers(0, 2**32 - 1))


class TestAnyMarket:
    @settings(max_examples=FEW)
    @given(spot_specs(), weathers)
    def test_half_a_day_of_it(self, spec: ServiceSpec, weather: Weather) -> None:
        """Checked at every step: never more than the most, and nobody leaves of our accord whom serving rests on.

        In the end, when all is open and has been for long, every slot is filled from the market that it is meant for.
        """
        world = SpotWorld(spec, weather.is_open)
        world.run(HOURS * 60, step=2)
        event(f"{min(9, sum(r.state is ReplicaState.LOST for r in world.replicas))} lost")
        world.run(26 * 60, step=10)

        wanted = wanted_slots(snapshot(offers(world.now), world.living(), spec))
        assert {r.slot: r.market for r in world.ready()} == wanted, world.picture()
        assert len(world.living()) == len(wanted)

    @settings(max_examples=FEW)
    @given(spot_specs(), weathers, st.booleans())
    def test_where_there_is_a_fallback_the_wanted_number_is_back_after_one_start(
        self, spec: ServiceSpec, weather: Weather, everything: bool
    ) -> None:
        """With stand-ins or on_demand: never fewer than wanted for longer than a start, whatever spot does."""
        scaling = replace(spec.scaling, dynamic_ondemand_fallback=everything or spec.scaling.dynamic_ondemand_fallback)
        placement = PlacementRules(on_spot_loss=SpotLoss.ON_DEMAND)
        world = SpotWorld(replace(spec, scaling=scaling, placement=placement), weather.is_open)
        world.run(30)
        few = 0
        for _ in range(5 * 60):
            world.run(1)
            few = 0 if len(world.ready()) >= spec.scaling.min_replicas else few + 1
            assert few <= LONGEST_STORM * START_MINUTES, world.picture()


class TestToAndFro:
    """A market that opens and shuts, at every period from six minutes to half a day: nobody dances to it."""

    @pytest.mark.parametrize("period", [6, 10, 16, 30, 60, 122, 180, 240, 360, 720])
    @pytest.mark.parametrize("dwell", [0, 2])
    def test_a_slot_changes_its_market_no_more_often_than_replicas_move(self, period: int, dwell: int) -> None:
        """on_demand: at most so often in a day as migration.max_moves_per_day says, and never before the dwell."""
        spec = service_spec(spot=True, migration=MigrationRules(min_dwell=dwell * HOUR, max_moves_per_day=4))
        world = SpotWorld(spec, lambda _, minute: minute % period < period // 2)
        world.run(24 * 60, step=2)

        on_spot = sorted(r.created_at for r in world.replicas if r.market is Market.SPOT and r.ready_at is not None)
        lost = sorted(r.state_since for r in world.replicas if r.state is ReplicaState.LOST)
        assert 1 <= len(lost) <= 4, world.picture()
        assert sum(r.market is Market.ON_DEMAND for r in world.replicas) <= len(lost), world.picture()
        if dwell:
            back = [next((t for t in on_spot if t > loss), None) for loss in lost]
            assert all(t is None or t - loss >= 2 * HOUR for t, loss in zip(back, lost, strict=True)), world.picture()

    @pytest.mark.parametrize("period", [6, 10, 16, 30, 60, 120, 240])
    def test_stand_ins_come_and_go_no_more_often_than_once_an_hour(self, period: int) -> None:
        """A market that takes away again and again is tried again ever later; each loss costs one stand-in."""
        spec = replace(service_spec(spot=True), scaling=Scaling(1, 1, dynamic_ondemand_fallback=True))
        world = SpotWorld(spec, lambda region, minute: region == "aws/se" and minute % period < period // 2)
        world.run(24 * 60, step=2)

        lost = [r for r in world.replicas if r.state is ReplicaState.LOST]
        assert 1 <= len(lost) <= 24 + 2, world.picture()
        assert sum(r.market is Market.ON_DEMAND for r in world.replicas) <= len(lost) + 1, world.picture()

    def test_a_market_that_stays_open_gets_its_slots_back(self) -> None:
        """No flapping is no excuse for staying on demand: one dwell after the storm all is spot again."""
        spec = replace(service_spec(spot=True), scaling=Scaling(3, 3))
        world = SpotWorld(spec, lambda _, minute: not 30 <= minute < 40)
        world.run(45)
        assert len(world.ready(Market.ON_DEMAND)) == 3, world.picture()
        world.run(3 * 60)
        assert len(world.ready(Market.SPOT)) == 3, world.picture()
        assert not world.ready(Market.ON_DEMAND)


class TestStorms:
    @pytest.mark.parametrize("replicas", [5, 12, 25])
    @pytest.mark.parametrize("dynamic", [False, True])
    def test_losing_everything_at_once(self, replicas: int, dynamic: bool) -> None:
        """Ten launches in a minute at most, those that serve first; so many minutes later all wanted serve again."""
        spec = replace(service_spec(spot=True), scaling=Scaling(replicas, replicas, dynamic_ondemand_fallback=dynamic))
        world = SpotWorld(spec, lambda _, minute: minute != 100)
        world.replicas = [replica(offers(world.now)[0], n, name=f"gc-{n}") for n in range(replicas)]
        world.run(99)
        assert len(world.ready()) == replicas
        world.run(1)
        assert len(world.ready()) == 0
        world.run(-(-replicas // 10) + START_MINUTES)
        assert len(world.ready()) >= replicas, world.picture()
