"""The short name of what a replica runs: when it changes, running replicas are rolled over."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from orchestrator.domain.service import (
    Accelerators,
    Engine,
    ModelSpec,
    PlacementRules,
    Policy,
    ResourceRequest,
    Scaling,
    ServiceSpec,
)
from orchestrator.domain.workload import workload_digest
from tests.builders import service_spec


class TestWorkload:
    @pytest.mark.parametrize(
        "changed",
        [
            replace(service_spec(), model=ModelSpec("org/other")),
            replace(service_spec(), model=ModelSpec("org/model", engine=Engine.BUILTIN)),
            replace(service_spec(), model=ModelSpec("org/model", served_name="chat")),
            replace(service_spec(), model=ModelSpec("org/model", args=(("max-model-len", 4096),))),
            replace(service_spec(), resources=ResourceRequest(accelerators=(Accelerators("L4", 2),))),
            replace(service_spec(), resources=ResourceRequest(min_vcpus=8.0)),
            replace(service_spec(), resources=ResourceRequest(min_memory_gib=64.0)),
        ],
        ids=["model", "engine", "served-name", "arguments", "accelerators", "vcpus", "memory"],
    )
    def test_what_runs_differently_is_another_workload(self, changed: ServiceSpec) -> None:
        """Model, engine, arguments or hardware request: running replicas are rolled over to it."""
        assert workload_digest(changed) != workload_digest(service_spec())

    @pytest.mark.parametrize("key", ["run", "setup", "envs", "file_mounts", "workdir"])
    def test_another_task_is_another_workload(self, key: str) -> None:
        """What SkyPilot is to run is part of what runs: a changed script reaches the running replicas."""
        before = service_spec(passthrough_json=json.dumps({"name": "chat", key: "one"}))
        after = service_spec(passthrough_json=json.dumps({"name": "chat", key: "two"}))
        assert workload_digest(before) != workload_digest(after)

    def test_another_image_is_another_workload(self) -> None:
        """The machine image is named among the resources, but it is what runs."""
        before, after = (
            service_spec(passthrough_json=json.dumps({"resources": {"image_id": image}})) for image in ("a", "b")
        )
        assert workload_digest(before) != workload_digest(after)

    @pytest.mark.parametrize(
        "changed",
        [
            service_spec(3),
            replace(service_spec(), scaling=Scaling(1, 9)),
            service_spec(placement=PlacementRules(residency=("EU",))),
            service_spec(policy=Policy(name="cheapest")),
            service_spec(spot=True),
            service_spec(labels=(("team", "b"),)),
            service_spec(passthrough_json=json.dumps({"name": "chat", "service": {"replicas": 4}})),
            service_spec(passthrough_json=json.dumps({"name": "chat", "resources": {"infra": "aws"}})),
            service_spec(passthrough_json=json.dumps({"name": "chat", "resources": None})),
        ],
        ids=[
            "replicas",
            "bounds",
            "placement",
            "policy",
            "spot",
            "labels",
            "service-block",
            "resources-block",
            "no-block",
        ],
    )
    def test_what_runs_the_same_is_the_same_workload(self, changed: ServiceSpec) -> None:
        """Placement, policy and number restart nothing."""
        assert workload_digest(changed) == workload_digest(service_spec())

    def test_it_is_the_same_in_every_process(self) -> None:
        """Another process, another hash seed, the same name: a restarted controller rolls nothing over."""
        program = (
            "from tests.builders import service_spec\n"
            "from orchestrator.domain.workload import workload_digest\n"
            "print(workload_digest(service_spec()))"
        )
        environment = {**os.environ, "PYTHONHASHSEED": "7"}
        answer = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert answer.stdout.strip() == workload_digest(service_spec())
