"""A variant in a real process: the real controller and the local provisioner, with the builtin engine."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import httpx

from orchestrator.clocks import SystemClock
from orchestrator.control.controller import Controller
from orchestrator.control.runtime import Runtime
from orchestrator.control.usecases import preview_deploy, submit_deploy
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import (
    Accelerators,
    Engine,
    ModelSpec,
    QualityRules,
    ResourceRequest,
    ServiceSpec,
    Variant,
)
from orchestrator.gateway.fake import FakeGateway
from orchestrator.prices.fake import FakeOffers
from orchestrator.provisioners.local.engines.builtin import BuiltinLauncher
from orchestrator.provisioners.local.provisioner import LocalProvisioner
from orchestrator.signals.fake import FakeCarbon
from orchestrator.spec.codec import spec_digest
from orchestrator.store.memory import MemoryStore
from orchestrator.telemetry.engine_probe import HttpEngineProbe
from tests.builders import GREEN, offer
from tests.provisioner_bench import PATIENCE_SECONDS, swept

MAIN = ModelSpec("org/model", Engine.BUILTIN, served_name="chat")
SMALL = Variant("small", replace(MAIN, id="org/model-small"), 0.97, "our own prompts", power=0.5)
RESOURCES = ResourceRequest(accelerators=(Accelerators("L4", 1),))
SPEC = ServiceSpec("chat", MAIN, RESOURCES, policy=GREEN, variants=(SMALL,), quality=QualityRules(floor=0.9))


async def test_a_deployed_variant_answers_in_its_own_process_under_the_main_models_name(tmp_path: Path) -> None:
    """Planned, launched with the variant's weights, proven by a completion, and disclosed to the gateway."""
    store = MemoryStore("0123456789abcdef")
    offers, carbon, gateway = FakeOffers(), FakeCarbon(), FakeGateway()
    offers.put(offer("local/se"))
    carbon.hold("SE", 30.0)
    provisioner = LocalProvisioner(tmp_path, {Engine.BUILTIN: BuiltinLauncher()})
    probe = HttpEngineProbe()
    runtime = Runtime(SystemClock(), carbon, offers, {"local": provisioner}, probe, gateway, store)
    controller = Controller(runtime, store.claim("test", runtime.clock.now()))
    with swept(store.deployment_uid()):
        digest = spec_digest(SPEC)
        submit_deploy(SPEC, digest, await preview_deploy(SPEC, digest, runtime), runtime, actor="ada")
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not (ready := [r for r in store.replicas("chat") if r.state is ReplicaState.READY]):
            assert time.monotonic() < give_up, store.replicas("chat", ended=True)
            await controller.tick()
            await asyncio.sleep(0)
        await controller.tick()
        (one,) = ready
        instance = await provisioner.describe(one.name)
        key = "" if instance.api_key_file is None else instance.api_key_file.read_text().strip()
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as client:
            served = [m["id"] for m in (await client.get(f"{instance.endpoint}/v1/models")).json()["data"]]
        await probe.aclose()

    assert one.offer_id == "local/se:1xL4:on_demand#small"
    assert served == ["chat"]
    assert '"model_id": "org/model-small"' in _record(tmp_path)
    assert gateway.table is not None
    assert [u.variant for s in gateway.table.services for u in s.upstreams] == ["small"]


def _record(state: Path) -> str:
    return next(state.rglob("instance.json")).read_text(encoding="utf-8")
