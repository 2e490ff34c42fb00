"""Live carbon sources against pretended APIs that lie, fail, and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.carbon import Accounting, Basis, CarbonIntensity, Factors, Gap, Kind
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.errors import SignalFormatError, SignalRefused, SignalThrottled, SignalUnavailable
from orchestrator.signals.archive import Archive
from orchestrator.signals.budget import Budget
from orchestrator.signals.feeds.carbon_aware import CarbonAware
from orchestrator.signals.feeds.eia import Eia
from orchestrator.signals.feeds.electricity_maps import ElectricityMaps
from orchestrator.signals.feeds.entsoe import Entsoe
from orchestrator.signals.feeds.great_britain import GreatBritain
from orchestrator.signals.feeds.watttime import WattTime
from orchestrator.signals.http import Fetch
from orchestrator.signals.live import LiveCarbon
from orchestrator.signals.statement import Feed
from tests.conformance import faults
from tests.conformance.grid import Grid
from tests.conformance.server import Conformance, conformance

START = parse_instant("2031-03-01T00:00Z")
NOW = START + 72 * HOUR + timedelta(minutes=10)
MINUTE = timedelta(minutes=1)
LIFECYCLE = Basis()
DIRECT = Basis(Accounting.AVERAGE, Factors.DIRECT)
TRUTH = [300.0 + 7 * (hour % 24) for hour in range(240)]
PATIENCE = 30.0
"""Seconds that the sources of these tests wait: nothing here asserts how long it took."""

LITTLE_PATIENCE = 1.0
"""For those whose server never answers."""

NEVER_ANSWERED = ("silent", "dripping")

MOER = Basis(Accounting.MARGINAL, Factors.DIRECT)
COAL, HYDRO = 820.0, 24.0
APIS: dict[str, tuple[str, Basis]] = {
    "electricity-maps": ("DE", LIFECYCLE),
    "national-grid": ("GB", DIRECT),
    "watttime": ("US-CAL-CISO", MOER),
    "eia": ("US-MIDA-PJM", LIFECYCLE),
    "entsoe": ("FR", LIFECYCLE),
    "carbon-aware-sdk": ("US-CAL-CISO", MOER),
}


def feed(name: str, server: Conformance, patience: float = PATIENCE) -> Feed:
    """Make the client of an API."""
    fetch, url = Fetch(private=True, seconds=patience, max_body_bytes=1_000_000), server.address(name)
    makers: dict[str, Callable[[], Feed]] = {
        "electricity-maps": lambda: ElectricityMaps(fetch, "em-secret", url),
        "national-grid": lambda: GreatBritain(fetch, url),
        "watttime": lambda: WattTime(
            fetch, "me", "wt-secret", {"US-CAL-CISO": "CAISO_NORTH", "US-NE-ISNE": "ISONE_VT"}, url
        ),
        "entsoe": lambda: Entsoe(fetch, "entsoe-secret", f"{url}/api"),
        "carbon-aware-sdk": lambda: CarbonAware(
            fetch, url, {"US-CAL-CISO": "westus"}, MOER, {"US-CAL-CISO": "CAISO_NORTH"}
        ),
        "eia": lambda: Eia(fetch, "eia-secret", ["US-MIDA-PJM"], url),
    }
    return makers[name]()


@dataclass
class Scene:
    """A source, and the API behind it at a moment."""

    server: Conformance
    source: LiveCarbon
    zone: str
    basis: Basis
    name: str

    async def latest(self, now: Instant) -> CarbonIntensity | Gap:
        """Ask for the present."""
        self.server.grid.now = now
        return await self.source.latest(self.zone, self.basis, now)

    async def history(self, now: Instant, hours: int) -> list[float]:
        """Ask for the last hours' values."""
        self.server.grid.now = now
        series = await self.source.history(self.zone, self.basis, Window(now - hours * HOUR, now), now)
        return [p.grams_per_kwh for p in series.points]

    async def anything(self, now: Instant) -> list[float]:
        """Return every number that the source gives of the zone, of the present, the past and the future."""
        found: list[float] = []
        try:
            latest = await self.latest(now)
            found += [latest.grams_per_kwh] if isinstance(latest, CarbonIntensity) else []
            found += await self.history(now, 30)
        except SignalUnavailable:
            pass
        ahead = await self.source.forecast(self.zone, self.basis, Window(now, now + 24 * HOUR), now)
        return found + [p.grams_per_kwh for p in (ahead.points if ahead else ())]


