"""Run policies side by side over one recorded period, and hold each against home, B3 and the oracle."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

from orchestrator.control.ports import CarbonSource
from orchestrator.domain.carbon import CarbonSeries, Gap
from orchestrator.domain.hardware import Shape
from orchestrator.domain.offer import Candidate, Offer
from orchestrator.domain.price import Market
from orchestrator.domain.service import BatchRules, GatewayRules, Objective, Policy, ServiceSpec, SpotPlacer
from orchestrator.domain.time import HOUR, Window, format_instant
from orchestrator.errors import NoFeasiblePlacement, UsageError
from orchestrator.planner.judged import STANDING_RULES
from orchestrator.planner.promise import TTFT_RULE
from orchestrator.planner.wanted import may_sleep
from orchestrator.policy.assess import assess
from orchestrator.sim.batch import (
    BEGIN_AT_ONCE,
    at_once,
    in_hindsight,
    kept_promises,
    last_hour,
    rounds_of,
    seconds_each,
    work_of,
)
from orchestrator.sim.bill import Account, Service, Stay, account_of, moves_in, service_of, serving
from orchestrator.sim.board import Board, Choose, Mask
from orchestrator.sim.costs import affordable, changing, is_exact, passing_rules
from orchestrator.sim.fleet import Fleet
from orchestrator.sim.grid import Floats, RecordedGrid, SharedGrid, read_grid
from orchestrator.sim.oracle import as_rule, best, filled_in
from orchestrator.sim.prices import PriceChanges, prices_of
from orchestrator.sim.rules import RULES
from orchestrator.sim.sizes import sizes_of
from orchestrator.sim.stock import Stock, Trace, stock_of
from orchestrator.sim.workload import Workload
from orchestrator.sim.world import WARM_UP, Setting, TwinWorld, aligned, allowed_offers

SPOTHEDGE = "spothedge"
ORACLE = "oracle"
NEEDS_SPOT = frozenset({"cheapest-spot", SPOTHEDGE})
REFERENCES = ("home", "B3")
HOME_ASLEEP = "home-asleep"
OVERPROVISIONED = 1
"""SpotHedge keeps one replica more than wanted (SkyServe, arXiv 2411.01438, its default)."""

LONGEST_MOVE_SECONDS = 3600.0
MOST_NAMED = 8
"""Of regions that are left out for one reason, so many are named."""
_WARM_UP_HOURS = int(WARM_UP / HOUR)
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)

Progress = Callable[[str, float], None]
"""Told the policy at work and the fraction of it that is done."""

Note = Callable[[str], None]
"""Told what of the world had to be assumed."""


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


@dataclass(frozen=True)
class Row:
    """How one policy did over the period. ``kind``: ``rule``, ``ours`` or ``bound``; ``about``: what it does, in words.

    ``refusal``: why it cannot place the service at all; then there are no figures. ``grams`` of what was known, the
    rest is ``unknown_kwh``. ``places``: (second of the period, regions that serve from
    then on). ``looks``: how often the real controller looked. ``held_fraction``: of the requests that waited for a
    replica of a service that slept, at most ``longest_hold_seconds``.
    """

    policy: str
    kind: str
    about: str
    grams: float
    usd: float | None
    kwh: float
    unknown_kwh: float
    replica_hours: float
    moves: int
    losses: int
    available_fraction: float
    served_fraction: float
    crowded_fraction: float
    by_day: Mapping[str, float]
    by_month: Mapping[str, float]
    by_region: Mapping[str, float]
    places: tuple[tuple[float, tuple[str, ...]], ...]
    looks: int = 0
    refusal: str = ""
    held_fraction: float = 0.0
    longest_hold_seconds: float = 0.0


def names_known(shipped: Sequence[str]) -> tuple[str, ...]:
    """Return every name that ``--policies`` knows, rivals first."""
    return (*RULES, SPOTHEDGE, *shipped, "ours", ORACLE)


async def simulate(request: Request, progress: Progress, note: Note = lambda _words: None) -> AsyncIterator[Row]:
    """Yield a row for each policy as soon as it is done; the references home and B3 come first.

    Raises ``UsageError`` for a period or a service that cannot be simulated, ``SignalUnavailable`` when the recording
    does not cover the period, ``NoFeasiblePlacement`` when the rules leave the service nowhere to stand.
    """
    request = prepared(request)
    _check(request)
    setting = await setting_of(request)
    for words in (*setting.prices.notes, *(setting.stock.notes if _takes_spot(request) else ())):
        note(words)
    for words in (*_left_out(request, setting), *_notes(request, setting), *_notes_of_the_past(setting)):
        note(words)
    own = await board_of(request, setting, request.spec)
    for name in _rivals(request):
        progress(name, 0.0)
        if name == SPOTHEDGE:
            spec = spothedge(request.spec, request.policies)
            yield await _lived(
                name, "SkyServe's spot with one spare and on-demand stand-ins", "rule", setting, spec, progress
            )
            continue
        board = own
        if name == "home":
            # Whoever stays at home does not spread, and pays what home costs.
            board = replace(own, limit=None, affordable=np.isfinite(own.prices))
        if name in NEEDS_SPOT:
            board = await board_of(request, setting, on_spot(request.spec))
        yield _rival(name, request, setting, board)
        if name == "home" and _sleeps(request.spec):
            about = "home, to zero after the delay of scaling down"
            asleep = replace(board, sizes=setting.sizes)
            yield _played(
                HOME_ASLEEP, about, "rule", setting, asleep, RULES[name].make(asleep), hold=request.spec.gateway
            )
        await asyncio.sleep(0)  # where an interrupt gets through
    setting = replace(setting, offers=tuple(_seen_by_clients(o, request) for o in setting.offers))
    for name, policy in request.policies.items():
        about = policy.description or f"greenctl, policy {policy.name}"
        yield await _lived(name, about, "ours", setting, replace(request.spec, policy=policy), progress)
    if request.with_oracle:
        progress(ORACLE, 0.0)
        yield _bound(request, setting, await bound_board(request, setting))


def prepared(request: Request) -> Request:
    """Return what is really simulated: of batch work its rounds, and replicas that are full while they serve.

    The period ends with the last round that is due in it. Raises ``UsageError`` where none is.
    """
    batch = request.spec.batch
    if batch is None or request.load.full is not None:
        return request
    period = last_hour(rounds_of(batch, request.period))
    return replace(request, period=period, load=work_of(request.spec, batch, request.load))


async def setting_of(request: Request) -> Setting:
    """Read what is recorded of the places that the service may use. Raises ``SignalUnavailable``."""
    home = request.spec.placement.home
    here = _open_to(request)
    if not any(may_stand(o, s) for o in here for s in _either_market(request.spec)):
        message = f"{request.spec.name}: its placement rules leave it no region with an offer"
        raise NoFeasiblePlacement(message, hint="Relax placement.allow, deny or residency.")
    zones = [o.region.zone for o in here if o.region.zone is not None]
    grid = await read_grid(request.carbon, zones, request.spec.carbon.basis, request.period)
    counted = sorted((o for o in here if _is_counted(o, grid)), key=lambda o: o.id)
    prices = prices_of(counted, request.period, request.prices)
    known = tuple(prices.priced(o, 0, request.period) for o in counted)
    return Setting(
        period=request.period,
        offers=known,
        grid=grid,
        load=request.load,
        sizes=sizes_of(request.spec, request.load, _shapes(known, home)),
        stock=stock_of(known, request.period, request.traces, request.seed),
        prices=prices,
        cold_start=request.cold_start,
        carbon=request.carbon,
        shared=SharedGrid(request.carbon, grid),
        evenly=request.evenly,
    )


async def board_of(request: Request, setting: Setting, spec: ServiceSpec) -> Board:
    """Lay out what the rivals may use: what the service's rules allow, prices by the hour, and home.

    Raises ``NoFeasiblePlacement`` when that is nothing as the period begins.
    """
    allowed = await allowed_offers(setting, spec, passing_rules(spec.policy))
    board = _laid_out(request, setting, spec, allowed)
    board = replace(board, affordable=_affordable(board, spec.policy, board.hours, bound=True))
    if not board.sold(0)[sorted(board.allowed)].any():
        message = f"{spec.name}: its rules allow no offer with a recorded grid at the start of the period"
        raise NoFeasiblePlacement(message, hint="greenctl plan SPEC says which rule excludes what.")
    return board


async def bound_board(request: Request, setting: Setting) -> Board:
    """Lay out what anybody who is compared may use in any hour, each by its own policy: nobody may be below the bound.

    Home is among it where the service's placement rules let it stand there, however dear it is.
    """
    spec = request.spec
    usable = {o.id for o in setting.offers if o.region.id == spec.placement.home and may_stand(o, spec)}
    for asked in _compared(request):
        apart_from = passing_rules(asked.policy) | {TTFT_RULE}  # of the load as it is when the period begins
        allowed = await allowed_offers(setting, asked, apart_from)
        if not allowed:
            continue
        board = _laid_out(request, setting, asked, allowed)
        exact = is_exact(asked.policy, promises=asked.ttft_p95 is not None, shortages=bool(setting.stock.counts))
        hours = _affordable(board, asked.policy, board.hours + _WARM_UP_HOURS, bound=exact)
        usable |= {board.offers[i].id for i in board.allowed if hours[:, i].any()}
    return _laid_out(request, setting, spec, frozenset(usable))


def _compared(request: Request) -> list[ServiceSpec]:
    """Return the service under each policy of which there is a row, rivals' first."""
    spec, rules = request.spec, request.rules
    asked = [spec, *(replace(spec, policy=p) for p in request.policies.values())]
    if not {*rules}.isdisjoint(NEEDS_SPOT - {SPOTHEDGE}):
        asked.append(on_spot(spec))
    return [*asked, spothedge(spec, request.policies)] if SPOTHEDGE in rules else asked


