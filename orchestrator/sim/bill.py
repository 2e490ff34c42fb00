"""What a policy drew, emitted and paid: everybody's stays through the product's own ledger.

A stay is one machine of one offer: asked for, ready, no longer served from, gone. Power follows from the load by the
shape's own curve, grams from the recorded intensity of each hour, dollars from the price at which it was bought:
``orchestrator.ledger.sampling`` does all of that, for the real controller's replicas and for the rivals' alike.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

from orchestrator.domain.energy import EnergySample
from orchestrator.domain.offer import Offer
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import GatewayRules
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.domain.units import SECONDS_PER_HOUR, joules_to_kwh
from orchestrator.ledger.sampling import Load, samples_for
from orchestrator.sim.grid import RecordedGrid
from orchestrator.sim.sizes import Sizes
from orchestrator.sim.workload import Workload


@dataclass(frozen=True, slots=True)
class Stay:
    """One machine. Times are seconds from the start of the period; ``offer`` is an index of the offers.

    ``requested <= ready <= until <= gone``: it serves from ``ready`` to ``until`` (never, where the two are equal), and
    draws and costs from ``requested`` to ``gone``. ``lost``: it was taken away. ``spared``: load needed it no longer.
    """

    slot: int
    offer: int
    requested: float
    ready: float
    until: float
    gone: float
    usd_per_hour: float | None
    lost: bool = False
    spared: bool = False


@dataclass
class Account:
    """Sums over the period. ``grams`` counts known intensities only; ``unknown_kwh`` is the energy without one.

    ``by_day``: grams by ``YYYY-MM-DD``. ``by_region``: replica-hours by region id.
    """

    grams: float = 0.0
    usd: float = 0.0
    kwh: float = 0.0
    unknown_kwh: float = 0.0
    unpriced_hours: float = 0.0
    replica_hours: float = 0.0
    by_day: dict[str, float] = field(default_factory=dict)
    by_region: dict[str, float] = field(default_factory=dict)

    def add(self, samples: Iterable[EnergySample]) -> None:
        """Count samples of the ledger."""
        for sample in samples:
            hours = sample.engine_seconds / SECONDS_PER_HOUR
            kwh = joules_to_kwh(sample.facility_joules)
            self.kwh += kwh
            self.replica_hours += hours
            self.by_region[sample.region] = self.by_region.get(sample.region, 0.0) + hours
            if sample.usd is None:
                self.unpriced_hours += hours
            else:
                self.usd += sample.usd
            if sample.grams is None:
                self.unknown_kwh += kwh
                continue
            self.grams += sample.grams
            day = sample.window.start.strftime("%Y-%m-%d")
            self.by_day[day] = self.by_day.get(day, 0.0) + sample.grams

    @property
    def by_month(self) -> dict[str, float]:
        """Grams by ``YYYY-MM``."""
        found: dict[str, float] = {}
        for day, grams in sorted(self.by_day.items()):
            found[day[:7]] = found.get(day[:7], 0.0) + grams
        return found


@dataclass(frozen=True, slots=True)
class Service:
    """How much was served.

    ``available_fraction``: of the period with as many replicas ready as its load needs. ``served_fraction``: of the
    requests that found any. ``crowded_fraction``: of the requests that came while more were under way than all engines
    have places for; they wait. ``held_fraction``: of those that waited for a replica to start, because the service
    slept; they count as served. ``longest_hold_seconds``: the longest wait of these.
    """

    available_fraction: float
    served_fraction: float
    crowded_fraction: float = 0.0
    held_fraction: float = 0.0
    longest_hold_seconds: float = 0.0


def account_of(stays: Sequence[Stay], offers: Sequence[Offer], grid: RecordedGrid, load: Workload) -> Account:
    """Send the bill of these stays."""
    account = Account()
    for samples in samples_of(stays, offers, grid, load):
        account.add(samples)
    return account


def samples_of(
    stays: Sequence[Stay], offers: Sequence[Offer], grid: RecordedGrid, load: Workload
) -> Iterator[tuple[EnergySample, ...]]:
    """Yield the ledger's samples of the stays inside the period; load is shared evenly by who serves."""
    edges, counts = serving(stays, grid.period)
    for stay in stays:
        offer = offers[stay.offer]
        power, pue = offer.shape.power, offer.region.pue
        if power is None or pue is None:
            message = f"{offer.id} has no power model or no PUE, so its energy cannot be counted"
            raise ValueError(message)
        replica = _replica(stay, offer, grid.period.start)
        for begin, end, batch in _pieces(stay, edges, counts, load, grid.hours):
            window = Window(_at(grid, begin), _at(grid, end))
            yield samples_for(
                replica,
                window,
                Load(batch, 0, 0),
                power,
                pue,
                grid.point_in,
                clock_rate=1.0,
                longest_sample=HOUR,
            )