def world() -> Grid:
    """Three days of hours and more to come, in the zones of all APIs."""
    grid = Grid(NOW, running=True)
    for zone in ("DE", "GB", "SE-SE3", "CAISO_NORTH"):
        for factors in Factors:
            grid.put(zone, factors, START, list(TRUTH))
    coal = [(grams - HYDRO) / (COAL - HYDRO) for grams in TRUTH]
    grid.generation["US-MIDA-PJM"] = {
        START + hour * HOUR: {"COL": 9000 * share, "WAT": 9000 * (1 - share), "BAT": -500.0, "OIL": None}
        for hour, share in enumerate(coal)
    }
    grid.generation["FR"] = {
        START + hour * HOUR: {"B02": 3000 * share, "B05": 6000 * share, "B12": 9000 * (1 - share), "-B10": 700.0}
        for hour, share in enumerate(coal)
    }
    return grid


@pytest.fixture(params=sorted(APIS))
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    """Run each API in turn."""
    zone, basis = APIS[request.param]
    is_mute = request.node.callspec.params.get("outage") in NEVER_ANSWERED
    async with conformance(world()) as server:
        source = LiveCarbon(
            feed(request.param, server, LITTLE_PATIENCE if is_mute else PATIENCE),
            Archive(request.param, tmp_path / "signals.db"),
            yearly_grams_per_kwh={"DE": 400.0},
        )
        yield Scene(server, source, zone, basis, request.param)


@asynccontextmanager
async def alone(name: str, folder: Path) -> AsyncIterator[Scene]:
    """Run one API with a fresh memory."""
    async with conformance(world()) as server:
        source = LiveCarbon(feed(name, server), Archive(name, folder / "signals.db"))
        yield Scene(server, source, *APIS[name], name)


@pytest.fixture
async def maps(tmp_path: Path) -> AsyncIterator[Scene]:
    """Run Electricity Maps alone."""
    async with alone("electricity-maps", tmp_path) as scene:
        yield scene


@pytest.fixture
async def watts(tmp_path: Path) -> AsyncIterator[Scene]:
    """Run WattTime alone."""
    async with alone("watttime", tmp_path) as scene:
        yield scene


@pytest.fixture
async def fuels(tmp_path: Path) -> AsyncIterator[Scene]:
    """Run the EIA alone."""
    async with alone("eia", tmp_path) as scene:
        yield scene


# ── lies ─────────────────────────────────────────────────────────────────────────────────────────────


def is_true(grams: float) -> bool:
    """Whether the number is of the grid's own size."""
    return min(TRUTH) - 2 <= grams <= max(TRUTH) + 2


@pytest.mark.parametrize("lie", sorted(faults.LIES))
async def test_a_lie_never_becomes_a_value(scene: Scene, lie: str) -> None:
    """With a day's truth known, whatever is wrong with an answer, no number of it is ever served."""
    assert len(await scene.history(NOW, 48)) == 48
    scene.server.lie = faults.LIES[lie]
    later = NOW + 3 * HOUR

    assert all(is_true(grams) for grams in await scene.anything(later))


@pytest.mark.parametrize("lie", sorted(set(faults.LIES) - {"a thousandth"}))
async def test_a_lie_is_not_believed_by_a_source_that_knows_nothing_yet(scene: Scene, lie: str) -> None:
    """Even the first answer of all is checked: by what grids can have, by its times and by the year's mean."""
    scene.server.lie = faults.LIES[lie]
    # A direct intensity of 0 is a real value of clean grids, and a source that knows nothing cannot tell.
    unknowable = {0.0} if lie == "zero" and scene.basis.factors is Factors.DIRECT else set[float]()

    assert all(is_true(grams) or grams in unknowable for grams in await scene.anything(NOW))


