"""Replicas in one line, for every test that starts or ends some."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.control.ports import Instance, LaunchRequest, Phase, Provisioner
from orchestrator.domain.service import Engine, JsonScalar, ModelSpec
from orchestrator.errors import EngineMissing
from orchestrator.provisioners.local.engines.base import EngineCommand
from orchestrator.provisioners.local.engines.vllm_cpu import TINY_MODEL, VllmCpuLauncher
from orchestrator.provisioners.local.processes import Marks, OsProcess, Part, PsutilTable, members
from orchestrator.provisioners.local.provisioner import LocalProvisioner
from orchestrator.spec.templates import load_template
from tests.builders import offer

PATIENCE_SECONDS = 60.0
"""Upper bound of every wait for a real process: generous, because test machines are busy."""

NO_GRACE = timedelta(0)


def unique(prefix: str = "r") -> str:
    """Make a name that no other test, and no other test run on this machine, has."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


@dataclass
class Bench:
    """A provisioner, and what a test does with it. ``pause`` lets time pass; ``kill`` ends a replica from outside.

    ``search``: lets the next launch look for its machine for so many seconds, where machines are not there at once.
    """

    provisioner: Provisioner
    model: ModelSpec
    pause: Callable[[], None]
    kill: Callable[[str], None]
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    provider: str = "local"
    search: Callable[[float], None] = lambda _seconds: None

    def name(self) -> str:
        """Make a name that no other instance has, as the controller makes them."""
        return f"gc-{self.uid[:8]}-{unique('chat')}"

    def request(
        self, name: str = "", region: str = "local/se", lease: timedelta | None = None, **args: JsonScalar
    ) -> LaunchRequest:
        """Make a request under a name of its own."""
        region = f"{self.provider}/{region.partition('/')[2]}"
        model = ModelSpec(self.model.id, self.model.engine, args=(*self.model.args, *args.items()))
        asked = name or self.name(), self.uid, "chat", unique("intent"), offer(region), model
        return LaunchRequest(*asked, lease=lease)

    async def until(self, name: str, *phases: Phase) -> Instance:
        """Wait for one of the phases."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while (found := await self.provisioner.describe(name)).phase not in phases:
            assert time.monotonic() < give_up, f"still {found}"
            self.pause()
            await asyncio.sleep(0)
        return found

    async def names(self) -> list[str]:
        """Return what the inventory lists."""
        return [instance.name for instance in await self.provisioner.inventory(self.uid)]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll a real process."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, f"waited in vain for: {what}"
        time.sleep(0.02)


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Poll something in this event loop."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, f"waited in vain for: {what}"
        await asyncio.sleep(0.002)


def processes_of(name: str) -> list[OsProcess]:
    """Return the living processes of a replica, as the operating system lists them."""
    return members(PsutilTable().snapshot(), name)


def main_of(name: str) -> OsProcess | None:
    """Return the engine's main process."""
    leaders = [p for p in processes_of(name) if p.leads_session and p.marks and p.marks.part is Part.ENGINE]
    return leaders[0] if leaders else None


def keeper_of(name: str) -> OsProcess | None:
    """Return the keeper."""
    return next((p for p in processes_of(name) if p.marks and p.marks.part is Part.KEEPER), None)


def kill_main(name: str) -> None:
    """Kill the engine's main process, and nothing else, as the out-of-memory killer would."""
    wait_until(lambda: main_of(name) is not None, f"the engine of {name}")
    process = main_of(name)
    assert process is not None
    psutil.Process(process.pid).kill()


@contextmanager
def swept(uid: str) -> Iterator[None]:
    """Whatever a test does, leave no process of its deployment behind."""
    try:
        yield
    finally:
        for process in PsutilTable().snapshot():
            if process.marks is not None and process.marks.deployment == uid:
                for victim in members(PsutilTable().snapshot(), process.marks.replica):
                    PsutilTable().signal(victim, 9)


@dataclass
class ArgvLauncher:
    """Starts any program as if it were an engine: what is tested is who lives and who dies."""

    argv: tuple[str, ...] = ("/bin/sleep", "600")
    prepare: tuple[tuple[str, ...], ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": "/usr/bin:/bin"})
    engine: Engine = Engine.BUILTIN

    def preflight(self, model: ModelSpec) -> None:
        """Have everything."""

    def command(self, model: ModelSpec, host: str, port: int) -> EngineCommand:  # noqa: ARG002 - any model will do
        """Return the program."""
        return EngineCommand(self.argv, self.environment, "VLLM_API_KEY", self.prepare)


class FakeTable:
    """A process table as the test writes it. ``signals`` holds what was sent, as (pid, number)."""

    def __init__(self, *processes: OsProcess) -> None:
        self.processes = list(processes)
        self.signals: list[tuple[int, int]] = []
        self.on_signal: Callable[[OsProcess, int], None] = lambda _process, _number: None

    def snapshot(self) -> list[OsProcess]:
        """Return the list."""
        return list(self.processes)

    def signal(self, process: OsProcess, number: int) -> None:
        """Note it, if the process is still the one that was meant."""
        if process in self.processes:
            self.signals.append((process.pid, number))
            self.on_signal(process, number)


def marks(
    replica: str, part: Part = Part.ENGINE, uid: str = "uid", region: str = "local/se", port: int = 20_001
) -> Marks:
    """Make a process's marks."""
    return Marks(deployment=uid, replica=replica, service="chat", region=region, port=port, part=part)


def process(
    pid: int, replica: str = "", part: Part = Part.ENGINE, *, parent: int = 1, session: int = 0, birth: float = 1.0
) -> OsProcess:
    """Make a process, marked if it has a replica; by default it leads its own session."""
    return OsProcess(pid, birth, parent, session or pid, marks(replica, part) if replica else None)


def text_of(path: Path | None) -> str:
    """Read a file that must be there."""
    assert path is not None
    return path.read_text(encoding="utf-8")


def vllm_bench(state_dir: Path, cache_dir: Path, **options: Any) -> Bench:
    """Make real vLLM processes with the tiny model; skips the test where vLLM is not installed."""
    launcher = VllmCpuLauncher(
        argv_for=lambda model: load_template(model.template).argv_for(model, "cpu"), cache_dir=cache_dir
    )
    try:
        launcher.preflight(ModelSpec(TINY_MODEL))
    except EngineMissing:
        pytest.skip("no vLLM environment (make env-engine)")
    provisioner = LocalProvisioner(state_dir, {Engine.VLLM: launcher}, **options)
    return Bench(provisioner, ModelSpec(TINY_MODEL), lambda: time.sleep(0.1), kill_main)
