"""The routing table on disk: what the gateway boots from when nothing else is up."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.domain.routing import InvalidRouting, RoutingTable

FILE_NAME = "routes.json"


class TableFile:
    """``routes.json`` in the gateway's folder, mode 0600. Several gateway processes share it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock = folder / "routes.lock"

    def load(self) -> RoutingTable | None:
        """Return the table, or ``None`` when there has never been one.

        Raises :class:`~orchestrator.domain.routing.InvalidRouting` naming the file when it cannot be used.
        """
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InvalidRouting(f"{self.path}: {error}") from error
        try:
            return RoutingTable.from_json(text)
        except InvalidRouting as error:
            raise InvalidRouting(f"{self.path}: {error}") from error

    def save(self, table: RoutingTable) -> None:
        """Replace the file atomically and durably, unless it holds a newer table already. Raises ``OSError``."""
        with self._locked():
            if self._version_on_disk() > table.version:
                return
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".routes-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(table.to_json())
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(self.path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def _version_on_disk(self) -> int:
        try:
            table = self.load()
        except InvalidRouting:
            return 0  # a file that nobody can use is not worth keeping
        return table.version if table is not None else 0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
