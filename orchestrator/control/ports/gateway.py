"""The data plane, from outside."""

from __future__ import annotations

from typing import Protocol

from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.routing import RoutingTable


class Gateway(Protocol):
    """The data plane, seen from its control socket. It serves on without us."""

    async def publish(self, table: RoutingTable) -> None:
        """Return once every gateway replica has applied the table. Raises ``GatewayUnavailable``."""
        ...

    async def applied(self) -> RoutingTable | None:
        """Return the newest table that was taken, ``None`` without one. Raises ``GatewayUnavailable``."""
        ...

    async def status(self) -> GatewayStatus:
        """Return the counters, summed over gateway replicas. Raises ``GatewayUnavailable``."""
        ...
