"""The loop: gather, decide, apply, for one service at a time, until everything is as it should be.

Level-based: each look starts from what is recorded and what is seen, so that a look which was interrupted, repeated
or skipped changes nothing but the time it takes. One service's trouble is not another's: a look that fails is repeated
later, and meanwhile the others are looked at as always.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from orchestrator.control.ages import StateAges
from orchestrator.control.apply import Applier
from orchestrator.control.deciding import Decider
from orchestrator.control.edits import EditWatch
from orchestrator.control.fulfilment import Fulfilment
from orchestrator.control.grid import GridReader
from orchestrator.control.held_turn import HeldTurn
from orchestrator.control.leases import Renewals
from orchestrator.control.load import LoadWatch, in_force, number_in_force
from orchestrator.control.market import Market
from orchestrator.control.metering import Meter
from orchestrator.control.observe import Watch, gateway_status, observe
from orchestrator.control.ports import Journal
from orchestrator.control.progress import Progress
from orchestrator.control.routes import Routes
from orchestrator.control.runtime import Runtime, is_due
from orchestrator.control.sweep import Sweeper
from orchestrator.control.tidying import Tidier
from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.records import EventKind, OperationKind, ServiceState
from orchestrator.domain.replica import Replica
from orchestrator.errors import DiskFull, GreenctlError, LeaseHeld, StoreUnavailable
from orchestrator.planner.pause import needed_steps
from orchestrator.planner.rollout import RolloutView, StepKind, next_steps
from orchestrator.planner.wanted import may_sleep

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
"""How long what failed, a service's look or the sweep, is left alone; doubled by each further failure."""

MOST_DOUBLINGS = 10

SWEEP = ""
"""Under which name the sweep has its pause: no service is called so."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A service's looks have failed that often; the next one is at that second of ``Clock.monotonic``."""

    failures: int
    until: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a part of a look ended with. ``service``: empty where it is not one service's (the sweep, tidying)."""

    service: str
    error: Exception


