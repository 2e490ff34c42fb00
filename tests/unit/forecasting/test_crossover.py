"""From which age on a forecast is believed: learnt from what the last value and the blend have missed lately."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries, Kind
from orchestrator.domain.crossover import DEFAULT_HOURS, Crossover
from orchestrator.domain.time import HOUR, Window, parse_instant
from orchestrator.forecasting.coming import coming_hours
from orchestrator.forecasting.crossover import OLDEST_HOURS, crossover

NOW = parse_instant("2031-03-08T07:20Z")
START = parse_instant("2031-03-08T07:00Z")
DAYS = 35


def past(values: np.ndarray, kind: Kind = Kind.MEASURED) -> CarbonSeries:
    """Hours up to the present one, the last value the newest; ``nan`` is a hole."""
    first = START - len(values) * HOUR
    points = [
        CarbonIntensity("AA", float(v), Window.starting(first + n * HOUR, HOUR), kind, "feed", NOW, NOW)
        for n, v in enumerate(values)
        if np.isfinite(v)
    ]
    return CarbonSeries("AA", tuple(points))


def swings(days: int = DAYS) -> np.ndarray:
    """A grid that does every day the same, by much: noon is clean."""
    return 300.0 + 200.0 * np.cos(np.arange(-days * 24, 0) * np.pi / 12)


def steps(days: int = DAYS, seed: int = 3) -> np.ndarray:
    """A grid that stays where it is for a time, and is then somewhere else: no hour of the day is like another's."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.uniform(100, 500, size=days), 24)


def test_a_grid_with_a_daily_pattern_is_forecast_at_once() -> None:
    """Its last value is of an hour that differs: the blend knows the pattern and misses nothing."""
    found = crossover(past(swings()), NOW)
    assert (found.hours, found.days) == (0, 29)
    assert found.missed[0].forecast_grams_per_kwh == pytest.approx(0.0, abs=1e-6)
    assert found.missed[0].value_grams_per_kwh > 1


def test_a_grid_that_stays_where_it_is_keeps_its_value() -> None:
    """The blend goes back to what is usual and is wrong; the value is right until the level changes."""
    at_noon = parse_instant("2031-03-08T19:20Z")
    found = crossover(past(steps()), at_noon)
    assert found.hours > DEFAULT_HOURS
    assert found.believes(1.5 * HOUR)
    assert not found.believes(found.hours * HOUR)


def test_errors_are_those_of_the_forecast_that_decides() -> None:
    """Each age by hand: the blend issued then, and the last value there was, against what came."""
    rng = np.random.default_rng(7)
    values = rng.uniform(100, 400, size=24 * DAYS)
    found = crossover(past(values), NOW)
    for age in (0, 3, 11):
        missed_value, missed_forecast = [], []
        for day in range(1, 30):
            target = len(values) - 24 * day
            known = past(values[: target - age])
            known = CarbonSeries("AA", tuple(_earlier(p, (24 * day + age) * HOUR) for p in known.points))
            issued = START - (24 * day + age) * HOUR
            (said,) = coming_hours(known, Window.starting(issued + age * HOUR, HOUR), issued).points
            missed_forecast.append(abs(said.grams_per_kwh - values[target]))
            missed_value.append(abs(values[target - age - 1] - values[target]))
        assert found.missed[age].value_grams_per_kwh == pytest.approx(np.mean(missed_value))
        assert found.missed[age].forecast_grams_per_kwh == pytest.approx(np.mean(missed_forecast))
        assert found.missed[age].days == 29


def _earlier(point: CarbonIntensity, by: object) -> CarbonIntensity:
    interval = Window.starting(point.interval.start - by, HOUR)  # type: ignore[operator]
    return replace(point, interval=interval, issued_at=interval.end, fetched_at=interval.end)


@pytest.mark.parametrize("days", [0, 1, 14])
def test_too_few_days_say_nothing(days: int) -> None:
    """Then the default holds, and says that it is assumed."""
    found = crossover(past(swings(days)), NOW)
    assert found == Crossover()
    assert "assumed" in found.words


@pytest.mark.parametrize("kind", [Kind.SYNTHETIC, Kind.FORECAST])
def test_what_never_came_teaches_nothing(kind: Kind) -> None:
    """A made-up profile is never wrong, a stored forecast is none that came."""
    assert crossover(past(swings(), kind), NOW) == Crossover()


def test_what_was_published_later_was_not_known() -> None:
    """Values issued after the present change nothing."""
    later = past(swings())
    secret = CarbonSeries("AA", tuple(replace(p, issued_at=NOW + HOUR) for p in later.points))
    assert crossover(secret, NOW) == Crossover()


@pytest.mark.parametrize("late", [1, 2, 3])
def test_a_replayed_feed_is_nearer_to_the_truth_than_its_last_value(late: int) -> None:
    """A feed that lags, replayed hour by hour for a week: what is believed is nearer than the value that was held.

    And hardly further off than the better of the two, which nobody knows beforehand.
    """
    rng = np.random.default_rng(11)
    weather = np.zeros(24 * (DAYS + 8))
    for n in range(1, len(weather)):
        weather[n] = 0.9 * weather[n - 1] + rng.normal(0, 15)
    values = swings(DAYS + 8) + weather + 250.0
    first = START - len(values) * HOUR
    points = past(values).points
    points = tuple(replace(p, issued_at=p.interval.end + late * HOUR) for p in points)
    held, foretold, believed = [], [], []
    for n in range(24 * DAYS, len(values), 5):
        now = first + n * HOUR + HOUR / 3
        history = CarbonSeries("AA", points[: n - late])
        (said,) = coming_hours(history, Window.starting(first + n * HOUR, HOUR), now).points
        value = history.points[-1].grams_per_kwh
        age = history.points[-1].age(now)
        guess = value if crossover(history, now).believes(age) else said.grams_per_kwh
        for errors, number in ((held, value), (foretold, said.grams_per_kwh), (believed, guess)):
            errors.append(abs(number - values[n]))
    assert np.mean(believed) < 0.8 * np.mean(held)
    assert np.mean(believed) < 1.05 * min(np.mean(held), np.mean(foretold))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.3), st.floats(0.0, 1.0))
def test_before_the_crossover_the_value_was_nearer_and_at_it_the_forecast(
    seed: int, holes: float, smooth: float
) -> None:
    """Whatever the grid and its holes: the age is the first at which the forecast missed less; and it is repeatable."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(50, 500, size=24 * DAYS)
    values = smooth * swings() + (1 - smooth) * noise
    values[rng.uniform(size=len(values)) < holes] = np.nan
    found = crossover(past(values), NOW)
    assert found == crossover(past(values), NOW)
    if not found.days:
        assert found.hours == DEFAULT_HOURS
        return
    assert 0 <= found.hours <= OLDEST_HOURS == len(found.missed)
    assert [m.age_hours for m in found.missed] == list(range(OLDEST_HOURS))
    assert all(m.value_grams_per_kwh <= m.forecast_grams_per_kwh for m in found.missed[: found.hours])
    if found.hours < OLDEST_HOURS:
        assert found.missed[found.hours].forecast_grams_per_kwh < found.missed[found.hours].value_grams_per_kwh
