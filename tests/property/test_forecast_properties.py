"""What holds for every history, not only for those that somebody thought of."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries, Kind
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.forecasting.choose import expected
from orchestrator.forecasting.coming import coming_hours
from orchestrator.forecasting.persistence import trailing_mean
from orchestrator.forecasting.windows import cleanest_window

NOW = parse_instant("2031-03-08T12:00Z")
LONGEST = 24 * 9

values = st.floats(min_value=200, max_value=800)
windows = st.tuples(st.integers(-30, 60), st.integers(1, 72)).map(
    lambda pair: Window.starting(NOW + pair[0] * HOUR, pair[1] * HOUR)
)


def series(grams: dict[int, float]) -> CarbonSeries:
    """Give a history of hours, keyed by how many hours before now each one starts (negative: after now)."""
    return CarbonSeries("AA", tuple(point(NOW - before * HOUR, g) for before, g in sorted(grams.items(), reverse=True)))


def point(start: Instant, grams: float) -> CarbonIntensity:
    """Give a value that is known at the end of its hour."""
    interval = Window.starting(start, HOUR)
    return CarbonIntensity("AA", grams, interval, Kind.MEASURED, "meter", interval.end, interval.end)


histories = st.dictionaries(st.integers(1, LONGEST), values, max_size=80)


@given(level=values, known=st.sets(st.integers(1, LONGEST), max_size=80), window=windows)
def test_a_constant_past_gives_a_constant_future(level: float, known: set[int], window: Window) -> None:
    """Whatever hours are known, if all are equal, so is every forecast hour."""
    forecast = coming_hours(series(dict.fromkeys(known, level)), window, NOW)
    assert all(p.grams_per_kwh == pytest.approx(level) for p in forecast.points)


@given(past=histories, shift=st.floats(min_value=-150, max_value=800), window=windows)
def test_shifting_the_past_shifts_the_future(past: dict[int, float], shift: float, window: Window) -> None:
    """The forecast follows the level by exactly as much, until it meets the limits of what a grid can have."""
    before = coming_hours(series(past), window, NOW)
    after = coming_hours(series({hour: grams + shift for hour, grams in past.items()}), window, NOW)

    assert [p.interval for p in before.points] == [p.interval for p in after.points]
    for old, new in zip(before.points, after.points, strict=True):
        if 0 < old.grams_per_kwh < 2000 and 0 < new.grams_per_kwh < 2000:
            assert new.grams_per_kwh == pytest.approx(old.grams_per_kwh + shift, abs=1e-6)


@given(past=histories, future=st.dictionaries(st.integers(-LONGEST, 0), values, max_size=80), window=windows)
def test_nothing_after_now_matters(past: dict[int, float], future: dict[int, float], window: Window) -> None:
    """Adding any values that become known later changes neither the forecast nor the mean."""
    known, all_of_it = series(past), series({**past, **future})

    assert coming_hours(all_of_it, window, NOW) == coming_hours(known, window, NOW)
    assert trailing_mean(all_of_it, NOW, days=2) == trailing_mean(known, NOW, days=2)


@given(past=histories, window=windows)
def test_a_forecast_is_plausible_ordered_and_within_the_window(past: dict[int, float], window: Window) -> None:
    """Each hour of the window occurs at most once, and never with a number that no grid has."""
    forecast = coming_hours(series(past), window, NOW)

    starts = [p.interval.start for p in forecast.points]
    assert starts == sorted(set(starts))
    assert all(start in window for start in starts)
    assert all(0 <= p.grams_per_kwh <= 2000 for p in forecast.points)
    assert all(p.issued_at == NOW for p in forecast.points)


@given(past=histories, drop=st.sets(st.integers(1, LONGEST)), window=windows)
def test_knowing_less_never_forecasts_more(past: dict[int, float], drop: set[int], window: Window) -> None:
    """Removing hours from the past can only make holes."""
    fewer = {hour: grams for hour, grams in past.items() if hour not in drop}
    hours_before = {p.interval.start for p in coming_hours(series(past), window, NOW).points}
    hours_after = {p.interval.start for p in coming_hours(series(fewer), window, NOW).points}

    assert hours_after <= hours_before


@given(past=histories, days=st.integers(1, 9))
def test_the_trailing_mean_lies_among_its_values(past: dict[int, float], days: int) -> None:
    """A mean is never outside what it is the mean of."""
    mean = trailing_mean(series(past), NOW, days=days)
    inside = [grams for hour, grams in past.items() if hour <= days * 24]

    if mean is None:
        assert len(inside) < days * 12
    else:
        assert min(inside) - 1e-9 <= mean <= max(inside) + 1e-9


@given(past=histories, given_hours=st.sets(st.integers(0, 47)), window=windows)
def test_the_providers_hours_are_never_ours(past: dict[int, float], given_hours: set[int], window: Window) -> None:
    """Where the provider has an hour of the window, that one stands; elsewhere nothing is lost of what we had."""
    theirs = CarbonSeries(
        "AA",
        tuple(
            CarbonIntensity("AA", 1500, Window.starting(NOW + n * HOUR, HOUR), Kind.FORECAST, "provider", NOW, NOW)
            for n in sorted(given_hours)
        ),
    )
    chosen = expected(theirs, series(past), window, NOW)

    offered = {p.interval.start for p in theirs.points if p.interval.start in window}
    assert {p.interval.start for p in chosen.points if p.source == "provider"} == offered
    ours = {p.interval.start for p in coming_hours(series(past), window, NOW).points}
    assert {p.interval.start for p in chosen.points} == offered | ours


@settings(max_examples=50)
@given(grams=st.lists(values, min_size=1, max_size=30), length=st.integers(1, 8))
def test_no_window_is_cleaner_than_the_cleanest(grams: list[float], length: int) -> None:
    """Compared with every window of that length, by plain arithmetic."""
    ahead = CarbonSeries("AA", tuple(point(NOW + n * HOUR, g) for n, g in enumerate(grams)))
    found = cleanest_window(ahead, timedelta(hours=length))
    means = [sum(grams[n : n + length]) / length for n in range(len(grams) - length + 1)]

    if not means:
        assert found is None
    else:
        assert found is not None
        first = int((found.start - NOW) / HOUR)
        assert means[first] == pytest.approx(min(means))
