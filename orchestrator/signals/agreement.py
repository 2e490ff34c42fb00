"""Whether two sources tell of the same grid. Pure.

A source that lies steadily by a factor of two is believed after two days, however careful it is listened to alone
(:mod:`orchestrator.signals.gate`). Another source that counts the same knows better, though not which of the two is
right: so neither is taken.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final

from orchestrator.domain.carbon import CarbonIntensity, Kind
from orchestrator.domain.time import HOUR
from orchestrator.signals.gate import step

APART_FACTOR: Final = 1.5
"""Two vintages of a grid, or two models of it, lie closer together; pounds for kilograms lie further apart."""

OWN_METHOD: Final = frozenset({Kind.DERIVED, Kind.SYNTHETIC})
"""What is derived leaves imports out, and a profile knows no weather. A forecast of the present does count."""

SAME_TIME: Final = HOUR


def comparable(one: CarbonIntensity, other: CarbonIntensity) -> bool:
    """Whether both are about the same time and zone, counted alike, and by methods that have to agree."""
    if (one.zone, one.basis) != (other.zone, other.basis) or {one.kind, other.kind} & OWN_METHOD:
        return False
    between = max(one.interval.start - other.interval.end, other.interval.start - one.interval.end, timedelta(0))
    return between < SAME_TIME


def apart(one: CarbonIntensity, other: CarbonIntensity) -> str:
    """Say that two sources contradict one another, "" if they do not, or tell of different things."""
    if not comparable(one, other) or step(one.grams_per_kwh, other.grams_per_kwh) <= math.log(APART_FACTOR):
        return ""
    return (
        f"sources contradict one another: {one.source} says {one.grams_per_kwh:g} g/kWh, "
        f"{other.source} {other.grams_per_kwh:g}"
    )
