"""What the gateway is told and what it tells: routing tables and counters, with their JSON form.

A table is a complete picture, never a difference: whoever holds one can serve from it alone. Reading one back is
strict, because a gateway that boots while everything else is down has nobody to ask: unknown keys, missing keys,
wrong types and impossible values are refused with the place where they stand, and the caller keeps its last good
table.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from typing import Final, TypeVar
from urllib.parse import urlsplit

from orchestrator.domain.carbon import Kind
from orchestrator.domain.time import Instant, as_utc, format_instant, parse_instant

FORMAT: Final = 1
"""Version of the JSON layout. A reader refuses any other."""

MAX_WEIGHT: Final = 100

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")
_KINDS: Final = frozenset(kind.value for kind in Kind)


class InvalidRouting(ValueError):
    """A table or a status that cannot be used; the text says where in the document and why."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """One replica that may receive requests.

    ``weight`` is its share (0..100, relative to the other upstreams of the service); 0 means standby: it is used only
    when nobody with a weight is left. ``draining`` upstreams finish what they have and never get a new request.
    ``grams_per_kwh`` is the grid intensity to disclose to clients, ``None`` when unknown, and then ``intensity_kind``
    (a :class:`~orchestrator.domain.carbon.Kind` value) is ``None`` too: a number never travels without its kind.
    ``api_key_file`` holds the replica's own bearer key; the key itself is never part of a table. ``variant``: of the
    service's model, to be disclosed; ``None`` where it has none.
    """

    replica: str
    url: str
    weight: int
    draining: bool
    region: str
    zone: str | None
    grams_per_kwh: float | None = None
    intensity_kind: str | None = None
    api_key_file: str | None = None
    variant: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would end in a header, a socket or a division that nobody meant."""
        _require_name("replica", self.replica)
        _require_name("region", self.region)
        if self.zone is not None:
            _require_name("zone", self.zone)
        if self.variant is not None:
            _require_name("variant", self.variant)
        _require_base_url(self.url)
        if isinstance(self.weight, bool) or not 0 <= self.weight <= MAX_WEIGHT:
            raise InvalidRouting(f"weight: {self.weight!r} is not a whole number in 0..{MAX_WEIGHT}")
        if (self.grams_per_kwh is None) != (self.intensity_kind is None):
            raise InvalidRouting("grams_per_kwh: a number needs its intensity_kind, and an unknown one has none")
        if self.grams_per_kwh is not None and not (math.isfinite(self.grams_per_kwh) and self.grams_per_kwh >= 0):
            raise InvalidRouting(f"grams_per_kwh: {self.grams_per_kwh!r} is not a finite number of at least 0")
        if self.intensity_kind is not None and self.intensity_kind not in _KINDS:
            raise InvalidRouting(f"intensity_kind: {self.intensity_kind!r} is none of {', '.join(Kind)}")
        if self.api_key_file is not None and not self.api_key_file.startswith("/"):
            raise InvalidRouting("api_key_file: the path must be absolute")


@dataclass(frozen=True, slots=True)
class OriginWeights:
    """What upstreams weigh (0..100, by replica) for requests that come from one origin, a name of ``slo.clients``."""

    origin: str
    weights: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        """Refuse what would be no share, or nobody's."""
        _require_name("origin", self.origin)
        _require_unique("replica", (replica for replica, _ in self.weights))
        for replica, weight in self.weights:
            if isinstance(weight, bool) or not 0 <= weight <= MAX_WEIGHT:
                raise InvalidRouting(f"weight of {replica}: {weight!r} is not a whole number in 0..{MAX_WEIGHT}")


