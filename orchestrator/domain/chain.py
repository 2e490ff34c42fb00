"""What a check of the journal's chain finds: rows that were changed past the chain, and what somebody has accepted.

Every row of the journal is named by links, each of which holds the SHA-256 of the link before it; how they are made is
in :mod:`orchestrator.store.chain`. A finding is never mended by itself: it holds until a person accepts it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.time import Instant

DIGEST_LENGTH = 12
"""Hex digits that name a set of findings: 48 bits, to be typed by a person and compared with what is found then."""


class Tampering(StrEnum):
    """What is wrong. ``NOTICED``: a writer met a row that was not as the chain has it, and said so before it wrote."""

    EDITED = "edited"
    REMOVED = "removed"
    ADDED = "added"
    NOTICED = "noticed"
    LINK_EDITED = "link edited"
    LINK_REMOVED = "link removed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row that is not as it was written. ``link``: the number of the last link about it, 0 where there is none.

    ``table`` and ``row`` name the row; of a link that is itself wrong both are empty. ``row`` is the row's own key, its
    parts joined by ``|``.
    """

    link: int
    what: Tampering
    table: str = ""
    row: str = ""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Somebody's word that the journal is taken as it was found. ``at`` is grid time, ``findings`` how many those were.

    ``link``: the number of the link that keeps the word; ``digest`` names what was found.
    """

    link: int
    actor: str
    reason: str
    at: Instant
    digest: str
    findings: int


@dataclass(frozen=True, slots=True)
class JournalReport:
    """One check. ``links`` and ``rows`` were compared; ``head`` is the SHA-256 that stands for all of them.

    ``findings`` are ordered by link, those without one at the end. Whoever keeps ``head`` somewhere else can tell
    later that nothing before it was rewritten.
    """

    links: int
    rows: int
    head: str
    findings: tuple[Finding, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether everything is as it was written, or accepted."""
        return not self.findings

    @property
    def digest(self) -> str:
        """A short name of exactly these findings; empty without any."""
        return named(self.findings)


def named(findings: Sequence[Finding]) -> str:
    """Return a short name of exactly these findings: the head of the SHA-256 of all of them; empty without any."""
    if not findings:
        return ""
    text = json.dumps([[f.link, f.what, f.table, f.row] for f in findings])
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


@dataclass(frozen=True, slots=True)
class JournalMarks:
    """The newest link that tells of something wrong and the newest that accepts it; 0 where there is none."""

    noticed: int = 0
    accepted: int = 0

    @property
    def holds(self) -> bool:
        """Whether somebody still has to say what is to be made of it."""
        return self.noticed > self.accepted
