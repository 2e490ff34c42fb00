"""Replicas on one offer of each family of accelerators, and what SkyPilot has to know to judge their tasks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.control.ports import LaunchRequest
from orchestrator.domain.hardware import Shape
from orchestrator.domain.price import Market
from orchestrator.domain.service import Engine, JsonScalar, ModelSpec
from orchestrator.provisioners.skypilot.task import NodeOptions
from tests.builders import offer

CATALOGS = {
    "common/accelerators.csv": """\
AcceleratorName,Clouds
A10G,"['AWS']"
B200,"['GCP']"
H100,"['GCP', 'Slurm']"
L4,"['AWS']"
MI300X,"['Azure']"
T4,"['GCP']"
tpu-v6e-8,"['GCP']"
""",
    "aws/vms.csv": """\
InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone
c6i.2xlarge,,,8.0,16.0,,1.0,0.5,eu-north-1,eun1-az1
g5.xlarge,A10G,1.0,4.0,16.0,A10G,1.0,0.5,eu-north-1,eun1-az1
g6.xlarge,L4,1.0,4.0,16.0,L4,1.0,0.5,eu-north-1,eun1-az1
""",
    "azure/vms.csv": """\
InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,Generation
Standard_ND96isr_MI300X_v5,MI300X,8,96,1850,MI300X,50.0,10.0,swedencentral,V2
""",
    "gcp/vms.csv": """\
InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Region,AvailabilityZone,Price,SpotPrice
n1-standard-8,8.0,30.0,,,,europe-west4,europe-west4-b,0.4,0.2
a3-highgpu-8g,208.0,1872.0,,,,europe-west4,europe-west4-b,9.0,4.0
a4-highgpu-8g,224.0,3968.0,,,,europe-west4,europe-west4-b,0.0,0.0
,,,T4,1,T4,europe-west4,europe-west4-b,0.4,0.2
,,,H100,8,H100,europe-west4,europe-west4-b,33.0,30.0
,,,B200,8,B200,europe-west4,europe-west4-b,90.0,35.0
,,,tpu-v6e-8,1,tpu-v6e-8,europe-west4,europe-west4-b,22.0,10.0
""",
}
"""Lists of what clouds sell, in SkyPilot's columns, with prices that are nobody's; below ``~/.sky/catalogs/v8``."""

SLURM = NodeOptions(engine="/opt/vllm/bin/vllm", opens_ports=False)


def seed(home: Path) -> None:
    """Give SkyPilot its lists, so that it fetches none."""
    for name, text in CATALOGS.items():
        path = home / ".sky" / "catalogs" / "v8" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def request(
    region: str,
    on: Shape,
    instance_type: str = "",
    *,
    spot: bool = False,
    args: dict[str, JsonScalar] | None = None,
    task: dict[str, Any] | None = None,
    secrets: tuple[str, ...] = (),
    engine: Engine = Engine.VLLM,
) -> LaunchRequest:
    """A replica of the service ``chat``."""
    bought = offer(region, on=on, market=Market.SPOT if spot else Market.ON_DEMAND)
    model = ModelSpec("Qwen/Qwen3-8B", engine, served_name="qwen3-8b", args=tuple(sorted((args or {}).items())))
    return LaunchRequest(
        name="gc-01234567-chat-aaaaaaaaaa",
        deployment_uid="0123456789abcdef",
        service="chat",
        intent_id="aaaaaaaaaa",
        offer=replace(bought, instance_type=instance_type),
        model=model,
        labels=(("Cost Centre", "R&D / LLM"), ("team", "assistants")),
        replica="r0",
        epoch=3,
        max_usd_per_hour=99.5,
        secrets=secrets,
        task_json=json.dumps(task or {}),
    )


def shape(
    name: str, accelerator: str | None, count: int, vcpus: float | None = None, gib: float | None = None
) -> Shape:
    """A machine."""
    return Shape(name, accelerator, count, vcpus, gib, None)


T4 = shape("1xT4", "T4", 1, 8.0, 30.0)
A10G = shape("1xA10G", "A10G", 1, 4.0, 16.0)
L4 = shape("1xL4", "L4", 1, 4.0, 16.0)
H100 = shape("8xH100", "H100", 8, 208.0, 1872.0)
B200 = shape("8xB200", "B200", 8)
MI300X = shape("8xMI300X", "MI300X", 8, 96.0, 1850.0)
TPU = shape("1xtpu-v6e-8", "tpu-v6e-8", 1)
CPUS = shape("8vCPU-16GB", None, 0, 8.0, 16.0)
NODE = shape("2vCPU-4GB", None, 0, 2.0, 4.0)

ADAPTERS: dict[str, JsonScalar] = {
    "enable_lora": True,
    "max_loras": 4,
    "max_lora_rank": 32,
    "lora_modules": "law=org/law-lora sql=org/sql-lora",
}
SPECULATION: dict[str, JsonScalar] = {
    "spec_method": "eagle3",
    "spec_model": "RedHatAI/Qwen3-8B-speculator.eagle3",
    "spec_tokens": 3,
}

THEIRS = {
    "name": "chat",
    "run": 'python -m http.server "$PORT"  # {{ not ours }}\n',
    "setup": "echo 'their own $HOME'\n",
    "envs": {"PORT": 9000, "NAME": "a 'b' $c"},
    "resources": {
        "any_of": [{"infra": "aws"}, {"infra": "gcp"}],
        "accelerators": "L4:1",
        "ports": 9000,
        "disk_size": 64,
        "labels": {"Owner": "Me"},
        "max_hourly_cost": 2,
    },
    "service": {"readiness_probe": "/", "replicas": 1},
}

CASES: dict[str, tuple[LaunchRequest, NodeOptions]] = {
    "cpu-aws": (request("aws/eu-north-1", CPUS, "c6i.2xlarge"), NodeOptions()),
    "cpu-slurm": (request("slurm/eu-north", NODE), SLURM),
    "nvidia-turing": (
        request("gcp/europe-west4", T4, "n1-standard-8", spot=True, args={"quantization": "awq"}),
        NodeOptions(),
    ),
    "nvidia-ampere": (request("aws/eu-north-1", A10G, "g5.xlarge", args={"quantization": "fp8"}), NodeOptions()),
    "nvidia-ada": (
        request("aws/eu-north-1", L4, "g6.xlarge", spot=True, secrets=("HF_TOKEN",), args={"kv_cache_dtype": "fp8"}),
        NodeOptions(),
    ),
    "nvidia-hopper": (
        request("gcp/europe-west4", H100, args=SPECULATION | {"power_limit_watts": 500, "data_parallel_size": 2}),
        NodeOptions(),
    ),
    "nvidia-blackwell": (request("gcp/europe-west4", B200, args=ADAPTERS | {"quantization": "mxfp8"}), NodeOptions()),
    "amd-rocm": (request("azure/swedencentral", MI300X, "Standard_ND96isr_MI300X_v5"), NodeOptions()),
    "tpu": (request("gcp/europe-west4", TPU, "TPU-VM", spot=True), NodeOptions()),
    "own-run": (request("aws/eu-north-1", L4, "g6.xlarge", task=THEIRS, engine=Engine.COMMAND), NodeOptions()),
    "own-run-with-secrets": (
        request("slurm/eu-north", NODE, task=THEIRS, secrets=("HF_TOKEN",), engine=Engine.COMMAND),
        SLURM,
    ),
    "zone": (
        request(
            "gcp/europe-west4",
            T4,
            "n1-standard-8",
            task={"resources": {"infra": "gcp/europe-west4/europe-west4-b", "accelerators": "T4:1"}},
        ),
        NodeOptions(),
    ),
    "partition": (
        request("slurm/eu-north", NODE, task={"resources": {"infra": "slurm/eu-north/preempt"}}),
        SLURM,
    ),
    "own-setup": (
        request(
            "aws/eu-north-1",
            L4,
            "g6.xlarge",
            task={"setup": "echo hi\n", "envs": {"NAME": "x"}, "resources": {"disk_size": 512, "disk_tier": "high"}},
        ),
        NodeOptions(),
    ),
}
