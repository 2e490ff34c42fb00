"""An in-memory gateway for tests and simulations: records what it is told, fails when told to."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.counters import GatewayStatus, ServiceCounts, UpstreamStatus
from orchestrator.domain.routing import RoutingTable
from orchestrator.errors import Conflict, GatewayUnavailable


class FakeGateway:
    """Implements the ``Gateway`` port. ``published`` holds every table that was accepted, in order."""

    def __init__(self) -> None:
        self.published: list[RoutingTable] = []
        self._counts: dict[str, UpstreamStatus] = {}
        self._services: dict[str, ServiceCounts] = {}
        self._failures_left = 0
        self._boots = 1

    @property
    def table(self) -> RoutingTable | None:
        """The table in use."""
        return self.published[-1] if self.published else None

    async def publish(self, table: RoutingTable) -> None:
        """Take the table. Raises ``GatewayUnavailable`` when told to, ``Conflict`` on an older version."""
        self._fail_if_told()
        if self.table is not None and table.version < self.table.version:
            raise Conflict(f"the gateway refused an older routing table: version {self.table.version} is in use")
        self.published.append(table)

    async def applied(self) -> RoutingTable | None:
        """Return the table in use. Raises ``GatewayUnavailable`` when told to."""
        self._fail_if_told()
        return self.table

    async def status(self) -> GatewayStatus:
        """Return the counts that were set. Raises ``GatewayUnavailable`` when told to."""
        self._fail_if_told()
        upstreams = [u for s in self.table.services for u in s.upstreams] if self.table is not None else []
        names = dict.fromkeys([*(u.replica for u in upstreams), *self._counts])
        counts = tuple(self._counts.get(name, UpstreamStatus(name)) for name in names)
        return GatewayStatus(
            applied_version=self.table.version if self.table is not None else 0,
            boot_id=f"fake-{self._boots}",
            upstreams=counts,
            accepted=sum(c.in_flight + c.ok + c.failed + c.truncated + c.cancelled for c in counts),
            ok=sum(c.ok for c in counts),
            failed=sum(c.failed for c in counts),
            truncated=sum(c.truncated for c in counts),
            cancelled=sum(c.cancelled for c in counts),
            resumed=sum(c.resumed for c in counts),
            mode="fake",
            services=tuple(self._services.get(name, ServiceCounts(name)) for name in self._known_services()),
        )

    def _known_services(self) -> list[str]:
        routed = [s.service for s in self.table.services] if self.table is not None else []
        return list(dict.fromkeys([*routed, *self._services]))

    def set_counts(self, replica: str, **counts: float) -> None:
        """Set some of a replica's counts (the fields of ``UpstreamStatus``)."""
        known = self._counts.get(replica, UpstreamStatus(replica))
        self._counts[replica] = replace(known, **counts)  # type: ignore[arg-type]

    def set_service(self, service: str, **counts: float) -> None:
        """Set some of a service's counts (the fields of ``ServiceCounts``)."""
        known = self._services.get(service, ServiceCounts(service))
        self._services[service] = replace(known, **counts)  # type: ignore[arg-type]

    def fail_next(self, times: int = 1) -> None:
        """Make the next calls raise ``GatewayUnavailable``."""
        self._failures_left = times

    def restart(self) -> None:
        """Forget all counts, as a gateway does that was started again; it keeps its table."""
        self._counts.clear()
        self._services.clear()
        self._boots += 1

    def _fail_if_told(self) -> None:
        if self._failures_left > 0:
            self._failures_left -= 1
            raise GatewayUnavailable("told to fail")
