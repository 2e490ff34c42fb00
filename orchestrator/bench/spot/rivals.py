"""The policies of SpotHedge's simulator: on demand alone, two that only use spot, and SpotHedge itself.

Each takes the room of a window, (ticks, zones), and returns what it held: spot replicas by tick and zone, on-demand
replicas by tick. A launch without room fails at once, costs nothing, and is seen at the next tick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np

from orchestrator.bench.spot.settings import COLD_START_TICKS, OVER_PROVISION, TARGET
from orchestrator.bench.spot.traces import Ints

_READY_SPAN: Final = COLD_START_TICKS + 1


@dataclass(frozen=True, slots=True)
class Held:
    """What a policy held: ``spot`` is (ticks, zones), ``on_demand`` is (ticks,)."""

    spot: Ints
    on_demand: Ints


Rival = Callable[[Ints], Held]


def on_demand(room: Ints) -> Held:
    """Hold the target on demand."""
    return Held(np.zeros_like(room), np.full(len(room), TARGET, dtype=np.int64))


def naive_spread(room: Ints) -> Held:
    """Hold the target on spot, even over the zones in their order; what is missing is asked for where there is least.

    It never learns: a zone without room is asked again for ever.
    """
    zones = range(room.shape[1])
    held = [0] * len(zones)
    plan = []
    for limits in room.tolist():
        missing, level = TARGET - sum(held), 0
        while missing > 0:
            for z in zones:
                if missing and held[z] == level:
                    held[z] += 1
                    missing -= 1
            level += 1
        held = [min(h, limit) for h, limit in zip(held, limits, strict=True)]
        plan.append(held.copy())
    return _spot_only(plan)


def round_robin(room: Ints) -> Held:
    """Hold the target on spot; each launch goes to the next zone of the ring."""
    zones = room.shape[1]
    held = [0] * zones
    at = 0
    plan = []
    for limits in room.tolist():
        for _ in range(TARGET - sum(held)):
            held[at] += 1
            at = (at + 1) % zones
        held = [min(h, limit) for h, limit in zip(held, limits, strict=True)]
        plan.append(held.copy())
    return _spot_only(plan)


class SpotHedge:
    """One spare in random zones that were not lost lately, and on demand for each replica that is not ready.

    ``random`` chooses among the zones; the same generator goes on from window to window, as in the artefact.
    """

    def __init__(self, random: Random) -> None:
        self._random = random

    def __call__(self, room: Ints) -> Held:
        """Replay one window."""
        zones = room.shape[1]
        wanted_spot = TARGET + OVER_PROVISION
        active, lost = list(range(zones)), list[int]()
        held, asked = [0] * zones, [0] * zones
        plan: list[list[int]] = []
        stand_ins: list[int] = []
        for limits in room.tolist():
            ready = 0
            if len(plan) >= _READY_SPAN:
                ready = sum(min(column) for column in zip(*plan[-_READY_SPAN:], strict=True))
            stand_ins.append(min(TARGET, wanted_spot - ready))
            for z in range(zones):
                if asked[z] > held[z]:
                    if z in active:
                        active.remove(z)
                        lost.append(z)
                elif asked[z] > 0 and z in lost:
                    lost.remove(z)
                    active.append(z)
            if len(active) <= min(1, zones - TARGET):
                active, lost = list(range(zones)), []
            asked = held.copy()
            for _ in range(wanted_spot - sum(held)):
                unused = [z for z in active if not asked[z]]
                asked[self._random.choice(unused or active or range(zones))] += 1
            held = [min(a, limit) for a, limit in zip(asked, limits, strict=True)]
            plan.append(held)
        return Held(np.array(plan, dtype=np.int64), np.array(stand_ins, dtype=np.int64))


def _spot_only(plan: list[list[int]]) -> Held:
    return Held(np.array(plan, dtype=np.int64), np.zeros(len(plan), dtype=np.int64))
