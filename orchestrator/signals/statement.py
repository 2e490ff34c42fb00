"""What an API client hands over: numbers as they were said, not yet believed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.carbon import Basis, Gap, Kind
from orchestrator.domain.time import Instant, Window, as_utc
from orchestrator.errors import SignalFormatError


@dataclass(frozen=True, slots=True)
class Statement:
    """A source said this. ``zone`` is the one that the answer itself names; ``issued_at`` is ``None`` if it says not.

    ``grams_per_kwh`` may be anything that a float can be, for it is judged later (:mod:`orchestrator.signals.gate`).
    """

    zone: str
    basis: Basis
    interval: Window
    grams_per_kwh: float
    kind: Kind
    source: str
    issued_at: Instant | None = None


Said = Sequence[Statement] | Gap


class Feed(Protocol):
    """A client of one API. It asks, decodes and converts units; it remembers nothing but what the API is able to do.

    A zone or basis that the API does not have is a :class:`Gap`. Whatever concerns the API as a whole is raised:
    ``SignalUnavailable`` and, more exactly, ``SignalRefused``, ``SignalThrottled`` and ``SignalFormatError``.
    """

    @property
    def name(self) -> str:
        """Short name of the source."""
        ...

    @property
    def credit(self) -> str:
        """Whose data it is and under which licence, as the owner wants it said."""
        ...

    async def zones(self) -> frozenset[str]:
        """Return the zones that can be asked for."""
        ...

    async def current(self, zone: str, basis: Basis, now: Instant) -> Said:
        """Return what is said of the present, or the newest past; none or few statements."""
        ...

    async def past(self, zone: str, basis: Basis, window: Window, now: Instant) -> Said:
        """Return what is said of the window's hours, whole hours only; fewer if the API keeps fewer."""
        ...

    async def forecast(self, zone: str, basis: Basis, hours: int, now: Instant) -> Said:
        """Return the API's own forecast of the next hours, none if it makes none."""
        ...


# ── reading JSON that others wrote ───────────────────────────────────────────────────────────────────


def mapping(value: object, where: str) -> Mapping[str, object]:
    """Return the value if it is a JSON object. Raises ``SignalFormatError``."""
    if not isinstance(value, dict):
        raise SignalFormatError(f"{where}: expected an object, found {_name(value)}")
    return value


def rows(value: object, where: str) -> list[Mapping[str, object]]:
    """Return the value if it is a list of JSON objects. Raises ``SignalFormatError``."""
    if not isinstance(value, list):
        raise SignalFormatError(f"{where}: expected a list, found {_name(value)}")
    return [mapping(row, where) for row in value]


def number(value: object) -> float | None:
    """Return a number, ``None`` for null and for what is none: unknown is not zero. Numbers as text count."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:
        return None


def moment(value: object, where: str) -> Instant:
    """Read a time; one without an offset is UTC, as all of these APIs say. Raises ``SignalFormatError``."""
    try:
        read = datetime.fromisoformat(str(value))
        return as_utc(read if read.tzinfo else datetime.fromisoformat(f"{value}+00:00"))
    except (ValueError, OverflowError) as error:
        raise SignalFormatError(f"{where}: {str(value)[:40]!r} is not a time") from error


def _name(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
