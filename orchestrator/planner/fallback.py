"""Where to look for a slot's next replica: spot, spot elsewhere, on demand, or nowhere yet. Pure.

Offers come in pools: the first pool that has an allowed offer with room decides, so that a fallback is only looked at
when what is wanted cannot be had.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from orchestrator.domain.decision import Assessment
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica
from orchestrator.domain.service import SpotLoss, SpotPlacer
from orchestrator.domain.time import Instant
from orchestrator.planner.choose import choose
from orchestrator.planner.judged import STANDING_RULES, Judged
from orchestrator.planner.moves import is_fresh
from orchestrator.planner.slots import last_taken, lost_regions, on_demand_until
from orchestrator.planner.snapshot import Snapshot

Pool = Sequence[Assessment]


def pools_for(
    judged: Judged,
    slot: int,
    market: Market,
    among: Pool,
    spot_regions: Collection[str],
    *,
    keep_up: bool,
    holds: bool = False,
) -> list[Pool]:
    """Return where to look for a slot that is meant for a market, the best pool first.

    ``among``: the offers to look through. ``spot_regions``: where spot replicas of the service stand or shall stand.
    ``keep_up``: the service has been deployed, so that a slot without a spot offer is filled on demand where
    ``placement.on_spot_loss`` says so; a first deploy on spot buys nothing else.
    ``holds``: somebody serves in the slot, so that nothing is waited for.
    """
    on_demand = [a for a in among if a.market is Market.ON_DEMAND]
    if market is Market.ON_DEMAND:
        return [on_demand]
    spec = judged.snapshot.spec
    spot = [a for a in among if a.market is Market.SPOT]
    rule = spec.placement.on_spot_loss
    waited_for = offer_waited_for(judged, slot)
    if waited_for is not None and not holds:
        return [[a for a in spot if a.offer_id == waited_for.offer_id]]
    found: list[Pool] = [spot]
    if rule is SpotLoss.OTHER_REGION:
        lost = lost_regions(judged.snapshot, judged.now)
        found = [[a for a in spot if a.region not in lost], spot]
    if spec.scaling.spot_placer is SpotPlacer.DYNAMIC_FALLBACK:
        found = [p for pool in found for p in (*_apart(judged, pool, spot_regions), pool)]
    if rule is SpotLoss.ON_DEMAND and not spec.scaling.dynamic_ondemand_fallback:
        if on_demand_until(judged.snapshot, slot, judged.now) is not None:
            return [on_demand, *found]
        if keep_up:
            return [*found, on_demand]
    return found


def _apart(judged: Judged, pool: Pool, spot_regions: Collection[str]) -> list[Pool]:
    """Return the offers in regions that hold no spot replica.

    Where availability is promised, those come first that do not fall together with a region that holds one.
    """
    elsewhere = [a for a in pool if a.region not in spot_regions]
    hedging = judged.snapshot.hedging
    if hedging is None:
        return [elsewhere]
    return [[a for a in elsewhere if not hedging.falls_with(a.region, spot_regions)], elsewhere]


def best_of(judged: Judged, candidates: Sequence[Pool], occupied: Sequence[str]) -> Assessment | None:
    """Return the best allowed offer of the first pool that has one with room."""
    rules, objective = judged.snapshot.spec.placement, judged.policy.objective
    for pool in candidates:
        found = choose(pool, 1, occupied, rules, objective)
        if found:
            return found[0]
    return None


def offer_waited_for(judged: Judged, slot: int) -> Assessment | None:
    """Return the offer that an empty slot waits for by ``on_spot_loss: wait``.

    ``None`` where none was lost within memory (a day), or where a rule forbids that place by now.
    """
    if judged.snapshot.spec.placement.on_spot_loss is not SpotLoss.WAIT:
        return None
    lost = last_taken(judged.snapshot, slot)
    offer = None if lost is None else judged.by_id(lost.offer_id)
    if offer is None or any(not v.passed and v.rule in STANDING_RULES for v in offer.verdicts):
        return None
    return offer


def is_fallback(market: Market, replica: Replica) -> bool:
    """Whether a replica on demand holds a slot that is meant for spot."""
    return market is Market.SPOT and replica.market is Market.ON_DEMAND


def spot_again(judged: Judged, slot: int, replica: Replica, others: Sequence[Replica]) -> Assessment | None:
    """Return the spot offer to which an on-demand replica that holds a spot slot goes back, if it is time and pays.

    The dwell since the loss is over, moves are neither off nor paused, it is cheaper than what the replica costs, and a
    fresh number is known of its zone: what serves moves nowhere in the dark, whatever may be launched there.
    """
    if why_not_back(judged, slot):
        return None
    dear = replica.usd_per_hour
    cheaper = [
        a
        for a in judged.assessments
        if a.market is Market.SPOT
        and (side := judged.side(a.offer_id)) is not None
        and is_fresh(side, judged.snapshot, judged.now)
        and not judged.leaves(replica, a.offer_id)
        and (dear is None or (a.usd_per_hour is not None and a.usd_per_hour < dear))
    ]
    spot_regions = {r.region for r in others if r.market is Market.SPOT}
    candidates = pools_for(judged, slot, Market.SPOT, cheaper, spot_regions, keep_up=False, holds=True)
    return best_of(judged, candidates, [r.region for r in others])


def crowds(snapshot: Snapshot, replica: Replica, target: Assessment) -> bool:
    """Whether moving there would bring spot replicas closer together, although they are to be spread."""
    if snapshot.spec.scaling.spot_placer is None or replica.market is not Market.SPOT:
        return False
    regions = [r.region for r in snapshot.living() if r.market is Market.SPOT and r.name != replica.name]
    hedging = snapshot.hedging
    if hedging is not None and hedging.falls_with(target.region, regions):
        return not hedging.falls_with(replica.region, regions)
    return regions.count(target.region) > regions.count(replica.region)


def why_not_back(judged: Judged, slot: int) -> str:
    """Say what keeps an on-demand replica in a spot slot whatever is sold; empty when nothing does."""
    snapshot = judged.snapshot
    until = on_demand_until(snapshot, slot, judged.now)
    if until is not None:
        return f"until {moment(until)} (placement.on_spot_loss, migration.min_dwell)"
    if not snapshot.spec.migration.enabled:
        return "as long as migration.enabled is false"
    return "as long as moves are paused" if snapshot.paused else ""


def earliest_try(judged: Judged, among: Pool) -> tuple[Instant, str] | None:
    """Return when the first offer that nothing but its back-off excludes may be tried again, and which one it is."""
    waiting = {a.offer_id for a in among if {v.rule for v in a.verdicts if not v.passed} == {"capacity"}}
    times = [
        (c.avoid_until, c.offer.id)
        for c in judged.snapshot.candidates
        if c.offer.id in waiting and c.avoid_until is not None
    ]
    return min(times, default=None)


def moment(instant: Instant) -> str:
    """Write an instant for a person."""
    return instant.strftime("%d %b %H:%M UTC")
