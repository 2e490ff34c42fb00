"""Which upstream gets a request: a pure choice.

Weights are honoured exactly, not on average: any run of consecutive numbers as long as the sum of the weights (after
dividing them by their greatest common divisor) hits each upstream exactly as often as its weight says, well mixed.
At 90/10, each ten requests send one to the second upstream.

Who is eligible, best first; the first non-empty group is used:

1. upstreams with a weight that are not cooling down;
2. standby upstreams (weight 0) that are not cooling down;
3. upstreams with a weight, though cooling down;
4. standby upstreams, though cooling down.

Groups 2 to 4 are for a table whose weights are all zero, or a network fault that makes everything look bad: neither
must turn a service off while something may still answer.

When more than half of the upstreams are cooling down, the panic mode: first attempts go to all that have a weight and
answer, however badly. What makes most of them fail is then rather the load, or something that they share, than each of
them, and the few others would get all of it. Who does not answer at all takes no load off anybody, and is left out. A
retry still goes where nothing failed lately.

A draining upstream is in no group: the controller
is waiting for its last request to end, and a new one could be cut off.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate

from orchestrator.domain.routing import Upstream

_GOLDEN = (math.sqrt(5) - 1) / 2


def choose(
    upstreams: Iterable[Upstream],
    number: int,
    *,
    excluded: Collection[str] = (),
    cooling: Collection[str] = (),
    gone: Collection[str] = (),
) -> Upstream | None:
    """Pick the upstream for the ``number``-th request of a service; ``None`` when nobody is eligible.

    ``excluded`` and ``cooling`` hold replica names: those this request has tried already, and those that failed lately;
    ``gone`` those among the latter that did not answer at all. ``number`` should count up by one from request to
    request; any whole number is accepted.
    """
    candidates = [u for u in upstreams if not u.draining and u.replica not in excluded]
    rested = [u for u in candidates if u.replica not in cooling]
    panics = not excluded and 2 * len(rested) < len(candidates)
    groups = (
        [u for u in candidates if panics and u.weight > 0 and u.replica not in gone],
        [u for u in rested if u.weight > 0],
        [u for u in rested if u.weight == 0],
        [u for u in candidates if u.weight > 0],
        candidates,
    )
    group = next((g for g in groups if g), None)
    return None if group is None else _weighted(group, number)


def _weighted(group: Sequence[Upstream], number: int) -> Upstream:
    if len(group) == 1:
        return group[0]
    weights = [u.weight for u in group] if any(u.weight for u in group) else [1] * len(group)
    divisor = math.gcd(*weights)
    bounds = list(accumulate(w // divisor for w in weights))
    position = number * _stride(bounds[-1]) % bounds[-1]
    return next(u for u, bound in zip(group, bounds, strict=True) if position < bound)


@lru_cache(maxsize=1024)
def _stride(length: int) -> int:
    """Return the step near the golden section of ``length`` that has no divisor in common with it.

    Such a step visits every position once per round (that makes the shares exact), and consecutive requests land far
    apart (that keeps a small share from coming in a bunch).
    """
    wanted = round(length * _GOLDEN)
    steps = (s for distance in range(length) for s in (wanted - distance, wanted + distance))
    return next((s for s in steps if 0 < s < length and math.gcd(s, length) == 1), 1)
