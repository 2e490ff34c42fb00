"""Whether the last idle replica of a service may go, because a start later costs less than idling on. Pure.

With spares, or one replica near to the clients of each area, the last ones are several: they go together and come back
together, so what they draw, what they cost and what their starts cost is added up.

Idling draws and costs something in every second; ending the replica costs a drain now and a start when the next request
comes. Both are the same after the break-even time::

    t* = drain + (cost of a start) / (cost of idling per second)

in whatever the policy minimises: grams, dollars, or its own score. Grams of a start are those of 0.7 of full power
while the model loads (``planner.moves``), dollars are the rent meanwhile. At the same place intensity and PUE are on
both sides of the fraction, so the time in grams holds where the intensity is unknown. Not counted: the way of the
weights over the network, which nobody tells us of (a disk or an image may hold them), and what waiting is worth to
whoever sends the request: ``min_replicas: 0`` is the owner's word on that.

When to go is the ski-rental problem. Who goes as soon as idling has cost as much as a start pays at most twice what
hindsight would have (Karlin, Manasse, Rudolph and Sleator, "Competitive snoopy caching", Algorithmica 3, 1988, section
1; Karlin et al., "Competitive randomized algorithms for nonuniform problems", Algorithmica 11, 1994). Where the gaps
between requests are known to be long, waiting for that is a waste: the replica goes at once when the rest of the gap
is expected to be longer than t*.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from orchestrator.domain.scale import Figure
from orchestrator.domain.service import Objective, Policy
from orchestrator.domain.units import SECONDS_PER_HOUR, watts_to_kw
from orchestrator.planner.moves import COLD_START_POWER_FRACTION
from orchestrator.policy.apply import usd_per_gram

LEAST_GAPS = 3
"""Fewer gaps as long as the present one say nothing about its rest: the bound of the ski-rental rule holds alone."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What one idle replica draws and costs where it stands; ``None`` is unknown, never zero.

    ``cold_start_seconds``: from a request for it until a replica serves; ``drain_seconds``: how long it draws on after
    it was told to go. Both physical, as is every second here.
    """

    idle_watts: float | None
    full_watts: float | None
    pue: float | None
    grams_per_kwh: float | None
    usd_per_hour: float | None
    cold_start_seconds: float
    drain_seconds: float


@dataclass(frozen=True, slots=True)
class BreakEven:
    """After how many ``seconds`` of idling a start has been paid for, by which ``measure``.

    ``None``: something that the policy minimises is unknown. Infinite: idling costs nothing.
    """

    seconds: float | None
    measure: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True)
class Idle:
    """What follows for the number of replicas. ``wakes``: nobody serves, and somebody asked.

    ``may_sleep``: the last one may go. ``because``: why, or why not, in words.
    """

    wakes: bool = False
    may_sleep: bool = False
    because: str = ""
    figures: tuple[Figure, ...] = ()


def break_even(standing: Sequence[Standing], policy: Policy) -> BreakEven:
    """Return the break-even time of those that would go together, at least one, by the policy's own objective."""
    weight = max(0.0, usd_per_gram(policy))
    grams, usd = _sum(map(_grams, standing)), _sum(map(_usd, standing))
    figures = (*_figures("gCO2e", grams), *_figures("USD", usd))
    match policy.objective:
        case Objective.GREENEST:
            return BreakEven(_seconds(_in_grams(standing, grams), standing), "grams", figures)
        case Objective.CHEAPEST:
            return BreakEven(_seconds(usd, standing), "dollars", figures)
        case _:
            both = usd if not weight else None
            if weight and grams is not None and usd is not None:
                both = (usd[0] + weight * grams[0], usd[1] + weight * grams[1])
            return BreakEven(_seconds(both, standing), "the policy's score", figures)


def expected_rest(gaps: Sequence[float], idle_seconds: float) -> float | None:
    """Return how long the gap goes on by those past ones (seconds) that were longer; ``None`` when they are too few."""
    rests = [gap - idle_seconds for gap in gaps if gap > idle_seconds]
    return sum(rests) / len(rests) if len(rests) >= LEAST_GAPS else None


