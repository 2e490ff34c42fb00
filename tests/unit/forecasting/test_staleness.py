"""What to believe of old values: learnt by zone and age."""

from __future__ import annotations

import numpy as np

from orchestrator.forecasting.staleness import FORECAST, NEITHER, VALUE, best_guess

ISSUES, AGES = 20, 6
ACTUAL = np.full((ISSUES, AGES, 1), 100.0)


def wrong_by(*errors: float) -> np.ndarray:
    """Give guesses that are wrong by so much at each age."""
    return ACTUAL + np.array(errors)[None, :, None]


def test_each_age_believes_what_was_closest() -> None:
    """The value while it is fresh, then the forecast, then neither; the value again where it is yesterday's."""
    value, forecast = wrong_by(1, 2, 9, 9, 9, 3), wrong_by(5, 5, 5, 5, 20, 20)
    found = best_guess(value, forecast, wrong_by(8, 8, 8, 8, 8, 8), ACTUAL)

    assert found.by_age[:, 0].tolist() == [VALUE, VALUE, FORECAST, FORECAST, NEITHER, VALUE]
    assert found.value_hours.tolist() == [2]
    assert found.hold_hours.tolist() == [AGES]


def test_from_some_age_on_nothing_is_known() -> None:
    """Where the long mean stays the best guess, one should hold still."""
    found = best_guess(wrong_by(1, 2, 3, 9, 9, 9), wrong_by(9, 9, 9, 9, 9, 9), wrong_by(5, 5, 5, 5, 5, 5), ACTUAL)
    assert (found.value_hours.tolist(), found.hold_hours.tolist()) == ([3], [3])


def test_a_value_may_stay_the_best_for_ever() -> None:
    """A grid that never changes needs no forecast."""
    same = wrong_by(0, 0, 0, 0, 0, 0)
    found = best_guess(same, same, same, ACTUAL)
    assert (found.value_hours.tolist(), found.hold_hours.tolist()) == ([AGES], [AGES])


def test_only_points_that_all_have_count() -> None:
    """A forecast that was silent when it would have been wrong does not look better for it; no points, no belief."""
    value, forecast, mean = wrong_by(*[2] * 6), wrong_by(*[1] * 6), wrong_by(*[9] * 6)
    value[:10] = 200.0
    forecast[:10] = np.nan
    assert (best_guess(value, forecast, mean, ACTUAL).by_age == FORECAST).all()

    nothing = np.full_like(ACTUAL, np.nan)
    assert (best_guess(value, nothing, mean, ACTUAL).by_age == NEITHER).all()


def test_the_rule_gives_what_it_believes() -> None:
    """Guesses of the day are put together as the past taught, age by age."""
    taught = best_guess(wrong_by(1, 9, 9, 9, 9, 9), wrong_by(5, 5, 5, 9, 9, 9), wrong_by(8, 8, 8, 8, 8, 8), ACTUAL)
    value, forecast, mean = (np.full((2, AGES, 1), g) for g in (1.0, 2.0, 3.0))
    assert taught.choose(value, forecast, mean)[0, :, 0].tolist() == [1, 2, 2, 3, 3, 3]
