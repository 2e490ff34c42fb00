"""A whole world in memory: the real controller and use cases, the shipped fakes, and a clock that only tests move.

Time is physical seconds that :meth:`World.run` lets pass; ``rate`` grid seconds go by in each. Requests are simulated:
they follow the gateway's table as the gateway has it, last a while, fill engines with tokens, and break when their
engine dies. The controller can be killed at any moment, and started again on the same memory.
"""

from __future__ import annotations

import copy
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from typing import Any

from orchestrator.clocks import VirtualClock
from orchestrator.control.controller import Controller
from orchestrator.control.ports import EngineLoad, Journal, LaunchRequest
from orchestrator.control.runtime import Runtime, Tuning
from orchestrator.control.usecases import (
    preview_deploy,
    preview_migration,
    submit_deploy,
    submit_down,
    submit_migration,
)
from orchestrator.domain.carbon import Basis
from orchestrator.domain.counters import first_token_class
from orchestrator.domain.offer import Offer
from orchestrator.domain.records import Event, EventKind, Operation, OperationState, ServiceRecord, ServiceState
from orchestrator.domain.replica import ENDED, LIVE, Replica, ReplicaState
from orchestrator.domain.routing import RoutingTable, ServiceRoutes, Upstream
from orchestrator.domain.service import (
    Accelerators,
    MigrationRules,
    ModelSpec,
    PlacementRules,
    ResourceRequest,
    Scaling,
    ServiceSpec,
)
from orchestrator.domain.time import HOUR, Instant
from orchestrator.domain.variants import workloads_of
from orchestrator.gateway.fake import FakeGateway
from orchestrator.planner.rollout import ABORTED
from orchestrator.prices.fake import FakeOffers
from orchestrator.provisioners.fake import FakeProvisioner
from orchestrator.signals.fake import FakeCarbon
from orchestrator.spec.codec import spec_digest
from orchestrator.store.memory import MemoryStore
from orchestrator.telemetry.engine_probe import FakeProbe
from tests.builders import GREEN, NOON, offer

PLACES: Mapping[str, tuple[float, float]] = {"se": (30.0, 1.0), "fr": (60.0, 1.0), "de": (400.0, 1.0)}
"""Regions of the provider ``sky``: grams per kWh of the zone (the name in capitals), dollars per hour."""

HISTORY_HOURS = 28 * 24 + 24
START_SECONDS = 3.0
PROMPT_TOKENS, OUTPUT_TOKENS = 11, 7
"""Of each request: the first when it arrives, the others when it ends."""

FULL = 100
DRAIN = timedelta(seconds=30)
RULES = MigrationRules(canary_percent=(10, 50, 100), canary_hold=timedelta(seconds=3), drain=DRAIN)


def chat(replicas: int = 1, name: str = "chat", **changes: Any) -> ServiceSpec:
    """Make a spec: greenest wherever it may stand, moves allowed, quick canary."""
    made = ServiceSpec(
        name=name,
        model=ModelSpec("org/model", served_name=name),
        resources=ResourceRequest(accelerators=(Accelerators("L4", 1),)),
        scaling=Scaling(replicas, replicas),
        migration=RULES,
        policy=GREEN,
        startup_deadline=timedelta(minutes=5),
    )
    return replace(made, **changes)


def only(*regions: str) -> PlacementRules:
    """Allow these regions."""
    return PlacementRules(allow=tuple(f"sky/{r}" for r in regions))


@dataclass
class Stream:
    """One request under way."""

    service: str
    replica: str
    ends_at: float


@dataclass
class Held:
    """One request that waits in the gateway for a first replica of a service that sleeps."""

    service: str
    seconds: float
    came_at: float
    until: float


@dataclass
class Traffic:
    """Requests to one service: so many per physical second, each so many seconds long."""

    per_second: float
    seconds: float
    owed: float = 0.0
    credit: Counter[str] = field(default_factory=Counter)


