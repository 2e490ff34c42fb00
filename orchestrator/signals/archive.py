"""What sources said so far, kept in a file: yesterday is the best forecast, and most APIs forget it after a day.

Every version of a number is kept with the time at which it was issued, because providers estimate first and correct
later: what was known at a moment stays known. Statements that were not believed are kept too, with the reason, and are
never read as values. The file is shared by all processes of a state directory, and losing it costs only knowledge:
a file that cannot be read or written is a ``problem``, not an error.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.carbon import Accounting, Basis, CarbonIntensity, Factors, Kind
from orchestrator.domain.time import Instant, Window

KEPT: Final = timedelta(days=400)
"""A year of reports and a month to write them."""

LOADED: Final = timedelta(days=35)
"""How much of the file is looked at when a zone is first asked for; what is older is not needed to decide."""

BUSY_SECONDS: Final = 2.0

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
_Versions = dict[Window, list[Kept]]
_Row = tuple[Any, ...]


class Archive:
    """The memory of one source. Without a ``file`` it lasts as long as the process."""

    def __init__(self, source: str, file: Path | None = None) -> None:
        self._source = source
        self._file = file
        self._known: dict[_Zone, _Versions] = {}
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
        for one in fresh:
            versions = self._of(one.zone, one.basis, now).setdefault(one.interval, [])
            versions.append(one)
            versions.sort(key=lambda v: v.issued_at)
        if not fresh:
            return
        rows = [(self._source, *_row(one)) for one in fresh]

        def write(db: sqlite3.Connection) -> list[_Row]:
            db.executemany(f"insert or replace into said (source, {_COLUMNS}) values ({', '.join('?' * 12)})", rows)  # noqa: S608 - constants
            db.execute("delete from said where source = ? and start_s < ?", (self._source, _seconds(now - KEPT)))
            return []

        self._in_file(write)

    def known(self, zone: str, basis: Basis, window: Window, now: Instant) -> list[Kept]:
        """Return the newest version, as of ``now``, of each interval that touches the window; doubted ones, too."""
        found = []
        for interval, versions in self._of(zone, basis, now).items():
            if interval.start < window.end and interval.end > window.start:
                at = [v for v in versions if v.issued_at <= now]
                if at:
                    found.append(at[-1])
        return sorted(found, key=lambda one: (one.interval.start, one.interval.end))

    def _is_new(self, one: Kept, now: Instant) -> bool:
        versions = self._of(one.zone, one.basis, now).get(one.interval, [])
        if not versions:
            return True
        last = versions[-1]
        return one.issued_at >= last.issued_at and (
            (one.grams_per_kwh, one.kind, one.doubt) != (last.grams_per_kwh, last.kind, last.doubt)
        )

    def _of(self, zone: str, basis: Basis, now: Instant) -> _Versions:
        if (zone, basis) not in self._known:
            versions: _Versions = {}
            self._known[zone, basis] = versions
            for one in self._read(zone, basis, now):
                versions.setdefault(one.interval, []).append(one)
        return self._known[zone, basis]

    def _read(self, zone: str, basis: Basis, now: Instant) -> list[Kept]:
        query = (
            f"select {_COLUMNS} from said where source = ? and zone = ? and accounting = ? and factors = ? "  # noqa: S608 - constants
            "and start_s >= ? order by issued_s"
        )
        values = (self._source, zone, basis.accounting.value, basis.factors.value, _seconds(now - LOADED))
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
