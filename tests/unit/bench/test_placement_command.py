"""``greenctl bench placement``: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.bench.placement_folder import HOURS, YEAR, instance, intensities, service, write_folder
from tests.unit.cli.world import World

LAST = 48
SERVICES = [service("open", 80.0), service("scarce", 80.0)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A year of which two days are scored."""
    document = instance(SERVICES, warmup_hours=HOURS - LAST, scored_hours=LAST)
    return write_folder(tmp_path_factory.mktemp("data"), intensities(), document)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Nothing of it is used: this bench contacts nobody."""
    return World(tmp_path)


def bench(world: World, data: Path, *words: object) -> tuple[int, str, str]:
    """Run it; returns the exit status and what was printed and said."""
    result = world.run("bench", "placement", "--data", data, "--year", YEAR, *words)
    return result.exit_code, result.stdout, result.stderr


def test_a_year_is_placed_counted_and_scored_again_from_its_file(world: World, data: Path, tmp_path: Path) -> None:
    """The file alone gives the same grams; ours, every rival and the optimum stand in the document."""
    ours, first, second = tmp_path / "ours.json.gz", tmp_path / "first.json", tmp_path / "second.json"
    status, printed, _ = bench(world, data, "--placements", ours, "--json", first)
    assert status == 0
    assert "greenctl" in printed
    assert "oracle" in printed
    status, _, _ = bench(world, data, "--placements", ours, "--score", "--json", second)
    assert status == 0

    mine, again = (json.loads(p.read_text()) for p in (first, second))
    assert [s["grams"]["greenctl"] for s in mine["services"]] == [s["grams"]["given"] for s in again["services"]]
    assert {r["policy"] for r in mine["rows"]} == {
        *("greenctl", "home", "B3", "B3*", "greedy", "hysteresis", "regret", "rolling", "oracle")
    }
    assert mine["scored_hours"] == LAST
    assert all(s["gap_points"] >= 0 for s in mine["summaries"])


def test_one_track_may_be_placed_alone(world: World, data: Path, tmp_path: Path) -> None:
    """Its file has the services of that track, and counts for that track only."""
    ours = tmp_path / "scarce.json"
    status, _, _ = bench(world, data, "--placements", ours, "--track", "scarce", "--json")
    assert status == 0
    assert [s["track"] for s in json.loads(ours.read_text())["services"]] == ["scarce"]

    assert bench(world, data, "--placements", ours, "--track", "scarce", "--score")[0] == 0
    status, _, said = bench(world, data, "--placements", ours, "--score")
    assert status == 2
    assert "1 of 2 services have no placements" in said


def test_what_cannot_be_done_is_said_before_an_hour_is_placed(world: World, data: Path, tmp_path: Path) -> None:
    """A track, a year, a folder or a file that is not there: a status, a sentence, and nothing written."""
    ours = tmp_path / "ours.json"
    for words, status, sentence in (
        (("--track", "odd"), 2, "the tracks are open and scarce"),
        (("--year", 1999), 2, "instance_1999.json"),
        (("--data", tmp_path), 2, "instance_2023.json"),
        (("--score",), 2, "ours.json"),
    ):
        found, _, said = bench(world, data, "--placements", ours, *words)
        assert found == status
        assert sentence in said
    assert not ours.exists()


def test_a_grid_without_a_zone_of_the_instance_is_named(world: World, tmp_path: Path) -> None:
    """The carbon file of another instance has no column for a candidate."""
    odd = instance(SERVICES, regions={**instance()["regions"], "c:sunny": {"zone": "MARS", "pue": 1.0}})
    write_folder(tmp_path, np.full((HOURS, 3), 100.0), odd)
    status, _, said = bench(world, tmp_path, "--placements", tmp_path / "ours.json")

    assert status == 5
    assert "no column 'MARS'" in said
