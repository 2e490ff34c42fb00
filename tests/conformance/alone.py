"""One API alone on a free port of this machine, which can be told to fail as :mod:`tests.conformance.faults` has it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.conformance import faults


class Api(Protocol):
    """What can be served."""

    def routes(self) -> list[web.RouteDef]:
        """Return what it serves."""
        ...


A = TypeVar("A", bound=Api)


@dataclass
class Alone(Generic[A]):
    """The running API. ``behave``: what it does in place of answering."""

    api: A
    url: str = ""
    behave: faults.Behave | None = None


@asynccontextmanager
async def alone(api: A, path: str) -> AsyncIterator[Alone[A]]:
    """Run it; ``url`` is the address of that path."""
    state = Alone(api)

    @web.middleware
    async def misbehave(request: web.Request, handler: Any) -> web.StreamResponse:
        if state.behave is not None:
            answer = state.behave(request)
            return answer if isinstance(answer, web.StreamResponse) else await answer
        return await handler(request)

    app = web.Application(middlewares=[misbehave])
    app.add_routes(api.routes())
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    state.url = str(server.make_url(path))
    try:
        yield state
    finally:
        await server.close()