def _affordable(board: Board, policy: Policy, hours: int, *, bound: bool) -> Mask:
    """Return which offers may be taken in the last hours up to the end of the period, by their prices.

    Before the period the prices of its first hour hold.
    """
    early = hours - board.hours
    prices = np.vstack([board.prices[:1].repeat(early, axis=0), board.prices])
    first = board.past - early - 1
    known = np.isfinite(board.intensity[first : first + hours])
    return affordable(board.offers, board.allowed, policy, prices, known, bound=bound)


def _laid_out(request: Request, setting: Setting, spec: ServiceSpec, allowed: frozenset[str]) -> Board:
    """Lay out these offers and home, to be taken whenever they are sold."""
    home = _home(setting.offers, allowed, spec)
    offers = tuple(o for o in setting.offers if o.id in allowed or o.id == home)
    columns = [setting.grid.zones.index(o.region.zone or "") for o in offers]
    intensity = setting.grid.grams_per_kwh[:, columns]
    longitudes = [o.region.longitude if o.region.longitude is not None else _at(request, o) for o in offers]
    rules = spec.migration
    prices = _price_table(setting, offers)
    return Board(
        offers=offers,
        allowed=frozenset(i for i, o in enumerate(offers) if o.id in allowed),
        home=next(i for i, o in enumerate(offers) if o.id == home),
        market=spec.market,
        falls_back=Market.ON_DEMAND in spec.markets,
        grid=setting.grid,
        intensity=np.where(np.isnan(intensity), np.inf, intensity),
        load=setting.load,
        stock=setting.stock,
        sizes=setting.sizes.awake,
        limit=spec.placement.max_per_region,
        cold_seconds=setting.cold_start.total_seconds(),
        overlap_seconds=len(rules.canary_percent) * rules.canary_hold.total_seconds() + setting.load.request_seconds,
        longitudes=np.array(longitudes),
        prices=prices,
        affordable=np.isfinite(prices),
    )


