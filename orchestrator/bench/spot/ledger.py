"""What a window's plan was worth: availability, cost and grams, counted the same way for everybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.bench.spot.rivals import Held
from orchestrator.bench.spot.settings import COLD_START_TICKS, KILOWATTS, ON_DEMAND_PRICE, TARGET
from orchestrator.bench.spot.traces import Ints


@dataclass(frozen=True, slots=True)
class Score:
    """One window, or the mean of several.

    ``availability``: share of the ticks with at least the target ready. ``relative_cost``: in units of the target held
    on demand. ``grams_per_replica_hour``: gCO2e per hour and wanted replica, starting and spare ones included, ``None``
    where a zone's grid is unknown. ``none_ready``: share of the ticks with no replica ready at all.
    """

    availability: float
    relative_cost: float
    grams_per_replica_hour: float | None
    mean_spot_replicas: float
    mean_on_demand_replicas: float
    none_ready: float


def ready(held: Ints) -> Ints:
    """Return how many are ready at each tick: the least that was held then and in the ticks of a cold start before."""
    least = held.copy()
    for back in range(1, COLD_START_TICKS + 1):
        least[back:] = np.minimum(least[back:], held[:-back])
    least[:COLD_START_TICKS] = 0
    return least


def score(
    held: Held, zone_grams: Sequence[float | None], on_demand_grams: float | None, *, first: int = COLD_START_TICKS
) -> Score:
    """Score a plan from tick ``first`` on. Grams are per kWh: of each zone, and where on-demand replicas stand."""
    serving = (ready(held.spot).sum(axis=1) + ready(held.on_demand))[COLD_START_TICKS:]
    spot, stand_ins = held.spot[first:], held.on_demand[first:]
    ticks = len(stand_ins)
    cost = spot.sum() + ON_DEMAND_PRICE * stand_ins.sum()
    grams = None
    if on_demand_grams is not None and None not in zone_grams:
        emitted = (spot * np.array(zone_grams, dtype=np.float64)).sum() + stand_ins.sum() * on_demand_grams
        grams = float(KILOWATTS * emitted / (TARGET * ticks))
    return Score(
        availability=float((serving >= TARGET).mean()),
        relative_cost=float(cost / (ON_DEMAND_PRICE * TARGET * ticks)),
        grams_per_replica_hour=grams,
        mean_spot_replicas=float(spot.sum() / ticks),
        mean_on_demand_replicas=float(stand_ins.sum() / ticks),
        none_ready=float((serving == 0).mean()),
    )


def mean_score(scores: Sequence[Score]) -> Score:
    """Return the mean over windows; all of one group, so grams are known for all of them or for none."""
    grams = [s.grams_per_replica_hour for s in scores if s.grams_per_replica_hour is not None]
    count = len(scores)
    return Score(
        availability=sum(s.availability for s in scores) / count,
        relative_cost=sum(s.relative_cost for s in scores) / count,
        grams_per_replica_hour=sum(grams) / count if len(grams) == count else None,
        mean_spot_replicas=sum(s.mean_spot_replicas for s in scores) / count,
        mean_on_demand_replicas=sum(s.mean_on_demand_replicas for s in scores) / count,
        none_ready=sum(s.none_ready for s in scores) / count,
    )
