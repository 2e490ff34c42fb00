"""How many requests a source may still be asked on a day, counted for all processes of a state directory.

Plans have a limit by the day or the month, and going over it costs money or the key. A day is one of UTC. A count that
cannot be read or written does not stop anybody: it is a ``problem``, and this process counts for itself.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from datetime import timedelta
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
        return Spent(max(found or 0, self._own.get(day, 0)), self._limit)

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

    def _in_file(self, statement: str, values: tuple[str | int, ...], *, tidy: str = "") -> int | None:
        if self._file is None:
            return None
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as db, db:
                db.execute(_SCHEMA)
                row = db.execute(statement, values).fetchone()
                if tidy:
                    db.execute("delete from asked where day < ?", (tidy,))
        except (sqlite3.Error, OSError) as error:
            self.problem = f"{self._file}: {error}"
            return None
        self.problem = ""
        return None if row is None else int(row[0])


def _day(now: Instant) -> str:
    return f"{now:%Y-%m-%d}"
