"""A small fleet for months: what the database and the process grow to, and whether reports stay the same.

The controller and the database are real; machines, engines, gateway and time are simulated. Looks are as far apart as
``tick``, and what a look finds to be written since the one before is cut into samples of a minute, as the shipped
controller writes them; so the rows are those of a year, in the time of one look for each ``tick``.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.bench.scale.measure import ACTOR, BEGIN, Size, fleet, most_memory_mib, spec_of, until_ready
from orchestrator.control.controller import Controller
from orchestrator.control.grid import GridReader
from orchestrator.control.reporting import service_report
from orchestrator.control.runtime import Tuning
from orchestrator.control.usecases import preview_deploy, submit_deploy
from orchestrator.domain.time import Window
from orchestrator.ledger.report import Report
from orchestrator.spec.codec import spec_digest
from orchestrator.store.sql import SqlStore

MONTH = timedelta(days=30)
TOLD_AFTER_MONTHS = (1, 6, 12)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Soak:
    """How long, how coarse, and how long samples and decisions at rest stay as they were; ``None``: for ever."""

    size: Size
    days: int
    tick: timedelta
    keep: timedelta | None
    keep_decisions: timedelta | None

    @property
    def marks(self) -> tuple[int, ...]:
        """The days after which sizes are told: months 1, 6 and 12 as far as they are reached, and the last day."""
        months = [int(n * MONTH / timedelta(days=1)) for n in TOLD_AFTER_MONTHS]
        return (*(day for day in months if day < self.days), self.days)


@dataclass(frozen=True, slots=True)
class Mark:
    """What there is after so many days.

    ``rss_mib``: the most memory that this process had so far; ``cpu_s``: our own time until then; ``check_s``: what
    comparing the journal took, ``findings`` what that found. ``first_month_same``: whether the report of the first
    month still is, number by number, what it was when the month was over.
    """

    day: int
    rows: Mapping[str, int]
    database_bytes: int
    rss_mib: float
    cpu_s: float
    check_s: float
    findings: int
    first_month_same: bool


async def soak(asked: Soak, store: SqlStore, done: Callable[[int], None]) -> tuple[Mark, ...]:
    """Let the fleet come up and run; ``done`` is told of each day. Raises ``TimedOut`` when it does not come up."""
    tuning = Tuning(
        sample_every=asked.tick, longest_sample=MINUTE, keep_samples=asked.keep, keep_decisions=asked.keep_decisions
    )
    clock, _, runtime = fleet(asked.size, store, tuning)
    grid = GridReader(runtime.carbon)
    names = asked.size.names
    for name in names:
        spec = spec_of(name, asked.size)
        digest = spec_digest(spec)
        submit_deploy(spec, digest, await preview_deploy(spec, digest, runtime, grid=grid), runtime, actor=ACTOR)
    controller = Controller(runtime, store.claim(ACTOR, clock.now()), grid)
    await until_ready(controller, clock, store, asked.size)
    marks: list[Mark] = []
    first: Report | None = None
    month = Window.starting(BEGIN, min(MONTH, timedelta(days=asked.days)))
    for day in range(1, asked.days + 1):
        while clock.now() < BEGIN + timedelta(days=day):
            clock.advance(asked.tick)
            await controller.tick()
        if first is None and clock.now() >= month.end:
            first = _figures(await service_report(runtime, names[0], month))
        if day in asked.marks:
            same = first is not None and _figures(await service_report(runtime, names[0], month)) == first
            marks.append(_mark(day, store, same=same))
        done(day)
    return tuple(marks)


def _figures(report: Report) -> Report:
    """The report without its rivals, which are priced by what is for sale on the day on which somebody asks."""
    return replace(report, rivals=())


def _mark(day: int, store: SqlStore, *, same: bool) -> Mark:
    cpu = time.process_time()
    began = time.perf_counter()
    findings = len(store.check_journal().findings)
    check_s = time.perf_counter() - began
    found = store.sizes()
    rss = most_memory_mib(sys.platform, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return Mark(day, found.rows, found.size_bytes, rss, cpu, check_s, findings, same)
