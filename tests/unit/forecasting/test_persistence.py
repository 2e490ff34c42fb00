"""Persistence and the trailing mean, number by number."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Factors, Kind
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.forecasting.persistence import SOURCE, day_ahead, trailing_mean

NOW = parse_instant("2031-03-08T12:00Z")
DAY = timedelta(days=1)


def point(start: Instant, grams: float, *, length: timedelta = HOUR, kind: Kind = Kind.MEASURED) -> CarbonIntensity:
    """Give a value that is known at the end of its interval."""
    interval = Window.starting(start, length)
    return CarbonIntensity("AA", grams, interval, kind, "meter", interval.end, interval.end)


def series(*points: CarbonIntensity) -> CarbonSeries:
    """Give the points in order of time."""
    return CarbonSeries("AA", tuple(sorted(points, key=lambda p: p.interval.start)))


def hours(count: int, *, end: Instant = NOW, grams: float = 100.0) -> list[CarbonIntensity]:
    """Give that many hours up to ``end``, each 100 plus its clock hour."""
    starts = [end - (count - n) * HOUR for n in range(count)]
    return [point(start, grams + start.hour) for start in starts]


def test_tomorrow_is_yesterday_when_the_level_is_the_same() -> None:
    """With two equal days behind, the coming day is the same again."""
    forecast = day_ahead(series(*hours(48)), Window(NOW, NOW + DAY), NOW)

    assert [p.grams_per_kwh for p in forecast.points] == pytest.approx([100 + (NOW + n * HOUR).hour for n in range(24)])
    assert {p.source for p in forecast.points} == {SOURCE}
    assert {p.kind for p in forecast.points} == {Kind.FORECAST}
    assert {p.issued_at for p in forecast.points} == {NOW}
    assert [p.interval.start for p in forecast.points] == [NOW + n * HOUR for n in range(24)]


def test_a_change_of_level_is_carried_over_and_fades_in_six_hours() -> None:
    """The last hour was 40 above the same hour a day earlier: the next one gets 40 e^(-1/6) of it, and so on."""
    past = hours(48)
    last = past.pop()
    past.append(point(last.interval.start, last.grams_per_kwh + 40))
    forecast = day_ahead(series(*past), Window(NOW, NOW + 12 * HOUR), NOW)

    excess = [p.grams_per_kwh - 100 - p.interval.start.hour for p in forecast.points]
    assert excess == pytest.approx([40 * math.exp(-(n + 1) / 6) for n in range(12)])


def test_without_the_hour_a_day_before_there_is_no_correction() -> None:
    """One day of history gives yesterday's values and no idea of the level's change."""
    forecast = day_ahead(series(*hours(24)), Window(NOW, NOW + 24 * HOUR), NOW)

    assert [p.grams_per_kwh for p in forecast.points] == [100 + p.interval.start.hour for p in forecast.points]


def test_a_missing_hour_is_taken_from_the_most_recent_day_that_has_it() -> None:
    """Three days with different levels; yesterday's hour is missing, so that of two days ago serves."""
    past = [point(NOW - days * DAY + n * HOUR, 1000 - 100 * days) for days in (3, 2, 1) for n in range(24)]
    past = [p for p in past if p.interval.start != NOW - DAY + 5 * HOUR]
    forecast = day_ahead(series(*past), Window.starting(NOW + 5 * HOUR, HOUR), NOW)

    # Over the same two days the last hour rose from 700 to 900; six hours later, e^-1 of that is left.
    assert [p.grams_per_kwh for p in forecast.points] == pytest.approx([800 + 200 * math.exp(-6 / 6)])


def test_the_second_day_rests_on_the_same_known_hours() -> None:
    """Beyond 24 hours yesterday's hour is still to come, so today's known one of the day before serves."""
    forecast = day_ahead(series(*hours(72)), Window(NOW, NOW + 48 * HOUR), NOW)

    values = [p.grams_per_kwh for p in forecast.points]
    assert len(values) == 48
    assert values[24:] == pytest.approx(values[:24])


def test_an_hour_older_than_a_week_is_no_base() -> None:
    """Nothing newer than seven days ago means a hole, not an old number."""
    old = hours(48, end=NOW - 7 * DAY)
    assert day_ahead(series(*old), Window(NOW, NOW + DAY), NOW).points == ()
    assert day_ahead(series(), Window(NOW, NOW + DAY), NOW).points == ()

    reaching = hours(48, end=NOW - 6 * DAY)
    assert len(day_ahead(series(*reaching), Window(NOW, NOW + DAY), NOW).points) == 24


