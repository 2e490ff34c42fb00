"""Joining a provider's forecast with ours: by what it was worth."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.forecasting.pattern import Floats
from orchestrator.forecasting.provider import Trust, with_provider

DAYS, AHEAD, ZONES = 120, 12, 3
ISSUES = 24 * np.arange(28, 28 + DAYS)
TRUST = Trust()


def actual() -> Floats:
    """Give what came: something that ours never foresees."""
    return np.random.default_rng(3).uniform(100, 500, size=(DAYS, AHEAD, ZONES))


OURS = np.full((DAYS, AHEAD, ZONES), 300.0)


def error(forecast: Floats, truth: Floats) -> float:
    """Mean absolute error of the last month."""
    return float(np.abs(forecast - truth)[-30:].mean())


def test_a_provider_who_knows_is_believed() -> None:
    """One who was always right is followed nearly all the way after some months."""
    truth = actual()
    joint = with_provider(OURS, truth, OURS, truth, ISSUES, TRUST)
    assert error(joint, truth) < 0.1 * error(OURS, truth)


def test_a_provider_who_guesses_is_not() -> None:
    """Noise that tells nothing gets a weight near zero: at most a few percent are lost by listening."""
    truth = actual()
    noise = np.random.default_rng(4).uniform(100, 500, size=truth.shape)
    assert error(with_provider(OURS, noise, OURS, truth, ISSUES, TRUST), truth) < 1.03 * error(OURS, truth)


def test_a_liar_is_turned_around() -> None:
    """Whoever is always wrong in the same way tells as much as who is right."""
    truth = actual()
    upside_down = (2 * np.sqrt(300.0) - np.sqrt(truth)) ** 2
    joint = with_provider(OURS, upside_down, OURS, truth, ISSUES, TRUST)
    assert error(joint, truth) < 0.1 * error(OURS, truth)


def test_another_quantity_is_translated() -> None:
    """A forecast of half the quantity, beside our forecast of that half, is worth as much as one of the whole."""
    truth = actual()
    joint = with_provider(OURS, truth / 2, OURS / 2, truth, ISSUES, TRUST)
    assert error(joint, truth) < 0.1 * error(OURS, truth)


def test_where_the_provider_says_nothing_ours_stands() -> None:
    """Missing issues, zones and hours are ours, to the last digit."""
    truth = actual()
    theirs = truth.copy()
    theirs[50:60] = np.nan
    theirs[:, :, 1] = np.nan
    joint = with_provider(OURS, theirs, OURS, truth, ISSUES, TRUST)

    assert (joint[50:60] == OURS[50:60]).all()
    assert (joint[:, :, 1] == OURS[:, :, 1]).all()


def test_the_first_forecasts_are_ours() -> None:
    """Until one of the provider's forecasts could be checked, nothing is known of its worth."""
    truth = actual()
    joint = with_provider(OURS, truth, OURS, truth, ISSUES, TRUST)
    assert joint[0] == pytest.approx(OURS[0])
    assert np.abs(joint[1] - OURS[1]).max() > 1


def test_what_comes_later_is_not_used() -> None:
    """Another future changes no forecast that was issued before it; the last hours are known a day later."""
    truth = actual()
    other = truth.copy()
    other[80:] = 111.0
    one = with_provider(OURS, truth, OURS, truth, ISSUES, TRUST)
    two = with_provider(OURS, truth, OURS, other, ISSUES, TRUST)
    assert one[:81].tobytes() == two[:81].tobytes()
    assert one[81:].tobytes() != two[81:].tobytes()


def test_each_hour_of_issue_has_its_own_weight() -> None:
    """One who is right at midnight and guesses at noon is believed at midnight."""
    truth = actual()
    issues = 12 * np.arange(56, 56 + DAYS)
    noise = np.random.default_rng(5).uniform(100, 500, size=truth.shape)
    theirs = np.where((issues % 24 == 0)[:, None, None], truth, noise)
    joint = with_provider(OURS, theirs, OURS, truth, issues, TRUST)
    midnight = issues % 24 == 0
    assert np.abs(joint - truth)[60:][midnight[60:]].mean() < 0.3 * np.abs(OURS - truth)[60:][midnight[60:]].mean()
    assert np.abs(joint - OURS)[60:][~midnight[60:]].mean() < 30


def test_hours_must_divide_into_steps() -> None:
    """A horizon that does not is refused by name."""
    with pytest.raises(ValueError, match="10 hours ahead cannot be told apart by 6"):
        with_provider(OURS[:, :10], OURS[:, :10], OURS[:, :10], OURS[:, :10], ISSUES, TRUST)
