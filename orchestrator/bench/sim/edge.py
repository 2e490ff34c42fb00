"""What stands around the controller besides the cloud: a gateway with streams, engines, grids and price lists."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from orchestrator.bench.sim.cloud import SimCloud
from orchestrator.bench.sim.timeline import Dice
from orchestrator.control.grid import GridReader, ZoneView
from orchestrator.control.ports import EngineLoad
from orchestrator.domain.carbon import Basis, CarbonIntensity, CarbonSeries, Gap, Kind, Reading
from orchestrator.domain.counters import (
    FIRST_TOKEN_CLASSES,
    GatewayStatus,
    ServiceCounts,
    UpstreamStatus,
    first_token_class,
)
from orchestrator.domain.routing import RoutingTable
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.errors import Conflict, GatewayUnavailable, SignalUnavailable
from orchestrator.signals.archive import Archive
from orchestrator.signals.judging import Judge
from orchestrator.signals.statement import Statement

LIES: Mapping[str, Callable[[float], float]] = {
    "lies_tenfold": lambda grams: min(10.0 * grams, 1999.0),
    "lies_near_zero": lambda grams: 0.01 * grams,
    "lies_negative": lambda grams: -grams,
    "lies_no_number": lambda _grams: math.nan,
    "lies_in_milligrams": lambda grams: 1000.0 * grams,
}
"""What is said in the place of the truth, in grams per kWh."""

IMPOSSIBLE = frozenset({"lies_negative", "lies_no_number", "lies_in_milligrams"})
"""Lies that no grid can have: nothing is known of a zone of which they are told."""

STREAM_SECONDS = (5.0, 90.0)
FIRST_TOKEN_SECONDS = 0.2
SLOW_SECONDS = 20.0
LOAD_CHANGES_SECONDS = 1800.0
NAPPING = 0.6
"""The part of the half hours in which nobody asks for anything, where there are such."""


@dataclass
class Line:
    """What goes on at one replica. Times are in seconds; ``unrouted_at``: since when nothing new came."""

    busy_until: float = 0.0
    unrouted_at: float | None = None
    ok: int = 0
    failed: int = 0
    seconds: float = 0.0
    owed: float = 0.0
    read: tuple[int, int] = (0, 0)
    """Answers and failures when the counters were last read."""
    grown: tuple[int, int] = (0, 0)
    """By how much they had grown then since the time before."""
    first_tokens: list[int] = field(default_factory=lambda: [0] * FIRST_TOKEN_CLASSES)


@dataclass
class Waiting:
    """Requests that nobody serves. ``since``: when the first of them came; ``asked_at``: the last of all."""

    owed: float = 0.0
    since: float | None = None
    asked_at: float = -math.inf

    @property
    def held(self) -> int:
        """How many wait."""
        return int(self.owed)


class SimGateway:
    """Routes by the last table, also while its control socket does not answer.

    A replica that is routed to has a request under way as long as there are any, which lasts for a while after the last
    table that named it: enough to tell an end in time from one that severs streams. ``naps``: there are hours without
    requests. Those that come while nobody serves are held.
    """

    def __init__(self, now: Callable[[], float], cloud: SimCloud, dice: Dice, *, naps: bool = False) -> None:
        self._now = now
        self._cloud = cloud
        self._dice = dice
        self._naps = naps
        self.waits: dict[str, Waiting] = {}
        self._accepted: Counter[str] = Counter()
        self.table: RoutingTable | None = None
        self.older: RoutingTable | None = None
        self.away_since: float | None = None
        self.loses_replies = False
        self.is_steady = False
        self.lines: dict[str, Line] = {}
        self.first_token_seconds: dict[str, float] = {}
        """Of replicas that take longer, or less long, than others do."""
        self.read_before = 0.0
        """When the counters were read before they were last read."""
        self._read_at = 0.0
        self._boots = 1
        self._streams: tuple[int, dict[str, float]] = (0, {})
        self._looked_at = 0.0
        self._looked_by: RoutingTable | None = None

    @property
    def is_away(self) -> bool:
        """Whether its control socket does not answer. It routes on."""
        return self.away_since is not None

    @is_away.setter
    def is_away(self, away: bool) -> None:
        if away is not self.is_away:
            self.away_since = self._now() if away else None

    def restart(self, *, keeps: RoutingTable | None) -> None:
        """Start anew, with the table that it still has: counters begin at zero, streams through it are gone."""
        self.look()
        self._boots += 1
        for line in self.lines.values():
            line.busy_until = self._now()
            line.ok = line.failed = 0
            line.read = line.grown = 0, 0
            line.first_tokens = [0] * FIRST_TOKEN_CLASSES
            line.seconds = 0.0
        self.waits.clear()
        self._accepted.clear()
        self.table = keeps
        self.look()

    def routed(self) -> dict[str, str]:
        """Return the service of every replica that may get a new request."""
        table = self.table
        upstreams = [(s.service, u) for s in (table.services if table else ()) for u in s.upstreams]
        return {u.replica: service for service, u in upstreams if not u.draining}

    def look(self) -> None:
        """Let requests arrive and go on up to now. A second look in one moment, at the same table, sees no more."""
        now = self._now()
        if now == self._looked_at and self.table is self._looked_by:
            return
        self._looked_by = self.table
        routed, rate = self.routed(), self._rate()
        replicas, parts = Counter(routed.values()), self._parts()
        for name in routed:
            if name not in self.lines:
                self.lines[name] = Line()
        for name, line in self.lines.items():
            serves = self._cloud.serves(name)
            line.seconds += max(0.0, min(now, line.busy_until) - self._looked_at) if serves else 0.0
            if name in routed:
                line.unrouted_at = None
                part = 1.0 / replicas[routed[name]] if parts is None else parts[name]
                if serves and rate and part:
                    line.busy_until = now + self._stream_seconds(name)
                    number = self._answer(name, line, rate * (now - self._looked_at) * part)
                    self._accepted[routed[name]] += number
            elif line.unrouted_at is None:
                line.unrouted_at = now
        if self._naps and self.table is not None:
            for own in self.table.services:
                serving = [n for n, s in routed.items() if s == own.service and self._cloud.serves(n)]
                self._hold(own.service, self.lines[serving[0]] if serving else None, rate)
        self._looked_at = now

    def in_flight(self, name: str) -> int:
        """Requests under way at a replica."""
        line = self.lines.get(name)
        return int(line is not None and self._now() < line.busy_until and self._cloud.exists(name))

    async def publish(self, table: RoutingTable) -> None:
        """Take the table."""
        if self.is_away:
            raise GatewayUnavailable("no answer from the control socket")
        if self.table is not None and table.version < self.table.version:
            raise Conflict(f"version {self.table.version} is in use")
        self.look()
        if self.table is not None and table.version > self.table.version:
            self.older = self.table
        self.table = table
        self.look()
        if self.loses_replies:
            self.loses_replies = False
            raise GatewayUnavailable("the answer was lost")

    async def applied(self) -> RoutingTable | None:
        """Return the table in use."""
        if self.is_away:
            raise GatewayUnavailable("no answer from the control socket")
        return self.table

    async def status(self) -> GatewayStatus:
        """Return the counters."""
        if self.is_away:
            raise GatewayUnavailable("no answer from the control socket")
        self.look()
        self.read_before, self._read_at = self._read_at, self._now()
        for line in self.lines.values():
            line.grown = line.ok - line.read[0], line.failed - line.read[1]
            line.read = line.ok, line.failed
        upstreams = tuple(
            UpstreamStatus(
                n,
                in_flight=self.in_flight(n),
                ok=c.ok,
                failed=c.failed,
                request_seconds=c.seconds,
                first_tokens=tuple(c.first_tokens),
            )
            for n, c in self.lines.items()
        )
        routed = self.routed()
        in_flight: Counter[str] = Counter()
        for upstream in upstreams:
            service = routed.get(upstream.replica)
            if service is not None:
                in_flight[service] += upstream.in_flight
        held = {service: waiting.held for service, waiting in self.waits.items()}
        services = tuple(
            ServiceCounts(
                s.service,
                accepted=self._accepted[s.service] + held.get(s.service, 0),
                in_flight=in_flight[s.service] + held.get(s.service, 0),
                held=held.get(s.service, 0),
            )
            for s in (self.table.services if self.table else ())
        )
        return GatewayStatus(
            applied_version=0 if self.table is None else self.table.version,
            boot_id=f"boot-{self._boots}",
            upstreams=upstreams,
            accepted=sum(u.ok + u.failed for u in upstreams),
            ok=sum(u.ok for u in upstreams),
            failed=sum(u.failed for u in upstreams),
            truncated=0,
            cancelled=0,
            resumed=0,
            mode="sim",
            services=services,
        )

    def _parts(self) -> dict[str, float] | None:
        """Return which part of its service's requests each gets, where some come by rows; as many from each area."""
        table = self.table
        if table is None or not any(own.rows for own in table.services):
            return None
        parts: dict[str, float] = {}
        for own in table.services:
            origins = [row.origin for row in own.rows] or [""]
            parts |= dict.fromkeys((u.replica for u in own.upstreams), 0.0)
            for upstreams in map(own.upstreams_for, origins):
                there = [u for u in upstreams if not u.draining]
                # Those that weigh nothing stand by for when nobody else is left.
                weights = {u.replica: u.weight if any(o.weight for o in there) else 1 for u in there}
                for name, weight in weights.items():
                    parts[name] += weight / sum(weights.values()) / len(origins)
        return parts

    def _hold(self, service: str, line: Line | None, rate: float) -> None:
        """Let the requests since the last look wait (``rate``: per second), or have a line take all that wait."""
        waiting, now = self.waits.setdefault(service, Waiting()), self._now()
        if rate:
            waiting.asked_at = now
        if line is None:
            waiting.owed += rate * (now - self._looked_at)
            if waiting.held and waiting.since is None:
                waiting.since = now
        else:
            line.ok += waiting.held
            self._accepted[service] += waiting.held
            waiting.owed, waiting.since = 0.0, None

    def _rate(self) -> float:
        """Return the requests of a service per second: another number every half hour, until they are ``steady``."""
        when = 0 if self.is_steady else int(self._now() / LOAD_CHANGES_SECONDS)
        if self._naps and self._dice.fraction("nap", when) < NAPPING:
            return 0.0
        return self._dice.between(0.3, 2.0, "load", when) ** 2

    def _stream_seconds(self, name: str) -> float:
        """Return how long requests at a replica last, the same from one restart to the next."""
        boots, known = self._streams
        if boots != self._boots:
            boots, known = self._streams = self._boots, {}
        if name not in known:
            known[name] = self._dice.between(*STREAM_SECONDS, "stream", name, boots)
        return known[name]

    def _answer(self, name: str, line: Line, requests: float) -> int:
        """Answer its share of the requests of a service; return how many whole ones."""
        line.owed += requests
        number, line.owed = int(line.owed), line.owed % 1.0
        machine = self._cloud.machines[name]
        if machine.serves_errors:
            line.failed += number
        else:
            line.ok += number
            usual = SLOW_SECONDS if machine.is_slow else FIRST_TOKEN_SECONDS
            line.first_tokens[first_token_class(self.first_token_seconds.get(name, usual))] += number
        return number


