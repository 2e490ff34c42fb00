"""Windows that have closed without a move: each is remembered by one decision that says why nothing moved.

While a window is open the newest plan is kept in mind, and at its end written down. The decision's id follows from the
window, so that it is written once, whoever comes back after a crash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from orchestrator.control.past import Past, is_voluntary
from orchestrator.control.ports import Journal
from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.records import ServiceRecord
from orchestrator.domain.time import Instant, format_instant
from orchestrator.planner.schedule import Opening, Timetable

_MOST_MOVES = 1000
_NOBODY_LOOKED = "nobody looked while it was open"


@dataclass(frozen=True, slots=True)
class _Seen:
    """The newest plan that was made while a window was open."""

    at: Instant
    decision: Decision


class WindowBook:
    """Keeps in mind what was decided while windows were open, and records how they ended."""

    def __init__(self, journal: Journal, past: Past) -> None:
        self._journal = journal
        self._past = past
        self._seen: dict[str, _Seen] = {}
        self._settled: dict[str, Instant] = {}

    def keep_in_mind(self, service: str, timetable: Timetable | None, decision: Decision) -> None:
        """Remember what was decided while a window is open."""
        if timetable is not None and timetable.openings:
            self._seen[service] = _Seen(decision.at, decision)

    def settle(self, service: ServiceRecord, timetable: Timetable | None, now: Instant, clock_rate: float) -> None:
        """Record of every window that closed since the last look, and in which no voluntary move began, why it stayed.

        Of windows in which nobody looked only the newest is spoken of, and only if the schedule is older than its end.
        """
        if timetable is None or not timetable.ended:
            return
        since = max(self._settled.get(service.name, service.updated_at), service.created_at)
        ended = [o for o in timetable.ended if o.window.end > since]
        for opening in ended:
            seen = self._seen.get(service.name)
            decision = seen.decision if seen is not None and seen.at in opening.window else None
            if decision is None and opening is not ended[-1]:
                continue
            self._settle_one(service, opening, decision, now, clock_rate)
        if ended:
            self._settled[service.name] = ended[-1].window.end

    def _settle_one(
        self, service: ServiceRecord, opening: Opening, last: Decision | None, now: Instant, clock_rate: float
    ) -> None:
        identity = _identity(service.name, opening)
        if self._journal.decision(identity) is not None or self._moved_in(service.name, opening):
            return
        ending = Decision(
            id=identity,
            service=service.name,
            at=now,
            kind=DecisionKind.STAY,
            actor="policy",
            policy=service.spec.policy.name,
            summary=f"{_described(opening)} is over: stay, because {_why(last)}",
            clock_rate=clock_rate,
        )
        if last is not None:
            ending = replace(ending, assessments=last.assessments, comparisons=last.comparisons)
        self._past.record(ending, ())

    def _moved_in(self, service: str, opening: Opening) -> bool:
        since = opening.window.start
        moves = self._journal.decisions(service, kind=DecisionKind.MOVE, since=since, limit=_MOST_MOVES)
        return any(is_voluntary(d) and d.at in opening.window for d in moves)


def _identity(service: str, opening: Opening) -> str:
    parts = [service, "window", opening.name, format_instant(opening.window.start), format_instant(opening.window.end)]
    return "d-" + hashlib.sha256("|".join(parts).encode()).hexdigest()[:10]


def _described(opening: Opening) -> str:
    return f"window {opening.name} from {format_instant(opening.window.start)}"


def _why(last: Decision | None) -> str:
    if last is None:
        return _NOBODY_LOOKED
    return last.summary.removeprefix("stay: ").removeprefix("hold: ")
