"""Recordings out of what sources said."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.carbon import Basis, CarbonIntensity, Factors, Kind
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.errors import SignalFormatError, UsageError
from orchestrator.signals.record import write_recording
from orchestrator.signals.recorded import RecordedCarbon

START = parse_instant("2031-12-31T20:00Z")
OWNER = "A Grid Operator, CC BY 4.0"


def series(zone: str, start: Instant, *grams: float) -> tuple[CarbonIntensity, ...]:
    """Make consecutive hours."""
    return tuple(
        CarbonIntensity(zone, g, Window.starting(at, HOUR), Kind.MEASURED, "test", at + HOUR, at + HOUR)
        for g, at in ((g, start + n * HOUR) for n, g in enumerate(grams))
    )


async def read(folder: Path, zone: str) -> list[tuple[Instant, float]]:
    """Read a zone's whole recording as the recorded source does."""
    later = START + 100 * HOUR
    found = await RecordedCarbon(folder).history(zone, Basis(), Window(START - 100 * HOUR, later), later)
    return [(p.interval.start, p.grams_per_kwh) for p in found.points]


async def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    """Over the turn of a year, each year in its file, with the owner's name in every value's source."""
    points = series("DE", START, 400.0, 401.5, 402.25, 403.0, 404.0, 405.0)
    files = write_recording(tmp_path / "new", OWNER, Factors.LIFECYCLE, {"DE": points})

    assert [f.name for f in files] == ["ci_lifecycle_2031.csv", "ci_lifecycle_2032.csv"]
    assert await read(tmp_path / "new", "DE") == [(p.interval.start, p.grams_per_kwh) for p in points]
    latest = await RecordedCarbon(tmp_path / "new").latest("DE", Basis(), START + 9 * HOUR)
    assert isinstance(latest, CarbonIntensity)
    assert OWNER in latest.source


async def test_a_second_run_adds_and_corrects(tmp_path: Path) -> None:
    """Later hours and zones are added, hours said again are replaced, all others stay."""
    write_recording(tmp_path, OWNER, Factors.LIFECYCLE, {"DE": series("DE", START, 400.0, 401.0)})
    more = {"DE": series("DE", START + HOUR, 500.0, 502.0), "FR": series("FR", START, 50.0)}
    write_recording(tmp_path, OWNER, Factors.LIFECYCLE, more)

    assert [g for _, g in await read(tmp_path, "DE")] == [400.0, 500.0, 502.0]
    assert [g for _, g in await read(tmp_path, "FR")] == [50.0]


def test_writing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    """Byte for byte."""
    points = {"DE": series("DE", START, 400.0, 401.0), "AT": series("AT", START, 100.0, 99.0)}
    first = [f.read_bytes() for f in write_recording(tmp_path, OWNER, Factors.DIRECT, points)]
    second = [f.read_bytes() for f in write_recording(tmp_path, OWNER, Factors.DIRECT, dict(reversed(points.items())))]

    assert first == second
    assert not list(tmp_path.glob(".*"))


def test_two_owners_do_not_mix(tmp_path: Path) -> None:
    """A folder is of one owner's data, and nothing is written into another's."""
    points = {"DE": series("DE", START, 400.0)}
    [file] = write_recording(tmp_path, OWNER, Factors.LIFECYCLE, points)
    before = file.read_bytes()
    with pytest.raises(UsageError, match="do not mix"):
        write_recording(tmp_path, "Somebody else", Factors.LIFECYCLE, {"DE": series("DE", START, 1.0)})

    assert file.read_bytes() == before


def test_a_folder_that_cannot_be_added_to_is_named(tmp_path: Path) -> None:
    """Packed files, foreign recordings, damaged files and paths that are no folder."""
    points = {"DE": series("DE", START, 400.0)}
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "ci_lifecycle_2020.csv").write_text("datetime_utc,DE\n")
    (tmp_path / "file").write_text("")
    for name in ("foreign", "file"):
        with pytest.raises(UsageError, match=name):
            write_recording(tmp_path / name, OWNER, Factors.LIFECYCLE, points)
    write_recording(tmp_path / "packed", OWNER, Factors.LIFECYCLE, points)
    (tmp_path / "packed" / "ci_lifecycle_2031.csv").rename(tmp_path / "packed" / "ci_lifecycle_2031.csv.gz")
    with pytest.raises(UsageError, match="gz"):
        write_recording(tmp_path / "packed", OWNER, Factors.LIFECYCLE, points)
    write_recording(tmp_path / "damaged", OWNER, Factors.LIFECYCLE, points)
    (tmp_path / "damaged" / "ci_lifecycle_2031.csv").write_text("when,DE\n1,2\n")
    with pytest.raises(SignalFormatError):
        write_recording(tmp_path / "damaged", OWNER, Factors.LIFECYCLE, points)
