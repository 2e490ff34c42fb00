"""A whole installation in a temporary directory, driven by the real command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from orchestrator.control.ports import Store
from orchestrator.controller.lock import holder
from orchestrator.store.sql import SqlStore
from tests.ports import free_port

PATIENCE_SECONDS = 240.0


@dataclass
class Deployment:
    """State directory, port and environment of one installation; ``end`` leaves nothing running."""

    root: Path
    port: int = field(default_factory=free_port)
    extra: dict[str, str] = field(default_factory=dict)
    patience_seconds: float = PATIENCE_SECONDS

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        return (self.state_dir / "client-key").read_text().strip()

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("GREENCTL_")}
        ours = {"GREENCTL_STATE_DIR": str(self.state_dir), "GREENCTL_GATEWAY__PORT": str(self.port)}
        return kept | ours | self.extra

    def records(self) -> Store:
        return SqlStore.open(f"sqlite:///{self.state_dir / 'greenctl.db'}")

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one command; with ``check`` it has to succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=self.patience_seconds,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"greenctl {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str) -> dict[str, object]:
        """Run a command with --json and read its document."""
        document = json.loads(self.run(*words, "--json").stdout)
        assert isinstance(document, dict)
        return document

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command without waiting for it; its output is dropped."""
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *words],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def spec(self, text: str, name: str = "service.yaml") -> str:
        """Write a spec and return its path."""
        path = self.root / name
        path.write_text(text)
        return str(path)

    def controller_pid(self) -> int | None:
        found = holder(self.state_dir)
        return None if found is None else found.pid

    def kill_controller(self) -> None:
        """SIGKILL, as the kernel would when memory runs out."""
        pid = self.controller_pid()
        assert pid is not None, "no controller runs"
        psutil.Process(pid).kill()
        until(lambda: self.controller_pid() is None, "the controller is gone")

    def engines(self) -> list[psutil.Process]:
        """Every living process that carries a replica's mark and works in our directory."""
        return [p for p in psutil.process_iter() if self._is_ours(p) and "GREENCTL_REPLICA" in _environ(p)]

    def end(self) -> None:
        """Stop everything, by force where needed."""
        for words in (("controller", "stop"), ("gateway", "stop")):
            self.run(*words, check=False)
        for process in psutil.process_iter():
            if process.pid != os.getpid() and self._is_ours(process):
                process.kill()
        if "GREENCTL_TEST_KEEP" not in os.environ:
            shutil.rmtree(self.root, ignore_errors=True)

    def _is_ours(self, process: psutil.Process) -> bool:
        if _environ(process).get("GREENCTL_STATE_DIR") == str(self.state_dir):
            return True
        try:
            return Path(process.cwd()).is_relative_to(self.state_dir)
        except psutil.Error:
            return False


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def until(holds: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Poll a real process's effect; fails loudly when it does not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s and it did not happen: {what}"
        time.sleep(0.05)


def make(**extra: str) -> Deployment:
    """Make an installation in a short path: unix socket paths are limited to 107 bytes."""
    return Deployment(Path(tempfile.mkdtemp(prefix="gc-")), extra=extra)
