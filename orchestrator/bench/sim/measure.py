"""How many bad days a core lives through in a second, and whether a promise was broken in one of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.bench.sim.faults import Climate, Setting, setting_of
from orchestrator.bench.sim.run import Outcome, run

QUIET = "quiet"
BAD = "bad"


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that a run broke: of which seed, which, and how; ``at_seconds`` of the simulation."""

    seed: int
    invariant: str
    at_seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """Days of one kind, together.

    ``hours``: each run's hours of faults. ``service_hours``: simulated, of all services together, until all was in
    order again. ``cpu_s``: seconds of one core, of all of it. ``launches``: machines that were created.
    """

    days: str
    runs: int
    hours: float
    faults: int
    service_hours: float
    looks: int
    launches: int
    cpu_s: float
    broken: tuple[Broken, ...]

    @property
    def service_hours_per_second(self) -> float:
        """Service-hours that one core simulates in a second."""
        return self.service_hours / self.cpu_s if self.cpu_s > 0 else 0.0


def measure(seeds: range, hours: float, done: Callable[[], None] = lambda: None) -> tuple[Row, ...]:
    """Live through a quiet day and a bad day of each seed. Histories follow from the seeds, seconds do not.

    ``hours``: of simulated faults in each run, more than half an hour; ``done`` is called after each of the
    ``2 * len(seeds)`` runs. A quiet day is the same services without their faults.
    """
    bad = [setting_of(seed, Climate(), hours=hours) for seed in seeds]
    quiet = [setting.without(frozenset(f.number for f in setting.faults)) for setting in bad]
    return (_row(QUIET, quiet, hours, done), _row(BAD, bad, hours, done))


def _row(days: str, settings: list[Setting], hours: float, done: Callable[[], None]) -> Row:
    began = time.process_time()
    found = []
    for setting in settings:
        found.append(run(setting))
        done()
    spent = time.process_time() - began
    return Row(
        days=days,
        runs=len(found),
        hours=hours,
        faults=sum(len(s.faults) for s in settings),
        service_hours=sum(o.hours for o in found),
        looks=sum(o.looks for o in found),
        launches=sum(o.launches for o in found),
        cpu_s=spent,
        broken=tuple(b for o in found for b in _broken(o)),
    )


def _broken(outcome: Outcome) -> list[Broken]:
    return [Broken(outcome.setting.seed, v.invariant, v.at, v.text) for v in outcome.violations]
