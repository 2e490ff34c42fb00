"""Traffic before replicas: which part of the load each place takes, so that the same answers emit less. Pure.

Weights move in seconds and cost nothing, so they are the first thing to follow the grid, before anything is started.
What a place emits is ``replicas x P(b) x PUE x I``, where ``b`` is the batch that its part of the load makes (Little's
law, by the fitted model of a replica where there is one), and full power while it reads prompts. ``P`` rises steeply
and then saturates, so grams are neither convex nor concave in the part: marginal grams meet nowhere in particular, and
following them can end on a hill. All splits into whole parts of the load are therefore tried, by dynamic programming
over places (Bellman 1957; resource allocation with separable costs as in Ibaraki and Katoh, "Resource Allocation
Problems", 1988, section 3.2), which is exact on that lattice in O(places x parts^2).

Replicas of one offer share evenly: they emit the same per token, and one that is full beside one that idles answers
slower for the sake of the saturation of a power curve. Rent does not depend on the split, so for every objective that
counts grams the fewest grams are the best split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, inf

from orchestrator.domain.hardware import PowerModel
from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.split import Share, Split
from orchestrator.domain.units import watts_to_kw
from orchestrator.planner.sizing.capacity import Capacity
from orchestrator.planner.sizing.staffing import usable_fraction

LEAST_OF_EVEN = 0.1
"""Nobody gets less than a tenth of an even share: a replica that answers nothing fails unseen, with a cold cache."""

WORTH_SHIFTING = 0.02
"""A split that saves less of what is emitted now is not worth unrest; live intensities jitter by as much."""

MOST_SHIFTED = 0.2
"""Of all traffic in one step (a minute): queues and caches follow, and what was read wrongly can be taken back."""

FEWEST_PARTS, FEWEST_PARTS_EACH = 100, 2
_BISECTIONS = 40
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Place:
    """Ready replicas of one offer. ``capacity``: of one of them. ``rtt_ms``: to the farthest clients.

    ``rtt_ms`` is ``None`` where it is not known, and 0 where nobody has said where clients are.
    """

    offer_id: str
    replicas: int
    power: PowerModel | None
    pue: float | None
    grams_per_kwh: float | None
    capacity: Capacity
    rtt_ms: float | None = 0.0

    def batch(self, load: LoadSeen, part: float) -> float:
        """Return the mean sequences under way in each replica when they take that part (``0..1``) of the load.

        By the model of a replica; without one, or without token counts, requests are taken to last as long anywhere.
        """
        model = self.capacity.models[0] if self.capacity.models else None
        each = part / self.replicas
        if model is None or load.prompt_tokens is None or not load.output_tokens:
            return load.mean_in_flight * each
        rate = load.requests_per_second * each
        return model.batch_at(rate, load.prompt_tokens, load.output_tokens, self.capacity.places)

    def reading(self, load: LoadSeen, part: float) -> float:
        """Return the part of the time in which each of its replicas reads prompts; 0 where nothing tells."""
        model = self.capacity.models[0] if self.capacity.models else None
        if model is None or load.prompt_tokens is None or not load.output_tokens:
            return 0.0
        return model.reading(load.requests_per_second * part / self.replicas * load.prompt_tokens)

    def busy(self, load: LoadSeen, part: float) -> float:
        """Return how busy its replicas are with that part of the load; 1 is all they can carry."""
        return self.capacity.offered(load).replicas * part / self.replicas

    def grams_per_hour(self, load: LoadSeen, part: float) -> float | None:
        """Return what they emit in an hour of running, idle power included; ``None`` where a factor is unknown."""
        if self.power is None or self.pue is None or self.grams_per_kwh is None:
            return None
        watts = self.replicas * self.power.watts(self.batch(load, part), self.reading(load, part))
        return watts_to_kw(watts) * self.pue * self.grams_per_kwh

    def grams_at(self, load: LoadSeen, part: float) -> float:
        """Return :meth:`grams_per_hour` where they are known. Raises ``ValueError`` where they are not."""
        grams = self.grams_per_hour(load, part)
        if grams is None:
            message = f"what {self.offer_id} emits is unknown"
            raise ValueError(message)
        return grams

    def tells_ttft(self, load: LoadSeen) -> bool:
        """Whether the time to the first token follows from what is known of a replica there."""
        return self.capacity.ttft_seconds(load, self.replicas) is not None


def best_split(places: Sequence[Place], load: LoadSeen | None, parts: int = 0) -> Split:
    """Return the split with the fewest grams that keeps queues short; an even one where something is unknown.

    ``parts``: how many equal parts the load is cut into, a multiple of the number of replicas; 0 means at least
    ``FEWEST_PARTS``. Every replica keeps ``LEAST_OF_EVEN`` of its even share. Where the load is too much for all places
    together, none takes more than an even split would give it. Raises ``ValueError`` for ``parts`` that cannot express
    an even split.
    """
    ordered = sorted(places, key=lambda p: p.offer_id)
    whole, even = lattice(ordered, parts)
    why = why_even(ordered, load)
    if load is None or why:
        return _even(ordered, load, why)
    ranges = _ranges(ordered, load, whole, even)
    costs = [
        [p.grams_at(load, k / whole) for k in range(low, high + 1)]
        for p, (low, high) in zip(ordered, ranges, strict=True)
    ]
    chosen = _fewest(costs, [low for low, _ in ranges], whole)
    grams = sum(p.grams_at(load, k / whole) for p, k in zip(ordered, chosen, strict=True))
    evenly = sum(p.grams_at(load, k / whole) for p, k in zip(ordered, even, strict=True))
    within = all(k <= high for k, (_, high) in zip(even, ranges, strict=True))
    if within and grams >= evenly * (1 - _ROUNDING):
        chosen, grams = tuple(even), evenly
    found = _even(ordered, load, "")
    shares = [
        replace(s, part=k / whole, busy=p.busy(load, k / whole))
        for s, p, k in zip(found.shares, ordered, chosen, strict=True)
    ]
    return Split(tuple(shares), grams, evenly)


def lattice(places: Sequence[Place], parts: int = 0) -> tuple[int, list[int]]:
    """Return how many equal parts the load is cut into, and how many of them each place gets of an even split.

    Raises ``ValueError`` for ``parts`` that cannot express that.
    """
    number = sum(p.replicas for p in places)
    each = parts // number if parts else max(FEWEST_PARTS_EACH, ceil(FEWEST_PARTS / max(1, number)))
    if parts and each * number != parts:
        message = f"{parts} parts cannot be shared evenly by {number} replicas"
        raise ValueError(message)
    return each * number, [p.replicas * each for p in places]


def in_parts(part: float, whole: int) -> int:
    """Return how many of ``whole`` equal parts of the load fit into a part (``0..1``) of it."""
    return max(0, floor(min(1.0, part) * whole + _ROUNDING))


def most_part(place: Place, load: LoadSeen, even: float) -> float:
    """Return up to which part of the load the replicas of a place keep their queues short, and what is promised.

    Square-root staffing says how busy so many replicas may be. Where there are two or more, the load of one that falls
    has to fit into the others of its place. The time to the first token (round trip of the farthest clients, wait,
    prompt and one step) has to be promised at that rate; where it is not known, the part is the even one at most.
    """
    offered = place.capacity.offered(load).replicas
    number = place.replicas
    most = inf if offered <= 0 else usable_fraction(number) * number / offered
    if number > 1:
        # part x offered / number x 1 / (1 - part / number) <= 1: a share is dealt out anew to all that are left.
        most = min(most, number / (offered + 1.0))
    promise = place.capacity.ttft_p95_seconds
    if promise is None:
        return most
    if place.rtt_ms is None or place.capacity.ttft_seconds(load, number) is None:
        return min(most, even)
    left = promise - place.rtt_ms / 1000.0
    low, high = 0.0, min(1.0, most)
    if _waits(place, load, high) <= left:
        return most
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _waits(place, load, middle) <= left else (low, middle)
    return low


def next_parts(
    current: Mapping[str, float], places: Sequence[Place], load: LoadSeen | None
) -> tuple[dict[str, float], Split]:
    """Return the parts (by offer id, they add up to 1) that hold from now on, and the split that they go towards.

    ``current``: those in force. At most ``MOST_SHIFTED`` of the traffic moves, and only when it is worth it; but a
    place that has more than it should is relieved at once. Towards an even split it goes by the same steps.
    """
    target = best_split(places, load)
    goal = {s.offer_id: s.part for s in target.shares}
    if load is not None and not target.why_even:
        by_id = {p.offer_id: p for p in places}
        if any(current[s.offer_id] > max(s.most, s.part) + _ROUNDING for s in target.shares):
            return goal, target
        now = sum(by_id[i].grams_at(load, part) for i, part in sorted(current.items()))
        if target.grams_per_hour is None or now - target.grams_per_hour <= WORTH_SHIFTING * now:
            return dict(current), target
    shifted = sum(abs(goal[i] - current[i]) for i in sorted(goal)) / 2
    if shifted <= MOST_SHIFTED:
        return goal, target
    step = MOST_SHIFTED / shifted
    return {i: current[i] + step * (goal[i] - current[i]) for i in sorted(goal)}, target


def _waits(place: Place, load: LoadSeen, part: float) -> float:
    """Return the 95th percentile of the time to the first token (seconds) at that part; infinite if not known."""
    own = replace(load, requests_per_second=load.requests_per_second * part)
    found = place.capacity.ttft_seconds(own, place.replicas)
    return inf if found is None else found


def why_even(places: Sequence[Place], load: LoadSeen | None) -> str:
    """Say what keeps traffic from following the grid; empty where nothing does."""
    if len(places) <= 1:
        return "all replicas are of one offer" if places else "nothing serves yet"
    for place in places:
        where = place.offer_id.split(":", 1)[0]
        if place.grams_per_kwh is None:
            return f"no fresh carbon intensity is known of {where}"
        if place.power is None or place.pue is None:
            return f"the power of {where} is not known"
    return "no load has been seen yet" if load is None else ""


def _even(places: Sequence[Place], load: LoadSeen | None, why: str) -> Split:
    number = sum(p.replicas for p in places)
    shares = []
    for place in places:
        part = place.replicas / number
        most = 1.0 if load is None else min(1.0, most_part(place, load, part))
        busy = 0.0 if load is None else place.busy(load, part)
        shares.append(Share(place.offer_id, place.replicas, part, part, most, busy, place.grams_per_kwh))
    grams = [None if load is None else p.grams_per_hour(load, p.replicas / number) for p in places]
    known = [g for g in grams if g is not None]
    total = sum(known) if known and len(known) == len(grams) else None
    return Split(tuple(shares), total, total, why)


def _ranges(places: Sequence[Place], load: LoadSeen, whole: int, even: Sequence[int]) -> list[tuple[int, int]]:
    """Return the fewest and the most parts of each place."""
    lows = [max(1, round(LEAST_OF_EVEN * own)) for own in even]
    mosts = [most_part(p, load, own / whole) for p, own in zip(places, even, strict=True)]
    highs = [max(low, floor(min(1.0, most) * whole + _ROUNDING)) for low, most in zip(lows, mosts, strict=True)]
    if sum(highs) < whole:
        highs = [max(high, own) for high, own in zip(highs, even, strict=True)]
    return list(zip(lows, highs, strict=True))


def _fewest(costs: Sequence[Sequence[float]], lows: Sequence[int], whole: int) -> tuple[int, ...]:
    """Return the parts of each place that add up to ``whole`` at the least cost; the first places get fewer on a tie.

    ``costs[i][k]``: of place ``i`` with ``lows[i] + k`` parts. There has to be such a sum.
    """
    least: dict[int, float] = {0: 0.0}
    taken: list[dict[int, int]] = []
    for place, (own, low) in enumerate(zip(costs, lows, strict=True), start=1):
        totals: dict[int, float] = {}
        choice: dict[int, int] = {}
        for before, cost in least.items():
            most = whole - before
            first = max(low, most) if place == len(costs) else low  # the last one takes all that is left
            for k, more in enumerate(own[first - low : max(0, most - low + 1)], start=first):
                if (total := cost + more) < totals.get(before + k, inf):
                    totals[before + k], choice[before + k] = total, k
        least = totals
        taken.append(choice)
    parts: list[int] = []
    left = whole
    for choice in reversed(taken):
        parts.append(choice[left])
        left -= parts[-1]
    return tuple(reversed(parts))
