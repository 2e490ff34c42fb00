"""What sources said so far, kept in a file: yesterday is the best forecast, and most APIs forget it after a day.

Every version of a number is kept with the time at which it was issued, because providers estimate first and correct
later: what was known at a moment stays known. Statements that were not believed are kept too, with the reason, and are
never read as values. The file is shared by all processes of a state directory, and losing it costs only knowledge:
a file that cannot be read or written is a ``problem``, not an error.
"""

from __future__ import annotations

import contextlib
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.carbon import Accounting, Basis, CarbonIntensity, Factors, Kind
from orchestrator.domain.time import HOUR, Instant, Window

KEPT: Final = timedelta(days=400)
"""A year of reports and a month to write them."""

LOADED: Final = timedelta(days=35)
"""How much of the file is kept at hand once a zone was asked for. What is older is not needed to decide; reports read
it from the file each time."""

_MARGIN: Final = 2 * HOUR
"""Questions begin at whole hours, and find what touches their beginning."""

PARTS_KEPT: Final = timedelta(days=2)
"""Parts of an hour speak of the present; soon their hour stands for them, and a year of them would be a large file."""

LONGEST: Final = HOUR
"""No statement is about more than an hour (:mod:`orchestrator.signals.gate` sees to it)."""

BUSY_SECONDS: Final = 2.0

_FOREVER: Final = 1 << 62
"""Seconds since 1970."""

_SCHEMA: Final = """
create table if not exists said (
    source text not null, zone text not null, accounting text not null, factors text not null,
    start_s integer not null, end_s integer not null, issued_s integer not null, fetched_s integer not null,
    grams_per_kwh real not null, kind text not null, note text not null, doubt text not null,
    primary key (source, zone, accounting, factors, start_s, end_s, issued_s)
) without rowid
"""
_COLUMNS: Final = "zone, accounting, factors, start_s, end_s, issued_s, fetched_s, grams_per_kwh, kind, note, doubt"  # nosec


@dataclass(frozen=True, slots=True)
class Kept:
    """A number that was said, and why it is not believed ("" if it is). ``grams_per_kwh`` is in range of a grid."""

    zone: str
    basis: Basis
    interval: Window
    grams_per_kwh: float
    kind: Kind
    source: str
    issued_at: Instant
    fetched_at: Instant
    doubt: str = ""

    def reading(self) -> CarbonIntensity:
        """Return it as a value. Raises ``ValueError`` for one that no grid can have."""
        return CarbonIntensity(
            self.zone,
            self.grams_per_kwh,
            self.interval,
            self.kind,
            self.source,
            self.issued_at,
            self.fetched_at,
            self.basis,
        )


_Zone = tuple[str, Basis]
_Row = tuple[Any, ...]


@dataclass(slots=True)
class _Memory:
    """What is known of one zone: versions by interval, the oldest first, and beside them the intervals in order.

    ``since``: nothing that begins at it or later is missing.
    """

    since: Instant
    versions: dict[Window, list[Kept]] = field(default_factory=dict)
    order: list[Window] = field(default_factory=list)
    in_order: list[list[Kept]] = field(default_factory=list)

    def add(self, one: Kept) -> None:
        if one.interval not in self.versions:
            place = bisect_left(self.order, one.interval)
            self.order.insert(place, one.interval)
            self.in_order.insert(place, self.versions.setdefault(one.interval, []))
        versions = self.versions[one.interval]
        versions.append(one)
        versions.sort(key=lambda v: v.issued_at)

    def newest(self, window: Window, now: Instant, *, believed: bool = False) -> list[Kept]:
        """Return the newest version of each interval that touches the window, in order."""
        first = bisect_left(self.order, Window(window.start - LONGEST, window.start - LONGEST))
        after = bisect_left(self.order, Window(window.end, window.end))
        found, start = [], window.start
        for versions in self.in_order[first:after]:
            one = versions[-1]
            # Mostly the last one said is the one that counts.
            if one.issued_at > now or (believed and one.doubt):
                counting = (v for v in reversed(versions) if v.issued_at <= now and not (believed and v.doubt))
                before = next(counting, None)
                if before is None:
                    continue
                one = before
            if one.interval.end > start:
                found.append(one)
        return found

    def forget(self, now: Instant) -> None:
        since = now - LOADED - _MARGIN
        kept = [i for i in self.order if i.start >= since and (i.length == HOUR or i.start >= now - PARTS_KEPT)]
        if len(kept) != len(self.order):
            self.since = max(self.since, since)
            self.versions = {interval: self.versions[interval] for interval in kept}
            self.order = kept
            self.in_order = list(self.versions.values())


