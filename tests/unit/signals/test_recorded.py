"""Recordings on disk: what is read, what is not believed, what is refused."""

from __future__ import annotations

import gzip
import os
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.carbon import Accounting, Basis, CarbonIntensity, Factors, Gap, Kind
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.errors import SignalFormatError, SignalUnavailable
from orchestrator.signals.recorded import RecordedCarbon

LIFECYCLE = Basis()
DIRECT = Basis(Accounting.AVERAGE, Factors.DIRECT)
NOON = parse_instant("2031-03-01T12:00Z")
HEADER = "datetime_utc,AA,BB"


def rows(first: str, *cells: str) -> str:
    """Give hourly rows from ``first`` on, each with these cells."""
    start = parse_instant(first)
    return "".join(f"{start + n * HOUR:%Y-%m-%dT%H:%MZ},{text}\n" for n, text in enumerate(cells))


def write(folder: Path, name: str, text: str) -> None:
    """Write a file of the layout."""
    (folder / name).write_text(text, encoding="utf-8")


async def value(source: RecordedCarbon, zone: str, now: Instant, basis: Basis = LIFECYCLE) -> float | str:
    """Give the latest number, or the reason why there is none."""
    reading = await source.latest(zone, basis, now)
    return reading.reason if isinstance(reading, Gap) else reading.grams_per_kwh