async def test_a_refused_number_says_why(maps: Scene) -> None:
    """What was not believed can be listed, with the number and the rule."""
    await maps.history(NOW, 48)
    maps.server.lie = faults.LIES["a thousand times"]
    await maps.latest(NOW + 6 * HOUR)
    doubted = maps.source.quarantined()

    assert doubted
    assert all(d.zone == "DE" and "outside 0..2000" in d.reason and d.grams_per_kwh > 2000 for d in doubted)


async def test_an_answer_about_another_zone_is_none(maps: Scene) -> None:
    """The zone of the answer must be the one of the question."""
    maps.server.lie = faults.each_zone("US-MIDA-PJM")
    latest = await maps.latest(NOW)

    assert isinstance(latest, Gap)
    assert "US-MIDA-PJM" in latest.reason
    assert await maps.anything(NOW) == []


async def test_a_zone_that_does_not_exist_is_never_the_callers_own(maps: Scene) -> None:
    """The API would answer about where the caller is, unless told not to."""
    maps.server.grid.now = NOW
    latest = await maps.source.latest("DE-NOWHERE", LIFECYCLE, NOW)

    assert isinstance(latest, Gap)
    assert "DE-NOWHERE" in latest.reason
    assert all(q["disableCallerLookup"] == "true" for path, q, _ in maps.server.asked if "carbon-intensity" in path)


async def test_a_frozen_feed_grows_old(maps: Scene) -> None:
    """An API that stops moving its clock serves an ever older value, which says its age."""
    await maps.latest(NOW)
    stuck = maps.server.grid.now
    for hours in (1, 2, 5):
        maps.server.grid.now = stuck
        latest = await maps.source.latest("DE", LIFECYCLE, NOW + hours * HOUR)
        assert isinstance(latest, CarbonIntensity)
        assert latest.age(NOW + hours * HOUR) >= (hours - 1) * HOUR
        assert latest.is_fresh(NOW + hours * HOUR, timedelta(minutes=90)) is (hours < 3)


async def test_a_feed_that_repeats_itself_is_found_out(maps: Scene) -> None:
    """New times with the same number, day after day, are not measurements of a grid that moves."""
    frozen = START + 240 * HOUR
    maps.server.grid.put("DE", Factors.LIFECYCLE, frozen, [350.0] * 100)
    await maps.history(frozen, 240)
    values = await maps.history(frozen + 90 * HOUR, 90)

    assert values == [350.0] * 3
    assert any("longer than ever" in d.reason for d in maps.source.quarantined())


async def test_a_new_level_is_believed_after_two_days(maps: Scene) -> None:
    """A grid that really changes is out of its range for two days of consistent values, not for ever."""
    changed = START + 96 * HOUR
    maps.server.grid.put("DE", Factors.LIFECYCLE, changed, [1600.0 + n % 24 for n in range(72)])
    values = await maps.history(changed, 96)
    for hour in range(1, 73):
        values = await maps.history(changed + hour * HOUR, hour)
        assert values == [] or hour >= 47

    assert len(values) >= 72 - 49
    assert min(values) >= 1600


@pytest.mark.parametrize("factor", [1 / 2.2046, 2.2046], ids=["pounds for kilograms", "kilograms for pounds"])
async def test_a_wrong_unit_that_a_grid_can_have_is_noticed_by_the_zone(maps: Scene, factor: float) -> None:
    """What a grid can have is not had from one hour to the next; the way back takes as long as the error did."""
    lied = START + 80 * HOUR
    assert len(await maps.history(lied, 80)) == 80
    maps.server.grid.put("DE", Factors.LIFECYCLE, lied, [grams * factor for grams in TRUTH[80:86]])
    during = [await maps.latest(lied + n * HOUR) for n in range(6 + 5)]
    after = await maps.latest(lied + 11 * HOUR)

    assert all(isinstance(r, CarbonIntensity) and is_true(r.grams_per_kwh) for r in during)
    assert isinstance(after, CarbonIntensity)
    assert after.interval.start == lied + 11 * HOUR
    reasons = [d.reason for d in maps.source.quarantined()]
    assert reasons
    assert all(r.startswith(("jumps from", "goes on")) or "lay in" in r or "comes after" in r for r in reasons)


