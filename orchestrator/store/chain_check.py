"""Checking the journal's chain, and keeping a person's word that it is taken as it was found."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from orchestrator.domain.chain import Acceptance, Finding, JournalMarks, JournalReport, Tampering
from orchestrator.domain.time import format_instant, parse_instant
from orchestrator.store import tables
from orchestrator.store.chain import AT_ONCE, HEAD, JOURNAL, LINKED, LinkKind, Pen, contents, link_sha256
from orchestrator.store.compaction import SAMPLES, Gap, Sealed, hour_of, hours_kept, sealed_by, unexplained
from orchestrator.store.resting import DECISIONS, merged_ids
from orchestrator.store.rules import check_findings

MOST_KEPT = 100
"""Findings that an acceptance lists one by one; the digest names all of them."""

GLANCED = ("services", "pauses", "operations", "replicas")
"""The tables of what ``greenctl status`` shows."""

_LINKS = tables.journal_links.c
_STREAMED = {"yield_per": AT_ONCE}


def one_moment(tx: Connection) -> None:
    """Let every statement of a transaction that has just begun see the same rows; SQLite's do so anyway."""
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def check(tx: Connection, *, history: bool = True) -> JournalReport:
    """Compare links with each other and rows with their links.

    Without ``history`` the rows of events and energy are left out: most of a journal, and nothing is
    decided by them. Their links are compared all the same.
    """
    chain = _Chain()
    for every in tx.execute(_EVERY_LINK, execution_options=_STREAMED):
        chain.see(every)
    chain.compare_head(tx.execute(select(tables.journal_head.c.seq, tables.journal_head.c.sha256)).first())
    rows, found = 0, chain.found()
    for name, kind in LINKED.items():
        if chain.links and (history or not kind.is_history):
            known = _last_links(tx, name)
            for row, content in contents(tx, kind):
                rows += 1
                link, linked = known.pop(row, (0, ""))
                if content != linked:
                    found.append(Finding(link, Tampering.EDITED if linked else Tampering.ADDED, name, row))
            if name == SAMPLES and known:
                merged = hours_kept(tx)
                known = {row: link for row, link in known.items() if hour_of(row) not in merged}
            if name == DECISIONS and known:
                stand = merged_ids(tx)
                known = {row: link for row, link in known.items() if row not in stand}
            found += [Finding(link, Tampering.REMOVED, name, row) for row, (link, linked) in known.items() if linked]
    found.sort(key=lambda f: (f.link == 0, f.link, f.table, f.row))
    return JournalReport(chain.links, rows, chain.last, tuple(found))


def glance(tx: Connection) -> tuple[Finding, ...]:
    """Compare with the chain what people look at first: rows of :data:`GLANCED`, and the last link with the head.

    Costs what those rows do, however long the chain is. What else was edited is for :func:`check`.
    """
    newest = tx.execute(_NEWEST_LINK).first()
    if newest is None:
        return ()
    head = tx.execute(select(tables.journal_head.c.seq, tables.journal_head.c.sha256)).first()
    found = []
    if head is None or tuple(head) != tuple(newest):
        what = Tampering.REMOVED if head is None else Tampering.EDITED
        found.append(Finding(newest.seq, what, tables.journal_head.name, HEAD))
    for name in GLANCED:
        known = _last_links(tx, name)
        for row, content in contents(tx, LINKED[name]):
            link, linked = known.pop(row, (0, ""))
            if content != linked:
                found.append(Finding(link, Tampering.EDITED if linked else Tampering.ADDED, name, row))
        found += [Finding(link, Tampering.REMOVED, name, row) for row, (link, linked) in known.items() if linked]
    return tuple(sorted(found, key=lambda f: (f.link == 0, f.link, f.table, f.row)))


def marks(tx: Connection) -> JournalMarks:
    """Return the newest link that tells of something wrong, and the newest acceptance."""
    newest = {
        kind: tx.execute(select(func.max(_LINKS.seq)).where(_LINKS.kind == kind.value, _TOLD)).scalar_one() or 0
        for kind in (LinkKind.NOTICED, LinkKind.ACCEPTED)
    }
    return JournalMarks(newest[LinkKind.NOTICED], newest[LinkKind.ACCEPTED])


def acceptances(tx: Connection) -> list[Acceptance]:
    """Return what people have accepted, in order; without those that cannot be read, which a check finds."""
    query = select(_LINKS.seq, _LINKS.row_key, _LINKS.detail).where(_LINKS.kind == LinkKind.ACCEPTED.value, _TOLD)
    found = [_acceptance(*row) for row in tx.execute(query.order_by(_LINKS.seq))]
    return [acceptance for acceptance in found if acceptance is not None]


def notice(tx: Connection, digest: str) -> None:
    """Put on record that a check found something; once for the same findings."""
    pen = Pen(tx)
    query = select(_LINKS.seq).where(_LINKS.kind == LinkKind.NOTICED.value, _LINKS.row_key == digest, _TOLD)
    if tx.execute(query.limit(1)).first() is None:
        pen.append(LinkKind.NOTICED, JOURNAL, digest)
    pen.close()


