"""A server that speaks like the grid APIs do, as far as they are documented and with the traps that users have met.

It refuses what they refuse, answers in their envelopes, and can be told to fail in their ways. What it does not know of
them it does not invent: there are no rate limits without a fault that sets one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.conformance import faults
from tests.conformance.carbon_aware import CarbonAwareApi
from tests.conformance.eia import EiaApi
from tests.conformance.electricity_maps import ElectricityMapsApi
from tests.conformance.entsoe import EntsoeApi
from tests.conformance.grid import Grid
from tests.conformance.national_grid import NationalGridApi
from tests.conformance.watttime import WattTimeApi

APIS = {
    "electricity-maps": ElectricityMapsApi,
    "national-grid": NationalGridApi,
    "watttime": WattTimeApi,
    "eia": EiaApi,
    "entsoe": EntsoeApi,
    "carbon-aware-sdk": CarbonAwareApi,
}


@dataclass
class Conformance:
    """The running server. ``asked``: every request, oldest first, as (path, query, headers)."""

    grid: Grid
    url: str = ""
    lie: faults.Change = faults.untouched
    behave: faults.Behave | None = None
    only: str = ""
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    apis: dict[str, Any] = field(default_factory=dict)

    def lied(self, document: Any) -> Any:
        """Change a document as the fault of the moment does."""
        return self.lie(document)

    def address(self, api: str) -> str:
        """Base address of one API."""
        return f"{self.url}/{api}"

    def heal(self) -> None:
        """End all faults."""
        self.lie, self.behave, self.only = faults.untouched, None, ""

    def paths(self) -> list[str]:
        """Paths that were asked for, without the API's own part."""
        return ["/" + path.split("/", 2)[2] for path, *_ in self.asked]


@asynccontextmanager
async def conformance(grid: Grid) -> AsyncIterator[Conformance]:
    """Run the server on a free port of this machine."""
    state = Conformance(grid)

    @web.middleware
    async def misbehave(request: web.Request, handler: Any) -> web.StreamResponse:
        state.asked.append((request.path, dict(request.query), dict(request.headers)))
        if state.behave is not None and state.only in request.path:
            answer = state.behave(request)
            return answer if isinstance(answer, web.StreamResponse) else await answer
        return await handler(request)

    app = web.Application(middlewares=[misbehave])
    for name, api in APIS.items():
        state.apis[name] = api(grid, state.lied)
        part = web.Application()
        part.add_routes(state.apis[name].routes())
        app.add_subapp(f"/{name}", part)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    state.url = str(server.make_url("")).rstrip("/")
    try:
        yield state
    finally:
        await server.close()
