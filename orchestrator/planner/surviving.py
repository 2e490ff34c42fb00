"""How many spares it takes that the loss of any one region leaves enough replicas, and how many may be in one. Pure.

``slo.survives: region`` with n replicas needed and R regions in which one may be placed takes s spares, the least s
with s * (R - 1) >= n, no more than s of all n + s in one region (:func:`orchestrator.domain.survival.spares_for`).
Regions that take no more count for those that stand in them. Which those are is known once offers have been judged, so
``planner.judged`` asks here, and judges again what n + s replicas share: whatever comes after that finds the spares in
``num_overprovision`` and the limit in ``max_per_region`` of ``judged.snapshot``. Spares that somebody fixed, or that
``slo.availability`` takes, are these spares, too: the larger number holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica
from orchestrator.domain.survival import SURVIVES_RULE, left_after_a_loss, spares_for
from orchestrator.planner.snapshot import Snapshot, Surviving


def has_to_survive(snapshot: Snapshot) -> bool:
    """Whether anybody is wanted of a service that promises to survive: beside nobody there is no spare either."""
    return snapshot.spec.survives is not None and snapshot.spec.batch is None and snapshot.wanted > 0


def as_written(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot without what :func:`surviving` made of its spares and its limit of a region."""
    made, spec = snapshot.surviving, snapshot.spec
    if made is None:
        return snapshot
    scaling = replace(spec.scaling, num_overprovision=made.written_spares)
    placement = replace(spec.placement, max_per_region=made.written_per_region)
    return replace(snapshot, spec=replace(spec, scaling=scaling, placement=placement), surviving=None)


def surviving(snapshot: Snapshot, regions: Collection[str], held: Mapping[str, int]) -> Snapshot:
    """Return the snapshot with the spares that it takes, and with the limit of a region that goes with them.

    ``regions``: where a replica may be placed. ``held``: how many stand in the others. Where no number of spares is
    enough, nothing is changed but that this is said. ``snapshot``: as its owner has written it.
    """
    spec, needed = snapshot.spec, snapshot.wanted
    limit = spec.placement.max_per_region
    number = spares_for(to_seat(snapshot), len(regions), held=held.values(), limit=limit)
    of_now = spec.scaling.num_overprovision
    if number is None:
        told = Surviving(0, 0, _why_not(snapshot, regions, held, limit), of_now, limit, is_possible=False)
        return replace(snapshot, surviving=told)
    spares = max(number, of_now)
    most = spares if limit is None else min(spares, limit)
    left = f"{needed} of {needed + spares} {'is' if needed == 1 else 'are'} left"
    words = f"{SURVIVES_RULE}: {left} when any one of {len(regions) + len(held)} regions is lost"
    told = Surviving(spares, most, words, of_now, limit)
    scaling = replace(spec.scaling, num_overprovision=spares)
    raised = replace(spec, scaling=scaling, placement=replace(spec.placement, max_per_region=most))
    return replace(snapshot, spec=raised, surviving=told)


def to_seat(snapshot: Snapshot) -> int:
    """Return for how many there has to be room beside the spares: those that are needed, and who stands in for spot.

    Stand-ins are in nobody's place. Without room of their own they would take that of the spot which they wait for.
    """
    needed, base = snapshot.wanted, snapshot.spec.scaling.base_ondemand_fallback_replicas
    return needed + max(0, needed - base) * _has_stand_ins(snapshot)


def stands_in(snapshot: Snapshot, replica: Replica) -> bool:
    """Whether a replica on demand stands in for spot that is not ready, however many spares there are."""
    is_beyond = replica.slot >= snapshot.spec.scaling.base_ondemand_fallback_replicas
    return _has_stand_ins(snapshot) and is_beyond and replica.market is Market.ON_DEMAND


def _has_stand_ins(snapshot: Snapshot) -> bool:
    return snapshot.spec.scaling.dynamic_ondemand_fallback and snapshot.spec.market is Market.SPOT


