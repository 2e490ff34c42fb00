"""Stands before the engine's routes: nobody without the replica's key reaches any of them but ``/health``.

vLLM's own ``--api-key`` guards ``/v1`` alone; ``/tokenize``, ``/pause``, ``/invocations`` and others stay open. This
ASGI middleware (``--middleware greenctl_guard.Guard``) lets through a short list, with the key, and nothing else.
"""

import hmac
import os
from pathlib import Path

OPEN = ("/health",)
WITH_KEY = ("/v1/", "/metrics", "/version", "/load")
STOP = "/greenctl/stop"


class Guard:
    """The middleware."""

    def __init__(self, app):
        self.app = app
        self.expected = "Bearer " + os.environ["VLLM_API_KEY"]
        self.stop_file = Path(os.environ["GREENCTL_STOP_FILE"])

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
        elif any(path == known or (known.endswith("/") and path.startswith(known)) for known in WITH_KEY):
            await self.app(scope, receive, send)
        else:
            await _answer(send, 404, b'{"error": "not a route of this replica"}')

    def _has_key(self, scope):
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self.expected.encode())


async def _answer(send, status, body):
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
