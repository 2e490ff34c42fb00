"""How many spare spot replicas a promised availability takes, given where the service stands and what the day showed.

``slo.availability`` is read as the least P[at least as many replicas are ready as are wanted], at any moment: each one
fails to be ready from its loss until what replaces it has started. Losses follow what the journal says of each place
and of places that fall together (:mod:`orchestrator.planner.hedge.past`); the sum over all outcomes is exact
(:mod:`orchestrator.planner.hedge.shortfall`). ``num_overprovision`` is never undercut: what somebody fixed stays.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from heapq import heapify, heappop, heapreplace

from orchestrator.domain.price import Market
from orchestrator.domain.service import SpotPlacer
from orchestrator.domain.time import Instant
from orchestrator.planner.hedge.past import Past, remembered
from orchestrator.planner.hedge.rules import HedgeRules
from orchestrator.planner.hedge.shortfall import Held, survivors
from orchestrator.planner.snapshot import Hedging, Snapshot
from orchestrator.planner.surviving import as_written
from orchestrator.policy.assess import placement_verdicts

MOST_SPARES = 3
"""More than that never helped on published traces: what takes three away takes the fourth, too."""

_SLACK = 0.25
"""A spare leaves only where the promise is kept without it by a quarter: so none comes and goes at the limit."""

_NO_GAIN = 0.02
"""Of the risk that fewer leave: where the most spares take away no more of it, fewer are enough."""


def hedged(snapshot: Snapshot, now: Instant) -> Snapshot:
    """Return the snapshot with as many spares, spread, as ``slo.availability`` takes; the same where it promises none.

    A spread is what the placer ``dynamic_fallback`` does; without it one loss could take every spare along. While moves
    are paused the number stays as it is. Of a snapshot that was hedged at another number they are worked out anew.
    """
    snapshot = _as_written(as_written(snapshot))
    spec = snapshot.spec
    goal, scaling = spec.availability_fraction, spec.scaling
    if goal is None or spec.market is not Market.SPOT or snapshot.taking_down:
        return snapshot
    if scaling.base_ondemand_fallback_replicas >= scaling.min_replicas:
        return snapshot
    hedging = _hedging(snapshot, goal, now)
    wanted = replace(scaling, num_overprovision=hedging.spares, spot_placer=SpotPlacer.DYNAMIC_FALLBACK)
    return replace(snapshot, spec=replace(spec, scaling=wanted), hedging=replace(hedging, written=scaling))


def _as_written(snapshot: Snapshot) -> Snapshot:
    if snapshot.hedging is None or snapshot.hedging.written is None:
        return snapshot
    scaling = replace(snapshot.hedging.written, min_replicas=snapshot.spec.scaling.min_replicas)
    return replace(snapshot, spec=replace(snapshot.spec, scaling=scaling), hedging=None)


def _hedging(snapshot: Snapshot, goal: float, now: Instant) -> Hedging:
    places, cold = _open_places(snapshot), timedelta(seconds=max(0.0, snapshot.cold_start_seconds.value))
    past = remembered(places, snapshot.replicas, now, snapshot.clock_rate, HedgeRules(cold_start=cold))
    fixed = snapshot.spec.scaling.num_overprovision
    most = max(fixed, MOST_SPARES)
    chances = {n: _chance(snapshot, n, places, past) for n in range(fixed, most + 1)}
    # On demand somebody may stand in above them.
    occupants = snapshot.occupants()
    on_spot = [s for s, r in occupants.items() if r.market is Market.SPOT and r.name not in snapshot.beside]
    stands = min(most, max([slot - snapshot.wanted + 1 for slot in on_spot], default=0))
    if snapshot.paused:
        return _told(snapshot, max(fixed, stands), chances, goal, past)
    for spares, chance in chances.items():
        limit = 1 - (1 - goal) * (1 - _SLACK) if spares < stands else goal
        if chance >= limit:
            return _told(snapshot, spares, chances, goal, past)
    best = max(chances.values())
    enough = next(n for n, chance in chances.items() if best - chance <= _NO_GAIN * (1 - chance))
    # Whoever stands stays: where the next one would go is a guess, and nobody is bought and let go by turns for it.
    return _told(snapshot, max(enough, fixed, stands), chances, goal, past)


def _chance(snapshot: Snapshot, spares: int, places: Sequence[str], past: Past) -> float:
    """Return P[the wanted number is ready] with so many spares, where those that stand nowhere yet are spread."""
    spec, occupants = snapshot.spec, snapshot.occupants()
    needed = snapshot.wanted - spec.scaling.base_ondemand_fallback_replicas
    counts: dict[str, int] = {}
    homeless = 0
    for slot in range(spec.scaling.base_ondemand_fallback_replicas, snapshot.wanted + spares):
        occupant = occupants.get(slot)
        if occupant is None:
            homeless += 1
        elif occupant.market is Market.SPOT:
            counts[occupant.region] = counts.get(occupant.region, 0) + 1
        else:
            needed -= 1
    _spread(homeless, counts, places, past, spec.placement.max_per_region)
    groups: dict[str, list[Held]] = {}
    for place, count in sorted(counts.items()):
        groups.setdefault(past.groups[place], []).append((count, past.lost[place]))
    left = survivors(groups, past.region_share, past.whole_share)
    return 1.0 - sum(left[: max(0, needed)])


def _spread(homeless: int, counts: dict[str, int], places: Sequence[str], past: Past, limit: int | None) -> None:
    """Add so many to the counts: each apart from the others where that can be, else where there are fewest.

    With every one that is placed a place can only become worse, so that one which is the best by what it was, and still
    is what it was, is the best of all.
    """
    held: dict[str, set[str]] = {}
    for place in counts:
        held.setdefault(past.groups[place], set()).add(place)

    def worth(place: str) -> tuple[int, bool, float, str]:
        return counts.get(place, 0), bool(held.get(past.groups[place], set()) - {place}), past.lost[place], place

    waiting = [worth(place) for place in places]
    heapify(waiting)
    while homeless and waiting:
        place = waiting[0][-1]
        if limit is not None and counts.get(place, 0) >= limit:
            heappop(waiting)
        elif (now := worth(place)) != waiting[0]:
            heapreplace(waiting, now)
        else:
            counts[place] = counts.get(place, 0) + 1
            held.setdefault(past.groups[place], set()).add(place)
            homeless -= 1


def _open_places(snapshot: Snapshot) -> list[str]:
    """Return the regions where spot may be asked for, as far as rules on places say so; grids and prices do not."""
    rules = snapshot.spec.placement
    found = set()
    for candidate in snapshot.candidates:
        region = candidate.offer.region
        if candidate.offer.market is not Market.SPOT or region.id in snapshot.without_spot:
            continue
        may_stand = all(verdict.passed for verdict in placement_verdicts(region, rules))
        if may_stand and region.provider in snapshot.providers:
            found.add(region.id)
    return sorted(found)


# ── in words ─────────────────────────────────────────────────────────────────────────────────────────


def _told(snapshot: Snapshot, spares: int, chances: Mapping[int, float], goal: float, past: Past) -> Hedging:
    fewer = spares - 1 if spares - 1 in chances else None
    ready = f"{snapshot.wanted} of {snapshot.wanted + spares} are ready {_percent(chances[spares])} of the time"
    words = f"slo.availability {_percent(goal)}: {ready}"
    if chances[spares] < goal:
        words += ", and more spares would not help"
    if fewer is not None:
        words += f"; {_percent(chances[fewer])} with one fewer"
    if because := _because(snapshot, past):
        words += f": {because}"
    return Hedging(spares, chances[spares], goal, words, past.groups)


def _because(snapshot: Snapshot, past: Past) -> str:
    """Say the most telling thing of the last day about the places where the service stands; empty for a quiet one."""
    held = sorted({r.region for r in snapshot.living() if r.market is Market.SPOT})
    ranked: Sequence[tuple[int, str]] = [
        (b.together, f"{b.places[0]} and {b.places[1]} fell together {_times(b.together)} in 24 h")
        for b in past.bonds
        if b.together and set(b.places) & set(held)
    ] or [(past.losses[p], f"{p} lost replicas {_times(past.losses[p])} in 24 h") for p in past.losses]
    number, text = max(ranked, key=lambda r: (r[0], r[1]), default=(0, ""))
    return text if number else ""


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _percent(fraction: float) -> str:
    """Write a share with the nines that it has, and never as 100 % when it is less."""
    texts = (f"{100 * fraction:.{digits}f}" for digits in range(2, 6))
    return next((f"{text.rstrip('0').rstrip('.')}%" for text in texts if float(text) < 100), "100%")  # noqa: PLR2004