async def test_a_correction_that_is_not_believed_takes_nothing_away(maps: Scene) -> None:
    """An API that rewrites yesterday into nonsense leaves us the yesterday that we knew."""
    before = await maps.history(NOW, 48)
    maps.server.lie = faults.each_value(lambda v: float(v) / 50)
    after = await maps.history(NOW + HOUR, 49)

    assert after[: len(before)] == before
    assert all(is_true(grams) for grams in after)


async def test_a_forecast_that_jumps_is_not_believed(maps: Scene) -> None:
    """A forecast has to begin where the present is."""
    await maps.history(NOW, 72)
    maps.server.lie = faults.each_value(lambda v: float(v) * 2.2046)
    ahead = await maps.source.forecast("DE", LIFECYCLE, Window(NOW, NOW + 24 * HOUR), NOW)

    assert ahead is None
    assert any("jumps" in d.reason for d in maps.source.quarantined())


# ── outages ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("outage", sorted({**faults.OUTAGES, **faults.NONSENSE}))
async def test_what_was_known_outlives_an_outage(scene: Scene, outage: str) -> None:
    """However the API fails, the last value stays, grows old, and the API's return is noticed."""
    before = await scene.latest(NOW)
    known = await scene.history(NOW, 24)
    scene.server.behave = {**faults.OUTAGES, **faults.NONSENSE}[outage]
    down = NOW + 40 * MINUTE
    assert await scene.latest(down) == before
    assert await scene.history(down, 24) == known
    assert scene.source.states(down)[0].newest == before
    scene.server.heal()
    later = down + HOUR
    after = await scene.latest(later)

    assert isinstance(after, CarbonIntensity)
    assert after != before
    assert after.age(later) < HOUR


@pytest.mark.parametrize("outage", sorted(faults.OUTAGES))
async def test_an_api_that_is_down_from_the_start_is_said_to_be_down(scene: Scene, outage: str) -> None:
    """Without any knowledge there is an error that names the host, never a number and never a crash."""
    scene.server.behave = faults.OUTAGES[outage]

    with pytest.raises(SignalUnavailable, match=r"127\.0\.0\.1"):
        await scene.latest(NOW)
    with pytest.raises(SignalUnavailable):
        await scene.history(NOW, 24)
    assert await scene.source.forecast(scene.zone, scene.basis, Window(NOW, NOW + HOUR), NOW) is None


@pytest.mark.parametrize("nonsense", sorted(faults.NONSENSE))
async def test_nonsense_is_a_gap_with_a_reason(scene: Scene, nonsense: str) -> None:
    """An answer that cannot be understood is no value of the zone, and says what it was."""
    scene.server.behave = faults.NONSENSE[nonsense]
    latest = await scene.latest(NOW)

    assert isinstance(latest, Gap)
    assert latest.reason


async def test_an_api_that_is_down_is_left_alone(scene: Scene) -> None:
    """Many questions about many zones in a minute of an outage are few requests."""
    scene.server.behave = faults.status(503)
    for second in range(60):
        with pytest.raises(SignalUnavailable):
            await scene.latest(NOW + timedelta(seconds=second))

    assert len(scene.server.asked) == 2


async def test_retry_after_is_honoured(scene: Scene) -> None:
    """An API that wants half an hour gets half an hour, from every zone and question."""
    scene.server.behave = faults.status(429, **{"Retry-After": "1800"})
    with pytest.raises(SignalThrottled):
        await scene.latest(NOW)
    scene.server.heal()
    asked = len(scene.server.asked)
    for minutes in (1, 10, 29):
        with pytest.raises(SignalThrottled):
            await scene.latest(NOW + minutes * MINUTE)
    assert len(scene.server.asked) == asked
    assert isinstance(await scene.latest(NOW + 31 * MINUTE), CarbonIntensity)


async def test_a_minute_of_looks_is_one_request(scene: Scene) -> None:
    """The controller looks every second; the API is asked every five minutes."""
    for second in range(0, 360, 10):
        await scene.latest(NOW + timedelta(seconds=second))

    assert len([path for path in scene.server.paths() if path != "/login"]) == 2


