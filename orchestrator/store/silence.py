"""A connection to PostgreSQL that waits for its server so long and no longer.

A time-out of the server's needs a server that works, one of TCP's a peer that acknowledges nothing; a host that is
frozen, or a proxy whose other end is gone, is neither. The driver itself has no bound, and whoever waits there can
neither be stopped nor renew anything. See decision 0086. Import this only where the driver is there.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any, Final, TypeVar

from psycopg import Connection, OperationalError
from psycopg.waiting import Ready, Wait

if TYPE_CHECKING:
    from psycopg.abc import PQGen

V = TypeVar("V")

_EVENTS: Final = {Wait.R: select.POLLIN, Wait.W: select.POLLOUT, Wait.RW: select.POLLIN | select.POLLOUT}


class Silence(OperationalError):
    """The server has said nothing for so long that the connection was given up; what was asked of it may be done."""

    is_silence = True


class Watched(Connection[Any]):
    """Gives itself up after so many seconds in which nothing came and nothing could be sent; ``None``: never."""

    silent_seconds: float | None = None
    longest_seconds: float | None = None
    """How long a server that works may be silent on this connection."""

    def statement_seconds(self) -> float | None:
        """Ask how long the server lets a statement take; ``None``: as long as it takes."""
        row = self.execute("SELECT setting::float / 1000 FROM pg_settings WHERE name = 'statement_timeout'").fetchone()
        self.rollback()
        return row[0] if row is not None and row[0] > 0 else None

    def wait(self, gen: PQGen[V], *given: Any, **named: Any) -> V:  # noqa: ANN401  # they differ from release to release
        """Do what the driver asks for; raises :class:`Silence`, and the connection is closed then."""
        if self.silent_seconds is None or given or named:
            return super().wait(gen, *given, **named)
        try:
            return _wait(gen, self.pgconn.socket, self.silent_seconds)
        except (Silence, KeyboardInterrupt):
            self.close()  # an answer that comes later would be taken for the next one
            raise


def _wait(work: PQGen[V], descriptor: int, seconds: float) -> V:
    """Let the work go on whenever the socket is ready for what it waits for.

    Not the driver's own loop: some of its releases do not tell the work that they wait in vain.
    """
    poll = select.poll()
    try:
        wanted = next(work)
        while True:
            poll.register(descriptor, _EVENTS[wanted])
            found = poll.poll(seconds * 1000)
            if not found:
                raise Silence(f"it has said nothing for {seconds:g} s")
            event = found[0][1]  # errors count as ready for both: the work finds them
            ready = (Ready.R if event & ~select.POLLOUT else 0) | (Ready.W if event & ~select.POLLIN else 0)
            wanted = work.send(ready)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
