from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import highspy
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from orchestrator.bench.spot import rivals
from orchestrator.bench.spot.grams import read_grid_means
from orchestrator.bench.spot.ledger import mean_score, ready, score
from orchestrator.bench.spot.measure import OPTIMAL, OURS, POLICIES, SPOT_HEDGE, measure, offset_ticks
from orchestrator.bench.spot.optimum import optimal
from orchestrator.bench.spot.ours import hedged
from orchestrator.bench.spot.rivals import Held
from orchestrator.bench.spot.traces import UNLIMITED, read_traces
from orchestrator.cli.app import app
from orchestrator.cli.session import Session
from orchestrator.errors import ExitStatus, SignalFormatError, SignalUnavailable, UsageError
from orchestrator.planner.hedge.rules import SpotZone

DAY_SECONDS = 86_400
Runs = Sequence[tuple[int, int]]
"""Seconds and instances."""


class Folder:
    """A folder of data as small as it can be, which a test spoils."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index: list[dict[str, object]] = []
        self.runs: list[dict[str, object]] = []
        self.regions = [("aws", "us-east-1", "PJM"), ("aws", "us-west-2", "PACW"), ("gcp", "europe-west4", "NL")]
        self.carbon = {"PJM": 400.0, "PACW": 200.0, "NL": 300.0}

    def trace(self, trace_id: str, zone: str, runs: Runs, *, cloud: str = "aws", gap: int = 300) -> None:
        """Add a trace."""
        self.index.append({"trace_id": trace_id, "cloud": cloud, "zone": zone, "gap_seconds": gap})
        at = 0
        for seconds, instances in runs:
            row = {"trace_id": trace_id, "offset_s": at, "duration_s": seconds, "available_instances": instances}
            self.runs.append(row)
            at += seconds

    def write(self) -> Path:
        """Write everything down."""
        for name in ("spot", "carbon", "regions"):
            (self.path / name).mkdir(exist_ok=True)
        _write(self.path / "spot" / "availability_index.csv", self.index)
        with gzip.open(self.path / "spot" / "availability_runs.csv.gz", "wt", newline="") as file:
            rows = csv.DictWriter(file, list(self.runs[0]))
            rows.writeheader()
            rows.writerows(self.runs)
        names = ("cloud", "region", "ci_series_zone")
        _write(self.path / "regions" / "regions.csv", [dict(zip(names, r, strict=True)) for r in self.regions])
        start = datetime(2023, 1, 1, tzinfo=UTC)
        hours = [f"{start + timedelta(hours=h):%Y-%m-%dT%H:%MZ}" for h in range(24)]
        _write(self.path / "carbon" / "ci_lifecycle_2023.csv", [{"datetime_utc": h, **self.carbon} for h in hours])
        return self.path


def _write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Two days of three zones with counted instances, one of them bad."""
    made = Folder(tmp_path)
    made.trace("sh-TEST-us-east-1a-v100", "us-east-1a", [(1800, 2), (1800, 0)] * 48)
    made.trace("sh-TEST-us-west-2a-v100", "us-west-2a", [(DAY_SECONDS, 4), (3600, 0), (DAY_SECONDS - 3600, 4)])
    made.trace("sh-TEST-us-west-2b-v100", "us-west-2b", [(2 * DAY_SECONDS, 3)])
    return made


def silent(_name: str, _total: int) -> Callable[[], None]:
    """Show nothing."""
    return lambda: None


