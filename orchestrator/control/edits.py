"""A journal that somebody changed by hand: what serves is kept up, nothing else is done until a person accepts it.

Rows that were edited may be right or wrong, and nobody here can tell; so nothing is guessed and nothing is mended. What
is lost is replaced, as while everything is paused, and whatever was edited itself is not ended. Where rows of replicas
are missing it is as with a database that was set back: the traffic goes on by the table that the gateway has, and
nothing is launched beside what may still serve.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.control.apply import Applier
from orchestrator.control.ports import Journal
from orchestrator.domain.chain import Finding, Tampering, named
from orchestrator.domain.records import EventKind, ServiceRecord, ServiceState
from orchestrator.planner.rollout import Step, StepKind

REPLICAS = "replicas"
ENDS = frozenset({StepKind.DRAIN, StepKind.TERMINATE})


class EditWatch:
    """Looks through the journal once at the start, then wherever its marks say that there is something new."""

    def __init__(self, journal: Journal, applier: Applier) -> None:
        self._journal = journal
        self._applier = applier
        self._marks = journal.journal_marks()
        self._findings: tuple[Finding, ...] = ()
        self._check()

    @property
    def holds(self) -> bool:
        """Whether nothing voluntary may be done."""
        return bool(self._findings)

    def holds_back(self, service: ServiceRecord) -> bool:
        """Whether only what is needed may be done for a service. Whoever takes it down has said so."""
        return (service.paused or self.holds) and service.state is ServiceState.ACTIVE

    @property
    def lacks_replicas(self) -> bool:
        """Whether rows of replicas are gone: what they were about may serve, and is in no record."""
        return any(f.table == REPLICAS and f.what is Tampering.REMOVED for f in self._findings)

    def look(self) -> None:
        """See whether a write has met something, or somebody has accepted what was found. Costs two short queries."""
        marks = self._journal.journal_marks()
        if marks != self._marks:
            self._marks = marks
            self._check()

    def allowed(self, steps: Iterable[Step]) -> tuple[Step, ...]:
        """Leave out the ends of replicas whose own rows are not as they were written."""
        edited = {f.row for f in self._findings if f.table == REPLICAS}
        return tuple(s for s in steps if s.kind not in ENDS or s.replica not in edited)

    def _check(self) -> None:
        told = self.holds
        self._findings = self._journal.check_journal(history=False).findings
        if self._findings and not self._marks.holds:
            self._journal.notice_edits(named(self._findings))
            self._marks = self._journal.journal_marks()
        if self._findings and not told:
            self._tell()

    def _tell(self) -> None:
        first, more = self._findings[0], len(self._findings) - 1
        text = (
            f"the journal is not as it was written: {words(first)}{f', and {more} more' if more else ''}. Nothing"
            " voluntary is done until somebody accepts it: greenctl journal check"
        )
        self._applier.event(EventKind.WARNING, text, "", detail={"link": first.link, "row": first.row})


def words(finding: Finding) -> str:
    """Say what is wrong with one row or link."""
    about = f"{finding.table} {finding.row}".strip() or "the chain itself"
    return f"{about} ({finding.what.value}{f', link {finding.link}' if finding.link else ''})"
