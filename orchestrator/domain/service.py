"""A service as its owner wants it: the spec as values, after the edge has checked it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.domain.carbon import Basis
from orchestrator.domain.lease import DEFAULT_LEASE
from orchestrator.domain.money import NO_LIMIT, MoneyBudget
from orchestrator.domain.price import Market
from orchestrator.domain.written import ONLY_IF_SET

JsonScalar = str | int | float | bool | None

WEIGHTS_FROM_HUB = "hub"
WEIGHTS_AT_HAND = "at-hand"
"""Values of ``model.weights_from`` beside regions: fetched from the model hub, or there already, as in an image."""


class Engine(StrEnum):
    """What serves the model. ``BUILTIN`` answers without a model, says so, and is never chosen silently.

    ``COMMAND``: the service file's own ``run`` command serves, as in a plain SkyPilot file. We neither read nor build
    that command, so only a provisioner that runs SkyPilot tasks can start it.
    """

    VLLM = "vllm"
    BUILTIN = "builtin"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model, under which name, with which typed engine arguments (allow-listed names, scalar values).

    ``id`` is empty when a ``COMMAND`` file does not say what it serves; ``name`` is never empty.
    ``weights_gb``: what a launch fetches, 1e9 bytes; ``weights_from``: the hub, at hand, or the region of a bucket;
    ``None``: nobody has said. Both are about what a launch costs and change nothing that runs: workloads that differ
    by them alone are the same, which their ``repr`` decides.
    """

    id: str
    engine: Engine = Engine.VLLM
    served_name: str = ""
    template: str = "vllm-openai"
    args: tuple[tuple[str, JsonScalar], ...] = ()
    weights_gb: float | None = field(default=None, repr=False)
    weights_from: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The name that clients send in ``model``."""
        return self.served_name or self.id

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names that clients may send to be answered by the model with an adapter."""
        modules = dict(self.args).get("lora_modules") or ""
        return tuple(word.partition("=")[0] for word in str(modules).split())


MAIN = "main"
"""What the model of ``model.id`` is called beside its variants."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Another model, or the same in other numbers, that may answer under the main model's name.

    ``model``: what its replicas run, by the main model's ``name``. ``quality``: of its answers, 0..1 of the main
    model's, as its owner's own evaluation has it; ``source`` says which. It is never assumed. ``memory_gib``: what it
    needs of a replica's accelerators together. ``throughput`` and ``power``: its output tokens per second and its watts
    over the main model's on the same machine and load, where its owner has measured them; ``None`` is unknown.
    """

    name: str
    model: ModelSpec
    quality: float
    source: str
    memory_gib: float | None = None
    throughput: float | None = None
    power: float | None = None


@dataclass(frozen=True, slots=True)
class QualityRules:
    """How much quality may be given up. No replica of a variant below ``floor`` serves, so no mean is below it either.

    ``usd_per_point``: what a lost point (a hundredth of the main model's quality) counts per 1,000 output tokens, in
    the dollars of a policy that weighs terms.
    """

    floor: float = 0.0
    usd_per_point: float = 0.0


NO_QUALITY_RULES = QualityRules()


@dataclass(frozen=True, slots=True)
class Accelerators:
    """One acceptable accelerator choice."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """SkyPilot's ``resources``, as far as the planner needs it. No accelerators means a CPU shape."""

    accelerators: tuple[Accelerators, ...] = ()
    use_spot: bool = False
    min_vcpus: float | None = None
    min_memory_gib: float | None = None
    infra: str | None = None


