"""The policies of SpotHedge's simulator: on demand alone, two that only use spot, and SpotHedge itself.

Each takes the room of a window, (ticks, zones), and returns what it held: spot replicas by tick and zone, on-demand
replicas by tick. A launch without room fails at once, costs nothing, and is seen at the next tick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np

from orchestrator.bench.spot.settings import COLD_START_TICKS, OVER_PROVISION, SEED, TARGET
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


def in_ring_order(policy: Rival, room: Ints) -> Held:
    """Replay a policy that takes the zones in the order that the artefact's generator gives them, with its seed.

    The artefact shuffles its list of zones before each repeat; published figures are of one order that all windows
    share. Its first shuffle gives what was published for AWS3 and for GCP1, where it puts the zone that never had room
    first; the order of the names does not.
    """
    order = list(range(room.shape[1]))
    Random(SEED).shuffle(order)  # noqa: S311  # repeatable, as in the artefact
    held = policy(room[:, order])
    spot = np.empty_like(held.spot)
    spot[:, order] = held.spot
    return Held(spot, held.on_demand)


def naive_spread(room: Ints) -> Held:
    """Hold the target on spot, even over the zones in their order; what is missing is asked for where there is least.

    It never learns: a zone without room is asked again for ever, so each zone has what it is asked for, or its room.
    """
    ticks, zones = room.shape
    share, rest = divmod(TARGET, zones)
    asked = np.full(zones, share, dtype=np.int64)
    asked[:rest] += 1
    return Held(np.minimum(room, asked), np.zeros(ticks, dtype=np.int64))


def round_robin(room: Ints) -> Held:
    """Hold the target on spot; each launch goes to the next zone of the ring."""
    ticks, zones = room.shape
    spot = np.zeros_like(room)
    held = [0] * zones
    at = tick = 0
    while tick < ticks:
        for _ in range(TARGET - sum(held)):
            held[at] += 1
            at = (at + 1) % zones
        held = [min(h, limit) for h, limit in zip(held, room[tick].tolist(), strict=True)]
        until = _next_loss(room, held, tick + 1) if sum(held) == TARGET else tick + 1
        spot[tick:until] = held
        tick = until
    return Held(spot, np.zeros(ticks, dtype=np.int64))


class SpotHedge:
    """One spare in random zones that were not lost lately, and on demand for each replica that is not ready.

    ``random`` chooses among the zones; the same generator goes on from window to window, as in the artefact.
    """

    def __init__(self, random: Random) -> None:
        self._random = random

    def __call__(self, room: Ints) -> Held:
        """Replay one window."""
        ticks, zones = room.shape
        wanted_spot = TARGET + OVER_PROVISION
        active, lost = list(range(zones)), list[int]()
        held, asked = [0] * zones, [0] * zones
        spot = np.zeros_like(room)
        stand_ins = np.zeros(ticks, dtype=np.int64)
        tick = 0
        while tick < ticks:
            ready = int(spot[tick - _READY_SPAN : tick].min(axis=0).sum()) if tick >= _READY_SPAN else 0
            stand_ins[tick] = min(TARGET, wanted_spot - ready)
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
            held = [min(a, limit) for a, limit in zip(asked, room[tick].tolist(), strict=True)]
            spot[tick] = held
            tick += 1
            if ready == wanted_spot and held == asked:
                # All are ready and nobody is asked for: nothing happens until the next loss.
                until = _next_loss(room, held, tick)
                spot[tick:until] = held
                tick = until
        return Held(spot, stand_ins)


def _next_loss(room: Ints, held: Sequence[int], first: int) -> int:
    """Return the first tick, from ``first`` on, at which a zone has less room than is held there; the end if none."""
    found = np.flatnonzero((room[first:] < np.array(held)).any(axis=1))
    return first + int(found[0]) if found.size else len(room)
