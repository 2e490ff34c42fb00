"""``greenctl simulate`` as people run it: the demo service over recorded days, its document, its page, its refusals."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.cli.session import Session
from orchestrator.sim import world as twin
from orchestrator.sim.runs import Row
from orchestrator.sim.world import TwinWorld
from tests.unit.sim.sample_world import data_folder

DEMO = Path(__file__).parents[2] / "orchestrator" / "demo" / "service.yaml"
YEAR = DEMO.with_name("year.yaml")
PERIOD = ("--from", "2023-01-01", "--to", "2023-01-04")
POLICIES = "home,B3,B3*,greedy,regret,ours,balanced"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a folder in which nothing is configured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("GREENCTL_STATE_DIR", str(tmp_path / "state"))
    return tmp_path


def greenctl(*words: object) -> Result:
    """Run one command line in this process."""
    return CliRunner().invoke(app, [str(w) for w in words], obj=Session())


def simulated(folder: Path, *words: object) -> Result:
    """Run it on the recorded days."""
    data = folder / "data"
    if not data.exists():
        data_folder(data)
    return greenctl("simulate", DEMO, "--data", data, *words)


def test_a_recorded_week_side_by_side(folder: Path) -> None:
    """The table has every policy, the document its figures, and the page is one file that fetches nothing."""
    page, file = folder / "twin.html", folder / "twin.json"

    result = simulated(folder, *PERIOD, "--policies", POLICIES, "--oracle", "--json", str(file), "--html", str(page))

    assert result.exit_code == 0, result.stderr
    for name in (*POLICIES.split(","), "oracle"):
        assert re.search(rf"^\s*{re.escape(name)}\s", result.stdout, re.MULTILINE), name
    document = json.loads(file.read_text())
    rows: Mapping[str, Any] = {r["policy"]: r for r in document["rows"]}
    least = rows["oracle"]["grams"]
    assert all(r["grams"] >= least * (1 - 1e-9) for name, r in rows.items() if name != "home")
    assert rows["home"]["saving_percent_vs_home"] == 0.0
    ours = rows["ours"]
    assert ours["saving_percent_vs_b3"] == pytest.approx(100 * (1 - ours["grams"] / rows["B3"]["grams"]))
    assert ours["available_fraction"] == 1.0
    html = page.read_text()
    assert html.count("<svg") == 4
    assert not re.search(r"(?:src|href)=|https?:|@import|url\(", html)
    embedded = re.search(r'<script type="application/json" id="document">(.*?)</script>', html, re.DOTALL)
    assert embedded is not None
    assert len(json.loads(embedded[1])["rows"]) == len(rows)


def test_the_figures_of_a_small_run_stay_what_they_are(folder: Path) -> None:
    """Golden: whoever changes what a policy does over these three days changes these numbers, and says so."""
    result = simulated(folder, *PERIOD, "--policies", "home,B3,B3*,greedy,cheapest-static", "--oracle", "--json")

    rows = {r["policy"]: r for r in json.loads(result.stdout)["rows"]}
    assert {name: (round(r["grams"], 3), r["moves"]) for name, r in rows.items()} == {
        # Both replicas at home, which max_per_region would not allow.
        "home": (114.668, 0),
        "B3": (263.84, 0),
        "B3*": (263.84, 0),
        "cheapest-static": (263.84, 0),
        "greedy": (254.354, 10),
        "oracle": (251.522, 8),
    }


def test_the_same_seed_gives_the_same_bytes_under_every_hash_seed(tmp_path: Path) -> None:
    """Two processes whose sets and dictionaries are ordered differently write the same document and page."""
    data = data_folder(tmp_path / "data")
    written = []
    for number in ("1", "2"):
        file, page = tmp_path / f"{number}.json", tmp_path / f"{number}.html"
        period = ("--from", "2023-01-01", "--to", "2023-01-02", "--policies", "greedy,regret,spothedge,ours")
        words = ["simulate", str(DEMO), "--data", str(data), *period, "--oracle", "--quiet"]
        environment = {**os.environ, "PYTHONHASHSEED": number, "GREENCTL_STATE_DIR": str(tmp_path / "state")}
        command = [sys.executable, "-m", "orchestrator", *words, "--json", str(file), "--html", str(page)]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, timeout=300)
        written.append((file.read_bytes(), page.read_bytes()))

    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (("--from", "2023-01-01", "--to", "2024-01-01"), "hours of the period are missing", 5),
        (("--from", "2031-01-01", "--to", "2031-01-02"), "the recording has no value", 5),
        (("--from", "2023-01-03", "--to", "2023-01-01"), "is not after", 2),
        (("--from", "yesterday", "--to", "2023-01-01"), "is no date", 2),
        (("--from", "2023-01-01T00:30", "--to", "2023-01-02"), "not of whole hours", 2),
        ((*PERIOD, "--policies", "gready"), "Did you mean greedy", 2),
        ((*PERIOD, "--policies", ","), "names none", 2),
        ((*PERIOD, "--workload", "nothing.csv"), "--workload nothing.csv", 2),
        ((*PERIOD, "--rate", "0"), "is no load", 2),
        ((*PERIOD, "--cold-start", "2h"), "does not fit into an hour", 2),
        ((*PERIOD, "--data", "nowhere"), "there is no such folder", 2),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_words(
    folder: Path, words: tuple[str, ...], said: str, status: int
) -> None:
    """A named refusal with a hint and its exit status, before anything long begins."""
    result = simulated(folder, *words)

    assert result.exit_code == status, result.stderr
    assert said in " ".join(result.stderr.split())
    assert "hint:" in result.stderr
    assert not result.stdout


def test_a_hole_in_the_year_is_named_and_never_filled(folder: Path) -> None:
    """One hour of one zone is empty: which zone, how many hours, the first of them, and what to do."""
    data = data_folder(folder / "data")
    file = data / "carbon" / "ci_lifecycle_2023.csv"
    lines = file.read_text().splitlines()
    lines[31] = lines[31].split(",")[0] + ",," + ",".join(lines[31].split(",")[2:])
    file.write_text("\n".join(lines) + "\n")

    result = simulated(folder, *PERIOD)

    said = " ".join(result.stderr.split())
    assert result.exit_code == 5
    assert "DE: 1 hours of the period are missing in the recording, the first is 2023-01-02T06:00" in said
    assert "placement.deny" in said


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("NaN", "column DE: 'NaN' is not a number"),
        ("n/a", "column DE: 'n/a' is not a number"),
        ("-40", "column DE: '-40' is not a life-cycle intensity above"),
    ],
)
def test_a_cell_that_is_not_believed_is_named_with_its_place(folder: Path, cell: str, said: str) -> None:
    """It is not merely missing: which file, line and column, what stands there, and what is wrong with it."""
    data = data_folder(folder / "data")
    file = data / "carbon" / "ci_lifecycle_2023.csv"
    lines = file.read_text().splitlines()
    first, _, rest = lines[31].split(",", 2)
    lines[31] = f"{first},{cell},{rest}"
    file.write_text("\n".join(lines) + "\n")

    result = simulated(folder, *PERIOD)

    assert result.exit_code == 5
    told = " ".join(result.stderr.split())
    assert f"Not believed: ci_lifecycle_2023.csv:32: {said}" in told


def test_no_region_left_is_a_refusal_of_the_rules(folder: Path) -> None:
    """A service that may stand nowhere: the rules' own exit status, not a failure in the middle."""
    spec = folder / "service.yaml"
    spec.write_text(DEMO.read_text().replace("allow: [local/*]", "allow: [local/atlantis, local/mu]"))
    data = data_folder(folder / "data")

    result = greenctl("simulate", spec, "--data", data, *PERIOD)

    assert result.exit_code == 3, result.stderr
    assert "leave it no region with an offer" in " ".join(result.stderr.split())