class SpotPlacer(StrEnum):
    """How spot replicas are spread. Without one they stand wherever the policy likes best, also all in one region.

    ``DYNAMIC_FALLBACK``: regions that hold no spot replica of the service come first.
    """

    DYNAMIC_FALLBACK = "dynamic_fallback"


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many replicas. Autoscaling between the two is decided by the planner.

    ``min_replicas`` may be 0 where ``max_replicas`` is more: without requests for ``downscale_delay`` the last replica
    goes when idling on costs more than a start, and the next request waits for one (``GatewayRules.hold``).

    The last four fields are SkyServe's, under its names and with its meaning (SkyPilot 0.14.1, ``sky.serve``).
    ``num_overprovision``: that many more than wanted, on the service's own market. ``base_ondemand_fallback_replicas``:
    so many of the wanted ones are always on demand. ``dynamic_ondemand_fallback``: on-demand replicas stand in as long
    as spot replicas are not ready. Both want ``use_spot``.

    ``upscale_delay`` and ``downscale_delay`` are SkyServe's, too (there 300 s and 1200 s by default): for how long load
    must ask for more, or for fewer, before that is done. Going up wants no delay: rates are means over half a minute,
    and a start takes long enough. Five minutes are about what an idle replica may stand before it has drawn as much as
    a start of 90 s at 0.7 of full power does, when it idles at a fifth.
    """

    min_replicas: int = 1
    max_replicas: int = 1
    target_qps_per_replica: float | None = None
    num_overprovision: int = 0
    base_ondemand_fallback_replicas: int = 0
    dynamic_ondemand_fallback: bool = False
    spot_placer: SpotPlacer | None = None
    upscale_delay: timedelta = timedelta(0)
    downscale_delay: timedelta = timedelta(minutes=5)


class Survives(StrEnum):
    """What a service may lose and still have the replicas that its load needs.

    ``REGION``: any one region with everything in it.
    """

    REGION = "region"


class SpotLoss(StrEnum):
    """What replaces a spot replica that was taken away, where nothing stands in for it anyhow.

    ``ON_DEMAND``: an on-demand replica at once; its slot goes back to spot after ``migration.min_dwell``.
    ``OTHER_REGION``: spot in another region. ``WAIT``: the same spot offer, when its back-off is over: until then fewer
    replicas serve than are wanted.
    """

    ON_DEMAND = "on_demand"
    OTHER_REGION = "other_region"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class PlacementRules:
    """Where replicas may go. ``allow`` and ``deny`` are glob patterns over region ids; empty ``allow`` means all."""

    residency: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    max_per_region: int | None = None
    on_spot_loss: SpotLoss = SpotLoss.ON_DEMAND
    home: str | None = None


class WhenStale(StrEnum):
    """What the policy does without a fresh number."""

    HOLD = "hold"
    FORECAST = "forecast"
    STATIC = "static"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class CarbonRules:
    """Which numbers count, how old they may be, and how much may be emitted."""

    basis: Basis = field(default_factory=Basis)
    sources: tuple[str, ...] = ()
    max_age: timedelta = timedelta(minutes=90)
    when_stale: WhenStale = WhenStale.HOLD
    budget_grams: float | None = None
    budget_period: str | None = None


LocalTime = datetime
"""A time as a clock on the wall shows it, without a zone; the schedule that holds it says whose wall."""


@dataclass(frozen=True, slots=True)
class WeeklyWindow:
    """A time of the day on some days of the week (0 is Monday), in minutes after local midnight.

    ``end_minute`` is at most 1440; one that is not above ``start_minute`` lies on the next day.
    """

    days: tuple[int, ...]
    start_minute: int
    end_minute: int


@dataclass(frozen=True, slots=True)
class CronWindow:
    """A window of that length from every moment that a crontab line names. Weekdays are written by name."""

    cron: str
    length: timedelta


@dataclass(frozen=True, slots=True)
class Closed:
    """A stretch of local time, ``[start, end)``, and why nothing moves in it."""

    start: LocalTime
    end: LocalTime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MoveSchedule:
    """When replicas may move of their own accord.

    Without windows: at any time but the closed ones. In a blackout the windows stay shut; in a freeze nothing voluntary
    moves, not even when a person asks. What was lost is replaced and new workloads are rolled out at any time.
    """

    time_zone: str = "UTC"
    windows: tuple[WeeklyWindow, ...] = ()
    cron: tuple[CronWindow, ...] = ()
    blackouts: tuple[Closed, ...] = ()
    freezes: tuple[Closed, ...] = ()


USUAL_IMPROVEMENT = 0.15
"""What is asked of a choice that looks at means and not at hours: a price, a score, another shape."""

IMPROVEMENT_BY_THE_HOUR = 0.03
"""What is asked of a move for carbon. It costs a hundredth of a point on two years of 41 grids (5 % cost four, 15 % all
that is to be had), and grids that are alike but for noise draw nobody back and forth (decision 0095)."""


@dataclass(frozen=True, slots=True)
class MigrationRules:
    """How a replica may move. ``canary_percent`` ends with 100. Without a ``schedule`` it may at any time.

    ``min_improvement_fraction``: ``None`` where nothing was said; see :meth:`asked_of_move`.
    """

    enabled: bool = True
    min_dwell: timedelta = timedelta(hours=2)
    min_improvement_fraction: float | None = None
    max_moves_per_day: int = 6
    canary_percent: tuple[int, ...] = (10, 50, 100)
    canary_hold: timedelta = timedelta(seconds=5)
    drain: timedelta = timedelta(seconds=120)
    abort_error_fraction: float = 0.01
    abort_ttft_p95: timedelta | None = None
    schedule: MoveSchedule | None = None

    @property
    def asked_of_exchange(self) -> float:
        """The part that has to be saved where only means are compared."""
        return USUAL_IMPROVEMENT if self.min_improvement_fraction is None else self.min_improvement_fraction

    def asked_of_move(self, objective: Objective) -> float:
        """Return the part that a move has to save.

        A move for carbon is weighed hour by hour against every later one, the way back counted, so that its own cost
        is nearly all the hysteresis it needs; prices and scores are taken as if they lasted.
        """
        if self.min_improvement_fraction is None and objective is Objective.GREENEST:
            return IMPROVEMENT_BY_THE_HOUR
        return self.asked_of_exchange


@dataclass(frozen=True, slots=True)
class BatchRules:
    """Work that has to be done by a deadline, and not at once: it runs in the cleanest hours before that.

    How much there is to do: ``engine_hours`` that replicas serve, added up, physical; or ``output_tokens``, of which
    one replica writes ``output_tokens_per_engine_hour``. Until when: ``deadline``, once; or at ``due_minute`` after
    local midnight on each of ``due_days`` (0 is Monday), as much again each time. ``margin``: time of the same clock
    that is kept free before the deadline. ``preemptible``: it may stop and go on later, for the price of another start.
    """

    engine_hours: float | None = None
    output_tokens: int | None = None
    output_tokens_per_engine_hour: float | None = None
    deadline: LocalTime | None = None
    due_days: tuple[int, ...] = ()
    due_minute: int = 0
    time_zone: str = "UTC"
    preemptible: bool = False
    margin: timedelta = timedelta(minutes=30)

    @property
    def asked_hours(self) -> float:
        """The engine hours of all of the work, by what is written."""
        if self.engine_hours is not None:
            return self.engine_hours
        rate = self.output_tokens_per_engine_hour
        return 0.0 if self.output_tokens is None or not rate else self.output_tokens / rate


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """How traffic reaches the replicas. ``resume_streams`` replays a broken stream elsewhere; disclosed, opt-in.

    ``hold``: how long a request waits at most for the first replica of a service that was scaled to zero; OpenAI's own
    clients wait ten minutes. ``max_held``: how many may wait in one gateway process.
    """

    host: str | None = None
    routing: str = "weighted"
    retries: int = 2
    cooldown: timedelta = timedelta(seconds=30)
    resume_streams: bool = False
    hold: timedelta = timedelta(minutes=5)
    max_held: int = 100


class Objective(StrEnum):
    """What is minimised once every constraint holds. ``LOWEST_SCORE``: the weighed sum of the policy's own terms."""

    GREENEST = "greenest"
    CHEAPEST = "cheapest"
    LOWEST_SCORE = "lowest_score"


