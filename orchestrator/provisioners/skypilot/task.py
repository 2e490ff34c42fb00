"""One replica as a SkyPilot task: data, with fixed words for every shell.

``run`` and ``setup`` are the same text for everybody. What differs travels in files that our own program on the node
reads: ``launch.json`` with the engine's words as a list, the replica's key, the secrets. So no value of a service file
is ever read by a shell. A file with a ``run`` command of its own is its owner's SkyPilot task and stays one: there only
resources, name and labels are ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.control.ports import LaunchRequest
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market
from orchestrator.domain.service import Engine
from orchestrator.errors import UnsupportedByProvider
from orchestrator.spec.templates import FamilyDefaults, load_template

FOLDER = "~/.greenctl"
RUN = 'exec python3 "$HOME/.greenctl/replica.py"'
SETUP = 'python3 "$HOME/.greenctl/replica.py" prepare'
NODE_PROGRAMS = ("replica.py", "greenctl_guard.py")

SLURM = "slurm"
DISK_GIB = 256
GRACE_BEYOND_SHUTDOWN_SECONDS = 15

NO_LABELS = frozenset({"slurm", "lambda", "runpod", "vast", "paperspace", "cudo", "fluidstack", "ibm", "scp", "ssh"})
"""Clouds on which SkyPilot ignores labels (``Resources.labels``: AWS tags, GCP and Kubernetes labels, Azure tags)."""

CPU_ENVIRONMENT = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Several replicas share a machine's processors: none may take all of them."""

QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What is known about a provider's machines.

    ``engine``: the vLLM executable, where it is installed already. ``opens_ports``: whether the cloud opens the port to
    the outside; without, the machine is reached on its own address.
    """

    engine: str | None = None
    port: int = 8000
    opens_ports: bool = True


@dataclass(frozen=True, slots=True)
class SkyTask:
    """A task and what is carried to its machine.

    ``config`` is what ``sky.Task.from_yaml_config`` takes, without file mounts. ``files``: remote path to text.
    ``uploads``: remote path to a local file or folder. ``key_path`` and ``secrets_path``: where the 0600 files with the
    replica's key and its secrets (a JSON object) have to be; empty when it takes none.
    """

    config: Mapping[str, Any]
    port: int
    files: Mapping[str, str] = field(default_factory=dict)
    uploads: Mapping[str, Path] = field(default_factory=dict)
    key_path: str = ""
    secrets_path: str = ""


def build_task(request: LaunchRequest, node: NodeOptions) -> SkyTask:
    """Return the task of one replica.

    Raises ``UnsupportedByProvider`` for an engine that SkyPilot's machines do not run, ``InvalidSpec`` for hardware or
    arguments that the template does not know.
    """
    match request.model.engine:
        case Engine.VLLM:
            return _vllm(request, node)
        case Engine.COMMAND:
            return _command(request, node)
        case other:
            message = f"the engine {other} runs on this machine only"
            raise UnsupportedByProvider(message, hint="Choose engine: vllm, or regions of the local provider.")


def _vllm(request: LaunchRequest, node: NodeOptions) -> SkyTask:
    template = load_template(request.model.template)
    shape = request.offer.shape
    family = template.family_of(shape.accelerator)
    defaults = template.defaults_of(family)
    args = dict(template.args_for(request.model, family))
    words = list(template.argv_for(request.model, family))
    if shape.accelerator_count > 1 and "tensor_parallel_size" not in args:
        words.append(f"--tensor-parallel-size={shape.accelerator_count}")
    model, uploads = _model(request)
    local = bool(uploads)
    argv = [
        node.engine or ("vllm" if defaults.image else "@ENGINE@"),
        "serve",
        model,
        f"--served-model-name={request.model.name}",
        "--host=0.0.0.0" if node.opens_ports else "--host=@ADDRESS@",
        f"--port={node.port}",
        "--middleware=greenctl_guard.Guard",
        *words,
    ]
    environment = {**QUIET, **(CPU_ENVIRONMENT if shape.accelerator is None else {})}
    if local:
        environment |= {"HF_HUB_OFFLINE": "1"}
    launch = {
        "argv": argv,
        "env": environment,
        "grace_seconds": _seconds(args.get("shutdown_timeout")) + GRACE_BEYOND_SHUTDOWN_SECONDS,
        "packages": [] if node.engine or defaults.image else list(defaults.packages),
        "marks": marks(request),
    }
    config: dict[str, Any] = {
        "name": request.service,
        "resources": _resources(request, node, defaults),
        "run": RUN,
        "envs": {"GREENCTL_REPLICA": request.name},
    }
    if launch["packages"]:
        config["setup"] = SETUP
    return SkyTask(
        config=config,
        port=node.port,
        files={**_programs(), f"{FOLDER}/launch.json": json.dumps(launch, indent=1, sort_keys=True) + "\n"},
        uploads=uploads,
        key_path=f"{FOLDER}/key",
        secrets_path=f"{FOLDER}/secrets.json" if request.secrets else "",
    )


def _command(request: LaunchRequest, node: NodeOptions) -> SkyTask:
    """The owner's own task, on the one offer that was chosen."""
    task: dict[str, Any] = json.loads(request.task_json)
    theirs = task.pop("resources", None) or {}
    task.pop("service", None)
    port = _port_of(theirs) or node.port
    resources = _resources(request, NodeOptions(port=port, opens_ports=node.opens_ports), None)
    for key in ("image_id", "disk_tier", "network_tier", "disk_size"):
        if key in theirs:
            resources[key] = theirs[key]
    return SkyTask(config={**task, "name": request.name, "resources": resources}, port=port)


