"""Services that promise to survive the loss of any one region: whether they would, and whether they are made up for.

The promise is worked out here once more, by itself: n have to be left, R regions are open, so it takes s spares with
s * (R - 1) >= n. A region is open where machines can be had, its signal is known, and the journal says of no failure
that keeps us away from it just now: what cannot be bought is nobody's fault.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrator.bench.sim.cloud import BROKEN_MODEL
from orchestrator.bench.sim.order import can_be_found, has_no_money
from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market
from orchestrator.domain.records import ServiceRecord, ServiceState
from orchestrator.domain.replica import LIVE, Replica, ReplicaState
from orchestrator.domain.service import ServiceSpec, SpotLoss
from orchestrator.domain.time import Instant
from orchestrator.domain.turns import LATE_CALL
from orchestrator.planner.capacity import avoidance_of, avoided
from orchestrator.planner.hedge.spares import MOST_SPARES

if TYPE_CHECKING:
    from orchestrator.bench.sim.world import SimWorld

NOTICED_AFTER = timedelta(minutes=15)
"""Since a region is open again, at most, until it is planned with: looks at rest are ten minutes apart."""

MADE_UP_SECONDS = 600.0
"""What making up for losses may take beyond a start, of a working controller."""

MOVES_COUNT_FOR = timedelta(days=1)

ENDED_BADLY = frozenset({ReplicaState.FAILED, ReplicaState.LOST})


def left_of(regions: Iterable[str]) -> int:
    """Return how many are left when the region goes that most of them stand in."""
    counts = Counter(regions)
    return sum(counts.values()) - max(counts.values(), default=0)


class Survivors:
    """Looks at the services that promise it. ``broken``: notes a violation."""

    def __init__(self, world: SimWorld, broken: Callable[[str, str], None]) -> None:
        self._world = world
        self._broken = broken
        self._wanted: dict[str, int] = {}
        """By service: the number that was decided on last."""
        self._short: dict[tuple[str, str], tuple[float, int, frozenset[str]]] = {}
        """By service and promise: for how long it has not been kept, how far it was then, and who had failed."""
        self._were_lost: set[str] = set()
        """Regions that have been lost since somebody was short of anybody."""
        self._moved: defaultdict[str, list[Instant]] = defaultdict(list)
        """By service: when it was decided that somebody moves by itself."""

    def decided(self, decision: Decision) -> None:
        """Remember the number, and look at where somebody moves who need not."""
        if decision.sizing is not None:
            self._wanted[decision.service] = decision.sizing.replicas
        service = self._world.truth.service(decision.service)
        if service is None or decision.kind is not DecisionKind.MOVE or not self._promises(service):
            return
        approved = [c for c in decision.comparisons if c.approved]
        asked = decision.actor != "policy"
        if approved and not asked:
            self._moved[decision.service].append(decision.at)
        for move in (decision.comparisons if asked else approved)[:1]:
            occupants = {r.slot: r for r in self._living(service.name)}
            mover = next((r for r in occupants.values() if r.name == move.replica), None)
            if mover is None:
                continue
            others = [r.region for r in occupants.values() if r is not mover]
            before, after = left_of([*others, mover.region]), left_of([*others, move.to_offer.partition(":")[0]])
            if after < min(self.wanted(service), before):
                words = f"{move.replica} moves to {move.to_offer}, and {after} of {before} would be left"
                self._broken("I31", f"{words} when a region is lost")

    def look(self, passed: float) -> None:
        """After a loss those that load wants serve again soon, and the next loss is survived soon after that."""
        self._were_lost |= self._world.cloud.weather.lost
        for service in self._world.truth.services():
            ready = [r.region for r in self._living(service.name) if self._serves(r)]
            wanted, left = self.wanted(service), left_of(ready)
            regions = self._open(service) if min(len(ready), left) < wanted and self._may_act(service) else ()
            has_room = bool(regions) and self._fits(service.spec, len(regions), wanted)
            self._count(service, "serves", len(ready), wanted if has_room else 0, passed)
            self._count(service, "survives", left, wanted if self._can_keep(service, regions) else 0, passed)
        if not self._short:
            self._were_lost = set(self._world.cloud.weather.lost)

    def at_rest(self, service: ServiceRecord) -> None:
        """The loss of any region leaves enough, and nobody is paid for who is not needed for that."""
        if not self._promises(service) or not self._may_act(service):
            return
        world, spec, wanted = self._world, service.spec, self.wanted(service)
        regions = min((self._open(service, ago) for ago in (timedelta(0), NOTICED_AFTER)), key=len)
        if not self._can_keep(service, regions):
            return
        rows = [r for r in self._living(service.name) if r.state is ReplicaState.READY]
        ready = [r.region for r in rows]
        left = left_of(ready)
        if left < wanted:
            self._broken("I31", f"{service.name}: {left} of {wanted} would be left of {sorted(Counter(ready).items())}")
        paid = [n for n in world.cloud.existing() if can_be_found(world, n)]
        number = sum(world.cloud.machines[n].request.service == service.name for n in paid)
        spares = self._spares(spec, wanted, len(regions))
        most = wanted + spares + _others(spec, wanted)
        # Where nobody may move for now, whoever makes up for one too many in a region stays.
        crowded = [r for r in rows if ready.count(r.region) > spares]
        is_bound = bool(crowded) and self._may_not_move(service, crowded)
        if number > most and not (is_bound and self._needs_all(ready, wanted)):
            self._broken("I31", f"{service.name}: {number} are paid for, and {most} do for {wanted} of {len(regions)}")

    def wanted(self, service: ServiceRecord) -> int:
        """Return how many have to be left."""
        return self._wanted.get(service.name, service.spec.scaling.min_replicas)

    def _promises(self, service: ServiceRecord) -> bool:
        return service.spec.survives is not None and self.wanted(service) > 0

    def _may_act(self, service: ServiceRecord) -> bool:
        """Whether nothing else is going on with it, and whoever is missing may be bought wherever that is."""
        spec = service.spec
        waits = spec.resources.use_spot and spec.placement.on_spot_loss is SpotLoss.WAIT
        is_open = bool(self._world.truth.operations(service.name)) or service.paused
        is_up = service.state is ServiceState.ACTIVE and spec.model.id != BROKEN_MODEL
        # One that is near to the clients of both areas is nowhere to be had.
        too_far = spec.ttft_p95 is not None and self.wanted(service) < len(spec.clients)
        return is_up and not is_open and not waits and not too_far and not has_no_money(self._world, service)

    def _can_keep(self, service: ServiceRecord, regions: Sequence[str]) -> bool:
        return self._fits(service.spec, len(regions) - 1, self.wanted(service))

    def _fits(self, spec: ServiceSpec, regions: int, wanted: int) -> bool:
        limit = spec.placement.max_per_region
        return regions > 0 and (limit is None or limit * regions >= wanted)

    def _spares(self, spec: ServiceSpec, wanted: int, regions: int) -> int:
        by_loss = -(-(wanted + _stand_ins(spec, wanted)) // (regions - 1))
        by_availability = 0 if spec.availability_fraction is None else MOST_SPARES
        return max(by_loss, by_availability, spec.scaling.num_overprovision)

    def _needs_all(self, ready: Sequence[str], wanted: int) -> bool:
        """Whether whoever left would be missed when a region is lost."""
        counts = Counter(ready)
        return all(left_of((counts - Counter([region])).elements()) < wanted for region in counts)

    def _may_not_move(self, service: ServiceRecord, rows: Iterable[Replica]) -> bool:
        rules, since = service.spec.migration, self._world.clock.now() - MOVES_COUNT_FOR
        is_spent = sum(at > since for at in self._moved[service.name]) >= rules.max_moves_per_day
        return is_spent or rules.schedule is not None or all(self._came_lately(r, service.spec) for r in rows)

    def _came_lately(self, row: Replica, spec: ServiceSpec) -> bool:
        return row.ready_at is not None and self._world.clock.now() - row.ready_at < spec.migration.min_dwell

    def _count(self, service: ServiceRecord, promise: str, number: int, wanted: int, passed: float) -> None:
        """Count the time in which a number is too low and does not rise. Whoever fails meanwhile begins it anew."""
        key = service.name, promise
        if not self._promises(service) or number >= wanted:
            self._short.pop(key, None)
            return
        failed = frozenset(self._failed(service.name))
        seconds, best, knew = self._short.get(key, (-passed, number, failed))
        begins_anew = number > best or not failed <= knew
        seconds = 0.0 if begins_anew else seconds + passed
        most = service.spec.startup_deadline.total_seconds() + MADE_UP_SECONDS
        if self._world.setting.hosts:
            most += LATE_CALL.total_seconds()
        if seconds > most:
            self._broken("I31", f"{service.name} {promise} by {number} of {wanted} for {seconds:.0f} s")
            seconds = 0.0
        self._short[key] = seconds, number, failed

    def _failed(self, name: str) -> Iterable[str]:
        """Return who has ended badly but for those of lost regions: to ask there, again and again, is no excuse."""
        rows = self._world.truth.replicas(name, ended=True)
        return (r.name for r in rows if r.state in ENDED_BADLY and r.region not in self._were_lost)

    def _living(self, name: str) -> list[Replica]:
        rows = (r for r in self._world.truth.replicas(name) if r.state in LIVE)
        return sorted(rows, key=lambda r: (r.slot, r.created_at, r.name))

    def _serves(self, row: Replica) -> bool:
        return row.state is ReplicaState.READY and self._world.cloud.exists(row.name)

    def _open(self, service: ServiceRecord, ago: timedelta = timedelta(0)) -> tuple[str, ...]:
        """Return the regions in which one can be had on the service's own market, else on any that it may fall back to.

        ``ago``: as of the journal so long ago.
        """
        world, spec = self._world, service.spec
        weather, grid = world.cloud.weather, world.grid
        known = avoided(world.truth.replicas(ended=True), world.clock.now() - ago, 1.0)
        closed = weather.lost | weather.quota | weather.full_later | {r.removesuffix("!") for r in weather.full}
        allowed = [
            o
            for o in world.on_sale.values()
            if o.region.id in spec.placement.allow and o.region.id not in closed
            if not grid.is_away and o.region.zone not in grid.dark | grid.stale
            if avoidance_of(o.id, known) is None and not self._is_dear(o)
        ]
        own = sorted({o.region.id for o in allowed if o.market is spec.market})
        falls_back = spec.placement.on_spot_loss is SpotLoss.ON_DEMAND and not spec.scaling.dynamic_ondemand_fallback
        if not falls_back or spec.market is Market.ON_DEMAND or self._can_keep(service, own):
            return tuple(own)
        return tuple(sorted({o.region.id for o in allowed}))

    def _is_dear(self, offer: Offer) -> bool:
        """Whether it is spot that costs no less than its region's machines on demand: nobody buys that."""
        price_of, beside = self._world.offers.price_of, offer.id.replace(f":{Market.SPOT}", f":{Market.ON_DEMAND}")
        own, on_demand = price_of(offer.id), price_of(beside)
        if offer.market is not Market.SPOT or own is None or on_demand is None:
            return False
        return own.usd_per_hour >= on_demand.usd_per_hour


def _others(spec: ServiceSpec, wanted: int) -> int:
    """Return how many more there may be: who stands in for spot, and who is near to clients of an area alone."""
    return len(spec.clients) + _stand_ins(spec, wanted)


def _stand_ins(spec: ServiceSpec, wanted: int) -> int:
    return wanted * spec.scaling.dynamic_ondemand_fallback
