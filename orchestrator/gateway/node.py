"""One gateway process: its table, its counts, its memory of failures, its connections.

The fronts (``app`` for clients, ``admin`` for the controller) and the forwarding all work on this one object; nothing
here knows about HTTP servers or Ray.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.routing import RoutingTable, ServiceRoutes, Upstream
from orchestrator.domain.wire import InvalidRouting
from orchestrator.gateway.cooldown import Cooldowns
from orchestrator.gateway.kept import Missed, doubtful, missed_in, upstreams_of, with_kept, without
from orchestrator.gateway.metrics import Metrics
from orchestrator.gateway.routing import choose
from orchestrator.gateway.table import TableFile
from orchestrator.gateway.tally import Tally
from orchestrator.gateway.upstreams import Patience, UpstreamClient, UpstreamFailure
from orchestrator.gateway.waiting import WaitingRoom

logger = logging.getLogger(__name__)

PROBE_EVERY_SECONDS: Final = 15.0
"""How often those are asked whom the table lost without a word. Between two looks, their failures are noticed as those
of all others are."""

SILENT_TIMES: Final = 3
"""So often in a row nothing good was heard of somebody whom the table lost: then it is not waited for any more."""


class OlderTableError(Exception):
    """A table older than the one in use; ``applied`` is that one's version."""

    def __init__(self, applied: int) -> None:
        super().__init__(f"version {applied} is in use")
        self.applied = applied


