"""People of a simulated world: they ask for things by the same use cases as the command line, and one comes by.

Whoever comes by, the operator, accepts databases that were set back, gives the word for strangers, and ends by hand
what the reaper holds back because nobody can judge it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from orchestrator.bench.sim.checks import ALLOWED
from orchestrator.bench.sim.cloud import BROKEN_MODEL
from orchestrator.bench.sim.faults import Hedge, Limits, Work
from orchestrator.bench.sim.timeline import BEGIN
from orchestrator.control.reap_requests import outcome_of, submit_acceptance, submit_reap
from orchestrator.control.runtime import Runtime
from orchestrator.control.usecases import (
    preview_deploy,
    preview_migration,
    submit_deploy,
    submit_down,
    submit_migration,
)
from orchestrator.domain.money import MoneyBudget
from orchestrator.domain.orphans import SuspectKind
from orchestrator.domain.records import ServiceState
from orchestrator.domain.service import (
    NO_QUALITY_RULES,
    WEIGHTS_AT_HAND,
    Accelerators,
    BatchRules,
    ClientArea,
    Closed,
    MigrationRules,
    ModelSpec,
    MoveSchedule,
    PlacementRules,
    Policy,
    QualityRules,
    ResourceRequest,
    Scaling,
    ServiceSpec,
    SpotLoss,
    Survives,
    Variant,
    WeeklyWindow,
)
from orchestrator.domain.time import Instant
from orchestrator.errors import GreenctlError
from orchestrator.planner.reaping import UNKNOWN_WORK
from orchestrator.spec.codec import spec_digest

if TYPE_CHECKING:
    from orchestrator.bench.sim.world import SimWorld

OPERATOR_SECONDS = 600.0

EVERY_FOURTH = 3
"""Of the operator's words names what is to be ended, and is not held to the hourly share."""

SLEEPS_AFTER = timedelta(seconds=120)
"""Without a request, at the earliest."""

VARIANTS = (
    Variant("fp8", ModelSpec("org/model-fp8"), 0.97, "our own questions", power=0.8),
    Variant("tiny", ModelSpec("org/tiny"), 0.6, "our own questions", power=0.5),
)
"""One that is nearly as good as the model and draws less, and one that draws least and is not good enough."""

MENDED_AFTER = timedelta(hours=2)
"""For so long nobody notices that work which has been deployed cannot serve."""

UNKNOWN, KNOWN = "org/model", "meta-llama/Llama-3.1-8B-Instruct"
"""Models: one of which nobody knows what a replica of it carries, and one of which that is known."""

TOWN = "Europe/Berlin"
"""Work is due by its clocks, which are put forward in the first night."""

POLICY = Policy(name="sim", max_extra_cost_fraction=None, horizon=timedelta(hours=1))


