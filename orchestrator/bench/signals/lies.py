"""What a poisoned feed says of an hour, each kind by name. Pure.

The kinds are those that carbon APIs and their users have met (wrong units, holes, frozen and misdated values, answers
about other zones), and those that an attacker would choose: small and steady ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.domain.units import pounds_per_mwh_to_grams_per_kwh
from orchestrator.signals.statement import Statement

TINY_GRAMS_PER_KWH: Final = 1.0
AHEAD: Final = 36 * HOUR
"""How far stamps of the future are ahead."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a liar has to work with, besides the true statement: the number of another hour or zone.

    ``began_grams_per_kwh``: of the hour in which it began to lie. ``other_grams_per_kwh``: of the same hour in a
    cleaner zone, ``older_grams_per_kwh``: of an earlier hour in this one; ``None`` where nothing is recorded.
    ``odd_hour``: whether it lies in this hour, if it does so by turns.
    """

    began_grams_per_kwh: float
    other_zone: str
    other_grams_per_kwh: float | None
    older_grams_per_kwh: float | None
    odd_hour: bool
    share: float


Lie = Callable[[Statement, Occasion], Statement | None]
"""Returns what is said in place of the truth; ``None`` for nothing."""


def _times(factor: float) -> Lie:
    return lambda true, _: replace(true, grams_per_kwh=true.grams_per_kwh * factor)


def _always(grams_per_kwh: float) -> Lie:
    return lambda true, _: replace(true, grams_per_kwh=grams_per_kwh)


def _of(number: Callable[[Occasion], float | None]) -> Lie:
    def lie(true: Statement, occasion: Occasion) -> Statement | None:
        grams = number(occasion)
        return None if grams is None else replace(true, grams_per_kwh=grams)

    return lie


def _wrong_zone(true: Statement, occasion: Occasion) -> Statement | None:
    grams = occasion.other_grams_per_kwh
    return None if grams is None else replace(true, zone=occasion.other_zone, grams_per_kwh=grams)


def _ahead(true: Statement, occasion: Occasion) -> Statement:
    moved = Window(true.interval.start + AHEAD, true.interval.end + AHEAD)
    return replace(true, interval=moved, grams_per_kwh=true.grams_per_kwh * occasion.share)


def _by_turns(true: Statement, occasion: Occasion) -> Statement:
    return replace(true, grams_per_kwh=true.grams_per_kwh * occasion.share) if occasion.odd_hour else true


def _part(true: Statement, occasion: Occasion) -> Statement:
    return replace(true, grams_per_kwh=true.grams_per_kwh * occasion.share)


CONTRADICTED: Final = "contradicted"
"""The one kind with two sources: the first lies, the second does not."""

LIES: Final[Mapping[str, Lie]] = {
    "x1000": _times(1000.0),
    "/1000": _times(0.001),
    "lb as kg": _times(pounds_per_mwh_to_grams_per_kwh(1.0)),
    "null": lambda _true, _occasion: None,
    "NaN": _always(math.nan),
    "negative": lambda true, _: replace(true, grams_per_kwh=-true.grams_per_kwh),
    "sudden zero": _always(0.0),
    "tiny": _always(TINY_GRAMS_PER_KWH),
    "frozen": _of(lambda occasion: occasion.began_grams_per_kwh),
    "old numbers": _of(lambda occasion: occasion.older_grams_per_kwh),
    "wrong zone": _wrong_zone,
    "swapped zones": _of(lambda occasion: occasion.other_grams_per_kwh),
    "future stamps": _ahead,
    "by turns": _by_turns,
    CONTRADICTED: _part,
}


def is_odd(hour: Instant) -> bool:
    """Whether a liar by turns lies in this hour."""
    return hour.hour % 2 == 1
