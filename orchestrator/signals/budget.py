"""How many requests a source may still be asked on a day, and until when it rests, for all processes of a directory.

Plans have a limit by the day or the month, and going over it costs money or the key; and who says to come back later
means all of us. A day is one of UTC. What cannot be read or written does not stop anybody: it is a ``problem``, and
this process counts and rests for itself.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from orchestrator.domain.time import Instant
from orchestrator.errors import SignalThrottled

BUSY_SECONDS: Final = 2.0
KEPT: Final = timedelta(days=62)

_SCHEMA: Final = """
create table if not exists asked (source text not null, day text not null, requests integer not null,
primary key (source, day)) without rowid
"""

_RESTS: Final = """
create table if not exists rests (source text not null primary key, at_s real not null, until_s real not null,
failures integer not null, problem text not null) without rowid
"""


@dataclass(frozen=True, slots=True)
class Rest:
    """A source is not asked from ``at`` until ``until``: why, and how many failures in a row there were."""

    at: Instant
    until: Instant
    failures: int
    problem: str

    def holds(self, now: Instant) -> bool:
        """Whether it has begun and is not over yet."""
        return self.at <= now < self.until


@dataclass(frozen=True, slots=True)
class Spent:
    """Requests of a day, and how many there may be; ``None`` without a limit."""

    requests: int
    limit: int | None


class Budget:
    """The requests of one source. Without a ``file`` they are counted as long as the process lasts."""

    def __init__(self, source: str, limit_per_day: int | None = None, file: Path | None = None) -> None:
        self._source = source
        self._limit = limit_per_day
        self._file = file
        self._own: dict[str, int] = {}
        self.problem = ""

    def spent(self, now: Instant) -> Spent:
        """Return what was asked on the day so far."""
        day = _day(now)
        query = "select requests from asked where source = ? and day = ?"
        found = self._in_file(query, (self._source, day))
        return Spent(max(int(found[0]) if found else 0, self._own.get(day, 0)), self._limit)

    def check(self, now: Instant) -> None:
        """Raise ``SignalThrottled`` until midnight when there is no request left."""
        spent = self.spent(now)
        if spent.limit is not None and spent.requests >= spent.limit:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            message = f"{self._source}: all {spent.limit} requests of {_day(now)} are spent"
            raise SignalThrottled(message, retry_after_seconds=(midnight - now).total_seconds())

    def add(self, requests: int, now: Instant) -> None:
        """Count requests that were made."""
        if requests <= 0:
            return
        day = _day(now)
        self._own[day] = self._own.get(day, 0) + requests
        more = (
            "insert into asked values (?, ?, ?) "
            "on conflict (source, day) do update set requests = requests + excluded.requests"
        )
        self._in_file(more, (self._source, day, requests), tidy=_day(now - KEPT))

    def rest(self) -> Rest | None:
        """Return the last rest that was called for and is not known to be over; ``None`` without a file."""
        found = self._in_file("select at_s, until_s, failures, problem from rests where source = ?", (self._source,))
        if not found:
            return None
        at, until = (datetime.fromtimestamp(float(seconds), UTC) for seconds in found[:2])
        return Rest(at, until, int(found[2]), str(found[3]))

    def let_rest(self, rest: Rest) -> None:
        """Let nobody ask until the rest is over."""
        values = (self._source, rest.at.timestamp(), rest.until.timestamp(), rest.failures, rest.problem)
        self._in_file("insert or replace into rests values (?, ?, ?, ?, ?)", values)

    def rested(self, now: Instant) -> None:
        """Forget a rest that is over, for the source answers. One that began meanwhile stays."""
        self._in_file("delete from rests where source = ? and until_s <= ?", (self._source, now.timestamp()))

    def _in_file(
        self, statement: str, values: tuple[str | int | float, ...], *, tidy: str = ""
    ) -> tuple[str | int | float, ...] | None:
        if self._file is None:
            return None
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as db, db:
                db.execute(_SCHEMA)
                db.execute(_RESTS)
                row: tuple[str | int | float, ...] | None = db.execute(statement, values).fetchone()
                if tidy:
                    db.execute("delete from asked where day < ?", (tidy,))
        except (sqlite3.Error, OSError) as error:
            self.problem = f"{self._file}: {error}"
            return None
        self.problem = ""
        return row


def _day(now: Instant) -> str:
    return f"{now:%Y-%m-%d}"
