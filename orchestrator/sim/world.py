"""The real controller over a recorded period, on a clock that jumps from one thing that may change to the next.

Nothing is stubbed but the world: journal, rollout, planner, meter and ledger are the product's. Between two looks
nothing happens that the controller could see, so none is missed: it looks at every hour (grid and load change then), at
every change of stock that concerns it, when a window of its schedule opens or closes, and in small steps while replicas
start, take over or drain. Where load decides on the number of replicas, also when a new hour's load has filled the
window of its rates, and when the delays of scaling are over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from orchestrator.clocks import VirtualClock
from orchestrator.control.batch import round_of
from orchestrator.control.calendar import timetable_of
from orchestrator.control.controller import Controller
from orchestrator.control.gather import gather_snapshot
from orchestrator.control.load import WINDOW_SECONDS, number_in_force
from orchestrator.control.ports import CarbonSource
from orchestrator.control.runtime import Runtime, Tuning
from orchestrator.control.shares import EVENLY, SHIFT_EVERY_SECONDS
from orchestrator.control.spending import require_affordable
from orchestrator.control.usecases import preview_deploy, submit_deploy
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.matching import is_asked_for, is_inside
from orchestrator.domain.offer import Candidate, Offer
from orchestrator.domain.plan import Plan
from orchestrator.domain.price import Market
from orchestrator.domain.records import EventKind, OperationState, ServiceState
from orchestrator.domain.replica import ENDED, Replica, ReplicaState
from orchestrator.domain.service import BatchRules, Objective, ResourceRequest, ServiceSpec, WhenStale
from orchestrator.domain.shelf import Shelf
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.domain.units import SECONDS_PER_HOUR
from orchestrator.errors import GreenctlError, NoFeasiblePlacement
from orchestrator.ledger.sampling import settle
from orchestrator.planner.judged import judge
from orchestrator.planner.plan import plan
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.wanted import STEP_SECONDS, is_scaled, may_sleep
from orchestrator.policy.assess import usable_intensity
from orchestrator.sim.bill import Account, Service
from orchestrator.sim.cloud import SimulatedCloud
from orchestrator.sim.grid import RecordedGrid, SharedGrid
from orchestrator.sim.prices import Prices
from orchestrator.sim.sizes import Sizes
from orchestrator.sim.stock import STEP, Stock
from orchestrator.sim.traffic import SimulatedGateway, SimulatedProbe
from orchestrator.sim.workload import Workload
from orchestrator.spec.codec import spec_digest
from orchestrator.store.memory import MemoryStore
from orchestrator.store.memory_state import of_service
from orchestrator.store.rules import is_finished_with

WARM_UP = 2 * HOUR
"""The service is deployed so long before the period begins: that start is nobody's merit and in nobody's bill."""

MOVING_SECONDS = 1.0
"""A controller looks every second; so does this one while something is on its way."""

LOAD_SEEN_SECONDS = WINDOW_SECONDS + 1.0
"""So long after a change of load its rate is that of the new load alone."""

AGAIN_SECONDS = STEP_SECONDS + 5.0
"""After a change of the number, so long until the next step down may follow."""

QUIET_SECONDS = 30.0
"""While a service that may sleep has no request, so often: the break-even of its replica may be over any time."""

WAITING_SECONDS = 60.0
"""While a replica is wanted that nobody sells, once a minute: its pauses are minutes long."""

BATCH_SECONDS = 300.0
"""While batch work runs, or is about to begin, so often: the raster in which interruptible work is planned."""

NEAR = timedelta(minutes=90)
"""So long before batch work begins it is near."""

LONGEST_SAMPLE = HOUR
"""The load of an hour is constant, so that longer samples lose nothing; where intensities change, they end anyhow."""

KEPT_ENERGY = 2 * HOUR
"""The planner reads the load of the last ten minutes, which lie in samples of an hour."""

REMEMBERED = timedelta(days=3)
"""Decisions older than that are dropped from memory: nothing of the controller looks back that far. Replicas that ended
before are laid aside: each look goes through all others."""

_by_slot = attrgetter("service", "slot")

_TUNING = Tuning(
    longest_sample=LONGEST_SAMPLE,
    sweep_every=timedelta(days=1),
    plan_every=timedelta(seconds=5),
    spot_as_bought=True,
    look_patience=None,
)


@dataclass(frozen=True)
class Setting:
    """What the world is made of, the same for every policy.

    ``evenly``: replicas share the traffic evenly, whatever the service's file says; else as the controller decides.
    """

    period: Window
    offers: tuple[Offer, ...]
    grid: RecordedGrid
    load: Workload
    sizes: Sizes
    stock: Stock
    prices: Prices
    cold_start: timedelta
    carbon: CarbonSource
    shared: SharedGrid
    evenly: bool = True


@dataclass
class Run:
    """How a policy of ours did. ``places``: from which hour on it served from where.

    ``served``: from when to when each replica served, in seconds of the period.
    """

    account: Account
    service: Service
    moves: int
    losses: int
    looks: int
    failed_looks: int
    places: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    served: tuple[tuple[float, float], ...] = ()


class ListedOffers:
    """The ``OfferSource`` port over the setting's offers, at the prices of the hour."""

    def __init__(self, offers: Sequence[Offer], prices: Prices, period: Window) -> None:
        self._offers = tuple(sorted(offers, key=lambda o: o.id))
        self._prices = prices
        self._period = period
        self._asked: dict[ResourceRequest, tuple[Offer, ...]] = {}
        self._priced: dict[ResourceRequest, tuple[int, tuple[Offer, ...]]] = {}

    async def offers(self, request: ResourceRequest, now: Instant) -> Sequence[Offer]:
        """Return what was asked for, by id. What is not offered in this hour has no price."""
        if request not in self._asked:
            self._asked[request] = tuple(
                o for o in self._offers if is_asked_for(o.shape, request) and is_inside(o.region.id, "", request.infra)
            )
        asked = self._asked[request]
        if not self._prices.usd_per_hour:
            return asked
        hour = int((now - self._period.start) // HOUR)
        known = self._priced.get(request)
        if known is None or known[0] != hour:
            known = self._priced[request] = (hour, tuple(self._prices.priced(o, hour, self._period) for o in asked))
        return known[1]

    async def shelf(self) -> Shelf:
        """Return everything."""
        return Shelf(tuple((o.region.id, o.shape) for o in self._offers))


class ForgetfulStore(MemoryStore):
    """A memory that lets go of what nobody reads again: a simulated year would fill gigabytes."""

    def __init__(self, uid: str) -> None:
        super().__init__(uid)
        self._away: list[Replica] = []
        self._away_before = datetime.min.replace(tzinfo=UTC)

    def energy(
        self, service: str, window: Window | None = None, *, replica: str | None = None
    ) -> Sequence[EnergySample]:
        """Return samples that touch the window, oldest first: an hour is one sample here, and its end is asked for."""
        samples = [s for s in self._state.energy_of.get(service, []) if replica in {None, s.replica}]
        found = [s for s in samples if window is None or (s.window.end > window.start and s.window.start < window.end)]
        return sorted(found, key=lambda s: (s.window.start, s.replica))

    def take_energy(self, before: Instant) -> list[EnergySample]:
        """Hand over the samples that began before a moment, and forget them."""
        taken: list[EnergySample] = []
        for service, samples in self._state.energy_of.items():
            taken += [s for s in samples if s.window.start < before]
            self._state.energy_of[service] = [s for s in samples if s.window.start >= before]
        for sample in taken:
            del self._state.energy[sample.replica, sample.window.start]
        return taken

    def forget_decisions(self, before: Instant) -> None:
        """Forget decisions made before a moment, all but the newest."""
        state = self._state
        for service, names in state.decisions_of.items():
            old = [n for n in names[:-1] if state.decisions[n].at < before]
            for name in old:
                del state.decisions[name]
                del state.signals[name]
            gone = set(old)
            state.decisions_of[service] = [n for n in names if n not in gone]

    def put_away(self, before: Instant) -> None:
        """Lay aside the replicas that ended before a moment and of which nothing is left: few looks ask for them."""
        shelf = self._state.replicas
        old = [r for r in shelf.all() if is_finished_with(r) and r.ended_at is not None and r.ended_at < before]
        self._away += [shelf.drop(r.name) for r in old]
        self._away_before = before

    def replicas(
        self, service: str | None = None, *, ended: bool = False, ended_since: Instant | None = None
    ) -> Sequence[Replica]:
        """Return what a memory returns, with those that were laid aside where the question reaches back to them."""
        if not ended:
            # Asked for many times a look, by the only thread there is.
            return sorted(of_service(self._state.replicas.open(), service), key=_by_slot)
        found = super().replicas(service, ended=ended, ended_since=ended_since)
        if not self._away or (ended_since is not None and ended_since >= self._away_before):
            return found
        old = [r for r in self._away if service in {None, r.service}]
        if ended_since is not None:
            old = [r for r in old if r.ended_at is not None and r.ended_at >= ended_since]
        return sorted([*old, *found], key=lambda r: (r.service, r.slot))

    def count_events(self, kind: EventKind, since: Instant) -> int:
        """Count events of a kind from a moment on."""
        return sum(e.kind is kind and e.at >= since for e in self._state.events)


class TwinWorld:
    """One policy's world: deploy once, then live through the period."""

    def __init__(self, setting: Setting, spec: ServiceSpec) -> None:
        self._setting = setting
        if setting.evenly:
            # Policies are compared by where replicas stand, and the oracle knows no other traffic.
            spec = replace(spec, gateway=replace(spec.gateway, routing=EVENLY))
        self._spec = spec
        # The first start of batch work is a part of its bill: what it does before the period would be done for nothing.
        self._warm_up = 0.0 if spec.batch is not None else WARM_UP.total_seconds()
        begin = setting.period.start - timedelta(seconds=self._warm_up)
        self._clock = VirtualClock(begin)
        self._begin = begin
        providers = frozenset(o.region.provider for o in setting.offers)
        self._cloud = SimulatedCloud(
            self._clock.now, self._clock.monotonic, providers, setting.stock, setting.cold_start
        )
        self._gateway = SimulatedGateway(setting.load, self._cloud, setting.sizes.places)
        self._store = ForgetfulStore("twin")
        self.runtime = Runtime(
            clock=self._clock,
            carbon=setting.carbon,
            offers=ListedOffers(setting.offers, setting.prices, setting.period),
            provisioners=dict.fromkeys(sorted(providers), self._cloud),
            probe=SimulatedProbe(self._cloud, self._gateway),
            gateway=self._gateway,
            store=self._store,
            tuning=_TUNING,
        )
        self._controller = Controller(self.runtime, self._store.claim("twin", begin), setting.shared)
        self._account = Account()
        self._enough = 0.0
        self._looks = self._failed = 0
        self._places: list[tuple[float, tuple[str, ...]]] = []
        self._number = max(1, spec.scaling.min_replicas)
        self._number_since = -math.inf
        self._weights: tuple[tuple[str, int], ...] = ()
        self._shift_again = math.inf
        self._until: Instant | None = None
        self._kept = KEPT_ENERGY if spec.batch is None or spec.batch.output_tokens is None else setting.period.length
        changes = setting.stock.changes({o.id for o in setting.offers}) * STEP.total_seconds()
        self._changes = iter([*(changes + self._warm_up).tolist(), math.inf])
        self._next_change = next(self._changes)

    async def live(self, progress: Callable[[float], None] = lambda _fraction: None) -> Run:
        """Live through the period; ``progress`` is told the fraction that is over.

        Raises ``NoFeasiblePlacement`` when the service cannot be deployed at all.
        """
        await self._deploy()
        period = self._setting.period
        while self._clock.now() < period.start:
            await self._step(min(self._next(), self._warm_up))
        self._store.take_energy(period.start)
        asked, refused, crowded = self._gateway.asked, self._gateway.refused, self._gateway.crowded
        held, self._gateway.longest_hold = self._gateway.held, 0.0
        self._enough, lost_before = 0.0, self._cloud.taken_away
        self._note_places()
        end = (period.end - self._begin).total_seconds()
        counted = -1
        while self._clock.elapsed < end:
            before = self._clock.elapsed
            await self._step(min(self._next(), end))
            self._note_places()
            if before // 86400 != self._clock.elapsed // 86400:
                self._store.forget_decisions(self._clock.now() - REMEMBERED)
                self._store.put_away(self._clock.now() - REMEMBERED)
                progress((self._clock.now() - period.start) / period.length)
            if int(self._clock.elapsed // 3600) != counted:
                counted = int(self._clock.elapsed // 3600)
                self._count(self._clock.now() - self._kept)
        self._count(period.end)
        asked = self._gateway.asked - asked
        served = 1.0 - (self._gateway.refused - refused) / asked if asked else 1.0
        waited = (self._gateway.crowded - crowded) / asked if asked else 0.0
        held = (self._gateway.held - held) / asked if asked else 0.0
        enough = self._enough / period.length.total_seconds()
        return Run(
            account=self._account,
            service=Service(enough, served, waited, held, self._gateway.longest_hold),
            moves=self._store.count_events(EventKind.MIGRATION_STARTED, period.start),
            losses=self._cloud.taken_away - lost_before,
            looks=self._looks,
            failed_looks=self._failed,
            places=self._places,
            served=tuple(self._served()),
        )

    # ── time ─────────────────────────────────────────────────────────────────────────────────────────

    async def _deploy(self) -> None:
        digest = spec_digest(self._spec)
        first = await self._first_plan(digest)
        operation = submit_deploy(self._spec, digest, first, self.runtime, actor="twin")
        while True:
            found = self._store.operation(operation.id)
            if found is None or found.state is OperationState.DONE:
                return
            if found.state is OperationState.FAILED:
                hint = "Give --cold-start a shorter time, or the service a longer startup_deadline."
                raise NoFeasiblePlacement(f"{self._spec.name} cannot be deployed: {found.error}", hint=hint)
            if self._clock.elapsed >= self._warm_up:
                return  # it goes on inside the period, and its gaps count
            await self._step(self._next())

    async def _first_plan(self, digest: str) -> Plan:
        """Return the plan of the deploy. Raises ``NoFeasiblePlacement``.

        Where nothing usable is known of any grid, prices decide for who goes by prices alone, and everybody else begins
        at home. See decision 0071.
        """
        spec, now = self._spec, self._clock.now()
        snapshot = await gather_snapshot(spec, digest, self.runtime, self._setting.shared, now)
        if not snapshot.candidates or any(usable_intensity(c, spec, now) for c in snapshot.candidates):
            return await preview_deploy(spec, digest, self.runtime)
        alike = _as_if_all_alike(snapshot)
        home = spec.placement.home or _cheapest(snapshot.candidates, spec.market).region.id
        at_home = replace(alike, candidates=tuple(c for c in alike.candidates if c.offer.region.id == home))
        try:
            begun = alike if spec.policy.objective is Objective.CHEAPEST else at_home
            found = plan(begun, spec.policy, now, actor="deploy")
        except NoFeasiblePlacement:
            # At home there is no room for all of them, or it may not stand there at all.
            found = plan(alike, spec.policy, now, actor="deploy")
        require_affordable(found, spec, self._store, self.runtime)
        return found

    async def _step(self, until: float) -> None:
        """Let time pass up to a second of the simulation, then look once."""
        seconds = until - self._clock.elapsed
        before = self._clock.elapsed
        hour = int((before - self._warm_up) // 3600)
        needed = self._setting.sizes.needed
        self._enough += seconds * (self._serving() >= needed[min(max(hour, 0), len(needed) - 1)])
        self._gateway.pass_time(before, seconds, hour)
        self._clock.advance(timedelta(seconds=seconds))
        while self._next_change <= self._clock.elapsed:
            self._next_change = next(self._changes)
        self._cloud.reclaim()
        self._looks += 1
        try:
            await self._controller.tick()
        except GreenctlError:
            self._failed += 1
        if is_scaled(self._spec.scaling):
            self._note_number()
        if not self._setting.evenly:
            self._note_weights()

    def _note_number(self) -> None:
        """See whether load has changed the number of replicas."""
        decided = self._store.decisions(self._spec.name)
        size = number_in_force(self._spec, next((d.sizing for d in decided if d.sizing is not None), None))
        self._until = None if size is None else size.until
        if size is not None and size.replicas != self._number:
            self._number, self._number_since = size.replicas, self._clock.elapsed

    def _note_weights(self) -> None:
        """See whether traffic is on the move: its next step is due a while later."""
        table = self._gateway.table
        told = tuple((u.replica, u.weight) for s in (() if table is None else table.services) for u in s.upstreams)
        if told != self._weights:
            self._weights, self._shift_again = told, self._clock.elapsed + SHIFT_EVERY_SECONDS

    def _next(self) -> float:
        """Return the second of the simulation at which the controller might see something new."""
        now = self._clock.elapsed
        hour = (math.floor(now / 3600) + 1) * 3600.0
        moments = [hour, self._next_change, self._shift_again, *self._load_moments(hour - 3600.0)]
        timetable = timetable_of(self._spec.migration.schedule, self._clock.now())
        if timetable is not None and timetable.next_change is not None:
            moments.append((timetable.next_change - self._begin).total_seconds())
        replicas = self._store.replicas()
        starting = {ReplicaState.PROVISIONING, ReplicaState.STARTING}
        replaced = {r.replaces for r in replicas if r.state is ReplicaState.READY}
        moving = [r for r in replicas if not _is_settled(r) or r.name in replaced]
        if any(r.state not in starting for r in moving):
            moments.append(now + MOVING_SECONDS)
        for replica in moving:
            if replica.state in starting:
                machine = self._cloud.machines.get(replica.name)
                seen = machine is not None and machine.running_at > now and replica.state is ReplicaState.STARTING
                moments.append(machine.running_at if machine is not None and seen else now + MOVING_SECONDS)
        service = self._store.service(self._spec.name)
        settled = sum(_is_settled(r) and r.state is ReplicaState.READY for r in replicas)
        if service is not None and service.state is ServiceState.ACTIVE:
            if settled < self._number and not moving:
                moments.append(now + WAITING_SECONDS)
            if self._store.operations():
                moments.append(now + MOVING_SECONDS if not moving else math.inf)
        return float(min(m for m in moments if m > now))

    def _load_moments(self, hour: float) -> list[float]:
        """Return when load may change the number: its hour's rate is known, and the delays of scaling are over.

        Halfway through a delay there is a look, too: what nobody has watched is not known to be quiet.
        """
        scaling = self._spec.scaling
        if not is_scaled(scaling):
            return []
        if self._spec.batch is not None:
            return list(self._batch_moments(self._spec.batch))
        seen = hour + LOAD_SEEN_SECONDS
        moments = [seen, self._number_since + AGAIN_SECONDS]
        for delay in (scaling.upscale_delay.total_seconds(), scaling.downscale_delay.total_seconds()):
            moments += [seen + delay / 2, seen + delay + 1.0]
        if may_sleep(scaling):
            moments.append(hour + MOVING_SECONDS)  # who asks first wakes it
            if not self._setting.load.concurrency(int((hour - self._warm_up) // 3600)) and self._serving():
                moments.append(self._clock.elapsed + QUIET_SECONDS)
        return [m for m in moments if m > self._clock.elapsed]

    def _batch_moments(self, batch: BatchRules) -> Iterator[float]:
        """Yield when batch work may begin or end: at the time that was decided, and when what is left is done.

        Plans are made anew at every look, and a beginning that moves by less than half an hour is not recorded, so near
        it, and while something runs, there is a look every few minutes.
        """
        now, elapsed = self._clock.now(), self._clock.elapsed
        if self._until is not None and self._until > now:
            yield elapsed + (self._until - now).total_seconds()
            if self._until - now <= NEAR:
                yield elapsed + BATCH_SECONDS
        serving = self._serving()
        if serving:
            record = self._store.service(self._spec.name)
            left = round_of(self._spec, batch, record, self._store, now, 1.0).left_hours
            yield elapsed + BATCH_SECONDS
            yield elapsed + left / serving * SECONDS_PER_HOUR + MOVING_SECONDS

    # ── accounts ─────────────────────────────────────────────────────────────────────────────────────

    def _serving(self) -> int:
        ready = (r for r in self._store.replicas() if r.state is ReplicaState.READY)
        return sum(self._cloud.runs(r.name) for r in ready)

    def _served(self) -> Iterator[tuple[float, float]]:
        """Yield from when to when each replica served, as the journal has it: until it had ended."""
        start, end = self._setting.period.start, self._setting.period.end
        for replica in self._store.replicas(self._spec.name, ended=True):
            if replica.ready_at is not None:
                last = replica.state_since if replica.state in ENDED else end
                yield (replica.ready_at - start).total_seconds(), (last - start).total_seconds()

    def _count(self, before: Instant) -> None:
        """Take what the meter has written, settled with what was recorded of each hour."""
        samples = self._store.take_energy(before)
        grid = self._setting.grid
        fresh: list[EnergySample] = []
        late: list[EnergySample] = []
        for sample in samples:
            point = grid.point_in(sample.zone or "", sample.window)
            same = point is not None and point.grams_per_kwh == sample.grams_per_kwh
            (fresh if same else late).append(sample)
        self._account.add(fresh)
        self._account.add(settle(late, grid.point_in))

    def _note_places(self) -> None:
        ready = (r for r in self._store.replicas() if r.state is ReplicaState.READY)
        places = tuple(sorted(r.region for r in ready))
        if not self._places or self._places[-1][1] != places:
            self._places.append((self._clock.elapsed - self._warm_up, places))


def _cheapest(candidates: Sequence[Candidate], market: Market) -> Offer:
    offers = [c.offer for c in candidates]
    return min(
        offers, key=lambda o: (o.market is not market, math.inf if o.price is None else o.price.usd_per_hour, o.id)
    )


def _as_if_all_alike(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with one mean for all grids: no number of it is shown, and by grams no grid is preferred."""
    spec = replace(snapshot.spec, carbon=replace(snapshot.spec.carbon, when_stale=WhenStale.STATIC))
    alike = tuple(replace(c, trailing_mean_grams_per_kwh=1.0) for c in snapshot.candidates)
    return replace(snapshot, spec=spec, candidates=alike)


def _is_settled(replica: Replica) -> bool:
    if replica.state in ENDED:
        return replica.cleaned_up
    return replica.state is ReplicaState.READY and replica.weight_percent == 100  # noqa: PLR2004  # all of its traffic


async def allowed_offers(setting: Setting, spec: ServiceSpec, apart_from: AbstractSet[str]) -> frozenset[str]:
    """Return the ids of the offers that the service's rules allow when the period begins, apart from some rules."""
    world = TwinWorld(setting, spec)
    now = setting.period.start
    snapshot = await gather_snapshot(spec, spec_digest(spec), world.runtime, setting.shared, now)
    judged = judge(snapshot, spec.policy, now).assessments
    return frozenset(a.offer_id for a in judged if all(v.passed or v.rule in apart_from for v in a.verdicts))


def aligned(period: Window) -> bool:
    """Whether a period is of whole hours."""
    return floor_hour(period.start) == period.start and floor_hour(period.end) == period.end
