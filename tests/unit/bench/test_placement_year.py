"""The placement year: reading, the ledger's rules, the rivals, the optimum, and the look ahead that nobody has."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from itertools import accumulate, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.bench.placement.grid import Grid, filled_by_neighbours, read_grid, read_year_before
from orchestrator.bench.placement.installed import ASKED, DWELL, HORIZON, RULES, installed_placements, placed
from orchestrator.bench.placement.instance import Instance, read_instance
from orchestrator.bench.placement.ledger import Bill, Ledger, runs
from orchestrator.bench.placement.measure import measure, place
from orchestrator.bench.placement.ours import useful_regions
from orchestrator.bench.placement.placements import read_placements, write_placements
from orchestrator.bench.placement.report import rows, standing, summaries
from orchestrator.bench.placement.rivals import RIVALS, View, greedy, hysteresis, oracle, regret, rolling, trailing_mean
from orchestrator.errors import GreenctlError, SignalFormatError, SignalUnavailable, UsageError
from orchestrator.planner.path import Paths, Place
from tests.unit.bench.placement_folder import (
    FIRST,
    HOURS,
    REGIONS,
    YEAR,
    ZONES,
    carbon_text,
    instance,
    intensities,
    service,
    write_folder,
)

NOBODY = np.empty((0, len(ZONES)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A year on disk, shared because nothing changes it."""
    return write_folder(tmp_path_factory.mktemp("year"), intensities())


SEASON = 1440
"""Hours of a part of a year: enough to learn from, and quick."""

BEGIN = SEASON - 240


@pytest.fixture
def season(folder: Path) -> tuple[Instance, Grid]:
    """The same services on sixty days, of which the last ten are scored."""
    return replace(read_instance(folder, YEAR), hours=SEASON, first=BEGIN), Grid(YEAR, ZONES, intensities(SEASON))


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_is_read_as_it_is(folder: Path) -> None:
    """Numbers, hours, zones and services come out as they were written."""
    grid, found = read_grid(folder, YEAR), read_instance(folder, YEAR)

    assert grid.zones == ZONES
    assert np.array_equal(grid.grams_per_kwh, intensities())
    assert (found.hours, found.first, found.scored) == (HOURS, FIRST, HOURS - FIRST)
    assert [s.id for s in found.of_track("scarce")] == ["scarce|80", "scarce|900"]
    assert found.services[0].candidates == tuple(REGIONS)


def test_files_may_lie_beside_each_other_and_need_not_be_packed(tmp_path: Path) -> None:
    """Without the two subfolders the files are found as well, and so is plain text."""
    (tmp_path / f"ci_lifecycle_{YEAR}.csv").write_text(carbon_text(intensities()), encoding="utf-8")
    (tmp_path / f"instance_{YEAR}.json").write_text(json.dumps(instance()), encoding="utf-8")

    assert read_grid(tmp_path, YEAR).hours == HOURS
    assert len(read_instance(tmp_path, YEAR).services) == 4


def test_a_leap_year_has_a_day_more(tmp_path: Path) -> None:
    """8,784 hours are right in 2024 and wrong in 2023."""
    values = intensities(8784)
    write_folder(tmp_path, values, instance(year=2024, hours_in_year=8784, scored_hours=8784 - FIRST), year=2024)

    assert read_grid(tmp_path, 2024).hours == read_instance(tmp_path, 2024).hours == 8784


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text.replace("\n2023-03-01T05:00Z", "\n#", 1), "column datetime_utc"),
        (lambda text: "".join(x for x in text.splitlines(keepends=True) if "03-01T05" not in x), "1 hours are missing"),
        (lambda text: "".join(text.splitlines(keepends=True)[:-3]), "has 8757 hours, the year 2023 has 8760"),
        (lambda text: _with_cell(text, "nan"), "'nan' is no intensity"),
        (lambda text: _with_cell(text, "-4"), "'-4' is no intensity"),
        (lambda text: _with_cell(text, "much"), "'much' is no intensity"),
        (lambda text: "datetime_utc\n" + text.partition("\n")[2], "there is no zone column"),
    ],
)
def test_a_damaged_grid_is_named_with_its_place(tmp_path: Path, spoil: Any, words: str) -> None:
    """No hour is guessed and no odd cell read as a number: the error says which and where."""
    write_folder(tmp_path, intensities())
    path = tmp_path / "carbon" / f"ci_lifecycle_{YEAR}.csv.gz"
    path.write_bytes(gzip.compress(spoil(gzip.decompress(path.read_bytes()).decode()).encode()))

    with pytest.raises(SignalFormatError, match=words):
        read_grid(tmp_path, YEAR)


