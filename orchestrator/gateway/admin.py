"""The control socket of one gateway process, and how its siblings' metrics are read.

``GET /status`` (GatewayStatus), ``PUT /table`` (RoutingTable), ``POST /drain`` (refuse new
requests, answer when those that run have ended), ``GET /metrics``.
Only who may enter the gateway's folder can connect, so there is no further key.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp import web

from orchestrator.domain.routing import RoutingTable
from orchestrator.domain.wire import InvalidRouting
from orchestrator.gateway.node import GatewayNode, OlderTableError
from orchestrator.gateway.sockets import draft_name, short_path, socket_name, sockets_in

logger = logging.getLogger(__name__)

MAX_TABLE_BYTES: Final = 16 * 1024 * 1024
_PEER_SECONDS: Final = 2.0


class AdminServer:
    """Listens while the ``async with`` lasts."""

    def __init__(self, node: GatewayNode) -> None:
        self._node = node
        self._path = node.folder / socket_name(node.boot_id)
        self._draft = node.folder / draft_name(node.boot_id)
        app = web.Application(client_max_size=MAX_TABLE_BYTES)
        app.router.add_get("/status", self._status)
        app.router.add_put("/table", self._put_table)
        app.router.add_post("/drain", self._drain)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        listener = self._bound_socket()
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)
        await self._runner.cleanup()

    def _bound_socket(self) -> socket.socket:
        """Return a socket that listens and has its name.

        In this order: a name under which nobody listens yet is, to whoever looks just then, that of a process which is
        gone, and is removed. This process could never be told anything any more.
        """
        with ExitStack() as on_failure:
            listener = on_failure.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            on_failure.callback(self._draft.unlink, missing_ok=True)
            with short_path(self._draft) as path:
                listener.bind(path)
            self._draft.chmod(0o600)
            listener.listen(64)
            listener.settimeout(0)  # what the event loop wants
            self._draft.rename(self._path)
            on_failure.pop_all()
        return listener

    async def _status(self, _: web.Request) -> web.Response:
        return web.Response(text=self._node.status().to_json(), content_type="application/json")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._node.metrics.page(), content_type="text/plain")

    async def _drain(self, _: web.Request) -> web.Response:
        await self._node.drain()
        return web.Response(status=204)

    async def _put_table(self, request: web.Request) -> web.Response:
        try:
            await self._node.apply(RoutingTable.from_json(await request.read()))
        except InvalidRouting as error:
            return _problem(400, str(error))
        except OlderTableError as error:
            return _problem(409, str(error))
        except OSError as error:
            return _problem(507, f"the table cannot be kept: {error}")
        return web.Response(status=204)


def _problem(status: int, message: str) -> web.Response:
    return web.Response(status=status, text=json.dumps({"error": message}), content_type="application/json")


async def peer_pages(node: GatewayNode) -> list[bytes]:
    """Return the metrics of the other processes of this gateway; one that does not answer is left out."""
    own = socket_name(node.boot_id)
    others = [path for path in sockets_in(node.folder) if path.name != own]
    pages: list[bytes] = []
    for path in others:
        try:
            with short_path(path) as short:
                async with (
                    asyncio.timeout(_PEER_SECONDS),
                    aiohttp.ClientSession(connector=aiohttp.UnixConnector(short)) as session,
                    session.get("http://gateway/metrics") as response,
                ):
                    pages.append(await response.read())
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            logger.info("no metrics from %s: %s", path.name, error)
    return pages
