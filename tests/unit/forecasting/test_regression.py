"""The learnt forecast: better where there is something to learn, honest where there is not."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.forecasting.pattern import DAY, LOOK_BACK_HOURS, Floats, blended, filled_from_before, same_hours
from orchestrator.forecasting.regression import Habits, Shrinkage, foresee

HABITS = Habits(horizon_hours=24, learn_every_hours=12)
MONDAY = 0


def weather(hours: int, zones: int, *, seed: int = 7) -> Floats:
    """Give grids with a daily curve, and weather that passes within a day and overshoots."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(hours, zones))
    swing = np.zeros((hours, zones))
    for t in range(2, hours):
        swing[t] = 1.6 * swing[t - 1] - 0.68 * swing[t - 2] + noise[t]
    curve = 60.0 * np.sin(2 * np.pi * np.arange(hours) / DAY)[:, None]
    return np.asarray(np.maximum(20.0, 300.0 + curve + 12.0 * swing))


def mean_error(forecast: Floats, values: Floats, issues: np.ndarray) -> float:
    """Mean absolute error over everything that is known."""
    return float(np.nanmean(np.abs(forecast - same_hours(values, issues, forecast.shape[1]))))


def test_it_learns_what_the_blend_does_not_know() -> None:
    """How these grids swing is not in the blend; after half a year the learnt forecast errs 7 % less at least."""
    values = weather(300 * DAY, 4)
    issues = np.arange(200 * DAY, 295 * DAY, 12)

    learnt, plain = foresee(values, issues, MONDAY, HABITS), blended(values, issues, 24)
    assert mean_error(learnt, values, issues) < 0.93 * mean_error(plain, values, issues)


def test_at_the_beginning_it_is_the_blend() -> None:
    """With nothing to learn from yet, the first forecast is that of the blend (of square roots)."""
    values = weather(40 * DAY, 2)
    first = np.array([LOOK_BACK_HOURS])
    assert foresee(values, first, MONDAY, HABITS) == pytest.approx(blended(np.sqrt(values), first, 24) ** 2)


