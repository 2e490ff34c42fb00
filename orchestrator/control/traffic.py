"""The routing table as a function of what is recorded and seen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from orchestrator.control.ports import Instance
from orchestrator.domain.carbon import CarbonIntensity, Reading
from orchestrator.domain.offer import variant_in
from orchestrator.domain.records import ServiceRecord, ServiceState
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.routing import MAX_WEIGHT, OriginWeights, RoutingTable, ServiceRoutes, Upstream
from orchestrator.domain.service import MAIN, ModelSpec
from orchestrator.domain.time import Instant
from orchestrator.planner.rollout import weight_of
from orchestrator.planner.wanted import may_sleep


def routes_for(
    service: ServiceRecord,
    replicas: Sequence[Replica],
    instances: Mapping[str, Instance],
    grid: Mapping[str, Reading],
    keys_sha256: tuple[str, ...],
    shares: Mapping[str, int] | None = None,
    rows: Mapping[str, Mapping[str, int]] | None = None,
    models: Mapping[str, ModelSpec] | None = None,
) -> ServiceRoutes:
    """Return the service's upstreams: ready replicas by weight, draining ones so that their counters live on.

    ``shares``: the weight of each ready replica's slot (1..100), of which a canary step is a part; without them all
    slots weigh the same. ``rows``: the same for each origin, where 0 is none of it. ``models``: what each
    replica runs, by name, without which it is what the service's spec says: one that a revision before launched may
    serve under another name, until it is replaced (decision 0085).
    """
    rules, today = service.spec.gateway, service.spec.model
    upstreams = []
    for replica in sorted(replicas, key=lambda r: (r.slot, r.created_at, r.name)):
        serves = replica.state in {ReplicaState.READY, ReplicaState.DRAINING}
        if not serves or replica.endpoint is None or replica.ready_at is None:
            continue
        instance = instances.get(replica.name)
        key_file = None if instance is None or instance.api_key_file is None else str(instance.api_key_file)
        reading, model = grid.get(replica.zone or ""), (models or {}).get(replica.name, today)
        known = reading if isinstance(reading, CarbonIntensity) else None
        upstreams.append(
            Upstream(
                replica=replica.name,
                url=replica.endpoint,
                weight=_weight(weight_of(replica, replicas), (shares or {}).get(replica.name, MAX_WEIGHT)),
                draining=replica.state is ReplicaState.DRAINING,
                region=replica.region,
                zone=replica.zone,
                grams_per_kwh=None if known is None else known.grams_per_kwh,
                intensity_kind=None if known is None else known.kind.value,
                api_key_file=key_file,
                variant=(variant_in(replica.offer_id) or MAIN) if service.spec.variants else None,
                model=None if model.name == today.name else model.name,
                adapters=model.adapters,
            )
        )
    holds = may_sleep(service.spec.scaling) and service.state is ServiceState.ACTIVE
    return ServiceRoutes(
        service=service.name,
        model=today.name,
        upstreams=tuple(upstreams),
        resume_streams=rules.resume_streams,
        retries=rules.retries,
        allowed_keys_sha256=keys_sha256,
        cooldown_seconds=rules.cooldown.total_seconds(),
        hold_seconds=rules.hold.total_seconds() if holds else 0.0,
        max_held=rules.max_held if holds else 0,
        rows=_rows(rows or {}, replicas, upstreams),
        adapters=today.adapters,
    )


def _rows(
    rows: Mapping[str, Mapping[str, int]], replicas: Sequence[Replica], upstreams: Sequence[Upstream]
) -> tuple[OriginWeights, ...]:
    """Return a row for each origin; none where one of them would send its requests to nobody.

    Who is to serve an origin may have come up a moment ago, at the first canary step, which is nothing: until the next
    one the split serves all.
    """
    found = tuple(_row(origin, own, replicas, upstreams) for origin, own in sorted(rows.items()))
    return found if all(any(weight for _, weight in row.weights) for row in found) else ()


def _row(
    origin: str, shares: Mapping[str, int], replicas: Sequence[Replica], upstreams: Sequence[Upstream]
) -> OriginWeights:
    steps = {r.name: weight_of(r, replicas) for r in replicas}
    weights = ((u.replica, shares.get(u.replica, MAX_WEIGHT)) for u in upstreams if not u.draining)
    return OriginWeights(origin, tuple((name, _weight(steps[name], share) if share else 0) for name, share in weights))


def _weight(step_percent: int, share: int) -> int:
    """Return a canary step of a slot's weight: none of nothing, and at least the least of anything."""
    return 0 if step_percent == 0 else max(1, round(step_percent * share / MAX_WEIGHT))


def with_unseen(routes: ServiceRoutes, unseen: AbstractSet[str], had: Sequence[ServiceRoutes]) -> ServiceRoutes:
    """Give those that were not seen the address and the key that the gateway ``had`` for them.

    Who has none there is left out: an engine refuses whoever comes without its key.
    """
    if not unseen:
        return routes
    known = {u.replica: u for own in had if own.service == routes.service for u in own.upstreams}
    return replace(
        routes,
        upstreams=tuple(
            replace(u, url=known[u.replica].url, api_key_file=known[u.replica].api_key_file)
            if u.replica in unseen
            else u
            for u in routes.upstreams
            if u.replica not in unseen or u.replica in known
        ),
    )


def same_routes(table: RoutingTable | None, services: tuple[ServiceRoutes, ...]) -> bool:
    """Whether a table already says exactly this."""
    return table is not None and table.services == services


def table_of(services: tuple[ServiceRoutes, ...], version: int, now: Instant) -> RoutingTable:
    """Number a picture of all services."""
    return RoutingTable(version, now, services)


def weights_in(table: RoutingTable) -> dict[str, int]:
    """Return the weights by which new requests reach replicas under this table; without those that none can reach."""
    upstreams = [u for s in table.services for u in s.upstreams if not u.draining]
    return {u.replica: u.weight for u in reversed(upstreams)}