class Controller:
    """One acting controller. ``tick`` is one look at everything; whoever calls it owns the time between looks.

    ``grid``: what reads the grid for it; a simulation of many policies reads each hour once for all of them.
    ``turn``: what says whether launches may leave now; without one, as in a simulation, they always may.
    """

    def __init__(
        self, runtime: Runtime, journal: Journal, grid: GridReader | None = None, turn: HeldTurn | None = None
    ) -> None:
        self._runtime = runtime
        self._journal = journal
        self._turn = turn
        grid = grid or GridReader(runtime.carbon)
        self._market = Market(runtime, grid)
        self._applier = Applier(runtime, journal, turn)
        self._meter = Meter(runtime, journal, grid, self._applier.warn_once)
        self._loads = LoadWatch(runtime)
        self._edits = EditWatch(journal, self._applier)
        self._renewals = Renewals(runtime, journal, self._applier.warn_once)
        self._sweeper = Sweeper(runtime, journal, self._applier, self._edits)
        self._watch = Watch()
        self._ages = StateAges(runtime.clock)
        progress = Progress(runtime, journal)
        self._routes = Routes(runtime, journal, self._applier, self._market, self._loads, self._watch, self._sweeper)
        self._decider = Decider(runtime, journal, grid, self._applier, self._edits, self._loads, progress)
        self._fulfilment = Fulfilment(
            runtime, journal, self._applier, self._market, self._edits, progress, self._decider, self._routes
        )
        self._tidier = Tidier(runtime, journal)
        self._pauses: dict[str, Pause] = {}
        self._troubles: list[Trouble] = []
        self._unheard_rounds = 0
        self._told_of_silence = False
        self._sampled_at: float | None = None
        self._swept_at: float | None = None

    @property
    def troubles(self) -> Sequence[Trouble]:
        """What parts of the last :meth:`tick` ended with, raised or not; none when all went well."""
        return tuple(self._troubles)

    async def tick(self) -> None:
        """Look at every service of which something is there, going down or asked for, then at the gateway.

        An error of one part ends that part alone, and :attr:`troubles` tells of it. Raised is what nothing goes on
        from: ``LeaseHeld`` at once, ``StoreUnavailable`` after all have been looked at, the sweep's at once and its
        ``DiskFull`` too, and the first error of all where no service's look went well.
        """
        self._troubles.clear()
        status = await gateway_status(self._runtime)
        sample = is_due(self._runtime.clock, self._sampled_at, self._runtime.tuning.sample_every.total_seconds())
        if (
            is_due(self._runtime.clock, self._swept_at, self._runtime.tuning.sweep_every.total_seconds())
            or self._sweeper.is_asked()
        ):
            await self._try(SWEEP, partial(self._sweep, status))
        there = {r.name: r.service for r in self._journal.replicas()}
        busy = {o.service for o in self._journal.operations()} | set(there.values())
        services = [s for s in self._journal.services() if s.state is not ServiceState.DOWN or s.name in busy]
        went_well = [await self._try(s.name, partial(self.reconcile, s.name, status, sample=sample)) for s in services]
        if sample:
            self._sampled_at = self._runtime.clock.monotonic()
        self._watch.forget_all_but(there)
        self._ages.forget_all_but(there, {s.name for s in services})
        self._meter.forget_all_but(there.keys())
        self._renewals.forget_all_but(there)
        self._routes.forget_all_but(there.values())
        self._tell_of_silence()
        await self._routes.publish(status, {s.name for s in services})
        untidy = self._tidier.look()
        if untidy is not None:
            self._troubles.append(Trouble("", untidy))
        for trouble in self._troubles:
            if isinstance(trouble.error, StoreUnavailable) or not any(went_well):
                raise trouble.error

    async def _sweep(self, status: GatewayStatus | None) -> None:
        await self._sweeper.sweep(status)
        self._swept_at = self._runtime.clock.monotonic()

    async def _try(self, name: str, look: Callable[[], Awaitable[None]]) -> bool:
        """Look, unless the last time failed a moment ago; return whether that went well.

        Without a database no sweep says whether it was set back, so nothing else is done after such an error either:
        nor where its disk is full, on which the next small write may find room again.
        """
        pause = self._pauses.get(name)
        if pause is not None and self._runtime.clock.monotonic() < pause.until:
            return False
        try:
            await look()
        except LeaseHeld:
            raise
        except Exception as error:  # whatever it is, it must not stop the other services
            self._troubles.append(Trouble(name, error))
            if name == SWEEP and isinstance(error, StoreUnavailable | DiskFull):
                raise
            failures = 0 if pause is None else pause.failures
            seconds = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures, MOST_DOUBLINGS))
            self._pauses[name] = Pause(failures + 1, self._runtime.clock.monotonic() + seconds)
            if pause is None:
                self._warn_of(error, name)
            return False
        self._pauses.pop(name, None)
        return True

    def _waits(self, replica: Replica) -> bool:
        """Whether a launch is not asked for now."""
        is_theirs = self._turn is not None and not self._turn.may_ask_for(replica.intent_id)
        return is_theirs or self._sweeper.held or self._is_to_end(replica.service)

    def _is_to_end(self, service: str) -> bool:
        """Whether somebody has said ``down``, which is begun after these steps: nothing is bought for that long."""
        return any(o.kind is OperationKind.DOWN for o in self._journal.operations(service))

    def _tell_of_silence(self) -> None:
        """Say once that nobody can be heard, and once that somebody can again."""
        if not self._watch.has_news:
            return
        self._watch.has_news = False
        self._unheard_rounds = self._unheard_rounds + 1 if self._watch.is_cut_off else 0
        is_silent = self._unheard_rounds >= self._runtime.tuning.health_failures_until_lost
        if is_silent is self._told_of_silence or (self._told_of_silence and self._unheard_rounds):
            return
        those = f"{len(self._watch.heard)} replicas that should answer us"
        text = f"none of {those} does: nobody is given up who fails no client"
        with suppress(GreenctlError):
            self._applier.event(EventKind.WARNING, text if is_silent else "replicas can be heard again", "")
            self._told_of_silence = is_silent

    def _warn_of(self, error: Exception, service: str) -> None:
        words = f"{error.code}: {error.message}" if isinstance(error, GreenctlError) else type(error).__name__
        what = "the last sweep" if service == SWEEP else "the last look"
        with suppress(GreenctlError):
            self._applier.event(EventKind.WARNING, f"{what} failed and will be repeated: {words}", service)

    async def reconcile(self, name: str, status: GatewayStatus | None, *, sample: bool = False) -> None:
        """Bring one service a step nearer to what is wanted."""
        service = self._journal.service(name)
        if service is None:
            return
        replicas = tuple(self._journal.replicas(name))
        sold = await self._market.sold(service)
        offers = self._market.known(name)
        seen = await observe(
            service, replicas, self._runtime, self._watch, status, self._routes.published, self._routes.published_steps
        )
        await self._meter.look(service, replicas, seen, offers, status, self._watch, due=sample)
        await self._renewals.look(service, replicas, self._watch.instances)
        sleeps = may_sleep(service.spec.scaling)
        self._loads.look(
            service,
            replicas,
            offers,
            status,
            self._watch,
            await self._market.readings(service, replicas) if sleeps else {},
        )
        view = RolloutView(
            spec=in_force(service.spec, number_in_force(service.spec, self._decider.last_size(service))),
            replicas=replicas,
            observations=seen,
            traffic={} if status is None else self._watch.counts_in(status),
            clock_rate=self._runtime.clock.rate,
            health_failures_until_lost=self._runtime.tuning.health_failures_until_lost,
            taking_down=service.state is not ServiceState.ACTIVE,
            ages=self._ages.of(name, replicas),
        )
        by_name = {r.name: r for r in replicas}
        steps = next_steps(view, self._runtime.clock.now())
        if self._edits.holds_back(service):
            steps = needed_steps(steps, replicas)
        try:
            for step in self._edits.allowed(steps):
                replica = by_name[step.replica]
                if step.kind is StepKind.ISSUE and (sold is None or self._waits(replica)):
                    continue
                await self._applier.step(step, replica, service, (sold or {}).get(replica.offer_id))
            if not self._sweeper.held:  # or what this database wants is not what was wanted last
                await self._fulfilment.look(service)
        finally:
            # Whatever went wrong: what is known to be lost is routed to no longer.
            await self._routes.refresh(name)