class Archive:
    """The memory of one source. Without a ``file`` it lasts as long as the process."""

    def __init__(self, source: str, file: Path | None = None) -> None:
        self._source = source
        self._file = file
        self._known: dict[_Zone, _Memory] = {}
        self.problem = ""

    def zones(self, now: Instant) -> tuple[_Zone, ...]:
        """Return the zones and bases that anything is known of, in order."""
        query = "select distinct zone, accounting, factors from said where source = ? and start_s >= ?"
        rows = self._in_file(lambda db: db.execute(query, (self._source, _seconds(now - LOADED))).fetchall())
        found = set(self._known) | {(zone, Basis(Accounting(a), Factors(f))) for zone, a, f in rows}
        return tuple(sorted(found))

    def add(self, kept: Sequence[Kept], now: Instant) -> None:
        """Remember what is new. The same number said again adds nothing, a corrected one adds a version."""
        fresh = [one for one in kept if self._is_new(one, now)]
        if not fresh:
            return
        for one in fresh:
            self._of(one.zone, one.basis, now).add(one)
        for zone in {(one.zone, one.basis) for one in fresh}:
            self._known[zone].forget(now)
        self._write(fresh, now)

    def retract(self, kept: Sequence[Kept], now: Instant) -> None:
        """Let statements that were believed count no longer. Each carries the reason, and replaces its own version."""
        for one in kept:
            versions = self._of(one.zone, one.basis, now).versions.get(one.interval, [])
            versions[:] = [one if v.issued_at == one.issued_at else v for v in versions]
        self._write(kept, now)

    def known(self, zone: str, basis: Basis, window: Window, now: Instant) -> list[Kept]:
        """Return the newest version, as of ``now``, of each interval that touches the window; doubted ones, too."""
        return self._about(zone, basis, window, now).newest(window, now)

    def believed(self, zone: str, basis: Basis, window: Window, now: Instant) -> list[Kept]:
        """Return the newest believed version, as of ``now``, of each interval that touches the window.

        A correction that is not believed takes nothing away from what was.
        """
        return self._about(zone, basis, window, now).newest(window, now, believed=True)

    def _about(self, zone: str, basis: Basis, window: Window, now: Instant) -> _Memory:
        """Return what is at hand, or for a window that begins before it what the file says, which is not kept."""
        at_hand = self._of(zone, basis, now)
        first = window.start - LONGEST
        if self._file is None or first >= at_hand.since:
            return at_hand
        read = self._read(zone, basis, first, window.end)
        if self.problem:
            return at_hand
        found = _Memory(first)
        for one in read:
            found.add(one)
        return found

    def _write(self, kept: Sequence[Kept], now: Instant) -> None:
        rows = [(self._source, *_row(one)) for one in kept]

        def write(db: sqlite3.Connection) -> list[_Row]:
            db.executemany(f"insert or replace into said (source, {_COLUMNS}) values ({', '.join('?' * 12)})", rows)  # noqa: S608 - constants
            db.execute("delete from said where source = ? and start_s < ?", (self._source, _seconds(now - KEPT)))
            parts = "delete from said where source = ? and start_s < ? and end_s - start_s < ?"
            db.execute(parts, (self._source, _seconds(now - PARTS_KEPT), HOUR.total_seconds()))
            return []

        self._in_file(write)

    def _is_new(self, one: Kept, now: Instant) -> bool:
        versions = self._of(one.zone, one.basis, now).versions.get(one.interval, [])
        if not versions:
            return True
        last = versions[-1]
        return one.issued_at >= last.issued_at and (
            (one.grams_per_kwh, one.kind, one.doubt) != (last.grams_per_kwh, last.kind, last.doubt)
        )

    def _of(self, zone: str, basis: Basis, now: Instant) -> _Memory:
        if (zone, basis) not in self._known:
            memory = _Memory(now - LOADED - _MARGIN)
            self._known[zone, basis] = memory
            for one in self._read(zone, basis, memory.since):
                memory.add(one)
        return self._known[zone, basis]

    def _read(self, zone: str, basis: Basis, since: Instant, until: Instant | None = None) -> list[Kept]:
        query = (
            f"select {_COLUMNS} from said where source = ? and zone = ? and accounting = ? and factors = ? "  # noqa: S608 - constants
            "and start_s >= ? and start_s < ? order by issued_s"
        )
        span = (_seconds(since), _FOREVER if until is None else _seconds(until) + 1)
        values = (self._source, zone, basis.accounting.value, basis.factors.value, *span)
        return [_kept(row) for row in self._in_file(lambda db: db.execute(query, values).fetchall())]

    def _in_file(self, work: Callable[[sqlite3.Connection], list[_Row]]) -> list[_Row]:
        """Do something with the file; without one, or with one that cannot be used, the answer is empty."""
        if self._file is None:
            return []
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as db, db:
                db.execute(_SCHEMA)
                found = work(db)
        except (sqlite3.Error, OSError) as error:
            self.problem = f"{self._file}: {error}"
            return []
        self.problem = ""
        return found


def _row(one: Kept) -> tuple[object, ...]:
    return (
        one.zone,
        one.basis.accounting.value,
        one.basis.factors.value,
        _seconds(one.interval.start),
        _seconds(one.interval.end),
        _seconds(one.issued_at),
        _seconds(one.fetched_at),
        one.grams_per_kwh,
        one.kind.value,
        one.source,
        one.doubt,
    )


def _kept(row: _Row) -> Kept:
    zone, accounting, factors, start, end, issued, fetched, grams, kind, source, doubt = row
    return Kept(
        zone,
        Basis(Accounting(accounting), Factors(factors)),
        Window(_moment(start), _moment(end)),
        grams,
        Kind(kind),
        source,
        _moment(issued),
        _moment(fetched),
        doubt,
    )


def _seconds(moment: Instant) -> int:
    """Whole seconds since 1970; the part of a second is cut off, so that nothing is issued later than it was."""
    return int(moment.timestamp() // 1)


def _moment(seconds: int) -> Instant:
    return datetime.fromtimestamp(seconds, UTC)
