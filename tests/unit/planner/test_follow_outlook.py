"""What a decision may know of the past, and what it expects."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.forecasting.regression import Habits as RegressionHabits
from orchestrator.forecasting.regression import foresee
from orchestrator.planner.follow.outlook import Habits, outlook
from orchestrator.planner.follow.past import Past, filled_from_before

HABITS = Habits(horizon_hours=6, beyond_hours=12, scenarios=3)
FIRST = 24 * 16
MONDAY = 0


def grid(hours: int, zones: int = 3, seed: int = 0) -> np.ndarray:
    """A sunny pattern of the day under weather that lasts for some hours, one column per zone."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1, (hours, zones))
    weather = np.zeros((hours, zones))
    for t in range(1, hours):
        weather[t] = 0.97 * weather[t - 1] + 6 * noise[t]
    day = 60 * np.cos(2 * np.pi * (np.arange(hours)[:, None] - 1) / 24)
    return np.clip(300 + day * np.arange(1, zones + 1) / zones + weather, 5, None)


def test_a_gap_is_filled_with_the_day_before_and_in_the_first_day_with_the_last_value() -> None:
    """A gap of two days repeats the same hour twice; what comes later never fills anything."""
    values = np.arange(80.0)[:, None].repeat(2, axis=1)
    values[30, 0] = values[54, 0] = values[3, 1] = np.nan
    filled = filled_from_before(values)

    assert filled[[30, 54], 0].tolist() == [6.0, 6.0]
    assert filled[3, 1] == 2.0
    assert np.isfinite(filled).all()


def test_what_was_never_seen_stays_unknown() -> None:
    """Before its first value a zone has none: it is not zero, and not the next one."""
    values = np.full((4, 1), np.nan)
    values[2] = 7.0

    assert np.isnan(filled_from_before(values)[:2]).all()
    assert filled_from_before(values)[3, 0] == 7.0


def test_means_of_the_past_leave_the_present_hour_out() -> None:
    """Each row is the plain mean of the rows before it, as far back as was asked."""
    values = np.random.default_rng(1).random((60, 2))
    past = Past(values)

    assert past.mean(5, 2)[40] == pytest.approx(values[35:39].mean(axis=0))
    assert past.mean_so_far(30)[12] == pytest.approx(values[:12].mean(axis=0))
    assert past.mean_so_far(30)[50] == pytest.approx(values[20:50].mean(axis=0))
    assert past.same_hour(3, 2)[50] == pytest.approx((values[47] + values[23]) / 2)
    assert past.same_hour(3, 9)[50] == pytest.approx((values[47] + values[23]) / 2)
    assert past.spread_so_far[50] == pytest.approx(values[:50].std(axis=0))
    assert past.ago(4)[50] == pytest.approx(values[46])


def test_hours_before_a_zone_begins_do_not_spoil_those_after() -> None:
    """A column that starts late is unknown until then, and like any other from there on."""
    values = np.random.default_rng(2).random((90, 2))
    late = values.copy()
    late[:20, 1] = np.nan
    past = Past(late)

    assert np.isnan(past.mean(10)[25, 1])
    assert past.mean(10)[80] == pytest.approx(values[70:80].mean(axis=0))
    assert past.mean_so_far(50)[40, 1] == pytest.approx(values[20:40, 1].mean())
    assert past.spread_so_far[60, 1] == pytest.approx(values[20:60, 1].std())


def test_the_present_is_not_the_past() -> None:
    """A value of the hour itself cannot be asked for."""
    with pytest.raises(ValueError, match="0 hours ago"):
        Past(np.zeros((3, 1))).ago(0)


def test_a_grid_that_repeats_itself_is_expected_exactly() -> None:
    """A pattern of the day without weather leaves no error, in any scenario."""
    hours = FIRST + 48
    pattern = 200 + 50 * np.sin(2 * np.pi * np.arange(hours)[:, None] / 24) * np.array([1.0, 0.5])
    ahead = outlook(pattern, FIRST, MONDAY, HABITS)

    for h in range(6):
        assert ahead.expected[h][:, : 48 - h] == pytest.approx(pattern[FIRST + h :].T, abs=1e-3)
    assert np.abs(np.stack(ahead.errors)).max() < 1e-3
    assert ahead.beyond == pytest.approx(np.full((2, 48), 200.0), rel=0.02)


def test_the_expectation_is_better_than_the_same_hour_of_yesterday() -> None:
    """On lasting weather the correction takes a good part of the error of its base, hours ahead as well."""
    hours = 24 * 60
    truth = grid(hours)
    ahead = outlook(truth, FIRST, MONDAY, HABITS)
    for h in (0, 5):
        at = np.arange(FIRST, hours - h)
        error = ahead.expected[h][:, : len(at)].T - truth[at + h]
        naive = truth[at + h - 24] - truth[at + h]
        assert np.sqrt((error**2).mean()) < 0.8 * np.sqrt((naive**2).mean())


