"""Who may use which service: bearer keys against the digests in the routing table. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.routing import RoutingTable, ServiceRoutes
from orchestrator.gateway.replies import AUTHENTICATION, Refusal

_SCHEME = "bearer"


def visible_services(
    table: RoutingTable | None, authorization: str | None, *, keyless_allowed: bool
) -> list[ServiceRoutes]:
    """Return the services that the caller may use, in table order.

    ``keyless_allowed``: whether services without keys are open, which is so only while the gateway listens on a
    loopback address. Raises :class:`~orchestrator.gateway.replies.Refusal` (401) when there are services, but none
    for this caller; what exists is not told to strangers.
    """
    services = table.services if table is not None else ()
    digest = _digest(authorization)
    visible = [s for s in services if _opens(digest, s.allowed_keys_sha256, keyless_allowed=keyless_allowed)]
    if services and not visible:
        raise Refusal(401, "invalid_api_key", "A valid API key is needed: Authorization: Bearer KEY.", AUTHENTICATION)
    return visible


def require_reader(table: RoutingTable | None, authorization: str | None, *, keyless_allowed: bool) -> None:
    """Let nobody read what is counted without a key, where there are keys, wherever the caller seems to sit.

    A proxy on this machine passes on what strangers send, and the numbers name services and regions. Raises
    :class:`~orchestrator.gateway.replies.Refusal` (401).
    """
    services = table.services if table is not None else ()
    locked = tuple(s for s in services if s.allowed_keys_sha256)
    asked = table if table is None or not locked else replace(table, services=locked)
    visible_services(asked, authorization, keyless_allowed=keyless_allowed)


@dataclass(frozen=True, slots=True)
class Found:
    """What a client asks for: a service, and which ``adapter`` of its model, empty for none."""

    routes: ServiceRoutes
    adapter: str = ""


def find_service(visible: Sequence[ServiceRoutes], name: str) -> Found:
    """Return the service of that name, or the one that serves a model or an adapter of that name.

    Raises :class:`~orchestrator.gateway.replies.Refusal`: 404 with the names that exist, 400 when several services
    serve what is named.
    """
    candidates = next(filter(None, ([f for n, f in kind if n == name] for kind in _names(visible))), [])
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        names = ", ".join(_full_name(found) for found in candidates)
        raise Refusal(400, "ambiguous_model", f"Several services serve {name!r}; name one of: {names}.", param="model")
    raise _unknown(visible, name)


def listed(visible: Sequence[ServiceRoutes]) -> dict[str, Found]:
    """Return what every name leads to that finds exactly one thing: service names first, then models, then adapters."""
    names: dict[str, list[Found]] = {}
    for kind in _names(visible):
        meant: dict[str, list[Found]] = {}
        for name, found in kind:
            meant.setdefault(name, []).append(found)
        names = {**names, **{name: candidates for name, candidates in meant.items() if name not in names}}
    return {name: candidates[0] for name, candidates in names.items() if len(candidates) == 1}


def listed_one(visible: Sequence[ServiceRoutes], name: str) -> Found:
    """Return what the listed name leads to. Raises :class:`~orchestrator.gateway.replies.Refusal` (404)."""
    found = listed(visible).get(name)
    if found is None:
        raise _unknown(visible, name)
    return found


def _unknown(visible: Sequence[ServiceRoutes], name: str) -> Refusal:
    names = ", ".join(listed(visible)) or "none yet"
    shown = name if name.isprintable() else ascii(name)
    return Refusal(404, "model_not_found", f"The model {shown!r} does not exist. Available: {names}.", param="model")


def _names(visible: Sequence[ServiceRoutes]) -> Iterator[Iterator[tuple[str, Found]]]:
    """Yield kind by kind which name means what; a name of one kind is none of a later one.

    Names of services are unique. A model that is served by nobody but replicas of an earlier revision comes last: what
    a service is called today is not in doubt because of it.
    """
    yield ((s.service, Found(s)) for s in visible)
    yield ((s.model, Found(s)) for s in visible)
    with_adapters = [Found(s, adapter) for s in visible for adapter in _adapters(s)]
    yield ((_full_name(found), found) for found in with_adapters)
    yield ((found.adapter, found) for found in with_adapters)
    yield ((model, Found(s)) for s in visible for model in _former_models(s))


def _full_name(found: Found) -> str:
    return f"{found.routes.service}:{found.adapter}" if found.adapter else found.routes.service


def _adapters(routes: ServiceRoutes) -> tuple[str, ...]:
    """Return the adapters that the service is to have, and those that replicas of an earlier revision still have."""
    loaded = (adapter for u in routes.upstreams if not u.draining for adapter in u.adapters)
    return tuple(dict.fromkeys((*routes.adapters, *loaded)))


def _former_models(routes: ServiceRoutes) -> tuple[str, ...]:
    """Return the names under which replicas of an earlier revision still serve, that are not the service's today."""
    names = (u.model for u in routes.upstreams if not u.draining and u.model is not None)
    return tuple(dict.fromkeys(name for name in names if name != routes.model))


def _digest(authorization: str | None) -> str | None:
    scheme, _, key = (authorization or "").partition(" ")
    key = key.strip()
    return hashlib.sha256(key.encode()).hexdigest() if scheme.lower() == _SCHEME and key else None


def _opens(digest: str | None, allowed: Sequence[str], *, keyless_allowed: bool) -> bool:
    """Compare against every digest, in constant time each, so that timing tells nothing about where a match is."""
    if not allowed:
        return keyless_allowed
    if digest is None:
        return False
    matches = [hmac.compare_digest(digest, one) for one in allowed]
    return any(matches)
