"""Money, with what is recorded: the worst-case bill of a service, what its budget allows, what is left of it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.control.leases import ends_itself
from orchestrator.control.ports import Records
from orchestrator.control.runtime import Runtime
from orchestrator.domain.money import charge_of, earliest, held_usd, limits
from orchestrator.domain.plan import Action, Plan
from orchestrator.domain.replica import Replica
from orchestrator.domain.service import ServiceSpec
from orchestrator.errors import BudgetSpent
from orchestrator.planner.spending import Afforded, Bill, BudgetUse, terms_of, within_budget, worst_case


def bill_of(spec: ServiceSpec, runtime: Runtime, planned: Sequence[Action] = ()) -> Bill:
    """Return what a service costs at most if everything of ours dies now; ``planned``: as if it were bought already."""
    leases = runtime.store.leases(spec.name)
    replicas = runtime.store.replicas(spec.name)
    lasting = _lasting(spec, runtime, planned)
    now, rate = runtime.clock.now(), runtime.clock.rate
    return worst_case(spec, replicas, leases, now, rate, planned=planned, lasting=lasting)


def afford(plan: Plan, spec: ServiceSpec, records: Records, runtime: Runtime) -> Afforded:
    """Leave out of a plan what the service's budget does not allow now."""
    if not spec.budget.is_set:
        return Afforded(plan, ())
    now, rate = runtime.clock.now(), runtime.clock.rate
    replicas, leases = _counted(spec, records, runtime), records.leases(spec.name)
    return within_budget(plan, spec, replicas, leases, now, rate, lasting=_lasting(spec, runtime, plan.actions))


def require_affordable(plan: Plan, spec: ServiceSpec, records: Records, runtime: Runtime) -> None:
    """Raise ``BudgetSpent`` when a plan buys more than the service's budget allows now."""
    refused = afford(plan, spec, records, runtime).refused
    if refused:
        raise BudgetSpent(f"{spec.name}: {'; '.join(refused)}")


def budget_use(spec: ServiceSpec, runtime: Runtime) -> tuple[BudgetUse, ...]:
    """Return how much of each limit is spent or held now."""
    if not spec.budget.is_set:
        return ()
    now, terms = runtime.clock.now(), terms_of(spec, runtime.clock.rate)
    leases = runtime.store.leases(spec.name)
    charges = [charge_of(r, leases.get(r.name), terms, now) for r in _counted(spec, runtime.store, runtime)]
    return tuple(
        BudgetUse(name, cap, held_usd(charges, window), window.end) for name, cap, window in limits(spec.budget, now)
    )


def _counted(spec: ServiceSpec, records: Records, runtime: Runtime) -> Sequence[Replica]:
    since = earliest(spec.budget, runtime.clock.now())
    return records.replicas(spec.name, ended=True, ended_since=since)


def _lasting(spec: ServiceSpec, runtime: Runtime, planned: Sequence[Action]) -> frozenset[str]:
    """The regions in which nothing ends by itself."""
    return frozenset(a.region for a in planned if a.region and not ends_itself(spec, a.region, runtime))
