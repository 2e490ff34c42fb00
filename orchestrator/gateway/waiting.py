"""The waiting room: requests of a service that sleeps, held until somebody serves, within bounds of number and time.

A request in it has been accepted and counted, so the controller sees by the gateway's counters that somebody waits, and
starts a replica. The gateway needs no controller to keep its word: with nobody there, whoever waits is refused when the
time is over. Nothing here starts a replica, and nothing here chooses one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from orchestrator.domain.routing import ServiceRoutes
from orchestrator.gateway.metrics import Metrics
from orchestrator.gateway.replies import no_replica_in_time, shutting_down, waiting_room_full


class WaitingRoom:
    """One gateway process's. ``routes``: those of a service as of now. ``clock`` counts seconds, never backwards."""

    def __init__(
        self, routes: Callable[[str], ServiceRoutes | None], metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self._routes = routes
        self._metrics = metrics
        self._clock = clock
        self._held: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._is_closed = False

    def held(self, service: str) -> int:
        """Return how many requests of the service wait."""
        return self._held[service]

    def look_again(self) -> None:
        """Let everybody who waits look at the routes again: there is a new table."""
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """Refuse whoever waits, now and from now on: this gateway is about to stop."""
        self._is_closed = True
        self.look_again()

    async def until_served(self, service: str) -> None:
        """Return when the service has an upstream for new requests; at once when it has one, or never holds.

        Raises :class:`~orchestrator.gateway.replies.Refusal` when as many wait as may, when the time is over, or when
        the gateway stops.
        """
        routes = self._routes(service)
        if routes is None or not is_asleep(routes):
            return
        if self._held[service] >= routes.max_held:
            raise waiting_room_full(service, routes.max_held)
        began = self._clock()
        self._held[service] += 1
        self._metrics.holds(service, self._held[service])
        try:
            async with asyncio.timeout(routes.hold_seconds):
                await self._until_awake(service)
        except TimeoutError:
            raise no_replica_in_time(service, routes.hold_seconds) from None
        finally:
            self._held[service] -= 1
            self._metrics.holds(service, self._held[service])
            self._metrics.was_held(service, self._clock() - began)

    async def _until_awake(self, service: str) -> None:
        while (routes := self._routes(service)) is not None and is_asleep(routes):
            if self._is_closed:
                raise shutting_down()
            await self._changed.wait()


def is_asleep(routes: ServiceRoutes) -> bool:
    """Whether the service holds requests, and has nobody that may get a new one. Who drains gets none."""
    return routes.hold_seconds > 0 and all(u.draining for u in routes.upstreams)