def may_stand(offer: Offer, spec: ServiceSpec) -> bool:
    """Whether the service's own placement rules and markets let it stand there, whatever grid and price are."""
    unknown = offer.region.zone or "?"
    candidate = Candidate(offer, Gap(unknown, "", ""), CarbonSeries(unknown, ()), None)
    providers = frozenset({offer.region.provider})
    judged = assess(candidate, spec, spec.policy, _ANY_TIME, 1.0, providers)
    return all(v.passed for v in judged.verdicts if v.rule in STANDING_RULES)


def _either_market(spec: ServiceSpec) -> tuple[ServiceSpec, ServiceSpec]:
    return spec, on_spot(spec)


def _open_to(request: Request) -> list[Offer]:
    """Return what is offered where the service may stand, on either market, and at home."""
    home, specs = request.spec.placement.home, _either_market(request.spec)
    return [o for o in request.offers if o.region.id == home or any(may_stand(o, s) for s in specs)]


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


# ── one policy ───────────────────────────────────────────────────────────────────────────────────────


async def _lived(name: str, about: str, kind: str, setting: Setting, spec: ServiceSpec, progress: Progress) -> Row:
    setting = replace(setting, offers=tuple(o for o in setting.offers if may_stand(o, spec)))
    progress(name, 0.0)
    try:
        run = await TwinWorld(setting, spec).live(lambda fraction: progress(name, fraction))
    except NoFeasiblePlacement as error:
        nothing = Account(unpriced_hours=1.0)
        refused = _row(name, about, kind, nothing, Service(0.0, 0.0), 0, 0, ())
        return replace(refused, refusal=f"{error.message}. {error.hint()}")
    places = tuple(run.places)
    service = run.service if spec.batch is None else _promises(spec.batch, run.served, setting)
    return _row(name, about, kind, run.account, service, run.moves, run.losses, places, run.looks)


