"""The ASGI application: routes, access, bodies, and the one answer to each request.

A raw ASGI application on purpose: nothing stands between the bytes of a stream and the socket. Only what is listed
here can be reached; the engines behind have many more routes, some of them dangerous.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from orchestrator.gateway.access import find_service, listed, listed_one, require_reader, visible_services
from orchestrator.gateway.admin import AdminServer, peer_pages
from orchestrator.gateway.asgi import ClientGone, Reply, header, read_body, while_client_stays
from orchestrator.gateway.forward import Call, forward
from orchestrator.gateway.metrics import CONTENT_TYPE, merge_pages
from orchestrator.gateway.replies import Refusal, not_found, shutting_down, upstream_lost
from orchestrator.gateway.requests import COMPLETION_PATHS, read_request
from orchestrator.gateway.sse import data_event

if TYPE_CHECKING:
    from orchestrator.domain.routing import ServiceRoutes
    from orchestrator.gateway.access import Found
    from orchestrator.gateway.asgi import Receive, Scope, Send
    from orchestrator.gateway.node import GatewayNode

logger = logging.getLogger(__name__)

REQUEST_ID: Final = b"x-request-id"
MODELS_PATH: Final = "/v1/models"
_SOUND_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_PASSED_ON = (b"traceparent", b"tracestate")
_JSON = [(b"content-type", b"application/json")]


class GatewayApp:
    """Serves one node. ``front_names_requests``: the server in front adds ``x-request-id`` to responses itself."""

    def __init__(self, node: GatewayNode, *, front_names_requests: bool = False) -> None:
        self._node = node
        self._front_names_requests = front_names_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection scope; anything but HTTP and lifespan is ignored."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            await receive()
            try:
                await stack.enter_async_context(self._node)
                await stack.enter_async_context(AdminServer(self._node))
            except Exception as error:
                logger.exception("the gateway cannot start")
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            # Only now: a table that is published while we start reaches either our socket or this file.
            await self._node.load_table()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _request_id(scope)
        reply = Reply(send, [] if self._front_names_requests else [(REQUEST_ID, request_id.encode())])
        try:
            await self._route(scope, receive, reply, request_id)
        except Refusal as refusal:
            self._node.metrics.refused(refusal.code)
            await reply.refuse(refusal)
        except ClientGone:
            logger.debug("request %s: the client left", request_id)
        except Exception:
            logger.exception("request %s: unexpected failure", request_id)
            await _apologise(reply)

    async def _route(self, scope: Scope, receive: Receive, reply: Reply, request_id: str) -> None:
        route = scope["method"], scope["path"]
        if route[0] == "POST" and route[1] in COMPLETION_PATHS:
            await self._complete(scope, receive, reply, request_id)
        elif route in {("GET", "/health"), ("HEAD", "/health")}:
            await reply.whole(200, _JSON, self._health())
        elif route[0] == "GET" and route[1].startswith(MODELS_PATH):
            await reply.whole(200, _JSON, self._models(scope))
        elif route == ("GET", "/metrics"):
            node = self._node
            require_reader(node.table, header(scope, b"authorization"), keyless_allowed=node.keyless_allowed)
            page = merge_pages([self._node.metrics.page(), *await peer_pages(self._node)])
            await reply.whole(200, [(b"content-type", CONTENT_TYPE)], page)
        else:
            raise not_found(*route)

    async def _complete(self, scope: Scope, receive: Receive, reply: Reply, request_id: str) -> None:
        if self._node.is_draining:
            raise shutting_down()
        visible = self._visible(scope)
        request = read_request(scope["path"], await read_body(scope, receive))
        found = find_service(visible, request.model)
        headers = {"content-type": "application/json", "x-request-id": request_id}
        headers |= {name.decode(): value for name in _PASSED_ON if (value := header(scope, name))}
        named = header(scope, self._node.origin_header) if self._node.origin_header else None
        origin = self._node.origin_of(named)
        service, began = found.routes.service, self._node.clock()
        call = Call(service, request, headers, request_id, began, origin, found.adapter)
        async with while_client_stays(receive, reply):
            await forward(self._node, call, reply)

    def _visible(self, scope: Scope) -> list[ServiceRoutes]:
        node = self._node
        return visible_services(node.table, header(scope, b"authorization"), keyless_allowed=node.keyless_allowed)

    def _models(self, scope: Scope) -> bytes:
        """List every name that may be sent as ``model``; behind a slash, describe the one of that name."""
        table, visible = self._node.table, self._visible(scope)
        at, rest = 0 if table is None else int(table.issued_at.timestamp()), scope["path"].removeprefix(MODELS_PATH)
        if rest.startswith("/") and len(rest) > 1:
            return json.dumps(_model(rest[1:], listed_one(visible, rest[1:]), at)).encode()
        if rest:
            raise not_found(scope["method"], scope["path"])
        models = [_model(name, found, at) for name, found in listed(visible).items()]
        return json.dumps({"object": "list", "data": models}).encode()

    def _health(self) -> bytes:
        """Say what this process is; 200 means only that it serves. Routes are a matter of the table."""
        node = self._node
        services = node.table.services if node.table is not None else ()
        document = {
            "status": "draining" if node.is_draining else "ok",
            "mode": node.mode,
            "boot_id": node.boot_id,
            "table_version": node.applied_version,
            "table_error": node.table_error or None,
            "services": len(services),
            "upstreams": sum(not u.draining for s in services for u in s.upstreams),
            "kept": len(node.kept),
        }
        return json.dumps(document).encode()


def _request_id(scope: Scope) -> str:
    given = header(scope, REQUEST_ID)
    return given if given is not None and _SOUND_REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def _model(name: str, found: Found, created: int) -> dict[str, object]:
    """Describe a name as OpenAI does. ``created``: of the table, in seconds since 1970; of the model nobody knows it.

    ``root`` is what the engines call it, and ``parent`` the model that an adapter adapts, as with vLLM.
    """
    model = found.routes.model
    own = name if name not in {found.routes.service, model} and not found.adapter else model
    known = {"id": name, "object": "model", "created": created, "owned_by": "greenctl", "root": found.adapter or own}
    return {**known, "parent": model} if found.adapter else known


async def _apologise(reply: Reply) -> None:
    """End a response after our own mistake; a stream still gets its error event, never silence."""
    if reply.is_finished:
        return
    if reply.is_started:
        await reply.finish(data_event(upstream_lost().body()))
    else:
        await reply.refuse(Refusal(500, "internal_error", "The gateway failed to handle this request.", "server_error"))


async def serve_lifespan(app: GatewayApp, started: asyncio.Event, stop: asyncio.Event) -> None:
    """Run the application's lifespan for a server that has no support of its own.

    Sets ``started`` when requests may come; ends after ``stop``. Raises ``RuntimeError`` when starting fails.
    """
    failure = ""

    async def receive() -> dict[str, str]:
        if not started.is_set() and not failure:
            return {"type": "lifespan.startup"}
        await stop.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message: object) -> None:
        nonlocal failure
        if isinstance(message, dict) and message["type"] == "lifespan.startup.failed":
            failure = str(message.get("message", ""))
        else:
            started.set()

    await app({"type": "lifespan"}, receive, send)
    if failure:
        raise RuntimeError(failure)