def test_the_first_hours_are_half_way_to_the_second_expectation_once_a_zone_is_known_for_28_days() -> None:
    """Before that, and in later hours, there is the first one alone."""
    truth, days = grid(24 * 32), 24 * 28
    alone = outlook(truth, FIRST, MONDAY, replace(HABITS, met_hours=0)).expected
    met = outlook(truth, FIRST, MONDAY, replace(HABITS, met_hours=2)).expected
    issues = np.arange(days, len(truth))
    second = foresee(truth, issues, MONDAY, RegressionHabits(horizon_hours=2)).transpose(1, 2, 0)

    assert np.array_equal(met[2:], alone[2:])
    assert np.array_equal(met[:, :, : days - FIRST], alone[:, :, : days - FIRST])
    assert met[:2, :, days - FIRST :] == pytest.approx((alone[:2, :, days - FIRST :] + second) / 2, rel=1e-4)
    assert not np.array_equal(met[:2, :, days - FIRST :], alone[:2, :, days - FIRST :])


def test_the_scenarios_have_the_expectation_as_their_mean() -> None:
    """They are as many as asked for, of the shape of the expectation, and none of them is certain."""
    ahead = outlook(grid(24 * 40), FIRST, MONDAY, HABITS)
    errors = np.stack(ahead.errors)

    assert errors.shape == (3, *ahead.expected.shape)
    assert ahead.centre + errors.mean(axis=0) == pytest.approx(ahead.expected, abs=1e-3)
    assert errors.std() > 1


def test_each_scenario_is_what_an_expectation_of_its_age_lacked() -> None:
    """Found less expected hour, of the decision that many hours before; the youngest is known to its last hour."""
    truth = grid(24 * 40)
    ahead = outlook(truth, FIRST, MONDAY, HABITS)
    for number, errors in enumerate(ahead.errors):
        age = HABITS.youngest_hours + 24 * number
        assert age >= HABITS.horizon_hours
        for decision in (age, age + 77):
            for hour in range(HABITS.horizon_hours):
                lacked = truth[FIRST + decision - age + hour] - ahead.expected[hour, :, decision - age]
                assert errors[hour, :, decision] == pytest.approx(lacked, abs=1e-3)


def test_a_horizon_of_days_has_no_younger_scenarios_than_itself() -> None:
    """What has not passed yet is no error."""
    values = grid(24 * 40)
    other = values.copy()
    other[-1] += 100.0
    habits = replace(HABITS, horizon_hours=30, youngest_hours=6)
    one, two = (outlook(v, FIRST, MONDAY, habits) for v in (values, other))

    assert all(np.array_equal(a, b) for a, b in zip(one.errors, two.errors, strict=True))
    assert np.array_equal(one.centre, two.centre)


@pytest.mark.parametrize("after", [FIRST, FIRST + 1, FIRST + 100, 24 * 29, 24 * 29 + 5])
def test_the_outlook_of_an_hour_knows_nothing_of_that_hour_or_later(after: int) -> None:
    """Two pasts that are equal before an hour give equal outlooks up to and at that hour, to the last bit."""
    one = grid(24 * 30)
    other = one.copy()
    other[after:] = grid(24 * 30, seed=9)[after:] + 100
    first, second = outlook(one, FIRST, MONDAY, HABITS), outlook(other, FIRST, MONDAY, HABITS)
    known = after - FIRST + 1

    assert np.array_equal(first.expected[:, :, :known], second.expected[:, :, :known])
    assert np.array_equal(first.centre[:, :, :known], second.centre[:, :, :known])
    assert np.array_equal(first.beyond[:, :known], second.beyond[:, :known])
    for a, b in zip(first.errors, second.errors, strict=True):
        assert np.array_equal(a[:, :, :known], b[:, :, :known])
    assert not np.array_equal(first.expected[:, :, known:], second.expected[:, :, known:])


def test_a_zone_without_any_value_is_unknown_and_harms_no_other() -> None:
    """Its expectation is no number; the other zones' are as good as without it."""
    values = grid(24 * 30)
    values[:, 1] = np.nan
    ahead = outlook(filled_from_before(values), FIRST, MONDAY, HABITS)

    assert np.isnan(ahead.expected[:, 1]).all()
    assert np.isfinite(ahead.expected[:, [0, 2]]).all()
    assert np.isfinite(np.stack(ahead.errors)).all()
