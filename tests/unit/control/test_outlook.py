"""What is said of grid zones: the coming hours, and how far they may come otherwise."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from orchestrator.control.grid import GridReader
from orchestrator.control.outlook import BAND_LEVEL, outlook_of
from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Kind, Reading
from orchestrator.domain.crossover import Crossover
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.errors import SignalUnavailable
from orchestrator.forecasting.coming import SOURCE

NOW = parse_instant("2031-03-08T07:20Z")
START = parse_instant("2031-03-08T07:00Z")


def hour(start: Instant, grams: float, source: str, issued_at: Instant) -> CarbonIntensity:
    """One hour."""
    return CarbonIntensity("AA", grams, Window.starting(start, HOUR), Kind.MEASURED, source, issued_at, issued_at)


class Feed:
    """A feed of a restless grid; ``foreseen``: how many coming hours it forecasts itself."""

    name = "feed"

    def __init__(self, days: int, foreseen: int = 0) -> None:
        values = np.random.default_rng(5).uniform(200, 400, size=days * 24).tolist()
        first = START - days * 24 * HOUR
        self.past = [hour(first + n * HOUR, grams, "feed", first + (n + 1) * HOUR) for n, grams in enumerate(values)]
        self._foreseen = foreseen

    async def zones(self) -> frozenset[str]:
        """It has one."""
        return frozenset({"AA"})

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        """The newest hour."""
        assert (zone, basis, now) == ("AA", Basis(), NOW)
        return self.past[-1]

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """The hours of the window."""
        assert (basis, now) == (Basis(), NOW)
        return CarbonSeries(zone, tuple(p for p in self.past if p.interval.end > window.start))

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        """Its own forecast, if it makes one."""
        assert (basis, now) == (Basis(), NOW)
        own = [hour(window.start + n * HOUR, 250.0, "provider", now) for n in range(self._foreseen)]
        return CarbonSeries(zone, tuple(own)) if own else None


@pytest.mark.parametrize(("days", "banded"), [(40, True), (16, True), (14, False), (0, False)])
def test_an_hour_has_a_band_once_fifteen_days_are_on_record(days: int, *, banded: bool) -> None:
    """Six days to forecast from, and nine such forecasts to have seen wrong; before that none, not a narrow one."""
    feed = Feed(max(1, days))
    view = asyncio.run(GridReader(feed).zone("AA", Basis(), NOW, 24))
    found = outlook_of(view, (), NOW, 24, 4)

    assert {p.source for p in found.forecast.points} == {SOURCE}
    assert len(found.bands) >= (23 if banded else 0)
    assert bool(found.bands) is banded
    assert found.band_level == BAND_LEVEL
    means = {p.interval: p.grams_per_kwh for p in found.forecast.points}
    for band in found.bands:
        assert 0 < band.low_grams_per_kwh < means[band.window] < band.high_grams_per_kwh


def test_the_mean_of_a_day_is_surer_than_its_hours() -> None:
    """Hours of a restless grid are missed to both sides, their mean by little."""
    view = asyncio.run(GridReader(Feed(40)).zone("AA", Basis(), NOW, 24))
    found = outlook_of(view, (), NOW, 24, 4)
    assert found.mean_band is not None
    assert found.mean_grams_per_kwh is not None
    assert found.mean_band.window == Window(START, START + 24 * HOUR)
    assert found.mean_band.low_grams_per_kwh < found.mean_grams_per_kwh < found.mean_band.high_grams_per_kwh
    widths = [b.high_grams_per_kwh - b.low_grams_per_kwh for b in found.bands]
    assert found.mean_band.high_grams_per_kwh - found.mean_band.low_grams_per_kwh < 0.6 * sum(widths) / len(widths)


@pytest.mark.parametrize("foreseen", [1, 25])
def test_a_providers_forecast_is_not_given_our_bands(foreseen: int) -> None:
    """How wrong we were says nothing of how wrong somebody else will be."""
    view = asyncio.run(GridReader(Feed(40, foreseen)).zone("AA", Basis(), NOW, 24))
    found = outlook_of(view, (), NOW, 24, 4)
    assert view.misses is None
    assert found.bands == ()
    assert found.mean_band is None
    assert len(found.forecast.points) == 24
    assert found.no_mean_band == "the earlier forecasts of this provider are not on record"


@pytest.mark.parametrize(("days", "judged"), [(14, 8), (7, 1), (1, 0)])
def test_what_is_first_heard_says_how_much_is_missing_for_a_band(days: int, judged: int) -> None:
    """A new source, or factors that were never asked for, have no band for a fortnight: the page says why."""
    found = outlook_of(asyncio.run(GridReader(Feed(days)).zone("AA", Basis(), NOW, 24)), (), NOW, 24, 4)
    assert found.mean_band is None
    assert found.no_mean_band == (
        f"{judged} earlier forecasts can be compared with what came, 9 are needed: that takes 15 days on record"
    )


def test_a_forecast_with_a_hole_says_so_instead_of_a_band() -> None:
    """The band of the other hours is not that of the mean over all of them."""
    view = asyncio.run(GridReader(Feed(40)).zone("AA", Basis(), NOW, 24))
    assert outlook_of(view, (), NOW, 24, 4).no_mean_band == ""
    points = view.forecast.points
    holed = replace(view, forecast=replace(view.forecast, points=(*points[:3], *points[4:])))
    found = outlook_of(holed, (), NOW, 24, 4)
    assert (found.mean_band, found.no_mean_band) == (None, "the forecast has holes")


@pytest.mark.parametrize(("known", "has_mean"), [(24, True), (22, True), (21, False), (12, False)])
def test_days_without_nights_are_no_mean(known: int, *, has_mean: bool) -> None:
    """A zone of which half a day is known does not stand above one that is known whole."""
    points = tuple(hour(START + n * HOUR, 100.0, "provider", NOW) for n in range(known))
    view = asyncio.run(GridReader(Feed(40)).zone("AA", Basis(), NOW, 24))
    view = replace(view, forecast=CarbonSeries("AA", points), misses=None)
    found = outlook_of(view, (), NOW, 24, 4)
    assert found.mean_grams_per_kwh == (100.0 if has_mean else None)
    assert found.no_mean_band.startswith(
        "the earlier forecasts" if has_mean else f"{known} of 24 coming hours are known"
    )


def test_a_made_up_past_gives_no_band() -> None:
    """A profile is never wrong about itself: that is no certainty about the grid."""
    feed = Feed(40)
    feed.past = [replace(p, kind=Kind.SYNTHETIC) for p in feed.past]
    found = outlook_of(asyncio.run(GridReader(feed).zone("AA", Basis(), NOW, 24)), (), NOW, 24, 4)
    assert found.forecast.kind is Kind.SYNTHETIC
    assert found.bands == ()
    assert found.mean_band is None
    assert found.no_mean_band == "what is made up is never wrong, which says nothing of the grid"


def test_misses_are_worked_out_once_an_hour() -> None:
    """A second look within the hour is given the very same ones."""
    reader = GridReader(Feed(40))
    views = [asyncio.run(reader.zone("AA", Basis(), NOW, 24)) for _ in range(2)]
    assert views[0].misses is views[1].misses is not None
    assert views[0].misses.start == START
    assert timedelta(0) < NOW - START < HOUR


def test_a_value_that_the_forecast_does_not_know_is_believed() -> None:
    """A late value arrives within the hour: the forecast was made without it, and is no nearer than it would be."""
    feed = Feed(40)
    reader = GridReader(feed)
    learnt = asyncio.run(reader.zone("AA", Basis(), NOW, 24)).crossover
    assert learnt is not None
    assert learnt.days == 29
    assert asyncio.run(reader.zone("AA", Basis(), NOW, 24)).crossover is learnt
    feed.past.append(hour(START, 250.0, "feed", NOW))
    assert asyncio.run(reader.zone("AA", Basis(), NOW, 24)).crossover is None


def test_of_a_providers_forecast_the_age_is_assumed() -> None:
    """Its earlier issues are not on record: nothing is learnt of them, and the page says that."""
    found = outlook_of(asyncio.run(GridReader(Feed(40, 25)).zone("AA", Basis(), NOW, 24)), (), NOW, 24, 4)
    assert found.crossover == Crossover()
    assert found.crossover.words == "the forecast is nearer from 2 h on, assumed"


class Silent(Feed):
    """A feed that may fall silent; ``asked`` counts the questions about its past."""

    is_silent = False
    asked = 0

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """The hours of the window, or an error."""
        assert basis == Basis()
        assert now >= NOW
        self.asked += 1
        if self.is_silent:
            raise SignalUnavailable("no answer")
        return CarbonSeries(zone, tuple(p for p in self.past if p.interval.end > window.start))

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        """The newest hour."""
        del zone, basis, now
        return self.past[-1]

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        """It makes none."""
        del zone, basis, window, now
        return None


def test_a_silent_source_is_asked_each_time_and_what_stands_in_is_worked_out_once_an_hour() -> None:
    """The very same forecast until the hour is over or the source is heard again; a new hour has a new one."""
    feed = Silent(40)
    reader = GridReader(feed)
    asyncio.run(reader.zone("AA", Basis(), NOW, 24))
    feed.is_silent = True
    later = NOW + HOUR
    dark = [asyncio.run(reader.zone("AA", Basis(), later + n * timedelta(seconds=1), 24)) for n in range(3)]
    assert feed.asked == 4
    assert dark[0].forecast is dark[1].forecast is dark[2].forecast
    assert dark[0].misses is dark[2].misses is not None
    assert dark[0].history.points[-1].interval.end == START

    darker = asyncio.run(reader.zone("AA", Basis(), later + HOUR, 24))
    assert darker.forecast.points[0].interval.start == START + 2 * HOUR

    feed.past.append(hour(START, 250.0, "feed", later))
    feed.is_silent = False
    light = asyncio.run(reader.zone("AA", Basis(), later + timedelta(minutes=1), 24))
    assert light.history.points[-1].interval.end == START + HOUR
    feed.is_silent = True
    longer = asyncio.run(reader.zone("AA", Basis(), later + timedelta(minutes=2), 48))
    assert longer.history is light.history


def test_a_source_that_was_never_heard_leaves_an_empty_view_until_it_is() -> None:
    """What was kept for the want of a past does not outlive the want."""
    feed = Silent(40)
    feed.is_silent = True
    reader = GridReader(feed)
    assert asyncio.run(reader.zone("AA", Basis(), NOW, 24)).forecast.points == ()
    feed.is_silent = False
    assert asyncio.run(reader.zone("AA", Basis(), NOW, 48)).forecast.points
    feed.is_silent = True
    assert asyncio.run(reader.zone("AA", Basis(), NOW, 24)).forecast.points