class People:
    """Everybody who wants something. ``runtime``: what their commands work with."""

    def __init__(self, world: SimWorld, runtime: Runtime) -> None:
        self._world = world
        self.runtime = runtime
        self.words: list[tuple[str, ...]] = []
        """Whom each word about strangers named one by one."""
        self.deployed_at: dict[str, Instant] = {}
        """By service: when it was first deployed since it was last taken down."""

    def spec(self, name: str = "chat", number: int | None = None, model: str = "") -> ServiceSpec:
        """Return what people want."""
        setting = self._world.setting
        main = self.model(model or (KNOWN if setting.ttft_seconds else UNKNOWN), name)
        least = setting.replicas if number is None else number
        scaling = Scaling(least, least)
        if setting.work is not None:
            scaling = Scaling(0, least)
        elif setting.sleeps:
            scaling = Scaling(0, least + 1, target_qps_per_replica=1.0, downscale_delay=SLEEPS_AFTER)
        elif setting.scaled and (not setting.spot or setting.hedge is not None):
            scaling = Scaling(least, least + 2, target_qps_per_replica=1.0)
        hedge, limits = setting.hedge or Hedge(), setting.limits or Limits()
        scaling = replace(
            scaling,
            num_overprovision=hedge.more,
            base_ondemand_fallback_replicas=min(hedge.on_demand, scaling.min_replicas),
            dynamic_ondemand_fallback=hedge.stand_ins,
        )
        return ServiceSpec(
            name=name,
            model=main,
            resources=ResourceRequest(accelerators=(Accelerators("L4", 1),), use_spot=setting.spot),
            scaling=scaling,
            placement=PlacementRules(
                allow=tuple(sorted(ALLOWED)), on_spot_loss=SpotLoss(hedge.loss), max_per_region=limits.per_region
            ),
            budget=MoneyBudget(limits.usd_per_day),
            policy=POLICY,
            migration=MigrationRules(
                canary_percent=(50, 100),
                canary_hold=timedelta(seconds=5),
                drain=timedelta(seconds=setting.drain_seconds),
                schedule=_schedule(limits),
            ),
            startup_deadline=timedelta(minutes=10),
            availability_fraction=hedge.availability,
            survives=Survives.REGION if setting.survives and setting.work is None else None,
            ttft_p95=timedelta(seconds=setting.ttft_seconds) if setting.ttft_seconds else None,
            clients=tuple(ClientArea(near, 1.0 / len(setting.clients)) for near in setting.clients),
            variants=tuple(_under(main.name, v) for v in VARIANTS) if setting.varied else (),
            quality=QualityRules(floor=0.9) if setting.varied else NO_QUALITY_RULES,
            batch=None if setting.work is None else batch_of(setting.work, setting.replicas),
        )

    def model(self, model: str, service: str = "chat") -> ModelSpec:
        """Return a model as files have it. Under a budget what fetching it costs has to be known: it is at hand."""
        setting = self._world.setting
        named = ModelSpec(model, served_name="" if setting.unnamed else service)
        if setting.limits is None or setting.limits.usd_per_day is None:
            return named
        return replace(named, weights_gb=16.0, weights_from=WEIGHTS_AT_HAND)

    async def deploy(self, spec: ServiceSpec) -> None:
        """Plan, confirm and submit, as the command line does."""
        digest = spec_digest(spec)
        wanted = await preview_deploy(spec, digest, self.runtime)
        submit_deploy(spec, digest, wanted, self.runtime, actor="ada")
        self.deployed_at.setdefault(spec.name, self._world.clock.now())
        self._world.wake()

    async def move(self, to: str, service: str = "chat") -> None:
        """Ask for a move."""
        wanted = await preview_migration(
            service, self.runtime, replica=None, to_region=to, reason="asked for", actor="ada"
        )
        submit_migration(wanted, self.runtime, actor="ada", reason="asked for")
        self._world.wake()

    def with_other_variants(self, spec: ServiceSpec, pick: float) -> ServiceSpec:
        """Return what people want next: another floor of quality, one variant less, or all as at first.

        Now and then of another model as well.
        """
        number, rest = divmod(9 * pick, 3)
        model = self.model(f"org/m{int(rest)}", spec.name) if rest < 1 else spec.model
        all_of_them = tuple(_under(model.name, v) for v in VARIANTS)
        wanted = replace(spec, model=model, variants=all_of_them, quality=QualityRules(floor=0.9))
        if number == 0:
            return replace(wanted, quality=QualityRules(floor=0.99))
        return replace(wanted, variants=all_of_them[1:], quality=QualityRules(floor=0.5)) if number == 1 else wanted

    def down(self, service: str = "chat") -> None:
        """Ask for the end."""
        submit_down(service, self.runtime, actor="ada")
        self._world.wake()

    def operator_comes(self) -> None:
        """Have somebody come by from now on."""
        self._world.timeline.at(self._world.clock.elapsed + OPERATOR_SECONDS, self._operate)

    async def _operate(self) -> None:
        """Come by now and then: accept a database that was set back, give the word for strangers."""
        with suppress(GreenctlError):
            restored = self._world.truth.restored()
            if restored.holds:
                self._world.lost_rows = True
                submit_acceptance(self.runtime, actor="ada", epoch=restored.seen_epoch)
            found = [s.name for s in self._world.truth.suspects() if s.kind is SuspectKind.STRANGER]
            if found:
                named = tuple(found) if len(self.words) % 4 == EVERY_FOURTH else ()
                self.words.append(named)
                submit_reap(self.runtime, actor="ada", names=found, confirmed=named)
            self._end_by_hand(frozenset(found))
            await self._mend()
        self.operator_comes()

    async def _mend(self) -> None:
        """Deploy what can serve in the place of batch work that cannot, which shows only once it begins."""
        now = self._world.clock.now()
        for service in self._world.truth.services() if self._world.setting.work is not None else ():
            is_broken = service.state is ServiceState.ACTIVE and service.spec.model.id == BROKEN_MODEL
            if is_broken and now - service.updated_at > MENDED_AFTER:
                await self.deploy(replace(service.spec, model=self.spec(service.name).model))

    def _end_by_hand(self, strangers: frozenset[str]) -> None:
        """Do what the reaper's answer says about whoever cannot be judged: look there, and end it at its provider."""
        answers = [answer for answer in map(outcome_of, self._world.truth.reap_requests(open_only=False)) if answer]
        newest = answers[-1] if answers else ()
        for name in sorted({v.name for v in newest if v.held_because == UNKNOWN_WORK} & strangers):
            if not self._world.cloud.serves(name):
                self._world.tell(f"{name} serves nobody by ada's own look, and is ended at its provider")
                self._world.cloud.vanish(name)
                self._world.wake()


def batch_of(work: Work, replicas: int) -> BatchRules:
    """Write it down as people do, by the clocks of a town."""
    due = (BEGIN + timedelta(hours=work.due_hours)).astimezone(ZoneInfo(TOWN)).replace(second=0, microsecond=0)
    rules = BatchRules(engine_hours=work.hours * replicas, time_zone=TOWN, preemptible=work.preemptible)
    if work.daily:
        return replace(rules, due_days=tuple(range(7)), due_minute=60 * due.hour + due.minute)
    return replace(rules, deadline=due.replace(tzinfo=None))


def _schedule(limits: Limits) -> MoveSchedule | None:
    if limits.window is None and limits.freeze is None:
        return None
    opens, closes = limits.window or (0, 0)
    begins, ends = (BEGIN.replace(tzinfo=None) + timedelta(hours=at) for at in limits.freeze or (0, 0))
    return MoveSchedule(
        windows=() if limits.window is None else (WeeklyWindow(tuple(range(7)), 60 * opens, 60 * closes),),
        freezes=() if limits.freeze is None else (Closed(begins, ends, "a launch of ours"),),
    )


def _under(name: str, variant: Variant) -> Variant:
    return replace(variant, model=replace(variant.model, served_name=name))
