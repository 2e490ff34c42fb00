"""``greenctl bench soak``: months in a database, old samples merged on the way, and every figure as it was."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestrator.bench.scale.measure import Size
from orchestrator.bench.scale.soak import Soak
from orchestrator.cli.app import app
from orchestrator.cli.session import Session
from orchestrator.control.ports.store import DECISIONS_LEFT
from orchestrator.errors import ExitStatus
from tests.postgres import PostgresServer, postgres_server  # noqa: F401  # a fixture


def bench(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "160", "NO_COLOR": "1"}).invoke(app, ["bench", "soak", *words], obj=Session())


def test_sizes_are_told_at_months_that_are_reached_and_in_the_end() -> None:
    """Of a year months 1, 6 and 12 and its last day; of less, what there is."""
    hour = timedelta(hours=1)

    assert Soak(Size(1, 2, 1), 365, hour, None, None).marks == (30, 180, 360, 365)
    assert Soak(Size(1, 2, 1), 180, hour, None, None).marks == (30, 180)
    assert Soak(Size(1, 2, 1), 3, hour, None, None).marks == (3,)


def test_old_days_are_hours_in_the_end(tmp_path: Path) -> None:
    """Of two days one stays as it was written: a row a minute, and one an hour before; the report has not changed."""
    file = tmp_path / "rows.json"

    words = ("--days", "2", "--replicas", "1", "--keep-days", "1", "--keep-decisions", "0")
    result = bench(*words, "--folder", str(tmp_path), "--json", str(file))

    assert result.exit_code == 0, result.output
    (mark,) = json.loads(file.read_text())["rows"]
    assert 60 * 23 <= mark["rows"]["energy_samples"] <= 60 * 26
    assert 22 <= mark["rows"]["energy_hours"] <= 26
    assert mark["rows"]["journal_links"] < mark["rows"]["energy_samples"] + 700
    assert (mark["findings"], mark["first_month_same"]) == (0, True)
    assert mark["database_bytes"] > 0
    assert "rows of energy_hours" in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["rows.json"]


@pytest.mark.postgres
def test_a_database_that_somebody_names_is_filled_once(postgres_server: PostgresServer) -> None:  # noqa: F811
    """PostgreSQL tells its size as well; what has services in it already is nobody's to fill."""
    words = ("--days", "1", "--replicas", "1", "--store", postgres_server.new_database())
    result = bench(*words, "--json")

    assert result.exit_code == 0, result.output
    (mark,) = json.loads(result.stdout)["rows"]
    assert mark["database_bytes"] > 0
    assert mark["findings"] == 0

    again = bench(*words)
    assert again.exit_code == ExitStatus.INVALID
    assert "services are recorded there" in again.stderr


def test_decisions_at_rest_do_not_pile_up(tmp_path: Path) -> None:
    """Of six days, those older than one are a row each; the newest decisions are whole, and the journal is."""
    file = tmp_path / "rows.json"
    words = ("--days", "6", "--replicas", "1", "--keep-days", "1", "--keep-decisions", "1")

    result = bench(*words, "--folder", str(tmp_path), "--json", str(file))

    assert result.exit_code == 0, result.output
    (mark,) = json.loads(file.read_text())["rows"]
    assert 2 <= mark["rows"]["resting_days"] <= 6
    assert DECISIONS_LEFT <= mark["rows"]["decisions"] <= DECISIONS_LEFT + 24 * 2
    assert (mark["findings"], mark["first_month_same"]) == (0, True)


def test_looks_that_do_not_divide_an_hour_are_refused() -> None:
    """Before anything is begun, with what does."""
    result = bench("--tick-minutes", "7")

    assert result.exit_code == ExitStatus.INVALID
    assert "does not divide an hour" in " ".join(result.output.split())
