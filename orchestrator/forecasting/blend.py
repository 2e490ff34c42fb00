"""Constants of the blend: the daily pattern of four weeks, with the departures of today carried on.

``forecast(h) = pattern(hour of the day) + (last - day) e^(-h/12) + day e^(-h/36)``, where ``pattern`` is the mean of
that hour over 28 days in which each day counts 0.85 times the one after it (exponential smoothing of a seasonal
profile: Winters, Management Science 6(3), 1960), ``last`` is by how much the last known hour departs from it, ``day``
the mean departure of the last 24 hours, and h counts hours from the first one that is not known.

The four numbers were chosen on 41 grids in 2022 and 2023, direct and life-cycle, by the geometric mean of the errors
over zones; the optimum is flat: other values near them differ by less than a percent.
"""

from __future__ import annotations

from typing import Final

PATTERN_DAYS: Final = 28
RECENCY: Final = 0.85
"""Weight of a day relative to the day after it."""

HOUR_FADES_HOURS: Final = 12.0
DAY_FADES_HOURS: Final = 36.0
"""Time constants: of what is special about the last hour, and about the last day."""

OLDEST_DAYS: Final = 7
"""An hour of the day that was not seen for longer is not forecast: that old a pattern says nothing of today."""
