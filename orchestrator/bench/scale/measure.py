"""One large fleet on the real controller and the real store: up, at rest, and down again.

Machines, engines, gateway and grid are the shipped fakes, time is simulated, so what is measured is our own work: the
looks of the controller and the transactions of the journal. The end is the hard part: a whole fleet that is taken down
at once must leave neither a machine nor an open record behind (ten percent of instances were left over by one such
scale-down of 1,000 nodes, karpenter-provider-aws issue 549).
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path

from orchestrator.bench.quantile import quantile
from orchestrator.bench.sim.shop import for_sale
from orchestrator.clocks import VirtualClock
from orchestrator.control.controller import Controller
from orchestrator.control.grid import GridReader
from orchestrator.control.ports import EngineLoad, Store
from orchestrator.control.runtime import Runtime, Tuning
from orchestrator.control.usecases import preview_deploy, submit_deploy, submit_down
from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.price import Market
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import (
    Accelerators,
    MigrationRules,
    ModelSpec,
    PlacementRules,
    Policy,
    ResourceRequest,
    Scaling,
    ServiceSpec,
)
from orchestrator.errors import TimedOut
from orchestrator.gateway.fake import FakeGateway
from orchestrator.planner.launches import MOST_LAUNCHES_PER_MINUTE
from orchestrator.prices.fake import FakeOffers
from orchestrator.provisioners.fake import FakeProvisioner
from orchestrator.signals.fake import FakeCarbon
from orchestrator.spec.codec import spec_digest

BEGIN = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TICK = timedelta(seconds=5)
SCARCE_UP_TO = 100
"""Up to so many replicas, places sell out at twice the mean: launches fail and are repeated, ten in a minute. More
would take hours of rounds that find nothing to do and flatter the percentiles: there, every place has room."""

SPARE_ROUNDS = 120
REST_TICKS = 24
REST_TICK = timedelta(seconds=30)
ACTOR = "bench"
USD_PER_HOUR, USD_STEP = 1.0, 0.001
GREENEST, GRAMS_STEP = 30.0, 3.0
KIBI = 1024.0


@dataclass(frozen=True, slots=True)
class Size:
    """A fleet. Each service has ``replicas / services`` replicas, rounded down."""

    replicas: int
    regions: int
    services: int

    @property
    def each(self) -> int:
        """Replicas of one service."""
        return self.replicas // self.services

    @property
    def room(self) -> int:
        """How many replicas fit into one place, see :data:`SCARCE_UP_TO`."""
        scarce = max(self.each, 2 * self.replicas // self.regions)
        return scarce if self.replicas <= SCARCE_UP_TO else self.replicas

    @property
    def names(self) -> tuple[str, ...]:
        """Of the services."""
        return tuple(f"s{n:03d}" for n in range(self.services))


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of a fleet's life.

    A look is ``reconcile`` of one service; a round is ``tick``: all of them, and what is done once for all.
    ``simulated_s``: how long it took by the fleet's clock; ``cpu`` is our own time, the others are by the wall.
    """

    name: str
    simulated_s: float
    looks: int
    look_p50_s: float
    look_p99_s: float
    look_cpu_p99_s: float
    rounds: int
    round_p50_s: float
    round_p99_s: float
    round_cpu_p99_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One fleet, measured. ``phases``: launch, steady and scale-down.

    ``plan_p99_s``: planning one deploy over all regions. ``leaked``: machines that exist after the end;
    ``open_records``: replicas that are on record as there. ``links``: of the journal's chain; ``check_s``: what
    comparing it took. ``rss_mib``: the most memory that this process had.
    """

    size: Size
    store: str
    phases: tuple[Phase, ...]
    plan_p99_s: float
    leaked: int
    open_records: int
    links: int
    findings: int
    check_s: float
    rss_mib: float


class _Answering:
    """Engines that answer, and have nothing to do."""

    async def is_healthy(self, endpoint: str) -> bool:
        return bool(endpoint)

    async def completes(self, endpoint: str, model: str, api_key_file: Path | None) -> bool:
        del model, api_key_file
        return bool(endpoint)

    async def load(self, endpoint: str, api_key_file: Path | None) -> EngineLoad:
        del endpoint, api_key_file
        return EngineLoad(0, 0, 0, 0)


class _Timed(Controller):
    """The controller, with a watch on each of its looks and rounds."""

    def watch(self) -> None:
        """Begin a new series."""
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.rounds: list[float] = []
        self.rounds_cpu: list[float] = []

    async def tick(self) -> None:
        """Look at everything, and keep how long it took."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            await super().tick()
        finally:
            self.rounds.append(time.perf_counter() - wall)
            self.rounds_cpu.append(time.process_time() - cpu)

    async def reconcile(self, name: str, status: GatewayStatus | None, *, sample: bool = False) -> None:
        """Look, and keep how long it took."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            await super().reconcile(name, status, sample=sample)
        finally:
            self.wall.append(time.perf_counter() - wall)
            self.cpu.append(time.process_time() - cpu)

    def phase(self, name: str, simulated_s: float) -> Phase:
        """Return what was seen since :meth:`watch`."""
        return Phase(
            name=name,
            simulated_s=simulated_s,
            looks=len(self.wall),
            look_p50_s=quantile(self.wall, 0.5),
            look_p99_s=quantile(self.wall, 0.99),
            look_cpu_p99_s=quantile(self.cpu, 0.99),
            rounds=len(self.rounds),
            round_p50_s=quantile(self.rounds, 0.5),
            round_p99_s=quantile(self.rounds, 0.99),
            round_cpu_p99_s=quantile(self.rounds_cpu, 0.99),
        )


async def measure(size: Size, store: Store, label: str, done: Callable[[str], None]) -> Row:
    """Bring the fleet up, let it rest, take it down. ``done`` is told of each part of it.

    Raises ``TimedOut`` when it does not come up or go down within :func:`most_rounds`.
    """
    clock, cloud, runtime = fleet(size, store)
    names = size.names
    grid = GridReader(runtime.carbon)
    plans = []
    for name in names:
        began = time.perf_counter()
        spec = spec_of(name, size)
        digest = spec_digest(spec)
        plan = await preview_deploy(spec, digest, runtime, grid=grid)
        plans.append(time.perf_counter() - began)
        submit_deploy(spec, digest, plan, runtime, actor=ACTOR)
    done("planned")
    controller = _Timed(runtime, store.claim(ACTOR, clock.now()), grid)
    controller.watch()
    launch = controller.phase("launch", await until_ready(controller, clock, store, size))
    done("ready")
    controller.watch()
    for _ in range(REST_TICKS):
        clock.advance(REST_TICK)
        await controller.tick()
    steady = controller.phase("steady", REST_TICKS * REST_TICK.total_seconds())
    done("rested")
    controller.watch()
    for name in names:
        submit_down(name, runtime, actor=ACTOR)
    gone = await _until(controller, clock, size, lambda: not store.operations() and not store.replicas(), "be gone")
    down = controller.phase("scale-down", gone)
    done("gone")
    began = time.perf_counter()
    report = store.check_journal()
    check_s = time.perf_counter() - began
    done("checked")
    return Row(
        size=size,
        store=label,
        phases=(launch, steady, down),
        plan_p99_s=quantile(plans, 0.99),
        leaked=len(cloud.existing()),
        open_records=len(store.replicas()),
        links=report.links,
        findings=len(report.findings),
        check_s=check_s,
        rss_mib=most_memory_mib(sys.platform, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss),
    )


def most_memory_mib(platform: str, ru_maxrss: int) -> float:
    """Return ``ru_maxrss`` of getrusage(2) in MiB: bytes on macOS, KiB on Linux and the BSDs."""
    return ru_maxrss / (KIBI * KIBI if platform == "darwin" else KIBI)


PARTS = ("planned", "ready", "rested", "gone", "checked")


LARGE = Tuning(sample_every=timedelta(minutes=5), longest_sample=timedelta(hours=1))


def fleet(size: Size, store: Store, tuning: Tuning = LARGE) -> tuple[VirtualClock, FakeProvisioner, Runtime]:
    """Make the world around a controller: places for sale, each a bit dearer and dirtier than the one before."""
    clock = VirtualClock(BEGIN)
    places = [f"r{n:03d}" for n in range(size.regions)]
    dollars = {place: USD_PER_HOUR + USD_STEP * n for n, place in enumerate(places)}
    room = {f"sky/{place}": size.room for place in places}
    carbon = FakeCarbon()
    for n, place in enumerate(places):
        carbon.hold(place.upper(), GREENEST + GRAMS_STEP * n)
    cloud = FakeProvisioner(clock.monotonic, providers=frozenset({"sky"}), max_replicas=room)
    runtime = Runtime(
        clock=clock,
        carbon=carbon,
        offers=FakeOffers(for_sale(dollars, (Market.ON_DEMAND,), BEGIN)),
        provisioners={"sky": cloud},
        probe=_Answering(),
        gateway=FakeGateway(),
        store=store,
        tuning=tuning,
    )
    return clock, cloud, runtime


def spec_of(name: str, size: Size) -> ServiceSpec:
    """Describe one service of the fleet."""
    return ServiceSpec(
        name=name,
        model=ModelSpec("org/model", served_name=name),
        resources=ResourceRequest(accelerators=(Accelerators("L4", 1),)),
        scaling=Scaling(size.each, size.each),
        placement=PlacementRules(max_per_region=max(1, -(-2 * size.each // size.regions))),
        policy=Policy(name="scale", max_extra_cost_fraction=None, horizon=timedelta(hours=1)),
        migration=MigrationRules(enabled=False, drain=timedelta(seconds=10)),
        startup_deadline=timedelta(minutes=30),
    )


def most_rounds(size: Size) -> int:
    """Return how many rounds a fleet is given: no more than so many replicas are launched in a minute."""
    launching = timedelta(minutes=size.replicas / MOST_LAUNCHES_PER_MINUTE)
    return SPARE_ROUNDS + ceil(2 * launching / TICK)


async def until_ready(controller: Controller, clock: VirtualClock, store: Store, size: Size) -> float:
    """Look until every replica is ready and nothing is open; return the simulated seconds that it took.

    Raises ``TimedOut`` when that does not happen within :func:`most_rounds`.
    """
    wanted = size.each * size.services
    return await _until(controller, clock, size, lambda: _ready(store) == wanted and not store.operations(), "be ready")


async def _until(
    controller: Controller, clock: VirtualClock, size: Size, holds: Callable[[], bool], what: str
) -> float:
    """Look until it holds; return the simulated seconds that it took."""
    began, most = clock.monotonic(), most_rounds(size)
    for _ in range(most):
        clock.advance(TICK)
        await controller.tick()
        if holds():
            return clock.monotonic() - began
    message = f"the fleet did not come to {what} within {most} rounds"
    raise TimedOut(message, hint="A smaller fleet tells whether it is the size.")


def _ready(store: Store) -> int:
    return sum(r.state is ReplicaState.READY for r in store.replicas())
