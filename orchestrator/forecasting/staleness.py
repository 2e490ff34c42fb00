"""How long a value may be believed: learnt for each zone from how wrong old values and forecasts were.

A value that was measured a few hours ago is a good guess of the present in one grid and a bad one in another. From some
age on a forecast is better, and where neither says more than the mean of the last weeks, nothing should be moved on
their account. Which of the three is best need not change once only: a value of 24 hours ago may beat one of 12. Ages
count from the end of the last known hour to the start of the hour that is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.forecasting.pattern import Floats

Hours = NDArray[np.int64]

VALUE: Final = 0
FORECAST: Final = 1
NEITHER: Final = 2


@dataclass(frozen=True)
class BestGuess:
    """Which guess was the best, (ages, zones): ``VALUE``, ``FORECAST``, or ``NEITHER``, which is the long mean."""

    by_age: Hours

    @property
    def value_hours(self) -> Hours:
        """By zone: the age from which the last value is no longer the best guess; the number of ages if never."""
        lost = self.by_age != VALUE
        return np.where(lost.any(axis=0), lost.argmax(axis=0), len(self.by_age))

    @property
    def hold_hours(self) -> Hours:
        """By zone: the age from which on nothing is known that beats the mean; the number of ages if never."""
        useless = np.logical_and.accumulate(self.by_age[::-1] == NEITHER, axis=0)
        return np.asarray(len(self.by_age) - useless.sum(axis=0), dtype=np.int64)

    def choose(self, value: Floats, forecast: Floats, mean: Floats) -> Floats:
        """Return the best of guesses of (issues, ages, zones) each."""
        return np.asarray(np.where(self.by_age == VALUE, value, np.where(self.by_age == FORECAST, forecast, mean)))


def best_guess(value: Floats, forecast: Floats, mean: Floats, actual: Floats) -> BestGuess:
    """Learn which guess to believe from guesses of the past and what came of them, all (issues, ages, zones).

    They are compared by their mean absolute error over the points that all of them have; of equal ones the value comes
    first, then the forecast. Where there is no such point, neither is believed.
    """
    known = np.isfinite(value) & np.isfinite(forecast) & np.isfinite(mean) & np.isfinite(actual)
    wrong = [np.where(known, abs(guess - actual), 0.0).sum(axis=0) for guess in (value, forecast, mean)]
    return BestGuess(np.where(known.any(axis=0), np.argmin(wrong, axis=0), NEITHER))