def test_every_policy_runs_on_the_demo_service_with_a_budget_and_clients(folder: Path) -> None:
    """One command, each shipped policy, none refuses; where the regions of this machine are thought to be is told."""
    data = data_folder(folder / "data")

    result = greenctl("simulate", YEAR, "--data", data, *PERIOD, "--policies", "all", "--oracle", "--json")

    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    rows = {r["policy"]: r for r in document["rows"]}
    shipped = {path.stem for path in (DEMO.parents[2] / "policies").glob("*.yaml")}
    assert shipped - {"green-first"} < rows.keys()
    assert [r["policy"] for r in rows.values() if r["refusal"]] == []
    assert "local/us-mida-pjm" in rows["latency-first"]["replica_hours_by_region"]
    assert [n for n in document["notes"] if n.startswith("for the way to clients local/de, local/se, local/us-mida")]
    same, asked = (re.sub(r"#.*", "", path.read_text()).split() for path in (DEMO, YEAR))
    assert [word for word in same if word not in asked] == []


def test_a_policy_that_cannot_run_says_why_and_stops_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's own file has no budget and no clients: two policies refuse, even where the table has little room."""
    monkeypatch.setenv("COLUMNS", "100")
    result = simulated(folder, *PERIOD, "--policies", "carbon-budget,latency-first,balanced")

    assert result.exit_code == 0, result.stderr
    for name, why in (("carbon-budget", "carbon.budget is missing"), ("latency-first", "rtt_ms unknown")):
        assert re.search(rf"^\s*{name}\s+refuses\s", result.stdout, re.MULTILINE)
        assert why in " ".join(result.stdout.split())
    assert re.search(r"^\s*balanced\s+\d", result.stdout, re.MULTILINE)


def test_half_a_recording_of_spot_is_refused(folder: Path) -> None:
    """An index without its traces is no market that never runs out."""
    data = data_folder(folder / "data")
    (data / "spot").mkdir()
    (data / "spot" / "availability_index.csv").write_text("trace_id\n")

    result = simulated(folder, *PERIOD)

    assert result.exit_code == 5
    assert "has only one of" in result.stderr


@pytest.mark.usefixtures("folder")
def test_without_a_recording_it_says_what_to_name() -> None:
    """The synthetic profile is no year to live through."""
    result = greenctl("simulate", DEMO, *PERIOD)

    assert result.exit_code == 2
    assert "--data DIR" in result.stderr


def test_an_interrupt_keeps_what_is_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle: the table and the document of the policies that were done, and the status says so."""
    file = folder / "twin.json"
    real = TwinWorld.live

    async def interrupted(self: TwinWorld, *arguments: Any) -> Any:
        await real(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(twin.TwinWorld, "live", interrupted)
    result = simulated(folder, *PERIOD, "--policies", "home,B3,greedy,ours", "--json", str(file))

    assert result.exit_code == 130
    assert "Interrupted" in result.stdout
    document = json.loads(file.read_text())
    assert not document["complete"]
    assert [r["policy"] for r in document["rows"]] == ["home", "B3", "greedy"]


def test_rows_are_plain_values() -> None:
    """What a program reads is what the table shows: no row without its policy's name and kind."""
    assert {"policy", "kind", "grams", "usd", "moves"} <= set(Row.__dataclass_fields__)