class SimProbe:
    """Engines, as far as they answer. ``hears_nobody``: none of them answers us, whatever they say to their clients."""

    def __init__(self, cloud: SimCloud, gateway: SimGateway) -> None:
        self._cloud = cloud
        self._gateway = gateway
        self.hears_nobody = False

    def answers(self, name: str) -> bool:
        """Whether it answers who looks after it."""
        return self._cloud.serves(name) and not self.hears_nobody and not self._cloud.machines[name].is_deaf

    async def is_healthy(self, endpoint: str) -> bool:
        """Whether the health route answers: also where every request fails."""
        return self.answers(_name_in(endpoint))

    async def completes(self, endpoint: str, model: str, api_key_file: Path | None) -> bool:
        """Whether one completion comes back: to a name that is not its model's an engine answers 404."""
        del api_key_file
        name = _name_in(endpoint)
        machine = self._cloud.machines.get(name)
        if machine is None or not self.answers(name):
            return False
        return machine.request.model.name == model and not machine.serves_errors

    async def load(self, endpoint: str, api_key_file: Path | None) -> EngineLoad | None:
        """Return what it has to do."""
        del api_key_file
        name = _name_in(endpoint)
        if not self.answers(name):
            return None
        line = self._gateway.lines.get(name, Line())
        return EngineLoad(self._gateway.in_flight(name), 0, 11 * line.ok, 7 * line.ok)