def test_only_zones_that_a_service_may_use_are_judged(tmp_path: Path) -> None:
    """A column of remarks or of another unit is a hole where it is no intensity; a needed zone counts as it stands."""
    write_folder(tmp_path, intensities())
    path = tmp_path / "carbon" / f"ci_lifecycle_{YEAR}.csv"
    path.write_text(_with_cell(carbon_text(intensities()), "much") + "\n\n", encoding="utf-8")
    grid = read_grid(tmp_path, YEAR, frozenset({"SUNNY", "WINDY"}))
    before = read_year_before(tmp_path, replace(grid, year=YEAR + 1), frozenset({"SUNNY"}))

    assert grid.hours == HOURS
    for read in (grid.grams_per_kwh, before):
        assert np.isnan(read[0, 0])
        assert np.array_equal(read[1:], intensities()[1:])

    path.write_text(_with_cell(carbon_text(intensities()), "6000"), encoding="utf-8")
    assert read_grid(tmp_path, YEAR, frozenset({"CLEAN"})).grams_per_kwh[0, 0] == 6000.0
    assert np.isnan(read_grid(tmp_path, YEAR, frozenset({"SUNNY"})).grams_per_kwh[0, 0])


def _with_cell(text: str, cell: str) -> str:
    head, row, rest = text.split("\n", 2)
    first, _, others = row.partition(",")
    return "\n".join((head, ",".join((first, cell, *others.split(",")[1:])), rest))


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    """Missing files, zones and years are errors of their own, with what to do next."""
    with pytest.raises(SignalUnavailable, match="ci_lifecycle_2023") as missing:
        read_grid(tmp_path, YEAR)
    assert "--year" in missing.value.hint()
    with pytest.raises(UsageError, match="instance_2023"):
        read_instance(tmp_path, YEAR)
    with pytest.raises(SignalUnavailable, match="no column 'MARS'"):
        Grid(YEAR, ZONES, intensities()).column("MARS")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (instance(benchmark="other"), "benchmark"),
        (instance(version=2), "version"),
        (instance(year=2022), "year"),
        (instance(services=[]) | {"services": []}, "services is empty"),
        (instance(scored_hours=5), "scored"),
        ({k: v for k, v in instance().items() if k != "regions"}, "'regions' is missing"),
        (instance([service("open", 80.0, candidates=[])]), "lacks the origin"),
        (instance([service("open", 80.0, candidates=["a:home", "x:y"])]), "'x:y', which is not in regions"),
        (instance([service("odd", 80.0)]), "'odd', not one of open, scarce"),
        (instance([service("open", float("nan"), switching_hours=1)]), "switching_grams is nan"),
        (instance([service("open", 80.0, rtt_budget_ms="near")]), "'near', not a number"),
        (instance([service("open", 80.0, rtt_budget_ms=float("nan"))]), "nan, not a number"),
        (instance(warmup_hours=672.5, scored_hours=HOURS - 672.5), "not all whole numbers"),
        (instance([service("open", 80.0)] * 2), "occurs twice"),
        (instance(regions={**REGIONS, "a:home": {"zone": "WINDY", "pue": 0.3}}), "no PUE is below 1"),
    ],
)
def test_an_instance_that_contradicts_itself_is_refused(tmp_path: Path, document: dict[str, Any], words: str) -> None:
    """Each error names the place in the file and what was expected there."""
    (tmp_path / f"instance_{YEAR}.json").write_text(json.dumps(document), encoding="utf-8")

    with pytest.raises(UsageError, match=words):
        read_instance(tmp_path, YEAR)


