"""The blend of a series as sources give it, number by number."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Factors, Kind
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.forecasting.coming import SOURCE, coming_hours
from orchestrator.forecasting.pattern import LOOK_BACK_HOURS, blended

NOW = parse_instant("2031-03-08T00:00Z")
DAY = timedelta(days=1)
AHEAD = Window(NOW, NOW + 48 * HOUR)


def point(start: Instant, grams: float, *, length: timedelta = HOUR, kind: Kind = Kind.MEASURED) -> CarbonIntensity:
    """Give a value that is known at the end of its interval."""
    interval = Window.starting(start, length)
    return CarbonIntensity("AA", grams, interval, kind, "meter", interval.end, interval.end)


def series(*points: CarbonIntensity) -> CarbonSeries:
    """Give the points in order of time."""
    return CarbonSeries("AA", tuple(sorted(points, key=lambda p: p.interval.start)))


def hours(count: int, *, end: Instant = NOW) -> list[CarbonIntensity]:
    """Give that many hours up to ``end``, each 100 plus its clock hour."""
    starts = [end - (count - n) * HOUR for n in range(count)]
    return [point(start, 100.0 + start.hour) for start in starts]


def restless(count: int = LOOK_BACK_HOURS) -> np.ndarray:
    """Give hours of a restless grid."""
    return np.random.default_rng(2).uniform(100, 900, size=count)


@pytest.mark.parametrize("now", [NOW, NOW + 7 * HOUR])
def test_on_complete_hours_it_is_the_blend(now: Instant) -> None:
    """The same numbers as the one over arrays, whatever the hour of issue."""
    values = restless()
    past = [point(now - (len(values) - n) * HOUR, float(g)) for n, g in enumerate(values)]
    found = coming_hours(series(*past), Window(now, now + 48 * HOUR), now)

    expected = blended(values[:, None], np.array([LOOK_BACK_HOURS]), 48)[0, :, 0]
    assert [p.grams_per_kwh for p in found.points] == pytest.approx(expected)
    assert [p.interval.start for p in found.points] == [now + n * HOUR for n in range(48)]
    assert {(p.source, p.kind, p.issued_at) for p in found.points} == {(SOURCE, Kind.FORECAST, now)}


def test_one_day_is_enough_to_begin_with() -> None:
    """With a single day behind, the coming days are like it."""
    found = coming_hours(series(*hours(24)), AHEAD, NOW)
    assert [p.grams_per_kwh for p in found.points] == pytest.approx([100 + (n % 24) for n in range(48)])


def test_an_hour_of_the_day_that_was_not_seen_for_a_week_is_a_hole() -> None:
    """Half a day of history forecasts half of each day; a pattern of eight days ago none of it."""
    half = coming_hours(series(*hours(12)), AHEAD, NOW)
    assert {p.interval.start.hour for p in half.points} == set(range(12, 24))
    assert coming_hours(series(*hours(48, end=NOW - 7 * DAY)), AHEAD, NOW).points == ()
    assert len(coming_hours(series(*hours(48, end=NOW - 6 * DAY)), AHEAD, NOW).points) == 48
    assert coming_hours(series(), AHEAD, NOW).points == ()


def test_days_that_lack_an_hour_do_not_count_for_it() -> None:
    """The pattern of an hour is the mean over the days that have it."""
    past = [point(NOW - days * DAY + n * HOUR, 100.0 * days) for days in (1, 2, 3) for n in range(24)]
    whole = coming_hours(series(*past), AHEAD, NOW)
    gap = coming_hours(series(*(p for p in past if p.interval.start != NOW - 2 * DAY + 5 * HOUR)), AHEAD, NOW)

    without, usual = (100 + 0.85**2 * 300) / (1 + 0.85**2), (100 + 0.85 * 200 + 0.85**2 * 300) / (1 + 0.85 + 0.85**2)
    difference = gap.points[29].grams_per_kwh - whole.points[29].grams_per_kwh
    # Five o'clock's pattern falls, so the last day departs from it by less, on average by a twenty-fourth of that.
    assert difference == pytest.approx(without - usual, rel=0.05)


def test_a_feed_that_lags_has_faded_already() -> None:
    """Three hours without news: what was special fades from the last news on, not from now."""
    values = restless()
    past = [point(NOW - (len(values) - n) * HOUR, float(g)) for n, g in enumerate(values)]
    later = NOW + 3 * HOUR
    fresh = {p.interval.start: p.grams_per_kwh for p in coming_hours(series(*past), AHEAD, NOW).points}
    stale = coming_hours(series(*past), Window(later, later + 24 * HOUR), later)
    # Four weeks before now are three hours fewer than before the last news: that is the whole difference.
    assert [p.grams_per_kwh for p in stale.points[:20]] == pytest.approx(
        [fresh[p.interval.start] for p in stale.points[:20]], rel=0.01
    )


def test_what_was_not_known_at_now_is_not_used() -> None:
    """A series may hold later values; they do not exist for the forecast."""
    past, future = hours(72), [point(NOW + n * HOUR, 900.0) for n in range(24)]
    assert coming_hours(series(*past, *future), AHEAD, NOW) == coming_hours(series(*past), AHEAD, NOW)


def test_kinds_and_basis_are_those_of_what_went_in() -> None:
    """A forecast from a likeness is a likeness, and a direct history gives a direct forecast."""
    likeness = [point(p.interval.start, p.grams_per_kwh, kind=Kind.SYNTHETIC) for p in hours(48)]
    assert coming_hours(series(*likeness), AHEAD, NOW).kind is Kind.SYNTHETIC

    direct = Basis(factors=Factors.DIRECT)
    interval = Window.starting(NOW - DAY, HOUR)
    known = CarbonIntensity("AA", 9.0, interval, Kind.MEASURED, "meter", interval.end, interval.end, direct)
    found = coming_hours(CarbonSeries("AA", (known,)), Window.starting(NOW, HOUR), NOW)
    assert [p.basis for p in found.points] == [direct]


def test_a_forecast_stays_within_what_grids_have() -> None:
    """A steep fall does not go below zero."""
    past = hours(72)
    past[-1] = point(past[-1].interval.start, 0.0)
    past[-24:-1] = [point(p.interval.start, 2.0) for p in past[-24:-1]]
    assert min(p.grams_per_kwh for p in coming_hours(series(*past), AHEAD, NOW).points) == 0


def test_finer_values_are_averaged_by_the_hour() -> None:
    """Five-minute feeds work; the forecast is hourly."""
    fine = [point(NOW - DAY + n * timedelta(minutes=5), 100 + 10 * n, length=timedelta(minutes=5)) for n in range(12)]
    found = coming_hours(series(*fine), Window.starting(NOW, HOUR), NOW)
    assert [p.grams_per_kwh for p in found.points] == pytest.approx([155])
