"""Serve the gateway application in this process, with aiohttp's server and without Ray.

For tests and for machines without Ray; one process, the same bytes. ``/health`` says ``"mode": "plain"``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import HttpVersion11, web

from orchestrator.gateway.app import GatewayApp, serve_lifespan
from orchestrator.gateway.asgi import Message, Scope

MODE: Final = "plain"


@asynccontextmanager
async def serving(app: GatewayApp, host: str, port: int) -> AsyncIterator[int]:
    """Listen while the ``async with`` lasts and give the port (which the system chooses for 0).

    Raises ``OSError`` when the address cannot be used and ``RuntimeError`` when the application does not start.
    """
    started, stop = asyncio.Event(), asyncio.Event()
    lifespan = asyncio.create_task(serve_lifespan(app, started, stop))
    starting = asyncio.create_task(started.wait())
    server = web.Server(_Bridge(app).handle, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=1.0)
    try:
        await asyncio.wait({lifespan, starting}, return_when=asyncio.FIRST_COMPLETED)
        if lifespan.done():
            await lifespan
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        starting.cancel()
        await runner.cleanup()
        stop.set()
        await lifespan


class _Bridge:
    """Runs the application once for each request of aiohttp's server."""

    def __init__(self, app: GatewayApp) -> None:
        self._app = app

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        exchange = _Exchange(request)
        call = asyncio.create_task(self._app(exchange.scope(), exchange.receive, exchange.send))
        try:
            await asyncio.shield(call)
        except asyncio.CancelledError:
            # aiohttp cancels us when the client leaves. The application is told in ASGI's words and cleans up itself.
            exchange.client_left.set()
            await call
            raise
        return exchange.response


class _Exchange:
    """One request and its response, in ASGI's words."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.client_left = asyncio.Event()
        self.response = web.StreamResponse()
        self._body_is_told = False
        self._waits_for_us = request.version >= HttpVersion11 and _expects_continue(request)

    def scope(self) -> Scope:
        request = self._request
        headers = [(name.lower(), value) for name, value in request.raw_headers]
        return {"type": "http", "method": request.method, "path": request.path, "headers": headers}

    async def receive(self) -> Message:
        """Give the body in parts (an empty one for a request without), then wait for the client to leave."""
        content = self._request.content
        if not self._body_is_told:
            try:
                self._let_continue()
                chunk = await content.readany()
            except (OSError, web.RequestPayloadError):
                self.client_left.set()
            else:
                self._body_is_told = content.at_eof()
                return {"type": "http.request", "body": chunk, "more_body": not self._body_is_told}
        await self.client_left.wait()
        return {"type": "http.disconnect"}

    def _let_continue(self) -> None:
        """Tell a client that asked whether its body is wanted that it is: some send nothing before that."""
        if self._waits_for_us:
            self._waits_for_us = False
            if self._request.transport is not None:
                self._request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def send(self, message: Message) -> None:
        """Send what the application says; to HEAD without the body, which would be taken for the next answer."""
        if self.client_left.is_set():
            return
        try:
            body = b"" if self._request.method == "HEAD" else message.get("body", b"")
            if message["type"] == "http.response.start":
                await self._start(message)
            elif not message.get("more_body", False):
                await self.response.write_eof(body)
            elif body:
                await self.response.write(body)
        except ConnectionError:
            self.client_left.set()

    async def _start(self, message: Message) -> None:
        self.response.set_status(message["status"])
        headers: list[tuple[bytes, bytes]] = message["headers"]
        for name, value in headers:
            self.response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
        await self.response.prepare(self._request)


def _expects_continue(request: web.BaseRequest) -> bool:
    return request.headers.get("expect", "").lower() == "100-continue"