def test_the_year_before_is_matched_by_zone(tmp_path: Path) -> None:
    """Columns in another order are the same zones; a zone that was not there yet is unknown, not zero."""
    write_folder(tmp_path, intensities())
    old = intensities(seed=8)
    text = carbon_text(old[:, [1, 0]], YEAR - 1, ("SUNNY", "CLEAN"))
    (tmp_path / "carbon" / f"ci_lifecycle_{YEAR - 1}.csv").write_text(text, encoding="utf-8")
    before = read_year_before(tmp_path, read_grid(tmp_path, YEAR))

    assert np.array_equal(before[:, :2], old[:, :2])
    assert np.isnan(before[:, 2]).all()
    assert read_year_before(tmp_path, replace(read_grid(tmp_path, YEAR), year=1990)).shape == (0, 3)


# ── the ledger ───────────────────────────────────────────────────────────────────────────────────────


def test_a_part_of_the_year_before_is_experience_too(tmp_path: Path) -> None:
    """Hours that the earlier file lacks are unknown, not a reason to refuse a year that is whole."""
    whole = write_folder(tmp_path, intensities())
    path = whole / "carbon" / f"ci_lifecycle_{YEAR - 1}.csv"
    path.write_text(f"datetime_utc,{ZONES[1]}\n{YEAR - 1}-12-31T22:00Z,50\n{YEAR - 1}-12-31T23:00Z,60\n")

    before = read_year_before(whole, read_grid(whole, YEAR))

    assert len(before) % 24 == 0
    assert before[-2:, 1].tolist() == [50.0, 60.0]
    assert np.isnan(before[:-2]).all()
    assert np.isnan(before[:, 0]).all()


def test_the_ledger_fills_a_gap_from_the_nearest_days_on_both_sides() -> None:
    """The mean of the days before and after, one of them where the other has a gap too, and then farther days."""
    values = np.arange(120.0)[:, None]
    values[[40, 64, 5]] = np.nan

    filled = filled_by_neighbours(values, ("Z",))[:, 0]
    assert filled[[5, 40, 64]].tolist() == [29.0, 16.0, 88.0]

    values[[16, 88]] = np.nan
    assert filled_by_neighbours(values, ("Z",))[[40, 64], 0].tolist() == [112.0, 112.0]


def test_a_gap_that_nothing_can_fill_is_an_error() -> None:
    """An hour of the day without any value all year has no grams."""
    with pytest.raises(SignalFormatError, match="'Z' has no value at hour 3"):
        filled_by_neighbours(np.where(np.arange(96) % 24 == 3, np.nan, 1.0)[:, None], ("Z",))


def test_a_bill_is_energy_times_pue_times_intensity_and_each_change_of_region(folder: Path) -> None:
    """Also a move within one grid is paid for, and so is the first one away from home."""
    found, grid = read_instance(folder, YEAR), read_grid(folder, YEAR)
    scored = intensities()[FIRST:]
    path = ["b:same-grid"] * 10 + ["a:home"] * 20 + ["c:sunny"] * (found.scored - 30)
    bill = Ledger(found, grid, found.services).bill(found.services[0], path)
    by_hand = 1.1 * scored[:10, 2].sum() + 1.2 * scored[10:30, 2].sum() + 1.1 * scored[30:, 1].sum() + 3 * 80.0

    assert bill.moves == 3
    assert bill.grams == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (["a:home"] * 7, "7 placements for 240 scored hours"),
        (["a:home"] * 239 + ["d:clean"], "hour 239 is in 'd:clean'"),
    ],
)
def test_the_ledger_bills_no_impossible_placement(folder: Path, path: list[str], words: str) -> None:
    """A wrong number of hours, or a region that is not a candidate of the track, has no bill."""
    found = read_instance(folder, YEAR)
    with pytest.raises(UsageError, match=words):
        Ledger(found, read_grid(folder, YEAR), found.services).bill(found.of_track("scarce")[0], path)


def test_a_home_that_emits_nothing_has_no_percent(season: tuple[Instance, Grid]) -> None:
    """Every figure is a part of what staying at home emits: the zone and the service are named before the work."""
    found, grid = season
    nothing = grid.grams_per_kwh.copy()
    nothing[:, 2] = 0.0

    with pytest.raises(SignalFormatError, match=r"column 'WINDY' is 0 in every scored hour, and open\|80 is at home"):
        place(found, replace(grid, grams_per_kwh=nothing), found.services, NOBODY, lambda: None)


