"""Starts the builtin engine with the Python that we run on."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import orchestrator
from orchestrator.domain.service import Engine, ModelSpec
from orchestrator.provisioners.local.engines.base import EngineCommand, passed_on

MODULE = "orchestrator.provisioners.local.builtin_engine"
FAULTS_VARIABLE = "GREENCTL_BUILTIN_FAULTS"
FAULT_FILE = "faults.json"
"""In the replica's directory, where its engine runs: writing it makes a running engine misbehave."""


class BuiltinLauncher:
    """Needs nothing but ourselves. ``shutdown_timeout_seconds``: how long answers may go on after SIGTERM."""

    engine = Engine.BUILTIN

    def __init__(self, *, shutdown_timeout_seconds: int = 120, environment: Mapping[str, str] | None = None) -> None:
        self._shutdown_timeout_seconds = shutdown_timeout_seconds
        self._environment = dict(os.environ if environment is None else environment)

    def preflight(self, model: ModelSpec) -> None:
        """Nothing can be missing."""

    def command(self, model: ModelSpec, host: str, port: int) -> EngineCommand:
        """Return how to start it; arguments that only vLLM knows are ignored by the engine, in its log."""
        environment = passed_on(self._environment)
        if faults := self._environment.get(FAULTS_VARIABLE):
            environment[FAULTS_VARIABLE] = faults
        # -P and PYTHONPATH: ours is the package that runs, wherever the engine's working directory is.
        environment["PYTHONPATH"] = str(Path(orchestrator.__file__).parents[1])
        return EngineCommand(
            argv=(
                *(sys.executable, "-P", "-m", MODULE),
                *("--host", host, "--port", str(port), "--served-model-name", model.name),
                *("--shutdown-timeout", str(self._shutdown_timeout_seconds), "--fault-file", FAULT_FILE),
                *_flags(model),
            ),
            environment=environment,
            api_key_variable="VLLM_API_KEY",
            version=orchestrator.__version__,
        )


def _flags(model: ModelSpec) -> list[str]:
    """Write the spec's arguments as command-line flags: ``--name=value``, a bare ``--name`` for true."""
    words = []
    for name, value in model.args:
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is not False and value is not None:
            words.append(f"{flag}={value}")
    return words
