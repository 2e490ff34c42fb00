"""From which age on the forecast of a grid zone is nearer to the truth than its last value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from orchestrator.domain.time import HOUR

DEFAULT_HOURS = 2
"""Until enough is known. With two to three days on record the blend is nearer from this age on, with more it is sooner
(41 grids, 2022 and 2023); a provider's forecast that is renewed once a day is about as near. See decision 0030."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Mean absolute errors, g/kWh, of a value that is ``age_hours`` to one hour more old, and of the forecast then."""

    age_hours: int
    value_grams_per_kwh: float
    forecast_grams_per_kwh: float
    days: int


@dataclass(frozen=True, slots=True)
class Crossover:
    """The last value is believed for ``hours`` after the hour that it describes, then the forecast is.

    ``days``: that it was learnt from; 0 where it is assumed, for want of days or because nothing is on record of what
    was forecast. ``missed``: what it follows from, youngest first; empty where it is assumed.
    """

    hours: int = DEFAULT_HOURS
    days: int = 0
    missed: tuple[Missed, ...] = ()

    def believes(self, age: timedelta) -> bool:
        """Whether a value of that age is still nearer than the forecast, as far as anybody knows."""
        return age < self.hours * HOUR

    @property
    def words(self) -> str:
        """One clause for a person."""
        known = f"learnt from {self.days} days" if self.days else "assumed"
        return f"the forecast is nearer from {self.hours} h on, {known}"
