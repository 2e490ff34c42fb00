"""Old samples of energy become rows of an hour, and the links that told of them are sealed. In small steps.

Compaction puts the samples of one replica and one clock hour, by :func:`orchestrator.ledger.hourly.hourly`, into
``energy_hours``. Each sample is compared with the chain first, and what differs is put on record, as before any other
write. The rows of hours are links of the chain; a sample whose hour stands there is not missing.

Sealing takes away the links of such samples, and of old decisions (:mod:`orchestrator.store.resting`), later and in the
order of the chain. What stands for them is a link of its own at the end (``sealed``): it names a range of numbers and
the SHA-256 over every gap in it, each with the hashes of its two edges, which the links beside the gap repeat. So a
check still follows the chain from end to end, and a link that somebody else takes out, inside or outside of a range, is
seen. See decision 0032.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select

from orchestrator.domain.time import HOUR, floor_hour, parse_instant
from orchestrator.ledger.hourly import hourly
from orchestrator.store import mappers, tables
from orchestrator.store.chain import JOURNAL, LINKED, LinkKind, Pen, content_of, contents, row_text
from orchestrator.store.resting import DECISIONS, merged_between, moments

SAMPLES, HOURS = tables.energy_samples.name, tables.energy_hours.name
SEAL = "seal"
"""The row's name of every sealing link."""

LINKS_AT_ONCE = 5000
LEAST_SEALED = 500
"""A seal is a link too: one for fewer would save little, so they wait for more, unless so many links were looked at."""

_DAY = timedelta(days=1)
_HOUR_LENGTH = len(":00:00.000000Z")
_LINKS = tables.journal_links.c

Gap = tuple[int, int, str, str]
"""First and last number that are gone; the hash of the link before, and what the link after says it is."""


def compact(tx: Connection, before: datetime, most: int) -> int:
    """Merge the oldest hour's samples that began before an instant; return how many were merged.

    One hour of one service, and replicas of it until ``most`` samples are reached. The deployment's row is locked.
    """
    end = floor_hour(before)
    oldest = _oldest(tx)
    if oldest is None or oldest[0] >= end:
        return 0
    start, service = oldest
    hour = floor_hour(start)
    table, done = tables.energy_samples.c, 0
    within = (table.window_start >= hour, table.window_start < hour + HOUR)
    query = select(table.replica).where(table.service == service, *within).distinct()
    pen = Pen(tx)
    for replica in sorted(tx.execute(query).scalars()):
        if done >= most:
            break
        done += _merge(tx, pen, [table.replica == replica, *within])
    pen.close()
    return done


def seal(tx: Connection, before: datetime) -> int:
    """Take away links of samples and decisions in whose place rows of hours and days stand.

    Up to the first sample or decision of ``before`` or later: decisions of its time may still become days. Of each
    range the first and the last link stay, and ranges end before a number that is missing: a gap that somebody else
    made never becomes part of one that is sealed. Where of :data:`LINKS_AT_ONCE` links few may go, these are sealed,
    or none: the seal says up to where there is nothing more to look for. Returns how many went, and at least 1 with it.
    """
    since = _sealed_through(tx)
    query = select(_LINKS.seq, _LINKS.kind, _LINKS.entity, _LINKS.row_key).where(_LINKS.seq > since)
    links = tx.execute(query.order_by(_LINKS.seq).limit(LINKS_AT_ONCE)).all()
    merged = _merged(tx, (link.row_key for link in links if link.entity == SAMPLES))
    settled: list[int] = []
    going: list[int] = []
    for together in _without_jumps(links):
        settled, going = _settled(tx, together, merged, before)
        if len(going) >= LEAST_SEALED:
            break
        if len(settled) < len(together):
            return 0
    else:
        if len(links) < LINKS_AT_ONCE:
            return 0
    return _taken_away(tx, settled[0], settled[-1], going)