async def test_a_redirect_is_not_followed(scene: Scene) -> None:
    """An API that was taken over cannot send us to the metadata service of a cloud."""
    scene.server.behave = faults.OUTAGES["redirect"]

    with pytest.raises(SignalUnavailable, match="redirects"):
        await scene.latest(NOW)


# ── Electricity Maps' own ways ───────────────────────────────────────────────────────────────────────


async def test_a_plan_without_ranges_gives_the_last_day(maps: Scene) -> None:
    """A refusal of the long past is not a refusal of the key: the last day is still there, and grows with time."""
    maps.server.apis["electricity-maps"].plan = {"latest", "history", "forecast"}

    assert await maps.history(NOW, 72) == TRUTH[49:72]
    assert await maps.history(NOW + 20 * HOUR, 72) == TRUTH[49:92]


async def test_a_wrong_key_is_refused_with_a_hint_and_without_the_key(maps: Scene, tmp_path: Path) -> None:
    """The refusal says what to check, and never prints the key."""
    source = LiveCarbon(
        ElectricityMaps(Fetch(private=True), "wrong-key", maps.server.address("electricity-maps")),
        Archive("electricity-maps", tmp_path / "other.db"),
    )
    with pytest.raises(SignalRefused) as caught:
        await source.latest("DE", LIFECYCLE, NOW)

    assert "401" in caught.value.message
    assert "ELECTRICITY_MAPS__KEY" in caught.value.hint()
    assert "wrong-key" not in f"{caught.value.message} {caught.value.hint()}"


@pytest.mark.parametrize("v3", [False, True])
async def test_both_envelopes_are_read(maps: Scene, v3: bool) -> None:
    """v4 says data where v3 says history."""
    maps.server.apis["electricity-maps"].v3 = v3

    assert await maps.history(NOW, 24) == TRUTH[48:72]


async def test_estimates_say_so_and_are_corrected(maps: Scene) -> None:
    """The running hour is an estimate; a later correction is a new version, and what was known stays known."""
    first = await maps.latest(NOW)
    assert isinstance(first, CarbonIntensity)
    assert first.kind is Kind.ESTIMATED
    maps.server.apis["electricity-maps"].corrections = {first.interval.start: 444.0}
    later = NOW + 5 * HOUR
    assert (await maps.history(later, 5))[0] == 444.0
    series = await maps.source.history("DE", LIFECYCLE, first.interval, later)
    assert series.points[0].kind is Kind.MEASURED
    assert series.points[0].issued_at > first.issued_at


async def test_direct_and_life_cycle_do_not_mix(maps: Scene) -> None:
    """An answer of the other factors is not taken for what was asked."""
    maps.server.lie = lambda document: (
        document | {"emissionFactorType": "direct"} if "datetime" in document else document
    )
    latest = await maps.latest(NOW)

    assert isinstance(latest, Gap)


async def test_the_forecast_is_asked_for_in_steps_that_exist(maps: Scene) -> None:
    """Horizons are 6, 24, 48 and 72 hours only."""
    maps.server.grid.now = NOW
    for ahead in (3, 30, 60, 100):
        source = LiveCarbon(feed("electricity-maps", maps.server), Archive("other"))
        series = await source.forecast("DE", LIFECYCLE, Window(NOW, NOW + ahead * HOUR), NOW)
        assert series is not None
        assert len(series.points) == min(ahead + 1, 73)
    horizons = [q["horizonHours"] for path, q, _ in maps.server.asked if path.endswith("forecast")]
    assert horizons == ["24", "48", "72", "72"]


# ── WattTime's own ways ──────────────────────────────────────────────────────────────────────────────


async def test_a_login_lasts_for_its_half_hour(watts: Scene) -> None:
    """Many questions, one login; a new one when it runs out, and when the API wants one earlier."""
    api = watts.server.apis["watttime"]
    for minutes in (0, 5, 10, 20):
        await watts.latest(NOW + minutes * MINUTE)
    assert api.logins == 1
    api.tokens.clear()
    assert isinstance(await watts.latest(NOW + 25 * MINUTE), CarbonIntensity)
    assert api.logins == 2
    await watts.latest(NOW + 60 * MINUTE)
    assert api.logins == 3


