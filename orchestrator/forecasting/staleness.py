"""How long a value may be believed: learnt for each zone from how wrong old values and forecasts were.

A value that was measured a few hours ago is a good guess of the present in one grid and a bad one in another; a
forecast takes over at some age, and at a still higher one neither says more than the mean of the last weeks, so that
nothing should be moved on its account. Both ages are counted in hours from the end of the last known hour to the start
of the hour that is asked for, and each is the age from which on it stays so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.forecasting.pattern import Floats

Hours = NDArray[np.int64]


@dataclass(frozen=True)
class TrustedFor:
    """The ages of each zone, in hours.

    Below ``value_hours`` the last value is the best guess, from there to below ``forecast_hours`` the forecast; beyond,
    neither beats the long mean. Equal to the number of ages where it never ends.
    """

    value_hours: Hours
    forecast_hours: Hours

    def best_guess(self, value: Floats, forecast: Floats, mean: Floats) -> Floats:
        """Return what the rule believes, (issues, ages, zones), out of guesses of that shape."""
        age = np.arange(value.shape[1])[:, None]
        believed = np.where(age < self.value_hours, value, forecast)
        return np.asarray(np.where(age < np.maximum(self.value_hours, self.forecast_hours), believed, mean))


def trusted_for(value: Floats, forecast: Floats, mean: Floats, actual: Floats) -> TrustedFor:
    """Learn the ages from guesses of the past and what came of them, all (issues, ages, zones).

    Guesses are compared by their mean absolute error over the points that all of them have. A zone without any such
    point trusts nothing.
    """
    known = np.isfinite(value) & np.isfinite(forecast) & np.isfinite(mean) & np.isfinite(actual)
    wrong = [np.where(known, abs(guess - actual), 0.0).sum(axis=0) for guess in (value, forecast, mean)]
    seen = known.any(axis=0)
    worthless = (np.minimum(wrong[0], wrong[1]) >= wrong[2]) | ~seen
    return TrustedFor(_from_when_on((wrong[1] < wrong[0]) | ~seen), _from_when_on(worthless))


def _from_when_on(true: NDArray[np.bool_]) -> Hours:
    """Return the first age from which it is true for all higher ones, by zone; the number of ages if it is not."""
    lasts = np.logical_and.accumulate(true[::-1], axis=0)
    return np.asarray(len(true) - lasts.sum(axis=0), dtype=np.int64)
