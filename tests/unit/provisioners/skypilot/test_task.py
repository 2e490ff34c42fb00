"""A replica as a SkyPilot task: what travels how, and what makes no task."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.control.ports import LaunchRequest
from orchestrator.domain.service import Engine, JsonScalar
from orchestrator.errors import InvalidSpec, UnsupportedByProvider
from orchestrator.provisioners.skypilot.clouds import WITH_PORTS_ELSEWHERE
from orchestrator.provisioners.skypilot.resources import CLOUDS, MOST_LABELS, label, label_key
from orchestrator.provisioners.skypilot.task import RUN, SETUP, NodeOptions, SkyTask, build_task
from tests.golden.tasks.cases import A10G, CPUS, H100, L4, NODE, SLURM, request

CLOUD = NodeOptions()


def launch_of(task: SkyTask) -> dict[str, Any]:
    """What the machine is told to start."""
    found: dict[str, Any] = json.loads(task.files["~/.greenctl/launch.json"])
    return found


def on_l4(**what: Any) -> LaunchRequest:
    """A replica on one L4."""
    return request("aws/eu-north-1", L4, "g6.xlarge", **what)


# ── what travels how ─────────────────────────────────────────────────────────────────────────────────


def test_a_model_in_a_folder_travels_along() -> None:
    """It is uploaded, and the engine is told where it is on the machine; the hub is not asked."""
    asked = replace(on_l4(), model=replace(on_l4().model, id="/models/own"))
    task = build_task(asked, CLOUD)

    assert task.uploads == {"~/.greenctl/model": Path("/models/own")}
    assert launch_of(task)["argv"][2] == "@HERE@/model"
    assert launch_of(task)["env"]["HF_HUB_OFFLINE"] == "1"


def test_what_comes_from_the_hub_beside_such_a_model_still_comes() -> None:
    """Adapters have hub ids."""
    args: dict[str, JsonScalar] = {"enable_lora": True, "lora_modules": "law=org/law"}
    asked = on_l4(args=args)
    task = build_task(replace(asked, model=replace(asked.model, id="/models/own")), CLOUD)

    assert "HF_HUB_OFFLINE" not in launch_of(task)["env"]


def test_a_files_variables_reach_the_engine_and_no_shell() -> None:
    """They are in the launch, as text; SkyPilot gets them only where the file has scripts or mounts that use them."""
    odd = "$(touch x) 'a' \"b\"\n"
    plain = build_task(on_l4(task={"envs": {"NAME": odd, "COUNT": 3}}), CLOUD)
    scripted = build_task(on_l4(task={"envs": {"NAME": odd}, "setup": "echo hi"}), CLOUD)

    assert launch_of(plain)["env"].items() >= {"NAME": odd, "COUNT": "3"}.items()
    assert set(plain.config["envs"]) == {"GREENCTL_REPLICA"}
    assert scripted.config["envs"]["NAME"] == odd


def test_own_setup_takes_the_place_of_ours_and_the_engine_still_comes() -> None:
    """Our program installs what is missing when it runs."""
    task = build_task(on_l4(task={"setup": "echo hi"}), CLOUD)

    assert (task.config["setup"], task.config["run"]) == ("echo hi", RUN)
    assert launch_of(task)["packages"] == ["vllm==0.32.0"]


def test_own_setup_with_secrets_is_run_by_our_program() -> None:
    """SkyPilot would write the secrets' values onto command lines."""
    task = build_task(on_l4(task={"setup": "echo hi"}, secrets=("HF_TOKEN",)), CLOUD)

    assert task.config["setup"] == SETUP
    assert task.files["~/.greenctl/setup.sh"] == "echo hi"
    assert task.secrets_path == "~/.greenctl/secrets.json"


