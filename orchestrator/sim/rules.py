"""The rivals (ALGORITHMS section 13): what others would do under the service's own rules. Pure, but for their memory.

Deciding the hour ``h`` a rule sees grams of hours up to ``h - 1``; only B3* and the oracle look ahead. A rule answers
for one slot: where it should stand. Standing where one stands wins ties.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from orchestrator.domain.places import Region
from orchestrator.domain.price import Market
from orchestrator.domain.time import HOUR
from orchestrator.forecasting.persistence import LEVEL_FADES_HOURS
from orchestrator.sim.board import Board, Choose, Mask
from orchestrator.sim.grid import DAY_HOURS, Floats

WEEK_HOURS = 168
HYSTERESIS_FRACTION = 0.9
"""Move when the other is more than 10 % below."""
HYSTERESIS_HOURS = 4
SPOT_ALTERNATIVES = 15
"""Karpenter moves from spot to spot only where so many cheaper ones are to choose from (SpotToSpotConsolidation)."""
RTT_MS_PER_KM = 0.015
"""Light in fibre makes 200 km a millisecond, there and back, over paths half as long again as the great circle."""
CASPER_RTT_MS = 100.0
"""The latency within which the CASPER-like rule places: CASPER (arXiv 2403.14792) varies it, this is our choice."""
EARTH_RADIUS_KM = 6371.0


@dataclass(frozen=True, slots=True)
class Rule:
    """A rival: its name, what it does in words, and how its choice is made for a board."""

    name: str
    about: str
    make: Callable[[Board], Choose]


def _best(values: Floats, free: Mask, pool: Mask, home: int | None = None) -> int | None:
    """Return the free one of a pool with the lowest value; the first by name among equals.

    Where nothing is known of any of them, ``home`` if it is one of them, else the first by name.
    """
    masked = np.where(free & pool, values, np.inf)
    best = int(masked.argmin())
    if np.isfinite(masked[best]):
        return best
    if home is not None and (free & pool)[home]:
        return home
    some = np.flatnonzero(free & pool)
    return int(some[0]) if len(some) else None


def _pools(board: Board) -> list[Mask]:
    """Return the offers of the service's own market, then those that stand in when there are none."""
    own = [board.of_market(board.market)]
    return [*own, board.of_market(Market.ON_DEMAND)] if board.falls_back and board.market is Market.SPOT else own


def _first_of(pools: list[Mask], values: Floats, free: Mask, home: int | None = None) -> int | None:
    return next((b for pool in pools if (b := _best(values, free, pool, home)) is not None), None)


def _stays_put(values: Callable[[int], Floats]) -> Callable[[Board], Choose]:
    """Make a rule that chooses once, and again only after a loss."""

    def make(board: Board) -> Choose:
        pools = _pools(board)

        def choose(hour: int, slot: int, here: int | None, free: Mask) -> int | None:
            del slot
            return here if here is not None else _first_of(pools, values(hour), free)

        return choose

    return make


def home(board: Board) -> Choose:
    """B0: all replicas where the service would be; on demand there while its spot is sold out."""
    region = board.offers[board.home].region.id
    own = np.arange(len(board.offers)) == board.home
    there = np.array([o.region.id == region and o.market is Market.ON_DEMAND for o in board.offers])
    pools = [own, there] if board.falls_back else [own]
    values = _by_price(board)

    def choose(hour: int, slot: int, here: int | None, free: Mask) -> int | None:
        del slot
        return here if here is not None else _first_of(pools, values(hour), free)

    return choose


def cheapest_static(board: Board) -> Choose:
    """B1: the cheapest on-demand offers, for good; of equal prices the cleaner."""
    pool, values = board.of_market(Market.ON_DEMAND), _by_price(board)

    def choose(hour: int, slot: int, here: int | None, free: Mask) -> int | None:
        del slot
        return here if here is not None else _best(values(hour), free, pool)

    return choose


def cheapest_spot(board: Board) -> Choose:
    """B2: the cheapest spot that is to be had, without a hedge; nothing while all is sold out."""
    pool, values = board.of_market(Market.SPOT), _by_price(board)

    def choose(hour: int, slot: int, here: int | None, free: Mask) -> int | None:
        del slot
        return here if here is not None else _best(values(hour), free, pool)

    return choose


