"""SkyPilot as we use it: a few calls in plain values, so that nothing else here knows its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

UP: Final = "UP"
UNSURE: Final = "INIT"
"""It is being made, or there was trouble on the way to it: SkyPilot cannot say whether it is well."""
STOPPED: Final = "STOPPED"


class CallState(StrEnum):
    """How far a request to SkyPilot's API server has come (``sky.server.requests.RequestStatus``, in three words)."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LaunchCall:
    """A launch as the API server remembers it. ``posted_at``: seconds since the epoch, its clock."""

    id: str
    state: CallState
    posted_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that exists, after SkyPilot has asked the provider.

    ``state`` is SkyPilot's word (``UP``, ``INIT``, ``STOPPED``...). ``address``: where its first node is reached from
    here, ``None`` while unknown.
    """

    name: str
    state: str
    cloud: str
    region: str
    address: str | None = None


class SkyFailure(Exception):
    """What SkyPilot raised: the name of its class, its words, and what it had tried (``failover_history``)."""

    def __init__(self, kind: str, message: str, history: tuple[str, ...] = ()) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
        self.history = history


class SkyApi(Protocol):
    """What we ask of SkyPilot. Every method raises :class:`SkyFailure` and nothing else."""

    async def ensure_server(self) -> None:
        """Reach the API server; a local one is started if none runs."""
        ...

    async def enabled_clouds(self, wanted: frozenset[str]) -> frozenset[str]:
        """Return the clouds (lower case) that have credentials; the wanted ones are checked if nobody has yet."""
        ...

    async def launch(self, cluster: str, task: Mapping[str, Any], mounts: Mapping[str, str]) -> str:
        """Post a launch and return its request id at once. ``mounts``: remote path to local path."""
        ...

    async def launches(self, cluster: str) -> Sequence[LaunchCall]:
        """Return every launch of this cluster name that the server remembers, oldest first."""
        ...

    async def outcome(self, request_id: str) -> None:
        """Return when the request has ended well; raises what it failed with."""
        ...

    async def follow(self, request_id: str, log: Path) -> None:
        """Append the request's progress to a file until it ends."""
        ...

    async def cancel(self, request_id: str) -> None:
        """Cancel a request; no error when it has ended."""
        ...

    async def clusters(self, prefix: str) -> Sequence[Cluster]:
        """Return the clusters whose names begin so, after asking their providers (``refresh=FORCE``)."""
        ...

    async def job_state(self, cluster: str) -> str:
        """Return the state of the cluster's newest job (``RUNNING``, ``FAILED``...), empty when there is none."""
        ...

    async def job_log(self, cluster: str) -> str:
        """Return the end of that job's log."""
        ...

    async def down(self, cluster: str) -> None:
        """End the cluster and wait for it; no error when there is none."""
        ...

    async def close(self) -> None:
        """Let go of whatever is held."""
        ...
