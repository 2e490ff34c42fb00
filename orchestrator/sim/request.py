"""What is compared: one service over a recorded period, under policies of ours and under the rules of rivals.

Who takes part, and as which service: SpotHedge is the real controller with other rules in the file, and who buys spot
asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from orchestrator.control.ports import CarbonSource
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market
from orchestrator.domain.service import Objective, Policy, ServiceSpec, SpotPlacer
from orchestrator.domain.time import Window
from orchestrator.errors import NoFeasiblePlacement, UsageError
from orchestrator.planner.wanted import may_sleep
from orchestrator.sim.batch import BEGIN_AT_ONCE, last_hour, rounds_of, work_of
from orchestrator.sim.prices import PriceChanges
from orchestrator.sim.stock import Trace
from orchestrator.sim.workload import Workload
from orchestrator.sim.world import aligned

SPOTHEDGE = "spothedge"
ORACLE = "oracle"
NEEDS_SPOT = frozenset({"cheapest-spot", SPOTHEDGE})
REFERENCES = ("home", "B3")
OVERPROVISIONED = 1
"""SpotHedge keeps one replica more than wanted (SkyServe, arXiv 2411.01438, its default)."""

LONGEST_MOVE_SECONDS = 3600.0


@dataclass(frozen=True)
class Request:
    """What to simulate. ``policies``: ours by name; ``rules``: rivals by name, in the order of the answer.

    ``longitudes``: degrees east of regions whose catalogue entry has none; ``latitudes``: degrees north, both by grid
    zone. Where the service names its clients, our policies see such a region there, for the way to it. ``evenly``: all
    policies share traffic evenly; else ours do as the service's file says, and rivals and the oracle go on sharing it
    evenly.
    """

    spec: ServiceSpec
    offers: tuple[Offer, ...]
    period: Window
    policies: Mapping[str, Policy]
    rules: tuple[str, ...]
    with_oracle: bool
    load: Workload
    traces: tuple[Trace, ...]
    seed: int
    cold_start: timedelta
    carbon: CarbonSource
    longitudes: Mapping[str, float]
    prices: PriceChanges = field(default_factory=PriceChanges)
    evenly: bool = True
    latitudes: Mapping[str, float] = field(default_factory=dict)


def prepared(request: Request) -> Request:
    """Return what is really simulated: of batch work its rounds, and replicas that are full while they serve.

    The period ends with the last round that is due in it. Raises ``UsageError`` where none is.
    """
    batch = request.spec.batch
    if batch is None or request.load.full is not None:
        return request
    period = last_hour(rounds_of(batch, request.period))
    return replace(request, period=period, load=work_of(request.spec, batch, request.load))


def check(request: Request) -> None:
    """Raise ``UsageError`` or ``NoFeasiblePlacement`` for what cannot be simulated, whatever is recorded."""
    period, spec = request.period, request.spec
    if not aligned(period) or period.length <= timedelta(0):
        raise UsageError(
            f"the period {period.start:%Y-%m-%d %H:%M} to {period.end:%Y-%m-%d %H:%M} is not of whole hours, forwards",
            hint="Give --from and --to as full hours, --to after --from: 2023-01-01, or 2023-01-01T06:00Z.",
        )
    if spec.batch is not None and spec.resources.use_spot:
        message = f"{spec.name} has batch work on spot, which cannot be simulated: rivals have no rule for its loss"
        raise UsageError(message, hint="Remove resources.use_spot to simulate the same work on demand.")
    rules = spec.migration
    overlap = len(rules.canary_percent) * rules.canary_hold.total_seconds() + request.load.request_seconds
    if request.cold_start.total_seconds() + overlap >= LONGEST_MOVE_SECONDS or request.cold_start <= timedelta(0):
        message = f"a move of {request.cold_start.total_seconds() + overlap:.0f} s does not fit into an hour"
        raise UsageError(message, hint="Give --cold-start something between 1s and 50m, or shorter canary steps.")
    if not request.offers:
        message = f"{spec.name}: nothing that its resources ask for is on offer"
        raise NoFeasiblePlacement(message, hint="Name a folder with a price list with --data, or change resources.")


def rivals_of(request: Request) -> list[str]:
    """Return the rules that are played, the references first."""
    wanted = [*REFERENCES, *(r for r in request.rules if r not in REFERENCES)]
    return wanted if request.spec.batch is None else [name for name in wanted if name in BEGIN_AT_ONCE]


def compared(request: Request) -> list[ServiceSpec]:
    """Return the service under each policy of which there is a row, rivals' first."""
    spec, rules = request.spec, request.rules
    asked = [spec, *(replace(spec, policy=p) for p in request.policies.values())]
    if not {*rules}.isdisjoint(NEEDS_SPOT - {SPOTHEDGE}):
        asked.append(on_spot(spec))
    return [*asked, spothedge(spec, request.policies)] if SPOTHEDGE in rules else asked


def on_spot(spec: ServiceSpec) -> ServiceSpec:
    """Return the service as if it had asked for spot."""
    return replace(spec, resources=replace(spec.resources, use_spot=True))


def spothedge(spec: ServiceSpec, policies: Mapping[str, Policy]) -> ServiceSpec:
    """Return the service under SkyServe's SpotHedge: cheapest spot, spread, one spare, on-demand stand-ins."""
    cheapest = policies.get("cheapest") or Policy(
        "cheapest", objective=Objective.CHEAPEST, max_extra_cost_fraction=None
    )
    scaling = replace(
        spec.scaling,
        num_overprovision=OVERPROVISIONED,
        dynamic_ondemand_fallback=True,
        spot_placer=SpotPlacer.DYNAMIC_FALLBACK,
    )
    still = replace(spec.migration, enabled=False)
    return replace(on_spot(spec), scaling=scaling, policy=cheapest, migration=still)


def has_spot(offers: Sequence[Offer]) -> bool:
    """Whether anything is sold as spot with a price."""
    return any(o.market is Market.SPOT and o.price is not None for o in offers)


def takes_spot(request: Request) -> bool:
    """Whether anybody of whom there is a row may stand on spot."""
    return Market.SPOT in request.spec.markets or not NEEDS_SPOT.isdisjoint(request.rules)


def sleeps(spec: ServiceSpec) -> bool:
    """Whether requests decide on whether there is any replica at all."""
    return may_sleep(spec.scaling) and spec.batch is None