class TestTraces:
    def test_samples_become_ticks(self, folder: Folder) -> None:
        """A sample of 300 s is ten ticks of 30 s; zones are in order of their names; runs become their lengths."""
        (group,) = read_traces(folder.write())

        assert (group.name, group.counts) == ("TEST", True)
        assert [z.zone for z in group.zones] == ["us-east-1a", "us-west-2a", "us-west-2b"]
        assert group.ticks == 2 * DAY_SECONDS // 30
        assert group.zones[0].instances[:125].tolist() == [2] * 60 + [0] * 60 + [2] * 5

    def test_campaigns_are_told_apart(self, folder: Folder) -> None:
        """Source, campaign and accelerator make a group; a group without a name of its own gets the one in use."""
        folder.trace("st-avail-1n-aws-20230215-us-east-1a-v100_1", "us-east-1a", [(DAY_SECONDS * 13, 1)], gap=195)
        folder.trace("st-preem-1n-aws-20230419-us-east-1b-intel_64", "us-east-1b", [(340, 1), (34, 0)], gap=34)
        folder.trace("st-preem-1n-aws-20230419-us-east-1b-v100_1", "us-east-1b", [(340, 1)], gap=34)
        folder.trace("sn-h100-us-west-2a", "us-west-2a", [(6000, 16)], gap=600)
        names = [g.name for g in read_traces(folder.write())]

        assert names == ["TEST", "AWS3", "preem-1n-aws-20230419-intel_64", "preem-1n-aws-20230419-v100_1", "H100"]

    def test_none_and_some_is_no_number(self, folder: Folder) -> None:
        """Where a whole group says 0 and 1 alone, 1 is read as no limit; elsewhere it is one instance."""
        folder.trace("st-preem-1n-aws-20230419-us-east-1b-intel_64", "us-east-1b", [(340, 1), (34, 0)], gap=34)
        _, flags = read_traces(folder.write())

        assert flags.counts is False
        assert flags.zones[0].instances.tolist() == [UNLIMITED] * 10 + [0]

    def test_whoever_asked_for_several_has_counted(self, folder: Folder) -> None:
        """Four were asked for and one found: that is one instance, not as many as wanted; three never stand there."""
        for row in folder.index:
            row["instances_requested"] = 1
        folder.trace("st-camp-us-east-1a-a100", "us-east-1a", [(DAY_SECONDS, 1)])
        folder.trace("st-camp-us-west-2a-a100", "us-west-2a", [(DAY_SECONDS // 2, 1), (DAY_SECONDS // 2, 0)])
        for row in folder.index[-2:]:
            row["instances_requested"] = 4
        several, camp = measure(folder.write(), 1, silent).groups

        assert several.counts, "one was asked for, and room for four was found"
        assert camp.counts
        held = [r.score for r in measure(folder.path, 1, silent).rows if r.trace_group == camp.name]
        assert max(score.mean_spot_replicas for score in held) <= 2.0

    @pytest.mark.parametrize("said", [1, ""])
    def test_whoever_asked_for_one_or_does_not_say_has_seen_none_or_some(self, folder: Folder, said: object) -> None:
        """One that was asked for and found says nothing of how many there were."""
        folder.trace("st-camp-us-east-1a-a100", "us-east-1a", [(300, 1)])
        for row in folder.index:
            row["instances_requested"] = said
        _, camp = read_traces(folder.write())

        assert not camp.counts
        assert camp.zones[0].instances.tolist() == [UNLIMITED] * 10

    def test_the_campaign_with_two_sample_times_follows_the_settings(self, folder: Folder) -> None:
        """Its files say 195 s, the settings count each sample as 300 s: ten ticks."""
        folder.trace("st-avail-1n-aws-20230215-us-east-1a-v100_1", "us-east-1a", [(195, 1), (390, 0)], gap=195)
        _, group = read_traces(folder.write())

        assert group.ticks == 30
        assert group.replayed_as == ((195.0, 300.0),)

    @pytest.mark.parametrize(
        ("gap", "ticks"),
        [
            (10, [0, 3, 6]),
            (20, [0, 1, 3, 4, 6, 7]),
            (45, [0, 0, 1, 2, 2, 3]),
            (75, [0, 0, 0, 1, 1, 2, 2, 2]),
            (300, [0] * 10 + [1] * 10),
            (32, [0, 1, 2]),
        ],
    )
    def test_time_runs_as_fast_as_it_was_recorded(self, folder: Folder, gap: int, ticks: list[int]) -> None:
        """A tick has what held at its time; samples of nearly whole ticks count as whole ones, as the settings do."""
        folder.trace("sn-own-us-east-1a", "us-east-1a", [(gap, n) for n in range(9)], gap=gap)
        _, group = read_traces(folder.write())

        assert group.zones[0].instances[: len(ticks)].tolist() == ticks
        assert group.replayed_as == (((32.0, 30.0),) if gap == 32 else ())

    def test_a_window_is_read_in_a_circle(self, folder: Folder) -> None:
        """A window that begins at the last tick goes on with the first ones, each trace by its own length."""
        (group,) = read_traces(folder.write())
        room = group.window(group.ticks - 1, 3)

        assert room.tolist() == [[0, 4, 3], [2, 4, 3], [2, 4, 3]]

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (lambda f: f.index[0].update(zone="eu-1"), "does not name its zone"),
            (lambda f: f.index.append(f.index[0]), "listed twice"),
            (lambda f: f.index.append({**f.index[0], "trace_id": "sh-TEST-us-east-1a-x"}), "no row of trace"),
            (lambda f: f.runs[1].update(offset_s=1801), "begins at 1801 s"),
            (lambda f: f.runs[0].update(duration_s=1799), "whole samples"),
            (lambda f: f.runs[0].update(available_instances="nan"), "not a number"),
            (lambda f: f.runs[0].update(available_instances=-1), "-1 instances cannot be"),
            (lambda f: f.runs[0].update(available_instances=1.5), r"1\.5 instances cannot be"),
            (lambda f: f.runs[0].update(trace_id="else"), "is not in availability_index.csv"),
            (lambda f: f.index[0].update(gap_seconds=0), "not positive"),
            (lambda f: [r.update(instances_requested="some") for r in f.index], "csv:2: instances_requested: 'some'"),
            (lambda f: [r.pop("zone") for r in f.index], "no column zone"),
        ],
    )
    def test_what_cannot_be_is_refused(self, folder: Folder, spoil: Callable[[Folder], object], words: str) -> None:
        """A damaged folder is named with the place and the reason, not measured."""
        spoil(folder)
        with pytest.raises(SignalFormatError, match=words):
            read_traces(folder.write())

    def test_a_missing_file_is_named(self, folder: Folder) -> None:
        """Each of the files that is not there is named."""
        folder.write()
        (folder.path / "spot" / "availability_runs.csv.gz").unlink()
        with pytest.raises(SignalUnavailable, match=r"availability_runs\.csv"):
            read_traces(folder.path)

    def test_a_damaged_archive_is_named(self, folder: Folder) -> None:
        """A file that ends in .gz and is none is an error of ours, not a traceback."""
        (folder.write() / "spot" / "availability_runs.csv.gz").write_bytes(b"no archive")
        with pytest.raises(SignalFormatError, match="damaged"):
            read_traces(folder.path)

    def test_an_empty_index_is_refused(self, folder: Folder) -> None:
        """No trace at all is nothing to measure."""
        (folder.write() / "spot" / "availability_index.csv").write_text("trace_id,cloud,zone,gap_seconds\n")
        with pytest.raises(SignalFormatError, match="lists no trace"):
            read_traces(folder.path)


class TestGrams:
    def test_a_zone_has_the_mean_of_its_regions_grid(self, folder: Folder) -> None:
        """Zones of AWS end with a letter, those of GCP with a dash and one."""
        means = read_grid_means(folder.write())

        assert means.grams_per_kwh("aws", "us-west-2b") == 200.0
        assert means.grams_per_kwh("gcp", "europe-west4-a") == 300.0
        assert means.region_of("gcp", "europe-west4-a") == "europe-west4"

    def test_unknown_stays_unknown(self, folder: Folder) -> None:
        """A region that is not listed, one of another cloud, and one without a series have no mean."""
        folder.regions.append(("aws", "eu-west-1", ""))
        means = read_grid_means(folder.write())

        assert means.grams_per_kwh("aws", "sa-east-1a") is None
        assert means.grams_per_kwh("gcp", "us-west-2b") is None
        assert means.grams_per_kwh("aws", "eu-west-1a") is None
        assert means.region_of("aws", "sa-east-1a") == "sa-east-1a"

    def test_tables_saved_by_a_spreadsheet_are_read(self, folder: Folder) -> None:
        """A byte order mark before the first column, and blank lines after the last row, change nothing."""
        path = folder.write()
        for file in (path / "regions" / "regions.csv", path / "carbon" / "ci_lifecycle_2023.csv"):
            file.write_text("\ufeff" + file.read_text() + "\n\n", encoding="utf-8")

        assert read_grid_means(path).grams_per_kwh("aws", "us-west-2b") == 200.0

    def test_without_carbon_or_regions_nothing_is_measured(self, folder: Folder) -> None:
        """Both are asked for by name."""
        path = folder.write()
        (path / "regions" / "regions.csv").unlink()
        with pytest.raises(SignalUnavailable, match=r"regions\.csv"):
            read_grid_means(path)
        (path / "carbon" / "ci_lifecycle_2023.csv").unlink()
        with pytest.raises(SignalUnavailable, match="ci_lifecycle_YEAR"):
            read_grid_means(path)


class TestLedger:
    def test_ready_after_a_cold_start(self) -> None:
        """A replica counts once it has been held for five ticks in a row, and no longer than it is held."""
        held = np.array([[2], [2], [2], [1], [2], [2], [2], [2], [2], [0]])

        assert ready(held)[:, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 0]

    def test_a_plan_is_scored_by_hand(self) -> None:
        """Three on demand for 8 scored ticks of 12: availability, cost and grams as on paper."""
        spot = np.zeros((12, 2), dtype=np.int64)
        spot[:, 0] = 1
        on_demand = np.full(12, 2)
        on_demand[11] = 1
        found = score(Held(spot, on_demand), [100.0, 900.0], 500.0)

        assert found.availability == 7 / 8
        assert found.relative_cost == pytest.approx((8 + 3 * 15) / (9 * 8))
        assert found.grams_per_replica_hour == pytest.approx((8 * 100 + 15 * 500) / (3 * 8))
        assert found.none_ready == 0

    def test_grams_are_unknown_if_any_zone_is(self) -> None:
        """A group with a zone of unknown grid has no grams, whoever is scored; unknown is not zero."""
        plan = Held(np.ones((10, 2), dtype=np.int64), np.ones(10, dtype=np.int64))

        assert score(plan, [100.0, None], None).grams_per_replica_hour is None
        assert mean_score([score(plan, [100.0, None], None)] * 2).grams_per_replica_hour is None


class TestRivals:
    def test_naive_spread_waits_where_there_is_no_room(self) -> None:
        """Its third replica is asked for in the third zone for ever, whatever room there is elsewhere."""
        held = rivals.naive_spread(np.array([[9, 9, 0, 9]] * 20))

        assert held.spot.tolist() == [[1, 1, 0, 0]] * 20
        assert not held.on_demand.any()

    def test_round_robin_goes_on_in_the_ring(self) -> None:
        """Each launch goes to the next zone, so a zone without room delays it by one tick."""
        held = rivals.round_robin(np.array([[9, 0, 9, 9]] * 3))

        assert held.spot.tolist() == [[1, 0, 1, 0], [1, 0, 1, 1], [1, 0, 1, 1]]

    def test_zones_are_asked_in_the_order_that_the_artefact_draws(self) -> None:
        """Its first shuffle with seed 0: with six zones the fifth by name comes first; each keeps what it holds."""
        names = list("abcdef")
        Random(0).shuffle(names)
        room = np.full((10, 6), 9)
        room[:, 4] = 0
        held = rivals.in_ring_order(rivals.naive_spread, room)

        assert names[:3] == ["e", "c", "b"]
        assert held.spot.tolist() == [[0, 1, 1, 0, 0, 0]] * 10

    def test_the_same_room_as_the_policies_tick_by_tick(self) -> None:
        """Ticks in which nothing can happen are skipped, and what is held is that of looking at each of them."""
        for seed in range(20):
            random = Random(seed)
            room = np.repeat(np.array(random.choices([0, 1, 2, 9], k=40 * 4)).reshape(40, 4), 7, axis=0)
            held, at, plan = [0] * 4, 0, []
            for limits in room.tolist():
                for _ in range(3 - sum(held)):
                    held[at] += 1
                    at = (at + 1) % 4
                held = [min(pair) for pair in zip(held, limits, strict=True)]
                plan.append(held.copy())

            assert rivals.round_robin(room).spot.tolist() == plan

    def test_spothedge_holds_one_spare_and_falls_back(self) -> None:
        """Four spot replicas in four zones; on demand for all until they are ready, then for none."""
        held = rivals.SpotHedge(Random(0))(np.full((20, 5), 9))

        assert held.spot.sum(axis=1).tolist() == [4] * 20
        assert held.spot.max() == 1
        assert held.on_demand.tolist() == [3, 3, 3, 3, 3] + [0] * 15

    def test_spothedge_avoids_the_zone_that_failed(self) -> None:
        """A zone that refused a launch is left alone while enough others are active."""
        for seed in range(20):
            held = rivals.SpotHedge(Random(seed))(np.array([[9, 9, 9, 9, 0]] * 30))

            assert held.spot[-1].tolist() == [1, 1, 1, 1, 0]
            assert held.spot[1:].sum(axis=1).tolist() == [4] * 29
            assert held.on_demand[-1] == 0

    def test_the_same_seed_gives_the_same_plan(self) -> None:
        """Random, and yet repeatable."""
        room = np.array(Random(3).choices([0, 1, 4], k=200 * 5)).reshape(200, 5)
        one, same = (rivals.SpotHedge(Random(0))(room) for _ in range(2))

        assert one.spot.tobytes() == same.spot.tobytes()

    def test_few_zones_are_no_obstacle(self) -> None:
        """With two zones, both of which fail, nobody is left to choose from, and it goes on all the same."""
        held = rivals.SpotHedge(Random(0))(np.zeros((30, 2), dtype=np.int64))

        assert held.on_demand.tolist() == [3] * 30


class TestOptimum:
    def test_calm_costs_three_spot_replicas(self) -> None:
        """With room everywhere it holds three spot replicas from the first tick to the last, in the cleanest zone."""
        held = optimal(np.full((200, 2), 9), [400.0, 100.0], 250.0)

        assert held.spot.tolist() == [[0, 3]] * 200
        assert not held.on_demand.any()

    def test_it_hands_over_before_the_loss(self) -> None:
        """Knowing that the first zone ends, it starts in the second four ticks earlier, and pays for both."""
        room = np.array([[9, 9]] * 50 + [[0, 9]] * 50)
        room[:20, 1] = 0
        held = optimal(room, [100.0, 400.0], 250.0)

        assert score(held, [100.0, 400.0], 250.0).availability == 1.0
        assert held.spot.sum() == 3 * 100 + 3 * 4
        assert not held.on_demand.any()

    @pytest.mark.parametrize("seed", range(6))
    def test_it_is_as_cheap_as_the_program_written_out(self, seed: int) -> None:
        """On random rooms its cost is that of the model as published: every tick, every window of a cold start."""
        random = Random(seed)
        columns = []
        for _ in range(3):
            column: list[int] = []
            while len(column) < 120:
                column += [random.choice([0, 1, 3, 9])] * random.choice([1, 3, 7, 30])
            columns.append(column[:120])
        room = np.array(columns).T
        held = optimal(room, [300.0, 100.0, 200.0], 200.0)

        assert (held.spot <= room).all()
        assert score(held, [1.0] * 3, 1.0).availability == 1.0
        assert held.spot.sum() + 3 * held.on_demand.sum() == pytest.approx(written_out(room))


def written_out(room: np.ndarray) -> float:
    """Solve the published model as it stands: active <= held in each of five ticks, three active from tick 4 on."""
    ticks, zones = room.shape
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    limits = [*np.minimum(room, 4).T.tolist(), [4] * ticks]
    held = [
        [solver.addVariable(0, limit, 1.0 if z < zones else 3.0) for limit in column] for z, column in enumerate(limits)
    ]
    active = [[solver.addVariable(0, 4, 0.0) for _ in range(ticks)] for _ in limits]
    for t in range(4, ticks):
        for z in range(zones + 1):
            for back in range(5):
                solver.addConstr(active[z][t] <= held[z][t - back])
        solver.addConstr(sum(active[z][t] for z in range(zones + 1)) >= 3)
    solver.run()
    return float(solver.getInfo().objective_function_value)


class TestMeasure:
    def test_offsets_are_those_of_the_artefact(self) -> None:
        """The first draws of numpy's first generator with seed 0; more windows repeat the first ones."""
        np.random.seed(0)  # noqa: NPY002  # what the artefact does
        theirs = [int(np.random.randint(0, 10_000 - 2880)) for _ in range(10)]  # noqa: NPY002  # as above

        assert offset_ticks(10_000, 10) == theirs
        assert offset_ticks(10_000, 200)[:10] == theirs
        assert max(offset_ticks(2880, 50)) < 2880

    def test_every_policy_has_a_row(self, folder: Folder) -> None:
        """Each group is replayed by all; the optimum bounds the cost of whoever is always available."""
        outcome = measure(folder.write(), 2, silent)
        rows = {r.policy: r.score for r in outcome.rows}

        assert [r.policy for r in outcome.rows] == list(POLICIES)
        assert rows["OnDemand"].availability == rows["OnDemand"].relative_cost == rows[OPTIMAL].availability == 1.0
        assert rows["OnDemand"].grams_per_replica_hour == pytest.approx((400 + 200 + 200) / 3)
        assert rows[OPTIMAL].relative_cost < rows[OURS].relative_cost < rows[SPOT_HEDGE].relative_cost
        assert rows[OURS].availability >= 0.99

    def test_a_measurement_can_be_repeated(self, folder: Folder) -> None:
        """Two runs give the same bits."""
        path = folder.write()

        assert repr(measure(path, 1, silent).rows) == repr(measure(path, 1, silent).rows)

    def test_another_seed_draws_other_windows(self, folder: Folder) -> None:
        """Without one it is the artefact's, 0; which seed it was is said."""
        path = folder.write()
        usual, zero, other = (measure(path, 2, silent, **words) for words in ({}, {"seed": 0}, {"seed": 1}))

        assert repr(usual) == repr(zero)
        assert (usual.seed, other.seed) == (0, 1)
        assert offset_ticks(10_000, 10, 1) != offset_ticks(10_000, 10, 0)
        assert repr(other.rows) != repr(usual.rows)

    def test_ours_is_told_what_stands_and_no_more(self, folder: Folder) -> None:
        """It never holds more than there is room for, and what comes later does not change what it held before."""
        (group,) = read_traces(folder.write())
        room = group.window(1000, 400)
        spoilt = room.copy()
        spoilt[200:] = 0
        zones = [SpotZone(z.zone, z.zone[:-1]) for z in group.zones]
        held, other = hedged(room, zones), hedged(spoilt, zones)

        assert (held.spot <= room).all()
        assert held.spot[:200].tobytes() == other.spot[:200].tobytes()
        assert held.on_demand[:201].tobytes() == other.on_demand[:201].tobytes()

    def test_a_zone_without_a_grid_leaves_grams_unknown(self, folder: Folder) -> None:
        """Availability and cost are measured, grams are not made up."""
        folder.regions = folder.regions[:1]
        outcome = measure(folder.write(), 1, silent)

        assert {r.score.grams_per_replica_hour for r in outcome.rows} == {None}
        assert outcome.groups[0].mean_grams_per_kwh is None

    def test_no_windows_are_refused(self, folder: Folder) -> None:
        """Nothing would be measured."""
        with pytest.raises(UsageError, match="at least one window"):
            measure(folder.write(), 0, silent)


class TestCommand:
    def run(self, *words: str) -> Result:
        """Run the bench as a person would."""
        env = {"COLUMNS": "160", "NO_COLOR": "1"}
        return CliRunner(env=env).invoke(app, ["bench", "spot", *words], obj=Session())

    def test_the_document_has_a_row_for_everybody(self, folder: Folder) -> None:
        """--json prints rows with the agreed keys, and what they were measured on."""
        result = self.run("--data", str(folder.write()), "--offsets", "1", "--json", "--quiet")
        document = json.loads(result.stdout)

        assert result.exit_code == 0
        assert [r["policy"] for r in document["rows"]] == list(POLICIES)
        needed = {"trace_group", "policy", "availability", "relative_cost", "grams_per_replica_hour"}
        assert all(needed <= r.keys() for r in document["rows"])
        assert document["groups"][0]["zones"][0] == {
            "zone": "us-east-1a",
            "region": "us-east-1",
            "grams_per_kwh": 400.0,
        }
        assert document["carbon_years"] == [2023]
        stand_ins = {r["policy"]: r["on_demand_grams_per_kwh"] for r in document["rows"]}
        assert stand_ins == {p: 200.0 if p == OURS else pytest.approx(800 / 3) for p in POLICIES}

    def test_a_group_says_what_was_observed_and_how_its_time_is_replayed(self, folder: Folder) -> None:
        """Lives of instances that are held are no offers of new ones, and samples of 34 s no ticks of 30."""
        folder.trace("st-preem-1n-aws-2023-us-west-2a-v100_1", "us-west-2a", [(34 * 4000, 1)], gap=34)
        for row, kind in zip(folder.index, ["availability"] * 3 + ["preemption"], strict=True):
            row["kind"] = kind
        path = str(folder.write())

        groups = json.loads(self.run("--data", path, "--offsets", "1", "--json", "--quiet").stdout)["groups"]
        assert [g["kind"] for g in groups] == ["availability", "preemption"]
        assert [g["samples_replayed_as"] for g in groups] == [[], [{"recorded_seconds": 34, "replayed_seconds": 30}]]
        shown = self.run("--data", path, "--offsets", "1", "--quiet").stdout
        assert "preemption traces" in shown
        assert "samples of 34 s as 30 s" in shown

    def test_the_windows_of_another_seed_can_be_asked_for(self, folder: Folder) -> None:
        """--seed stands in the document and above the table; what numpy cannot begin with is refused."""
        path = str(folder.write())
        words = ("--data", path, "--offsets", "1", "--quiet")

        assert json.loads(self.run(*words, "--json").stdout)["seed"] == 0
        assert json.loads(self.run(*words, "--seed", "7", "--json").stdout)["seed"] == 7
        assert "seed 7" in self.run(*words, "--seed", "7").stdout
        assert self.run(*words, "--seed", str(2**32)).exit_code == 2

    def test_the_table_names_everybody(self, folder: Folder) -> None:
        """People get a table per group, and its words say what the numbers are."""
        result = self.run("--data", str(folder.write()), "--offsets", "1", "--quiet")

        assert result.exit_code == 0
        assert all(policy in result.stdout for policy in (*POLICIES, "TEST", "AVAILABLE %", "Mean cost"))

    def test_unknown_grams_are_shown_as_unknown(self, folder: Folder) -> None:
        """Where a grid is not known there is a question mark, and null in the document."""
        folder.regions = folder.regions[:1]
        path = str(folder.write())

        assert "?" in self.run("--data", path, "--offsets", "1", "--quiet").stdout
        document = json.loads(self.run("--data", path, "--offsets", "1", "--json", "--quiet").stdout)
        assert {r["grams_per_replica_hour"] for r in document["rows"]} == {None}

    def test_a_folder_without_traces_is_named(self, tmp_path: Path) -> None:
        """The error says what is missing and where."""
        result = self.run("--data", str(tmp_path), "--offsets", "1", "--quiet")

        assert result.exit_code == ExitStatus.SIGNALS
        assert "ci_lifecycle_YEAR" in result.output
