"""The gateway as a running thing on this machine: who holds the state directory, and where it listens."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from orchestrator import file_locks
from orchestrator.errors import Conflict, PortBusy, ProviderError
from orchestrator.gateway.sockets import FOLDER, drafts_in, sockets_in

INFO_FILE: Final = "gateway.json"
LOG_FILE: Final = "gateway.log"
_LOCK_FILE = "gateway.lock"


def log_path(state_dir: Path) -> Path:
    """Where the gateway's processes write their log; all of them append."""
    return state_dir / FOLDER / LOG_FILE


@dataclass(frozen=True, slots=True)
class GatewayInfo:
    """What a gateway says about itself once it serves. ``mode``: ``serve`` (Ray Serve) or ``plain``."""

    pid: int
    host: str
    port: int
    mode: str
    processes: int

    @property
    def url(self) -> str:
        """Base URL for clients on this machine."""
        return url_of(self.host, self.port)


def url_of(host: str, port: int) -> str:
    """Return the URL of an address; an IPv6 address stands in brackets (RFC 3986, section 3.2.2)."""
    bare = f"[{host}]" if ":" in host else host
    return f"http://{bare}:{port}"


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Be the one gateway of this folder while the ``with`` lasts.

    The lock ends with the process, so a crash does not block the next start; what it left in the folder belongs to
    nobody and is removed. Raises ``Conflict``.
    """
    handle = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not file_locks.take(handle):
            raise Conflict(
                "a gateway already runs from this state directory",
                hint="Stop it first, or use another state directory and port.",
            )
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        _remove_traces(folder)
        try:
            yield
        finally:
            _remove_traces(folder)
    finally:
        os.close(handle)


def _remove_traces(folder: Path) -> None:
    for path in (folder / INFO_FILE, *sockets_in(folder), *drafts_in(folder)):
        path.unlink(missing_ok=True)


def announce(folder: Path, info: GatewayInfo) -> None:
    """Say that we serve. The file appears whole or not at all, and only while :func:`holding`."""
    draft = folder / f".{INFO_FILE}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(info)), encoding="utf-8")
    draft.replace(folder / INFO_FILE)


def running(state_dir: Path) -> GatewayInfo | None:
    """Return the gateway that serves from this state directory, or ``None``."""
    folder = state_dir / FOLDER
    if holder(folder) is None:
        return None
    try:
        return GatewayInfo(**json.loads((folder / INFO_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # it is starting


def holder(folder: Path) -> int | None:
    """Return the process id of the gateway of this folder, serving or not yet; ``None`` without one."""
    try:
        handle = os.open(folder / _LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        if not file_locks.is_held(handle):
            return None
        written = os.read(handle, 32)
    finally:
        os.close(handle)
    return int(written) if written.isdigit() else None


def require_free_port(host: str, port: int) -> None:
    """Raise ``PortBusy`` when the address is taken, ``ProviderError`` when it is not ours to take."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will: TIME_WAIT is no obstacle
        try:
            probe.bind((host, port))
        except OSError as error:
            raise cannot_listen(host, port, error) from error


def cannot_listen(host: str, port: int, error: OSError) -> ProviderError:
    """Turn a failed bind into words."""
    if error.errno == errno.EADDRINUSE:
        return PortBusy(
            f"port {port} on {host} is in use by another program",
            hint=f"Stop that program, or choose another port with --port (it was {port}).",
        )
    reason = error.strerror or str(error)
    return ProviderError(f"cannot listen on {host}:{port}: {reason}", hint="Check --host and --port.")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