def region_limit(snapshot: Snapshot) -> str:
    """Name the rule that says how many may be in one region, in words."""
    made = snapshot.surviving
    is_tighter = made is not None and not (made.is_possible and made.written_per_region == made.per_region)
    return f"limit of {SURVIVES_RULE}" if is_tighter else "max_per_region"


def may_move(snapshot: Snapshot, others: Iterable[str], here: str, there: str) -> bool:
    """Whether a replica may go from one region to another without taking from what the loss of a region leaves.

    ``others``: the regions of all who stay, one entry for each. What is too few already may not become fewer.
    """
    if snapshot.surviving is None:
        return True
    rest = tuple(others)
    return left_after_a_loss((*rest, there)) >= min(snapshot.wanted, left_after_a_loss((*rest, here)))


def enough_left(staying: Iterable[str], leaving: Iterable[str], needed: int, *, others_come: bool) -> bool:
    """Whether those that leave take nothing from what is left of ``needed`` when a region is lost.

    One entry of a region for each replica that serves. ``others_come``: more of those that stay will serve soon, so
    that whoever leaves may wait for them.
    """
    kept = tuple(staying)
    left = left_after_a_loss(kept)
    return left >= needed or (not others_come and left >= left_after_a_loss((*kept, *leaving)))


def spread(
    slots: Mapping[int, Market], extra: Collection[int], occupants: Mapping[int, Replica], needed: int
) -> set[int]:
    """Return which slots stay, so that those leave first that stand where the most do.

    ``slots``: as many as shall stay, with the market that each is meant for. ``extra``: those that are held beyond
    that, which any of ``slots`` on the same market, or meant for it, may leave in the place of. More stay where it
    takes them to have ``needed`` left when any region is lost.
    """
    kept, others = set(slots), set(extra)
    counts = Counter(occupants[slot].region for slot in kept if slot in occupants)
    while (swap := _swap({s: slots.get(s) for s in kept}, others, occupants, counts)) is not None:
        goes, stays = swap
        counts -= Counter([occupants[goes].region])
        counts[occupants[stays].region] += 1
        kept, others = (kept - {goes}) | {stays}, (others - {stays}) | {goes}
    # Whoever is still to come will be placed where few are.
    free = len(kept - occupants.keys())
    while others and counts.total() + free - max(counts.values(), default=0) < needed:
        stays = min(others, key=lambda slot: (counts[occupants[slot].region], slot))
        if counts[occupants[stays].region] >= max(counts.values(), default=0):
            break
        counts[occupants[stays].region] += 1
        kept, others = kept | {stays}, others - {stays}
    return kept


def _swap(
    kept: Mapping[int, Market | None],
    others: Collection[int],
    occupants: Mapping[int, Replica],
    counts: Mapping[str, int],
) -> tuple[int, int] | None:
    """Return who leaves and who stays for them, so that fewer stand where the most do; ``None`` where nobody could."""
    for goes in sorted((s for s in kept if s in occupants), key=lambda s: (-counts[occupants[s].region], -s)):
        own = occupants[goes]
        # On demand in the place of spot: whoever is on spot stays for it as well.
        fits = [s for s in others if occupants[s].market in {own.market, kept[goes]}]
        stays = min(fits, key=lambda s: (counts.get(occupants[s].region, 0), s), default=None)
        if stays is not None and counts.get(occupants[stays].region, 0) + 1 < counts[own.region]:
            return goes, stays
    return None


def _why_not(snapshot: Snapshot, regions: Collection[str], held: Mapping[str, int], limit: int | None) -> str:
    usable, needed = sorted({*regions, *held}), snapshot.wanted
    number = f"{needed} replica{'' if needed == 1 else 's'}"
    without_limit = spares_for(to_seat(snapshot), len(regions), held=held.values())
    if limit is not None and without_limit is not None:
        return (
            f"{SURVIVES_RULE}: region contradicts placement.max_per_region: {limit}, which leaves no room for {number} "
            f"besides any one of {len(usable)} regions"
        )
    where = "too few regions have room" if usable else "no region can be used"
    if len(usable) == 1:
        where = f"only {usable[0]} can be used"
    return f"{SURVIVES_RULE}: region wants {number} left when any one region is lost, and {where}"
