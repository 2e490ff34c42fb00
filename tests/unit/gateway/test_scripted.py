"""The scripted engine dies as a process dies; a test that waits for its client would otherwise wait for ever."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from tests.unit.gateway.scripted import ScriptedEngine, scripted

_REQUEST = b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 25\r\n\r\n{"model":"m","prompt":""}'


async def _ask(engine: ScriptedEngine, later: int) -> None:
    """Connect some steps of the event loop later and wait for an answer or the end of the connection."""
    address = urlsplit(engine.url)
    for _ in range(later):
        await asyncio.sleep(0)
    try:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(_REQUEST)
        await reader.read(1)
        writer.close()
    except OSError:
        return


@pytest.mark.parametrize("steps", range(12))
async def test_nobody_waits_for_a_dead_engine(steps: int) -> None:
    """Whatever step of being accepted a connection was in when the engine died, its client hears of it."""
    async with scripted() as engine, asyncio.timeout(20):
        clients = [asyncio.create_task(_ask(engine, n % 7)) for n in range(30)]
        for _ in range(steps):
            await asyncio.sleep(0)
        await engine.die()
        await asyncio.gather(*clients)
