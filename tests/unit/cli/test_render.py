"""``greenctl render``: the task of a replica, to read, to copy, to run by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from orchestrator.domain.carbon import Kind
from orchestrator.domain.hardware import Shape
from orchestrator.domain.offer import Offer
from orchestrator.domain.places import Region
from orchestrator.domain.price import Market, Price
from tests.unit.cli.samples import NOW
from tests.unit.cli.world import CPU, POWER, World

ENGINE = {"GREENCTL_SKYPILOT__ENGINE": "/opt/vllm/bin/vllm"}
NODE = "slurm/eu-north:2vCPU-4GB:on_demand"
L4 = "aws/eu-north-1:1xL4:spot"

SPEC = """\
name: chat
model: {id: Qwen/Qwen3-8B, args: {max_model_len: 2048}}
secrets: {HF_TOKEN: null}
"""


@pytest.fixture(autouse=True)
def sold(world: World) -> None:
    """A node and a cloud's machine, beside this machine's own regions."""
    node = Region("slurm/eu-north", "SE", 1.2, "test", frozenset({"EU"}))
    world.offers.put(Offer(node, CPU, Market.ON_DEMAND, None))
    cloud = Region("aws/eu-north-1", "SE", 1.1, "test", frozenset({"EU"}))
    price = Price(0.5, "test list", Kind.SYNTHETIC, NOW)
    world.offers.put(Offer(cloud, Shape("1xL4", "L4", 1, 4.0, 16.0, POWER), Market.SPOT, price, "g6.xlarge"))


def spec_file(world: World, text: str = SPEC) -> Path:
    """A service file."""
    path = world.folder / "chat.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_task_is_printed_as_yaml_that_names_its_files(world: World) -> None:
    """What goes to SkyPilot, and as comments what the machine will be told to start."""
    spec = spec_file(world, SPEC + "resources: {accelerators: L4}\n")
    result = world.run("render", spec, "--offer", L4)

    assert result.exit_code == 0, result.stderr
    task = YAML(typ="safe").load(result.stdout)
    assert task["resources"]["infra"] == "aws/eu-north-1"
    assert task["resources"]["instance_type"] == "g6.xlarge"
    assert task["resources"]["use_spot"] is True
    assert task["resources"]["max_hourly_cost"] > 0.5
    assert task["file_mounts"]["~/.greenctl/launch.json"] == "./files/launch.json"
    assert task["file_mounts"]["~/.greenctl/secrets.json"] == "./files/secrets.json"
    assert '#   "--max-model-len=2048",' in result.stdout.splitlines()


def test_the_document_has_the_texts_of_the_files(world: World) -> None:
    """With --json nothing is left out but what is secret."""
    document = world.document("render", spec_file(world), "--offer", NODE, **ENGINE)

    assert document["offer"] == NODE
    assert document["secrets"] == ["HF_TOKEN"]
    assert json.loads(document["files"]["~/.greenctl/launch.json"])["argv"][1:3] == ["serve", "Qwen/Qwen3-8B"]
    assert not any("secrets.json" in path or path.endswith("/key") for path in document["files"])


def test_what_is_written_can_be_run_from_there(world: World) -> None:
    """Every file that the task mounts is there, but for the secrets; those are named."""
    out = world.folder / "out"
    result = world.run("render", spec_file(world), "--offer", NODE, "--out", out, **ENGINE)
    task = YAML(typ="safe").load((out / "task.yaml").read_text())

    missing = [path for path in task["file_mounts"].values() if not (out / path).exists()]
    assert missing == ["./files/secrets.json"]
    assert "secrets.json: a JSON object with HF_TOKEN" in " ".join(result.stderr.split())
    key = out / "files" / "key"
    assert oct(key.stat().st_mode & 0o777) == "0o600"
    assert key.read_text().strip() not in result.stdout


def test_writing_again_keeps_the_key(world: World) -> None:
    """A replica that runs already is still reached."""
    out = world.folder / "out"
    world.run("render", spec_file(world), "--offer", NODE, "--out", out, **ENGINE)
    key = (out / "files" / "key").read_text()
    world.run("render", spec_file(world), "--offer", NODE, "--out", out, **ENGINE)

    assert (out / "files" / "key").read_text() == key


def test_an_unknown_offer_is_refused_with_the_nearest_ones(world: World) -> None:
    """And with how many there are."""
    result = world.run("render", spec_file(world), "--offer", "slurm/eu-nort:2vCPU-4GB:on_demand")

    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "is not one of the 3 offers that fit this file" in said
    assert NODE in said


def test_without_an_offer_it_is_the_one_that_plan_launches_first(world: World) -> None:
    """One command shows what a deploy would start."""
    assert isinstance(world._runtime.provisioners, dict)
    world._runtime.provisioners["aws"] = world.provisioner
    spec = spec_file(world, SPEC + "resources: {accelerators: L4, use_spot: true}\nplacement: {allow: ['aws/*']}\n")
    result = world.run("render", spec)

    assert result.exit_code == 0, result.stderr
    assert YAML(typ="safe").load(result.stdout)["resources"]["infra"] == "aws/eu-north-1"


def test_without_an_offer_and_without_a_launch_one_has_to_be_named(world: World) -> None:
    """A service that is where it should be launches nothing that could be shown."""
    world.deploy()
    result = world.run("render", world.spec_file())

    assert result.exit_code == 2
    assert "Name one with --offer." in result.stderr


def test_nodes_without_an_engine_are_said_to_need_one(world: World) -> None:
    """The container cannot run there, and nothing else brings the engine for processors."""
    result = world.run("render", spec_file(world), "--offer", NODE)

    assert result.exit_code == 4
    assert "set skypilot.engine to its path" in " ".join(result.stderr.split())


def test_an_offer_of_this_machine_is_no_task(world: World) -> None:
    """SkyPilot launches nothing here, and says so instead of printing what cannot run."""
    result = world.run("render", spec_file(world), "--offer", "local/se:2vCPU-4GB:on_demand")

    assert result.exit_code == 4
    assert "is not a region that SkyPilot launches in" in " ".join(result.stderr.split())


def test_nothing_printed_speaks_to_the_terminal(world: World) -> None:
    """A script in the file may hold anything; here it is text."""
    script = json.dumps("echo é \u3000 {{ 7*7 }}\n")
    result = world.run("render", spec_file(world, SPEC + f"setup: {script}\n"), "--offer", NODE, **ENGINE)

    assert result.exit_code == 0, result.stderr
    assert result.stdout.isascii()
    assert all(c.isprintable() or c == "\n" for c in result.stdout)