def service_of(
    stays: Sequence[Stay], period: Window, sizes: Sizes, load: Workload, hold: GatewayRules | None = None
) -> Service:
    """Say how much of the time enough served, and how much of the load found anybody.

    ``hold``: how many requests wait, and how long, for the first replica of a service that sleeps; else nobody waits.
    """
    edges, counts = serving(stays, period)
    enough = served = crowded = asked = 0.0
    held, longest = (0.0, 0.0) if hold is None else _held(edges, counts, load, hold)
    for (begin, end), count in zip(pairwise(edges), counts, strict=True):
        for piece, hour in _by_hour(begin, end):
            enough += piece * (count >= sizes.needed[hour])
            requests = load.requests_per_second[hour] * piece
            asked += requests
            served += requests * (count > 0)
            crowded += requests * (0 < count * sizes.places < load.concurrency(hour))
    total = period.length.total_seconds()
    if not asked:
        return Service(enough / total, 1.0)
    return Service(enough / total, (served + held) / asked, crowded / asked, held / asked, longest)


def _held(edges: Sequence[float], counts: Sequence[int], load: Workload, hold: GatewayRules) -> tuple[float, float]:
    """Return how many requests waited until somebody served, and the longest wait in seconds."""
    held, longest, nobody_since = 0.0, 0.0, edges[0]
    for edge, before, count in zip(edges[1:-1], counts[:-1], counts[1:], strict=True):
        if before and not count:
            nobody_since = edge
        if before or not count:
            continue
        came, begin = 0.0, max(nobody_since, edge - hold.hold.total_seconds())
        for piece, hour in _by_hour(begin, edge):
            requests = load.requests_per_second[hour] * piece
            longest = max(longest, edge - begin) if requests > 0 else longest
            came += requests
            begin += piece
        held += min(float(hold.max_held), came)
    return held, longest


def serving(stays: Sequence[Stay], period: Window) -> tuple[list[float], list[int]]:
    """Return the instants at which the number of who serves changes, both ends included, and the numbers between."""
    total = period.length.total_seconds()
    changes: dict[float, int] = {0.0: 0, total: 0}
    for stay in stays:
        begin, end = min(max(stay.ready, 0.0), total), min(max(stay.until, 0.0), total)
        changes[begin] = changes.get(begin, 0) + 1
        changes[end] = changes.get(end, 0) - 1
    edges = sorted(changes)
    counts, running = [], 0
    for edge in edges[:-1]:
        running += changes[edge]
        counts.append(running)
    return edges, counts


def moves_in(stays: Sequence[Stay]) -> int:
    """Count changes of offer inside the period that nobody forced."""
    by_slot: dict[int, list[Stay]] = {}
    for stay in stays:
        by_slot.setdefault(stay.slot, []).append(stay)
    return sum(
        not (old.lost or old.spared) for run in by_slot.values() for old, new in pairwise(run) if new.requested >= 0
    )


def _pieces(
    stay: Stay, edges: Sequence[float], counts: Sequence[int], load: Workload, hours: int
) -> Iterator[tuple[float, float, float]]:
    """Yield (begin, end, mean batch) over the life of a stay, equal neighbours together."""
    total = hours * SECONDS_PER_HOUR
    last: tuple[float, float, float] | None = None
    for begin, end, batch in _cut(stay, edges, counts, load):
        piece = max(begin, 0.0), min(end, total), batch
        if piece[0] >= piece[1]:
            continue
        if last is not None and last[1] == piece[0] and last[2] == piece[2]:
            last = last[0], piece[1], piece[2]
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


def _cut(
    stay: Stay, edges: Sequence[float], counts: Sequence[int], load: Workload
) -> Iterator[tuple[float, float, float]]:
    yield stay.requested, stay.ready, 0.0
    first = max(0, bisect_right(edges, stay.ready) - 1)
    for i in range(first, len(counts)):
        begin, end = max(edges[i], stay.ready), min(edges[i + 1], stay.until)
        if edges[i] >= stay.until:
            break
        if begin >= end:
            continue
        for length, hour in _by_hour(begin, end):
            yield begin, begin + length, load.batch(hour, counts[i])
            begin += length
    yield stay.until, stay.gone, 0.0


def _by_hour(begin: float, end: float) -> Iterator[tuple[float, int]]:
    """Yield (seconds, hour) of each hour that the stretch touches."""
    while begin < end:
        hour = int(begin // SECONDS_PER_HOUR)
        stop = min(end, (hour + 1) * SECONDS_PER_HOUR)
        yield stop - begin, hour
        begin = stop


def _at(grid: RecordedGrid, seconds: float) -> Instant:
    return grid.period.start + timedelta(seconds=seconds)


def _replica(stay: Stay, offer: Offer, start: Instant) -> Replica:
    """Say of a stay what the ledger asks of a replica."""
    requested = start + timedelta(seconds=stay.requested)
    return Replica(
        name=f"r{stay.slot}-{stay.requested:.0f}",
        service="twin",
        slot=stay.slot,
        offer_id=offer.id,
        region=offer.region.id,
        zone=offer.region.zone,
        shape=offer.shape.name,
        market=offer.market,
        usd_per_hour=stay.usd_per_hour,
        state=ReplicaState.READY,
        intent_id="",
        revision=1,
        workload_digest="",
        created_at=requested,
        state_since=requested,
    )


def price_of(offer: Offer) -> float | None:
    """Return what an hour costs, ``None`` where nobody knows."""
    return None if offer.price is None else offer.price.usd_per_hour