def test_runs_are_the_placements_again() -> None:
    """Run lengths lose no hour and join no strangers."""
    assert runs(["a", "a", "b", "a"]) == [("a", 2), ("b", 1), ("a", 1)]
    assert runs([]) == []


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────


def view(
    costs: list[list[float]], switching: float = 10.0, history: int = 672, before: list[float] | None = None
) -> View:
    """A service whose candidates had constant grams before the scored hours."""
    scored = np.array(costs)
    seen = np.vstack([np.tile(before or scored[0], (history, 1)), scored])
    return View(seen, scored, history, 0, switching)


@pytest.mark.parametrize("seed", range(8))
def test_the_oracle_is_the_cheapest_of_all_sequences(seed: int) -> None:
    """Exact, by trying every sequence; no rival is below it."""
    rng = np.random.default_rng(seed)
    small = view(rng.integers(0, 50, (6, 3)).tolist(), switching=20.0)

    def total(path: tuple[int, ...]) -> float:
        moves = sum(a != b for a, b in zip((0, *path), path, strict=False))
        return float(small.costs[np.arange(6), list(path)].sum()) + 20.0 * moves

    least = min(total(p) for p in product(range(3), repeat=6))
    assert total(tuple(oracle(small).tolist())) == least
    assert all(total(tuple(policy(small).tolist())) >= least for policy in RIVALS.values())


def test_simple_rivals_do_what_their_names_say() -> None:
    """Greedy follows the hour before; hysteresis wants 10 % and four hours; regret pays before it moves."""
    flipping = view([[100, 50], [50, 100]] * 4, before=[100.0, 100.0])
    assert greedy(flipping).tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert hysteresis(flipping).tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    assert hysteresis(view([[100, 91]] * 3)).tolist() == [0, 0, 0]
    assert regret(view([[100, 96]] * 6, before=[100.0, 100.0])).tolist() == [0, 0, 0, 1, 1, 1]
    assert rolling(view([[100, 90]] * 3, switching=1900.0)).tolist() == [1, 1, 1]
    assert rolling(view([[100, 90]] * 3, switching=1930.0)).tolist() == [0, 0, 0]


def test_b3_moves_on_mondays_of_its_own_to_the_cleanest_of_28_days() -> None:
    """Weeks count from the first scored hour; the mean is of the 672 hours before."""
    later = view([[100.0, 50.0]] * 700, before=[100.0, 110.0])
    path = trailing_mean(later)

    assert path[:168].tolist() == [0] * 168
    assert set(path[168:].tolist()) == {1}


@pytest.mark.parametrize("home", [0, 1])
def test_no_rival_leaves_home_for_a_twin(home: int) -> None:
    """Two regions with one grid and one PUE: going to the other costs a move and gains nothing, whatever its name."""
    grams = np.tile([100.0, 100.0, 300.0], (1000, 1))
    twins = View(grams, grams[672:], 672, home, 50.0)

    for name, policy in RIVALS.items():
        assert set(policy(twins).tolist()) == {home}, name


def test_b3_stays_where_it_went_until_another_one_is_cleaner() -> None:
    """A tie with home brings nobody back: each week counts from where one stands."""
    before, after = [110.0, 100.0], [90.0, 100.0]
    scored = np.vstack([np.tile(after, (336, 1)), np.tile([100.0, 100.0], (1000, 1))])
    seen = np.vstack([np.tile(before, (672, 1)), scored])
    path = trailing_mean(View(seen, scored, 672, 0, 50.0))

    assert path[0] == 1
    assert path[336] == 1, "336 hours at 110 and 336 at 90: as clean as the other one"


@pytest.mark.parametrize("missing", [1, 24, 700])
def test_one_empty_cell_in_january_ruins_no_rival(missing: int) -> None:
    """The dirtiest candidate has no value in the first hours: each rival does as if it were just the dirtiest."""
    rng = np.random.default_rng(1)
    full = np.array([400.0, 100.0, 700.0]) + rng.normal(0, 5, (2400, 3))
    holed = full.copy()
    holed[:missing, 2] = np.nan
    switching = 400.0
    knows, guesses = (View(s, full[672:], 672, 0, switching) for s in (full, holed))

    for name, policy in RIVALS.items():
        assert policy(guesses).tolist() == policy(knows).tolist(), name


