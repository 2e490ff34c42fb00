"""What servers say that the time is, in answers that were asked for anyway: a second opinion about our own clock.

The ``Date`` of an answer (RFC 9110, 6.6.1) is whole seconds, said when the answer was made: somewhere between our
question and its arrival. The newest word of each host is kept in a file, for other processes; a file that cannot be
used keeps nothing and stops nobody.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from orchestrator.domain.time import Instant, format_instant, parse_instant

BUSY_SECONDS: Final = 0.2
HALF_A_SECOND: Final = timedelta(milliseconds=500)

_SCHEMA: Final = """
create table if not exists server_clock (host text not null primary key, at text not null,
skew_seconds real not null, within_seconds real not null) without rowid
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What a host said at ``at``, by our clock: it is ``skew`` ahead of us, give or take ``within``."""

    host: str
    at: Instant
    skew: timedelta
    within: timedelta

    @property
    def least_skew(self) -> timedelta:
        """How far apart both are at least, whatever the way there and back took."""
        return max(timedelta(0), abs(self.skew) - self.within)


def told_by(host: str, headers: Mapping[str, str], asked_at: Instant, answered_at: Instant) -> Told | None:
    """Read an answer's date; ``None`` without one that can be read, and for answers that a cache has kept (``Age``)."""
    if headers.get("Age", "0").strip() != "0":
        return None
    try:
        said = parsedate_to_datetime(headers["Date"])
        # "-0000" is UTC of which nobody says where it was said (RFC 5322, 3.3), and comes without a zone.
        date = said.replace(tzinfo=UTC) if said.tzinfo is None else said.astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        return None
    way = max(timedelta(0), answered_at - asked_at)
    return Told(host, answered_at, date + HALF_A_SECOND - (asked_at + way / 2), HALF_A_SECOND + way / 2)


class ServerClocks:
    """The newest word of each host. ``file``: shared by the processes of a state directory; made when there is one."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def note(self, told: Told) -> None:
        """Keep it in the place of what the host said before."""
        values = (told.host, format_instant(told.at), told.skew.total_seconds(), told.within.total_seconds())
        with contextlib.suppress(sqlite3.Error, OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as db, db:
                db.execute(_SCHEMA)
                db.execute("insert or replace into server_clock values (?, ?, ?, ?)", values)

    def told(self, *, since: Instant) -> Sequence[Told]:
        """Return what hosts have said since then, by name; nothing where nothing is kept or can be read."""
        if not self._file.is_file():
            return ()
        try:
            with contextlib.closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as db:
                rows = db.execute("select host, at, skew_seconds, within_seconds from server_clock order by host")
                found = [
                    Told(str(host), parse_instant(at), timedelta(seconds=skew), timedelta(seconds=within))
                    for host, at, skew, within in rows
                ]
        except (sqlite3.Error, ValueError, TypeError, OverflowError):
            return ()
        return tuple(t for t in found if t.at >= since)
