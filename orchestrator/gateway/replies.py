"""What the gateway itself says to clients: refusals in the shape that OpenAI clients know."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

INVALID_REQUEST: Final = "invalid_request_error"
AUTHENTICATION: Final = "authentication_error"
UNAVAILABLE: Final = "service_unavailable"

RETRY_AFTER_SECONDS: Final = 5
"""How long clients are asked to wait when nothing can serve them: about one step of the controller."""

WAKING_SECONDS: Final = 30
"""How long clients are asked to wait when they were not served while a replica starts, which takes a minute or more."""


@dataclass(eq=False)
class Refusal(Exception):
    """A request that ends here. ``retry_after`` in seconds, ``None`` when trying again would change nothing."""

    status: int
    code: str
    message: str
    kind: str = INVALID_REQUEST
    param: str | None = None
    retry_after: int | None = None

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that belong to the refusal."""
        pairs = [(b"content-type", b"application/json")]
        if self.retry_after is not None:
            pairs.append((b"retry-after", str(self.retry_after).encode()))
        return pairs

    def body(self) -> bytes:
        """Return the JSON body."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode()


def not_found(method: str, path: str) -> Refusal:
    """Refuse a route that is not on the list; nothing behind the gateway is reachable by another path."""
    return Refusal(404, "unknown_url", f"Unknown request URL: {method} {path}.")


def no_upstream(service: str) -> Refusal:
    """Refuse because no replica may take the request now."""
    message = f"No replica of {service!r} is ready. The request was not started; try again shortly."
    return Refusal(503, "no_ready_replica", message, UNAVAILABLE, retry_after=RETRY_AFTER_SECONDS)


def no_replica_in_time(service: str, seconds: float) -> Refusal:
    """Refuse because the request has waited for the first replica of a sleeping service as long as it may."""
    message = (
        f"{service!r} was scaled to zero, and no replica was ready within the {seconds:g} s for which requests wait. "
        "The request was not started; try again shortly."
    )
    return Refusal(503, "no_replica_in_time", message, UNAVAILABLE, retry_after=WAKING_SECONDS)


def waiting_room_full(service: str, most: int) -> Refusal:
    """Refuse because as many requests wait for the first replica of a sleeping service as may."""
    message = (
        f"{service!r} was scaled to zero, and {most} requests wait already for its first replica. "
        "The request was not started; try again shortly."
    )
    return Refusal(503, "waiting_room_full", message, UNAVAILABLE, retry_after=WAKING_SECONDS)


def upstreams_failed(service: str, attempts: int, *, timed_out: bool) -> Refusal:
    """Refuse because every replica that was tried failed before it had sent anything."""
    message = f"{attempts} replica(s) of {service!r} were tried and none answered. Nothing was generated for you."
    if timed_out:
        return Refusal(504, "upstream_timeout", message, UNAVAILABLE, retry_after=RETRY_AFTER_SECONDS)
    return Refusal(502, "upstream_failed", message, UNAVAILABLE, retry_after=RETRY_AFTER_SECONDS)


def shutting_down() -> Refusal:
    """Refuse because this gateway is about to stop."""
    message = "The gateway is shutting down; try again shortly."
    return Refusal(503, "shutting_down", message, UNAVAILABLE, retry_after=RETRY_AFTER_SECONDS)


def upstream_lost() -> Refusal:
    """Describe a stream that ended too early; sent as an event, because the status line is long gone."""
    message = "The replica was lost before the answer was complete. What you received is not the whole answer."
    return Refusal(502, "upstream_lost", message, UNAVAILABLE)