def accept(tx: Connection, digest: str, actor: str, reason: str, at: datetime) -> None:
    """Go on from the journal as it is. Raises ``Conflict`` when the findings are other ones than ``digest`` names."""
    report = check(tx)
    check_findings(report, digest)
    pen = Pen(tx)
    listed = [[f.link, f.what.value, f.table, f.row] for f in report.findings]
    words = {"actor": actor, "reason": reason, "at": format_instant(at), "count": len(listed)}
    detail = json.dumps({**words, "through": pen.seq, "findings": listed[:MOST_KEPT]}, sort_keys=True)
    pen.append(LinkKind.ACCEPTED, JOURNAL, digest, detail=detail)
    wrong = {(f.table, f.row) for f in report.findings if f.what in _OF_ROWS}
    for name in LINKED:
        here = {row for table, row in wrong if table == name}
        present = {row: sha for row, sha in contents(tx, LINKED[name]) if row in here} if here else {}
        for row in sorted(here):
            pen.append(LinkKind.ADOPTED, name, row, present.get(row, ""))
    pen.close()


class _Chain:
    """The links, seen one after the other."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.links = 0
        self.last = ""
        self._seq = 0
        self._row = ("", "")
        self._gaps: list[Gap] = []
        self._accepted_gaps = 0
        self._seals: list[Sealed] = []

    def found(self) -> list[Finding]:
        """Return what is wrong with the links, once all were seen: gaps as far as no seal names them."""
        new = {gap[0] for gap in self._gaps[self._accepted_gaps :]}
        gone = [gap[0] for gap in unexplained(self._gaps, self._seals) if gap[0] in new]
        return [*self.findings, *(Finding(first, Tampering.LINK_REMOVED) for first in gone)]

    def see(self, link: Row[*tuple[Any, ...]]) -> None:
        """Compare a link with itself and with the one before."""
        values = tuple(link)
        if link.seq != self._seq + 1:
            self._gaps.append((self._seq + 1, link.seq - 1, self.last, link.before_sha256))
        elif link.before_sha256 != self.last:
            self.findings.append(Finding(self._seq, Tampering.LINK_EDITED, *self._row))
        self.links, self._seq, self.last = self.links + 1, link.seq, link.sha256
        self._row = (link.entity, link.row_key)
        if link_sha256(*values[:-1]) != link.sha256:
            self.findings.append(Finding(link.seq, Tampering.LINK_EDITED, *self._row))
        elif link.kind == LinkKind.NOTICED.value:
            self.findings.append(Finding(link.seq, Tampering.NOTICED, *self._row))
        elif link.kind == LinkKind.ACCEPTED.value:
            # Whatever was wrong with links up to here was part of what was accepted; rows are adopted one by one.
            self.findings.clear()
            self._accepted_gaps = len(self._gaps)
        elif link.kind == LinkKind.SEALED.value:
            seal = sealed_by(link.content_sha256, link.detail)
            self._seals += [] if seal is None else [seal]

    def compare_head(self, head: Row[*tuple[Any, ...]] | None) -> None:
        """Compare the last link with the head, which repeats it."""
        if head is None:
            if self.links:
                self.findings.append(Finding(self._seq, Tampering.REMOVED, tables.journal_head.name, HEAD))
        elif head.seq > self._seq:
            self.findings.append(Finding(self._seq + 1, Tampering.LINK_REMOVED))
        elif (head.seq, head.sha256) != (self._seq, self.last):
            self.findings.append(Finding(self._seq, Tampering.EDITED, tables.journal_head.name, HEAD))


def _last_links(tx: Connection, table: str) -> dict[str, tuple[int, str]]:
    """Return number and content of the last link of every row of a table."""
    query = select(_LINKS.row_key, _LINKS.seq, _LINKS.content_sha256).where(_LINKS.entity == table)
    found: dict[str, tuple[int, str]] = {}
    for row, seq, content in tx.execute(query.order_by(_LINKS.seq), execution_options=_STREAMED):
        found[row] = (seq, content)
    return found


def _acceptance(link: int, digest: str, detail: str) -> Acceptance | None:
    try:
        words = json.loads(detail)
        at = parse_instant(words["at"])
        return Acceptance(link, str(words["actor"]), str(words["reason"]), at, digest, int(words["count"]))
    except (ValueError, KeyError, TypeError):
        return None


_EVERY_LINK = select(
    *(_LINKS.seq, _LINKS.kind, _LINKS.entity, _LINKS.row_key, _LINKS.content_sha256, _LINKS.before_sha256),
    *(_LINKS.detail, _LINKS.sha256),
).order_by(_LINKS.seq)
_NEWEST_LINK = select(_LINKS.seq, _LINKS.sha256).order_by(_LINKS.seq.desc()).limit(1)
_TOLD = _LINKS.kind.in_((LinkKind.NOTICED.value, LinkKind.ACCEPTED.value))
_OF_ROWS = frozenset({Tampering.EDITED, Tampering.ADDED, Tampering.REMOVED})
