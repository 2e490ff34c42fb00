"""A spot market in small: regions open and shut, replicas start, are taken away and are replaced, minute by minute.

Only the planner and its memory are real. What it asks for is bought if there is room: a spot replica starts where its
region is open, and is lost when it shuts; on demand there is always room, unless a test says otherwise. Every promise
about numbers is checked at the step that could break it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache

from orchestrator.domain.offer import Candidate
from orchestrator.domain.plan import Action, ActionKind
from orchestrator.domain.price import Market
from orchestrator.domain.replica import ENDED, LIVE, Replica, ReplicaState
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import Instant, floor_hour
from orchestrator.domain.workload import workload_digest
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.capacity import MEMORY, avoidance_of, avoided
from orchestrator.planner.hedge.spares import MOST_SPARES, hedged
from orchestrator.planner.launches import MOST_LAUNCHES_PER_MINUTE
from orchestrator.planner.plan import plan
from orchestrator.planner.slots import most_replicas
from orchestrator.planner.snapshot import Snapshot
from tests.builders import GREEN, MINUTE, NOON, candidate, replica, snapshot

REGIONS = {"aws/se": 30.0, "aws/fr": 60.0, "aws/pl": 700.0}
"""With the grams per kWh of their grids."""

START_MINUTES = 2


@dataclass
class SpotWorld:
    """``is_open(region, minute)``: whether spot is to be had there. ``told``: what the planner said, by minute."""

    spec: ServiceSpec
    is_open: Callable[[str, int], bool]
    has_on_demand: bool = True
    minute: int = 0
    replicas: list[Replica] = field(default_factory=list)
    asked_at: list[int] = field(default_factory=list)
    told: dict[int, str] = field(default_factory=dict)

    @property
    def now(self) -> Instant:
        """The present."""
        return NOON + self.minute * MINUTE

    def living(self) -> list[Replica]:
        """Those that serve or are about to."""
        return [r for r in self.replicas if r.state in LIVE]

    def ready(self, market: Market | None = None) -> list[Replica]:
        """Those that serve."""
        return [r for r in self.replicas if r.state is ReplicaState.READY and market in (None, r.market)]

    def run(self, minutes: int, *, step: int = 1) -> None:
        """Let that much time pass."""
        end = self.minute + minutes
        while self.minute < end:
            self.minute += step
            self._happen()
            self._hand_over()
            self._decide()
            spares = MOST_SPARES if self.spec.availability_fraction is not None else 0
            assert len(self.living()) <= most_replicas(self.spec) + spares, self.picture()

    def picture(self) -> str:
        """Everything that helps to understand a failure."""
        rows = [f"minute {self.minute}", *(f"  {m}: {text}" for m, text in list(self.told.items())[-8:])]
        rows += [f"  {r.name} r{r.slot} {r.offer_id} {r.state} {r.reason}" for r in self.replicas[-30:]]
        return "\n".join(rows)

    # ── what the world does ──────────────────────────────────────────────────────────────────────────

    def _happen(self) -> None:
        for index, one in enumerate(self.replicas):
            has_room = self.is_open(one.region, self.minute) if one.market is Market.SPOT else self.has_on_demand
            if one.state is ReplicaState.READY and one.market is Market.SPOT and not has_room:
                self.replicas[index] = self._to(one, ReplicaState.LOST, "its process is gone")
            elif one.state is ReplicaState.PROVISIONING and not has_room:
                self.replicas[index] = self._to(one, ReplicaState.FAILED, "no_capacity: sold out")
            elif one.state is ReplicaState.PROVISIONING and self.now - one.created_at >= START_MINUTES * MINUTE:
                ready = self._to(one, ReplicaState.READY, "")
                self.replicas[index] = replace(ready, ready_at=self.now, weight_percent=100)

    def _hand_over(self) -> None:
        """End what a replacement that serves has replaced."""
        ready = {r.replaces for r in self.ready() if r.replaces}
        for one in [r for r in self.living() if r.name in ready]:
            self._end(one)

    def _decide(self) -> None:
        try:
            made = plan(self._snapshot(), GREEN, self.now, keep_up=True)
        except NoFeasiblePlacement as error:
            self.told[self.minute] = error.message
            return
        self.told[self.minute] = made.decision.summary
        for action in made.actions:
            if action.kind is ActionKind.RETIRE:
                self._end(next(r for r in self.replicas if r.name == action.replica))
            else:
                self._ask_for(action)
        lately = [m for m in self.asked_at if m > self.minute - 1]
        assert len(lately) <= MOST_LAUNCHES_PER_MINUTE, self.picture()

    def _snapshot(self) -> Snapshot:
        recent = [r for r in self.replicas if r.ended_at is None or r.ended_at >= self.now - MEMORY]
        known = avoided(recent, self.now, 1.0, workload_digest(self.spec))
        sold = []
        for one in offers(floor_hour(self.now)):
            avoidance = avoidance_of(one.offer.id, known)
            sold.append(
                one if avoidance is None else replace(one, avoid_until=avoidance.until, avoid_reason=avoidance.reason)
            )
        asked = sum(m > self.minute - 1 for m in self.asked_at)
        return hedged(snapshot(sold, recent, self.spec, recent_launches=asked), self.now)

    # ── small parts ──────────────────────────────────────────────────────────────────────────────────

    def _ask_for(self, action: Action) -> None:
        sold = next(c.offer for c in offers(floor_hour(self.now)) if c.offer.id == action.offer_id)
        number = len(self.replicas)
        self.asked_at.append(self.minute)
        self.replicas.append(
            replica(
                sold,
                action.slot,
                ReplicaState.PROVISIONING,
                name=f"gc-{number}",
                up_for=timedelta(0),
                now=self.now,
                replaces=action.replica or None,
                workload_digest=workload_digest(self.spec),
            )
        )

    def _end(self, one: Replica) -> None:
        """End one of its own accord: enough others serve."""
        others = [r for r in self.ready() if r.name != one.name]
        enough = len(others) >= self.spec.scaling.min_replicas
        assert one.state is not ReplicaState.READY or enough, self.picture()
        self.replicas[self.replicas.index(one)] = self._to(one, ReplicaState.TERMINATED, "retired")

    def _to(self, one: Replica, state: ReplicaState, reason: str) -> Replica:
        ended = self.now if state in ENDED else None
        return replace(
            one, state=state, state_since=self.now, reason=reason, ended_at=ended, cleaned_up=ended is not None
        )


@lru_cache(maxsize=100)
def offers(hour: Instant) -> tuple[Candidate, ...]:
    """Both markets of every region, with what is known of the grids in that hour."""
    return tuple(
        candidate(region, grams, usd=usd, market=market, now=hour)
        for region, grams in REGIONS.items()
        for market, usd in ((Market.SPOT, 0.3), (Market.ON_DEMAND, 1.0))
    )