def _taken_away(tx: Connection, first: int, last: int, going: Sequence[int]) -> int:
    tx.execute(delete(tables.journal_links).where(_LINKS.seq.in_(going)))
    query = select(_LINKS.seq, _LINKS.before_sha256, _LINKS.sha256).where(_LINKS.seq.between(first, last))
    left = tx.execute(query.order_by(_LINKS.seq)).all()
    gaps = [
        (one.seq + 1, other.seq - 1, one.sha256, other.before_sha256)
        for one, other in pairwise(left)
        if other.seq != one.seq + 1
    ]
    pen = Pen(tx)
    detail = json.dumps({"first": first, "last": last, "links": len(going)}, sort_keys=True)
    pen.append(LinkKind.SEALED, JOURNAL, SEAL, gaps_sha256(gaps), detail)
    pen.close()
    return max(1, len(going))


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one sealing link says: in this range of numbers the gaps have that SHA-256."""

    first: int
    last: int
    sha256: str


def sealed_by(content_sha256: str, detail: str) -> Sealed | None:
    """Read a sealing link; ``None`` when it is none that we wrote."""
    try:
        words = json.loads(detail)
        return Sealed(int(words["first"]), int(words["last"]), content_sha256)
    except (ValueError, KeyError, TypeError):
        return None


def gaps_sha256(gaps: Sequence[Gap]) -> str:
    """Return SHA-256 over the gaps of a range as JSON."""
    return hashlib.sha256(json.dumps(gaps).encode()).hexdigest()


def unexplained(gaps: Iterable[Gap], seals: Iterable[Sealed]) -> list[Gap]:
    """Return the gaps that no seal names, in order."""
    left = {gap[0]: gap for gap in gaps}
    for one in seals:
        within = [gap for first, gap in sorted(left.items()) if one.first <= first and gap[1] <= one.last]
        if within and gaps_sha256(within) == one.sha256:
            for gap in within:
                del left[gap[0]]
    return [gap for _, gap in sorted(left.items())]


def without_merged(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out rows of samples that stand in an hour already: written again, they would count twice."""
    table = tables.energy_hours.c
    kept = list(rows)
    for replica in dict.fromkeys(row["replica"] for row in rows):
        last = select(table.window_end).where(table.replica == replica).order_by(table.window_start.desc()).limit(1)
        until = tx.execute(last).scalar_one_or_none()
        if until is None or all(row["window_start"] >= until for row in kept if row["replica"] == replica):
            continue
        spans = tx.execute(select(table.window_start, table.window_end).where(table.replica == replica)).all()
        kept = [
            row
            for row in kept
            if row["replica"] != replica or not any(start <= row["window_start"] < end for start, end in spans)
        ]
    return kept


def hour_of(row_key: str) -> str:
    """Return what names the replica and the clock hour of a sample in the chain."""
    return row_key[:-_HOUR_LENGTH]


def hours_kept(tx: Connection) -> set[str]:
    """Return the replicas and clock hours of which a row was ever written, as :func:`hour_of` names them.

    By the chain: a row of an hour that is missing is one finding, and not one for each sample that it stood for.
    """
    return {hour_of(row) for row in tx.execute(select(_LINKS.row_key).where(_LINKS.entity == HOURS)).scalars()}


# ── the parts ────────────────────────────────────────────────────────────────────────────────────────

_TAKEN = frozenset({LinkKind.WRITTEN.value, LinkKind.ADOPTED.value})
"""Links that tell of something wrong stay."""


def _oldest(tx: Connection) -> tuple[datetime, str] | None:
    """The start and the service of the oldest sample: one search by the index for each service."""
    table = tables.energy_samples.c
    names = tx.execute(select(tables.services.c.name)).scalars().all()
    starts = (
        (tx.execute(select(func.min(table.window_start)).where(table.service == name)).scalar_one(), name)
        for name in names
    )
    return min(((start, name) for start, name in starts if start is not None), default=None)