def _name_in(endpoint: str) -> str:
    return endpoint.removeprefix("http://").partition(".")[0]


class SimReader(GridReader):
    """Reads one zone after the other: none of them keeps anybody waiting here, so nothing is won by asking at once."""

    async def zones(self, zones: Sequence[str], basis: Basis, now: Instant, hours: int) -> dict[str, ZoneView]:
        """Read several zones."""
        return {zone: await self.zone(zone, basis, now, hours) for zone in zones}


@dataclass
class SimGrid:
    """Zones with a day, a level and noise of their own, known hour by hour; ``dark`` and ``is_away`` are faults.

    ``lying``: by zone, in which way it lies (see :data:`LIES`) about each hour from which one on, until it stops.
    ``frozen_at``: every hour, past ones too, is like that one: in the end nothing is gained by moving any more.
    """

    dice: Dice
    levels: Mapping[str, float]
    dark: set[str] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)
    lying: dict[str, tuple[str, Instant]] = field(default_factory=dict)
    is_away: bool = False
    frozen_at: Instant | None = None
    name: str = "sim"
    _points: dict[tuple[str, Instant], CarbonIntensity] = field(default_factory=dict)

    def freeze(self, now: Instant) -> None:
        """Let every hour be like this one."""
        self.frozen_at = now
        self._points.clear()

    async def zones(self) -> frozenset[str]:
        """Return all of them."""
        return frozenset(self.levels)

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        """Return the newest value."""
        self._raise_if_away()
        if zone in self.dark or zone not in self.levels:
            return Gap(zone, "the meter is broken", self.name)
        hours = 7 if zone in self.stale else 1
        return self._said(zone, floor_hour(now) - hours * HOUR, basis, now)

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """Return what was known; a day and two hours of it are enough for a forecast of hours."""
        self._raise_if_away()
        if zone in self.dark or zone not in self.levels:
            return CarbonSeries(zone, ())
        start = max(floor_hour(window.start), floor_hour(now) - 26 * HOUR)
        hours = int((min(window.end, now) - start) / HOUR)
        said = (self._said(zone, start + n * HOUR, basis, now) for n in range(max(0, hours)))
        return CarbonSeries(zone, tuple(point for point in said if isinstance(point, CarbonIntensity)))

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        """Make none."""
        del zone, basis, window, now
        return None  # the port may return a series

    def lie(self, zone: str, how: str, now: Instant) -> None:
        """Let it lie from the newest hour on."""
        self.lying[zone] = how, floor_hour(now) - HOUR

    def is_known(self, zone: str) -> bool:
        """Whether something fresh is said of a zone that a grid can have, true or not."""
        how, _ = self.lying.get(zone, ("", None))
        return not self.is_away and zone not in self.dark | self.stale and how not in IMPOSSIBLE

    def _said(self, zone: str, start: Instant, basis: Basis, now: Instant) -> Reading:
        """Return what is said of an hour, by way of what judges the statements of real sources where it lies."""
        point, (how, since) = self._point(zone, start, basis), self.lying.get(zone, ("", start))
        if not how or start < since:
            return point
        said = Statement(
            zone, basis, point.interval, LIES[how](point.grams_per_kwh), point.kind, self.name, point.issued_at
        )
        doubts = Judge(Archive(self.name), {}).observed([said], zone, basis, now)
        return Gap(zone, doubts[0][3], self.name) if doubts else replace(point, grams_per_kwh=said.grams_per_kwh)

    def _point(self, zone: str, start: Instant, basis: Basis) -> CarbonIntensity:
        if (zone, start) not in self._points:
            like = self.frozen_at or start
            hour = like.timestamp() / 3600
            swing = self.dice.between(0.2, 0.8, "swing", zone)
            noise = self.dice.between(0.8, 1.2, "noise", zone, int(hour))
            phase = self.dice.between(0, 24, "phase", zone)
            grams = self.levels[zone] * (1 + swing * math.sin((hour - phase) * math.pi / 12)) * noise
            end = start + timedelta(hours=1)
            self._points[zone, start] = CarbonIntensity(
                zone, grams, Window(start, end), Kind.MEASURED, self.name, end, end, basis
            )
        return self._points[zone, start]

    def _raise_if_away(self) -> None:
        if self.is_away:
            raise SignalUnavailable("the source does not answer")
