"""Plans as previews: what would be done now. Nothing is started."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.control.gather import gather_snapshot
from orchestrator.control.grid import GridReader
from orchestrator.control.requests import known_service
from orchestrator.control.runtime import Runtime
from orchestrator.control.spending import require_affordable
from orchestrator.control.thinking import thinking_time
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.variants import model_of
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.plan import plan, plan_migration


async def preview_deploy(
    spec: ServiceSpec, spec_digest: str, runtime: Runtime, *, check: bool = True, grid: GridReader | None = None
) -> Plan:
    """Return what a deploy of this spec would do now. Nothing is started; without ``check`` no provider is asked.

    ``grid``: what reads the grid; whoever plans many services at once reads each zone once for all of them.
    Raises ``NoFeasiblePlacement``, ``BudgetSpent``, and the provisioner's preflight errors (``EngineMissing``,
    ``DiskFull``, ``CredentialsMissing``...) when it would launch anything.
    """
    now = runtime.clock.now()
    snapshot = await gather_snapshot(spec, spec_digest, runtime, grid or GridReader(runtime.carbon), now)
    if not snapshot.candidates:
        await _refuse_for_want_of_offers(spec, runtime)
    # A deploy brings back what is going down.
    budget = thinking_time(runtime.clock)
    wanted = plan(replace(snapshot, taking_down=False), spec.policy, now, actor="deploy", budget=budget)
    require_affordable(wanted, spec, runtime.store, runtime)
    if not check:
        return wanted
    bought = {a.offer_id for a in wanted.actions if a.kind is not ActionKind.RETIRE}
    offers = [c.offer for c in snapshot.candidates if c.offer.id in bought]
    for provider in sorted({o.region.provider for o in offers}):
        its_own = [o for o in offers if o.region.provider == provider]
        for variant in sorted({o.variant for o in its_own}):
            sold = [replace(o, variant="") if o.variant else o for o in its_own if o.variant == variant]
            await runtime.provisioners[provider].preflight(model_of(spec, variant) or spec.model, sold)
    return wanted


async def preview_migration(
    service: str, runtime: Runtime, *, replica: str | None, to_region: str | None, reason: str, actor: str
) -> Plan:
    """Return the plan of a move that a person asks for. Nothing is started. Raises as :func:`plan_migration` does.

    ``BudgetSpent``, too: while it moves, both replicas are paid for.
    """
    record = known_service(service, runtime)
    now = runtime.clock.now()
    snapshot = await gather_snapshot(record.spec, record.spec_digest, runtime, GridReader(runtime.carbon), now)
    moved = plan_migration(
        snapshot, record.spec.policy, now, replica=replica, to_region=to_region, actor=actor, reason=reason
    )
    require_affordable(moved, record.spec, runtime.store, runtime)
    return moved


async def _refuse_for_want_of_offers(spec: ServiceSpec, runtime: Runtime) -> None:
    why = (await runtime.offers.shelf()).why_none(spec.resources)
    if why:
        message = f"{spec.name}: no offer has what resources asks for: {why}"
        hint = "Change resources, or allow more clouds with skypilot.clouds (GREENCTL_SKYPILOT__CLOUDS)."
        raise NoFeasiblePlacement(message, hint=hint)