@dataclass(frozen=True, slots=True)
class ServiceRoutes:
    """Everything the gateway needs to serve one service.

    Clients name it by ``service`` or by ``model`` (what the engines serve). ``retries``: how many further upstreams
    one request may try, resuming included. ``cooldown_seconds``: how long an upstream that failed gets no traffic.
    ``allowed_keys_sha256``: hex digests of client keys; none at all means that no key is asked for, which the gateway
    only accepts on a loopback address. ``hold_seconds``: how long a request is held that comes while the service has no
    upstream at all, because it may be scaled to zero; 0 refuses it at once. ``max_held``: how many one gateway process
    holds at a time. ``rows``: other weights for requests of which is known whence they come.
    """

    service: str
    model: str
    upstreams: tuple[Upstream, ...]
    resume_streams: bool = False
    retries: int = 2
    allowed_keys_sha256: tuple[str, ...] = ()
    cooldown_seconds: float = 30.0
    hold_seconds: float = 0.0
    max_held: int = 0
    rows: tuple[OriginWeights, ...] = ()

    def __post_init__(self) -> None:
        """Refuse routes that cannot be told apart or counted."""
        _require_name("service", self.service)
        _require_name("model", self.model)
        if isinstance(self.retries, bool) or self.retries < 0:
            raise InvalidRouting(f"retries: {self.retries!r} is not a whole number of at least 0")
        if not (math.isfinite(self.cooldown_seconds) and self.cooldown_seconds >= 0):
            raise InvalidRouting(f"cooldown_seconds: {self.cooldown_seconds!r} is not a finite number of at least 0")
        if not (math.isfinite(self.hold_seconds) and self.hold_seconds >= 0):
            raise InvalidRouting(f"hold_seconds: {self.hold_seconds!r} is not a finite number of at least 0")
        if isinstance(self.max_held, bool) or self.max_held < 0:
            raise InvalidRouting(f"max_held: {self.max_held!r} is not a whole number of at least 0")
        for digest in self.allowed_keys_sha256:
            if not _SHA256_HEX.fullmatch(digest):
                raise InvalidRouting("allowed_keys_sha256: each entry must be 64 lower-case hex digits")
        _require_unique("origin", (row.origin for row in self.rows))

    def upstreams_for(self, origin: str) -> tuple[Upstream, ...]:
        """Return the upstreams with their weights for an origin; as they are for one without a row, and for ``""``."""
        row = next((r for r in self.rows if r.origin == origin), None)
        if row is None:
            return self.upstreams
        weights = dict(row.weights)
        return tuple(replace(u, weight=weights.get(u.replica, 0)) for u in self.upstreams)


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """All routes at one version. Versions only grow; 0 is reserved for "no table yet"."""

    version: int
    issued_at: Instant
    services: tuple[ServiceRoutes, ...]

    def __post_init__(self) -> None:
        """Refuse a table in which a name is not unique: counters and drains are kept by name."""
        if isinstance(self.version, bool) or self.version < 1:
            raise InvalidRouting(f"version: {self.version!r} is not a whole number of at least 1")
        _require_unique("service", (s.service for s in self.services))
        _require_unique("replica", (u.replica for s in self.services for u in s.upstreams))

    def without_rows(self) -> RoutingTable:
        """Return the same table for a gateway of before there were rows: everybody is served by the one split."""
        return replace(self, services=tuple(replace(s, rows=()) for s in self.services))

    def to_json(self) -> str:
        """Write the table as one JSON document that :meth:`from_json` reads back to an equal value."""
        document = {
            "format": FORMAT,
            "version": self.version,
            "issued_at": format_instant(self.issued_at),
            "services": [
                {
                    "service": s.service,
                    "model": s.model,
                    "resume_streams": s.resume_streams,
                    "retries": s.retries,
                    "cooldown_seconds": s.cooldown_seconds,
                    "allowed_keys_sha256": list(s.allowed_keys_sha256),
                    # A gateway outlives controllers: an older one reads a table in which nobody is held.
                    **({"hold_seconds": s.hold_seconds, "max_held": s.max_held} if s.hold_seconds else {}),
                    **({"rows": [_row_document(row) for row in s.rows]} if s.rows else {}),
                    "upstreams": [
                        {
                            "replica": u.replica,
                            "url": u.url,
                            "weight": u.weight,
                            "draining": u.draining,
                            "region": u.region,
                            "zone": u.zone,
                            "grams_per_kwh": u.grams_per_kwh,
                            "intensity_kind": u.intensity_kind,
                            "api_key_file": u.api_key_file,
                            # A gateway outlives controllers: an older one reads a table without variants.
                            **({} if u.variant is None else {"variant": u.variant}),
                        }
                        for u in s.upstreams
                    ],
                }
                for s in self.services
            ],
        }
        return json.dumps(document, indent=2)

    @classmethod
    def from_json(cls, text: str | bytes) -> RoutingTable:
        """Read a table; raises :class:`InvalidRouting` naming the first place that is wrong."""
        fields = _Fields.parse(text)
        fields.expect_format()
        version = fields.whole("version")
        issued_at = fields.instant("issued_at")
        services = tuple(_read_service(item) for item in fields.objects("services"))
        fields.finish()
        return fields.build(lambda: cls(version, issued_at, services))


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
        fields = _Fields.parse(text)
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


