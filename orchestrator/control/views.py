"""Answers to questions, as values that every front end renders."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.domain.carbon import CarbonSeries, Reading
from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.crossover import Crossover
from orchestrator.domain.records import Event, Operation, Pause, ServiceRecord
from orchestrator.domain.replica import Replica
from orchestrator.domain.scale import WantedReplicas
from orchestrator.domain.split import OriginSplit, Split
from orchestrator.domain.survival import Survival
from orchestrator.domain.time import Instant, Window
from orchestrator.domain.written import ONLY_IF_SET
from orchestrator.planner.spending import Bill, BudgetUse


@dataclass(frozen=True, slots=True)
class Band:
    """Two ends between which what comes falls in that part of the days, g/kWh."""

    window: Window
    low_grams_per_kwh: float
    high_grams_per_kwh: float


@dataclass(frozen=True, slots=True)
class ZoneOutlook:
    """A grid zone now and in the coming hours. ``cleanest`` is the window of the asked length with the lowest mean.

    ``bands``: of each hour of the forecast, for ``band_level`` of the days; made of how the same forecast, issued at
    this hour, was wrong on each of the last weeks' days. ``mean_band``: that of the mean over all of its hours. Empty
    and ``None`` where too few days are known, for a provider's forecast, whose earlier ones are not on record, and for
    one that rests on made-up values, which are never wrong; ``no_mean_band`` says which of it, where there is a mean.
    ``crossover``: from which age on the forecast is nearer than the last value; ``None`` where that is of the present
    hour, or the forecast does not know it.
    """

    zone: str
    regions: tuple[str, ...]
    now: Reading
    age_seconds: float | None
    forecast: CarbonSeries
    mean_grams_per_kwh: float | None
    cleanest: Window | None
    cleanest_grams_per_kwh: float | None
    trailing_mean_grams_per_kwh: float | None
    band_level: float = 0.8
    bands: tuple[Band, ...] = ()
    mean_band: Band | None = None
    no_mean_band: str = ""
    crossover: Crossover | None = None


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """A replica with what its zone and load look like now; ``None`` is unknown.

    ``lease_ends_at``: when it ends by itself unless we, or its users, are heard of before; ``None``: it would not.
    """

    replica: Replica
    grid: Reading | None
    pue: float | None
    mean_batch: float | None
    watts: float | None
    grams_per_hour: float | None
    in_flight: int | None
    lease_ends_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service at a glance.

    ``grams_per_hour`` and ``usd_per_hour`` sum what is known of its paid replicas and are ``None`` when any part is
    unknown. ``sizing``: how many replicas load wanted by the last decision, and why; ``None`` where the spec alone
    decides. ``split``: the sharing of traffic that weights go towards, by the load of the last minutes; ``None`` where
    there is nothing to choose. ``origins``: the same by origin of the clients, in rows where they differ.
    ``look`` says in one sentence what the controller is doing or waiting for. ``pauses``: the words that
    hold it, the one about everything first. ``bill``: what it costs at most if everything of ours dies now. ``money``:
    how much of its budget is spent or held. ``survival``: whether the replicas that serve keep ``slo.survives`` now;
    ``None`` where nothing is promised, or nobody is wanted.
    """

    service: ServiceRecord
    at: Instant
    wanted: int
    ready: int
    replicas: tuple[ReplicaView, ...]
    operation: Operation | None
    grams_per_hour: float | None
    usd_per_hour: float | None
    gateway: GatewayStatus | None
    gateway_url: str
    last_event: Event | None
    look: str
    sizing: WantedReplicas | None = None
    pauses: tuple[Pause, ...] = ()
    bill: Bill | None = None
    money: tuple[BudgetUse, ...] = ()
    split: Split | None = None
    origins: OriginSplit | None = None
    survival: Survival | None = field(default=None, metadata=ONLY_IF_SET)