def _rival(name: str, request: Request, setting: Setting, board: Board) -> Row:
    """Let a rule place the replicas, or of batch work begin each round at once where it says."""
    rule, batch = RULES[name], request.spec.batch
    choose = rule.make(board)
    if batch is None:
        return _played(name, rule.about, "rule", setting, board, choose)
    seconds = seconds_each(batch, request.spec.scaling.max_replicas)
    stays = at_once(board, choose, rounds_of(batch, setting.period), seconds)
    return _worked(name, f"at once: {rule.about}", "rule", setting, board, batch, stays)


def _worked(
    name: str, about: str, kind: str, setting: Setting, board: Board, batch: BatchRules, stays: Sequence[Stay]
) -> Row:
    """Count the stays of batch work."""
    account = account_of(stays, board.offers, setting.grid, setting.load)
    service = _promises(batch, [(s.ready, s.until) for s in stays], setting)
    return _row(name, about, kind, account, service, 0, 0, _places(stays, board, setting.period))


def _promises(batch: BatchRules, served: Iterable[tuple[float, float]], setting: Setting) -> Service:
    return kept_promises(served, setting.period, rounds_of(batch, setting.period), batch.asked_hours)


def _bound(request: Request, setting: Setting, own: Board) -> Row:
    """Return the optimum in hindsight, played like everybody; of a service that may sleep, it knows when to."""
    hindsight, hold = own, None
    if (batch := request.spec.batch) is not None:
        seconds = seconds_each(batch, request.spec.scaling.max_replicas)
        known = in_hindsight(own, batch, rounds_of(batch, setting.period), seconds)
        about = "each round in the best hours of its places, in hindsight"
        about += "" if known.exact else ", ignoring max_per_region"
        about += ", in the planner's raster" if batch.preemptible else ""
        return _worked(ORACLE, about, "bound", setting, own, batch, known.stays)
    if _sleeps(request.spec):
        hindsight, hold = replace(own, sizes=setting.sizes.foreseen), request.spec.gateway
    found = best(hindsight)
    about = "least grams in hindsight" + ("" if found.exact else ", ignoring max_per_region")
    about += ", asleep by whole hours" if _sleeps(request.spec) else ""
    about += "" if request.evenly else ", traffic shared evenly"
    free = replace(hindsight, stock=Stock(request.period), limit=None)
    return _played(ORACLE, about, "bound", setting, free, as_rule(found.path), filled_in(found.path), hold)


def _played(
    name: str,
    about: str,
    kind: str,
    setting: Setting,
    board: Board,
    choose: Choose,
    filled: Callable[[int], AbstractSet[int]] | None = None,
    hold: GatewayRules | None = None,
) -> Row:
    stays = Fleet(board, choose, filled).play()
    account = account_of(stays, board.offers, setting.grid, setting.load)
    service = service_of(stays, setting.period, setting.sizes, setting.load, hold)
    losses = sum(s.lost for s in stays)
    return _row(name, about, kind, account, service, moves_in(stays), losses, _places(stays, board, setting.period))


