"""Which slots a service wants filled now, each from which market. Pure.

Slots are counted from 0. The first ones are always on demand (``base_ondemand_fallback_replicas``), the others up to
``min_replicas + num_overprovision`` stand on the service's own market. Slots above hold on-demand replicas that stand
in for spot ones which are not ready (``dynamic_ondemand_fallback``). How many that is, is SkyServe's and SpotHedge's
rule (arXiv 2411.01438; ``sky.serve.autoscalers`` of SkyPilot 0.14.1)::

    on demand = min(wanted, base + (spot replicas wanted, spares included) - (spot replicas ready))

Spares count there: a spot replica that is gone is stood in for even while a spare serves, up to the wanted number.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from itertools import count, islice

from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import ServiceSpec, SpotLoss
from orchestrator.domain.time import HOUR, Instant
from orchestrator.planner.capacity import taken_away
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.surviving import spread

_A_DAY = 24 * HOUR


def wanted_slots(snapshot: Snapshot) -> dict[int, Market]:
    """Return the slots to be filled, with the market that each is meant for, in the order of slots."""
    if snapshot.taking_down:
        return {}
    standing = slots_for_good(snapshot)
    standing |= {r.slot: r.market for r in snapshot.company() if r.slot not in standing}
    return standing | dict.fromkeys(_stand_ins(snapshot, standing), Market.ON_DEMAND)


def slots_for_good(snapshot: Snapshot) -> dict[int, Market]:
    """Return the slots of the wanted replicas and the spares, with the market of each, in the order of slots.

    Whoever stands above them takes the place of one that is empty, on the same market: nobody is bought while somebody
    else who does the same is let go. With ``slo.survives`` whoever stands above may stay for one of them where most do.
    """
    spec = snapshot.spec
    base = spec.scaling.base_ondemand_fallback_replicas
    slots = {slot: Market.ON_DEMAND if slot < base else spec.market for slot in range(standing_slots(spec))}
    occupants = snapshot.occupants()
    above = _above(snapshot, slots)
    for slot, market in [(slot, market) for slot, market in slots.items() if slot not in occupants]:
        held = next((other for other in above if occupants[other].market is market), None)
        if held is not None:
            above.remove(held)
            del slots[slot]
            slots[held] = market
    if snapshot.surviving is not None:
        slots = _spread_out(snapshot, slots)
    return dict(sorted(slots.items()))


def _spread_out(snapshot: Snapshot, slots: Mapping[int, Market]) -> dict[int, Market]:
    """Let those stay of whom the loss of a region leaves most, and as many as it takes; see ``slo.survives``."""
    occupants = snapshot.occupants()
    kept = spread(slots, _above(snapshot, slots), occupants, snapshot.wanted)
    return {slot: slots[slot] if slot in slots else occupants[slot].market for slot in kept}


def standing_slots(spec: ServiceSpec) -> int:
    """Return how many slots are there for good: the wanted replicas and the spares. Those above hold stand-ins."""
    return spec.scaling.min_replicas + spec.scaling.num_overprovision


def most_replicas(spec: ServiceSpec) -> int:
    """Return how many replicas may be asked for or serve at once: everything above, and one more while one moves."""
    scaling = spec.scaling
    stand_ins = max(0, scaling.min_replicas - scaling.base_ondemand_fallback_replicas)
    return standing_slots(spec) + (stand_ins if _has_stand_ins(spec) else 0) + 1


def is_stand_in(spec: ServiceSpec, replica: Replica) -> bool:
    """Whether somebody on demand stands, or stood, in for spot that is not ready."""
    return _has_stand_ins(spec) and replica.market is Market.ON_DEMAND and replica.slot >= standing_slots(spec)


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


def _above(snapshot: Snapshot, slots: Collection[int]) -> list[int]:
    """Return the slots beyond these that are held by nobody's stand-in: those where somebody serves first.

    Nor by whoever is ``beside`` a request: they stand for nobody whom it asks for.
    """
    serving = {r.slot for r in snapshot.living() if r.state is ReplicaState.READY}
    stand_in = Market.ON_DEMAND if _has_stand_ins(snapshot.spec) else None
    held = (
        slot
        for slot, r in snapshot.occupants().items()
        if slot not in slots and r.market is not stand_in and r.name not in snapshot.beside
    )
    return sorted(held, key=lambda slot: (slot not in serving, slot))


def _stand_ins(snapshot: Snapshot, standing: Collection[int]) -> list[int]:
    """Return the slots that stand-ins hold or shall hold: those that serve first, then free ones from below."""
    spec, occupants = snapshot.spec, snapshot.occupants()
    if not _has_stand_ins(spec):
        return []
    base, number = spec.scaling.base_ondemand_fallback_replicas, standing_slots(spec)
    ready = {r.slot for r in snapshot.living() if r.state is ReplicaState.READY and base <= r.slot}
    needed = max(0, min(spec.scaling.min_replicas, number - len(ready.intersection(standing))) - base)
    held = sorted(
        (slot for slot, r in occupants.items() if slot >= number and r.market is Market.ON_DEMAND),
        key=lambda slot: (occupants[slot].state is not ReplicaState.READY, slot),
    )
    return sorted([*held[:needed], *_free(occupants, number, needed - len(held))])


def _free(occupants: Mapping[int, Replica], first: int, number: int) -> list[int]:
    return list(islice((slot for slot in count(first) if slot not in occupants), max(0, number)))
