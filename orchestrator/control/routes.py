"""Where traffic goes: routes follow from what is recorded and seen, and the gateway is told what is new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace

from orchestrator.control.apply import Applier
from orchestrator.control.load import LoadWatch
from orchestrator.control.market import Market, nearest_to_now
from orchestrator.control.observe import SERVING, Watch
from orchestrator.control.ports import Journal
from orchestrator.control.revisions import model_run_by
from orchestrator.control.runtime import Runtime
from orchestrator.control.shares import Shares
from orchestrator.control.sweep import Sweeper
from orchestrator.control.traffic import routes_for, same_routes, table_of, with_unseen
from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.records import EventKind, ServiceState
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.routing import RoutingTable, ServiceRoutes
from orchestrator.errors import Conflict, GatewayUnavailable, GreenctlError
from orchestrator.planner.rollout import weight_of

NO_STEP = -1
"""Of a replica in a table which we did not make: the gateway is told of it, at nobody knows which canary step."""


class Routes:
    """What each service's traffic goes to, and what of that the gateway has been told."""

    def __init__(
        self,
        runtime: Runtime,
        journal: Journal,
        applier: Applier,
        market: Market,
        loads: LoadWatch,
        watch: Watch,
        sweeper: Sweeper,
    ) -> None:
        self._runtime = runtime
        self._journal = journal
        self._applier = applier
        self._market = market
        self._loads = loads
        self._watch = watch
        self._sweeper = sweeper
        self._shares = Shares()
        self._least_version = 0
        self._routes: dict[str, ServiceRoutes] = {}
        self._steps: dict[str, dict[str, int]] = {}
        self._unseen: dict[str, frozenset[str]] = {}
        self._told: frozenset[str] = frozenset()
        self.published: RoutingTable | None = None
        """The last table that the gateway took."""
        self.published_steps: dict[str, int] = {}
        """The canary step in per cent (of its slot's traffic) that it was made of, by replica."""

    def forget_all_but(self, services: Iterable[str]) -> None:
        """Drop what is remembered of services of which nothing is left."""
        self._shares.forget_all_but(services)

    async def refresh(self, name: str) -> None:
        """Work out anew where a service's traffic goes."""
        service = self._journal.service(name)
        if service is None or service.state is ServiceState.DOWN:
            for memory in (self._routes, self._steps, self._unseen):
                memory.pop(name, None)
            return
        replicas = tuple(self._journal.replicas(name))
        views = await self._market.views(service, replicas)
        grid = {zone: view.now for zone, view in views.items()}
        keys, clock = self._runtime.client_keys_sha256, self._runtime.clock
        offers, load, now = self._market.known(name), self._loads.seen(name), clock.now()
        nearest = {zone: nearest_to_now(view, service.spec.carbon.max_age, now) for zone, view in views.items()}
        news = self._shares.look(service.spec, replicas, offers, nearest, load, self._watch, now, clock.monotonic())
        shares, rows = self._shares.weights(name, replicas), self._shares.rows(name, replicas)
        models = {r.name: model_run_by(r, service, self._journal, self._watch.models) for r in replicas}
        self._routes[name] = routes_for(service, replicas, self._watch.instances, grid, keys, shares, rows, models)
        self._steps[name] = {r.name: weight_of(r, replicas) for r in replicas}
        self._unseen[name] = self._not_seen(replicas)
        if news:
            with suppress(GreenctlError):
                self._applier.event(EventKind.GATEWAY, news, name)

    def _not_seen(self, replicas: Sequence[Replica]) -> frozenset[str]:
        """Return those that serve and were not seen yet since we started.

        The key to an engine is known from its provider, or else from the gateway, and without it nobody is served.
        One whose provider is not configured is never seen.
        """
        return frozenset(r.name for r in replicas if r.state in SERVING and r.name not in self._watch.instances)

    async def publish(self, status: GatewayStatus | None, services: AbstractSet[str]) -> None:
        """Tell the gateway what is new, or everything when it has lost its memory.

        A service for which nothing was worked out since we started keeps the routes that the gateway has for it
        (decision 0062), and a replica that was not seen since then the key (decision 0070).
        """
        if status is None:
            return
        if self._sweeper.held and status.applied_version > 0:
            return  # replicas that we do not know may serve by the table that it has
        missing = services - self._routes.keys()
        missing -= self._down(missing)
        had = await self._had(status) if missing or any(self._unseen.values()) else ()
        if had is None:
            return
        kept = [self._still_there(own) for own in had if own.service in missing]
        if missing and not self._routes and not kept:
            return  # nobody was seen: there is nothing to tell
        made = [with_unseen(own, self._unseen[name], had) for name, own in self._routes.items()]
        routes = tuple(sorted((*made, *kept), key=lambda r: r.service))
        lags = self.published is not None and status.applied_version < self.published.version
        steps = {u.replica: NO_STEP for own in kept for u in own.upstreams}
        steps |= {r: step for own in self._steps.values() for r, step in own.items()}
        if same_routes(self.published, routes) and not lags:
            self.published_steps = steps  # small shares round to the same weight at more than one canary step
            return
        # A gateway that kept its table while our database was set back refuses anything that looks older.
        version = max(self._journal.next_routing_version(), status.applied_version + 1, self._least_version)
        table = table_of(routes, version, self._runtime.clock.now())
        try:
            await self._runtime.gateway.publish(table)
        except GatewayUnavailable:
            return
        except Conflict:
            # One of several gateway processes has a table far ahead of the others'.
            self._least_version = 2 * version
            return
        self.published = table
        self.published_steps = steps
        self._told = frozenset(u.replica for s in table.services for u in s.upstreams)

    async def _had(self, status: GatewayStatus) -> tuple[ServiceRoutes, ...] | None:
        """Return the routes that the gateway has; ``None`` where nobody can say which, and then it is told nothing."""
        try:
            table = self.published or await self._runtime.gateway.applied()
        except GatewayUnavailable:
            return None
        if table is None:
            return None if status.applied_version else ()
        return table.services

    def _still_there(self, routes: ServiceRoutes) -> ServiceRoutes:
        """Leave out who serves no longer by its record, send nothing new to who leaves, and ask for today's keys."""
        states = {r.name: r.state for r in self._journal.replicas(routes.service) if r.state in SERVING}
        return replace(
            routes,
            # Which keys clients may use is ours to say: one that was taken away ends here as well.
            allowed_keys_sha256=self._runtime.client_keys_sha256,
            upstreams=tuple(
                replace(u, draining=u.draining or states[u.replica] is ReplicaState.DRAINING)
                for u in routes.upstreams
                if u.replica in states
            ),
        )

    def has_told_of(self, replicas: Iterable[Replica]) -> bool:
        """Whether the gateway has been told of every ready one."""
        return {r.name for r in replicas if r.state is ReplicaState.READY} <= self._told

    def _down(self, services: AbstractSet[str]) -> set[str]:
        return {s.name for s in self._journal.services() if s.name in services and s.state is ServiceState.DOWN}
