"""The forecast bench: what it reads, what it refuses, what it counts, what it prints."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from orchestrator.bench.forecast.choices import like_zones, when_to_run, where_to_run
from orchestrator.bench.forecast.contenders import OURS, YESTERDAY, issue_all, newest
from orchestrator.bench.forecast.measure import Outcome, measure
from orchestrator.bench.forecast.ranking import METHODS
from orchestrator.bench.forecast.recording import Provider, Recording, read_provider, read_recording
from orchestrator.bench.forecast.scores import BLOCKS, calibration, errors, rank_loss
from orchestrator.cli.app import app
from orchestrator.cli.session import Session
from orchestrator.domain.carbon import Factors
from orchestrator.errors import SignalFormatError, SignalUnavailable
from orchestrator.forecasting.bands import Band
from orchestrator.forecasting.pattern import DAY

YEAR = 2031
HOURS = 365 * DAY
NEW_YEAR = datetime(YEAR, 1, 1, tzinfo=UTC)
ZONES = ("AA", "BB", "CC")


def grids(hours: int = HOURS, *, seed: int = 5) -> np.ndarray:
    """Give three grids with a daily curve and passing weather, about as clean as each other."""
    random = np.random.default_rng(seed)
    swing = np.zeros((hours, 3))
    for t in range(1, hours):
        swing[t] = 0.97 * swing[t - 1] + random.normal(size=3)
    curve = np.sin(2 * np.pi * (np.arange(hours)[:, None] + np.array([0, 8, 16])) / DAY)
    return np.asarray(np.maximum(5.0, 300 + 60 * curve + 15 * swing))


def write_hours(folder: Path, values: np.ndarray, *, year: int = YEAR, factors: str = "direct") -> Path:
    """Write a year's file."""
    start = datetime(year, 1, 1, tzinfo=UTC)
    rows = ["datetime_utc," + ",".join(ZONES[: values.shape[1]])]
    for t, row in enumerate(values):
        cells = ["" if np.isnan(v) else f"{v:.1f}" for v in row]
        rows.append(f"{start + timedelta(hours=t):%Y-%m-%dT%H:00Z}," + ",".join(cells))
    path = folder / f"ci_{factors}_{year}.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def write_forecasts(folder: Path, values: np.ndarray, *, name: str = "oracle", spread: float = 3.0) -> Path:
    """Write a provider's file: the truth with a little noise, 48 hours a day, nothing of the last zone."""
    random = np.random.default_rng(9)
    rows = ["issued_date_utc,horizon_h,AA,BB,CC"]
    for day in range(len(values) // DAY):
        for ahead in range(48):
            row = min(day * DAY + ahead, len(values) - 1)
            cells = [f"{max(0.0, v + random.normal() * spread):.1f}" for v in values[row, :2]]
            rows.append(f"{NEW_YEAR + timedelta(days=day):%Y-%m-%d},{ahead},{','.join(cells)},")
    path = folder / f"ci_forecast_{name}_{YEAR}.csv.gz"
    path.write_bytes(gzip.compress("\n".join(rows).encode(), mtime=0))
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of the recordings, with a provider of two of three zones."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "carbon").mkdir()
    values = grids()
    write_hours(folder / "carbon", values)
    write_forecasts(folder / "carbon", values)
    return folder


@pytest.fixture(scope="module")
def measured(recorded: Path) -> Outcome:
    """What is found there with an issue every twelve hours."""
    return measure(recorded, YEAR, Factors.DIRECT, zones=(), every_hours=12, done=lambda: None)


@pytest.fixture(scope="module")
def printed(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What the command prints, and the document beside it."""
    file = tmp_path_factory.mktemp("found") / "found.json"
    done = bench("--data", recorded, "--year", YEAR, "--every", 24, "--by-zone", "--json", file)
    assert done.exit_code == 0, done.output
    return done.stdout, json.loads(file.read_text(encoding="ascii"))


def bench(*words: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["bench", "forecast", *[str(w) for w in words]], obj=Session())


# ── what is read, and what is refused ─────────────────────────────────────────────────────────────────


def test_earlier_years_are_read_as_far_as_they_go_on(tmp_path: Path) -> None:
    """Two years before the scored one, if none is missing between; a zone that a year lacks is unknown there."""
    write_hours(tmp_path, grids())
    write_hours(tmp_path, grids()[:, :2], year=YEAR - 1)
    write_hours(tmp_path, grids(), year=YEAR - 3)
    found = read_recording(tmp_path, YEAR, Factors.DIRECT)

    assert found.values.shape == (2 * HOURS, 3)
    assert found.scored_from == HOURS
    assert np.isnan(found.values[:HOURS, 2]).all()
    assert found.first_weekday == datetime(YEAR - 1, 1, 1, tzinfo=UTC).weekday()


def test_missing_files_and_columns_are_named(tmp_path: Path) -> None:
    """It says what is missing, where, and what there is instead."""
    with pytest.raises(SignalUnavailable, match="is not a folder"):
        read_recording(tmp_path / "nowhere", YEAR, Factors.DIRECT)
    with pytest.raises(SignalUnavailable, match=r"has no ci_direct_2031\.csv or \.csv\.gz .*there: none"):
        read_recording(tmp_path, YEAR, Factors.DIRECT)
    write_hours(tmp_path, grids())
    with pytest.raises(SignalUnavailable, match="there: 2031"):
        read_recording(tmp_path, YEAR + 1, Factors.DIRECT)
    with pytest.raises(SignalUnavailable, match="no column 'XX'; it has AA, BB, CC"):
        read_recording(tmp_path, YEAR, Factors.DIRECT, ["XX"])


@pytest.mark.parametrize("cell", ["nan", "-1", "inf", "1e9", "abc"])
def test_a_cell_that_is_no_intensity_is_named(tmp_path: Path, cell: str) -> None:
    """Line, column and text of it; an empty cell is no value and no fault."""
    path = write_hours(tmp_path, grids())
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[7] = f"{lines[7].split(',')[0]},{cell},,3.0"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(SignalFormatError, match=rf"ci_direct_2031\.csv:8: column 'AA': '{cell}' is no intensity"):
        read_recording(tmp_path, YEAR, Factors.DIRECT)
    assert np.isnan(read_recording(tmp_path, YEAR, Factors.DIRECT, ["BB"]).values[6, 0])


def test_a_year_with_missing_hours_is_refused(tmp_path: Path) -> None:
    """A hole in the rows would shift every hour after it; a short year would be scored as a whole one."""
    path = write_hours(tmp_path, grids())
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[:100] + lines[103:]), encoding="utf-8")
    with pytest.raises(SignalFormatError, match=r"ci_direct_2031\.csv:101: 3 hours are missing before it"):
        read_recording(tmp_path, YEAR, Factors.DIRECT)
    path.write_text("\n".join(lines[:-24]), encoding="utf-8")
    with pytest.raises(SignalFormatError, match="has 8736 hours, the year 2031 has 8760"):
        read_recording(tmp_path, YEAR, Factors.DIRECT)


def test_a_file_without_zones_or_values_is_refused(tmp_path: Path) -> None:
    """Nothing is not an answer."""
    write_hours(tmp_path, np.zeros((HOURS, 0)))
    with pytest.raises(SignalFormatError, match="needs a plain name"):
        read_recording(tmp_path, YEAR, Factors.DIRECT)
    write_hours(tmp_path, np.full((HOURS, 2), np.nan))
    with pytest.raises(SignalFormatError, match="has no value in AA, BB"):
        read_recording(tmp_path, YEAR, Factors.DIRECT)


def test_a_damaged_forecast_is_named(tmp_path: Path) -> None:
    """A provider's cell that is no number stops the run, with its line; nobody's forecasts are no fault."""
    write_hours(tmp_path, grids())
    recording = read_recording(tmp_path, YEAR, Factors.DIRECT)
    assert read_provider(tmp_path, recording) is None
    (tmp_path / f"ci_forecast_odd_{YEAR}.csv").write_text(
        f"issued_date_utc,horizon_h,AA\n{YEAR}-01-01,0,12\n{YEAR}-01-01,1,what\n", encoding="utf-8"
    )
    with pytest.raises(SignalFormatError, match=r"ci_forecast_odd_2031\.csv:3: column 'AA': 'what' is no intensity"):
        read_provider(tmp_path, recording)


# ── who forecasts what ────────────────────────────────────────────────────────────────────────────────


def test_a_provider_is_heard_from_its_issue_on() -> None:
    """At noon the issue of midnight counts, from its twelfth hour on; before the first one there is none."""
    recording = Recording(YEAR, Factors.DIRECT, ("AA",), np.full((72, 1), 1.0), first_hour=240, scored_from=0)
    grams = np.arange(2 * 48.0).reshape(2, 48, 1)
    provider = Provider("them", (264, 288), grams)
    found = newest(provider, recording, np.array([23, 24, 36, 48]), 48)[:, :, 0]

    assert np.isnan(found[0]).all()
    assert (found[1] == grams[0, :, 0]).all()
    assert (found[2, :36] == grams[0, 12:, 0]).all()
    assert np.isnan(found[2, 36:]).all()
    assert (found[3] == grams[1, :, 0]).all()


def test_no_contender_knows_the_future(tmp_path: Path) -> None:
    """Another autumn changes nothing that was issued in summer, by anybody."""
    values = grids()
    other = values.copy()
    autumn = 250 * DAY
    other[autumn:] = grids(seed=6)[autumn:]
    issued = []
    for number, hours in enumerate((values, other)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_hours(folder, hours)
        write_forecasts(folder, values)
        recording = read_recording(folder, YEAR, Factors.DIRECT)
        provider = read_provider(folder, recording)
        issued.append(issue_all(recording, recording, provider, every_hours=12, done=lambda: None))
    before = issued[0].issues <= autumn

    assert sorted(issued[0].by_name) == sorted(issued[1].by_name)
    for name, forecast in issued[0].by_name.items():
        assert forecast[before].tobytes() == issued[1].by_name[name][before].tobytes(), name
    assert issued[0].by_name[OURS][~before].tobytes() != issued[1].by_name[OURS][~before].tobytes()
    hourly = [forecasts.hourly for forecasts in issued]
    till = hourly[0].issues <= autumn
    assert till.any()
    assert hourly[0].ours[till].tobytes() == hourly[1].ours[till].tobytes()
    assert hourly[0].ours[~till].tobytes() != hourly[1].ours[~till].tobytes()


# ── how it is scored ──────────────────────────────────────────────────────────────────────────────────


def array(*values: float) -> np.ndarray:
    """Give one issue of one zone."""
    return np.array(values, dtype=float)[None, :, None]


def test_errors_by_hand() -> None:
    """Two hours of 100 and 300, forecast as 110 and 280: 30 of 400 is 7.5 %, 15 g each, and 5 g too little."""
    found = errors(array(110, 280, 5), array(100, 300, 9), np.array([True, True, False])[None, :, None])
    assert found.wape_percent.tolist() == [7.5]
    assert found.mae_grams_per_kwh.tolist() == [15]
    assert found.bias_grams_per_kwh.tolist() == [-5]


def test_nothing_to_divide_by_is_unknown() -> None:
    """A grid that emits nothing has no relative error, and one without a counted hour has none at all."""
    every = np.ones((1, 2, 1), dtype=bool)
    assert np.isnan(errors(array(1, 1), array(0, 0), every).wape_percent[0])
    assert errors(array(1, 1), array(0, 0), every).mae_grams_per_kwh[0] == 1
    assert np.isnan(errors(array(1, 1), array(1, 1), ~every).mae_grams_per_kwh[0])


def test_rank_loss_by_hand() -> None:
    """1, 2, 3 forecast as 1, 3, 2: one of three pairs is wrong; a forecast that sees no difference is half wrong."""
    every = np.ones((1, 3, 1), dtype=bool)
    assert rank_loss(array(1, 3, 2), array(1, 2, 3), every) == pytest.approx([100 / 3])
    assert rank_loss(array(7, 7, 7), array(1, 2, 3), every) == pytest.approx([50])
    assert np.isnan(rank_loss(array(1, 2, 3), array(5, 5, 5), every)[0])


def test_when_to_run_by_hand() -> None:
    """Twenty-four hours with one clean stretch: who finds it saves all, who is two hours off saves half."""
    real = np.full(24, 100.0)
    real[10:14] = 0
    every = np.ones((1, 24, 1), dtype=bool)
    found, off = np.full(24, 9.0), np.full(24, 9.0)
    found[10:14], off[12:16] = 1, 1

    assert when_to_run(array(*found), array(*real), every).reached_percent == pytest.approx([100])
    # Of 21 stretches seven touch it, with 100, 75, 50, 25, 50, 75 less: four stretches' worth in all.
    blind = 100 - 400 / 21
    assert when_to_run(array(*off), array(*real), every).reached_percent == pytest.approx([100 * (blind - 50) / blind])
    assert when_to_run(array(*off), array(*real), every).possible_percent == pytest.approx([100])


def test_where_to_run_by_hand() -> None:
    """Two zones that are clean in turn: the best fixed one gets 0 %, the last value the wrong one each time."""
    real = np.array([[0.0, 100.0], [100.0, 0.0], [0.0, 100.0], [100.0, 0.0]])[:, None, :]
    real = np.concatenate([real, np.full((4, 1, 1), 500.0)], axis=2)
    every = np.ones(real.shape, dtype=bool)
    groups = ((0, 1, 2),)
    fixed = np.broadcast_to(np.array([1.0, 2.0, 3.0]), real.shape)

    assert where_to_run(fixed, real, every, groups).reached_percent == pytest.approx([0])
    assert where_to_run(real, real, every, groups).reached_percent == pytest.approx([100])
    assert where_to_run(real[[1, 0, 3, 2]], real, every, groups).reached_percent == pytest.approx([-100])


def test_like_zones_are_neighbours_in_level() -> None:
    """Six by six from the cleanest on; unusable and unknown ones are left out; a rest of two joins its neighbours."""
    level = np.array([7.0, 1, 6, 2, 5, 3, 4, 8, np.nan, 9])
    usable = np.ones(10, dtype=bool)
    usable[9] = False
    assert like_zones(level, usable) == ((1, 3, 5, 6, 4, 2, 0, 7),)
    assert like_zones(np.arange(9.0), np.ones(9, dtype=bool)) == ((0, 1, 2, 3, 4, 5), (6, 7, 8))
    assert like_zones(np.arange(2.0), np.ones(2, dtype=bool)) == ()


def test_calibration_by_hand() -> None:
    """Of four hours three are inside of a band of 50 %, 20 wide; the fourth is 10 above it, which costs four times."""
    band = Band(0.5, array(90, 90, 90, 90), array(110, 110, 110, 110))
    found = calibration(band, array(95, 100, 110, 120), np.ones((1, 4, 1), dtype=bool))
    assert found.coverage_percent.tolist() == [75]
    assert found.width_percent == pytest.approx([100 * 20 / 106.25])
    assert found.interval_score_percent == pytest.approx([100 * (20 + 4 * 10 / 4) / 106.25])


# ── the whole of it ───────────────────────────────────────────────────────────────────────────────────


def test_ours_beats_yesterday_and_a_good_provider_beats_ours(measured: Outcome) -> None:
    """On grids with weather, by a wide margin; and whoever knows the future is believed and named the best."""
    wape = {
        s.name: float(np.mean(s.errors.wape_percent[measured.compared]))
        for s in measured.scores
        if (s.when, s.hours_ahead) == ("at issue", "0-23")
    }

    assert measured.provider == "oracle"
    assert measured.zones == ZONES
    assert measured.compared.tolist() == [True, True, False]  # the provider has none of the last one
    assert wape[OURS] < 0.9 * wape[YESTERDAY]
    assert wape["oracle"] < 0.5 * wape[OURS]
    assert wape["greenctl+oracle"] < 0.6 * wape[OURS]


def test_bands_cover_what_they_promise_through_the_year(measured: Outcome) -> None:
    """80 % and 95 %, hardly less; more where a forecast that is still learning was worse when its errors were taken."""
    for band in measured.bands:
        inside = float(np.mean(band.calibration.coverage_percent[measured.compared]))
        assert -3 < inside - 100 * band.level < 7, (band.name, band.hours_ahead)


def test_the_command_prints_tables_and_writes_the_document(printed: tuple[str, dict[str, Any]]) -> None:
    """Tables on standard output, the document beside them; every figure is a number or null."""
    text, document = printed
    said = " ".join(text.split())  # however wide the terminal is
    assert "direct intensity 2031: 337 issues, one every 24 h, 96 h ahead, 2 of 3 zones; learnt from itself" in said
    assert "greenctl+oracle" in text
    assert document["zones_compared"] == ["AA", "BB"]
    assert document["zones_left_out"] == ["CC"]
    assert {s["issued"] for s in document["scores"]} == {"at issue"}
    assert all(s["wape_percent_mean"] > 0 for s in document["scores"] if s["wape_percent_mean"] is not None)
    beyond = [s for s in document["scores"] if s["forecast"] == "oracle" and s["hours_ahead"] == "48-95"]
    assert [s["wape_percent_mean"] for s in beyond] == [None]  # it forecasts two days
    assert document["age_limits"] == []  # there is no earlier year to learn them from


def test_the_document_ranks_five_methods_by_zone(printed: tuple[str, dict[str, Any]]) -> None:
    """A row for each zone, block and method; null where there is no data; medians are those of the ranked zones."""
    _, document = printed
    rows = {(r["zone"], r["block"], r["method"]): r for r in document["rows"]}

    assert list(rows) == [(z, b, m) for z in ZONES for b in BLOCKS for m in METHODS]
    assert all(set(r) == {"zone", "block", "method", "wape", "rank_loss", "coverage90"} for r in document["rows"])
    unknown = {key for key, row in rows.items() if None in (row["wape"], row["rank_loss"], row["coverage90"])}
    beyond = {(z, "48-95", "stored") for z in ZONES}  # it forecasts two days, and nothing of the last zone
    assert unknown == beyond | {("CC", block, "stored") for block in BLOCKS}
    assert all(rows[key][figure] is None for key in unknown for figure in ("wape", "rank_loss", "coverage90"))
    assert document["zones_ranked"] == ["AA", "BB"]
    for method in METHODS:
        for block in BLOCKS:
            for figure in ("wape", "rank_loss", "coverage90"):
                own = [rows[zone, block, method][figure] for zone in ("AA", "BB")]
                median = None if own[0] is None else pytest.approx(sum(own) / 2)
                assert document["median"][method][block][figure] == median
    assert all(85 < row["coverage90"] < 96 for key, row in rows.items() if key not in unknown)
    day = {method: document["median"][method]["0-5"]["wape"] for method in METHODS}
    assert day["stored"] < day["ours_daily"] < day["yesterday"] < day["last_week"]
    assert day["ours_rolling"] < 1.1 * day["ours_daily"]


def test_last_week_is_the_same_weekday(tmp_path: Path) -> None:
    """Where every week is the same, last week errs by nothing, and yesterday does on Saturdays and Mondays."""
    weekend = (np.arange(HOURS) // DAY) % 7 >= 5
    write_hours(tmp_path, np.where(weekend, 200.0, 400.0)[:, None])
    found = measure(tmp_path, YEAR, Factors.DIRECT, zones=(), every_hours=24, done=lambda: None).ranking

    assert found.median("last_week", "0-23", "wape") == 0
    assert found.median("last_week", "0-23", "coverage90") == 100
    # Of seven days two are a step of 200 g away from yesterday, on a mean of 2,400 g a week.
    assert found.median("yesterday", "0-23", "wape") == pytest.approx(100 * 400 / 2400, rel=0.02)
    assert found.median("stored", "0-23", "wape") is None


def test_two_runs_print_the_same(recorded: Path) -> None:
    """Byte for byte, as a document."""
    words = ("--data", recorded, "--year", YEAR, "--every", 24, "--zone", "AA", "--json")
    one, two = bench(*words), bench(*words)
    assert one.exit_code == 0
    assert one.stdout == two.stdout
    assert json.loads(one.stdout)["zones_compared"] == ["AA"]


def test_life_cycle_intensity_is_told_from_direct_forecasts(tmp_path: Path) -> None:
    """A provider of direct intensity helps life-cycle forecasts, if the folder has both; alone they are left out."""
    values = grids()
    write_hours(tmp_path, values + 40, factors="lifecycle")
    write_forecasts(tmp_path, values)
    alone = measure(tmp_path, YEAR, Factors.LIFECYCLE, zones=(), every_hours=24, done=lambda: None)
    assert (alone.provider, alone.best) == (None, OURS)

    write_hours(tmp_path, values)
    both = measure(tmp_path, YEAR, Factors.LIFECYCLE, zones=("AA", "BB"), every_hours=24, done=lambda: None)
    wape = {s.name: float(np.mean(s.errors.wape_percent)) for s in both.scores if s.hours_ahead == "0-23"}
    assert "oracle" not in wape
    assert wape["greenctl+oracle"] < 0.6 * wape[OURS]


def test_an_earlier_year_teaches_age_limits(tmp_path: Path) -> None:
    """With a year before, the bench says how long the last value is the best guess, and judges the rule."""
    write_hours(tmp_path, grids(seed=1), year=YEAR - 1)
    write_hours(tmp_path, grids(seed=2))
    found = measure(tmp_path, YEAR, Factors.DIRECT, zones=(), every_hours=24, done=lambda: None)

    assert list(found.freshness.rules) == [OURS]
    wape = {(g.name, g.age_hours): g.wape_percent or 0.0 for g in found.freshness.guesses}
    assert wape["last value or greenctl", 12] <= min(wape["last value", 12], wape["28-day mean", 12])
    assert all(g.placement_percent is not None for g in found.freshness.guesses)


def test_a_zone_that_emits_nothing_is_not_compared(tmp_path: Path) -> None:
    """There is no relative error of nothing; alone, such a zone is refused by name."""
    values = grids()
    values[:, 2] = 0.0
    write_hours(tmp_path, values)
    found = measure(tmp_path, YEAR, Factors.DIRECT, zones=(), every_hours=24, done=lambda: None)
    assert found.compared.tolist() == [True, True, False]

    refused = bench("--data", tmp_path, "--year", YEAR, "--zone", "CC")
    assert refused.exit_code == 5
    assert "CC" in refused.output


def test_an_hour_count_must_divide_a_day(recorded: Path) -> None:
    """Issues fall on the same hours of every day, or hours of issue cannot be told apart."""
    refused = bench("--data", recorded, "--year", YEAR, "--every", 5)
    assert refused.exit_code == 2
    assert "--every 5 does not divide a day" in refused.output
