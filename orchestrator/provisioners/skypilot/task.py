"""One replica as a SkyPilot task: data, with fixed words for every shell.

``run`` and ``setup`` are the same text for everybody. What differs travels in files that our own program on the node
reads: ``launch.json`` with the engine's words as a list, the replica's key, the secrets. So no value of a service file
is ever read by a shell. Scripts in a file (``setup``, ``run``) are their owner's own text for a shell, and pass
unchanged; where such a file has secrets, too, our program runs the script, because SkyPilot would write the values
onto the machine's command lines.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.control.ports import LaunchRequest
from orchestrator.domain.service import Engine, JsonScalar
from orchestrator.errors import InvalidSpec, Problem, UnsupportedByProvider
from orchestrator.provisioners.skypilot.resources import WITHOUT_IMAGES, label, marks, one_offer
from orchestrator.spec.templates import FamilyDefaults, load_template

__all__ = ["FOLDER", "PORT", "NodeOptions", "SkyTask", "build_task", "label", "marks", "own_port"]

FOLDER = "~/.greenctl"
RUN = 'exec python3 "$HOME/.greenctl/replica.py"'
SETUP = 'python3 "$HOME/.greenctl/replica.py" prepare'
PROGRAM = "replica.py"
GUARD = "greenctl_guard.py"

GRACE_BEYOND_SHUTDOWN_SECONDS = 15
"""vLLM is gone about 6 s after its last answer (measured: 0.32.0 on processors); twice that, and a bit."""
GRACE_OF_A_COMMAND_SECONDS = 30

CARRIED = (
    "setup",
    "workdir",
    "file_mounts",
    "volumes",
    "volume_mounts",
    "config",
    "event_callback",
    "inputs",
    "outputs",
    "managed_secrets",
    "api_server_access",
)
"""SkyPilot's keys of a service file that a replica's task keeps. ``service`` and ``num_nodes`` are our business."""

RESERVED = frozenset({"VLLM_API_KEY", "PYTHONPATH"})
"""Variables that are ours: with another value nobody could reach the replica, or the guard would not be found."""

QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

OF_THIS_MACHINE = "greenctl/"
"""Ids of models that are no hub's: the local engine makes them."""

FROM_THE_HUB = ("lora_modules", "spec_model", "tokenizer")
"""Arguments that fetch something, also beside a model that travelled along."""


