"""How numbers read: a unit, an age and the mark of their origin; ``?`` for the unknown, never 0.

Three significant digits are enough to act upon; what has to be recomputed by hand (``greenctl explain``) is printed
with :func:`exact`.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

from orchestrator.domain.carbon import MARKS, Kind
from orchestrator.domain.time import as_utc

UNKNOWN: Final = "?"
NOTHING: Final = "–"
"""There is nothing to say, which is another thing than not knowing."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_GRAM_STEPS: Final = ((1e6, "t"), (1e3, "kg"), (1.0, "g"), (1e-3, "mg"))
_ENERGY_STEPS: Final = ((1e6, "GWh"), (1e3, "MWh"), (1.0, "kWh"), (1e-3, "Wh"), (1e-6, "mWh"))
_WATT_STEPS: Final = ((1e6, "MW"), (1e3, "kW"), (1.0, "W"), (1e-3, "mW"))


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with that many significant digits, thousands separated: ``1,488``, ``29.5``, ``0.00231``."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    decimals = max(0, digits - 1 - magnitude)
    rounded = round(value, decimals)
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{rounded:,.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"


def exact(value: float | None) -> str:
    """Write a number so that sums and products come out again by hand: up to eight significant digits, no padding."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:.8g}"


def six(value: float | None) -> str:
    """Write a number with up to six significant digits, no padding: for tables that are recomputed by hand."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.6g}"


def scaled(value: float | None, steps: tuple[tuple[float, str], ...], digits: int = 3) -> str:
    """Write a number in the unit that gives it a readable size."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return f"0 {next(unit for size, unit in steps if size == 1.0)}"
    size, unit = next(((s, u) for s, u in steps if abs(value) >= s), steps[-1])
    return f"{number(value / size, digits)} {unit}"


def grams(value: float | None) -> str:
    """Write a mass of CO2e given in grams: ``331 g``, ``18.4 kg``, ``2.1 mg``."""
    return scaled(value, _GRAM_STEPS)


def kwh(value: float | None) -> str:
    """Write an energy given in kWh."""
    return scaled(value, _ENERGY_STEPS)


def watts(value: float | None) -> str:
    """Write a power given in watts."""
    return scaled(value, _WATT_STEPS)


def usd(value: float | None) -> str:
    """Write an amount of US dollars: cents from ten cents on, three significant digits below."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    sign = "−" if value < 0 else ""
    size = abs(value)
    if size == 0:
        return "$0"
    return f"{sign}${size:,.2f}" if size >= 0.1 else f"{sign}${number(size)}"  # noqa: PLR2004  # ten cents


def percent(fraction: float | None, *, signed: bool = False) -> str:
    """Write a fraction as per cent; with a sign for differences (``−56 %``). What is not all of it is never 100 %."""
    if fraction is None or not math.isfinite(fraction):
        return UNKNOWN
    value = fraction * 100
    body = f"{abs(value):.0f}" if abs(value) >= 10 or value == 0 else number(abs(value), 2)  # noqa: PLR2004
    if body == "100" and abs(value) < 100:  # noqa: PLR2004
        body = f"{math.floor(abs(value) * 10) / 10:.1f}"
    sign = ("−" if value < 0 else "+" if value > 0 else "±") if signed else ("−" if value < 0 else "")
    return f"{sign}{body} %"


def signed(text: str, value: float) -> str:
    """Put a visible sign before a number that was written without one."""
    return f"{'−' if value < 0 else '+'}{text.lstrip('-−')}"


def duration(seconds: float | None) -> str:
    """Write a length of time in its two largest units: ``7 min``, ``1h 48m``, ``2d 3h``."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    size = round(abs(seconds))
    if abs(seconds) < 10 and seconds != round(seconds):  # noqa: PLR2004  # tenths matter only there
        return f"{abs(seconds):.1f} s"
    if size < _MINUTE:
        return f"{size} s"
    if size < _HOUR:
        minutes, rest = divmod(size, _MINUTE)
        return f"{minutes} min" if rest == 0 or minutes >= 10 else f"{minutes}m {rest:02d}s"  # noqa: PLR2004
    if size < _DAY:
        hours, rest = divmod(size, _HOUR)
        return f"{hours}h {rest // _MINUTE:02d}m"
    days, rest = divmod(size, _DAY)
    return f"{days}d {rest // _HOUR}h"


def instant(moment: datetime | None) -> str:
    """Write an instant in UTC to the minute: ``2023-06-01 12:00 UTC``."""
    return UNKNOWN if moment is None else f"{as_utc(moment):%Y-%m-%d %H:%M} UTC"


def clock_time(moment: datetime) -> str:
    """Write the time of day in UTC to the second, for lines of progress."""
    return f"{as_utc(moment):%H:%M:%S}"


def age(length: timedelta | float | None) -> str:
    """Write how old something is."""
    return duration(length.total_seconds() if isinstance(length, timedelta) else length)


def rate_words(rate: float) -> str:
    """Say how fast the grid's clock runs; empty when it is the real one."""
    return "" if rate == 1.0 else f"replayed at {exact(rate)} × real time"


class Marks:
    """Writes numbers with the mark of their kind and remembers which marks were used, for the legend."""

    def __init__(self) -> None:
        self._used: set[Kind] = set()
        self._stale = False
        self._unknown = False

    def write(self, text: str, kind: Kind | None, *, stale: bool = False) -> str:
        """Return the text with its mark; unmarked text gets a blank as wide, so that columns stay straight."""
        if text == UNKNOWN:
            self._unknown = True
            return f"{text}  "
        mark = MARKS[kind] if kind is not None else ""
        if mark and kind is not None:
            self._used.add(kind)
        self._stale = self._stale or stale
        return f"{text} {mark or ' '}" + ("!" if stale else "")

    def legend(self) -> str:
        """Explain the marks that were used; empty when there were none."""
        words = [f"{MARKS[k]} {k.value}" for k in Kind if k in self._used]
        words += ["! older than allowed"] * self._stale + [f"{UNKNOWN} unknown"] * self._unknown
        return "   ".join(words)
