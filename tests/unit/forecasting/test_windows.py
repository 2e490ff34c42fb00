"""The cleanest stretch of the coming hours."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries, Kind
from orchestrator.domain.time import HOUR, Window, parse_instant
from orchestrator.forecasting.windows import cleanest_window

START = parse_instant("2031-03-08T00:00Z")


def series(*grams: float | None) -> CarbonSeries:
    """Give hourly values; ``None`` is a hole."""
    return CarbonSeries(
        "AA",
        tuple(
            CarbonIntensity("AA", g, Window.starting(START + n * HOUR, HOUR), Kind.FORECAST, "f", START, START)
            for n, g in enumerate(grams)
            if g is not None
        ),
    )


def test_the_lowest_mean_wins() -> None:
    """Two hours around the dip, not the single lowest hour with a bad neighbour."""
    assert cleanest_window(series(90, 10, 90, 40, 40, 90), 2 * HOUR) == Window(START + 3 * HOUR, START + 5 * HOUR)


def test_the_earliest_of_equals_wins() -> None:
    """There is no reason to wait."""
    assert cleanest_window(series(50, 50, 50, 50), 2 * HOUR) == Window(START, START + 2 * HOUR)


def test_a_hole_is_not_a_clean_hour() -> None:
    """Windows over unknown hours do not count, even if all that is known in them is clean."""
    assert cleanest_window(series(1, None, 1, 80, 80), 2 * HOUR) == Window(START + 2 * HOUR, START + 4 * HOUR)
    assert cleanest_window(series(1, None, 1, None, 1), 2 * HOUR) is None
    assert cleanest_window(series(), HOUR) is None
    assert cleanest_window(series(1, 2), 3 * HOUR) is None


def test_a_length_may_end_within_an_hour() -> None:
    """The last hour counts for the part that is used."""
    assert cleanest_window(series(10, 20, 10, 16), timedelta(minutes=90)) == Window(
        START + 2 * HOUR, START + 3.5 * HOUR
    )
