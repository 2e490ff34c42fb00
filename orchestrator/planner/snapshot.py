"""The world as a decision sees it: one frozen value, gathered by the shell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from orchestrator.domain.offer import Candidate
from orchestrator.domain.replica import LIVE, Replica
from orchestrator.domain.scale import LoadSeen, WantedReplicas
from orchestrator.domain.service import Scaling, ServiceSpec
from orchestrator.domain.time import Instant
from orchestrator.planner.schedule import Timetable

DEFAULT_COLD_START = timedelta(seconds=90)
"""Until a start has been seen: a small model on two CPU cores took 40 s (idle) to 103 s (loaded) when measured."""

TYPICAL_DRAIN_SECONDS = 10.0

DEFAULT_MEAN_BATCH = 1.0
"""Until load has been seen: one running sequence per replica."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A number that a plan has to assume, and where it comes from."""

    value: float
    origin: str


@dataclass(frozen=True, slots=True)
class Hedging:
    """How many spares the promised availability takes. Probabilities are of the wanted number being ready.

    ``groups``: the label that regions which fall together share, as far as the journal says; others have their own.
    ``written``: the rules of scaling without these spares, as the spec has them.
    """

    spares: int
    ready_probability: float
    promised: float
    words: str
    groups: Mapping[str, str] = field(default_factory=dict, hash=False)
    written: Scaling | None = None

    def falls_with(self, region: str, others: Iterable[str]) -> bool:
        """Whether a region falls together with any of the others."""
        label = self.groups.get(region, region)
        return any(other != region and self.groups.get(other, other) == label for other in others)


@dataclass(frozen=True, slots=True)
class Surviving:
    """What ``slo.survives`` makes of a service: so many spares, and so many replicas in one region at most.

    ``words``: what is promised, or why it cannot be kept, where no spares are enough (not ``is_possible``).
    ``written_spares`` and ``written_per_region``: what held without it.
    """

    spares: int
    per_region: int
    words: str
    written_spares: int
    written_per_region: int | None
    is_possible: bool = True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a plan may depend on, besides the policy and the present.

    ``replicas``: those of the service that live, drain, or ended lately. ``moves``: instants (grid time) of the
    voluntary moves begun in the last 24 h. ``mean_batch``: expected concurrent sequences per replica.
    ``cold_start_seconds`` and ``overlap_seconds`` (canary plus drain) are physical. ``clock_rate``: grid seconds per
    physical second. ``providers``: those that a provisioner is configured for. ``without_spot``: regions where it
    cannot buy spot. ``recent_launches``: how many replicas of all services were asked for in the last physical minute.
    ``sizing``: how many replicas load wants; then ``min_replicas`` of ``spec`` is that number, and not the one written.
    ``timetable``: what ``migration.schedule`` says of now, ``None`` without one.
    ``hedging``: how many spares ``slo.availability`` takes; then ``num_overprovision`` of ``spec`` is that number.
    ``surviving``: what ``slo.survives`` takes, once offers have been judged; then ``num_overprovision`` and
    ``max_per_region`` of ``spec`` are what it says.
    ``load``: what the service has to do as a whole, ``None`` while nobody knows; then ``mean_batch`` holds everywhere.
    ``rtt_ms``: measured round trips between the clients and regions; others are estimated from distance.
    ``beside``: names of replicas that load wants beside what a request that is under way asks for. They stay and take
    room; nobody waits for their start, and they stand for nobody whom the request asks for.
    ``rushed``: regions to which so many replicas of other services are moving that no more do by themselves.
    """

    spec: ServiceSpec
    spec_digest: str
    workload_digest: str
    candidates: tuple[Candidate, ...]
    replicas: tuple[Replica, ...]
    moves: tuple[Instant, ...]
    mean_batch: Expectation
    cold_start_seconds: Expectation
    overlap_seconds: Expectation
    providers: frozenset[str]
    clock_rate: float = 1.0
    paused: bool = False
    taking_down: bool = False
    without_spot: frozenset[str] = frozenset()
    recent_launches: int = 0
    timetable: Timetable | None = None
    rtt_ms: Mapping[str, float] = field(default_factory=dict, hash=False)
    sizing: WantedReplicas | None = None
    hedging: Hedging | None = None
    surviving: Surviving | None = None
    load: LoadSeen | None = None
    beside: frozenset[str] = frozenset()
    rushed: frozenset[str] = frozenset()

    @property
    def wanted(self) -> int:
        """How many replicas should serve at least; spares and stand-ins come on top."""
        return 0 if self.taking_down else self.spec.scaling.min_replicas

    @property
    def least(self) -> int:
        """How many of the wanted ones the owner insists on; what load wants above that waits where there is no room.

        A service that may have none insists on the first one when it is wanted: somebody waits for it. Those ``beside``
        come on top: they fill nobody's place.
        """
        asked = self.wanted if self.sizing is None else min(self.wanted, max(1, self.sizing.least))
        return asked + len(self.company())

    def company(self) -> tuple[Replica, ...]:
        """Those of ``beside`` that live."""
        return tuple(r for r in self.living() if r.name in self.beside) if self.beside else ()

    def living(self) -> tuple[Replica, ...]:
        """Everything that serves or is about to, by slot and age: both sides of a move."""
        return tuple(
            sorted((r for r in self.replicas if r.state in LIVE), key=lambda r: (r.slot, r.created_at, r.name))
        )

    def occupants(self) -> dict[int, Replica]:
        """The newest living replica of each slot: a replacement stands for the one it replaces."""
        return {replica.slot: replica for replica in self.living()}

    def in_motion(self) -> tuple[Replica, ...]:
        """Living replicas that are themselves replaced, or not ready yet, or replacing one that still lives.

        Nobody waits for those ``beside``.
        """
        living = {r.name: r for r in self.replicas if r.state in LIVE}
        replaced = {r.replaces for r in living.values() if r.replaces}
        return tuple(
            r
            for r in living.values()
            if r.name not in self.beside
            if r.ready_at is None or r.name in replaced or (r.replaces in living)
        )
