"""The stage of the demonstration: a state directory of its own, a free port, a replayed grid, and the real commands."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.domain.time import format_instant
from orchestrator.errors import ProviderError
from orchestrator.own_process import own_module, with_our_package
from orchestrator.settings import (
    ControllerSettings,
    GatewaySettings,
    LocalSettings,
    Settings,
    SignalSettings,
    WorldSettings,
)

REPLICA_MARK = "GREENCTL_REPLICA"

MACHINE = ("GREENCTL_CACHE_DIR", "GREENCTL_LOCAL__VLLM")
"""What a demonstration takes over of the user's settings: where models and the engine lie on this machine."""

SAMPLE_SECONDS = 10.0
"""A story of a few minutes tells of energy sooner than a service does that runs for months."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demonstration plays; every greenctl process of it is started with these settings, and no others.

    The user's database, clouds and sources of prices and carbon have no part in it: they may be those of a fleet that
    serves, and its services are not the story's.
    """

    settings: Settings

    @property
    def url(self) -> str:
        """Base URL of the gateway."""
        return f"http://{self.settings.gateway.host}:{self.settings.gateway.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Our settings as environment, in the place of whatever the user has set."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("GREENCTL_") or k in MACHINE}
        ours = {
            "XDG_CONFIG_HOME": str(self.settings.state_dir / "no-config"),
            "GREENCTL_STATE_DIR": str(self.settings.state_dir),
            "GREENCTL_GATEWAY__PORT": str(self.settings.gateway.port),
            "GREENCTL_WORLD__RATE": str(self.settings.world.rate),
            "GREENCTL_CONTROLLER__SAMPLE_SECONDS": str(self.settings.controller.sample_seconds),
        }
        if self.settings.world.start is not None:
            ours["GREENCTL_WORLD__START"] = format_instant(self.settings.world.start)
        if self.settings.signals.recorded is not None:
            ours["GREENCTL_SIGNALS__RECORDED"] = str(self.settings.signals.recorded.resolve())
        return with_our_package({**kept, **ours})

    async def greenctl(self, *words: str, quiet: bool = False) -> int:
        """Run one command as a user would; its output goes to our terminal. Returns the exit status."""
        out = asyncio.subprocess.DEVNULL if quiet else None
        process = await asyncio.create_subprocess_exec(
            *own_module("orchestrator", *words),
            env=self.environment,
            cwd=self.settings.state_dir,  # which holds no greenctl.toml
            stdout=out,
            stderr=out,
        )
        return await process.wait()

    async def must(self, *words: str) -> None:
        """Run one command that has to succeed."""
        status = await self.greenctl(*words)
        if status != 0:
            message = f"greenctl {' '.join(words)} ended with status {status}"
            raise ProviderError(message, hint="Run again with --keep and read the logs in the state directory.")

    def kill_replica(self, name: str) -> int:
        """SIGKILL every process of a replica, as when its machine vanishes. Returns how many there were."""
        victims = [p for p in psutil.process_iter() if _environment(p).get(REPLICA_MARK) == name]
        for process in victims:
            process.kill()
        return len(victims)


def stage_settings(state_dir: Path, *, carbon_data: Path | None = None, world: WorldSettings) -> Settings:
    """Return the settings of a stage: the defaults, ours, and nothing out of the environment or a file but MACHINE."""
    cache_dir, vllm = (os.environ.get(name) for name in MACHINE)
    # Not loaded: loading would ask the environment and the files.
    settings = Settings.model_construct(
        state_dir=state_dir,
        gateway=GatewaySettings(port=free_port()),
        signals=SignalSettings(recorded=None if carbon_data is None else carbon_data.resolve()),
        world=world,
        local=LocalSettings(vllm=None if vllm is None else Path(vllm)),
        controller=ControllerSettings(sample_seconds=SAMPLE_SECONDS),
    )
    return settings if cache_dir is None else settings.model_copy(update={"cache_dir": Path(cache_dir)})


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def _plays_on(process: psutil.Process, state_dir: Path) -> bool:
    """Whether a process belongs to the stage: started with its settings, or at work in its directory."""
    if _environment(process).get("GREENCTL_STATE_DIR") == str(state_dir):
        return True
    try:
        return Path(process.cwd()).is_relative_to(state_dir)
    except psutil.Error:
        return False


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def cleared(stage: Stage, *, keep: bool) -> AsyncIterator[None]:
    """Leave nothing running, whatever happens in between; remove the state directory unless it is to be kept."""
    state_dir = stage.settings.state_dir
    try:
        yield
    finally:
        await stage.greenctl("controller", "stop", quiet=True)
        await stage.greenctl("gateway", "stop", quiet=True)
        for process in psutil.process_iter():
            if process.pid != os.getpid() and _plays_on(process, state_dir):
                process.kill()
        if keep:
            sys.stdout.write(f"kept: {state_dir}\n")
        else:
            shutil.rmtree(state_dir, ignore_errors=True)