async def test_an_hour_is_known_only_when_it_is_over(tmp_path: Path) -> None:
    """At 12:59 the hour from 12:00 is still running; at 13:00 it is the newest value, and new."""
    write(tmp_path, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-03-01T11:00Z", "11,1", "12,1"))
    source = RecordedCarbon(tmp_path)

    before = await source.latest("AA", LIFECYCLE, NOON + timedelta(minutes=59))
    after = await source.latest("AA", LIFECYCLE, NOON + HOUR)

    assert isinstance(before, CarbonIntensity)
    assert isinstance(after, CarbonIntensity)
    assert (before.grams_per_kwh, before.age(NOON + timedelta(minutes=59))) == (11, timedelta(minutes=59))
    assert (after.grams_per_kwh, after.age(NOON + HOUR)) == (12, timedelta(0))
    assert after.kind is Kind.RECORDED


async def test_the_source_names_file_and_owner(tmp_path: Path) -> None:
    """The owner of the data stands in the README beside or above the folder, and then in each value."""
    folder = tmp_path / "carbon"
    folder.mkdir()
    write(folder, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-03-01T11:00Z", "11,1"))
    write(tmp_path, "README.md", 'The series belong to somebody. Attribute "Grid Watchers".\n')

    reading = await RecordedCarbon(folder).latest("AA", LIFECYCLE, NOON)
    assert isinstance(reading, CarbonIntensity)
    assert reading.source == "recorded ci_lifecycle_2031.csv (data: Grid Watchers)"

    write(folder, "README.md", "Attribution: Other Watchers\n")
    reading = await RecordedCarbon(folder).latest("AA", LIFECYCLE, NOON)
    assert isinstance(reading, CarbonIntensity)
    assert reading.source.endswith("(data: Other Watchers)")


@pytest.mark.parametrize("bad", ["-3", "nan", "inf", "2500", "0", "none"])
async def test_a_value_that_no_grid_has_is_quarantined(tmp_path: Path, bad: str) -> None:
    """It becomes a hole, the value before it stays the latest, and the report names file, line and column."""
    write(tmp_path, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-03-01T10:00Z", "10,1", f"{bad},1"))
    source = RecordedCarbon(tmp_path)

    assert await value(source, "AA", NOON) == 10
    (found,) = source.quarantined()
    assert (found.file, found.line, found.zone, found.text) == ("ci_lifecycle_2031.csv", 3, "AA", bad)
    assert found.reason


async def test_direct_intensity_may_be_zero(tmp_path: Path) -> None:
    """A grid of hydro and nuclear has no stack emissions for hours on end; its life-cycle intensity is never zero."""
    write(tmp_path, "ci_direct_2031.csv", f"{HEADER}\n" + rows("2031-03-01T10:00Z", "10,1", "0,1"))
    source = RecordedCarbon(tmp_path)

    assert await value(source, "AA", NOON, DIRECT) == 0
    assert source.quarantined() == ()


async def test_an_empty_cell_is_a_hole_and_no_complaint(tmp_path: Path) -> None:
    """Holes are ordinary; they are neither filled nor reported as bad values."""
    write(tmp_path, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-03-01T09:00Z", "9,1", ",1", ",1"))
    source = RecordedCarbon(tmp_path)

    assert await value(source, "AA", NOON) == 9
    assert source.quarantined() == ()


async def test_missing_rows_are_holes(tmp_path: Path) -> None:
    """A recording may skip hours altogether."""
    text = f"{HEADER}\n" + rows("2031-03-01T01:00Z", "1,1") + rows("2031-03-01T05:00Z", "5,1")
    write(tmp_path, "ci_lifecycle_2031.csv", text)
    series = await RecordedCarbon(tmp_path).history("AA", LIFECYCLE, Window(NOON - 12 * HOUR, NOON), NOON)

    assert [p.grams_per_kwh for p in series.points] == [1, 5]


async def test_history_crosses_the_new_year(tmp_path: Path) -> None:
    """Years are files; a window over midnight of the last day reads both, and the latest value may be last year's."""
    write(tmp_path, "ci_lifecycle_2030.csv", f"{HEADER}\n" + rows("2030-12-31T22:00Z", "22,1", "23,1"))
    write(tmp_path, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-01-01T00:00Z", "24,1", "25,1"))
    source = RecordedCarbon(tmp_path)
    midnight = parse_instant("2031-01-01T00:00Z")

    window = Window(midnight - 6 * HOUR, midnight + 6 * HOUR)
    assert await value(source, "AA", midnight) == 23
    series = await source.history("AA", LIFECYCLE, window, midnight + 6 * HOUR)
    assert [p.grams_per_kwh for p in series.points] == [22, 23, 24, 25]


async def test_a_zone_of_the_extra_file_does_not_replace_the_main_one(tmp_path: Path) -> None:
    """The extra file is another vintage: it serves zones that the main file lacks, and only those."""
    write(tmp_path, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-03-01T10:00Z", "10,1", ",1"))
    extra = "datetime_utc,AA,CC\n" + rows("2031-03-01T10:00Z", "90,33", "91,34")
    with gzip.open(tmp_path / "ci_lifecycle_2031_extra_zones.csv.gz", "wt", encoding="utf-8") as file:
        file.write(extra)
    source = RecordedCarbon(tmp_path)

    assert await value(source, "AA", NOON) == 10
    assert await value(source, "CC", NOON) == 34
    assert await source.zones() == {"AA", "BB", "CC"}


async def test_the_plain_file_counts_when_both_exist(tmp_path: Path) -> None:
    """Whoever unpacks a file and mends a value wants the mended one."""
    with gzip.open(tmp_path / "ci_lifecycle_2031.csv.gz", "wt", encoding="utf-8") as file:
        file.write(f"{HEADER}\n" + rows("2031-03-01T11:00Z", "1,1"))
    write(tmp_path, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-03-01T11:00Z", "2,1"))

    assert await value(RecordedCarbon(tmp_path), "AA", NOON) == 2


async def test_before_the_recording_there_is_nothing(tmp_path: Path) -> None:
    """The reason says when it begins."""
    write(tmp_path, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-03-01T11:00Z", "1,1"))

    reason = await value(RecordedCarbon(tmp_path), "AA", parse_instant("2030-06-01T00:00Z"))
    assert "begins 2031-03-01T11:00:00Z" in str(reason)


async def test_the_reason_names_what_is_missing(tmp_path: Path) -> None:
    """A column, a factor, an accounting: each gap says which."""
    write(tmp_path, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-03-01T11:00Z", "1,1"))
    source = RecordedCarbon(tmp_path)

    assert await value(source, "CC", NOON) == "no column 'CC' in ci_lifecycle_2031.csv"
    assert "no file of direct" in str(await value(source, "AA", NOON, DIRECT))
    assert "marginal" in str(await value(source, "AA", NOON, Basis(Accounting.MARGINAL)))


FORECAST = (
    "issued_date_utc,horizon_h,AA,BB\n"
    + "".join(f"2031-02-28,{h},{100 + h},\n" for h in range(96))
    + "".join(f"2031-03-01,{h},{200 + h},\n" for h in range(96))
    + "".join(f"2031-03-02,{h},{300 + h},\n" for h in range(96))
)


def with_forecast(folder: Path) -> RecordedCarbon:
    """Give a recording with three daily forecasts of zone AA."""
    write(folder, "ci_direct_2031.csv", f"{HEADER}\n" + rows("2031-03-01T00:00Z", "1,1"))
    write(folder, "ci_forecast_toy_2031.csv", FORECAST)
    return RecordedCarbon(folder)


async def test_the_newest_issue_of_the_day_is_served(tmp_path: Path) -> None:
    """At noon of the 1st, the forecast of that midnight counts, not tomorrow's."""
    series = await with_forecast(tmp_path).forecast("AA", DIRECT, Window(NOON, NOON + 3 * HOUR), NOON)

    assert series is not None
    assert [p.grams_per_kwh for p in series.points] == [212, 213, 214]
    assert {p.issued_at for p in series.points} == {parse_instant("2031-03-01T00:00Z")}
    assert series.kind is Kind.FORECAST
    assert "ci_forecast_toy_2031.csv" in series.points[0].source


async def test_an_older_issue_serves_while_it_reaches(tmp_path: Path) -> None:
    """Without an issue for three days the last one is used as far as it goes, and says when it was issued."""
    source = with_forecast(tmp_path)
    now = parse_instant("2031-03-05T12:00Z")
    series = await source.forecast("AA", DIRECT, Window(now, now + 24 * HOUR), now)

    assert series is not None
    assert len(series.points) == 12
    assert series.points[0].issued_at == parse_instant("2031-03-02T00:00Z")
    later = now + timedelta(days=9)
    assert await source.forecast("AA", DIRECT, Window(later, later + HOUR), later) is None


async def test_direct_forecasts_never_answer_for_lifecycle(tmp_path: Path) -> None:
    """The stored forecasts are of direct intensity; a life-cycle question gets none. Nor does an empty column."""
    source = with_forecast(tmp_path)
    window = Window(NOON, NOON + HOUR)

    assert await source.forecast("AA", LIFECYCLE, window, NOON) is None
    assert await source.forecast("BB", DIRECT, window, NOON) is None
    assert await source.forecast("CC", DIRECT, window, NOON) is None


def test_coverage_names_zones_bases_and_years(tmp_path: Path) -> None:
    """Doctor and the demo need to know what there is without reading every number."""
    write(tmp_path, "ci_lifecycle_2030.csv", "datetime_utc,AA\n" + rows("2030-05-01T00:00Z", "1", "2"))
    write(tmp_path, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-03-01T00:00Z", "1,1", "2,2"))
    write(tmp_path, "ci_direct_2031.csv", "datetime_utc,BB\n" + rows("2031-03-01T00:00Z", "1"))

    covered = {(c.zone, c.basis.factors): c for c in RecordedCarbon(tmp_path).coverage()}
    assert set(covered) == {("AA", Factors.LIFECYCLE), ("BB", Factors.LIFECYCLE), ("BB", Factors.DIRECT)}
    own = covered["AA", Factors.LIFECYCLE]
    assert (own.first, own.until) == (parse_instant("2030-05-01T00:00Z"), parse_instant("2031-03-01T02:00Z"))
    assert own.years == (2030, 2031)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("time,AA\n", "must begin with column datetime_utc"),
        ("datetime_utc,AA,AA\n", "column 'AA' occurs twice"),
        ("datetime_utc,,AA\n", "column 2 needs a plain name"),
        (f"{HEADER}\n2031-03-01T00:00Z,1\n", ":2: 2 cells, the header has 3"),
        (f"{HEADER}\nyesterday,1,1\n", ":2: column datetime_utc"),
        (f"{HEADER}\n2031-03-01T00:00,1,1\n", "has no time zone"),
        (f"{HEADER}\n2031-03-01T00:30Z,1,1\n", ":2: 2031-03-01T00:30Z is not the start of an hour"),
        (f"{HEADER}\n2030-03-01T00:00Z,1,1\n", ":2: 2030 in a file of 2031"),
        (f"{HEADER}\n2031-03-01T01:00Z,1,1\n2031-03-01T01:00Z,1,1\n", ":3: column datetime_utc does not grow"),
    ],
    ids=lambda text: repr(text)[-38:],
)
async def test_a_damaged_structure_is_refused_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    """When rows and columns cannot be trusted, no number of the file can; the message says where to look."""
    write(tmp_path, "ci_lifecycle_2031.csv", text)

    with pytest.raises(SignalFormatError) as raised:
        await RecordedCarbon(tmp_path).latest("AA", LIFECYCLE, NOON)
    assert "ci_lifecycle_2031.csv" in raised.value.message
    assert complaint in raised.value.message


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("issued_date_utc,horizon_h,AA\n1 March,0,1\n", ":2: column issued_date_utc"),
        ("issued_date_utc,horizon_h,AA\n2031-03-01,soon,1\n", ":2: column horizon_h: 'soon'"),
        ("issued_date_utc,horizon_h,AA\n2031-03-01,0,1\n2031-03-01,0,1\n", ":3: column horizon_h: '0'"),
    ],
    ids=["date", "horizon", "twice"],
)
async def test_a_damaged_forecast_is_refused_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    """Forecast files are as strict as hourly ones."""
    write(tmp_path, "ci_direct_2031.csv", f"{HEADER}\n" + rows("2031-03-01T00:00Z", "1,1"))
    write(tmp_path, "ci_forecast_toy_2031.csv", text)

    with pytest.raises(SignalFormatError) as raised:
        await RecordedCarbon(tmp_path).forecast("AA", DIRECT, Window(NOON, NOON + HOUR), NOON)
    assert complaint in raised.value.message


async def test_a_torn_archive_is_refused(tmp_path: Path) -> None:
    """A copy that was cut short is damaged, not merely shorter."""
    packed = gzip.compress((f"{HEADER}\n" + rows("2031-03-01T00:00Z", *["1,1"] * 500)).encode())
    (tmp_path / "ci_lifecycle_2031.csv.gz").write_bytes(packed[: len(packed) // 2])

    with pytest.raises(SignalFormatError, match="is damaged"):
        await RecordedCarbon(tmp_path).latest("AA", LIFECYCLE, NOON)


async def test_a_missing_or_empty_folder_is_unavailable(tmp_path: Path) -> None:
    """The message names the folder and what was expected in it."""
    with pytest.raises(SignalUnavailable, match="nowhere cannot be read"):
        await RecordedCarbon(tmp_path / "nowhere").zones()
    with pytest.raises(SignalUnavailable, match="expected ci_lifecycle_YYYY"):
        await RecordedCarbon(tmp_path).latest("AA", LIFECYCLE, NOON)


async def test_years_that_are_not_asked_for_are_not_read(tmp_path: Path) -> None:
    """A damaged file of another year disturbs nobody who does not need it."""
    write(tmp_path, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-03-01T11:00Z", "7,1"))
    write(tmp_path, "ci_lifecycle_2032.csv", f"{HEADER}\nbroken\n")

    assert await value(RecordedCarbon(tmp_path), "AA", NOON) == 7


def renew(folder: Path, name: str, text: str) -> None:
    """Replace a file by a later one, as ``greenctl signals record`` does every day."""
    later = 1 + (folder / name).stat().st_mtime
    write(folder, name, text)
    os.utime(folder / name, (later, later))


async def test_hours_that_are_added_are_known_a_minute_later(tmp_path: Path) -> None:
    """A controller lives for weeks beside a recording that grows by the day."""
    write(tmp_path, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-03-01T10:00Z", "10,1"))
    source = RecordedCarbon(tmp_path)
    assert await value(source, "AA", NOON) == 10

    renew(tmp_path, "ci_lifecycle_2031.csv", f"{HEADER},CC\n" + rows("2031-03-01T10:00Z", "10,1,7", "11,1,8"))
    assert await value(source, "AA", NOON + timedelta(seconds=59)) == 10
    later = NOON + timedelta(minutes=1)
    assert (await value(source, "AA", later), await value(source, "CC", later)) == (11, 8)
    series = await source.history("AA", LIFECYCLE, Window(NOON - 4 * HOUR, NOON), later)
    assert [p.grams_per_kwh for p in series.points] == [10, 11]


async def test_a_file_of_a_new_year_and_a_new_forecast_are_found(tmp_path: Path) -> None:
    """The folder is looked at, not only what was in it at first; files that are the same are not read again."""
    source = with_forecast(tmp_path)
    window = Window(NOON + 24 * HOUR, NOON + 25 * HOUR)
    assert await source.forecast("AA", DIRECT, window, NOON) is not None

    renew(tmp_path, "ci_forecast_toy_2031.csv", FORECAST.replace("2031-03-01,36,236,", "2031-03-01,36,999,"))
    write(tmp_path, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-03-01T10:00Z", "10,1"))
    later = NOON + timedelta(minutes=1)
    series = await source.forecast("AA", DIRECT, window, later)
    assert series is not None
    assert [p.grams_per_kwh for p in series.points] == [999]
    assert await value(source, "AA", later) == 10


async def test_a_file_that_breaks_keeps_what_was_read_of_it(tmp_path: Path) -> None:
    """Somebody may be writing it: nobody is moved by stand-ins for it, and it is read when it is whole again."""
    good = f"{HEADER}\n" + rows("2031-03-01T10:00Z", "10,1")
    write(tmp_path, "ci_lifecycle_2031.csv", good)
    source = RecordedCarbon(tmp_path)
    assert await value(source, "AA", NOON) == 10

    renew(tmp_path, "ci_lifecycle_2031.csv", good + "2031-03-01T11:00Z,1")
    assert await value(source, "AA", NOON + timedelta(minutes=1)) == 10
    renew(tmp_path, "ci_lifecycle_2031.csv", good + rows("2031-03-01T11:00Z", "11,1"))
    assert await value(source, "AA", NOON + timedelta(minutes=2)) == 11


async def test_a_folder_that_goes_away_keeps_what_was_read_of_it(tmp_path: Path) -> None:
    """As a disk that is not mounted for a moment; what is known grows old in plain sight."""
    folder = tmp_path / "carbon"
    folder.mkdir()
    write(folder, "ci_lifecycle_2031.csv", f"{HEADER}\n" + rows("2031-03-01T10:00Z", "10,1"))
    source = RecordedCarbon(folder)
    assert await value(source, "AA", NOON) == 10

    folder.rename(tmp_path / "elsewhere")
    assert await value(source, "AA", NOON + timedelta(minutes=1)) == 10
