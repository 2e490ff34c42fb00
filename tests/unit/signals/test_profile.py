"""The synthetic likeness: true to its facts, and never taken for more than it is."""

from __future__ import annotations

import csv
from datetime import timedelta
from pathlib import Path

import pytest

import orchestrator.regions.catalogue
from orchestrator.domain.carbon import CarbonIntensity, Kind
from orchestrator.domain.time import HOUR, Window, parse_instant
from orchestrator.signals.likeness import BASIS
from orchestrator.signals.profile import ZONE_FACTS, ProfileCarbon, packaged_facts
from orchestrator.signals.shape import Shape, ZoneFacts, demand, sun

YEAR = Window(parse_instant("2023-01-01T00:00Z"), parse_instant("2024-01-01T00:00Z"))
RECORDED_ZONES = (  # noqa: SIM905  # a list of names reads best as running text
    "AU-NSW AU-VIC BE BR-CS CA-AB CA-ON CA-QC DE ES FI FR GB IN IN-WE IS IT JP JP-TK KR MY-WM NL NO PL SE SG "
    "US-CAL-CISO US-CAR-SC US-CAR-SCEG US-CENT-SWPP US-FLA-FPL US-MIDA-PJM US-MIDW-MISO US-NE-ISNE US-NW-BPAT "
    "US-NW-PACE US-NW-PACW US-SE-SOCO US-SW-AZPS US-SW-SRP US-TEX-ERCO ZA"
).split()


async def day(zone: str, date: str) -> list[float]:
    """Give the 24 values of a UTC day."""
    start = parse_instant(f"{date}T00:00Z")
    series = await ProfileCarbon().history(zone, BASIS, Window.starting(start, timedelta(days=1)), start + 30 * HOUR)
    return [p.grams_per_kwh for p in series.points]


@pytest.mark.parametrize("zone", ["DE", "SE", "US-MIDA-PJM", "US-CAL-CISO", "AU-NSW", "NL", "SG", "IS", "CA-QC"])
@pytest.mark.parametrize("year", [2023, 2024], ids=str)
async def test_the_year_has_the_published_mean(zone: str, year: int) -> None:
    """Whatever the shape does to the hours, the mean over any year is the published one to half a percent."""
    window = Window(parse_instant(f"{year}-01-01T00:00Z"), parse_instant(f"{year + 1}-01-01T00:00Z"))
    series = await ProfileCarbon().history(zone, BASIS, window, window.end)

    mean = series.mean_grams_per_kwh()
    assert mean == pytest.approx(packaged_facts()[zone].mean_grams_per_kwh, rel=0.005)


def test_every_zone_keeps_its_mean_and_stays_positive() -> None:
    """The half percent holds for every zone that ships, and no hour is zero or beyond what grids have."""
    for facts in packaged_facts().values():
        shape = Shape.of(facts)
        values = [
            shape.grams_per_kwh(YEAR.start + day * timedelta(days=1) + (hour + 0.5) * HOUR)
            for day in range(0, 365, 7)
            for hour in range(24)
        ]
        assert sum(values) / len(values) == pytest.approx(facts.mean_grams_per_kwh, rel=0.005), facts.zone
        assert min(values) > 0, facts.zone
        assert max(values) < 1500, facts.zone


async def test_everything_it_says_is_synthetic() -> None:
    """Values, history and forecast carry the weakest kind there is, and say so in words as well."""
    source, now = ProfileCarbon(), parse_instant("2023-05-31T12:34Z")
    window = Window(now - 24 * HOUR, now + 24 * HOUR)
    reading = await source.latest("DE", BASIS, now)
    history = await source.history("DE", BASIS, window, now)
    forecast = await source.forecast("DE", BASIS, window, now)

    assert isinstance(reading, CarbonIntensity)
    assert forecast is not None
    points = (reading, *history.points, *forecast.points)
    assert {p.kind for p in points} == {Kind.SYNTHETIC}
    assert {p.source for p in points} == {"synthetic profile of 2023"}


async def test_the_hour_that_runs_is_known() -> None:
    """The likeness of this hour does not depend on how it goes on, so its age is zero."""
    now = parse_instant("2023-05-31T12:34Z")
    reading = await ProfileCarbon().latest("DE", BASIS, now)

    assert isinstance(reading, CarbonIntensity)
    assert now in reading.interval
    assert reading.age(now) == timedelta(0)


