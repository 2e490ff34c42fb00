"""Our own policy in the replay: it is told what stands after each tick, and nothing else.

It is the rule of ``planner/hedge/hedge.py``. The controller has another one: see the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import numpy as np

from orchestrator.bench.spot.rivals import Held
from orchestrator.bench.spot.settings import COLD_START_TICKS, ON_DEMAND_PRICE, TARGET, TICK_SECONDS
from orchestrator.bench.spot.traces import Ints
from orchestrator.planner.hedge.hedge import Hedge
from orchestrator.planner.hedge.rules import HedgeRules, SpotZone

RULES: Final = HedgeRules(
    replicas=TARGET,
    tick=timedelta(seconds=TICK_SECONDS),
    cold_start=timedelta(seconds=COLD_START_TICKS * TICK_SECONDS),
    on_demand_price=ON_DEMAND_PRICE,
)
"""The one set of parameters for all traces: the settings of the replay, and the hedge's own defaults."""


def hedged(room: Ints, zones: Sequence[SpotZone], rules: HedgeRules = RULES) -> Held:
    """Replay one window, from knowing nothing."""
    hedge = Hedge(zones, rules)
    spot: list[list[int]] = []
    stand_ins: list[int] = []
    for tick, limits in enumerate(room.tolist()):
        orders = hedge.decide(tick)
        stands = [min(w, limit) for w, limit in zip(orders.spot, limits, strict=True)]
        hedge.observe(tick, stands)
        spot.append(stands)
        stand_ins.append(orders.on_demand)
    return Held(np.array(spot, dtype=np.int64), np.array(stand_ins, dtype=np.int64))
