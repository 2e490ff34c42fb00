"""Whose traffic goes where: a row of parts for each origin of the clients, beside the one split for all. Pure.

Grams come first, as in ``split.py``, then the round trip: of all sharings with the fewest grams in which each origin
is answered within what is promised (``round trip + queue + prompt + one step <= slo.ttft_p95`` at the load that its
place then has), the one with the least mean round trip. Capacity is shared by all origins. See decision 0034.

The one split is there still, for requests of which nobody knows whence they come: it has to serve the farthest clients
everywhere, which is why a row may use places that it must not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.split import OriginRow, OriginSplit
from orchestrator.planner.split import (
    LEAST_OF_EVEN,
    MOST_SHIFTED,
    WORTH_SHIFTING,
    Place,
    in_parts,
    lattice,
    most_part,
    why_even,
)

WORTH_SHIFTING_MS = 2.0
"""A mean round trip that falls by less is not worth unrest where no grams are saved; estimates err by far more."""

_ROUNDING = 1e-9

Rtts = Mapping[str, Mapping[str, float | None]]
"""Milliseconds by origin, then by offer id; ``None`` where it is not known."""

Parts = Mapping[str, Mapping[str, float]]
"""The part of an origin's requests (0..1) by origin, then by offer id."""


def best_rows(
    places: Sequence[Place], weights: Mapping[str, float], rtt_ms: Rtts, load: LoadSeen | None
) -> OriginSplit:
    """Return a row for each origin; none where there is one origin, or where something is unknown or cannot be kept.

    ``weights``: by origin, ``> 0``; they are taken relative to each other. An origin to which no place keeps its
    promise takes what the others leave, as near as that is.
    """
    ordered = sorted(places, key=lambda p: p.offer_id)
    origins = sorted(weights)
    if len(origins) < 2:  # noqa: PLR2004  # one row is the split
        return OriginSplit(why_none="all clients are in one place")
    if load is None or (why := why_even(ordered, load)):
        return OriginSplit(why_none="no load has been seen yet" if load is None else why)
    trips = [[rtt_ms[o].get(p.offer_id) for p in ordered] for o in origins]
    known = [[t for t in row if t is not None] for row in trips]
    if any(len(row) < len(ordered) for row in known):
        return OriginSplit(why_none="a round trip between clients and replicas is not known")
    if any(p.capacity.ttft_p95_seconds is not None and not p.tells_ttft(load) for p in ordered):
        return OriginSplit(why_none="how long a first token takes is not known")
    return _within(ordered, origins, weights, known, load)


def _within(
    places: Sequence[Place],
    origins: Sequence[str],
    weights: Mapping[str, float],
    trips: Sequence[Sequence[float]],
    load: LoadSeen,
) -> OriginSplit:
    from orchestrator.planner.transport import best_levels, nearest  # noqa: PLC0415  # the solver is heavy to import

    whole, even = lattice(places)
    total = sum(weights[o] for o in origins)
    wants = [weights[o] / total * whole for o in origins]
    ceilings = [[_ceiling(p, ms, load, whole) for p, ms in zip(places, row, strict=True)] for row in trips]
    hopeless = [max(own) == 0 for own in ceilings]
    for number, own in enumerate(hopeless):
        if own:
            ceilings[number] = [_ceiling(_unpromised(p), 0.0, load, whole) for p in places]
    highest = [max(own[p] for own in ceilings) for p in range(len(places))]
    least = [min(max(1, round(LEAST_OF_EVEN * own)), high) for own, high in zip(even, highest, strict=True)]
    costs = [[p.grams_at(load, k / whole) for k in range(high + 1)] for p, high in zip(places, highest, strict=True)]
    # Where an origin has one place to go to, and no whole parts for it, the last part of a place is not filled. Where
    # few clients are near to a place, it gets less than a place gets otherwise.
    found = (
        nearest(levels, wants, ceilings, trips, slack)
        for lows in (least, [0] * len(least))
        for own_costs in [[own[low:] for own, low in zip(costs, lows, strict=True)]]
        for slack in (0.0, 1.0)
        if (levels := best_levels(own_costs, lows, wants, ceilings, slack)) is not None
    )
    flows = next((own for own in found if own is not None), None)
    if flows is None:
        return OriginSplit(why_none="no sharing keeps what is promised to every origin")
    rows = []
    for o, name in enumerate(origins):
        parts = [float(flow) / wants[o] for flow in flows[o]]
        scale = sum(parts)
        row = tuple((p.offer_id, part / scale) for p, part in zip(places, parts, strict=True))
        ms = sum(part * trip for (_, part), trip in zip(row, trips[o], strict=True))
        rows.append(OriginRow(name, weights[name] / total, row, ms, hopeless[o]))
    return OriginSplit(tuple(rows), grams_of(rows, places, load), sum(r.weight * r.rtt_ms for r in rows))