def _require_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidRouting(f"{what}: {name!r} is not a plain name (letters, digits and ._:/@+-, at most 128)")


def _require_unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidRouting(f"{what}: {name!r} appears twice")
        seen.add(name)


@lru_cache(maxsize=4096)  # a table is made at every look, of replicas that stay where they are
def _require_base_url(url: str) -> None:
    """Accept ``http(s)://host[:port]`` and nothing more: a path or credentials would go somewhere unexpected."""
    try:
        parts = urlsplit(url)
        sound = parts.port is None or parts.port > 0  # reading the port is what validates it
    except ValueError:
        sound = False
    else:
        bare = parts.path in {"", "/"} and not (parts.query or parts.fragment or parts.username or parts.password)
        sound = sound and bare and parts.scheme in {"http", "https"} and bool(parts.hostname)
    if not sound or any(c.isspace() for c in url):
        raise InvalidRouting(f"url: {url!r} is not http(s)://host[:port]")


def _row_document(row: OriginWeights) -> dict[str, object]:
    return {"origin": row.origin, "weights": [{"replica": r, "weight": w} for r, w in row.weights]}


def _read_row(fields: _Fields) -> OriginWeights:
    origin = fields.text("origin")
    weights = tuple(_read_weight(item) for item in fields.objects("weights"))
    fields.finish()
    return fields.build(lambda: OriginWeights(origin, weights))


def _read_weight(fields: _Fields) -> tuple[str, int]:
    found = fields.text("replica"), fields.whole("weight")
    fields.finish()
    return found


def _read_service(fields: _Fields) -> ServiceRoutes:
    service = fields.text("service")
    model = fields.text("model")
    upstreams = tuple(_read_upstream(item) for item in fields.objects("upstreams"))
    resume_streams = fields.flag("resume_streams")
    retries = fields.whole("retries")
    cooldown_seconds = fields.number("cooldown_seconds")
    keys = fields.texts("allowed_keys_sha256")
    hold_seconds = fields.number("hold_seconds") if fields.has("hold_seconds") else 0.0
    max_held = fields.whole("max_held") if fields.has("max_held") else 0
    rows = tuple(_read_row(item) for item in fields.objects("rows", missing_is_empty=True))
    fields.finish()
    return fields.build(
        lambda: ServiceRoutes(
            service, model, upstreams, resume_streams, retries, keys, cooldown_seconds, hold_seconds, max_held, rows
        )
    )


def _read_upstream(fields: _Fields) -> Upstream:
    replica = fields.text("replica")
    url = fields.text("url")
    weight = fields.whole("weight")
    draining = fields.flag("draining")
    region = fields.text("region")
    zone = fields.optional_text("zone")
    grams = fields.optional_number("grams_per_kwh")
    kind = fields.optional_text("intensity_kind")
    key_file = fields.optional_text("api_key_file")
    variant = fields.text("variant") if fields.has("variant") else None
    fields.finish()
    return fields.build(lambda: Upstream(replica, url, weight, draining, region, zone, grams, kind, key_file, variant))


