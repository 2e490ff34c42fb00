"""How the traffic of a service is shared among the places where its replicas run, and what that saves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """The part of the traffic (``0..1``) that ``replicas`` replicas of one offer take together, evenly.

    ``even``: what they would take if all replicas of the service took the same. ``most``: what keeps their queue short
    and the promise of the time to the first token, before rounding. ``busy``: how busy they are with ``part``.
    ``grams_per_kwh`` is ``None`` where it is unknown or too old.
    """

    offer_id: str
    replicas: int
    part: float
    even: float
    most: float
    busy: float
    grams_per_kwh: float | None


@dataclass(frozen=True, slots=True)
class Split:
    """The best sharing there is, by offer id; ``why_even``: what keeps it from being any other than even, in words.

    Grams are those of all its replicas in an hour of running at the load seen, idle power included; ``None`` where a
    part of them is unknown.
    """

    shares: tuple[Share, ...]
    grams_per_hour: float | None = None
    even_grams_per_hour: float | None = None
    why_even: str = ""

    @property
    def saved_grams_per_hour(self) -> float | None:
        """What it saves against an even split, gCO2e per hour; ``None`` where that is unknown."""
        if self.grams_per_hour is None or self.even_grams_per_hour is None:
            return None
        return self.even_grams_per_hour - self.grams_per_hour

    @property
    def words(self) -> str:
        """One clause for a person: ``aws/se 90 %, aws/pl 10 %: 41.2 gCO2e/h less than evenly``."""
        if self.why_even:
            return f"evenly: {self.why_even}"
        parts = ", ".join(f"{s.offer_id.split(':', 1)[0]} {100 * s.part:.0f} %" for s in self.shares)
        saved = self.saved_grams_per_hour or 0.0
        return f"{parts}: {saved:.3g} gCO2e/h less than evenly" if saved > 0 else f"{parts}: even is as good"


@dataclass(frozen=True, slots=True)
class OriginRow:
    """Where the requests of one origin go: the part (``0..1``, they add up to 1) of each offer, by its id.

    ``weight``: the part of all traffic that comes from there. ``rtt_ms``: the mean round trip of that row.
    ``is_hopeless``: no place keeps what is promised to it, so that its row keeps the others' only.
    """

    origin: str
    weight: float
    parts: tuple[tuple[str, float], ...]
    rtt_ms: float
    is_hopeless: bool = False

    @property
    def words(self) -> str:
        """One clause for a person: ``eu to aws/pl 70 %, aws/se 30 % (18 ms)``."""
        to = ", ".join(f"{offer.split(':', 1)[0]} {100 * part:.0f} %" for offer, part in self.parts if part > 0)
        late = ", later than promised" if self.is_hopeless else ""
        return f"{self.origin} to {to} ({self.rtt_ms:.0f} ms{late})"


@dataclass(frozen=True, slots=True)
class OriginSplit:
    """A row for each origin, by name; none, and ``why_none`` in words, where all are served by the one split.

    ``grams_per_hour`` and ``rtt_ms`` are of all the rows together, idle power included.
    """

    rows: tuple[OriginRow, ...] = ()
    grams_per_hour: float | None = None
    rtt_ms: float | None = None
    why_none: str = ""

    @property
    def differs(self) -> bool:
        """Whether at least two origins are sent to different places."""
        return len({row.parts for row in self.rows}) > 1
