"""Requests in the twin: a fluid that follows the gateway's table, and engines that answer when their machine runs.

Nothing is counted one by one: in a stretch of time each routed replica gets its weight's share of the load, and one
that no longer gets any finishes what it has. While nobody serves a service that may sleep, requests wait at the gateway
as its table says: so many of them, for so long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from orchestrator.control.ports import EngineLoad
from orchestrator.domain.counters import GatewayStatus, ServiceCounts, UpstreamStatus
from orchestrator.domain.routing import RoutingTable
from orchestrator.sim.cloud import SimulatedCloud, endpoint_of
from orchestrator.sim.workload import Workload


@dataclass
class Flow:
    """What one replica has had, and has now. ``share``: requests that run at once there; ``ends``: when it is idle."""

    share: float = 0.0
    ends: float = math.inf
    request_seconds: float = 0.0
    ok: float = 0.0
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Requests that came from ``begin`` to ``end`` (seconds of the simulation), so many a second, and wait."""

    begin: float
    end: float
    rate: float

    def since(self, moment: float) -> float:
        """Return how many of them came at a moment or later."""
        return self.rate * max(0.0, self.end - max(self.begin, moment))


class SimulatedGateway:
    """The ``Gateway`` port, and the requests that go through it.

    Counted since it was made: requests that were ``asked`` for, those that found nobody (``refused``), those that came
    while more were under way than all engines have ``places`` for (``crowded``), those that waited for a replica to
    start and were let in (``held``; ``longest_hold``: seconds), and the integral of what is under way.
    """

    def __init__(self, load: Workload, cloud: SimulatedCloud, places: int) -> None:
        self._load = load
        self._cloud = cloud
        self._places = places
        self.table: RoutingTable | None = None
        self.flows: dict[str, Flow] = {}
        self.asked = 0.0
        self.refused = 0.0
        self.crowded = 0.0
        self.held = 0.0
        self.longest_hold = 0.0
        self._waiting: list[Waiting] = []
        self._request_seconds = 0.0

    async def publish(self, table: RoutingTable) -> None:
        """Take the table."""
        self.table = table
        listed = {u.replica for s in table.services for u in s.upstreams}
        for gone in [name for name in self.flows if name not in listed]:
            del self.flows[gone]

    async def applied(self) -> RoutingTable | None:
        """Return the table in use."""
        return self.table

    async def status(self) -> GatewayStatus:
        """Return the counters."""
        upstreams = tuple(
            UpstreamStatus(
                name, in_flight=math.ceil(flow.share), request_seconds=flow.request_seconds, ok=math.floor(flow.ok)
            )
            for name, flow in sorted(self.flows.items())
        )
        return GatewayStatus(
            applied_version=0 if self.table is None else self.table.version,
            boot_id="twin",
            upstreams=upstreams,
            mode="twin",
            services=() if self.table is None else tuple(self._counts(s.service) for s in self.table.services),
        )

    def load_of(self, name: str) -> EngineLoad:
        """Return what the engine of a replica says: what it has no place for waits."""
        flow = self.flows.get(name, Flow())
        there = math.ceil(flow.share)
        running = min(there, self._places)
        return EngineLoad(running, there - running, math.floor(flow.prompt_tokens), math.floor(flow.output_tokens))

    def pass_time(self, begin: float, seconds: float, hour: int) -> None:
        """Let requests flow for a stretch in which nothing else changes. ``hour``: of the period, for the load."""
        concurrency, rate = self._load.concurrency(hour), self._load.concurrency(hour) / self._load.request_seconds
        routed = self._routed()
        whole = sum(routed.values())
        if (full := self._load.full) is not None:
            concurrency, rate = full.batch * len(routed), full.requests_per_second * len(routed)
        self.asked += rate * seconds
        if not whole:
            self._hold(begin, seconds, rate)
        elif concurrency > self._places * len(routed):
            self.crowded += rate * seconds
        for name in routed:
            self.flows.setdefault(name, Flow())
        if whole and self._waiting:
            self._let_in(begin, {name: weight / whole for name, weight in routed.items()})
        for name, flow in self.flows.items():
            part = routed.get(name, 0) / whole if whole else 0.0
            if part > 0:
                flow.share, flow.ends = concurrency * part, math.inf
                self._passed(flow, flow.share * seconds)
                flow.ok += rate * part * seconds
                flow.prompt_tokens += rate * part * seconds * self._load.prompt_tokens
                flow.output_tokens += rate * part * seconds * self._load.output_tokens
                continue
            if flow.ends == math.inf:
                flow.ends = begin + self._load.request_seconds
            self._passed(flow, flow.share * max(0.0, min(begin + seconds, flow.ends) - begin) / 2)
            if begin + seconds >= flow.ends:
                flow.share = 0.0

    def idle_at(self) -> float:
        """Return when the next of those that get nothing more is done; infinity when none is under way."""
        return min((f.ends for f in self.flows.values() if f.share > 0), default=math.inf)

    def _hold(self, begin: float, seconds: float, rate: float) -> None:
        """Let those who come wait where the table says so and there is room; refuse the others."""
        hold, most = self._rules_of_waiting()
        room = max(0.0, most - sum(w.since(-math.inf) for w in self._waiting)) if hold > 0 else 0.0
        kept = min(rate * seconds, room)
        self.refused += rate * seconds - kept
        if kept > 0:
            self._waiting.append(Waiting(begin, begin + kept / rate, rate))
        self._give_up(begin + seconds - hold)

    def _give_up(self, before: float) -> None:
        """Refuse those who have waited since before a moment: their time is up."""
        left = []
        for waiting in self._waiting:
            self.refused += waiting.since(-math.inf) - waiting.since(before)
            if waiting.end > before:
                left.append(Waiting(max(waiting.begin, before), waiting.end, waiting.rate))
        self._waiting = left

    def _let_in(self, now: float, parts: dict[str, float]) -> None:
        """Answer those who wait, all at once: the work of each is done as if it had not waited."""
        self._give_up(now - self._rules_of_waiting()[0])
        came = sum(w.since(-math.inf) for w in self._waiting)
        self.held += came
        self.longest_hold = max(self.longest_hold, *(now - w.begin for w in self._waiting), 0.0)
        self._waiting = []
        for name, part in sorted(parts.items()):
            flow = self.flows[name]
            self._passed(flow, came * part * self._load.request_seconds)
            flow.ok += came * part
            flow.prompt_tokens += came * part * self._load.prompt_tokens
            flow.output_tokens += came * part * self._load.output_tokens

    def _rules_of_waiting(self) -> tuple[float, int]:
        """Return for how many seconds a request may wait, and how many may; nobody, without a table."""
        rules = [(s.hold_seconds, s.max_held) for s in (() if self.table is None else self.table.services)]
        return rules[0] if rules else (0.0, 0)

    def _passed(self, flow: Flow, request_seconds: float) -> None:
        flow.request_seconds += request_seconds
        self._request_seconds += request_seconds

    def _counts(self, service: str) -> ServiceCounts:
        """Return the counters of the one service that there is."""
        return ServiceCounts(
            service,
            accepted=math.floor(self.asked),
            in_flight=math.ceil(
                sum(flow.share for flow in self.flows.values()) + sum(w.since(-math.inf) for w in self._waiting)
            ),
            failed=math.floor(self.refused),
            request_seconds=self._request_seconds,
        )

    def _routed(self) -> dict[str, int]:
        if self.table is None:
            return {}
        listed = [u for s in self.table.services for u in s.upstreams if not u.draining]
        alive = [u for u in listed if self._cloud.runs(u.replica)]
        weighted = {u.replica: u.weight for u in alive if u.weight > 0}
        return weighted or {u.replica: 1 for u in alive}


class SimulatedProbe:
    """The ``EngineProbe`` port: an engine answers as soon as its machine runs."""

    def __init__(self, cloud: SimulatedCloud, gateway: SimulatedGateway) -> None:
        self._cloud = cloud
        self._gateway = gateway

    async def is_healthy(self, endpoint: str) -> bool:
        """Whether the machine runs."""
        return self._cloud.runs(_name(endpoint))

    async def completes(self, endpoint: str, model: str, api_key_file: Path | None) -> bool:  # noqa: ARG002  # the port's signature
        """Whether the machine runs."""
        return self._cloud.runs(_name(endpoint))

    async def load(self, endpoint: str, api_key_file: Path | None) -> EngineLoad | None:  # noqa: ARG002  # as above
        """Return what has flowed through it."""
        name = _name(endpoint)
        return self._gateway.load_of(name) if self._cloud.runs(name) else None


_PREFIX, _SUFFIX = endpoint_of("|").split("|")


def _name(endpoint: str) -> str:
    return endpoint.removeprefix(_PREFIX).removesuffix(_SUFFIX)