def trailing_mean(board: Board) -> Choose:
    """B3: each week to the lowest mean over the 28 days before, without a dead band and without hindsight.

    Where nothing is known as the period begins it is at home, and looks once more as soon as something is.
    """
    pools = _pools(board)
    looks = sorted({*range(0, board.hours, WEEK_HOURS), _first_known(board, pools)})
    means = {h: board.trailing(h) for h in looks}

    def choose(hour: int, slot: int, here: int | None, free: Mask) -> int | None:
        del slot
        if here is not None and hour not in means:
            return here
        values = means[looks[bisect_right(looks, hour) - 1]]
        best = _first_of(pools, values, free, board.home)
        return here if best is None or (here is not None and values[here] <= values[best]) else best

    return choose


def cleanest_in_hindsight(board: Board) -> Choose:
    """B3*: the lowest mean over the period itself, for good. Hindsight."""
    rows = board.intensity[board.past :]
    return _stays_put(lambda _hour: np.asarray(rows.mean(axis=0) * board.kwh_loaded))(board)


def greedy(board: Board) -> Choose:
    """B4: each hour to what was cleanest in the hour before."""
    pools = _pools(board)

    def choose(hour: int, slot: int, here: int | None, free: Mask) -> int | None:
        del slot
        values = board.last(hour)
        best = _first_of(pools, values, free, board.home)
        return here if best is None or (here is not None and values[here] <= values[best]) else best

    return choose


def hysteresis(board: Board) -> Choose:
    """B5: to what was cleanest, if it was more than 10 % below and the last move is four hours old."""
    pools = _pools(board)
    moved: dict[int, int] = {}

    def choose(hour: int, slot: int, here: int | None, free: Mask) -> int | None:
        values = board.last(hour)
        if here is None:
            return _at_home_first(board, pools, free, hour)
        best = _first_of(pools, values, free)
        if best is None or hour - moved.get(slot, -HYSTERESIS_HOURS) < HYSTERESIS_HOURS:
            return here
        if values[best] < HYSTERESIS_FRACTION * values[here]:
            moved[slot] = hour
            return best
        return here

    return choose


def follow_the_sun(board: Board) -> Choose:
    """B6: each hour to the region whose sun stands highest, by longitude alone."""
    pools = _pools(board)
    known = _known(board.longitudes)

    def choose(hour: int, slot: int, here: int | None, free: Mask) -> int | None:
        del slot
        moment = board.grid.period.start + hour * HOUR
        solar = (moment.hour + 0.5 + known / 15.0) % 24
        values = np.where(np.isfinite(board.longitudes), np.abs(solar - 12.0), np.inf)
        best = _first_of(pools, values, free)
        return here if best is None or (here is not None and values[here] <= values[best]) else best

    return choose


def casper(board: Board) -> Choose:
    """B8: the hourly program of CASPER for one service: least expected grams of the hour within the latency.

    Its constraints are one number of replicas and one limit per region, so taking the best of those that have room is
    the program's exact optimum; no switching cost. Expected is yesterday's hour with a fading level, and the last hour
    where nobody recorded yesterday's.
    """
    pools = _pools(board)
    near = _near(board)
    fade = math.exp(-1 / LEVEL_FADES_HOURS)

    def choose(hour: int, slot: int, here: int | None, free: Mask) -> int | None:
        del slot
        row = board.past + hour
        last, before = board.intensity[row - 1], board.intensity[row - 1 - DAY_HOURS]
        level = np.where(np.isfinite(last) & np.isfinite(before), _known(last) - _known(before), 0.0)
        yesterday = board.intensity[row - DAY_HOURS]
        expected = np.where(np.isfinite(yesterday), yesterday + fade * level, last)
        values = np.asarray(expected * board.kwh_loaded)
        best = _first_of(pools, values, free & near, board.home)
        best = best if best is not None else _first_of(pools, values, free, board.home)
        return here if best is None or (here is not None and near[here] and values[here] <= values[best]) else best

    return choose


def karpenter(board: Board) -> Choose:
    """B9: whatever is cheaper, at once; from spot to spot only where many alternatives are cheaper."""
    pools, values = _pools(board), _by_price(board)
    spot = np.array([o.market is Market.SPOT for o in board.offers])

    def choose(hour: int, slot: int, here: int | None, free: Mask) -> int | None:
        del slot
        dollars = board.usd(hour)
        best = _first_of(pools, values(hour), free)
        if here is None or best is None or not dollars[best] < dollars[here]:
            return best if here is None else here
        alternatives = int((free & spot & (dollars < dollars[here])).sum())
        return here if spot[here] and spot[best] and alternatives < SPOT_ALTERNATIVES else best

    return choose


