"""The SkyPilot task of one replica on each family of accelerators, to the letter; and the real SkyPilot takes each.

``GREENCTL_UPDATE_GOLDEN=1`` writes the files anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.render import task as page
from orchestrator.provisioners.skypilot.resources import CLOUDS, WITHOUT_IMAGES
from orchestrator.provisioners.skypilot.task import RUN, SETUP, build_task
from orchestrator.spec.templates import load_template
from tests.golden.tasks.cases import CASES, THEIRS, seed

HERE = Path(__file__).parent
FAMILIES = dict(load_template("vllm-openai").families)

Understood = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the real SkyPilot says."""
    home = tmp_path_factory.mktemp("home")
    seed(home)
    tasks = [dict(build_task(*case).config) for case in CASES.values()]
    done = subprocess.run(
        [sys.executable, HERE / "ask_sky.py"],
        input=json.dumps(tasks),
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def understood(answer: dict[str, Any]) -> Understood:
    """What it understands of every task, schema and all."""
    return dict(zip(CASES, answer["tasks"], strict=True))


@pytest.mark.parametrize("name", CASES)
def test_the_task_is_what_it_was(name: str) -> None:
    """A change of a template, or of how tasks are made, is seen where it ends up."""
    path = HERE / f"{name}.yaml"
    found = page.text(build_task(*CASES[name]))
    if os.environ.get("GREENCTL_UPDATE_GOLDEN") == "1":
        path.write_text(found, encoding="ascii")

    assert found == path.read_text(encoding="ascii"), "run the tests with GREENCTL_UPDATE_GOLDEN=1"


def test_every_family_has_its_page() -> None:
    """A family without one is a family that nobody has looked at."""
    assert {family for family in FAMILIES if family != "cpu"} <= set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_skypilot_takes_the_task(name: str, understood: Understood) -> None:
    """Its schema and its own reading of the task, with its lists of what clouds sell."""
    found = understood[name]

    assert "refused" not in found, found
    request, _ = CASES[name]
    shape = request.offer.shape
    assert f"{found['cloud']}/{found['region']}" == request.offer.region.id
    assert found["accelerators"] == ({shape.accelerator: shape.accelerator_count} if shape.accelerator else None)
    assert found["use_spot"] is (request.offer.market == "spot")
    if request.offer.instance_type:
        assert found["instance_type"] == request.offer.instance_type


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("own")])
def test_what_a_shell_reads_is_the_same_for_everybody(name: str, understood: Understood) -> None:
    """Nothing of a service file is in the words for a shell."""
    assert understood[name]["run"] == RUN
    assert understood[name]["setup"] in {None, SETUP}
    assert set(understood[name]["envs"]) == {"GREENCTL_REPLICA"}


@pytest.mark.parametrize("name", CASES)
def test_no_secret_is_told_to_skypilot(name: str, understood: Understood) -> None:
    """It would write the values onto command lines of the machine; they travel in a file."""
    assert understood[name]["secrets"] == []


def test_a_users_own_scripts_pass_unchanged(understood: Understood) -> None:
    """In the task itself; where the file has secrets, in files that bash reads."""
    assert understood["own-run"]["run"] == THEIRS["run"]
    assert understood["own-run"]["setup"] == THEIRS["setup"]
    files = build_task(*CASES["own-run-with-secrets"]).files
    assert files["~/.greenctl/run.sh"] == THEIRS["run"]
    assert files["~/.greenctl/setup.sh"] == THEIRS["setup"]


def test_the_offer_takes_the_place_of_the_files_alternatives(understood: Understood) -> None:
    """One machine; the file's own disk, port, labels and limit are kept."""
    found = understood["own-run"]

    assert (found["disk_size"], found["ports"], found["max_hourly_cost"]) == (64, ["9000"], 2)
    assert found["labels"]["owner"] == "me"
    assert found["labels"]["greenctl-intent"] == "aaaaaaaaaa"


@pytest.mark.parametrize(("name", "zone"), [("zone", "europe-west4-b"), ("partition", "preempt"), ("cpu-aws", None)])
def test_skypilot_launches_in_the_zone_that_the_file_names(name: str, zone: str | None, understood: Understood) -> None:
    """On Slurm that is a partition; where the file leaves it open, SkyPilot picks it."""
    assert understood[name]["zone"] == zone


def test_our_lists_of_clouds_are_skypilots(answer: dict[str, Any]) -> None:
    """Where it launches, and where no container runs."""
    assert set(answer["clouds"]) == CLOUDS
    assert set(answer["without_images"]) == WITHOUT_IMAGES