def test_weekends_are_learnt() -> None:
    """A grid that is cleaner on Saturdays and Sundays is forecast so on a Friday night, after some months."""
    hours = 35 * 7 * DAY
    weekend = (np.arange(hours) // DAY) % 7 >= 5
    values = np.where(weekend, 200.0, 400.0)[:, None]
    friday_night = np.array([30 * 7 * DAY + 5 * DAY])

    found = foresee(values, friday_night, MONDAY, HABITS)[0, :, 0]
    plain = blended(values, friday_night, 24)[0, :, 0]
    assert (np.abs(found - 200.0) < 0.5 * np.abs(plain - 200.0)).all()


def test_a_broken_meter_now_and_then_teaches_little() -> None:
    """Where one hour in forty is nonsense, learning from all hours alike errs more."""
    values = weather(200 * DAY, 3)
    broken = np.random.default_rng(3).uniform(size=values.shape) < 0.025
    spoilt = np.where(broken, 1900.0, values)
    issues = np.arange(120 * DAY, 195 * DAY, 12)
    alike = replace(HABITS, calm=1e9)

    wary, plain = (foresee(spoilt, issues, MONDAY, habits) for habits in (HABITS, alike))
    assert mean_error(wary, values, issues) < 0.97 * mean_error(plain, values, issues)


def test_each_hour_of_issue_learns_of_its_own() -> None:
    """Weather that turns around at midnight: what is above usual at noon goes on, what is so at midnight ends."""
    days = 260
    sign = np.random.default_rng(4).choice([-1.0, 1.0], size=(days, 2))
    values = 300.0 + 50.0 * sign.repeat(DAY, axis=0)
    noon = np.arange(200, 255) * DAY + 12
    found = foresee(values, noon, MONDAY, HABITS)[:, :6]
    midnight = foresee(values, noon + 12, MONDAY, HABITS)[:, :6]

    assert mean_error(found, values, noon) < 15
    assert mean_error(midnight, values, noon + 12) > 40  # a coin is tossed there
    swing = np.abs(midnight - 300).mean()
    assert swing < 0.6 * np.abs(found - 300).mean()


def test_a_climb_that_goes_on_is_soon_foreseen() -> None:
    """Weather with momentum: what the last hours changed by halves the error, and more, after two months already."""
    random = np.random.default_rng(7)
    noise, swing = random.normal(size=(100 * DAY, 3)), np.zeros((100 * DAY, 3))
    for t in range(2, len(swing)):
        swing[t] = 1.9 * swing[t - 1] - 0.91 * swing[t - 2] + noise[t]
    values = np.maximum(20.0, 300.0 + 6.0 * swing)
    issues = np.arange(60 * DAY, 95 * DAY, 5)

    learnt = foresee(values, issues, MONDAY, Habits(horizon_hours=2))
    assert mean_error(learnt, values, issues) < 0.4 * mean_error(blended(values, issues, 2), values, issues)


def test_the_first_hours_are_learnt_apart_from_the_later_ones() -> None:
    """How far is forecast does not matter to the first hours, nor the first hours' share to what is beyond them."""
    values = weather(60 * DAY, 2)
    issues = np.arange(50 * DAY, 60 * DAY, 7)
    long, short = (foresee(values, issues, MONDAY, replace(HABITS, horizon_hours=h)) for h in (24, 6))
    assert short == pytest.approx(long[:, :6], rel=1e-9)
    tight = replace(HABITS, near=Shrinkage(1e9, 1e9, 1e9))
    drawn = foresee(values, issues, MONDAY, tight)
    assert drawn[:, 6:] == pytest.approx(long[:, 6:], rel=1e-9)
    assert np.abs(drawn[:, :6] - long[:, :6]).max() > 1.0


def test_a_zone_without_four_known_weeks_is_not_forecast() -> None:
    """A zone that appears later, or has gone silent, is unknown; the others are not disturbed by it."""
    values = weather(60 * DAY, 3)
    values[: 40 * DAY, 1] = np.nan
    values[45 * DAY :, 2] = np.nan
    found = foresee(filled_from_before(values), np.array([55 * DAY]), MONDAY, HABITS)[0]

    assert np.isfinite(found[:, 0]).all()
    assert np.isnan(found[:, 1]).all()
    assert np.isnan(found[:, 2]).all()


def test_it_stays_near_what_the_zone_has_had() -> None:
    """However a line would go on, a forecast leaves the range of four weeks by half of its width at most."""
    values = weather(60 * DAY, 2)
    values[-6:] = 2000.0
    found = foresee(values, np.array([60 * DAY]), MONDAY, HABITS)
    assert float(found.min()) >= 0
    assert float(np.sqrt(found).max()) <= np.sqrt(2000) + 0.5 * (np.sqrt(2000) - np.sqrt(20)) + 1e-9


def test_a_zone_that_emits_nothing_is_forecast_to_go_on_so() -> None:
    """Zero is a value like others: no division by it, and no noise from it."""
    values = weather(60 * DAY, 2)
    values[:, 1] = 0.0
    assert foresee(values, np.array([55 * DAY]), MONDAY, HABITS)[0, :, 1] == pytest.approx(np.zeros(24), abs=1e-3)


def test_issues_do_not_disturb_each_other() -> None:
    """A forecast is the same whether it is asked for alone, among others, or in another order."""
    values = weather(80 * DAY, 2)
    many = np.arange(LOOK_BACK_HOURS, 80 * DAY, 30)
    together = foresee(values, many, MONDAY, HABITS)

    assert foresee(values, many[17:18], MONDAY, HABITS)[0] == pytest.approx(together[17], rel=1e-9)
    assert foresee(values, many[::-1], MONDAY, HABITS)[::-1] == pytest.approx(together, rel=1e-9)


def test_nothing_is_forecast_from_nothing() -> None:
    """No issues, no forecasts; too early an issue is refused."""
    values = weather(40 * DAY, 2)
    assert foresee(values, np.array([], dtype=np.int64), MONDAY, HABITS).shape == (0, 24, 2)
    with pytest.raises(ValueError, match="row 100 has no 672 hours before it"):
        foresee(values, np.array([100]), MONDAY, HABITS)


PROGRAM = """
import hashlib
import numpy as np
from orchestrator.forecasting.regression import Habits, foresee
values = 300 + 100 * np.sin(np.arange(90 * 24)[:, None] * np.array([0.26, 0.31, 0.05])) + np.arange(3)
found = foresee(values, np.arange(672, 90 * 24, 6), 2, Habits())
print(hashlib.sha256(found.tobytes()).hexdigest())
"""


def test_the_same_bytes_come_out_of_any_number_of_threads() -> None:
    """Neither threads of the linear algebra nor the seed of hashes reach the last digit."""
    printed = set()
    for threads in ("1", "2"):
        environment = os.environ | {
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "PYTHONHASHSEED": threads,
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
        printed.add(done.stdout.strip())
    assert len(printed) == 1
    assert len(printed.pop()) == len(hashlib.sha256().hexdigest())
