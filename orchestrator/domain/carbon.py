"""Grid carbon intensity with its provenance, and the absence of it.

A number never travels alone: it knows its zone, its interval, who said it and when, whether it was measured,
estimated, forecast, derived, recorded or synthetic, and by which accounting. Unknown is a value of its own
(:class:`Gap`), never zero.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from orchestrator.domain.time import HOUR, Instant, Window

PLAUSIBLE_GRAMS_PER_KWH = (0.0, 2000.0)
"""Life-cycle intensity of every grid lies inside: oil-fired plants reach about 1,100 g/kWh (IPCC AR5 WG3 Annex III)."""


class Kind(StrEnum):
    """How a number came to be. Ordered from the strongest to the weakest by :data:`WEAKNESS`."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    RECORDED = "recorded"
    DERIVED = "derived"
    FORECAST = "forecast"
    SYNTHETIC = "synthetic"


WEAKNESS = (Kind.MEASURED, Kind.RECORDED, Kind.ESTIMATED, Kind.DERIVED, Kind.FORECAST, Kind.SYNTHETIC)

MARKS = {
    Kind.MEASURED: "",
    Kind.RECORDED: "r",
    Kind.ESTIMATED: "~",
    Kind.DERIVED: "d",
    Kind.FORECAST: "ƒ",
    Kind.SYNTHETIC: "s",
}
"""One character per kind for tables; the table prints a legend of those it used."""


def weakest(kinds: Sequence[Kind]) -> Kind:
    """Name the weakest kind: an average is only as good as its worst point. Raises ``ValueError`` on none."""
    return max(kinds, key=WEAKNESS.index)


class Accounting(StrEnum):
    """Average grid mix, or the marginal plant."""

    AVERAGE = "average"
    MARGINAL = "marginal"


class Factors(StrEnum):
    """Life-cycle factors include upstream emissions; direct ones only the stack."""

    LIFECYCLE = "lifecycle"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Basis:
    """What is counted. Two series of different bases never mix."""

    accounting: Accounting = Accounting.AVERAGE
    factors: Factors = Factors.LIFECYCLE


@dataclass(frozen=True, slots=True)
class CarbonIntensity:
    """Grams CO2e per kWh of one grid zone over one interval.

    ``issued_at``: when the source published (or would have published) the number; ``fetched_at``: when we read it.
    Age is counted from the end of the interval for observations: what the number describes, not when we asked.
    """

    zone: str
    grams_per_kwh: float
    interval: Window
    kind: Kind
    source: str
    issued_at: Instant
    fetched_at: Instant
    basis: Basis = Basis()

    def __post_init__(self) -> None:
        """Refuse numbers that no grid can have; a unit error must not steer anything."""
        low, high = PLAUSIBLE_GRAMS_PER_KWH
        if not math.isfinite(self.grams_per_kwh) or not low <= self.grams_per_kwh <= high:
            message = f"{self.grams_per_kwh} g/kWh for {self.zone} is outside {low:g}..{high:g}"
            raise ValueError(message)

    def age(self, now: Instant) -> timedelta:
        """How long ago the described interval began to be the past; zero while it is still the present."""
        return max(timedelta(0), now - self.interval.end)

    def is_fresh(self, now: Instant, max_age: timedelta) -> bool:
        """Whether it describes the present, or a time at most that far away.

        A number dated further into the future than it may be old is misdated, and would otherwise stay young for ever.
        """
        return self.age(now) <= max_age and self.interval.start - now <= max_age


@dataclass(frozen=True, slots=True)
class Gap:
    """No usable number for the zone, and why."""

    zone: str
    reason: str
    source: str


Reading = CarbonIntensity | Gap


@dataclass(frozen=True, slots=True)
class CarbonSeries:
    """Intensities of one zone in time order, without overlap, all of one basis; holes are allowed and stay holes."""

    zone: str
    points: tuple[CarbonIntensity, ...]

    def __post_init__(self) -> None:
        """Refuse foreign zones, mixed bases and overlapping intervals."""
        if any(p.zone != self.zone for p in self.points):
            message = f"series of {self.zone} holds another zone's point"
            raise ValueError(message)
        if len({p.basis for p in self.points}) > 1:
            message = f"series of {self.zone} mixes accounting bases"
            raise ValueError(message)
        pairs = zip(self.points, self.points[1:], strict=False)
        if any(later.interval.start < earlier.interval.end for earlier, later in pairs):
            message = f"series of {self.zone} is not in order"
            raise ValueError(message)

    def at(self, moment: Instant) -> CarbonIntensity | None:
        """Return the point whose interval holds the instant, if any."""
        following = bisect_right(self.points, moment, key=lambda p: p.interval.start)
        found = self.points[following - 1] if following else None
        return found if found is not None and moment in found.interval else None

    def hourly_grams(self, start: Instant, hours: int) -> tuple[float | None, ...]:
        """Return grams per kWh at ``start``, ``start + 1 h`` and so on, ``hours`` of them; ``None`` in a hole."""
        points = (self.at(start + step * HOUR) for step in range(hours))
        return tuple(None if p is None else p.grams_per_kwh for p in points)

    def mean_grams_per_kwh(self) -> float | None:
        """Time-weighted mean over the points that exist, which says nothing of a hole; ``None`` without any."""
        hours = sum(p.interval.hours for p in self.points)
        if hours == 0:
            return None
        return sum(p.grams_per_kwh * p.interval.hours for p in self.points) / hours

    def phases_after(self, now: Instant) -> frozenset[timedelta]:
        """Return how long after ``now``, ``now + 1 h`` and so on a point begins or ends, each above 0 and at most 1 h.

        Points that are over by ``now`` do not count.
        """
        edges = (edge for point in self.points for edge in (point.interval.start, point.interval.end))
        return frozenset((edge - now) % HOUR or HOUR for edge in edges if edge > now)

    @property
    def kind(self) -> Kind | None:
        """The weakest kind among the points; ``None`` without any."""
        return weakest([p.kind for p in self.points]) if self.points else None
