"""A service with variants: each replica runs its own, says so, and is changed for another as it would be moved."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from orchestrator.control.reporting import service_report
from orchestrator.domain.records import EventKind, OperationState
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import ModelSpec, QualityRules, ServiceSpec, Variant
from orchestrator.domain.variants import workload_of
from tests.scenario.world import RULES, Traffic, World, chat, only

MAIN_MODEL = ModelSpec("org/model", served_name="chat")
FP8 = Variant(
    "fp8",
    replace(MAIN_MODEL, id="org/model-FP8", args=(("max_num_seqs", 64),)),
    0.98,
    "our own prompts",
    throughput=1.5,
    power=0.5,
)
SMALL = replace(FP8, name="small", model=replace(MAIN_MODEL, id="org/small"), quality=0.8, power=0.4)


def varied(*variants: Variant, floor: float = 0.9, replicas: int = 1) -> ServiceSpec:
    """Make a service that stands in one place and may answer by these."""
    return chat(
        replicas,
        placement=only("se"),
        migration=replace(RULES, min_dwell=timedelta(0)),
        variants=variants,
        quality=QualityRules(floor),
    )


async def test_a_replica_runs_its_variant_and_the_gateway_is_told_which() -> None:
    """Its weights and arguments, under the main model's name, on the machine that is sold; and a deploy is done."""
    world = World()
    await world.up(varied(FP8, SMALL))
    one = world.the_replica()
    (launched,) = world.cloud.launches

    assert one.offer_id == "sky/se:1xL4:on_demand#fp8"
    assert one.workload_digest == workload_of(varied(FP8, SMALL), "fp8")
    assert launched.model == FP8.model
    assert launched.model.name == "chat"
    assert launched.offer.id == "sky/se:1xL4:on_demand"
    assert [u.variant for u in world.upstreams().values()] == ["fp8"]
    world.check_at_rest()


async def test_a_service_without_variants_discloses_none() -> None:
    """Its table reads as it always did."""
    world = World()
    await world.up(chat())
    assert [u.variant for u in world.upstreams().values()] == [None]
    assert "variant" not in world.table().to_json()


async def test_a_change_of_variant_is_a_move_and_nobody_notices() -> None:
    """The file gets a variant that draws half: the policy changes to it at the same place, make before break."""
    world = World()
    await world.up(varied())
    old = world.the_replica().name
    world.traffic["chat"] = Traffic(2.0, 4.0)
    await world.deploy(varied(FP8))
    await world.until(lambda: [r.name for r in world.ready()] not in ([], [old]), limit=900)
    both = {r.name: r.offer_id for r in world.ready()}
    assert sorted(both.values()) == ["sky/se:1xL4:on_demand", "sky/se:1xL4:on_demand#fp8"]
    world.traffic.clear()
    await world.settle()

    assert world.the_replica().offer_id == "sky/se:1xL4:on_demand#fp8"
    assert world.replica(old).state is ReplicaState.TERMINATED
    assert not world.severed
    assert world.refused == 0
    begun = [e.text for e in world.store.events("chat") if e.kind is EventKind.MIGRATION_STARTED]
    assert any("runs fp8" in text for text in begun)


async def test_a_floor_that_is_raised_holds_for_what_runs_already() -> None:
    """The next revision wants better answers: the replica below is replaced by the main model without a gap."""
    world = World()
    await world.up(varied(FP8))
    world.traffic["chat"] = Traffic(2.0, 4.0)
    await world.run(5)
    operation = await world.deploy(varied(FP8, floor=0.99))
    await world.until(lambda: world.operation(operation).state is not OperationState.QUEUED)
    await world.until(lambda: [r.offer_id for r in world.replicas()] == ["sky/se:1xL4:on_demand"])
    world.traffic.clear()
    await world.settle()

    assert world.operation(operation).state is OperationState.DONE
    assert [u.variant for u in world.upstreams().values()] == ["main"]
    assert not world.severed
    assert world.refused == 0


async def test_what_was_lost_is_replaced_by_the_variant_that_is_best_now() -> None:
    """A variant's busy replica dies: the next one is a variant's again. Idle, it saves nothing, and quality decides."""
    world = World()
    await world.up(varied(FP8))
    world.traffic["chat"] = Traffic(2.0, 4.0)
    await world.run(60)
    world.murder(world.the_replica().name)
    await world.settle()
    assert world.the_replica().offer_id == "sky/se:1xL4:on_demand#fp8"
    assert {m.model.id for m in world.cloud.launches} == {"org/model-FP8"}


async def test_the_report_names_the_variants_and_the_mean_quality_that_was_served() -> None:
    """By output tokens: a replica of the main model and later one of the variant."""
    world = World()
    await world.up(varied())
    world.traffic["chat"] = Traffic(2.0, 4.0)
    await world.run(200)
    await world.deploy(varied(FP8))
    await world.until(lambda: [r.offer_id for r in world.ready()] == ["sky/se:1xL4:on_demand#fp8"], limit=900)
    await world.run(300)
    found = (await service_report(world.runtime, "chat", None)).quality

    assert found is not None
    assert [(v.variant, v.quality) for v in found.variants] == [("main", 1.0), ("fp8", 0.98)]
    assert all(v.output_tokens > 0 for v in found.variants)
    assert found.mean is not None
    total = sum(v.output_tokens for v in found.variants)
    by_hand = sum((v.quality or 0.0) * v.output_tokens for v in found.variants) / total
    assert 0.98 < found.mean < 1.0
    assert abs(found.mean - by_hand) < 1e-12