async def test_pounds_per_megawatt_hour_are_converted(watts: Scene) -> None:
    """An hour is the mean of its twelve values, in grams per kWh."""
    assert await watts.history(NOW, 24) == pytest.approx(TRUTH[48:72])


@pytest.mark.parametrize(
    "change", [{"units": "percentile"}, {"units": None}, {"region": "PJM_DC"}, {"signal_type": "x"}]
)
async def test_an_answer_of_another_unit_region_or_signal_is_none(watts: Scene, change: dict[str, object]) -> None:
    """What the numbers are stands beside them, and is compared."""
    watts.server.apis["watttime"].changes = change
    latest = await watts.latest(NOW)

    assert isinstance(latest, Gap)
    assert next(iter(change)) in latest.reason


async def test_a_region_outside_the_plan_is_refused_for_itself(watts: Scene) -> None:
    """The free region goes on."""
    watts.server.grid.now = NOW
    with pytest.raises(SignalRefused, match="403"):
        await watts.source.latest("US-NE-ISNE", MOER, NOW)

    assert isinstance(await watts.latest(NOW), CarbonIntensity)


async def test_life_cycle_marginal_intensity_does_not_exist_there(watts: Scene) -> None:
    """It counts the stack; asking for more gets a reason that names the difference."""
    gap = await watts.source.latest("US-CAL-CISO", Basis(Accounting.MARGINAL, Factors.LIFECYCLE), NOW)

    assert isinstance(gap, Gap)
    assert "direct" in gap.reason
    assert watts.server.asked == []


# ── the EIA's own ways ───────────────────────────────────────────────────────────────────────────────


async def test_an_hour_is_named_by_its_end_and_weighed_by_its_fuels(fuels: Scene) -> None:
    """The mix of each hour stands at the hour in which it was generated, with the published factors."""
    assert await fuels.history(NOW, 24) == pytest.approx(TRUTH[48:72])


async def test_all_pages_are_read(fuels: Scene) -> None:
    """An answer that says there is more is asked for more."""
    fuels.server.apis["eia"].most_rows = 50

    assert await fuels.history(NOW, 72) == pytest.approx(TRUTH[:72])
    assert len(fuels.server.asked) == 6


async def test_an_unknown_fuel_is_not_zero(fuels: Scene) -> None:
    """An hour without its coal, told as null or not told, is a hole; an unknown that is always small is not."""
    hours = fuels.server.grid.generation["US-MIDA-PJM"]
    hours[START + 60 * HOUR]["COL"] = None
    del hours[START + 61 * HOUR]["COL"]
    values = await fuels.history(NOW, 24)

    assert values == pytest.approx([*TRUTH[48:60], *TRUTH[62:72]])


async def test_the_key_in_the_query_is_never_told(fuels: Scene) -> None:
    """Keys of this API travel in the address, which no message shows."""
    source = LiveCarbon(
        Eia(Fetch(private=True), "wrong-key", ["US-MIDA-PJM"], fuels.server.address("eia")), Archive("eia")
    )
    with pytest.raises(SignalRefused) as caught:
        await source.latest("US-MIDA-PJM", LIFECYCLE, NOW)
    fuels.server.behave = faults.status(500)
    with pytest.raises(SignalUnavailable) as failed:
        await fuels.latest(NOW)

    assert "wrong-key" not in f"{caught.value.message} {caught.value.hint()}"
    assert "eia-secret" not in failed.value.message


# ── ENTSO-E's own ways ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def europe(tmp_path: Path) -> AsyncIterator[Scene]:
    """Run the Transparency Platform alone."""
    async with alone("entsoe", tmp_path) as scene:
        yield scene


@pytest.mark.parametrize("sparse", [True, False])
async def test_what_is_left_out_repeats_where_the_curve_says_so(europe: Scene, sparse: bool) -> None:
    """Both curve types give the same hours; what storage draws is no generation."""
    europe.server.apis["entsoe"].sparse = sparse

    assert await europe.history(NOW, 24) == pytest.approx(TRUTH[48:72])