def test_a_home_of_which_nothing_is_known_is_left_and_unknown_places_are_not_gone_to() -> None:
    """Unknown counts as dirtiest of all, in each rival without hindsight; regret waits until it knows its own place."""
    costs = np.tile([300.0, 200.0, 100.0], (400, 1))
    seen = np.vstack([np.tile([np.nan, 200.0, np.nan], (700, 1)), costs[28:]])
    blind = View(seen, costs, 672, 0, 100.0)

    for policy in (trailing_mean, greedy, hysteresis, rolling):
        assert policy(blind)[0] == 1
    assert set(regret(blind)[:28].tolist()) == {0}
    assert regret(blind)[-1] == greedy(blind)[-1] == 2


def test_rivals_fill_the_first_hours_from_the_year_before_as_ours_does(season: tuple[Instance, Grid]) -> None:
    """A zone without a value this year, until the scored hours: what it had last year is what B3 knows of it."""
    found, grid = season
    mine = {s.id: [s.origin] * found.scored for s in found.services}
    holed = grid.grams_per_kwh.copy()
    holed[:BEGIN, 1] = np.nan
    before = np.full((48, 3), 1.0)

    def grams(values: np.ndarray, year_before: np.ndarray) -> dict[str, float]:
        year = replace(grid, grams_per_kwh=values)
        bills = measure(found, year, found.services, mine, year_before, name="mine", done=lambda: None).bills
        return {rival: sum(b[rival].grams for b in bills.values()) for rival in RIVALS}

    with_past, without = grams(holed, before), grams(holed, NOBODY)

    assert with_past["B3"] != without["B3"]
    assert all(np.isfinite([*with_past.values(), *without.values()]))


@pytest.mark.parametrize("after", [BEGIN, BEGIN + 1, BEGIN + 77])
def test_nobody_but_those_with_hindsight_looks_ahead(season: tuple[Instance, Grid], after: int) -> None:
    """Two years that are equal before an hour give equal placements up to and at that hour."""
    found, grid = season
    other = intensities(SEASON)
    other[after:] = np.round(intensities(SEASON, seed=77)[after:] * 1.5, 1)
    changed = replace(grid, grams_per_kwh=other)
    known = after - BEGIN + 1

    one, two = (place(found, g, found.services, NOBODY, lambda: None) for g in (grid, changed))
    assert all(one[s][:known] == two[s][:known] for s in one)
    assert any(one[s] != two[s] for s in one)
    blind = [policy for name, policy in RIVALS.items() if name not in {"B3*", "oracle"}]
    seen = [np.stack([g.grams_per_kwh[:, 2], g.grams_per_kwh[:, 1]], axis=1) for g in (grid, changed)]
    for policy in blind:
        a, b = (policy(View(s, s[BEGIN:], BEGIN, 0, 80.0)) for s in seen)
        assert np.array_equal(a[:known], b[:known])


def test_ours_copes_with_gaps_unknown_zones_and_a_zone_that_has_just_begun(season: tuple[Instance, Grid]) -> None:
    """Empty cells, columns of no region, and a candidate without history: every hour is placed, on a candidate."""
    found, grid = season
    values = np.hstack([intensities(SEASON), np.full((SEASON, 1), np.nan)])
    values[BEGIN - 100 : BEGIN + 50, 1] = np.nan
    values[: BEGIN - 30, 0] = np.nan
    holed = Grid(grid.year, (*ZONES, "UNKNOWN"), values)

    placed = place(found, holed, found.services, np.empty((0, 4)), lambda: None)
    assert all(len(placed[s.id]) == found.scored and set(placed[s.id]) <= set(s.candidates) for s in found.services)


