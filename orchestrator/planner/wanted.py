"""How many replicas a service wants by its load: up at once, down after a while and step by step. Pure.

What is needed at each look is kept as a trail. The number goes up as soon as the smallest need of the last
``upscale_delay_seconds`` is above it, in one step. It goes down when the largest need of the last
``downscale_delay_seconds`` is below it, and then by at most a quarter in a minute: so a replica that was added stays
for that long at least, whatever the load does (the stabilisation window of Kubernetes' HorizontalPodAutoscaler; the
delays are SkyServe's, ``sky.serve.autoscalers`` of SkyPilot 0.14.1, under its names).

A look that told nothing is not a look at no load: while one lies in that stretch, or a hole, nothing goes down.

The number is the fewest of the shapes that serve now which carries the load with its promises kept. By the batch-energy
curve of every setup that was measured no larger number of one shape draws less
(``tests/property/test_consolidation_properties.py``), and rent grows with it. Where replicas have to be bought, number
and shapes are weighed together (``planner.number``, ADR 0035), which may end at another number.

Load alone never takes the last replica away. With ``min_replicas: 0`` that is a matter of what idling costs beside a
start (``planner.sizing.idle``), and the first request after it brings one back without any delay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil

from orchestrator.domain.scale import Figure, LoadSeen, WantedReplicas
from orchestrator.domain.service import Scaling
from orchestrator.planner.sizing.capacity import Capacity
from orchestrator.planner.sizing.idle import Idle

DEAD_BAND = 0.1
"""Fewer replicas must be able to carry a tenth more than the load: the tolerance of Kubernetes'
HorizontalPodAutoscaler (``--horizontal-pod-autoscaler-tolerance``, default 0.1)."""

KV_TARGET = 0.8
"""How full KV caches may be on average: beyond it vLLM begins to preempt sequences, which costs them their prefill."""

LONGEST_HOLE_SECONDS = 30.0
"""Two looks further apart have a hole between them, unless the delay that they are looked at for is longer. Counters
are integrals, so a look tells the mean since the one before: what matters is that no whole delay went unseen."""

STEP_SECONDS = 60.0
STEP_FRACTION = 0.25
"""At most a quarter of the replicas, and at least one, leave in a minute: the plan goes down slowly."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Need:
    """What one look asks for: ``up`` replicas are needed now, ``down`` would be enough with some room.

    ``at_seconds``: when, by ``Clock.monotonic``. Without numbers the look told too little, and ``because`` says what.
    """

    at_seconds: float
    up: int | None
    down: int | None
    because: str
    figures: tuple[Figure, ...] = ()


def is_scaled(scaling: Scaling) -> bool:
    """Whether load decides on the number."""
    return scaling.max_replicas > scaling.min_replicas


def may_sleep(scaling: Scaling) -> bool:
    """Whether the service may have no replica at all while nobody asks for anything."""
    return is_scaled(scaling) and scaling.min_replicas == 0


def need(at_seconds: float, load: LoadSeen, scaling: Scaling, capacity: Capacity) -> Need:
    """Return how many replicas the load needs: by ``target_qps_per_replica`` where it is given, else by sizing."""
    target = scaling.target_qps_per_replica
    if target is not None:
        return _by_target(at_seconds, load, target)
    return _by_size(at_seconds, load, capacity)


def wanted(
    current: int,
    trail: Sequence[Need],
    scaling: Scaling,
    now: float,
    changed_at: float,
    idle: Idle | None = None,
) -> WantedReplicas:
    """Return the number that should serve from now on.

    ``current``: the number in force. ``trail``: needs by time, as far back as they were watched. ``now`` and
    ``changed_at`` (when the number last changed, or nothing was known before): seconds of ``Clock.monotonic``.
    ``idle``: whether the last replica may go, or the first has to come; without it neither happens.
    """
    low, high = scaling.min_replicas, scaling.max_replicas
    start = min(max(current, low), high)
    if start == 0:
        return _asleep(trail, scaling, idle)
    found = _by_load(start, trail, scaling, now, changed_at)
    if idle is None or low > 0 or start > 1 or found.replicas > 1:
        return found
    if idle.may_sleep:
        return WantedReplicas(0, low, high, 0, idle.because, idle.figures)
    because = "; ".join(words for words in (found.because, idle.because) if words)
    return replace(found, because=because, figures=(*found.figures, *idle.figures))


def _asleep(trail: Sequence[Need], scaling: Scaling, idle: Idle | None) -> WantedReplicas:
    """Stay at zero, or wake: for a request that waits no delay is too short."""
    low, high = scaling.min_replicas, scaling.max_replicas
    if idle is None or not idle.wakes:
        because = "no requests; the next one starts a replica"
        return WantedReplicas(0, low, high, None if idle is None else 0, because)
    up = max(1, (trail[-1].up or 0) if trail else 0)
    return WantedReplicas(min(up, high), low, high, up, idle.because, idle.figures)


