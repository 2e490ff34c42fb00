"""Spot with the real controller: storms, stock-outs, quotas, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.control.ports import Ability, LaunchRequest
from orchestrator.control.usecases import service_status
from orchestrator.domain.price import Market
from orchestrator.domain.records import OperationState
from orchestrator.domain.replica import LIVE, Replica, ReplicaState
from orchestrator.domain.service import (
    Accelerators,
    PlacementRules,
    ResourceRequest,
    Scaling,
    ServiceSpec,
    SpotLoss,
    SpotPlacer,
)
from orchestrator.domain.time import HOUR
from orchestrator.errors import GreenctlError, NoCapacity, NoFeasiblePlacement, QuotaExceeded
from orchestrator.planner.launches import MOST_LAUNCHES_PER_MINUTE
from orchestrator.planner.slots import most_replicas
from tests.builders import offer, shape
from tests.scenario.world import PLACES, START_SECONDS, World, chat

SPOT, ON_DEMAND = Market.SPOT, Market.ON_DEMAND
L4 = ResourceRequest(accelerators=(Accelerators("L4", 1),), use_spot=True)


class Counter:
    """The provider's counter: refuses what is shut, by market and region, and lets the rest through."""

    def __init__(self, real: Any, shut: dict[tuple[str, Market], GreenctlError]) -> None:
        self._real = real
        self._shut = shut
        self.asked: list[str] = []

    async def launch(self, request: LaunchRequest) -> None:
        """Refuse, or pass on."""
        self.asked.append(request.offer.id)
        refusal = self._shut.get((request.offer.region.id, request.offer.market))
        if refusal is not None:
            raise refusal
        await self._real.launch(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class SpotWorld(World):
    """The world with both markets in every region; ``shut`` holds what launches there end with."""

    def __init__(self, **terms: Any) -> None:
        self.shut: dict[tuple[str, Market], GreenctlError] = {}
        super().__init__(wrap=lambda port, real: Counter(real, self.shut) if port == "provisioner" else real, **terms)
        for name in PLACES:
            self.offers.put(offer(f"sky/{name}", usd=0.3, market=SPOT))

    @property
    def asked(self) -> list[str]:
        """Every offer that was ever asked for, in order."""
        counter = self.runtime.provisioners["sky"]
        assert isinstance(counter, Counter)
        return counter.asked

    def close(self, *regions: str, market: Market = SPOT, error: GreenctlError | None = None) -> None:
        """Let there be no room."""
        for region in regions:
            self.shut[f"sky/{region}", market] = error or NoCapacity(f"no {market} room in {region}")

    async def storm(self, *regions: str) -> list[Replica]:
        """Take every spot replica of the regions away in one moment, and close them; until it has been noticed."""
        self.close(*regions)
        hit = [r for r in self.ready() if r.market is SPOT and r.region.partition("/")[2] in regions]
        for one in hit:
            self.preempt(one.name)
        await self.until(lambda: not {r.name for r in hit} & {r.name for r in self.ready()}, limit=5)
        return hit

    def markets(self) -> list[tuple[str, str]]:
        """Where replicas serve, and on which market."""
        return sorted((r.market.value, r.region.partition("/")[2]) for r in self.ready())

    def all_on_spot(self, number: int) -> bool:
        """Whether exactly so many live, and all of them serve on spot."""
        living = [r for r in self.replicas() if r.state in LIVE]
        return len(living) == number and all(r.state is ReplicaState.READY and r.market is SPOT for r in living)

    def most_in_a_minute(self) -> int:
        """How many replicas were asked for in the minute in which most were."""
        times = sorted(r.created_at for r in self.all_replicas())
        return max(sum(0 <= (b - a).total_seconds() < 60 for b in times) for a in times)


def spot(
    replicas: int = 1, loss: SpotLoss = SpotLoss.ON_DEMAND, regions: Sequence[str] = ("se", "fr"), **knobs: Any
) -> ServiceSpec:
    """Make a service on spot."""
    placement = PlacementRules(allow=tuple(f"sky/{r}" for r in regions), on_spot_loss=loss)
    return chat(replicas, resources=L4, placement=placement, scaling=Scaling(replicas, replicas, **knobs))


async def up_on_spot(world: SpotWorld, spec: ServiceSpec) -> None:
    """Deploy, and wait until all of it is on spot and the request is closed."""
    world.start()
    operation = await world.deploy(spec)
    number = spec.scaling.min_replicas + spec.scaling.num_overprovision
    done = OperationState.DONE
    await world.until(lambda: world.all_on_spot(number) and world.operation(operation).state is done)


class TestPromise:
    async def test_a_promised_availability_brings_a_spare_that_stands_apart(self) -> None:
        """One is wanted and two stand, in different regions; the decision says why, and a storm leaves one serving."""
        world = SpotWorld()
        world.start()
        await world.deploy(replace(spot(1), availability_fraction=0.999))
        await world.until(lambda: world.all_on_spot(2))
        assert world.markets() == [("spot", "fr"), ("spot", "se")]
        summaries = " ".join(d.summary for d in world.store.decisions("chat"))
        assert "a spare: slo.availability 99.9%: 1 of 2 are ready" in summaries
        await world.storm("se")

        assert len(world.ready()) == 1
        await world.until(lambda: len(world.ready()) == 2, limit=60)
        (status,) = await service_status(world.runtime, "chat")
        assert status.wanted == 1


class TestStorms:
    @pytest.mark.parametrize("knobs", [{}, {"dynamic_ondemand_fallback": True}], ids=["on-spot-loss", "stand-ins"])
    async def test_a_region_that_takes_all_away_is_made_good_on_demand_after_one_start(
        self, knobs: dict[str, bool]
    ) -> None:
        """Four replicas gone in one moment: four serve again after one cold start and a few looks."""
        world = SpotWorld()
        spec = spot(4, **knobs)
        await up_on_spot(world, spec)
        await world.run(60)
        launched = len(world.asked)
        assert len(await world.storm("se")) == 4
        took = await world.until(lambda: len(world.ready()) >= 4, limit=30)

        assert took <= START_SECONDS + 3
        assert world.markets().count(("on_demand", "se")) == 4
        assert len(world.asked) - launched <= (8 if knobs else 4)
        assert world.most_in_a_minute() <= MOST_LAUNCHES_PER_MINUTE + 4, "the deploy's own are a person's word"

    async def test_stand_ins_leave_when_spot_serves_elsewhere(self) -> None:
        """Never fewer than wanted on the way, never more than the most; in the end all is spot again."""
        world = SpotWorld()
        spec = spot(2, dynamic_ondemand_fallback=True, num_overprovision=1)
        await up_on_spot(world, spec)
        await world.storm("se")
        fewest, most = 9, 0
        for second in range(120):
            await world.step()
            living = [r for r in world.replicas() if r.state in LIVE]
            most = max(most, len(living))
            if second > START_SECONDS + 3:
                fewest = min(fewest, len(world.ready()))
        await world.until(lambda: world.all_on_spot(3))

        assert {r.region for r in world.ready()} == {"sky/fr"}
        assert fewest >= 2
        assert most <= most_replicas(spec)

    async def test_a_great_storm_is_made_good_at_a_measured_pace(self) -> None:
        """Twenty-four at once: ten launches in any minute, no more, until all wanted serve again."""
        world = SpotWorld()
        await up_on_spot(world, spot(24))
        await world.run(70)
        before = world.now
        assert len(await world.storm("se", "fr")) == 24
        await world.until(lambda: len(world.ready()) == 24, limit=300)

        times = sorted(r.created_at for r in world.all_replicas() if r.created_at >= before)
        assert len(times) == 24
        assert all((b - a).total_seconds() >= 60 for a, b in zip(times, times[MOST_LAUNCHES_PER_MINUTE:], strict=False))
        assert (world.now - before).total_seconds() <= 2 * 60 + START_SECONDS + 15

    @pytest.mark.parametrize("hours", [1, -1])
    async def test_a_clock_that_is_set_changes_nothing_of_the_pace(self, hours: int) -> None:
        """Ten of twenty-four are asked for when it is set: the others still come when that minute is over."""
        world = SpotWorld()
        await up_on_spot(world, spot(24))
        await world.run(70)
        before = {r.name for r in world.all_replicas()}
        world.close("se", "fr")
        for one in world.ready():
            world.preempt(one.name)
        asked_at: dict[str, float] = {}
        for second in range(200):
            await world.step()
            if second == 20:
                world.clock.present += hours * HOUR
            for name in {r.name for r in world.all_replicas()} - before - asked_at.keys():
                asked_at[name] = world.clock.elapsed

        times = sorted(asked_at.values())
        assert len(times) == 24
        assert all(b - a >= 60 for a, b in zip(times, times[MOST_LAUNCHES_PER_MINUTE:], strict=False))
        assert times[-1] - times[0] <= 2 * 60 + 15

    async def test_spread_replicas_lose_only_their_part(self) -> None:
        """With the placer no single region holds them all: a storm leaves one serving."""
        world = SpotWorld()
        await up_on_spot(world, spot(2, SpotLoss.OTHER_REGION, spot_placer=SpotPlacer.DYNAMIC_FALLBACK))
        assert world.markets() == [("spot", "fr"), ("spot", "se")]
        await world.storm("se")
        await world.step()

        assert len(world.ready()) == 1
        await world.until(lambda: world.all_on_spot(2))


class TestBackToSpot:
    async def test_it_goes_back_one_dwell_after_the_loss(self) -> None:
        """On demand meanwhile; then make before break, at once although the place was sold out all the time before."""
        world = SpotWorld()
        await up_on_spot(world, spot())
        await world.storm("se", "fr")
        lost_at = world.now
        await world.until(lambda: world.markets() == [("on_demand", "se")], limit=30)
        world.shut.clear()
        await world.run(100 * 60, every=20.0)
        assert world.markets() == [("on_demand", "se")]
        (status,) = await service_status(world.runtime, "chat")
        assert "r0 stays on demand until" in status.look
        await world.until(lambda: world.markets() == [("spot", "se")], limit=3600, every=5.0)

        assert 2 * HOUR <= world.now - lost_at <= 2.1 * HOUR
        await world.settle()
        world.check_at_rest()

    async def test_a_return_that_finds_no_room_costs_nothing(self) -> None:
        """The replica on demand goes on serving, and the tries get rarer."""
        world = SpotWorld()
        await up_on_spot(world, spot())
        await world.storm("se", "fr")
        await world.until(lambda: world.markets() == [("on_demand", "se")], limit=30)
        asked = len(world.asked)
        await world.run(8 * 3600, every=30.0)

        assert world.markets() == [("on_demand", "se")]
        assert 4 <= len(world.asked) - asked <= 20
        assert all(i.endswith(":spot") for i in world.asked[asked:])


class TestStockOut:
    async def test_the_next_try_goes_elsewhere_in_the_same_look(self) -> None:
        """The refusal and the next decision lie in one look."""
        world = SpotWorld()
        world.close("se")
        world.start()
        await world.deploy(spot(2))
        await world.until(lambda: any(r.state is ReplicaState.FAILED for r in world.all_replicas()), limit=10)

        pending = [r for r in world.replicas() if r.state is ReplicaState.PENDING]
        assert [r.region for r in pending] == ["sky/fr"] * 2
        await world.until(lambda: world.all_on_spot(2))

    async def test_eight_replicas_that_meet_a_full_region_do_not_fail_the_deploy(self) -> None:
        """One full region is one lesson, however many learnt it."""
        world = SpotWorld()
        world.close("se")
        await up_on_spot(world, spot(8))

        assert world.markets() == [("spot", "fr")] * 8

    async def test_everywhere_sold_out_is_said_with_the_earliest_try(self) -> None:
        """Spot elsewhere was asked for, and there is none: the decision and the status say until when."""
        world = SpotWorld()
        await up_on_spot(world, spot(1, SpotLoss.OTHER_REGION))
        await world.storm("se", "fr")
        await world.run(20)

        assert world.ready() == []
        text = world.store.decisions("chat")[0].summary
        assert "2 by capacity; the earliest try is at 01 Jun 12:0" in text or "the earliest try is at" in text
        (status,) = await service_status(world.runtime, "chat")
        assert status.look == text

        world.shut.clear()
        await world.until(lambda: world.all_on_spot(1), limit=600)
        assert world.regions() == ["fr"]

    async def test_a_first_deploy_that_finds_no_spot_fails_with_that_word(self) -> None:
        """On demand is not bought unasked; nothing is left."""
        world = SpotWorld()
        world.close("se", "fr")
        world.start()
        operation = await world.deploy(spot(2))
        await world.settle()

        closed = world.operation(operation)
        assert (closed.state, closed.error_code) == (OperationState.FAILED, NoFeasiblePlacement.code)
        assert "the earliest try is at" in closed.error
        world.check_at_rest()

    async def test_with_stand_ins_a_deploy_succeeds_without_any_spot(self) -> None:
        """It serves on demand and goes on asking for spot."""
        world = SpotWorld()
        world.close("se", "fr")
        world.start()
        operation = await world.deploy(spot(2, dynamic_ondemand_fallback=True))
        await world.until(lambda: world.operation(operation).state is OperationState.DONE, limit=60)
        assert world.markets() == [("on_demand", "se")] * 2

        world.shut.clear()
        await world.until(lambda: world.all_on_spot(2), limit=900)

    async def test_wait_waits_for_the_same_market(self) -> None:
        """min_replicas is missed on purpose, and status says so; then the same offer is bought again."""
        world = SpotWorld()
        await up_on_spot(world, spot(1, SpotLoss.WAIT))
        await world.storm("se")
        await world.run(240)

        (status,) = await service_status(world.runtime, "chat")
        assert (status.ready, status.wanted) == (0, 1)
        assert (
            "chat does without 1 of 1 replicas, as placement.on_spot_loss: wait asks for: r0 waits for" in status.look
        )
        assert set(world.asked) == {"sky/se:1xL4:spot"}

        world.shut.clear()
        await world.until(lambda: world.all_on_spot(1), limit=3600, every=5.0)
        assert world.regions() == ["se"]

    async def test_what_one_service_learns_all_of_them_know(self) -> None:
        """The second service does not run into the same wall."""
        world = SpotWorld()
        world.close("se")
        await up_on_spot(world, spot(1))
        asked = len(world.asked)
        await world.deploy(replace(spot(1), name="talk"))
        await world.until(lambda: len(world.ready("talk")) == 1, limit=30)

        assert world.asked[asked:] == ["sky/fr:1xL4:spot"]

    async def test_a_quota_keeps_every_size_of_the_accelerator_away(self) -> None:
        """Half an hour, for one and for two of them, on that market only."""
        world = SpotWorld()
        for region, usd in (("se", 0.2), ("fr", 0.9)):
            world.offers.put(offer(f"sky/{region}", usd=usd, market=SPOT, on=shape("2xL4")))
        world.close("se", error=QuotaExceeded("0 of 8 vCPUs are left"))
        await up_on_spot(world, spot(1))

        assert [i for i in world.asked if i.startswith("sky/se")] in (["sky/se:1xL4:spot"], ["sky/se:2xL4:spot"])
        assert world.regions() == ["fr"]
        decision = world.store.decisions("chat")[0]
        shut = {a.offer_id: a.excluded_because for a in decision.assessments if a.region == "sky/se"}
        assert "quota_exceeded: 0 of 8 vCPUs are left; not tried before" in shut["sky/se:1xL4:spot"]
        assert "quota_exceeded" in shut["sky/se:2xL4:spot"]
        assert "quota" not in shut["sky/se:1xL4:on_demand"]

    async def test_a_provider_without_spot_is_not_asked_for_it(self) -> None:
        """Whatever its list says; the plan says why."""
        world = SpotWorld()
        world.cloud.able = frozenset({Ability.STOP})
        with pytest.raises(NoFeasiblePlacement, match=r"by provider\.spot"):
            await world.deploy(spot(1))
