"""What every carbon source promises, whatever is behind it."""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.control.ports import CarbonSource
from orchestrator.domain.carbon import Accounting, Basis, CarbonIntensity, CarbonSeries, Factors, Gap, Kind, Reading
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.signals.archive import Archive
from orchestrator.signals.composite import CompositeCarbon
from orchestrator.signals.fake import FakeCarbon
from orchestrator.signals.feeds.carbon_aware import CarbonAware
from orchestrator.signals.feeds.eia import Eia
from orchestrator.signals.feeds.electricity_maps import ElectricityMaps
from orchestrator.signals.feeds.entsoe import Entsoe
from orchestrator.signals.feeds.great_britain import GreatBritain
from orchestrator.signals.feeds.watttime import WattTime
from orchestrator.signals.http import Fetch
from orchestrator.signals.live import LiveCarbon
from orchestrator.signals.profile import ProfileCarbon
from orchestrator.signals.recorded import RecordedCarbon
from orchestrator.signals.shape import ZoneFacts
from orchestrator.signals.statement import Feed
from orchestrator.signals.static import StaticCarbon
from tests.conformance.grid import Grid
from tests.conformance.server import Conformance, conformance

LIFECYCLE = Basis()
DIRECT = Basis(Accounting.AVERAGE, Factors.DIRECT)
MARGINAL = Basis(Accounting.MARGINAL, Factors.LIFECYCLE)
START = parse_instant("2031-03-01T00:00Z")
HOURS = 96
HOLE = 40
"""Hour number, from START, that has no value in the sources that can have holes."""

ZONE = "AA"


def grams_at(hour: int, factors: Factors) -> float:
    """Synthetic numbers, all different, and life-cycle far from direct."""
    return (500 if factors is Factors.LIFECYCLE else 100) + 0.5 * hour


