"""What the gateway has counted since it started, with its JSON form: one process, or the sum of several."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

from orchestrator.domain.wire import FORMAT, Fields

FIRST_TOKEN_STEP = 2 ** (1 / 4)
FIRST_TOKEN_SHORTEST_SECONDS = 0.01
FIRST_TOKEN_CLASSES = 66
"""Times to a first token are counted in classes, each a fifth wider than the one before, from 10 ms to 10 minutes."""


def first_token_class(seconds: float) -> int:
    """Return the class (0..``FIRST_TOKEN_CLASSES - 1``) of a time to a first token, ``>= 0``."""
    if seconds < FIRST_TOKEN_SHORTEST_SECONDS:
        return 0
    steps = math.log(seconds / FIRST_TOKEN_SHORTEST_SECONDS) / math.log(FIRST_TOKEN_STEP)
    return min(FIRST_TOKEN_CLASSES - 1, 1 + math.floor(steps))


def first_token_from_seconds(number: int) -> float:
    """Return from where on times are of a class."""
    return 0.0 if number == 0 else FIRST_TOKEN_SHORTEST_SECONDS * FIRST_TOKEN_STEP ** (number - 1)


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """What happened at one upstream since its gateway booted.

    Every request sent to it is in exactly one of ``in_flight``, ``ok``, ``failed`` (nothing had reached the client
    yet), ``truncated`` (a stream was lost and the client was told), ``resumed`` (a stream was lost and another upstream
    finished it) and ``cancelled`` (the client left). ``ok`` includes answers that blame the client (4xx).
    ``request_seconds`` is the integral of ``in_flight`` over time: its difference over a period, divided by the
    period, is the mean number of concurrent requests.
    ``first_tokens``: how many streams had their first token in each class of time (:func:`first_token_class`), from
    when the gateway sent the request on; classes beyond the last that has any are left out. Empty where nothing was
    streamed, and of gateways of before.
    """

    replica: str
    in_flight: int = 0
    request_seconds: float = 0.0
    ok: int = 0
    failed: int = 0
    truncated: int = 0
    resumed: int = 0
    cancelled: int = 0
    first_tokens: tuple[int, ...] = ()

    def later_than(self, seconds: float) -> int:
        """Return how many first tokens surely came later than that: a class that holds the limit does not count."""
        return sum(n for number, n in enumerate(self.first_tokens) if first_token_from_seconds(number) >= seconds)


@dataclass(frozen=True, slots=True)
class ServiceCounts:
    """Requests of one service since the gateway started, each counted once, however many replicas were tried.

    ``accepted`` and ``failed`` only grow; ``failed`` ended without an answer, those that no replica took included.
    ``request_seconds`` is the integral of ``in_flight`` over time. ``held``: those in flight that wait in the gateway
    for a first replica.
    """

    service: str
    accepted: int = 0
    in_flight: int = 0
    failed: int = 0
    request_seconds: float = 0.0
    held: int = 0


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """What all gateway processes of one state directory report together.

    ``applied_version`` is the lowest version in use (0: none). ``boot_id`` changes whenever any counter restarts.
    ``accepted`` counts valid requests for known services, and at rest equals
    ``ok + failed + truncated + cancelled``; ``resumed`` counts those among them whose stream changed its upstream.
    ``kept``: replicas that some process serves by although that table lost them without a word.
    """

    applied_version: int
    boot_id: str
    upstreams: tuple[UpstreamStatus, ...]
    accepted: int = 0
    ok: int = 0
    failed: int = 0
    truncated: int = 0
    cancelled: int = 0
    resumed: int = 0
    mode: str = "serve"
    processes: int = 1
    services: tuple[ServiceCounts, ...] = ()
    kept: tuple[str, ...] = ()

    def of_service(self, service: str) -> ServiceCounts | None:
        """Return the counts of one service; ``None`` when this gateway has not counted any of its requests."""
        return next((s for s in self.services if s.service == service), None)

    def upstream(self, replica: str) -> UpstreamStatus:
        """Return the counters of one replica; all zero when it has never been sent anything."""
        return next((u for u in self.upstreams if u.replica == replica), UpstreamStatus(replica))

    def to_json(self) -> str:
        """Write the status as one JSON document."""
        document = {
            "format": FORMAT,
            **{name: getattr(self, name) for name in self.__slots__ if name not in {"upstreams", "services", "kept"}},
            # An older controller reads the status of a gateway that keeps nobody.
            **({"kept": list(self.kept)} if self.kept else {}),
            "upstreams": [_status_document(u) for u in self.upstreams],
            "services": [{name: getattr(s, name) for name in s.__slots__} for s in self.services],
        }
        return json.dumps(document)

    @classmethod
    def from_json(cls, text: str | bytes) -> GatewayStatus:
        """Read a status; raises :class:`InvalidRouting`."""
        fields = Fields.parse(text)
        fields.expect_format()
        status = cls(
            applied_version=fields.whole("applied_version"),
            boot_id=fields.text("boot_id"),
            upstreams=tuple(_read_upstream_status(item) for item in fields.objects("upstreams")),
            accepted=fields.whole("accepted"),
            ok=fields.whole("ok"),
            failed=fields.whole("failed"),
            truncated=fields.whole("truncated"),
            cancelled=fields.whole("cancelled"),
            resumed=fields.whole("resumed"),
            mode=fields.text("mode"),
            processes=fields.whole("processes"),
            # A gateway outlives controllers: an older one does not count by service.
            services=tuple(_read_service_counts(item) for item in fields.objects("services", missing_is_empty=True)),
            kept=fields.texts("kept") if fields.has("kept") else (),
        )
        fields.finish()
        return status


def sum_statuses(statuses: Iterable[GatewayStatus]) -> GatewayStatus:
    """Add up what several gateway processes report; raises ``ValueError`` on none."""
    parts = sorted(statuses, key=lambda s: s.boot_id)
    if not parts:
        raise ValueError("no gateway process to add up")
    names = dict.fromkeys(u.replica for part in parts for u in part.upstreams)
    return GatewayStatus(
        applied_version=min(part.applied_version for part in parts),
        boot_id="+".join(part.boot_id for part in parts),
        upstreams=tuple(_sum_upstream([part.upstream(name) for part in parts]) for name in names),
        accepted=sum(part.accepted for part in parts),
        ok=sum(part.ok for part in parts),
        failed=sum(part.failed for part in parts),
        truncated=sum(part.truncated for part in parts),
        cancelled=sum(part.cancelled for part in parts),
        resumed=sum(part.resumed for part in parts),
        mode=parts[0].mode,
        processes=sum(part.processes for part in parts),
        services=tuple(
            _sum_service([c for p in parts if (c := p.of_service(name)) is not None])
            for name in dict.fromkeys(s.service for p in parts for s in p.services)
        ),
        kept=tuple(dict.fromkeys(name for part in parts for name in part.kept)),
    )


def _sum_service(parts: list[ServiceCounts]) -> ServiceCounts:
    return ServiceCounts(
        service=parts[0].service,
        accepted=sum(p.accepted for p in parts),
        in_flight=sum(p.in_flight for p in parts),
        failed=sum(p.failed for p in parts),
        request_seconds=sum(p.request_seconds for p in parts),
        held=sum(p.held for p in parts),
    )


def _sum_upstream(parts: list[UpstreamStatus]) -> UpstreamStatus:
    return UpstreamStatus(
        replica=parts[0].replica,
        in_flight=sum(p.in_flight for p in parts),
        request_seconds=sum(p.request_seconds for p in parts),
        ok=sum(p.ok for p in parts),
        failed=sum(p.failed for p in parts),
        truncated=sum(p.truncated for p in parts),
        resumed=sum(p.resumed for p in parts),
        cancelled=sum(p.cancelled for p in parts),
        first_tokens=tuple(map(sum, zip_longest(*(p.first_tokens for p in parts), fillvalue=0))),
    )


def _status_document(status: UpstreamStatus) -> dict[str, object]:
    """Leave out what an older controller does not know while it says nothing."""
    names = [n for n in status.__slots__ if n != "first_tokens" or status.first_tokens]
    return {name: getattr(status, name) for name in names}


def _read_upstream_status(fields: Fields) -> UpstreamStatus:
    status = UpstreamStatus(
        replica=fields.text("replica"),
        in_flight=fields.whole("in_flight"),
        request_seconds=fields.number("request_seconds"),
        ok=fields.whole("ok"),
        failed=fields.whole("failed"),
        truncated=fields.whole("truncated"),
        resumed=fields.whole("resumed"),
        cancelled=fields.whole("cancelled"),
        first_tokens=fields.wholes("first_tokens") if fields.has("first_tokens") else (),
    )
    fields.finish()
    return status


def _read_service_counts(fields: Fields) -> ServiceCounts:
    counts = ServiceCounts(
        service=fields.text("service"),
        accepted=fields.whole("accepted"),
        in_flight=fields.whole("in_flight"),
        failed=fields.whole("failed"),
        request_seconds=fields.number("request_seconds"),
        held=fields.whole("held") if fields.has("held") else 0,
    )
    fields.finish()
    return counts