def _row(
    name: str,
    about: str,
    kind: str,
    account: Account,
    service: Service,
    moves: int,
    losses: int,
    places: tuple[tuple[float, tuple[str, ...]], ...],
    looks: int = 0,
) -> Row:
    return Row(
        policy=name,
        kind=kind,
        about=about,
        grams=account.grams,
        usd=None if account.unpriced_hours > 0 else account.usd,
        kwh=account.kwh,
        unknown_kwh=account.unknown_kwh,
        replica_hours=account.replica_hours,
        moves=moves,
        losses=losses,
        available_fraction=service.available_fraction,
        served_fraction=service.served_fraction,
        crowded_fraction=service.crowded_fraction,
        by_day=dict(sorted(account.by_day.items())),
        by_month=account.by_month,
        by_region=dict(sorted(account.by_region.items())),
        places=places,
        looks=looks,
        held_fraction=service.held_fraction,
        longest_hold_seconds=service.longest_hold_seconds,
    )


def _places(stays: Sequence[Stay], board: Board, period: Window) -> tuple[tuple[float, tuple[str, ...]], ...]:
    """Return where replicas serve, from which second on."""
    edges, _ = serving(stays, period)
    found: list[tuple[float, tuple[str, ...]]] = []
    begun = sorted(stays, key=lambda s: s.ready)
    live: list[Stay] = []
    position = 0
    for edge, _end in pairwise(edges):
        while position < len(begun) and begun[position].ready <= edge:
            live.append(begun[position])
            position += 1
        live = [s for s in live if s.until > edge]
        now = tuple(sorted(board.offers[s.offer].region.id for s in live))
        if not found or found[-1][1] != now:
            found.append((edge, now))
    return tuple(found)


# ── checks and small parts ───────────────────────────────────────────────────────────────────────────


def _check(request: Request) -> None:
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


def _sleeps(spec: ServiceSpec) -> bool:
    """Whether requests decide on whether there is any replica at all."""
    return may_sleep(spec.scaling) and spec.batch is None


def _seen_by_clients(offer: Offer, request: Request) -> Offer:
    """Return the offer where its grid zone is, if its region's own place is not known and the way to it counts."""
    zone = offer.region.zone or ""
    known = offer.region.latitude is not None and offer.region.longitude is not None
    if known or not request.spec.clients or zone not in request.latitudes or zone not in request.longitudes:
        return offer
    place = replace(offer.region, latitude=request.latitudes[zone], longitude=request.longitudes[zone])
    return replace(offer, region=place)


def _takes_spot(request: Request) -> bool:
    """Whether anybody of whom there is a row may stand on spot."""
    return Market.SPOT in request.spec.markets or not NEEDS_SPOT.isdisjoint(request.rules)


def _rivals(request: Request) -> list[str]:
    """Return the rules that are played, the references first."""
    wanted = [*REFERENCES, *(r for r in request.rules if r not in REFERENCES)]
    return wanted if request.spec.batch is None else [name for name in wanted if name in BEGIN_AT_ONCE]


def _left_out(request: Request, setting: Setting) -> list[str]:
    """Say in which regions nobody can stand because something that is counted there is not known, by reason."""
    standing = {o.region.id for o in setting.offers}
    regions: dict[str, set[str]] = {}
    for offer in _open_to(request):
        if offer.region.id not in standing:
            place, zone = offer.region.id, offer.region.zone
            is_of_the_grid = zone is not None and zone not in setting.grid.zones
            regions.setdefault(_why_not_counted(offer, setting.grid), set()).add(
                f"{place} ({zone})" if is_of_the_grid else place
            )
    notes = []
    for why, named in sorted(regions.items()):
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        notes.append(f"left out, {why}: {', '.join(sorted(named)[:MOST_NAMED])}{more}")
    return notes


