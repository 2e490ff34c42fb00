"""A snapshot whose offers have been judged: what every part of a plan looks things up in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from orchestrator.domain.decision import Assessment, Fetch
from orchestrator.domain.offer import Candidate, variant_in
from orchestrator.domain.plan import Action, ActionKind
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica
from orchestrator.domain.service import Policy, SpotLoss
from orchestrator.domain.survival import spares_for
from orchestrator.domain.time import HOUR, Instant
from orchestrator.domain.variants import model_of
from orchestrator.planner.capacity import taken_away
from orchestrator.planner.egress import launch_egress, usd_of
from orchestrator.planner.moves import Side
from orchestrator.planner.nearby import Lack, Leaves, Nearby, missing, nearby
from orchestrator.planner.promise import Promised, for_everybody, promised
from orchestrator.planner.sizing.share import works
from orchestrator.planner.slots import on_demand_until
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.surviving import as_written, has_to_survive, stands_in, surviving
from orchestrator.planner.variants import standings
from orchestrator.policy.apply import usd_per_gram
from orchestrator.policy.assess import CAPACITY_RULE, FLOOR_RULE, FRESHNESS_RULE, assess_all

STANDING_RULES = frozenset(
    {"placement.residency", "placement.allow", "placement.deny", "resources.use_spot", "provider", FLOOR_RULE}
)
"""A replica that stands where one of these now says no has to leave; prices and intensities alone never evict."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A snapshot with its offers judged, looked up by offer id; ``promised``: how near each of them is to whom.

    ``nearby``: how much of whose load each of them carries; ``None`` where that is no question, or not known.
    """

    snapshot: Snapshot
    policy: Policy
    now: Instant
    assessments: tuple[Assessment, ...]
    promised: Promised = field(default_factory=Promised, compare=False)
    nearby: Nearby | None = field(default=None, compare=False)
    _assessed: Mapping[str, Assessment] = field(init=False, repr=False, compare=False)
    _candidates: Mapping[str, Candidate] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index what is looked up for every replica and every place; of two of one id the first counts."""
        object.__setattr__(self, "_assessed", {a.offer_id: a for a in reversed(self.assessments)})
        object.__setattr__(self, "_candidates", {c.offer.id: c for c in reversed(self.snapshot.candidates)})

    def leaves(self, replica: Replica, offer_id: str) -> Leaves | None:
        """Return what clients lose once a replica has moved to an offer: who was near to them, or enough for them.

        ``None`` where anybody may be sent anywhere.
        """
        if not self.promised.areas:
            return None
        others = [r.offer_id for r in self.snapshot.occupants().values() if r.name != replica.name]
        before, after = [*others, replica.offer_id], [*others, offer_id]
        lack = self.lack(after)
        grows = lack is not None and lack.missing > missing(self.lack(before))
        return Leaves(self.promised.left(after) - self.promised.left(before), lack if grows else None)

    def lack(self, offer_ids: Iterable[str]) -> Lack | None:
        """Return for which clients too little is near, with replicas on these offers; see :meth:`Nearby.lack`."""
        return None if self.nearby is None else self.nearby.lack(offer_ids)

    def side(self, offer_id: str) -> Side | None:
        """The offer with its candidate; ``None`` when it is no longer sold."""
        assessment, candidate = self._assessed.get(offer_id), self._candidates.get(offer_id)
        return None if assessment is None or candidate is None else Side(assessment, candidate)

    def by_id(self, offer_id: str) -> Assessment | None:
        """The judged offer."""
        return self._assessed.get(offer_id)


def judge(snapshot: Snapshot, policy: Policy, now: Instant) -> Judged:
    """Judge every offer of the snapshot.

    With ``slo.survives`` the snapshot comes back with the spares that it takes where offers are allowed, and offers are
    judged as those of so many replicas.
    """
    snapshot = as_written(snapshot)
    judged = _judged(snapshot, policy, now)
    if not has_to_survive(snapshot):
        return judged
    regions = _usable(judged)
    while True:
        judged = _judged(surviving(snapshot, regions, _held(judged, regions)), policy, now)
        # Of more replicas each has less to do, and rules on grams or dollars may leave other places.
        if regions <= _usable(judged):
            return judged
        regions &= _usable(judged)


def _usable(judged: Judged) -> frozenset[str]:
    """Return the regions in which one may be placed on the service's own market.

    Where those are not enough, of one that has been deployed, those of the market that stands in for it as well; and
    where those are not, those in which one has stood and whose signal is late: what is lost there comes back without
    it. As long as others are enough, nobody relies on a region of which nothing is known.
    """
    snapshot, spec = judged.snapshot, judged.snapshot.spec
    own = regions_open(judged, {spec.market}) - _closed_to_some(judged)
    if _is_filled_on_demand(judged):
        own |= regions_open(judged, {Market.ON_DEMAND})
    falls_back = spec.placement.on_spot_loss is SpotLoss.ON_DEMAND and not spec.scaling.dynamic_ondemand_fallback
    markets = set(Market) if falls_back and snapshot.replicas else {spec.market}
    every = own | regions_open(judged, markets)
    late = regions_open(judged, markets, {FRESHNESS_RULE}) & {r.region for r in snapshot.replicas}
    limit = as_written(snapshot).spec.placement.max_per_region
    for regions in (own, every):
        held = _held(judged, regions).values()
        if spares_for(snapshot.wanted, len(regions), held=held, limit=limit) is not None:
            return regions
    return every | late


