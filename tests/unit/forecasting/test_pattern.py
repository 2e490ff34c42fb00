"""The daily pattern, the blend, and gaps, number by number."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.forecasting.blend import DAY_FADES_HOURS, HOUR_FADES_HOURS, RECENCY
from orchestrator.forecasting.pattern import (
    DAY,
    LOOK_BACK_HOURS,
    Floats,
    blended,
    blended_with_holes,
    filled_from_before,
    pattern,
    same_hours,
    yesterday,
)

NOW = np.array([LOOK_BACK_HOURS])


def days(count: int, level: float = 300.0) -> Floats:
    """Give days that are all alike, each hour 10 g above the one before."""
    return np.tile(level + 10.0 * np.arange(DAY), count)[:, None]


def test_equal_days_go_on_as_they_were() -> None:
    """With four equal weeks behind, the coming days are the same again."""
    assert blended(days(28), NOW, 48)[0, :, 0] == pytest.approx(np.tile(300.0 + 10.0 * np.arange(DAY), 2))


def test_a_recent_day_counts_more() -> None:
    """A day that was 100 g higher lifts the pattern by its share: 0.85^k of all the weights."""
    weights = RECENCY ** np.arange(28)
    for ago in (1, 2, 28):
        values = days(28)
        values[LOOK_BACK_HOURS - ago * DAY :][:DAY] += 100
        lifted = pattern(values, NOW).hours[0, :, 0] - days(1)[:, 0]
        assert lifted == pytest.approx(np.full(DAY, 100 * weights[ago - 1] / weights.sum()))


def test_what_is_special_today_fades() -> None:
    """The last day's departure fades in 36 hours, and the last hour's own in 12."""
    values = days(28)
    values[-DAY:] += 60
    values[-1] += 40
    found = pattern(values, NOW)
    departures = values[-DAY:, 0] - found.hours[0, :, 0]
    day, last = departures.mean(), departures[-1] - departures.mean()

    expected = [
        found.hours[0, h % DAY, 0] + last * math.exp(-h / HOUR_FADES_HOURS) + day * math.exp(-h / DAY_FADES_HOURS)
        for h in range(48)
    ]
    assert blended(values, NOW, 48)[0, :, 0] == pytest.approx(expected)


def test_nothing_is_issued_without_four_weeks() -> None:
    """Asked for earlier, it says what is missing instead of guessing."""
    with pytest.raises(ValueError, match="row 671 has no 672 hours before it"):
        pattern(days(40), np.array([LOOK_BACK_HOURS - 1]))


def test_yesterday_is_the_last_known_same_hour() -> None:
    """The first 24 hours repeat the last day, and so do the next."""
    values = np.arange(LOOK_BACK_HOURS + 100.0)[:, None]
    assert yesterday(values, NOW, 48)[0, :, 0].tolist() == [*range(648, 672), *range(648, 672)]


def test_what_came_is_unknown_after_the_last_row() -> None:
    """Hours that are not recorded are not zero."""
    values = np.arange(LOOK_BACK_HOURS + 2.0)[:, None]
    found = same_hours(values, NOW, 4)[0, :, 0]
    assert found[:2].tolist() == [672.0, 673.0]
    assert np.isnan(found[2:]).all()


def test_a_gap_is_filled_from_the_day_before() -> None:
    """Yesterday's hour serves, itself filled; in the first day the last value does."""
    values = np.arange(72.0)[:, None]
    values[[1, 30, 54]] = np.nan
    filled = filled_from_before(values)
    assert filled[[1, 30, 54], 0].tolist() == [0.0, 6.0, 6.0]


def test_a_zone_that_was_never_seen_stays_unknown() -> None:
    """Nothing is invented before the first value, nor a week after the last one."""
    values = np.full((400, 2), np.nan)
    values[100:, 0] = 5.0
    values[:200, 1] = 7.0
    filled = filled_from_before(values)

    assert np.isnan(filled[:100, 0]).all()
    assert (filled[:368, 1] == 7.0).all()
    assert np.isnan(filled[368:, 1]).all()


def test_without_holes_the_blend_with_holes_is_the_blend() -> None:
    """The same numbers, below zero included; a zone of nothing but holes has none, and 27 days are refused."""
    values = np.random.default_rng(8).uniform(100, 900, size=(LOOK_BACK_HOURS, 3))
    whole = blended_with_holes(values, 60)
    assert whole == pytest.approx(blended(values, NOW, 60)[0])

    values[:, 1] = np.nan
    holed = blended_with_holes(values, 60)
    assert np.isnan(holed[:, 1]).all()
    assert (holed[:, [0, 2]] == whole[:, [0, 2]]).all()
    with pytest.raises(ValueError, match="648 rows are not 672"):
        blended_with_holes(values[DAY:], 60)


def test_several_issues_at_once_are_each_answered_as_if_alone() -> None:
    """To the last bit, holes or not: a simulated year works out a hundred hours together."""
    dice = np.random.default_rng(9)
    values = dice.uniform(100, 900, size=(5, LOOK_BACK_HOURS, 3))
    values[1:][dice.random((4, LOOK_BACK_HOURS, 3)) < 0.3] = np.nan

    together = blended_with_holes(values, 30)

    assert together.shape == (5, 30, 3)
    assert np.isnan(together).any()
    for issue, alone in enumerate(values):
        assert np.array_equal(together[issue], blended_with_holes(alone, 30), equal_nan=True)


def test_an_hour_that_a_week_has_not_seen_stays_a_hole() -> None:
    """Six days without it are bridged by the days before, seven are not; the other hours do not mind."""
    for missing, is_hole in ((6, False), (7, True)):
        values = days(28)
        values[LOOK_BACK_HOURS - DAY * missing + 5 :: DAY] = np.nan
        found = blended_with_holes(values, DAY)[:, 0]
        assert np.isnan(found[5]) == is_hole
        assert np.delete(found, 5) == pytest.approx(np.delete(300.0 + 10.0 * np.arange(DAY), 5))