def test_nothing_is_installed_where_the_nodes_have_the_engine() -> None:
    """And it listens on the node's own address alone, because nobody opens a port for it."""
    task = build_task(request("slurm/eu-north", NODE), SLURM)

    assert "setup" not in task.config
    assert launch_of(task)["argv"][0] == "/opt/vllm/bin/vllm"
    assert "--host=@ADDRESS@" in launch_of(task)["argv"]
    assert "ports" not in task.config["resources"]


@pytest.mark.parametrize(("vcpus", "threads"), [(1.0, "1"), (2.0, "1"), (8.0, "4")])
def test_a_replica_on_processors_takes_its_own_cores(vcpus: float, threads: str) -> None:
    """Two vCPUs are one core."""
    env = launch_of(build_task(request("slurm/eu", replace(NODE, vcpus=vcpus)), SLURM))["env"]

    assert (env["OMP_NUM_THREADS"], env["VLLM_CPU_OMP_THREADS_BIND"]) == (threads, "nobind")


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({}, "--tensor-parallel-size=8"),
        ({"data_parallel_size": 2}, "--tensor-parallel-size=4"),
        ({"pipeline_parallel_size": 4, "data_parallel_size": 2}, "--tensor-parallel-size=1"),
        ({"tensor_parallel_size": 4}, "--tensor-parallel-size=4"),
    ],
)
def test_every_accelerator_is_used(args: dict[str, JsonScalar], word: str) -> None:
    """Unless the file says how."""
    argv = launch_of(build_task(request("gcp/europe-west4", H100, args=args), CLOUD))["argv"]

    assert [w for w in argv if w.startswith("--tensor-parallel-size")] == [word]


@pytest.mark.parametrize(
    "args",
    [{"tensor_parallel_size": 16}, {"data_parallel_size": 3}, {"tensor_parallel_size": 8, "data_parallel_size": 2}],
)
def test_more_accelerators_than_the_offer_has_are_refused(args: dict[str, JsonScalar]) -> None:
    """The engine would wait for them for ever."""
    with pytest.raises(InvalidSpec) as caught:
        build_task(request("gcp/europe-west4", H100, args=args), CLOUD)

    assert "the offer has 8" in caught.value.problems[0].message


def test_one_accelerator_needs_no_word_about_it() -> None:
    """The default is one."""
    assert not any("parallel" in word for word in launch_of(build_task(on_l4(), CLOUD))["argv"])


def test_the_files_own_machine_details_are_kept() -> None:
    """Disk, image, labels; where and what is the offer's word."""
    resources = {"infra": "gcp", "accelerators": "H100:8", "disk_size": 512, "disk_tier": "high", "use_spot": True}
    found = build_task(on_l4(task={"resources": resources}), CLOUD).config["resources"]

    assert found.items() >= {"infra": "aws/eu-north-1", "disk_size": 512, "disk_tier": "high"}.items()
    assert found["accelerators"] == {"L4": 1}
    assert "use_spot" not in found


@pytest.mark.parametrize(
    ("resources", "infra"),
    [
        ({"infra": "AWS/eu-north-1/eu-north-1a"}, "aws/eu-north-1/eu-north-1a"),
        ({"cloud": "aws", "region": "eu-north-1", "zone": "eu-north-1b"}, "aws/eu-north-1/eu-north-1b"),
        ({"infra": "aws/*/eu-north-1a"}, "aws/eu-north-1/eu-north-1a"),
        ({"any_of": [{"infra": "aws/eu-north-1/eu-north-1a"}, {"infra": "gcp"}]}, "aws/eu-north-1/eu-north-1a"),
        ({"any_of": [{"infra": "aws/eu-north-1/eu-north-1a"}, {"infra": "aws"}]}, "aws/eu-north-1"),
        ({"any_of": [{"infra": "aws/eu-west-1/eu-west-1a"}, {"infra": "aws/eu-north-1"}]}, "aws/eu-north-1"),
        ({"infra": "aws/eu-north-1/*"}, "aws/eu-north-1"),
        ({"infra": "aws/eu-north-1/eun1-az1"}, "aws/eu-north-1"),
        ({"infra": "aws/eu-north-1/eu-north-1a", "instance_type": 7}, "aws/eu-north-1/eu-north-1a"),
        ({}, "aws/eu-north-1"),
    ],
)
def test_a_replica_is_launched_in_the_zone_that_its_file_names(resources: dict[str, Any], infra: str) -> None:
    """What was priced there is bought there; which region it is stays the offer's word."""
    assert build_task(on_l4(task={"resources": resources}), CLOUD).config["resources"]["infra"] == infra