class WhenUnknown(StrEnum):
    """What an expression of a policy means where something that it uses is unknown: never what it means at zero.

    ``EXCLUDE``: the offer is not taken. ``KEEP``: the rule does not speak of it. ``LAST``: the offer comes after all
    whose score is known.
    """

    EXCLUDE = "exclude"
    KEEP = "keep"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class OfferRule:
    """An offer is taken only where the expression ``only_if`` (CEL) is true. ``because``: why, in words."""

    name: str
    only_if: str
    if_unknown: WhenUnknown = WhenUnknown.EXCLUDE
    because: str = ""


@dataclass(frozen=True, slots=True)
class WeighedTerm:
    """One part of a score: a numeric expression (CEL), and what one unit of it counts, in US dollars per hour.

    ``unit``: of the expression, for people; dollars are the common measure, whether anybody pays them or not.
    """

    term: str
    weight: float
    unit: str = ""
    if_unknown: WhenUnknown = WhenUnknown.EXCLUDE


def usual_horizon(objective: Objective) -> timedelta:
    """Return how far ahead a policy file looks that does not say: four days of the grid, one of prices.

    Longer than four days gained nothing on two years of 41 grids, and a day lost most of what is to be had (decision
    0095). Prices are taken to last as long as is looked ahead, which is not said of more than a day.
    """
    return timedelta(hours=96) if objective is Objective.GREENEST else timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Policy:
    """The trade-off. ``max_extra_cost_fraction``: greenest within that much above the cheapest; ``None`` = no limit.

    ``rules`` keep offers out; they evict nobody who stands there. ``weigh``: the terms of ``LOWEST_SCORE``.
    ``horizon``: a file that does not say looks as far ahead as :func:`usual_horizon`.
    """

    name: str = "green-first"
    objective: Objective = Objective.GREENEST
    max_extra_cost_fraction: float | None = 0.15
    price_cap_usd_per_hour: float | None = None
    horizon: timedelta = timedelta(hours=24)
    description: str = ""
    rules: tuple[OfferRule, ...] = ()
    weigh: tuple[WeighedTerm, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientArea:
    """Where a share of the clients is: an area's name (``eu``, ``us-east``) and its weight; weights add up to 1."""

    near: str
    weight: float


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service, checked and with defaults filled in.

    ``lease``: for how long a replica goes on when nobody renews and nobody uses it, physical time.
    ``batch``: its work waits for cleaner hours; then load has no say in the number of replicas.
    ``variants``: by name, what else may answer under the model's name, within ``quality``.
    ``survives``: what may be lost at once without having fewer replicas than are needed; ``None`` promises nothing.
    Equal specs have equal digests, whatever the YAML looked like.
    """

    name: str
    model: ModelSpec
    resources: ResourceRequest = ResourceRequest()
    scaling: Scaling = Scaling()
    placement: PlacementRules = PlacementRules()
    carbon: CarbonRules = CarbonRules()
    policy: Policy = Policy()
    migration: MigrationRules = MigrationRules()
    gateway: GatewayRules = GatewayRules()
    startup_deadline: timedelta = timedelta(minutes=20)
    ttft_p95: timedelta | None = None
    availability_fraction: float | None = None
    clients: tuple[ClientArea, ...] = ()
    functional_unit_tokens: int = 1000
    labels: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    lease: timedelta = DEFAULT_LEASE
    budget: MoneyBudget = NO_LIMIT
    batch: BatchRules | None = None
    passthrough_json: str = field(default="{}", repr=False)
    variants: tuple[Variant, ...] = field(default=(), metadata=ONLY_IF_SET)
    quality: QualityRules = field(default=NO_QUALITY_RULES, metadata=ONLY_IF_SET)
    survives: Survives | None = field(default=None, metadata=ONLY_IF_SET)

    @property
    def market(self) -> Market:
        """The market that its replicas are wanted on, but for those that are on demand by rule."""
        return Market.SPOT if self.resources.use_spot else Market.ON_DEMAND

    @property
    def markets(self) -> frozenset[Market]:
        """Every market that a replica of it may be bought on."""
        scaling = self.scaling
        falls_back = (
            scaling.base_ondemand_fallback_replicas > 0
            or scaling.dynamic_ondemand_fallback
            or self.placement.on_spot_loss is SpotLoss.ON_DEMAND
        )
        return frozenset({self.market, Market.ON_DEMAND} if falls_back else {self.market})
