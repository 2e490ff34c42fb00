"""How ``greenctl bench sim`` counts what it simulates."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner, Result

from orchestrator.bench.sim import measure as module
from orchestrator.bench.sim.checks import Violation
from orchestrator.bench.sim.faults import Setting
from orchestrator.bench.sim.measure import measure
from orchestrator.bench.sim.run import Outcome, run
from orchestrator.cli.app import app
from orchestrator.cli.session import Session


def greenctl(*words: str) -> Result:
    """Run the bench."""
    return CliRunner(env={"COLUMNS": "140", "NO_COLOR": "1"}).invoke(app, ["bench", "sim", *words], obj=Session())


def as_it_is(setting: Setting) -> Outcome:
    """Live through a run without waiting for hours of rest."""
    return run(replace(setting, rest_hours=0.1))


def breaking(setting: Setting) -> Outcome:
    """End a bad day, and no quiet one, with a broken promise."""
    broken = (Violation("I3", 60.0, "r0 is nobody's"),) if setting.faults else ()
    return Outcome(setting, broken, "", 1.0, 10, 1, ())


def test_a_quiet_day_is_a_bad_day_without_its_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds have the same services; what is counted is what was lived through, and the bar hears of each."""
    monkeypatch.setattr(module, "run", as_it_is)
    heard: list[None] = []

    quiet, bad = measure(range(3, 4), 1.0, lambda: heard.append(None))

    assert (quiet.days, quiet.runs, quiet.faults) == ("quiet", 1, 0)
    assert (bad.days, bad.runs) == ("bad", 1)
    assert bad.faults > 0
    assert min(quiet.looks, bad.looks, quiet.launches, bad.launches) > 0
    assert min(quiet.service_hours, bad.service_hours) >= 1.0
    assert quiet.service_hours_per_second == pytest.approx(quiet.service_hours / quiet.cpu_s)
    assert len(heard) == 2


def test_the_document_says_what_the_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows by kind of day, and success where every promise was kept."""
    monkeypatch.setattr(module, "run", as_it_is)

    told = greenctl("--seeds", "1", "--hours", "1", "--json")

    rows = json.loads(told.stdout)["rows"]
    assert told.exit_code == 0
    assert [row["days"] for row in rows] == ["quiet", "bad"]
    assert all(row["service_hours_per_second"] > 0 and row["broken"] == [] for row in rows)


def test_a_broken_promise_is_named_and_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed and the promise are what a report needs."""
    monkeypatch.setattr(module, "run", breaking)

    told = greenctl("--seeds", "2", "--seed0", "7")

    assert told.exit_code == 1
    assert "seed 7: I3 at 60 s: r0 is nobody's" in told.stdout
    assert "seed 7 broke I3" in told.output
