"""``greenctl bench placement``: what it writes, prints and refuses."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.unit.bench.placement_folder import HOURS, REGIONS, YEAR, instance, intensities, service, write_folder
from tests.unit.bench.placement_scorer import scored, unpacked
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
        *("greenctl", "controller", "home", "B3", "B3*", "greedy", "hysteresis", "regret", "rolling", "oracle")
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


def test_a_scorer_of_its_own_program_agrees_to_the_gram(world: World, tmp_path: Path) -> None:
    """Ours, staying at home and the optimum, gaps in the grid included, as somebody else counts them from the file."""
    values = intensities()
    values[[HOURS - LAST + 5, HOURS - 3], 1] = np.nan
    values[HOURS - LAST - 30 : HOURS - LAST + 10, 2] = np.nan
    document = instance(SERVICES, warmup_hours=HOURS - LAST, scored_hours=LAST)
    data, ours, rows = write_folder(tmp_path, values, document), tmp_path / "ours.json", tmp_path / "rows.json"
    assert bench(world, data, "--placements", ours, "--json", rows)[0] == 0

    counted = {s["id"]: s for s in json.loads(rows.read_text())["services"]}
    theirs = scored(data, YEAR, ours)
    assert list(theirs) == list(counted)
    for name, bills in theirs.items():
        assert bills["file"] == pytest.approx((counted[name]["grams"]["greenctl"], counted[name]["moves"]["greenctl"]))
        assert bills["home"] == pytest.approx((counted[name]["grams"]["home"], 0))
        assert bills["optimum"][0] == pytest.approx(counted[name]["grams"]["oracle"])


def test_the_file_of_placements_is_what_others_read(world: World, data: Path, tmp_path: Path) -> None:
    """Its keys, their order, runs that lose no hour and join no neighbours; packed, the same bytes and no clock."""
    plain, packed = tmp_path / "ours.json", tmp_path / "ours.json.gz"
    for path in (plain, packed):
        assert bench(world, data, "--placements", path)[0] == 0

    document = json.loads(plain.read_bytes().decode("ascii"))
    assert list(document) == ["year", "services"]
    assert document["year"] == YEAR
    for entry, asked in zip(document["services"], SERVICES, strict=True):
        assert list(entry) == ["track", "origin", "rtt_budget_ms", "switching_hours", "placements"]
        assert {k: entry[k] for k in list(entry)[:4]} == {k: asked[k] for k in list(entry)[:4]}
        regions, hours = zip(*entry["placements"], strict=True)
        assert set(regions) <= set(asked["candidates"])
        assert sum(hours) == LAST
        assert all(a != b for a, b in pairwise(regions))
    assert unpacked(packed) == plain.read_bytes()
    assert packed.read_bytes()[4:8] == bytes(4)


def test_a_zone_of_no_region_may_be_empty_and_one_of_a_region_may_not(world: World, tmp_path: Path) -> None:
    """More columns than anybody needs are no matter; a candidate without any value is named before the work begins."""
    values = intensities()
    values[:, 0] = np.nan
    used = {k: v for k, v in REGIONS.items() if v["zone"] != "CLEAN"}
    few = instance([SERVICES[1]], warmup_hours=HOURS - LAST, scored_hours=LAST, regions=used)
    ours = tmp_path / "ours.json"
    assert bench(world, write_folder(tmp_path / "few", values, few), "--placements", ours)[0] == 0

    ours.unlink()
    status, _, said = bench(world, write_folder(tmp_path / "all", values), "--placements", ours)
    assert status == 5
    assert "column 'CLEAN' has no value at hour 0 of any day" in said
    assert not ours.exists()


def test_a_region_that_no_service_may_use_needs_no_column(world: World, tmp_path: Path) -> None:
    """An instance may list more regions than its services have candidates."""
    more = {**instance()["regions"], "e:far": {"zone": "MARS", "pue": 1.0}}
    document = instance(SERVICES, warmup_hours=HOURS - LAST, scored_hours=LAST, regions=more)
    data = write_folder(tmp_path, intensities(), document)

    assert bench(world, data, "--placements", tmp_path / "ours.json")[0] == 0


def test_a_zone_that_emits_nothing_has_figures(world: World, tmp_path: Path) -> None:
    """The optimum stays at zero grams: how far above it others are in percent is not known, everything else is."""
    values = intensities()
    values[:, 0] = 0.0
    free = instance([service("open", 0.0)], warmup_hours=HOURS - LAST, scored_hours=LAST)
    data, rows = write_folder(tmp_path, values, free), tmp_path / "rows.json"
    status, printed, _ = bench(world, data, "--placements", tmp_path / "ours.json", "--json", rows)

    assert status == 0
    assert "MOVES" in printed
    found = json.loads(rows.read_text())["rows"]
    assert {r["excess_percent"] for r in found} == {None}
    assert all(r["saving_percent"] == 100.0 for r in found if r["policy"] == "oracle")


def test_a_place_that_cannot_be_written_is_said_before_the_work(world: World, data: Path, tmp_path: Path) -> None:
    """A minute of placing is not thrown away for a folder that is not there."""
    for path, words in ((tmp_path / "no" / "ours.json", "there is no folder"), (tmp_path, "this is a folder")):
        status, _, said = bench(world, data, "--placements", path)
        assert status == 2
        assert words in " ".join(said.split())