def test_what_was_not_known_at_now_is_not_used() -> None:
    """A series may hold later values; they do not exist for the forecast."""
    past, future = hours(48), hours(24, end=NOW + DAY, grams=900)
    window = Window(NOW, NOW + DAY)

    assert day_ahead(series(*past, *future), window, NOW) == day_ahead(series(*past), window, NOW)


def test_a_forecast_stays_within_what_grids_have() -> None:
    """A steep fall does not go below zero, a steep rise not above the plausible."""
    for before, last, limit in ((500.0, 5.0, 0.0), (1500.0, 1990.0, 2000.0)):
        past = [point(NOW - 25 * HOUR, before), point(NOW - HOUR, last), point(NOW - 24 * HOUR, last)]
        forecast = day_ahead(series(*past), Window.starting(NOW, HOUR), NOW)
        assert [p.grams_per_kwh for p in forecast.points] == [limit]


def test_finer_and_coarser_values_are_averaged_by_the_hour() -> None:
    """Five-minute feeds and daily means both work; the forecast is hourly."""
    fine = [point(NOW - DAY + n * timedelta(minutes=5), 100 + 10 * n, length=timedelta(minutes=5)) for n in range(12)]
    forecast = day_ahead(series(*fine), Window.starting(NOW, HOUR), NOW)
    assert [p.grams_per_kwh for p in forecast.points] == pytest.approx([155])

    coarse = point(NOW - DAY, 300.0, length=DAY)
    forecast = day_ahead(series(coarse), Window(NOW, NOW + DAY), NOW)
    assert [p.grams_per_kwh for p in forecast.points] == [300.0] * 24


def test_a_forecast_from_synthetic_values_is_synthetic() -> None:
    """What rests on a likeness is no better than it; measured input gives an ordinary forecast."""
    likeness = [point(p.interval.start, p.grams_per_kwh, kind=Kind.SYNTHETIC) for p in hours(48)]
    assert day_ahead(series(*likeness), Window(NOW, NOW + DAY), NOW).kind is Kind.SYNTHETIC


def test_it_keeps_the_basis_of_the_history() -> None:
    """A direct history gives a direct forecast."""
    direct = Basis(factors=Factors.DIRECT)
    interval = Window.starting(NOW - DAY, HOUR)
    known = CarbonIntensity("AA", 9.0, interval, Kind.MEASURED, "meter", interval.end, interval.end, direct)
    forecast = day_ahead(CarbonSeries("AA", (known,)), Window.starting(NOW, HOUR), NOW)

    assert [p.basis for p in forecast.points] == [direct]


def test_the_window_may_start_within_an_hour() -> None:
    """The hour that runs belongs to the forecast."""
    forecast = day_ahead(series(*hours(48)), Window(NOW + 0.5 * HOUR, NOW + 1.5 * HOUR), NOW + 0.5 * HOUR)
    assert [p.interval.start for p in forecast.points] == [NOW, NOW + HOUR]


def test_the_trailing_mean_weighs_by_time() -> None:
    """Half the window at 100 and half at 300 is 200, however the points are cut."""
    old = point(NOW - 28 * DAY, 100.0, length=14 * DAY)
    new = [point(NOW - 14 * DAY + n * HOUR, 300.0) for n in range(14 * 24)]
    assert trailing_mean(series(old, *new), NOW) == pytest.approx(200)


def test_the_trailing_mean_needs_half_of_its_window() -> None:
    """Thirteen days of 28 say nothing; fourteen do; a day is enough for a day."""
    assert trailing_mean(series(*hours(13 * 24)), NOW) is None
    assert trailing_mean(series(*hours(14 * 24)), NOW) == pytest.approx(111.5)
    assert trailing_mean(series(*hours(24)), NOW, days=1) == pytest.approx(111.5)
    assert trailing_mean(series(), NOW) is None


def test_the_trailing_mean_ignores_what_is_too_old_or_still_to_come() -> None:
    """Only the window before now counts, and only what was known."""
    past = hours(28 * 24)
    noise = [*hours(100, end=NOW - 28 * DAY, grams=900), *hours(24, end=NOW + DAY, grams=900)]
    assert trailing_mean(series(*past, *noise), NOW) == pytest.approx(111.5)
