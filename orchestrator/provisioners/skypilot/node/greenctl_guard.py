"""Stands before the engine's routes: nobody without the replica's key reaches any of them but ``/health``.

vLLM's own ``--api-key`` guards ``/v1`` alone; ``/tokenize``, ``/pause``, ``/invocations`` and others stay open. This
ASGI middleware (``--middleware greenctl_guard.Guard``) lets through a short list, with the key, and nothing else.
"""

import contextlib
import hmac
import os
import time
from pathlib import Path

OPEN = ("/health",)
WITH_KEY = ("/v1/", "/metrics", "/version", "/load", "/tokenize")
STOP, RENEW = "/greenctl/stop", "/greenctl/renew"

RENEWED_EVERY_SECONDS = 60.0
"""How often requests renew the lease: the disk is not touched for each of them."""

LONGEST_NUMBER = 12


class Guard:
    """The middleware."""

    def __init__(self, app):
        self.app = app
        self.expected = "Bearer " + os.environ["VLLM_API_KEY"]
        self.stop_file = Path(os.environ["GREENCTL_STOP_FILE"])
        self.lease_file = Path(os.environ["GREENCTL_LEASE_FILE"])
        self.renewed_at = float("-inf")

    async def __call__(self, scope, receive, send):
        """Let it through, or answer."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        path = scope.get("path", "")
        if scope["type"] != "http":
            # No websocket is spoken by what the gateway forwards.
            await send({"type": "websocket.close", "code": 1008})
            return
        if path in OPEN and scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        if not self._has_key(scope):
            await _answer(send, 401, b'{"error": "this replica wants its key"}')
        elif path == STOP and scope["method"] == "POST":
            self.stop_file.touch()
            await _answer(send, 202, b'{"stopping": true}')
        elif path == RENEW and scope["method"] == "POST":
            await _answer(send, *self._renew(scope.get("query_string", b"")))
        elif any(path == known or (known.endswith("/") and path.startswith(known)) for known in WITH_KEY):
            if path.startswith("/v1/") and scope["method"] == "POST":
                self._was_used()
            await self.app(scope, receive, send)
        else:
            await _answer(send, 404, b'{"error": "not a route of this replica"}')

    def _renew(self, query):
        """Begin the lease anew, if there is one; returns the answer."""
        if not self.lease_file.exists():
            return 404, b'{"error": "this replica has no lease"}'
        seconds = query.decode("ascii", "replace").partition("seconds=")[2]
        if not (seconds.isascii() and seconds.isdigit() and 0 < len(seconds) <= LONGEST_NUMBER and int(seconds)):
            return 400, b'{"error": "seconds: a whole number is needed"}'
        draft = self.lease_file.with_name("{}.{}".format(self.lease_file.name, os.getpid()))
        draft.write_text(seconds, encoding="ascii")
        draft.replace(self.lease_file)
        return 202, b'{"renewed": true}'

    def _was_used(self):
        """What serves is nobody's orphan: a request with the key renews the lease, too, for as long as it was."""
        now = time.monotonic()
        if now - self.renewed_at >= RENEWED_EVERY_SECONDS:
            self.renewed_at = now
            with contextlib.suppress(OSError):
                os.utime(self.lease_file)

    def _has_key(self, scope):
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self.expected.encode())


async def _answer(send, status, body):
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