def _notes(request: Request, setting: Setting) -> list[str]:
    """Say what the figures do not show of a service that sleeps, has batch work, or shares traffic by the grid."""
    notes = []
    if (batch := request.spec.batch) is not None:
        rounds = rounds_of(batch, request.period)
        words = f"{len(rounds)} round{'' if len(rounds) == 1 else 's'} of batch work, the last due"
        words += f" {format_instant(rounds[-1].end)}, where the figures end"
        notes.append(f"{words}; replicas are full while they serve, and rivals begin each round at once")
        if left_out := sorted({*request.rules} - {*_rivals(request)}):
            notes.append(f"without {', '.join(left_out)}: rules of how a replica moves that is always there")
    if _sleeps(request.spec):
        quiet = sum(rate == 0 for rate in request.load.requests_per_second)
        words = f"{quiet} of {len(request.load.requests_per_second)} hours have no request: only in these it sleeps"
        notes.append(f"{words}, because requests flow evenly within an hour; rivals but {HOME_ASLEEP} never sleep")
    if guessed := sorted({o.region.id for o in setting.offers if _seen_by_clients(o, request) is not o}):
        words = "lie where their grid zones have other regions, on average, as their own places are not known"
        notes.append(f"for the way to clients {', '.join(guessed)} {words}")
    if names := changing(request.spec.policy):
        words = "with the hour, so rivals and the oracle stand where these do not let the service stand"
        notes.append(f"what {', '.join(names)} of policy {request.spec.policy.name} allows changes {words}")
    if not request.evenly:
        words = "of greenctl's policies follows the grid; rivals and the oracle share it evenly"
        notes.append(f"traffic {words}, so that a policy may stand below the oracle")
    return notes


def _notes_of_the_past(setting: Setting) -> list[str]:
    """Say who begins where, if nothing is recorded before the period."""
    if np.isfinite(setting.grid.grams_per_kwh[: setting.grid.past]).any():
        return []
    return ["nothing is recorded before the period: who goes by the grid begins at home, and looks from its values on"]


def _is_counted(offer: Offer, grid: RecordedGrid) -> bool:
    """Whether energy and grams of an offer can be counted at all."""
    return not _why_not_counted(offer, grid)


def _why_not_counted(offer: Offer, grid: RecordedGrid) -> str:
    """Return what is missing to count an offer's energy, grams and dollars; nothing where nothing is."""
    lacks = {
        "whose grid zone is not known": offer.region.zone is None,
        "of whose grid the recording has no value in the period": offer.region.zone not in grid.zones,
        "whose PUE is not known": offer.region.pue is None,
        "where no machine has a power model": offer.shape.power is None,
        "where nothing has a price": offer.price is None,
    }
    return next((why for why, lacking in lacks.items() if lacking), "")


def _price_table(setting: Setting, offers: Sequence[Offer]) -> Floats:
    """Return dollars an hour, (hours, offers), ``inf`` while something is not offered."""
    hours = setting.grid.hours
    table = [[math.inf if (p := setting.prices.at(o, h)) is None else p for o in offers] for h in range(hours)]
    return np.array(table)


def _shapes(offers: Sequence[Offer], home: str | None) -> tuple[Shape, ...]:
    """Return what a replica is sized by: what is sold at home; all there is where home is not known."""
    there = [o.shape for o in offers if o.region.id == home] or [o.shape for o in offers]
    return tuple(dict.fromkeys(there))


def _home(offers: Sequence[Offer], allowed: frozenset[str], spec: ServiceSpec) -> str:
    """Return the offer at home: where the spec says, else the cheapest that is allowed."""
    named = spec.placement.home
    there = sorted(
        (o for o in offers if o.region.id == named),
        key=lambda o: (o.id not in allowed, o.market is not spec.market, _usd(o), o.id),
    )
    if there:
        return there[0].id
    if named is not None:
        message = f"placement.home is {named}, where nothing with a price and a recorded grid is on offer"
        raise NoFeasiblePlacement(message, hint="Name another home, or a recording that has its grid zone.")
    usable = (o for o in offers if o.id in allowed)
    return min(usable, key=lambda o: (o.market is not spec.market, _usd(o), o.id)).id


def _usd(offer: Offer) -> float:
    return math.inf if offer.price is None else offer.price.usd_per_hour


def _at(request: Request, offer: Offer) -> float:
    return request.longitudes.get(offer.region.zone or "", math.inf)