def _port_of(resources: Mapping[str, Any]) -> int | None:
    ports = resources.get("ports")
    first = ports[0] if isinstance(ports, list) and ports else ports
    match = re.match(r"\d+", str(first)) if first is not None else None
    return int(match[0]) if match else None


def marks(request: LaunchRequest) -> dict[str, str]:
    """Return what says whose machine this is; in every form that a provider keeps."""
    return {
        "greenctl-deployment": request.deployment_uid,
        "greenctl-service": request.service,
        "greenctl-replica": request.replica,
        "greenctl-intent": request.intent_id,
        "greenctl-epoch": str(request.epoch),
    }


def _resources(request: LaunchRequest, node: NodeOptions, defaults: FamilyDefaults | None) -> dict[str, Any]:
    """Exactly one offer."""
    offer = request.offer
    found: dict[str, Any] = {"infra": offer.region.id}
    if offer.shape.accelerator is not None:
        found["accelerators"] = {offer.shape.accelerator: offer.shape.accelerator_count}
    if offer.region.provider != SLURM and offer.instance_type:
        found["instance_type"] = offer.instance_type
    else:
        found |= _size(offer)
    if offer.market is Market.SPOT:
        found["use_spot"] = True
    if node.opens_ports:
        found["ports"] = [node.port]
        found["disk_size"] = DISK_GIB
    if offer.region.provider not in NO_LABELS:
        found["labels"] = {k: label(v) for k, v in {**dict(request.labels), **marks(request)}.items()}
    if offer.region.provider != SLURM and request.max_usd_per_hour is not None:
        found["max_hourly_cost"] = round(request.max_usd_per_hour, 6)
    if defaults is not None and defaults.image and node.engine is None:
        found["image_id"] = defaults.image
    return found


def _size(offer: Offer) -> dict[str, float]:
    shape = offer.shape
    sizes = {"cpus": shape.vcpus, "memory": shape.memory_gib}
    return {name: int(value) if value == int(value) else value for name, value in sizes.items() if value is not None}


def label(value: str) -> str:
    """Write a value as the strictest of the clouds takes it (Google Cloud: 63 of ``[a-z0-9_-]``)."""
    return re.sub(r"[^a-z0-9_-]", "-", value.lower())[:63]


def _model(request: LaunchRequest) -> tuple[str, dict[str, Path]]:
    """Return what the engine is told to serve; a folder of this machine travels along."""
    path = Path(request.model.id)
    if not path.is_absolute():
        return request.model.id, {}
    remote = f"{FOLDER}/model"
    return "@HERE@/model", {remote: path}


def _programs() -> dict[str, str]:
    folder = Path(__file__).with_name("node")
    return {f"{FOLDER}/{name}": (folder / name).read_text(encoding="utf-8") for name in NODE_PROGRAMS}


def _seconds(value: object) -> int:
    return value if isinstance(value, int) else 0
