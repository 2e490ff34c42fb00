"""Prometheus metrics of one gateway process, and how those of several become one page.

Base units, ``_total`` on counters, few labels; the help text lists them. Replica names are not labels: they would
grow without end, while regions do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest

from orchestrator import __version__
from orchestrator.gateway.tally import Outcome

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

# OpenTelemetry's GenAI buckets: gen_ai.server.request.duration and gen_ai.server.time_to_first_token.
DURATION_BUCKETS: Final = tuple(0.01 * 2**power for power in range(14))
FIRST_CHUNK_BUCKETS: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
HELD_BUCKETS: Final = (1, 5, 15, 30, 60, 120, 300, 600, 1200)
"""Starts take from half a minute to twenty."""

NO_REGION: Final = "none"
"""Label of requests that no replica took."""


class Metrics:
    """``worker`` tells the processes of one gateway apart; a number that is used again after a restart."""

    def __init__(self, worker: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series per counter that nobody reads
        self.registry = CollectorRegistry()
        self._worker = worker
        self._requests = Counter(
            "greenctl_gateway_requests",
            "Accepted requests that ended. Labels: worker, service, region (of the last replica), outcome.",
            ["worker", "service", "region", "outcome"],
            registry=self.registry,
        )
        self._refusals = Counter(
            "greenctl_gateway_refusals",
            "Requests answered by the gateway itself. Labels: worker, code (of the error).",
            ["worker", "code"],
            registry=self.registry,
        )
        self._retries = Counter(
            "greenctl_gateway_upstream_failures",
            "Attempts that failed at a replica, retried or not. Labels: worker, service, region, reason.",
            ["worker", "service", "region", "reason"],
            registry=self.registry,
        )
        self._rests = Counter(
            "greenctl_gateway_cooldowns",
            "Times a replica began to rest after failures. Labels: worker, service, region.",
            ["worker", "service", "region"],
            registry=self.registry,
        )
        self._resumed = Counter(
            "greenctl_gateway_resumed_streams",
            "Streams continued on another replica. Labels: worker, service, region (of the new replica).",
            ["worker", "service", "region"],
            registry=self.registry,
        )
        self._in_flight = Gauge(
            "greenctl_gateway_in_flight_requests",
            "Accepted requests that have not ended. Labels: worker, service.",
            ["worker", "service"],
            registry=self.registry,
        )
        self._duration = Histogram(
            "greenctl_gateway_request_duration_seconds",
            "From accepting a request to its end. Labels: worker, service, region.",
            ["worker", "service", "region"],
            buckets=DURATION_BUCKETS,
            registry=self.registry,
        )
        self._first_chunk = Histogram(
            "greenctl_gateway_time_to_first_chunk_seconds",
            "From accepting a streamed request to its first event. Labels: worker, service, region.",
            ["worker", "service", "region"],
            buckets=FIRST_CHUNK_BUCKETS,
            registry=self.registry,
        )
        self._held = Gauge(
            "greenctl_gateway_held_requests",
            "Accepted requests that wait for the first replica of a service scaled to zero. Labels: worker, service.",
            ["worker", "service"],
            registry=self.registry,
        )
        self._held_seconds = Histogram(
            "greenctl_gateway_held_seconds",
            "How long requests waited for a first replica, served in the end or not. Labels: worker, service.",
            ["worker", "service"],
            buckets=HELD_BUCKETS,
            registry=self.registry,
        )
        self._kept = Gauge(
            "greenctl_gateway_kept_upstreams",
            "Replicas served by though the routing table lost them without a word. Labels: worker, service.",
            ["worker", "service"],
            registry=self.registry,
        )
        self._version = Gauge(
            "greenctl_gateway_routing_table_version",
            "Version of the routing table in use, 0 without one. Labels: worker.",
            ["worker"],
            registry=self.registry,
        )
        self._info = Gauge(
            "greenctl_gateway_build_info",
            "Always 1. Labels: worker, version, mode.",
            ["worker", "version", "mode"],
            registry=self.registry,
        )

    def booted(self, mode: str) -> None:
        """Record what runs here."""
        self._info.labels(self._worker, __version__, mode).set(1)
        self._version.labels(self._worker).set(0)

    def applied(self, version: int, services: Iterable[str]) -> None:
        """Record a new table, and begin its series at zero so that the first event is visible as a change."""
        self._version.labels(self._worker).set(version)
        for service in services:
            self._in_flight.labels(self._worker, service)
            self._held.labels(self._worker, service)
            self._kept.labels(self._worker, service)

    def keeps(self, service: str, number: int) -> None:
        """Record how many replicas of a service are served by without being in the table."""
        self._kept.labels(self._worker, service).set(number)

    def began(self, service: str) -> None:
        """Record an accepted request."""
        self._in_flight.labels(self._worker, service).inc()

    def ended(self, service: str, region: str | None, outcome: Outcome, seconds: float) -> None:
        """Record how an accepted request ended."""
        where = region or NO_REGION
        self._in_flight.labels(self._worker, service).dec()
        self._requests.labels(self._worker, service, where, outcome.value).inc()
        self._duration.labels(self._worker, service, where).observe(seconds)

    def first_chunk(self, service: str, region: str, seconds: float) -> None:
        """Record when a stream began to flow."""
        self._first_chunk.labels(self._worker, service, region).observe(seconds)

    def holds(self, service: str, number: int) -> None:
        """Record how many requests wait for a first replica."""
        self._held.labels(self._worker, service).set(number)

    def was_held(self, service: str, seconds: float) -> None:
        """Record that one of them waits no longer."""
        self._held_seconds.labels(self._worker, service).observe(seconds)

    def refused(self, code: str) -> None:
        """Record a refusal."""
        self._refusals.labels(self._worker, code).inc()

    def upstream_failed(self, service: str, region: str, reason: str) -> None:
        """Record a failed attempt."""
        self._retries.labels(self._worker, service, region, reason).inc()

    def rests(self, service: str, region: str) -> None:
        """Record the start of a cooldown."""
        self._rests.labels(self._worker, service, region).inc()

    def resumed(self, service: str, region: str) -> None:
        """Record a stream that went on elsewhere."""
        self._resumed.labels(self._worker, service, region).inc()

    def page(self) -> bytes:
        """Return this process's metrics as text."""
        return generate_latest(self.registry)


def merge_pages(pages: Iterable[bytes]) -> bytes:
    """Put the pages of several processes together: each family's help and type once, then everybody's samples.

    The pages come from the same code and differ in the ``worker`` label, so no two samples collide.
    """
    families: dict[bytes, tuple[list[bytes], list[bytes]]] = {}
    for page in pages:
        current = b""
        for line in page.splitlines():
            if line.startswith(b"# HELP "):
                current = line.split(b" ", 3)[2]
            head, samples = families.setdefault(current, ([], []))
            if not line.startswith(b"#"):
                samples.append(line)
            elif line not in head:
                head.append(line)
    return b"".join(line + b"\n" for head, samples in families.values() for line in (*head, *samples))
