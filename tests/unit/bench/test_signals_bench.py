"""Poisoned feeds behind the real gate, in front of the real planner."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.bench.signals.feeds import Attack, PretendedFeed
from orchestrator.bench.signals.lies import LIES
from orchestrator.bench.signals.measure import measure, run_scene
from orchestrator.bench.signals.scenes import Draw, Scene
from orchestrator.cli.app import app
from orchestrator.domain.carbon import Basis, CarbonIntensity, Gap
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.errors import SignalUnavailable
from orchestrator.signals.recorded import RecordedCarbon

START = datetime(2031, 1, 1, tzinfo=UTC)
LEVELS = {"AA": 60.0, "BB": 220.0, "CC": 380.0, "DD": 700.0}


def intensity(zone: str, hour: int) -> float:
    """A day, a week, and something that comes and goes, a little different in each zone."""
    level, place = LEVELS[zone], sum(map(ord, zone))
    day = 0.25 * math.sin(2 * math.pi * (hour + place) / 24)
    slow = 0.1 * math.sin(2 * math.pi * hour / (150 + place % 7)) + 0.03 * math.sin(hour * 1.7 + place)
    return round(level * (1 + day + slow), 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make seven months of four zones."""
    made = tmp_path_factory.mktemp("data") / "carbon"
    made.mkdir()
    rows = [",".join(["datetime_utc", *LEVELS])]
    for hour in range(24 * 210):
        values = ",".join(f"{intensity(zone, hour)}" for zone in LEVELS)
        rows.append(f"{START + hour * HOUR:%Y-%m-%dT%H:%MZ},{values}")
    (made / "ci_lifecycle_2031.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return made.parent


def test_no_poisoned_feed_moves_a_replica(folder: Path) -> None:
    """Behind the gate not one lie of any kind leads anybody astray; without it some do, so they are lies."""
    done: list[None] = []
    outcome = measure(folder, len(LIES), lambda: done.append(None), seed=1)

    assert outcome.misled == ()
    assert outcome.scenes == len(done) == len(LIES)
    assert {row.kind for row in outcome.rows} == set(LIES)
    assert sum(row.misled_without_gate for row in outcome.rows) >= 3
    assert sum(row.doubted_scenes for row in outcome.rows) >= len(LIES) // 2


async def test_scenes_are_the_same_for_the_same_seed_and_never_excuse_a_move(folder: Path) -> None:
    """In every hour of the lie and the day after, home is the cleaner place."""
    draw = Draw.of(RecordedCarbon(folder / "carbon"), seed=7)
    for number in range(8):
        scene = await draw.scene(number)
        assert scene == await draw.scene(number)
        window = scene.attack.window
        home, there = scene.grams_per_kwh[scene.home], scene.grams_per_kwh[scene.attack.zone]
        hours = [window.start + n * HOUR for n in range(int(window.hours) + 24)]
        assert all(home[hour] < there[hour] for hour in hours)


async def test_the_bench_sees_a_move_when_there_is_one(folder: Path) -> None:
    """A lie that is no lie, a zone that really became clean for good, moves the replica: the check can fail."""
    scene = await Draw.of(RecordedCarbon(folder / "carbon"), seed=7).scene(0)
    window = Window(scene.attack.window.start, scene.attack.window.start + 6 * HOUR)
    home = scene.grams_per_kwh[scene.home]
    cleaner: dict[Instant, float] = {hour: grams / 2 for hour, grams in home.items()}
    truth = Attack(scene.attack.zone, lambda true, _: true, window, scene.home, 3, 0.5, rewrites=False)
    changed = Scene("truth", Basis(), scene.home, truth, {scene.home: home, scene.attack.zone: cleaner})
    run = await run_scene(changed)

    assert run.misled_at is not None
    assert run.misled_without_gate


async def test_each_lie_is_told_of_one_zone_for_its_time(folder: Path) -> None:
    """Before, after and elsewhere the feed tells the truth."""
    drawn = await Draw.of(RecordedCarbon(folder / "carbon"), seed=7).scene(0)
    scene = replace(drawn, attack=replace(drawn.attack, lie=LIES["negative"], rewrites=False))
    feed = PretendedFeed(scene.basis, scene.grams_per_kwh, scene.attack)
    zone, window = scene.attack.zone, scene.attack.window
    for moment, lies in ((window.start - HOUR, False), (window.start, True), (window.end, False)):
        said = await feed.latest(zone, scene.basis, moment)
        assert isinstance(said, Gap) is lies
        elsewhere = await feed.latest(scene.home, scene.basis, moment)
        assert isinstance(elsewhere, CarbonIntensity)


def test_a_folder_without_zones_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """What is missing, and what to name."""
    with pytest.raises(SignalUnavailable):
        measure(tmp_path, 1, lambda: None)
    hours = "".join(f"{START + n * HOUR:%Y-%m-%dT%H:%MZ},1,2\n" for n in range(24 * 30))
    (tmp_path / "ci_lifecycle_2031.csv").write_text("datetime_utc,AA,BB\n" + hours, encoding="utf-8")
    with pytest.raises(SignalUnavailable, match="fewer than three zones"):
        measure(tmp_path, 1, lambda: None)


def test_the_command_prints_the_table_and_the_document(folder: Path, tmp_path: Path) -> None:
    """Kinds, counts, and a total; the same in the file."""
    file = tmp_path / "rows.json"
    words = ["bench", "signals", "--data", str(folder), "--feeds", "2", "--json", str(file)]
    result = CliRunner(env={"COLUMNS": "120"}).invoke(app, words)

    assert result.exit_code == 0, result.stderr
    assert "0 of 2 feeds moved a replica" in result.stdout
    document = json.loads(file.read_text())
    assert (document["feeds"], document["misled"]) == (2, 0)
    assert [row["kind"] for row in document["rows"]] == list(LIES)[:2]
    assert document["true_hours"] >= 2 * 28 * 24
    assert 0 <= document["true_hours_refused"] < document["true_hours"] / 2
    assert "true hours before the lies" in result.stdout
