"""A replica's directory: what is remembered about it besides what the operating system knows.

    <state>/launch.lock             held while a launch decides; the kernel lets go when its holder dies
    <state>/replicas/<name>/        0700
        instance.json               what was started; written before and again after the keeper is
        api-key                     0600, the engine's own key, removed when the replica has ended
        engine.log                  the engine's output
        exit.json                   by the keeper: how the engine ended
        lease                       for how many seconds it goes on by itself; written again, it begins anew
        stop.json                   the wish to end and its deadline; it stays as the mark that the name is used up

Every file has one writer and is replaced in one step, so a reader never sees half of one. They are hints: losing them
loses the log and the key, never a process (see :mod:`orchestrator.provisioners.local.processes`).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ProviderError
from orchestrator.provisioners.writing import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = 1
KEY_BYTES = 32
"""256 bits: beyond guessing."""

LOCK_PAUSE_SECONDS = 0.02

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """What was, or is about to be, started. ``keeper_pid`` is ``None`` until the keeper has been seen to run.

    ``steps``: argument vectors, the last one is the engine. ``secret_environment``: variable -> file beside the record.
    ``created_at``: RFC 3339, for people.
    """

    name: str
    deployment_uid: str
    service: str
    intent_id: str
    offer_id: str
    region: str
    engine: str
    engine_version: str
    model_id: str
    port: int
    created_at: str
    steps: tuple[tuple[str, ...], ...]
    secret_environment: dict[str, str]
    keeper_pid: int | None = None


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """How it ended. ``status``: exit status, negative for a signal. ``engine``: it was not a step before the engine."""

    engine: bool
    status: int
    error: str


@dataclass(frozen=True, slots=True)
class StopRecord:
    """The wish to end. ``deadline``: monotonic seconds of this machine.

    ``told``: whether SIGTERM went to the engine directly, because no keeper was left to send it.
    """

    deadline: float
    told: bool = False


class ReplicaDirectory:
    """One replica's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "engine.log"
        self.api_key = path / "api-key"
        self.lease = path / "lease"

    def create(self) -> None:
        """Make the directory, readable by us alone; an existing one is kept. Raises ``DiskFull``, ``ProviderError``."""
        with translated(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)

    def ensure_api_key(self) -> Path:
        """Make the key if there is none yet."""
        if not self.api_key.exists():
            self._write("api-key", secrets.token_hex(KEY_BYTES))
        return self.api_key

    def write_lease(self, seconds: float) -> None:
        """Begin the lease, or begin it anew: the keeper sees that the file is another one."""
        self._write("lease", f"{seconds:g}")

    def read_instance(self) -> InstanceRecord | None:
        """Return what was started; ``None`` when there is no record that can be used."""
        found = self._read("instance.json")
        try:
            return None if found is None else _instance_from(found)
        except (KeyError, TypeError, ValueError):
            return None

    def write_instance(self, record: InstanceRecord) -> None:
        """Replace the record."""
        self._write("instance.json", json.dumps({"format": FORMAT, **asdict(record)}, indent=1))

    def read_exit(self) -> ExitRecord | None:
        """Return how it ended, if its keeper saw that."""
        found = self._read("exit.json")
        try:
            return (
                None if found is None else ExitRecord(bool(found["engine"]), int(found["status"]), str(found["error"]))
            )
        except (KeyError, TypeError, ValueError):
            return None

    def read_stop(self) -> StopRecord | None:
        """Return the wish to end. A damaged one still is a wish: its deadline has passed."""
        if not (self.path / "stop.json").exists():
            return None
        found = self._read("stop.json")
        try:
            return StopRecord(0.0) if found is None else StopRecord(float(found["deadline"]), bool(found["told"]))
        except (KeyError, TypeError, ValueError):
            return StopRecord(0.0)

    def write_stop(self, stop: StopRecord) -> None:
        """Replace the wish to end."""
        self._write("stop.json", json.dumps(asdict(stop)))

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _write(self, name: str, text: str) -> None:
        """Write beside, force to disk, rename: whoever reads sees the old file or the new one."""
        draft = self.path / f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
        with translated(self.path):
            try:
                descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(self.path / name)
            finally:
                draft.unlink(missing_ok=True)


class StateDirectory:
    """All replicas' directories and the launch lock."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self._replicas = self.path / "replicas"

    def replica(self, name: str) -> ReplicaDirectory:
        """Return a replica's directory, which need not exist. Raises ``ProviderError`` for what cannot be a name."""
        if not _NAME.fullmatch(name):
            raise ProviderError(f"{name!r} cannot name a replica", hint="Letters, digits, dots, dashes, underscores.")
        return ReplicaDirectory(self._replicas / name)

    def names(self) -> list[str]:
        """Return the names that have a directory."""
        try:
            return sorted(entry.name for entry in self._replicas.iterdir() if _NAME.fullmatch(entry.name))
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise ProviderError(f"cannot read {self._replicas}: {exc.strerror}") from exc

    def free_mib(self) -> int:
        """Return the space left on the disk that holds us."""
        existing = next(p for p in (self.path, *self.path.parents) if p.exists())
        return shutil.disk_usage(existing).free // 2**20

    def forget(self, name: str) -> None:
        """Remove a replica's directory with its log."""
        shutil.rmtree(self._replicas / name, ignore_errors=True)

    @contextmanager
    def launch_lock(self, patience_seconds: float) -> Iterator[None]:
        """Hold the lock that makes a launch exclusive on this machine.

        The lock belongs to the open file: it ends with its holder, SIGKILL included. Raises ``ProviderError`` when
        another process keeps it longer than ``patience_seconds`` (one that was stopped, for example).
        """
        with translated(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path / "launch.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            give_up = time.monotonic() + patience_seconds
            while not _try_lock(descriptor):
                if time.monotonic() >= give_up:
                    raise ProviderError(
                        f"another process has been launching for over {patience_seconds:g} s: {self.path}/launch.lock",
                        hint="It may be stopped or hanging; greenctl controller status names the controller.",
                    )
                time.sleep(LOCK_PAUSE_SECONDS)
            yield
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _instance_from(found: dict[str, Any]) -> InstanceRecord:
    if found.pop("format") != FORMAT:
        raise ValueError("written by another version")
    steps = tuple(tuple(str(word) for word in step) for step in found.pop("steps"))
    return InstanceRecord(**found, steps=steps)
