"""How many replicas the load of each hour is work for, by the product's own sizing: the yardstick for everybody.

The real controller decides on its number by itself, from what the gateway counts. Rivals do not scale, so they hold
what the same rules ask for when the hour begins; and whether enough is ready is measured for all against what the
hour's load needs. A service that may sleep needs nobody in an hour without a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.control.load import capacity_of
from orchestrator.domain.hardware import Shape
from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.units import SECONDS_PER_HOUR
from orchestrator.planner.sizing.capacity import Capacity
from orchestrator.planner.wanted import is_scaled, need
from orchestrator.sim.workload import Workload


@dataclass(frozen=True, slots=True)
class Sizes:
    """Replicas by the hour of the period.

    ``needed``: by the load, within the spec's bounds. ``held``: what a controller that knows each hour's load holds,
    dead band included. ``leave_seconds``: how long a replica stays that is needed no longer. ``places``: requests that
    one replica runs at once.
    """

    needed: tuple[int, ...]
    held: tuple[int, ...]
    leave_seconds: float
    places: int

    @property
    def most(self) -> int:
        """The largest number held."""
        return max(self.held)

    @property
    def awake(self) -> Sizes:
        """What is held where nobody ever sleeps: by everybody who does without greenctl."""
        return replace(self, held=tuple(max(1, number) for number in self.held))

    @property
    def foreseen(self) -> Sizes:
        """What is held where all that comes is known: nobody stays who is needed no longer."""
        return replace(self, leave_seconds=0.0)

    @property
    def is_constant(self) -> bool:
        """Whether every hour has the same number."""
        return min(self.held) == max(self.held)


def sizes_of(spec: ServiceSpec, load: Workload, shapes: Sequence[Shape]) -> Sizes:
    """Return the numbers for a load. ``shapes``: what a replica may stand on; the slowest of them counts."""
    scaling, hours = spec.scaling, len(load.requests_per_second)
    capacity = capacity_of(spec, shapes, [])
    low, high = scaling.min_replicas, scaling.max_replicas
    leave = scaling.downscale_delay.total_seconds()
    if spec.batch is not None:  # load has no say: all replicas while it runs
        return Sizes((0,) * hours, (high,) * hours, 0.0, capacity.places)
    if not is_scaled(scaling):
        return Sizes((low,) * hours, (low,) * hours, leave, capacity.places)
    needed: list[int] = []
    held: list[int] = []
    for hour in range(hours):
        asked = need(0.0, _seen(load, hour, held[-1] if held else low, capacity), scaling, capacity)
        up = _within(low, asked.up, high)
        before = held[-1] if held else up
        down = before if asked.down is None else _within(low, asked.down, high)
        needed.append(up)
        held.append(up if up > before else min(before, down))
    return Sizes(tuple(needed), tuple(held), leave, capacity.places)


def _within(low: int, number: int | None, high: int) -> int:
    return low if number is None else min(high, max(low, number))


def _seen(load: Workload, hour: int, serving: int, capacity: Capacity) -> LoadSeen:
    """Return an hour's load as the gateway and engines with room for it would tell it."""
    concurrency = load.concurrency(hour)
    return LoadSeen(
        seconds=SECONDS_PER_HOUR,
        requests_per_second=load.requests_per_second[hour],
        mean_in_flight=concurrency,
        serving=serving,
        running=round(min(concurrency, serving * capacity.places)),
        waiting=0,
        kv_fraction=None,
        prompt_tokens=load.prompt_tokens,
        output_tokens=load.output_tokens,
    )
