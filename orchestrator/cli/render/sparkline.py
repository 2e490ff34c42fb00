"""Eight levels of height, one scale for every row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

LEVELS: Final = "▁▂▃▄▅▆▇█"
HOLE: Final = "·"
"""An hour without a number: not the lowest level, because unknown is not zero."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The values that the lowest and the highest level stand for."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float | None]) -> Scale | None:
        """Span all known values; ``None`` when there is none."""
        known = [v for v in values if v is not None]
        return cls(min(known), max(known)) if known else None

    def level(self, value: float) -> str:
        """Return the character of a value inside the scale."""
        if self.high == self.low:
            return LEVELS[0]
        share = (value - self.low) / (self.high - self.low)
        return LEVELS[min(len(LEVELS) - 1, int(share * len(LEVELS)))]


def sparkline(values: Sequence[float | None], scale: Scale | None) -> str:
    """Draw one character per value; holes stay visible."""
    return "".join(HOLE if v is None or scale is None else scale.level(v) for v in values)