def _status_document(status: UpstreamStatus) -> dict[str, object]:
    """Leave out what an older controller does not know while it says nothing."""
    names = [n for n in status.__slots__ if n != "first_tokens" or status.first_tokens]
    return {name: getattr(status, name) for name in names}


def _read_upstream_status(fields: _Fields) -> UpstreamStatus:
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


def _read_service_counts(fields: _Fields) -> ServiceCounts:
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


_Value = TypeVar("_Value")


class _Fields:
    """One JSON object being read: every key is asked for once, by type, and none may be left over."""

    def __init__(self, place: str, values: Mapping[str, object]) -> None:
        self._place = place
        self._values = dict(values)

    @classmethod
    def parse(cls, text: str | bytes) -> _Fields:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidRouting(f"not JSON: {error}") from error
        if not isinstance(document, dict):
            raise InvalidRouting("the document is not a JSON object")
        return cls("", document)

    def expect_format(self) -> None:
        found = self.whole("format")
        if found != FORMAT:
            raise InvalidRouting(f"format: {found}, but this version reads {FORMAT}")

    def has(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str) -> str:
        return self._typed(key, "text", lambda v: v if isinstance(v, str) else None)

    def flag(self, key: str) -> bool:
        return self._typed(key, "true or false", lambda v: v if isinstance(v, bool) else None)

    def whole(self, key: str) -> int:
        return self._typed(
            key, "a whole number", lambda v: v if isinstance(v, int) and not isinstance(v, bool) else None
        )

    def number(self, key: str) -> float:
        return self._typed(
            key, "a number", lambda v: float(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else None
        )

    def instant(self, key: str) -> Instant:
        try:
            return as_utc(parse_instant(self.text(key)))
        except ValueError as error:
            raise self._wrong(key, str(error)) from error

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if self._present(key) else None

    def optional_number(self, key: str) -> float | None:
        return self.number(key) if self._present(key) else None

    def wholes(self, key: str) -> tuple[int, ...]:
        items = self._typed(key, "a list", lambda v: v if isinstance(v, list) else None)
        if not all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in items):
            raise self._wrong(key, "an entry is not a whole number of at least 0")
        return tuple(items)

    def texts(self, key: str) -> tuple[str, ...]:
        items = self._typed(key, "a list", lambda v: v if isinstance(v, list) else None)
        if not all(isinstance(item, str) for item in items):
            raise self._wrong(key, "an entry is not text")
        return tuple(items)

    def objects(self, key: str, *, missing_is_empty: bool = False) -> list[_Fields]:
        if missing_is_empty and key not in self._values:
            return []
        items = self._typed(key, "a list", lambda v: v if isinstance(v, list) else None)
        for index, item in enumerate(items):
            if not isinstance(item, dict):
                raise self._wrong(f"{key}[{index}]", "not an object")
        return [_Fields(f"{self._place}{key}[{index}].", item) for index, item in enumerate(items)]

    def finish(self) -> None:
        if self._values:
            raise self._wrong(next(iter(self._values)), "unknown key")

    def build(self, make: Callable[[], _Value]) -> _Value:
        """Construct the value, and put this object's place in front of what its constructor refuses."""
        try:
            return make()
        except InvalidRouting as error:
            raise InvalidRouting(f"{self._place}{error}") from error

    def _typed(self, key: str, wanted: str, accept: Callable[[object], _Value | None]) -> _Value:
        if key not in self._values:
            raise self._wrong(key, "missing")
        accepted = accept(self._values.pop(key))
        if accepted is None:
            raise self._wrong(key, f"not {wanted}")
        return accepted

    def _present(self, key: str) -> bool:
        """Whether an optional key has a value; an explicit null is consumed here."""
        if key not in self._values:
            raise self._wrong(key, "missing")
        if self._values[key] is None:
            del self._values[key]
            return False
        return True

    def _wrong(self, key: str, why: str) -> InvalidRouting:
        return InvalidRouting(f"{self._place}{key}: {why}")
