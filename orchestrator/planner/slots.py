"""Which slots a service wants filled now, each from which market. Pure.

Slots are counted from 0. The first ones are always on demand (``base_ondemand_fallback_replicas``), the others up to
``min_replicas + num_overprovision`` stand on the service's own market. Slots above hold on-demand replicas that stand
in for spot ones which are not ready (``dynamic_ondemand_fallback``). How many that is, is SkyServe's and SpotHedge's
rule (arXiv 2411.01438; ``sky.serve.autoscalers`` of SkyPilot 0.14.1)::

    on demand = min(wanted, base + (spot replicas wanted, spares included) - (spot replicas ready))

Spares count there: a spot replica that is gone is stood in for even while a spare serves, up to the wanted number.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import count, islice

from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import ServiceSpec, SpotLoss
from orchestrator.domain.time import HOUR, Instant
from orchestrator.planner.capacity import taken_away
from orchestrator.planner.snapshot import Snapshot

_A_DAY = 24 * HOUR


def wanted_slots(snapshot: Snapshot) -> dict[int, Market]:
    """Return the slots to be filled, with the market that each is meant for, in the order of slots."""
    if snapshot.taking_down:
        return {}
    spec = snapshot.spec
    base, standing = spec.scaling.base_ondemand_fallback_replicas, standing_slots(spec)
    slots = {slot: Market.ON_DEMAND if slot < base else spec.market for slot in range(standing)}
    return slots | dict.fromkeys(_stand_ins(snapshot, standing), Market.ON_DEMAND)


def standing_slots(spec: ServiceSpec) -> int:
    """Return how many slots are there for good: the wanted replicas and the spares. Those above hold stand-ins."""
    return spec.scaling.min_replicas + spec.scaling.num_overprovision


def most_replicas(spec: ServiceSpec) -> int:
    """Return how many replicas may be asked for or serve at once: everything above, and one more while one moves."""
    scaling = spec.scaling
    stand_ins = max(0, scaling.min_replicas - scaling.base_ondemand_fallback_replicas)
    return standing_slots(spec) + (stand_ins if _has_stand_ins(spec) else 0) + 1


def last_taken(snapshot: Snapshot, slot: int) -> Replica | None:
    """Return the spot replica that was last taken away from the slot, as far back as the snapshot remembers."""
    return max(_taken(snapshot, slot), key=lambda r: (r.state_since, r.name), default=None)


def on_demand_until(snapshot: Snapshot, slot: int, now: Instant) -> Instant | None:
    """Return until when a spot slot is filled on demand because its spot replica was taken away; ``None`` if it is not.

    One dwell after the loss, or as long as the slot has changed its market as often as replicas may move in a day: so
    it never swings faster than they do, whatever the spot market does.
    """
    spec = snapshot.spec
    if spec.placement.on_spot_loss is not SpotLoss.ON_DEMAND or spec.scaling.dynamic_ondemand_fallback:
        return None
    losses = sorted((r.state_since for r in _taken(snapshot, slot)), reverse=True)
    if not losses:
        return None
    until = losses[0] + spec.migration.min_dwell
    most = max(1, spec.migration.max_moves_per_day)
    if len(losses) >= most:
        until = max(until, losses[most - 1] + _A_DAY)
    return until if until > now else None


def lost_regions(snapshot: Snapshot, now: Instant) -> frozenset[str]:
    """Return the regions that took a spot replica of the service away within the last dwell."""
    since = now - max(snapshot.spec.migration.min_dwell, timedelta(0))
    return frozenset(r.region for r in snapshot.replicas if taken_away(r) and r.state_since > since)


def _taken(snapshot: Snapshot, slot: int) -> list[Replica]:
    return [r for r in snapshot.replicas if r.slot == slot and taken_away(r)]


def _has_stand_ins(spec: ServiceSpec) -> bool:
    return spec.scaling.dynamic_ondemand_fallback and spec.market is Market.SPOT


def _stand_ins(snapshot: Snapshot, standing: int) -> list[int]:
    """Return the slots that stand-ins hold or shall hold: those that serve first, then free ones from below."""
    spec, occupants = snapshot.spec, snapshot.occupants()
    if not _has_stand_ins(spec):
        return []
    base = spec.scaling.base_ondemand_fallback_replicas
    ready = {r.slot for r in snapshot.living() if r.state is ReplicaState.READY and base <= r.slot < standing}
    needed = max(0, min(spec.scaling.min_replicas, standing - len(ready)) - base)
    held = sorted(
        (slot for slot, r in occupants.items() if slot >= standing and r.market is Market.ON_DEMAND),
        key=lambda slot: (occupants[slot].state is not ReplicaState.READY, slot),
    )
    return sorted([*held[:needed], *_free(occupants, standing, needed - len(held))])


def _free(occupants: Mapping[int, Replica], first: int, number: int) -> list[int]:
    return list(islice((slot for slot in count(first) if slot not in occupants), max(0, number)))
