from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from orchestrator.bench.planner.measure import measure, moved_on
from orchestrator.bench.planner.worlds import Size, random_world
from orchestrator.cli.app import app
from orchestrator.cli.session import Session
from orchestrator.planner.optimum.plan import Rung
from orchestrator.planner.optimum.solve import solve

SMALL = Size(4, 2, 3)


def test_equal_seeds_give_equal_worlds() -> None:
    """A world follows from its size and its seed; another seed gives another world."""
    one, same, other = random_world(SMALL, 3), random_world(SMALL, 3), random_world(SMALL, 4)

    assert one.offers == same.offers
    assert one.rent_usd.tobytes() == same.rent_usd.tobytes()
    assert one.demand.tobytes() != other.demand.tobytes()


def test_a_world_is_as_large_as_asked() -> None:
    """Every region sells something on both markets, and every origin reaches three regions at least."""
    world = random_world(Size(30, 5, 7), 0)

    assert (len(world.regions), world.steps) == (30, 7)
    assert set(world.region_of.tolist()) == set(range(30))
    assert int(world.spot.sum()) * 2 == len(world.offers)
    assert int(world.eligible.sum(axis=1).min()) >= 3


def test_a_row_counts_every_world() -> None:
    """Each seed is planned, judged and counted once; times and gaps are in order."""
    calls: list[None] = []
    (row,) = measure([SMALL], 3, 60.0, lambda: calls.append(None))

    assert len(calls) == row.seeds == sum(row.rungs.values()) == sum(row.warm_rungs.values()) == 3
    assert row.broken == 0
    assert 0.0 < row.p50_s <= row.p95_s <= row.max_s
    assert 0.0 <= row.gap_p95 <= row.gap_max <= 0.005


def test_no_budget_shows_in_the_rungs() -> None:
    """Plans without time are greedy, and keep the rules all the same."""
    (row,) = measure([SMALL], 2, 0.0, lambda: None)

    assert row.rungs == {Rung.GREEDY.value: 2}
    assert row.broken == 0


def test_an_hour_later_the_plan_runs() -> None:
    """The second world differs in its costs alone, and has the first step running."""
    world = random_world(SMALL, 1)
    plan = solve(world, lambda: 60.0).plan
    later = moved_on(world, plan, 1)

    assert np.array_equal(later.running, plan.replicas[:, 0])
    assert np.abs(later.rent_usd / world.rent_usd - 1.0).max() <= 0.05
    assert later.demand is world.demand
    assert not np.array_equal(later.rent_usd, replace(world).rent_usd)


def bench(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "160", "NO_COLOR": "1"}).invoke(app, ["bench", "planner", *words], obj=Session())


def test_the_command_writes_its_document() -> None:
    """``--json`` has one row per size, with the keys that readers rely on."""
    result = bench("--sizes", "3x2x2,4x2x3", "--seeds", "2", "--json", "--quiet")
    rows = json.loads(result.stdout)["rows"]

    assert result.exit_code == 0
    assert [(r["regions"], r["shapes"], r["steps"], r["seeds"]) for r in rows] == [(3, 2, 2, 2), (4, 2, 3, 2)]
    assert {"p50_s", "p95_s", "gap_p95", "gap_max", "rungs"} <= rows[0].keys()


@pytest.mark.parametrize("size", ["20x10", "0x1x1", "axbxc", "1000x1000x1"])
def test_a_size_that_cannot_be_is_refused(size: str) -> None:
    """What is not a size is named, with how to write one."""
    result = bench("--sizes", size)

    assert result.exit_code == 2
    assert size in result.stderr


def test_the_table_has_a_line_for_each_size() -> None:
    """People see size, times, gap and rungs."""
    result = bench("--sizes", "3x2x2", "--seeds", "1", "--quiet")

    assert result.exit_code == 0
    assert "3x2x2" in result.stdout
    assert "certified 1" in result.stdout