async def test_a_type_that_is_late_makes_its_hours_holes(europe: Scene) -> None:
    """Hours whose coal has not arrived yet are not clean hours."""
    hours = europe.server.grid.generation["FR"]
    for late in (70, 71):
        del hours[START + late * HOUR]["B05"]

    assert await europe.history(NOW, 24) == pytest.approx(TRUTH[48:70])
    latest = await europe.latest(NOW)
    assert isinstance(latest, CarbonIntensity)
    assert latest.interval.end == START + 70 * HOUR


async def test_no_matching_data_is_a_gap(europe: Scene) -> None:
    """An acknowledgement with reason 999 says that nothing is known, not that something is wrong."""
    europe.server.grid.generation["FR"].clear()

    assert isinstance(await europe.latest(NOW), Gap)
    assert await europe.history(NOW, 24) == []


async def test_another_area_is_not_taken(europe: Scene) -> None:
    """The area of the answer must be the one of the question."""
    europe.server.apis["entsoe"].says_area = "10YBE----------2"
    latest = await europe.latest(NOW)

    assert isinstance(latest, Gap)
    assert "another area" in latest.reason


@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>',
        '<?xml version="1.0"?><!doctype a SYSTEM "file:///etc/passwd"><a/>',
    ],
    ids=["entities", "external"],
)
async def test_a_document_type_is_not_read(europe: Scene, text: str) -> None:
    """Entities unfold without end, or fetch what they name."""
    europe.server.behave = faults.body(text)
    latest = await europe.latest(NOW)

    assert isinstance(latest, Gap)
    assert "document type" in latest.reason


# ── remembering ──────────────────────────────────────────────────────────────────────────────────────


async def test_another_process_knows_what_was_learnt(scene: Scene, tmp_path: Path) -> None:
    """The memory is a file: a source that starts while the API is down has yesterday."""
    known = await scene.history(NOW, 48)
    latest = await scene.latest(NOW)
    scene.server.behave = faults.status(500)
    scene.source = LiveCarbon(feed(scene.name, scene.server), Archive(scene.name, tmp_path / "signals.db"))

    assert await scene.history(NOW, 48) == known
    assert await scene.latest(NOW) == latest


async def test_a_damaged_memory_is_a_problem_not_an_error(scene: Scene, tmp_path: Path) -> None:
    """Losing the file costs knowledge only; it is said, and the API still answers."""
    file = tmp_path / "damaged.db"
    file.write_bytes(b"not a database, but long enough to look like one" * 100)
    scene.source = LiveCarbon(feed(scene.name, scene.server), Archive(scene.name, file))

    assert isinstance(await scene.latest(NOW), CarbonIntensity)
    assert "damaged.db" in scene.source.problem


async def test_a_spent_budget_lets_the_source_rest_until_midnight(tmp_path: Path) -> None:
    """Every request counts, logins too; what is known is served on, and the next day asking goes on."""
    async with conformance(world()) as server:
        fetch = Fetch(private=True, seconds=PATIENCE)
        watt = WattTime(fetch, "me", "wt-secret", {"US-CAL-CISO": "CAISO_NORTH"}, server.address("watttime"))
        budget = Budget("watttime", 4, tmp_path / "signals.db")
        source = LiveCarbon(watt, Archive("watttime"), budget=budget, requests=lambda: fetch.requests)
        for minutes in (0, 10, 20, 40, 60, 90):
            server.grid.now = NOW + minutes * MINUTE
            assert isinstance(await source.latest("US-CAL-CISO", MOER, server.grid.now), CarbonIntensity)
        health = source.health(NOW + 90 * MINUTE)
        assert len(server.asked) == health.requests == 4
        assert health.limit == 4
        assert "all 4 requests" in health.problem
        assert health.rests_until == (NOW + 24 * HOUR).replace(hour=0, minute=0)
        server.grid.now = NOW + 24 * HOUR
        await source.latest("US-CAL-CISO", MOER, server.grid.now)
        assert source.health(server.grid.now).problem == ""
        assert len(server.asked) > 4


