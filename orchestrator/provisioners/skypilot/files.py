"""What we remember of each replica on this machine: its key, what was carried to it, its log, how far its end has come.

Nothing here decides whether something exists; that is SkyPilot's and its clusters' word.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.logs import keep_log_short
from orchestrator.provisioners.writing import translated

RECORD = "instance.json"
KEY = "api-key"
LOG = "replica.log"
CARRIED = "files"
SECRETS = "secrets.json"
ENDED_KEPT = 100
"""So many replicas that have ended are remembered, with their logs; the journal knows all of them."""
PRIVATE_FOLDER = 0o700


@dataclass(frozen=True, slots=True)
class Record:
    """One replica. ``request``: the launch that we posted last. ``error_code``: what that launch failed with.

    ``stop_by``: seconds since the epoch until which its engine may finish, once its end was asked for. ``ended``:
    SkyPilot has said that it is down; without ``stop_by``, that it has gone by itself, or never came.
    """

    name: str
    deployment: str
    service: str
    intent: str
    region: str
    epoch: int
    port: int
    has_key: bool
    request: str = ""
    error_code: str = ""
    error: str = ""
    stop_by: float | None = None
    ended: bool = False

    @property
    def provider(self) -> str:
        """The cloud."""
        return self.region.partition("/")[0]


class Folder:
    """The folder of one replica."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def key_file(self) -> Path:
        """0600 file with the engine's key."""
        return self.path / KEY

    @property
    def log(self) -> Path:
        """SkyPilot's progress, then the engine's last words."""
        return self.path / LOG

    def read(self) -> Record | None:
        """Return what is remembered; ``None`` when there is nothing readable."""
        try:
            return Record(**json.loads((self.path / RECORD).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, record: Record) -> Record:
        """Remember it, in one motion. Raises ``DiskFull`` or ``ProviderError``, as all that write here do."""
        _make(self.path)
        _write(self.path / RECORD, json.dumps(asdict(record), indent=1) + "\n")
        return record

    def change(self, **fields: Any) -> Record | None:  # noqa: ANN401 - fields of a record
        """Change fields of what is remembered."""
        record = self.read()
        return None if record is None else self.write(replace(record, **fields))

    def append(self, text: str) -> Path:
        """Add to the log; returns it."""
        _make(self.path)
        with translated(self.log):
            handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "a", encoding="utf-8") as file:
                file.write(text)
        return self.log

    def make_key(self) -> Path:
        """Make the engine's key, once."""
        if not self.key_file.exists():
            _write(self.key_file, f"gr-{secrets.token_urlsafe(32)}\n")
        return self.key_file

    def store(self, files: Mapping[str, str]) -> dict[str, str]:
        """Write files that are carried to the machine; returns remote path to local path."""
        folder = self.path / CARRIED
        _make(folder)
        mounts = {}
        for remote, text in files.items():
            local = folder / remote.rpartition("/")[2]
            _write(local, text)
            mounts[remote] = str(local)
        return mounts

    def secrets(self) -> tuple[str, ...]:
        """Return the values that no log may show: the engine's key, and the service's own secrets."""
        found: list[str] = []
        with suppress(OSError, ValueError):
            found.append(self.key_file.read_text(encoding="ascii").strip())
        with suppress(OSError, ValueError, AttributeError):
            found += json.loads((self.path / CARRIED / SECRETS).read_text(encoding="utf-8")).values()
        return tuple(found)

    def forget_secrets(self) -> None:
        """Remove what was carried to the machine, and the key: nothing needs them once it has ended."""
        shutil.rmtree(self.path / CARRIED, ignore_errors=True)
        self.key_file.unlink(missing_ok=True)


class Folders:
    """All replicas'."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def of(self, name: str) -> Folder:
        """Return the folder of a replica, which need not exist."""
        return Folder(self._root / name)

    def records(self) -> Iterator[Record]:
        """Yield everything that is remembered, by name."""
        for path in sorted(self._root.glob(f"*/{RECORD}")):
            record = Folder(path.parent).read()
            if record is not None:
                yield record

    def keep_logs_short(self) -> None:
        """Bound what talkative launches, and the worker that asks for them, can fill."""
        for path in (*self._root.glob("*.log"), *self._root.glob(f"*/{LOG}")):
            keep_log_short(path)

    def prune(self) -> None:
        """Forget the oldest of those that have ended."""
        ended = [self.of(r.name).path for r in self.records() if r.ended]
        for path in sorted(ended, key=lambda p: p.stat().st_mtime)[:-ENDED_KEPT]:
            shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with translated(path):
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)


def _make(folder: Path) -> None:
    with translated(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