def test_of_two_limits_the_lower_one_holds() -> None:
    """What was confirmed, and what the file allows."""
    found = build_task(on_l4(task={"resources": {"max_hourly_cost": 2.5}}), CLOUD).config["resources"]

    assert found["max_hourly_cost"] == 2.5


@pytest.mark.parametrize(
    ("task", "port"),
    [
        ({}, 8000),
        ({"resources": {"ports": 8080}}, 8080),
        ({"resources": {"ports": "8081"}}, 8081),
        ({"resources": {"ports": ["8082-8090"]}}, 8082),
        ({"service": {"ports": 9000}, "resources": {"ports": 8080}}, 9000),
        ({"resources": {"ports": "all"}}, 8000),
    ],
)
def test_the_port_is_the_files_own(task: dict[str, Any], port: int) -> None:
    """In each of SkyPilot's ways to say it; the engine listens where the gateway will ask."""
    found = build_task(on_l4(task=task), CLOUD)

    assert found.port == port
    assert f"--port={port}" in launch_of(found)["argv"]
    assert found.config["resources"]["ports"] == [port]


# ── what makes no task ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["VLLM_API_KEY", "PYTHONPATH", "GREENCTL_STOP_FILE"])
@pytest.mark.parametrize("block", ["envs", "secrets"])
def test_variables_of_ours_are_not_somebody_elses(name: str, block: str) -> None:
    """With another key nobody could reach the replica, and another path would hide the guard."""
    asked = on_l4(task={"envs": {name: "x"}}) if block == "envs" else on_l4(secrets=(name,))
    with pytest.raises(InvalidSpec) as caught:
        build_task(asked, CLOUD)

    assert caught.value.problems[0].path == f"{block}.{name}"


@pytest.mark.parametrize("value", [None, "a\0b"])
def test_a_variable_that_no_environment_can_hold_is_refused(value: str | None) -> None:
    """SkyPilot would ask for the missing one, and nobody is there to answer."""
    with pytest.raises(InvalidSpec):
        build_task(on_l4(task={"envs": {"NAME": value}}), CLOUD)


@pytest.mark.parametrize(
    "task",
    [
        {"workdir": "."},
        {"workdir": "src/app"},
        {"file_mounts": {"/data": "./data"}},
        {"file_mounts": {"/data": {"source": "data", "mode": "COPY"}}},
    ],
)
def test_a_relative_path_of_this_machine_is_refused(task: dict[str, Any]) -> None:
    """Whoever launches stands in another folder, and would carry something else to the machine."""
    with pytest.raises(InvalidSpec) as caught:
        build_task(on_l4(task=task), CLOUD)

    assert "Write the whole path" in caught.value.problems[0].message


@pytest.mark.parametrize(
    "task",
    [
        {"workdir": "/srv/app"},
        {"workdir": {"url": "https://example.com/x.git"}},
        {"file_mounts": {"/data": "s3://bucket/data", "/x": "~/x"}},
    ],
)
def test_other_sources_pass_unchanged(task: dict[str, Any]) -> None:
    """Buckets, repositories, whole paths."""
    config = build_task(on_l4(task=task), CLOUD).config

    assert task.items() <= config.items()


