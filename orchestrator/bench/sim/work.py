"""What is promised of batch work, checked by books of our own: who served when, and what of the work is left.

Kept by what the journal has taken, at the call. Of a database that was set back only what its records still say
counts: neither hours nor beginnings that it has forgotten are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrator.control.batch import due_times
from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.records import ServiceRecord, ServiceState
from orchestrator.domain.replica import ENDED, LIVE, Replica, ReplicaState
from orchestrator.domain.service import BatchRules
from orchestrator.domain.time import HOUR, Instant

if TYPE_CHECKING:
    from orchestrator.bench.sim.world import SimWorld

LATE_SECONDS = 900.0
"""For so long of a working controller nothing may have been begun that has to be, and nobody stay who has no work."""

LITTLE_HOURS = 1.5 / 3600.0
"""Engine hours that are none: what is counted is counted to the second."""


@dataclass(slots=True)
class Shift:
    """When a replica served, as far as the journal knows; ``end``: of one that has ended."""

    service: str
    ready_at: Instant
    end: Instant | None = None


class WorkBook:
    """Books of the work of all services. ``broken`` is told of what was promised and not kept."""

    def __init__(self, world: SimWorld, broken: Callable[[str, str], None]) -> None:
        self._world = world
        self._broken = broken
        self._shifts: dict[str, Shift] = {}
        self._begun: dict[str, tuple[Instant, str]] = {}
        """By service: of the work that is due then it was said that it runs, in that decision."""
        self._due: dict[str, tuple[Instant, Instant]] = {}
        """By service: the round that was looked at last, from when on and until when."""
        self._ended: set[str] = set()
        """Services that were ever taken down."""
        self._unbegun: dict[str, float] = {}
        self._unneeded: dict[str, float] = {}

    # ── what is written down ─────────────────────────────────────────────────────────────────────────

    def moved(self, name: str, to: ReplicaState) -> None:
        """Hear of a replica's new state."""
        now, row = self._world.clock.now(), self._world.truth.replica(name)
        if row is None:
            return
        if to is ReplicaState.READY:
            self._shifts[name] = Shift(row.service, now)
        elif to in ENDED and name in self._shifts:
            self._shifts[name].end = now

    def taken_down(self, service: str) -> None:
        """Hear that a service ends: its next deploy begins anew."""
        self._world.people.deployed_at.pop(service, None)
        self._ended.add(service)
        self._begun.pop(service, None)
        self._due.pop(service, None)

    def decided(self, decision: Decision) -> None:
        """Hear of a decision: what has begun is not stopped, and what was done is not forgotten."""
        service, size = self._world.truth.service(decision.service), decision.sizing
        if service is None or size is None or service.spec.batch is None or service.state is not ServiceState.ACTIVE:
            return
        round_ = self._round(service, decision.at)
        if round_ is None:
            return
        # While somebody's request is open the number of before holds, told in the words and figures of before.
        figures = () if self._world.truth.operations(service.name) else size.figures
        done = next((f.value for f in figures if f.name == "done"), None)
        known = self._served_hours(service, round_, decision.at)
        if done is not None and done < known - LITTLE_HOURS:
            self._broken("I26", f"{known - done:.2f} of {known:.2f} h done of {service.name} are forgotten")
        if done is not None and done > known + LITTLE_HOURS and not self._world.lost_rows:
            self._broken("I26", f"{done:.2f} h of {service.name} are said to be done, {known:.2f} h are")
        left = service.spec.batch.asked_hours - known
        if size.replicas == 0 and left > LITTLE_HOURS and self._goes_through(service, round_[1]):
            self._broken("I26", f"{service.name} is stopped with {left:.2f} h of its work left: {size.because}")
        if size.replicas > 0 and size.needed is not None and size.until is not None:
            self._begun[service.name] = size.until, decision.id

    # ── what is asked ────────────────────────────────────────────────────────────────────────────────

    def needs(self, service: ServiceRecord) -> int:
        """Return how many have to go on serving: all, where work has begun that must not be interrupted."""
        left, round_ = self.left_hours(service), self._round(service, self._world.clock.now())
        if round_ is None or left is None or left <= LITTLE_HOURS or not self._goes_through(service, round_[1]):
            return 0
        return service.spec.scaling.max_replicas

    def left_hours(self, service: ServiceRecord) -> float | None:
        """Return the engine hours that are left of the round; ``None`` where nobody here knows when it began."""
        now, batch = self._world.clock.now(), service.spec.batch
        round_ = self._round(service, now)
        if batch is None or round_ is None:
            return None
        return max(0.0, batch.asked_hours - self._served_hours(service, round_, now))

    def is_open(self) -> bool:
        """Whether something of it is left to do, of any service that is up."""
        active = [s for s in self._world.truth.services() if s.state is ServiceState.ACTIVE]
        left = {s.name: self.left_hours(s) for s in active}
        # Of what nobody here keeps books, it is done when nobody is at it.
        return any(bool(self._world.truth.replicas(n)) if h is None else h > LITTLE_HOURS for n, h in left.items())

    def came_since(self, moment: Instant) -> bool:
        """Whether a new round of some service has begun since then."""
        now = self._world.clock.now()
        befores = [due_times(s.spec.batch, now)[0] for s in self._world.truth.services() if s.spec.batch is not None]
        return any(before is not None and before > moment for before in befores)

    def look(self, rows: Iterable[Replica], passed: float) -> None:
        """Look at all services; ``passed``: seconds of a controller that can work."""
        living = {r.service for r in rows if r.state in LIVE}
        for service in self._world.truth.services():
            left = self.left_hours(service) if service.state is ServiceState.ACTIVE else None
            if left is None or service.spec.batch is None:
                self._unbegun.pop(service.name, None)
                self._unneeded.pop(service.name, None)
                continue
            self._look_at_due(service)
            self._look_for_beginning(service, service.spec.batch, left, passed, lives=service.name in living)
            self._look_for_end(service, left, passed, lives=service.name in living)

    # ── small parts ──────────────────────────────────────────────────────────────────────────────────

    def _look_for_beginning(
        self, service: ServiceRecord, batch: BatchRules, left: float, passed: float, *, lives: bool
    ) -> None:
        """What has to begin now to be in time does, unless it is on record that it has no place."""
        name, (_, due) = service.name, due_times(batch, self._world.clock.now())
        latest = due - batch.margin - left / service.spec.scaling.max_replicas * HOUR
        if lives or left <= LITTLE_HOURS or self._world.clock.now() < latest or self._holds(name):
            self._unbegun.pop(name, None)
            return
        self._unbegun[name] = self._unbegun.get(name, -passed) + passed
        if self._unbegun[name] > LATE_SECONDS:
            self._broken("I26", f"{left:.2f} h of {name} are due at {due}, and nothing is on its way")
            self._unbegun[name] = 0.0

    def _look_for_end(self, service: ServiceRecord, left: float, passed: float, *, lives: bool) -> None:
        """Nobody stays once the work is done, but for what was asked for and is open, and in a pause."""
        name, is_asked = service.name, bool(self._world.truth.operations(service.name))
        if not lives or left > LITTLE_HOURS or is_asked or service.paused:
            self._unneeded.pop(name, None)
            return
        self._unneeded[name] = self._unneeded.get(name, -passed) + passed
        if self._unneeded[name] > LATE_SECONDS:
            self._broken("I26", f"the work of {name} has been done for {self._unneeded[name]:.0f} s, and it runs on")
            self._unneeded[name] = 0.0

    def _look_at_due(self, service: ServiceRecord) -> None:
        """Where nothing goes wrong, all is done when it is due."""
        now, batch = self._world.clock.now(), service.spec.batch
        round_ = self._round(service, now)
        before = self._due.get(service.name)
        if round_ is None or batch is None:
            return
        self._due[service.name] = round_
        is_over = before is not None and (before[1] != round_[1] or before[1] <= now)
        if before is None or not is_over or self._world.setting.faults:
            return
        left = batch.asked_hours - self._served_hours(service, before, min(now, before[1]))
        if left > LITTLE_HOURS:
            self._broken("I26", f"{left:.2f} h of {service.name} were not done at {before[1]}, and nothing went wrong")

    def _round(self, service: ServiceRecord, now: Instant) -> tuple[Instant, Instant] | None:
        """Return when the work that is due next, or late, was there, and when it is due."""
        batch, begun = service.spec.batch, self._world.people.deployed_at.get(service.name)
        if batch is None or begun is None:
            return None
        if self._world.lost_rows and batch.deadline is not None and service.name in self._ended:
            return None  # a database that was set back may have forgotten an end, and the deploy after it
        before, due = due_times(batch, now)
        return (begun if before is None else max(before, service.created_at)), due

    def _served_hours(self, service: ServiceRecord, round_: tuple[Instant, Instant], at: Instant) -> float:
        daily = bool(service.spec.batch and service.spec.batch.due_days)
        start, end = round_[0], min(at, round_[1]) if daily else at
        served = timedelta(0)
        for name, shift in self._shifts.items():
            row = self._world.truth.replica(name)
            if shift.service != service.name or row is None or row.ready_at is None:
                continue
            ready, over = shift.ready_at, shift.end if row.state in ENDED and shift.end is not None else at
            if self._world.lost_rows:  # set back twice, it may know of an end that was before the one that we saw
                ready, over = max(ready, row.ready_at), min(over, row.state_since if row.state in ENDED else at)
            served += max(timedelta(0), min(over, end) - max(ready, start))
        return served / HOUR

    def _goes_through(self, service: ServiceRecord, due: Instant) -> bool:
        """Whether work has begun, as the records know, that must not be interrupted."""
        until, decision = self._begun.get(service.name, (None, ""))
        is_known = until == due and self._world.truth.decision(decision) is not None
        return is_known and service.spec.batch is not None and not service.spec.batch.preemptible

    def _holds(self, service: str) -> bool:
        return any(d.kind is DecisionKind.HOLD for d in self._world.truth.decisions(service, limit=1))