def _by_load(start: int, trail: Sequence[Need], scaling: Scaling, now: float, changed_at: float) -> WantedReplicas:
    """Return the number that load asks for; of the one that may be the last it has no say."""
    low, high = scaling.min_replicas, scaling.max_replicas
    floor = max(1, low)
    if not trail:
        return WantedReplicas(start, low, high, None, "no load has been seen yet")
    last = trail[-1]
    if now - last.at_seconds > LONGEST_HOLE_SECONDS:
        return WantedReplicas(start, low, high, None, "the load was not seen lately")
    rise = _over(trail, now, scaling.upscale_delay.total_seconds())
    if (ups := _known([n.up for n in rise])) and (above := min(high, *ups)) > start:
        return WantedReplicas(above, low, high, last.up, _bounded(last, low, high), last.figures)
    because = _bounded(last, low, high)
    delay = scaling.downscale_delay.total_seconds()
    fall = _over(trail, now, delay)
    downs = _known([n.down for n in fall])
    below = max(floor, *downs) if downs else start
    if below < start and now - changed_at >= min(STEP_SECONDS, delay):
        least = start - max(1, int(start * STEP_FRACTION))
        return WantedReplicas(max(below, least), low, high, last.up, because, last.figures)
    if last.down is not None and max(floor, last.down) < start:
        because += f"; fewer only after {delay:g} s without need of more"
    return WantedReplicas(start, low, high, last.up, because, last.figures)


def _by_target(at_seconds: float, load: LoadSeen, target: float) -> Need:
    """Follow SkyServe's ``RequestRateAutoscaler``: requests per second over the target, rounded up."""
    rate = load.requests_per_second
    figures = (
        Figure("load", rate, "requests/s", f"the gateway's count over {load.seconds:.0f} s"),
        Figure("target", target, "requests/s per replica", "target_qps_per_replica"),
    )
    because = f"{_short(rate)} requests/s of {_short(target)} each"
    down: int | None = _ceil(rate * (1 + DEAD_BAND) / target)
    if load.waiting:
        because, down = f"{because}, and {load.waiting} wait in the engines", None
    return Need(at_seconds, _ceil(rate / target), down, because, figures)


def _by_size(at_seconds: float, load: LoadSeen, capacity: Capacity) -> Need:
    """Staff the offered load, and believe the engines where they say that it is too much for them."""
    offered = capacity.offered(load)
    figures = [
        Figure("load", load.requests_per_second, "requests/s", f"the gateway's count over {load.seconds:.0f} s"),
        Figure("offered", offered.replicas, "busy replicas", offered.origin),
    ]
    numbers = [capacity.replicas_for(load)]
    because = offered.words
    if load.running is None or load.waiting is None:
        return Need(at_seconds, numbers[0], None, f"{because}; an engine's own figures cannot be read", tuple(figures))
    if load.waiting and load.running:
        # They are full: what waits needs as much room again as it would take beside what runs.
        numbers.append(_ceil(load.serving * (load.running + load.waiting) / load.running))
        because = f"{load.waiting} requests wait beside {load.running} that run"
        figures.append(Figure("waiting", load.waiting, "requests", "the engines"))
    if load.kv_fraction is not None and (by_memory := _ceil(load.serving * load.kv_fraction / KV_TARGET)) > max(
        numbers
    ):
        numbers.append(by_memory)
        because = f"KV caches are {load.kv_fraction:.0%} full"
        figures.append(Figure("KV cache", load.kv_fraction, "of its room", "the engines"))
    for number in dict.fromkeys((load.serving, max(numbers))):
        joules = capacity.joules_per_token(load, number) if number else None
        if joules is not None:
            figures.append(Figure(f"energy on {number}", joules, "J per output token", "batch-energy curve, no host"))
    down = max(capacity.replicas_for(load, DEAD_BAND), *numbers)
    return Need(at_seconds, max(numbers), down, because, tuple(figures))


def _over(trail: Sequence[Need], now: float, seconds: float) -> Sequence[Need]:
    """Return the needs of the last stretch; nothing when it was not watched from its beginning, or has a hole."""
    since = now - seconds
    if seconds <= 0:
        return trail[-1:]
    first = next((i for i in range(len(trail) - 1, -1, -1) if trail[i].at_seconds <= since), None)
    if first is None:
        return ()
    stretch = trail[first:]
    longest = max(LONGEST_HOLE_SECONDS, seconds)
    has_hole = any(b.at_seconds - a.at_seconds > longest for a, b in pairwise(stretch))
    return () if has_hole else stretch


def _known(numbers: Sequence[int | None]) -> list[int]:
    """Return the numbers if every one is known, else none."""
    known = [n for n in numbers if n is not None]
    return known if len(known) == len(numbers) else []


def _bounded(last: Need, low: int, high: int) -> str:
    if last.up is not None and last.up > high:
        return f"{last.because}: {last.up} are needed, and max_replicas is {high}"
    if last.up is not None and last.up < low:
        return f"{last.because}; min_replicas is {low}"
    return last.because


def _ceil(value: float) -> int:
    return ceil(value - _ROUNDING)


def _short(value: float) -> str:
    return f"{value:.3g}"