@pytest.mark.parametrize("region", ["local/se", "elsewhere/x"])
def test_a_region_that_is_not_skypilots_is_refused(region: str) -> None:
    """It would ask for a cloud of that name."""
    with pytest.raises(UnsupportedByProvider):
        build_task(request(region, L4), CLOUD)


def test_a_container_where_none_can_run_is_refused() -> None:
    """The template's, and the file's own."""
    with pytest.raises(UnsupportedByProvider, match="container"):
        build_task(request("slurm/eu", NODE), NodeOptions(opens_ports=False))
    with pytest.raises(UnsupportedByProvider, match="containers"):
        build_task(request("slurm/eu", NODE, task={"resources": {"image_id": "docker:a/b:c"}}), SLURM)
    assert build_task(request("aws/eu-north-1", CPUS), CLOUD).config["resources"]["image_id"].startswith("docker:")


def test_a_model_of_this_machine_is_refused() -> None:
    """The local engine makes it on first use; nobody else has it."""
    with pytest.raises(UnsupportedByProvider):
        build_task(replace(on_l4(), model=replace(on_l4().model, id="greenctl/tiny")), CLOUD)


def test_an_engine_of_this_machine_is_refused() -> None:
    """It answers without a model, to try things out."""
    with pytest.raises(UnsupportedByProvider):
        build_task(on_l4(engine=Engine.BUILTIN), CLOUD)


def test_a_quantization_that_the_hardware_lacks_is_refused() -> None:
    """Before the machine is bought."""
    with pytest.raises(InvalidSpec):
        build_task(request("aws/eu-north-1", A10G, args={"quantization": "fp8_per_block"}), CLOUD)


# ── labels ───────────────────────────────────────────────────────────────────────────────────────────


@given(st.text(max_size=100))
def test_values_of_labels_are_what_every_cloud_takes(value: str) -> None:
    """Google Cloud's and Kubernetes' grammars at once; what is one already is kept."""
    found = label(value)

    assert len(found) <= 63
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    assert found == found.strip("-_")
    assert label(found) == found


@given(st.text(max_size=100))
def test_keys_of_labels_begin_with_a_letter(key: str) -> None:
    """Google Cloud's grammar."""
    found = label_key(key)

    assert found[0] in "abcdefghijklmnopqrstuvwxyz"
    assert label(found) == found


def test_more_labels_than_a_cloud_takes_are_left_out_and_ours_never() -> None:
    """AWS takes fifty in all."""
    asked = replace(on_l4(), labels=tuple((f"label-{n:02}", "x") for n in range(64)))
    found = build_task(asked, CLOUD).config["resources"]["labels"]

    assert len(found) == MOST_LABELS + 5
    assert found["greenctl-intent"] == "aaaaaaaaaa"


def test_nobodys_own_label_takes_the_place_of_a_mark() -> None:
    """The marks say whose machine it is."""
    asked = replace(
        on_l4(task={"resources": {"labels": {"greenctl-deployment": "x"}}}), labels=(("Greenctl-Epoch", "9"),)
    )
    found = build_task(asked, CLOUD).config["resources"]["labels"]

    assert (found["greenctl-deployment"], found["greenctl-epoch"]) == ("0123456789abcdef", "3")


@pytest.mark.parametrize("cloud", sorted(CLOUDS))
def test_every_cloud_gets_a_task_or_a_reason(cloud: str) -> None:
    """An accelerator with packages needs nothing of a cloud but the machine."""
    if cloud == "slurm":
        options = replace(SLURM, engine=None)
        assert build_task(request("slurm/eu", L4), options).config["setup"] == SETUP
        return
    if cloud in WITH_PORTS_ELSEWHERE:
        with pytest.raises(UnsupportedByProvider, match="published as another one"):
            build_task(request(f"{cloud}/somewhere", L4), CLOUD)
        return
    assert build_task(request(f"{cloud}/somewhere", L4), CLOUD).config["resources"]["infra"] == f"{cloud}/somewhere"
