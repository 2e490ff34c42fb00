"""A deploy that changes the model's name: engines know no other name than their own, and no client hears of it.

The world's requests name the service, and the gateway names each replica's model as its table says; an engine that is
asked for another name answers 404, which :meth:`World.check` does not let pass at any look.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.records import OperationState
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import ModelSpec, QualityRules, ServiceSpec, Variant
from tests.scenario.world import RULES, Traffic, World, chat, only

A, B = ModelSpec("org/model-a"), ModelSpec("org/model-b")


def served(world: World) -> dict[str, str]:
    """Return under which name the gateway asks each replica."""
    routes = world.routes()
    assert routes is not None
    return {u.replica: routes.name_at(u) for u in routes.upstreams}


@pytest.mark.parametrize("replicas", [1, 3])
async def test_old_and_new_replicas_are_each_asked_for_what_they_serve(replicas: int) -> None:
    """From the first second of the deploy, at every canary step, and until the last old one has finished."""
    world = World()
    await world.up(chat(replicas, model=A))
    world.traffic["chat"] = Traffic(4.0, 3.0)
    old = {r.name for r in world.ready()}
    operation = await world.deploy(chat(replicas, model=B))
    both = False
    while not world.is_settled():
        await world.step()
        names = served(world)
        assert {names[name] for name in old & names.keys()} <= {"org/model-a"}
        both |= len(set(names.values())) == 2

    assert both, "names were never mixed: the story shows nothing"
    assert world.operation(operation).state is OperationState.DONE
    assert set(served(world).values()) == {"org/model-b"}
    assert (world.refused, world.severed, world.misnamed) == (0, [], [])
    world.check_at_rest()
    assert '"model": "org/model-a"' not in world.table().to_json()


async def test_a_deploy_that_is_taken_back_is_no_outage_either() -> None:
    """The new engine never starts: what serves is asked for what it serves before, meanwhile and after."""
    world = World()
    await world.up(chat(2, model=A))
    world.traffic["chat"] = Traffic(4.0, 3.0)
    operation = await world.deploy(chat(2, model=B))
    while not world.is_settled():
        await world.step()
        for name in [n for n, m in world.cloud._machines.items() if m.request.model == B and not m.failure]:
            world.murder(name)

    assert world.operation(operation).state is OperationState.FAILED
    assert set(served(world).values()) == {"org/model-a"}
    assert (world.refused, world.misnamed) == (0, [])
    world.check_at_rest()


@pytest.mark.parametrize("keeps_table", [True, False])
async def test_a_controller_that_starts_amid_the_rollout_knows_the_names_still(*, keeps_table: bool) -> None:
    """They are in the journal, not in its memory."""
    world = World()
    await world.up(chat(2, model=A))
    world.traffic["chat"] = Traffic(4.0, 3.0)
    await world.deploy(chat(2, model=B))
    await world.until(lambda: len(set(served(world).values())) == 2)
    world.kill()
    await world.run(5)
    world.gateway_restarts(keeps_table=keeps_table)
    world.start()
    await world.step()
    assert set(served(world).values()) == {"org/model-a", "org/model-b"}
    await world.settle()
    assert set(served(world).values()) == {"org/model-b"}
    assert world.misnamed == []


async def test_adapters_are_told_of_each_replica_as_its_own_revision_has_them() -> None:
    """The service has the newest ones; a replica that was launched before has its own, and a variant the variant's."""
    sql = replace(A, args=(("enable_lora", True), ("lora_modules", "chess=org/chess sql=org/sql")))
    fewer = replace(A, args=(("enable_lora", True), ("lora_modules", "sql=org/sql")))
    world = World()
    await world.up(chat(model=sql))
    old = world.the_replica().name
    await world.deploy(chat(model=fewer))
    await world.until(lambda: len(world.ready()) == 2)
    routes, upstreams = world.routes(), world.upstreams()
    assert routes is not None
    assert routes.adapters == ("sql",)
    assert {name: u.adapters for name, u in upstreams.items()} == {
        old: ("chess", "sql"),
        next(n for n in upstreams if n != old): ("sql",),
    }
    await world.settle()
    world.check_at_rest()


async def test_a_variant_that_the_new_file_lost_still_serves_under_the_old_name() -> None:
    """Variants answer under the main model's name, also when that changes together with them."""
    fp8 = Variant("fp8", replace(A, id="org/model-FP8", served_name=A.name), 0.98, "ours", power=0.5)

    def spec(model: ModelSpec, *variants: Variant) -> ServiceSpec:
        return chat(
            placement=only("se"), migration=RULES, model=model, variants=variants, quality=QualityRules(floor=0.9)
        )

    world = World()
    await world.up(spec(A, fp8))
    world.traffic["chat"] = Traffic(2.0, 4.0)
    old = world.the_replica()
    assert old.offer_id.endswith("#fp8")
    await world.deploy(spec(B))
    await world.until(lambda: len(served(world)) == 2)
    assert served(world)[old.name] == "org/model-a"
    world.traffic.clear()
    await world.settle()
    assert set(served(world).values()) == {"org/model-b"}


async def test_a_replica_that_starts_when_the_deploy_comes_is_asked_for_what_it_was_launched_to_serve() -> None:
    """It stands in for one that was lost: it is ready as soon as ever, and is replaced in its turn."""
    world = World()
    world.cloud.start_seconds = 20.0
    await world.up(chat(2, model=A))
    world.traffic["chat"] = Traffic(2.0, 3.0)
    world.murder(world.ready()[0].name)
    await world.until(lambda: bool(world.replicas(state=ReplicaState.STARTING)))
    (late,) = world.replicas(state=ReplicaState.STARTING)
    await world.deploy(chat(2, model=B))
    await world.until(lambda: world.replica(late.name).ready_at is not None, limit=60)
    assert served(world)[late.name] == "org/model-a"
    await world.settle()
    assert set(served(world).values()) == {"org/model-b"}
    assert world.misnamed == []