PORT = 8000
OWN_PORTS = range(20_000, 30_000)
"""Below those that Linux gives to connections (32768 and up), above those of most services."""


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What is known about a provider's machines.

    ``engine``: the vLLM executable, where it is installed already. ``port``: where the engine listens, unless the file
    names another one. ``opens_ports``: whether the cloud opens the port to the outside; without, the machine is reached
    on its own address.
    """

    engine: str | None = None
    port: int = PORT
    opens_ports: bool = True


@dataclass(frozen=True, slots=True)
class SkyTask:
    """A task and what is carried to its machine.

    ``config`` is what ``sky.Task.from_yaml_config`` takes; its file mounts, if any, are the service file's own.
    ``files``: remote path to text. ``uploads``: remote path to a local file or folder. ``key_path`` and
    ``secrets_path``: where the 0600 files with the replica's key and its secrets (a JSON object) have to be; empty when
    it takes none.
    """

    config: Mapping[str, Any]
    port: int
    files: Mapping[str, str] = field(default_factory=dict)
    uploads: Mapping[str, Path] = field(default_factory=dict)
    key_path: str = ""
    secrets_path: str = ""


def own_port(name: str) -> int:
    """Return the port of a replica that may share its machine with others (decision 0057)."""
    return OWN_PORTS[zlib.crc32(name.encode()) % len(OWN_PORTS)]


def build_task(request: LaunchRequest, node: NodeOptions) -> SkyTask:
    """Return the task of one replica.

    Raises ``UnsupportedByProvider`` for what SkyPilot's machines do not do, ``InvalidSpec`` for hardware, arguments or
    values that make no task.
    """
    theirs: dict[str, Any] = json.loads(request.task_json)
    _refuse(_problems(theirs, request.secrets))
    match request.model.engine:
        case Engine.VLLM:
            return _vllm(request, node, theirs)
        case Engine.COMMAND:
            return _command(request, node, theirs)
        case other:
            message = f"the engine {other} runs on this machine only"
            raise UnsupportedByProvider(message, hint="Choose engine: vllm, or regions of the local provider.")


def _vllm(request: LaunchRequest, node: NodeOptions, theirs: Mapping[str, Any]) -> SkyTask:
    template = load_template(request.model.template)
    shape = request.offer.shape
    family = template.family_of(shape.accelerator)
    defaults = template.defaults_of(family)
    args = dict(template.args_for(request.model, family))
    resources = theirs.get("resources") or {}
    port = _port_of(theirs) or node.port
    image = None if node.engine else defaults.image
    _require_an_engine(request, node, defaults)
    model, uploads = _model(request)
    argv = [
        node.engine or "@ENGINE@",
        "serve",
        model,
        f"--served-model-name={request.model.name}",
        "--host=0.0.0.0" if node.opens_ports else "--host=@ADDRESS@",
        f"--port={port}",
        "--middleware=greenctl_guard.Guard",
        *template.argv_for(request.model, family),
        *_parallel(args, defaults.devices(shape.accelerator, shape.accelerator_count)),
    ]
    launch = {
        "argv": argv,
        "env": {**_environment(request, args, local=bool(uploads)), **_envs(theirs)},
        "grace_seconds": _seconds(args.get("shutdown_timeout")) + GRACE_BEYOND_SHUTDOWN_SECONDS,
        "packages": [] if node.engine or image else list(defaults.packages),
        "power_limit_watts": args.get("power_limit_watts"),
        "guarded": True,
        "lease_seconds": None if request.lease is None else request.lease.total_seconds(),
    }
    offer = one_offer(
        request, resources, port=port if node.opens_ports else None, image=image, disk_gib=defaults.disk_gib
    )
    return _task(
        request, theirs, offer, port=port, launch=launch, uploads=uploads, programs=(PROGRAM, GUARD), with_key=True
    )


def _command(request: LaunchRequest, node: NodeOptions, theirs: Mapping[str, Any]) -> SkyTask:
    """The owner's own task, on the one offer that was chosen."""
    port = _port_of(theirs) or node.port
    offer = one_offer(request, theirs.get("resources") or {}, port=port if node.opens_ports else None)
    if not request.secrets:
        config = {key: theirs[key] for key in (*CARRIED, "run") if key in theirs}
        envs = {**_envs(theirs), "GREENCTL_REPLICA": request.name}
        return SkyTask(config={**config, "name": request.service, "resources": offer, "envs": envs}, port=port)
    launch = {
        "argv": ["bash", "@HERE@/run.sh"],
        "env": _envs(theirs),
        "grace_seconds": GRACE_OF_A_COMMAND_SECONDS,
        "packages": [],
        "power_limit_watts": None,
        "guarded": False,
    }
    return _task(request, theirs, offer, port=port, launch=launch, programs=(PROGRAM,), scripts=("run",))


def _task(
    request: LaunchRequest,
    theirs: Mapping[str, Any],
    resources: Mapping[str, Any],
    *,
    port: int,
    launch: Mapping[str, Any],
    programs: tuple[str, ...],
    uploads: Mapping[str, Path] | None = None,
    scripts: tuple[str, ...] = (),
    with_key: bool = False,
) -> SkyTask:
    """A task whose machine runs our program. ``scripts``: keys whose text our program runs."""
    config: dict[str, Any] = {key: theirs[key] for key in CARRIED if key in theirs}
    if "setup" in config and request.secrets:
        scripts = (*scripts, "setup")
    if "setup" in scripts or ("setup" not in config and launch["packages"]):
        config["setup"] = SETUP
    # Their variables are for their scripts and mounts; the engine has them from launch.json.
    envs = _envs(theirs) if any(key in theirs for key in CARRIED) else {}
    config |= {
        "name": request.service,
        "resources": resources,
        "run": RUN,
        "envs": {**envs, "GREENCTL_REPLICA": request.name},
    }
    launch = {**launch, "setup": ["bash", "@HERE@/setup.sh"] if "setup" in scripts else [], "marks": marks(request)}
    files = {f"{FOLDER}/{name}": _program(name) for name in programs}
    files |= {f"{FOLDER}/{key}.sh": str(theirs[key]) for key in scripts}
    files[f"{FOLDER}/launch.json"] = json.dumps(launch, indent=1, sort_keys=True) + "\n"
    return SkyTask(
        config=config,
        port=port,
        files=files,
        uploads=uploads or {},
        key_path=f"{FOLDER}/key" if with_key else "",
        secrets_path=f"{FOLDER}/secrets.json" if request.secrets else "",
    )


def _require_an_engine(request: LaunchRequest, node: NodeOptions, defaults: FamilyDefaults) -> None:
    """Somebody has to bring it: the nodes, a container, or packages."""
    if node.engine or defaults.packages or request.offer.region.provider not in WITHOUT_IMAGES:
        return
    message = f"{request.offer.id}: there the engine comes as a container alone, and none can run there"
    raise UnsupportedByProvider(message, hint="Install vLLM on the nodes and set skypilot.engine to its path.")