@dataclass
class Counts:
    """What the gateway has counted at one replica since it was started."""

    request_seconds: float = 0.0
    ok: int = 0
    failed: int = 0
    truncated: int = 0


@dataclass
class Asked:
    """What the gateway has counted of one service since it was started."""

    accepted: int = 0
    failed: int = 0
    request_seconds: float = 0.0


class Died(BaseException):
    """The controller's process was killed here. Nothing that catches errors catches this."""


class World:
    """The world. ``wrap`` stands between the controller and a port, to watch it or to break it."""

    def __init__(
        self,
        *,
        rate: float = 1.0,
        places: Mapping[str, tuple[float, float]] = PLACES,
        tuning: Tuning | None = None,
        wrap: Callable[[str, Any], Any] = lambda _port, real: real,
    ) -> None:
        self.clock = VirtualClock(NOON, rate=rate)
        self.store = MemoryStore("0123456789abcdef")
        self.carbon = FakeCarbon()
        self.offers = FakeOffers()
        self.room: dict[str, int] = {}
        self.cloud = FakeProvisioner(
            self.clock.monotonic, providers=frozenset({"sky"}), start_seconds=START_SECONDS, max_replicas=self.room
        )
        self.gateway = FakeGateway()
        self.probe = FakeProbe()
        for name, (grams, usd) in places.items():
            self.offers.put(offer(f"sky/{name}", usd=usd))
            self.carbon.hold(name.upper(), grams)
        self.sick: set[str] = set()
        """Replicas whose engine does not answer although its machine runs."""
        self.deaf: set[str] = set()
        """Replicas that answer their clients, and are too busy to answer the controller."""
        self.failing: set[str] = set()
        """Replicas whose engine answers every request with an error."""
        self.slow: set[str] = set()
        """Replicas whose streams take two seconds to their first token."""
        self.planted: set[str] = set()
        """Machines with our mark that no controller of this world has bought."""
        self.murdered: set[str] = set()
        """Replicas that the test ended itself."""
        self.refused = 0
        """Requests that found nobody at all."""
        self.misnamed: list[tuple[str, str]] = []
        """Requests that came to an engine under a name that it does not serve, for it a 404: replica and name."""
        self.severed: list[tuple[str, int, timedelta]] = []
        """Replicas that the controller ended with requests in flight: name, how many, how long it had drained."""
        self.traffic: dict[str, Traffic] = {}
        self.streams: list[Stream] = []
        self.held: list[Held] = []
        self.waited: list[float] = []
        """How long those requests waited that were held and then served."""
        self.counts: dict[str, Counts] = {}
        self.demand: dict[str, Asked] = {}
        self.mute = False
        """Whether no engine tells its load, although all of them answer."""
        self.tokens: dict[str, list[int]] = {}
        self.joules: dict[str, float] = defaultdict(float)
        """What every machine really drew, the facility's share included."""
        self.controller: Controller | None = None
        self.wrap = wrap
        ports = {"provisioner": self.cloud, "gateway": self.gateway}
        wrapped = {name: wrap(name, port) for name, port in ports.items()}
        self.runtime = Runtime(
            clock=self.clock,
            carbon=self.carbon,
            offers=self.offers,
            provisioners={"sky": wrapped["provisioner"]},
            probe=self.probe,
            gateway=wrapped["gateway"],
            store=self.store,
            tuning=tuning or Tuning(look_patience=None),  # of real seconds, of which nothing here may take any
        )
        self._turns = count(1)
        self._last_replicas: dict[str, Replica] = {}

    # ── the controller's process ─────────────────────────────────────────────────────────────────────

    def start(self) -> Controller:
        """Start a controller: it claims the turn, and everybody before it is fenced off."""
        journal: Journal = self.wrap("journal", self.store.claim(f"pid {next(self._turns)}", self.clock.now()))
        self.controller = Controller(self.runtime, journal)
        return self.controller

    def kill(self) -> Controller | None:
        """End the controller as SIGKILL does; return it, for tests in which it was only asleep."""
        old, self.controller = self.controller, None
        return old

    # ── time ─────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, seconds: float, every: float = 1.0, *, check: bool = True) -> None:
        """Let physical time pass, looking at the end of every step; stop with the controller at a kill."""
        for _ in range(round(seconds / every)):
            await self.step(every, check=check)

    async def step(self, seconds: float = 1.0, *, check: bool = True) -> None:
        """Let time pass, then look once."""
        self.clock.advance(timedelta(seconds=seconds))
        self._serve(seconds)
        await self.look(check=check)

    async def look(self, *, check: bool = True) -> None:
        """Let the controller look once, and check what must hold after every look."""
        self.sync_engines()
        if self.controller is None:
            return
        before = {r.name: r for r in self.store.replicas()}
        wanted = {s.name: self._wanted(s) for s in self.store.services()}
        try:
            await self.controller.tick()
        except Died:
            self.kill()
            return
        for trouble in self.controller.troubles:
            raise trouble.error  # a real controller logs it and goes on; a story must not miss it
        if check:
            self.check(before, wanted)

    @staticmethod
    def _wanted(service: ServiceRecord) -> int:
        return service.spec.scaling.min_replicas if service.state is ServiceState.ACTIVE else 0

    async def until(self, done: Callable[[], bool], limit: float = 300.0, every: float = 1.0) -> float:
        """Let time pass until something holds; return the seconds that it took."""
        for number in range(math.ceil(limit / every) + 1):
            if done():
                return number * every
            await self.step(every)
        raise AssertionError(f"not within {limit} s\n{self.picture()}")

    async def settle(self, limit: float = 600.0, every: float = 1.0) -> None:
        """Let time pass until nothing is open and nothing moves; at least one look."""
        await self.step(every)
        await self.until(self.is_settled, limit, every)

    def is_settled(self) -> bool:
        """Whether every request is closed and every replica is where it belongs, and the gateway knows."""
        if self.store.operations():
            return False
        for service in self.store.services():
            replicas = self.replicas(service.name)
            if service.state is ServiceState.GOING_DOWN or len(replicas) != self._wanted(service):
                return False
            workloads = workloads_of(service.spec)
            if any((r.state, r.weight_percent) != (ReplicaState.READY, FULL) for r in replicas):
                return False
            if not {r.workload_digest for r in replicas} <= workloads:
                return False
            if service.state is ServiceState.ACTIVE and set(self.routed(service.name)) != {r.name for r in replicas}:
                return False
        return True

    @property
    def now(self) -> Instant:
        """The grid's present."""
        return self.clock.now()

    def grid(
        self, zone: str, grams: Callable[[int], float | None], days: int = 3, history_hours: int = HISTORY_HOURS
    ) -> None:
        """Give a zone its own value for every hour, counted from the start of the world; the past is negative."""
        self.carbon._held.pop((zone, Basis()), None)
        hours = range(-history_hours, days * 24)
        self.carbon.put(zone, NOON - history_hours * HOUR, [grams(hour) for hour in hours])

    # ── what people ask ──────────────────────────────────────────────────────────────────────────────

    async def deploy(self, spec: ServiceSpec) -> Operation:
        """Ask for a deploy as the command line does: plan, confirm, submit."""
        digest = spec_digest(spec)
        plan = await preview_deploy(spec, digest, self.runtime)
        return submit_deploy(spec, digest, plan, self.runtime, actor="ada")

    async def up(self, spec: ServiceSpec) -> None:
        """Have a service that runs and has been there long enough to be moved."""
        if self.controller is None:
            self.start()
        operation = await self.deploy(spec)
        await self.settle()
        assert self.operation(operation).state is OperationState.DONE, self.picture()

    async def migrate(self, to: str, service: str = "chat", replica: str | None = None) -> Operation:
        """Ask for a move."""
        plan = await preview_migration(
            service, self.runtime, replica=replica, to_region=f"sky/{to}", reason="asked for", actor="ada"
        )
        return submit_migration(plan, self.runtime, actor="ada", reason="asked for")

    def down(self, service: str = "chat") -> Operation:
        """Ask for the end."""
        return submit_down(service, self.runtime, actor="ada")

    def operation(self, operation: Operation) -> Operation:
        """How far a request is now."""
        found = self.store.operation(operation.id)
        assert found is not None
        return found

    # ── faults ───────────────────────────────────────────────────────────────────────────────────────

    def murder(self, replica: str) -> None:
        """Kill a replica's machine; its provider still knows that it was there."""
        self.murdered.add(replica)
        self.cloud.die(replica)

    def preempt(self, replica: str) -> None:
        """Take a replica's machine away without a trace."""
        self.murdered.add(replica)
        self.cloud.vanish(replica)

    async def plant(self, number: int = 0, *, region: str = "se", **marks: Any) -> str:
        """Let a machine exist that no row knows of; return its name. ``marks``: fields of its launch."""
        name = f"gc-{self.store.deployment_uid()[:8]}-chat-stray{number:05d}"
        request = LaunchRequest(
            name=name,
            deployment_uid=self.store.deployment_uid(),
            service="chat",
            intent_id=f"stray{number:05d}",
            offer=self.offers._offers[offer(f"sky/{region}").id],
            model=ModelSpec("org/model", served_name="chat"),
        )
        request = replace(request, **marks)
        await self.cloud.launch(request)
        self.planted.add(request.name)
        return request.name

    def backup(self) -> Any:
        """Copy the database as it is now."""
        state = self.store._state
        return copy.deepcopy(state, {id(state.lock): state.lock})

    def restore(self, backup: Any) -> None:
        """Set the database back to a copy; the controller dies with the old one."""
        self.kill()
        self.planted |= {r.name for r in self.cloud.launches if r.name not in backup.replicas}
        self.store._state = copy.deepcopy(backup, {id(backup.lock): backup.lock})

    def gateway_is_away(self) -> None:
        """Let the gateway's control socket not answer; it serves on."""
        self.gateway.fail_next(10**9)

    def gateway_is_back(self) -> None:
        """Let it answer again."""
        self.gateway.fail_next(0)

    def gateway_restarts(self, *, keeps_table: bool = True) -> None:
        """Start the gateway anew: counters begin at zero, streams that ran through it are gone."""
        self.gateway.restart()
        self.counts.clear()
        self.demand.clear()
        self.streams.clear()
        if not keeps_table:
            self.gateway.published.clear()

    # ── what there is ────────────────────────────────────────────────────────────────────────────────

    def replicas(self, service: str = "chat", state: ReplicaState | None = None) -> list[Replica]:
        """Replicas that are not finally done with."""
        found = self.store.replicas(service)
        return [r for r in found if state is None or r.state is state]

    def all_replicas(self, service: str = "chat") -> list[Replica]:
        """Replicas, the ended ones included."""
        return list(self.store.replicas(service, ended=True))

    def ready(self, service: str = "chat") -> list[Replica]:
        """Replicas that serve."""
        return self.replicas(service, ReplicaState.READY)

    def the_replica(self, service: str = "chat") -> Replica:
        """The only replica that is ready."""
        (one,) = self.ready(service)
        return one

    def replica(self, name: str) -> Replica:
        """One replica by name."""
        return next(r for r in self.store.replicas(ended=True) if r.name == name)

    def regions(self, service: str = "chat") -> list[str]:
        """Where replicas serve, sorted."""
        return sorted(r.region.partition("/")[2] for r in self.ready(service))

    def table(self) -> RoutingTable:
        """What the gateway routes by."""
        assert self.gateway.table is not None
        return self.gateway.table

    def routes(self, service: str = "chat") -> ServiceRoutes | None:
        """The routes of one service."""
        table = self.gateway.table
        return None if table is None else next((s for s in table.services if s.service == service), None)

    def upstreams(self, service: str = "chat") -> dict[str, Upstream]:
        """What the gateway knows of, by replica."""
        routes = self.routes(service)
        return {} if routes is None else {u.replica: u for u in routes.upstreams}

    def routed(self, service: str = "chat") -> dict[str, int]:
        """Weights of the replicas that may get a new request."""
        return {u.replica: u.weight for u in self.upstreams(service).values() if not u.draining}

    def events(self, kind: EventKind | None = None, service: str | None = None) -> list[Event]:
        """History."""
        found = self.store.events(service, limit=1_000_000)
        return [e for e in found if kind is None or e.kind is kind]

    def in_flight(self, replica: str) -> int:
        """Requests under way at a replica."""
        return sum(s.replica == replica for s in self.streams)

    def offer_of(self, replica: Replica) -> Offer:
        """What the replica was bought as."""
        return self.offers._offers[replica.offer_id]

    def picture(self) -> str:
        """Everything that helps to understand a failure."""
        rows = [f"{self.clock.elapsed:.0f} s, {self.now.isoformat()}"]
        rows += [f"  {s.name} r{s.revision} {s.state}" for s in self.store.services()]
        rows += [
            f"  {o.id} {o.kind} {o.state} {o.error_code} {o.error}" for o in self.store.operations(open_only=False)
        ]
        rows += [
            f"  {r.name} r{r.slot} {r.region} {r.state} w{r.weight_percent} {r.reason!r} replaces={r.replaces}"
            f" clean={r.cleaned_up}"
            for r in self.store.replicas(ended=True)
        ]
        rows += [f"  exists: {sorted(self.cloud.existing())}", f"  gateway: {self.gateway.table}"]
        rows += [f"  {e.at:%d %H:%M:%S} {e.kind}: {e.text}" for e in self.events()[-25:]]
        return "\n".join(rows)

    # ── what must always hold ────────────────────────────────────────────────────────────────────────

    def check(self, before: Mapping[str, Replica], wanted: Mapping[str, int]) -> None:
        """Check the promises that hold after every look, whatever happened. Both arguments: as it was before it."""
        replicas = {r.name: r for r in self.store.replicas()}
        self._check_journal()
        for service in self.store.services():
            own = [r for r in replicas.values() if r.service == service.name]
            self._check_slots(own)
            least = min(wanted.get(service.name, 0), self._wanted(service))
            self._check_ready_count(service.name, least, before, replicas)
        assert not self.misnamed, f"asked for what it does not serve: {self.misnamed[:3]}\n{self.picture()}"
        for name, in_flight, drained in self.severed:
            limit = next(s.spec for s in self.store.services() if s.name == self.replica(name).service).migration.drain
            assert drained >= limit, f"{name} was ended with {in_flight} in flight after {drained}\n{self.picture()}"

    def _check_journal(self) -> None:
        """Nothing was ever bought without a row, and no intent bought twice."""
        rows = self.store._state.replicas
        strangers = [r.name for r in self.cloud.launches if r.name not in rows and r.name not in self.planted]
        assert not strangers, f"bought without a row: {strangers}\n{self.picture()}"
        per_intent = Counter(r.intent_id for r in self.cloud.launches if r.name not in self.planted)
        assert all(number == 1 for number in per_intent.values()), f"bought twice: {per_intent}\n{self.picture()}"

    def _check_slots(self, own: Iterable[Replica]) -> None:
        """A slot holds one living replica, or one and the one that is to replace it; one slot at a time moves."""
        living = {r.name: r for r in own if r.state in LIVE}
        by_slot: dict[int, list[Replica]] = {}
        for replica in living.values():
            by_slot.setdefault(replica.slot, []).append(replica)
        for slot, both in by_slot.items():
            assert len(both) <= 2, f"slot {slot} holds {len(both)}\n{self.picture()}"
            if len(both) == 2:
                related = any(r.replaces in living for r in both)
                assert related, f"two strangers in slot {slot}\n{self.picture()}"
        moving = [r.name for r in living.values() if r.replaces in living]
        assert len(moving) <= 1, f"several moves at once: {moving}\n{self.picture()}"

    def _check_ready_count(
        self, service: str, wanted: int, before: Mapping[str, Replica], after: Mapping[str, Replica]
    ) -> None:
        """Fewer serve than before only where that many were lost or proved bad, or no more are wanted."""
        ready = {n for n, r in after.items() if r.service == service and r.state is ReplicaState.READY}
        was = {n for n, r in before.items() if r.service == service and r.state is ReplicaState.READY}
        lost = {n for n in was if n not in after or after[n].state is ReplicaState.LOST}
        bad = {n for n in was - ready - lost if after[n].reason.startswith((ABORTED, "taken back"))}
        floor = min(wanted, len(was) - len(lost) - len(bad))
        assert len(ready) >= floor, f"{service}: {len(ready)} ready, at least {floor} expected\n{self.picture()}"

    def check_at_rest(self) -> None:
        """Check what must hold once nothing is open: nothing left over, nothing unknown, nothing open."""
        assert self.is_settled(), self.picture()
        journal = {r.name for r in self.store.replicas() if r.state not in ENDED}
        assert self.cloud.existing() - self.planted == journal, self.picture()
        open_intents = self.store.intents(open_only=True)
        assert not open_intents, f"{open_intents}\n{self.picture()}"
        for service in self.store.services():
            down = service.state is ServiceState.DOWN
            assert set(self.upstreams(service.name)) == (
                set() if down else {r.name for r in self.ready(service.name)}
            ), self.picture()
            assert all(r.cleaned_up for r in self.all_replicas(service.name) if r.state in ENDED), self.picture()

    # ── engines and requests ─────────────────────────────────────────────────────────────────────────

    def sync_engines(self) -> None:
        """Let exactly those engines answer whose machine runs and which are not sick."""
        now = self.clock.monotonic()
        machines = self.cloud._machines
        self.probe.healthy.clear()
        self.probe.completing.clear()
        self.probe.loads.clear()
        self.probe.calls.clear()
        self.probe.models.clear()
        for name, machine in machines.items():
            if not self._answers(name) or name in self.deaf or now < machine.running_at:
                continue
            prompt, output = self.tokens.setdefault(name, [0, 0])
            self.probe.serve(machine.endpoint, EngineLoad(self.in_flight(name), 0, prompt, output))
            self.probe.models[machine.endpoint] = machine.request.model.name
            if self.mute:
                self.probe.loads.pop(machine.endpoint)
        for name in [n for n, m in machines.items() if m.gone_at is not None and now >= m.gone_at]:
            del machines[name]

    def _answers(self, name: str) -> bool:
        machine = self.cloud._machines.get(name)
        return machine is not None and self.cloud._exists(machine) and name not in self.sick

    def _serve(self, seconds: float) -> None:
        """Let requests end, break and arrive."""
        now = self.clock.monotonic()
        for replica in {s.replica for s in self.streams}:
            machine = self.cloud._machines.get(replica)
            if machine is None or not self.cloud._exists(machine):
                self._break(replica)
        going = []
        busy: dict[str, float] = defaultdict(float)
        for stream in self.streams:
            counts = self._counts(stream.replica)
            spent = seconds if stream.replica in self.sick else min(seconds, max(0.0, stream.ends_at - (now - seconds)))
            counts.request_seconds += spent
            busy[stream.replica] += spent
            if stream.ends_at > now or stream.replica in self.sick:
                going.append(stream)
                continue
            if stream.replica in self.failing:
                counts.failed += 1
            else:
                counts.ok += 1
                self.tokens[stream.replica][1] += OUTPUT_TOKENS
        self.streams = going
        self._draw(busy, seconds)
        self._let_in(now)
        for service, traffic in self.traffic.items():
            traffic.owed += traffic.per_second * seconds
            while traffic.owed >= 1:
                traffic.owed -= 1
                self._arrive(service, traffic, now)
        self._count_by_service(seconds)
        for name, counts in self.counts.items():
            self.gateway.set_counts(
                name,
                in_flight=self.in_flight(name),
                request_seconds=counts.request_seconds,
                ok=counts.ok,
                failed=counts.failed,
                truncated=counts.truncated,
                first_tokens=(*[0] * first_token_class(2.0 if name in self.slow else 0.2), counts.ok),
            )

    def _count_by_service(self, seconds: float) -> None:
        for service in dict.fromkeys([*self.traffic, *self.demand]):
            own = [s for s in (*self.streams, *self.held) if s.service == service]
            asked = self.demand.setdefault(service, Asked())
            asked.request_seconds += len(own) * seconds
            self.gateway.set_service(
                service,
                accepted=asked.accepted,
                in_flight=len(own),
                failed=asked.failed,
                request_seconds=asked.request_seconds,
                held=sum(h.service == service for h in self.held),
            )

    def _draw(self, busy: Mapping[str, float], seconds: float) -> None:
        """Let machines draw power: those that are there, by what they have to do."""
        for name, machine in self.cloud._machines.items():
            offer = machine.request.offer
            if self.cloud._exists(machine) and offer.shape.power is not None and offer.region.pue is not None:
                watts = offer.shape.power.watts(busy.get(name, 0.0) / seconds)
                self.joules[name] += watts * offer.region.pue * seconds

    def _break(self, replica: str) -> None:
        broken = self.in_flight(replica)
        self._counts(replica).truncated += broken
        self.streams = [s for s in self.streams if s.replica != replica]
        if replica not in self.murdered:
            drained = (self.now - self.replica(replica).state_since) / self.clock.rate
            self.severed.append((replica, broken, drained))

    def _arrive(self, service: str, traffic: Traffic, now: float) -> None:
        """Send one request where the gateway's table says, and elsewhere if nobody answers there."""
        self.demand.setdefault(service, Asked()).accepted += 1
        routed, routes = self.routed(service), self.routes(service)
        if not routed and routes is not None and routes.hold_seconds:
            if sum(h.service == service for h in self.held) < routes.max_held:
                self.held.append(Held(service, traffic.seconds, now, now + routes.hold_seconds))
            else:
                self.refused += 1
                self.demand[service].failed += 1
            return
        weights = {name: weight for name, weight in routed.items() if weight > 0} or dict.fromkeys(routed, 1)
        for name, weight in weights.items():
            traffic.credit[name] += weight
        tried = sorted(weights, key=lambda name: (-traffic.credit[name], name))
        if tried:
            traffic.credit[tried[0]] -= sum(weights.values())
        for name in tried:
            if self._answers(name):
                self._begin(service, name, now + traffic.seconds)
                return
            self._counts(name).failed += 1
        self.refused += 1
        self.demand[service].failed += 1

    def _let_in(self, now: float) -> None:
        """Let those in that wait in the gateway and have somebody now; refuse those whose time is over."""
        staying = []
        for held in self.held:
            name = next((n for n in self.routed(held.service) if self._answers(n)), None)
            if name is not None:
                self.waited.append(now - held.came_at)
                self._begin(held.service, name, now + held.seconds)
            elif now >= held.until:
                self.refused += 1
                self.demand[held.service].failed += 1
            else:
                staying.append(held)
        self.held = staying

    def _begin(self, service: str, replica: str, ends_at: float) -> None:
        """Let a request begin at a replica, under the name that the gateway's table has for it there."""
        routes = self.routes(service)
        assert routes is not None
        asked = routes.name_at(self.upstreams(service)[replica])
        if asked != self.cloud._machines[replica].request.model.name:
            self.misnamed.append((replica, asked))
        self._counts(replica)
        self.tokens.setdefault(replica, [0, 0])[0] += PROMPT_TOKENS
        self.streams.append(Stream(service, replica, ends_at))

    def _counts(self, replica: str) -> Counts:
        return self.counts.setdefault(replica, Counts())
