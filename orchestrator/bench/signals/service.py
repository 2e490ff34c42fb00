"""The service of a scene: one replica at home, the same machine for the same money in the other zone. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from orchestrator.control.grid import ZoneView
from orchestrator.domain.carbon import Basis, Kind
from orchestrator.domain.hardware import PowerModel, Shape
from orchestrator.domain.offer import Candidate, Offer
from orchestrator.domain.places import Region
from orchestrator.domain.plan import ActionKind
from orchestrator.domain.price import Market, Price
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import CarbonRules, ModelSpec, Scaling, ServiceSpec
from orchestrator.domain.time import Instant
from orchestrator.domain.workload import workload_digest
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.plan import plan
from orchestrator.planner.snapshot import Expectation, Snapshot

PROVIDER: Final = "sky"
SETTLED: Final = timedelta(days=2)
POWER: Final = PowerModel(120.0, 700.0, 8.0, "saturating", 0.3, "bench")
SHAPE: Final = Shape("1xH100", "H100", 1, 26.0, 200.0, POWER)
USD_PER_HOUR: Final = 3.0


def snapshot_of(home: ZoneView, there: ZoneView, basis: Basis, now: Instant) -> Snapshot:
    """Return the world at a moment: defaults throughout, and both zones as they are seen."""
    spec = ServiceSpec("chat", ModelSpec("org/model"), scaling=Scaling(1, 1), carbon=CarbonRules(basis=basis))
    digest = workload_digest(spec)
    candidates = tuple(_candidate(view, now) for view in (home, there))
    offer = candidates[0].offer
    since = now - SETTLED
    replica = Replica(
        name="chat-0",
        service=spec.name,
        slot=0,
        offer_id=offer.id,
        region=offer.region.id,
        zone=home.zone,
        shape=SHAPE.name,
        market=offer.market,
        usd_per_hour=USD_PER_HOUR,
        state=ReplicaState.READY,
        intent_id="intent-0",
        revision=1,
        workload_digest=digest,
        created_at=since,
        state_since=since,
        ready_at=since,
        endpoint="http://chat-0",
        weight_percent=100,
        weight_since=since,
    )
    return Snapshot(
        spec=spec,
        spec_digest="bench",
        workload_digest=digest,
        candidates=candidates,
        replicas=(replica,),
        moves=(),
        mean_batch=Expectation(4.0, "bench"),
        cold_start_seconds=Expectation(90.0, "bench"),
        overlap_seconds=Expectation(25.0, "bench"),
        providers=frozenset({PROVIDER}),
    )


def moves_to(there: ZoneView, snapshot: Snapshot, now: Instant) -> bool:
    """Whether the planner, of its own accord, moves the replica to the zone."""
    try:
        made = plan(snapshot, snapshot.spec.policy, now, keep_up=True)
    except NoFeasiblePlacement:
        return False
    offers = {c.offer.id for c in snapshot.candidates if c.offer.region.zone == there.zone}
    return any(a.kind is not ActionKind.RETIRE and a.offer_id in offers for a in made.actions)


def _candidate(view: ZoneView, now: Instant) -> Candidate:
    region = Region(f"{PROVIDER}/{view.zone.lower()}", view.zone, 1.1, "bench", frozenset())
    price = Price(USD_PER_HOUR, "bench", Kind.SYNTHETIC, now)
    return Candidate(
        offer=Offer(region, SHAPE, Market.ON_DEMAND, price),
        now=view.now,
        forecast=view.forecast,
        trailing_mean_grams_per_kwh=view.trailing_mean_grams_per_kwh,
    )
