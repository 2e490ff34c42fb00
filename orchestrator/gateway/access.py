"""Who may use which service: bearer keys against the digests in the routing table. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

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


def find_service(visible: Sequence[ServiceRoutes], name: str) -> ServiceRoutes:
    """Return the service of that name, or the one that serves the model of that name.

    Raises :class:`~orchestrator.gateway.replies.Refusal`: 404 with the names that exist, 400 when several services
    serve the model.
    """
    if named := next((s for s in visible if s.service == name), None):
        return named
    serving = [s for s in visible if s.model == name]
    if len(serving) == 1:
        return serving[0]
    if serving:
        names = ", ".join(s.service for s in serving)
        raise Refusal(400, "ambiguous_model", f"Several services serve {name!r}; name one of: {names}.", param="model")
    names = ", ".join(model_names(visible)) or "none yet"
    shown = name if name.isprintable() else ascii(name)
    raise Refusal(404, "model_not_found", f"The model {shown!r} does not exist. Available: {names}.", param="model")


def model_names(visible: Sequence[ServiceRoutes]) -> list[str]:
    """Return every name that finds exactly one of the services: service names first, then unambiguous models."""
    services = [s.service for s in visible]
    models = [s.model for s in visible]
    return services + [m for m in models if models.count(m) == 1 and m not in services]


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