async def test_watttime_tells_the_forecasts_of_the_past(watts: Scene) -> None:
    """Each by the hour, in grams, with the time at which it was issued: what a back-test may know."""
    url = watts.server.address("watttime")
    feed = WattTime(Fetch(private=True, seconds=20), "me", "wt-secret", {"US-CAL-CISO": "CAISO_NORTH"}, url)
    watts.server.grid.now = NOW
    found = await feed.past_forecasts("US-CAL-CISO", MOER, Window(NOW - 3 * HOUR, NOW), NOW)

    assert not isinstance(found, Gap)
    assert [one[0].issued_at for one in found] == [START + n * HOUR for n in (70, 71, 72)]
    for one in found:
        assert len(one) == 24
        assert all(s.kind is Kind.FORECAST and is_true(s.grams_per_kwh) for s in one)
        assert one[0].issued_at is not None
        assert one[0].interval.start == one[0].issued_at


async def test_a_sdk_without_forecasts_makes_none(tmp_path: Path) -> None:
    """501 is said of one question; the source is asked on about everything else."""
    async with alone("carbon-aware-sdk", tmp_path) as scene:
        scene.server.apis["carbon-aware-sdk"].makes_forecasts = False
        window = Window(NOW, NOW + 24 * HOUR)
        assert await scene.source.forecast(scene.zone, scene.basis, window, NOW) is None
        assert isinstance(await scene.latest(NOW), CarbonIntensity)
        assert scene.source.health(NOW).problem == ""


async def test_an_sdk_answers_under_its_providers_name_once_that_is_set(tmp_path: Path) -> None:
    """Over WattTime rows name the region. Without the setting that is another place, and the way out is told."""
    async with alone("carbon-aware-sdk", tmp_path) as scene:
        url = scene.server.address("carbon-aware-sdk")
        scene.server.grid.now = NOW
        plain = CarbonAware(Fetch(private=True), url, {"US-CAL-CISO": "westus"}, MOER)

        for question in (plain.current("US-CAL-CISO", MOER, NOW), plain.forecast("US-CAL-CISO", MOER, 24, NOW)):
            with pytest.raises(SignalFormatError, match="asked about westus, answered about 'CAISO_NORTH'") as caught:
                await question
            assert "signals.carbon_aware.answers_as" in caught.value.hint()
        assert isinstance(await scene.latest(NOW), CarbonIntensity)
        assert await scene.source.forecast(scene.zone, scene.basis, Window(NOW, NOW + 24 * HOUR), NOW) is not None


async def test_rows_of_an_sdk_about_two_places_are_none(tmp_path: Path) -> None:
    """Under the name that was asked for and under its provider's: nothing says that both are the same place."""

    def first_row_renamed(document: Any) -> Any:
        return [{**document[0], "location": "westus"}, *document[1:]]

    async with alone("carbon-aware-sdk", tmp_path) as scene:
        scene.server.lie = first_row_renamed
        latest = await scene.latest(NOW)

        assert isinstance(latest, Gap)
        assert "answered about 'CAISO_NORTH'" in latest.reason


async def test_a_poll_of_many_zones_asks_each_once_and_none_again_in_time(tmp_path: Path) -> None:
    """A hundred and fifty zones are as many requests, and for five minutes there are no others."""
    zones = [f"Z{number:03d}" for number in range(150)]
    grid = Grid(NOW, running=True)
    for number, zone in enumerate(zones):
        grid.put(zone, Factors.LIFECYCLE, START, [grams + number for grams in TRUTH])
    async with conformance(grid) as server:
        fetch = Fetch(private=True, seconds=20)
        maps = ElectricityMaps(fetch, "em-secret", server.address("electricity-maps"))
        source = LiveCarbon(maps, Archive(maps.name, tmp_path / "signals.db"), requests=lambda: fetch.requests)
        for seconds in (0, 1, 60, 299):
            now = NOW + timedelta(seconds=seconds)
            readings = await asyncio.gather(*(source.latest(zone, LIFECYCLE, now) for zone in zones))
            assert [r.zone for r in readings if isinstance(r, CarbonIntensity)] == zones

        assert len(server.asked) == source.health(NOW).requests == 150
        assert len({query["zone"] for _, query, _ in server.asked}) == 150