def _closed_to_some(judged: Judged) -> frozenset[str]:
    """Return the regions that have no room just now for those of a service on spot that are never on spot."""
    spec = judged.snapshot.spec
    if spec.market is not Market.SPOT or not spec.scaling.base_ondemand_fallback_replicas:
        return frozenset()
    on_demand = frozenset({Market.ON_DEMAND})
    return regions_open(judged, on_demand, {CAPACITY_RULE}) - regions_open(judged, on_demand)


def _is_filled_on_demand(judged: Judged) -> bool:
    """Whether who was taken away is replaced on demand now: where that is to be had it makes up for a spare."""
    snapshot = judged.snapshot
    empty = {r.slot for r in snapshot.replicas if taken_away(r)} - snapshot.occupants().keys()
    return any(on_demand_until(snapshot, slot, judged.now) is not None for slot in empty)


def regions_open(
    judged: Judged, markets: AbstractSet[Market], passing: AbstractSet[str] = frozenset()
) -> frozenset[str]:
    """Return the regions in which an offer on these markets is kept out by nothing but rules that are ``passing``."""
    return frozenset(
        a.region
        for a in judged.assessments
        if a.market in markets and all(v.passed or v.rule in passing for v in a.verdicts)
    )


def _held(judged: Judged, regions: frozenset[str]) -> Mapping[str, int]:
    """Return how many stand in each of the other regions and need not leave it."""
    # Whoever stands in for spot is not for good: with each that comes or goes there would be another number of spares.
    standing = [r for r in judged.snapshot.occupants().values() if not stands_in(judged.snapshot, r)]
    others = (r for r in standing if r.region not in regions)
    return Counter(r.region for r in others if (here := judged.by_id(r.offer_id)) is not None and _may_stay(here))


def _may_stay(here: Assessment) -> bool:
    return all(v.passed or v.rule not in STANDING_RULES for v in here.verdicts)


def _judged(snapshot: Snapshot, policy: Policy, now: Instant) -> Judged:
    some = promised(snapshot)
    assessments = _assessed(snapshot, policy, now, some)
    kept = for_everybody(some, snapshot, assessments) if some.areas else some
    if kept.verdicts != some.verdicts:
        assessments = _assessed(snapshot, policy, now, kept)
    return Judged(snapshot, policy, now, _with_fetches(assessments, snapshot, policy), kept, nearby(snapshot, kept))


def _assessed(snapshot: Snapshot, policy: Policy, now: Instant, kept: Promised) -> tuple[Assessment, ...]:
    return assess_all(
        snapshot.candidates,
        snapshot.spec,
        policy,
        now,
        snapshot.mean_batch.value,
        snapshot.providers,
        snapshot.without_spot,
        snapshot.rtt_ms,
        works(snapshot, kept.trips_seconds),
        standings(snapshot, kept.trips_seconds),
        kept.verdicts,
    )


def _with_fetches(assessments: tuple[Assessment, ...], snapshot: Snapshot, policy: Policy) -> tuple[Assessment, ...]:
    """Say what a launch on each offer would fetch, where it fetches anything.

    A variant is not ranked better for being smaller than the main model (ADR 0033), so it counts as much at least.
    """
    known = {a.region: a.grams_per_kwh for a in assessments if a.grams_per_kwh is not None}
    hours = policy.horizon / HOUR / snapshot.clock_rate
    price = max(0.0, usd_per_gram(policy))
    found: dict[tuple[str, str], Fetch | None] = {}
    for a in assessments:
        region, variant = a.region, variant_in(a.offer_id)
        for name in ("", variant):
            if (region, name) not in found:
                egress = launch_egress(model_of(snapshot.spec, name) or snapshot.spec.model, region, known)
                grams = None if egress is None or egress.grams is None else egress.grams.counted
                own = None if egress is None else Fetch(grams, usd_of(egress), hours, price)
                found[region, name] = _at_least(own, found.get((region, "")))
    if not any(found.values()):
        return assessments
    fetches = [found[a.region, variant_in(a.offer_id)] for a in assessments]
    return tuple(a if own is None else replace(a, fetch=own) for a, own in zip(assessments, fetches, strict=True))


def _at_least(own: Fetch | None, main: Fetch | None) -> Fetch | None:
    if own is None or main is None:
        return own or main
    usd = None if own.usd is None or main.usd is None else max(own.usd, main.usd)
    return replace(own, grams=max((g for g in (own.grams, main.grams) if g is not None), default=None), usd=usd)


def buy(kind: ActionKind, slot: int, target: Assessment, reason: str, mover: Replica | None = None) -> Action:
    """Make the action that buys an offer for a slot, in the place of ``mover`` where there is one."""
    return Action(
        kind=kind,
        slot=slot,
        reason=reason if target.quality is None else f"{reason}; runs {target.quality.variant}",
        offer_id=target.offer_id,
        region=target.region,
        shape=target.shape,
        market=target.market,
        usd_per_hour=target.usd_per_hour,
        replica="" if mover is None else mover.name,
        from_region="" if mover is None else mover.region,
    )
