"""Whether all is in order in a simulated world: by its records, and by what is really there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.records import ServiceRecord, ServiceState
from orchestrator.domain.replica import ENDED, ReplicaState
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.variants import workloads_of
from orchestrator.domain.workload import workload_digest
from orchestrator.planner.hedge.spares import MOST_SPARES
from orchestrator.planner.rollout import FULL_WEIGHT

if TYPE_CHECKING:
    from orchestrator.bench.sim.world import SimWorld


def most_standing(spec: ServiceSpec) -> int:
    """Return how many replicas a service may have for good, spares among them."""
    scaling = spec.scaling
    spares = [scaling.num_overprovision]
    if spec.availability_fraction is not None:
        spares.append(MOST_SPARES)
    if spec.survives is not None:
        spares.append(scaling.max_replicas)  # where two regions are left, each has to do
    return scaling.max_replicas + max(spares)


def is_settled(world: SimWorld) -> bool:
    """Whether nothing is open by the records: requests, and replicas that are not yet where they belong."""
    store = world.truth
    if store.operations() or world.claimant is None or not world.claimant.is_alive:
        return False
    for service in store.services():
        replicas = store.replicas(service.name)
        if service.state is ServiceState.GOING_DOWN:
            return False
        wanted = service.spec.scaling.min_replicas if service.state is ServiceState.ACTIVE else 0
        is_short = len(replicas) < wanted and not has_no_money(world, service)
        if is_short or (service.state is ServiceState.DOWN and replicas):
            return False
        digests = workloads_of(service.spec) if service.spec.variants else {workload_digest(service.spec)}
        if any(r.state is not ReplicaState.READY or r.weight_percent != FULL_WEIGHT for r in replicas):
            return False
        if any(r.workload_digest not in digests for r in replicas):
            return False
        if {r.replaces for r in replicas} & {r.name for r in replicas}:
            return False  # both serve for a moment, and one of them is about to go
    return True


def has_no_money(world: SimWorld, service: ServiceRecord) -> bool:
    """Whether its last decision says that its budget has no room for who is missing."""
    last = world.truth.decisions(service.name, limit=1)
    return service.spec.budget.is_set and any("budget.usd_per_day" in d.summary for d in last)


def is_at_rest(world: SimWorld) -> bool:
    """Whether nothing is open, nothing is there that should not be, and nothing is still to come."""
    names = {r.name for r in world.truth.replicas() if r.state not in ENDED}
    machines = {
        n
        for n, m in world.cloud.machines.items()
        if can_be_found(world, n) and not m.failure and (m.ends_at is None or m.ends_at > world.clock.elapsed)
    }
    return is_settled(world) and machines == names and not world.checks.has_work_left()


def can_be_found(world: SimWorld, name: str) -> bool:
    """Whether a machine is ours to look after.

    One whose mark was taken off by hand is known by its name alone: once no record has that name, by nobody. One that
    nobody here has asked for, with our mark, is ours until somebody has given the word and it is ended.
    """
    machine, row = world.cloud.machines[name], world.truth.replica(name)
    if machine.is_stray:
        return machine.has_mark
    is_recorded = row is not None and not (row.state in ENDED and row.cleaned_up)
    return machine.has_mark or is_recorded


def why_not(world: SimWorld) -> str:
    """Say what is not in order."""
    rows = [f"{r.name} {r.state.value} w{r.weight_percent} {r.reason!r}" for r in world.truth.replicas()]
    requests = [f"{o.kind.value} {o.state.value}" for o in world.truth.operations()]
    return f"{rows}, requests {requests}, there {world.cloud.existing()}, {world.truth.restored()}"
