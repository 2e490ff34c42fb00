"""What anybody may use: the offers whose energy, grams and dollars can be counted, and what the rules allow of them.

``setting_of`` lays out the world that is the same for all; a board is what one rival, or the oracle, may use of it.
What a policy does with it is not told here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from orchestrator.domain.carbon import CarbonSeries, Gap
from orchestrator.domain.hardware import Shape
from orchestrator.domain.offer import Candidate, Offer
from orchestrator.domain.price import Market
from orchestrator.domain.service import Policy, ServiceSpec
from orchestrator.domain.time import HOUR
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.judged import STANDING_RULES
from orchestrator.planner.promise import TTFT_RULE
from orchestrator.policy.assess import assess
from orchestrator.sim.board import Board, Mask
from orchestrator.sim.costs import affordable, is_exact, passing_rules
from orchestrator.sim.grid import Floats, RecordedGrid, SharedGrid, read_grid
from orchestrator.sim.prices import prices_of
from orchestrator.sim.request import Request, compared, on_spot
from orchestrator.sim.sizes import sizes_of
from orchestrator.sim.stock import stock_of
from orchestrator.sim.world import WARM_UP, Setting, allowed_offers

_WARM_UP_HOURS = int(WARM_UP / HOUR)
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


async def setting_of(request: Request) -> Setting:
    """Read what is recorded of the places that the service may use. Raises ``SignalUnavailable``."""
    home = request.spec.placement.home
    here = open_to(request)
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
    for asked in compared(request):
        apart_from = passing_rules(asked.policy) | {TTFT_RULE}  # of the load as it is when the period begins
        allowed = await allowed_offers(setting, asked, apart_from)
        if not allowed:
            continue
        board = _laid_out(request, setting, asked, allowed)
        kinds = len({(o.shape, o.variant) for o in board.offers})
        shortages = bool(setting.stock.counts)
        exact = is_exact(asked.policy, promises=asked.ttft_p95 is not None, shortages=shortages, shapes=kinds)
        hours = _affordable(board, asked.policy, board.hours + _WARM_UP_HOURS, bound=exact)
        usable |= {board.offers[i].id for i in board.allowed if hours[:, i].any()}
    return _laid_out(request, setting, spec, frozenset(usable))


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


def open_to(request: Request) -> list[Offer]:
    """Return what is offered where the service may stand, on either market, and at home."""
    home, specs = request.spec.placement.home, _either_market(request.spec)
    return [o for o in request.offers if o.region.id == home or any(may_stand(o, s) for s in specs)]


def _either_market(spec: ServiceSpec) -> tuple[ServiceSpec, ServiceSpec]:
    return spec, on_spot(spec)


def seen_by_clients(offer: Offer, request: Request) -> Offer:
    """Return the offer where its grid zone is, if its region's own place is not known and the way to it counts."""
    zone = offer.region.zone or ""
    known = offer.region.latitude is not None and offer.region.longitude is not None
    if known or not request.spec.clients or zone not in request.latitudes or zone not in request.longitudes:
        return offer
    place = replace(offer.region, latitude=request.latitudes[zone], longitude=request.longitudes[zone])
    return replace(offer, region=place)


def _is_counted(offer: Offer, grid: RecordedGrid) -> bool:
    """Whether energy and grams of an offer can be counted at all."""
    return not why_not_counted(offer, grid)


def why_not_counted(offer: Offer, grid: RecordedGrid) -> str:
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