def _merge(tx: Connection, pen: Pen, within: Sequence[Any]) -> int:
    found = dict(contents(tx, LINKED[SAMPLES], *within))
    pen.compare(SAMPLES, found)
    query = select(tables.energy_samples).where(*within)
    samples = sorted((mappers.energy_from(row) for row in mappers.fetch(tx, query)), key=lambda s: s.window.start)
    tx.execute(delete(tables.energy_samples).where(*within))
    for row in hourly(samples):
        parts = [s for s in samples if row.window.start <= s.window.start < row.window.end]
        told = [found[row_text((s.replica, s.window.start))] for s in parts]
        digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        values = mappers.energy_row(row) | {"samples": len(parts), "samples_sha256": digest}
        tx.execute(tables.energy_hours.insert().values(**values))
        key = (row.replica, row.window.start)
        pen.append(LinkKind.WRITTEN, HOURS, row_text(key), content_of(tx, HOURS, key))
    return len(samples)


def _sealed_through(tx: Connection) -> int:
    query = select(_LINKS.kind, _LINKS.detail, _LINKS.content_sha256)
    query = query.where(_LINKS.entity == JOURNAL, _LINKS.row_key == SEAL).order_by(_LINKS.seq.desc()).limit(1)
    found = tx.execute(query).first()
    seal = None if found is None else sealed_by(found.content_sha256, found.detail)
    return 0 if seal is None else seal.last


def _without_jumps(links: Sequence[Row[*tuple[Any, ...]]]) -> list[list[Row[*tuple[Any, ...]]]]:
    """The links in stretches within which no number is missing."""
    stretches: list[list[Row[*tuple[Any, ...]]]] = []
    for link in links:
        if stretches and link.seq == stretches[-1][-1].seq + 1:
            stretches[-1].append(link)
        else:
            stretches.append([link])
    return stretches


def _settled(
    tx: Connection, links: Sequence[Row[*tuple[Any, ...]]], merged: set[str], before: datetime
) -> tuple[list[int], list[int]]:
    """The numbers up to the first link of what may still be merged, and those of them that may go: neither end."""
    settled, going, times = [], [], []
    made_at = moments(tx, [link.row_key for link in links if link.entity == DECISIONS])
    gone: dict[int, str] = {}
    for link in links:
        ours = link.kind in _TAKEN
        if ours and link.entity == SAMPLES:
            start = _key(link.row_key)[1]
            if start >= before:
                break
            times.append(start)
            if hour_of(link.row_key) in merged:
                going.append(link.seq)
            elif content_of(tx, SAMPLES, _key(link.row_key)):
                break
        elif ours and link.entity == DECISIONS:
            at = made_at.get(link.row_key)
            if at is None:
                gone[link.seq] = link.row_key
            elif at >= before:
                break
            else:
                times.append(at)
        settled.append(link.seq)
    names = _rested(tx, set(gone.values()), times)
    going = sorted([*going, *(seq for seq, name in gone.items() if name in names)])
    return settled, [seq for seq in going if settled[0] < seq < settled[-1]]


def _rested(tx: Connection, gone: set[str], times: Sequence[datetime]) -> set[str]:
    """Those of the decisions that stand in rows of days: of the days about which the links tell, or else of any."""
    if not gone:
        return set()
    near = merged_between(tx, min(times) - _DAY, max(times) + _DAY) if times else set()
    return gone & (near if gone <= near else merged_between(tx))


def _merged(tx: Connection, rows: Iterable[str]) -> set[str]:
    """Those of the replicas and hours of samples that stand as hours."""
    asked = {_key(row) for row in rows}
    if not asked:
        return set()
    starts = [floor_hour(at) for _, at in asked]
    table = tables.energy_hours.c
    query = select(table.replica, table.window_start).where(
        table.replica.in_(sorted({replica for replica, _ in asked})),
        table.window_start >= min(starts),
        table.window_start < max(starts) + timedelta(hours=1),
    )
    return {hour_of(row_text(row)) for row in tx.execute(query)}


def _key(row_key: str) -> tuple[str, datetime]:
    replica, _, start = row_key.rpartition("|")
    return replica, parse_instant(start)
