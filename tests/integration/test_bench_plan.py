"""Our plan beside SkyPilot's own optimizer: the same files, the same question, and nobody contacted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestrator.bench.plan.rival import question, rival_plan
from orchestrator.cli.app import app
from orchestrator.domain.service import Accelerators, ResourceRequest
from orchestrator.errors import ExitStatus, ProviderError
from tests.builders import service_spec

HEAD = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone\n"
AWS = """\
g6.xlarge,L4,1.0,4.0,16.0,,0.80,0.30,eu-north-1,eun1-az1
g6.xlarge,L4,1.0,4.0,16.0,,0.79,0.20,us-east-1,use1-az1
m6i.large,,,2.0,8.0,,0.10,0.04,us-east-1,use1-az1
"""
SPEC = """\
name: chat
model: {id: org/model}
resources: {accelerators: L4:1}
service: {replicas: 2}
policy: {set: {max_extra_cost: 5%}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of somebody's with one catalogue and one service file."""
    monkeypatch.setenv("GREENCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "catalogues" / "aws").mkdir(parents=True)
    (tmp_path / "catalogues" / "aws" / "vms.csv").write_text(HEAD + AWS)
    (tmp_path / "service.yaml").write_text(SPEC)
    return tmp_path


def bench(folder: Path, *words: str) -> Result:
    """Run the bench over the folder's catalogues."""
    known = ["bench", "plan", str(folder / "service.yaml"), "--catalogs", str(folder / "catalogues")]
    return CliRunner().invoke(app, [*known, *words])


def test_both_planners_answer_the_same_question_in_one_run(folder: Path) -> None:
    """The real optimizer takes the cheapest; we take the cleanest within the limit, and judge its choice by our rules.

    Nothing is left of it: no state of ours, nothing in the user's home.
    """
    target = folder / "out.json"
    done = bench(folder, "--with-skypilot", "--json", str(target))
    assert done.exit_code == 0, done.output
    document = json.loads(target.read_text())

    ours, rival = document["greenctl"], document["skypilot"]
    assert ours["offers"] == 4
    assert ours["excluded_by"]["resources.use_spot"] == 2
    (choice,) = ours["choices"]
    assert (choice["offer_id"], choice["replicas"]) == ("aws/eu-north-1:1xL4:on_demand", 2)
    assert rival["offer_id"] == "aws/us-east-1:1xL4:on_demand"
    assert (rival["usd_per_hour"], rival["excluded_because"]) == (0.79, "")
    assert rival["grams_per_hour"] > choice["grams_per_hour"] > 0
    assert min(rival["first_seconds"], ours["first_seconds"], ours["again_seconds"]) > 0
    assert "greenctl" in done.output
    assert "SkyPilot 0." in done.output
    assert not (folder / "state").exists()
    assert not (folder / "home").exists()


def test_without_the_rival_nothing_else_is_started(folder: Path) -> None:
    """On stdout there is the document alone."""
    done = bench(folder, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["skypilot"] is None


def test_a_folder_without_catalogues_is_named(folder: Path) -> None:
    """Status 2, with what was expected where."""
    (folder / "catalogues" / "aws" / "vms.csv").unlink()
    done = bench(folder)
    assert done.exit_code == ExitStatus.INVALID
    assert "no catalogue of a cloud that SkyPilot knows" in done.stderr
    assert "DIR/aws/vms.csv" in done.stderr


def test_what_skypilot_cannot_place_is_its_own_word(folder: Path) -> None:
    """An error that says whose optimizer has no answer, and the one it gave."""
    spec = replace(service_spec(), resources=ResourceRequest(accelerators=(Accelerators("H100", 8),)))
    with pytest.raises(ProviderError, match=r"SkyPilot's optimizer has no answer: .*H100"):
        rival_plan(spec, folder / "catalogues", ["aws"], [])


def test_the_question_is_the_services_wish_and_no_more() -> None:
    """Any one of its accelerators, on its market; sizes as SkyPilot writes a least one."""
    wish = ResourceRequest(accelerators=(Accelerators("L4", 1), Accelerators("H100", 8)), min_memory_gib=64.0)
    assert question(replace(service_spec(), resources=wish)) == [
        {"use_spot": False, "memory": "64+", "accelerators": {"L4": 1}},
        {"use_spot": False, "memory": "64+", "accelerators": {"H100": 8}},
    ]
    bare = question(replace(service_spec(), resources=ResourceRequest(min_vcpus=4.0, infra="aws")))
    assert bare == [{"use_spot": False, "cpus": "4+", "infra": "aws"}]
