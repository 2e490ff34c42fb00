from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.routing import RoutingTable, ServiceRoutes, Upstream
from orchestrator.gateway.app import GatewayApp
from orchestrator.gateway.node import GatewayNode
from orchestrator.gateway.plain import MODE, serving
from orchestrator.gateway.sockets import gateway_folder, short_path, socket_name
from orchestrator.gateway.upstreams import Patience
from tests.unit.gateway.scripted import ScriptedEngine, scripted

ISSUED = datetime(2026, 1, 2, tzinfo=UTC)


@asynccontextmanager
async def older_gateway(tmp_path: Path, refused: Callable[[Any], str]) -> AsyncIterator[list[dict[str, Any]]]:
    """A gateway of a version before, and the tables that it took: not those of which ``refused`` names a key."""
    taken: list[dict[str, Any]] = []

    async def put(request: web.Request) -> web.Response:
        document = await request.json()
        if key := refused(document["services"]):
            return web.json_response({"error": f"services[0].{key}: unknown key"}, status=400)
        taken.append(document)
        return web.Response(status=204)

    app = web.Application()
    app.router.add_put("/table", put)
    runner = web.AppRunner(app)
    await runner.setup()
    with short_path(gateway_folder(tmp_path) / socket_name("old")) as path:
        await web.UnixSite(runner, str(path)).start()
        yield taken
    await runner.cleanup()


def upstream(engine: ScriptedEngine, **changes: Any) -> Upstream:
    given = {"replica": f"r-{engine.name}", "url": engine.url, "weight": 100, "draining": False}
    return Upstream(**{**given, "region": f"local/{engine.name}", "zone": None, **changes})


@dataclass
class Gateway:
    """A plain gateway on a real socket, with a client session and the node to look inside."""

    node: GatewayNode
    session: aiohttp.ClientSession
    url: str
    version: int = 0

    async def use(self, *upstreams: Upstream, **changes: Any) -> None:
        """Publish a table with one service, ``chat``, whose model is ``tiny``."""
        self.version += 1
        service = ServiceRoutes(**{"service": "chat", "model": "tiny", "upstreams": upstreams, **changes})
        await self.node.apply(RoutingTable(self.version, ISSUED, (service,)))

    async def use_services(self, *services: ServiceRoutes) -> None:
        self.version += 1
        await self.node.apply(RoutingTable(self.version, ISSUED, services))

    def post(self, path: str = "/v1/completions", **body: Any) -> Any:
        headers = body.pop("headers", None)
        document = {"model": "tiny", "prompt": "hello ", **body}
        if "messages" in body:
            del document["prompt"]
        return self.session.post(self.url + path, json=document, headers=headers)

    def get(self, path: str, **headers: str) -> Any:
        return self.session.get(self.url + path, headers=headers)

    async def status(self) -> GatewayStatus:
        """Return the counts once every request has ended."""
        async with asyncio.timeout(5):
            await self.node.tally.until_idle()
        return self.node.status()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    patience = Patience(connect_seconds=2, first_byte_seconds=5, idle_seconds=5)
    node = GatewayNode(gateway_folder(tmp_path), mode=MODE, keyless_allowed=True, patience=patience)
    async with serving(GatewayApp(node), "127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        yield Gateway(node, session, f"http://127.0.0.1:{port}")


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    async with scripted("a") as running:
        yield running


@pytest.fixture
async def engines() -> AsyncIterator[Callable[[str], Any]]:
    """Start as many engines as a test asks for by name."""
    async with AsyncExitStack() as stack:

        async def start(name: str) -> ScriptedEngine:
            return await stack.enter_async_context(scripted(name))

        yield start


def rests(gateway: Gateway, replica: str) -> bool:
    """Whether the gateway keeps new requests away from the replica now."""
    assert gateway.node.table is not None
    upstreams = [u for s in gateway.node.table.services for u in s.upstreams]
    return replica in gateway.node._cooldowns.resting(upstreams)


def events(text: str) -> list[Any]:
    """Read a finished SSE body: JSON events as documents, ``[DONE]`` as text, comments as ``: ...``."""
    found: list[Any] = []
    for block in text.split("\n\n"):
        if block.startswith("data: {"):
            found.append(json.loads(block[6:]))
        elif block:
            found.append(block.removeprefix("data: "))
    return found


def spoken(text: str) -> str:
    """Return what a finished stream said."""
    chunks = [e for e in events(text) if isinstance(e, dict) and e.get("choices")]
    choices = [chunk["choices"][0] for chunk in chunks]
    return "".join((c.get("delta") or {}).get("content") or c.get("text") or "" for c in choices)