def write_recording(folder: Path) -> Path:
    """Write a small recording in the documented layout: two zones, a hole, both factors, forecasts of direct."""
    folder.mkdir()
    for factors in Factors:
        lines = ["datetime_utc,AA,BB"]
        for hour in range(HOURS):
            own = "" if hour == HOLE else f"{grams_at(hour, factors)}"
            lines.append(f"{START + hour * HOUR:%Y-%m-%dT%H:%MZ},{own},700")
        with gzip.open(folder / f"ci_{factors}_2031.csv.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    forecast = ["issued_date_utc,horizon_h,AA"]
    for day in range(HOURS // 24):
        forecast += [f"{START + timedelta(days=day):%Y-%m-%d},{ahead},{150 + day}" for ahead in range(48)]
    (folder / "ci_forecast_toy_2031.csv").write_text("\n".join(forecast) + "\n", encoding="utf-8")
    return folder


def filled_fake(name: str = "fake") -> FakeCarbon:
    """Make a fake with the same numbers as the recording."""
    fake = FakeCarbon(name)
    for factors in Factors:
        values = [None if hour == HOLE else grams_at(hour, factors) for hour in range(HOURS)]
        fake.put(ZONE, START, values, basis=Basis(Accounting.AVERAGE, factors))
    for day in range(HOURS // 24):
        issued = START + timedelta(days=day)
        fake.put_forecast(ZONE, issued, issued, [150.0 + day] * 48, basis=DIRECT)
    return fake


def profile() -> ProfileCarbon:
    """Make a profile of one invented zone."""
    return ProfileCarbon({ZONE: ZoneFacts(ZONE, 2030, 400.0, 0.5, 0.1, 50.0, 10.0, "invented")})


def static() -> StaticCarbon:
    """Make the yearly mean of one invented zone."""
    return StaticCarbon({ZONE: ZoneFacts(ZONE, 2030, 400.0, 0.5, 0.1, 50.0, 10.0, "invented")})


def composite() -> CompositeCarbon:
    """Put the useful source last, behind one that knows nothing and one that is down."""
    down = FakeCarbon("down")
    down.fail("the service does not answer")
    return CompositeCarbon([FakeCarbon("ignorant"), down, filled_fake("useful")])


@dataclass(frozen=True)
class Subject:
    """A source under test, with a zone and a basis that it has.

    ``foretells_now``: its value of the present is a forecast until there is an observation.
    """

    source: CarbonSource
    has_hole: bool
    zone: str = ZONE
    basis: Basis = LIFECYCLE
    foretells_now: bool = False


class InStep:
    """A live source whose API lives at the moment at which it is asked."""

    def __init__(self, source: LiveCarbon, grid: Grid) -> None:
        self._source = source
        self._grid = grid

    @property
    def name(self) -> str:
        return self._source.name

    async def zones(self) -> frozenset[str]:
        return await self._source.zones()

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        self._grid.now = now
        return await self._source.latest(zone, basis, now)

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        self._grid.now = now
        return await self._source.history(zone, basis, window, now)

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        self._grid.now = now
        return await self._source.forecast(zone, basis, window, now)


def electricity_maps(server: Conformance) -> Feed:
    """Ask the pretended Electricity Maps, with its key."""
    return ElectricityMaps(Fetch(private=True), "em-secret", server.address("electricity-maps"))


def great_britain(server: Conformance) -> Feed:
    """Ask the pretended API of Great Britain."""
    return GreatBritain(Fetch(private=True), server.address("national-grid"))


def watttime(server: Conformance) -> Feed:
    """Ask the pretended WattTime about the one region that is free."""
    regions = {"US-CAL-CISO": "CAISO_NORTH"}
    return WattTime(Fetch(private=True), "me", "wt-secret", regions, server.address("watttime"))


def eia(server: Conformance) -> Feed:
    """Ask the pretended EIA."""
    return Eia(Fetch(private=True), "eia-secret", ["US-MIDA-PJM"], server.address("eia"))


def entsoe(server: Conformance) -> Feed:
    """Ask the pretended Transparency Platform."""
    return Entsoe(Fetch(private=True), "entsoe-secret", f"{server.address('entsoe')}/api")


def carbon_aware(server: Conformance) -> Feed:
    """Ask the pretended Carbon Aware SDK, which stands in front of the pretended WattTime."""
    url = server.address("carbon-aware-sdk")
    basis = Basis(Accounting.MARGINAL, Factors.DIRECT)
    names, answers_as = {"US-CAL-CISO": "westus"}, {"US-CAL-CISO": "CAISO_NORTH"}
    return CarbonAware(Fetch(private=True), url, names, basis, answers_as)


@dataclass(frozen=True)
class Live:
    """How a live source is made, and a zone and a basis that it has."""

    feed: Callable[[Conformance], Feed]
    zone: str = ZONE
    basis: Basis = LIFECYCLE
    foretells_now: bool = False


LIVE = {
    "electricity-maps": Live(electricity_maps),
    "eia": Live(eia, "US-MIDA-PJM"),
    "entsoe": Live(entsoe, "FR"),
    "watttime": Live(watttime, "US-CAL-CISO", Basis(Accounting.MARGINAL, Factors.DIRECT)),
    "national-grid": Live(great_britain, "GB", DIRECT, foretells_now=True),
    "national-grid-region": Live(great_britain, "GB-R13", DIRECT, foretells_now=True),
    "carbon-aware-sdk": Live(carbon_aware, "US-CAL-CISO", Basis(Accounting.MARGINAL, Factors.DIRECT)),
}


def filled_grid() -> Grid:
    """Make a grid with the same numbers as the recording, in a zone for each API."""
    grid = Grid(START)
    for zone in ("AA", "GB", "CAISO_NORTH"):
        for factors in Factors:
            values = [None if hour == HOLE else grams_at(hour, factors) for hour in range(HOURS)]
            grid.put(zone, factors, START, values)
    grid.generation["US-MIDA-PJM"] = {
        START + hour * HOUR: {"COL": 100.0, "NG": 300.0 + hour, "BAT": -20.0} for hour in range(HOURS) if hour != HOLE
    }
    grid.generation["FR"] = {
        START + hour * HOUR: {"B14": 500.0, "B04": 100.0 + hour, "B10": 20.0} for hour in range(HOURS) if hour != HOLE
    }
    return grid


@asynccontextmanager
async def live(name: str, folder: Path) -> AsyncIterator[Subject]:
    """Run the pretended API, and a source that remembers in a file."""
    grid = filled_grid()
    async with conformance(grid) as server:
        made = LIVE[name]
        source = LiveCarbon(made.feed(server), Archive(name, folder / "signals.db"))
        yield Subject(
            InStep(source, grid),
            has_hole=True,
            zone=made.zone,
            basis=made.basis,
            foretells_now=made.foretells_now,
        )


MAKERS: dict[str, Callable[[Path], Subject]] = {
    "recorded": lambda path: Subject(RecordedCarbon(write_recording(path / "carbon")), has_hole=True),
    "profile": lambda _: Subject(profile(), has_hole=False),
    "static": lambda _: Subject(static(), has_hole=False),
    "composite": lambda _: Subject(composite(), has_hole=True),
    "fake": lambda _: Subject(filled_fake(), has_hole=True),
}
NOWS = [START + 30 * HOUR, START + 30.75 * HOUR, START + (HOLE + 1) * HOUR, START + 95.5 * HOUR]


@pytest.fixture(params=sorted({*MAKERS, *LIVE}))
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    """Make each source in turn."""
    if request.param in MAKERS:
        yield MAKERS[request.param](tmp_path)
        return
    async with live(request.param, tmp_path) as made:
        yield made


async def test_it_names_itself_and_its_zones(subject: Subject) -> None:
    """The name travels with every value, and the zones say what can be asked."""
    assert subject.source.name
    assert subject.zone in await subject.source.zones()


@pytest.mark.parametrize("now", NOWS, ids=str)
async def test_the_latest_value_is_about_the_zone_and_was_known(subject: Subject, now: Instant) -> None:
    """The answer echoes the zone and the basis, names its source, and was issued by now."""
    reading = await subject.source.latest(subject.zone, subject.basis, now)

    assert isinstance(reading, CarbonIntensity)
    assert (reading.zone, reading.basis) == (subject.zone, subject.basis)
    assert reading.source
    assert reading.issued_at <= now
    assert reading.fetched_at <= now
    assert reading.interval.start <= now


@pytest.mark.parametrize("now", NOWS, ids=str)
async def test_history_never_looks_past_now(subject: Subject, now: Instant) -> None:
    """Even a window that reaches into the future holds only hours that were over and known."""
    window = Window(START, now + timedelta(days=2))
    series = await subject.source.history(subject.zone, subject.basis, window, now)

    assert series.zone == subject.zone
    assert series.points
    assert all(p.issued_at <= now and p.interval.end <= now for p in series.points)
    assert all(p.basis == subject.basis for p in series.points)


async def test_history_is_in_order_and_touches_the_window(subject: Subject) -> None:
    """Points are ascending, do not overlap, and each has a moment in the window."""
    window = Window(START + 20.5 * HOUR, START + 26.25 * HOUR)
    series = await subject.source.history(subject.zone, subject.basis, window, START + 90 * HOUR)

    assert [p.interval.start for p in series.points] == [START + n * HOUR for n in range(20, 27)]
    assert all(p.interval.start < window.end and p.interval.end > window.start for p in series.points)
    assert series.at(window.start) is not None


async def test_waiting_only_adds_to_history(subject: Subject) -> None:
    """What was known at one moment is known, with the same value, at any later one."""
    window = Window(START, START + 90 * HOUR)
    then = await subject.source.history(subject.zone, subject.basis, window, START + 30.5 * HOUR)
    later = await subject.source.history(subject.zone, subject.basis, window, START + 60.5 * HOUR)

    def values(points: tuple[CarbonIntensity, ...]) -> list[tuple[Instant, float]]:
        return [(p.interval.start, p.grams_per_kwh) for p in points]

    assert values(later.points)[: len(then.points)] == values(then.points)
    assert len(later.points) > len(then.points)


async def test_an_empty_past_is_an_empty_series(subject: Subject) -> None:
    """A window that lies wholly in the future has no history."""
    now = START + 30 * HOUR
    series = await subject.source.history(subject.zone, subject.basis, Window(now + HOUR, now + 9 * HOUR), now)

    assert series.points == ()


async def test_holes_stay_holes(subject: Subject) -> None:
    """An hour without a value is missing from history; the latest value is then an older one, never zero."""
    now = START + (HOLE + 1) * HOUR
    series = await subject.source.history(subject.zone, subject.basis, Window(now - 6 * HOUR, now), now)
    latest = await subject.source.latest(subject.zone, subject.basis, now)

    assert (series.at(now - HOUR) is None) is subject.has_hole
    assert isinstance(latest, CarbonIntensity)
    assert latest.grams_per_kwh > 0
    if subject.foretells_now:
        assert latest.kind is Kind.FORECAST
        assert now in latest.interval
    elif subject.has_hole:
        assert latest.interval.end == now - HOUR
        assert latest.age(now) == HOUR


async def test_an_unknown_zone_is_a_gap_with_a_reason(subject: Subject) -> None:
    """Not knowing a zone is an answer, not an error and not a number."""
    now = START + 30 * HOUR
    gap = await subject.source.latest("NOWHERE", subject.basis, now)

    assert isinstance(gap, Gap)
    assert gap.zone == "NOWHERE"
    assert "NOWHERE" in gap.reason
    assert gap.source
    window = Window(now - 24 * HOUR, now + 24 * HOUR)
    assert (await subject.source.history("NOWHERE", subject.basis, window, now)).points == ()
    assert await subject.source.forecast("NOWHERE", subject.basis, window, now) is None


@pytest.mark.parametrize("basis", [LIFECYCLE, DIRECT, MARGINAL], ids=lambda b: f"{b.accounting}-{b.factors}")
async def test_a_value_of_another_basis_is_never_passed_off(subject: Subject, basis: Basis) -> None:
    """Whatever is served carries the basis that was asked for; if there is none of it, there is a gap."""
    now = START + 30 * HOUR
    window = Window(now - 24 * HOUR, now + 24 * HOUR)
    reading = await subject.source.latest(subject.zone, basis, now)
    history = await subject.source.history(subject.zone, basis, window, now)
    forecast = await subject.source.forecast(subject.zone, basis, window, now)

    points = [*history.points, *(forecast.points if forecast else ())]
    if isinstance(reading, CarbonIntensity):
        points.append(reading)
    else:
        assert history.points == ()
    assert all(p.basis == basis for p in points)
    if basis == MARGINAL:
        assert points == []


@pytest.mark.parametrize("basis", [LIFECYCLE, DIRECT], ids=lambda b: b.factors)
async def test_a_forecast_was_issued_by_now_and_says_what_it_is(subject: Subject, basis: Basis) -> None:
    """A forecast may speak of the future but must not come from it, and never looks like a measurement."""
    now = START + 30.5 * HOUR
    window = Window(now, now + 12 * HOUR)
    series = await subject.source.forecast(subject.zone, basis, window, now)

    for point in series.points if series is not None else ():
        assert point.zone == subject.zone
        assert point.issued_at <= now
        assert point.kind in {Kind.FORECAST, Kind.SYNTHETIC}
        assert point.interval.start < window.end
        assert point.interval.end > window.start


async def test_asking_twice_gives_the_same_answer(subject: Subject) -> None:
    """Reading changes nothing."""
    now = START + 50 * HOUR
    window = Window(START, now)

    assert await subject.source.latest(subject.zone, subject.basis, now) == await subject.source.latest(
        subject.zone, subject.basis, now
    )
    assert await subject.source.history(subject.zone, subject.basis, window, now) == await subject.source.history(
        subject.zone, subject.basis, window, now
    )


if REAL_FOLDER := os.environ.get("GREENCTL_TEST_CARBON_DATA"):

    class TestRealRecording:
        """The same promises on a real folder of the layout, for those who have one."""

        async def test_every_zone_can_be_asked_in_the_middle_of_what_it_covers(self) -> None:
            """Each covered zone answers with its own value, known at the time."""
            source = RecordedCarbon(Path(REAL_FOLDER or ""))
            coverage = source.coverage()
            for cover in coverage:
                now = cover.first + (cover.until - cover.first) / 2
                reading = await source.latest(cover.zone, cover.basis, now)
                assert isinstance(reading, CarbonIntensity)
                assert reading.zone == cover.zone
                assert reading.issued_at <= now
            assert coverage

        async def test_forecasts_are_of_direct_intensity_only(self) -> None:
            """The stored forecasts never answer a life-cycle question."""
            source = RecordedCarbon(Path(REAL_FOLDER or ""))
            for cover in source.coverage():
                now = cover.first + (cover.until - cover.first) / 2
                series = await source.forecast(cover.zone, LIFECYCLE, Window(now, now + 24 * HOUR), now)
                assert series is None