def judge_idle(idle_seconds: float, gaps: Sequence[float], even: BreakEven, least_seconds: float) -> Idle:
    """Say whether the last replica may go that nobody has asked anything of for so long.

    ``gaps``: how long the service was without requests before, in seconds. ``least_seconds``: the time that has to
    pass in any case.
    """
    rest = expected_rest(gaps, idle_seconds)
    figures = [Figure("idle", idle_seconds, "s", "since the last request, by the gateway's counts")]
    if even.seconds is not None and isfinite(even.seconds):
        figures.append(Figure("break-even", even.seconds, "s", f"drain + start / idling, in {even.measure}"))
    if rest is not None:
        figures.append(Figure("expected rest", rest, "s", "mean of the past gaps that were longer"))
    told = (*figures, *even.figures)
    if even.seconds is None:
        return Idle(because=f"not to zero: what idling costs in {even.measure} is unknown", figures=told)
    if even.seconds == inf:
        return Idle(because=f"not to zero: idling costs nothing in {even.measure}", figures=told)
    worth = f"a start costs as much as {_short(even.seconds)} of idling in {even.measure}"
    if idle_seconds < least_seconds:
        return Idle(because=f"to zero after {_short(least_seconds)} without a request, at the earliest", figures=told)
    if rest is not None and rest >= even.seconds:
        words = f"no request for {_short(idle_seconds)}, and by past gaps none for {_short(rest)} more; {worth}"
        return Idle(may_sleep=True, because=words, figures=told)
    if idle_seconds >= even.seconds:
        return Idle(may_sleep=True, because=f"no request for {_short(idle_seconds)}; {worth}", figures=told)
    return Idle(because=f"not to zero yet: no request for {_short(idle_seconds)}; {worth}", figures=told)


def _in_grams(standing: Sequence[Standing], grams: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return what stands for the grams of an hour of idling and of the starts: only their fraction matters.

    As energy where that has the same fraction: at one place, whatever its intensity is. It is taken where the intensity
    of one place is unknown, too: for one shape the fraction is the same everywhere.
    """
    alike = len({(s.pue, s.grams_per_kwh) for s in standing}) == 1
    return _sum(map(_kwh, standing)) if alike or grams is None else grams


def _sum(costs: Iterable[tuple[float, float] | None]) -> tuple[float, float] | None:
    """Add up an hour of idling, and starts; ``None`` where one is unknown."""
    told = list(costs)
    known = [cost for cost in told if cost is not None]
    return (sum(c[0] for c in known), sum(c[1] for c in known)) if len(known) == len(told) else None


def _kwh(standing: Standing) -> tuple[float, float] | None:
    """Return IT energy of an hour of idling and of a start, in kWh; ``None`` without a power model."""
    if standing.idle_watts is None or standing.full_watts is None:
        return None
    hours = standing.cold_start_seconds / SECONDS_PER_HOUR
    return watts_to_kw(standing.idle_watts), COLD_START_POWER_FRACTION * watts_to_kw(standing.full_watts) * hours


def _grams(standing: Standing) -> tuple[float, float] | None:
    """Return grams of an hour of idling and of a start, at this hour's intensity."""
    kwh, pue, intensity = _kwh(standing), standing.pue, standing.grams_per_kwh
    if kwh is None or pue is None or intensity is None:
        return None
    return kwh[0] * pue * intensity, kwh[1] * pue * intensity


def _usd(standing: Standing) -> tuple[float, float] | None:
    """Return dollars of an hour of idling and of a start: rent is rent."""
    usd = standing.usd_per_hour
    return None if usd is None else (usd, usd * standing.cold_start_seconds / SECONDS_PER_HOUR)


def _seconds(costs: tuple[float, float] | None, standing: Sequence[Standing]) -> float | None:
    if costs is None:
        return None
    per_hour, start = costs
    drain = max(s.drain_seconds for s in standing)
    return drain + start / per_hour * SECONDS_PER_HOUR if per_hour > 0 else inf


def _figures(unit: str, costs: tuple[float, float] | None) -> tuple[Figure, ...]:
    if costs is None:
        return ()
    return (
        Figure("idling", costs[0], f"{unit}/h", "what still stands, without a request"),
        Figure("start", costs[1], unit, "as much again, until it serves"),
    )


def _short(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"  # noqa: PLR2004  # ten minutes