class GatewayNode:
    """Used as an async context manager around serving.

    ``folder``: the gateway's folder, 0700. ``keyless_allowed``: serve services without client keys, which is right
    only behind a loopback address. ``clock`` counts seconds and never runs backwards. ``origin`` and
    ``origin_header``: as in :class:`~orchestrator.gateway.options.Options`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        mode: str,
        keyless_allowed: bool,
        worker: str = "0",
        origin: str = "",
        origin_header: str = "",
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.mode = mode
        self.keyless_allowed = keyless_allowed
        self.origin_header = origin_header.lower().encode()
        self.boot_id = secrets.token_hex(8)
        self.clock = clock
        self.client = UpstreamClient(patience or Patience())
        self.metrics = Metrics(worker)
        self.tally = Tally(clock)
        self.waiting = WaitingRoom(self.routes, self.metrics, clock)
        self.table: RoutingTable | None = None
        """What requests are served by: what the controller wrote, and those that are kept beside it."""
        self.kept: frozenset[str] = frozenset()
        """Names of the latter."""
        self.table_error = ""
        self.is_draining = False  # set once, on the way to the end
        self._origin = origin
        self._file = TableFile(folder)
        self._cooldowns = Cooldowns(clock)
        self._numbers: Counter[tuple[str, str, int]] = Counter()
        self._applying = asyncio.Lock()
        self._told: RoutingTable | None = None
        self._missed: list[Missed] = []
        self._silent: Counter[str] = Counter()
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.metrics.booted(self.mode)
        await self.client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._watching is not None:
            self._watching.cancel()
        await self.client.__aexit__(kind, error, traceback)

    @property
    def applied_version(self) -> int:
        """Version of the table in use; 0 without one."""
        return self.table.version if self.table is not None else 0

    async def load_table(self) -> None:
        """Take the table from disk if it is newer than ours. A file that cannot be used is reported, not raised."""
        async with self._applying:
            try:
                table = self._file.load()
            except InvalidRouting as error:
                self.table_error = str(error)
                logger.error("the routing table cannot be used; waiting for a new one: %s", error)  # noqa: TRY400
                return
            if table is None or table.version <= self.applied_version:
                return
            missed = [Missed(routes, self.clock()) for routes in self._file.load_kept(table.version)]
            self._use(table, missed, await self._answering(doubtful(missed, table)))
            self._watch()

    async def apply(self, table: RoutingTable) -> None:
        """Put a table to disk, then to use. The same version again is accepted, so that a repeat is harmless.

        One that takes most of a service away without a word waits for what those say themselves: :mod:`.kept`.
        Raises :class:`OlderTableError`, and ``OSError`` when it cannot be kept; then the last one stays in use.
        """
        async with self._applying:
            if table.version < self.applied_version:
                raise OlderTableError(self.applied_version)
            missed = missed_in(table, self._told, self._missed, self.clock())
            answering = await self._answering(doubtful(missed, table))
            await asyncio.to_thread(self._file.save, table, tuple(m.routes for m in missed))
            self._use(table, missed, answering)
            self._watch()

    async def drain(self) -> None:
        """Refuse new requests and those that wait for a replica from now on; return once those that run have ended."""
        self.is_draining = True
        self.waiting.close()
        await self.tally.until_idle()

    def routes(self, service: str) -> ServiceRoutes | None:
        """Return the service's routes as of now."""
        services = self.table.services if self.table is not None else ()
        return next((s for s in services if s.service == service), None)

    def origin_of(self, said: str | None) -> str:
        """Return whence a request comes: what the proxy in front says, else our own; ``""`` where nobody knows."""
        return self._origin if said is None else said

    def pick(
        self,
        routes: ServiceRoutes,
        tried: Collection[str],
        origin: str = "",
        *,
        adapter: str = "",
        model: str | None = None,
    ) -> Upstream | None:
        """Choose an upstream for one more attempt and note that it is being tried.

        ``origin``: whence the request comes. Only names of the table count, and are kept; all else is the one split.
        ``adapter``, ``model``: only those are chosen from that have it, or serve the model under that name.
        First attempts are counted by themselves, and so are second ones, and so on: if a request that fails took two
        numbers, its retries would pass the others over in step, and who fails would get more than its weight.
        """
        row = origin if any(r.origin == origin for r in routes.rows) else ""
        wanted = f"{routes.service}:{adapter}" if adapter else routes.service  # each has its own round of numbers
        number = self._numbers[wanted, row, len(tried)]
        self._numbers[wanted, row, len(tried)] += 1
        resting = self._cooldowns.resting(routes.upstreams)
        gone = self._cooldowns.gone(routes.upstreams)
        upstreams: Sequence[Upstream] = routes.upstreams_for(row)
        if adapter or model is not None:
            upstreams = [
                u for u in upstreams if (not adapter or adapter in u.adapters) and model in {None, routes.name_at(u)}
            ]
        upstream = choose(upstreams, number, excluded=tried, cooling=resting, gone=gone)
        if upstream is not None:
            self._cooldowns.trying(upstream, routes.cooldown_seconds)
        return upstream

    def worked(self, upstream: Upstream) -> None:
        """Note that the upstream has given what was asked for, whole."""
        self._cooldowns.worked(upstream)

    def failed(self, routes: ServiceRoutes, upstream: Upstream, failure: UpstreamFailure) -> None:
        """Note a failure, and let the upstream rest if it has earned it."""
        self.metrics.upstream_failed(routes.service, upstream.region, failure.reason)
        if self._cooldowns.failed(upstream, routes.cooldown_seconds, gone=failure.is_gone):
            logger.warning("%s rests for %g s: %s", upstream.replica, routes.cooldown_seconds, failure.reason)
            self.metrics.rests(routes.service, upstream.region)

    def status(self) -> GatewayStatus:
        """Return the counts as of now; every replica of the table is among them."""
        services = self.table.services if self.table is not None else ()
        counted = self.tally.status(
            applied_version=self.applied_version,
            boot_id=self.boot_id,
            mode=self.mode,
            replicas=[u.replica for s in services for u in s.upstreams],
            services=[s.service for s in services],
        )
        held = tuple(replace(c, held=self.waiting.held(c.service)) for c in counted.services)
        return replace(counted, services=held, kept=tuple(sorted(self.kept)))

    async def _answering(self, missed: Sequence[Missed]) -> frozenset[str]:
        """Ask those that are missed, all at once; return the names of those that are well."""
        asked = upstreams_of(missed)
        are_well = await asyncio.gather(*(self.client.is_well(u, model) for model, u in asked))
        return frozenset(u.replica for (_, u), is_well in zip(asked, are_well, strict=True) if is_well)

    def _watch(self) -> None:
        """Look after those that are missed for as long as somebody is."""
        if self._missed and (self._watching is None or self._watching.done()):
            self._watching = asyncio.create_task(self._look_after_the_missed())

    async def _look_after_the_missed(self) -> None:
        while self._told is not None and self._missed:
            await asyncio.sleep(PROBE_EVERY_SECONDS)
            async with self._applying:
                missed = missed_in(self._told, None, self._missed, self.clock())
                answering = await self._answering(missed)
                self._silent = Counter(
                    {
                        u.replica: 1 + self._silent[u.replica]
                        for _, u in upstreams_of(missed)
                        if u.replica not in answering
                    }
                )
                given_up = {name for name, times in self._silent.items() if times >= SILENT_TIMES}
                self._use(self._told, without(missed, given_up), answering)

    def _use(self, told: RoutingTable, missed: list[Missed], answering: frozenset[str]) -> None:
        """Switch over; between two steps of the event loop, so that no request sees half of it."""
        leaving = self.table.services if self.table is not None else ()
        in_doubt = doubtful(missed, told)
        kept = answering & {u.replica for _, u in upstreams_of(in_doubt)}
        table = with_kept(told, in_doubt, kept)
        if kept - self.kept:
            names = ", ".join(sorted(kept))
            logger.warning(
                "table %d lost most of a service without a word; kept while they answer: %s", told.version, names
            )
        elif self.kept - kept:
            logger.warning("no longer kept beside the table: %s", ", ".join(sorted(self.kept - kept)))
        for routes in (m.routes for m in (*self._missed, *missed)):
            self.metrics.keeps(routes.service, sum(u.replica in kept for u in routes.upstreams))
        self._told, self._missed, self.kept = told, missed, kept
        if table == self.table:
            return
        self.table, self.table_error = table, ""
        upstreams = [u for s in table.services for u in s.upstreams]
        self._cooldowns.forget_all_but(upstreams)
        # What the last table named is kept for one more: the controller reads final counts after it removed a replica.
        replicas = {u.replica for u in upstreams} | {u.replica for s in leaving for u in s.upstreams}
        self.tally.prune(replicas, {s.service for s in (*table.services, *leaving)})
        self.metrics.applied(table.version, [s.service for s in table.services])
        self.waiting.look_again()
