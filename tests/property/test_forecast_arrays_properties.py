"""What holds of every history of several grids, whatever is in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.bench.forecast.choices import like_zones, when_to_run, where_to_run
from orchestrator.bench.forecast.scores import errors, rank_loss
from orchestrator.forecasting.bands import bands
from orchestrator.forecasting.pattern import DAY, LOOK_BACK_HOURS, Floats, blended, filled_from_before, same_hours
from orchestrator.forecasting.provider import Trust, with_provider
from orchestrator.forecasting.regression import Habits, foresee

HABITS = Habits(horizon_hours=12, learn_every_hours=12)
HOURS = 50 * DAY

seeds = st.integers(0, 10_000)


def history(seed: int, hours: int = HOURS, zones: int = 3, *, gaps: bool = False) -> Floats:
    """Give grids of very different levels and restlessness, with gaps if asked for."""
    random = np.random.default_rng(seed)
    level = random.uniform(1, 900, zones)
    swing = np.cumsum(random.normal(size=(hours, zones)), axis=0) * random.uniform(0, 0.05, zones)
    daily = np.sin(2 * np.pi * (np.arange(hours)[:, None] + random.uniform(0, 24, zones)) / DAY)
    values = level * np.exp(0.3 * random.uniform(0, 1, zones) * daily + swing - swing[-1] / 2)
    values = np.clip(values, 0, 2000)
    if gaps:
        values[random.uniform(size=values.shape) < 0.1] = np.nan
    return np.asarray(values)


@settings(max_examples=20)
@given(seed=seeds, cut=st.integers(LOOK_BACK_HOURS, HOURS), other=st.floats(0, 2000))
def test_no_forecast_knows_the_future(seed: int, cut: int, other: float) -> None:
    """Whatever stands from some hour on, all that was issued up to then is the same to the last byte."""
    values = history(seed)
    changed = values.copy()
    changed[cut:] = other
    issues = np.arange(LOOK_BACK_HOURS, HOURS, 12)
    before = issues <= cut

    for issue in (lambda v: blended(v, issues, 12), lambda v: foresee(v, issues, 3, HABITS)):
        one, two = issue(values), issue(changed)
        assert one[before].tobytes() == two[before].tobytes()


@settings(max_examples=20)
@given(seed=seeds)
def test_every_forecast_is_a_number_that_a_grid_may_have(seed: int) -> None:
    """Finite, not below zero, and not far beyond what the zone had."""
    values = filled_from_before(history(seed, gaps=True))
    values = np.where(np.isnan(values), 100.0, values)
    issues = np.arange(LOOK_BACK_HOURS, HOURS, 12)
    for forecast in (blended(values, issues, 12), foresee(values, issues, 3, HABITS)):
        assert np.isfinite(forecast).all()
        assert (forecast >= 0).all()
        assert (forecast <= 4 * np.max(values, axis=0)).all()


@given(seed=seeds, shift=st.floats(0, 500))
def test_the_blend_follows_the_level(seed: int, shift: float) -> None:
    """A past that is higher by so much gives a future that is higher by as much."""
    values, issues = 200 + history(seed), np.array([LOOK_BACK_HOURS, HOURS])
    assert blended(values + shift, issues, 12) == pytest.approx(blended(values, issues, 12) + shift)


@given(seed=seeds)
def test_filling_changes_nothing_that_is_known(seed: int) -> None:
    """Known values stay; what is filled comes from the zone's own past."""
    values = history(seed, hours=20 * DAY, gaps=True)
    filled = filled_from_before(values)
    known = np.isfinite(values)
    assert (filled[known] == values[known]).all()
    for zone in range(values.shape[1]):
        assert set(filled[:, zone][np.isfinite(filled[:, zone])]) <= set(values[:, zone][known[:, zone]])


@given(seed=seeds, weight=st.floats(0, 1))
def test_listening_to_somebody_stays_between_the_two(seed: int, weight: float) -> None:
    """A joint forecast is finite and not below zero, whatever the provider says, and ours where he is silent."""
    random = np.random.default_rng(seed)
    shape, issues = (40, 6, 2), 24 * np.arange(28, 68)
    ours, truth = random.uniform(0, 900, shape), random.uniform(0, 900, shape)
    theirs = weight * truth + (1 - weight) * random.uniform(0, 2000, shape)
    theirs[random.uniform(size=shape) < 0.3] = np.nan
    joint = with_provider(ours, theirs, ours, truth, issues, Trust())

    assert np.isfinite(joint).all()
    assert (joint >= 0).all()
    assert (joint[np.isnan(theirs)] == ours[np.isnan(theirs)]).all()


@given(seed=seeds, level=st.floats(0.3, 0.95))
def test_bands_are_in_order(seed: int, level: float) -> None:
    """The lower end is not above the upper one, and neither is below zero."""
    random = np.random.default_rng(seed)
    forecast, actual = random.uniform(0, 900, (60, 4, 2)), random.uniform(0, 900, (60, 4, 2))
    (band,) = bands(forecast, actual, 24 * np.arange(28, 88), [level])
    known = np.isfinite(band.low)
    assert (known == np.isfinite(band.high)).all()
    assert (band.low[known] <= band.high[known]).all()
    assert (band.low[known] >= 0).all()


@given(seed=seeds)
def test_perfect_knowledge_scores_perfectly(seed: int) -> None:
    """Knowing all: no error, no wrong order, the whole saving; turned around: every order wrong, and no saving."""
    values = np.random.default_rng(seed).permutation(40 * 24 * 3).reshape(40, 24, 3) + 1.0
    every = np.ones(values.shape, dtype=bool)
    groups = like_zones(values.mean(axis=(0, 1)), np.ones(3, dtype=bool))

    assert errors(values, values, every).wape_percent.tolist() == [0, 0, 0]
    assert rank_loss(values, values, every) == pytest.approx(np.zeros(3))
    assert rank_loss(-values, values, every) == pytest.approx(np.full(3, 100))
    assert when_to_run(values, values, every).reached_percent == pytest.approx(np.full(3, 100))
    assert (when_to_run(-values, values, every).reached_percent < 0).all()
    assert where_to_run(values, values, every, groups).reached_percent == pytest.approx(np.full(24, 100))


@given(seed=seeds)
def test_scores_see_only_what_is_counted(seed: int) -> None:
    """Whatever stands where nothing is counted, unknown or absurd, changes no score."""
    random = np.random.default_rng(seed)
    forecast, actual = random.uniform(1, 900, (10, 24, 3)), random.uniform(1, 900, (10, 24, 3))
    counted = random.uniform(size=forecast.shape) < 0.7
    counted[:5] = True
    spoilt, gone = np.where(counted, forecast, 1e6), np.where(counted, actual, np.nan)

    assert (
        errors(spoilt, gone, counted).wape_percent.tolist() == errors(forecast, actual, counted).wape_percent.tolist()
    )
    assert rank_loss(spoilt, gone, counted).tolist() == rank_loss(forecast, actual, counted).tolist()
    one, two = when_to_run(spoilt, gone, counted), when_to_run(forecast, actual, counted)
    assert one.reached_percent.tolist() == two.reached_percent.tolist()


@given(seed=seeds)
def test_what_came_is_what_was_recorded(seed: int) -> None:
    """Each forecast hour is compared with its own hour."""
    values = history(seed)
    issues = np.random.default_rng(seed).integers(LOOK_BACK_HOURS, HOURS - 12, 5)
    found = same_hours(values, issues, 12)
    for i, row in enumerate(issues.tolist()):
        assert (found[i] == values[row : row + 12]).all()