def _parallel(args: Mapping[str, JsonScalar], devices: int) -> tuple[str, ...]:
    """Use every device of the offer: what data and pipeline parallelism leave is split by tensors.

    Raises ``InvalidSpec`` when the arguments want more devices than the offer has, or a part of one.
    """
    if not devices:
        return ()
    sizes = {name: int(str(args.get(f"{name}_parallel_size", 1))) for name in ("data", "pipeline", "tensor")}
    wanted = sizes["data"] * sizes["pipeline"] * sizes["tensor"]
    if wanted > devices or devices % (sizes["data"] * sizes["pipeline"]):
        message = f"they divide the model for {wanted} devices, and the offer has {devices}"
        _refuse([Problem("model.args (parallel sizes)", message)])
    if "tensor_parallel_size" in args or devices == 1:
        return ()
    return (f"--tensor-parallel-size={devices // (sizes['data'] * sizes['pipeline'])}",)


def _environment(request: LaunchRequest, args: Mapping[str, JsonScalar], *, local: bool) -> dict[str, str]:
    """What the engine finds in its environment besides its arguments; nothing secret."""
    found = dict(QUIET)
    shape = request.offer.shape
    if shape.accelerator is None:
        # A vCPU is half a core, and OpenMP works best with one thread on each. Unbound, because replicas that share a
        # machine would all be bound to its first cores.
        threads = str(max(1, int(shape.vcpus or 1) // 2))
        found |= {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        found |= {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    if local and not any(name in args for name in FROM_THE_HUB):
        found["HF_HUB_OFFLINE"] = "1"
    return found


def _envs(theirs: Mapping[str, Any]) -> dict[str, str]:
    """The service file's variables, as SkyPilot writes them."""
    return {str(name): str(value) for name, value in (theirs.get("envs") or {}).items()}


def _model(request: LaunchRequest) -> tuple[str, dict[str, Path]]:
    """Return what the engine is told to serve; a folder of this machine travels along."""
    if request.model.id.startswith(OF_THIS_MACHINE):
        message = f"the model {request.model.id} is made on this machine and exists nowhere else"
        raise UnsupportedByProvider(message, hint="Name a model of the hub, or a folder.")
    path = Path(request.model.id)
    if not path.is_absolute():
        return request.model.id, {}
    return "@HERE@/model", {f"{FOLDER}/model": path}


def _port_of(theirs: Mapping[str, Any]) -> int | None:
    """The port that the file names, in ``service`` or in ``resources``."""
    resources = theirs.get("resources") or {}
    ports = (theirs.get("service") or {}).get("ports") or resources.get("ports")
    first = ports[0] if isinstance(ports, list) and ports else ports
    match = re.fullmatch(r"(\d{1,5})(-\d{1,5})?", str(first)) if first is not None else None
    return int(match[1]) if match and 0 < int(match[1]) < 65_536 else None  # noqa: PLR2004 - ports have 16 bits


def _program(name: str) -> str:
    return (Path(__file__).with_name("node") / name).read_text(encoding="utf-8")


def _seconds(value: object) -> int:
    return value if isinstance(value, int) else 0


# ── what makes no task ───────────────────────────────────────────────────────────────────────────────


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise InvalidSpec("service", tuple(problems))


def _problems(theirs: Mapping[str, Any], secrets: tuple[str, ...]) -> list[Problem]:
    found = []
    for name, value in (theirs.get("envs") or {}).items():
        if value is None:
            found.append(Problem(f"envs.{name}", "has no value, and nobody is there to ask when a replica is launched"))
        elif "\0" in str(value):
            found.append(Problem(f"envs.{name}", "holds a zero byte, which no environment can"))
    taken = [("envs", str(name)) for name in theirs.get("envs") or {}] + [("secrets", name) for name in secrets]
    for block, name in taken:
        if name in RESERVED or name.startswith("GREENCTL_"):
            found.append(Problem(f"{block}.{name}", "is set by greenctl on every replica. Choose another name"))
    found += [
        Problem(path, f"{source} is relative, and whoever launches stands elsewhere. Write the whole path")
        for path, source in _local_sources(theirs)
        if not source.startswith(("/", "~"))
    ]
    return found


def _local_sources(theirs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Files and folders of this machine that SkyPilot would carry to the replica."""
    if isinstance(workdir := theirs.get("workdir"), str):
        yield "workdir", workdir
    for remote, source in (theirs.get("file_mounts") or {}).items():
        local = source.get("source") if isinstance(source, dict) else source
        for text in local if isinstance(local, list) else [local]:
            if isinstance(text, str) and "://" not in text:
                yield f"file_mounts.{remote}", text
