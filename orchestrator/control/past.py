"""Past: what a controller remembers of the decisions on its services.

A decision is a document about every offer. A look needs two things of the past ones: when the replicas were moved
lately, and how the last one ended. They are read once, and then kept up to date with what is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from statistics import median

from orchestrator.control.ports import Journal, Records
from orchestrator.domain.carbon import Reading
from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.replica import Replica
from orchestrator.domain.scale import WantedReplicas
from orchestrator.domain.time import HOUR, Instant
from orchestrator.errors import GreenctlError
from orchestrator.planner.schedule import SCHEDULE_RULE
from orchestrator.planner.snapshot import DEFAULT_COLD_START, Expectation

MOVES_WINDOW = 24 * HOUR
DECISIONS_READ = 50
"""Every decision on a service whose size follows load carries its number, but for those of older versions."""

MOVES_READ = 1000
"""More voluntary moves than any policy allows within the window."""

RECENT_STARTS = 5
AS_BEFORE = "as before"


@dataclass(frozen=True, slots=True)
class Last:
    """The newest decision on a service, in short.

    ``compares``: it weighed at least one move. ``waits``: a move that is worth making waits for its window.
    """

    kind: DecisionKind
    at: Instant
    compares: bool
    waits: bool = False


class Past:
    """Reads and records decisions, and remembers."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._last: dict[str, Last | None] = {}
        self._moves: dict[str, tuple[Instant, ...]] = {}
        self._sizes: dict[str, WantedReplicas | None] = {}

    def last(self, service: str) -> Last | None:
        """Return the newest decision, ``None`` when there is none."""
        if service not in self._last:
            newest = next(iter(self._journal.decisions(service, limit=1)), None)
            self._last[service] = None if newest is None else _in_short(newest)
        return self._last[service]

    def moves(self, service: str, now: Instant) -> tuple[Instant, ...]:
        """Return when the policy moved a replica of the service within the last day of grid time."""
        known = self._moves.get(service)
        if known is None:
            known = recent_moves(self._journal, service, now)
        self._moves[service] = tuple(at for at in known if at > now - MOVES_WINDOW)
        return self._moves[service]

    def size(self, service: str) -> WantedReplicas | None:
        """Return how many replicas were wanted by the last decision that says so, since the service came up."""
        if service not in self._sizes:
            self._sizes[service] = last_size(self._journal, service)
        return self._sizes[service]

    def record(self, decision: Decision, signals: Sequence[Reading]) -> None:
        """Keep a decision and the signals it used; with the number of replicas that stays in force, if it names none.

        Else a restart would find it behind the decisions of weeks in which it stayed the same, and read too few.
        """
        service = decision.service
        if decision.sizing is None and decision.kind is not DecisionKind.TAKE_DOWN:
            decision = replace(decision, sizing=_as_before(self.size(service)))
        try:
            self._journal.record_decision(decision, signals)
        except GreenctlError:
            # It may be recorded all the same: read again what is.
            self._last.pop(service, None)
            self._moves.pop(service, None)
            self._sizes.pop(service, None)
            raise
        self._last[service] = _in_short(decision)
        if decision.sizing is not None or decision.kind is DecisionKind.TAKE_DOWN:
            self._sizes[service] = _size_in(decision)
        if is_voluntary(decision) and service in self._moves:
            self._moves[service] += (decision.at,)


def recent_moves(records: Records, service: str, now: Instant) -> tuple[Instant, ...]:
    """Read when the policy moved a replica of the service within the last day of grid time."""
    found = records.decisions(service, kind=DecisionKind.MOVE, since=now - MOVES_WINDOW, limit=MOVES_READ)
    return tuple(d.at for d in reversed(found) if is_voluntary(d) and d.at > now - MOVES_WINDOW)


def last_size(records: Records, service: str) -> WantedReplicas | None:
    """Read how many replicas were wanted last; ``None`` without a decision that says so since the service came up."""
    for decision in records.decisions(service, limit=DECISIONS_READ):
        if decision.sizing is not None or decision.kind is DecisionKind.TAKE_DOWN:
            return _size_in(decision)
    return None


def expected_cold_start(replicas: Sequence[Replica], workloads: AbstractSet[str], rate: float) -> Expectation:
    """Median physical seconds from request to ready of the last starts of these workloads: a service's variants."""
    starts = sorted(
        (r for r in replicas if r.ready_at is not None and r.workload_digest in workloads), key=lambda r: r.created_at
    )
    seconds = [(r.ready_at - r.created_at).total_seconds() / rate for r in starts if r.ready_at is not None]
    if not seconds:
        return Expectation(DEFAULT_COLD_START.total_seconds(), "assumed: no start has been seen yet")
    recent = seconds[-RECENT_STARTS:]
    seen = "the one start seen" if len(recent) == 1 else f"median of the last {len(recent)} starts"
    return Expectation(median(recent), seen)


def _size_in(decision: Decision) -> WantedReplicas | None:
    return None if decision.kind is DecisionKind.TAKE_DOWN else decision.sizing


def _as_before(known: WantedReplicas | None) -> WantedReplicas | None:
    """Return the number that stays in force; what the load needs at this moment nobody has worked out.

    What a deadline needs stays as well: it says that the work was begun (``planner.batch``).
    """
    if known is None:
        return None
    because = known.because if known.because.startswith(AS_BEFORE) else f"{AS_BEFORE}: {known.because}".rstrip(": ")
    needed = None if known.until is None else known.needed
    return replace(known, needed=needed, because=because, figures=())


def is_voluntary(decision: Decision) -> bool:
    """Whether the policy moved a replica because that pays, and not because it had to."""
    is_weighed = bool(decision.comparisons or decision.exchanged)
    return decision.kind is DecisionKind.MOVE and decision.actor == "policy" and is_weighed


def _in_short(decision: Decision) -> Last:
    return Last(decision.kind, decision.at, bool(decision.comparisons), waits_for_window(decision))


def waits_for_window(decision: Decision) -> bool:
    """Whether a move was weighed that nothing but the schedule holds back."""
    return any([v.rule for v in c.verdicts if not v.passed] == [SCHEDULE_RULE] for c in decision.comparisons)
