"""Advice for a service that is known: the world as it is now, and the past that says how far to believe it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from orchestrator.control.gather import gather_snapshot
from orchestrator.control.grid import GridReader
from orchestrator.control.requests import known_service
from orchestrator.control.runtime import Runtime
from orchestrator.control.spending import afford
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.planner.advice.advise import Advice, Breakeven, advise
from orchestrator.planner.advice.backtest import LOOKED_BACK_DAYS
from orchestrator.planner.advice.backtest import hindsight as hindsight_of
from orchestrator.planner.plan import plan
from orchestrator.planner.snapshot import Snapshot


async def service_advice(service: str, runtime: Runtime) -> Advice:
    """Return what to do about a service. Changes nothing.

    Raises ``UnknownService``, and ``NoFeasiblePlacement`` where its file leaves it no place at all.
    """
    record = known_service(service, runtime)
    now = runtime.clock.now()
    grid = GridReader(runtime.carbon)
    snapshot = await gather_snapshot(record.spec, record.spec_digest, runtime, grid, now)
    afforded = afford(plan(snapshot, record.spec.policy, now, keep_up=True), record.spec, runtime.store, runtime)
    found = advise(snapshot, record.spec.policy, now, afforded)
    if found.best is None:
        return found
    return replace(found, best=await _with_hindsight(found.best, snapshot, grid, now))


async def _with_hindsight(best: Breakeven, snapshot: Snapshot, grid: GridReader, now: Instant) -> Breakeven:
    zones = {c.offer.id: c.offer.region.zone for c in snapshot.candidates}
    here, there = zones.get(best.comparison.from_offer), zones.get(best.comparison.to_offer)
    if here is None or there is None:
        return best
    hours = timedelta(hours=best.comparison.horizon_hours)
    window = Window(floor_hour(now) - timedelta(days=LOOKED_BACK_DAYS) - hours - HOUR, now)
    basis = snapshot.spec.carbon.basis
    past_here = await grid.intensities(here, basis, window, now)
    past_there = await grid.intensities(there, basis, window, now)
    return replace(best, hindsight=hindsight_of(best.comparison, past_here, past_there, now))