def test_ours_is_between_the_oracle_and_the_honest_rival(season: tuple[Instance, Grid]) -> None:
    """On weather that lasts: not much worse than B3, better than chasing, and never better than the optimum."""
    found, grid = season
    mine = place(found, grid, found.services, NOBODY, lambda: None)
    outcome = measure(found, grid, found.services, mine, NOBODY, name="mine", done=lambda: None)
    for bills in outcome.bills.values():
        assert bills["oracle"].grams <= bills["mine"].grams
        assert bills["mine"].grams <= 1.02 * bills["B3"].grams
        assert bills["mine"].grams < bills["greedy"].grams


def test_placing_is_the_same_every_time(season: tuple[Instance, Grid]) -> None:
    """Byte for byte: the same folder gives the same placements."""
    found, grid = season
    one, two = (place(found, grid, found.services, NOBODY, lambda: None) for _ in range(2))

    assert one == two


def test_only_the_best_region_of_each_grid_and_home_are_useful(folder: Path) -> None:
    """A worse building in the same grid never pays; home is where it begins."""
    found = read_instance(folder, YEAR)

    assert useful_regions(found, found.services[0]) == ["a:home", "b:same-grid", "c:sunny", "d:clean"]
    away = replace(found.services[0], origin="b:same-grid")
    assert useful_regions(found, away) == ["b:same-grid", "c:sunny", "d:clean"]


# ── files and figures ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["ours.json", "ours.json.gz"])
def test_placements_come_back_from_their_file(folder: Path, tmp_path: Path, name: str) -> None:
    """Run-length coded on disk, hour by hour in memory; and numbers are written as the instance has them."""
    found = read_instance(folder, YEAR)
    placements = {s.id: ["a:home"] * 100 + ["c:sunny"] * 140 for s in found.services}
    path = tmp_path / name
    write_placements(path, found, placements)

    assert read_placements(path, found) == placements
    raw = path.read_bytes()
    assert b'"rtt_budget_ms":50,' in (gzip.decompress(raw) if name.endswith("gz") else raw)


def test_a_file_may_list_every_hour_and_leave_the_open_track_out(folder: Path, tmp_path: Path) -> None:
    """What others wrote by the same rules is read: plain lists, no track."""
    found = read_instance(folder, YEAR)
    entry = {k: v for k, v in service("open", 80.0).items() if k in {"origin", "rtt_budget_ms", "switching_hours"}}
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps({"year": YEAR, "services": [{**entry, "placements": ["a:home"] * 240}]}))

    assert read_placements(path, found) == {"open|80": ["a:home"] * 240}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"year": 2020, "services": []}, "year is 2020"),
        ({"year": YEAR}, "'services' is missing"),
        (
            {"year": YEAR, "services": [{"origin": "a:home", "rtt_budget_ms": 1, "switching_hours": 1}]},
            "has no service",
        ),
        ({"year": YEAR, "services": 3}, "not iterable"),
        ([], "list indices"),
    ],
)
def test_a_file_that_is_no_placements_is_refused(folder: Path, tmp_path: Path, document: Any, words: str) -> None:
    """The error names the file and what is wrong in it."""
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(document))

    with pytest.raises(UsageError, match=words):
        read_placements(path, read_instance(folder, YEAR))


def test_a_track_counts_only_when_all_its_services_are_placed(folder: Path) -> None:
    """A missing service is not left out of a mean."""
    found, grid = read_instance(folder, YEAR), read_grid(folder, YEAR)
    with pytest.raises(GreenctlError, match="4 of 4 services have no placements"):
        measure(found, grid, found.services, {}, NOBODY, name="mine", done=lambda: None)


