"""Look at every replica: what its provider says, whether it answers, what the gateway has in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator.control.ports import EngineLoad, Instance, Phase
from orchestrator.control.runtime import Runtime
from orchestrator.control.traffic import routes_nothing_new_to
from orchestrator.domain.records import ServiceRecord
from orchestrator.domain.replica import ENDED, Replica, ReplicaState
from orchestrator.domain.routing import GatewayStatus, RoutingTable
from orchestrator.errors import GatewayUnavailable, ProviderError
from orchestrator.planner.rollout import Observation


@dataclass(slots=True)
class Watch:
    """What one controller process remembers between looks; all of it can be learnt again after a restart."""

    unhealthy: dict[str, int] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    loads: dict[str, EngineLoad] = field(default_factory=dict)

    def forget_all_but(self, names: Iterable[str]) -> None:
        """Drop what is remembered of replicas that are gone."""
        kept = set(names)
        for memory in (self.unhealthy, self.instances, self.loads):
            for name in set(memory) - kept:
                memory.pop(name, None)


async def gateway_status(runtime: Runtime) -> GatewayStatus | None:
    """Return the gateway's counters, ``None`` while it does not answer."""
    try:
        return await runtime.gateway.status()
    except GatewayUnavailable:
        return None


async def observe(
    service: ServiceRecord,
    replicas: Sequence[Replica],
    runtime: Runtime,
    watch: Watch,
    status: GatewayStatus | None,
    published: RoutingTable | None,
) -> dict[str, Observation]:
    """Look at every replica that is not finally done with, all at once."""
    open_ones = [r for r in replicas if not (r.state in ENDED and r.cleaned_up)]
    seen = await asyncio.gather(*(_one(service, r, runtime, watch) for r in open_ones))
    confirmed = status is not None and published is not None and status.applied_version >= published.version
    found = {}
    for replica, look in zip(open_ones, seen, strict=True):
        in_flight = None if status is None else status.upstream(replica.name).in_flight
        routed_away = confirmed and routes_nothing_new_to(published, replica.name)
        found[replica.name] = Observation(
            exists=look.exists,
            failed=look.failed,
            endpoint=look.endpoint,
            serves=look.serves,
            unhealthy_times=look.unhealthy_times,
            routed_away=routed_away,
            in_flight=in_flight,
            engine_busy=look.engine_busy,
            exit_detail=look.exit_detail,
        )
    return found


async def _one(service: ServiceRecord, replica: Replica, runtime: Runtime, watch: Watch) -> Observation:
    provisioner = runtime.provisioners.get(replica.region.partition("/")[0])
    if provisioner is None:
        return Observation(exists=None)
    try:
        instance = await provisioner.describe(replica.name)
    except ProviderError:
        return Observation(exists=None)
    watch.instances[replica.name] = instance
    if instance.phase is Phase.GONE:
        return Observation(exists=False, exit_detail=instance.exit_detail)
    if instance.phase is Phase.FAILED:
        return Observation(exists=True, failed=True, exit_detail=instance.exit_detail)
    if instance.endpoint is None:
        return Observation(exists=True)
    healthy = await runtime.probe.is_healthy(instance.endpoint)
    serves = None
    if healthy and replica.state in {ReplicaState.PROVISIONING, ReplicaState.STARTING}:
        serves = await runtime.probe.completes(instance.endpoint, service.spec.model.name, instance.api_key_file)
    load = await runtime.probe.load(instance.endpoint, instance.api_key_file) if healthy else None
    if load is not None:
        watch.loads[replica.name] = load
    watch.unhealthy[replica.name] = 0 if healthy else watch.unhealthy.get(replica.name, 0) + 1
    return Observation(
        exists=True,
        endpoint=instance.endpoint,
        serves=serves,
        unhealthy_times=watch.unhealthy[replica.name],
        engine_busy=None if load is None else load.running + load.waiting,
    )
