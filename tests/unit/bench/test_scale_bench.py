"""``greenctl bench scale``: a fleet goes up, rests and goes down, and nothing of it is left."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestrator.bench.scale.measure import PARTS, TICK, Row, Size, measure, most_memory_mib, most_rounds
from orchestrator.cli.app import app
from orchestrator.cli.session import Session
from orchestrator.errors import ExitStatus
from orchestrator.store.memory import MemoryStore


def bench(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "160", "NO_COLOR": "1"}).invoke(app, ["bench", "scale", *words], obj=Session())


def test_a_fleet_is_given_the_time_that_its_launches_take() -> None:
    """No more than ten in a minute: a thousand replicas take a hundred minutes at the least, at any pace of rounds."""
    for size in (Size(100, 20, 20), Size(1000, 200, 100)):
        assert most_rounds(size) * TICK > timedelta(minutes=2 * size.replicas / 10)


async def test_a_fleet_leaves_nothing_behind() -> None:
    """Every machine is gone, every record closed, every part was told of, and every look was timed."""
    told: list[str] = []

    row = await measure(Size(6, 4, 3), MemoryStore(), "memory", told.append)

    assert isinstance(row, Row)
    assert (row.leaked, row.open_records, row.findings) == (0, 0, 0)
    assert tuple(told) == PARTS
    launch, steady, down = row.phases
    assert [p.name for p in row.phases] == ["launch", "steady", "scale-down"]
    assert launch.simulated_s > 0
    assert down.simulated_s > 0
    assert (steady.rounds, steady.looks) == (24, 3 * 24)


@pytest.mark.parametrize("size", ["", "10", "10x10", "0x1x1", "2x2x5", "9999x1x1"])
def test_a_size_that_is_none_is_refused(size: str) -> None:
    """Before anything is begun, with the shape of a right one or the limit."""
    result = bench("--sizes", size)

    assert result.exit_code == ExitStatus.INVALID
    assert "--sizes" in result.output


def test_several_fleets_in_one_database_are_refused_before_anything_is_begun() -> None:
    """The second would find the records of the first; nobody waits for a row that would be lost."""
    result = bench("--sizes", "2x2x1,4x2x1", "--store", "postgresql://nobody@localhost:1/nowhere")

    assert result.exit_code == ExitStatus.INVALID
    assert "2 fleets do not fit into one database" in " ".join(result.output.split())


def test_memory_is_counted_in_the_units_of_the_system() -> None:
    """What getrusage calls 2,097,152 is 2 GiB on Linux, and 2 MiB on macOS."""
    assert most_memory_mib("linux", 2_097_152) == 2048.0
    assert most_memory_mib("darwin", 2_097_152) == 2.0


def test_the_command_measures_on_a_database(tmp_path: Path) -> None:
    """The table is for people, the document has every number; the journal it wrote is whole."""
    file = tmp_path / "rows.json"

    result = bench("--sizes", "2x2x1", "--store", "sqlite", "--store", "memory", "--json", str(file))

    assert result.exit_code == 0, result.output
    assert "2x2x1" in result.output
    row, other = json.loads(file.read_text())["rows"]
    assert other["store"] == "memory"
    assert (row["leaked"], row["open_records"], row["findings"], row["store"]) == (0, 0, 0, "sqlite")
    assert row["links"] > 0
    assert [p["name"] for p in row["phases"]] == ["launch", "steady", "scale-down"]
    assert all(p["look_p50_s"] <= p["look_p99_s"] <= p["round_p99_s"] for p in row["phases"])
    assert "0 machines and 0 open records left over" in " ".join(result.output.split())