def regret(board: Board) -> Choose:
    """B10: move once the regret of not being elsewhere has paid for the move (ski rental, no forecast)."""
    pools = _pools(board)
    regrets: dict[int, Floats] = {}
    counted: dict[int, int] = {}

    def choose(hour: int, slot: int, here: int | None, free: Mask) -> int | None:
        if here is None:
            regrets.pop(slot, None)
            return _at_home_first(board, pools, free, hour)
        values = board.last(hour)
        mine = regrets.setdefault(slot, np.zeros(len(values)))
        if counted.get(slot) != hour:
            counted[slot] = hour
            # Of what is not known nobody regrets to be elsewhere.
            known = np.isfinite(values) & np.isfinite(values[here])
            np.maximum(mine + np.where(known, _known(values)[here] - _known(values), 0.0), 0.0, out=mine)
        there = _first_of(pools, -mine, free)
        if there is None or there == here or mine[there] <= 0 or mine[there] < board.switching(hour, here, there):
            return here
        mine[:] = 0.0
        return there

    return choose


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("home", "stays where it would be without greenctl", home),
        Rule("cheapest-static", "cheapest on demand, for good", cheapest_static),
        Rule("cheapest-spot", "cheapest spot, no hedge", cheapest_spot),
        Rule("B3", "weekly to the cleanest trailing 28-day mean", trailing_mean),
        Rule("B3*", "cleanest mean of the period, in hindsight", cleanest_in_hindsight),
        Rule("greedy", "hourly to the cleanest of the last hour", greedy),
        Rule("hysteresis", "as greedy, above 10 % and four hours apart", hysteresis),
        Rule("follow-sun", "hourly to where the sun stands highest", follow_the_sun),
        Rule("casper", "hourly program within 100 ms, moves are free", casper),
        Rule("karpenter", "consolidates to whatever is cheaper", karpenter),
        Rule("regret", "moves when regret has paid for the move", regret),
    )
}


def _at_home_first(board: Board, pools: list[Mask], free: Mask, hour: int) -> int | None:
    """Begin at home where that is allowed and has room, else where it was cleanest lately."""
    if hour == 0 and free[board.home] and any(pool[board.home] for pool in pools):
        return board.home
    return _first_of(pools, board.trailing(hour), free, board.home)


def _first_known(board: Board, pools: list[Mask]) -> int:
    """Return the first hour that knows the grid of any offer; 0 where that is no later than the period begins."""
    known = np.isfinite(board.intensity[:, np.logical_or.reduce(pools)]).any(axis=1)
    return max(0, int(known.argmax()) + 1 - board.past)


def _by_price(board: Board) -> Callable[[int], Floats]:
    """Order by the price of an hour, then by the trailing mean, then by name, as one number each."""
    grams, lists = board.trailing(0), board.price_lists
    known: dict[int, Floats] = {}

    def values(hour: int) -> Floats:
        if lists[hour] not in known:
            usd = board.usd(hour)
            order = sorted(range(len(usd)), key=lambda i: (usd[i], grams[i], board.offers[i].id))
            ranks = np.empty(len(usd))
            ranks[order] = np.arange(len(usd))
            known[lists[hour]] = np.where(np.isfinite(usd), ranks, np.inf)
        return known[lists[hour]]

    return values


def _known(values: Floats) -> Floats:
    return np.asarray(np.where(np.isfinite(values), values, 0.0))


def _near(board: Board) -> Mask:
    """Return which offers lie within the latency of home; all where somebody's place is unknown."""
    here = board.offers[board.home].region
    return np.array([rtt_ms(here, o.region) <= CASPER_RTT_MS for o in board.offers])


def rtt_ms(a: Region, b: Region) -> float:
    """Return the round trip between two regions by great circle; 0 where a place is unknown: it keeps nobody out."""
    places = (a.latitude, a.longitude, b.latitude, b.longitude)
    if any(p is None for p in places):
        return 0.0
    lat_a, lon_a, lat_b, lon_b = (math.radians(p) for p in places if p is not None)
    half = math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(half)) * RTT_MS_PER_KM