async def test_forecast_and_later_history_agree() -> None:
    """It is a fixed likeness: what it forecast is what it says afterwards."""
    source, now = ProfileCarbon(), parse_instant("2023-05-31T00:00Z")
    window = Window.starting(now, timedelta(days=2))
    forecast = await source.forecast("PL", BASIS, window, now)
    history = await source.history("PL", BASIS, window, window.end)

    assert forecast is not None
    assert [p.grams_per_kwh for p in forecast.points] == [p.grams_per_kwh for p in history.points]


@pytest.mark.parametrize("date", ["2023-04-15", "2023-05-31", "2023-07-15"])
async def test_germany_crosses_pjm_on_a_summer_day(date: str) -> None:
    """Near each other over the year; within the day the sun makes DE far cleaner at noon and PJM cleaner at night."""
    de, pjm = await day("DE", date), await day("US-MIDA-PJM", date)

    assert max(p - d for d, p in zip(de, pjm, strict=True)) > 100
    assert max(d - p for d, p in zip(de, pjm, strict=True)) > 20
    assert max(de) - min(de) > 4 * (max(pjm) - min(pjm))
    assert 9 <= de.index(min(de)) <= 13
    assert 17 <= de.index(max(de)) <= 22


async def test_the_sun_makes_winter_days_flatter() -> None:
    """Daylight at the zone's latitude scales the dip: in June it is much deeper than in December, in Berlin."""
    june, december = await day("DE", "2023-06-21"), await day("DE", "2023-12-21")

    assert min(june) < 0.75 * min(december)


async def test_the_dip_follows_the_longitude() -> None:
    """Solar noon is at 12 UTC near Greenwich, near 20 UTC in California, near 3 UTC in Japan."""
    lowest = {}
    for zone in ("ES", "US-CAL-CISO", "JP"):
        values = await day(zone, "2023-06-01")
        lowest[zone] = values.index(min(values))

    assert lowest["ES"] in {11, 12, 13}
    assert lowest["US-CAL-CISO"] in {18, 19, 20, 21}
    assert lowest["JP"] in {1, 2, 3, 4}


def test_night_is_dark_and_demand_averages_to_one() -> None:
    """The two ingredients of the shape behave: no sun at midnight, and demand is relative to its own mean."""
    facts = ZoneFacts("X", 2023, 400.0, 0.5, 0.1, 52.0, 0.0, "invented")

    assert sun(facts, parse_instant("2023-06-21T00:00Z")) == 0
    assert sun(facts, parse_instant("2023-06-21T12:00Z")) == pytest.approx(0.88, abs=0.01)
    hours = [demand(facts, YEAR.start + n * HOUR) for n in range(24)]
    assert sum(hours) / 24 == pytest.approx(1.0)


def test_zones_that_are_all_fossil_or_all_clean_do_not_swing() -> None:
    """Demand changes the mix only where there is a mix."""
    for fossil in (0.0, 1.0):
        shape = Shape.of(ZoneFacts("X", 2023, 300.0, fossil, 0.0, 45.0, 0.0, "invented"))
        values = {round(shape.grams_per_kwh(YEAR.start + n * HOUR), 6) for n in range(24)}
        assert values == {300.0}


def test_the_packaged_facts_cover_recordings_and_every_region() -> None:
    """All 41 recorded zones, and each zone and finer zone that the region catalogue names, have facts."""
    zones = set(packaged_facts())
    with Path(orchestrator.regions.catalogue.PACKAGED).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    named = {row[column] for row in rows for column in ("zone", "zone_detail")} - {""}

    assert set(RECORDED_ZONES) <= zones
    assert named <= zones


def test_the_packaged_facts_say_where_they_are_from() -> None:
    """Each row has its year and sources; the file carries licence and attribution."""
    text = ZONE_FACTS.read_text(encoding="utf-8")
    assert "Open Database License" in text
    assert "https://www.electricitymaps.com" in text
    for facts in packaged_facts().values():
        assert facts.year == 2023
        assert "Electricity Maps" in facts.source
        assert "solar:" in facts.source
        assert 0 <= facts.fossil_share <= 1
        assert 0 <= facts.solar_share < 0.5
