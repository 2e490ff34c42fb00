"""What the gateway is told: routing tables, with their JSON form.

A table is a complete picture, never a difference: whoever holds one can serve from it alone. Reading one back is
strict, because a gateway that boots while everything else is down has nobody to ask: unknown keys, missing keys,
wrong types and impossible values are refused with the place where they stand, and the caller keeps its last good
table.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit

from orchestrator.domain.carbon import Kind
from orchestrator.domain.time import Instant, format_instant
from orchestrator.domain.wire import FORMAT, Fields, InvalidRouting, require_name, require_unique

MAX_WEIGHT: Final = 100

_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}")
_KINDS: Final = frozenset(kind.value for kind in Kind)


@dataclass(frozen=True, slots=True)
class Upstream:
    """One replica that may receive requests.

    ``weight`` is its share (0..100, relative to the other upstreams of the service); 0 means standby: it is used only
    when nobody with a weight is left. ``draining`` upstreams finish what they have and never get a new request.
    ``grams_per_kwh`` is the grid intensity to disclose to clients, ``None`` when unknown, and then ``intensity_kind``
    (a :class:`~orchestrator.domain.carbon.Kind` value) is ``None`` too: a number never travels without its kind.
    ``api_key_file`` holds the replica's own bearer key; the key itself is never part of a table. ``variant``: of the
    service's model, to be disclosed; ``None`` where it has none. ``model``: the name under which this replica serves,
    where that is not its service's: it was launched by another revision. ``adapters``: further names that it serves.
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
    model: str | None = None
    adapters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would end in a header, a socket or a division that nobody meant."""
        require_name("replica", self.replica)
        require_name("region", self.region)
        if self.zone is not None:
            require_name("zone", self.zone)
        if self.variant is not None:
            require_name("variant", self.variant)
        if self.model is not None:
            require_name("model", self.model)
        _require_adapters(self.adapters)
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
        require_name("origin", self.origin)
        require_unique("replica", (replica for replica, _ in self.weights))
        for replica, weight in self.weights:
            if isinstance(weight, bool) or not 0 <= weight <= MAX_WEIGHT:
                raise InvalidRouting(f"weight of {replica}: {weight!r} is not a whole number in 0..{MAX_WEIGHT}")


@dataclass(frozen=True, slots=True)
class ServiceRoutes:
    """Everything the gateway needs to serve one service.

    Clients name it by ``service`` or by ``model`` (what the engines serve, but for those upstreams that say otherwise).
    ``adapters``: names under which the engines serve the model with an adapter. ``retries``: how many further upstreams
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
    adapters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse routes that cannot be told apart or counted."""
        require_name("service", self.service)
        require_name("model", self.model)
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
        require_unique("origin", (row.origin for row in self.rows))
        _require_adapters(self.adapters)

    def name_at(self, upstream: Upstream) -> str:
        """Return the name under which one of these upstreams serves the service's model."""
        return self.model if upstream.model is None else upstream.model

    def named_for(self, model: str) -> tuple[Upstream, ...]:
        """Return the upstreams as routes of the same service would write them whose model has that name."""
        names = ((u, self.name_at(u)) for u in self.upstreams)
        return tuple(replace(u, model=None if name == model else name) for u, name in names)

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
        require_unique("service", (s.service for s in self.services))
        require_unique("replica", (u.replica for s in self.services for u in s.upstreams))

    def older_forms(self) -> Iterator[RoutingTable]:
        """Yield what older gateways can read of this table, which refuse keys that they do not know; newest first."""
        named_alike = replace(self, services=tuple(_named_alike(s) for s in self.services))
        forms = (named_alike, named_alike.without_rows())
        yield from (form for before, form in pairwise((self, *forms)) if form != before)

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
                    **({"adapters": list(s.adapters)} if s.adapters else {}),
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
                            **({} if u.model is None else {"model": u.model}),
                            **({"adapters": list(u.adapters)} if u.adapters else {}),
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
        fields = Fields.parse(text)
        fields.expect_format()
        version = fields.whole("version")
        issued_at = fields.instant("issued_at")
        services = tuple(_read_service(item) for item in fields.objects("services"))
        fields.finish()
        return fields.build(lambda: cls(version, issued_at, services))


def _named_alike(routes: ServiceRoutes) -> ServiceRoutes:
    """Return the routes for a gateway of before replicas had names of their own, which asks all for the same one.

    It is the name by which most of the traffic is served. Whoever serves another one gets nothing new there, but is
    still in the table, so that what it has in flight is waited for.
    """
    traffic: Counter[str] = Counter({routes.model: 0})
    for upstream in routes.upstreams:
        if not upstream.draining:
            traffic[routes.name_at(upstream)] += 1 + upstream.weight
    most = traffic.most_common(1)[0][0]
    upstreams = (u if u.model is None else replace(u, weight=0, draining=True) for u in routes.named_for(most))
    alike = tuple(replace(u, model=None, adapters=()) for u in upstreams)
    return replace(routes, model=most, upstreams=alike, adapters=())


def _require_adapters(names: tuple[str, ...]) -> None:
    for name in names:
        require_name("adapter", name)
    require_unique("adapter", names)


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


def _read_row(fields: Fields) -> OriginWeights:
    origin = fields.text("origin")
    weights = tuple(_read_weight(item) for item in fields.objects("weights"))
    fields.finish()
    return fields.build(lambda: OriginWeights(origin, weights))


def _read_weight(fields: Fields) -> tuple[str, int]:
    found = fields.text("replica"), fields.whole("weight")
    fields.finish()
    return found


def _read_service(fields: Fields) -> ServiceRoutes:
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
    adapters = fields.texts("adapters") if fields.has("adapters") else ()
    fields.finish()
    waiting = hold_seconds, max_held
    return fields.build(
        lambda: ServiceRoutes(
            service, model, upstreams, resume_streams, retries, keys, cooldown_seconds, *waiting, rows, adapters
        )
    )


def _read_upstream(fields: Fields) -> Upstream:
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
    model = fields.text("model") if fields.has("model") else None
    adapters = fields.texts("adapters") if fields.has("adapters") else ()
    fields.finish()
    disclosed = grams, kind, key_file, variant
    return fields.build(
        lambda: Upstream(replica, url, weight, draining, region, zone, *disclosed, model=model, adapters=adapters)
    )
