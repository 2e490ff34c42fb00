"""Instants and half-open windows, always UTC.

An ``Instant`` is an aware ``datetime`` in UTC. Functions that need the present take it as an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

Instant = datetime

HOUR = timedelta(hours=1)


def as_utc(moment: datetime) -> Instant:
    """Convert an aware datetime to UTC; a naive one is a ``ValueError``, because guessing a zone is a bug."""
    if moment.tzinfo is None:
        message = f"{moment.isoformat()} has no time zone"
        raise ValueError(message)
    return moment.astimezone(UTC)


def parse_instant(text: str) -> Instant:
    """Read RFC 3339 text (``2023-06-01T12:00Z``); raises ``ValueError`` when it is not, or has no offset."""
    return as_utc(datetime.fromisoformat(text))


def format_instant(moment: Instant) -> str:
    """Write RFC 3339 with ``Z``, whole seconds unless there is a fraction."""
    return as_utc(moment).isoformat().replace("+00:00", "Z")


def floor_hour(moment: Instant) -> Instant:
    """Return the start of the clock hour that holds ``moment``."""
    return moment.replace(minute=0, second=0, microsecond=0)


def floor_day(moment: Instant) -> Instant:
    """Return the start of the UTC day that holds ``moment``."""
    return floor_hour(moment).replace(hour=0)


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Half-open interval ``[start, end)``."""

    start: Instant
    end: Instant

    def __post_init__(self) -> None:
        """Refuse a window that ends before it starts."""
        if self.end < self.start:
            message = f"window ends ({self.end}) before it starts ({self.start})"
            raise ValueError(message)

    @classmethod
    def starting(cls, start: Instant, length: timedelta) -> Window:
        """Make the window of that length."""
        return cls(start, start + length)

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.end - self.start

    @property
    def hours(self) -> float:
        """How long it is, in hours."""
        return self.length / HOUR

    def pieces(self, longest: timedelta) -> Iterator[Window]:
        """Yield consecutive windows, none longer, that make up this one; none of an empty one."""
        start = self.start
        while start < self.end:
            end = min(start + longest, self.end)
            yield Window(start, end)
            start = end

    def __contains__(self, moment: object) -> bool:
        """Whether the instant lies inside; the end does not."""
        return isinstance(moment, datetime) and self.start <= moment < self.end
