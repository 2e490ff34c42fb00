"""The provider's forecast or ours, hour by hour."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Factors, Kind
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.forecasting.choose import expected
from orchestrator.forecasting.coming import SOURCE

NOW = parse_instant("2031-03-08T12:00Z")
AHEAD = Window(NOW, NOW + 24 * HOUR)
NOTHING = CarbonSeries("AA", ())
DIRECT = Basis(factors=Factors.DIRECT)


def theirs(count: int, *, issued_at: Instant = NOW, basis: Basis = Basis(), every: timedelta = HOUR) -> CarbonSeries:  # noqa: B008  # frozen
    """Give a provider's forecast of 500 g/kWh."""
    points = [
        CarbonIntensity(
            "AA", 500, Window.starting(NOW + n * every, every), Kind.FORECAST, "provider", issued_at, NOW, basis
        )
        for n in range(count)
    ]
    return CarbonSeries("AA", tuple(points))


def past() -> CarbonSeries:
    """Give two days of 100 g/kWh."""
    hours = [Window.starting(NOW - n * HOUR, HOUR) for n in range(48, 0, -1)]
    return CarbonSeries(
        "AA", tuple(CarbonIntensity("AA", 100, hour, Kind.MEASURED, "meter", hour.end, NOW) for hour in hours)
    )


def sources(series: CarbonSeries) -> list[str]:
    """Name the source of each point."""
    return [p.source for p in series.points]


def test_a_recent_provider_forecast_is_taken() -> None:
    """Whoever models the grid knows more than yesterday does."""
    assert sources(expected(theirs(24), past(), AHEAD, NOW)) == ["provider"] * 24
    assert sources(expected(theirs(24, issued_at=NOW - 24 * HOUR), past(), AHEAD, NOW)) == ["provider"] * 24


def test_an_old_or_future_forecast_is_not() -> None:
    """Older than a day lost its advantage; issued later than now cannot have been known."""
    for issued_at in (NOW - 24.1 * HOUR, NOW + HOUR):
        assert sources(expected(theirs(24, issued_at=issued_at), past(), AHEAD, NOW)) == [SOURCE] * 24


def test_a_forecast_of_another_basis_is_not() -> None:
    """Direct intensity of a clean grid is a fraction of its life-cycle intensity."""
    assert sources(expected(theirs(24, basis=DIRECT), past(), AHEAD, NOW)) == [SOURCE] * 24
    assert sources(expected(theirs(24), past(), AHEAD, NOW, basis=DIRECT)) == []


def test_without_a_provider_it_is_ours() -> None:
    """Sources that make no forecast are the ordinary case."""
    assert sources(expected(None, past(), AHEAD, NOW)) == [SOURCE] * 24
    assert sources(expected(NOTHING, past(), AHEAD, NOW)) == [SOURCE] * 24


def test_ours_fills_the_hours_that_the_provider_leaves_open() -> None:
    """A six-hour forecast in a window of a day: six theirs, eighteen ours, in order, each with its name."""
    series = expected(theirs(6), past(), AHEAD, NOW)

    assert sources(series) == ["provider"] * 6 + [SOURCE] * 18
    assert [p.grams_per_kwh for p in series.points] == [500] * 6 + [100] * 18


def test_a_finer_forecast_is_not_overlaid() -> None:
    """Half-hours of the provider cover the hours that they touch."""
    series = expected(theirs(3, every=HOUR / 2), past(), AHEAD, NOW)

    assert sources(series) == ["provider"] * 3 + [SOURCE] * 22


def test_without_history_the_providers_forecast_stands_alone() -> None:
    """A new installation has no past, and still an outlook."""
    assert sources(expected(theirs(6), NOTHING, AHEAD, NOW)) == ["provider"] * 6
    assert sources(expected(None, NOTHING, AHEAD, NOW)) == []


def test_only_the_window_is_answered() -> None:
    """Points outside are cut off."""
    series = expected(theirs(48), past(), Window(NOW + 3 * HOUR, NOW + 5 * HOUR), NOW)
    assert [p.interval.start for p in series.points] == [NOW + 3 * HOUR, NOW + 4 * HOUR]
