"""The routing table on disk: what the gateway boots from when nothing else is up."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from orchestrator.domain.routing import RoutingTable, ServiceRoutes
from orchestrator.domain.wire import InvalidRouting

FILE_NAME = "routes.json"
KEPT_FILE_NAME = "kept.json"


class TableFile:
    """``routes.json`` in the gateway's folder, mode 0600. Several gateway processes share it.

    Beside it lies ``kept.json`` while the table of the same version lacks somebody: the last words about those.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._kept_path = folder / KEPT_FILE_NAME
        self._lock = folder / "routes.lock"

    def load(self) -> RoutingTable | None:
        """Return the table, or ``None`` when there has never been one.

        Raises :class:`~orchestrator.domain.routing.InvalidRouting` naming the file when it cannot be used.
        """
        return _read(self.path)

    def load_kept(self, version: int) -> tuple[ServiceRoutes, ...]:
        """Return the routes of those that the table of this version lacks without a word; none where nobody knows."""
        try:
            kept = _read(self._kept_path)
        except InvalidRouting:
            return ()
        return kept.services if kept is not None and kept.version == version else ()

    def save(self, table: RoutingTable, kept: tuple[ServiceRoutes, ...] = ()) -> None:
        """Replace the file atomically and durably, unless it holds a newer table already. Raises ``OSError``.

        ``kept``: of those that the table lacks without a word; written first, so that no crash loses them.
        """
        with self._locked():
            if self._version_on_disk() > table.version:
                return
            if kept:
                _write(self._kept_path, replace(table, services=kept))
            _write(self.path, table)
            if not kept:
                self._kept_path.unlink(missing_ok=True)

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


def _read(path: Path) -> RoutingTable | None:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidRouting(f"{path}: {error}") from error
    try:
        return RoutingTable.from_json(text)
    except InvalidRouting as error:
        raise InvalidRouting(f"{path}: {error}") from error


def _write(path: Path, table: RoutingTable) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".routes-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(table.to_json())
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