def test_figures_are_points_of_what_staying_at_home_emits(folder: Path) -> None:
    """Gap, difference to B3, excess, and who is worse off, from bills that can be checked by hand."""
    services = read_instance(folder, YEAR).of_track("open")
    bills = {
        services[0].id: {
            "home": Bill(1000.0, 0),
            "B3": Bill(400.0, 1),
            "oracle": Bill(300.0, 9),
            "mine": Bill(330.0, 5),
        },
        services[1].id: {
            "home": Bill(1000.0, 0),
            "B3": Bill(400.0, 1),
            "oracle": Bill(400.0, 1),
            "mine": Bill(406.0, 3),
        },
    }
    first = standing(bills[services[0].id]["mine"], bills[services[0].id])
    assert first.saving_percent == pytest.approx(67.0)
    assert first.gap_points == pytest.approx(3.0)
    assert first.over_b3_points == pytest.approx(7.0)
    assert first.excess_percent == pytest.approx(10.0)

    (row, *_) = rows(services, bills, ["mine"])
    assert (row.services, row.moves, row.switching_hours) == (1, 5, 80 / 300)
    (whole,) = summaries(services, bills, ["mine"])
    assert whole.gap_points == pytest.approx(1.8)
    assert whole.worst_over_b3_points == pytest.approx(-0.6)
    assert (whole.below_b3, whole.below_home) == (1, 0)
    assert whole.total_excess_percent == pytest.approx(100 * (736 / 700 - 1))
    assert whole.moves_by_switching_hours == {"0.266667": 5, "3": 3}


def test_of_an_optimum_that_emits_nothing_there_is_no_excess(folder: Path) -> None:
    """Nothing is a multiple of zero; saving, gap and moves are figures all the same."""
    services = read_instance(folder, YEAR).of_track("open")
    some = {"home": Bill(1000.0, 0), "B3": Bill(400.0, 1), "oracle": Bill(300.0, 9)}
    none = {"home": Bill(1000.0, 0), "B3": Bill(50.0, 1), "oracle": Bill(0.0, 1)}
    bills = {services[0].id: some, services[1].id: none}

    assert [r.excess_percent for r in rows(services, bills, ["B3"])] == [pytest.approx(100 / 3), None]
    (whole,) = summaries(services, bills, ["B3"])
    assert (whole.excess_percent, whole.total_excess_percent) == (None, pytest.approx(50.0))
    assert whole.worst_gap_points == pytest.approx(10.0)


# ── the installed controller ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", [0, 1, 3, 4, 5])
def test_the_controllers_row_moves_as_its_rules_say(seed: int) -> None:
    """Hour by hour, place by place, with the program that the planner asks: the same path."""
    rng = np.random.default_rng(seed)
    level, grams = rng.uniform(95, 105, (1, 4, 1)), float(rng.uniform(5, 30))
    ahead = level + 40 * np.sin(np.arange(HORIZON)[:, None, None] / 4 + rng.uniform(0, 6, (1, 4, 1)))
    ahead = ahead + rng.normal(0, 12, (HORIZON, 4, 90))

    here, moves, path = 0, [], []
    for issue in range(90):
        hours = ahead[:, :, issue]
        places = [Place(str(n), tuple(hours[:, n]), grams, 0.0) for n in range(4)]
        others = [p for p in places if p.offer_id != str(here)]
        paths, nets = Paths(places[here], others, [True] * HORIZON, DWELL), {}
        rested = not moves or issue - moves[-1] >= DWELL
        for there in others:
            sums = list(accumulate(hours[:, here] - hours[:, int(there.offer_id)]))[DWELL - 1 :]
            length = sums.index(max(sums)) + DWELL
            improved = max(sums) >= ASKED * hours[:length, here].sum()
            may_move = rested and sum(issue - m < 24 for m in moves) < RULES.max_moves_per_day
            if may_move and improved and max(sums) > grams and paths.timing(there, grams).gain > 0:
                nets[int(there.offer_id)] = max(sums)
        if nets:
            here = max(nets, key=lambda n: nets[n])
            moves.append(issue)
        path.append(here)

    assert placed(ahead, grams).tolist() == path
    assert moves


def test_the_controllers_row_does_not_look_ahead(season: tuple[Instance, Grid]) -> None:
    """Grids that differ from an hour on are placed alike up to it."""
    found, grid = season
    other = grid.grams_per_kwh.copy()
    other[BEGIN + 100 :] = other[BEGIN + 100 :][::-1]
    one, two = (
        {s.id: names for s, names in installed_placements(found, g, found.services, NOBODY)}
        for g in (grid, replace(grid, grams_per_kwh=other))
    )
    assert all(one[s.id][:101] == two[s.id][:101] for s in found.services)
    assert any(one[s.id] != two[s.id] for s in found.services)
    assert any(len(set(names)) > 1 for names in one.values())