def grams_of(rows: Sequence[OriginRow], places: Sequence[Place], load: LoadSeen) -> float:
    """Return what all places emit in an hour when every origin is served by its row. All of it has to be known."""
    totals = totals_of({r.origin: dict(r.parts) for r in rows}, {r.origin: r.weight for r in rows})
    return sum(p.grams_at(load, totals.get(p.offer_id, 0.0)) for p in sorted(places, key=lambda p: p.offer_id))


def totals_of(parts: Parts, weights: Mapping[str, float]) -> dict[str, float]:
    """Return the part of all traffic that each offer takes."""
    totals: dict[str, float] = {}
    for origin in sorted(parts):
        for offer, part in sorted(parts[origin].items()):
            totals[offer] = totals.get(offer, 0.0) + weights[origin] * part
    return totals


def next_rows(
    current: Parts, places: Sequence[Place], weights: Mapping[str, float], rtt_ms: Rtts, load: LoadSeen | None
) -> tuple[dict[str, dict[str, float]], OriginSplit]:
    """Return the rows that hold from now on, and those that they go towards; no rows where there are none to hold.

    ``current``: those in force, of all the origins and offers. Of no row moves more than ``MOST_SHIFTED`` at a time,
    and all go the same part of their way, so that what is between two sharings that fit fits as well. What breaks a
    promise now is mended at once.
    """
    target = best_rows(places, weights, rtt_ms, load)
    goal = {r.origin: dict(r.parts) for r in target.rows}
    if not goal or load is None or target.grams_per_hour is None or target.rtt_ms is None:
        return {}, target
    now = {o: {p.offer_id: current[o][p.offer_id] for p in places} for o in goal}
    shares = {r.origin: r.weight for r in target.rows}
    hopeless = {r.origin for r in target.rows if r.is_hopeless}
    if breaks_a_limit(now, places, shares, rtt_ms, load, hopeless):
        return goal, target
    rows = [OriginRow(o, shares[o], tuple(sorted(own.items())), 0.0) for o, own in sorted(now.items())]
    emitted = grams_of(rows, places, load)
    trip = sum(
        shares[o] * part * (rtt_ms[o][offer] or 0.0) for o, own in sorted(now.items()) for offer, part in own.items()
    )
    is_greener = emitted - target.grams_per_hour > WORTH_SHIFTING * emitted
    is_as_green = target.grams_per_hour <= emitted * (1 + WORTH_SHIFTING)
    if not is_greener and not (is_as_green and trip - target.rtt_ms > WORTH_SHIFTING_MS):
        return now, target
    shifted = max(sum(abs(goal[o][i] - now[o][i]) for i in now[o]) / 2 for o in goal)
    if shifted <= MOST_SHIFTED:
        return goal, target
    step = MOST_SHIFTED / shifted
    return {o: {i: now[o][i] + step * (goal[o][i] - now[o][i]) for i in now[o]} for o in goal}, target


def breaks_a_limit(
    parts: Parts,
    places: Sequence[Place],
    weights: Mapping[str, float],
    rtt_ms: Rtts,
    load: LoadSeen,
    hopeless: set[str],
) -> bool:
    """Whether an origin is sent where its promise is not kept at the traffic that the place has; not of the hopeless.

    Every round trip has to be known.
    """
    totals = totals_of(parts, weights)
    for place in places:
        for origin in sorted(parts.keys() - hopeless):
            ms = rtt_ms[origin][place.offer_id]
            reached = replace(place, rtt_ms=ms)
            if parts[origin][place.offer_id] > _ROUNDING:
                most = most_part(reached, load, 1.0)
                if totals[place.offer_id] > most + _ROUNDING and most < 1.0:
                    return True
    return False


def _ceiling(place: Place, rtt_ms: float, load: LoadSeen, whole: int) -> int:
    return in_parts(most_part(replace(place, rtt_ms=rtt_ms), load, 1.0), whole)


def _unpromised(place: Place) -> Place:
    return replace(place, capacity=replace(place.capacity, ttft_p95_seconds=None))
