"""What the promise to clients of every area costs: a longer one, or none to one of them, each planned again. Pure.

No offer is kept out by ``slo.clients``: places are chosen together (``cover.py``, ``nearby.py``), so what the promise
costs is the difference between two choices of all replicas, from none on. A longer promise is tried where it lets
another place be near to somebody, and then between two such places, where it leaves more to queues. The shortest that
saves most is told, and the shortest that saves anything worth it. Both are found by bisection, so that one which is
shorter still might do as well where more time does not always save more; whatever is told has been planned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from math import ceil, floor

from orchestrator.domain.decision import Assessment
from orchestrator.domain.service import Policy
from orchestrator.domain.time import Instant
from orchestrator.planner.cover import COVER_RULE
from orchestrator.planner.judged import Judged, judge
from orchestrator.planner.launches import fill
from orchestrator.planner.number import best_number
from orchestrator.planner.promise import TTFT_RULE, weights_of
from orchestrator.planner.slots import standing_slots, wanted_slots
from orchestrator.planner.snapshot import Snapshot

MOST_AREAS = 8
"""So many areas are tried, those of the fewest clients first: they are given up most easily."""

WORTH_TELLING = 0.05
"""A longer promise that saves a smaller part is not the shortest that is told."""

_A_LITTLE = 1e-9


@dataclass(frozen=True, slots=True)
class Fleet:
    """All replicas of a service, chosen anew. Per hour, at the mean of the policy's horizon; ``usd``: if known."""

    offers: tuple[Assessment, ...]
    grams: float
    usd: float | None


@dataclass(frozen=True, slots=True)
class Loosened:
    """A promise given up in part: ``change`` is what a person would write, ``fleet`` what would be chosen then."""

    rule: str
    change: str
    by: str
    fleet: Fleet

    def newcomer(self, before: Fleet) -> Assessment:
        """Return the best offer that is chosen more often than before, else the best of all."""
        more = Counter(a.offer_id for a in self.fleet.offers) - Counter(a.offer_id for a in before.offers)
        among = [a for a in self.fleet.offers if a.offer_id in more] or list(self.fleet.offers)
        return min(among, key=lambda a: (a.expected_grams_per_hour or 0.0, a.offer_id))


def chosen_anew(snapshot: Snapshot, policy: Policy, now: Instant) -> Fleet | None:
    """Choose all replicas from none on; ``None`` where not all find a place, or what one emits is not known."""
    size, spec = snapshot.sizing, snapshot.spec
    if size is not None and snapshot.load is None:
        # What load does not ask for may be there for the sake of clients: that is decided anew as well.
        number = max(1, size.least)
        size, spec = replace(size, replicas=number), replace(spec, scaling=replace(spec.scaling, min_replicas=number))
    empty = replace(snapshot, replicas=(), spec=spec, sizing=size)
    judged = best_number(judge(empty, policy, now)).judged
    # Nobody serves in this world yet, which is why each spot replica has a stand-in in it: those do not stay.
    standing = standing_slots(judged.snapshot.spec)
    slots = {slot: market for slot, market in wanted_slots(judged.snapshot).items() if slot < standing}
    filling = fill(judged, slots, {}, keep_up=False)
    grams = [a.expected_grams_per_hour for a in filling.chosen]
    known, usd = [g for g in grams if g is not None], [a.usd_per_hour for a in filling.chosen]
    if filling.refusal is not None or not slots or len(known) < len(slots):
        return None
    return Fleet(filling.chosen, sum(known), None if None in usd else sum(u for u in usd if u is not None))


def loosened(judged: Judged, before: Fleet) -> Iterator[Loosened]:
    """Yield what of the promise could be given up to save carbon, where clients in several areas have one.

    ``before``: all replicas, chosen anew under the promise as it is.
    """
    if judged.promised.areas:
        yield from _longer(judged, before)
        yield from _without_one(judged, before)


def _longer(judged: Judged, before: Fleet) -> Iterator[Loosened]:
    snapshot = judged.snapshot
    limit = (snapshot.spec.ttft_p95 or timedelta(0)) / timedelta(milliseconds=1)
    open_to_us = [a.offer_id for a in judged.assessments if {v.rule for v in a.verdicts if not v.passed} <= {TTFT_RULE}]
    totals = judged.promised.total_ms
    steps = sorted({ceil(ms) for i in open_to_us for ms in totals.get(i, {}).values() if ms > limit})
    if not steps:
        return
    tried: dict[int, Fleet | None] = {}

    def saved(ms: int) -> float:
        if ms not in tried:
            later = replace(snapshot, spec=replace(snapshot.spec, ttft_p95=timedelta(milliseconds=ms)))
            tried[ms] = chosen_anew(later, judged.policy, judged.now)
        found = tried[ms]
        return -1.0 if found is None else before.grams - found.grams

    if (most := saved(steps[-1])) <= _A_LITTLE * before.grams:
        return
    told = set[int]()
    for target in (most * (1 - _A_LITTLE), WORTH_TELLING * before.grams):
        saves = partial(_reaches, saved, target)
        within = _first([floor(limit), *steps], saves)
        ms = _first(range(within[0], within[1] + 1), saves)[1]
        found = tried.get(ms)
        if found is not None and saved(ms) >= target and ms not in told:
            told.add(ms)
            yield Loosened(TTFT_RULE, f"raise {TTFT_RULE} to {ms} ms", f"+{ms - limit:.0f} ms", found)


def _reaches(saved: Callable[[int], float], target: float, ms: int) -> bool:
    return saved(ms) >= target


def _first(values: Sequence[int], holds: Callable[[int], bool]) -> tuple[int, int]:
    """Return the first two neighbours of which the second holds and the first does not, by bisection.

    The first value is taken not to hold, and the last one to hold.
    """
    low, high = 0, len(values) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(values[middle]) else (middle, high)
    return values[low], values[high]


def _without_one(judged: Judged, before: Fleet) -> Iterator[Loosened]:
    spec = judged.snapshot.spec
    parts = weights_of(spec.clients)
    for area, part in sorted(parts.items(), key=lambda own: (own[1], own[0]))[:MOST_AREAS]:
        if part >= 1.0 - _A_LITTLE:
            continue
        others = tuple(replace(c, weight=c.weight / (1.0 - part)) for c in spec.clients if c.near != area)
        found = chosen_anew(replace(judged.snapshot, spec=replace(spec, clients=others)), judged.policy, judged.now)
        if found is not None and before.grams - found.grams > _A_LITTLE * before.grams:
            yield Loosened(COVER_RULE, f"take {area} out of {COVER_RULE}", f"-{part:.0%} of the clients", found)
